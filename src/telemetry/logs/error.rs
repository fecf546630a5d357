//! Why there is no log.

use std::io;
use std::path::PathBuf;

use tracing::subscriber::SetGlobalDefaultError;

#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    #[error("log level \"{part}\" is not known; levels are off, error, warn, info, debug and trace")]
    LevelUnknown { part: String },
    #[error("log directive \"{part}\" is not of the form target=level; several are separated by commas")]
    NotADirective { part: String },
    #[error("cannot write the log file {path}; check `logging.path`, or set `logging.file_appender` to false")]
    File { path: PathBuf, source: io::Error },
    #[error("a log is already installed in this process")]
    Installed { source: SetGlobalDefaultError },
}
