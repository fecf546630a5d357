//! Whether a database, and what the settings name in it, are fit for the service.
//!
//! Checks run in a fixed order and say what they found and, where that is not good, what to do. They
//! are told apart by their names, which stay as they are.
//!
//! Invariants:
//! - nothing is written: every statement runs in a read-only transaction;
//! - every check ends: no statement is waited for much longer than [`STATEMENT_LIMIT`], and a server
//!   that stops answering is asked nothing more;
//! - a check that cannot be made has failed, and the others are made all the same;
//! - what a user may not see is said, never guessed.

mod agents;
mod farm;
mod schema;
mod server;
mod session;

use std::time::Duration;

use serde::Serialize;

use crate::cluster::{self, SelectionError};
use crate::model::{Cluster, FacilityId, Selection, ShowId, TagChunkSizes};
use crate::rqd::Agents;
use crate::store::{ClusterRows, ConnectSettings, Store, StoreError};
use crate::telemetry::error_chain;
use session::Session;

/// Longest time of one statement.
const STATEMENT_LIMIT: Duration = Duration::from_secs(10);
/// Names at most this many are listed.
const LISTED_MAX: usize = 8;

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    pub name: &'static str,
    pub status: Status,
    pub found: String,
    /// What to do; `None` when there is nothing to do.
    pub remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// The service would run, and less well or not for all.
    Warning,
    /// The service would not run, or not book.
    Failed,
}

impl Status {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
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

/// Makes all checks.
///
/// # Errors
/// When there is no connection to make them over.
pub async fn check(connect: &ConnectSettings, wanted: &Wanted) -> Result<Vec<CheckResult>, StoreError> {
    let mut session = Session::open(connect).await?;
    let mut report = Report::default();
    let place = format!("{} at {}:{} as {}", connect.name, connect.host, connect.port, connect.user);
    report.add("connection", Ok(Finding::ok(place)));
    report.add("tls", server::tls(&mut session, connect.tls).await);
    report.add("server", server::version(&mut session).await);
    report.add("latency", server::latency(&mut session).await);
    report.add("clock", server::clock(&mut session).await);

    let one_connection = ConnectSettings { pool_size: 1, ..connect.clone() };
    let store = bounded(Store::connect(&one_connection)).await.unwrap_or_else(|_| {
        Err(StoreError::Query { step: "looking at the schema", source: sqlx::Error::PoolTimedOut })
    });
    report.add("schema", Ok(schema::generation(store.as_ref())));
    let features = store.as_ref().ok().map(Store::features);
    report.add("read-privileges", schema::read_privileges(&mut session, &connect.user).await);
    report.add("write-privileges", schema::write_privileges(&mut session, &connect.user, features).await);
    report.add("triggers", schema::triggers(&mut session).await);
    report.add("indexes", schema::indexes(&mut session).await);
    report.add("connections", server::connections(&mut session, connect.pool_size, wanted.instances).await);
    report.add("pooling-proxy", server::pooling_proxy(&mut session, connect).await);

    let farm = match &store {
        Ok(store) => bounded(Farm::load(store, wanted)).await.and_then(|farm| farm),
        Err(_) => Err(CheckError::NotAsked("the schema is not right")),
    };
    report.add("selection", farm::selection(&farm, wanted));
    let farm = farm.unwrap_or_default();
    let shows = farm.shows();
    report.add("subscriptions", farm::subscriptions(&mut session, &shows).await);
    report.add("folders", farm::folders(&mut session, &shows).await);
    let hosts = farm::hosts(&mut session, &farm.facilities(), wanted.host_staleness).await;
    report.add("hosts", hosts.as_ref().map_err(Clone::clone).map(farm::host_states));
    report.add("stale-hosts", hosts.map(|hosts| farm::stale_hosts(&hosts, wanted.host_staleness)));
    report.add("counters", farm::counters(&mut session, &shows, &farm.facilities()).await);
    report.add("frameless-procs", farm::frameless_procs(&mut session, &farm.facilities()).await);
    report.add("owners", Ok(farm::owners(&farm)));
    let is_foreign_active = match &store {
        Ok(store) => {
            bounded(store.foreign_planner_active()).await.and_then(|is_active| is_active.map_err(CheckError::from))
        }
        Err(_) => Err(CheckError::NotAsked("the schema is not right")),
    };
    report.add(
        "foreign-planner",
        is_foreign_active.map(|is_active| farm::foreign_planner(is_active, wanted.book_beside_foreign_planner)),
    );
    if let Some((agents, hosts)) = &wanted.agents {
        let names = agents::reporting(&mut session, &farm.facilities(), wanted.host_staleness).await;
        report.add(
            "agents",
            match names {
                Ok(names) => Ok(agents::call(agents, &names, *hosts).await),
                Err(error) => Err(error),
            },
        );
    }
    if let Ok(store) = store {
        store.close().await;
    }
    session.close().await;
    Ok(report.0)
}

/// What the store asks has a longer limit of its own.
async fn bounded<T>(asked: impl Future<Output = T>) -> Result<T, CheckError> {
    tokio::time::timeout(STATEMENT_LIMIT, asked).await.map_err(|_| CheckError::Lost)
}

#[derive(Default)]
struct Report(Vec<CheckResult>);

impl Report {
    fn add(&mut self, name: &'static str, finding: Result<Finding, CheckError>) {
        let Finding { status, found, remedy } = finding.unwrap_or_else(|error| Finding {
            status: Status::Failed,
            found: format!("cannot tell: {}", error_chain(&error)),
            remedy: None,
        });
        self.0.push(CheckResult { name, status, found, remedy });
    }
}

/// A check's answer.
struct Finding {
    status: Status,
    found: String,
    remedy: Option<String>,
}

impl Finding {
    fn ok(found: impl Into<String>) -> Self {
        Self { status: Status::Ok, found: found.into(), remedy: None }
    }

    fn warning(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn failed(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Failed, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Why a check could not be made.
#[derive(Clone, Debug, thiserror::Error)]
enum CheckError {
    #[error("the database refused: {0}")]
    Refused(String),
    #[error("the database stopped answering")]
    Lost,
    #[error("{0}")]
    Named(String),
    #[error("{0}")]
    NotAsked(&'static str),
}

impl From<sqlx::Error> for CheckError {
    fn from(error: sqlx::Error) -> Self {
        Self::Refused(error_chain(&error))
    }
}

impl From<StoreError> for CheckError {
    fn from(error: StoreError) -> Self {
        Self::Named(error_chain(&error))
    }
}

impl From<SelectionError> for CheckError {
    fn from(error: SelectionError) -> Self {
        Self::Named(error_chain(&error))
    }
}

/// What the settings select.
#[derive(Default)]
struct Farm {
    rows: ClusterRows,
    clusters: Vec<Cluster>,
}

impl Farm {
    async fn load(store: &Store, wanted: &Wanted) -> Result<Self, CheckError> {
        let rows = store.load_cluster_rows().await?;
        let clusters = cluster::build(&rows, &wanted.selection, wanted.chunk_sizes)?;
        Ok(Self { rows, clusters })
    }

    fn shows(&self) -> Vec<ShowId> {
        distinct(self.clusters.iter().map(|cluster| cluster.show.clone()))
    }

    fn facilities(&self) -> Vec<FacilityId> {
        distinct(self.clusters.iter().map(|cluster| cluster.facility.clone()))
    }
}

fn distinct<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// Names for a sentence; the rest is counted.
fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    let more = names.len().saturating_sub(LISTED_MAX);
    let listed = names[..names.len() - more].join(", ");
    if more > 0 { format!("{listed} and {more} more") } else { listed }
}

/// `1 host`, `2 hosts`.
fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
