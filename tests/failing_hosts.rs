//! Hosts on which frames fail, and frames that go elsewhere.

use std::time::Duration;

use cue_scheduler::farm::fleet::RunTime;
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{JobSpec, LayerSpec, seed};
use cue_scheduler::model::WaitReason;
use cue_scheduler::scheduler::Settings;
use cue_scheduler::units::Cores;

use crate::support::farm::{Scheduler, assert_all_done, farm, four_core_farm, quick_farm, quick_settings, until};
use crate::support::{database, execute, number, run_program, texts};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3_600);

/// So many hosts of four cores and these jobs of one frame a core; commands run as [`RunTime::Command`] has it.
fn jobs(hosts: usize, jobs: impl IntoIterator<Item = JobSpec>) -> SandboxOptions {
    let run_time = RunTime::Command(Duration::from_millis(300));
    SandboxOptions { generation: Generation::G5, run_time, ..quick_farm(four_core_farm(hosts, jobs)) }
}

fn job(name: &str, frames: u32) -> JobSpec {
    let layer = LayerSpec::new("layer").cores(Cores::whole(1)).frames(frames).single_threaded();
    JobSpec { retries_max: 1, ..JobSpec::new(name).layer(layer) }
}

fn failing(name: &str, frames: u32) -> JobSpec {
    let job = job(name, frames);
    let layers = job.layers.into_iter().map(|layer| layer.command("false")).collect();
    JobSpec { layers, ..job }
}

/// Frames keep off a host for longer than any test takes.
fn unforgiving() -> Settings {
    Settings { retry_elsewhere: LONG, ..quick_settings() }
}

/// The first host, which fails every frame at once.
fn broken(sandbox: &Sandbox) -> String {
    let host = sandbox.seeded().hosts[0].name.clone();
    sandbox.fleet().unwrap().set_failing(&host, true).unwrap();
    host
}

async fn dead(sandbox: &Sandbox) -> i64 {
    number(sandbox.pool(), "SELECT count(*) FROM frame WHERE str_state = 'DEAD'").await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_frame_dies_of_one_host_that_fails_all_at_once() {
    let database = database(Generation::G5).await;
    let sandbox = farm(database.connect_settings().await, jobs(20, [job("shot", 300)])).await;
    let host = broken(&sandbox);
    let settings = Settings { rest_failing_hosts: false, ..unforgiving() };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    assert_all_done(&sandbox).await;
    assert_eq!(dead(&sandbox).await, 0);
    let on_it = sandbox.launches().into_iter().filter(|launch| launch.host == host);
    let mut frames: Vec<_> = on_it.map(|launch| launch.frame).collect();
    let launches = frames.len();
    assert!(launches > 0, "nothing ran on the host that fails");
    frames.sort();
    frames.dedup();
    assert_eq!(frames.len(), launches, "a frame went back to where it failed");
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn told_so_frames_go_back_to_where_they_failed() {
    let database = database(Generation::G5).await;
    let sandbox = farm(database.connect_settings().await, jobs(20, [job("shot", 300)])).await;
    // It alone has room.
    let host = broken(&sandbox);
    let lock = format!("UPDATE host SET str_lock_state = 'LOCKED' WHERE str_name <> '{host}'");
    execute(sandbox.pool(), &lock).await;
    let settings = Settings { rest_failing_hosts: false, retry_elsewhere: Duration::ZERO, ..quick_settings() };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    until(&sandbox, |progress| progress.dead > 0).await;
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_failed_on_the_only_host_with_room_wait_and_the_others_do_not() {
    let database = database(Generation::G5).await;
    let sandbox = farm(database.connect_settings().await, jobs(5, [job("shot", 12)])).await;
    // Four of five hosts are locked, so that one has room, and the last four frames may not run yet.
    let host = broken(&sandbox);
    let change = format!(
        "UPDATE host SET str_lock_state = 'LOCKED' WHERE str_name <> '{host}';
         UPDATE frame SET str_state = 'DEPEND', int_depend_count = 1
          WHERE pk_frame IN (SELECT pk_frame FROM frame ORDER BY int_dispatch_order DESC LIMIT 4)"
    );
    execute(sandbox.pool(), &change).await;
    let settings = Settings { rest_failing_hosts: false, ..unforgiving() };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    let waits = |frames| {
        let waiting = scheduler.totals.waiting();
        waiting.len() == 1 && waiting.get(&WaitReason::RetryElsewhere).is_some_and(|row| row.frames == frames)
    };
    until(&sandbox, |_| waits(8)).await;
    assert_eq!(sandbox.launches().len(), 8, "each failed once");

    // Passes go on without booking them in vain.
    let lost = scheduler.counted("scheduler_bookings_lost_total");
    let passes = scheduler.totals.reading().passes;
    until(&sandbox, |_| scheduler.totals.reading().passes > passes + 5).await;
    assert_eq!(scheduler.counted("scheduler_bookings_lost_total"), lost);
    assert_eq!(sandbox.launches().len(), 8);

    // What is ready since goes to that host although it is behind the others.
    sandbox.fleet().unwrap().set_failing(&host, false).unwrap();
    let ready = "UPDATE frame SET str_state = 'WAITING', int_depend_count = 0 WHERE str_state = 'DEPEND'";
    execute(sandbox.pool(), ready).await;
    until(&sandbox, |progress| progress.done == 4).await;
    assert_eq!(sandbox.launches().len(), 12);

    // Another host has room.
    execute(sandbox.pool(), "UPDATE host SET str_lock_state = 'OPEN'").await;
    assert_all_done(&sandbox).await;
    assert_eq!(dead(&sandbox).await, 0);
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_waits_for_another_host_for_no_longer_than_it_is_told() {
    let database = database(Generation::G5).await;
    let sandbox = farm(database.connect_settings().await, jobs(5, [job("shot", 4)])).await;
    let host = broken(&sandbox);
    let lock = format!("UPDATE host SET str_lock_state = 'LOCKED' WHERE str_name <> '{host}'");
    execute(sandbox.pool(), &lock).await;
    let settings = Settings { rest_failing_hosts: false, ..unforgiving() };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    until(&sandbox, |_| scheduler.totals.waiting().contains_key(&WaitReason::RetryElsewhere)).await;
    sandbox.fleet().unwrap().set_failing(&host, false).unwrap();
    // By the database's clock.
    execute(sandbox.pool(), "UPDATE frame SET ts_stopped = now() - interval '2 hours'").await;
    assert_all_done(&sandbox).await;
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_with_a_delay_rule_is_no_retry_and_keeps_off_no_host() {
    let database = database(Generation::G5).await;
    let sandbox = farm(database.connect_settings().await, jobs(5, [job("shot", 4)])).await;
    let host = sandbox.seeded().hosts[0].name.clone();
    let failed = format!(
        "UPDATE frame SET int_exit_status = 330, ts_stopped = now(), ts_started = now(), str_host = '{host}';
         UPDATE host SET str_lock_state = 'LOCKED' WHERE str_name <> '{host}'"
    );
    execute(sandbox.pool(), &failed).await;
    let settings = Settings { excused_statuses: vec![330], ..unforgiving() };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    assert_all_done(&sandbox).await;
    assert_eq!(number(sandbox.pool(), "SELECT sum(int_retries) FROM frame").await, 0);
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_fails_what_runs_elsewhere_rests() {
    a_failing_host_rests(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_rests_also_where_what_fails_is_dead_at_once() {
    a_failing_host_rests(0).await;
}

async fn a_failing_host_rests(retries_max: i16) {
    let database = database(Generation::G5).await;
    let shots = ["a", "b", "c", "d"].map(|name| JobSpec { retries_max, ..job(name, 4_000) });
    let sandbox = farm(database.connect_settings().await, jobs(20, shots)).await;
    let host = broken(&sandbox);
    let settings = Settings { retry_elsewhere: Duration::ZERO, ..quick_settings() };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    until(&sandbox, |_| scheduler.metric("scheduler_failing_hosts", &host) == 1).await;
    until(&sandbox, |_| scheduler.metric("scheduler_hosts", "put_aside") == 1).await;
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_host_rests_for_work_that_fails_everywhere() {
    let database = database(Generation::G5).await;
    let bad = ["x", "y", "z"].map(|name| failing(name, 100));
    let jobs = jobs(20, bad.into_iter().chain([job("sound", 200)]));
    let sandbox = farm(database.connect_settings().await, jobs).await;
    let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
    // A frame of the bad jobs has two attempts.
    until(&sandbox, |progress| progress.done == 200 && progress.dead == 300).await;
    let sound = "SELECT count(*) FROM frame JOIN job ON job.pk_job = frame.pk_job
                  WHERE job.str_name LIKE '%sound' AND (int_retries > 0 OR int_exit_status <> 0)";
    assert_eq!(number(sandbox.pool(), sound).await, 0);
    assert_eq!(scheduler.metric("scheduler_hosts", "put_aside"), 0);
    let rested =
        sandbox.seeded().hosts.iter().filter(|host| scheduler.metric("scheduler_failing_hosts", &host.name) > 0);
    assert_eq!(rested.count(), 0);
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test]
async fn commands_know_from_the_rows_what_failed() {
    let database = database(Generation::G5).await;
    let spec = jobs(5, ["a", "b"].map(|name| job(name, 2))).spec;
    let seeded = seed(&database.pool(), &spec).await.unwrap();
    let host = &seeded.hosts[0].name;
    let failed = format!(
        "UPDATE frame SET int_exit_status = 1, ts_started = now(), ts_stopped = now(), str_host = '{host}/400/0';
         UPDATE host SET str_lock_state = 'LOCKED' WHERE str_name <> '{host}'"
    );
    execute(&database.pool(), &failed).await;
    let settings = database.connect_settings().await;
    let told = |args: &[&str]| {
        let ran = run_program(&settings, args);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    let layer = format!("{}/layer", seeded.jobs[0].name);
    let layer = told(&["explain", "layer", &layer, "-o", "json"]);
    assert!(layer.contains("\"reason\": \"retry_elsewhere\",\n  \"summary\""), "{layer}");
    let plan = told(&["plan", "-o", "json"]);
    assert!(plan.contains("retry_elsewhere") && !plan.contains("\"capacity\""), "{plan}");
    let host = told(&["explain", "host", host, "-o", "json"]);
    assert!(host.contains("frames of 2 jobs failed on it within seconds a few minutes ago"), "{host}");
    let frame = texts(&database.pool(), "SELECT pk_frame::text FROM frame LIMIT 1").await.remove(0);
    let frame = told(&["explain", "frame", &frame, "-o", "json"]);
    assert!(frame.contains("with exit status 1"), "{frame}");
}
