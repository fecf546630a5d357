//! One consistent reading of the farm, from one read-only transaction.

use super::{Candidate, Cluster, FolderRow, Host, JobRow, LimitRow, ShowRow, Subscription, Timestamp};

/// Lists refer to each other by position. Order within each list is fixed by the reader (by name,
/// then id), so that equal databases give equal snapshots and equal plans.
#[derive(Clone, Debug, PartialEq)]
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

/// A row that could not be used. It is left out, counted, and named once; the farm goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeftOutRow {
    pub table: &'static str,
    pub id: String,
    /// What is wrong and what to do about it.
    pub problem: String,
}
