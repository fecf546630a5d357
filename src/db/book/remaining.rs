//! What is left under the caps that a chunk touches.

use std::collections::HashMap;

use sqlx::FromRow;

use crate::db::row::whole;
use crate::db::{Result, Source as _, Statement, Store};
use crate::model::{AllocId, BookingRequest, FolderId, HostId, JobId, ShowId};
use crate::units::{Amounts, Cores, Gpus};

#[derive(Debug, Default)]
pub(crate) struct Remaining {
    /// Open hosts only.
    pub(crate) hosts: HashMap<HostId, HostRemaining>,
    pub(crate) subscriptions: HashMap<(ShowId, AllocId), Cores>,
    pub(crate) jobs: HashMap<JobId, JobRemaining>,
    pub(crate) folders: HashMap<FolderId, FolderRemaining>,
}

#[derive(Debug)]
pub(crate) struct HostRemaining {
    pub(crate) alloc: AllocId,
    pub(crate) idle: Amounts,
}

#[derive(Debug, FromRow)]
pub(crate) struct JobRemaining {
    #[sqlx(rename = "within")]
    pub(crate) folder: FolderId,
    pub(crate) cores: Cores,
    pub(crate) gpus: Gpus,
}

/// `None` = no cap.
#[derive(Debug, FromRow)]
pub(crate) struct FolderRemaining {
    pub(crate) cores: Option<Cores>,
    pub(crate) gpus: Option<Gpus>,
}

/// What is left now, as far as anybody has committed.
pub(crate) async fn load_remaining(store: &Store, requests: &[&BookingRequest]) -> Result<Remaining> {
    let statement = Statement::new("reading what is left", include_str!("../sql/book_room.sql"))
        .distinct(requests.iter().map(|request| &request.host))
        .distinct(requests.iter().map(|request| &request.frame.job));
    let mut remaining = Remaining::default();
    store.rows(statement).await?.each(|row| {
        match row.text("kind")?.as_str() {
            "host" => {
                let idle = row.amounts(["cores", "memory", "gpus", "gpu_memory"])?;
                remaining.hosts.insert(row.get("id")?, HostRemaining { alloc: row.get("within")?, idle });
            }
            "subscription" => {
                remaining.subscriptions.insert((row.get("id")?, row.get("within")?), row.get("cores")?);
            }
            "job" => _ = remaining.jobs.insert(row.get("id")?, whole(row)?),
            _ => _ = remaining.folders.insert(row.get("id")?, whole(row)?),
        }
        Ok(())
    })?;
    Ok(remaining)
}
