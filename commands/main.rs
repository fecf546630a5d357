//! The program: parse, resolve, call one command, and turn what it says into an exit code.

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
mod output;
mod plan;
mod progress;
mod run;
mod selection;
mod settings;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;

use cli::{Cli, Command, ConfigCommand};
use output::Printer;
use settings::Environment;

/// What looks and ends needs no more.
const READER_THREADS: usize = 2;
/// One waits for answers, the other for signals and the database.
const INIT_THREADS: usize = 2;
/// Lookups that outlive their command are not waited for longer.
const LEFTOVERS_MAX: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    completion::answer_if_asked();
    // Prints help and usage errors itself, before any settings are looked at.
    let cli = Cli::parse();
    let environment: Environment = std::env::vars_os().collect();
    let printer = Printer::new(&cli.global, |name| environment.get(name.as_ref() as &std::ffi::OsStr).cloned());
    start(cli, &environment, printer).unwrap_or_else(|error| failure::report(&error, printer))
}

fn start(cli: Cli, environment: &Environment, printer: Printer) -> anyhow::Result<ExitCode> {
    let Cli { global, selection, command } = cli;
    match command.unwrap_or(Command::Run) {
        Command::Run => {
            let settings = settings::for_run(&global, &selection, environment, printer)?;
            block_on(settings.loaded.config.queue.worker_threads, run::run(settings, printer))
        }
        Command::CheckDb(args) => {
            let settings = settings::for_check_db(&global, &selection, &args, environment, printer)?;
            block_on(READER_THREADS, check_db::run(settings, global.output, printer))
        }
        Command::Clusters(command) => {
            let settings = settings::for_run(&global, &selection, environment, printer)?;
            block_on(1, clusters::run(settings, command, global.output, printer))
        }
        Command::Config(ConfigCommand::Check) => {
            Ok(config::check(&settings::for_run(&global, &selection, environment, printer)?.loaded, printer))
        }
        Command::Config(ConfigCommand::Show) => {
            let settings = settings::for_run(&global, &selection, environment, printer)?;
            config::show(&settings.loaded, global.output, printer)
        }
        Command::Config(ConfigCommand::Init(args)) => {
            let settings = settings::for_init(&global, &selection, args, environment)?;
            block_on(INIT_THREADS, config_init::run(settings, printer))
        }
        Command::Demo(args) => {
            let settings = settings::for_demo(&global, &selection, args, environment, printer)?;
            block_on(settings.config.queue.worker_threads, demo::run(settings, printer))
        }
        Command::DryRun(args) => {
            let settings = settings::for_run(&global, &selection, environment, printer)?;
            let threads = settings.loaded.config.queue.worker_threads;
            block_on(threads, dry_run::run(settings, args, global.output, printer))
        }
        Command::ExclusionList(args) => {
            let settings = settings::for_run(&global, &selection, environment, printer)?;
            block_on(1, exclusion_list::run(settings, args, global.output, printer))
        }
        Command::Explain(args) => {
            let settings = settings::for_run(&global, &selection, environment, printer)?;
            let threads = settings.loaded.config.queue.worker_threads;
            block_on(threads, explain::run(settings, args, global.output, printer))
        }
        Command::Plan(args) => {
            let is_detailed = args.detailed_exitcode;
            let format = global.output;
            let planned = settings::for_run(&global, &selection, environment, printer)
                .map_err(anyhow::Error::from)
                .and_then(|settings| {
                    block_on(settings.loaded.config.queue.worker_threads, plan::run(settings, args, format, printer))
                });
            // With detailed codes the code of a misuse says something else.
            planned.or_else(|error| if is_detailed { Ok(failure::report_failed(&error, printer)) } else { Err(error) })
        }
    }
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
