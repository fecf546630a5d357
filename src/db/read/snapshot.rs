//! The snapshot: hosts, candidates and caps at one moment.

use super::candidates::{JobsRead, candidates};
use super::gpu_work::allocs_with_gpus;
use super::reading::{Reading, SnapshotOptions};
use crate::db::{CommitError, Result, Store, Tx};
use crate::model::{Cluster, Snapshot};

impl Store {
    /// Reads what a plan for `clusters` needs, in one transaction of at most eight statements: all
    /// hosts of their facilities, all candidates of their shows there, and the caps that these touch.
    ///
    /// Frames are not read. Rows that make no sense are in `left_out`. Waiting layers among them, or
    /// of jobs among them, are candidates all the same and say what is wrong, so that they are counted.
    pub async fn load_snapshot(&self, clusters: &[Cluster], options: &SnapshotOptions) -> Result<Snapshot> {
        let mut reading = Reading { tx: Tx::reading(self).await?, clusters, options, left_out: Vec::new() };
        let (taken_at, shows, subscriptions) = reading.load_shows().await?;
        let hosts = reading.load_hosts(taken_at).await?;
        let layers = reading.load_layers().await?;
        let JobsRead { folders, jobs, unusable } = reading.load_jobs(&layers, &shows).await?;
        let bound = layers.iter().flat_map(|layer| layer.limits.iter().cloned()).collect();
        let limits = reading.load_limits(bound).await?;
        let allocs = allocs_with_gpus(options.gpu_keep, &hosts, &layers);
        let gpu_work = reading.load_gpu_work(&allocs).await?;
        let Reading { tx, mut left_out, .. } = reading;
        tx.commit().await.map_err(CommitError::either)?;
        let at = (taken_at, options.gpu_keep);
        let (gpu_work, mut run_times) = self.seen_gpu_work(at, &allocs, gpu_work, &layers).await;

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
            gpu_work,
            left_out: Vec::new(),
        };
        snapshot.candidates = candidates(layers, &snapshot, &unusable, &limits.unknown, &mut left_out);
        for candidate in &mut snapshot.candidates {
            candidate.run_time = run_times.remove(&candidate.layer);
        }
        Ok(Snapshot { left_out, ..snapshot })
    }
}
