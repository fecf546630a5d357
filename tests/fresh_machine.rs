//! A machine that has nothing yet: what is missing is said, what is installed is named, and nothing is
//! needed that neither a bare system nor `.ci/prepare` brings.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use nix::unistd::geteuid;

use crate::tidy::{files, none, read, root, short, sources};

fn rust_version() -> String {
    let manifest = read("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    version.expect("it says which Rust it needs").trim_matches('"').to_owned()
}

/// A machine of these programs alone, and of what stands outside PATH.
struct Machine(tempfile::TempDir);

impl Machine {
    /// A toolchain that is new enough, and what a script needs of a bare system.
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for program in ["bash", "sed", "sort", "mkdir"] {
            let path = std::env::var_os("PATH").unwrap();
            let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
            symlink(found.unwrap(), machine.0.path().join(program)).unwrap();
        }
        machine.toolchain(&rust_version());
        machine
    }

    fn program(&self, name: &str, script: &str) {
        let script = format!("#!{}/bash\n{script}\n", self.0.path().display());
        // Written by another process: while this one starts children, they may hold what it writes for a
        // moment, and a file that is open for writing cannot be run.
        let write = "printf %s \"$1\" >\"$0\" && chmod +x \"$0\"";
        let written = Command::new("bash").args(["-c", write]).arg(self.0.path().join(name)).arg(script).status();
        assert!(written.unwrap().success());
    }

    fn toolchain(&self, version: &str) {
        self.program("cargo", &format!("echo 'cargo {version}.0 (0123456 2026-01-01)'"));
        self.program("rustc", &format!("echo 'rustc {version}.0 (0123456 2026-01-01)'"));
    }

    /// The exit code of `.ci/prepare`, and its lines.
    fn prepare(&self, purpose: &str) -> (i32, Vec<String>) {
        let mut prepare = Command::new("bash");
        prepare.arg(root().join(".ci/prepare")).arg(purpose).env_clear().env("PATH", self.0.path());
        let output = prepare.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        let lines = String::from_utf8(output.stderr).unwrap().lines().map(str::to_owned).collect();
        (output.status.code().unwrap(), lines)
    }
}

#[test]
fn an_old_rust_is_told_apart_from_the_one_that_is_needed() {
    let machine = Machine::new();
    machine.toolchain("1.65");
    let needed = rust_version();
    let folder = machine.0.path().display();
    for purpose in ["build", "lint", "demo", "test"] {
        let line = format!(
            "missing: Rust {needed} or newer; found cargo 1.65.0 ({folder}/cargo), rustc 1.65.0 ({folder}/rustc); \
             https://rustup.rs installs it"
        );
        assert_eq!(machine.prepare(purpose), (1, vec![line]), "{purpose}");
    }

    // The compiler alone is old, or it cannot be told, or it is not there.
    machine.toolchain("7.0");
    let found = |machine: &Machine| {
        let (code, lines) = machine.prepare("build");
        assert_eq!(code, 1);
        lines[0].split("; ").nth(1).unwrap().replace(&format!(" ({folder}/rustc)"), "")
    };
    machine.program("rustc", "echo 'rustc 1.94.1 (0123456 2026-01-01)'");
    assert_eq!(found(&machine), "found rustc 1.94.1");
    machine.program("rustc", "echo 'error: no toolchain is chosen' >&2; echo more >&2; exit 1");
    assert_eq!(found(&machine), "found error: no toolchain is chosen");
    fs::remove_file(machine.0.path().join("rustc")).unwrap();
    assert_eq!(found(&machine), "found no rustc");
}

/// Numbers, not letters: 1.100 is newer than 1.95.
#[test]
fn a_new_rust_is_enough() {
    let machine = Machine::new();
    machine.program("cc", "");
    machine.program("make", "");
    let (major, minor) = rust_version().split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    for version in [rust_version(), format!("{major}.{minor}0"), format!("{major}.{minor}.1"), "2.0".to_owned()] {
        machine.toolchain(&version);
        assert_eq!(machine.prepare("build"), (0, vec![]), "{version}");
    }
}

#[test]
fn what_is_missing_is_named_line_by_line_before_it_is_installed() {
    let machine = Machine::new();
    // The C compiler without the C library's own files is missing too.
    machine.program("cc", "exit 1");
    machine.program("apt-get", "echo \"apt-get: $*\" >&2");
    let (code, lines) = machine.prepare("build");
    if geteuid().is_root() {
        let mut expected = vec![
            "installing a C compiler: apt-get install gcc libc6-dev",
            "installing make: apt-get install make",
            "apt-get: -qq update",
            "apt-get: -qq install --yes --no-install-recommends gcc libc6-dev make",
        ];
        let with_authorities = "apt-get: -qq install --yes --no-install-recommends gcc libc6-dev make ca-certificates";
        if !Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
            expected.insert(2, "installing certificate authorities: apt-get install ca-certificates");
            expected[4] = with_authorities;
        }
        assert_eq!((code, lines), (0, expected.into_iter().map(str::to_owned).collect()));
    } else {
        let line = "missing: a C compiler, make; as root: apt-get install gcc libc6-dev make (or what your system \
                    calls them)";
        assert_eq!((code, lines), (1, vec![line.to_owned()]));
    }
}

/// A minimal toolchain has neither rustfmt nor clippy.
#[test]
fn what_lints_is_added_to_the_toolchain_where_that_is_possible() {
    let machine = Machine::new();
    machine.program("cc", "");
    machine.program("make", "");
    assert_eq!(machine.prepare("lint"), (0, vec![]));
    let version = format!("echo 'cargo {}.0'", rust_version());
    machine.program("cargo", &format!("case $1 in clippy | fmt) exit 1 ;; esac; {version}"));
    let add = "rustup component add rustfmt clippy";
    let missing = "missing: rustfmt clippy, without which nothing is linted";
    let without = format!("{missing}; {add} installs them where rustup is");
    assert_eq!(machine.prepare("lint"), (1, vec![without]));
    machine.program("rustup", "echo no net; exit 1");
    let installing = format!("installing rustfmt clippy: {add}");
    let failed = format!("{missing}; {add} failed: no net");
    assert_eq!(machine.prepare("lint"), (1, vec![installing.clone(), failed]));
    machine.program("rustup", "[[ $* == '--quiet component add rustfmt clippy' ]]");
    assert_eq!(machine.prepare("lint"), (0, vec![installing]));
    assert_eq!(machine.prepare("build"), (0, vec![]));
}

/// What Debian's smallest system has, and what `.ci/prepare` or the program itself looks for first.
const PROGRAMS: &[&str] = &["bash", "pgbouncer", "prlimit", "sh", "unshare"];
/// Used where it is there, and only then.
const OPTIONAL_PROGRAMS: &[&str] = &["java", "man"];

#[test]
fn no_program_is_started_that_a_bare_machine_may_lack() {
    let mut started = BTreeSet::new();
    for path in ["src", "commands", "tests"].iter().flat_map(|folder| files(folder, "rs")) {
        let text = read(&short(&path));
        for call in ["Command", "Process", "Program"].map(|name| format!("{name}::new(\"")) {
            let programs = text.split(&call).skip(1).filter_map(|rest| rest.split_once('"'));
            started.extend(programs.map(|(program, _)| program.to_owned()));
        }
    }
    assert!(PROGRAMS.iter().all(|program| started.contains(*program)), "{started:?}");
    started.retain(|program| !PROGRAMS.contains(&program.as_str()) && !OPTIONAL_PROGRAMS.contains(&program.as_str()));
    assert!(started.is_empty(), "neither in Debian's smallest system nor seen to by .ci/prepare: {started:?}");
}

#[test]
fn documents_name_the_rust_that_is_needed() {
    let version = rust_version();
    assert!(read("README.md").contains(&format!("The Rust toolchain, {version} or newer,")), "README.md");
    assert!(read("config/Dockerfile").contains(&format!("FROM rust:{version}-")), "config/Dockerfile");
}

/// What a stage of the Dockerfile copies out of the repository.
fn copied(stage: &str) -> Vec<String> {
    let mut all = Vec::new();
    for line in stage.lines() {
        let Some(words) = line.strip_prefix("COPY ").filter(|words| !words.starts_with("--from")) else { continue };
        let words: Vec<&str> = words.split_whitespace().collect();
        let (target, names) = words.split_last().unwrap();
        for name in names {
            assert!(root().join(name).exists(), "{line}: {name} is not there");
            all.push(((*name).to_owned(), (*target).to_owned()));
        }
    }
    // What is built stands where it does here.
    let is_build = stage.contains("RUN cargo build");
    let moved = all.iter().find(|(name, target)| is_build && name != target && target != "./");
    assert!(moved.is_none(), "{moved:?}");
    all.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn the_dockerfile_copies_all_that_the_program_is_built_from() {
    let dockerfile = read("config/Dockerfile");
    let mut stages = dockerfile.split("\nFROM ").skip(1);
    let (build, run) = (stages.next().unwrap(), stages.next().unwrap());
    assert!(build.contains("RUN cargo build --release --locked --bin cue-scheduler"), "{build}");
    let copied_to_run = copied(run);
    assert_eq!(copied_to_run, ["config/scheduler.yaml"]);

    // The manifest and the folder of each part of the package that is no test; what their files include.
    let mut needed = BTreeSet::from(["Cargo.toml".to_owned(), "Cargo.lock".to_owned()]);
    let manifest = read("Cargo.toml");
    for line in manifest.lines() {
        let path = line.strip_prefix("path = ").or_else(|| line.strip_prefix("build = "));
        let folder = path.and_then(|path| path.trim_matches('"').split_once('/')).map(|(folder, _)| folder);
        needed.extend(folder.filter(|folder| *folder != "tests").map(str::to_owned));
    }
    let folders: Vec<String> = needed.iter().filter(|name| root().join(name).is_dir()).cloned().collect();
    assert_eq!(folders, ["commands", "proto", "src"]);
    for source in folders.iter().flat_map(|folder| sources(folder)) {
        let here = root().join(&source.path);
        assert!(!source.texts.iter().any(|text| text == "CARGO_MANIFEST_DIR"), "{}", source.path);
        for text in source.texts.iter().filter(|text| !text.is_empty() && !text.starts_with('/')) {
            if let Ok(file) = here.parent().unwrap().join(text).canonicalize()
                && file.is_file()
            {
                needed.insert(short(&file));
            }
        }
    }
    assert!(needed.contains("src/db/sql/catalog.sql"), "what is included is found");

    let copied = copied(build);
    let is_copied = |path: &String| copied.iter().any(|part| Path::new(path).starts_with(part));
    let missing: Vec<String> = needed.into_iter().filter(|path| !is_copied(path)).collect();
    none(&missing, "config/Dockerfile does not copy");
}
