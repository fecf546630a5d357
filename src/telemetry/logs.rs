//! The log: lines on standard error, and in a file where one is named.
//!
//! A line reads `2025-12-12T10:00:00.123Z INFO scheduler: Starting scheduler feed`, followed by the
//! event's fields. All rooms of this program log as `scheduler`, which is also the name that a level
//! directive takes.

mod directive;
mod error;
mod line;

use std::io;
use std::path::{Path, PathBuf};

use smart_default::SmartDefault;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{Registry, fmt, reload};

pub use directive::Levels;
pub use error::LogsError;
use line::{JsonLine, Line};

/// What to log, and where.
#[derive(Clone, Debug, PartialEq, Eq, SmartDefault)]
pub struct LogSettings {
    /// A level, or levels by target: `info,sqlx=warn`.
    #[default("info".to_owned())]
    pub level: String,
    /// What the command line asks for on top: 1 for `-v`, 2 for `-vv`, -1 for `-q`, -2 for `-qq`.
    pub verbosity: i8,
    /// Written to in addition to standard error; appended when it exists.
    pub file: Option<PathBuf>,
    /// Lines of JSON instead of text.
    pub json: bool,
    /// Colour the levels on standard error.
    pub color: bool,
}

/// The installed log. Keep it until the end of the program: dropping it writes what the file still
/// waits for.
#[derive(Debug)]
pub struct Logs {
    control: LogControl,
    _file: Option<WorkerGuard>,
}

impl Logs {
    pub const fn control(&self) -> &LogControl {
        &self.control
    }
}

/// Changes the level of a log while it runs. Cloning shares the log.
#[derive(Clone, Debug)]
pub struct LogControl {
    handle: reload::Handle<tracing_subscriber::filter::Targets, Registry>,
}

impl LogControl {
    /// Between `info` and `debug`: what is quieter than debug becomes debug, else info. Levels that
    /// were set for other targets stay. Returns the level that holds now.
    pub fn toggle(&self) -> LevelFilter {
        let mut now = LevelFilter::INFO;
        // Fails only when the subscriber is gone, and with it everything that could be toggled.
        let _ = self.handle.modify(|targets| {
            let levels = Levels::of(targets);
            now = if levels.own() < LevelFilter::DEBUG { LevelFilter::DEBUG } else { LevelFilter::INFO };
            *targets = levels.with_own(now).targets();
        });
        now
    }
}

/// Installs the log of this process.
///
/// # Errors
/// A directive that is not one, a file that cannot be written, or a log that is installed already.
pub fn install(settings: &LogSettings) -> Result<Logs, LogsError> {
    let (subscriber, logs) = build(settings, BoxMakeWriter::new(io::stderr))?;
    tracing::subscriber::set_global_default(subscriber).map_err(|source| LogsError::Installed { source })?;
    Ok(logs)
}

/// The log as a value, with a writer in place of standard error.
///
/// # Errors
/// As [`install`].
pub fn build(
    settings: &LogSettings,
    stderr: BoxMakeWriter,
) -> Result<(impl Subscriber + Send + Sync + use<>, Logs), LogsError> {
    let levels = Levels::parse(&settings.level)?.with_verbosity(settings.verbosity);
    let (filter, handle) = reload::Layer::new(levels.targets());
    let opened = settings.file.as_deref().map(open).transpose()?;
    let file_layer = |writer| layer(settings.json, false, BoxMakeWriter::new(writer));
    let (file_layer, guard) = opened.map(|(writer, guard)| (file_layer(writer), guard)).unzip();
    let stderr_layer = layer(settings.json, settings.color, stderr);
    let subscriber = tracing_subscriber::registry().with(filter).with(stderr_layer).with(file_layer);
    Ok((subscriber, Logs { control: LogControl { handle }, _file: guard }))
}

/// Appends from a thread of its own, so that a slow disk delays nobody; a line that finds the queue
/// full is dropped.
fn open(path: &Path) -> Result<(tracing_appender::non_blocking::NonBlocking, WorkerGuard), LogsError> {
    let file_error = |source| LogsError::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(file_error)?;
    }
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(file_error)?;
    Ok(tracing_appender::non_blocking(file))
}

fn layer<S>(json: bool, color: bool, writer: BoxMakeWriter) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
{
    // The library would otherwise report a closed standard error by printing to standard error,
    // which panics.
    let plain = fmt::layer().log_internal_errors(false).with_writer(writer);
    if json {
        Box::new(plain.json().event_format(JsonLine::new()))
    } else {
        Box::new(plain.with_ansi(color).event_format(Line))
    }
}
