//! Whether a database, and what the settings name in it, are fit for the service.
//!
//! Checks run in a fixed order and say what they found and, where that is not good, what to do. They
//! are told apart by their names, which stay as they are.
//!
//! Invariants:
//! - nothing is written: every statement runs in a read-only transaction;
//! - every check ends: no statement is waited for much longer than its limit, and a server that stops
//!   answering is asked nothing more;
//! - a check that cannot be made has failed; those whose answers would then mean nothing are not made
//!   and name it, all others are made all the same;
//! - what a user may not see is said, never guessed.

mod agents;
mod dead_rows;
mod farm;
mod finding;
mod schema;
mod server;
mod work;

use std::collections::BTreeMap;

use crate::db::check::Session;
use crate::db::{ConnectSettings, Store, StoreError};
use crate::telemetry::error_chain;
use finding::{CheckError, Farm, Finding, bounded, known};
pub use finding::{CheckResult, Status, Wanted};

/// The check that names what this user may not read, and why others are then refused.
const READ_PRIVILEGES: &str = "read-privileges";

/// Makes all checks.
///
/// # Errors
/// When there is no connection to make them over.
pub async fn check(connect: &ConnectSettings, wanted: &Wanted) -> Result<Vec<CheckResult>, StoreError> {
    let mut session = Session::open(connect).await?;
    let mut report = Report::default();
    let place = format!("{} at {}:{} as {}", connect.name, connect.host, connect.port, connect.user);
    report.add("connection", Ok(Finding::ok(place)));
    report.add("tls", server::tls(&mut session).await);
    report.add("server", server::version(&mut session).await);
    report.add("latency", server::latency(&mut session).await);
    report.add("clock", server::clock(&mut session).await);

    let one_connection = ConnectSettings { pool_size: 1, may_be_pooled: true, ..connect.clone() };
    let store = bounded(Store::connect(&one_connection)).await;
    check_schema(&mut session, store.as_ref(), &mut report).await;
    report.add("connections", server::connections(&mut session, connect.pool_size, wanted.instances).await);
    report.add("pooling-proxy", server::pooling_proxy(&mut session, connect).await);
    report.add("dead-rows", dead_rows::held_back(&mut session, wanted.long_transaction).await);
    check_farm(&mut session, store.as_ref().ok(), wanted, &mut report).await;
    if let Ok(store) = store {
        store.close().await;
    }
    session.close().await;
    Ok(report.results)
}

async fn check_schema(session: &mut Session, store: Result<&Store, &StoreError>, report: &mut Report) {
    report.add("schema", Ok(schema::generation(store)));
    let features = store.ok().map(Store::features);
    let lacks = schema::lacks(store);
    report.add(READ_PRIVILEGES, schema::read_privileges(session, &lacks).await);
    report.add("write-privileges", schema::write_privileges(session, features, &lacks).await);
    report.add("triggers", schema::triggers(session, &lacks).await);
    report.add("indexes", schema::indexes(session, &lacks).await);
}

async fn check_farm(session: &mut Session, store: Option<&Store>, wanted: &Wanted, report: &mut Report) {
    let farm = match store {
        Some(store) => bounded(Box::pin(Farm::load(store, wanted))).await,
        None => Err(CheckError::After("schema")),
    };
    report.add("selection", farm::selection(&farm));
    let farm = report.is_right("selection").and(farm);
    report.add("subscriptions", farm::subscriptions(session, &farm).await);
    report.add("folders", farm::folders(session, &farm).await);
    let hosts = farm::hosts(session, &farm, wanted.host_staleness).await;
    report.add("hosts", known(&hosts).map(farm::host_states));
    let stale = match hosts {
        Ok(hosts) => farm::stale_hosts(&hosts, wanted.host_staleness),
        Err(error) => report.is_right("hosts").and(Err(error)),
    };
    report.add("stale-hosts", stale);
    report.add("counters", farm::counters(session, &farm).await);
    report.add("waiting-counts", farm::waiting_counts(session, &farm).await);
    report.add("limits", farm::limits(session, &farm).await);
    report.add("tags", work::tags(session, &farm).await);
    report.add("slots", work::slots(session, store, &farm).await);
    report.add("licences", work::licences(session, &farm).await);
    report.add("chunks", work::chunks(session, &farm).await);
    report.add("silent-procs", farm::silent_procs(session, &farm).await);
    report.add("frameless-procs", farm::frameless_procs(session, &farm).await);
    report.add("left-out-rows", dead_rows::left_out(store, &farm).await);
    report.add("owners", known(&farm).map(farm::owners));
    report.add("foreign-planner", farm::foreign_planner(store, wanted.book_beside_foreign_planner).await);
    if let Some((agents, hosts)) = &wanted.agents {
        let farm = report.is_right("stale-hosts").and(farm);
        report.add("agents", agents::call(session, agents, *hosts, &farm, wanted.host_staleness).await);
    }
}

#[derive(Default)]
struct Report {
    results: Vec<CheckResult>,
    /// Checks that failed or were not made, each with the one that it comes from.
    causes: BTreeMap<&'static str, &'static str>,
    /// The check during which the database stopped answering.
    lost_at: Option<&'static str>,
}

impl Report {
    /// Takes down what a check found.
    fn add(&mut self, name: &'static str, finding: Result<Finding, CheckError>) {
        let cause = match &finding {
            Err(CheckError::After(cause)) => Some(*cause),
            Err(CheckError::Lost) => self.lost_at.or_else(|| {
                self.lost_at = Some(name);
                None
            }),
            Err(CheckError::Forbidden(_)) if self.causes.contains_key(READ_PRIVILEGES) => Some(READ_PRIVILEGES),
            _ => None,
        };
        let Finding { status, found, remedy } = match (cause, finding) {
            (Some(cause), _) => Finding::not_checked(format!("depends on {cause}")),
            (None, Ok(finding)) => finding,
            (None, Err(error)) => {
                Finding { status: Status::Failed, found: format!("cannot tell: {}", error_chain(&error)), remedy: None }
            }
        };
        if matches!(status, Status::NotChecked | Status::Failed) {
            self.causes.insert(name, cause.unwrap_or(name));
        }
        self.results.push(CheckResult { name, status, found, remedy });
    }

    /// Else what those have to say that need this check.
    fn is_right(&self, name: &str) -> Result<(), CheckError> {
        self.causes.get(name).map_or(Ok(()), |cause| Err(CheckError::After(cause)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_cause_has_failed() {
        let forbidden = || Err(CheckError::Forbidden("no".to_owned()));
        let mut report = Report::default();
        report.add("folders", forbidden());
        report.add(READ_PRIVILEGES, Ok(Finding::failed("no SELECT", "GRANT")));
        report.add("hosts", forbidden());
        report.add("counters", Err(CheckError::Lost));
        report.add("owners", Err(CheckError::Lost));
        report.add("agents", report.is_right("hosts").and(Ok(Finding::ok("all answer"))));
        let told: Vec<_> = report.results.iter().map(|result| (result.name, result.status, &*result.found)).collect();
        assert_eq!(
            told,
            [
                ("folders", Status::Failed, "cannot tell: the database refused: no"),
                ("read-privileges", Status::Failed, "no SELECT"),
                ("hosts", Status::NotChecked, "depends on read-privileges"),
                ("counters", Status::Failed, "cannot tell: the database stopped answering"),
                ("owners", Status::NotChecked, "depends on counters"),
                ("agents", Status::NotChecked, "depends on read-privileges"),
            ]
        );
    }
}
