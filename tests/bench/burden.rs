//! What others cost that are none of the scheduler's: hosts that take calls and never answer, `make bench
//! ARGS=--mute`, and strangers on the metrics port, `make bench ARGS=--strangers`. In turn with and without.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use cue_scheduler::farm::fleet::RunTime;
use cue_scheduler::farm::postgres::{PostgresOptions, PostgresServer};
use cue_scheduler::farm::progress::Unwatched;
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::Generation;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::beside::Daemon;
use crate::{LIMIT, Program, ROUNDS, copy, farm_of, make_template, median};

const ANSWERING: usize = 120;
const MUTE: usize = 80;
/// More than the hosts take within the time.
const FRAMES: u32 = 30_000;
/// What is launched until the clock is stopped.
const LAUNCHED: usize = 6_000;
const CONNECTIONS: usize = 500;
const REQUESTS_PER_SECOND: u32 = 2_000;
/// Requests of one round of the clock.
const ROUND: u32 = 20;

async fn farm(server: &PostgresServer, name: &str, hosts: usize) -> Sandbox {
    let options = SandboxOptions {
        generation: Generation::G5,
        run_time: RunTime::Fixed(Duration::from_millis(500)),
        report_interval: Duration::from_secs(5),
        ..SandboxOptions::new(farm_of(hosts, FRAMES))
    };
    Sandbox::start(copy(server, name).await, options, &Unwatched).await.expect("the farm comes up")
}

/// Frames per second from the first launch on.
async fn rate(sandbox: &Sandbox) -> f64 {
    let launched = async |frames: usize| {
        let began = Instant::now();
        while sandbox.launches().len() < frames {
            assert!(began.elapsed() < LIMIT, "{} launched within {LIMIT:?}", sandbox.launches().len());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    launched(1).await;
    let began = Instant::now();
    launched(LAUNCHED).await;
    #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
    let frames = LAUNCHED as f64;
    frames / began.elapsed().as_secs_f64()
}

fn program() -> Program<'static> {
    Program { path: Path::new(env!("CARGO_BIN_EXE_cue-scheduler")), keys: &[] }
}

pub(crate) async fn mute() {
    let mut rates = [Vec::new(), Vec::new()];
    let server = PostgresServer::start(&PostgresOptions::default()).await.expect("PostgreSQL starts");
    make_template(&server).await;
    for round in 0..ROUNDS {
        for (number, mute) in [0, MUTE].into_iter().enumerate() {
            let sandbox = farm(&server, &format!("mute{round}{number}"), ANSWERING + mute).await;
            for host in &sandbox.seeded().hosts[..mute] {
                sandbox.fleet().expect("it has hosts").mute_host(&host.name).expect("it has this one");
            }
            let daemon = Daemon::start(&program(), &sandbox);
            rates[number].push(rate(&sandbox).await);
            drop(daemon);
            sandbox.stop().await;
        }
    }
    server.stop().await;
    tell(&format!("{ANSWERING} hosts"), &format!("with {MUTE} mute ones beside them"), rates);
}

pub(crate) async fn strangers() {
    let mut rates = [Vec::new(), Vec::new()];
    let server = PostgresServer::start(&PostgresOptions::default()).await.expect("PostgreSQL starts");
    make_template(&server).await;
    for round in 0..ROUNDS {
        for (number, are_there) in [false, true].into_iter().enumerate() {
            let sandbox = farm(&server, &format!("strangers{round}{number}"), ANSWERING).await;
            let vacant = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
            let port = vacant.local_addr().expect("it has one").port();
            drop(vacant);
            let daemon = Daemon::start_telling(&program(), &sandbox, port);
            let strangers = are_there.then(|| tokio::spawn(burden(port)));
            rates[number].push(rate(&sandbox).await);
            if let Some(strangers) = strangers {
                strangers.abort();
            }
            drop(daemon);
            sandbox.stop().await;
        }
    }
    server.stop().await;
    let beside = format!("beside {CONNECTIONS} idle connections and {REQUESTS_PER_SECOND} requests/s");
    tell("nobody on the metrics port", &beside, rates);
}

/// Idle connections that are made again when they are closed, and requests at a steady pace.
async fn burden(port: u16) {
    let mut strangers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        strangers.spawn(async move {
            loop {
                if let Ok(mut idle) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                    let _ = idle.read(&mut [0; 1]).await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    let mut clock = tokio::time::interval(Duration::from_secs(1) * ROUND / REQUESTS_PER_SECOND);
    let mut requests = JoinSet::new();
    loop {
        clock.tick().await;
        while requests.try_join_next().is_some() {}
        for _ in 0..ROUND {
            requests.spawn(async move {
                let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
                connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: farm\r\nConnection: close\r\n\r\n").await?;
                connection.read_to_end(&mut Vec::new()).await
            });
        }
    }
}

fn tell(without: &str, with: &str, [a, b]: [Vec<f64>; 2]) {
    let (before, after) = (median(a), median(b));
    println!("frames/s from the first launch to number {LAUNCHED}; in turn, medians of {ROUNDS}");
    println!("  {without:<60} {before:>8.0}");
    println!("  {with:<60} {after:>8.0}   {:>4.0} % of that", after / before * 100.0);
}
