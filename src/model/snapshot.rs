//! One consistent reading of the farm, from one read-only transaction.

use smart_default::SmartDefault;

use super::{
    Candidate, Cluster, ClusterIx, FolderRow, GpuWork, Host, JobRow, LeftOutRow, LimitRow, ShowRow, Subscription,
    Timestamp,
};

/// Lists refer to each other by position. Order within each list is fixed by the reader (by name,
/// then id), so that equal databases give equal snapshots and equal plans.
#[derive(Clone, Debug, PartialEq, SmartDefault, serde::Serialize, serde::Deserialize)]
pub struct Snapshot {
    /// The database's clock.
    #[default(Timestamp::UNIX_EPOCH)]
    pub taken_at: Timestamp,
    pub clusters: Vec<Cluster>,
    pub hosts: Vec<Host>,
    pub shows: Vec<ShowRow>,
    pub subscriptions: Vec<Subscription>,
    pub folders: Vec<FolderRow>,
    pub jobs: Vec<JobRow>,
    pub candidates: Vec<Candidate>,
    pub limits: Vec<LimitRow>,
    /// Of allocations with idle GPUs; empty where nobody asked.
    pub gpu_work: Vec<GpuWork>,
    pub left_out: Vec<LeftOutRow>,
}

impl Snapshot {
    /// Whether a cluster of the layer's covers the host through one of its tags.
    pub fn reaches(&self, candidate: &Candidate, host: &Host) -> bool {
        let covers = |&cluster: &ClusterIx| candidate.tags.iter().any(|tag| self.clusters[cluster].covers(tag, host));
        host.facility == self.jobs[candidate.job].facility && candidate.clusters.iter().any(covers)
    }
}
