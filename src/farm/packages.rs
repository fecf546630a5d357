//! Debian's packages, installed where the farm lacks something and may install. Each is named before.

use std::path::PathBuf;
use std::process::Stdio;
use std::{env, io};

use nix::unistd::geteuid;

use super::progress::Watcher;

/// Something that is missing, and the package that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lacking {
    pub(super) what: &'static str,
    pub(super) package: &'static str,
}

/// What installs packages; `None` where that cannot be: not as root, or not on Debian.
pub(super) fn installer() -> Option<Installer> {
    let program = find_program("apt-get").filter(|_| geteuid().is_root())?;
    Some(Installer { program })
}

/// Where the shell would find it.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    path().map(|folder| folder.join(name)).find(|program| program.is_file())
}

pub(super) fn path() -> impl Iterator<Item = PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>().into_iter()
}

pub(super) struct Installer {
    program: PathBuf,
}

const INSTALL: [&str; 4] = ["-qq", "install", "--yes", "--no-install-recommends"];

impl Installer {
    /// Says what it is about to install, a line for each, and installs it.
    pub(super) async fn install(&self, lacking: &[Lacking], watcher: &dyn Watcher) -> io::Result<()> {
        for Lacking { what, package } in lacking {
            watcher.step(&format!("installing {what}: apt-get {} {package}", INSTALL.join(" ")));
        }
        // The package lists of a fresh container are empty. Elsewhere they may do without being renewed,
        // so only the installation decides.
        let renewed = self.run(&["-qq", "update"]).await;
        let install: Vec<&str> = INSTALL.into_iter().chain(lacking.iter().map(|lacking| lacking.package)).collect();
        self.run(&install).await.map_err(|error| renewed.err().unwrap_or(error))
    }

    async fn run(&self, arguments: &[&str]) -> io::Result<()> {
        let output = tokio::process::Command::new(&self.program)
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Keeps settings files written before, without asking.
            .env("UCF_FORCE_CONFFOLD", "1")
            .stdin(Stdio::null())
            .output()
            .await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("apt-get {}: {}", arguments.join(" "), said.trim())))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Mutex;

    use super::super::progress::FarmProgress;
    use super::*;

    /// Notes each step, and whether anything was installed by then.
    struct Notes {
        installed: PathBuf,
        steps: Mutex<Vec<(String, bool)>>,
    }

    impl Watcher for Notes {
        fn step(&self, sentence: &str) {
            self.steps.lock().unwrap().push((sentence.to_owned(), self.installed.exists()));
        }

        fn progress(&self, _: &FarmProgress) {}

        fn finished(&self) {}
    }

    #[tokio::test]
    async fn each_thing_is_named_before_anything_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        let (program, installed) = (folder.path().join("apt-get"), folder.path().join("installed"));
        let script = format!("#!/bin/sh\ntest \"$2\" = install || exit 1\necho \"$@\" >{}\n", installed.display());
        // Written by another process, since children of this one may hold what it writes for a moment, and
        // a file that is open for writing cannot be run.
        let write = "printf %s \"$1\" >\"$0\" && chmod +x \"$0\"";
        let written = std::process::Command::new("sh").args(["-c", write]).arg(&program).arg(script).status();
        assert!(written.unwrap().success());
        let notes = Notes { installed: installed.clone(), steps: Mutex::default() };
        let lacking = [
            Lacking { what: "PostgreSQL's server", package: "postgresql" },
            Lacking { what: "GNU time", package: "time" },
        ];
        Installer { program }.install(&lacking, &notes).await.unwrap();
        let command = "apt-get -qq install --yes --no-install-recommends";
        assert_eq!(
            *notes.steps.lock().unwrap(),
            [
                (format!("installing PostgreSQL's server: {command} postgresql"), false),
                (format!("installing GNU time: {command} time"), false),
            ]
        );
        assert_eq!(
            fs::read_to_string(installed).unwrap(),
            "-qq install --yes --no-install-recommends postgresql time\n",
            "lists that cannot be renewed are no failure"
        );
    }
}
