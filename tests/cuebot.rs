//! The stand-in for Cuebot, row by row, told by real reports.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use cue_scheduler::booking::find_booked;
use cue_scheduler::db::Store;
use cue_scheduler::farm::audit::audit;
use cue_scheduler::farm::cuebot::{Cuebot, CuebotCounts, CuebotOptions, Maintenance, NextFrames};
use cue_scheduler::farm::fleet::{Fleet, FleetHost, FleetOptions, RunTime};
use cue_scheduler::farm::postgres::{PostgresOptions, PostgresServer, RestartMode};
use cue_scheduler::farm::schema::{self, Generation};
use cue_scheduler::farm::seed::{FarmSpec, LayerSpec, Seeded, seed};
use cue_scheduler::model::Booked;
use cue_scheduler::rqd::proto::report::rqd_report_interface_client::RqdReportInterfaceClient;
use cue_scheduler::rqd::proto::report::{
    BootReport, FrameCompleteReport, HostReport, RenderHost, RqdReportRqdStartupRequest,
    RqdReportRunningFrameCompletionRequest, RqdReportStatusRequest, RunningFrameInfo,
};
use cue_scheduler::rqd::proto::rqd::RunFrame;
use cue_scheduler::rqd::{AgentSettings, Agents, LaunchOutcome, MemoryLimitFactors, build_run_frame};
use cue_scheduler::units::{Cores, Kib};
use futures::StreamExt as _;
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool, query_as, query_scalar};
use tokio::sync::Semaphore;
use tonic::transport::{Channel, Endpoint};

use crate::launch::agent::{Agent, Behaviour};
use crate::support::{PATIENCE, TestDatabase, book_all, database, execute, number, requests};

/// A seeded farm with some booked frames, and the stand-in beside it.
struct Farm {
    database: TestDatabase,
    pool: PgPool,
    seeded: Seeded,
    booked: Vec<Booked>,
    cuebot: Cuebot,
    client: RqdReportInterfaceClient<Channel>,
}

impl Farm {
    async fn new(generation: Generation, spec: FarmSpec, frames: u32, options: CuebotOptions) -> Self {
        let database = database(generation).await;
        let pool = database.pool();
        let seeded = seed(&pool, &spec).await.unwrap();
        let cuebot = Cuebot::start(pool.clone(), generation, options).await.unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", cuebot.address())).unwrap();
        let client = RqdReportInterfaceClient::new(endpoint.connect_lazy());
        let mut farm = Self { database, pool, seeded, booked: Vec::new(), cuebot, client };
        farm.booked = farm.book(frames).await;
        farm
    }

    /// Books the next waiting frames of every layer.
    async fn book(&self, frames: u32) -> Vec<Booked> {
        // However busy the machine is, nothing is lost for it.
        let store = self.database.patient_store().await;
        let outcome = book_all(&store, &requests(&store, &self.seeded, frames).await).await;
        assert_eq!(outcome.lost.first(), None);
        outcome.booked
    }

    async fn complete(&self, booked: &Booked, exit_status: i32) {
        self.complete_as(booked, booked.proc.as_str(), exit_status).await;
    }

    async fn complete_as(&self, booked: &Booked, proc: &str, exit_status: i32) {
        let frame = RunningFrameInfo { resource_id: proc.to_owned(), max_rss: 300_000, ..running(booked) };
        let report = FrameCompleteReport {
            host: Some(RenderHost { name: booked.host_name.clone(), ..RenderHost::default() }),
            frame: Some(frame),
            exit_status,
            ..FrameCompleteReport::default()
        };
        let request = RqdReportRunningFrameCompletionRequest { frame_complete_report: Some(report) };
        self.client.clone().report_running_frame_completion(request).await.unwrap();
    }

    async fn boot(&self, host: RenderHost) {
        let report = BootReport { host: Some(host), core_info: None };
        let request = RqdReportRqdStartupRequest { boot_report: Some(report) };
        self.client.clone().report_rqd_startup(request).await.unwrap();
    }

    async fn status(&self, host: RenderHost, frames: Vec<RunningFrameInfo>) {
        let report = HostReport { host: Some(host), frames, core_info: None };
        self.client.clone().report_status(RqdReportStatusRequest { host_report: Some(report) }).await.unwrap();
    }

    async fn frame(&self, booked: &Booked) -> (String, i64, i64) {
        let sql = "SELECT str_state, int_exit_status::int8, int_version::int8 FROM frame WHERE pk_frame = $1";
        query_as(sql).bind(booked.frame.as_str()).fetch_one(&self.pool).await.unwrap()
    }

    /// Centicores in subscription, layer, job, folder and point.
    async fn accounts(&self) -> [i64; 5] {
        let sum = async |table: &str| number(&self.pool, &format!("SELECT sum(int_cores) FROM {table}")).await;
        [
            sum("subscription").await,
            sum("layer_resource").await,
            sum("job_resource").await,
            sum("folder_resource").await,
            sum("point").await,
        ]
    }

    async fn idle_cores(&self) -> i64 {
        number(&self.pool, "SELECT sum(int_cores_idle) FROM host").await
    }

    async fn until(&self, holds: impl Fn(&CuebotCounts) -> bool) {
        let waiting = async {
            while !holds(&self.cuebot.counts()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("never came true: {:?}", self.cuebot.counts()));
    }
}

fn running(booked: &Booked) -> RunningFrameInfo {
    RunningFrameInfo {
        resource_id: booked.proc.to_string(),
        frame_id: booked.frame.to_string(),
        layer_id: booked.layer.to_string(),
        job_id: booked.job.to_string(),
        ..RunningFrameInfo::default()
    }
}

fn host(name: &str) -> RenderHost {
    RenderHost {
        name: name.to_owned(),
        num_procs: 2,
        cores_per_proc: 800,
        total_mem: Kib::gib(64).get() + Kib::mib(512).get(),
        free_mem: Kib::gib(60).get(),
        load: 150,
        boot_time: 1_700_000_000,
        attributes: [("SP_OS".to_owned(), "rocky9".to_owned())].into(),
        ..RenderHost::default()
    }
}

fn quiet() -> CuebotOptions {
    CuebotOptions { maintenance: None, ..CuebotOptions::default() }
}

/// Sweeps at once and often; ages are made by writing old times.
fn sweeping() -> CuebotOptions {
    let maintenance = Maintenance { interval: Duration::from_millis(20), ..Maintenance::default() };
    CuebotOptions { maintenance: Some(maintenance), ..CuebotOptions::default() }
}

/// A show that is not flagged, so that every generation keeps its accounts.
fn simple(frames: u32) -> FarmSpec {
    FarmSpec { is_scheduler_managed: false, ..FarmSpec::simple(frames) }
}

#[tokio::test]
async fn an_ended_frame_leaves_no_trace_in_the_accounts() {
    for generation in Generation::ALL {
        let farm = Farm::new(generation, simple(2), 2, quiet()).await;
        assert_eq!(farm.accounts().await, [200; 5]);
        let (first, second) = (&farm.booked[0], &farm.booked[1]);
        farm.complete(first, 0).await;

        assert_eq!(farm.frame(first).await, ("SUCCEEDED".to_owned(), 0, i64::from(first.version) + 1));
        assert_eq!(farm.accounts().await, [100; 5], "{generation}");
        assert_eq!(farm.idle_cores().await, 700);
        assert_eq!(number(&farm.pool, "SELECT sum(int_mem - int_mem_idle) FROM host").await, Kib::gib(1).get());
        assert_eq!(number(&farm.pool, "SELECT count(*) FROM proc").await, 1);
        for stat in ["layer_stat", "job_stat"] {
            let counts = format!("SELECT int_running_count * 10 + int_succeeded_count FROM {stat}");
            assert_eq!(number(&farm.pool, &counts).await, 11);
        }
        let times = "SELECT count(*) FROM frame WHERE ts_stopped > ts_started AND ts_updated >= ts_started AND int_mem_max_used = 300000";
        assert_eq!(number(&farm.pool, times).await, 1);
        assert_eq!(number(&farm.pool, "SELECT int_frame_success_count FROM layer_usage").await, 1);
        assert_eq!(number(&farm.pool, "SELECT int_frame_success_count FROM job_usage").await, 1);
        assert_eq!(number(&farm.pool, "SELECT int_max_rss FROM layer_mem").await, 300_000);
        assert_eq!(number(&farm.pool, "SELECT count(*) FROM job WHERE str_state = 'PENDING'").await, 1);

        farm.complete(second, 0).await;
        assert_eq!(farm.accounts().await, [0; 5]);
        let finished = "SELECT count(*) FROM job WHERE str_state = 'FINISHED' AND str_visible_name IS NULL AND ts_stopped IS NOT NULL";
        assert_eq!(number(&farm.pool, finished).await, 1);
        let counts = farm.cuebot.counts();
        assert_eq!(
            (counts.completions, counts.frames_succeeded, counts.procs_released, counts.jobs_finished),
            (2, 2, 2, 1)
        );
        assert!(audit(&farm.pool, &[]).await.unwrap().is_clean());
        assert_eq!(farm.cuebot.stop().await, [""; 0]);
    }
}

#[tokio::test]
async fn only_the_middle_generations_leave_managed_shows_to_their_scheduler() {
    for (generation, left) in [(Generation::G2, 100), (Generation::G3, 100), (Generation::G4, 0), (Generation::G5, 0)] {
        let farm = Farm::new(generation, FarmSpec::simple(1), 1, quiet()).await;
        let mut listener = PgListener::connect_with(&farm.pool).await.unwrap();
        listener.listen("acct_release").await.unwrap();
        farm.complete(&farm.booked[0], 0).await;
        assert_eq!(farm.accounts().await, [left; 5], "{generation}");
        assert_eq!(farm.idle_cores().await, 800);
        assert_eq!(number(&farm.pool, "SELECT count(*) FROM proc").await, 0);

        // Comes after whatever the release sent.
        execute(&farm.pool, "NOTIFY acct_release, 'end'").await;
        let mut payloads = Vec::new();
        loop {
            let payload = listener.recv().await.unwrap().payload().to_owned();
            if payload == "end" {
                break;
            }
            payloads.push(payload);
        }
        if generation == Generation::G3 {
            let payload: serde_json::Value = serde_json::from_str(&payloads[0]).unwrap();
            let job = &farm.seeded.jobs[0];
            let expected = serde_json::json!({
                "show": job.show.as_str(), "alloc": farm.seeded.allocs[0].id.as_str(), "folder": job.folder.as_str(),
                "job": job.id.as_str(), "layer": farm.seeded.layers[0].id.as_str(), "dept": job.dept.as_str(),
                "cores": -1, "gpus": 0,
            });
            assert_eq!(payload, expected);
        }
        assert_eq!(payloads.len(), usize::from(generation == Generation::G3), "{generation}");
    }
}

#[tokio::test]
async fn shows_without_the_flag_are_subtracted_where_flagged_ones_are_not() {
    let farm = Farm::new(Generation::G3, simple(1), 1, quiet()).await;
    farm.complete(&farm.booked[0], 0).await;
    assert_eq!(farm.accounts().await, [0; 5]);
}

#[tokio::test]
async fn a_proc_gives_back_what_its_row_says() {
    let farm = Farm::new(Generation::G5, simple(1), 1, quiet()).await;
    // A memory raise: the trigger takes it from the host, and the release has to give it back.
    execute(&farm.pool, "UPDATE proc SET int_mem_reserved = int_mem_reserved + 1000").await;
    farm.complete(&farm.booked[0], 0).await;
    assert_eq!(number(&farm.pool, "SELECT sum(int_mem - int_mem_idle) FROM host").await, 0);
}

#[tokio::test]
async fn a_failed_frame_waits_until_its_retries_are_used_up() {
    let spec = simple(1).each_job(|job| job.retries_max = 1);
    let farm = Farm::new(Generation::G5, spec, 1, quiet()).await;
    let mut booked = farm.booked[0].clone();
    for expected in ["WAITING", "DEAD"] {
        farm.complete(&booked, 1).await;
        let (state, exit_status, version) = farm.frame(&booked).await;
        assert_eq!((state.as_str(), exit_status, version), (expected, 1, i64::from(booked.version) + 1));
        assert_eq!(farm.accounts().await, [0; 5]);
        if expected == "WAITING" {
            booked = farm.book(1).await.remove(0);
        }
    }
    assert_eq!(number(&farm.pool, "SELECT int_frame_fail_count FROM layer_usage").await, 2);
    // Somebody may still retry the dead frame.
    assert_eq!(number(&farm.pool, "SELECT count(*) FROM job WHERE str_state = 'PENDING'").await, 1);
}

#[tokio::test]
async fn a_report_of_an_earlier_run_changes_nothing() {
    let farm = Farm::new(Generation::G5, simple(1), 1, quiet()).await;
    let first = &farm.booked[0];
    farm.complete(first, 1).await;
    let second = farm.book(1).await.remove(0);
    let before = farm.frame(&second).await;
    farm.complete(first, 0).await;
    assert_eq!(farm.frame(&second).await, before);
    assert_eq!(before.0, "RUNNING");
    assert_eq!((farm.cuebot.counts().superseded, farm.cuebot.counts().procs_released), (1, 1));
    assert_eq!(farm.accounts().await, [100; 5]);
    farm.complete(&second, 0).await;
    assert_eq!(farm.frame(&second).await.0, "SUCCEEDED");
}

#[tokio::test]
async fn a_repeated_report_is_applied_once() {
    let farm = Farm::new(Generation::G5, simple(2), 2, quiet()).await;
    let booked = &farm.booked[0];
    futures::future::join_all([0; 5].map(|status| farm.complete(booked, status))).await;
    assert_eq!(farm.accounts().await, [100; 5]);
    assert_eq!(farm.idle_cores().await, 700);
    assert_eq!(farm.frame(booked).await.2, i64::from(booked.version) + 1);
    let counts = farm.cuebot.counts();
    assert_eq!((counts.completions, counts.frames_succeeded, counts.superseded), (5, 1, 4));
}

#[tokio::test]
async fn a_running_frame_whose_proc_is_gone_still_ends() {
    let farm = Farm::new(Generation::G5, simple(1), 1, quiet()).await;
    execute(&farm.pool, "DELETE FROM proc").await;
    farm.complete(&farm.booked[0], 0).await;
    assert_eq!(farm.frame(&farm.booked[0]).await.0, "SUCCEEDED");
    assert_eq!(farm.cuebot.counts().procs_released, 0);
}

#[tokio::test]
async fn a_proc_is_released_though_its_frame_was_eaten_meanwhile() {
    let farm = Farm::new(Generation::G5, simple(2), 2, quiet()).await;
    execute(
        &farm.pool,
        "UPDATE frame SET str_state = 'EATEN', int_version = int_version + 1 WHERE str_state = 'RUNNING'",
    )
    .await;
    farm.complete(&farm.booked[0], 1).await;
    assert_eq!(farm.frame(&farm.booked[0]).await.0, "EATEN");
    assert_eq!(farm.accounts().await, [100; 5]);
}

#[tokio::test]
async fn one_refused_report_does_not_hold_up_the_others() {
    let farm = Farm::new(Generation::G0, simple(8), 8, quiet()).await;
    // The history's column is too narrow for this one.
    let ends =
        farm.booked.iter().enumerate().map(|(number, booked)| farm.complete(booked, i32::from(number == 3) * 40_000));
    futures::future::join_all(ends).await;
    assert_eq!(farm.cuebot.counts().frames_succeeded, 7);
    assert_eq!(farm.cuebot.counts().refused, 1);
    assert_eq!(farm.frame(&farm.booked[3]).await.0, "RUNNING");
    assert_eq!(farm.accounts().await, [100; 5]);
}

#[tokio::test]
async fn a_host_that_boots_for_the_first_time_gets_its_rows() {
    for generation in [Generation::G0, Generation::G5] {
        let options = CuebotOptions { default_allocation: Some("local.general".to_owned()), ..quiet() };
        let farm = Farm::new(generation, simple(1), 0, options).await;
        let report = RenderHost { tags: vec!["rqdv-dev".to_owned(), " ".to_owned()], ..host("newcomer") };
        farm.boot(report.clone()).await;
        farm.boot(report).await;
        let sizes: (i64, i64, i64, i64, String, String) = query_as(
            "SELECT int_cores, int_cores_idle, int_mem, int_procs, str_lock_state, str_tags FROM host WHERE str_name = 'newcomer'",
        )
        .fetch_one(&farm.pool)
        .await
        .unwrap();
        let tag = farm.seeded.allocs[0].tag.clone();
        assert_eq!(
            sizes,
            (1600, 1600, Kib::gib(64).get(), 2, "OPEN".to_owned(), format!("{tag} rqdv-dev newcomer")),
            "{generation}"
        );
        let stat: (String, String, i64, i64) = query_as(
            "SELECT hs.str_state, hs.str_os, hs.int_mem_free, extract(epoch FROM hs.ts_booted)::int8
             FROM host_stat hs JOIN host h USING (pk_host) WHERE h.str_name = 'newcomer'",
        )
        .fetch_one(&farm.pool)
        .await
        .unwrap();
        assert_eq!(stat, ("UP".to_owned(), "rocky9".to_owned(), Kib::gib(60).get(), 1_700_000_000));
        let tags = "SELECT count(*) FROM host_tag t JOIN host h USING (pk_host) WHERE h.str_name = 'newcomer'
            AND (str_tag_type, b_constant) IN (('ALLOC', true), ('HOSTNAME', true), ('HARDWARE', false))";
        assert_eq!(number(&farm.pool, tags).await, 3);
        assert_eq!((farm.cuebot.counts().boots, farm.cuebot.counts().hosts_created), (2, 1));
    }
}

#[tokio::test]
async fn a_boot_report_sizes_only_a_host_that_is_empty() {
    let cases = [
        // Something runs there.
        (Generation::G5, 1, "SELECT 1", 800),
        (Generation::G5, 0, "SELECT 1", 1600),
        // Idle amounts that went astray are mended by a boot, except by the oldest.
        (Generation::G5, 0, "UPDATE host SET int_cores_idle = 100", 1600),
        (Generation::G0, 0, "UPDATE host SET int_cores_idle = 100", 800),
        (Generation::G0, 0, "SELECT 1", 1600),
    ];
    for (generation, frames, before, expected) in cases {
        let farm = Farm::new(generation, simple(1), frames, quiet()).await;
        execute(&farm.pool, before).await;
        farm.boot(host(&farm.seeded.hosts[0].name)).await;
        assert_eq!(number(&farm.pool, "SELECT int_cores FROM host").await, expected, "{generation} {before}");
        assert_eq!(farm.cuebot.counts().hosts_created, 0);
    }
}

#[tokio::test]
async fn a_status_report_brings_a_host_and_its_procs_up_to_date() {
    let farm = Farm::new(Generation::G5, simple(2).hosts(1), 2, quiet()).await;
    execute(&farm.pool, "UPDATE proc SET ts_ping = ts_ping - interval '1 hour'; UPDATE host_stat SET str_state = 'DOWN', ts_ping = ts_ping - interval '1 hour'").await;
    let seen = RunningFrameInfo { rss: 5, max_rss: 7, ..running(&farm.booked[0]) };
    let foreign = RunningFrameInfo { resource_id: "elsewhere".to_owned(), ..running(&farm.booked[1]) };
    farm.status(host(&farm.seeded.hosts[0].name), vec![seen, foreign]).await;
    let fresh = "SELECT count(*) FROM proc WHERE ts_ping > now() - interval '1 minute' AND int_mem_used = 5 AND int_mem_max_used = 7";
    assert_eq!(number(&farm.pool, fresh).await, 1);
    let up = "SELECT count(*) FROM host_stat WHERE str_state = 'UP' AND ts_ping > now() - interval '1 minute' AND int_load = 150";
    assert_eq!(number(&farm.pool, up).await, 1);
    farm.status(host("nobody"), Vec::new()).await;
    assert_eq!((farm.cuebot.counts().status_reports, farm.cuebot.counts().reports_unknown_host), (2, 1));
}

#[tokio::test]
async fn the_runs_of_a_silent_host_go_back_to_the_queue() {
    let farm = Farm::new(Generation::G5, simple(2).hosts(1), 2, sweeping()).await;
    execute(&farm.pool, "UPDATE frame SET str_checkpoint_state = 'ENABLED'; UPDATE host_stat SET ts_ping = ts_ping - interval '6 minutes'").await;
    farm.until(|counts| counts.hosts_down == 1).await;
    assert_eq!(farm.frame(&farm.booked[0]).await.0, "RUNNING");
    execute(&farm.pool, "UPDATE proc SET ts_ping = ts_ping - interval '6 minutes'").await;
    farm.until(|counts| counts.procs_released == 2).await;
    for booked in &farm.booked {
        assert_eq!(farm.frame(booked).await, ("WAITING".to_owned(), 399, i64::from(booked.version) + 1));
    }
    assert_eq!((farm.accounts().await, farm.idle_cores().await), ([0; 5], 800));
    assert_eq!(farm.cuebot.counts().orphan_procs, 2);
}

#[tokio::test]
async fn a_lost_run_on_a_living_host_is_killed_before_it_waits_again() {
    let farm = Farm::new(Generation::G5, simple(1), 1, sweeping()).await;
    let options = FleetOptions { run_time: RunTime::Fixed(Duration::from_mins(10)), ..FleetOptions::default() };
    let fleet = Fleet::start(FleetHost::all_of(&farm.seeded), options).await.unwrap();
    let agents = agents(&fleet);
    farm.cuebot.call_agents(agents.clone());
    launch(&agents, &farm.booked[0]).await;

    // Nobody answers for the host: the run is kept, as it may go on.
    fleet.kill_host(&farm.seeded.hosts[0].name).unwrap();
    execute(&farm.pool, "UPDATE proc SET ts_ping = ts_ping - interval '6 minutes'").await;
    farm.until(|counts| counts.kills > 0).await;
    assert_eq!(farm.frame(&farm.booked[0]).await.0, "RUNNING");
    assert_eq!(farm.cuebot.counts().orphan_procs, 0);

    fleet.revive_host(&farm.seeded.hosts[0].name).await.unwrap();
    farm.until(|counts| counts.procs_released == 1).await;
    assert_eq!(farm.frame(&farm.booked[0]).await, ("WAITING".to_owned(), 301, i64::from(farm.booked[0].version) + 1));
}

#[tokio::test]
async fn a_lost_proc_goes_first_and_what_it_held_follows_piece_by_piece() {
    for generation in Generation::ALL {
        for is_scheduler_managed in [false, true] {
            let steps = Arc::new(Semaphore::new(0));
            let options = CuebotOptions { loss_steps: Some(Arc::clone(&steps)), ..sweeping() };
            let spec = FarmSpec { is_scheduler_managed, ..FarmSpec::simple(1) };
            let farm = Farm::new(generation, spec, 1, options).await;
            let left_to_us = is_scheduler_managed && [Generation::G2, Generation::G3].contains(&generation);
            let becomes = async |procs: i64, idle: i64, accounts: [i64; 5]| {
                let holds = async {
                    while number(&farm.pool, "SELECT count(*) FROM proc").await != procs
                        || farm.idle_cores().await != idle
                        || farm.accounts().await != accounts
                    {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                let waited = tokio::time::timeout(PATIENCE, holds).await;
                assert!(waited.is_ok(), "{generation} {is_scheduler_managed}: not {procs} {idle} {accounts:?}");
            };
            becomes(1, 700, [100; 5]).await;
            execute(&farm.pool, "UPDATE proc SET ts_ping = ts_ping - interval '6 minutes'").await;
            becomes(0, 700, [100; 5]).await;
            steps.add_permits(1);
            becomes(0, 800, [100; 5]).await;
            if left_to_us {
                // The notification.
                steps.add_permits(1);
            } else {
                for table in 1..=5 {
                    steps.add_permits(1);
                    becomes(0, 800, std::array::from_fn(|counter| if counter < table { 0 } else { 100 })).await;
                }
            }
            farm.until(|counts| counts.procs_released == 1).await;
            assert_eq!(farm.accounts().await, if left_to_us { [100; 5] } else { [0; 5] });
        }
    }
}

#[tokio::test]
async fn a_run_that_its_living_host_never_gives_up_is_dead_at_last() {
    let agents = Agents::new(AgentSettings { port: 1, ..AgentSettings::default() });
    let farm = Farm::new(Generation::G5, simple(1), 1, CuebotOptions { agents: Some(agents), ..sweeping() }).await;
    execute(&farm.pool, "UPDATE proc SET ts_ping = ts_ping - interval '30 minutes'").await;
    farm.until(|counts| counts.procs_released == 1).await;
    assert_eq!(farm.frame(&farm.booked[0]).await.0, "DEAD");
}

#[tokio::test]
async fn what_was_left_half_done_is_swept_up() {
    let farm = Farm::new(Generation::G5, simple(2), 2, sweeping()).await;
    let [without_proc, stopped] = &farm.booked[..] else { panic!("two are booked") };
    // A stop without its release, and a frame that runs nowhere.
    execute(
        &farm.pool,
        &format!(
            "UPDATE frame SET str_state = 'SUCCEEDED' WHERE pk_frame = '{}';
         UPDATE proc SET pk_frame = NULL, ts_ping = ts_ping - interval '6 minutes' WHERE pk_proc = '{}';
         UPDATE frame SET ts_updated = ts_updated - interval '6 minutes' WHERE pk_frame = '{}';
         UPDATE host SET int_cores_idle = int_cores_idle + 100, int_mem_idle = int_mem_idle + 1048576;
         DELETE FROM proc WHERE pk_proc = '{}'",
            stopped.frame, stopped.proc, without_proc.frame, without_proc.proc,
        ),
    )
    .await;
    farm.until(|counts| counts.procs_released == 1 && counts.orphan_frames == 1).await;
    assert_eq!(farm.frame(without_proc).await.0, "WAITING");
    assert_eq!(farm.frame(without_proc).await.1, 301);
    assert_eq!(number(&farm.pool, "SELECT count(*) FROM proc").await, 0);
    assert_eq!(farm.idle_cores().await, 800);
}

#[tokio::test]
async fn a_reported_run_that_no_row_accounts_for_is_killed() {
    let options = CuebotOptions { verify_reports: true, ..quiet() };
    let farm = Farm::new(Generation::G5, simple(3), 3, options).await;
    let options = FleetOptions {
        run_time: RunTime::Fixed(Duration::from_mins(10)),
        report_to: Some(farm.cuebot.address()),
        report_interval: Duration::from_millis(20),
        ..FleetOptions::default()
    };
    let fleet = Fleet::start(FleetHost::all_of(&farm.seeded), options).await.unwrap();
    let agents = agents(&fleet);
    for booked in &farm.booked {
        launch(&agents, booked).await;
    }
    // One proc is another frame's now, one is gone and its run is old enough; the third is in order.
    execute(
        &farm.pool,
        &format!(
            "UPDATE proc SET pk_frame = NULL WHERE pk_proc = '{}'; DELETE FROM proc WHERE pk_proc = '{}'",
            farm.booked[0].proc, farm.booked[1].proc,
        ),
    )
    .await;
    farm.cuebot.call_agents(agents);
    farm.until(|counts| counts.kills >= 2 && counts.frames_waiting >= 1).await;
    let ended = fleet.launches().iter().map(|launch| launch.ended_at.is_some()).collect::<Vec<_>>();
    assert_eq!(ended, [true, true, false]);
}

#[tokio::test]
async fn while_it_is_away_reports_fail_completions_are_lost_and_nothing_is_swept() {
    let farm = Farm::new(Generation::G5, simple(1), 1, sweeping()).await;
    let options = FleetOptions {
        run_time: RunTime::Fixed(Duration::from_millis(100)),
        report_to: Some(farm.cuebot.address()),
        report_interval: Duration::from_millis(20),
        completion_attempts_max: 1,
        ..FleetOptions::default()
    };
    let fleet = Fleet::start(FleetHost::all_of(&farm.seeded), options).await.unwrap();
    farm.cuebot.fall_silent();
    launch(&agents(&fleet), &farm.booked[0]).await;
    execute(&farm.pool, "UPDATE proc SET ts_ping = ts_ping - interval '6 minutes'").await;
    farm.until(|_| fleet.counts().completions_lost == 1 && fleet.counts().reports_failed > 10).await;
    assert_eq!(farm.frame(&farm.booked[0]).await.0, "RUNNING");
    farm.cuebot.answer_again();
    farm.until(|counts| counts.procs_released == 1 && counts.status_reports > 1).await;
    assert_eq!(farm.frame(&farm.booked[0]).await.1, 301);
    assert_eq!(farm.cuebot.counts().completions, 0);
}

#[tokio::test]
async fn a_proc_goes_on_with_the_next_frame_of_its_job_unless_the_show_is_flagged() {
    let cases = [
        (Generation::G0, FarmSpec::simple(3), 3),
        (Generation::G5, simple(3), 3),
        (Generation::G5, FarmSpec::simple(3), 1),
        // What the job has left asks for more than the proc holds.
        (Generation::G5, simple(3).each_layer(|layer| layer.memory = Kib::gib(2)), 1),
    ];
    for (generation, spec, expected) in cases {
        let options = CuebotOptions { next_frames: NextFrames::SameJob, ..quiet() };
        let farm = Farm::new(generation, spec, 1, options).await;
        let options = FleetOptions {
            run_time: RunTime::Fixed(Duration::from_millis(1)),
            report_to: Some(farm.cuebot.address()),
            ..FleetOptions::default()
        };
        let fleet = Fleet::start(FleetHost::all_of(&farm.seeded), options).await.unwrap();
        let agents = agents(&fleet);
        farm.cuebot.call_agents(agents.clone());
        launch(&agents, &farm.booked[0]).await;
        farm.until(|counts| counts.frames_succeeded == expected && counts.procs_released == 1).await;
        assert_eq!(farm.cuebot.counts().next_frames, expected - 1, "{generation}");
        let launches = fleet.launches();
        assert!(launches.iter().all(|launch| launch.resource == farm.booked[0].proc), "{launches:?}");
        assert_eq!((launches.len(), farm.accounts().await, farm.idle_cores().await), (expected, [0; 5], 800));
        assert_eq!(audit(&farm.pool, &launches).await.unwrap().violations, []);
    }
}

/// Two makers of one message, who have nothing in common but the rows.
#[tokio::test]
async fn a_next_frame_is_launched_with_the_message_that_the_scheduler_would_send() {
    let environment =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let spec = simple(3).each_job(|job| {
        (job.uid, job.os) = (Some(1042), Some("rhel9".into()));
        job.environment = environment(&[("LANG", "C"), ("ROOT", "/job"), ("CUE_JOB", "mine")]);
        let layer = &mut job.layers[0];
        (layer.chunk_size, layer.is_threadable, layer.memory) = (3, true, Kib(3_355_443));
        layer.environment = environment(&[("ROOT", "/layer")]);
        layer.command =
            "render #ZFRAME# #IFRAME# #FRAME_START#-#FRAME_END# #FRAMESPEC# #FRAME_CHUNK# #LAYER# #JOB# #FRAME#".into();
    });
    let agent = Agent::start_at((Ipv4Addr::UNSPECIFIED, 0).into(), Behaviour::default()).await;
    let options = CuebotOptions { next_frames: NextFrames::SameJob, agents: Some(agent.client()), ..quiet() };
    let farm = Farm::new(Generation::G5, spec, 1, options).await;
    // More than what a test's booking holds as a rule, so that the next frame fits.
    execute(&farm.pool, "UPDATE proc SET int_mem_reserved = 4194304").await;
    farm.complete(&farm.booked[0], 0).await;
    let launched = || agent.seen.launches.lock().unwrap().first().map(|launch| launch.frame.clone());
    until(async || launched().is_some()).await;
    let sent = launched().unwrap();

    let store = farm.database.store().await;
    let booked = find_booked(&store, std::slice::from_ref(&farm.booked[0].proc)).await.unwrap().pop().unwrap();
    let layers = store.load_layer_launches(std::slice::from_ref(&booked.layer)).await.unwrap().by_layer;
    let now = time::OffsetDateTime::now_utc();
    let expected = build_run_frame(&layers[&booked.layer], &booked, now, &MemoryLimitFactors::default()).unwrap();
    assert!((expected.start_time - sent.start_time).abs() < 60_000, "{} and {}", expected.start_time, sent.start_time);
    assert_eq!(sent, RunFrame { start_time: sent.start_time, ..expected });
}

#[tokio::test]
async fn a_next_frame_that_no_host_takes_goes_back_to_the_queue() {
    let options = CuebotOptions { next_frames: NextFrames::SameJob, ..quiet() };
    let farm = Farm::new(Generation::G5, simple(2), 1, options).await;
    farm.cuebot.call_agents(Agents::new(AgentSettings { port: 1, ..AgentSettings::default() }));
    farm.complete(&farm.booked[0], 0).await;
    until(async || {
        number(&farm.pool, "SELECT count(*) FROM frame WHERE int_exit_status = 299 AND str_state = 'WAITING'").await
            == 1
    })
    .await;
    assert_eq!((farm.cuebot.counts().next_frames, farm.accounts().await, farm.idle_cores().await), (1, [0; 5], 800));
}

/// A scheduler books several layers of one job in one transaction while others of its frames end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn booking_and_releasing_side_by_side_never_deadlock() {
    let spec = simple(60).hosts(8).each_job(|job| {
        job.layers =
            ["first", "second", "third"].map(|name| LayerSpec { name: name.into(), ..job.layers[0].clone() }).into();
    });
    let farm = Farm::new(Generation::G5, spec, 0, CuebotOptions { batch_max: 8, ..quiet() }).await;
    let options = FleetOptions {
        run_time: RunTime::Between(Duration::ZERO, Duration::from_millis(20)),
        report_to: Some(farm.cuebot.address()),
        report_interval: Duration::from_millis(50),
        ..FleetOptions::default()
    };
    let fleet = Fleet::start(FleetHost::all_of(&farm.seeded), options).await.unwrap();
    let agents = agents(&fleet);
    let store = farm.database.store().await;
    while farm.cuebot.counts().frames_succeeded < 180 {
        let booked = book_all(&store, &requests(&store, &farm.seeded, 5).await).await.booked;
        futures::stream::iter(&booked).for_each_concurrent(16, |booked| launch(&agents, booked)).await;
    }
    farm.until(|counts| counts.procs_released == 180).await;
    assert_eq!(audit(&farm.pool, &fleet.launches()).await.unwrap().violations, []);
    // Sessions tell of their deadlocks at the latest when they end.
    fleet.stop().await;
    farm.cuebot.stop().await;
    store.close().await;
    farm.pool.close().await;
    let mut connection = farm.database.connect_options().connect().await.unwrap();
    let deadlocks: i64 = query_scalar("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(deadlocks, 0);
}

#[tokio::test]
async fn reports_outlast_a_restart_of_the_database() {
    let server = PostgresServer::start(&PostgresOptions::default()).await.unwrap();
    server.create_database("farm", None).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(8).connect_lazy_with(server.connect_options("farm"));
    let mut connection = pool.acquire().await.unwrap();
    schema::create(&mut connection, Generation::G5).await.unwrap();
    drop(connection);
    let spec = simple(200).hosts(50).each_job(|job| job.cores_max = Cores::whole(300));
    let seeded = seed(&pool, &spec).await.unwrap();
    let cuebot = Cuebot::start(pool.clone(), Generation::G5, quiet()).await.unwrap();
    let options = FleetOptions {
        run_time: RunTime::Between(Duration::from_millis(1), Duration::from_millis(1500)),
        report_to: Some(cuebot.address()),
        report_interval: Duration::from_millis(200),
        ..FleetOptions::default()
    };
    let fleet = Fleet::start(FleetHost::all_of(&seeded), options).await.unwrap();
    let agents = agents(&fleet);
    let store = Store::connect_with(server.connect_options("farm"), 4).await.unwrap().with_lock_budget(PATIENCE);
    let booked = book_all(&store, &requests(&store, &seeded, 200).await).await.booked;
    futures::stream::iter(&booked).for_each_concurrent(32, |booked| launch(&agents, booked)).await;
    server.restart(RestartMode::Immediate).await.unwrap();
    let left = "SELECT count(*) FROM frame f LEFT JOIN proc p USING (pk_frame) WHERE f.str_state = 'RUNNING' OR p.pk_proc IS NOT NULL";
    until(async || query_scalar::<_, i64>(left).fetch_one(&pool).await.is_ok_and(|left| left == 0)).await;
    until(async || fleet.counts().completions_reported == 200).await;
    assert_eq!(audit(&pool, &fleet.launches()).await.unwrap().violations, []);
    let succeeded: i64 = query_scalar("SELECT count(*) FROM frame WHERE str_state = 'SUCCEEDED' AND int_version = 2")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(succeeded, 200);
    store.close().await;
    pool.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_runs_its_frames_to_the_end_and_the_books_balance() {
    let spec = simple(300).hosts(50).each_job(|job| job.cores_max = Cores::whole(300));
    let farm = Farm::new(Generation::G5, spec, 300, quiet()).await;
    let options = FleetOptions {
        run_time: RunTime::Between(Duration::from_millis(1), Duration::from_millis(100)),
        report_to: Some(farm.cuebot.address()),
        report_interval: Duration::from_millis(200),
        boot_reports: true,
        ..FleetOptions::default()
    };
    let fleet = Fleet::start(FleetHost::all_of(&farm.seeded), options).await.unwrap();
    assert_eq!(farm.cuebot.counts().boots, 50);
    let agents = agents(&fleet);
    futures::stream::iter(&farm.booked).for_each_concurrent(32, |booked| launch(&agents, booked)).await;
    farm.until(|counts| counts.frames_succeeded == 300 && counts.procs_released == 300).await;
    // The answers may still be on their way back.
    until(async || fleet.counts().completions_reported == 300).await;
    let report = audit(&farm.pool, &fleet.launches()).await.unwrap();
    assert_eq!(report.violations, []);
    assert_eq!(farm.accounts().await, [0; 5]);
    assert_eq!(farm.cuebot.counts().jobs_finished, 1);
    assert_eq!(fleet.stop().await, [""; 0]);
    assert_eq!(farm.cuebot.stop().await, [""; 0]);
}

async fn until(holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

fn agents(fleet: &Fleet) -> Agents {
    Agents::new(AgentSettings { port: fleet.port(), ..AgentSettings::default() })
}

async fn launch(agents: &Agents, booked: &Booked) {
    let frame = RunFrame {
        resource_id: booked.proc.to_string(),
        frame_id: booked.frame.to_string(),
        layer_id: booked.layer.to_string(),
        job_id: booked.job.to_string(),
        num_cores: 100,
        ..RunFrame::default()
    };
    let outcome = agents.launch(&booked.host_name, frame).await;
    assert!(matches!(outcome, LaunchOutcome::Launched), "{outcome:?}");
}
