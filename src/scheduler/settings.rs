//! What the configuration means to the loop.

use std::time::Duration;

use super::silence::OVERDUE_AFTER;
use crate::config::{BesideMaestro, Config, CuebotSilence, FlagOff, FractionalCores};
use crate::db::{NewestReport, SnapshotOptions};
use crate::model::{Policy, Selection, TagChunkSizes};
use crate::rqd::{AgentSettings, BreakerSettings, ConfirmSettings, MemoryLimitFactors};

/// A layer whose launches failed on this many different hosts in a row, without one success, is held
/// back.
const LAYER_FAILURES_MAX: u32 = 3;
/// At first for so long, doubled each time up to what the settings say.
const LAYER_BACK_OFF_FIRST: Duration = Duration::from_secs(10);

/// Every Cuebot reads the flag of a show again after 30 s.
const FLAG_READ_AGAIN: Duration = Duration::from_secs(30);

/// Cuebot's own planner launches up to 150 seconds after its commit.
const FOREIGN_LAUNCH_MAX: Duration = Duration::from_secs(165);

#[derive(Clone, Debug)]
pub struct Settings {
    pub selection: Selection,
    pub chunk_sizes: TagChunkSizes,
    pub policy: Policy,
    /// Whether fractions of a core are rounded up on hosts whose agent has refused them.
    pub learns_fractions: bool,
    /// A host whose last report is older takes nothing.
    pub host_staleness: Duration,
    /// Cuebot's `limit.settle_window_seconds`.
    pub limit_settle_window: Duration,
    /// Longest time between two full looks.
    pub monitor_interval: Duration,
    /// Between two cheap looks for changes while nothing can be placed.
    pub probe_interval: Duration,
    /// Least rest after a pass that placed nothing although work waits.
    pub saturated_rest: Duration,
    pub cluster_reload_interval: Duration,
    /// Frames in one booking transaction, about.
    pub chunk_frames_max: usize,
    pub chunks_in_flight_max: usize,
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
    /// How long a layer whose launches keep failing is held back.
    pub layer_back_off: Duration,
    /// Between two searches for bookings of dead instances.
    pub recover_interval: Duration,
    /// Between two comparisons of the counters with the procs.
    pub repair_interval: Duration,
    /// When no host report means that Cuebot does not answer.
    pub cuebot_silence: CuebotSilence,
    /// What to do with a show whose scheduler flag is switched off while we run.
    pub flag_off: FlagOff,
    /// So long after that such a show is left to Cuebot.
    pub flag_off_after: Duration,
    /// So long after a silence, bookings that have given no sign of life since before may be asked about.
    pub lost_after: Duration,
    /// Longest time from the stop signal to the end.
    pub shutdown_limit: Duration,
    /// Ends the service after so many looks in a row at which nothing waited; for tests.
    pub empty_looks_max: Option<u32>,
    /// Books also while Cuebot's own planner is active.
    pub book_beside_foreign_planner: bool,
    /// Bookings are only remembered; nothing is written and nothing launched.
    pub is_dry_run: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            chunk_sizes: TagChunkSizes::default(),
            policy: Policy::default(),
            learns_fractions: true,
            host_staleness: Duration::from_mins(2),
            limit_settle_window: Duration::from_mins(2),
            monitor_interval: Duration::from_secs(5),
            probe_interval: Duration::from_millis(250),
            saturated_rest: Duration::from_millis(250),
            cluster_reload_interval: Duration::from_mins(2),
            chunk_frames_max: 250,
            chunks_in_flight_max: 3,
            launches_waiting_max: 2_000,
            launch_deadline: Duration::from_secs(20),
            launch_timeout: Duration::from_secs(10),
            confirm: ConfirmSettings::default(),
            host_breaker: BreakerSettings::hosts(),
            memory_limits: MemoryLimitFactors::default(),
            layer_back_off: Duration::from_mins(5),
            recover_interval: Duration::from_secs(10),
            repair_interval: Duration::from_secs(15),
            cuebot_silence: CuebotSilence::Auto,
            flag_off: FlagOff::Stop,
            flag_off_after: FLAG_READ_AGAIN,
            lost_after: Duration::from_secs(30),
            shutdown_limit: Duration::from_secs(20),
            empty_looks_max: None,
            book_beside_foreign_planner: false,
            is_dry_run: false,
        }
    }
}

impl Settings {
    /// What the configuration says.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let defaults = Self::default();
        Self {
            selection: config.selection(),
            chunk_sizes: config.chunk_sizes(),
            policy: config.policy(),
            learns_fractions: config.rqd.fractional_cores == FractionalCores::Auto,
            host_staleness: config.host_cache.host_staleness_threshold,
            limit_settle_window: config.queue.limit_settle_window,
            monitor_interval: config.queue.monitor_interval,
            probe_interval: config.queue.active_scan_interval,
            saturated_rest: config.queue.cluster_saturated_sleep,
            cluster_reload_interval: config.queue.cluster_reload_interval,
            chunk_frames_max: config.queue.booking_chunk_size,
            chunks_in_flight_max: config.queue.booking_chunks_in_flight,
            launches_waiting_max: (config.rqd.launches_in_flight * 8).max(config.queue.booking_chunk_size),
            launch_deadline: config.rqd.launch_deadline,
            launch_timeout: config.rqd.connect_timeout + config.rqd.launch_timeout,
            confirm: ConfirmSettings { apart: config.rqd.confirm_interval, ..defaults.confirm },
            host_breaker: BreakerSettings {
                failures: config.rqd.breaker_failures,
                cool_down_first: config.rqd.breaker_cool_down,
                cool_down_max: config.rqd.breaker_cool_down * 15,
                pause: (config.rqd.breaker_cool_down / 12).min(defaults.host_breaker.pause),
            },
            memory_limits: MemoryLimitFactors {
                soft: config.queue.frame_memory_soft_limit,
                hard: config.queue.frame_memory_hard_limit,
            },
            layer_back_off: config.queue.job_back_off_duration,
            recover_interval: config.rqd.launch_deadline.min(defaults.recover_interval),
            repair_interval: config.accounting.recompute_interval,
            cuebot_silence: config.queue.cuebot_silence,
            lost_after: config.queue.lost_after,
            flag_off: config.scheduler.flag_off,
            shutdown_limit: config.queue.shutdown_timeout,
            empty_looks_max: config.queue.empty_job_cycles_before_quiting,
            book_beside_foreign_planner: config.scheduler.beside_maestro == BesideMaestro::Book,
            is_dry_run: config.rqd.dry_run_mode,
            ..defaults
        }
    }

    /// How the farm is read by somebody who remembers nothing: no host and no layer is held back, but for
    /// hosts that are overdue whatever a running scheduler has learned of them.
    #[must_use]
    pub fn snapshot_options(&self) -> SnapshotOptions {
        let overdue = (self.cuebot_silence != CuebotSilence::Off).then_some(OVERDUE_AFTER);
        SnapshotOptions {
            staleness: overdue.map_or(self.host_staleness, |overdue| self.host_staleness.min(overdue)),
            limit_settle_window: self.limit_settle_window,
        }
    }

    /// For how long no host has reported, where that is a silence of Cuebot whatever a running scheduler has
    /// learned of the farm.
    #[must_use]
    pub fn silence(&self, reports: &NewestReport) -> Option<Duration> {
        let limit = match self.cuebot_silence {
            CuebotSilence::Off => return None,
            CuebotSilence::After(limit) => limit,
            CuebotSilence::Auto => OVERDUE_AFTER,
        };
        Duration::try_from(reports.looked_at - reports.newest?).ok().filter(|age| *age > limit)
    }

    /// How agents are called.
    #[must_use]
    pub fn agents_of(config: &Config) -> AgentSettings {
        AgentSettings {
            port: config.rqd.grpc_port,
            connect_timeout: config.rqd.connect_timeout,
            call_timeout: config.rqd.launch_timeout,
            calls_in_flight_max: config.rqd.launches_in_flight,
            calls_per_host_max: config.rqd.launches_in_flight_per_host,
            ..AgentSettings::default()
        }
    }

    /// When a layer whose launches keep failing is held back, and for how long.
    #[must_use]
    pub fn layer_breaker(&self) -> BreakerSettings {
        BreakerSettings {
            failures: LAYER_FAILURES_MAX,
            pause: Duration::ZERO,
            cool_down_first: self.layer_back_off.min(LAYER_BACK_OFF_FIRST),
            cool_down_max: self.layer_back_off,
        }
    }

    /// The age at which a booking that nobody has reported is no longer in anybody's hands: whoever
    /// made it has launched it, or taken it back, or is gone.
    #[must_use]
    pub fn recovery_age(&self) -> Duration {
        let ours = self.launch_deadline + self.launch_timeout + Duration::from_secs(1);
        if self.book_beside_foreign_planner { ours.max(FOREIGN_LAUNCH_MAX) } else { ours }
    }
}
