//! Where the programs of PostgreSQL are, and as whom they may run.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use nix::unistd::{User, geteuid};

use super::error::PostgresError;
use crate::farm::packages::{self, Installer, Lacking};
use crate::farm::progress::Watcher;

/// Where packages put versions side by side: parent folder and what stands before the version.
const PACKAGES: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
];
/// Read by Debian's package while it is installed. With the line below it makes no database cluster
/// of the system, so that no service starts.
const CLUSTER_SETTINGS: &str = "/etc/postgresql-common/createcluster.conf";

/// The folder that holds `postgres` and `initdb`.
pub(super) async fn find_or_install(may_install: bool, watcher: &dyn Watcher) -> Result<PathBuf, PostgresError> {
    if let Some(found) = find() {
        return Ok(found);
    }
    let installer = packages::installer().filter(|_| may_install).ok_or(PostgresError::Missing)?;
    install(&installer, watcher).await.map_err(PostgresError::Install)?;
    find().ok_or(PostgresError::Missing)
}

fn find() -> Option<PathBuf> {
    packages::path()
        .chain(PACKAGES.iter().flat_map(|(parent, prefix)| versions(Path::new(parent), prefix)))
        .find(|folder| folder.join("postgres").is_file() && folder.join("initdb").is_file())
}

/// `parent/prefix<version>/bin`, highest version first.
fn versions(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(f64, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?.parse().ok()?;
            Some((version, parent.join(&name).join("bin")))
        })
        .collect();
    found.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    found.into_iter().map(|(_, folder)| folder).collect()
}

async fn install(installer: &Installer, watcher: &dyn Watcher) -> io::Result<()> {
    if !Path::new(CLUSTER_SETTINGS).exists() {
        watcher.step(&format!("writing {CLUSTER_SETTINGS}: no server of the machine's own"));
        if let Some(folder) = Path::new(CLUSTER_SETTINGS).parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(CLUSTER_SETTINGS, "create_main_cluster = false\n")?;
    }
    installer.install(&[Lacking { what: "PostgreSQL's server", package: "postgresql" }], watcher).await
}

/// Whom the server runs as. PostgreSQL refuses to run as root, so root becomes somebody else.
#[derive(Clone, Debug)]
pub(super) struct RunAs(Option<User>);

impl RunAs {
    pub(super) fn choose() -> Result<Self, PostgresError> {
        if !geteuid().is_root() {
            return Ok(Self(None));
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self(Some(user)))
            .ok_or(PostgresError::NoUser)
    }

    /// A command as this user, out of reach of the terminal's Ctrl-C, without settings of the caller
    /// that PostgreSQL would read.
    pub(super) fn command(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(folder).process_group(0).stdin(Stdio::null());
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        if let Self(Some(user)) = self {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    pub(super) fn give(&self, path: &Path) -> io::Result<()> {
        match self {
            Self(Some(user)) => chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())),
            Self(None) => Ok(()),
        }
    }

    /// Where temporary folders go: the usual place, unless this user cannot get there.
    pub(super) fn temporary_root(&self) -> PathBuf {
        let usual = env::temp_dir();
        let passable = |folder: &Path| fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o1 != 0);
        if self.0.is_none() || usual.ancestors().all(passable) { usual } else { PathBuf::from("/tmp") }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::versions;

    #[test]
    fn the_highest_version_comes_first_and_strangers_are_left_out() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        for name in ["pgsql-9.6", "pgsql-15", "pgsql-16", "pgsql-common", "share"] {
            fs::create_dir(parent.path().join(name)).expect("a folder");
        }
        let found = versions(parent.path(), "pgsql-");
        let expected: Vec<_> =
            ["pgsql-16", "pgsql-15", "pgsql-9.6"].map(|name| parent.path().join(name).join("bin")).into();
        assert_eq!(found, expected);
        assert!(versions(&parent.path().join("missing"), "").is_empty());
    }
}
