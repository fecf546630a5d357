//! Signs of life: of the hosts, and of the Cuebot that writes what they report.

use std::collections::HashSet;

use super::reading::step;
use super::row::Columns;
use super::{Store, StoreError};
use crate::model::{Cluster, FacilityId, HostId, ShowId, Timestamp};

/// When Cuebot last heard of any host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewestReport {
    /// The database's clock.
    pub looked_at: Timestamp,
    /// `None` where there is no host.
    pub newest: Option<Timestamp>,
    /// Another time than before: the database was away, if only for a moment.
    pub server_started: Timestamp,
}

/// What has ended, and what may still end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedFrames {
    /// Of the pending jobs. Another number than before: completions are being applied.
    pub frames: i64,
    /// Something that ran before the silence was seen running after it.
    pub has_survivors: bool,
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
            Ok(NewestReport {
                looked_at: row.time("looked_at")?,
                newest: row.time_or_null("newest")?,
                server_started: row.time("server_started")?,
            })
        };
        decode(Columns(row)).map_err(|problem: super::row::Problem| step(doing)(sqlx::Error::Decode(problem.into())))
    }

    /// Those of some hosts that are there, and up as Cuebot has it.
    pub async fn hosts_up(&self, hosts: &[HostId]) -> Result<HashSet<HostId>, StoreError> {
        let doing = "looking whether hosts are up";
        let statement = sqlx::query_scalar::<_, String>(include_str!("sql/hosts_up.sql"))
            .bind(hosts.iter().map(HostId::as_str).collect::<Vec<_>>());
        let up = super::answer(statement.fetch_all(self.pool())).await.map_err(step(doing))?;
        self.meter().count_read(up.len());
        Ok(up.into_iter().map(HostId::from).collect())
    }

    /// What tells of the shows whether completions are being applied since a silence ended.
    pub async fn ended_frames(&self, shows: &[ShowId], silence_ended: Timestamp) -> Result<EndedFrames, StoreError> {
        let doing = "counting ended frames";
        let statement = sqlx::query(include_str!("sql/ended_frames.sql"))
            .bind(shows.iter().map(ShowId::as_str).collect::<Vec<_>>())
            .bind(silence_ended);
        let rows = self.rows(doing, statement).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound).map_err(step(doing))?;
        let decode = |row: Columns<'_>| {
            Ok(EndedFrames { frames: row.number("frames")?, has_survivors: row.flag("has_survivors")? })
        };
        decode(Columns(row)).map_err(|problem: super::row::Problem| step(doing)(sqlx::Error::Decode(problem.into())))
    }
}
