//! Work gets done, once, whatever breaks: agents, the scheduler, the database.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cue_scheduler::booking::UnbookCause;
use cue_scheduler::farm::cuebot::{CuebotOptions, Maintenance};
use cue_scheduler::farm::fleet::Faults;
use cue_scheduler::farm::postgres::{PostgresOptions, PostgresServer, RestartMode};
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::{self, Generation};
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, ShowSpec};
use cue_scheduler::units::Cores;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::Connection as _;

use crate::support::farm::{Scheduler, assert_all_done, farm, quick_farm, quick_settings, until};
use crate::support::{book_all, database, requests};

const SEED: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn refusals_lost_answers_and_dying_hosts_lose_and_double_nothing() {
    for generation in [Generation::G0, Generation::G5] {
        let database = database(generation).await;
        let faults = Faults { refuse: 0.05, lose_answer: 0.03, fail_answer: 0.02, ..Faults::default() };
        let options = SandboxOptions { generation, faults, ..quick_farm(FarmSpec::demo(100, 12, 800, SEED)) };
        let sandbox = farm(database.connect_settings().await, options).await;
        let fleet = sandbox.fleet().unwrap();
        let dying = fleet.spread_deaths(0.02, Duration::from_secs(2), Some(Duration::from_secs(8)));
        assert_eq!(dying.len(), 2);
        let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
        let report = assert_all_done(&sandbox).await;
        assert_eq!(report.cap_breaches, 0);
        let totals = scheduler.totals.reading();
        assert!(totals.refused > 0 && totals.unknown > 0, "the faults never happened: {totals:?}");
        scheduler.stop().await;
        sandbox.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_that_was_never_launched_is_found_and_taken_back() {
    let database = database(Generation::G0).await;
    // A Cuebot that is slower than we are: its own sweep comes after 300 seconds.
    let cuebot = CuebotOptions { maintenance: Some(Maintenance::default()), ..CuebotOptions::default() };
    let options = SandboxOptions { cuebot, ..quick_farm(FarmSpec::simple(3)) };
    let sandbox = farm(database.connect_settings().await, options).await;
    // As a scheduler leaves it that dies between the commit and the launch.
    let store = database.patient_store().await;
    let requests = requests(&store, sandbox.seeded(), 3).await;
    let booked = book_all(&store, &requests).await.booked;
    assert_eq!(booked.len(), 3);
    let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
    assert_all_done(&sandbox).await;
    assert_eq!(scheduler.totals.reading().unbooked, 3, "{}", UnbookCause::NotRunning.as_str());
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_scheduler_in_the_middle_loses_and_doubles_nothing() {
    let database = database(Generation::G5).await;
    let spec = FarmSpec::demo(60, 10, 1_500, SEED);
    let sandbox = farm(database.connect_settings().await, quick_farm(spec)).await;
    let config = config_file(&sandbox);
    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..20 {
        let mut scheduler = start(&config);
        tokio::time::sleep(Duration::from_millis(random.random_range(150..1_200))).await;
        // SIGKILL: nothing of it gets to clean up.
        scheduler.kill().unwrap();
        scheduler.wait().unwrap();
    }
    assert!(!sandbox.launches().is_empty(), "it never got as far as a launch");
    let mut scheduler = start(&config);
    assert_all_done(&sandbox).await;
    scheduler.kill().unwrap();
    scheduler.wait().unwrap();
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_of_postgresql_under_load_lose_and_double_nothing() {
    let server = PostgresServer::start(&PostgresOptions::default()).await.unwrap();
    server.create_database("farm", None).await.unwrap();
    let mut connection = sqlx::PgConnection::connect_with(&server.connect_options("farm")).await.unwrap();
    schema::create(&mut connection, Generation::G5).await.unwrap();
    connection.close().await.unwrap();
    let spec = FarmSpec::demo(60, 10, 2_000, SEED);
    let options = SandboxOptions { generation: Generation::G5, ..quick_farm(spec) };
    let sandbox = farm(server.connect_settings("farm"), options).await;
    let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
    for restart in 1..=5 {
        let before = until(&sandbox, |progress| progress.done > restart * 150).await;
        assert!(!before.is_finished(), "the work was over before restart {restart}");
        let mode = if restart % 2 == 0 { RestartMode::Fast } else { RestartMode::Immediate };
        server.restart(mode).await.unwrap();
    }
    assert_all_done(&sandbox).await;
    scheduler.stop().await;
    sandbox.stop().await;
    server.stop().await;
}

/// A configuration of the real program for this farm, with waits of seconds.
fn config_file(sandbox: &Sandbox) -> tempfile::NamedTempFile {
    let database = sandbox.database();
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    write!(
        file,
        "database:\n  db_host: {}\n  db_port: {}\n  db_name: {}\n  db_user: {}\n  db_pass: {}\n  pool_size: 8\n\
         rqd:\n  grpc_port: {}\n  connect_timeout: 500ms\n  launch_timeout: 1500ms\n  launch_deadline: 1s\n  \
         confirm_interval: 600ms\n  breaker_cool_down: 500ms\n\
         queue:\n  monitor_interval: 1s\n  active_scan_interval: 50ms\n  metrics_port: 0\n  worker_threads: 2\n",
        database.host,
        database.port,
        database.name,
        database.user,
        database.password.as_deref().unwrap_or_default(),
        sandbox.rqd_port(),
    )
    .unwrap();
    file
}

fn start(config: &tempfile::NamedTempFile) -> Child {
    Command::new(env!("CARGO_BIN_EXE_cue-scheduler"))
        .arg("run")
        .arg("--config")
        .arg(config.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Sixteen cores, a layer at high priority of which nothing can come, and a good one below it.
fn good_below_bad(bad_frames: u32) -> FarmSpec {
    let bad = JobSpec::new("bad").priority(200).layer(LayerSpec::new("bad").frames(bad_frames));
    let good = JobSpec::new("good").priority(50).layer(LayerSpec::new("good").frames(20));
    let show = ShowSpec::new("show").subscription("general", Cores::whole(1_000), Cores::whole(1_000));
    FarmSpec::empty()
        .alloc("general", "general")
        .host_class(HostClass::new("render", 2))
        .show(show.folder(FolderSpec::new("comp").job(bad).job(good)))
}

const BAD_LAYER: &str = "(SELECT pk_layer FROM layer WHERE str_name = 'bad')";

#[tokio::test(flavor = "multi_thread")]
async fn work_that_comes_to_nothing_does_not_starve_what_is_below_it() {
    let planted = [
        ("frames without a version", format!("UPDATE frame SET int_version = NULL WHERE pk_layer = {BAD_LAYER}")),
        (
            "a count of frames that are not there",
            format!(
                "UPDATE frame SET str_state = 'DEPEND' WHERE pk_layer = {BAD_LAYER};
                 UPDATE layer_stat SET int_waiting_count = 500 WHERE pk_layer = {BAD_LAYER}"
            ),
        ),
        (
            "rows that the database refuses",
            format!(
                "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     IF NEW.pk_layer = {BAD_LAYER} THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$;
                 CREATE TRIGGER no BEFORE INSERT ON proc FOR EACH ROW EXECUTE FUNCTION no()"
            ),
        ),
        ("a range that nobody can read", format!("UPDATE layer SET str_range = '1-' WHERE pk_layer = {BAD_LAYER}")),
    ];
    for (what, sql) in planted {
        let database = database(Generation::G5).await;
        let sandbox = farm(database.connect_settings().await, quick_farm(good_below_bad(40))).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(sandbox.pool()).await.unwrap();
        let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
        let done = until(&sandbox, |progress| progress.done == 20).await;
        assert_eq!(done.done, 20, "{what}");
        scheduler.stop().await;
        sandbox.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_cannot_be_booked_do_not_hide_those_behind_them_in_their_layer() {
    let database = database(Generation::G5).await;
    let sandbox = farm(database.connect_settings().await, quick_farm(good_below_bad(60))).await;
    // The first forty of sixty, more than the farm has cores.
    let sql = format!("UPDATE frame SET int_version = NULL WHERE pk_layer = {BAD_LAYER} AND int_dispatch_order < 40");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(sandbox.pool()).await.unwrap();
    let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
    until(&sandbox, |progress| progress.done == 40).await;
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cuebots_own_planner_has_booked_is_not_taken_back() {
    let database = database(Generation::G5).await;
    let cuebot = CuebotOptions { maintenance: Some(Maintenance::default()), ..CuebotOptions::default() };
    let options = SandboxOptions { generation: Generation::G5, cuebot, ..quick_farm(FarmSpec::simple(3)) };
    let sandbox = farm(database.connect_settings().await, options).await;
    let mut leader = sqlx::PgConnection::connect_with(&database.connect_options()).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(22360104104064357)").execute(&mut leader).await.unwrap();
    let store = database.patient_store().await;
    let requests = requests(&store, sandbox.seeded(), 3).await;
    assert_eq!(book_all(&store, &requests).await.booked.len(), 3);
    let settings = quick_settings();
    // Long enough for a booking of nobody's to be found, and for its host to have said no twice.
    let patience = settings.recovery_age() + settings.recover_interval + Duration::from_secs(3);
    let scheduler = Scheduler::start(&sandbox, settings).await;
    let began = std::time::Instant::now();
    until(&sandbox, |progress| {
        assert_eq!(progress.running, 3, "a booking was taken back");
        began.elapsed() > patience
    })
    .await;
    assert_eq!(scheduler.totals.reading().unbooked, 0);
    scheduler.stop().await;
    sandbox.stop().await;
}
