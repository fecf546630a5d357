//! Launches compared with each other and with the procs.

use std::collections::{BTreeMap, HashSet};

use tokio::time::Instant;

use super::report::AuditReport;
use super::rule::AuditRule;
use crate::farm::launch::Launch;

/// A proc that holds a running frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RunningProc {
    pub(super) proc: String,
    pub(super) frame: String,
    pub(super) host: String,
}

pub(super) fn compare(launches: &[Launch], running: &[RunningProc], report: &mut AuditReport) {
    let found = double_launches(launches);
    report.add(AuditRule::DoubleLaunch, found.len() as u64, found);

    let accepted: HashSet<(&str, &str, &str)> =
        launches.iter().map(|launch| (launch.resource.as_str(), launch.frame.as_str(), launch.host.as_str())).collect();
    let found: Vec<_> = running
        .iter()
        .filter(|held| !accepted.contains(&(held.proc.as_str(), held.frame.as_str(), held.host.as_str())))
        .map(|held| (held.proc.clone(), format!("no launch of frame {} on {} for it", held.frame, held.host)))
        .collect();
    report.add(AuditRule::ProcWithoutLaunch, found.len() as u64, found);

    let held: HashSet<(&str, &str)> = running.iter().map(|held| (held.proc.as_str(), held.frame.as_str())).collect();
    let found: Vec<_> = launches
        .iter()
        .filter(|launch| launch.ended_at.is_none())
        .filter(|launch| !held.contains(&(launch.resource.as_str(), launch.frame.as_str())))
        .map(|launch| {
            (launch.resource.to_string(), format!("frame {} runs on {} without it", launch.frame, launch.host))
        })
        .collect();
    report.add(AuditRule::ProcessWithoutProc, found.len() as u64, found);
}

/// Launches that began while an earlier one of their frame had not ended, each once. A launch runs up
/// to its end and not at it: one that begins at that moment is the next.
fn double_launches(launches: &[Launch]) -> Vec<(String, String)> {
    let mut by_frame: BTreeMap<&str, Vec<&Launch>> = BTreeMap::new();
    for launch in launches {
        by_frame.entry(launch.frame.as_str()).or_default().push(launch);
    }
    let mut doubles = Vec::new();
    for (frame, mut launches) in by_frame {
        launches.sort_by_key(|launch| launch.started_at);
        let mut longest: Option<&Launch> = None;
        for launch in launches {
            if let Some(earlier) = longest.filter(|earlier| runs_at(earlier, launch.started_at)) {
                let detail = format!(
                    "launched on {} for proc {} while it ran on {} for proc {}",
                    launch.host, launch.resource, earlier.host, earlier.resource
                );
                doubles.push((frame.to_owned(), detail));
            }
            let outlasts = longest.is_none_or(|earlier| match (earlier.ended_at, launch.ended_at) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(earlier), Some(end)) => end > earlier,
            });
            if outlasts {
                longest = Some(launch);
            }
        }
    }
    doubles
}

fn runs_at(launch: &Launch, moment: Instant) -> bool {
    launch.ended_at.is_none_or(|end| end > moment)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn launch(base: Instant, frame: &str, span: (u64, Option<u64>)) -> Launch {
        let at = |second| base + Duration::from_secs(second);
        Launch {
            frame: frame.into(),
            resource: format!("proc-{frame}-{}", span.0).into(),
            host: "host".to_owned(),
            started_at: at(span.0),
            ended_at: span.1.map(at),
        }
    }

    fn doubles(spans: &[(u64, Option<u64>)]) -> usize {
        let base = Instant::now();
        double_launches(&spans.iter().map(|span| launch(base, "frame", *span)).collect::<Vec<_>>()).len()
    }

    #[test]
    fn one_after_the_other_is_no_double_launch() {
        assert_eq!(doubles(&[(0, Some(5)), (5, Some(9)), (9, None)]), 0);
        assert_eq!(doubles(&[(9, None), (0, Some(5)), (5, Some(9))]), 0);
    }

    #[test]
    fn an_overlap_is_found_whatever_lies_between() {
        assert_eq!(doubles(&[(0, Some(5)), (4, Some(6))]), 1);
        assert_eq!(doubles(&[(0, None), (4, Some(6))]), 1);
        assert_eq!(doubles(&[(0, Some(100)), (1, Some(2)), (50, Some(60))]), 2);
        assert_eq!(doubles(&[(0, None), (0, None)]), 1);
    }

    #[test]
    fn frames_are_told_apart() {
        let base = Instant::now();
        let launches = [launch(base, "one", (0, None)), launch(base, "two", (0, None))];
        assert_eq!(double_launches(&launches), []);
    }
}
