//! Imports that run in a circle between the files of a room, or of `commands`.
//!
//! A file needs another one when it names something that the other one defines: in an import, in a path, or
//! through a name that a third one hands on. To hand a name on (`pub use` of something that the file itself
//! makes no use of) and to declare a module is no need. So a `mod.rs` that only shows what its children
//! define stands in no circle; one that defines what a child imports, and itself works with what that child
//! defines, does. Methods are not looked at: a type's `impl` may stand beside what it works with.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::{Named, Source, named, sources, split_imports};

/// How often a name may be handed on.
const HOPS_MAX: usize = 8;

struct Module {
    file: String,
    room: String,
    defined: BTreeSet<String>,
    named: Vec<Named>,
    /// What the code uses, imports apart.
    words: BTreeSet<String>,
}

/// All files of one crate by their module paths; the crate's root has the empty one.
struct Crate(BTreeMap<Vec<String>, Module>);

impl Crate {
    fn read(folder: &str) -> Self {
        let modules = sources(folder).into_iter().map(|source| (module_path(&source.path), Module::of(source)));
        Self(modules.collect())
    }

    /// The file that defines what `path` means in `module`, when it stands in this crate.
    fn definition(&self, module: &[String], path: &[String], hops: usize) -> Option<&str> {
        let (first, mut rest) = path.split_first()?;
        let mut here = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => module.split_last()?.1.to_vec(),
            name => {
                let child = with(module, name);
                if !self.0.contains_key(&child) {
                    return (path.len() > 1).then(|| self.handed_on(module, name, rest, hops)).flatten();
                }
                child
            }
        };
        loop {
            let (name, after) = rest.split_first()?;
            let child = with(&here, name);
            if name == "super" {
                here.pop();
            } else if self.0.contains_key(&child) {
                here = child;
            } else {
                let found = self.0.get(&here)?;
                if found.defined.contains(name) {
                    return Some(&found.file);
                }
                return self.handed_on(&here, name, after, hops);
            }
            rest = after;
        }
    }

    /// Where `name` comes from that `module` has imported.
    fn handed_on(&self, module: &[String], name: &str, rest: &[String], hops: usize) -> Option<&str> {
        let hops = hops.checked_sub(1)?;
        let imports = self.0.get(module)?.named.iter();
        imports.filter_map(|named| Some((named, named.alias.as_deref()?))).find_map(|(named, alias)| match alias {
            "*" => {
                let (_, globbed) = named.path.split_last()?;
                let path: Vec<String> = globbed.iter().cloned().chain([name.to_owned()]).collect();
                self.definition(module, &path, hops)
            }
            alias if alias == name => {
                let path: Vec<String> = named.path.iter().chain(rest).cloned().collect();
                self.definition(module, &path, hops)
            }
            _ => None,
        })
    }

    /// By file, the files of the same room that it needs.
    fn needs(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut needs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let rooms: BTreeMap<&str, &str> =
            self.0.values().map(|module| (module.file.as_str(), module.room.as_str())).collect();
        for (path, module) in &self.0 {
            for named in &module.named {
                let is_used =
                    !named.is_reexport || named.alias.as_ref().is_some_and(|name| module.words.contains(name));
                let found = is_used.then(|| self.definition(path, &named.path, HOPS_MAX)).flatten();
                if let Some(file) = found.filter(|file| *file != module.file && rooms[file] == module.room) {
                    needs.entry(&module.file).or_default().insert(file);
                }
            }
        }
        needs
    }
}

impl Module {
    fn of(source: Source) -> Self {
        let (_, rest) = split_imports(&source.code);
        let words = rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').map(str::to_owned).collect();
        Self {
            defined: source.code.lines().filter_map(defined).collect(),
            named: named(&source.code),
            words,
            file: source.path,
            room: source.room,
        }
    }
}

fn with(module: &[String], name: &str) -> Vec<String> {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

fn module_path(file: &str) -> Vec<String> {
    let parts = file.trim_end_matches(".rs").split('/').skip(1);
    parts.filter(|part| !["mod", "lib", "main"].contains(part)).map(str::to_owned).collect()
}

/// The name of the item that a line at a file's left edge begins.
fn defined(line: &str) -> Option<String> {
    let mut words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '!');
    if line.starts_with(char::is_whitespace) {
        return None;
    }
    let is_before = |word: &&str| ["", "pub", "crate", "super", "in", "async", "unsafe", "extern"].contains(word);
    let kind = words.by_ref().find(|word| !is_before(word))?;
    let mut name = words.find(|word| !is_before(word))?;
    if kind == "const" && ["fn", "unsafe"].contains(&name) {
        name = words.find(|word| !is_before(word))?;
    }
    ["fn", "struct", "enum", "trait", "type", "const", "static", "union", "macro_rules!"]
        .contains(&kind)
        .then(|| name.to_owned())
}

/// Sets of files that all need each other, the larger ones first.
fn circles<'a>(needs: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<BTreeSet<&'a str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> = needs.keys().map(|file| (*file, reached(needs, file))).collect();
    let mut circles: BTreeSet<BTreeSet<&str>> = BTreeSet::new();
    for (file, found) in &reached {
        let round = found.iter().copied().filter(|other| reached.get(other).is_some_and(|back| back.contains(file)));
        let round: BTreeSet<&str> = round.collect();
        if round.len() > 1 {
            circles.insert(round);
        }
    }
    let mut circles: Vec<_> = circles.into_iter().collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

fn reached<'a>(needs: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = needs.get(from).into_iter().flatten().copied().collect();
    while let Some(file) = next.pop() {
        if found.insert(file) {
            next.extend(needs.get(file).into_iter().flatten());
        }
    }
    found
}

#[test]
fn imports_run_in_no_circle() {
    let mut found = Vec::new();
    for folder in ["src", "commands"] {
        let read = Crate::read(folder);
        let needs = read.needs();
        assert!(needs.len() > 10, "the files of {folder} need each other");
        for circle in circles(&needs) {
            println!("a circle of {} files:", circle.len());
            for file in &circle {
                let others: Vec<&str> = needs[file].intersection(&circle).copied().collect();
                println!("  {file} needs {}", others.join(", "));
            }
            found.push(circle.into_iter().collect::<Vec<_>>().join(", "));
        }
    }
    super::none(&found, "files that need each other; what they share belongs below both");
}

#[test]
fn items_are_found_by_their_names() {
    let lines = [
        ("pub(crate) const fn of(a: u8) {", Some("of")),
        ("pub struct Host<'a> {", Some("Host")),
        ("const MAX: u8 = 1;", Some("MAX")),
        ("    fn inner() {}", None),
        ("impl Host {", None),
        ("macro_rules! words {", Some("words")),
    ];
    for (line, name) in lines {
        assert_eq!(defined(line).as_deref(), name, "{line}");
    }
}
