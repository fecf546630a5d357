//! What checks are told, what they find, and why one could not be made.

use std::collections::BTreeSet;
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
    /// A transaction that is open for so long is told of.
    pub long_transaction: Duration,
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

    /// A warning of what was found; where that is nothing, all is well.
    pub(super) fn warning_of(found: String, all_is_well: &str, remedy: impl Into<String>) -> Self {
        if found.is_empty() { Self::ok(all_is_well) } else { Self::warning(found, remedy) }
    }

    pub(super) fn failed(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Failed, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// What a check found, or why it could not be made.
pub(super) type Found = Result<Finding, CheckError>;

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
        match &error {
            StoreError::Unanswered => Self::Lost,
            StoreError::Query { source, .. } if error.is_forbidden() => Self::Forbidden(error_chain(source)),
            StoreError::Query { source, .. } => Self::Refused(error_chain(source)),
            error => Self::Refused(error_chain(error)),
        }
    }
}

impl From<SelectionError> for CheckError {
    fn from(error: SelectionError) -> Self {
        match error {
            SelectionError::Unknown(_) | SelectionError::Ambiguous(_) | SelectionError::NothingLeft(_) => {
                Self::Named(error.to_string())
            }
            SelectionError::Store(error) => error.into(),
        }
    }
}

/// What the settings select.
pub(super) struct Farm {
    pub(super) rows: ClusterRows,
    pub(super) clusters: Vec<Cluster>,
    pub(super) shows: Vec<ShowId>,
    pub(super) facilities: Vec<FacilityId>,
}

impl Farm {
    pub(super) async fn load(store: &Store, wanted: &Wanted) -> Result<Self, CheckError> {
        let rows = store.load_cluster_rows().await?;
        let clusters = clusters::build(&rows, &wanted.selection, wanted.chunk_sizes)?;
        let shows: BTreeSet<&ShowId> = clusters.iter().map(|cluster| &cluster.show).collect();
        let facilities: BTreeSet<&FacilityId> = clusters.iter().map(|cluster| &cluster.facility).collect();
        let (shows, facilities) = (shows.into_iter().cloned().collect(), facilities.into_iter().cloned().collect());
        Ok(Self { rows, clusters, shows, facilities })
    }
}

/// What the settings select, or why it is not known.
pub(super) type Selected = Result<Farm, CheckError>;

/// Something that checks need, or why they cannot be made without it.
pub(super) fn known<T>(needed: &Result<T, CheckError>) -> Result<&T, CheckError> {
    needed.as_ref().map_err(Clone::clone)
}

/// Names for a sentence; the rest is counted.
pub(super) fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    listed(names, LISTED_MAX)
}
