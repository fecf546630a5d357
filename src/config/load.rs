//! From file, environment and flags to one [`Config`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::changed;
use super::error::{ConfigError, NamedBy, Place, Problem, Problems, Rank};
use super::ignored;
use super::keys::{Key, VARIABLE_PREFIX, keys};
use super::types::{Config, MemoryLimitFactors, Secret, Tls, Version};
use super::value::Complaint;
use super::yaml::{self, Entry, Given, Value};
use crate::text::{Known, likeness};

/// Where the file is looked for last.
pub const SYSTEM_FILE: &str = "/etc/cue-scheduler/scheduler.yaml";
const FILE_VARIABLE: &str = "OPENCUE_SCHEDULER_CONFIG";
/// No settings are longer; what is, is not settings.
const FILE_BYTES_MAX: u64 = 1 << 20;
const PASSWORD_BYTES_MAX: u64 = 1 << 12;

/// What settings are made of. Not `Debug`: the environment holds secrets.
#[derive(Clone, Default)]
pub struct Inputs {
    /// The file that a flag names.
    pub file: Option<PathBuf>,
    pub environment: BTreeMap<OsString, OsString>,
    pub flags: Vec<FlagValue>,
    /// The last place to look for a file, normally [`SYSTEM_FILE`].
    pub system_file: Option<PathBuf>,
}

/// What a flag says about a key.
#[derive(Clone, Debug)]
pub struct FlagValue {
    flag: &'static str,
    key: &'static str,
    value: Given,
}

impl FlagValue {
    /// The flag as documented.
    pub const fn flag(&self) -> &'static str {
        self.flag
    }

    pub fn one(flag: &'static str, key: &'static str, text: impl Into<String>) -> Self {
        Self { flag, key, value: Given { line: None, value: Value::Text(text.into()) } }
    }

    pub fn many(flag: &'static str, key: &'static str, texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let items = texts.into_iter().map(|text| Given { line: None, value: Value::Text(text.into()) });
        Self { flag, key, value: Given { line: None, value: Value::List(items.collect()) } }
    }
}

/// Settings that may be used, and how they came about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// The file that was read; none was found otherwise.
    pub file: Option<PathBuf>,
    pub origins: Origins,
    /// To be said once at start.
    pub warnings: Vec<Warning>,
}

impl Loaded {
    /// Defaults that changed since the version for which these settings were written and that hold for them,
    /// each with the key for the old way.
    pub fn changed_defaults(&self) -> Vec<String> {
        let is_anything = self.file.is_some() || !self.origins.0.is_empty();
        let written_for = self.config.written_for.unwrap_or(Version::FIRST);
        let is_left = |key: Option<&str>| key.is_none_or(|key| self.origins.at(key) == Place::Default);
        let changed = changed::DEFAULTS.iter().filter(|changed| is_anything && changed.since > written_for);
        changed.filter(|changed| is_left(changed.key())).map(ToString::to_string).collect()
    }

    /// Files that hold the password, and that everybody on this machine may read.
    pub fn exposed(&self) -> Vec<&Path> {
        let is_in_settings = matches!(self.origins.at("database.db_pass"), Place::File { .. });
        let in_settings = self.file.as_deref().filter(|_| is_in_settings);
        let files = in_settings.into_iter().chain(self.config.database.db_pass_file.as_deref());
        let is_for_all = |path: &&Path| path.metadata().is_ok_and(|file| file.is_file() && file.mode() & 0o004 != 0);
        files.filter(is_for_all).collect()
    }
}

/// Where the value of each key came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<&'static str, Place>);

impl Origins {
    pub fn of(&self, key: &Key) -> Place {
        self.at(key.path)
    }

    fn at(&self, path: &str) -> Place {
        self.0.get(path).cloned().unwrap_or(Place::Default)
    }
}

/// Something that was set in vain, or with a consequence that nobody should overlook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {key} {what}")]
pub struct Warning {
    pub place: Place,
    pub key: &'static str,
    pub what: String,
}

/// Finds the file, reads it, lays environment and flags over it, and checks everything.
///
/// # Errors
/// When the file cannot be read, or with everything that is wrong in any layer.
pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigError> {
    load_from(find_file(inputs)?, inputs)
}

fn load_from(file: Option<(PathBuf, Vec<u8>)>, inputs: &Inputs) -> Result<Loaded, ConfigError> {
    let mut layers = Layers::default();
    if let Some((path, bytes)) = file {
        layers.loaded.file = Some(path);
        match text_of(&bytes).and_then(yaml::parse) {
            Ok(tree) => layers.lay_section("", &tree),
            Err(problem) => layers.problems.push(problem),
        }
    }
    layers.lay_environment(&inputs.environment);
    for FlagValue { flag, key, value } in &inputs.flags {
        // Of a flag that is given twice the last counts.
        layers.seen.clear();
        layers.lay(key, &Place::Flag(flag), value);
    }
    layers.finish()
}

fn find_file(inputs: &Inputs) -> Result<Option<(PathBuf, Vec<u8>)>, ConfigError> {
    let read = |path: PathBuf, named_by| match read_at_most(&path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok((path, bytes)),
        Err(source) => Err(ConfigError::InvalidPath { path, named_by, source }),
    };
    if let Some(path) = &inputs.file {
        return read(path.clone(), NamedBy::Flag).map(Some);
    }
    let variable = |name: &str| inputs.environment.get(&OsString::from(name));
    if let Some(path) = variable(FILE_VARIABLE) {
        return read(path.into(), NamedBy::Environment).map(Some);
    }
    let home = variable("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let of_user = home.map(|home| home.join(".config/cue-scheduler/scheduler.yaml"));
    for path in of_user.into_iter().chain(inputs.system_file.clone()) {
        match read(path, NamedBy::UsualPlace) {
            Err(ConfigError::InvalidPath { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            other => return other.map(Some),
        }
    }
    Ok(None)
}

fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    take_at_most(File::open(path)?, bytes_max)
}

fn take_at_most(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// The password that stands in a file of its own; an empty file holds none. It is read again and again, so that what
/// is no file is refused at once: a pipe may have nobody at its other end.
pub(crate) fn read_password(path: &Path) -> io::Result<Option<Secret>> {
    // So that a pipe is not waited for.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let bytes = take_at_most(file, PASSWORD_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let text = text.trim_end_matches(['\r', '\n']);
    Ok((!text.is_empty()).then(|| Secret::new(text.to_owned())))
}

fn text_of(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
        Problem::at_line(Some(line), "not UTF-8 text".to_owned())
    })
}

/// What a path in the file or the environment leads to.
enum Target {
    /// A key by its right spelling, or why it has no effect.
    Known(&'static str, Result<&'static Key, &'static str>),
    Section,
    Unknown,
}

fn target(path: &str) -> Target {
    if let Some(key) = keys().iter().find(|key| key.path == path || key.aliases.contains(&path)) {
        return Target::Known(key.path, Ok(key));
    }
    if let Some((key, why)) = ignored::find(path) {
        return Target::Known(key, Err(why));
    }
    let is_section = all_paths().any(|known| known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')));
    if is_section { Target::Section } else { Target::Unknown }
}

fn all_paths() -> impl Iterator<Item = &'static str> {
    keys().iter().map(|key| key.path).chain(ignored::IGNORED.iter().map(|(path, _)| *path))
}

#[derive(Default)]
struct Layers {
    loaded: Loaded,
    problems: Vec<Problem>,
    /// Where each key was set in the layer that is being laid.
    seen: BTreeMap<&'static str, Place>,
}

impl Layers {
    fn lay_section(&mut self, prefix: &str, given: &Given) {
        let entries = match &given.value {
            Value::Nothing => return,
            Value::Section(entries) => entries,
            Value::Text(_) | Value::List(_) => {
                let what = match prefix {
                    "" => "expected sections such as `queue:` with indented keys".to_owned(),
                    _ => format!("expected a section with indented keys, such as {}", example_of(prefix)),
                };
                self.complain(&Place::File { line: given.line }, prefix, what);
                return;
            }
        };
        let mut sections: BTreeMap<&str, Option<usize>> = BTreeMap::new();
        for Entry { name, line, given } in entries {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            let place = Place::File { line: *line };
            if !matches!(target(&path), Target::Section) {
                self.lay(&path, &place, given);
            } else if let Some(first) = sections.insert(name, *line) {
                self.complain(&place, &path, twice(&Place::File { line: first }));
            } else {
                self.lay_section(&path, given);
            }
        }
    }

    fn lay_environment(&mut self, environment: &BTreeMap<OsString, OsString>) {
        self.seen.clear();
        for (name, value) in environment {
            let Some(dotted) = name.to_str().and_then(|name| name.strip_prefix(VARIABLE_PREFIX)) else { continue };
            let path = dotted.to_lowercase().replace("__", ".");
            let place = Place::Environment(name.to_string_lossy().into_owned());
            match value.to_str() {
                Some(text) => self.lay(&path, &place, &Given { line: None, value: Value::Text(text.to_owned()) }),
                None => self.complain(&place, &path, "not UTF-8 text".to_owned()),
            }
        }
    }

    fn lay(&mut self, path: &str, place: &Place, given: &Given) {
        match target(path) {
            Target::Known(known, key) => {
                if let Some(first) = self.seen.insert(known, place.clone()) {
                    // Of a section without effect one key is named for all.
                    if !path.starts_with(&format!("{known}.")) {
                        self.complain(place, path, twice(&first));
                    }
                    return;
                }
                match key {
                    Ok(key) => self.set(key, path, place, given),
                    Err(_) if given.value == Value::Nothing => {}
                    Err(why) => self.warn(place, known, format!("has no effect and can be removed: {why}")),
                }
            }
            Target::Section => {
                self.complain(place, path, format!("a section; set its keys, such as {}", example_of(path)));
            }
            Target::Unknown => {
                let meant = nearest(path).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                self.complain(place, path, format!("unknown key{meant}"));
            }
        }
    }

    fn set(&mut self, key: &'static Key, path: &str, place: &Place, given: &Given) {
        let mut given = given.clone();
        if let Value::Text(text) = &mut given.value
            && let Some((other, what)) = ignored::taken_for(key.path, text)
        {
            other.clone_into(text);
            self.warn(place, key.path, what);
        }
        match (key.set)(&mut self.loaded.config, &given) {
            Ok(()) if given.value == Value::Nothing => {}
            Ok(()) => _ = self.loaded.origins.0.insert(key.path, place.clone()),
            Err(Complaint { line, what }) => {
                let place = line.map_or_else(|| place.clone(), |line| Place::File { line: Some(line) });
                self.complain(&place, path, what);
            }
        }
    }

    fn complain(&mut self, place: &Place, path: &str, what: String) {
        let key = (!path.is_empty()).then(|| path.to_owned());
        self.problems.push(Problem { place: place.clone(), key, what });
    }

    fn warn(&mut self, place: &Place, key: &'static str, what: String) {
        self.loaded.warnings.push(Warning { place: place.clone(), key, what });
    }

    fn finish(mut self) -> Result<Loaded, ConfigError> {
        self.read_password();
        self.check_together();
        if self.problems.is_empty() {
            return Ok(self.loaded);
        }
        Err(ConfigError::LoadConfig(Problems { file: self.loaded.file, problems: self.problems }))
    }

    /// The password may stand in a file of its own; the stronger layer decides which one is meant.
    fn read_password(&mut self) {
        let (by_text, by_file) =
            (self.loaded.origins.at("database.db_pass"), self.loaded.origins.at("database.db_pass_file"));
        let Some(path) = self.loaded.config.database.db_pass_file.clone() else { return };
        if Rank::from(&by_text) > Rank::from(&by_file) {
            self.loaded.config.database.db_pass_file = None;
            return;
        }
        if Rank::from(&by_text) == Rank::from(&by_file) {
            let what = format!("set together with database.db_pass ({by_text}); only one can hold");
            return self.complain(&by_file, "database.db_pass_file", what);
        }
        match read_password(&path) {
            Ok(password) => self.loaded.config.database.db_pass = password,
            Err(error) => {
                self.complain(&by_file, "database.db_pass_file", format!("cannot read {}: {error}", path.display()));
            }
        }
    }

    /// What no key can say alone.
    fn check_together(&mut self) {
        let Config { written_for, database, rqd, queue, scheduler, .. } = self.loaded.config.clone();
        if rqd.dry_run_mode {
            let key = "rqd.dry_run_mode";
            let what = "is true: `run` books and launches nothing".to_owned();
            self.warn(&self.loaded.origins.at(key), key, what);
        }
        let MemoryLimitFactors { soft, hard } = queue.memory_limits;
        if soft > hard {
            // Said of the one that was set last.
            let keys = ["queue.frame_memory_hard_limit", "queue.frame_memory_soft_limit"];
            let places = keys.map(|key| (key, self.loaded.origins.at(key)));
            let [hard_key, soft_key] = &places;
            let (key, place) = if Rank::from(&soft_key.1) >= Rank::from(&hard_key.1) { soft_key } else { hard_key };
            self.complain(place, key, format!("the soft limit, {soft}, is above the hard limit, {hard}"));
        }
        let uses_certificate = matches!(database.tls, Tls::VerifyCa | Tls::VerifyFull);
        if database.tls_root_certificate.is_some() && !uses_certificate {
            let key = "database.tls_root_certificate";
            let what = "only looked at when database.tls is verify-ca or verify-full".to_owned();
            self.complain(&self.loaded.origins.at(key), key, what);
        }
        if let Some(version) = written_for.filter(|version| *version > Version::CURRENT) {
            let what = format!("is {version}, and this is cue-scheduler {}", Version::CURRENT);
            self.warn(&self.loaded.origins.at("written_for"), "written_for", what);
        }
        for tag in scheduler.manual_tags.iter().filter(|tag| scheduler.ignore_tags.contains(tag)) {
            let place = self.loaded.origins.at("scheduler.manual_tags");
            let what = format!("names {tag:?}, which scheduler.ignore_tags takes away again");
            self.warn(&place, "scheduler.manual_tags", what);
        }
    }
}

fn twice(first: &Place) -> String {
    format!("set twice, before at {first}")
}

fn example_of(section: &str) -> &'static str {
    let in_section = |path: &&str| path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
    all_paths().find(in_section).unwrap_or_default()
}

/// The key or section that was probably meant.
fn nearest(path: &str) -> Option<String> {
    let (section, word) = path.rsplit_once('.').unwrap_or(("", path));
    let same_word = all_paths().find(|known| known.rsplit('.').next() == Some(word));
    let mut names: Vec<&str> = all_paths().collect();
    names.extend(all_paths().filter_map(|known| known.rsplit_once('.')).map(|(section, _)| section));
    let of_path = |known: &str| {
        let (of_section, of_word) = known.rsplit_once('.').unwrap_or(("", known));
        // A slip inside the same section is likelier than a slip and a wrong section.
        likeness(word, of_word) - if of_section == section { 0.0 } else { 0.08 }
    };
    let like = || Known::by(names, of_path).near().first().cloned();
    same_word.map(str::to_owned).or_else(like)
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;
    use rand::rngs::StdRng;
    use rand::seq::IndexedRandom as _;
    use serde_json::{Map, Value as Json, json};

    use super::*;
    use crate::config::document;
    use crate::fuzz::{fuzz, text_of};

    const NOISE: &[&str] = &[
        "queue",
        "rqd",
        "database",
        "scheduler",
        "alloc_tags",
        "grpc_port",
        "db_pass",
        "tls",
        ":",
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        "\"",
        "#",
        " #",
        "&a",
        "*a",
        "|",
        ">",
        "!!str",
        "---",
        "?",
        "5s",
        "1",
        "true",
        "\t",
        "\u{e9}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\0",
        "~",
        "null",
        "%",
        "@",
    ];

    /// Some keys with values that may be theirs.
    fn settings(random: &mut StdRng) -> String {
        let values = [
            json!("true"),
            json!(false),
            json!("5s"),
            json!("0s"),
            json!(0),
            json!(7),
            json!("100"),
            json!("auto"),
            json!("off"),
            json!("1.5GiB"),
            json!("info,sqlx=warn"),
            json!("show:tag"),
            json!("h"),
            json!(""),
            json!("-1"),
            json!("epvm"),
            json!("verify-full"),
            json!("127.0.0.1"),
            json!("/p\u{e9} '\"#: \\"),
            json!(null),
            json!("\u{1b}[2J\u{202e}\u{7f}\u{85}"),
            json!("1.7"),
            json!("2.0.0"),
            json!(["a", "b,c", "d:e"]),
            json!([{"show": "a:b", "tag": "c,d"}]),
            json!({"x": [1]}),
            json!("fifo"),
            json!("book"),
            json!(" a b "),
            json!("null"),
            json!("x".repeat(300)),
        ];
        let mut root = json!({});
        for _ in 0..random.random_range(0..6) {
            let paths: Vec<&str> = all_paths().collect();
            let path = paths.choose(random).copied().unwrap_or_default();
            let key = keys().iter().find(|key| key.path == path);
            let value = match key {
                Some(key) if random.random_bool(0.4) => key.value(&Config::default()).into(),
                _ => values.choose(random).cloned().unwrap_or_default(),
            };
            let mut at = &mut root;
            for part in path.split('.') {
                if !at.is_object() {
                    *at = Json::Object(Map::new());
                }
                at = &mut at[part];
            }
            *at = value;
        }
        root.to_string()
    }

    fn loaded(text: &str, environment: BTreeMap<OsString, OsString>) -> Result<Loaded, ConfigError> {
        load_from(Some(("f".into(), text.as_bytes().to_vec())), &Inputs { environment, ..Inputs::default() })
    }

    #[test]
    fn fuzz_settings_are_refused_with_bounds_or_read_back_equal() {
        fuzz(8_000, |random| {
            let text = if random.random_bool(0.4) { text_of(random, NOISE, 40) } else { settings(random) };
            let loaded_once = match loaded(&text, BTreeMap::new()) {
                Ok(loaded) => loaded,
                Err(error) => return assert!(error.to_string().len() <= 200 + 300 * text.len(), "{text}"),
            };
            let config = &loaded_once.config;
            if random.random_ratio(1, 8) {
                let again = loaded(&document(config), BTreeMap::new());
                assert_eq!(again.expect("a document is right").config, *config, "{text}");
            }
            // Of a list with commas a variable has another reading, and of a password stars.
            let set = keys().iter().filter(|key| loaded_once.origins.of(key) != Place::Default && !key.is_secret);
            let is_one = |key: &&Key| !key.path.ends_with("_tags") && !key.path.ends_with("_services");
            let shown = set.filter(is_one).map(|key| (key.variable().into(), key.value(config).into()));
            let again = loaded(&text, shown.collect()).unwrap_or_else(|error| panic!("{text}\n{error}"));
            assert_eq!(again.config, *config, "{text}");
        });
    }
}
