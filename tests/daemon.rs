//! The service from outside: the whole way of a frame, stopping, waiting for the database.

use std::time::Duration;

use cue_scheduler::farm::postgres::{PostgresOptions, PostgresServer, RestartMode};
use cue_scheduler::farm::sandbox::SandboxOptions;
use cue_scheduler::farm::schema::{self, Generation};
use cue_scheduler::farm::seed::FarmSpec;
use cue_scheduler::scheduler::{Service, Settings};
use cue_scheduler::telemetry::Health;
use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;

use crate::support::farm::{Scheduler, assert_all_done, farm, quick_farm, quick_settings, until};
use crate::support::{PATIENCE, database};

/// The session lock that the leader of Cuebot's own planner holds.
const FOREIGN_PLANNER_LOCK: i64 = 22_360_104_104_064_357;

#[tokio::test(flavor = "multi_thread")]
async fn one_frame_goes_the_whole_way() {
    let database = database(Generation::G0).await;
    let sandbox = farm(database.connect_settings().await, quick_farm(FarmSpec::simple(1))).await;
    let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
    assert_all_done(&sandbox).await;
    let launches = sandbox.launches();
    assert_eq!(launches.len(), 1);
    assert!(launches[0].ended_at.is_some());
    let ended = scheduler.stop().await;
    assert_eq!((ended.unsettled, ended.unfinished), (0, vec![]));
    assert_eq!(sandbox.stop().await, Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_farm_is_worked_through_in_every_generation() {
    for generation in Generation::ALL {
        let database = database(generation).await;
        let options = SandboxOptions { generation, ..quick_farm(FarmSpec::demo(40, 8, 300, 3)) };
        let sandbox = farm(database.connect_settings().await, options).await;
        let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
        // Some Cuebots leave releases to us without a word: that takes looks seconds apart to find out.
        let report = assert_all_done(&sandbox).await;
        assert_eq!(report.cap_breaches, 0, "{generation}");
        scheduler.stop().await;
        sandbox.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_quits_when_there_was_nothing_to_do_for_long_enough() {
    let database = database(Generation::G0).await;
    let sandbox = farm(database.connect_settings().await, quick_farm(FarmSpec::simple(2))).await;
    let settings = Settings { empty_job_cycles_before_quiting: Some(3), ..quick_settings() };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    let totals = scheduler.totals.clone();
    assert!(scheduler.ended().await.had_nothing_to_do);
    assert_eq!(totals.reading().launched, 2, "it quit before its work was done");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_leaves_nothing_booked_without_a_launch() {
    let database = database(Generation::G5).await;
    let options = SandboxOptions { generation: Generation::G5, ..quick_farm(FarmSpec::demo(60, 10, 2_000, 5)) };
    let sandbox = farm(database.connect_settings().await, options).await;
    let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
    until(&sandbox, |progress| progress.done > 50).await;
    let ended = scheduler.stop().await;
    assert_eq!((ended.unsettled, ended.unfinished), (0, vec![]));
    // What runs is finished by its hosts and by Cuebot; nothing else was left RUNNING.
    let rest = until(&sandbox, |progress| progress.running == 0).await;
    assert!(rest.waiting > 0, "it had no work left when it was stopped");
    let report = sandbox.audit().await.unwrap();
    assert_eq!((report.double_launches, report.cap_breaches), (0, 0));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_work_starts_within_a_moment_and_not_at_the_next_full_look() {
    let database = database(Generation::G5).await;
    let options = SandboxOptions { generation: Generation::G5, ..quick_farm(FarmSpec::simple(4)) };
    let sandbox = farm(database.connect_settings().await, options).await;
    sqlx::query("UPDATE job SET b_paused = true").execute(sandbox.pool()).await.unwrap();
    let settings = Settings { monitor_interval: Duration::from_secs(3_600), ..quick_settings() };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    until(&sandbox, |_| scheduler.totals.reading().passes > 0).await;
    assert_eq!(scheduler.totals.reading().booked, 0);
    sqlx::query("UPDATE job SET b_paused = false").execute(sandbox.pool()).await.unwrap();
    assert_all_done(&sandbox).await;
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_books_nothing_beside_cuebots_own_planner_and_says_so() {
    let database = database(Generation::G5).await;
    let options = SandboxOptions { generation: Generation::G5, ..quick_farm(FarmSpec::simple(2)) };
    let sandbox = farm(database.connect_settings().await, options).await;
    let mut leader = sqlx::PgConnection::connect_with(&database.connect_options()).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock($1)").bind(FOREIGN_PLANNER_LOCK).execute(&mut leader).await.unwrap();
    let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
    let is_said = |health: &Health| health.readiness().is_err_and(|reasons| reasons.contains("planner"));
    until(&sandbox, |_| is_said(&scheduler.health)).await;
    assert_eq!(scheduler.totals.reading().booked, 0);
    leader.close().await.unwrap();
    assert_all_done(&sandbox).await;
    assert_eq!(scheduler.health.readiness(), Ok(()));
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_it_waits_and_says_so_and_goes_on_when_it_comes() {
    let server = PostgresServer::start(&PostgresOptions::default()).await.unwrap();
    server.create_database("farm", None).await.unwrap();
    let mut connection = sqlx::PgConnection::connect_with(&server.connect_options("farm")).await.unwrap();
    schema::create(&mut connection, Generation::G0).await.unwrap();
    connection.close().await.unwrap();
    server.stop_server(RestartMode::Fast).await.unwrap();

    let (health, stop) = (Health::new(), CancellationToken::new());
    let connecting = {
        let (settings, health, stop) = (server.connect_settings("farm"), health.clone(), stop.clone());
        tokio::spawn(async move { Service::connect(&settings, &health, &stop).await })
    };
    let began = std::time::Instant::now();
    while !health.readiness().is_err_and(|reasons| reasons.contains("database")) {
        assert!(began.elapsed() < PATIENCE, "{:?}", health.readiness());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.start_server().await.unwrap();
    let store = connecting.await.unwrap().unwrap().expect("nobody told it to stop");
    store.ping().await.unwrap();
    store.close().await;
    server.stop().await;
}
