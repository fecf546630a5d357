//! A Python with the RQD agent in it, installed once and kept.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::farm::packages::{self, Lacking};
use crate::farm::progress::Watcher;

/// Pinned, and without what they only need to be built or to watch a keyboard.
const PACKAGES: [&str; 2] = ["opencue-rqd==1.37.0", "opencue-proto==1.37.0"];
const LIBRARIES: [&str; 4] = ["grpcio==1.85.1", "protobuf==7.36.2", "psutil==5.9.8", "typing-extensions==4.16.0"];
/// Raised when either list changes, so that an older folder is not taken for this one.
const CACHE_NAME: &str = "rqd-1.37.0-1";

const PYTHON: Lacking = Lacking { what: "Python 3.9 or newer with venv", package: "python3-venv" };
const TIME: Lacking = Lacking { what: "GNU time", package: "time" };
const TASKSET: Lacking = Lacking { what: "taskset", package: "util-linux" };
const REMEDY: &str = "as root: apt-get install python3-venv time util-linux";

/// The agent times every frame with it and looks for it nowhere else.
const GNU_TIME: &str = "/usr/bin/time";

const STEP_TIMEOUT: Duration = Duration::from_mins(5);

/// Prints the version where a virtual environment can be made, else fails.
const PROBE: &str =
    "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2]); sys.exit(sys.version_info < (3, 9))";
/// Fails where the installed agent cannot run. The agent reads the options while it is imported.
const IMPORT: &str = "import sys; sys.argv = ['rqd']; import grpc, google.protobuf, psutil, rqd.rqcore";

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("missing: {missing}; {REMEDY}")]
    Missing { missing: String },
    #[error("cannot install what the RQD agent needs")]
    Packages(#[source] io::Error),
    #[error("{step} failed: {output}")]
    Step { step: &'static str, output: String },
    #[error("{step} did not end within {} s", STEP_TIMEOUT.as_secs())]
    TooSlow { step: &'static str },
    #[error("cannot run {program} for {step}")]
    Program { step: &'static str, program: String, source: io::Error },
    #[error("cannot keep the agent in {path}; name another folder")]
    Cache { path: PathBuf, source: io::Error },
}

/// An interpreter that can import the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    program: PathBuf,
}

impl Python {
    /// Takes the agent from `cache` (the user's cache folder when `None`), installing it there first
    /// when it is missing or does not work any more. As root, missing Debian packages are installed
    /// too.
    pub async fn with_rqd(cache: Option<&Path>, watcher: &dyn Watcher) -> Result<Self, InstallError> {
        let (system, version) = system_python(watcher).await?;
        let cache = cache.map_or_else(user_cache, Path::to_owned);
        let name = format!("{CACHE_NAME}-python{version}");
        let kept = cache.join(&name);
        let python = Self::in_environment(&kept);
        if python.works().await {
            return Ok(python);
        }
        let cache_error = |source| InstallError::Cache { path: cache.clone(), source };
        std::fs::create_dir_all(&cache).map_err(cache_error)?;
        // Whoever comes second waits here and finds the agent installed.
        let _turn = turn(cache.join(format!("{name}.lock"))).await.map_err(cache_error)?;
        if python.works().await {
            return Ok(python);
        }
        // Beside its place and then moved there, so that nobody sees half of it.
        let fresh = tempfile::Builder::new().prefix("rqd-").tempdir_in(&cache).map_err(cache_error)?;
        install(&system, fresh.path(), &kept, watcher).await?;
        if kept.exists() {
            std::fs::remove_dir_all(&kept).map_err(cache_error)?;
        }
        std::fs::rename(fresh.keep(), &kept).map_err(cache_error)?;
        Ok(python)
    }

    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    fn in_environment(folder: &Path) -> Self {
        Self { program: folder.join("bin/python") }
    }

    async fn works(&self) -> bool {
        if !self.program.exists() {
            return false;
        }
        run("trying the agent", Command::new(&self.program).args(["-c", IMPORT])).await.is_ok()
    }
}

/// Until the file is closed nobody else on this machine has it.
async fn turn(path: PathBuf) -> io::Result<File> {
    let wait = move || {
        let file = File::create(path)?;
        file.lock()?;
        Ok(file)
    };
    tokio::task::spawn_blocking(wait).await.map_err(io::Error::other)?
}

/// Into `folder`, which is then moved to where it is `kept`.
async fn install(system: &Path, folder: &Path, kept: &Path, watcher: &dyn Watcher) -> Result<(), InstallError> {
    for package in PACKAGES.iter().chain(&LIBRARIES) {
        watcher.step(&format!("installing {package} in {}: pip install {package}", kept.display()));
    }
    run("making a virtual environment", Command::new(system).args(["-m", "venv"]).arg(folder)).await?;
    let python = Python::in_environment(folder);
    let pip = || {
        let mut command = Command::new(&python.program);
        command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
        // Otherwise a compiler might be asked for.
        command.args(["--only-binary", ":all:"]);
        command
    };
    run("installing the RQD agent with pip", pip().arg("--no-deps").args(PACKAGES)).await?;
    run("installing its libraries with pip", pip().args(LIBRARIES)).await?;
    run("trying the installed agent", Command::new(&python.program).args(["-c", IMPORT])).await?;
    Ok(())
}

/// The first interpreter that can make a virtual environment, with its version.
async fn system_python(watcher: &dyn Watcher) -> Result<(PathBuf, String), InstallError> {
    let mut found = look().await;
    if let Err(lacking) = &found
        && let Some(installer) = packages::installer()
    {
        installer.install(lacking, watcher).await.map_err(InstallError::Packages)?;
        found = look().await;
    }
    found.map_err(|lacking| {
        let missing: Vec<&str> = lacking.iter().map(|lacking| lacking.what).collect();
        InstallError::Missing { missing: missing.join(", ") }
    })
}

async fn look() -> Result<(PathBuf, String), Vec<Lacking>> {
    let python = find_python().await;
    let mut lacking = Vec::new();
    if python.is_none() {
        lacking.push(PYTHON);
    }
    if !Path::new(GNU_TIME).exists() {
        lacking.push(TIME);
    }
    if packages::find_program("taskset").is_none() {
        lacking.push(TASKSET);
    }
    python.filter(|_| lacking.is_empty()).ok_or(lacking)
}

async fn find_python() -> Option<(PathBuf, String)> {
    for program in ["python3", "/usr/bin/python3"] {
        if let Ok(output) = run("looking for Python", Command::new(program).args(["-c", PROBE])).await {
            let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            return Some((PathBuf::from(program), version));
        }
    }
    None
}

/// `$XDG_CACHE_HOME/cue-scheduler`, else `~/.cache/cue-scheduler`, else beside other temporary files.
fn user_cache() -> PathBuf {
    let folder = |name, below: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then(|| path.join(below))
    };
    folder("XDG_CACHE_HOME", "cue-scheduler")
        .or_else(|| folder("HOME", ".cache/cue-scheduler"))
        .unwrap_or_else(|| std::env::temp_dir().join(format!("cue-scheduler-{}", nix::unistd::geteuid())))
}

async fn run(step: &'static str, command: &mut Command) -> Result<Output, InstallError> {
    command.stdin(Stdio::null()).kill_on_drop(true).env_remove("PYTHONPATH").env_remove("PYTHONHOME");
    let output = timeout(STEP_TIMEOUT, command.output()).await.map_err(|_| InstallError::TooSlow { step })?.map_err(
        |source| {
            let program = command.as_std().get_program().to_string_lossy().into_owned();
            InstallError::Program { step, program, source }
        },
    )?;
    if output.status.success() { Ok(output) } else { Err(InstallError::Step { step, output: last_words(&output) }) }
}

/// The end of what a program said, on one line.
fn last_words(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).concat();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return output.status.to_string();
    }
    lines[lines.len().saturating_sub(3)..].join(" | ")
}
