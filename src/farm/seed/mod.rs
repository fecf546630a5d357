//! A farm's rows out of a plain description, the same rows every time.
//!
//! [`FarmSpec`] says what there is, [`seed`] writes it into an empty Cuebot database of any
//! generation. Rows that triggers make (folder, job and layer companions) are changed, never
//! inserted; rows and counters that triggers do not make (points, host stats and tags, frame counts)
//! are written here. Keys follow from the description alone, so two farms of one description are
//! equal, and what a test saw once it sees again.
//!
//! Everything is written in sets, one statement per table: a farm of thousands of hosts and a hundred
//! thousand frames takes seconds.

mod demo;
mod keys;
mod plan;
mod spec;
mod write;

use sqlx::PgPool;

pub use spec::{
    AllocSpec, FarmSpec, FolderSpec, HostClass, HostNames, JobSpec, LayerSpec, LimitSpec, ShowSpec, SubscriptionSpec,
};

use crate::model::{
    AllocId, DeptId, FacilityId, FolderId, HostId, JobId, LayerId, LimitId, ShowId, SubscriptionId, TagKind, ThreadMode,
};
use crate::units::Amounts;

/// Writes the farm that `spec` describes, in one transaction.
///
/// # Errors
/// Nothing is written: the description contradicts itself, or the database refuses.
pub async fn seed(pool: &PgPool, spec: &FarmSpec) -> Result<Seeded, SeedError> {
    let mut plan = plan::plan(spec)?;
    write::write(pool, &mut plan).await?;
    Ok(plan.seeded)
}

/// The keys of what was seeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeded {
    pub facility: FacilityId,
    pub facility_name: String,
    pub depts: Vec<SeededDept>,
    pub allocs: Vec<SeededAlloc>,
    /// In the order of the host classes.
    pub hosts: Vec<SeededHost>,
    pub limits: Vec<SeededLimit>,
    pub shows: Vec<SeededShow>,
    pub subscriptions: Vec<SeededSubscription>,
    pub folders: Vec<SeededFolder>,
    pub jobs: Vec<SeededJob>,
    pub layers: Vec<SeededLayer>,
    /// Frames of all layers together.
    pub frames: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededDept {
    pub id: DeptId,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededAlloc {
    pub id: AllocId,
    /// As in the description, without the facility.
    pub name: String,
    pub tag: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededHost {
    pub id: HostId,
    /// Also the address that its agent is dialled by, if the names are addresses.
    pub name: String,
    pub alloc: AllocId,
    /// As in the description, without the facility.
    pub alloc_name: String,
    pub total: Amounts,
    /// `host_stat.str_os`: a comma list.
    pub os: String,
    pub thread_mode: ThreadMode,
    /// All its tags, the allocation's first.
    pub tags: Vec<String>,
    /// Name of the host class.
    pub class: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededLimit {
    pub id: LimitId,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededShow {
    pub id: ShowId,
    pub name: String,
    /// The folder that the folders of the description stand in.
    pub root_folder: FolderId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededSubscription {
    pub id: SubscriptionId,
    pub show: ShowId,
    pub alloc: AllocId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededFolder {
    pub id: FolderId,
    pub name: String,
    pub show: ShowId,
    pub dept: DeptId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededJob {
    pub id: JobId,
    /// `job.str_name`: show, shot, user and the description's name, as Cuebot joins them.
    pub name: String,
    pub show: ShowId,
    pub folder: FolderId,
    pub dept: DeptId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededLayer {
    pub id: LayerId,
    pub name: String,
    pub job: JobId,
    pub frames: u32,
}

impl Seeded {
    /// Layers of a job, in dispatch order.
    pub fn layers_of<'a>(&'a self, job: &'a JobId) -> impl Iterator<Item = &'a SeededLayer> {
        self.layers.iter().filter(move |layer| layer.job == *job)
    }

    #[must_use]
    pub fn host_named(&self, name: &str) -> Option<&SeededHost> {
        self.hosts.iter().find(|host| host.name == name)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("{what} refers to {kind} \"{name}\", which the description does not have")]
    Unknown { what: String, kind: &'static str, name: String },
    #[error("the description has {kind} \"{name}\" twice")]
    Twice { kind: &'static str, name: String },
    #[error("there are not enough loopback addresses from {first} on for {hosts} hosts")]
    Addresses { first: std::net::Ipv4Addr, hosts: usize },
    #[error("failed {step}")]
    Database { step: &'static str, source: sqlx::Error },
}

/// `host_tag.str_tag_type` as Cuebot spells it.
const fn tag_type(kind: TagKind) -> &'static str {
    match kind {
        TagKind::Manual => "MANUAL",
        TagKind::Hostname => "HOSTNAME",
        TagKind::Hardware => "HARDWARE",
    }
}
