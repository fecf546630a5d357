//! The walls of the house, guarded by reading the sources: which room knows which, where each library
//! may be named, where statements stand, and that documents name what exists.

mod circles;
mod figures;
mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

pub(crate) use reader::{files, read, root, short, sources};
use reader::{named, source};

/// Rooms in the order of `src/lib.rs`, each with the rooms that it may name.
const ROOMS: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("text", &["units"]),
    ("model", &["units"]),
    ("tasks", &[]),
    ("config", &["units", "text", "model"]),
    ("telemetry", &["units", "text", "model", "config"]),
    ("planner", &["units", "model"]),
    // The words of `sslmode`.
    ("db", &["units", "model", "config"]),
    ("clusters", &["units", "text", "model", "db"]),
    // The settings of calls; telemetry for the one way to log an error with its causes.
    ("rqd", &["units", "model", "tasks", "config", "telemetry"]),
    ("booking", &["units", "model", "db"]),
    ("scheduler", &["units", "model", "tasks", "config", "telemetry", "planner", "db", "clusters", "rqd", "booking"]),
    ("preview", &["units", "model", "tasks", "config", "db", "clusters", "booking", "scheduler"]),
    // How frame ranges are read.
    ("explain", &["units", "text", "model", "planner", "db", "rqd", "scheduler"]),
    ("ops", &["units", "text", "model", "telemetry", "db", "clusters", "rqd"]),
    // Not the rooms whose work it judges: its Cuebot books, launches and audits by statements of its own.
    ("farm", &["units", "model", "tasks", "config", "telemetry", "db", "rqd", "scheduler"]),
];

/// Rooms that decide and do nothing else, so that the same input always gives the same answer.
const PURE: &[&str] = &["units", "text", "model", "planner"];

/// What a pure room must not name: clocks, the outside, other threads, chance, logs.
const IMPURE_WORDS: &[&str] = &[
    "async",
    "await",
    "tokio",
    "tracing",
    "Instant",
    "SystemTime",
    "now_utc",
    "fs",
    "net",
    "env",
    "process",
    "thread",
    "Mutex",
    "RwLock",
    "rand",
];

/// What farm may name of the rooms that it runs and judges: how to connect, to call an agent, and to run the
/// service. Not their statements, nor the messages that they build.
const KNOWN_TO_FARM: &[(&str, &[&str])] = &[
    ("config", &["Tls"]),
    ("db", &["ConnectSettings", "Store", "StoreError"]),
    ("rqd", &["AgentSettings", "Agents", "LaunchOutcome", "proto"]),
    ("scheduler", &["Ended", "LaunchTargets", "Parts", "PassError", "Service", "Settings", "Totals"]),
];

/// Libraries with one home each; `commands` is the binary.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("sqlx", &["db", "farm"]),
    ("tonic", &["rqd", "farm"]),
    ("tonic_prost", &["rqd", "farm"]),
    ("prost", &["rqd", "farm"]),
    // Settings are read from it, lists are printed in it.
    ("serde_yaml", &["config", "commands"]),
    // What crosses the wire to agents is bounded in its terms, and pages are served on it.
    ("hyper", &["telemetry", "rqd"]),
    ("hyper_util", &["telemetry", "rqd"]),
    ("socket2", &["rqd"]),
    ("warp", &["telemetry"]),
    ("prometheus", &["telemetry"]),
    ("tracing_subscriber", &["telemetry"]),
    ("strsim", &["text"]),
    ("tempfile", &["ops", "farm", "commands"]),
    ("anyhow", &["commands"]),
    ("clap", &["commands"]),
    ("clap_complete", &["commands"]),
    ("comfy_table", &["commands"]),
    ("indicatif", &["commands"]),
    ("dialoguer", &["commands"]),
];

/// Queries that are put together from a statement in a file.
const QUERIES_IN_RUST: &[(&str, &str)] = &[("src/farm/audit/mod.rs", "SELECT id::text, detail::text")];

pub(crate) fn none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// The second part of every path that begins with `crate`, and what follows it.
fn rooms_named(code: &str) -> BTreeSet<(String, Option<String>)> {
    let paths = named(code).into_iter().map(|named| named.path);
    let paths = paths.filter(|path| path.len() > 1 && path[0] == "crate");
    paths.map(|path| (path[1].clone(), path.get(2).cloned())).collect()
}

#[test]
fn rooms_stand_in_reading_order_and_know_only_rooms_above() {
    let declared: Vec<String> = source(&root().join("src/lib.rs"))
        .code
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned))
        .collect();
    let rooms: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    assert_eq!(declared, rooms, "a new room needs its row in this test");
    for (position, (room, known)) in ROOMS.iter().enumerate() {
        for name in *known {
            assert!(rooms[..position].contains(name), "{room} knows {name}, which stands below it");
        }
    }

    let known: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut found = Vec::new();
    // Made for tests alone.
    let is_room = |source: &&reader::Source| !["lib", "fuzz"].contains(&source.room.as_str());
    for source in sources("src").iter().filter(is_room) {
        let may = known[source.room.as_str()];
        for (room, _) in rooms_named(&source.code) {
            if rooms.contains(&room.as_str()) && room != source.room && !may.contains(&room.as_str()) {
                found.push(format!("{} names {room}", source.path));
            }
        }
    }
    none(&found, "rooms name rooms that they must not know");
}

#[test]
fn the_farm_judges_by_its_own_statements_and_messages() {
    let mut found = Vec::new();
    for source in sources("src/farm") {
        for (room, name) in rooms_named(&source.code) {
            let known = KNOWN_TO_FARM.iter().find(|(known, _)| *known == room);
            let is_known = |(_, names): &(&str, &[&str])| names.iter().any(|known| name.as_deref() == Some(*known));
            if known.is_some_and(|known| !is_known(known)) {
                found.push(format!("{} names {room}::{}", source.path, name.unwrap_or_default()));
            }
        }
    }
    none(&found, "what judges the scheduler uses it");
}

#[test]
fn each_library_stays_in_its_rooms() {
    let mut found = Vec::new();
    for source in sources("src").iter().chain(&sources("commands")) {
        for (library, homes) in LIBRARIES {
            let is_named = source.code.contains(&format!("{library}::")) && source.words().any(|word| word == *library);
            if is_named && !homes.contains(&source.room.as_str()) {
                found.push(format!("{} names {library}, at home in {}", source.path, homes.join(", ")));
            }
        }
    }
    none(&found, "libraries outside their rooms");
}

#[test]
fn nothing_is_global_and_nothing_prints() {
    let mut found = Vec::new();
    for source in sources("src") {
        let is_static = source.code.lines().any(|line| {
            let line = line.trim_start();
            let line = line.strip_prefix("pub ").unwrap_or(line);
            line.starts_with("static ") || line.starts_with("pub(crate) static ")
        });
        if is_static
            || source.words().any(|word| ["OnceLock", "LazyLock", "thread_local", "lazy_static"].contains(&word))
        {
            found.push(format!("{} holds global state", source.path));
        }
        for print in ["println!", "print!", "eprintln!", "eprint!", "dbg!"] {
            if source.code.contains(print) {
                found.push(format!("{} uses {print}", source.path));
            }
        }
    }
    none(&found, "the library has values for state and returns what is to be said");
}

#[test]
fn pure_rooms_name_no_clock_and_nothing_outside() {
    let mut found = Vec::new();
    for source in sources("src").iter().filter(|source| PURE.contains(&source.room.as_str())) {
        found.extend(
            source
                .words()
                .filter(|word| IMPURE_WORDS.contains(word))
                .map(|word| format!("{} names {word}", source.path)),
        );
    }
    none(&found, "pure rooms");
}

/// Machines' clocks differ. The farm stands in for all of a farm's machines, and one check compares the clocks.
#[test]
fn nothing_is_decided_by_this_machines_clock() {
    let mut found = Vec::new();
    let may = |path: &str| path.starts_with("src/farm") || path == "src/ops/check/server.rs";
    for source in sources("src").iter().filter(|source| !may(&source.path)) {
        let clocks = ["SystemTime", "now_utc", "now_local", "UtcDateTime"];
        found.extend(
            source.words().filter(|word| clocks.contains(word)).map(|word| format!("{} names {word}", source.path)),
        );
    }
    none(&found, "the time of day is the database's");
}

#[test]
fn statements_stand_in_files_of_their_own() {
    let sources = sources("src");
    let mut found = Vec::new();
    for source in &sources {
        for text in &source.texts {
            let text = text.trim_start();
            let is_query =
                ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "].iter().any(|word| text.starts_with(word));
            let is_known = QUERIES_IN_RUST.iter().any(|(path, start)| *path == source.path && text.starts_with(start));
            if is_query && !is_known {
                found.push(format!("{}: {}", source.path, text.lines().next().unwrap_or_default()));
            }
        }
    }
    none(&found, "queries in Rust; a statement is a file beside the others of its room");

    let texts: Vec<&str> = sources.iter().flat_map(|source| &source.texts).map(String::as_str).collect();
    let everything = texts.join("\n");
    let mut found = Vec::new();
    for path in files("src", "sql") {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !everything.contains(name) {
            found.push(format!("{} is used by nothing", short(&path)));
        }
    }
    for path in files("src/db/sql", "sql") {
        if !fs::read_to_string(&path).unwrap().starts_with("--") {
            found.push(format!("{} does not open with its purpose, rows and locks", short(&path)));
        }
    }
    none(&found, "statement files");
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("(being ", "written)")];
    let mut found = Vec::new();
    for folder in ["src", "commands", "tests", "proto", "config"] {
        for extension in ["rs", "sql", "py", "proto", "yaml"] {
            for path in files(folder, extension) {
                let text = fs::read_to_string(&path).unwrap();
                for mark in marks {
                    if text.contains(mark) {
                        found.push(format!("{}: {mark}", short(&path)));
                    }
                }
            }
        }
    }
    for source in sources("src").iter().chain(&sources("commands")) {
        for name in ["todo", "unimplemented"] {
            if source.code.contains(&format!("{name}!(")) {
                found.push(format!("{}: {name}!", source.path));
            }
        }
    }
    none(&found, "unfinished places");
}

#[test]
fn documents_name_metrics_that_exist() {
    let declared: BTreeSet<String> = source(&root().join("src/telemetry/metrics.rs"))
        .texts
        .into_iter()
        .filter(|text| text.starts_with("scheduler_"))
        .collect();
    assert!(declared.len() > 20, "metrics are declared in src/telemetry/metrics.rs");
    let mut found = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for word in words.filter(|word| word.starts_with("scheduler_")) {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
            if !declared.contains(word) && !family.is_some_and(|family| declared.contains(family)) {
                found.push(format!("{}: {word}", short(&path)));
            }
        }
    }
    none(&found, "metrics that documents name and nothing declares");
}

#[test]
fn the_readme_names_targets_and_files_that_exist() {
    let readme = read("README.md");
    let makefile = read("Makefile");
    let mut found = Vec::new();
    for target in readme.split("make ").skip(1).filter_map(|rest| rest.split(['`', '\n', ' ']).next()) {
        let is_target = target.chars().all(|letter| letter.is_ascii_lowercase());
        if is_target && readme.contains(&format!("`make {target}`")) && !makefile.contains(&format!("\n{target}:")) {
            found.push(format!("make {target}"));
        }
    }
    for word in readme.split('`').skip(1).step_by(2) {
        let is_path = ["src/", "commands/", "config/", "tests/", "proto/", "man/", "completions/", ".ci/"]
            .iter()
            .any(|folder| word.starts_with(folder));
        if is_path && !root().join(word).exists() {
            found.push(word.to_owned());
        }
    }
    none(&found, "what README names is not there");
    for command in ["make demo", "make test"] {
        assert!(readme.contains(command), "README says {command}");
    }
    for command in ["make test", "make lint"] {
        assert!(read(".ci/run").contains(command), "CI runs the commands of README");
    }
}

/// What users read.
fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md"), root().join("config/scheduler.yaml")];
    if let Ok(pages) = fs::read_dir(root().join("man")) {
        found.extend(pages.map(|page| page.unwrap().path()));
    }
    found
}
