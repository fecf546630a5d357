//! What sets several metrics at once. The rooms that do the work call these with the model's own types.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prometheus::IntGaugeVec;
use strum::VariantNames as _;

use super::Metrics;
use super::labels::{CheckoutOutcome, PassEnd};
use crate::model::{
    CandidateIx, Cluster, ClusterIx, Holds, HostIx, HostOddity, HostState, JobIx, Plan, Snapshot, Tag, WaitReason,
};

/// Series of layers and of hosts that are held back.
const HELD_BACK_MAX: usize = 100;

/// What one pass asked of the database, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassFigures {
    pub end: PassEnd,
    pub duration: Duration,
    pub statements: u64,
    pub rows_read: u64,
    pub rows_written: u64,
}

impl Metrics {
    /// A snapshot was read and what is held is known: its hosts, clusters, jobs and unusable rows.
    pub fn snapshot_read(&self, snapshot: &Snapshot, holds: &Holds, duration: Duration) {
        self.job_query_duration.observe(duration.as_secs_f64());
        let jobs: BTreeSet<JobIx> = snapshot.candidates.iter().map(|candidate| candidate.job).collect();
        self.jobs_queried.inc_by(jobs.len() as u64);
        let states = HostState::VARIANTS.iter().copied();
        set_counts(&self.hosts, states, snapshot.hosts.iter().map(|host| (holds.state(host).into_str(), 1)));
        let odd = snapshot.hosts.iter().flat_map(|host| holds.oddities(host, snapshot.taken_at));
        let oddities = HostOddity::VARIANTS.iter().copied();
        set_counts(&self.odd_hosts, oddities, odd.map(|oddity| (oddity.into_str(), 1)));
        self.left_out_rows.reset();
        for row in &snapshot.left_out {
            self.left_out_rows.with_label_values(&[&*row.table]).inc();
        }
        self.count_clusters(snapshot);
    }

    /// The planner decided: reasons of what waits, hosts per layer.
    pub fn planned(&self, snapshot: &Snapshot, plan: &Plan, duration: Duration) {
        self.plan_duration.observe(duration.as_secs_f64());
        let mut hosts: BTreeMap<CandidateIx, BTreeSet<HostIx>> = BTreeMap::new();
        for placement in &plan.placements {
            hosts.entry(placement.candidate).or_default().insert(placement.host);
        }
        for hosts in hosts.values() {
            self.candidates_per_layer.observe(as_f64(hosts.len() as u64));
        }
        let without = snapshot.candidates.len().saturating_sub(hosts.len());
        self.no_candidate_iterations.inc_by(without as u64);
        self.checkouts.with_label_values(&[CheckoutOutcome::NoMatch.into_str()]).inc_by(without as u64);
        self.set_waiting(snapshot, plan);
        for waiting in &plan.waiting {
            if matches!(waiting.reason, WaitReason::JobCapNotPositive | WaitReason::JobCores | WaitReason::JobGpus) {
                self.job_cap_skips.inc();
            }
        }
    }

    /// Frames and layers by reason, as the pass left them. The caller may have changed reasons after
    /// [`Self::planned`], since a booking can lose what was planned.
    pub fn set_waiting(&self, snapshot: &Snapshot, plan: &Plan) {
        let mut frames: BTreeMap<(String, &'static str), i64> = BTreeMap::new();
        for waiting in &plan.waiting {
            let job = &snapshot.jobs[snapshot.candidates[waiting.candidate].job];
            let show = self.shows.label(&snapshot.shows[job.show].name).to_owned();
            *frames.entry((show, waiting.reason.into_str())).or_default() += i64::from(waiting.frames);
        }
        for series in self.shows.waiting(frames.keys().cloned()) {
            let (show, reason) = &series;
            self.waiting_frames
                .with_label_values(&[show, *reason])
                .set(frames.get(&series).copied().unwrap_or_default());
        }
        let layers = plan.waiting.iter().map(|waiting| (waiting.reason.into_str(), 1));
        set_counts(&self.waiting_layers, WaitReason::VARIANTS.iter().copied(), layers);
    }

    /// Layers and hosts that are held back after failures: only the service knows of them.
    pub fn set_held_back(&self, snapshot: &Snapshot, holds: &Holds) {
        let layers = snapshot.candidates.iter().filter(|candidate| holds.backing_off.contains(&candidate.layer));
        let layers = layers.map(|layer| ("layer", format!("{}/{}", snapshot.jobs[layer.job].name, layer.layer_name)));
        let hosts = snapshot.hosts.iter().filter(|host| holds.put_aside.contains_key(&host.id));
        let hosts = hosts.map(|host| ("host", host.name.clone()));
        let now: BTreeSet<(&'static str, String)> =
            layers.take(HELD_BACK_MAX).chain(hosts.take(HELD_BACK_MAX)).collect();
        for (kind, name) in &now {
            self.held_back.with_label_values(&[*kind, name]).set(1);
        }
        for (kind, name) in self.shows.held_back(now) {
            // Somebody else may have removed it.
            let _ = self.held_back.remove_label_values(&[kind, &name]);
        }
    }

    /// A frame of a show was booked, so long after it had become ready.
    pub fn frame_booked(&self, show: &str, waited: Duration) {
        self.time_to_book.with_label_values(&[self.shows.label(show)]).observe(waited.as_secs_f64());
    }

    /// A booking transaction ended, committed or not. `rolled_back` transactions came before it.
    pub fn chunk_ended(&self, duration: Duration, rolled_back: u32) {
        self.chunk_duration.observe(duration.as_secs_f64());
        self.chunks_rolled_back.inc_by(u64::from(rolled_back));
    }

    /// A launch is sent. The value returned counts it as in flight until it is dropped.
    #[must_use]
    pub fn launch_sent(&self) -> LaunchInFlight {
        self.launches_in_flight.inc();
        LaunchInFlight { gauge: self.launches_in_flight.clone() }
    }

    pub fn pass_ended(&self, figures: &PassFigures) {
        self.passes.inc();
        self.pass_duration.observe(figures.duration.as_secs_f64());
        self.pass_ends.with_label_values(&[figures.end.into_str()]).inc();
        self.statements_per_pass.observe(as_f64(figures.statements));
        self.rows_per_pass.observe(as_f64(figures.rows_read + figures.rows_written));
    }

    /// So much was asked of the database since the last call, by passes or otherwise.
    pub fn database_used(&self, statements: u64, rows_read: u64, rows_written: u64) {
        self.statements.inc_by(statements);
        self.rows_read.inc_by(rows_read);
        self.rows_written.inc_by(rows_written);
    }

    /// Hosts that rest, by name.
    pub fn set_failing_hosts(&self, hosts: &[String]) {
        self.failing_hosts.reset();
        for host in hosts {
            self.failing_hosts.with_label_values(&[host]).set(1);
        }
    }

    /// Whether Cuebot is silent, and how old the newest host report is.
    pub fn set_cuebot_silent(&self, is_silent: bool, newest_report_age: Duration) {
        self.cuebot_silent.set(i64::from(is_silent));
        self.newest_report_age.set(i64::try_from(newest_report_age.as_secs()).unwrap_or(i64::MAX));
    }

    fn count_clusters(&self, snapshot: &Snapshot) {
        let kinds = snapshot.clusters.iter().map(|cluster| (cluster.kind_name(), 1));
        set_counts(&self.clusters, Cluster::kind_names(), kinds);
        let active: BTreeSet<ClusterIx> =
            snapshot.candidates.iter().flat_map(|candidate| candidate.clusters.iter().copied()).collect();
        let tags: BTreeSet<&Tag> =
            active.iter().filter_map(|&cluster| snapshot.clusters.get(cluster.0)).flat_map(Cluster::tags).collect();
        self.clusters_active.set(as_i64(active.len()));
        self.clusters_sleeping.set(as_i64(snapshot.clusters.len().saturating_sub(active.len())));
        self.active_tags.set(as_i64(tags.len()));
    }
}

/// A launch that was sent and not answered yet.
#[derive(Debug)]
pub struct LaunchInFlight {
    gauge: prometheus::IntGauge,
}

impl Drop for LaunchInFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Sets every value of a closed list to the sum of what was found for it, to zero where nothing was.
fn set_counts(
    gauges: &IntGaugeVec,
    values: impl Iterator<Item = &'static str>,
    found: impl Iterator<Item = (&'static str, i64)>,
) {
    let mut counts: BTreeMap<&str, i64> = values.map(|value| (value, 0)).collect();
    for (value, count) in found {
        *counts.entry(value).or_default() += count;
    }
    for (value, count) in counts {
        gauges.with_label_values(&[value]).set(count);
    }
}

pub(super) fn as_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a pass, far below where a float loses whole numbers")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}
