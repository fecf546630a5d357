//! How a server of our own fails, and the bounds that errors name.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Longest time until a started server answers; recovery after a hard stop is part of it.
pub(super) const START_LIMIT: Duration = Duration::from_mins(1);
/// Longest time until a server that was told to stop has ended.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Below the ports that systems hand to outgoing connections, so that the port is still free after a
/// restart.
pub(super) const PORTS: std::ops::Range<u16> = 15_000..30_000;
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error(
        "PostgreSQL is not installed here: install it (Debian: `apt-get install postgresql`, macOS: `brew install \
         postgresql`) or put the folder of `postgres` and `initdb` on PATH"
    )]
    Missing,
    #[error("cannot install PostgreSQL")]
    Install(#[source] io::Error),
    #[error("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody` to run it as")]
    NoUser,
    #[error("cannot prepare the folder of the server")]
    Folder(#[source] io::Error),
    #[error("cannot run {}", program.display())]
    Run { program: PathBuf, source: io::Error },
    #[error("cannot make a database cluster: {said}")]
    Initdb { said: String },
    #[error("PostgreSQL ended while it was starting: {log}")]
    Ended { log: String },
    #[error("PostgreSQL does not answer after {} s: {log}", START_LIMIT.as_secs())]
    NoAnswer { log: String, source: Option<sqlx::Error> },
    #[error("no free port on 127.0.0.1 between {} and {}", PORTS.start, PORTS.end)]
    NoPort,
    #[error("PostgreSQL does not stop within {} s", STOP_LIMIT.as_secs())]
    NoStop,
    #[error("cannot signal PostgreSQL")]
    Signal(#[source] nix::Error),
    #[error("cannot {act} database {name}")]
    Database { act: &'static str, name: String, source: sqlx::Error },
}
