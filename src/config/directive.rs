//! Reading `info,sqlx=warn`, for the settings and for the log.
//!
//! Stricter than the log library's own reader, which takes a misspelt level for the name of a target and a
//! colon for a comma, and then logs nothing.

use tracing::level_filters::LevelFilter;

/// As the library has them; it also takes numbers.
pub(super) const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Why a text is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoDirective<'t> {
    Empty,
    /// This part is not `level` or `target=level`.
    Form(&'t str),
    Level {
        part: &'t str,
        level: &'t str,
    },
}

/// Levels, each with its target; the one without is for all others.
pub(crate) fn directives(text: &str) -> Result<Vec<(Option<&str>, LevelFilter)>, NoDirective<'_>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let directives = parts.map(directive).collect::<Result<Vec<_>, _>>()?;
    if directives.is_empty() { Err(NoDirective::Empty) } else { Ok(directives) }
}

fn directive(part: &str) -> Result<(Option<&str>, LevelFilter), NoDirective<'_>> {
    let (target, level) =
        part.split_once('=').map_or((None, part), |(target, level)| (Some(target.trim()), level.trim()));
    if target.is_some_and(|target| !target.split("::").all(is_name)) || level.contains(':') {
        return Err(NoDirective::Form(part));
    }
    let known = LEVELS.iter().find(|known| known.eq_ignore_ascii_case(level));
    let level = known.and_then(|known| known.parse().ok()).ok_or(NoDirective::Level { part, level })?;
    Ok((target, level))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-.".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_directive_is_named() {
        let level = |part, level| NoDirective::Level { part, level };
        let cases = [
            ("inof", level("inof", "inof")),
            ("info,sqlx=loud", level("sqlx=loud", "loud")),
            ("debug:sqlx=info", NoDirective::Form("debug:sqlx=info")),
            ("info,=warn", NoDirective::Form("=warn")),
            ("info,a b=warn", NoDirective::Form("a b=warn")),
            ("3", level("3", "3")),
            ("", NoDirective::Empty),
        ];
        for (text, expected) in cases {
            assert_eq!(directives(text), Err(expected), "{text}");
        }
    }
}
