//! Cuebot is away for a while: what ends meanwhile is never heard of, and nothing is launched into that.

use std::collections::BTreeMap;
use std::time::Duration;

use cue_scheduler::booking::{SilenceEnds, SilentBooking, find_silent};
use cue_scheduler::config::CuebotSilence;
use cue_scheduler::farm::cuebot::{CuebotOptions, NextFrames};
use cue_scheduler::farm::fleet::{Faults, RunTime};
use cue_scheduler::farm::postgres::{PostgresOptions, PostgresServer, RestartMode};
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::{self, Generation};
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, SeededHost, ShowSpec, seed};
use cue_scheduler::rqd::ConfirmSettings;
use cue_scheduler::scheduler::Settings;
use cue_scheduler::units::Cores;
use sqlx::Connection as _;

use crate::support::farm::{Scheduler, assert_all_done, farm, quick_farm, quick_settings, until};
use crate::support::{book_all, count, database, execute, requests};

const LIMIT: Duration = Duration::from_secs(40);

/// A farm whose agents report a completion once, beside a Cuebot whose own sweep does not come.
pub(crate) fn forgetful(generation: Generation, spec: FarmSpec) -> SandboxOptions {
    let cuebot = CuebotOptions { maintenance: None, ..CuebotOptions::default() };
    SandboxOptions {
        generation,
        cuebot,
        run_time: RunTime::Command(Duration::from_millis(50)),
        report_interval: Duration::from_millis(400),
        report_interval_min: Some(Duration::from_millis(100)),
        completion_attempts_max: 1,
        ..quick_farm(spec)
    }
}

/// Sees a silence, and gives back what was lost in it, within seconds.
pub(crate) fn attentive() -> Settings {
    let quick = quick_settings();
    Settings {
        cuebot_silence: CuebotSilence::After(Duration::from_millis(1_500)),
        lost_after: Duration::from_millis(500),
        recover_interval: Duration::from_millis(300),
        confirm: ConfirmSettings { apart: Duration::from_millis(300), ..quick.confirm },
        ..quick
    }
}

pub(crate) fn is_silence_told(scheduler: &Scheduler) -> bool {
    scheduler.health.readiness().is_err_and(|reasons| reasons.contains("Cuebot does not answer"))
}

async fn until_counted(sandbox: &Sandbox, sql: &str, expected: i64) {
    let began = std::time::Instant::now();
    loop {
        let counted = count(sandbox.pool(), sql).await;
        if counted == expected {
            return;
        }
        assert!(began.elapsed() < LIMIT, "{counted} and not {expected}: {sql}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_unheard_is_given_back_and_what_still_runs_is_left_alone() {
    let database = database(Generation::G5).await;
    let job =
        |name: &str, frames, command| JobSpec::new(name).layer(LayerSpec::new(name).frames(frames).command(command));
    let folder = FolderSpec::new("comp").job(job("short", 6, "sleep 4")).job(job("long", 1, "sleep 3600"));
    let show = ShowSpec::new("show").subscription("general", Cores::whole(100), Cores::whole(100));
    let spec = FarmSpec::empty().alloc("general", "general").host_class(HostClass::new("render", 2));
    let sandbox =
        farm(database.connect_settings().await, forgetful(Generation::G5, spec.show(show.folder(folder)))).await;
    let (pool, fleet) = (sandbox.pool(), sandbox.fleet().unwrap());
    execute(pool, "UPDATE frame SET str_checkpoint_state = 'ENABLED'").await;
    let scheduler = Scheduler::start(&sandbox, attentive()).await;
    until(&sandbox, |_| fleet.counts().running == 7).await;
    sandbox.cuebot().fall_silent();
    let lost = || fleet.counts().completions_lost;
    until(&sandbox, |progress| {
        is_silence_told(&scheduler) && fleet.counts().running == 1 && lost() as u64 + progress.done == 6
    })
    .await;
    let lost = lost();
    assert!(lost > 0, "all ended before the silence");

    // Paused, so that they can be looked at before they run again.
    execute(pool, "UPDATE job SET b_paused = true").await;
    sandbox.cuebot().answer_again();
    let given_back = "frame WHERE str_state = 'WAITING' AND int_exit_status = 301 AND int_retries = 0
        AND str_checkpoint_state = 'DISABLED'";
    until_counted(&sandbox, given_back, i64::try_from(lost).unwrap()).await;
    assert_eq!(count(pool, "proc").await, 1);
    assert_eq!(fleet.counts().killed, 0);
    assert_eq!(sandbox.audit().await.unwrap().violations, []);

    execute(pool, "UPDATE job SET b_paused = false").await;
    until(&sandbox, |progress| progress.done == 6).await;
    let mut launches: BTreeMap<_, usize> = BTreeMap::new();
    for launch in sandbox.launches() {
        *launches.entry(launch.frame).or_default() += 1;
    }
    // Those that ended unheard twice, the others and the long one once.
    assert_eq!(launches.values().filter(|launches| **launches == 2).count(), lost);
    assert_eq!(launches.values().sum::<usize>(), 7 + lost);
    assert_eq!((fleet.counts().killed, sandbox.cuebot().counts().superseded), (0, 0));
    assert_eq!(sandbox.audit().await.unwrap().double_launches, 0);
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_that_cuebot_moved_to_another_frame_is_given_back_too() {
    // Both generations that feed the next frame to a proc of ours.
    tokio::join!(moved_bookings_are_given_back(Generation::G0), moved_bookings_are_given_back(Generation::G1));
}

async fn moved_bookings_are_given_back(generation: Generation) {
    let database = database(generation).await;
    let options = forgetful(generation, FarmSpec::simple(24).command("sleep 0.7"));
    let cuebot = CuebotOptions { next_frames: NextFrames::SameJob, ..options.cuebot.clone() };
    let sandbox = farm(database.connect_settings().await, SandboxOptions { cuebot, ..options }).await;
    let fleet = sandbox.fleet().unwrap();
    let scheduler = Scheduler::start(&sandbox, attentive()).await;
    until(&sandbox, |_| sandbox.cuebot().counts().next_frames >= 8 && fleet.counts().running > 0).await;
    sandbox.cuebot().fall_silent();
    until(&sandbox, |_| is_silence_told(&scheduler) && fleet.counts().running == 0).await;
    let moved = count(sandbox.pool(), "proc WHERE pk_frame IS NOT NULL AND ts_dispatched > ts_booked").await;
    assert!(moved > 0, "no booking was moved");
    sandbox.cuebot().answer_again();
    assert_all_done(&sandbox).await;
    assert_eq!(sandbox.cuebot().counts().frames_succeeded, 24);
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn once_silence_is_seen_nothing_is_launched_and_the_first_report_of_any_host_ends_it() {
    let database = database(Generation::G5).await;
    let spec = FarmSpec::simple(100).command("sleep 3600").hosts(2);
    let spec = spec.each_host_class(|class| class.total.cores = Cores::whole(50));
    // Four launches to a host at once; the others wait for their turn.
    let faults = Faults { delay_answer: 1.0, answer_delay: Duration::from_millis(1_200), ..Faults::default() };
    let sandbox =
        farm(database.connect_settings().await, SandboxOptions { faults, ..forgetful(Generation::G5, spec) }).await;
    let settings = Settings { launch_deadline: LIMIT, ..attentive() };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    until(&sandbox, |_| !sandbox.launches().is_empty()).await;
    sandbox.cuebot().fall_silent();
    let is_settled = || is_silence_told(&scheduler) && scheduler.metric("scheduler_launches_in_flight", "") == 0;
    // What was on the way when silence was seen has arrived.
    until(&sandbox, |progress| is_settled() && progress.running == sandbox.launches().len() as u64).await;
    let launched = sandbox.launches().len();
    assert!(launched < 100, "all was launched before silence was seen");
    let taken_back = scheduler.metric("scheduler_unbooked_total", "cuebot_silent");
    let sent = i64::try_from(launched).unwrap();
    assert!(taken_back > 0, "nothing was booked and unsent");
    assert_eq!(scheduler.totals.reading().booked, u64::try_from(sent + taken_back).unwrap());
    assert_eq!(count(sandbox.pool(), "frame WHERE str_state = 'WAITING'").await, 100 - sent);
    assert_eq!(count(sandbox.pool(), "frame WHERE int_exit_status NOT IN (-1, 299)").await, 0);
    let passes = scheduler.totals.reading().passes;

    // One report is written, as by a Cuebot that is back.
    execute(sandbox.pool(), "UPDATE host_stat SET ts_ping = now() WHERE pk_host = (SELECT min(pk_host) FROM host)")
        .await;
    until(&sandbox, |_| scheduler.totals.reading().passes > passes).await;
    until(&sandbox, |_| is_settled() && sandbox.launches().len() > launched).await;
    assert_eq!(sandbox.launches().iter().filter(|launch| launch.ended_at.is_some()).count(), 0);
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_reports_are_overdue_gets_nothing_new() {
    let database = database(Generation::G5).await;
    let spec = FarmSpec::simple(16).command("sleep 3600").hosts(2);
    // Nobody reports but who is made to.
    let silent = SandboxOptions {
        report_interval: Duration::from_hours(1),
        report_interval_min: None,
        ..forgetful(Generation::G5, spec)
    };
    let sandbox = farm(database.connect_settings().await, silent).await;
    let [overdue, fresh] = &sandbox.seeded().hosts[..] else { panic!("there are two hosts") };
    let reported = async |host: &SeededHost, ago: &str| {
        let sql = format!("UPDATE host_stat SET ts_ping = now() - interval '{ago}' WHERE pk_host = '{}'", host.id);
        execute(sandbox.pool(), &sql).await;
    };
    reported(overdue, "36 s").await;
    reported(fresh, "0 s").await;
    let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
    until(&sandbox, |_| sandbox.launches().len() == 8).await;
    let passes = scheduler.totals.reading().passes;
    until(&sandbox, |_| scheduler.totals.reading().passes > passes + 1).await;
    assert!(sandbox.launches().iter().all(|launch| launch.host == fresh.name));
    assert_eq!((sandbox.launches().len(), is_silence_told(&scheduler)), (8, false));
    reported(overdue, "0 s").await;
    until(&sandbox, |_| sandbox.launches().len() == 16).await;
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_that_were_lost_with_the_database_are_missed_too() {
    let server = PostgresServer::start(&PostgresOptions::default()).await.unwrap();
    server.create_database("farm", None).await.unwrap();
    let mut connection = sqlx::PgConnection::connect_with(&server.connect_options("farm")).await.unwrap();
    schema::create(&mut connection, Generation::G5).await.unwrap();
    connection.close().await.unwrap();
    // As when Cuebot could not write them; its reports go on.
    let faults = Faults { lose_completion: 1.0, ..Faults::default() };
    let options = SandboxOptions { faults, ..forgetful(Generation::G5, FarmSpec::simple(4)) };
    let sandbox = farm(server.connect_settings("farm"), options).await;
    let fleet = sandbox.fleet().unwrap();
    // Late reports shall not be taken for a silence of Cuebot.
    let scheduler = Scheduler::start(&sandbox, Settings { cuebot_silence: CuebotSilence::Off, ..attentive() }).await;
    until(&sandbox, |_| fleet.counts().completions_lost == 4).await;
    // Nothing explains it, so it is left to Cuebot.
    let passes = scheduler.totals.reading().passes;
    until(&sandbox, |_| scheduler.totals.reading().passes > passes + 2).await;
    assert_eq!(count(sandbox.pool(), "proc").await, 4);
    fleet.set_faults(Faults::default());
    server.restart(RestartMode::Fast).await.unwrap();
    assert_all_done(&sandbox).await;
    assert_eq!(sandbox.launches().len(), 8);
    scheduler.stop().await;
    sandbox.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_silent_is_told_from_what_is_an_artists_or_may_yet_be_heard() {
    let database = database(Generation::G0).await;
    let pool = database.pool();
    let seeded = seed(&pool, &FarmSpec::simple(9).hosts(9)).await.unwrap();
    let store = database.patient_store().await;
    let booked = book_all(&store, &requests(&store, &seeded, 9).await).await.booked;
    let shows = [seeded.shows[0].id.clone()];
    // All were seen a minute ago; the silence ended half a minute ago and most hosts have reported since.
    execute(
        &pool,
        "UPDATE proc SET ts_ping = now() - interval '60 s', ts_dispatched = now() - interval '90 s',
             ts_booked = now() - interval '90 s';
         UPDATE host_stat SET ts_ping = now() - interval '10 s'",
    )
    .await;
    let changes = [
        ("silent", ""),
        ("moved", "UPDATE proc SET ts_dispatched = now() - interval '80 s' WHERE pk_proc = "),
        ("seen since", "UPDATE proc SET ts_ping = now() - interval '20 s' WHERE pk_proc = "),
        ("an artist's", "UPDATE proc SET b_local = true, ts_ping = now() - interval '400 s' WHERE pk_proc = "),
        ("frameless", "UPDATE proc SET pk_frame = NULL WHERE pk_proc = "),
        ("long frameless", "UPDATE proc SET pk_frame = NULL, ts_ping = now() - interval '331 s' WHERE pk_proc = "),
        ("long silent", "UPDATE proc SET ts_ping = now() - interval '331 s' WHERE pk_proc = "),
        (
            "on a host that has not reported since",
            "UPDATE host_stat SET ts_ping = now() - interval '40 s' FROM proc
             WHERE proc.pk_host = host_stat.pk_host AND pk_proc = ",
        ),
        (
            "on a host that was silent for longer",
            "UPDATE host_stat SET ts_ping = now() - interval '400 s' FROM proc
             WHERE proc.pk_host = host_stat.pk_host AND pk_proc = ",
        ),
    ];
    for (booked, (_, change)) in booked.iter().zip(changes) {
        if !change.is_empty() {
            execute(&pool, &format!("{change}'{}'", booked.proc)).await;
        }
    }
    let ago = |seconds| time::OffsetDateTime::now_utc() - time::Duration::seconds(seconds);
    let found = async |farm, hosts| {
        let silences = SilenceEnds { farm, hosts };
        let found = find_silent(&store, &shows, &silences).await.unwrap();
        let name = |silent: &SilentBooking| {
            let at = booked.iter().position(|booked| booked.proc == silent.booked.proc).unwrap();
            assert_eq!(silent.has_frame, !changes[at].0.contains("frameless"));
            changes[at].0
        };
        let mut names: Vec<&str> = found.iter().map(name).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(found(None, Vec::new()).await, ["long frameless", "long silent"]);
    assert_eq!(found(Some(ago(30)), Vec::new()).await, ["long frameless", "long silent", "moved", "silent"]);
    let host = booked[0].host.clone();
    assert_eq!(found(None, vec![(host.clone(), ago(30))]).await, ["long frameless", "long silent", "silent"]);
    // The host has not reported since then.
    assert_eq!(found(None, vec![(host, ago(5))]).await, ["long frameless", "long silent"]);
    // The report that ends a silence is one since.
    let last = "SELECT max(ts_ping) FROM host_stat";
    let last: time::OffsetDateTime = sqlx::query_scalar(last).fetch_one(&pool).await.unwrap();
    assert_eq!(found(Some(last), Vec::new()).await, ["long frameless", "long silent", "moved", "seen since", "silent"]);

    // One of them was seen alive after the middle one of these times, and none after the last.
    let survive = async |seconds| store.ended_frames(&shows, ago(seconds)).await.unwrap().has_survivors;
    assert_eq!([survive(70).await, survive(30).await, survive(10).await], [true, true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn procs_without_a_frame_are_given_back_after_long_and_an_artists_never() {
    let database = database(Generation::G5).await;
    let sandbox =
        farm(database.connect_settings().await, forgetful(Generation::G5, FarmSpec::simple(4).command("sleep 3600")))
            .await;
    let (pool, store) = (sandbox.pool(), database.patient_store().await);
    let booked = book_all(&store, &requests(&store, sandbox.seeded(), 4).await).await.booked;
    let [old, young, local, running] = &booked[..] else { panic!("four are booked") };
    // Reported once, long ago.
    execute(
        pool,
        &format!(
            "UPDATE proc SET ts_booked = now() - interval '1000 s', ts_dispatched = now() - interval '1000 s',
                 ts_ping = now() - interval '331 s';
             UPDATE frame SET str_state = 'SUCCEEDED' WHERE pk_frame IN ('{}', '{}');
             UPDATE proc SET pk_frame = NULL WHERE pk_proc IN ('{}', '{}');
             UPDATE proc SET ts_ping = now() - interval '200 s' WHERE pk_proc = '{}';
             UPDATE proc SET b_local = true WHERE pk_proc = '{}'",
            old.frame, young.frame, old.proc, young.proc, young.proc, local.proc
        ),
    )
    .await;
    let scheduler = Scheduler::start(&sandbox, Settings { cuebot_silence: CuebotSilence::Off, ..attentive() }).await;
    let given_back = |proc| format!("proc WHERE pk_proc = '{proc}'");
    until_counted(&sandbox, &given_back(&old.proc), 0).await;
    until_counted(&sandbox, &given_back(&running.proc), 0).await;
    // Its frame runs now, for a booking of its own.
    until(&sandbox, |_| sandbox.launches().len() == 1).await;
    assert_eq!(sandbox.launches()[0].frame, running.frame);
    let stands = format!("proc WHERE pk_proc IN ('{}', '{}')", young.proc, local.proc);
    assert_eq!(count(pool, &stands).await, 2);
    assert_eq!(sandbox.fleet().unwrap().counts().killed, 0);
    scheduler.stop().await;
    sandbox.stop().await;
}
