//! The loop of passes, and what is told of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::cycle::{Cycle, Pass};
use super::database::look_at_schema;
use super::error::PassError;
use super::launch::{Launcher, OWN_LACK_PAUSE};
use super::named_once::NamedOnce;
use super::pacing::{End, Event, Pacing, Passed, Step};
use super::settings::Settings;
use super::tell;
use super::totals::Totals;
use crate::db::{ChangeProbe, MeterReading};
use crate::model::{HostOddity, LeftOutRow};
use crate::tasks::sleep_or_stop;
use crate::telemetry::labels::PassEnd;
use crate::telemetry::{Condition, PassFigures, error_chain, is_out_of_descriptors};

/// Between two passes while work waits for agents that keep launches waiting.
const AGENTS_TICK: Duration = Duration::from_millis(500);
/// Between two warnings that a dry run is one.
const REMINDER_INTERVAL: Duration = Duration::from_mins(1);

/// The main loop.
pub(super) struct Passes {
    context: Context,
    /// Those that everything here goes by.
    settings: Arc<Settings>,
    cycle: Cycle,
    pacing: Pacing,
    totals: Totals,
    launcher: Option<Launcher>,
    named: NamedOnce<LeftOutRow>,
    odd_hosts: NamedOnce<(String, HostOddity)>,
    /// Frames that a dry run would have booked, and when it last said that it is one.
    dry_frames: u64,
    reminded_at: Option<Instant>,
    /// What the metrics were told already.
    database: MeterReading,
    last_look: Option<Instant>,
    /// As it was before the last pass, so that what changes during the pass shows as a change.
    probed: Option<ChangeProbe>,
    /// How often the database came back.
    returns: watch::Receiver<u64>,
}

impl Passes {
    pub(super) fn new(context: Context, cycle: Cycle, totals: Totals, launcher: Option<Launcher>) -> Self {
        Self {
            pacing: Pacing::new(&context.settings(), Instant::now()),
            settings: context.settings(),
            returns: context.store.returns(),
            context,
            cycle,
            totals,
            launcher,
            named: NamedOnce::default(),
            odd_hosts: NamedOnce::default(),
            dry_frames: 0,
            reminded_at: None,
            database: MeterReading::default(),
            last_look: None,
            probed: None,
        }
    }

    /// Returns true when there was nothing to do for long enough.
    pub(super) async fn run(mut self, stop: CancellationToken) -> bool {
        let mut step = Step::PASS_NOW;
        loop {
            if self.launcher.is_none() {
                self.remind(0);
            }
            self.adopt_settings();
            let event = match step {
                Step::Pass(rest) if self.rest(rest, &stop).await => match self.pass_in_time(&stop).await {
                    Some(event) => event,
                    None => return false,
                },
                Step::Probe(rest) if sleep_or_stop(rest, &stop).await => {
                    Event::Probed { has_changed: self.probe().await != self.probed }
                }
                Step::Pass(_) | Step::Probe(_) => return false,
                Step::AwaitCuebot => match stop.run_until_cancelled(self.context.hints.silence_ended()).await {
                    Some(()) => Event::Answering,
                    None => return false,
                },
                Step::Quit => {
                    tracing::info!(target: "scheduler", "nothing to do for long enough; quitting");
                    return true;
                }
            };
            step = self.pacing.next(event, Instant::now());
        }
    }

    /// As long as it says, or until the database is back. Returns false when it was told to stop.
    async fn rest(&mut self, rest: Duration, stop: &CancellationToken) -> bool {
        let has_returned = tokio::select! {
            biased;
            is_going_on = sleep_or_stop(rest, stop) => return is_going_on,
            returned = self.returns.changed() => returned.is_ok(),
        };
        if has_returned {
            self.pacing.try_again_soon();
        }
        true
    }

    /// Goes by the settings that hold now.
    fn adopt_settings(&mut self) {
        let settings = self.context.settings();
        if Arc::ptr_eq(&settings, &self.settings) {
            return;
        }
        self.pacing.adopt(&settings);
        self.context.hints.adopt(&settings);
        if let Some(launcher) = &self.launcher {
            launcher.adopt(&settings);
        }
        self.cycle.settings = Settings::clone(&settings);
        self.settings = settings;
    }

    /// `None` when it was told to stop and does not end.
    async fn pass_in_time(&mut self, stop: &CancellationToken) -> Option<Event> {
        let limit = self.settings.shutdown_timeout / 2;
        let too_long = async {
            stop.cancelled().await;
            tokio::time::sleep(limit).await;
        };
        tokio::select! {
            biased;
            event = self.pass(stop) => Some(event),
            () = too_long => {
                tracing::warn!(target: "scheduler", "the last pass does not end; leaving it, the next start settles it");
                None
            }
        }
    }

    /// One full look, unless something speaks against it.
    async fn pass(&mut self, stop: &CancellationToken) -> Event {
        let began = Instant::now();
        match self.obstacle().await {
            Ok(None) => {}
            Ok(Some(event)) => return event,
            Err(error) => return self.failed(&error),
        }
        self.probed = self.probe().await;
        let clusters = self.context.clusters();
        let looked = Instant::now();
        if let Some(last) = self.last_look.replace(looked) {
            for cluster in clusters.iter() {
                self.context.metrics.cluster_visited(cluster, looked - last);
            }
        }
        let (metrics, settings) = (self.context.metrics.clone(), Arc::clone(&self.settings));
        match self.cycle.pass(&clusters, stop, |planned| tell::planned(planned, &metrics, &settings)).await {
            Ok(pass) => {
                let end = End::of(&pass.report);
                self.record(&pass, end, looked.elapsed());
                // No change in the database tells that agents have answered.
                let agents_asked = pass.waits_for_agents.then(|| Instant::now() + AGENTS_TICK);
                let released_at = self.context.hints.next_release(began).into_iter().chain(agents_asked).min();
                Event::Passed(Passed { began, end, released_at, is_probed: self.probed.is_some() })
            }
            Err(error) => self.failed(&error),
        }
    }

    /// What keeps a pass from being tried now.
    async fn obstacle(&self) -> Result<Option<Event>, PassError> {
        let Context { store, hints, health, .. } = &self.context;
        tell::shortage(health, hints.lacks_descriptors(Instant::now()));
        if health.holds(Condition::Database) {
            store.look_at_way().await?;
        }
        if store.is_schema_in_doubt() {
            look_at_schema(store).await;
        }
        if self.context.foreign_planner_blocks().await? {
            self.recovered();
            let reason = "Cuebot's own planner is active on this database; booking nothing beside it. \
                          Stop it, or set scheduler.beside_maestro to book";
            if health.raise(Condition::ForeignPlanner, reason) {
                tracing::error!(target: "scheduler", "{reason}");
            }
            return Ok(Some(Event::Failed));
        }
        health.clear(Condition::ForeignPlanner);
        if hints.is_silence() {
            self.recovered();
            return Ok(Some(Event::Silent));
        }
        Ok(hints.is_paused(Instant::now()).then_some(Event::Failed))
    }

    async fn probe(&self) -> Option<ChangeProbe> {
        let began = Instant::now();
        let probe = self.context.store.probe_change(&self.context.clusters()).await.ok();
        self.context.metrics.change_probed(began.elapsed());
        probe
    }

    fn failed(&mut self, error: &PassError) -> Event {
        let Context { metrics, hints, health, .. } = &self.context;
        let chain = error_chain(error);
        metrics.set_database_up(!error.is_database_away());
        if is_out_of_descriptors(error) {
            hints.pause(OWN_LACK_PAUSE, Instant::now());
        }
        if error.is_database_away() {
            if health.raise(Condition::Database, "the database is away; the log says why") {
                tracing::error!(target: "scheduler", "Failed to connect to database: {chain}; pausing until it is back");
            }
        } else {
            health.raise(Condition::Passes, "the last pass failed; the log says why");
            tracing::error!(target: "scheduler", error = chain, "a pass failed; trying again");
        }
        self.ended(PassEnd::QueryError, MeterReading::default(), Duration::ZERO);
        Event::Failed
    }

    fn recovered(&self) {
        let Context { metrics, health, .. } = &self.context;
        health.set_ready();
        metrics.set_database_up(true);
        health.clear(Condition::Passes);
        if health.clear(Condition::Database) {
            tracing::info!(target: "scheduler", "the database is back; going on");
        }
    }

    fn ended(&mut self, end: PassEnd, database: MeterReading, duration: Duration) {
        let MeterReading { statements, rows_read, rows_written } = database;
        let metrics = &self.context.metrics;
        metrics.pass_ended(&PassFigures { end, duration, statements, rows_read, rows_written });
        let now = self.context.store.meter().reading();
        let used = now - self.database;
        metrics.database_used(used.statements, used.rows_read, used.rows_written);
        self.database = now;
    }

    fn record(&mut self, pass: &Pass, end: End, took: Duration) {
        self.recovered();
        let Context { metrics, health, .. } = &self.context;
        let report = &pass.report;
        self.totals.passed(&report.waiting);
        self.named.name(&report.left_out);
        self.odd_hosts.tell(&report.odd_hosts, |(host, oddity)| {
            tracing::warn!(target: "scheduler", host, "what a host reports cannot be: {}", oddity.sentence());
        });
        metrics.set_waiting(&pass.snapshot, &pass.plan);
        tell::flags(health, &report.shows_off);
        if let Some(launcher) = &self.launcher {
            tell::booked(metrics, pass);
            metrics.set_unsettled_bookings(launcher.unsettled());
            tell::pass(report, "dispatched");
        } else {
            tell::pass(report, "would dispatch");
            self.remind(report.booked);
        }
        let end = match end {
            End::CutShort | End::Booked { .. } if report.booked > 0 => PassEnd::Booked,
            End::CutShort | End::Booked { .. } | End::Fruitless | End::Saturated => PassEnd::Saturated,
            End::Empty => PassEnd::NoJobs,
        };
        self.ended(end, report.database, took);
    }

    /// Keeps saying that nothing is booked, so that nobody mistakes a dry run for the real thing.
    fn remind(&mut self, booked: u64) {
        self.dry_frames += booked;
        if self.reminded_at.is_none_or(|at| at.elapsed() >= REMINDER_INTERVAL) {
            self.reminded_at = Some(Instant::now());
            let frames = self.dry_frames;
            tracing::warn!(
                target: "scheduler",
                frames,
                "dry run (rqd.dry_run_mode): nothing is booked, launched or repaired; {frames} frames would have been so far"
            );
        }
    }
}
