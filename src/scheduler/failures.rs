//! The loop that looks at frames that failed at once, and lets hosts rest for it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::failing_hosts::Suspect;
use crate::db::{AT_ONCE, FailedRun, StoreError, WatchedRun};
use crate::model::LayerId;
use crate::tasks::sleep_or_stop;
use crate::telemetry::error_chain;

/// Between two looks.
const TICK: Duration = Duration::from_secs(2);

/// Looks at what failed, and lets hosts rest. Where nothing failed and nothing was booked, nothing is asked.
pub(super) async fn run_failing_hosts(context: Context, stop: CancellationToken) {
    let mut pause = TICK;
    while sleep_or_stop(pause, &stop).await {
        if !context.settings().rest_failing_hosts {
            continue;
        }
        let began = Instant::now();
        if let Err(error) = look(&context).await {
            tracing::debug!(error = error_chain(&error), "cannot look at frames that failed");
        }
        // Where that is much work for the database, it is at it a small part of the time.
        pause = TICK.max(began.elapsed() * 10);
    }
}

async fn look(context: &Context) -> Result<(), StoreError> {
    let Context { store, hints, metrics, .. } = context;
    let due = hints.failing_hosts(|hosts| hosts.due(Instant::now()));
    if !due.is_empty() {
        let failures = context.settings().own_failures();
        let runs: HashMap<_, WatchedRun> = store.load_watched_runs(&due, &failures).await?;
        let now = Instant::now();
        hints.failing_hosts(|hosts| {
            for booked in &due {
                if let Some(WatchedRun { ago, after }) = runs.get(&booked.frame) {
                    let run = FailedRun { host_name: booked.host_name.clone(), ago: *ago, after: *after };
                    hosts.failed(&booked.job, &booked.layer, &run, now);
                }
            }
        });
    }
    let suspects = hints.failing_hosts(|hosts| {
        let suspects = hosts.suspects(Instant::now());
        hosts.in_turn(suspects)
    });
    let mut runs = HashSet::new();
    if !suspects.is_empty() {
        let of_suspect = |suspect: &Suspect| {
            let layers = suspect.layers.keys().cloned();
            layers.map(|layer| (suspect.host_name.clone(), layer)).collect::<Vec<_>>()
        };
        let asked: Vec<(String, LayerId)> = suspects.iter().flat_map(of_suspect).collect();
        runs = store.layers_run_elsewhere(&asked, AT_ONCE).await?;
    }
    let now = Instant::now();
    let (found, (resting, not_resting)) =
        hints.failing_hosts(|hosts| (hosts.judge(&suspects, &runs, now), hosts.names(now)));
    metrics.set_failing_hosts(&resting);
    metrics.set_failing_hosts_kept(not_resting);
    for (host, reason) in found.rest {
        tracing::warn!(target: "scheduler", host, "a host is put aside: {reason}");
    }
    for hosts in found.work_at_fault {
        let hosts = hosts.into_iter().collect::<Vec<_>>();
        tracing::warn!(
            target: "scheduler",
            hosts = hosts.join(", "),
            "work fails at once on {} hosts of one allocation, too many to be broken at the same time: it is the \
             work's fault, and none of them rests for it",
            hosts.len()
        );
    }
    Ok(())
}
