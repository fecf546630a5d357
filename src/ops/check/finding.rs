//! What checks are told, what they find, and why one could not be made.

use std::time::Duration;

use serde::Serialize;
use strum::IntoStaticStr;

use crate::clusters::{self, SelectionError};
use crate::db::check::STATEMENT_LIMIT;
use crate::db::{ClusterRows, Store, StoreError};
use crate::model::{Cluster, FacilityId, Selection, ShowId, TagChunkSizes};
use crate::rqd::Agents;
use crate::telemetry::error_chain;
use crate::units::listed;

/// Names at most this many are listed.
pub(super) const LISTED_MAX: usize = 8;
/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    pub name: &'static str,
    pub status: Status,
    pub found: String,
    /// What to do; `None` when there is nothing to do.
    pub remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, IntoStaticStr)]
#[serde(into = "&str")]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum Status {
    Ok,
    /// Another check failed, without which an answer would mean nothing.
    #[strum(serialize = "not checked")]
    NotChecked,
    /// The service would run, and less well or not for all.
    Warning,
    /// The service would not run, or not book.
    Failed,
}

/// What the service would be told.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub selection: Selection,
    pub chunk_sizes: TagChunkSizes,
    pub host_staleness: Duration,
    pub book_beside_foreign_planner: bool,
    /// Schedulers with these settings that run at once.
    pub instances: u32,
    /// How to reach agents, and how many hosts' to call.
    pub agents: Option<(Agents, usize)>,
}

/// What the store asks has a longer limit of its own.
pub(super) async fn bounded<T, E: From<StoreError>>(asked: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    tokio::time::timeout(STATEMENT_LIMIT, asked).await.unwrap_or_else(|_| Err(StoreError::Unanswered.into()))
}

/// A check's answer.
pub(super) struct Finding {
    pub(super) status: Status,
    pub(super) found: String,
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(found: impl Into<String>) -> Self {
        Self { status: Status::Ok, found: found.into(), remedy: None }
    }

    pub(super) fn not_checked(found: impl Into<String>) -> Self {
        Self { status: Status::NotChecked, found: found.into(), remedy: None }
    }

    pub(super) fn warning(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn failed(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Failed, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Why a check could not be made.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CheckError {
    #[error("the database refused: {0}")]
    Refused(String),
    /// For lack of a privilege.
    #[error("the database refused: {0}")]
    Forbidden(String),
    #[error("the database stopped answering")]
    Lost,
    /// The settings name what is not there.
    #[error("{0}")]
    Named(String),
    #[error("{0}")]
    NotAsked(&'static str),
    /// Another check failed, without which this one means nothing.
    #[error("depends on {0}")]
    After(&'static str),
}

impl From<StoreError> for CheckError {
    fn from(error: StoreError) -> Self {
        let told = |source: &dyn std::error::Error| error_chain(source);
        match &error {
            StoreError::Unanswered => Self::Lost,
            StoreError::Query { source, .. } if error.is_forbidden() => Self::Forbidden(told(source)),
            StoreError::Query { source, .. } => Self::Refused(told(source)),
            error => Self::Refused(told(error)),
        }
    }
}

impl From<SelectionError> for CheckError {
    fn from(error: SelectionError) -> Self {
        match error {
            SelectionError::Unknown(_) => Self::Named(error.to_string()),
            SelectionError::Store(error) => error.into(),
        }
    }
}

/// What the settings select.
pub(super) struct Farm {
    pub(super) rows: ClusterRows,
    pub(super) clusters: Vec<Cluster>,
}

impl Farm {
    pub(super) async fn load(store: &Store, wanted: &Wanted) -> Result<Self, CheckError> {
        let rows = store.load_cluster_rows().await?;
        let clusters = clusters::build(&rows, &wanted.selection, wanted.chunk_sizes)?;
        Ok(Self { rows, clusters })
    }

    pub(super) fn shows(&self) -> Vec<ShowId> {
        distinct(self.clusters.iter().map(|cluster| cluster.show.clone()))
    }

    pub(super) fn facilities(&self) -> Vec<FacilityId> {
        distinct(self.clusters.iter().map(|cluster| cluster.facility.clone()))
    }
}

/// What the settings select, or why it is not known.
pub(super) type Selected<T> = Result<Vec<T>, CheckError>;

pub(super) fn selected<T>(selected: &Selected<T>) -> Result<&[T], CheckError> {
    selected.as_deref().map_err(Clone::clone)
}

pub(super) fn distinct<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// Names for a sentence; the rest is counted.
pub(super) fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    listed(names, LISTED_MAX)
}
