//! The snapshot: hosts, candidates and caps at one moment.

use super::options::SnapshotOptions;
use super::{candidates, caps, hosts};
use crate::db::{Store, StoreError, Tx};
use crate::model::{Cluster, Snapshot};

impl Store {
    /// Reads what a plan for `clusters` needs, in one transaction of at most seven statements: all
    /// hosts of their facilities, all candidates of their shows there, and the caps that these touch.
    ///
    /// Frames are not read. Rows that make no sense are in `left_out`. A layer without any tag is one
    /// of them, since no host could ever match it.
    pub async fn load_snapshot(&self, clusters: &[Cluster], options: &SnapshotOptions) -> Result<Snapshot, StoreError> {
        let mut left_out = Vec::new();
        let mut reading = Tx::reading(self).await?;

        let caps::Shows { taken_at, rows: show_rows, subscriptions } =
            caps::load_shows(&mut reading, clusters, &mut left_out).await?;
        let hosts = hosts::load(&mut reading, clusters, taken_at, options, &mut left_out).await?;
        let layers = candidates::load_layers(&mut reading, clusters, self.features(), &mut left_out).await?;
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

        let around =
            candidates::Surroundings { taken_at, clusters, shows: &show_rows, jobs: &jobs.jobs, limits: &limits };
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
