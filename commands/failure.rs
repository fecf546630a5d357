//! What a failed command tells the user, and the exit code that goes with it.

use std::error::Error;
use std::process::ExitCode;

use cue_scheduler::clusters::{NameError, SelectionError};
use cue_scheduler::config::{ConfigError, NamedBy};
use cue_scheduler::telemetry::error_chain;
use cue_scheduler::telemetry::logs::LogsError;

use crate::errors::{NotOne, RightsMissing, UsageError};
use crate::output::{OutputError, Printer};

/// The command failed, or a check found something.
pub(crate) const FAILED: u8 = 1;
/// The flags, the settings or what they name are wrong; the same again cannot succeed.
pub(crate) const MISUSED: u8 = 2;
/// As a shell says it of a process that SIGINT ended.
pub(crate) const INTERRUPTED: i32 = 130;

/// Prints the error once, with all its causes, and says what to do. `misused` is the code of a call that
/// cannot succeed, [`MISUSED`] where that says nothing else.
pub(crate) fn report(error: &anyhow::Error, misused: u8, printer: Printer) -> ExitCode {
    if let Some(OutputError::ClosedPipe) = error.downcast_ref() {
        return ExitCode::SUCCESS;
    }
    printer.error(error_chain(error.as_ref()));
    error.chain().filter_map(hint).for_each(|hint| printer.hint(hint));
    if let Some(unmatched) = error.downcast_ref::<NotOne>() {
        unmatched.names().iter().for_each(|name| printer.hint(name));
    }
    ExitCode::from(if error.chain().any(is_misuse) { misused } else { FAILED })
}

fn is_misuse(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<ConfigError>()
        || cause.is::<UsageError>()
        || cause.is::<NameError>()
        || matches!(cause.downcast_ref(), Some(LogsError::LevelUnknown { .. } | LogsError::NotADirective { .. }))
        || cause.downcast_ref().is_some_and(|error| !matches!(error, SelectionError::Store(_)))
}

fn hint(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    match cause.downcast_ref() {
        Some(ConfigError::InvalidPath { named_by: NamedBy::Environment, .. }) => {
            return Some("let OPENCUE_SCHEDULER_CONFIG name a file that can be read, or unset it");
        }
        Some(ConfigError::LoadConfig(_)) => return Some("config/scheduler.yaml documents every key"),
        _ => {}
    }
    if let Some(UsageError::FacilityNeeded { .. }) = cause.downcast_ref() {
        return Some("name one with --facility or scheduler.facility");
    }
    let remedy = "grant them (check-db lists all that `run` needs), or leave --verify out: a plain dry run only reads";
    cause.is::<RightsMissing>().then_some(remedy)
}
