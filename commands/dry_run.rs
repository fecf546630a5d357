//! `dry-run`: the service at work for a while, with nothing written and nothing launched.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use cue_scheduler::booking::Refusal;
use cue_scheduler::preview::{DryRun, DryRunEnd, DryRunLimits, DryRunSummary, LostRow};
use cue_scheduler::scheduler::PassReport;
use cue_scheduler::units::counted;

use crate::cli::DryRunArgs;
use crate::errors::RightsMissing;
use crate::failure::FAILED;
use crate::farm_view::{FarmView, name_left_out};
use crate::listing::{Column, reason_columns};
use crate::output::{OutputError, Printer};
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
    let FarmView { store, clusters, settings } = farm;
    let mut dry_run = DryRun::new(store.clone(), clusters, settings, args.verify);
    let limits = DryRunLimits { cycles_max: args.cycles, time_max: args.time };
    let abandoned = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_MAX).await;
    };
    let ended = tokio::select! {
        ended = dry_run.run(limits, &stop, |cycle, report| printer.note(CycleLine { cycle, report })) => ended,
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

struct CycleLine<'r> {
    cycle: u32,
    report: &'r PassReport,
}

impl fmt::Display for CycleLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PassReport { booked, planned, snapshot_took, plan_took, booking_took, .. } = self.report;
        let waiting: u64 = self.report.waiting.values().map(|count| count.frames).sum();
        let took = *snapshot_took + *plan_took + *booking_took;
        let seconds = took.as_secs_f64();
        write!(f, "cycle {}: would book {booked} of {planned}, {waiting} wait, {seconds:.2} s", self.cycle)
    }
}

fn name_refused(summary: &DryRunSummary, printer: Printer) {
    let line = |refusal: &Refusal| {
        let Refusal { frame_name, host_name, step, message, .. } = refusal;
        format!("the database refuses frame {frame_name} on host {host_name} while {step}: {message}")
    };
    printer.warn_of(&summary.refused, line, "frames are refused");
}

fn print(summary: &DryRunSummary, printer: Printer) -> Result<(), OutputError> {
    printer.list_or(&reason_columns(), &summary.waiting, summary, || {
        printer.section(&reason_columns(), &summary.waiting)?;
        printer.section(&lost_columns(), &summary.lost)?;
        printer.data(booked_line(summary))?;
        if summary.is_verified {
            printer.data("Each booking was tried in the database and rolled back.")?;
        }
        printer.data(hosts_line(summary))?;
        printer.data(waiting_line(summary))
    })
}

fn lost_columns() -> [Column<LostRow>; 3] {
    [
        Column::text("LOST", |row: &LostRow| row.reason.as_str().to_owned()),
        Column::number("FRAMES", |row| row.frames.to_string()),
        Column::text("MEANING", |row| row.reason.sentence().to_owned()),
    ]
}

fn booked_line(summary: &DryRunSummary) -> String {
    format!(
        "Would have booked {} in {}: {:.0} frames/s.",
        counted(summary.frames_booked, "frame"),
        counted(summary.cycles, "cycle"),
        summary.frames_per_second,
    )
}

fn hosts_line(summary: &DryRunSummary) -> String {
    let (used, filled) = (summary.hosts_used, summary.hosts_filled);
    format!("{used} of {} would have got frames; {filled} would be filled.", counted(summary.hosts, "host"))
}

fn waiting_line(summary: &DryRunSummary) -> String {
    let layers: u64 = summary.waiting.iter().map(|row| row.layers).sum();
    let frames: u64 = summary.waiting.iter().map(|row| row.frames).sum();
    if frames == 0 {
        return "Nothing would be left waiting.".to_owned();
    }
    format!("{} of {} would still wait.", counted(frames, "frame"), counted(layers, "layer"))
}
