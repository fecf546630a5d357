//! `run`: the service.

use std::process::ExitCode;

use anyhow::Context as _;
use cue_scheduler::store::Store;
use cue_scheduler::telemetry::logs;

use crate::clusters;
use crate::output::Printer;
use crate::settings::RunSettings;

pub(crate) async fn run(settings: RunSettings, printer: Printer) -> anyhow::Result<ExitCode> {
    let _logs = logs::install(&settings.logs)?;
    say_settings(&settings);
    let store = Store::connect(&settings.connect).await.context("Failed to connect to database")?;
    let loaded = clusters::load(&store, &settings.loaded.config).await?;
    for row in &loaded.left_out {
        tracing::warn!(row = ?row, "A row is left out");
    }
    for cluster in &loaded.clusters {
        printer.data(&cluster.name)?;
    }
    printer.note(format_args!("{} clusters are selected", loaded.clusters.len()));
    store.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Which file holds, and what in it has no effect.
fn say_settings(settings: &RunSettings) {
    match &settings.loaded.file {
        Some(file) => tracing::info!(file = %file.display(), "Config::load: using config file"),
        None => tracing::info!("Config::load: no config file, using the defaults"),
    }
    for warning in &settings.loaded.warnings {
        tracing::warn!(place = %warning.place, key = warning.key, "{}", warning.what);
    }
}
