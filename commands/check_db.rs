//! `check-db`: whether the service would run on this database with these settings.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use cue_scheduler::config::BesideMaestro;
use cue_scheduler::ops::check::{self, CheckResult, Status, Wanted};
use cue_scheduler::rqd::Agents;
use serde::Serialize;

use crate::cli::{CheckDbArgs, OutputFormat};
use crate::failure::{CONNECTING, FAILED};
use crate::listing::Column;
use crate::output::Printer;
use crate::settings::RunSettings;

/// Nothing of Cuebot's or ours takes nearly so long.
const LONG_TRANSACTION: Duration = Duration::from_mins(5);

/// What JSON and YAML print.
#[derive(Serialize)]
struct Document<'a> {
    /// The worst of all checks.
    status: Status,
    checks: &'a [CheckResult],
}

pub(crate) async fn run(settings: RunSettings, args: CheckDbArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let config = &settings.loaded.config;
    printer.warnings(&settings.loaded.warnings);
    printer.warn_of_exposed(&settings.loaded);
    let wanted = Wanted {
        selection: config.selection(),
        chunk_sizes: config.chunk_sizes(),
        host_staleness: config.host_cache.host_staleness_threshold,
        long_transaction: LONG_TRANSACTION,
        book_beside_foreign_planner: config.scheduler.beside_maestro == BesideMaestro::Book,
        instances: args.instances,
        agents: args.rqd.map(|hosts| (Agents::new(config.rqd.agents), hosts as usize)),
    };
    let checks = check::check(&settings.connect, &wanted).await.context(CONNECTING)?;
    let columns = [
        Column::text("CHECK", |check: &CheckResult| check.name.to_owned()),
        Column::text("STATUS", |check: &CheckResult| check.status.into_str().to_owned()),
        Column::prose("FOUND", |check: &CheckResult| check.found.clone()),
        Column::prose("REMEDY", |check: &CheckResult| check.remedy.clone().unwrap_or_default()).wide(),
    ];
    let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
    printer.list(&columns, &checks, &Document { status, checks: &checks })?;
    if printer.format == OutputFormat::Table {
        let remedies = checks.iter().filter_map(|check| Some((check.name, check.remedy.as_ref()?)));
        remedies.into_iter().try_for_each(|(name, remedy)| {
            printer.data("").and_then(|()| printer.data(format_args!("{name}: {remedy}")))
        })?;
    }
    Ok(if status == Status::Failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
