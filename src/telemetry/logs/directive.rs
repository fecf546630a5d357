//! Levels by target, as `info,sqlx=warn` and the command line have them.

use std::collections::BTreeMap;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use super::error::LogsError;
use crate::config::directives;

/// This program's own target as people write it, and many of its events have it, and as the compiler does.
pub(super) const OWN_NAME: &str = "scheduler";
const OWN_TARGET: &str = "cue_scheduler";
const OWN: [&str; 2] = [OWN_NAME, OWN_TARGET];

/// The HTTP library logs every scraper that hangs up as an error.
const HUSHED: &str = "warp";

/// Levels by target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    default: LevelFilter,
    /// Of this program's own by both names.
    by_target: BTreeMap<String, LevelFilter>,
}

impl Levels {
    /// # Errors
    /// Names the part that is no directive.
    pub fn parse(text: &str) -> Result<Self, LogsError> {
        let mut levels = Self { default: LevelFilter::ERROR, by_target: BTreeMap::new() };
        for (target, level) in directives(text).map_err(|no_directive| LogsError::of(no_directive, text))? {
            match target {
                None => levels.default = level,
                Some(target) => levels.by_target.extend(names(target).into_iter().map(|name| (name, level))),
            }
        }
        Ok(levels)
    }

    /// `verbosity` steps of -v (positive) or -q (negative): the first moves what has no level of its
    /// own, this program among it; the second moves everything.
    #[must_use]
    pub fn with_verbosity(mut self, verbosity: i8) -> Self {
        let level = match verbosity {
            0 => return self,
            1 => LevelFilter::DEBUG,
            2.. => LevelFilter::TRACE,
            -1 => LevelFilter::WARN,
            ..=-2 => LevelFilter::ERROR,
        };
        if verbosity.unsigned_abs() > 1 {
            self.by_target.clear();
        }
        self.by_target.retain(|target, _| !is_own(target));
        self.default = level;
        self
    }

    /// The level of this program's own events.
    pub fn own(&self) -> LevelFilter {
        self.by_target.get(OWN_TARGET).copied().unwrap_or(self.default)
    }

    #[must_use]
    pub(super) fn with_own(mut self, level: LevelFilter) -> Self {
        self.by_target.retain(|target, _| !is_own(target));
        self.by_target.extend(OWN.map(|name| (name.to_owned(), level)));
        self
    }

    pub(super) fn of(targets: &Targets) -> Self {
        Self {
            default: targets.default_level().unwrap_or(LevelFilter::OFF),
            by_target: targets.iter().map(|(target, level)| (target.to_owned(), level)).collect(),
        }
    }

    pub(super) fn targets(&self) -> Targets {
        Targets::new()
            .with_default(self.default)
            .with_target(HUSHED, LevelFilter::OFF)
            .with_targets(self.by_target.iter().map(|(target, level)| (target.clone(), *level)))
    }
}

/// All names of what a directive names.
fn names(target: &str) -> Vec<String> {
    match within_own(target) {
        Some(rest) => OWN.map(|name| format!("{name}{rest}")).into(),
        None => vec![target.to_owned()],
    }
}

pub(super) fn is_own(target: &str) -> bool {
    within_own(target).is_some()
}

/// What follows this program's own name.
fn within_own(target: &str) -> Option<&str> {
    OWN.iter().filter_map(|name| target.strip_prefix(name)).find(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(text: &str, verbosity: i8) -> (LevelFilter, LevelFilter) {
        let levels = Levels::parse(text).expect("a directive").with_verbosity(verbosity);
        let sqlx = levels.by_target.get("sqlx").copied().unwrap_or(levels.default);
        (levels.own(), sqlx)
    }

    #[test]
    fn levels_are_read_by_target() {
        assert_eq!(own("info,sqlx=warn", 0), (LevelFilter::INFO, LevelFilter::WARN));
        assert_eq!(own(" DEBUG , scheduler = trace ", 0), (LevelFilter::TRACE, LevelFilter::DEBUG));
        assert_eq!(own("warn,sqlx=off", 1), (LevelFilter::DEBUG, LevelFilter::OFF));
        assert_eq!(own("warn,sqlx=off,scheduler=info", 2), (LevelFilter::TRACE, LevelFilter::TRACE));
        assert_eq!(own("trace,sqlx=info", -1), (LevelFilter::WARN, LevelFilter::INFO));
        assert_eq!(own("trace,sqlx=info", -2), (LevelFilter::ERROR, LevelFilter::ERROR));
    }
}
