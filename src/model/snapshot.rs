//! One consistent reading of the farm, from one read-only transaction.

use std::borrow::Cow;

use super::{
    Candidate, Cluster, ClusterIx, FolderRow, Host, JobRow, LimitRow, Placement, ShowRow, Subscription, Timestamp,
};

/// Lists refer to each other by position. Order within each list is fixed by the reader (by name,
/// then id), so that equal databases give equal snapshots and equal plans.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Snapshot {
    /// The database's clock.
    pub taken_at: Timestamp,
    pub clusters: Vec<Cluster>,
    pub hosts: Vec<Host>,
    pub shows: Vec<ShowRow>,
    pub subscriptions: Vec<Subscription>,
    pub folders: Vec<FolderRow>,
    pub jobs: Vec<JobRow>,
    pub candidates: Vec<Candidate>,
    pub limits: Vec<LimitRow>,
    pub left_out: Vec<LeftOutRow>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            taken_at: Timestamp::UNIX_EPOCH,
            clusters: Vec::new(),
            hosts: Vec::new(),
            shows: Vec::new(),
            subscriptions: Vec::new(),
            folders: Vec::new(),
            jobs: Vec::new(),
            candidates: Vec::new(),
            limits: Vec::new(),
            left_out: Vec::new(),
        }
    }
}

impl Snapshot {
    /// Whether a cluster of the layer's covers the host through one of its tags.
    #[must_use]
    pub fn reaches(&self, candidate: &Candidate, host: &Host) -> bool {
        let covers = |&cluster: &ClusterIx| candidate.tags.iter().any(|tag| self.clusters[cluster].covers(tag, host));
        host.facility == self.jobs[candidate.job].facility && candidate.clusters.iter().any(covers)
    }

    /// What a booking of the placement makes of the farm. A candidate of which nothing waits any more stays
    /// in its place.
    pub fn take(&mut self, placement: &Placement) {
        let Placement { candidate, host, frames, reservation, .. } = *placement;
        let candidate = &mut self.candidates[candidate];
        let (job, host) = (&mut self.jobs[candidate.job], &mut self.hosts[host]);
        let (show, folder) = (&self.shows[job.show].id, &mut self.folders[job.folder]);
        let in_use = |subscription: &&mut Subscription| subscription.show == *show && subscription.alloc == host.alloc;
        let mut subscription = self.subscriptions.iter_mut().find(in_use);
        for _ in 0..frames {
            host.take(&candidate.layer, &reservation);
            if let Some(subscription) = &mut subscription {
                subscription.cores += reservation.cores;
            }
            folder.cores += reservation.cores;
            folder.gpus += reservation.gpus;
            job.cores += reservation.cores;
            job.gpus += reservation.gpus;
            for limit in &candidate.limits {
                self.limits[*limit].usage.take(&host.name);
            }
        }
        candidate.waiting_frames = candidate.waiting_frames.saturating_sub(frames);
    }
}

/// A row that could not be used. It is left out, counted, and named once; the farm goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct LeftOutRow {
    pub table: Cow<'static, str>,
    pub id: String,
    /// What is wrong and what to do about it.
    pub problem: String,
}
