//! The keys of what was seeded.

use crate::model::{
    AllocId, DeptId, FacilityId, FolderId, HostId, JobId, LayerId, LimitId, ShowId, SubscriptionId, ThreadMode,
};
use crate::units::Amounts;

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
