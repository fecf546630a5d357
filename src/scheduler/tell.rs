//! What logs, metrics and health say of a pass.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::cycle::{Pass, Planned};
use super::report::PassReport;
use super::settings::Settings;
use crate::booking::LostReason;
use crate::config::FlagOff;
use crate::model::{ClusterIx, JobId, LayerId, ShowId};
use crate::telemetry::labels::{CapTable, CheckoutOutcome};
use crate::telemetry::{Condition, Health, Metrics, NO_CONNECTIONS};

/// Of a shortage of file descriptors, once when it begins, and of its end.
pub(super) fn shortage(health: &Health, is_short: bool) {
    if is_short {
        if health.raise(Condition::Descriptors, NO_CONNECTIONS) {
            tracing::error!(target: "scheduler", "{NO_CONNECTIONS}");
        }
    } else if health.clear(Condition::Descriptors) {
        tracing::info!(target: "scheduler", "file descriptors are left again");
    }
}

/// Of a plan, before anything of it is booked.
pub(super) fn planned(planned: &Planned, metrics: &Metrics, settings: &Settings) {
    let Planned { snapshot, holds, plan, flags, snapshot_took, plan_took } = planned;
    metrics.snapshot_read(snapshot, holds, *snapshot_took);
    metrics.planned(snapshot, plan, *plan_took);
    metrics.set_held_back(snapshot, holds);
    for show in &flags.switched_off {
        metrics.flag_switched_off(show);
        let then = match settings.flag_off {
            FlagOff::Stop => {
                format!("it is booked for {:?} more, until every Cuebot knows", settings.flag_off_after)
            }
            FlagOff::Keep => "it is booked all the same (scheduler.flag_off)".to_owned(),
        };
        tracing::error!(target: "scheduler", show, "the scheduler flag of a show was switched off: Cuebot books it too; {then}");
    }
    for show in &flags.switched_on {
        tracing::info!(target: "scheduler", show, "the scheduler flag of a show is on again");
    }
}

/// Of shows whose flag is off.
pub(super) fn flags(health: &Health, shows_off: &[String]) {
    if shows_off.is_empty() {
        health.clear(Condition::FlagOff);
    } else {
        let reason = "switched off for shows that are booked here, so that Cuebot books them too; the log names them";
        health.raise(Condition::FlagOff, reason);
    }
}

/// Feeds the metrics that tell shows and clusters apart.
pub(super) fn booked(metrics: &Metrics, pass: &Pass) {
    let Pass { snapshot, plan, booked, lost, .. } = pass;
    let mut layers: HashMap<&LayerId, u64> = HashMap::new();
    let mut shows: HashMap<&ShowId, (u64, HashSet<&JobId>)> = HashMap::new();
    for booked in booked {
        *layers.entry(&booked.layer).or_default() += 1;
        let (frames, jobs) = shows.entry(&booked.show).or_default();
        *frames += 1;
        jobs.insert(&booked.job);
    }
    for show in &snapshot.shows {
        if let Some((frames, jobs)) = shows.get(&show.id) {
            metrics.frames_dispatched(&show.name, *frames);
            metrics.jobs_processed(&show.name, jobs.len() as u64);
        }
    }
    let mut clusters: BTreeMap<ClusterIx, u64> = BTreeMap::new();
    let mut checked_out: HashSet<&LayerId> = HashSet::new();
    for placement in &plan.placements {
        let layer = &snapshot.candidates[placement.candidate].layer;
        let frames = layers.get(layer).copied().unwrap_or_default();
        if checked_out.insert(layer) {
            *clusters.entry(placement.cluster).or_default() += frames;
            metrics.checkout(if frames > 0 { CheckoutOutcome::Booked } else { CheckoutOutcome::NoProgress });
        }
    }
    for (cluster, frames) in clusters {
        metrics.pass_dispatched(&snapshot.clusters[cluster], frames);
    }
    for lost in lost {
        metrics.booking_lost(lost.reason.as_str());
        let table = match lost.reason {
            LostReason::BurstReached => CapTable::Subscription,
            LostReason::FolderCores | LostReason::FolderGpus => CapTable::FolderResource,
            LostReason::JobCores | LostReason::JobGpus => CapTable::JobResource,
            LostReason::LimitReached => CapTable::LimitRecord,
            _ => continue,
        };
        metrics.cap_reached(table);
    }
}

/// `act`: what became of the frames.
pub(super) fn pass(report: &PassReport, act: &str) {
    if report.planned == 0 {
        tracing::debug!(target: "scheduler", candidates = report.candidates, hosts = report.hosts, "placed nothing");
        return;
    }
    tracing::info!(
        target: "scheduler",
        planned = report.planned,
        lost = report.planned.saturating_sub(report.booked),
        hosts = report.hosts,
        snapshot = ?report.snapshot_took,
        plan = ?report.plan_took,
        booking = ?report.booking_took,
        statements = report.database.statements,
        rows = report.database.rows_read + report.database.rows_written,
        "Processed {} layers, {act} {} frames",
        report.candidates,
        report.booked,
    );
}
