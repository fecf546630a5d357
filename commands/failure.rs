//! What a failed command tells the user, and the exit code that goes with it.

use std::process::ExitCode;

use cue_scheduler::clusters::{NameError, SelectionError};
use cue_scheduler::config::{ConfigError, NamedBy};
use cue_scheduler::telemetry::error_chain;
use cue_scheduler::telemetry::logs::LogsError;

use crate::config_init::InitError;
use crate::dry_run::RightsMissing;
use crate::explain::NotOne;
use crate::output::{OutputError, Printer};
use crate::selection::FacilityNeeded;
use crate::settings::UsageError;

/// The command failed, or a check found something.
pub(crate) const FAILED: u8 = 1;
/// The flags, the settings or what they name are wrong; the same again cannot succeed.
pub(crate) const MISUSED: u8 = 2;

/// Prints the error once, with all its causes, and says what to do.
pub(crate) fn report(error: &anyhow::Error, printer: Printer) -> ExitCode {
    if let Some(OutputError::ClosedPipe) = error.downcast_ref() {
        return ExitCode::SUCCESS;
    }
    printer.error(error_chain(error.as_ref()));
    for hint in hints(error) {
        printer.hint(hint);
    }
    if let Some(unmatched) = error.downcast_ref::<NotOne>() {
        unmatched.names().for_each(|name| printer.hint(name));
    }
    ExitCode::from(if is_misuse(error) { MISUSED } else { FAILED })
}

/// As [`report`], for a command that gives the code of a misuse another meaning.
pub(crate) fn report_failed(error: &anyhow::Error, printer: Printer) -> ExitCode {
    let code = report(error, printer);
    if code == ExitCode::from(MISUSED) { ExitCode::from(FAILED) } else { code }
}

fn is_misuse(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<ConfigError>()
            || cause.is::<UsageError>()
            || cause.is::<InitError>()
            || cause.is::<FacilityNeeded>()
            || cause.is::<NameError>()
            || matches!(cause.downcast_ref(), Some(LogsError::LevelUnknown { .. } | LogsError::NotADirective { .. }))
            || cause.downcast_ref().is_some_and(|error| !matches!(error, SelectionError::Store(_)))
    })
}

fn hints(error: &anyhow::Error) -> Vec<&'static str> {
    let hint = |cause: &(dyn std::error::Error + 'static)| {
        if let Some(ConfigError::InvalidPath { named_by: NamedBy::Environment, .. }) = cause.downcast_ref() {
            return Some("let OPENCUE_SCHEDULER_CONFIG name a file that can be read, or unset it");
        }
        if let Some(ConfigError::LoadConfig(_)) = cause.downcast_ref() {
            return Some("config/scheduler.yaml documents every key");
        }
        if cause.is::<RightsMissing>() {
            return Some(
                "grant them (check-db lists all that `run` needs), or leave --verify out: a plain dry run only reads",
            );
        }
        cause.is::<FacilityNeeded>().then_some("name one with --facility or scheduler.facility")
    };
    error.chain().filter_map(hint).collect()
}
