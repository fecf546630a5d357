//! This build beside another program of the same command line, as an older build of it: in turn (A B A B),
//! on equal copies of a farm, medians with least and most, and the ratio of the two medians.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cue_scheduler::db::ConnectSettings;
use cue_scheduler::farm::fleet::RunTime;
use cue_scheduler::farm::postgres::{PostgresOptions, PostgresServer};
use cue_scheduler::farm::progress::Unwatched;
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, seed};
use sqlx::PgPool;

use crate::{
    FRAMES, HOSTS, LIMIT, Program, copy, database_variables, make_template, median, preview, spec, turning_over,
};

/// What this build is told so that it decides as builds before these keys did; they do not know them.
const AS_BEFORE: [(&str, &str); 4] = [
    ("OPENSCHEDULER_QUEUE__HOST_LOAD", "off"),
    ("OPENSCHEDULER_QUEUE__GPU_KEEP", "cuebot"),
    ("OPENSCHEDULER_QUEUE__RETRY_ELSEWHERE", "0"),
    ("OPENSCHEDULER_QUEUE__REST_FAILING_HOSTS", "false"),
];

const ROUNDS: usize = 5;
/// Of the farm whose frames turn over, once it is full.
const WARM_UP: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(15);

/// What is measured of a program, the less the better.
#[derive(Debug, Default)]
struct Samples {
    booking_seconds: Vec<f64>,
    milliseconds_per_frame: Vec<f64>,
    processor_milliseconds_per_frame: Vec<f64>,
    commits_per_frame: Vec<f64>,
    plan_seconds: Vec<f64>,
    plan_mebibytes: Vec<f64>,
}

/// `other` is the program to compare with, `only` a word of the measurements to take, all without.
pub(crate) async fn compare(other: &OsString, only: Option<&str>) {
    let other = std::fs::canonicalize(other).unwrap_or_else(|error| panic!("{}: {error}", other.display()));
    let this = Path::new(env!("CARGO_BIN_EXE_cue-scheduler"));
    let server = PostgresServer::start(&PostgresOptions::default()).await.expect("PostgreSQL starts");
    make_template(&server).await;
    let farm = copy(&server, "plan").await;
    let pool = PgPool::connect_with(farm.connect_options()).await.expect("it answers");
    seed(&pool, &FarmSpec::demo(10_000, 1_740, 60_000, 7)).await.expect("the farm can be seeded");
    sqlx::raw_sql("VACUUM ANALYZE").execute(&pool).await.expect("it can be analysed");
    pool.close().await;

    let takes = |what: &str| only.is_none_or(|only| only == what);
    let mut samples = [Samples::default(), Samples::default()];
    for round in 0..ROUNDS {
        let programs = [Program { path: &other, keys: &[] }, Program { path: this, keys: &AS_BEFORE }];
        for (number, program) in programs.into_iter().enumerate() {
            let samples = &mut samples[number];
            if takes("start") {
                let database = copy(&server, &format!("book{round}{number}")).await;
                samples.booking_seconds.push(booking(&program, &database).await);
            }
            if takes("full") {
                let database = copy(&server, &format!("turn{round}{number}")).await;
                let turned = turnover(&program, &database).await;
                samples.milliseconds_per_frame.push(turned.milliseconds);
                samples.processor_milliseconds_per_frame.push(turned.processor_milliseconds);
                samples.commits_per_frame.push(turned.commits);
            }
            if takes("plan") {
                // Nobody reports on this farm, and hosts that are overdue are planned for nothing.
                let pool = PgPool::connect_with(farm.connect_options()).await.expect("it answers");
                sqlx::query("UPDATE host_stat SET ts_ping = current_timestamp")
                    .execute(&pool)
                    .await
                    .expect("it is done");
                pool.close().await;
                let (seconds, mebibytes) = preview(&program, &farm, &["plan", "--summary"]);
                samples.plan_seconds.push(seconds);
                samples.plan_mebibytes.push(mebibytes);
            }
        }
    }
    server.stop().await;

    println!("A {}, B this build; in turn, medians of {ROUNDS} [least, most], and B as a part of A", other.display());
    let [other, this] = &samples;
    let line = |name: &str, of: fn(&Samples) -> &Vec<f64>| {
        let (a, b) = (of(other), of(this));
        if a.is_empty() {
            return;
        }
        println!("  {name:<52} A {}   B {}   {:>6.3}", spread(a), spread(b), median(b.clone()) / median(a.clone()));
    };
    line(&format!("s to start and launch {FRAMES} frames on {HOSTS} hosts"), |samples| &samples.booking_seconds);
    line("ms a frame, on a full farm of frames of a second", |samples| &samples.milliseconds_per_frame);
    line("ms of processor a frame, on the same", |samples| &samples.processor_milliseconds_per_frame);
    line("commits of all a frame, on the same", |samples| &samples.commits_per_frame);
    line("s of plan --summary, 10,000 hosts", |samples| &samples.plan_seconds);
    line("MiB of the same", |samples| &samples.plan_mebibytes);
}

fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:>8.3} [{least:.3}, {most:.3}]", median(values.to_vec()))
}

async fn farm(database: &ConnectSettings, spec: FarmSpec, run_time: Duration) -> Sandbox {
    let options = SandboxOptions {
        generation: Generation::G5,
        run_time: RunTime::Fixed(run_time),
        report_interval: Duration::from_secs(60),
        ..SandboxOptions::new(spec)
    };
    Sandbox::start(database.clone(), options, &Unwatched).await.expect("the farm comes up")
}

/// `cue-scheduler run` on the farm's database and agents.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn start(program: &Program<'_>, sandbox: &Sandbox) -> Self {
        Self::start_telling(program, sandbox, 0)
    }

    /// With its metrics at a port; 0 for none.
    pub(crate) fn start_telling(program: &Program<'_>, sandbox: &Sandbox, metrics_port: u16) -> Self {
        let child = Command::new(program.path)
            .arg("run")
            .env_clear()
            .env("HOME", "/nonexistent")
            .envs(database_variables(sandbox.database()))
            .env("OPENSCHEDULER_RQD__GRPC_PORT", sandbox.rqd_port().to_string())
            .env("OPENSCHEDULER_QUEUE__METRICS_PORT", metrics_port.to_string())
            .env("OPENSCHEDULER_LOGGING__LEVEL", "error")
            .envs(program.keys.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.path.display()));
        Self(child)
    }

    /// Ticks of the clock that the kernel counts processor time in, a hundredth of a second.
    fn processor_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it runs");
        // After the name, which may hold spaces, in brackets.
        let fields: Vec<&str> = stat[stat.rfind(')').expect("a name")..].split_whitespace().collect();
        fields[12..14].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _: std::io::Result<()> = self.0.kill();
        let _: std::io::Result<std::process::ExitStatus> = self.0.wait();
    }
}

/// Seconds from the start of the program until the last frame is launched; nothing ends meanwhile.
async fn booking(program: &Program<'_>, database: &ConnectSettings) -> f64 {
    let sandbox = farm(database, spec(), Duration::from_mins(5)).await;
    let began = Instant::now();
    let daemon = Daemon::start(program, &sandbox);
    while sandbox.launches().len() < FRAMES as usize {
        assert!(
            began.elapsed() < LIMIT,
            "{} launched {} within {LIMIT:?}",
            program.path.display(),
            sandbox.launches().len()
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    drop(daemon);
    sandbox.stop().await;
    seconds
}

struct Turned {
    milliseconds: f64,
    processor_milliseconds: f64,
    commits: f64,
}

/// A full farm whose frames take a second.
#[expect(clippy::cast_precision_loss, reason = "ratios for display")]
async fn turnover(program: &Program<'_>, database: &ConnectSettings) -> Turned {
    let sandbox = farm(database, turning_over(), Duration::from_secs(1)).await;
    let daemon = Daemon::start(program, &sandbox);
    tokio::time::sleep(WARM_UP).await;
    let commits = async || -> i64 {
        sqlx::query_scalar("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
            .fetch_one(sandbox.pool())
            .await
            .expect("it answers")
    };
    let (launched, ticks, committed, began) =
        (sandbox.launches().len(), daemon.processor_ticks(), commits().await, Instant::now());
    tokio::time::sleep(WATCHED).await;
    let frames = (sandbox.launches().len() - launched) as f64;
    let turned = Turned {
        milliseconds: began.elapsed().as_secs_f64() * 1_000.0 / frames,
        processor_milliseconds: (daemon.processor_ticks() - ticks) as f64 * 10.0 / frames,
        commits: (commits().await - committed) as f64 / frames,
    };
    drop(daemon);
    sandbox.stop().await;
    turned
}
