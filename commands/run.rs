//! `run`: the service.

use std::process::ExitCode;

use anyhow::Context as _;
use cue_scheduler::config::Config;
use cue_scheduler::preview;
use cue_scheduler::rqd::Agents;
use cue_scheduler::scheduler::{LaunchTargets, Parts, Service, Settings, Totals};
use cue_scheduler::tasks::Tasks;
use cue_scheduler::telemetry::http::PageLimits;
use cue_scheduler::telemetry::logs::{self, LogControl};
use cue_scheduler::telemetry::{Health, Metrics, Registry, error_chain, http};
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::failure::{CONNECTING, INTERRUPTED};
use crate::settings::{self, Call, RunSettings};
use crate::signals::{hear, is_on_terminal};

pub(crate) async fn run(settings: RunSettings, call: Call) -> anyhow::Result<ExitCode> {
    let logs = logs::install(&settings.logs)?;
    say_settings(&settings);
    let config = &settings.loaded.config;
    let stop = CancellationToken::new();
    let (hang_ups, hung_up) = mpsc::channel(1);
    Signals { stop: stop.clone(), log: logs.control().clone(), is_on_terminal: is_on_terminal(), hang_ups }.watch()?;

    let registry = Registry::new();
    let metrics = Metrics::new(&registry)?;
    logs.count_in(&registry)?;
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
    let reload = Reload { call, running: config.clone(), replace: service.replace_settings() };
    pages.spawn("reload", reload.run(hung_up, pages.stop_signal()));
    service.run(stop).await;
    store.close().await;
    pages.stop(std::time::Duration::from_secs(1)).await;
    Ok(ExitCode::SUCCESS)
}

fn stopped_early() -> ExitCode {
    tracing::info!(target: "scheduler", "stopped before the database was there");
    ExitCode::SUCCESS
}

/// What signals act on.
struct Signals {
    stop: CancellationToken,
    log: LogControl,
    /// Who closes a terminal wants what runs in it to end.
    is_on_terminal: bool,
    hang_ups: mpsc::Sender<()>,
}

impl Signals {
    /// SIGTERM, SIGINT, and SIGHUP with a terminal, stop, a second one ends at once; SIGHUP without one reopens and
    /// reloads; SIGUSR1 and SIGUSR2 both change between info and debug.
    fn watch(self) -> anyhow::Result<()> {
        let (mut terminate, mut interrupt) = (hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?);
        let mut hang_up = hear(SignalKind::hangup())?;
        let (mut first, mut second) = (hear(SignalKind::user_defined1())?, hear(SignalKind::user_defined2())?);
        let Self { stop, log, is_on_terminal, hang_ups } = self;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hang_up.recv() => if !is_on_terminal {
                        let (log, hang_ups) = (log.clone(), hang_ups.clone());
                        // Files may be slow. What is said of the settings goes into the new one.
                        tokio::task::spawn_blocking(move || {
                            reopen(&log);
                            // One that waits is as good as two.
                            let _ = hang_ups.try_send(());
                        });
                        continue;
                    },
                    _ = first.recv() => { say_level(&log); continue }
                    _ = second.recv() => { say_level(&log); continue }
                }
                if stop.is_cancelled() {
                    tracing::warn!(target: "scheduler", "told to stop a second time: ending at once");
                    log.flush();
                    std::process::exit(INTERRUPTED);
                }
                stop.cancel();
            }
        });
        Ok(())
    }
}

fn say_level(log: &LogControl) {
    let level = log.toggle();
    tracing::info!(target: "scheduler", %level, "changed the log level");
}

/// Whoever renamed the file of the log wants the next lines in a new one.
fn reopen(log: &LogControl) {
    match log.reopen() {
        Ok(true) => tracing::info!(target: "scheduler", "reopened the log file"),
        Ok(false) => {}
        Err(error) => tracing::error!(
            target: "scheduler",
            error = error_chain(&error),
            "cannot reopen the log file; going on in the one there was"
        ),
    }
}

/// Settings that are read again.
struct Reload<F> {
    call: Call,
    /// As it was started, with what was reloaded since.
    running: Config,
    replace: F,
}

impl<F: Fn(Settings) + Send + 'static> Reload<F> {
    async fn run(mut self, mut hang_ups: mpsc::Receiver<()>, stop: CancellationToken) {
        while let Some(Some(())) = stop.run_until_cancelled(hang_ups.recv()).await {
            let reloaded = tokio::task::spawn_blocking(move || {
                self.reload();
                self
            });
            match reloaded.await {
                Ok(reload) => self = reload,
                Err(_) => return,
            }
        }
    }

    fn reload(&mut self) {
        let settings = match settings::for_run(&self.call) {
            Ok(settings) => settings,
            Err(error) => {
                let chain = error_chain(&error);
                tracing::error!(target: "scheduler", error = chain, "cannot reload the settings; keeping those there were");
                return;
            }
        };
        say_settings(&settings);
        let (config, changed, waiting) = settings.loaded.config.adopted_by(&self.running);
        for key in waiting {
            tracing::warn!(target: "scheduler", key, "a changed setting takes effect at the next start only");
        }
        tracing::info!(target: "scheduler", changed = changed.join(", "), "reloaded the settings");
        (self.replace)(Settings::of(&config));
        self.running = config;
    }
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
