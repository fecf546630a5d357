//! Java's `.properties` files: read as Java reads them, changed without touching anything else.
//!
//! Bytes are Latin-1, as `java.util.Properties` takes them from a stream; other letters are written as
//! `\u` and four digits. Of a key that stands in the file several times, the last one counts.

use std::fmt::Write as _;
use std::ops::Range;

/// Java refuses the whole file then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: \\u without four hexadecimal digits")]
pub struct MalformedEscape {
    line: usize,
}

/// A file's bytes and the properties found in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    bytes: Vec<u8>,
    entries: Vec<Property>,
    /// The file ends in a backslash that draws the next line into its last property.
    is_open: bool,
}

/// One property where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Property {
    key: String,
    value: String,
    /// Counted from 1: where its key begins.
    line: usize,
    /// The bytes of the value as written, continuation lines and all, without the line's end.
    range: Range<usize>,
    /// Something parts key and value.
    has_separator: bool,
}

impl Properties {
    /// # Errors
    /// Where Java would refuse the file.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, MalformedEscape> {
        let bytes = bytes.into();
        let mut entries = Vec::new();
        let mut lines = Lines { bytes: &bytes, at: 0, line: 1, is_open: false };
        while let Some(line) = lines.next_line() {
            entries.push(property(&line)?);
        }
        let is_open = lines.is_open;
        Ok(Self { bytes, entries, is_open })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The value that Java sees.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.last(key).map(|property| property.value.as_str())
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|property| property.key.as_str())
    }

    /// The lines on which the key stands, counted from 1.
    pub fn lines(&self, key: &str) -> Vec<usize> {
        self.entries.iter().filter(|property| property.key == key).map(|property| property.line).collect()
    }

    /// The file with this one value changed where it counts, or with the property at its end when it
    /// was not there. All other bytes stay. The key is of letters, digits and dots.
    pub fn with(&self, key: &str, value: &str) -> Vec<u8> {
        let mut changed = self.bytes.clone();
        let value = escaped(value);
        if let Some(property) = self.last(key) {
            let sign = if property.has_separator { "" } else { "=" };
            let (before, after) = (&self.bytes[..property.range.start], &self.bytes[property.range.end..]);
            // Without a value two line ends would become one, which ends nothing.
            let is_joined = value.is_empty() && before.ends_with(b"\r") && after.starts_with(b"\n");
            let value = if is_joined { " " } else { &value };
            drop(changed.splice(property.range.clone(), format!("{sign}{value}").into_bytes()));
            return changed;
        }
        let ending = self.line_ending();
        if !matches!(self.bytes.last(), None | Some(b'\n' | b'\r')) {
            changed.extend_from_slice(ending);
        }
        if self.is_open {
            // An empty line ends what the backslash goes on with.
            changed.extend_from_slice(ending);
        }
        changed.extend(format!("{key}={value}").into_bytes());
        changed.extend_from_slice(ending);
        changed
    }

    fn last(&self, key: &str) -> Option<&Property> {
        self.entries.iter().rev().find(|property| property.key == key)
    }

    /// As the first line ends; after a lone carriage return another one, since a line feed would only be
    /// its second half.
    fn line_ending(&self) -> &'static [u8] {
        if self.bytes.ends_with(b"\r") {
            return b"\r";
        }
        match self.bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            Some(at) if self.bytes[at..].starts_with(b"\r\n") => b"\r\n",
            Some(at) if self.bytes[at] == b'\r' => b"\r",
            _ => b"\n",
        }
    }
}

/// A line as Java sees it: continuation lines joined, comments and blank lines gone.
struct LogicalLine {
    /// Counted from 1.
    number: usize,
    /// Its bytes, each with its place in the file.
    content: Vec<(u8, usize)>,
    /// After the last of them, where an empty value would stand.
    end: usize,
    /// Before the end of the last of its lines in the file; more than `end` when the file ends in a
    /// backslash.
    line_end: usize,
}

struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
    /// Of `at`, counted from 1.
    line: usize,
    is_open: bool,
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

impl Lines<'_> {
    fn next_line(&mut self) -> Option<LogicalLine> {
        loop {
            self.skip_while(is_blank);
            match self.peek()? {
                b'#' | b'!' => self.skip_while(|byte| !matches!(byte, b'\n' | b'\r')),
                b'\n' | b'\r' => self.skip_line_end(),
                _ => {
                    if let Some(line) = self.logical_line() {
                        return Some(line);
                    }
                }
            }
        }
    }

    /// `None`: a backslash alone, after which all is as at the beginning of a line, a comment too.
    fn logical_line(&mut self) -> Option<LogicalLine> {
        let number = self.line;
        let mut content = Vec::new();
        loop {
            let mut is_escaped = false;
            while let Some(byte) = self.peek().filter(|byte| !matches!(byte, b'\n' | b'\r')) {
                is_escaped = byte == b'\\' && !is_escaped;
                content.push((byte, self.at));
                self.at += 1;
            }
            let line_end = self.at;
            if !is_escaped {
                self.skip_line_end();
                return (!content.is_empty()).then_some(LogicalLine { number, content, end: line_end, line_end });
            }
            content.pop();
            let is_cut_short = self.peek().is_none();
            self.skip_line_end();
            if self.peek().is_none() {
                self.is_open = true;
                let end = if is_cut_short { line_end - 1 } else { self.at };
                // Java takes a last backslash alone for a property of nothing, but not with two bytes behind it.
                let is_property = !content.is_empty() || self.at - line_end < 2;
                return is_property.then_some(LogicalLine { number, content, end, line_end: self.at });
            }
            if content.is_empty() {
                return None;
            }
            self.skip_while(is_blank);
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_while(&mut self, is_skipped: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&is_skipped) {
            self.at += 1;
        }
    }

    fn skip_line_end(&mut self) {
        let rest = &self.bytes[self.at..];
        let length = if rest.starts_with(b"\r\n") { 2 } else { usize::from(!rest.is_empty()) };
        self.at += length;
        self.line += usize::from(length > 0);
    }
}

/// Parts a line into key and value.
fn property(line: &LogicalLine) -> Result<Property, MalformedEscape> {
    let content = &line.content;
    let mut is_escaped = false;
    let key_length = content
        .iter()
        .position(|&(byte, _)| {
            let is_end = !is_escaped && (is_blank(byte) || matches!(byte, b'=' | b':'));
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        })
        .unwrap_or(content.len());
    let mut value_at = key_length;
    let mut has_sign = false;
    while let Some(&(byte, _)) = content.get(value_at) {
        if matches!(byte, b'=' | b':') && !has_sign {
            has_sign = true;
        } else if !is_blank(byte) {
            break;
        }
        value_at += 1;
    }
    let text = |part: &[(u8, usize)]| {
        let bytes: Vec<u8> = part.iter().map(|&(byte, _)| byte).collect();
        unescaped(&bytes).ok_or(MalformedEscape { line: line.number })
    };
    Ok(Property {
        key: text(&content[..key_length])?,
        value: text(&content[value_at..])?,
        line: line.number,
        range: content.get(value_at).map_or(line.end, |&(_, place)| place)..line.line_end,
        has_separator: value_at > key_length,
    })
}

/// `None` at a `\u` without its four digits.
fn unescaped(bytes: &[u8]) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            units.push(byte.into());
            continue;
        }
        units.push(match rest.next() {
            None => break,
            Some(b't') => 0x09,
            Some(b'n') => 0x0a,
            Some(b'f') => 0x0c,
            Some(b'r') => 0x0d,
            Some(b'u') => {
                let mut unit = 0;
                for _ in 0..4 {
                    let digit = char::from(rest.next()?).to_digit(16)?;
                    unit = unit * 16 + u16::try_from(digit).ok()?;
                }
                unit
            }
            Some(other) => other.into(),
        });
    }
    // Half a surrogate pair is no letter of any name.
    Some(String::from_utf16_lossy(&units))
}

/// A leading sign or blank would be taken for the separator.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    if value.starts_with([' ', '=', ':']) {
        escaped.push('\\');
    }
    for unit in value.encode_utf16() {
        match unit {
            0x09 => escaped.push_str("\\t"),
            0x0a => escaped.push_str("\\n"),
            0x0c => escaped.push_str("\\f"),
            0x0d => escaped.push_str("\\r"),
            0x5c => escaped.push_str("\\\\"),
            0x20..=0x7e => escaped.extend(char::from_u32(unit.into())),
            _ => _ = write!(escaped, "\\u{unit:04X}"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(properties: &Properties) -> Vec<(String, String)> {
        properties.entries.iter().map(|property| (property.key.clone(), property.value.clone())).collect()
    }

    fn read(text: &str) -> Vec<(String, String)> {
        let properties = Properties::parse(text).expect("Java takes it");
        all(&properties)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn set(text: &str, value: &str) -> String {
        String::from_utf8(Properties::parse(text).expect("Java takes it").with("list", value)).expect("ASCII")
    }

    #[test]
    fn keys_and_values_part_as_in_java() {
        for text in ["a=b", "a:b", "a b", "a = b", "a\t:  b", "  a\x0cb", "a=b\n", "\r\n a=b\r\n", "a=b\r"] {
            assert_eq!(read(text), pairs(&[("a", "b")]), "{text:?}");
        }
        assert_eq!(
            read("a==b\nc :=d\ne\n=f\n g = h "),
            pairs(&[("a", "=b"), ("c", "=d"), ("e", ""), ("", "f"), ("g", "h ")])
        );
        assert_eq!(read(r"a\ b\=\:c=d"), pairs(&[("a b=:c", "d")]));
        assert_eq!(read(r"a\\=b"), pairs(&[("a\\", "b")]));
    }

    #[test]
    fn comments_are_never_continued() {
        assert_eq!(read("# a=b\\\n! c=d\\\r\n  #e\n\n \t\nf=g#h"), pairs(&[("f", "g#h")]));
    }

    #[test]
    fn lines_go_on_after_an_odd_backslash() {
        assert_eq!(read("a=b,\\\n   c,\\\r\n\td"), pairs(&[("a", "b,c,d")]));
        assert_eq!(read("a=b\\\\\nc=d"), pairs(&[("a", "b\\"), ("c", "d")]));
        // What goes on is no comment, and a blank line ends it.
        assert_eq!(read("a=b\\\n# c\nd=e"), pairs(&[("a", "b# c"), ("d", "e")]));
        assert_eq!(read("a=b\\\n\nc=d"), pairs(&[("a", "b"), ("c", "d")]));
        assert_eq!(read("\\\n\\\n\n# c\na=b\\"), pairs(&[("a", "b")]));
        assert_eq!(read("a\\\n  =b"), pairs(&[("a", "b")]));
    }

    #[test]
    fn escapes_are_decoded_and_broken_ones_refused() {
        assert_eq!(read(r"caf\u00e9=\u00C9\ud83c\udfac\t\q"), pairs(&[("caf\u{e9}", "\u{c9}\u{1f3ac}\tq")]));
        assert_eq!(read("a=b").len(), 1);
        let latin = Properties::parse(&b"a=\xe9"[..]).expect("any byte is a letter");
        assert_eq!(latin.get("a"), Some("\u{e9}"));
        let broken = Properties::parse("# fine \\u\n\na=b\nc=\\u00g0");
        assert_eq!(broken, Err(MalformedEscape { line: 4 }));
    }

    #[test]
    fn of_several_the_last_counts_and_is_changed() {
        let text = "list=a\nother=1\nlist : b\nend=2";
        let properties = Properties::parse(text).expect("Java takes it");
        assert_eq!((properties.get("list"), properties.lines("list")), (Some("b"), vec![1, 3]));
        assert_eq!(set(text, "c"), "list=a\nother=1\nlist : c\nend=2");
    }

    #[test]
    fn only_the_value_is_replaced() {
        assert_eq!(set("# c\r\nlist = a,\\\r\n  b\r\nx=y\r\n", "c:d"), "# c\r\nlist = c:d\r\nx=y\r\n");
        assert_eq!(set("list=\\\n  a,\\\n  b\nx=y", "c"), "list=\\\n  c\nx=y");
        assert_eq!(set("list", "a"), "list=a");
        assert_eq!(set("list\nx=y", "a"), "list=a\nx=y");
        assert_eq!(set("list a", ":b"), "list \\:b");
        assert_eq!(set("list=\nx=y", "a"), "list=a\nx=y");
        assert_eq!(set("list = \\", "new"), "list = new");
        assert_eq!(set("list=a\\", "new"), "list=new");
        assert_eq!(set("list=\\\ra\nx=y", ""), "list=\\\r \nx=y");
    }

    #[test]
    fn a_missing_property_comes_to_the_end() {
        assert_eq!(set("", "a"), "list=a\n");
        assert_eq!(set("x=y", "a"), "x=y\nlist=a\n");
        assert_eq!(set("x=y\r\n", "a"), "x=y\r\nlist=a\r\n");
        assert_eq!(set("# list=b\n", "a"), "# list=b\nlist=a\n");
        assert_eq!(set("x=y\\", "a"), "x=y\\\n\nlist=a\n");
        assert_eq!(set("x=y\\\n", "a"), "x=y\\\n\nlist=a\n");
        assert_eq!(set("\nx=y\\\r", "a"), "\nx=y\\\r\rlist=a\r");
        assert_eq!(set("x=y\\\n  ", "a"), "x=y\\\n  \nlist=a\n");
    }

    #[test]
    fn other_letters_are_escaped() {
        assert_eq!(set("list=a", "caf\u{e9}:\u{1f3ac} \\"), r"list=caf\u00E9:\uD83C\uDFAC \\");
    }

    /// Pieces from which files are made that try every rule.
    fn file() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "list", "other", "=", ":", " ", "\t", "\n", "\r\n", "\r", "\\", "\\\\", "\\\n", "\\\r\n", "#", "!", "a:b",
            ",", "\\u00e9", "\x0c",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    fn changes_nothing_else(text: String, value: &str) -> Result<(), TestCaseError> {
        let Ok(before) = Properties::parse(text) else { return Ok(()) };
        let bytes = before.with("list", value);
        let after = Properties::parse(bytes.clone()).expect("what is written can be read");
        prop_assert_eq!(after.get("list"), Some(value));
        // All others keep their values, the last of the name alone is another.
        let mut expected = all(&before);
        if let Some(at) = expected.iter().rposition(|(key, _)| key == "list") {
            value.clone_into(&mut expected[at].1);
        } else {
            // A last backslash alone is a property of nothing only as long as it is the last.
            let is_nothing = |last: &Property| last.key.is_empty() && !last.has_separator;
            expected.pop_if(|_| before.entries.last().is_some_and(is_nothing));
            expected.push(("list".to_owned(), value.to_owned()));
        }
        prop_assert_eq!(all(&after), expected);
        // And byte for byte.
        match before.last("list") {
            Some(property) => {
                prop_assert!(bytes.starts_with(&before.bytes[..property.range.start]));
                prop_assert!(bytes.ends_with(&before.bytes[property.range.end..]));
            }
            None => prop_assert!(bytes.starts_with(&before.bytes)),
        }
        // Once more changes nothing at all.
        prop_assert_eq!(after.with("list", value), bytes);
        Ok(())
    }

    #[test]
    fn a_last_backslash_stays_what_it_is() {
        for text in ["\\\n", "=\\"] {
            changes_nothing_else(text.to_owned(), "").expect("nothing else changes");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_change_changes_nothing_else(text in file(), value in "[ -~\u{e9}\u{1f3ac}\t\n]{0,20}") {
            changes_nothing_else(text, &value)?;
        }
    }
}
