//! YAML that every reader takes as it was meant.
//!
//! The library writes variants with tags of its own, which careful readers refuse, and leaves texts bare that
//! readers of YAML 1.1 take for dates, numbers or truth values; letters that a terminal obeys stand raw.

use std::fmt::Write as _;

use cue_scheduler::text::is_hidden;
use serde::Serialize;
use serde_yaml::{Mapping, Value};

/// At the end of a text it makes the library quote it in the form that has escapes. It is no letter.
const MARK: char = '\u{ffff}';
/// The mark and the quote behind it, as they are written.
const WRITTEN_MARK: &str = "\\uFFFF\"";
/// Bare, they are something else than a text.
const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// A document with variants as JSON has them, and with escapes for hidden letters.
pub(crate) fn plain(document: &(impl Serialize + ?Sized)) -> Result<String, serde_yaml::Error> {
    let text = serde_yaml::to_string(&untagged(serde_yaml::to_value(document)?))?;
    let mut plain = String::with_capacity(text.len());
    for letter in text.replace(WRITTEN_MARK, "\"").chars() {
        match u32::from(letter) {
            _ if letter == '\n' || !is_hidden(letter) => plain.push(letter),
            // Writing to memory cannot fail.
            code @ ..0x1_0000 => _ = write!(plain, "\\u{code:04X}"),
            code => _ = write!(plain, "\\U{code:08X}"),
        }
    }
    Ok(plain)
}

fn untagged(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(if is_bare(&text) { text } else { text + &MARK.to_string() }),
        Value::Sequence(items) => Value::Sequence(items.into_iter().map(untagged).collect()),
        Value::Mapping(map) => {
            Value::Mapping(map.into_iter().map(|(key, value)| (untagged(key), untagged(value))).collect())
        }
        Value::Tagged(tagged) => {
            let variant = tagged.tag.to_string().trim_start_matches('!').to_owned();
            Value::Mapping(Mapping::from_iter([(Value::String(variant), untagged(tagged.value))]))
        }
        other => other,
    }
}

/// Whether the library may write it as it likes.
fn is_bare(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '/')
        && !WORDS.contains(&text.to_lowercase().as_str())
        && !text.contains(|letter| is_hidden(letter) || letter == MARK)
        && !text.contains(WRITTEN_MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    enum Limit {
        AtMost(u8),
        None,
    }

    #[test]
    fn a_variant_is_a_map_as_in_json() {
        let text = plain(&[Limit::AtMost(3), Limit::None]).expect("memory takes it");
        assert_eq!(text, "- AtMost: 3\n- \"None\"\n".replace("\"None\"", "None"));
    }

    #[test]
    fn texts_are_read_back_as_they_were() {
        let texts = [
            "",
            "a",
            "-",
            "2026-11-27",
            "1:30",
            "0x1f",
            "on",
            "~",
            "=",
            "a: b",
            "a\nb",
            "a\u{1b}[2J",
            "a\u{202e}b",
            "a\u{85}",
            "\u{2028}",
            "a\u{ffff}",
            "\u{e0041}",
            "x\\uFFFF\"",
            "'",
            "\"",
            "\t",
            " a ",
            "\u{1f3ac}",
            "/a b",
        ];
        let text = plain(&texts).expect("memory takes it");
        assert!(text.lines().all(|line| !line.chars().any(is_hidden)), "{text}");
        assert_eq!(text.lines().count(), texts.len(), "{text}");
        assert_eq!(serde_yaml::from_str::<Vec<String>>(&text).expect("it is YAML"), texts);
        for bare in ["2026-11-27", "on", "1:30", "="] {
            assert!(text.contains(&format!("- \"{bare}\"\n")), "{text}");
        }
    }
}
