//! Properties files read a second time: line by line, as the format of `java.util.Properties` is documented,
//! and by Java itself where there is one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::Properties;
use crate::fuzz::{fuzz, text_of};

/// Every rule of the format is tried by some of these.
const PIECES: &[&str] = &[
    "list", "other", "=", ":", " ", "\t", "\x0c", "\n", "\r\n", "\r", "\\", "\\\\", "\\\n", "\\\r\n", "\\\r", "#", "!",
    "a:b", ",", "\\u00e9", "\\u", "\\t", "\u{e9}", "a",
];

type Pairs = BTreeMap<String, String>;

const BLANKS: &[char] = &[' ', '\t', '\x0c'];

/// `None`: Java refuses the file.
fn by_lines(text: &str) -> Option<Pairs> {
    let mut lines: Vec<(&str, &str)> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let after = if rest[end..].starts_with("\r\n") { end + 2 } else { rest.len().min(end + 1) };
        lines.push((&rest[..end], &rest[end..after]));
        rest = &rest[after..];
    }
    let mut found = Pairs::new();
    let mut logical = String::new();
    for (at, (line, ending)) in lines.iter().enumerate() {
        let line = line.trim_start_matches(BLANKS);
        if logical.is_empty() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        logical.push_str(&line[..line.len() - backslashes % 2]);
        let is_last = at + 1 == lines.len();
        if backslashes % 2 == 1 && !is_last {
            continue;
        }
        // Not documented, and so in Java: a last backslash alone is a property of nothing.
        if !logical.is_empty() || (backslashes % 2 == 1 && ending.len() < 2) {
            let (key, value) = parted(&logical);
            found.insert(unescaped(key)?, unescaped(value)?);
        }
        logical.clear();
    }
    if !logical.is_empty() {
        let (key, value) = parted(&logical);
        found.insert(unescaped(key)?, unescaped(value)?);
    }
    Some(found)
}

fn parted(line: &str) -> (&str, &str) {
    let mut letters = line.char_indices();
    let mut end = line.len();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '=' | ':' | ' ' | '\t' | '\x0c' => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    let value = line[end..].trim_start_matches(BLANKS);
    let value = value.strip_prefix(['=', ':']).map_or(value, |value| value.trim_start_matches(BLANKS));
    (&line[..end], value)
}

fn unescaped(text: &str) -> Option<String> {
    let mut units = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let letter = if letter == '\\' {
            letters.next()
        } else {
            units.extend(letter.encode_utf16(&mut [0; 2]).iter());
            continue;
        };
        match letter {
            None => {}
            Some('u') => {
                let digits: String = letters.by_ref().take(4).collect();
                let is_number = digits.len() == 4 && digits.chars().all(|digit| digit.is_ascii_hexdigit());
                units.push(u16::from_str_radix(&digits, 16).ok().filter(|_| is_number)?);
            }
            Some(other) => {
                let meant = match other {
                    't' => '\t',
                    'n' => '\n',
                    'r' => '\r',
                    'f' => '\x0c',
                    other => other,
                };
                units.extend(meant.encode_utf16(&mut [0; 2]).iter());
            }
        }
    }
    Some(String::from_utf16_lossy(&units))
}

/// As Java reads bytes.
fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(letter).expect("all pieces are Latin-1")).collect()
}

fn read(text: &str) -> Option<Pairs> {
    let properties = Properties::parse(latin(text)).ok()?;
    Some(properties.keys().map(|key| (key.to_owned(), properties.get(key).unwrap_or_default().to_owned())).collect())
}

/// Files and what Java 17 made of them.
#[test]
fn a_backslash_alone_is_read_as_java_reads_it() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("\\\n# c\na=b", &[("a", "b")]),
        ("\\\n  ! c\na=b", &[("a", "b")]),
        ("\\\n\\\n# c\na=b", &[("a", "b")]),
        ("\\\r# c\ra=b", &[("a", "b")]),
        ("\\\n\n# c\na=b", &[("a", "b")]),
        ("\\", &[("", "")]),
        ("\\\n", &[("", "")]),
        ("\\\r\n", &[]),
        ("\\\n  ", &[]),
        ("=f\n\\", &[("", "")]),
        ("a=b\\\n# c", &[("a", "b# c")]),
        ("x\\\n#c=d", &[("x#c", "d")]),
        ("\\\n=b", &[("", "b")]),
        ("a=\\\n# b", &[("a", "# b")]),
        ("a\\\n# b\nc=d", &[("a#", "b"), ("c", "d")]),
        ("\\\\\n# c", &[("\\", "")]),
        ("\\ \n# c", &[(" ", "")]),
        ("\x0c\\\n\x0c#x\\\ny=z", &[("y", "z")]),
        ("a\\\n\\\nb", &[("ab", "")]),
    ];
    for (text, expected) in cases {
        let expected = expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(read(text), Some(expected), "{text:?}");
    }
}

#[test]
fn fuzz_properties_read_as_documented_and_a_change_changes_one() {
    fuzz(60_000, |random| {
        let text = text_of(random, PIECES, 40);
        let pairs = by_lines(&text);
        assert_eq!(read(&text), pairs, "{text:?}");
        let Some(mut pairs) = pairs else { return };
        let value = text_of(random, &["a:b", ",", " ", "=", "\\", "\u{e9}", "\u{1f3ac}", "\n", "#"], 8);
        let changed = Properties::parse(latin(&text)).expect("it was read").with("list", &value);
        assert!(changed.len() <= text.len() + 12 * value.len() + 16, "{text:?}");
        let changed = Properties::parse(changed).expect("what is written can be read");
        assert_eq!(changed.get("list"), Some(value.as_str()), "{text:?}");
        pairs.insert("list".to_owned(), value);
        for (key, value) in pairs.iter().filter(|(key, _)| !key.is_empty()) {
            assert_eq!(changed.get(key), Some(value.as_str()), "{text:?}");
        }
    });
}

/// Reads files in hexadecimal, one a line, and prints keys and values likewise.
const JAVA: &str = r#"
import java.io.*;
import java.util.*;

public class Read {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            Properties properties = new Properties();
            StringBuilder told = new StringBuilder();
            try {
                properties.load(new ByteArrayInputStream(HexFormat.of().parseHex(line)));
                for (String key : new TreeSet<String>(properties.stringPropertyNames())) {
                    told.append(hex(key)).append('=').append(hex(properties.getProperty(key))).append(';');
                }
            } catch (IllegalArgumentException refused) {
                told.append("refused");
            }
            System.out.println(told);
        }
    }

    static String hex(String text) throws Exception {
        return HexFormat.of().formatHex(text.getBytes("UTF-8"));
    }
}
"#;

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[test]
#[ignore = "needs Java 17 or newer"]
fn java_reads_the_same() {
    let (mut files, mut ours) = (String::new(), Vec::new());
    fuzz(100_000, |random| {
        let text = text_of(random, PIECES, 40);
        files.push_str(&hex(&latin(&text)));
        files.push('\n');
        let told = read(&text).map_or_else(
            || "refused".to_owned(),
            |pairs| {
                let pairs =
                    pairs.iter().map(|(key, value)| format!("{}={};", hex(key.as_bytes()), hex(value.as_bytes())));
                pairs.collect()
            },
        );
        ours.push((text, told));
    });
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("Read.java");
    std::fs::write(&source, JAVA).expect("it is written");
    let mut java = Command::new("java");
    let mut java = java.arg(&source).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Java starts");
    let mut input = java.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || input.write_all(files.as_bytes()));
    let output = java.wait_with_output().expect("Java ends");
    writer.join().expect("the writer ends").expect("Java reads");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(told.lines().count(), ours.len());
    for ((text, ours), java) in ours.iter().zip(told.lines()) {
        assert_eq!(ours, java, "{text:?}");
    }
}
