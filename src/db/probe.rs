//! A cheap look while idle: has anything changed that could let work start?

use super::reading::step;
use super::row::Columns;
use super::{Store, StoreError};
use crate::model::{Cluster, FacilityId, ShowId};

/// Equal probes: nothing of what they cover has changed between them, but for a collision of
/// checksums. Unequal ones call for a full look.
///
/// Covered: waiting work, pauses, priorities, caps and use of the pending jobs; idle amounts, states and
/// pools of the hosts; subscriptions, folders, limits and flags of the shows; the next start-after
/// time. Not covered: what an operator edits in a layer, and reports of free memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeProbe {
    jobs: String,
    hosts: String,
    caps: String,
    next_start: Option<String>,
}

impl Store {
    /// One statement, a few milliseconds on a big farm.
    pub async fn probe_change(&self, clusters: &[Cluster]) -> Result<ChangeProbe, StoreError> {
        let facilities: Vec<FacilityId> = super::snapshot::distinct(clusters.iter().map(|cluster| &cluster.facility));
        let shows: Vec<ShowId> = super::snapshot::distinct(clusters.iter().map(|cluster| &cluster.show));
        let statement = sqlx::query(include_str!("sql/change_probe.sql"))
            .bind(shows.iter().map(ShowId::as_str).collect::<Vec<_>>())
            .bind(facilities.iter().map(FacilityId::as_str).collect::<Vec<_>>());
        let rows = self.rows("looking for changes", statement).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound).map_err(step("looking for changes"))?;
        decode(&Columns(row)).map_err(|problem| step("looking for changes")(sqlx::Error::Decode(problem.into())))
    }
}

fn decode(row: &Columns<'_>) -> Result<ChangeProbe, super::row::Problem> {
    Ok(ChangeProbe {
        jobs: row.text("jobs")?,
        hosts: row.text("hosts")?,
        caps: row.text("caps")?,
        next_start: row.text_or_null("next_start")?,
    })
}
