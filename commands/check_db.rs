//! `check-db`: whether the service would run on this database with these settings.

use std::process::ExitCode;

use cue_scheduler::ops::check::{self, CheckResult, Status, Wanted};
use cue_scheduler::rqd::Agents;
use cue_scheduler::telemetry::error_chain;
use serde::Serialize;

use crate::cli::OutputFormat;
use crate::failure::{FAILED, MISUSED};
use crate::listing::{Column, print_list};
use crate::output::Printer;
use crate::settings::CheckDbSettings;

/// What JSON and YAML print.
#[derive(Serialize)]
struct Document<'a> {
    /// The worst of all checks.
    status: Status,
    checks: &'a [CheckResult],
}

pub(crate) async fn run(settings: CheckDbSettings, format: OutputFormat, printer: Printer) -> anyhow::Result<ExitCode> {
    let config = &settings.config;
    let wanted = Wanted {
        selection: config.selection(),
        chunk_sizes: config.chunk_sizes(),
        host_staleness: config.host_cache.host_staleness_threshold,
        book_beside_foreign_planner: settings.book_beside_foreign_planner,
        instances: settings.instances,
        agents: settings.agents.map(|hosts| (Agents::new(settings.agent_settings), hosts)),
    };
    let checks = match check::check(&settings.connect, &wanted).await {
        Ok(checks) => checks,
        Err(error) => {
            printer.error(error_chain(&error));
            return Ok(ExitCode::from(MISUSED));
        }
    };
    let columns = [
        Column::text("CHECK", |check: &CheckResult| check.name.to_owned()),
        Column::text("STATUS", |check: &CheckResult| check.status.into_str().to_owned()),
        Column::text("FOUND", |check: &CheckResult| check.found.clone()),
        Column::text("REMEDY", |check: &CheckResult| check.remedy.clone().unwrap_or_default()).wide(),
    ];
    let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
    print_list(printer, format, &columns, &checks, &Document { status, checks: &checks })?;
    if format == OutputFormat::Table {
        for check in &checks {
            if let Some(remedy) = &check.remedy {
                printer.data(format_args!("\n{}: {remedy}", check.name))?;
            }
        }
    }
    Ok(if status == Status::Failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
