//! Agents of some hosts, asked for their state.

use std::time::Duration;

use futures::future::join_all;

use super::finding::{Finding, Found, Selected, known};
use crate::db::check::Session;
use crate::rqd::Agents;
use crate::telemetry::error_chain;
use crate::units::counted;

/// Asks so many hosts, of those that are up and report, for their state.
pub(super) async fn call(
    session: &mut Session,
    agents: &Agents,
    number: usize,
    farm: &Selected,
    staleness: Duration,
) -> Found {
    let names = session.reporting_hosts(&known(farm)?.facilities, staleness).await?;
    let chosen = spread(&names, number);
    if chosen.is_empty() {
        let remedy = "start RQD on the hosts, and let it report to Cuebot";
        return Ok(Finding::failed("no host is up and reports", remedy));
    }
    let answers = join_all(chosen.iter().map(|host| agents.report(host))).await;
    let silent: Vec<String> =
        answers.iter().filter_map(|answer| answer.as_ref().err()).map(|error| error_chain(error)).collect();
    if silent.is_empty() {
        return Ok(Finding::ok(format!("{} answered", counted(chosen.len(), "agent"))));
    }
    let found = format!("{} of {} did not answer: {}", silent.len(), counted(chosen.len(), "agent"), silent.join("; "));
    let remedy =
        "see that host names resolve here, that nothing between blocks rqd.grpc_port, and that RQD listens there";
    Ok(Finding::failed(found, remedy))
}

/// So many of the names, evenly spread, the same every time.
fn spread(names: &[String], number: usize) -> Vec<&str> {
    let number = number.min(names.len());
    (0..number).filter_map(|at| names.get(at * names.len() / number)).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_chosen_from_all_over() {
        let names: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        assert_eq!(spread(&names, 3), ["0", "3", "6"]);
        assert_eq!(spread(&names, 20).len(), 10);
        assert!(spread(&names, 0).is_empty() && spread(&[], 3).is_empty());
    }
}
