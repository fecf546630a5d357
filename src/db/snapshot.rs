//! The snapshot: hosts, candidates and caps at one moment.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use super::{Store, StoreError, candidates, caps, hosts};
use crate::model::{Cluster, FacilityId, HOST_STALENESS, HostId, LIMIT_SETTLE_WINDOW, LayerId, ShowId, Snapshot};

/// What a snapshot is told besides the clusters.
#[derive(Clone, Debug)]
pub struct SnapshotOptions {
    /// A host whose last report is older takes nothing.
    pub staleness: Duration,
    /// Cuebot's `limit.settle_window_seconds`: how long a report of licence use may lag behind.
    pub limit_settle_window: Duration,
    /// Layers that the scheduler holds back for a while after failures.
    pub backing_off: HashSet<LayerId>,
    /// Hosts that the scheduler withholds, and why, in words for an operator.
    pub put_aside: HashMap<HostId, String>,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self {
            staleness: HOST_STALENESS,
            limit_settle_window: LIMIT_SETTLE_WINDOW,
            backing_off: HashSet::new(),
            put_aside: HashMap::new(),
        }
    }
}

impl Store {
    /// Reads what a plan for `clusters` needs, in one transaction of at most seven statements: all
    /// hosts of their facilities, all candidates of their shows there, and the caps that these touch.
    ///
    /// Frames are not read. Rows that make no sense are in `left_out`. A layer without any tag is one
    /// of them, since no host could ever match it.
    pub async fn load_snapshot(&self, clusters: &[Cluster], options: &SnapshotOptions) -> Result<Snapshot, StoreError> {
        let facilities: Vec<FacilityId> = distinct(clusters.iter().map(|cluster| &cluster.facility));
        let shows: Vec<ShowId> = distinct(clusters.iter().map(|cluster| &cluster.show));
        let mut left_out = Vec::new();
        let mut reading = self.begin_reading().await?;

        let caps::Shows { taken_at, rows: show_rows, subscriptions } =
            caps::load_shows(&mut reading, &shows, &facilities, &mut left_out).await?;
        let hosts = hosts::load(&mut reading, &facilities, taken_at, options, &mut left_out).await?;
        let layers = candidates::load_layers(&mut reading, &shows, &facilities, self.features(), &mut left_out).await?;
        let jobs = candidates::load_jobs(&mut reading, &layers, &show_rows, &mut left_out).await?;
        let limits = caps::load_limits(
            &mut reading,
            self.features(),
            options.limit_settle_window,
            &candidates::limits_of(&layers),
            &mut left_out,
        )
        .await?;
        reading.end().await?;

        let around = candidates::Surroundings {
            taken_at,
            clusters,
            shows: &show_rows,
            jobs: &jobs.jobs,
            limits: &limits,
            backing_off: &options.backing_off,
        };
        let candidates = candidates::build(layers, &around, &mut left_out);
        Ok(Snapshot {
            taken_at,
            clusters: clusters.to_vec(),
            hosts,
            shows: show_rows,
            subscriptions,
            folders: jobs.folders,
            jobs: jobs.jobs,
            candidates,
            limits: limits.gating,
            left_out,
        })
    }
}

/// Sorted, each once.
pub(super) fn distinct<'a, T: Clone + Ord + Hash + 'a>(items: impl Iterator<Item = &'a T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect::<HashSet<_>>().into_iter().cloned().collect();
    items.sort();
    items
}
