//! `demo`: a whole farm on this machine, and the real scheduler working through it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use cue_scheduler::db::ConnectSettings;
use cue_scheduler::farm::audit::{LISTED_PER_RULE_MAX, Violation};
use cue_scheduler::farm::demo::{Demo, DemoOptions, DemoReport, DemoSummary};
use cue_scheduler::farm::fleet::{Faults, RunTime};
use cue_scheduler::scheduler::Settings;
use cue_scheduler::telemetry::logs::{self, LogSettings};
use tokio_util::sync::CancellationToken;

use crate::cli::DemoArgs;
use crate::failure::FAILED;
use crate::listing::write_json;
use crate::output::Printer;
use crate::progress;
use crate::settings::DemoSettings;
use crate::signals::stop_signal;

/// How long a host takes to answer late.
const ANSWER_DELAY: Duration = Duration::from_secs(2);

pub(crate) async fn run(settings: DemoSettings, printer: Printer) -> anyhow::Result<ExitCode> {
    // The bars have the terminal: only what a person must know goes between them.
    let quiet = LogSettings { verbosity: settings.logs.verbosity - 2, ..settings.logs.clone() };
    let _logs = logs::install(&quiet)?;
    let seed = settings.args.seed.unwrap_or_else(rand::random);
    let watcher = progress::watcher(printer.verbosity < 0);
    watcher.step(&format!("seed {seed}"));
    let stop = stop_signal()?;
    let options = options(&settings, seed)?;

    let started = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(ExitCode::from(FAILED)),
        started = Demo::start(options, watcher.as_ref()) => started,
    };
    let demo = started.context("the demo cannot start")?;
    let outcome = demo.run(watcher.as_ref(), stop.clone()).await.context("the demo broke off");
    let good = outcome.and_then(|report| show(&report, &settings, printer));
    if settings.args.keep && good.is_ok() && !stop.is_cancelled() {
        keep(&demo, settings.args.agents > 0, printer, &stop).await?;
    }
    let left = demo.stop().await;
    if !left.is_empty() {
        printer.warning(format_args!("did not end in time: {}", left.join(", ")));
    }
    Ok(if good? { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn options(settings: &DemoSettings, seed: u64) -> anyhow::Result<DemoOptions> {
    let share = |percent: f64| percent / 100.0;
    let DemoArgs { hosts, jobs, frames, agents, generation, faults, .. } = &settings.args;
    Ok(DemoOptions {
        hosts: *hosts as usize,
        jobs: *jobs as usize,
        frames: *frames,
        seed,
        agents: u8::try_from(*agents).unwrap_or(u8::MAX),
        generation: generation.to_string().parse()?,
        faults: Faults {
            refuse: share(faults.refuse),
            lose_request: share(faults.lose_requests),
            lose_answer: share(faults.lose_answers),
            delay_answer: share(faults.delay_answers),
            answer_delay: ANSWER_DELAY,
            ..Faults::default()
        },
        dying_hosts: share(faults.kill_hosts),
        run_time: RunTime::Between(Duration::from_millis(500), Duration::from_millis(1500)),
        settings: Settings::of(&settings.config),
    })
}

/// Whether everything was as it must be.
fn show(report: &DemoReport, settings: &DemoSettings, printer: Printer) -> anyhow::Result<bool> {
    let DemoSummary { launched, files_right, files_wrong, files_expected, .. } = &report.summary;
    printer.block(table(&report.summary))?;
    if let Some(reason) = &report.unfinished {
        printer.error(format_args!("the work is not done: {reason}"));
    }
    if *files_wrong > 0 || files_right < files_expected {
        printer.error(format_args!(
            "real processes left {files_right} files right and {files_wrong} wrong, of {files_expected}"
        ));
    }
    if report.audit.is_clean() {
        let found = "no frame twice at once, no cap exceeded, all counters balance";
        printer.note(format_args!("audit clean: {launched} launches, {found}"));
    }
    for Violation { rule, table, row, detail } in &report.audit.violations {
        printer.error(format_args!("audit: {} {table} {row}: {detail}", rule.as_str()));
    }
    for (rule, count) in &report.audit.violations_by_rule {
        if *count > LISTED_PER_RULE_MAX as u64 {
            printer.error(format_args!("audit: {} rows break {} in all", count, rule.as_str()));
        }
    }
    if let Some(path) = &settings.args.summary {
        write_json(path, &report.summary).with_context(|| format!("cannot write {}", path.display()))?;
        printer.note(format_args!("wrote {}", path.display()));
    }
    Ok(report.is_good())
}

fn table(s: &DemoSummary) -> Table {
    let agents = if s.agents > 0 { format!("{} of them real RQD agents", s.agents) } else { String::new() };
    let first_frame = s.time_to_first_frame_ms.map_or_else(|| "-".to_owned(), |time| format!("{time} ms"));
    let launches = format!("{} refused, {} without an answer", s.refused_launches, s.unknown_launches);
    let mut rows = vec![
        ("hosts", s.hosts.to_string(), agents),
        ("frames", s.frames.to_string(), format!("in {} jobs", s.jobs)),
        ("dispatched", s.dispatched.to_string(), format!("{} taken back and booked again", s.unbooked)),
        ("launched", s.launched.to_string(), launches),
        ("completed", s.completed.to_string(), format!("{} dead", s.dead)),
        ("frames/s", format!("{:.0}", s.frames_per_second), format!("{:.1} s in all", s.seconds)),
        ("first frame", first_frame, "from start to the first launch accepted".to_owned()),
        ("double launches", s.double_launches.to_string(), String::new()),
        ("cap breaches", s.cap_breaches.to_string(), String::new()),
        ("audit violations", s.audit_violations.to_string(), String::new()),
        ("statements/frame", format!("{:.2}", s.statements_per_frame), String::new()),
        ("rows/frame", format!("{:.1}", s.rows_per_frame), "read and written".to_owned()),
        ("peak memory", format!("{} MiB", s.peak_rss_mib), "the whole sandbox".to_owned()),
    ];
    if s.files_expected > 0 {
        rows.push(("files", s.files_right.to_string(), format!("of {} that real processes write", s.files_expected)));
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .add_rows(rows.into_iter().map(|(name, value, remark)| [name.to_owned(), value, remark]));
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Says how to reach the farm and waits to be interrupted.
async fn keep(demo: &Demo, has_agents: bool, printer: Printer, stop: &CancellationToken) -> anyhow::Result<()> {
    let ConnectSettings { host, port, name, user, password, .. } = demo.sandbox().database();
    let (password, rqd_port) = (password.as_deref().unwrap_or_default(), demo.sandbox().rqd_port());
    // Each real agent reports the load of this whole machine as its own.
    let load = if has_agents { "\nqueue:\n  host_load: off" } else { "" };
    printer.block(format_args!(
        "\nThe farm stays up until Ctrl-C. Settings for a scheduler of your own:\n\n\
         database:\n  db_host: {host}\n  db_port: {port}\n  db_name: {name}\n  db_user: {user}\n  \
         db_pass: {password}\nrqd:\n  grpc_port: {rqd_port}{load}"
    ))?;
    stop.cancelled().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use cue_scheduler::farm::schema;

    use crate::cli::Generation;

    #[test]
    fn every_generation_of_the_flag_is_one_of_the_farm() {
        let named = Generation::value_variants().iter().map(ToString::to_string);
        assert!(named.eq(schema::Generation::ALL.iter().map(ToString::to_string)));
    }
}
