//! Where the programs of PostgreSQL are, and as whom they may run.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use nix::unistd::{User, geteuid};

use super::PostgresError;

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
pub(super) async fn find_or_install(may_install: bool) -> Result<PathBuf, PostgresError> {
    if let Some(found) = find() {
        return Ok(found);
    }
    if !(may_install && geteuid().is_root() && path().any(|folder| folder.join("apt-get").is_file())) {
        return Err(PostgresError::Missing);
    }
    install().await.map_err(PostgresError::Install)?;
    find().ok_or(PostgresError::Missing)
}

fn path() -> impl Iterator<Item = PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>().into_iter()
}

fn find() -> Option<PathBuf> {
    path()
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

async fn install() -> io::Result<()> {
    if let Some(folder) = Path::new(CLUSTER_SETTINGS).parent() {
        fs::create_dir_all(folder)?;
    }
    if !Path::new(CLUSTER_SETTINGS).exists() {
        fs::write(CLUSTER_SETTINGS, "create_main_cluster = false\n")?;
    }
    // The package lists of a fresh container are empty. Elsewhere they may do without being renewed,
    // so only the installation decides.
    let renewed = apt_get(&["update"]).await;
    apt_get(&["install", "-y", "--no-install-recommends", "postgresql"])
        .await
        .map_err(|error| renewed.err().unwrap_or(error))
}

async fn apt_get(arguments: &[&str]) -> io::Result<()> {
    let output = tokio::process::Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Keeps the settings file written before, without asking.
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
