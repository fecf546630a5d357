//! The private PostgreSQL: it comes up, comes back, and leaves nothing behind whatever ends its owner.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cue_scheduler::farm::postgres::{PostgresOptions, PostgresServer, RestartMode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{ConnectOptions as _, Connection as _};

/// Tells the test binary, started once more by a test, to hold a server until it is killed.
const HOLD: &str = "CUE_SCHEDULER_TEST_HOLDS_A_SERVER";
const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test]
async fn restarts_keep_the_port_and_what_was_committed_and_stopping_leaves_nothing() {
    let server = start().await;
    let (folder, port) = (server.folder().to_owned(), port(&server));
    let mut before = server.connect_options("postgres").connect().await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (number int)").execute(&mut before).await.unwrap();
    for (restarts, mode) in [(1, RestartMode::Fast), (2, RestartMode::Immediate)] {
        let mut busy = server.connect_options("postgres").connect().await.unwrap();
        sqlx::query("INSERT INTO kept VALUES ($1)").bind(restarts).execute(&mut busy).await.unwrap();
        let waits = tokio::spawn(async move { sqlx::raw_sql("SELECT pg_sleep(600)").execute(&mut busy).await });
        server.restart(mode).await.unwrap();
        assert!(waits.await.unwrap().is_err(), "a restart ends what runs");
        let mut after = server.connect_options("postgres").connect().await.unwrap();
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM kept").fetch_one(&mut after).await.unwrap();
        assert_eq!((kept, self::port(&server)), (restarts, port));
    }
    before.ping().await.unwrap_err();
    server.stop().await;
    assert_gone(&folder, port);
}

#[tokio::test]
async fn the_server_can_be_away_for_a_while_and_be_dropped_then() {
    let server = start().await;
    for mode in [RestartMode::Fast, RestartMode::Immediate] {
        server.stop_server(mode).await.unwrap();
        server.stop_server(mode).await.unwrap();
        answers(&server).await.unwrap_err();
        server.start_server().await.unwrap();
        server.start_server().await.unwrap();
        answers(&server).await.unwrap();
    }
    server.stop_server(RestartMode::Fast).await.unwrap();
    let (folder, port) = (server.folder().to_owned(), port(&server));
    drop(server);
    assert_gone(&folder, port);
}

#[tokio::test]
async fn strangers_are_kept_out_and_the_owner_copies_and_drops_databases() {
    let server = start().await;
    let stranger = server.connect_options("postgres").password("guess").connect().await.unwrap_err();
    assert!(stranger.to_string().contains("password authentication failed"), "{stranger}");
    server.connect_options("postgres").socket(server.folder()).password("").connect().await.unwrap();

    let name = "of \"odd\" name";
    server.create_database("original", None).await.unwrap();
    let mut original = server.connect_options("original").connect().await.unwrap();
    sqlx::raw_sql("CREATE TABLE copied ()").execute(&mut original).await.unwrap();
    original.close().await.unwrap();
    server.create_database(name, Some("original")).await.unwrap();
    let mut copy = server.connect_options(name).connect().await.unwrap();
    sqlx::raw_sql("SELECT FROM copied").execute(&mut copy).await.unwrap();
    let again = server.create_database("original", None).await.unwrap_err();
    assert_eq!(again.to_string(), "cannot create database original");
    server.drop_database(name).await.unwrap();
    copy.ping().await.unwrap_err();
    server.connect_options(name).connect().await.unwrap_err();

    let (folder, port) = (server.folder().to_owned(), port(&server));
    drop(server);
    assert_gone(&folder, port);
}

#[test]
fn a_killed_owner_leaves_nothing() {
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        let mut owner = Command::new(env::current_exe().unwrap())
            .args(["--exact", "postgres::holds_a_server_when_asked_to", "--nocapture"])
            .env(HOLD, "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (folder, port) = BufReader::new(owner.stdout.take().unwrap())
            .lines()
            .find_map(|line| {
                let line = line.unwrap();
                let (folder, port) = line.split_once("holds ")?.1.rsplit_once(' ')?;
                Some((PathBuf::from(folder), port.parse().ok()?))
            })
            .expect("the owner says where its server is");
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "the server answers");
        kill(Pid::from_raw(owner.id().try_into().unwrap()), signal).unwrap();
        owner.wait().unwrap();
        let killed = Instant::now();
        while folder.exists() && killed.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_gone(&folder, port);
    }
}

/// Not a test of its own: [`a_killed_owner_leaves_nothing`] runs it in another process.
#[tokio::test]
async fn holds_a_server_when_asked_to() {
    if env::var_os(HOLD).is_none() {
        return;
    }
    let server = start().await;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "\nholds {} {}", server.folder().display(), port(&server)).unwrap();
    stdout.flush().unwrap();
    std::future::pending::<()>().await;
}

async fn start() -> PostgresServer {
    PostgresServer::start(&PostgresOptions { max_connections: 20, ..PostgresOptions::default() }).await.unwrap()
}

fn port(server: &PostgresServer) -> u16 {
    server.connect_settings("postgres").port
}

async fn answers(server: &PostgresServer) -> Result<(), sqlx::Error> {
    server.connect_options("postgres").connect().await?.ping().await
}

fn assert_gone(folder: &Path, port: u16) {
    assert!(!folder.exists(), "{} is left", folder.display());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "something answers on {port}");
}

/// As root, what the server's user may put in the place of our files is not followed.
#[tokio::test]
async fn nothing_is_written_through_what_the_servers_user_puts_into_its_folder() {
    let server = PostgresServer::start(&PostgresOptions::default()).await.unwrap();
    let mode = |path: &std::path::Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    let log = server.folder().join("log");
    assert_eq!((mode(server.folder()), mode(&log)), (0o700, 0o600));
    assert_eq!(mode(&server.folder().join("data/postgresql.auto.conf")), 0o600);
    for gone in ["password", "keeper.sh"] {
        assert!(!server.folder().join(gone).exists(), "{gone}");
    }
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), "somebody else's").unwrap();
    server.stop_server(RestartMode::Fast).await.unwrap();
    std::fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink(outside.path(), &log).unwrap();
    server.start_server().await.unwrap();
    assert_eq!(std::fs::read_to_string(outside.path()).unwrap(), "somebody else's");
    server.stop().await;
}
