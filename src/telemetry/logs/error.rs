//! Why there is no log.

use std::io;
use std::path::PathBuf;

use tracing::subscriber::SetGlobalDefaultError;

use crate::config::NoDirective;

#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    #[error("log level \"{part}\" is not known; levels are off, error, warn, info, debug and trace")]
    LevelUnknown { part: String },
    #[error("log directive \"{part}\" is not of the form target=level; several are separated by commas")]
    NotADirective { part: String },
    #[error("cannot write the log file {path}; check `logging.path`, or set `logging.file_appender` to false")]
    File { path: PathBuf, source: io::Error },
    #[error("no thread is left to write the log")]
    Thread { source: io::Error },
    #[error("a log is already installed in this process")]
    Installed { source: SetGlobalDefaultError },
}

impl LogsError {
    pub(super) fn of(no_directive: NoDirective<'_>, text: &str) -> Self {
        match no_directive {
            NoDirective::Empty => Self::NotADirective { part: text.to_owned() },
            NoDirective::Form(part) => Self::NotADirective { part: part.to_owned() },
            NoDirective::Level { part, .. } => Self::LevelUnknown { part: part.to_owned() },
        }
    }
}
