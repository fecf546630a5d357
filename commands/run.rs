//! `run`: the service.

use std::process::ExitCode;

use anyhow::Context as _;
use cue_scheduler::preview;
use cue_scheduler::rqd::Agents;
use cue_scheduler::scheduler::{LaunchTargets, Parts, Service, Settings, Totals};
use cue_scheduler::tasks::Tasks;
use cue_scheduler::telemetry::http::PageLimits;
use cue_scheduler::telemetry::logs::{self, LogControl};
use cue_scheduler::telemetry::{Health, Metrics, Registry, http};
use tokio::signal::unix::SignalKind;
use tokio_util::sync::CancellationToken;

use crate::failure::{CONNECTING, INTERRUPTED};
use crate::selection;
use crate::settings::RunSettings;
use crate::signals::hear;

pub(crate) async fn run(settings: RunSettings) -> anyhow::Result<ExitCode> {
    let logs = logs::install(&settings.logs)?;
    say_settings(&settings);
    let config = &settings.loaded.config;
    let stop = CancellationToken::new();
    watch_signals(stop.clone(), logs.control().clone())?;

    let registry = Registry::new();
    let metrics = Metrics::new(&registry)?;
    let health = Health::new();
    let pages = Tasks::new();
    let listener = http::bind(config.queue.metrics_address, config.queue.metrics_port).await?;
    let address = listener.local_addr().context("cannot tell the address of the metrics page")?;
    tracing::info!(target: "scheduler", %address, "metrics server listening at /metrics");
    let limits = PageLimits::for_this_process();
    pages.spawn("pages", http::serve(listener, registry, health.clone(), limits, pages.stop_signal()));

    let connected = Service::connect(&settings.connect, &health, &stop).await.context(CONNECTING)?;
    let Some(store) = connected else {
        return Ok(stopped_early());
    };
    tracing::info!(target: "scheduler", schema = store.features().generation_guess(), "connected to the database");
    if let Some(way) = store.way() {
        tracing::info!(target: "scheduler", "the connection to the database is {way}");
    }
    let Some(loaded) = stop.run_until_cancelled(selection::load(&store, config)).await else {
        return Ok(stopped_early());
    };
    loaded?;
    let parts = Parts {
        store: store.clone(),
        targets: LaunchTargets::Agents(Agents::new(config.rqd.agents)),
        settings: Settings::of(config),
        metrics,
        health,
        totals: Totals::default(),
    };
    let Some(prepared) = stop.run_until_cancelled(preview::prepare(parts)).await else {
        return Ok(stopped_early());
    };
    let service = prepared?;
    service.run(stop).await;
    store.close().await;
    pages.stop(std::time::Duration::from_secs(1)).await;
    Ok(ExitCode::SUCCESS)
}

fn stopped_early() -> ExitCode {
    tracing::info!(target: "scheduler", "stopped before the database was there");
    ExitCode::SUCCESS
}

/// SIGTERM and SIGINT stop, a second one ends at once; SIGUSR1 and SIGUSR2 both change between info
/// and debug.
fn watch_signals(stop: CancellationToken, log: LogControl) -> anyhow::Result<()> {
    let mut terminate = hear(SignalKind::terminate())?;
    let mut interrupt = hear(SignalKind::interrupt())?;
    let (mut first, mut second) = (hear(SignalKind::user_defined1())?, hear(SignalKind::user_defined2())?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = first.recv() => { say_level(&log); continue }
                _ = second.recv() => { say_level(&log); continue }
            }
            if stop.is_cancelled() {
                tracing::warn!(target: "scheduler", "told to stop a second time: ending at once");
                std::process::exit(INTERRUPTED);
            }
            stop.cancel();
        }
    });
    Ok(())
}

fn say_level(log: &LogControl) {
    let level = log.toggle();
    tracing::info!(target: "scheduler", %level, "changed the log level");
}

/// Which file holds, and what in it has no effect.
fn say_settings(settings: &RunSettings) {
    if let Some(file) = &settings.loaded.file {
        tracing::info!(target: "scheduler", file = %file.display(), "Config::load: using config file");
    } else {
        tracing::info!(target: "scheduler", "Config::load: no config file, using the defaults");
    }
    for warning in &settings.loaded.warnings {
        tracing::warn!(target: "scheduler", place = %warning.place, key = warning.key, "{}", warning.what);
    }
}
