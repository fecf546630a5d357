//! What is left under the caps that a chunk touches.

use std::collections::HashMap;

use crate::db::{Source as _, Statement, Store, StoreError};
use crate::model::{AllocId, BookingRequest, FolderId, HostId, JobId, ShowId};
use crate::units::{Amounts, Cores, Gpus, Kib};

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

#[derive(Debug)]
pub(crate) struct JobRemaining {
    pub(crate) folder: FolderId,
    pub(crate) cores: Cores,
    pub(crate) gpus: Gpus,
}

/// `None` = no cap.
#[derive(Debug)]
pub(crate) struct FolderRemaining {
    pub(crate) cores: Option<Cores>,
    pub(crate) gpus: Option<Gpus>,
}

/// What is left now, as far as anybody has committed.
pub(crate) async fn load_remaining(store: &Store, requests: &[&BookingRequest]) -> Result<Remaining, StoreError> {
    let statement = Statement::new("reading what is left", include_str!("../sql/book_room.sql"))
        .distinct(requests.iter().map(|request| &request.host))
        .distinct(requests.iter().map(|request| &request.frame.job));
    let mut remaining = Remaining::default();
    let rows = store.rows(statement).await?;
    rows.each(|row| {
        let (cores, gpus) = (row.number_or_null("cores")?.map(Cores), row.number_or_null("gpus")?.map(Gpus));
        // Only a folder's amounts can be absent.
        let (some_cores, some_gpus) = (cores.unwrap_or_default(), gpus.unwrap_or_default());
        match row.text("kind")?.as_str() {
            "host" => {
                let (memory, gpu_memory) = (Kib(row.number("memory")?), Kib(row.number("gpu_memory")?));
                let idle = Amounts { cores: some_cores, memory, gpus: some_gpus, gpu_memory };
                remaining.hosts.insert(row.id("id")?, HostRemaining { alloc: row.id("within")?, idle });
            }
            "subscription" => _ = remaining.subscriptions.insert((row.id("id")?, row.id("within")?), some_cores),
            "job" => {
                let job = JobRemaining { folder: row.id("within")?, cores: some_cores, gpus: some_gpus };
                remaining.jobs.insert(row.id("id")?, job);
            }
            _ => _ = remaining.folders.insert(row.id("id")?, FolderRemaining { cores, gpus }),
        }
        Ok(())
    })?;
    Ok(remaining)
}
