//! What is wrong with a call, what a failed command tells the user, and the exit code that goes with it.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cue_scheduler::clusters::{NameError, SelectionError};
use cue_scheduler::config::{ConfigError, NamedBy};
use cue_scheduler::db::{MissingPrivilege, StoreError};
use cue_scheduler::telemetry::error_chain;
use cue_scheduler::telemetry::logs::LogsError;
use cue_scheduler::text::Known;

use crate::output::{OutputError, Printer};

/// The command failed, or a check found something.
pub(crate) const FAILED: u8 = 1;
/// The flags, the settings or what they name are wrong; the same again cannot succeed.
pub(crate) const MISUSED: u8 = 2;
/// As a shell says it of a process that SIGINT ended.
pub(crate) const INTERRUPTED: i32 = 130;

/// Longest wait of the service for somebody to read why it ends.
const TOLD_MAX: Duration = Duration::from_secs(1);

/// Said of every connection that did not come about.
pub(crate) const CONNECTING: &str = "Failed to connect to database";

/// Where the database is was said nowhere.
#[derive(Debug, derive_more::Display)]
#[display("no settings file was found; what neither flags nor the environment say is the default")]
struct NoFile;

/// Says so of a connection that did not come about, or led to another database, where no file told how to make it.
pub(crate) fn without_file(error: anyhow::Error) -> anyhow::Error {
    let is_elsewhere = |error: &StoreError| error.is_no_connection() || matches!(error, StoreError::NotCuebot { .. });
    let is_elsewhere = error.chain().filter_map(|cause| cause.downcast_ref()).any(is_elsewhere);
    if is_elsewhere { error.context(NoFile) } else { error }
}

/// Prints the error once, with all its causes, and says what to do. `misused` is the code of a call that
/// cannot succeed, [`MISUSED`] where that says nothing else.
pub(crate) fn report(error: &anyhow::Error, misused: u8, printer: Printer) -> ExitCode {
    if let Some(OutputError::ClosedPipe) = error.downcast_ref() {
        return ExitCode::SUCCESS;
    }
    let no_file = error.downcast_ref::<NoFile>();
    let told = error.chain().nth(usize::from(no_file.is_some())).map(error_chain).unwrap_or_default();
    if error.chain().find_map(|cause| cause.downcast_ref::<ConfigError>()).is_some() {
        printer.error_lines(&told);
    } else {
        printer.error(told);
    }
    error.chain().filter_map(hint).for_each(|hint| printer.hint(hint));
    if let Some(no_file) = no_file {
        printer.hint(format_args!(
            "{no_file}: `config init` writes ~/.config/cue-scheduler/scheduler.yaml; --config or OPENCUE_SCHEDULER_CONFIG \
             names another file"
        ));
    }
    if let Some(unmatched) = error.downcast_ref::<NotOne>() {
        unmatched.names().iter().for_each(|name| printer.hint(name));
    }
    ExitCode::from(if error.chain().any(is_misuse) { misused } else { FAILED })
}

/// As [`report`], of the service, which ends although nobody reads what it says.
pub(crate) fn report_of_service(error: anyhow::Error, printer: Printer) -> ExitCode {
    let code = if error.chain().any(is_misuse) { MISUSED } else { FAILED };
    let (told, is_told) = mpsc::sync_channel(1);
    let tell = move || {
        report(&error, code, printer);
        let _ = told.send(());
    };
    // Without a thread there is nobody to wait for either.
    if thread::Builder::new().spawn(tell).is_ok() {
        let _ = is_told.recv_timeout(TOLD_MAX);
    }
    ExitCode::from(code)
}

fn is_misuse(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<ConfigError>()
        || cause.is::<UsageError>()
        || cause.is::<NameError>()
        || cause.is::<NotOne>()
        || matches!(cause.downcast_ref(), Some(LogsError::LevelUnknown { .. } | LogsError::NotADirective { .. }))
        || matches!(cause.downcast_ref(), Some(SelectionError::Unknown(_) | SelectionError::Ambiguous(_)))
}

fn hint(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    match cause.downcast_ref() {
        Some(ConfigError::InvalidPath { named_by: NamedBy::Environment, .. }) => {
            return Some("let OPENCUE_SCHEDULER_CONFIG name a file that can be read, or unset it");
        }
        Some(ConfigError::LoadConfig(_)) => return Some("config/scheduler.yaml documents every key"),
        _ => {}
    }
    if let Some(SelectionError::Ambiguous(_)) = cause.downcast_ref() {
        return Some("name one with --facility or scheduler.facility");
    }
    let remedy = "grant them (check-db lists all that `run` needs), or leave --verify out: a plain dry run only reads";
    cause.is::<RightsMissing>().then_some(remedy)
}

/// Well-formed flags and settings that make no sense, here or together; the same again cannot succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("{flag} is not for the demo, which brings its own farm and takes all of it")]
    NotForDemo { flag: &'static str },
    #[error("a demo without hosts runs nothing; --hosts and --agents are both 0")]
    NoHosts,
    #[error("--update asks before it changes a file, and there is no terminal to ask on; --yes says it may")]
    NobodyToAsk,
    #[error(
        "--check needs the properties file of a Cuebot, or --options or --property: this schema has no scheduler flag"
    )]
    NoFileToCheck,
    #[error("config init asks questions and there is no terminal; answer with flags and --yes")]
    NoTerminal,
    #[error("{0} exists; --force writes over it")]
    Exists(String),
    #[error("no home folder is known to put the file in; name a file")]
    NoHome,
}

/// `--verify` with a role that may not book.
#[derive(Debug, thiserror::Error)]
#[error("cannot verify bookings: the role {user} lacks {rights} (42501)")]
pub(crate) struct RightsMissing {
    user: String,
    rights: String,
}

impl RightsMissing {
    /// `INSERT on proc; SELECT, UPDATE on frame, host`.
    pub(crate) fn of(missing: &[MissingPrivilege]) -> Option<Self> {
        let user = missing.first()?.user.clone();
        let mut tables: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for row in missing {
            tables.entry(row.privileges.join(", ")).or_default().push(&row.table);
        }
        let rights = tables.iter().map(|(rights, tables)| format!("{rights} on {}", tables.join(", ")));
        Some(Self { user, rights: rights.collect::<Vec<_>>().join("; ") })
    }
}

/// A name that does not lead to one thing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotOne {
    #[error("there is no {kind} \"{name}\"{}", .extra)]
    Unknown { kind: &'static str, name: String, extra: &'static str, known: Known },
    #[error("\"{name}\" is the beginning of several {kind}s")]
    Several { kind: &'static str, name: String, names: Vec<String> },
    #[error("host \"{name}\" is in no facility of the selected clusters")]
    Elsewhere { name: String },
}

impl NotOne {
    /// What could have been meant.
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::Unknown { known, .. } => known.near(),
            Self::Several { names, .. } => names,
            Self::Elsewhere { .. } => &[],
        }
    }
}
