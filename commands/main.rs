//! The program: parse, resolve, call one command, and end with its exit code.
//!
//! A command's file is known to this one alone. What several commands say or do is in files of its own.

mod check_db;
mod cli;
mod clusters;
mod completion;
mod config;
mod config_init;
mod demo;
mod dry_run;
mod exclusion_list;
mod explain;
mod failure;
mod farm_view;
mod listing;
mod named;
mod output;
mod page;
mod plan;
mod progress;
mod run;
mod selection;
mod settings;
mod signals;
mod uncommon_work;
mod yaml;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;

use cli::{Cli, Command, ConfigCommand};
use failure::{FAILED, MISUSED};
use output::Printer;
use settings::{Call, Environment, RunSettings};

/// What looks and ends needs no more.
const READER_THREADS: usize = 2;
/// One waits for answers, the other for signals and the database.
const INIT_THREADS: usize = 2;
/// Lookups that outlive their command are not waited for longer.
const LEFTOVERS_MAX: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    completion::answer_if_asked();
    // Prints help and usage errors itself, before any settings are looked at.
    let Cli { global, selection, command } = Cli::parse();
    let environment: Environment = std::env::vars_os().collect();
    let printer = Printer::new(&global, |name| environment.get(name.as_ref() as &std::ffi::OsStr).cloned());
    let command = command.unwrap_or(Command::Run);
    // With detailed codes the code of a misuse says something else.
    let is_detailed = matches!(&command, Command::Plan(args) if args.detailed_exitcode);
    let misused = if is_detailed { FAILED } else { MISUSED };
    let is_service = matches!(command, Command::Run);
    start(command, &Call { global, selection, environment, printer }).unwrap_or_else(|error| {
        if is_service { failure::report_of_service(error, printer) } else { failure::report(&error, misused, printer) }
    })
}

fn start(command: Command, call: &Call) -> anyhow::Result<ExitCode> {
    let printer = call.printer;
    match command {
        Command::Run => as_service(call, None, |settings| run::run(settings, call.clone())),
        Command::CheckDb(args) => {
            as_service(call, Some(READER_THREADS), |settings| check_db::run(settings, args, printer))
        }
        Command::Clusters(command) => as_service(call, Some(1), |settings| clusters::run(settings, command, printer)),
        Command::Config(ConfigCommand::Check) => Ok(config::check(&settings::for_run(call)?.loaded, printer)),
        Command::Config(ConfigCommand::Show) => config::show(&settings::for_run(call)?.loaded, printer),
        Command::Config(ConfigCommand::Init(args)) => {
            block_on(INIT_THREADS, config_init::run(settings::for_init(call, args)?, printer))
        }
        Command::Demo(args) => {
            let settings = settings::for_demo(call, args)?;
            block_on(settings.config.queue.worker_threads, demo::run(settings, printer))
        }
        Command::DryRun(args) => as_service(call, None, |settings| dry_run::run(settings, args, printer)),
        Command::ExclusionList(args) => {
            as_service(call, Some(1), |settings| exclusion_list::run(settings, args, printer))
        }
        Command::Explain(what) => as_service(call, None, |settings| explain::run(settings, what, printer)),
        Command::Plan(args) => as_service(call, None, |settings| plan::run(settings, args, printer)),
    }
}

/// Runs a command with the settings of the service, and with as many threads where no number is given.
fn as_service<F: Future<Output = anyhow::Result<ExitCode>>>(
    call: &Call,
    threads: Option<usize>,
    command: impl FnOnce(RunSettings) -> F,
) -> anyhow::Result<ExitCode> {
    let settings = settings::for_run(call)?;
    let has_file = settings.loaded.file.is_some();
    let ended = block_on(threads.unwrap_or(settings.loaded.config.queue.worker_threads), command(settings));
    ended.map_err(|error| if has_file { error } else { failure::without_file(error) })
}

fn block_on(threads: usize, command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("cannot start the runtime's threads")?;
    let code = runtime.block_on(command);
    runtime.shutdown_timeout(LEFTOVERS_MAX);
    code
}
