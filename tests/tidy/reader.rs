//! Reading sources: code without comments and texts, and what it names.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Source {
    /// From the package's folder.
    pub(crate) path: String,
    pub(super) room: String,
    /// The code that is shipped: no comments, texts emptied, the trailing test module cut off.
    pub(super) code: String,
    /// The texts of the shipped code.
    pub(crate) texts: Vec<String>,
}

impl Source {
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.code.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty())
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn sources(folder: &str) -> Vec<Source> {
    files(folder, "rs").iter().map(|path| source(path)).collect()
}

pub(super) fn source(path: &Path) -> Source {
    let path_text = short(path);
    let mut parts = path_text.split('/');
    let room = match (parts.next(), parts.next()) {
        (Some("src"), Some(name)) => name.trim_end_matches(".rs").to_owned(),
        (Some(folder), _) => folder.to_owned(),
        _ => unreachable!("a file stands in a folder"),
    };
    let text = fs::read_to_string(path).unwrap();
    let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let (code, texts) = split(shipped);
    Source { path: path_text, room, code, texts }
}

/// Code without comments and with empty texts, and the texts.
fn split(source: &str) -> (String, Vec<String>) {
    let letters: Vec<char> = source.chars().collect();
    let at = |position: usize| letters.get(position).copied().unwrap_or('\0');
    let (mut code, mut texts) = (String::new(), Vec::new());
    let mut here = 0;
    while here < letters.len() {
        match at(here) {
            '/' if at(here + 1) == '/' => {
                while here < letters.len() && at(here) != '\n' {
                    here += 1;
                }
            }
            '/' if at(here + 1) == '*' => {
                while here < letters.len() && !(at(here) == '*' && at(here + 1) == '/') {
                    here += 1;
                }
                here += 2;
            }
            // A letter in quotes, not a lifetime.
            '\'' if at(here + 1) == '\\' || at(here + 2) == '\'' => {
                here += if at(here + 1) == '\\' { 3 } else { 2 };
                while here < letters.len() && at(here) != '\'' {
                    here += 1;
                }
                here += 1;
            }
            'r' if is_raw_text(&letters, here) => {
                let hashes = letters[here + 1..].iter().take_while(|&&letter| letter == '#').count();
                let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                let start = here + 2 + hashes;
                let length = letters[start..].windows(end.len()).position(|window| window == end).unwrap();
                texts.push(letters[start..start + length].iter().collect());
                code.push_str("\"\"");
                here = start + length + end.len();
            }
            '"' => {
                let start = here + 1;
                here = start;
                while here < letters.len() && at(here) != '"' {
                    here += if at(here) == '\\' { 2 } else { 1 };
                }
                texts.push(letters[start..here].iter().collect());
                code.push_str("\"\"");
                here += 1;
            }
            letter => {
                code.push(letter);
                here += 1;
            }
        }
    }
    (code, texts)
}

fn is_raw_text(letters: &[char], here: usize) -> bool {
    let is_word = here > 0 && (letters[here - 1].is_alphanumeric() || letters[here - 1] == '_');
    let hashes = letters[here + 1..].iter().take_while(|&&letter| letter == '#').count();
    !is_word && letters.get(here + 1 + hashes) == Some(&'"')
}

/// A path that code names, expanded out of braces, and by what name it is known from there on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) path: Vec<String>,
    /// For imports: the last part, or what stands after `as`. `*` for all that there is.
    pub(super) alias: Option<String>,
    /// `pub use`, to anyone at all.
    pub(super) is_public: bool,
    pub(super) is_reexport: bool,
}

/// Everything that code imports, and every other path of at least two parts in it.
pub(super) fn named(code: &str) -> Vec<Named> {
    let (imports, rest) = split_imports(code);
    let mut found = Vec::new();
    for (visibility, tree) in imports {
        expand(&tree, &[], &mut |path, alias| {
            found.push(Named {
                path,
                alias: Some(alias),
                is_public: visibility == "pub",
                is_reexport: !visibility.is_empty(),
            });
        });
    }
    for path in paths(&rest) {
        found.push(Named { path, alias: None, is_public: false, is_reexport: false });
    }
    found
}

/// Visibility and tree of each `use`, and the code without them.
pub(super) fn split_imports(code: &str) -> (Vec<(String, String)>, String) {
    let (mut imports, mut rest) = (Vec::new(), String::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let Some((visibility, start)) = import(line) else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        let mut tree = start.to_owned();
        while !tree.contains(';') {
            tree.push_str(lines.next().expect("an import ends"));
        }
        tree.retain(|letter| letter != ';');
        imports.push((visibility.to_owned(), tree));
    }
    (imports, rest)
}

fn import(line: &str) -> Option<(&str, &str)> {
    let (visibility, tree) = line.trim_start().split_once("use ")?;
    let visibility = visibility.trim_end();
    (visibility.is_empty() || visibility == "pub" || (visibility.starts_with("pub(") && visibility.ends_with(')')))
        .then_some((visibility, tree))
}

fn expand(tree: &str, before: &[String], found: &mut impl FnMut(Vec<String>, String)) {
    let tree = tree.trim();
    let (front, group) = tree.split_once('{').map_or((tree, None), |(front, group)| (front, Some(group)));
    let (front, alias) = front.split_once(" as ").map_or((front, None), |(front, alias)| (front, Some(alias.trim())));
    let parts = front.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned);
    let mut path: Vec<String> = before.iter().cloned().chain(parts).collect();
    let Some(group) = group else {
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        if let Some(last) = path.last().cloned() {
            found(path, alias.map_or(last, str::to_owned));
        }
        return;
    };
    let (mut depth, mut start) = (0, 0);
    let group = group.strip_suffix('}').unwrap_or(group);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&group[start..at], &path, found);
                start = at + 1;
            }
            _ => {}
        }
    }
    expand(&group[start..], &path, found);
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn paths(code: &str) -> Vec<Vec<String>> {
    let pieces = code.split(|letter: char| !is_word(letter) && letter != ':');
    let paths = pieces.map(|piece| piece.split("::").map(|part| part.trim_matches(':').to_owned()).collect());
    paths.filter(|path: &Vec<String>| path.len() > 1 && path.iter().all(|part| !part.is_empty())).collect()
}

#[test]
fn the_reader_tells_code_from_texts_and_comments() {
    let (code, texts) =
        split("let a = \"x // \\\"y\"; // z \"q\"\nlet b = r#\"raw \" text\"#; let c = '\"'; f::<'static>('\\n');");
    assert_eq!(texts, ["x // \\\"y", "raw \" text"]);
    assert_eq!(code, "let a = \"\"; \nlet b = \"\"; let c = ; f::<'static>();");
    let code =
        "pub use crate::{model::{Host, Job as Work}, db::{self}};\nuse super::*;\nfn f() -> crate::units::Cores {\n";
    let paths: Vec<String> = named(code).iter().map(|named| named.path.join(" ")).collect();
    assert_eq!(paths, ["crate model Host", "crate model Job", "crate db", "super *", "crate units Cores"]);
    let public: Vec<String> = named(code).into_iter().filter(|named| named.is_public).filter_map(|n| n.alias).collect();
    assert_eq!(public, ["Host", "Work", "db"]);
}
