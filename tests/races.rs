//! Our transactions beside everything that a Cuebot, its operators and its sweeps write at the same moment.
//!
//! A round is a small farm, a seed, and many who act at once: schedulers of ours that book, launch, take
//! back, give back and repair, and sessions that replay a Cuebot's statements in a Cuebot's own
//! transaction boundaries. Who acts how is drawn from the seed; how the acts fall together is the
//! machine's doing. Afterwards everybody ends what is under way, and the books must balance.
//!
//! The short form asserts order and counts. The full form, by option, prints what an hour comes to and how
//! long statements of Cuebot's waited for us, which shall be less than half a second; see the README.

mod cuebot;
mod ground;
mod ours;
mod service;
mod watcher;
mod witness;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cue_scheduler::db::Store;
use cue_scheduler::farm::audit::{AuditReport, AuditRule, audit_rows};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, ShowSpec, seed};
use cue_scheduler::units::{Cores, Kib};
use futures::StreamExt as _;
use futures::stream;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::cuebot::{Act, Session};
use self::ground::{Ground, Tally};
use self::ours::{Repairer, Scheduler};
use crate::support::database;

/// Acts of everybody in a round.
const ACTS: u32 = 40;
const SERVICE_ACTS: u32 = 40;
/// In the short form. Most of a round is waiting, for each other and for pauses.
const ROUNDS_AT_ONCE: usize = 2;
/// In the long form every so many rounds is one of the whole service.
const ROUNDS_PER_SERVICE: u64 = 8;
const REST_MAX: Duration = Duration::from_millis(4);
const COMPLETIONS_REST_MAX: Duration = Duration::from_millis(60);
const GENERATIONS: [Generation; 5] = [Generation::G0, Generation::G1, Generation::G2, Generation::G3, Generation::G5];
/// For what ends by itself. A bound and no measure.
const END_LIMIT: Duration = Duration::from_secs(120);
/// Of the sessions of our transactions.
const OUR_NAME: &str = "cue-scheduler races";
/// Looks of the repair after a round before its books count as wrong.
const LOOKS_MAX: u32 = 200;

/// Two shows of ours and one that Cuebot has kept. Every other farm is short of what caps allow, and the
/// rest of hosts.
fn crowded(number: u64) -> FarmSpec {
    let is_short_of_hosts = number.is_multiple_of(2);
    let cores = |short: i64| Cores::whole(if is_short_of_hosts { 40 } else { short });
    let layers = |job: JobSpec, frames: u32| {
        job.layer(LayerSpec::new("a").frames(frames).limit("licence"))
            .layer(LayerSpec::new("b").frames(frames).cores(Cores(50)).single_threaded())
            .layer(LayerSpec::new("c").frames(frames).cores(Cores::whole(2)).memory(Kib::gib(3)))
    };
    let folder = |name: &str, dept: &str| {
        let sim = LayerSpec::new("sim").frames(12).gpus(1, Kib::gib(1)).tags("gpu").limit("seats");
        FolderSpec::new(name)
            .dept(dept)
            .cores_max(cores(9))
            .job(layers(JobSpec::new(&format!("{name}1")).cores_max(cores(5)), 12))
            .job(layers(JobSpec::new(&format!("{name}2")), 12).layer(sim))
    };
    let show = |name: &str| {
        ShowSpec::new(name).subscription("general", Cores::whole(10), Cores::whole(14)).subscription(
            "gpu",
            Cores::whole(4),
            Cores::whole(6),
        )
    };
    FarmSpec::empty()
        .alloc("general", "general")
        .alloc("gpu", "gpu")
        .limit("licence", if is_short_of_hosts { 40 } else { 3 })
        .host_limit("seats", 1)
        .host_class(HostClass::new("big", if is_short_of_hosts { 1 } else { 3 }).memory(Kib::gib(9)))
        .host_class(HostClass::new("small", 3).cores(Cores::whole(2)).memory(Kib::gib(4)))
        .host_class(HostClass::new("gpu", 1).alloc("gpu").gpus(2, Kib::gib(8)))
        .show(show("one").folder(folder("x", "fx")).folder(folder("y", "light")))
        .show(show("two").folder(folder("x", "fx")).folder(folder("y", "light")))
        .show(show("legacy").folder(FolderSpec::new("z").job(layers(JobSpec::new("z1"), 20))))
}

fn generation_of(number: u64) -> Generation {
    GENERATIONS[usize::try_from(number % GENERATIONS.len() as u64).unwrap()]
}

/// A round. What it must not show is in the tally.
async fn round(number: u64, acts: u32) -> (Arc<Ground>, Tally) {
    let generation = generation_of(number);
    let database = database(generation).await;
    let pool = database.pool();
    let seeded = seed(&pool, &crowded(number)).await.unwrap();
    if generation >= Generation::G2 {
        let keep = "UPDATE show SET b_scheduler_managed = false WHERE str_name = 'legacy'";
        sqlx::query(keep).execute(&pool).await.unwrap();
    }
    witness::appoint(&pool, generation).await;
    if number.is_multiple_of(3) {
        witness::slow_us_down(&pool).await;
    }
    sqlx::query("ANALYZE").execute(&pool).await.unwrap();
    let ground = Arc::new(Ground::new(number, generation));
    let options = database.connect_options();
    let store = Store::connect_with(options.clone().application_name(OUR_NAME), 12).await.unwrap();

    let stop_watching = CancellationToken::new();
    let watching = tokio::spawn(watcher::watch(options.clone(), Arc::clone(&ground), stop_watching.clone()));
    let stop = CancellationToken::new();
    let repairing = tokio::spawn(Repairer::new(&store, &ground, &seeded).await.repair(stop.clone()));
    let silent = Scheduler::new(&store, &ground, &seeded, "silent", 90).await;
    let giving_back = tokio::spawn(silent.give_back_silent(stop.clone()));

    let mut acting = JoinSet::new();
    for scheduler in 0..3 {
        acting.spawn(Scheduler::new(&store, &ground, &seeded, "scheduler", scheduler).await.book(acts));
    }
    let sessions = [
        ("completions", cuebot::COMPLETIONS, 3),
        ("operator", cuebot::OPERATORS, 3),
        ("hosts", cuebot::HOSTS, 2),
        ("sweeps", cuebot::SWEEPS, 1),
        ("booker", cuebot::BOOKINGS, 1),
    ];
    let mut session_number = 10;
    for (name, kinds, many) in sessions {
        for _ in 0..many {
            session_number += 1;
            let session = Session::open(&options, &ground, name, session_number).await;
            // Runs end while others begin.
            let rest_max = if name == "completions" { COMPLETIONS_REST_MAX } else { REST_MAX };
            acting.spawn(session.resting(rest_max).play(kinds, acts));
        }
    }
    while let Some(ended) = acting.join_next().await {
        if let Err(error) = ended {
            ground.fault(format!("somebody stumbled: {error}"));
        }
    }
    stop.cancel();
    giving_back.await.unwrap();
    let repairer = repairing.await.unwrap();
    quiesce(&pool, &ground, repairer, &options).await;
    stop_watching.cancel();
    watching.await.unwrap();
    witness::hear(&pool, &ground).await;
    store.close().await;
    count_our_deadlocks(&pool, &ground).await;
    let tally = ground.tallied();
    (ground, tally)
}

/// Ends what is under way, repairs for as long as a repair finds something, and audits.
async fn quiesce(
    pool: &PgPool,
    ground: &Arc<Ground>,
    mut repairer: Repairer,
    options: &sqlx::postgres::PgConnectOptions,
) {
    let mut cuebot = Session::open(options, ground, "settling", 99).await;
    cuebot.settle().await;
    // Caps were judged at every commit; lowered below use or passed by a move, they say nothing here.
    let report = |report: AuditReport| -> Vec<_> {
        report.violations.into_iter().filter(|violation| !violation.rule.is_cap()).collect()
    };
    let mut violations = report(audit_rows(pool).await.unwrap());
    for _ in 0..LOOKS_MAX {
        if violations.is_empty() {
            break;
        }
        repairer.look().await;
        cuebot.settle().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        violations = report(audit_rows(pool).await.unwrap());
    }
    cuebot.close().await;
    for violation in violations {
        let is_double = matches!(violation.rule, AuditRule::DoubleLaunch | AuditRule::SeveralProcs);
        ground.tally(|tally| *if is_double { &mut tally.doubles } else { &mut tally.lost } += 1);
        ground.fault(format!("the audit: {violation:?}"));
    }
}

/// Of those that the server has ended, the ones that no session of Cuebot's was told of. We give way before
/// the server looks, so there is none.
async fn count_our_deadlocks(pool: &PgPool, ground: &Ground) {
    let began = Instant::now();
    let open = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND (application_name = '{OUR_NAME}' OR application_name LIKE 'cuebot%')"
    );
    // What a session has counted is known for certain once it is gone.
    while sqlx::query_scalar::<_, i64>(AssertSqlSafe(open.as_str())).fetch_one(pool).await.unwrap() > 0 {
        assert!(began.elapsed() < END_LIMIT, "sessions that were closed are still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let all = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let all: i64 = sqlx::query_scalar(all).fetch_one(pool).await.unwrap();
    let tally = ground.tallied();
    let ours = u64::try_from(all).unwrap() - tally.deadlocks - tally.own_deadlocks;
    ground.tally(|tally| tally.our_deadlocks = ours);
    if ours > 0 {
        ground.fault(format!("the server ended {ours} statements of ours because of deadlocks"));
    }
}

/// Panics with what a round has shown that it must not, and with all that happened before.
fn assert_sound(number: u64, ground: &Ground, tally: &Tally) {
    assert!(
        tally.faults.is_empty(),
        "{}\n\nround {number} ({}), run it again with RACES_SEED={number}:\n{tally}\n\n{}",
        ground.sequence(),
        ground.generation,
        tally.faults.join("\n"),
    );
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|number| number.parse().unwrap())
}

/// These rounds, or the one of `RACES_SEED` as often: what falls together is another thing each time.
fn numbers(defaults: std::ops::Range<u64>) -> Vec<u64> {
    let many = number_of("RACES_ROUNDS").unwrap_or(defaults.end - defaults.start);
    let number = |position| number_of("RACES_SEED").unwrap_or(defaults.start + position);
    (0..many).map(number).collect()
}

/// Some rounds at a time.
async fn several(numbers: &[u64], round: impl AsyncFn(u64) -> (Arc<Ground>, Tally)) -> Tally {
    let mut all = Tally::default();
    let rounds = stream::iter(numbers).map(async |number| (*number, round(*number).await));
    let mut rounds = pin!(rounds.buffer_unordered(ROUNDS_AT_ONCE));
    while let Some((number, (ground, tally))) = rounds.next().await {
        assert_sound(number, &ground, &tally);
        all.add(&tally);
    }
    println!("rounds {numbers:?}\n{all}");
    all
}

fn assert_everybody_acted(all: &Tally, kinds: &[&[(Act, u32)]]) {
    for (act, _) in kinds.iter().copied().flatten() {
        assert!(all.acts.contains_key(act.name()), "nobody did {act:?}: {all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_twice_gets_lost_or_passes_a_cap_whatever_cuebot_writes_meanwhile() {
    let all = several(&numbers(0..6), async |number| round(number, ACTS).await).await;
    assert!(all.bookings > 0 && all.take_backs > 0 && all.repairs > 0, "nothing was raced for: {all}");
    let kinds = [cuebot::COMPLETIONS, cuebot::OPERATORS, cuebot::HOSTS, cuebot::SWEEPS, cuebot::BOOKINGS];
    assert_everybody_acted(&all, &kinds);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_runs_nothing_twice_and_loses_nothing_whatever_operators_do_meanwhile() {
    let all = several(&numbers(9..11), async |number| service::round(number, SERVICE_ACTS).await).await;
    assert!(all.launches > 0, "nothing was raced for: {all}");
    assert_everybody_acted(&all, &[cuebot::OPERATORS_WITH_AGENTS, cuebot::HOSTS_WITH_AGENTS, cuebot::SWEEPS]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the full form of the races: an hour, or as many seconds as RACES_SECONDS says"]
async fn an_hour_of_races() {
    let seed = number_of("RACES_SEED").unwrap_or(1_000);
    let until = Instant::now() + Duration::from_secs(number_of("RACES_SECONDS").unwrap_or(3_600));
    let mut all = Tally::default();
    let mut number = seed;
    while Instant::now() < until {
        let of_the_service = (number - seed) % ROUNDS_PER_SERVICE == ROUNDS_PER_SERVICE - 1;
        let (ground, tally) =
            if of_the_service { service::round(number, SERVICE_ACTS).await } else { round(number, ACTS).await };
        assert_sound(number, &ground, &tally);
        all.add(&tally);
        number += 1;
        if (number - seed).is_multiple_of(50) {
            println!("{} rounds from seed {seed}\n{all}\n", number - seed);
        }
    }
    println!("{} rounds from seed {seed}\n{all}", number - seed);
}
