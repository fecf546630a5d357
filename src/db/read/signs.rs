//! Signs of life: of the hosts, and of the Cuebot that writes what they report.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::db::row::whole;
use crate::db::{Result, Source as _, Statement, Store};
use crate::model::{Cluster, HostId, ShowId, Timestamp};
use crate::units::Cores;

/// A pass waits so long at most for what was booked on busy hosts.
const BOOKED_LIMIT: Duration = Duration::from_secs(2);

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct EndedFrames {
    /// Of the pending jobs. Another number than before: completions are being applied.
    pub frames: i64,
    /// Something that ran before the silence was seen running after it.
    pub has_survivors: bool,
}

impl Store {
    /// Of the hosts of the clusters' facilities. One row.
    pub async fn newest_report(&self, clusters: &[Cluster]) -> Result<NewestReport> {
        let statement = Statement::new("looking for the newest host report", include_str!("../sql/newest_report.sql"))
            .distinct(clusters.iter().map(|cluster| &cluster.facility));
        self.rows(statement).await?.one(|row| {
            Ok(NewestReport {
                looked_at: row.time("looked_at")?,
                newest: row.time_or_null("newest")?,
                server_started: row.time("server_started")?,
            })
        })
    }

    /// Those of some hosts that are there, and up as Cuebot has it.
    pub async fn hosts_up(&self, hosts: &[HostId]) -> Result<HashSet<HostId>> {
        let statement =
            Statement::new("looking whether hosts are up", include_str!("../sql/hosts_up.sql")).texts(hosts);
        self.rows(statement).await?.all(|row| row.get("pk_host"))
    }

    /// The most cores that were booked at once on some hosts, in a time before their last reports. Expensive, and
    /// given up when it takes long.
    pub async fn booked_lately(&self, hosts: &[HostId], time: Duration) -> Result<HashMap<HostId, Cores>> {
        let statement =
            Statement::new("looking what was booked on hosts lately", include_str!("../sql/booked_lately.sql"))
                .texts(hosts)
                .bind(time.as_secs_f64());
        self.rows_within(BOOKED_LIMIT, statement).await?.all(|row| Ok((row.get("pk_host")?, row.get("cores")?)))
    }

    pub async fn host_names(&self) -> Result<Vec<String>> {
        let statement = Statement::new("reading the names of hosts", include_str!("../sql/host_names.sql"));
        self.rows(statement).await?.all(|row| row.get("str_name"))
    }

    /// What tells of the shows whether completions are being applied since a silence ended.
    pub async fn ended_frames(&self, shows: &[ShowId], silence_ended: Timestamp) -> Result<EndedFrames> {
        let statement = Statement::new("counting ended frames", include_str!("../sql/ended_frames.sql"))
            .texts(shows)
            .bind(silence_ended);
        self.rows(statement).await?.one(whole)
    }
}
