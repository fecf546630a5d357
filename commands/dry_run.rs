//! `dry-run`: the service at work for a while, with nothing written and nothing launched.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use cue_scheduler::booking::Refusal;
use cue_scheduler::preview::{DryRun, DryRunEnd, DryRunLimits, DryRunSummary};
use cue_scheduler::scheduler::PassReport;
use cue_scheduler::units::counted;

use crate::cli::DryRunArgs;
use crate::failure::{FAILED, RightsMissing};
use crate::farm_view::{FarmView, name_left_out};
use crate::listing::{Column, reason_columns};
use crate::output::{OutputError, Printer};
use crate::page::Page;
use crate::settings::RunSettings;
use crate::signals::stop_signal;

/// A cycle that was told to stop and has not ended by then is abandoned; the database rolls back.
const STOP_MAX: Duration = Duration::from_secs(3);

pub(crate) async fn run(settings: RunSettings, args: DryRunArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let farm = FarmView::open(&settings, printer).await?;
    farm.warn_of_pauses(printer).await?;
    if args.verify {
        let missing = farm.store.missing_privileges().await?;
        RightsMissing::of(&missing).map_or(Ok(()), Err)?;
    }
    let stop = stop_signal()?;
    let FarmView { store, clusters, settings, .. } = farm;
    let mut dry_run = DryRun::new(store.clone(), clusters, settings, args.verify);
    let limits = DryRunLimits { cycles_max: args.cycles, time_max: args.time };
    let abandoned = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_MAX).await;
    };
    let ended = tokio::select! {
        ended = dry_run.run(limits, &stop, |cycle, report| printer.note(cycle_line(cycle, report))) => ended,
        () = abandoned => Ok(DryRunEnd::Stopped),
    };
    let summary = dry_run.summary();
    if summary.cycles > 0 || ended.is_ok() {
        name_left_out(&dry_run.last().left_out, printer);
        name_refused(&summary, printer);
        print(&summary, printer)?;
    }
    ended.context("the dry run broke off")?;
    store.close().await;
    Ok(ExitCode::from(if summary.refused.is_empty() { 0 } else { FAILED }))
}

fn cycle_line(cycle: u32, report: &PassReport) -> String {
    let PassReport { booked, planned, snapshot_took, plan_took, booking_took, .. } = report;
    let waiting: u64 = report.waiting.values().map(|count| count.frames).sum();
    let seconds = (*snapshot_took + *plan_took + *booking_took).as_secs_f64();
    format!("cycle {cycle}: would book {booked} of {planned}, {waiting} wait, {seconds:.2} s")
}

fn name_refused(summary: &DryRunSummary, printer: Printer) {
    let line = |refusal: &Refusal| {
        let Refusal { frame_name, host_name, step, message, .. } = refusal;
        format!("the database refuses frame {frame_name} on host {host_name} while {step}: {message}")
    };
    printer.warn_of(&summary.refused, line, "frames are refused");
}

fn print(summary: &DryRunSummary, printer: Printer) -> Result<(), OutputError> {
    printer.list_or(&reason_columns(), &summary.waiting, summary, || page(summary, printer).print())
}

fn page(summary: &DryRunSummary, printer: Printer) -> Page {
    let DryRunSummary { waiting, lost, hosts_used, hosts_filled, frames_per_second, .. } = summary;
    let mut page = Page::of_tables(printer);
    page.rows(waiting).table(&reason_columns());
    page.rows(lost).table(&[
        Column::text("LOST", |row| row.reason.as_str().to_owned()),
        Column::number("FRAMES", |row| row.frames.to_string()),
        Column::prose("MEANING", |row| row.reason.sentence().to_owned()),
    ]);
    let (booked, cycles) = (counted(summary.frames_booked, "frame"), counted(summary.cycles, "cycle"));
    page.gap();
    page.sentence(format_args!("Would have booked {booked} in {cycles}: {frames_per_second:.0} frames/s."));
    if summary.is_verified {
        page.sentence(format_args!("Each booking was tried in the database and rolled back."));
    }
    let hosts = counted(summary.hosts, "host");
    page.sentence(format_args!("{hosts_used} of {hosts} would have got frames; {hosts_filled} would be filled."));
    let (layers, frames) = waiting.iter().fold((0, 0), |(l, f), row| (l + row.layers, f + row.frames));
    page.left_waiting(frames, layers, "would still wait");
    page
}
