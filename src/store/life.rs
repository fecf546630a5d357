//! Signs of life: of the hosts, and of the Cuebot that writes what they report.

use super::reading::step;
use super::row::Columns;
use super::{Store, StoreError};
use crate::model::{Cluster, FacilityId, ShowId, Timestamp};

/// When Cuebot last heard of any host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewestReport {
    /// The database's clock.
    pub looked_at: Timestamp,
    /// `None` where there is no host.
    pub newest: Option<Timestamp>,
}

impl Store {
    /// Of the hosts of the clusters' facilities. One row.
    pub async fn newest_report(&self, clusters: &[Cluster]) -> Result<NewestReport, StoreError> {
        let doing = "looking for the newest host report";
        let facilities: Vec<FacilityId> = super::snapshot::distinct(clusters.iter().map(|cluster| &cluster.facility));
        let statement = sqlx::query(include_str!("sql/newest_report.sql"))
            .bind(facilities.iter().map(FacilityId::as_str).collect::<Vec<_>>());
        let rows = self.rows(doing, statement).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound).map_err(step(doing))?;
        let decode = |row: Columns<'_>| {
            Ok(NewestReport { looked_at: row.time("looked_at")?, newest: row.time_or_null("newest")? })
        };
        decode(Columns(row)).map_err(|problem: super::row::Problem| step(doing)(sqlx::Error::Decode(problem.into())))
    }

    /// How many frames of the shows' pending jobs have ended. Another number than before: completions
    /// are being applied.
    pub async fn ended_frames(&self, shows: &[ShowId]) -> Result<i64, StoreError> {
        let doing = "counting ended frames";
        let statement = sqlx::query(include_str!("sql/ended_frames.sql"))
            .bind(shows.iter().map(ShowId::as_str).collect::<Vec<_>>());
        let rows = self.rows(doing, statement).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound).map_err(step(doing))?;
        Columns(row).number("frames").map_err(|problem| step(doing)(sqlx::Error::Decode(problem.into())))
    }
}
