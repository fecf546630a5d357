//! What happens to a booking between its commit and its launch, and while the launch is on the way.

use std::collections::HashSet;
use std::time::Duration;

use cue_scheduler::booking::SilenceEnds;
use cue_scheduler::booking::{Fence, UnbookCause, find_silent, find_unsettled, unbook_fenced};
use cue_scheduler::config::CuebotSilence;
use cue_scheduler::db::ConnectSettings;
use cue_scheduler::farm::audit::audit_rows;
use cue_scheduler::farm::cuebot::{CuebotOptions, Maintenance};
use cue_scheduler::farm::fleet::{Faults, RunTime};
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, seed};
use cue_scheduler::model::{Booked, FrameId};
use cue_scheduler::scheduler::Settings;
use cue_scheduler::units::Cores;
use sqlx::Connection as _;

use crate::support::farm::{Scheduler, assert_all_done, farm, quick_farm, quick_settings, until};
use crate::support::{TestDatabase, book_all, count, database, execute, requests};

/// Hosts of twenty cores whose agents take their time to answer each launch; frames run for long.
async fn slow_host(database: &TestDatabase, hosts: usize, frames: u32, answer_delay: Duration) -> Sandbox {
    let faults = Faults { delay_answer: 1.0, answer_delay, ..Faults::default() };
    hosts_with(database, hosts, frames, faults).await
}

async fn hosts_with(database: &TestDatabase, hosts: usize, frames: u32, faults: Faults) -> Sandbox {
    let spec = FarmSpec::simple(frames).hosts(hosts).each_host_class(|class| class.total.cores = Cores::whole(20));
    let cuebot = CuebotOptions { maintenance: Some(Maintenance::default()), ..CuebotOptions::default() };
    let run_time = RunTime::Fixed(Duration::from_secs(30));
    let options = SandboxOptions { generation: Generation::G5, faults, run_time, cuebot, ..quick_farm(spec) };
    farm(database.connect_settings().await, options).await
}

/// Patient enough for an agent that is slow and not dead.
fn patient_settings() -> Settings {
    Settings { launch_deadline: Duration::from_secs(20), ..quick_settings() }
}

async fn launched(sandbox: &Sandbox, launches: usize) -> HashSet<FrameId> {
    until(sandbox, |progress| sandbox.launches().len() >= launches && progress.running == progress.frames).await;
    sandbox.launches().into_iter().map(|launch| launch.frame).collect()
}

fn texts(frames: &HashSet<FrameId>) -> String {
    let frames: Vec<String> = frames.iter().map(|frame| format!("'{frame}'")).collect();
    frames.join(",")
}

/// As Cuebot gives back a proc whose frame it takes away, in one piece.
fn released(procs: &str) -> String {
    format!(
        "WITH gone AS (DELETE FROM proc WHERE {procs} RETURNING *),
         sums AS (SELECT sum(int_cores_reserved) AS cores, sum(int_mem_reserved) AS memory FROM gone),
         h AS (UPDATE host SET int_cores_idle = int_cores_idle + g.cores, int_mem_idle = int_mem_idle + g.memory
               FROM (SELECT pk_host, sum(int_cores_reserved) AS cores, sum(int_mem_reserved) AS memory
                     FROM gone GROUP BY pk_host) AS g WHERE host.pk_host = g.pk_host),
         s AS (UPDATE subscription SET int_cores = int_cores - sums.cores FROM sums WHERE sums.cores > 0),
         l AS (UPDATE layer_resource SET int_cores = int_cores - sums.cores FROM sums WHERE sums.cores > 0),
         j AS (UPDATE job_resource SET int_cores = int_cores - sums.cores FROM sums WHERE sums.cores > 0),
         f AS (UPDATE folder_resource SET int_cores = int_cores - sums.cores FROM sums
               WHERE sums.cores > 0 AND pk_folder IN (SELECT pk_folder FROM job))
         UPDATE point SET int_cores = int_cores - sums.cores FROM sums WHERE sums.cores > 0"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_eaten_while_their_launch_waits_are_not_launched() {
    let database = database(Generation::G5).await;
    let sandbox = slow_host(&database, 1, 20, Duration::from_millis(1_200)).await;
    let scheduler = Scheduler::start(&sandbox, patient_settings()).await;
    // Four launches to a host at once; the others wait for their turn.
    let sent = launched(&sandbox, 4).await;
    let others = format!("pk_frame NOT IN ({})", texts(&sent));
    execute(sandbox.pool(), &released(&others)).await;
    let eat = format!("UPDATE frame SET str_state = 'EATEN', int_version = int_version + 1 WHERE {others}");
    execute(sandbox.pool(), &eat).await;
    until(&sandbox, |_| scheduler.totals.reading().launched >= sent.len() as u64).await;
    let ended = scheduler.stop().await;
    assert_eq!((ended.unsettled, ended.unfinished), (0, vec![]));
    let launched: HashSet<FrameId> = sandbox.launches().into_iter().map(|launch| launch.frame).collect();
    assert_eq!(launched, sent);
    assert_eq!(audit_rows(sandbox.pool()).await.unwrap().violations, []);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_paused_or_killed_while_launches_wait_gets_them_back_unsent() {
    for change in ["b_paused = true", "str_state = 'FINISHED', ts_stopped = current_timestamp"] {
        let database = database(Generation::G5).await;
        let sandbox = slow_host(&database, 1, 20, Duration::from_millis(1_200)).await;
        let scheduler = Scheduler::start(&sandbox, patient_settings()).await;
        let sent = launched(&sandbox, 4).await;
        execute(sandbox.pool(), &format!("UPDATE job SET {change}")).await;
        let waiting = 20 - i64::try_from(sent.len()).unwrap();
        until(&sandbox, |_| scheduler.totals.reading().unbooked == waiting.cast_unsigned()).await;
        assert_eq!(count(sandbox.pool(), "frame WHERE str_state = 'WAITING'").await, waiting);
        scheduler.stop().await;
        assert_eq!(sandbox.launches().len(), sent.len(), "{change}");
        assert_eq!(audit_rows(sandbox.pool()).await.unwrap().violations, [], "{change}");
        sandbox.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_whose_rows_vanish_during_the_call_runs_nowhere_else_before_it_has_ended() {
    let database = database(Generation::G5).await;
    // Two hosts, so that the retried frame could go to the other one at once.
    let sandbox = slow_host(&database, 2, 1, Duration::from_millis(1_400)).await;
    let scheduler = Scheduler::start(&sandbox, patient_settings()).await;
    launched(&sandbox, 1).await;
    retry_all(&sandbox).await;
    assert_second_run_follows_the_first(&sandbox).await;
    scheduler.stop().await;
    sandbox.stop().await;
}

/// An operator's retry, whose kill came before our launch and found nothing. The host takes nothing more, so
/// that the frame would go to the other one.
async fn retry_all(sandbox: &Sandbox) {
    let lock = "UPDATE host SET str_lock_state = 'LOCKED' WHERE pk_host IN (SELECT pk_host FROM proc)";
    execute(sandbox.pool(), lock).await;
    execute(sandbox.pool(), &released("true")).await;
    let retried = "UPDATE frame SET str_state = 'WAITING', int_version = int_version + 1, ts_stopped = now()";
    execute(sandbox.pool(), retried).await;
}

async fn assert_second_run_follows_the_first(sandbox: &Sandbox) {
    until(sandbox, |_| sandbox.launches().len() == 2).await;
    let launches = sandbox.launches();
    assert!(launches[0].ended_at.is_some_and(|ended| ended <= launches[1].started_at), "{launches:?}");
    assert_eq!(sandbox.fleet().unwrap().counts().killed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_starts_after_its_caller_gave_up_and_its_rows_vanished_runs_at_one_place_at_a_time() {
    let database = database(Generation::G5).await;
    let faults = Faults { delay_start: 1.0, start_delay: Duration::from_secs(3), ..Faults::default() };
    let sandbox = hosts_with(&database, 2, 1, faults).await;
    let settings = Settings { launch_timeout: Duration::from_secs(1), ..patient_settings() };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    // Without an answer, and its host not asked yet what it runs.
    until(&sandbox, |_| scheduler.metric("scheduler_launches_total", "unknown") == 1).await;
    retry_all(&sandbox).await;
    sandbox.fleet().unwrap().set_faults(Faults::default());
    assert_second_run_follows_the_first(&sandbox).await;
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_retried_right_after_its_booking_runs_at_one_place_at_a_time() {
    let database = database(Generation::G5).await;
    // Answered within the time for which nobody looks at the rows again before a launch.
    let sandbox = slow_host(&database, 2, 1, Duration::from_millis(300)).await;
    let scheduler = Scheduler::start(&sandbox, patient_settings()).await;
    launched(&sandbox, 1).await;
    retry_all(&sandbox).await;
    assert_second_run_follows_the_first(&sandbox).await;
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_frame_that_waits_while_a_proc_holds_it_is_named_and_left_alone() {
    let database = database(Generation::G5).await;
    let pool = database.pool();
    let seeded = seed(&pool, &FarmSpec::simple(3)).await.unwrap();
    let store = database.patient_store().await;
    let booked = book_all(&store, &requests(&store, &seeded, 1).await).await.booked;
    // Cuebot's clear has no guard.
    execute(&pool, "UPDATE frame SET str_state = 'WAITING', int_version = int_version + 1 WHERE str_state = 'RUNNING'")
        .await;
    let frames = store.load_waiting_frames(&[(seeded.layers[0].id.clone(), 3)]).await.unwrap();
    assert_eq!(frames.by_layer[&seeded.layers[0].id].len(), 2);
    let [left_out] = &frames.left_out[..] else { panic!("{:?}", frames.left_out) };
    assert_eq!((&*left_out.table, left_out.id.as_str()), ("frame", booked[0].frame.as_str()));
    assert!(left_out.problem.contains(booked[0].proc.as_str()), "{}", left_out.problem);
    assert_eq!(find_silent_now(&store, &seeded.shows[0].id).await, []);
    let fenced: Vec<(&Booked, Fence)> = booked.iter().map(|booked| (booked, Fence::Version)).collect();
    let outcome = unbook_fenced(&store, &fenced, UnbookCause::NotRunning).await.unwrap();
    assert_eq!((outcome.unbooked.len(), outcome.left_alone.len()), (0, 1));
}

async fn find_silent_now(
    store: &cue_scheduler::db::Store,
    show: &cue_scheduler::model::ShowId,
) -> Vec<cue_scheduler::booking::SilentBooking> {
    find_silent(store, std::slice::from_ref(show), &SilenceEnds::default()).await.unwrap()
}

#[tokio::test]
async fn procs_that_cuebot_moved_are_not_judged_as_launches_of_ours() {
    let database = database(Generation::G0).await;
    let pool = database.pool();
    let seeded = seed(&pool, &FarmSpec::simple(2)).await.unwrap();
    let store = database.patient_store().await;
    book_all(&store, &requests(&store, &seeded, 2).await).await;
    execute(&pool, "UPDATE host_stat SET ts_ping = current_timestamp + interval '1 second'").await;
    let shows = [seeded.shows[0].id.clone()];
    assert_eq!(find_unsettled(&store, &shows, Duration::ZERO, true).await.unwrap().len(), 2);
    // The next frame on the same proc, dispatched by Cuebot and not reported yet.
    execute(&pool, "UPDATE proc SET ts_dispatched = clock_timestamp() WHERE pk_proc = (SELECT min(pk_proc) FROM proc)")
        .await;
    assert_eq!(find_unsettled(&store, &shows, Duration::ZERO, true).await.unwrap().len(), 1);
}

/// As a scheduler leaves it that is killed between its commit and its launches.
async fn abandoned(database: &TestDatabase, frames: u32) -> Sandbox {
    let cuebot = CuebotOptions { maintenance: Some(Maintenance::default()), ..CuebotOptions::default() };
    let options = SandboxOptions {
        generation: Generation::G5,
        cuebot,
        // Nobody has heard of the hosts since.
        report_interval: Duration::from_secs(3_600),
        ..quick_farm(FarmSpec::simple(frames))
    };
    let sandbox = farm(database.connect_settings().await, options).await;
    let store = database.patient_store().await;
    let requests = requests(&store, sandbox.seeded(), frames).await;
    assert_eq!(book_all(&store, &requests).await.booked.len(), frames as usize);
    sandbox
}

/// Nobody else's bookings are given back within the time of a test but for certain.
fn certain_only() -> Settings {
    Settings { launch_deadline: Duration::from_secs(3_600), cuebot_silence: CuebotSilence::Off, ..quick_settings() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_is_alone_settles_what_a_dead_one_left_without_waiting() {
    let database = database(Generation::G5).await;
    let sandbox = abandoned(&database, 3).await;
    // What is too young for the first search is found by one soon after, not by the next regular one.
    let settings = Settings { recover_interval: Duration::from_secs(3_600), ..certain_only() };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    assert_all_done(&sandbox).await;
    assert_eq!(scheduler.totals.reading().unbooked, 3);
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_another_scheduler_nothing_is_judged_that_it_may_launch_still() {
    let database = database(Generation::G5).await;
    let sandbox = abandoned(&database, 3).await;
    let other = ConnectSettings::as_scheduler(database.connect_settings().await);
    let mut other = sqlx::PgConnection::connect_with(&other.connect_options()).await.unwrap();
    let scheduler = Scheduler::start(&sandbox, certain_only()).await;
    // Long enough for questions that would have been answered many times.
    let began = std::time::Instant::now();
    until(&sandbox, |progress| {
        assert_eq!(progress.running, 3, "a booking was taken back");
        began.elapsed() > Duration::from_secs(6)
    })
    .await;
    sqlx::query("SELECT 1").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    assert_all_done(&sandbox).await;
    scheduler.stop().await;
    sandbox.stop().await;
}
