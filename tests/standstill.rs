//! The database stands still, or connections to it are cut without a word: that is told, nothing waits for it
//! longer than it must, and everything goes on when it is back.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cue_scheduler::db::{ConnectSettings, Store};
use cue_scheduler::farm::postgres::{PostgresOptions, PostgresServer};
use cue_scheduler::farm::sandbox::SandboxOptions;
use cue_scheduler::farm::schema::{self, Generation};
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, ShowSpec};
use cue_scheduler::scheduler::Settings;
use cue_scheduler::units::Cores;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::support::farm::{Scheduler, assert_all_done, farm, quick_farm, quick_settings, until};
use crate::support::{PATIENCE, Proxy, count, database, execute};

const SEED: u64 = 33;

fn is_away_told(scheduler: &Scheduler) -> bool {
    scheduler.health.readiness().is_err_and(|reasons| reasons.contains("database:"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stands_still_is_told_and_all_goes_on_when_it_is_back() {
    let database = database(Generation::G5).await;
    let options = SandboxOptions { generation: Generation::G5, ..quick_farm(FarmSpec::demo(40, 8, 1_000, SEED)) };
    let sandbox = farm(database.connect_settings().await, options).await;
    let server = database.connect_settings().await;
    let proxy = Proxy::start(server.port).await;
    let connect = ConnectSettings { port: proxy.port(), ..server };
    let scheduler = Scheduler::start_on(connect, &sandbox, quick_settings()).await;
    until(&sandbox, |progress| progress.done > 50).await;

    proxy.freeze();
    until(&sandbox, |_| is_away_told(&scheduler)).await;
    proxy.thaw();
    until(&sandbox, |_| scheduler.health.readiness().is_ok()).await;
    let done = until(&sandbox, |progress| progress.done > 300).await;
    assert!(!done.is_finished(), "nothing was left for what follows");

    // All connections of the pool at once, with statements under way.
    proxy.cut_silently();
    until(&sandbox, |_| is_away_told(&scheduler)).await;
    until(&sandbox, |_| scheduler.health.readiness().is_ok()).await;
    let report = assert_all_done(&sandbox).await;
    assert_eq!(report.cap_breaches, 0);

    proxy.freeze();
    until(&sandbox, |_| is_away_told(&scheduler)).await;
    // It ends, whatever of it still waits.
    scheduler.stop().await;
    sandbox.stop().await;
}

/// A server and all its processes.
fn signal(server: &PostgresServer, signal: Signal) {
    let lock = fs::read_to_string(server.folder().join("data/postmaster.pid")).unwrap();
    let postmaster: i32 = lock.lines().next().unwrap().parse().unwrap();
    let is_child = |process: &i32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        status.lines().any(|line| line.split_whitespace().eq(["PPid:", &postmaster.to_string()]))
    };
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    for process in processes.filter(|process: &i32| *process == postmaster || is_child(process)) {
        // It may have ended since.
        let _ = kill(Pid::from_raw(process), signal);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_processes_are_stopped_is_told_and_all_goes_on_when_they_run() {
    let server = PostgresServer::start(&PostgresOptions::default()).await.unwrap();
    server.create_database("farm", None).await.unwrap();
    let mut connection = server.connect_options("farm").connect().await.unwrap();
    schema::create(&mut connection, Generation::G5).await.unwrap();
    connection.close().await.unwrap();
    let options = SandboxOptions { generation: Generation::G5, ..quick_farm(FarmSpec::demo(30, 6, 600, SEED)) };
    let sandbox = farm(server.connect_settings("farm"), options).await;
    let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
    until(&sandbox, |progress| progress.done > 50).await;
    signal(&server, Signal::SIGSTOP);
    let began = Instant::now();
    while !is_away_told(&scheduler) {
        assert!(began.elapsed() < PATIENCE, "{:?}", scheduler.health.readiness());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    signal(&server, Signal::SIGCONT);
    until(&sandbox, |_| scheduler.health.readiness().is_ok()).await;
    assert_all_done(&sandbox).await;
    scheduler.stop().await;
    sandbox.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_ends_when_it_is_told_to_while_the_database_stands_still() {
    let database = database(Generation::G5).await;
    let options = SandboxOptions { generation: Generation::G5, ..quick_farm(FarmSpec::demo(20, 6, 2_000, SEED)) };
    let sandbox = farm(database.connect_settings().await, options).await;
    let server = database.connect_settings().await;
    let proxy = Proxy::start(server.port).await;
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    write!(
        file,
        "database:\n  db_host: {}\n  db_port: {}\n  db_name: {}\n  db_user: {}\n  db_pass: {}\n  pool_size: 8\n\
         rqd:\n  grpc_port: {}\nqueue:\n  metrics_port: 0\n  worker_threads: 2\n",
        server.host,
        proxy.port(),
        server.name,
        server.user,
        server.password.as_deref().unwrap_or_default(),
        sandbox.rqd_port(),
    )
    .unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_cue-scheduler"))
        .args(["run", "--config"])
        .arg(file.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until(&sandbox, |_| !sandbox.launches().is_empty()).await;
    proxy.freeze();
    // It comes to wait for an answer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    kill(Pid::from_raw(i32::try_from(program.id()).unwrap()), Signal::SIGTERM).unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = program.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > PATIENCE / 4 {
            program.kill().unwrap();
            panic!("it does not end");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(status.success(), "{status:?}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_is_read_again_for_each_new_session() {
    let database = database(Generation::G5).await;
    let (pool, role) = (database.pool(), format!("changing_{}", database.name()));
    let set = async |password: &str, act: &str| {
        let sql = format!("{act} ROLE {role} SUPERUSER LOGIN PASSWORD '{password}'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    };
    set("first", "CREATE").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "first\n").unwrap();
    let settings = ConnectSettings {
        user: role.clone(),
        password: Some("first".to_owned()),
        password_file: Some(file.path().to_owned()),
        pool_size: 2,
        ..database.connect_settings().await
    };
    let store = Store::connect(&settings).await.unwrap();
    for password in ["second", "third"] {
        set(password, "ALTER").await;
        fs::write(file.path(), format!("{password}\n")).unwrap();
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(end)).execute(&pool).await.unwrap();
        // Those that were ended say so once each.
        let began = Instant::now();
        while let Err(error) = store.ping().await {
            assert!(began.elapsed() < PATIENCE / 10, "{error:?}");
        }
    }
    store.close().await;
}

/// A limit that is full by a report, on a schema that knew no reports when the service started.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_migrated_while_it_runs_is_found_out() {
    let job = |name: &str, limits: &[&str]| JobSpec {
        is_paused: true,
        ..JobSpec::new(name).layer(LayerSpec {
            limits: limits.iter().map(|limit| (*limit).into()).collect(),
            ..LayerSpec::new("render").frames(10)
        })
    };
    let show = |name: &str| ShowSpec::new(name).subscription("general", Cores::whole(100), Cores::whole(100));
    let folder = FolderSpec::new("comp").job(job("limited", &["nuke"])).job(job("free", &[]));
    let spec = FarmSpec::empty()
        .alloc("general", "general")
        .limit("nuke", 5)
        .host_class(HostClass::new("render", 4))
        .show(show("first").folder(folder))
        .show(show("later").folder(FolderSpec::new("comp").job(job("later", &[]))));
    let database = database(Generation::G3).await;
    let sandbox =
        farm(database.connect_settings().await, SandboxOptions { generation: Generation::G3, ..quick_farm(spec) })
            .await;
    let pool = sandbox.pool();
    execute(pool, "UPDATE show SET b_active = false WHERE str_name = 'later'").await;
    let settings = Settings { cluster_reload_interval: Duration::from_millis(200), ..quick_settings() };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    until(&sandbox, |_| scheduler.health.readiness().is_ok()).await;

    let mut connection = database.connect_options().connect().await.unwrap();
    schema::migrate(&mut connection, Generation::G3, Generation::G4).await.unwrap();
    connection.close().await.unwrap();
    execute(
        pool,
        "INSERT INTO limit_host (pk_limit_host, pk_limit_record, str_host_name, str_reported_name, int_tokens)
         SELECT 'x', pk_limit_record, 'elsewhere', 'elsewhere', 5 FROM limit_record",
    )
    .await;
    execute(pool, "UPDATE limit_record SET ts_reported = current_timestamp, int_report_ttl = 0").await;
    // Whoever serves this show has looked at the schema since.
    execute(pool, "UPDATE show SET b_active = true WHERE str_name = 'later'").await;
    execute(pool, "UPDATE job SET b_paused = false WHERE str_name = 'later' OR str_name LIKE '%later%'").await;
    until(&sandbox, |progress| progress.done == 10).await;
    execute(pool, "UPDATE job SET b_paused = false").await;
    until(&sandbox, |progress| progress.done == 20).await;
    let limited = "frame JOIN job USING (pk_job) WHERE job.str_name LIKE '%limited%' AND frame.str_state <> 'WAITING'";
    assert_eq!(count(pool, limited).await, 0, "the report says that all tokens are in use");
    scheduler.stop().await;
    sandbox.stop().await;
}
