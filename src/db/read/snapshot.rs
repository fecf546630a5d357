//! The snapshot: hosts, candidates and caps at one moment.

use super::candidates::candidates;
use super::reading::{Reading, SnapshotOptions};
use crate::db::{CommitError, Result, Store, Tx};
use crate::model::{Cluster, Snapshot};

impl Store {
    /// Reads what a plan for `clusters` needs, in one transaction of at most seven statements: all
    /// hosts of their facilities, all candidates of their shows there, and the caps that these touch.
    ///
    /// Frames are not read. Rows that make no sense are in `left_out`. A layer without any tag is one
    /// of them, since no host could ever match it.
    pub async fn load_snapshot(&self, clusters: &[Cluster], options: &SnapshotOptions) -> Result<Snapshot> {
        let mut reading = Reading { tx: Tx::reading(self).await?, clusters, options, left_out: Vec::new() };
        let (taken_at, shows, subscriptions) = reading.load_shows().await?;
        let hosts = reading.load_hosts(taken_at).await?;
        let layers = reading.load_layers().await?;
        let (folders, jobs) = reading.load_jobs(&layers, &shows).await?;
        let bound = layers.iter().flat_map(|layer| layer.limits.iter().cloned()).collect();
        let limits = reading.load_limits(bound).await?;
        let Reading { tx, mut left_out, .. } = reading;
        tx.commit().await.map_err(CommitError::either)?;

        let mut snapshot = Snapshot {
            taken_at,
            clusters: clusters.to_vec(),
            hosts,
            shows,
            subscriptions,
            folders,
            jobs,
            candidates: Vec::new(),
            limits: limits.gating,
            left_out: Vec::new(),
        };
        snapshot.candidates = candidates(layers, &snapshot, &limits.unknown, &mut left_out);
        Ok(Snapshot { left_out, ..snapshot })
    }
}
