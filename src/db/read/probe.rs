//! A cheap look while idle: has anything changed that could let work start?

use crate::db::row::whole;
use crate::db::{Result, Source as _, Statement, Store};
use crate::model::Cluster;

/// Equal probes: nothing of what they cover has changed between them, but for a collision of
/// checksums. Unequal ones call for a full look.
///
/// Covered: waiting work, pauses, priorities, caps and use of the pending jobs; idle amounts, states and
/// pools of the hosts; subscriptions, folders, limits and flags of the shows; the next start-after
/// time. Not covered: what an operator edits in a layer, and reports of free memory.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ChangeProbe {
    jobs: String,
    hosts: String,
    caps: String,
    next_start: Option<String>,
}

impl Store {
    /// One statement, a few milliseconds on a big farm.
    pub async fn probe_change(&self, clusters: &[Cluster]) -> Result<ChangeProbe> {
        let statement = Statement::new("looking for changes", include_str!("../sql/change_probe.sql"))
            .distinct(clusters.iter().map(|cluster| &cluster.show))
            .distinct(clusters.iter().map(|cluster| &cluster.facility));
        self.rows(statement).await?.one(whole)
    }
}
