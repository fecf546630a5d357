//! Environment files and command lines as text, read as systemd and shells read them.

/// A quotation mark that nothing closes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: a quotation mark that is not closed")]
pub struct Unclosed {
    line: usize,
}

/// The variables of an environment file, in its order. Lines that are none, as in a script, are passed over.
pub(super) fn variables(text: &str) -> Result<Vec<(String, String)>, Unclosed> {
    let mut found = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((first, line)) = lines.next() {
        let line = line.trim_start();
        if line.starts_with(['#', ';']) {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
        if name.is_empty() || !name.chars().all(is_name) {
            continue;
        }
        let mut value = value.to_owned();
        let value = loop {
            let goes_on = value.ends_with('\\') && !value.ends_with("\\\\");
            match unquoted(&value) {
                Some(value) if !goes_on => break value,
                _ => {}
            }
            match lines.next() {
                Some((_, next)) if goes_on => value.replace_range(value.len() - 1.., next),
                Some((_, next)) => value.extend(["\n", next]),
                None if goes_on => _ = value.pop(),
                None => return Err(Unclosed { line: first }),
            }
        };
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

/// A variable's value as systemd reads it; `None` where a quotation mark is not closed. One stands at the beginning
/// or behind a closed one; elsewhere it is a letter, such as an apostrophe.
fn unquoted(text: &str) -> Option<String> {
    let mut value = String::new();
    // Blanks behind this are not the value's.
    let mut kept = 0;
    let mut quote = None;
    let mut may_open = true;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '"' | '\'') if may_open => quote = Some(letter),
            (None, letter) if may_open && letter.is_whitespace() => {}
            (Some(open), _) if open == letter => {
                (quote, may_open, kept) = (None, true, value.len());
            }
            (Some('"'), '\\') if letters.peek().is_some_and(|next| !is_taken_by_backslash(*next)) => value.push('\\'),
            (None | Some('"'), '\\') => {
                value.extend(letters.next());
                (may_open, kept) = (false, value.len());
            }
            (_, letter) => {
                value.push(letter);
                may_open = false;
            }
        }
    }
    let value_len = kept.max(value.trim_end().len());
    value.truncate(value_len);
    quote.is_none().then_some(value)
}

/// Inside double quotes a backslash is one unless something follows that it takes the meaning from.
fn is_taken_by_backslash(letter: char) -> bool {
    "\"\\$`".contains(letter)
}

/// Words parted at blanks, with quotation marks and backslashes taken away; `None` where a quotation mark is
/// not closed.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == letter => quote = None,
            (Some('"'), '\\') if letters.peek().is_some_and(|next| !is_taken_by_backslash(*next)) => {
                word.get_or_insert_default().push('\\');
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        variables(text).expect("all is closed")
    }

    fn one(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn variables_are_read_as_systemd_and_shells_read_them() {
        let cases = [
            ("OPTIONS=--a=b", "--a=b"),
            ("# no=x\n; no=y\n\nOPTIONS=\"--a=b -Dc=d\"", "--a=b -Dc=d"),
            ("export OPTIONS='--a=\"x y\"'", "--a=\"x y\""),
            ("OPTIONS=--a=b \\\n  --c=d", "--a=b   --c=d"),
            ("OPTIONS=\"--a=b\n--c=d\"", "--a=b\n--c=d"),
            ("OPTIONS=\"a \\\"b\\\" \\x\"", "a \"b\" \\x"),
            ("OPTIONS=a\\ b\\", "a b"),
            ("if [ x = y ]; then\nOPTIONS=", ""),
            ("OPTIONS=\"a\"'b'c", "abc"),
            ("OPTIONS=' a ' \t", " a "),
            ("OPTIONS= --a='x y' ", "--a='x y'"),
        ];
        for (text, value) in cases {
            assert_eq!(read(text), one("OPTIONS", value), "{text}");
        }
        let apostrophe = [one("A", "Let's"), one("OPTIONS", "x"), one("B", "don't")].concat();
        assert_eq!(read("A=Let's\nOPTIONS=x\nB=don't\n"), apostrophe);
        assert_eq!(variables("A=b\nC='d"), Err(Unclosed { line: 2 }));
    }

    #[test]
    fn words_are_parted_at_blanks_outside_quotation_marks() {
        assert_eq!(words("a  'b c'\t\"d\"e '' ").expect("closed"), ["a", "b c", "de", ""]);
        assert_eq!(words("a 'b"), None);
        assert_eq!(words(" "), Some(Vec::new()));
    }
}
