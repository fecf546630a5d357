//! Finding the rows that other sessions hold, after a transaction waited for one of them in vain.
//!
//! A release of Cuebot holds a row for some milliseconds, an operator's forgotten session for hours.

use std::collections::HashSet;

use crate::db::{Result, Source as _, Statement, Store};
use crate::model::{AllocId, HostId, JobId, LayerId, ShowId};

/// What other sessions hold at one moment.
#[derive(Debug, Default)]
pub(crate) struct LockedRows {
    pub(crate) hosts: HashSet<HostId>,
    pub(crate) layers: HashSet<LayerId>,
    pub(crate) jobs: HashSet<JobId>,
    pub(crate) subscriptions: HashSet<(ShowId, AllocId)>,
}

impl LockedRows {
    /// Hosts alone, asked before a chunk begins.
    pub(crate) async fn of_hosts<'a>(store: &Store, hosts: impl Iterator<Item = &'a HostId>) -> Result<Self> {
        let statement = Statement::new("looking for held hosts", include_str!("../sql/book_locked_hosts.sql"));
        let hosts = store.rows(statement.distinct(hosts)).await?.all(|row| row.get("pk_host"))?;
        Ok(Self { hosts, ..Self::default() })
    }

    /// Everything that is changed by booking frames of these layers and jobs on these hosts, or by taking
    /// them back.
    pub(crate) async fn find<'a>(
        store: &Store,
        rows: impl Iterator<Item = (&'a HostId, &'a LayerId, &'a JobId)> + Clone,
    ) -> Result<Self> {
        let statement = Statement::new("looking for held rows", include_str!("../sql/book_locked_rows.sql"))
            .distinct(rows.clone().map(|(host, ..)| host))
            .distinct(rows.clone().map(|(_, layer, _)| layer))
            .distinct(rows.map(|(.., job)| job));
        let mut locked = Self::default();
        store.rows(statement).await?.each(|row| {
            match row.text("kind")?.as_str() {
                "host" => _ = locked.hosts.insert(row.get("id")?),
                "layer" => _ = locked.layers.insert(row.get("id")?),
                "job" => _ = locked.jobs.insert(row.get("id")?),
                _ => _ = locked.subscriptions.insert((row.get("id")?, row.get("within")?)),
            }
            Ok(())
        })?;
        Ok(locked)
    }
}
