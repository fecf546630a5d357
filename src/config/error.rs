//! What is wrong with the settings, all of it at once.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use strum::EnumDiscriminants;

/// Why no settings can be had. Nothing may start then.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was named, or found in a usual place, cannot be read.
    #[error("Failed to load config file {}, {named_by}", path.display())]
    InvalidPath { path: PathBuf, named_by: NamedBy, source: io::Error },
    /// The file, the environment or the flags say something that cannot be.
    #[error("{0}")]
    LoadConfig(Problems),
}

/// How a file came to be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum NamedBy {
    #[strum(to_string = "named by --config")]
    Flag,
    #[strum(to_string = "named by OPENCUE_SCHEDULER_CONFIG")]
    Environment,
    #[strum(to_string = "found in its usual place")]
    UsualPlace,
}

/// Every problem that was found, in the order of the file, then the environment, then the flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    pub problems: Vec<Problem>,
}

/// One thing wrong. Values of secret keys never are in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {}{what}", key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default())]
pub struct Problem {
    pub place: Place,
    /// Path of the key, when it is about one.
    pub key: Option<String>,
    pub what: String,
}

/// Where a value came from.
#[derive(Clone, Debug, derive_more::Display, PartialEq, Eq, PartialOrd, Ord, EnumDiscriminants)]
#[strum_discriminants(name(Rank), vis(pub(super)), derive(PartialOrd, Ord))]
pub enum Place {
    /// Nobody said anything: the built-in default.
    #[display("default")]
    Default,
    /// In the file; the line counts from 1, and is unknown for the file as a whole.
    #[display("{}", line.map_or_else(|| "file".to_owned(), |line| format!("line {line}")))]
    File { line: Option<usize> },
    /// The variable of this name.
    Environment(String),
    /// The flag as documented.
    Flag(&'static str),
}

impl Problem {
    pub(super) const fn at_line(line: Option<usize>, what: String) -> Self {
        Self { place: Place::File { line }, key: None, what }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_file = |problem: &Problem| matches!(problem.place, Place::File { .. });
        match self.file.as_deref().filter(|_| self.problems.iter().any(of_file)) {
            Some(file) => write!(f, "Failed to load config file {}", Path::display(file))?,
            None => f.write_str("Failed to load config")?,
        }
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}
