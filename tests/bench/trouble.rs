//! What trouble costs: a row that a forgotten session holds, frames that one holds for a while, and the
//! sudden death of the scheduler. `make bench ARGS=--trouble`.

use std::time::{Duration, Instant};

use cue_scheduler::farm::fleet::{Faults, RunTime};
use cue_scheduler::farm::postgres::{PostgresOptions, PostgresServer};
use cue_scheduler::farm::progress::Unwatched;
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::Generation;
use sqlx::PgPool;

use crate::beside::Daemon;
use crate::{LIMIT, Program, ROUNDS, copy, farm_of, make_template, median};

const HOSTS: usize = 40;
const CORES: usize = 8;
/// What the hosts take at once.
const FRAMES: u32 = 320;

pub(crate) async fn measure() {
    let server = PostgresServer::start(&PostgresOptions::default()).await.expect("PostgreSQL starts");
    make_template(&server).await;
    let (mut without, mut with, mut frames, mut settled) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        without.push(filled(&server, &format!("free{round}"), false).await);
        with.push(filled(&server, &format!("held{round}"), true).await);
        frames.push(first_start(&server, &format!("frames{round}")).await);
        settled.push(settled_after_death(&server, &format!("killed{round}")).await);
    }
    server.stop().await;
    println!("a farm of {HOSTS} hosts and more work than it takes; medians of {ROUNDS}");
    println!("  s until {} other hosts are full                      {:.2}", HOSTS - 1, median(without));
    println!("  the same, one host's row held all the while         {:.2}", median(with));
    println!("  s from the end of a hold of all frames to a start   {:.2}", median(frames));
    println!("  s from kill -9 and start until what was booked and not launched is settled   {:.2}", median(settled));
}

async fn farm(server: &PostgresServer, name: &str, faults: Faults) -> Sandbox {
    let options = SandboxOptions {
        generation: Generation::G5,
        run_time: RunTime::Fixed(Duration::from_mins(5)),
        report_interval: Duration::from_secs(5),
        faults,
        ..SandboxOptions::new(farm_of(HOSTS, FRAMES * 4))
    };
    Sandbox::start(copy(server, name).await, options, &Unwatched).await.expect("the farm comes up")
}

fn start(sandbox: &Sandbox) -> Daemon {
    Daemon::start(&Program::this(), sandbox)
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> f64 {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed().as_secs_f64()
}

async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.expect("it answers")
}

/// Seconds until all hosts but the first are full.
async fn filled(server: &PostgresServer, name: &str, is_held: bool) -> f64 {
    let sandbox = farm(server, name, Faults::default()).await;
    let mut session = sandbox.pool().begin().await.expect("a transaction begins");
    if is_held {
        let hold = "SELECT FROM host WHERE pk_host = (SELECT min(pk_host) FROM host) FOR UPDATE";
        sqlx::query(hold).execute(&mut *session).await.expect("it is held");
    }
    let daemon = start(&sandbox);
    let full = i64::try_from((HOSTS - 1) * CORES).expect("few");
    let on_others = "SELECT count(*) FROM proc WHERE pk_host <> (SELECT min(pk_host) FROM host)";
    let seconds = until("the other hosts are full", async || count(sandbox.pool(), on_others).await >= full).await;
    drop((daemon, session));
    sandbox.stop().await;
    seconds
}

/// Seconds from the end of a hold of some seconds on all frames until the first starts.
async fn first_start(server: &PostgresServer, name: &str) -> f64 {
    let sandbox = farm(server, name, Faults::default()).await;
    let mut session = sandbox.pool().begin().await.expect("a transaction begins");
    sqlx::query("SELECT FROM frame FOR UPDATE").execute(&mut *session).await.expect("they are held");
    let daemon = start(&sandbox);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(sandbox.launches().len(), 0, "a frame that is held was launched");
    session.rollback().await.expect("it lets go");
    let seconds = until("a frame starts", async || !sandbox.launches().is_empty()).await;
    drop(daemon);
    sandbox.stop().await;
    seconds
}

/// Seconds from the start of a new scheduler until every proc of the one that was killed is either run by
/// its host or given back.
async fn settled_after_death(server: &PostgresServer, name: &str) -> f64 {
    let faults = Faults { delay_answer: 1.0, answer_delay: Duration::from_millis(400), ..Faults::default() };
    let sandbox = farm(server, name, faults).await;
    let daemon = start(&sandbox);
    let procs = "SELECT count(*) FROM proc";
    let full = i64::from(FRAMES);
    until("all is booked", async || count(sandbox.pool(), procs).await >= full).await;
    drop(daemon);
    let launched: Vec<String> = sandbox.launches().iter().map(|launch| launch.resource.to_string()).collect();
    let unlaunched: Vec<String> = sqlx::query_scalar("SELECT pk_proc FROM proc WHERE pk_proc <> ALL ($1)")
        .bind(&launched)
        .fetch_all(sandbox.pool())
        .await
        .expect("it answers");
    println!("  killed with {} of {full} bookings not launched", unlaunched.len());
    let daemon = start(&sandbox);
    let seconds = until("what was not launched is settled", async || {
        let launched: Vec<String> = sandbox.launches().iter().map(|launch| launch.resource.to_string()).collect();
        let left: i64 =
            sqlx::query_scalar("SELECT count(*) FROM proc WHERE pk_proc = ANY ($1) AND pk_proc <> ALL ($2)")
                .bind(&unlaunched)
                .bind(&launched)
                .fetch_one(sandbox.pool())
                .await
                .expect("it answers");
        left == 0
    })
    .await;
    drop(daemon);
    sandbox.stop().await;
    seconds
}
