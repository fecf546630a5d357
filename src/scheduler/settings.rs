//! What the configuration means to the loop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::silence::OVERDUE_AFTER;
use crate::config::{BesideMaestro, Config, CueLicenses, CuebotSilence, FlagOff, FractionalCores};
use crate::db::{NewestReport, OwnFailures, SnapshotOptions};
use crate::model::{Policy, Selection, TagChunkSizes};
use crate::rqd::{BreakerSettings, ConfirmSettings, MemoryLimitFactors};

/// A layer whose launches failed on this many different hosts in a row, without one success, is held
/// back.
const LAYER_FAILURES_MAX: u32 = 3;
/// At first for so long, doubled each time up to what the settings say.
const LAYER_BACK_OFF_FIRST: Duration = Duration::from_secs(10);

/// Between two searches for bookings of dead instances, at most.
const RECOVER_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// Every Cuebot reads the flag of a show again after 30 s.
const FLAG_READ_AGAIN: Duration = Duration::from_secs(30);

/// Cuebot's own planner launches up to 150 seconds after its commit.
const FOREIGN_LAUNCH_MAX: Duration = Duration::from_secs(165);

#[derive(Clone, Debug)]
pub struct Settings {
    pub selection: Selection,
    pub chunk_sizes: TagChunkSizes,
    pub policy: Policy,
    /// [`FractionalCores::Auto`]: rounded up on hosts whose agent has refused them.
    pub fractional_cores: FractionalCores,
    /// A host whose last report is older takes nothing.
    pub host_staleness_threshold: Duration,
    /// Cuebot's `limit.settle_window_seconds`.
    pub limit_settle_window: Duration,
    /// Longest time between two full looks.
    pub monitor_interval: Duration,
    /// Between two cheap looks for changes while nothing can be placed.
    pub active_scan_interval: Duration,
    /// Least rest after a pass that placed nothing although work waits.
    pub cluster_saturated_sleep: Duration,
    pub cluster_reload_interval: Duration,
    /// Frames in one booking transaction, about.
    pub booking_chunk_size: usize,
    pub booking_chunks_in_flight: usize,
    /// Bookings that may wait for their launch; no more are made before some are launched.
    pub launches_waiting_max: usize,
    /// A launch that could not be sent this long after its booking is taken back unsent.
    pub launch_deadline: Duration,
    /// Longest time of one launch call, part of the age at which a booking counts as nobody's.
    pub launch_timeout: Duration,
    pub confirm: ConfirmSettings,
    /// When hosts whose launches fail are put aside.
    pub host_breaker: BreakerSettings,
    pub memory_limits: MemoryLimitFactors,
    /// How long a frame keeps off the host of its last failure.
    pub retry_elsewhere: Duration,
    /// Whether hosts rest on which frames of several jobs fail at once.
    pub rest_failing_hosts: bool,
    /// Exit statuses after which a run is neither a retry nor a failure of its own.
    pub excused_statuses: Vec<i64>,
    /// How long a layer whose launches keep failing is held back.
    pub job_back_off_duration: Duration,
    /// Between two searches for bookings of dead instances.
    pub recover_interval: Duration,
    /// Between two comparisons of the counters with the procs.
    pub recompute_interval: Duration,
    /// When no host report means that Cuebot does not answer.
    pub cuebot_silence: CuebotSilence,
    /// What to do with a show whose scheduler flag is switched off while we run.
    pub flag_off: FlagOff,
    /// So long after that such a show is left to Cuebot.
    pub flag_off_after: Duration,
    /// So long after a silence, bookings that have given no sign of life since before may be asked about.
    pub lost_after: Duration,
    /// Longest time from the stop signal to the end.
    pub shutdown_timeout: Duration,
    /// Ends the service after so many looks in a row at which nothing waited; for tests.
    pub empty_job_cycles_before_quiting: Option<u32>,
    /// What to do with work whose environment declares licences.
    pub cue_licenses: CueLicenses,
    /// What to do while Cuebot's own planner is active.
    pub beside_maestro: BesideMaestro,
    /// Bookings are only remembered; nothing is written and nothing launched.
    pub dry_run_mode: bool,
}

/// The settings that hold now. Cloning shares them: who replaces them does so for all.
#[derive(Clone, Debug)]
pub(super) struct SharedSettings(watch::Sender<Arc<Settings>>);

impl SharedSettings {
    pub(super) fn new(settings: Settings) -> Self {
        Self(watch::Sender::new(Arc::new(settings)))
    }

    pub(super) fn now(&self) -> Arc<Settings> {
        Arc::clone(&self.0.borrow())
    }

    pub(super) fn replace(&self, settings: Settings) {
        self.0.send_replace(Arc::new(settings));
    }

    /// Tells when they are replaced from now on.
    pub(super) fn watched(&self) -> watch::Receiver<Arc<Settings>> {
        self.0.subscribe()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::of(&Config::default())
    }
}

impl Settings {
    /// What the configuration says.
    pub fn of(config: &Config) -> Self {
        let Config { rqd, queue, host_cache, scheduler, accounting, .. } = config;
        Self {
            selection: config.selection(),
            chunk_sizes: config.chunk_sizes(),
            policy: config.policy(),
            fractional_cores: rqd.fractional_cores,
            host_staleness_threshold: host_cache.host_staleness_threshold,
            limit_settle_window: queue.limit_settle_window,
            monitor_interval: queue.monitor_interval,
            active_scan_interval: queue.active_scan_interval,
            cluster_saturated_sleep: queue.cluster_saturated_sleep,
            cluster_reload_interval: queue.cluster_reload_interval,
            booking_chunk_size: queue.booking_chunk_size,
            booking_chunks_in_flight: queue.booking_chunks_in_flight,
            launches_waiting_max: (rqd.agents.calls_in_flight_max * 8).max(queue.booking_chunk_size),
            launch_deadline: rqd.launch_deadline,
            launch_timeout: rqd.agents.connect_timeout + rqd.agents.call_timeout,
            confirm: ConfirmSettings { apart: rqd.confirm_interval, ..ConfirmSettings::default() },
            host_breaker: BreakerSettings::of_hosts(rqd),
            memory_limits: queue.memory_limits,
            retry_elsewhere: queue.retry_elsewhere,
            rest_failing_hosts: queue.rest_failing_hosts,
            excused_statuses: queue.layer_delay_rules.iter().map(|rule| rule.exit_status).collect(),
            job_back_off_duration: queue.job_back_off_duration,
            recover_interval: rqd.launch_deadline.min(RECOVER_INTERVAL_MAX),
            recompute_interval: accounting.recompute_interval,
            cuebot_silence: queue.cuebot_silence,
            lost_after: queue.lost_after,
            flag_off: scheduler.flag_off,
            flag_off_after: FLAG_READ_AGAIN,
            shutdown_timeout: queue.shutdown_timeout,
            empty_job_cycles_before_quiting: queue.empty_job_cycles_before_quiting,
            cue_licenses: scheduler.cue_licenses,
            beside_maestro: scheduler.beside_maestro,
            dry_run_mode: rqd.dry_run_mode,
        }
    }

    /// How the farm is read by somebody who remembers nothing: no host and no layer is held back, but for
    /// hosts that are overdue whatever a running scheduler has learned of them.
    pub fn snapshot_options(&self) -> SnapshotOptions {
        let overdue = (self.cuebot_silence != CuebotSilence::Off).then_some(OVERDUE_AFTER);
        SnapshotOptions {
            staleness: overdue
                .map_or(self.host_staleness_threshold, |overdue| self.host_staleness_threshold.min(overdue)),
            limit_settle_window: self.limit_settle_window,
            gpu_keep: self.policy.gpu_keep,
            refuses_licences: self.cue_licenses == CueLicenses::Refuse,
        }
    }

    /// What counts as a frame's own failure on a host.
    pub(super) fn own_failures(&self) -> OwnFailures {
        OwnFailures { moment: self.retry_elsewhere, excused: self.excused_statuses.clone() }
    }

    /// For how long no host has reported, where that is a silence of Cuebot whatever a running scheduler has
    /// learned of the farm.
    pub fn silence(&self, reports: &NewestReport) -> Option<Duration> {
        let limit = match self.cuebot_silence {
            CuebotSilence::Off => return None,
            CuebotSilence::After(limit) => limit,
            CuebotSilence::Auto => OVERDUE_AFTER,
        };
        Duration::try_from(reports.looked_at - reports.newest?).ok().filter(|age| *age > limit)
    }

    /// When a layer whose launches keep failing is held back, and for how long.
    pub fn layer_breaker(&self) -> BreakerSettings {
        BreakerSettings {
            failures: LAYER_FAILURES_MAX,
            pause: Duration::ZERO,
            cool_down_first: self.job_back_off_duration.min(LAYER_BACK_OFF_FIRST),
            cool_down_max: self.job_back_off_duration,
        }
    }

    /// The age at which nobody works any more on a booking that no agent has reported: whoever made it has
    /// launched it, or taken it back, or is gone.
    pub fn recovery_age(&self) -> Duration {
        let ours = self.launch_deadline + self.launch_timeout + Duration::from_secs(1);
        match self.beside_maestro {
            BesideMaestro::Book => ours.max(FOREIGN_LAUNCH_MAX),
            BesideMaestro::Refuse => ours,
        }
    }
}
