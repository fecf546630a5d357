//! The loops of the service, wired and run until told to stop.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::cycle::{Cycle, Sink};
use super::database::run_database;
use super::error::PassError;
use super::failures::run_failing_hosts;
use super::hints::Hints;
use super::launch::{Inbox, LaunchTargets, Launcher};
use super::live::Live;
use super::outage::{run_recover, run_silence};
use super::pacing::RETRY;
use super::passes::Passes;
use super::redirects::RedirectWatch;
use super::repair::run_repair;
use super::selecting::Selecting;
use super::settings::{Settings, SharedSettings};
use super::tell;
use super::totals::Totals;
use crate::db::{ConnectSettings, Store, StoreError};
use crate::model::Cluster;
use crate::tasks::{Tasks, sleep_or_stop};
use crate::telemetry::{Condition, Health, Metrics, error_chain, is_out_of_descriptors};

/// Of the time in which the process has to end: for what it does when the service has.
const AFTERWARDS: Duration = Duration::from_secs(3);

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
    context: Context,
    totals: Totals,
    clusters: Clusters,
    sink: Arc<dyn Sink>,
    /// Where bookings are launched.
    live: Option<(Live, Inbox)>,
}

/// What builds the clusters again, and who hears of it.
#[derive(Debug)]
struct Clusters {
    selecting: Selecting,
    sender: watch::Sender<Arc<[Cluster]>>,
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
        let mut retry = RETRY;
        loop {
            let Some(attempt) = stop.run_until_cancelled(Store::connect(&settings)).await else { return Ok(None) };
            let pause = retry.next_pause();
            match attempt {
                Ok(store) => {
                    health.clear(Condition::Database);
                    return Ok(Some(store));
                }
                Err(error) if error.is_connection_lost() => {
                    let chain = error_chain(&error);
                    tracing::error!(target: "scheduler", "Failed to connect to database: {chain}; trying again in {pause:?}");
                    health.raise(Condition::Database, "cannot be connected to; the log says why");
                    tell::shortage(health, is_out_of_descriptors(&error));
                }
                Err(error) => return Err(error),
            }
            if !sleep_or_stop(pause, stop).await {
                return Ok(None);
            }
        }
    }

    /// Builds the clusters and gets everything ready; nothing runs yet. Bookings go into the database, and
    /// from there to the hosts.
    ///
    /// # Errors
    /// When a name of the selection leads to several facilities, nothing is there of what it names, or the
    /// database cannot be read.
    ///
    /// # Panics
    /// When the settings are those of a dry run, which is another room's.
    pub async fn prepare(parts: Parts) -> Result<Self, PassError> {
        assert!(!parts.settings.dry_run_mode, "the bookings of a dry run go nowhere");
        let (context, clusters) = build(&parts).await?;
        let totals = parts.totals;
        let (launcher, inbox) = Launcher::new(context.clone(), parts.targets, totals.clone());
        let live = Live { context: context.clone(), launcher, redirects: RedirectWatch::default() };
        Ok(Self { context, totals, clusters, sink: Arc::new(live.clone()), live: Some((live, inbox)) })
    }

    /// As [`Service::prepare`], with bookings that go elsewhere. Nothing is repaired or taken back.
    pub(crate) async fn prepare_dry(
        parts: Parts,
        sink: impl FnOnce(&Store, &Hints) -> Arc<dyn Sink>,
    ) -> Result<Self, PassError> {
        let (context, clusters) = build(&parts).await?;
        let sink = sink(&context.store, &context.hints);
        Ok(Self { context, totals: parts.totals, clusters, sink, live: None })
    }

    /// Replaces the settings while the service runs, but for those that are fixed: a database, a port and the like
    /// are those of the start.
    pub fn replace_settings(&self) -> impl Fn(Settings) + Send + Sync + use<> {
        let settings = self.context.settings.clone();
        move |new| settings.replace(new)
    }

    /// Runs until `stop` is cancelled, or until there was nothing to do for long enough. Then: no new
    /// pass, the chunks under way are committed, launches are settled within the limit.
    pub async fn run(self, stop: CancellationToken) -> Ended {
        let Self { context, totals, clusters, sink, live } = self;
        let (tasks, late) = (Tasks::new(), Tasks::new());
        let Clusters { selecting, sender } = clusters;
        tasks.spawn("clusters", selecting.run(context.clone(), sender, tasks.stop_signal()));
        tasks.spawn("database", run_database(context.clone(), tasks.stop_signal()));
        let launcher = live.map(|(live, inbox)| spawn_live(live, inbox, &tasks, &late));

        tracing::info!(target: "scheduler", "Starting scheduler feed");
        let Context { store, settings, hints, health, .. } = context.clone();
        let cycle = Cycle { store, settings: Settings::clone(&settings.now()), hints, sink };
        let mut passes = pin!(Passes::new(context, cycle, totals, launcher.clone()).run(stop.clone()));
        // The last pass has its share of the limit too.
        let (had_nothing_to_do, stopping) = tokio::select! {
            biased;
            had_nothing_to_do = &mut passes => (had_nothing_to_do, Instant::now()),
            stopping = async { stop.cancelled().await; Instant::now() } => (passes.await, stopping),
        };
        let limit = settings.now().shutdown_timeout;
        let limit = limit.saturating_sub(AFTERWARDS.min(limit / 4));

        health.set_not_ready("stopping");
        tracing::info!(target: "scheduler", "stopping: no new pass, settling launches");
        let time_left = || limit.saturating_sub(stopping.elapsed());
        let mut unfinished = tasks.stop(time_left() / 4).await;
        let unsettled = match launcher {
            Some(launcher) => launcher.close(time_left().mul_f32(0.8)).await,
            None => 0,
        };
        unfinished.extend(late.stop(time_left().max(Duration::from_millis(500))).await);
        if unsettled > 0 || !unfinished.is_empty() {
            tracing::warn!(unsettled, ?unfinished, "stopped with work unsettled; the next start settles it");
        }
        tracing::info!(target: "scheduler", took = ?stopping.elapsed(), "stopped");
        Ended { had_nothing_to_do, unsettled, unfinished }
    }
}

async fn build(parts: &Parts) -> Result<(Context, Clusters), PassError> {
    let Parts { store, settings, metrics, health, .. } = parts;
    let mut selecting = Selecting::new(metrics, health);
    let (sender, clusters) = watch::channel(selecting.begin(store, settings).await?.into());
    metrics.set_dry_run(settings.dry_run_mode);
    if settings.dry_run_mode {
        health.raise(Condition::DryRun, "rqd.dry_run_mode: nothing is booked or launched");
    }
    // Of a dry run nothing fails, and nobody judges what others run.
    let rest_failing_hosts = settings.rest_failing_hosts && !settings.dry_run_mode;
    let context = Context {
        store: store.clone(),
        hints: Hints::new(&Settings { rest_failing_hosts, ..settings.clone() }),
        settings: SharedSettings::new(settings.clone()),
        metrics: metrics.clone(),
        health: health.clone(),
        clusters,
    };
    Ok((context, Clusters { selecting, sender }))
}

/// The loops around bookings that are launched. Launches are settled until late in a stop.
fn spawn_live(live: Live, inbox: Inbox, tasks: &Tasks, late: &Tasks) -> Launcher {
    let Live { context, launcher, redirects } = live;
    late.spawn("settle", launcher.clone().run(inbox, late.stop_signal()));
    tasks.spawn("recover", run_recover(context.clone(), launcher.clone(), tasks.stop_signal()));
    tasks.spawn("silence", run_silence(context.clone(), tasks.stop_signal()));
    tasks.spawn("failing_hosts", run_failing_hosts(context.clone(), tasks.stop_signal()));
    tasks.spawn("repair", run_repair(context.clone(), tasks.stop_signal()));
    tasks.spawn("redirects", redirects.run(context.store, context.metrics, tasks.stop_signal()));
    launcher
}
