//! The log: lines on standard error, and in a file where one is named.
//!
//! A line reads `2025-12-12T10:00:00.123Z INFO scheduler: Starting scheduler feed`, followed by the
//! event's fields. All rooms of this program log as `scheduler`, which is also the name that a level
//! directive takes.
//!
//! A line is queued where it is logged, and written by a thread of its own (`queue`).

mod directive;
mod error;
mod line;
mod queue;

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use prometheus::{IntCounterVec, Opts};
use smart_default::SmartDefault;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{Registry, fmt, reload};

pub use directive::Levels;
pub use error::LogsError;
use line::{JsonLine, Line};
use queue::Queue;

use super::MetricsError;
use super::metrics::LOG_LINES_DROPPED as DROPPED;

const DROPPED_HELP: &str = "Lines of the log that nobody took in time, or that could not be written.";
/// What the log says is not for everybody.
const FILE_MODE: u32 = 0o640;

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

/// The installed log. Keep it until the end of the program: dropping it writes what is still queued, as
/// far as somebody takes it.
#[derive(Debug)]
pub struct Logs {
    control: LogControl,
}

impl Logs {
    pub const fn control(&self) -> &LogControl {
        &self.control
    }

    /// Shows in `registry` how many lines were dropped.
    ///
    /// # Errors
    /// The registry has such a metric.
    pub fn count_in(&self, registry: &prometheus::Registry) -> Result<(), MetricsError> {
        let dropped = Box::new(self.control.dropped.clone());
        registry.register(dropped).map_err(|source| MetricsError { name: DROPPED, source })
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.control.flush();
    }
}

/// Changes a log while it runs. Cloning shares the log.
#[derive(Clone, Debug)]
pub struct LogControl {
    handle: reload::Handle<tracing_subscriber::filter::Targets, Registry>,
    file: Option<(PathBuf, Queue)>,
    stderr: Option<Queue>,
    dropped: IntCounterVec,
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

    /// Goes on in the file that has the name now, a new one where there is none: the one before was renamed
    /// to make room. Returns whether there is a file at all.
    ///
    /// # Errors
    /// It cannot be opened; then the one before is written to as before.
    pub fn reopen(&self) -> Result<bool, LogsError> {
        if let Some((path, queue)) = &self.file {
            queue.turn_to(open(path)?);
        }
        Ok(self.file.is_some())
    }

    /// Waits until what is queued is written, as far as somebody takes it, but not for long.
    pub fn flush(&self) {
        let file = self.file.as_ref().map(|(_, queue)| queue);
        self.stderr.iter().chain(file).for_each(Queue::flush);
    }
}

/// Installs the log of this process.
///
/// # Errors
/// A directive that is not one, a file that cannot be written, or a log that is installed already.
pub fn install(settings: &LogSettings) -> Result<Logs, LogsError> {
    let dropped = count_dropped();
    let stderr = queue(io::stderr(), "stderr", &dropped)?;
    let (subscriber, mut logs) = build_counting(settings, BoxMakeWriter::new(stderr.clone()), dropped)?;
    logs.control.stderr = Some(stderr);
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
    build_counting(settings, stderr, count_dropped())
}

fn build_counting(
    settings: &LogSettings,
    stderr: BoxMakeWriter,
    dropped: IntCounterVec,
) -> Result<(impl Subscriber + Send + Sync + use<>, Logs), LogsError> {
    let levels = Levels::parse(&settings.level)?.with_verbosity(settings.verbosity);
    let (filter, handle) = reload::Layer::new(levels.targets());
    let file = match &settings.file {
        Some(path) => Some((path.clone(), queue(open(path)?, "file", &dropped)?)),
        None => None,
    };
    let file_layer = file.as_ref().map(|(_, file)| layer(settings.json, false, BoxMakeWriter::new(file.clone())));
    let stderr_layer = layer(settings.json, settings.color, stderr);
    let subscriber = tracing_subscriber::registry().with(filter).with(stderr_layer).with(file_layer);
    Ok((subscriber, Logs { control: LogControl { handle, file, stderr: None, dropped } }))
}

fn count_dropped() -> IntCounterVec {
    IntCounterVec::new(Opts::new(DROPPED, DROPPED_HELP), &["output"]).expect("the name and the label are sound")
}

fn queue(output: impl io::Write + Send + 'static, name: &str, dropped: &IntCounterVec) -> Result<Queue, LogsError> {
    Queue::to(output, dropped.with_label_values(&[name])).map_err(|source| LogsError::Thread { source })
}

fn open(path: &Path) -> Result<File, LogsError> {
    let file_error = |source| LogsError::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(file_error)?;
    }
    File::options().create(true).append(true).mode(FILE_MODE).open(path).map_err(file_error)
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
