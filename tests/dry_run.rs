//! Dry runs: the whole loop, with nothing written and nothing launched.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Stdio};
use std::time::Duration;

use cue_scheduler::booking::LostReason;
use cue_scheduler::clusters;
use cue_scheduler::config::{CuebotSilence, FlagValue, Inputs, load};
use cue_scheduler::db::ConnectSettings;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, JobSpec, LayerSpec, seed};
use cue_scheduler::model::{BookingRequest, Policy, Selection, TagChunkSizes, WaitReason};
use cue_scheduler::preview::{self, DryRun, DryRunEnd, DryRunLimits, LostRow};
use cue_scheduler::scheduler::{LaunchTargets, Parts, Settings, Totals};
use cue_scheduler::telemetry::{Health, Metrics};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_util::sync::CancellationToken;

use crate::support::farm::quick_settings;
use crate::support::{TestDatabase, database, fingerprint, program, read_only_settings, run_program};

const PATIENCE: Duration = Duration::from_secs(60);

async fn dry_run(database: &TestDatabase, settings: Settings, is_verified: bool) -> DryRun {
    let store = database.patient_store().await;
    let clusters = clusters::load(&store, &Selection::default(), TagChunkSizes::default()).await.unwrap().clusters;
    DryRun::new(store, clusters, settings, is_verified)
}

/// Until nothing more is booked; returns the frames that each cycle booked.
async fn run(dry_run: &mut DryRun) -> Vec<usize> {
    let mut booked = Vec::new();
    let stop = CancellationToken::new();
    let running = dry_run.run(DryRunLimits::default(), &stop, |_, report| {
        booked.push(usize::try_from(report.booked).unwrap());
    });
    let end = tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
    assert_eq!(end, DryRunEnd::NothingToBook);
    booked
}

/// One cycle.
async fn cycle(dry_run: &mut DryRun) -> u64 {
    let limits = DryRunLimits { cycles_max: Some(1), time_max: None };
    dry_run.run(limits, &CancellationToken::new(), |_, _| {}).await.unwrap();
    dry_run.last().booked
}

/// Lets the service look so often, without hosts; its bookings stand.
async fn serve(database: &TestDatabase, settings: Settings, passes: u64) {
    let totals = Totals::default();
    let parts = Parts {
        store: database.patient_store().await,
        targets: LaunchTargets::Nowhere,
        // These farms' hosts have reported once, however long a pass takes.
        settings: Settings { cuebot_silence: CuebotSilence::Off, ..settings },
        metrics: Metrics::new(&prometheus::Registry::new()).unwrap(),
        health: Health::new(),
        totals: totals.clone(),
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(preview::prepare(parts).await.unwrap().run(stop.clone()));
    let enough = async {
        while totals.reading().passes < passes {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, enough).await.unwrap();
    stop.cancel();
    assert_eq!(tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap().unsettled, 0);
}

/// Frame, host and what is reserved.
type Booking = (String, String, i64, i64, i64, i64);

fn of_requests(requests: &[BookingRequest]) -> BTreeSet<Booking> {
    let booking = |request: &BookingRequest| {
        let reserved = request.reservation;
        let (cores, memory) = (reserved.cores.get(), reserved.memory.get());
        let (gpus, gpu_memory) = (reserved.gpus.get(), reserved.gpu_memory.get());
        (request.frame.id.to_string(), request.host.to_string(), cores, memory, gpus, gpu_memory)
    };
    requests.iter().map(booking).collect()
}

async fn of_procs(database: &TestDatabase) -> BTreeSet<Booking> {
    let procs = "SELECT pk_frame::text, pk_host::text, int_cores_reserved::int8, proc.int_mem_reserved::int8,
                        int_gpus_reserved::int8, proc.int_gpu_mem_reserved::int8
                   FROM proc JOIN frame USING (pk_frame) WHERE frame.str_state = 'RUNNING'";
    sqlx::query_as(procs).fetch_all(&database.pool()).await.unwrap().into_iter().collect()
}

/// Settings as a file with `rqd.dry_run_mode` gives them.
fn settings_with_mode(is_dry: bool) -> Settings {
    let flags = vec![
        FlagValue::one("--dry", "rqd.dry_run_mode", is_dry.to_string()),
        FlagValue::one("--interval", "queue.monitor_interval", "20ms"),
        FlagValue::one("--scan", "queue.active_scan_interval", "10ms"),
    ];
    Settings::of(&load(&Inputs { flags, ..Inputs::default() }).unwrap().config)
}

/// A layer of which only a counter knows frames, first in order, and one that fills the host alone.
#[tokio::test]
async fn frames_that_are_only_counted_do_not_end_it_and_do_not_wait() {
    let folder = FolderSpec::new("comp")
        .job(JobSpec::new("phantom").priority(100).layer(LayerSpec::new("a").frames(8)))
        .job(JobSpec::new("real").layer(LayerSpec::new("a").frames(9)));
    let mut spec = FarmSpec::simple(0);
    spec.shows[0].folders = vec![folder];
    let database = database(Generation::G5).await;
    seed(&database.pool(), &spec).await.unwrap();
    let plant = "ALTER TABLE frame DISABLE TRIGGER USER;
        UPDATE frame SET str_state = 'EATEN' FROM job WHERE job.pk_job = frame.pk_job AND job.str_name LIKE '%phantom';
        ALTER TABLE frame ENABLE TRIGGER USER";
    sqlx::raw_sql(plant).execute(&database.pool()).await.unwrap();
    let mut dry_run = dry_run(&database, Settings::default(), false).await;
    assert_eq!(run(&mut dry_run).await.iter().sum::<usize>(), 8);
    let waiting: Vec<_> = dry_run.summary().waiting.iter().map(|row| (row.reason, row.frames)).collect();
    assert_eq!(waiting, [(WaitReason::Capacity, 1)]);
}

#[tokio::test]
async fn in_dry_run_mode_the_service_looks_and_writes_nothing() {
    let database = database(Generation::G5).await;
    seed(&database.pool(), &FarmSpec::simple(5)).await.unwrap();
    let before = fingerprint(&database.pool()).await;
    serve(&database, settings_with_mode(true), 3).await;
    assert_eq!(fingerprint(&database.pool()).await, before);
    serve(&database, settings_with_mode(false), 2).await;
    assert_eq!(of_procs(&database).await.len(), 5);
}

/// Small passes, so that many cycles see what the ones before them booked.
#[tokio::test(flavor = "multi_thread")]
async fn cycle_by_cycle_it_says_what_the_service_then_books() {
    for (generation, number) in [(Generation::G0, 1), (Generation::G3, 2), (Generation::G5, 3), (Generation::G5, 4)] {
        for is_verified in [false, true] {
            let database = database(generation).await;
            seed(&database.pool(), &FarmSpec::demo(40, 12, 700, number)).await.unwrap();
            let policy = Policy { frames_per_pass_max: 20, ..Policy::default() };
            let settings = Settings { policy, booking_chunk_size: 8, ..quick_settings() };
            let before = fingerprint(&database.pool()).await;
            let mut dry_run = dry_run(&database, settings.clone(), is_verified).await;
            let first = cycle(&mut dry_run).await;
            assert_eq!(first, 20, "{generation} {number}");
            let said_first = of_requests(&dry_run.booked());
            let more = run(&mut dry_run).await;
            assert!(more.len() > 2, "{more:?}");
            let said = of_requests(&dry_run.booked());
            assert_eq!(said.len(), 20 + more.iter().sum::<usize>(), "a frame was booked twice");
            assert_eq!(dry_run.summary().lost, [], "{generation} {number}");
            assert_eq!(fingerprint(&database.pool()).await, before, "{generation} {number} {is_verified}");

            if !is_verified {
                let books = Settings { monitor_interval: PATIENCE, ..settings };
                let passes = more.len() as u64 + 1;
                serve(&database, books, passes).await;
                let booked = of_procs(&database).await;
                assert!(said_first.is_subset(&booked), "{generation} {number}");
                assert_eq!(said, booked, "{generation} {number}");
            }
        }
    }
}

#[tokio::test]
async fn what_the_live_farm_overtakes_is_forgotten() {
    let database = database(Generation::G5).await;
    let pool = database.pool();
    seed(&pool, &FarmSpec::simple(20)).await.unwrap();
    let mut dry_run = dry_run(&database, quick_settings(), false).await;
    assert_eq!(cycle(&mut dry_run).await, 8, "as many as the host has cores");
    assert_eq!(cycle(&mut dry_run).await, 0, "the host is full");
    let summary = dry_run.summary();
    assert_eq!((summary.hosts, summary.hosts_used, summary.hosts_filled), (1, 1, 1));
    assert_eq!(summary.waiting.iter().map(|row| row.frames).sum::<u64>(), 12);

    // Three frames leave the queue, and one comes back changed.
    let first: Vec<String> =
        sqlx::query_scalar("UPDATE frame SET str_state = 'EATEN' WHERE int_number <= 3 RETURNING pk_frame::text")
            .fetch_all(&pool)
            .await
            .unwrap();
    sqlx::query("UPDATE frame SET int_version = int_version + 1 WHERE int_number = 4").execute(&pool).await.unwrap();
    assert_eq!(cycle(&mut dry_run).await, 4);
    let booked = dry_run.booked();
    assert_eq!(booked.len(), 8);
    assert!(booked.iter().all(|request| !first.contains(&request.frame.id.to_string())));
    let again = booked.iter().find(|request| request.frame.number == 4).expect("it waits again and comes first");
    assert_eq!(again.frame.version, 1);

    // The live farm starts two frames on the very cores: those still count once.
    serve(
        &database,
        Settings { policy: Policy { frames_per_pass_max: 2, ..Policy::default() }, ..quick_settings() },
        1,
    )
    .await;
    let running = of_procs(&database).await.len();
    assert!(running >= 2);
    cycle(&mut dry_run).await;
    assert!(dry_run.booked().len() + running <= 8, "cores were handed out twice");
}

#[tokio::test]
async fn what_the_database_refuses_is_found_and_named_and_nothing_is_kept() {
    for generation in [Generation::G0, Generation::G5] {
        let database = database(generation).await;
        let pool = database.pool();
        seed(&pool, &FarmSpec::simple(8)).await.unwrap();
        let plant = "CREATE FUNCTION refuse_third() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION 'no proc for this frame';
            END $$;
            CREATE TRIGGER refuse_third BEFORE INSERT ON proc FOR EACH ROW
                WHEN (NEW.int_cores_reserved = 100 AND NEW.pk_frame = 'THIRD')
                EXECUTE FUNCTION refuse_third()";
        let frame = |number: i32| {
            let pool = pool.clone();
            async move {
                let query = "SELECT pk_frame::text FROM frame WHERE int_number = $1";
                sqlx::query_scalar::<_, String>(query).bind(number).fetch_one(&pool).await.unwrap()
            }
        };
        let (third, fifth) = (frame(3).await, frame(5).await);
        sqlx::raw_sql(sqlx::AssertSqlSafe(plant.replace("THIRD", &third))).execute(&pool).await.unwrap();
        // Somebody else holds a frame, as Cuebot does while it books it.
        let mut other = pool.begin().await.unwrap();
        sqlx::query("SELECT FROM frame WHERE pk_frame = $1 FOR UPDATE")
            .bind(&fifth)
            .execute(&mut *other)
            .await
            .unwrap();
        let before = fingerprint(&pool).await;

        let mut unverified = dry_run(&database, quick_settings(), false).await;
        assert_eq!(cycle(&mut unverified).await, 8, "{generation}: only the database knows");
        let mut verified = dry_run(&database, quick_settings(), true).await;
        assert_eq!(cycle(&mut verified).await, 6, "{generation}");
        let summary = verified.summary();
        let refused: Vec<_> = summary.refused.iter().map(|refusal| (refusal.frame.as_str(), refusal.step)).collect();
        assert_eq!(refused, [(third.as_str(), "writing procs")]);
        assert_eq!(summary.refused[0].message, "no proc for this frame");
        let lost = |reason| LostRow { reason, frames: 1 };
        assert_eq!(summary.lost, [lost(LostReason::FrameLocked), lost(LostReason::Refused)]);
        assert_eq!(fingerprint(&pool).await, before, "{generation}");
        other.rollback().await.unwrap();
        // The held frame is free, and is tried again when its short rest is over.
        let freed = async {
            while cycle(&mut verified).await == 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), freed).await.expect("the frame is tried again");
        assert_eq!(verified.last().booked, 1, "{generation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_what_it_would_have_come_to() {
    let database = database(Generation::G5).await;
    seed(&database.pool(), &FarmSpec::simple(12)).await.unwrap();
    let before = fingerprint(&database.pool()).await;
    let connect = database.connect_settings().await;
    let shown = |args: &[&str]| {
        let ran = run_program(&connect, args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
        format!("{}--- stderr ---\n{}", ran.stdout, ran.stderr)
    };
    insta::with_settings!({filters => vec![
        (r"\d+\.\d\d s\b", "[seconds]"),
        (r"\d+ frames/s", "[rate] frames/s"),
        (r#""((?:busy_)?seconds|frames_per_second)": [\d.e-]+"#, r#""$1": "[number]""#),
    ]}, {
        insta::assert_snapshot!("dry_run_table", shown(&["dry-run"]));
        insta::assert_snapshot!("dry_run_verified", shown(&["dry-run", "--verify", "--cycles", "1", "-q"]));
        insta::assert_snapshot!("dry_run_json", shown(&["dry-run", "--cycles", "1", "-o", "json"]));
    });
    assert_eq!(shown(&["dry-run", "-q", "-o", "name"]), "capacity\n--- stderr ---\n");
    assert_eq!(
        shown(&["dry-run", "-q", "--for", "0s", "-o", "csv"]).lines().nth(1).unwrap(),
        "capacity,1,4,\"fits an empty host, but not what is idle now\""
    );
    assert_eq!(fingerprint(&database.pool()).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_only_read_can_run_dry_and_is_told_what_verifying_needs() {
    let database = database(Generation::G5).await;
    seed(&database.pool(), &FarmSpec::simple(3)).await.unwrap();
    let before = fingerprint(&database.pool()).await;
    let reader = read_only_settings(&database).await;
    let ran = run_program(&reader, &["dry-run", "-q"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.contains("Would have booked 3 frames"), "{}", ran.stdout);
    let ran = run_program(&reader, &["dry-run", "--verify"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert_eq!(
        ran.stderr,
        "error: cannot verify bookings: the role reader lacks INSERT on frame_history_queue, proc; UPDATE on \
         folder_resource, frame, host, job_resource, job_stat, layer_resource, layer_stat, point, subscription \
         (42501)\nhint: grant them (check-db lists all that `run` needs), or leave --verify out: a plain dry \
         run only reads\n"
    );
    assert_eq!(fingerprint(&database.pool()).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_named_and_end_with_1() {
    let database = database(Generation::G0).await;
    seed(&database.pool(), &FarmSpec::simple(2)).await.unwrap();
    // Every frame of this farm takes one core.
    sqlx::raw_sql("ALTER TABLE proc ADD CONSTRAINT nothing_today CHECK (int_cores_reserved > 100)")
        .execute(&database.pool())
        .await
        .unwrap();
    let ran = run_program(&database.connect_settings().await, &["dry-run", "--verify"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stdout.contains("Would have booked 0 frames in 1 cycle"), "{}", ran.stdout);
    assert!(ran.stdout.contains("refused       2  the database refuses to write it"), "{}", ran.stdout);
    assert_eq!(ran.stderr.matches("warning: the database refuses frame").count(), 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("violates check constraint \"nothing_today\""), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_farm_and_no_farm_at_all() {
    let database = database(Generation::G5).await;
    let connect = database.connect_settings().await;
    let ran = run_program(&connect, &["dry-run", "-q"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.ends_with("Nothing would be left waiting.\n"), "{}", ran.stdout);
    let away = ConnectSettings { host: "/nonexistent/socket".to_owned(), ..connect };
    let ran = run_program(&away, &["dry-run"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.starts_with("error: Failed to connect to database: "), "{}", ran.stderr);
    for args in [&["dry-run", "--cycles", "0"][..], &["dry-run", "--for", "soon"], &["dry-run", "now"]] {
        let ran = run_program(&away, args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}: {}", ran.stderr);
    }
}

/// Reads standard error until a line says `word`.
fn until_said(child: &mut Child, words: &[&str]) -> String {
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !words.iter().all(|word| said.contains(word)) {
        assert!(lines.read_line(&mut said).unwrap() > 0, "it ended before it said {words:?}: {said}");
    }
    // It must still have somebody to talk to.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    said
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_it_with_the_summary() {
    let database = database(Generation::G5).await;
    seed(&database.pool(), &FarmSpec::simple(3)).await.unwrap();
    let mut command = program(&database.connect_settings().await);
    command.args(["dry-run", "--for", "1h", "-o", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    until_said(&mut child, &["cycle 2: would book 0 of 0, 0 wait"]);
    signal(&child, Signal::SIGINT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["end"], &summary["frames_booked"]), (&"stopped".into(), &3.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_in_dry_run_mode_says_so() {
    let database = database(Generation::G5).await;
    seed(&database.pool(), &FarmSpec::simple(5)).await.unwrap();
    let before = fingerprint(&database.pool()).await;
    let mut command = program(&database.connect_settings().await);
    command.args(["run", "--metrics_port", "0"]).env("OPENSCHEDULER_RQD__DRY_RUN_MODE", "true");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let said = until_said(&mut child, &["dry run (rqd.dry_run_mode)", "would dispatch 5 frames"]);
    let port = said.split_once("address=127.0.0.1:").unwrap().1;
    let port: u16 = port.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
    let mut page = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    page.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    page.read_to_string(&mut text).unwrap();
    assert!(text.contains("\nscheduler_dry_run 1\n"), "{text}");
    assert!(!text.contains("scheduler_frames_dispatched_total{"), "{text}");
    signal(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(fingerprint(&database.pool()).await, before);
}
