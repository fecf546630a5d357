//! A private PostgreSQL, started from the programs that this machine has.
//!
//! Invariants:
//! - nothing outlives its owner: a keeper process holds the other end of a pipe of ours, and when that
//!   closes, by a drop, a panic, Ctrl-C or SIGKILL, it ends the server and removes the folder;
//! - nothing of the machine is shared: an own folder that only the server's user may enter, an own port
//!   on 127.0.0.1 with an own password, and a socket inside the folder;
//! - as root we write nothing into the folder once it is the server's user's, who may put links there: what is to
//!   be written then is written as that user;
//! - the server belongs to no runtime: it may be used from one after the other.
//!
//! Starting, stopping and restarting take turns; connecting does not wait for them.

mod binaries;
mod error;

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::RngExt as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

pub use error::PostgresError;

use self::binaries::RunAs;
use self::error::{PORTS, START_LIMIT, STOP_LIMIT};
use super::progress::{Unwatched, Watcher};
use crate::config::Tls;
use crate::db::ConnectSettings;

/// The role's password, for initdb.
const PASSWORD: &str = "password";
/// The one role, a superuser.
const ROLE: &str = "cuebot";
/// Longest time that a drop waits for the server and the keeper.
const DROP_LIMIT: Duration = Duration::from_secs(15);
/// Between two looks at a process.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What the folder needs once there is a cluster, done as the server's user: `$1` are the settings.
const SETTLE_IN: &str = "umask 077; rm -f password && printf '%s' \"$1\" >data/postgresql.auto.conf";
/// The end of the log that messages quote, in bytes.
const LOG_END: usize = 4_096;
/// How often a port is drawn: another server may take one between our look and our start.
const PORT_DRAWS: u32 = 20;

#[derive(Clone, Debug)]
pub struct PostgresOptions {
    pub max_connections: u16,
    pub durability: Durability,
    pub shared_buffers_mib: u32,
    /// Whether Debian's package is installed when nothing is found and we are root.
    pub may_install: bool,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { max_connections: 200, durability: Durability::Fast, shared_buffers_mib: 160, may_install: true }
    }
}

/// Whether a commit survives a crash of the machine. Either survives [`RestartMode::Immediate`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Commits are handed to the system, which writes them when it likes. Not handing them over at once
    /// would save little more, and lose commits that clients were told of in an immediate restart.
    #[default]
    Fast,
    /// As a farm runs it: every commit waits for the disk.
    Real,
}

/// How the server goes down before it comes up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartMode {
    /// Running transactions are rolled back and clients are told.
    Fast,
    /// As a crash: clients lose their connections, the server recovers when it comes up.
    Immediate,
}

/// A running server and its folder. Both are gone a moment after this is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    binaries: PathBuf,
    run_as: RunAs,
    port: u16,
    password: String,
    /// `None` while it is stopped.
    process: Mutex<Option<Child>>,
    keeper: Child,
    /// What the server writes; kept open, so that nobody puts another file in its place.
    log: File,
    /// Removed by the keeper; here for the case that the keeper was killed.
    folder: TempDir,
}

impl PostgresServer {
    /// Makes a folder, a cluster in it and a server over it, and returns when that answers.
    pub async fn start(options: &PostgresOptions) -> Result<Self, PostgresError> {
        Self::start_watched(options, &Unwatched).await
    }

    /// As [`Self::start`], and says what is installed for it.
    pub async fn start_watched(options: &PostgresOptions, watcher: &dyn Watcher) -> Result<Self, PostgresError> {
        let binaries = binaries::find_or_install(options.may_install, watcher).await?;
        let run_as = RunAs::choose()?;
        let password = format!("{:032x}", rand::rng().random::<u128>());
        let server = Self::in_folder(binaries, run_as, password)?;
        server.make_cluster(options).await?;
        server.start_on_a_port().await
    }

    /// A second server that follows this one and takes no writes, until it is promoted. This one must have been
    /// started with [`Durability::Real`].
    pub async fn start_standby(&self) -> Result<Self, PostgresError> {
        let standby = Self::in_folder(self.binaries.clone(), self.run_as.clone(), self.password.clone())?;
        // It may be linked from elsewhere, without all that comes with it.
        let server = self.binaries.join("postgres").canonicalize().map_err(PostgresError::Folder)?;
        let program = server.with_file_name("pg_basebackup");
        let mut copy = self.run_as.command(&program, standby.folder());
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "--no-sync"]);
        copy.arg("--host").arg(self.folder()).args(["--port", &self.port.to_string(), "--username", ROLE]);
        copy.arg("--pgdata").arg(standby.data());
        finish(copy, program).await?;
        standby.start_on_a_port().await
    }

    /// Lets a standby take writes; returns when it does.
    pub async fn promote(&self) -> Result<(), PostgresError> {
        let failed = |source| PostgresError::Database { act: "promote", name: "postgres".to_owned(), source };
        let connection = self.connect().await.map_err(failed)?;
        execute(connection, include_str!("sql/promote.sql").to_owned()).await.map_err(failed)
    }

    /// Ends the server and starts it again as one that takes no writes, as a primary does that was replaced.
    pub async fn demote(&self) -> Result<(), PostgresError> {
        let mut process = self.process.lock().await;
        self.stop_process(&mut process, RestartMode::Fast).await?;
        let program = PathBuf::from("touch");
        let mut signal = self.run_as.command(&program, self.folder());
        signal.arg(self.data().join("standby.signal"));
        finish(signal, program).await?;
        self.start_process(&mut process).await
    }

    fn in_folder(binaries: PathBuf, run_as: RunAs, password: String) -> Result<Self, PostgresError> {
        let folder = tempfile::Builder::new()
            .prefix("cue-scheduler-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(run_as.temporary_root())
            .map_err(PostgresError::Folder)?;
        let (log, keeper) = (
            fill(folder.path(), &password, &run_as).map_err(PostgresError::Folder)?,
            spawn_keeper(&run_as, folder.path())?,
        );
        Ok(Self { keeper, password, log, port: 0, process: Mutex::new(None), binaries, run_as, folder })
    }

    async fn start_on_a_port(mut self) -> Result<Self, PostgresError> {
        for _ in 0..PORT_DRAWS {
            self.port = draw_port()?;
            match self.start_server().await {
                Err(PostgresError::Ended { log }) if log.contains("Address already in use") => {}
                other => return other.map(|()| self),
            }
        }
        Err(PostgresError::NoPort)
    }

    /// Ends the server, keeps the folder and the port.
    pub async fn stop_server(&self, mode: RestartMode) -> Result<(), PostgresError> {
        let mut process = self.process.lock().await;
        self.stop_process(&mut process, mode).await
    }

    /// Starts the server again after [`Self::stop_server`]; nothing to do while it runs.
    pub async fn start_server(&self) -> Result<(), PostgresError> {
        let mut process = self.process.lock().await;
        self.start_process(&mut process).await
    }

    /// Down and up again on the same port.
    pub async fn restart(&self, mode: RestartMode) -> Result<(), PostgresError> {
        let mut process = self.process.lock().await;
        self.stop_process(&mut process, mode).await?;
        self.start_process(&mut process).await
    }

    /// Ends the server and removes the folder.
    pub async fn stop(self) {
        // The drop waits for processes. It runs to its end even if this is cancelled.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    /// An empty database, or a copy of `template`, to which nobody may be connected.
    pub async fn create_database(&self, name: &str, template: Option<&str>) -> Result<(), PostgresError> {
        let failed = |source| PostgresError::Database { act: "create", name: name.to_owned(), source };
        let connection = self.connect().await.map_err(failed)?;
        let mut statement = format!("CREATE DATABASE {}", quoted(name));
        if let Some(template) = template {
            statement = format!("{statement} TEMPLATE {}", quoted(template));
        }
        // Copying files takes a fifth of the time of copying through the log, the default since 15.
        if connection.server_version_num().is_some_and(|version| version >= 150_000) {
            statement.push_str(" STRATEGY FILE_COPY");
        }
        execute(connection, statement).await.map_err(failed)
    }

    /// Removes a database and ends the connections to it.
    pub async fn drop_database(&self, name: &str) -> Result<(), PostgresError> {
        let failed = |source| PostgresError::Database { act: "drop", name: name.to_owned(), source };
        let connection = self.connect().await.map_err(failed)?;
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name));
        execute(connection, statement).await.map_err(failed)
    }

    /// How the scheduler connects.
    #[must_use]
    pub fn connect_settings(&self, database: &str) -> ConnectSettings {
        ConnectSettings {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: self.port,
            name: database.to_owned(),
            user: ROLE.to_owned(),
            password: Some(self.password.clone()),
            tls: Tls::Disable,
            ..ConnectSettings::default()
        }
    }

    #[must_use]
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        self.connect_settings(database).connect_options()
    }

    /// Holds the cluster (`data`), the server's log (`log`) and its Unix socket.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn make_cluster(&self, options: &PostgresOptions) -> Result<(), PostgresError> {
        let data = self.data();
        let program = self.binaries.join("initdb");
        let mut initdb = self.run_as.command(&program, self.folder());
        initdb.args(["--encoding=UTF8", "--locale=C", "--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256"]);
        initdb.args(["--username", ROLE]).args(["--pwfile", PASSWORD]).arg("--pgdata").arg(&data);
        finish(initdb, program).await?;
        let program = PathBuf::from("/bin/sh");
        let mut settle_in = self.run_as.command(&program, self.folder());
        settle_in.args(["-c", SETTLE_IN, "sh", &settings(options)]);
        finish(settle_in, program).await
    }

    async fn start_process(&self, process: &mut Option<Child>) -> Result<(), PostgresError> {
        if process.as_mut().is_some_and(is_running) {
            return Ok(());
        }
        let log = self.log.set_len(0).and_then(|()| self.log.try_clone()).map_err(PostgresError::Folder)?;
        let program = self.binaries.join("postgres");
        let child = self
            .run_as
            .command(&program, self.folder())
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-k"])
            .arg(self.folder())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|source| PostgresError::Run { program, source })?;
        let child = process.insert(child);
        let started = Instant::now();
        loop {
            if !is_running(child) {
                *process = None;
                return Err(PostgresError::Ended { log: self.log_end() });
            }
            let left = START_LIMIT.saturating_sub(started.elapsed());
            let source = match timeout(left, self.connect()).await {
                Ok(Ok(connection)) => {
                    // It answered already; whether it hears the farewell does not matter.
                    let _ = connection.close().await;
                    return Ok(());
                }
                Ok(Err(source)) => Some(source),
                Err(_) => None,
            };
            if started.elapsed() >= START_LIMIT {
                return Err(PostgresError::NoAnswer { log: self.log_end(), source });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn stop_process(&self, process: &mut Option<Child>, mode: RestartMode) -> Result<(), PostgresError> {
        let Some(child) = process.as_mut() else { return Ok(()) };
        let signal = match mode {
            RestartMode::Fast => Signal::SIGINT,
            RestartMode::Immediate => Signal::SIGQUIT,
        };
        if is_running(child) {
            kill(pid(child), signal).map_err(PostgresError::Signal)?;
        }
        let told = Instant::now();
        while is_running(child) {
            if told.elapsed() > STOP_LIMIT {
                return Err(PostgresError::NoStop);
            }
            sleep(LOOK_EVERY).await;
        }
        *process = None;
        Ok(())
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.connect_options("postgres").connect().await
    }

    fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// The last lines of the log, for messages.
    fn log_end(&self) -> String {
        let from = self.log.metadata().map_or(0, |log| log.len().saturating_sub(LOG_END as u64));
        let mut bytes = [0; LOG_END];
        let read = self.log.read_at(&mut bytes, from).unwrap_or_default();
        let log = String::from_utf8_lossy(&bytes[..read]);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("; ")
    }
}

impl Drop for PostgresServer {
    /// Lets the keeper do its work and waits for it, usually a tenth of a second.
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let process = self.process.get_mut();
        let deadline = Instant::now() + DROP_LIMIT;
        // Both are waited for, or they would stay in the process table until we end.
        while process.as_mut().is_some_and(is_running) || is_running(&mut self.keeper) {
            if Instant::now() > deadline {
                break;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// Makes what stands in the folder from the start, for its user alone, and gives the folder to that user. Returns
/// the log.
fn fill(folder: &Path, password: &str, run_as: &RunAs) -> io::Result<File> {
    let new = |name: &str| File::options().read(true).append(true).create_new(true).mode(0o600).open(folder.join(name));
    new(PASSWORD)?.write_all(password.as_bytes())?;
    let log = new("log")?;
    run_as.give(&folder.join(PASSWORD))?;
    run_as.give(folder)?;
    Ok(log)
}

/// Runs a command to its end.
async fn finish(command: std::process::Command, program: PathBuf) -> Result<(), PostgresError> {
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| PostgresError::Run { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(PostgresError::Initdb { said })
}

fn spawn_keeper(run_as: &RunAs, folder: &Path) -> Result<Child, PostgresError> {
    let program = PathBuf::from("/bin/sh");
    run_as
        .command(&program, Path::new("/"))
        .args(["-c", include_str!("postgres/keeper.sh"), "sh"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| PostgresError::Run { program, source })
}

/// What differs from PostgreSQL's own defaults.
fn settings(options: &PostgresOptions) -> String {
    let mut lines = vec![
        "listen_addresses = '127.0.0.1'".to_owned(),
        "unix_socket_permissions = 0700".to_owned(),
        format!("max_connections = {}", options.max_connections),
        format!("shared_buffers = '{}MB'", options.shared_buffers_mib),
        "max_wal_size = '4GB'".to_owned(),
    ];
    if options.durability == Durability::Fast {
        lines.extend(
            ["fsync = off", "full_page_writes = off", "wal_level = minimal", "max_wal_senders = 0"].map(str::to_owned),
        );
    }
    lines.join("\n") + "\n"
}

fn draw_port() -> Result<u16, PostgresError> {
    (0..PORT_DRAWS)
        .map(|_| rand::rng().random_range(PORTS))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or(PostgresError::NoPort)
}

/// A process whose state cannot be told has ended: somebody else waited for it.
fn is_running(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(None))
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("the system counts processes in 32 bits"))
}

async fn execute(mut connection: PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
