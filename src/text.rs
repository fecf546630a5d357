//! Texts from outside as a person may see them, and the names that somebody probably meant.
//!
//! What agents, the database and users say may hold letters that a terminal obeys or that make a line look
//! like another. Whatever goes to a terminal or into a log of text passes [`cleaned`], at the way out and not
//! before: decisions and documents for programs know the text as it is.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use crate::units::listed;

/// Letters of a line on standard error or in the log, after which it is cut.
pub const LINE_MAX: usize = 4_000;
/// Names in a message, so that it stays readable.
pub const LISTED_MAX: usize = 20;
/// From here on, one name may have been meant by the other.
const LIKE_ENOUGH: f64 = 0.85;
/// Near names that are named where there is no room for all.
const NEAR_MAX: usize = 3;

/// Whether a letter is obeyed or overlooked rather than read: it controls the terminal, breaks the line, turns
/// the direction of what follows, or takes no room.
pub fn is_hidden(letter: char) -> bool {
    let has_no_room = matches!(
        letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    );
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}') || has_no_room
}

/// One line of at most `max` letters, hidden ones as escapes such as `\n` and `\u{202e}`.
pub fn cleaned(text: &str, max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(max));
    for (position, letter) in text.chars().enumerate() {
        if position == max {
            // Writing to memory cannot fail.
            let _ = write!(clean, "... ({} letters)", text.chars().count());
            break;
        }
        if is_hidden(letter) { clean.extend(letter.escape_default()) } else { clean.push(letter) }
    }
    clean
}

/// A text whose line breaks and tabs are ours, cleaned of the rest.
pub fn cleaned_lines(text: &str) -> String {
    let clean = |part: &str| cleaned(part, usize::MAX);
    let parts = text.split_inclusive(['\n', '\t']).map(|part| match part.strip_suffix(['\n', '\t']) {
        Some(before) => clean(before) + &part[before.len()..],
        None => clean(part),
    });
    parts.collect()
}

/// The same JSON with hidden letters as JSON escapes them. Outside of its strings there are line breaks only.
pub fn escaped_json(document: &str) -> String {
    let mut escaped = String::with_capacity(document.len());
    for letter in document.chars() {
        if letter == '\n' || !is_hidden(letter) {
            escaped.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

/// As a shell takes it for one word.
pub fn shell_word(name: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(is_plain) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}

/// The names that do exist, those most like the wanted one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    names: Vec<String>,
    /// So many of them are like enough to have been meant.
    near: usize,
}

impl Known {
    pub fn like(wanted: &str, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self::by(names, |name| likeness(wanted, name))
    }

    /// By a likeness of the caller's own, as [`likeness`] measures it.
    pub fn by(names: impl IntoIterator<Item = impl AsRef<str>>, likeness: impl Fn(&str) -> f64) -> Self {
        let names: BTreeSet<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
        let mut scored: Vec<(f64, String)> = names.into_iter().map(|name| (likeness(&name), name)).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let near = scored.iter().take_while(|(likeness, _)| *likeness >= LIKE_ENOUGH).count();
        Self { names: scored.into_iter().map(|(_, name)| name).collect(), near }
    }

    /// The few that were probably meant.
    pub fn near(&self) -> &[String] {
        &self.names[..self.near.min(NEAR_MAX)]
    }
}

/// From 0 to 1, whatever the case.
pub fn likeness(wanted: &str, name: &str) -> f64 {
    strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase())
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.names.is_empty() {
            return f.write_str("there is none at all");
        }
        if let Some(nearest) = self.near().first() {
            write!(f, "did you mean \"{nearest}\"? ")?;
        }
        write!(f, "there are: {}", listed(&self.names, LISTED_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_instead() {
        assert_eq!(
            cleaned("sh010\n\u{1b}[2Jok\u{202e}gpj\u{85}\u{200b}", 80),
            "sh010\\n\\u{1b}[2Jok\\u{202e}gpj\\u{85}\\u{200b}"
        );
        assert_eq!(cleaned("Zoë/\u{5e0}\u{5d5}\u{5e3}/\u{1f3ac}", 80), "Zoë/\u{5e0}\u{5d5}\u{5e3}/\u{1f3ac}");
        assert_eq!(cleaned(&"x".repeat(500), 10), "xxxxxxxxxx... (500 letters)");
        assert_eq!(cleaned_lines("a\tb\nc\r\n"), "a\tb\nc\\r\n");
    }

    #[test]
    fn a_shell_takes_a_name_for_one_word() {
        assert_eq!(["show", "a b", "it's", ""].map(shell_word), ["show", "'a b'", r"'it'\''s'", "''"]);
    }

    #[test]
    fn json_says_the_same_in_escapes() {
        let text = "a\u{7f}\u{9b}\u{202e}\u{e0041}\n\u{1f3ac}";
        let escaped = escaped_json(&serde_json::to_string_pretty(&[text]).expect("a text"));
        assert!(escaped.lines().all(|line| !line.chars().any(is_hidden)), "{escaped}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&escaped).expect("it is JSON still"), [text]);
    }

    #[test]
    fn the_nearest_names_come_first() {
        let known = Known::like("genral", ["general", "desktop", "General2"]);
        assert_eq!(known.near(), ["general", "General2"]);
        assert_eq!(known.to_string(), "did you mean \"general\"? there are: general, General2, desktop");
        assert_eq!(Known::like("x", ["general"]).to_string(), "there are: general");
        assert_eq!(Known::like("x", [""; 0]).to_string(), "there is none at all");
    }
}
