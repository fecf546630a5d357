//! The loops of the service, wired and run until told to stop.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::PassError;
use super::hints::Hints;
use super::launch::{Inbox, LaunchTargets, Launcher, OWN_LACK_PAUSE};
use super::named_once::NamedOnce;
use super::outage::{run_recover, run_silence};
use super::redirects::RedirectWatch;
use super::remembered::Remembered;
use super::repair::run_repair;
use super::report::PassReport;
use super::settings::Settings;
use super::silence::Silence;
use super::totals::Totals;
use super::turn::{Sink, Turn};
use crate::clusters;
use crate::config::FlagOff;
use crate::db::{ChangeProbe, ConnectSettings, MeterReading, Store, StoreError};
use crate::model::Cluster;
use crate::tasks::{Tasks, sleep_or_stop};
use crate::telemetry::labels::PassEnd;
use crate::telemetry::{
    Condition, DESCRIPTORS_REMEDY, Health, Metrics, PassFigures, error_chain, is_out_of_descriptors,
};

const RETRY_PAUSE_MIN: Duration = Duration::from_millis(200);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Longest rest after a pass that booked, or between two looks for changes, however long a pass takes.
const REST_MAX: Duration = Duration::from_secs(1);
/// Passes that may follow each other at once although nothing came of any. Each holds back what it could
/// not book.
pub(super) const FRUITLESS_PASSES_MAX: u32 = 10;
/// Between two warnings that a dry run is one.
const REMINDER_INTERVAL: Duration = Duration::from_mins(1);

/// What the service is made of.
#[derive(Debug)]
pub struct Parts {
    pub store: Store,
    pub targets: LaunchTargets,
    pub settings: Settings,
    pub metrics: Metrics,
    pub health: Health,
    pub totals: Totals,
}

/// How the service ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Nothing waited for so many looks in a row that the configuration says to stop.
    pub had_nothing_to_do: bool,
    /// Bookings whose launch was still unsettled; the next start settles them.
    pub unsettled: usize,
    /// Loops that did not end in time.
    pub unfinished: Vec<&'static str>,
}

/// The scheduler.
#[derive(Debug)]
pub struct Service {
    turn: Turn,
    launcher: Launcher,
    health: Health,
    totals: Totals,
    clusters: watch::Sender<Arc<[Cluster]>>,
    inbox: Inbox,
}

impl Service {
    /// Connects, trying again with growing pauses while the database is away.
    ///
    /// # Errors
    /// When the database answers and is not Cuebot's, or refuses us. `Ok(None)` when told to stop.
    pub async fn connect(
        settings: &ConnectSettings,
        health: &Health,
        stop: &CancellationToken,
    ) -> Result<Option<Store>, StoreError> {
        let settings = settings.clone().as_scheduler();
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            let attempt = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(None),
                attempt = Store::connect(&settings) => attempt,
            };
            match attempt {
                Ok(store) => {
                    health.clear(Condition::Database);
                    return Ok(Some(store));
                }
                Err(error) if error.is_connection_lost() => {
                    let chain = error_chain(&error);
                    tracing::error!(target: "scheduler", "Failed to connect to database: {chain}; trying again in {pause:?}");
                    health.raise(Condition::Database, format!("failed to connect to the database: {chain}"));
                    say_shortage(health, is_out_of_descriptors(&error));
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// Builds the clusters and gets everything ready; nothing runs yet.
    ///
    /// # Errors
    /// When the selection names what does not exist, or the database cannot be read.
    pub async fn prepare(parts: Parts) -> Result<Self, PassError> {
        let Parts { store, targets, settings, metrics, health, totals } = parts;
        let loaded = clusters::load(&store, &settings.selection, settings.chunk_sizes).await?;
        NamedOnce::default().name(&loaded.left_out);
        tracing::info!(target: "scheduler", clusters = loaded.clusters.len(), "built the clusters");
        let (clusters, _) = watch::channel(loaded.clusters.into());
        let hints = Hints::new(settings.host_breaker, settings.layer_breaker());
        let (launcher, inbox) =
            Launcher::new(store.clone(), targets, settings.clone(), hints.clone(), metrics.clone(), totals.clone());
        metrics.set_dry_run(settings.dry_run_mode);
        let sink =
            if settings.dry_run_mode { Sink::Preview(Remembered::default()) } else { Sink::Booking(launcher.clone()) };
        let silence =
            Arc::new(Mutex::new(Silence::new(settings.cuebot_silence).looking_every(settings.monitor_interval)));
        let redirects = RedirectWatch::default();
        let turn = Turn { store, sink, settings, hints, metrics, silence, redirects };
        Ok(Self { turn, launcher, health, totals, clusters, inbox })
    }

    /// Runs until `stop` is cancelled, or until there was nothing to do for long enough. Then: no new
    /// pass, the chunks under way are committed, launches are settled within the limit.
    pub async fn run(self, stop: CancellationToken) -> Ended {
        let Self { turn, launcher, health, totals, clusters, inbox } = self;
        let limit = turn.settings.shutdown_timeout;
        let tasks = Tasks::new();
        let late = Tasks::new();
        late.spawn("settle", launcher.clone().run(inbox, late.stop_signal()));
        tasks.spawn("clusters", run_clusters(turn.clone(), clusters.clone(), health.clone(), tasks.stop_signal()));
        match &turn.sink {
            Sink::Preview(preview) => {
                tracing::warn!(
                    target: "scheduler",
                    "dry run (rqd.dry_run_mode): nothing is booked, launched or repaired; bookings are only remembered"
                );
                tasks.spawn("dry run", run_reminder(preview.clone(), tasks.stop_signal()));
            }
            Sink::Booking(launcher) => {
                let recover = run_recover(turn.clone(), launcher.clone(), clusters.subscribe(), tasks.stop_signal());
                tasks.spawn("recover", recover);
                let silence = run_silence(turn.clone(), clusters.subscribe(), health.clone(), tasks.stop_signal());
                tasks.spawn("silence", silence);
                tasks.spawn("repair", run_repair(turn.clone(), clusters.subscribe(), tasks.stop_signal()));
                let redirects =
                    turn.redirects.clone().run(turn.store.clone(), turn.metrics.clone(), tasks.stop_signal());
                tasks.spawn("redirects", redirects);
            }
        }

        tracing::info!(target: "scheduler", "Starting scheduler feed");
        let passes = Passes {
            clusters: clusters.subscribe(),
            health: health.clone(),
            totals,
            named: NamedOnce::default(),
            database: MeterReading::default(),
            last_look: None,
            fruitless_in_a_row: 0,
            turn,
        };
        let had_nothing_to_do = passes.run(stop).await;

        let stopping = Instant::now();
        health.set_not_ready("stopping");
        tracing::info!(target: "scheduler", "stopping: no new pass, settling launches");
        let mut unfinished = tasks.stop(limit / 4).await;
        let unsettled = launcher.close(limit.saturating_sub(stopping.elapsed()).mul_f32(0.8)).await;
        unfinished.extend(late.stop(limit.saturating_sub(stopping.elapsed()).max(Duration::from_millis(500))).await);
        if unsettled > 0 || !unfinished.is_empty() {
            tracing::warn!(unsettled, ?unfinished, "stopped with work unsettled; the next start settles it");
        }
        tracing::info!(target: "scheduler", took = ?stopping.elapsed(), "stopped");
        Ended { had_nothing_to_do, unsettled, unfinished }
    }
}

/// The main loop.
struct Passes {
    turn: Turn,
    clusters: watch::Receiver<Arc<[Cluster]>>,
    health: Health,
    totals: Totals,
    named: NamedOnce,
    /// What the metrics were told already.
    database: MeterReading,
    last_look: Option<Instant>,
    fruitless_in_a_row: u32,
}

/// What a turn calls for.
enum Next {
    Now,
    /// After a rest as long as the look itself took, so that a farm that is full and turns its frames
    /// over does not keep the database busy with full looks alone.
    Rest(Duration),
    /// When something changed, or after the longest interval.
    Change(Option<ChangeProbe>),
    /// After a pause that grows with every failure.
    Retry,
    /// When Cuebot answers again.
    CuebotBack,
}

impl Passes {
    /// Returns true when there was nothing to do for long enough.
    async fn run(mut self, stop: CancellationToken) -> bool {
        let mut empty_looks = 0;
        let mut pause = RETRY_PAUSE_MIN;
        while !stop.is_cancelled() {
            let began = Instant::now();
            let limit = self.turn.settings.shutdown_timeout / 2;
            let looked = tokio::select! {
                biased;
                looked = self.look(&stop) => Some(looked),
                () = cancelled_for(&stop, limit) => None,
            };
            let Some((next, is_empty)) = looked else {
                tracing::warn!(target: "scheduler", "the last pass does not end; leaving it, the next start settles it");
                return false;
            };
            let empty_job_cycles_before_quiting = self.turn.settings.empty_job_cycles_before_quiting;
            let mut count = |is_empty: bool| {
                empty_looks = if is_empty { empty_looks + 1 } else { 0 };
                empty_job_cycles_before_quiting.is_some_and(|max| empty_looks >= max)
            };
            if count(is_empty) {
                tracing::info!(target: "scheduler", looks = empty_looks, "nothing to do for long enough; quitting");
                return true;
            }
            match next {
                Next::Now => pause = RETRY_PAUSE_MIN,
                Next::Rest(rest) => {
                    pause = RETRY_PAUSE_MIN;
                    if !sleep_or_stop(rest, &stop).await {
                        return false;
                    }
                }
                Next::Change(before) => {
                    pause = RETRY_PAUSE_MIN;
                    // A pass that placed nothing is not repeated more often than half of the time.
                    let rest = if is_empty { Duration::ZERO } else { self.turn.settings.cluster_saturated_sleep };
                    let gap = self.turn.settings.active_scan_interval.max(rest).max(began.elapsed().min(REST_MAX));
                    let released_at = self.turn.hints.next_release(began);
                    loop {
                        tokio::select! {
                            () = stop.cancelled() => return false,
                            () = tokio::time::sleep(gap) => {}
                        }
                        let is_due = began.elapsed() >= self.turn.settings.monitor_interval
                            || released_at.is_some_and(|at| at <= Instant::now());
                        if is_due || before.is_none() || self.probe().await != before {
                            break;
                        }
                        if count(is_empty) {
                            tracing::info!(target: "scheduler", "nothing to do for long enough; quitting");
                            return true;
                        }
                    }
                }
                Next::Retry => {
                    if !sleep_or_stop(pause, &stop).await {
                        return false;
                    }
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
                Next::CuebotBack => tokio::select! {
                    () = stop.cancelled() => return false,
                    () = self.turn.hints.silence_ended() => {}
                },
            }
        }
        false
    }

    /// One look and what it calls for; whether nothing at all waited.
    async fn look(&mut self, stop: &CancellationToken) -> (Next, bool) {
        say_shortage(&self.health, self.turn.hints.lacks_descriptors(Instant::now()));
        if self.health.holds(Condition::Database)
            && let Err(error) = self.turn.store.look_at_way().await
        {
            return (self.failed(&error.into()), false);
        }
        match self.turn.foreign_planner_blocks().await {
            Ok(false) => _ = self.health.clear(Condition::ForeignPlanner),
            Ok(true) => {
                self.recovered();
                let reason = "Cuebot's own planner is active on this database; booking nothing beside it. \
                              Stop it, or set scheduler.beside_maestro to book";
                if self.health.raise(Condition::ForeignPlanner, reason) {
                    tracing::error!(target: "scheduler", "{reason}");
                }
                return (Next::Retry, false);
            }
            Err(error) => return (self.failed(&error), false),
        }
        if self.turn.hints.is_silence() {
            self.recovered();
            return (Next::CuebotBack, false);
        }
        if self.turn.hints.is_paused(Instant::now()) {
            return (Next::Retry, false);
        }
        // Taken before the snapshot, so that what changes during the pass shows as a change.
        let before = self.probe().await;
        let clusters = Arc::clone(&self.clusters.borrow_and_update());
        let began = Instant::now();
        if let Some(last) = self.last_look.replace(began) {
            for cluster in clusters.iter() {
                self.turn.metrics.cluster_visited(cluster, began - last);
            }
        }
        match self.turn.run(&clusters, stop).await {
            Ok(report) => {
                self.recovered();
                self.totals.passed(&report.waiting);
                self.record(&report, began.elapsed());
                if report.shows_off.is_empty() {
                    self.health.clear(Condition::FlagOff);
                } else {
                    let shows = report.shows_off.join(", ");
                    self.health.raise(Condition::FlagOff, format!("switched off, so that Cuebot books too: {shows}"));
                }
                self.fruitless_in_a_row = if report.came_to_nothing() { self.fruitless_in_a_row + 1 } else { 0 };
                let next = if report.is_cut_short() || (1..FRUITLESS_PASSES_MAX).contains(&self.fruitless_in_a_row) {
                    Next::Now
                } else if report.did_something() {
                    let look = (report.snapshot_took + report.plan_took).min(REST_MAX);
                    Next::Rest(look.max(self.turn.settings.active_scan_interval))
                } else {
                    Next::Change(before)
                };
                (next, report.is_empty())
            }
            Err(error) => (self.failed(&error), false),
        }
    }

    async fn probe(&self) -> Option<ChangeProbe> {
        let clusters = Arc::clone(&self.clusters.borrow());
        let began = Instant::now();
        let probe = self.turn.store.probe_change(&clusters).await.ok();
        self.turn.metrics.change_probed(began.elapsed());
        probe
    }

    fn failed(&mut self, error: &PassError) -> Next {
        let chain = error_chain(error);
        self.ended(PassEnd::QueryError, MeterReading::default(), Duration::ZERO);
        self.turn.metrics.set_database_up(!error.is_database_away());
        if is_out_of_descriptors(error) {
            self.turn.hints.pause(OWN_LACK_PAUSE, Instant::now());
        }
        if error.is_database_away() {
            if self.health.raise(Condition::Database, format!("the database is away: {chain}")) {
                tracing::error!(target: "scheduler", "Failed to connect to database: {chain}; pausing until it is back");
            }
        } else {
            self.health.raise(Condition::Passes, format!("the last pass failed: {chain}"));
            tracing::error!(target: "scheduler", error = chain, "a pass failed; trying again");
        }
        Next::Retry
    }

    fn recovered(&self) {
        self.health.set_ready();
        self.turn.metrics.set_database_up(true);
        self.health.clear(Condition::Passes);
        if self.health.clear(Condition::Database) {
            tracing::info!(target: "scheduler", "the database is back; going on");
        }
    }

    fn ended(&mut self, end: PassEnd, database: MeterReading, duration: Duration) {
        let MeterReading { statements, rows_read, rows_written } = database;
        self.turn.metrics.pass_ended(&PassFigures { end, duration, statements, rows_read, rows_written });
        let now = self.turn.store.meter().reading();
        let used = now - self.database;
        self.turn.metrics.database_used(used.statements, used.rows_read, used.rows_written);
        self.database = now;
    }

    fn record(&mut self, report: &PassReport, took: Duration) {
        self.named.name(&report.left_out);
        let end = match report {
            PassReport { booked: 1.., .. } => PassEnd::Booked,
            PassReport { candidates: 0, .. } => PassEnd::NoJobs,
            _ => PassEnd::Saturated,
        };
        self.ended(end, report.database, took);
        if let Sink::Booking(launcher) = &self.turn.sink {
            self.turn.metrics.set_unsettled_bookings(launcher.unsettled());
        }
        if self.turn.settings.dry_run_mode && report.booked > 0 {
            tracing::info!(
                target: "scheduler",
                hosts = report.hosts,
                snapshot = ?report.snapshot_took,
                plan = ?report.plan_took,
                "Processed {} layers, would dispatch {} frames",
                report.candidates,
                report.booked,
            );
        } else if report.booked > 0 || report.planned > 0 {
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
                "Processed {} layers, dispatched {} frames",
                report.candidates,
                report.booked,
            );
        } else {
            tracing::debug!(target: "scheduler", candidates = report.candidates, hosts = report.hosts, "placed nothing");
        }
    }
}

/// Tells of a shortage of file descriptors, once when it begins, and of its end.
fn say_shortage(health: &Health, is_short: bool) {
    if is_short {
        let reason = format!("no file descriptor is left for connections to database or hosts; {DESCRIPTORS_REMEDY}");
        if health.raise(Condition::Descriptors, &reason) {
            tracing::error!(target: "scheduler", "{reason}");
        }
    } else if health.clear(Condition::Descriptors) {
        tracing::info!(target: "scheduler", "file descriptors are left again");
    }
}

impl Turn {
    pub(super) async fn foreign_planner_blocks(&self) -> Result<bool, PassError> {
        Ok(!self.settings.book_beside_foreign_planner && self.store.foreign_planner_active().await?)
    }
}

/// Rebuilds the clusters, so that new shows, tags and subscriptions appear without a restart.
async fn run_clusters(turn: Turn, clusters: watch::Sender<Arc<[Cluster]>>, health: Health, stop: CancellationToken) {
    let mut named = NamedOnce::default();
    while sleep_or_stop(turn.settings.cluster_reload_interval, &stop).await {
        let settings = &turn.settings;
        // Kept although their flag went off, also where being flagged is what makes a show ours.
        let left_after = (settings.flag_off == FlagOff::Stop).then_some(settings.flag_off_after);
        let kept = turn.hints.shows_kept(left_after, Instant::now());
        match clusters::load_keeping(&turn.store, &settings.selection, settings.chunk_sizes, &kept).await {
            Ok(loaded) => {
                named.name(&loaded.left_out);
                health.clear(Condition::Clusters);
                clusters.send_if_modified(|known| {
                    let is_new = **known != *loaded.clusters;
                    if is_new {
                        tracing::info!(target: "scheduler", clusters = loaded.clusters.len(), "rebuilt the clusters");
                        *known = loaded.clusters.into();
                    }
                    is_new
                });
            }
            Err(error) => {
                let chain = error_chain(&error);
                if health.raise(Condition::Clusters, format!("cannot rebuild the clusters: {chain}")) {
                    tracing::error!(error = chain, "cannot rebuild the clusters; going on with those there were");
                }
            }
        }
    }
}

/// Keeps saying that nothing is booked, so that nobody mistakes a dry run for the real thing.
async fn run_reminder(preview: Remembered, stop: CancellationToken) {
    while sleep_or_stop(REMINDER_INTERVAL, &stop).await {
        let frames = preview.reading().frames;
        tracing::warn!(
            target: "scheduler",
            frames,
            "dry run (rqd.dry_run_mode): nothing is booked or launched; {frames} frames would have been so far"
        );
    }
}

/// Ends so long after the stop.
async fn cancelled_for(stop: &CancellationToken, time: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(time).await;
}
