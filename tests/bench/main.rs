//! Figures, printed and never asserted: `make bench`.
//!
//! Booking speed beside its floor, measured in the same run on the same server: what one backend needs
//! to set as many frames RUNNING and to insert their procs in two bare statements, triggers on. Nobody
//! who books those rows can be faster with one backend; what a scheduler adds are the guards, the caps,
//! the counters, and the planning.
//!
//! With `--beside PROGRAM` instead: this build beside another, as an older one; `make bench
//! ARGS="--beside PROGRAM"`. After it perhaps one of `start`, `full` and `plan`, for these figures alone.

mod beside;
mod burden;
mod trouble;

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cue_scheduler::db::{ConnectSettings, Store};
use cue_scheduler::farm::fleet::RunTime;
use cue_scheduler::farm::postgres::{Durability, PostgresOptions, PostgresServer};
use cue_scheduler::farm::progress::Unwatched;
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::{self, Generation};
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, ShowSpec, seed};
use cue_scheduler::rqd::{AgentSettings, Agents};
use cue_scheduler::scheduler::{LaunchTargets, Parts, Service, Settings, Totals};
use cue_scheduler::telemetry::{Health, Metrics};
use cue_scheduler::units::{Cores, Kib};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

const FRAMES: u32 = 6_000;
const HOSTS: usize = 1_200;
const JOBS: u32 = 60;
const ROUNDS: usize = 3;
const LIMIT: Duration = Duration::from_secs(120);

fn main() {
    let wanted = Wanted::of_arguments();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    runtime.block_on(async {
        match wanted {
            Wanted::Beside { other, only } => return beside::compare(&other, only.as_deref()).await,
            Wanted::Trouble => return trouble::measure().await,
            Wanted::Mute => return burden::mute().await,
            Wanted::Strangers => return burden::strangers().await,
            Wanted::Speed => {}
        }
        planning().await;
        for durability in [Durability::Fast, Durability::Real] {
            booking(durability).await;
        }
    });
}

enum Wanted {
    Speed,
    Trouble,
    Mute,
    Strangers,
    /// A program to compare with, and which of the figures; all without.
    Beside {
        other: OsString,
        only: Option<String>,
    },
}

impl Wanted {
    fn of_arguments() -> Self {
        // Cargo adds its own.
        let mut arguments = std::env::args_os().skip(1).filter(|argument| argument != "--bench");
        let wanted = match arguments.next() {
            None => Self::Speed,
            Some(argument) if argument == "--trouble" => Self::Trouble,
            Some(argument) if argument == "--mute" => Self::Mute,
            Some(argument) if argument == "--strangers" => Self::Strangers,
            Some(argument) if argument == "--beside" => {
                let other = arguments.next().expect("--beside needs the program to compare with");
                let only = arguments.next().map(|only| only.into_string().unwrap_or_default());
                let is_known = only.as_ref().is_none_or(|only| ["start", "full", "plan"].contains(&only.as_str()));
                assert!(is_known, "after --beside PROGRAM: start, full or plan");
                Self::Beside { other, only }
            }
            Some(argument) => {
                panic!("unknown argument {}: --trouble, --mute, --strangers or --beside PROGRAM", argument.display())
            }
        };
        assert!(arguments.next().is_none(), "more arguments than one, or --beside PROGRAM and which figures");
        wanted
    }
}

/// How long an operator waits for the preview of a big farm, and what it takes.
async fn planning() {
    let server = PostgresServer::start(&PostgresOptions::default()).await.expect("PostgreSQL starts");
    make_template(&server).await;
    let database = copy(&server, "plan").await;
    let pool = PgPool::connect_with(database.connect_options()).await.expect("it answers");
    let seeded = seed(&pool, &FarmSpec::demo(10_000, 1_740, 60_000, 7)).await.expect("the farm can be seeded");
    pool.close().await;
    println!(
        "previewing {} hosts, {} waiting layers, {} frames; median of {ROUNDS}",
        seeded.hosts.len(),
        seeded.layers.len(),
        seeded.frames
    );
    let program = Path::new(env!("CARGO_BIN_EXE_cue-scheduler"));
    for arguments in [&["plan", "--summary"][..], &["plan"], &["plan", "--output", "json"]] {
        let runs: Vec<(f64, f64)> = (0..ROUNDS).map(|_| preview(program, &database, arguments)).collect();
        let seconds = median(runs.iter().map(|run| run.0).collect());
        let mebibytes = median(runs.iter().map(|run| run.1).collect());
        println!("  {:<34} {seconds:>8.2} s   {mebibytes:>4.0} MiB", arguments.join(" "));
    }
    server.stop().await;
}

/// Seconds and most memory of one run of the program.
fn preview(program: &Path, database: &ConnectSettings, arguments: &[&str]) -> (f64, f64) {
    let began = Instant::now();
    let mut program = Command::new(program)
        .args(arguments)
        .envs(database_variables(database))
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    let status = format!("/proc/{}/status", program.id());
    let mut most = 0.0;
    // The kernel's own high-water mark is gone with the process, so it is read until then.
    while program.try_wait().expect("it can be waited for").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
        most = kibibytes.map_or(most, |kibibytes| kibibytes / 1_024.0);
        std::thread::sleep(Duration::from_millis(2));
    }
    let seconds = began.elapsed().as_secs_f64();
    assert!(program.wait().expect("it has ended").success(), "{arguments:?} failed");
    (seconds, most)
}

fn database_variables(database: &ConnectSettings) -> [(&'static str, String); 5] {
    [
        ("OPENSCHEDULER_DATABASE__DB_HOST", database.host.clone()),
        ("OPENSCHEDULER_DATABASE__DB_PORT", database.port.to_string()),
        ("OPENSCHEDULER_DATABASE__DB_NAME", database.name.clone()),
        ("OPENSCHEDULER_DATABASE__DB_USER", database.user.clone()),
        ("OPENSCHEDULER_DATABASE__DB_PASS", database.password.clone().unwrap_or_default()),
    ]
}

async fn booking(durability: Durability) {
    let commits = match durability {
        Durability::Fast => "commits do not wait for the disk",
        Durability::Real => "every commit waits for the disk",
    };
    println!("booking {FRAMES} frames of {JOBS} jobs on {HOSTS} hosts, {commits}; frames/s, median of {ROUNDS}");
    let options = PostgresOptions { durability, ..PostgresOptions::default() };
    let server = PostgresServer::start(&options).await.expect("PostgreSQL starts");
    make_template(&server).await;
    let (mut floor, mut dry, mut fleet) = (Vec::new(), Vec::new(), Vec::new());
    let mut cost = (0.0, 0.0);
    for round in 0..ROUNDS {
        floor.push(of_floor(&copy(&server, &format!("floor{round}")).await).await);
        let booked = of_service(&copy(&server, &format!("dry{round}")).await, false).await;
        dry.push(booked.rate);
        cost = (booked.statements, booked.rows);
        fleet.push(of_service(&copy(&server, &format!("fleet{round}")).await, true).await.rate);
    }
    let floor = median(floor);
    let line =
        |name: &str, rate: f64| println!("  {name:<34} {rate:>8.0}   {:>4.0} % of the floor", rate / floor * 100.0);
    line("floor: two bare statements", floor);
    line("scheduler, launches to nowhere", median(dry));
    line("scheduler, launched on the fleet", median(fleet));
    println!("  per frame: {:.3} statements, {:.1} rows read and written", cost.0, cost.1);
    server.stop().await;
}

/// Room for all frames at once and no cap in the way: what is measured is booking alone.
fn spec() -> FarmSpec {
    farm_of(HOSTS, FRAMES)
}

/// More frames than hosts can take within minutes.
fn turning_over() -> FarmSpec {
    farm_of(HOSTS / 20, FRAMES * 5)
}

fn farm_of(hosts: usize, frames: u32) -> FarmSpec {
    let mut spec = FarmSpec::empty()
        .alloc("general", "general")
        .host_class(HostClass::new("render", hosts).cores(Cores::whole(8)).memory(Kib::gib(32)));
    for show in 0..4 {
        let mut folder = FolderSpec::new("shots");
        for job in 0..JOBS / 4 {
            let mut layer = LayerSpec::new("render").frames(frames / JOBS);
            layer.memory = Kib::gib(1);
            folder = folder.job(JobSpec::new(&format!("job{job}")).layer(layer));
        }
        let plenty = Cores::whole(100_000);
        spec = spec.show(ShowSpec::new(&format!("show{show}")).subscription("general", plenty, plenty).folder(folder));
    }
    spec
}

async fn make_template(server: &PostgresServer) {
    server.create_database("template", None).await.expect("a database can be made");
    let mut connection = PgConnection::connect_with(&server.connect_options("template")).await.expect("it answers");
    schema::create(&mut connection, Generation::G5).await.expect("the schema is right");
    connection.close().await.expect("it says goodbye");
}

/// A database of its own, seeded and analysed.
async fn copy(server: &PostgresServer, name: &str) -> ConnectSettings {
    server.create_database(name, Some("template")).await.expect("a database can be copied");
    server.connect_settings(name)
}

/// One backend, two statements, one transaction.
async fn of_floor(database: &ConnectSettings) -> f64 {
    let pool = PgPool::connect_with(database.connect_options()).await.expect("it answers");
    seed(&pool, &spec()).await.expect("the farm can be seeded");
    sqlx::raw_sql("VACUUM ANALYZE").execute(&pool).await.expect("it can be analysed");
    let mut transaction = pool.begin().await.expect("a transaction begins");
    let began = Instant::now();
    sqlx::raw_sql(include_str!("floor_frames.sql")).execute(&mut *transaction).await.expect("frames start");
    sqlx::raw_sql(include_str!("floor_procs.sql")).execute(&mut *transaction).await.expect("procs are inserted");
    transaction.commit().await.expect("it commits");
    let rate = f64::from(FRAMES) / began.elapsed().as_secs_f64();
    let running: i64 = sqlx::query_scalar("SELECT count(*) FROM proc").fetch_one(&pool).await.expect("it answers");
    assert_eq!(running, i64::from(FRAMES), "the floor booked something else");
    pool.close().await;
    rate
}

struct Booked {
    rate: f64,
    statements: f64,
    rows: f64,
}

/// The service from its first pass until all frames are booked, or launched too.
async fn of_service(database: &ConnectSettings, with_fleet: bool) -> Booked {
    let sandbox = if with_fleet {
        // Nothing ends meanwhile, so that nobody else writes.
        let run_time = RunTime::Fixed(Duration::from_secs(300));
        let report_interval = Duration::from_secs(60);
        let options =
            SandboxOptions { generation: Generation::G5, run_time, report_interval, ..SandboxOptions::new(spec()) };
        Some(Sandbox::start(database.clone(), options, &Unwatched).await.expect("the farm comes up"))
    } else {
        let pool = PgPool::connect_with(database.connect_options()).await.expect("it answers");
        seed(&pool, &spec()).await.expect("the farm can be seeded");
        sqlx::raw_sql("VACUUM ANALYZE").execute(&pool).await.expect("it can be analysed");
        pool.close().await;
        None
    };
    let store = Store::connect(&ConnectSettings { pool_size: 12, ..database.clone() }).await.expect("it answers");
    let targets = match &sandbox {
        Some(sandbox) => {
            LaunchTargets::Agents(Agents::new(AgentSettings { port: sandbox.rqd_port(), ..AgentSettings::default() }))
        }
        None => LaunchTargets::Nowhere,
    };
    let totals = Totals::default();
    let parts = Parts {
        store: store.clone(),
        targets,
        settings: Settings { shutdown_timeout: Duration::from_secs(2), ..Settings::default() },
        metrics: Metrics::new(&prometheus::Registry::new()).expect("a fresh registry"),
        health: Health::new(),
        totals: totals.clone(),
    };
    let service = Service::prepare(parts).await.expect("the clusters can be built");
    let stop = CancellationToken::new();
    let meter = store.meter().reading();
    let began = Instant::now();
    let running = tokio::spawn(service.run(stop.clone()));
    while totals.reading().launched < u64::from(FRAMES) {
        assert!(began.elapsed() < LIMIT, "not all booked within {LIMIT:?}: {:?}", totals.reading());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let rate = f64::from(FRAMES) / began.elapsed().as_secs_f64();
    let used = store.meter().reading() - meter;
    stop.cancel();
    running.await.expect("the service does not panic");
    store.close().await;
    if let Some(sandbox) = sandbox {
        sandbox.stop().await;
    }
    #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
    let per_frame = |amount: u64| amount as f64 / f64::from(FRAMES);
    Booked { rate, statements: per_frame(used.statements), rows: per_frame(used.rows_read + used.rows_written) }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
