//! Waiting work: layers with waiting frames, and the jobs, folders and shows they stand in.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    Cap, ClusterIx, FacilityId, FolderId, FolderIx, JobId, JobIx, LayerId, LeftOutRow, LimitIx, ShowId, ShowIx, Tag,
    Timestamp,
};
use crate::units::{Cores, Gpus, Kib};

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ShowRow {
    pub id: ShowId,
    pub name: String,
    pub is_active: bool,
    /// Cuebot leaves the show to a scheduler; `None` where the schema has no such flag.
    pub is_scheduler_managed: Option<bool>,
}

/// A folder ("group") with its caps and what runs in it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FolderRow {
    pub id: FolderId,
    pub name: String,
    pub cores: Cores,
    pub cores_max: Cap<Cores>,
    pub gpus: Gpus,
    pub gpus_max: Cap<Gpus>,
}

/// A PENDING job.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JobRow {
    pub id: JobId,
    pub name: String,
    pub show: ShowIx,
    pub folder: FolderIx,
    pub facility: FacilityId,
    pub is_paused: bool,
    pub is_auto_book: bool,
    /// `None` fits any host; so does the empty text, which is decoded to `None`.
    pub os: Option<String>,
    pub priority: i32,
    pub started_at: Timestamp,
    pub cores: Cores,
    /// 0 and -1 are no "unlimited": Cuebot books nothing and its trigger refuses, so such a cap
    /// stays the number it is and the layer waits for [`super::WaitReason::JobCapNotPositive`].
    pub cores_max: Cores,
    pub gpus: Gpus,
    pub gpus_max: Gpus,
}

/// A layer with waiting frames that at least one cluster may serve.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Candidate {
    pub layer: LayerId,
    pub layer_name: String,
    pub job: JobIx,
    /// Those that reach it, ascending; empty when none of ours does.
    pub clusters: Vec<ClusterIx>,
    pub tags: BTreeSet<Tag>,
    pub cores: CoreRequest,
    /// `None` = no ceiling (the column says 0 or less).
    pub cores_max: Option<Cores>,
    pub memory: Kib,
    pub gpus: Gpus,
    pub gpu_memory: Kib,
    pub is_threadable: bool,
    /// `layer.str_services`, split at commas and trimmed.
    pub services: Vec<String>,
    /// All must have room.
    pub limits: Vec<LimitIx>,
    /// No frame of the layer may start before this.
    pub start_after: Option<Timestamp>,
    pub dispatch_order: i32,
    /// What is wrong with its row, or its job's: then nothing of it can be booked.
    pub unusable: Option<LeftOutRow>,
    pub needs_slots: bool,
    /// Its environment declares licences, and such work is to be left out.
    pub has_refused_licences: bool,
    /// How long a frame takes, by those of the layer, or else of the job, that have succeeded; looked up
    /// only where short work may go to places that other work may not.
    pub run_time: Option<Duration>,
    pub waiting_frames: u32,
    /// When its longest waiting work became ready, as nearly as the schema tells.
    pub waiting_since: Timestamp,
}

/// `layer.int_cores_min`, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum CoreRequest {
    /// Positive: this many, perhaps more by the reservation rule.
    AtLeast(Cores),
    /// Zero: a whole host with nothing on it.
    WholeHost,
    /// Negative: a whole idle host but this many (stored positive).
    AllBut(Cores),
}

impl CoreRequest {
    pub fn from_column(centicores: i64) -> Self {
        match centicores {
            0 => Self::WholeHost,
            n if n > 0 => Self::AtLeast(Cores(n)),
            n => Self::AllBut(-Cores(n)),
        }
    }
}
