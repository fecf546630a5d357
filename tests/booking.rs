//! Booking, taking back and settling against the real schema with its triggers.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use cue_scheduler::booking::{
    BookOptions, CommitOutcome, Lost, LostReason, UnbookCause, UnbookOutcome, UnknownCommit, book, find_booked,
    find_unsettled, resolve_commit, unbook,
};
use cue_scheduler::db::{Store, StoreError};
use cue_scheduler::farm::audit::audit_rows;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostNames, JobSpec, LayerSpec, Seeded, ShowSpec, seed};
use cue_scheduler::model::{Booked, BookingRequest, FrameId};
use cue_scheduler::units::{Amounts, Cores, Gpus, Kib};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::support::{PATIENCE, TestDatabase, book_all, database, execute, number, one_core, requests, texts};

const OLDEST_AND_NEWEST: [Generation; 2] = [Generation::G0, Generation::G5];

/// Every host has reported since, and named none of the frames booked on it.
const HOSTS_REPORT: &str = "UPDATE host_stat SET ts_ping = current_timestamp + interval '1 second'";

async fn assert_balanced(pool: &PgPool) {
    assert_eq!(audit_rows(pool).await.unwrap().violations, []);
}

struct Farm {
    database: TestDatabase,
    pool: PgPool,
    store: Store,
    seeded: Seeded,
}

async fn farm(generation: Generation, spec: &FarmSpec) -> Farm {
    let database = database(generation).await;
    let pool = database.pool();
    let seeded = seed(&pool, spec).await.unwrap();
    let store = database.patient_store().await;
    Farm { database, pool, store, seeded }
}

/// Two shows, "tight" and "free", each with a folder, a job and a layer of `frames` frames, on two
/// hosts with GPUs.
pub(crate) fn two_shows(frames: u32) -> FarmSpec {
    let show = |name: &str| {
        let job = JobSpec::new("job").layer(LayerSpec::new("render").frames(frames));
        ShowSpec::new(name).subscription("general", Cores(10_000), Cores(10_000)).folder(FolderSpec::new(name).job(job))
    };
    FarmSpec::simple(0)
        .hosts(2)
        .each_host_class(|class| {
            class.total.gpus = Gpus(8);
            class.total.gpu_memory = Kib::gib(64);
        })
        .each_show(|show| show.folders.clear())
        .show(show("tight"))
        .show(show("free"))
}

pub(crate) fn reserving(mut requests: Vec<BookingRequest>, reservation: Amounts) -> Vec<BookingRequest> {
    for request in &mut requests {
        request.reservation = reservation;
    }
    requests
}

#[tokio::test]
async fn a_booking_writes_every_row_that_cuebot_would() {
    let amounts = Amounts { cores: Cores(150), memory: Kib::gib(2), gpus: Gpus(1), gpu_memory: Kib::gib(3) };
    for generation in Generation::ALL {
        let Farm { pool, store, seeded, database: _database } = farm(
            generation,
            &FarmSpec::simple(4)
                .host_names(HostNames::Numbered { prefix: "node".into() })
                .each_host_class(|class| {
                    class.total.gpus = Gpus(4);
                    class.total.gpu_memory = Kib::gib(16);
                })
                .each_job(|job| job.layers.push(LayerSpec::new("comp").frames(4))),
        )
        .await;
        let requests = reserving(requests(&store, &seeded, 2).await, amounts);
        let outcome = book_all(&store, &requests[..3]).await;
        assert_eq!((outcome.booked.len(), outcome.lost.len(), outcome.rolled_back), (3, 0, 0));
        let in_order: Vec<&FrameId> = outcome.booked.iter().map(|booked| &booked.frame).collect();
        assert_eq!(in_order, requests[..3].iter().map(|request| &request.frame.id).collect::<Vec<_>>());
        assert!(outcome.booked.iter().all(|booked| booked.version == 1 && booked.host_name == "node0001"));

        let mut expected: Vec<(&str, Vec<&str>)> = vec![
            (
                "SELECT concat_ws(' ', str_name, str_state, str_host, int_cores, int_mem_reserved, int_gpus, int_gpu_mem_reserved,
                    int_version, int_retries, int_exit_status, ts_started = ts_updated, ts_stopped IS NULL)
                 FROM frame WHERE str_state <> 'WAITING' ORDER BY int_layer_order, int_dispatch_order",
                vec![
                    "0001-render RUNNING node0001 150 2097152 1 3145728 1 0 -1 t t",
                    "0002-render RUNNING node0001 150 2097152 1 3145728 1 0 -1 t t",
                    "0001-comp RUNNING node0001 150 2097152 1 3145728 1 0 -1 t t",
                ],
            ),
            (
                "SELECT DISTINCT concat_ws(' ', h.str_name, s.str_name, p.pk_layer = f.pk_layer, p.pk_job = f.pk_job, int_cores_reserved,
                    p.int_mem_reserved, int_mem_pre_reserved, p.int_mem_used, int_gpus_reserved, p.int_gpu_mem_reserved,
                    int_gpu_mem_pre_reserved, p.int_gpu_mem_used, b_local, b_unbooked, ts_ping = ts_booked, ts_booked = ts_dispatched)
                 FROM proc p JOIN frame f USING (pk_frame) JOIN host h USING (pk_host) JOIN show s USING (pk_show)",
                vec!["node0001 show t t 150 2097152 2097152 262144 1 3145728 3145728 0 f f t t"],
            ),
            (
                "SELECT concat_ws(' ', int_cores_idle, int_mem_idle, int_gpus_idle, int_gpu_mem_idle) FROM host",
                vec!["350 27262976 1 7340032"],
            ),
            ("SELECT concat_ws(' ', int_cores, int_gpus) FROM subscription", vec!["450 3"]),
            (
                "SELECT concat_ws(' ', l.str_name, int_cores, int_gpus) FROM layer_resource JOIN layer l USING (pk_layer) ORDER BY 1",
                vec!["comp 150 1", "render 300 2"],
            ),
            ("SELECT concat_ws(' ', int_cores, int_gpus, int_local_cores) FROM job_resource", vec!["450 3 0"]),
            (
                "SELECT concat_ws(' ', f.str_name, int_cores, int_gpus) FROM folder_resource JOIN folder f USING (pk_folder) ORDER BY 1",
                vec!["comp 450 3", "show 0 0"],
            ),
            ("SELECT concat_ws(' ', int_cores, int_gpus) FROM point", vec!["450 3"]),
            (
                "SELECT concat_ws(' ', l.str_name, int_total_count, int_waiting_count, int_running_count)
                 FROM layer_stat JOIN layer l USING (pk_layer) ORDER BY 1",
                vec!["comp 4 3 1", "render 4 2 2"],
            ),
            ("SELECT concat_ws(' ', int_waiting_count, int_running_count) FROM job_stat", vec!["5 3"]),
        ];
        if generation < Generation::G5 {
            expected.push((
                "SELECT concat_ws(' ', str_name, str_state, str_host, int_cores, int_mem_reserved, int_gpus, int_gpu_mem_reserved,
                    int_ts_stopped, int_exit_status, (SELECT str_name FROM alloc a WHERE a.pk_alloc = h.pk_alloc), int_ts_started > 0)
                 FROM frame_history h ORDER BY 1",
                vec![
                    "0001-comp RUNNING node0001 150 2097152 1 3145728 0 -1 local.general t",
                    "0001-render RUNNING node0001 150 2097152 1 3145728 0 -1 local.general t",
                    "0002-render RUNNING node0001 150 2097152 1 3145728 0 -1 local.general t",
                ],
            ));
        } else {
            expected
                .push(("SELECT str_event::text || count(*) FROM frame_history_queue GROUP BY str_event", vec!["S3"]));
        }
        for (sql, rows) in expected {
            assert_eq!(texts(&pool, sql).await, rows, "{generation}: {sql}");
        }
        let procs: HashSet<String> = texts(&pool, "SELECT pk_proc FROM proc").await.into_iter().collect();
        assert_eq!(procs, outcome.booked.iter().map(|booked| booked.proc.to_string()).collect());
        assert_balanced(&pool).await;
    }
}

#[tokio::test]
async fn a_run_counts_as_a_retry_when_the_last_one_failed_by_its_own_fault() {
    let statuses = [(-1, 0), (0, 1), (33, 1), (137, 1), (256, 0), (286, 0), (299, 0), (301, 0), (302, 0), (399, 0)];
    for generation in OLDEST_AND_NEWEST {
        let frames = u32::try_from(statuses.len() + 1).unwrap();
        let Farm { pool, store, seeded, database: _database } =
            farm(generation, &FarmSpec::simple(frames).hosts(2).limit("licence", 9)).await;
        // A licence that was not to be had is nobody's fault, where the schema says which status means it.
        let claimed = generation == Generation::G5;
        if claimed {
            execute(&pool, "UPDATE limit_record SET int_exit_status = 330").await;
        }
        let mut statuses = statuses.to_vec();
        statuses.push((330, i32::from(!claimed)));
        for ((status, _), order) in statuses.iter().zip(0..) {
            execute(&pool, &format!("UPDATE frame SET int_exit_status = {status} WHERE int_dispatch_order = {order}"))
                .await;
        }
        book_all(&store, &requests(&store, &seeded, frames).await).await;
        let retries =
            texts(&pool, "SELECT int_exit_status || ' ' || int_retries FROM frame ORDER BY int_dispatch_order").await;
        let expected: Vec<String> = statuses.iter().map(|(status, retries)| format!("{status} {retries}")).collect();
        assert_eq!(retries, expected, "{generation}");
    }
}

#[tokio::test]
async fn a_frame_that_is_not_there_to_take_is_lost_alone() {
    const FIRST: &str = "pk_frame = (SELECT pk_frame FROM frame WHERE str_name = '0001-render')";
    for (what, generation, sql) in [
        ("taken", Generation::G0, format!("UPDATE frame SET str_state = 'RUNNING' WHERE {FIRST}")),
        ("depends", Generation::G0, format!("UPDATE frame SET int_depend_count = 1 WHERE {FIRST}")),
        ("changed", Generation::G5, format!("UPDATE frame SET int_version = int_version + 1 WHERE {FIRST}")),
        ("has lost its version", Generation::G0, format!("UPDATE frame SET int_version = NULL WHERE {FIRST}")),
        ("gone", Generation::G0, format!("DELETE FROM frame WHERE {FIRST}")),
        (
            "still held by a proc",
            Generation::G5,
            format!(
                "INSERT INTO proc (pk_proc, pk_host, pk_frame, int_cores_reserved, int_mem_reserved)
                 SELECT 'old', pk_host, pk_frame, 100, 1 FROM host, frame WHERE {FIRST}"
            ),
        ),
    ] {
        let Farm { pool, store, seeded, database: _database } = farm(generation, &FarmSpec::simple(3)).await;
        let requests = requests(&store, &seeded, 3).await;
        execute(&pool, &sql).await;
        let outcome = book_all(&store, &requests).await;
        assert_eq!(outcome.booked.len(), 2, "{what}");
        let lost: Vec<_> = outcome.lost.iter().map(|lost| (&lost.frame, lost.reason)).collect();
        assert_eq!(lost, [(&requests[0].frame.id, LostReason::FrameTaken)], "{what}");
    }
}

#[tokio::test]
async fn a_frame_that_somebody_holds_is_lost_without_waiting() {
    let Farm { pool, store, seeded, database: _database } = farm(Generation::G0, &FarmSpec::simple(3)).await;
    let requests = requests(&store, &seeded, 3).await;
    let mut other = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM frame WHERE str_name = '0002-render' FOR UPDATE").execute(&mut *other).await.unwrap();
    let outcome = book_all(&store, &requests).await;
    other.rollback().await.unwrap();
    assert_eq!((outcome.booked.len(), outcome.rolled_back), (2, 0));
    assert_eq!(outcome.lost[0].frame, requests[1].frame.id);
    assert_balanced(&pool).await;
}

#[tokio::test]
async fn work_that_may_not_start_any_more_is_lost_and_other_work_is_not() {
    let cases = [
        (Generation::G0, "UPDATE job SET b_paused = true WHERE str_show = 'tight'"),
        (Generation::G0, "UPDATE job SET b_auto_book = false WHERE str_show = 'tight'"),
        (Generation::G5, "UPDATE job SET str_state = 'FINISHED' WHERE str_show = 'tight'"),
        (
            Generation::G5,
            "UPDATE layer SET ts_start_after = current_timestamp + interval '1 hour'
             WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'tight')",
        ),
    ];
    for (generation, sql) in cases {
        let Farm { pool, store, seeded, database: _database } = farm(generation, &two_shows(2)).await;
        let requests = requests(&store, &seeded, 2).await;
        execute(&pool, sql).await;
        let outcome = book_all(&store, &requests).await;
        assert_eq!(outcome.booked.len(), 2, "{sql}");
        assert!(outcome.booked.iter().all(|booked| booked.job == seeded.jobs[1].id), "{sql}");
        assert!(outcome.lost.iter().all(|lost| lost.reason == LostReason::FrameTaken), "{sql}");
    }
    // Once the time has come, it may start.
    let Farm { pool, store, seeded, database: _database } = farm(Generation::G5, &FarmSpec::simple(1)).await;
    let requests = requests(&store, &seeded, 1).await;
    execute(&pool, "UPDATE layer SET ts_start_after = current_timestamp").await;
    assert_eq!(book_all(&store, &requests).await.booked.len(), 1);
}

#[tokio::test]
async fn one_frame_twice_in_a_chunk_is_booked_once() {
    let Farm { pool, store, seeded, database: _database } = farm(Generation::G5, &FarmSpec::simple(2)).await;
    let mut requests = requests(&store, &seeded, 2).await;
    requests.push(BookingRequest { proc: "second".into(), ..requests[0].clone() });
    let mut nothing = requests[1].clone();
    nothing.reservation.cores = Cores::ZERO;
    requests[1] = nothing;
    let outcome = book_all(&store, &requests).await;
    let lost: Vec<LostReason> = outcome.lost.iter().map(|lost| lost.reason).collect();
    assert_eq!((outcome.booked.len(), lost), (1, vec![LostReason::NothingReserved, LostReason::FrameTaken]));
    assert_balanced(&pool).await;
}

/// What a cap refuses of four requests for the show "tight", two on each host.
struct CapCase {
    reason: LostReason,
    narrow: &'static str,
    restore: &'static str,
    /// How many of the four are booked all the same.
    booked: usize,
}

const OF_TIGHT_JOB: &str = "(SELECT pk_job FROM job WHERE str_show = 'tight')";

fn cap_cases() -> Vec<CapCase> {
    let case = |reason, narrow, restore, booked| CapCase { reason, narrow, restore, booked };
    vec![
        case(
            LostReason::BurstReached,
            "UPDATE subscription SET int_burst = 200 WHERE pk_show = (SELECT pk_show FROM show WHERE str_name = 'tight')",
            "UPDATE subscription SET int_burst = 10000",
            2,
        ),
        case(
            LostReason::BurstReached,
            "UPDATE subscription SET int_burst = 0 WHERE pk_show = (SELECT pk_show FROM show WHERE str_name = 'tight')",
            "UPDATE subscription SET int_burst = 10000",
            0,
        ),
        case(
            LostReason::NoSubscription,
            "CREATE TABLE kept AS SELECT * FROM subscription WHERE pk_show = (SELECT pk_show FROM show WHERE str_name = 'tight');
             DELETE FROM subscription WHERE pk_subscription IN (SELECT pk_subscription FROM kept)",
            "INSERT INTO subscription SELECT * FROM kept; DROP TABLE kept",
            0,
        ),
        case(
            LostReason::JobCores,
            "UPDATE job_resource SET int_max_cores = 399 WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'tight')",
            "UPDATE job_resource SET int_max_cores = 10000",
            3,
        ),
        case(
            LostReason::JobCores,
            "UPDATE job_resource SET int_max_cores = -1 WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'tight')",
            "UPDATE job_resource SET int_max_cores = 10000",
            0,
        ),
        case(
            LostReason::JobGpus,
            "UPDATE job_resource SET int_max_gpus = 1 WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'tight')",
            "UPDATE job_resource SET int_max_gpus = 100",
            1,
        ),
        case(
            LostReason::FolderCores,
            "UPDATE folder_resource SET int_max_cores = 200 WHERE pk_folder = (SELECT pk_folder FROM job WHERE str_show = 'tight')",
            "UPDATE folder_resource SET int_max_cores = -1",
            2,
        ),
        case(
            LostReason::FolderCores,
            "UPDATE folder_resource SET int_max_cores = 0 WHERE pk_folder = (SELECT pk_folder FROM job WHERE str_show = 'tight')",
            "UPDATE folder_resource SET int_max_cores = -1",
            0,
        ),
        case(
            LostReason::FolderGpus,
            "UPDATE folder_resource SET int_max_gpus = 3 WHERE pk_folder = (SELECT pk_folder FROM job WHERE str_show = 'tight')",
            "UPDATE folder_resource SET int_max_gpus = -1",
            3,
        ),
        case(
            LostReason::CounterMissing,
            "CREATE TABLE kept AS SELECT * FROM folder_resource WHERE pk_folder = (SELECT pk_folder FROM job WHERE str_show = 'tight');
             DELETE FROM folder_resource WHERE pk_folder IN (SELECT pk_folder FROM kept)",
            "INSERT INTO folder_resource SELECT * FROM kept; DROP TABLE kept",
            0,
        ),
        case(
            LostReason::LimitReached,
            "INSERT INTO limit_record (pk_limit_record, str_name, int_max_value) VALUES ('limit', 'nuke', 1);
             INSERT INTO layer_limit (pk_layer_limit, pk_layer, pk_limit_record)
             SELECT 'link', pk_layer, 'limit' FROM layer WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'tight')",
            "DELETE FROM layer_limit; DELETE FROM limit_record",
            1,
        ),
    ]
}

#[tokio::test]
async fn each_cap_refuses_its_own_part_and_says_why() {
    let wanted = Amounts { gpus: Gpus(1), ..one_core() };
    for generation in OLDEST_AND_NEWEST {
        let Farm { pool, store, seeded, database: _database } = farm(generation, &two_shows(4)).await;
        let tight = texts(&pool, &format!("SELECT pk_job FROM job WHERE pk_job = {OF_TIGHT_JOB}")).await;
        for CapCase { reason, narrow, restore, booked } in cap_cases() {
            let requests = reserving(requests(&store, &seeded, 4).await, wanted);
            assert_eq!(requests.len(), 8);
            execute(&pool, narrow).await;
            let outcome = book_all(&store, &requests).await;
            let of_tight = |job: &str| tight.iter().any(|tight| tight == job);
            let (tight_booked, free_booked): (Vec<&Booked>, Vec<&Booked>) =
                outcome.booked.iter().partition(|booked| of_tight(booked.job.as_str()));
            assert_eq!(
                (tight_booked.len(), free_booked.len()),
                (booked, 4),
                "{generation} {reason}: {:?}",
                outcome.lost
            );
            assert_eq!(outcome.lost.len(), 4 - booked);
            assert!(outcome.lost.iter().all(|lost| lost.reason == reason), "{generation} {reason}: {:?}", outcome.lost);
            if !matches!(reason, LostReason::CounterMissing) {
                assert_balanced(&pool).await;
            }
            execute(&pool, restore).await;
            let undone = unbook(&store, &outcome.booked, UnbookCause::LaunchRefused).await.unwrap();
            assert_eq!(undone.unbooked.len(), outcome.booked.len());
            assert_balanced(&pool).await;
        }
    }
}

#[tokio::test]
async fn a_host_without_room_or_locked_loses_only_its_own_requests() {
    for (reason, sql, booked_there) in [
        (LostReason::HostLacksRoom, "UPDATE host SET int_cores_idle = 199, int_cores = 199", 1),
        (LostReason::HostLacksRoom, "UPDATE host SET int_mem_idle = 1048575, int_mem = 1048575", 0),
        (LostReason::HostNotOpen, "UPDATE host SET str_lock_state = 'LOCKED'", 0),
        (LostReason::HostNotOpen, "UPDATE host SET str_lock_state = 'NIMBY_LOCKED'", 0),
    ] {
        let Farm { pool, store, seeded, database: _database } = farm(Generation::G0, &two_shows(4)).await;
        let requests = requests(&store, &seeded, 4).await;
        let narrow = &seeded.hosts[0].id;
        execute(&pool, &format!("{sql} WHERE pk_host = '{narrow}'")).await;
        let outcome = book_all(&store, &requests).await;
        assert_eq!(outcome.booked.iter().filter(|booked| booked.host == *narrow).count(), booked_there, "{sql}");
        assert_eq!(outcome.booked.len(), 4 + booked_there, "{sql}");
        assert!(outcome.lost.iter().all(|lost| lost.host == *narrow && lost.reason == reason), "{:?}", outcome.lost);
        assert_balanced(&pool).await;
    }
}

#[tokio::test]
async fn a_row_that_the_database_refuses_costs_only_itself() {
    let Farm { pool, store, seeded, database: _database } = farm(Generation::G0, &FarmSpec::simple(6)).await;
    let mut requests = requests(&store, &seeded, 6).await;
    // Too long for the history that the start writes.
    requests[2].host_name = "x".repeat(65);
    let outcome = book_all(&store, &requests).await;
    assert_eq!(outcome.booked.len(), 5);
    let lost: Vec<_> = outcome.lost.iter().map(|lost| (&lost.frame, lost.reason)).collect();
    assert_eq!(lost, [(&requests[2].frame.id, LostReason::Refused)]);
    assert_balanced(&pool).await;
}

/// Books all chunks at once, and again what was only held by another of them, as passes do.
async fn book_concurrently(
    store: &Store,
    chunks: Vec<Vec<BookingRequest>>,
) -> (Vec<Booked>, BTreeMap<LostReason, usize>) {
    let mut running = JoinSet::new();
    for mut chunk in chunks {
        let store = store.clone();
        running.spawn(async move {
            let (mut booked, mut lost) = (Vec::new(), Vec::new());
            while !chunk.is_empty() {
                let outcome = book_all(&store, &chunk).await;
                booked.extend(outcome.booked);
                let (held, gone): (Vec<Lost>, Vec<Lost>) = outcome.lost.into_iter().partition(is_held);
                lost.extend(gone);
                chunk.retain(|request| held.iter().any(|held| held.frame == request.frame.id));
            }
            (booked, lost)
        });
    }
    let (mut booked, mut lost) = (Vec::new(), BTreeMap::new());
    for (some_booked, some_lost) in running.join_all().await {
        booked.extend(some_booked);
        for one in some_lost {
            *lost.entry(one.reason).or_default() += 1;
        }
    }
    (booked, lost)
}

fn is_held(lost: &Lost) -> bool {
    use LostReason::{FrameLocked, HostLocked, NotTried, RowLocked};
    matches!(lost.reason, FrameLocked | HostLocked | RowLocked | NotTried)
}

pub(crate) fn by_host(requests: Vec<BookingRequest>) -> Vec<Vec<BookingRequest>> {
    let mut chunks: BTreeMap<String, Vec<BookingRequest>> = BTreeMap::new();
    for request in requests {
        chunks.entry(request.host_name.clone()).or_default().push(request);
    }
    chunks.into_values().collect()
}

/// Eight hosts and two jobs whose layers share the limits.
fn limited(limits: &[&str]) -> FarmSpec {
    let layer =
        LayerSpec { limits: limits.iter().map(ToString::to_string).collect(), ..LayerSpec::new("sim").frames(20) };
    let mut spec = FarmSpec::simple(20)
        .hosts(8)
        .each_host_class(|class| class.total.cores = Cores::whole(16))
        .host_names(HostNames::Numbered { prefix: "node".into() })
        .each_layer(|other| other.limits.clone_from(&layer.limits));
    spec.shows[0].folders[0].jobs.push(JobSpec::new("other").layer(layer));
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn limits_are_exact_however_many_book_at_once() {
    for generation in OLDEST_AND_NEWEST {
        let spec = limited(&["nuke", "wide"]).limit("nuke", 7).limit("wide", 1_000);
        let Farm { pool, store, seeded, database: _database } = farm(generation, &spec).await;
        let chunks = by_host(requests(&store, &seeded, 20).await);
        assert_eq!(chunks.len(), 8);
        let (booked, lost) = book_concurrently(&store, chunks).await;
        assert_eq!((booked.len(), lost), (7, BTreeMap::from([(LostReason::LimitReached, 33)])), "{generation}");
        assert_balanced(&pool).await;

        // What one gives back, another gets.
        unbook(&store, &booked[..3], UnbookCause::LaunchRefused).await.unwrap();
        let chunks = by_host(requests(&store, &seeded, 20).await);
        assert_eq!(book_concurrently(&store, chunks).await.0.len(), 3, "{generation}");
        assert_balanced(&pool).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_limit_on_hosts_gives_out_seats_and_not_frames() {
    let Farm { pool, store, seeded, database: _database } =
        farm(Generation::G5, &limited(&["houdini"]).host_limit("houdini", 3)).await;
    let (booked, lost) = book_concurrently(&store, by_host(requests(&store, &seeded, 20).await)).await;
    let hosts: HashSet<&str> = booked.iter().map(|booked| booked.host_name.as_str()).collect();
    assert_eq!((hosts.len(), booked.len(), lost[&LostReason::LimitReached]), (3, 15, 25));
    assert_balanced(&pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reported_seats_count_and_their_hosts_need_none() {
    let Farm { pool, store, seeded, database: _database } =
        farm(Generation::G5, &limited(&["houdini"]).host_limit("houdini", 3)).await;
    // Two seats are out there: a desk that is none of our hosts, and one of ours under its full name.
    execute(
        &pool,
        "UPDATE limit_record SET ts_reported = current_timestamp;
         INSERT INTO limit_host (pk_limit_host, pk_limit_record, str_host_name, str_reported_name, ts_reported)
         SELECT name, pk_limit_record, name, name, current_timestamp FROM limit_record, unnest(ARRAY['desk', 'node0004']) AS name",
    )
    .await;
    let (booked, _) = book_concurrently(&store, by_host(requests(&store, &seeded, 20).await)).await;
    let hosts: HashSet<&str> = booked.iter().map(|booked| booked.host_name.as_str()).collect();
    assert!(hosts.len() == 2 && hosts.contains("node0004"), "{hosts:?}");
    assert_eq!(booked.len(), 10);

    // A report that is too old is no hindrance, nor is a limit that only advises.
    execute(&pool, "UPDATE limit_record SET ts_reported = current_timestamp - interval '1 hour'").await;
    let (booked, lost) = book_concurrently(&store, by_host(requests(&store, &seeded, 20).await)).await;
    assert_eq!((booked.len(), lost.len()), (30, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_who_want_the_same_frames_get_each_once() {
    let Farm { pool, store, seeded, database: _database } = farm(Generation::G5, &FarmSpec::simple(60).hosts(8)).await;
    let wanted = requests(&store, &seeded, 60).await;
    let chunks = (0..8).map(|booker| {
        let of_booker = |request: &BookingRequest| BookingRequest {
            proc: format!("{booker}-{}", request.frame.number).into(),
            ..request.clone()
        };
        wanted.iter().map(of_booker).collect()
    });
    let (booked, lost) = book_concurrently(&store, chunks.collect()).await;
    let frames: HashSet<&FrameId> = booked.iter().map(|booked| &booked.frame).collect();
    assert_eq!((booked.len(), frames.len(), lost[&LostReason::FrameTaken]), (60, 60, 7 * 60));
    assert_balanced(&pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_host_a_burst_and_a_cap_hold_when_all_want_the_last_cores() {
    // Eight cores on the host, ten in the burst, six under the job's cap.
    for (burst, job_cap, wanted, reason) in [
        (100_000, 10_000, 8, LostReason::HostLacksRoom),
        (500, 10_000, 5, LostReason::BurstReached),
        (100_000, 650, 6, LostReason::JobCores),
    ] {
        let spec = FarmSpec::simple(40)
            .each_subscription(|subscription| subscription.burst = Cores(burst))
            .each_job(|job| job.cores_max = Cores(job_cap));
        let Farm { pool, store, seeded, database: _database } = farm(Generation::G0, &spec).await;
        let chunks = requests(&store, &seeded, 40).await.chunks(5).map(<[BookingRequest]>::to_vec).collect();
        let (booked, lost) = book_concurrently(&store, chunks).await;
        assert_eq!((booked.len(), lost), (wanted, BTreeMap::from([(reason, 40 - wanted)])));
        assert_balanced(&pool).await;
    }
}

/// What Cuebot does when a frame has ended: stop the frame, then release its proc, each in a
/// transaction of single-row statements, in its order of locks.
pub(crate) async fn complete_as_cuebot(pool: &PgPool, proc: &str, state: &str) -> sqlx::Result<bool> {
    let mut stop = pool.begin().await?;
    let stopped = sqlx::query(
        "UPDATE frame f SET str_state = $2, int_exit_status = 0, ts_stopped = current_timestamp,
            ts_updated = current_timestamp, int_version = int_version + 1
         WHERE f.pk_frame = (SELECT pk_frame FROM proc WHERE pk_proc = $1) AND f.str_state = 'RUNNING'",
    );
    if stopped.bind(proc).bind(state).execute(&mut *stop).await?.rows_affected() == 0 {
        stop.rollback().await?;
        return Ok(false);
    }
    sqlx::query("UPDATE proc SET pk_frame = NULL WHERE pk_proc = $1").bind(proc).execute(&mut *stop).await?;
    stop.commit().await?;

    let mut release = pool.begin().await?;
    let deleted: Option<(String, String, String, String, i64, i64)> = sqlx::query_as(
        "DELETE FROM proc WHERE pk_proc = $1
         RETURNING pk_host, pk_show, pk_layer, pk_job, int_cores_reserved, int_mem_reserved",
    )
    .bind(proc)
    .fetch_optional(&mut *release)
    .await?;
    if let Some((host, show, layer, job, cores, memory)) = deleted {
        let host_amounts =
            "UPDATE host SET int_cores_idle = int_cores_idle + $2, int_mem_idle = int_mem_idle + $3 WHERE pk_host = $1";
        sqlx::query(host_amounts).bind(&host).bind(cores).bind(memory).execute(&mut *release).await?;
        for (sql, key) in [
            (
                "UPDATE subscription SET int_cores = int_cores - $2
                 WHERE pk_show = $1 AND pk_alloc = (SELECT pk_alloc FROM host LIMIT 1)",
                &show,
            ),
            ("UPDATE layer_resource SET int_cores = int_cores - $2 WHERE pk_layer = $1", &layer),
            ("UPDATE job_resource SET int_cores = int_cores - $2 WHERE pk_job = $1", &job),
            (
                "UPDATE folder_resource SET int_cores = int_cores - $2
                 WHERE pk_folder = (SELECT pk_folder FROM job WHERE pk_job = $1)",
                &job,
            ),
            (
                "UPDATE point SET int_cores = int_cores - $2
                 WHERE (pk_show, pk_dept) = (SELECT pk_show, pk_dept FROM job WHERE pk_job = $1)",
                &job,
            ),
        ] {
            sqlx::query(sql).bind(key).bind(cores).execute(&mut *release).await?;
        }
    }
    release.commit().await?;
    Ok(true)
}

/// Four layers in each of two jobs of one show, so that bookings and stops meet on every counter.
pub(crate) fn crossing_layers(frames: u32) -> FarmSpec {
    let job = |name: &str| {
        (1..=4).fold(JobSpec::new(name).cores_max(Cores(100_000)), |job, layer| {
            job.layer(LayerSpec::new(&format!("layer{layer}")).frames(frames))
        })
    };
    let mut spec = FarmSpec::simple(0).hosts(6).each_host_class(|class| {
        class.total.cores = Cores::whole(400);
        class.total.memory = Kib::gib(400);
    });
    spec.shows[0].subscriptions[0].burst = Cores(1_000_000);
    spec.shows[0].folders[0].jobs = vec![job("one"), job("two")];
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bookings_stops_and_takings_back_never_deadlock() {
    for generation in OLDEST_AND_NEWEST {
        let Farm { pool, store, seeded, database: _database } = farm(generation, &crossing_layers(40)).await;
        let frames = i64::try_from(seeded.frames).unwrap();
        let (booked_procs, to_complete) = tokio::sync::mpsc::unbounded_channel::<Booked>();
        let to_complete = std::sync::Arc::new(tokio::sync::Mutex::new(to_complete));

        let mut tasks = JoinSet::new();
        for booker in 0_usize..3 {
            let (store, seeded, booked_procs) = (store.clone(), seeded.clone(), booked_procs.clone());
            tasks.spawn(async move {
                for round in 0_usize.. {
                    let mut wanted = requests(&store, &seeded, 5).await;
                    if wanted.is_empty() {
                        break;
                    }
                    // Each booker goes through the layers in another order.
                    let turn = (booker * 13 + round) % wanted.len();
                    wanted.rotate_left(turn);
                    let outcome = book_all(&store, &wanted).await;
                    for (booked, number) in outcome.booked.into_iter().zip(0..) {
                        // Some launches are refused.
                        if number % 7 == 3 {
                            // A host that another one holds is come back to.
                            let take_back =
                                || unbook(&store, std::slice::from_ref(&booked), UnbookCause::LaunchRefused);
                            while !take_back().await.unwrap().locked.is_empty() {}
                        } else {
                            booked_procs.send(booked).unwrap();
                        }
                    }
                }
            });
        }
        drop(booked_procs);
        for _ in 0..4 {
            let (pool, to_complete) = (pool.clone(), to_complete.clone());
            tasks.spawn(async move {
                loop {
                    let Some(booked) = to_complete.lock().await.recv().await else { break };
                    let stopped = complete_as_cuebot(&pool, booked.proc.as_str(), "SUCCEEDED").await;
                    assert!(stopped.expect("no stop meets a deadlock"));
                }
            });
        }
        let done = async {
            while let Some(task) = tasks.join_next().await {
                task.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_mins(2), done).await.expect("nobody waits for ever");
        assert_eq!(
            number(&pool, "SELECT count(*) FROM frame WHERE str_state = 'SUCCEEDED'").await,
            frames,
            "{generation}"
        );
        assert_eq!(number(&pool, "SELECT count(*) FROM proc").await, 0);
        assert_balanced(&pool).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booking_that_loses_a_deadlock_is_tried_again() {
    let Farm { pool, store, seeded, database: _database } = farm(Generation::G0, &FarmSpec::simple(3)).await;
    let wanted = requests(&store, &seeded, 3).await;
    // Somebody goes through the rows in the wrong order, and is patient enough to win.
    let mut other = pool.begin().await.unwrap();
    sqlx::query("SET LOCAL deadlock_timeout = '1min'").execute(&mut *other).await.unwrap();
    sqlx::query("SELECT FROM point FOR UPDATE").execute(&mut *other).await.unwrap();
    let booking = tokio::spawn({
        let (store, wanted) = (store.clone(), wanted.clone());
        async move { book_all(&store, &wanted).await }
    });
    let waits = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()";
    let waiting = async {
        while number(&pool, waits).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the booking waits for the point");
    sqlx::query("SELECT FROM host FOR UPDATE").execute(&mut *other).await.expect("the booking gives way");
    other.commit().await.unwrap();
    let first = booking.await.unwrap();
    assert!(first.rolled_back >= 1);
    // Whether the other is gone when the booking looks who held it up is for the two to decide: then it books
    // at once, and else the next one does. Nothing is lost for another reason, and nothing half done.
    assert!(first.lost.iter().all(|lost| lost.reason == LostReason::RowLocked), "{:?}", first.lost);
    let left: Vec<BookingRequest> =
        wanted.into_iter().filter(|wanted| first.booked.iter().all(|booked| booked.frame != wanted.frame.id)).collect();
    assert_eq!(left.len(), first.lost.len());
    let second = book_all(&store, &left).await;
    assert_eq!((second.booked.len(), second.lost.len()), (left.len(), 0));
    assert_balanced(&pool).await;
}

#[tokio::test]
async fn taking_back_undoes_a_booking_and_leaves_alone_what_has_ended() {
    for generation in OLDEST_AND_NEWEST {
        let Farm { pool, store, seeded, database: _database } = farm(generation, &FarmSpec::simple(4)).await;
        let booked = book_all(&store, &requests(&store, &seeded, 4).await).await.booked;
        assert!(complete_as_cuebot(&pool, booked[0].proc.as_str(), "SUCCEEDED").await.unwrap());
        // Cuebot raised the memory of a running frame; a trigger takes it from the host.
        execute(
            &pool,
            &format!("UPDATE proc SET int_mem_reserved = int_mem_reserved + 1024 WHERE pk_proc = '{}'", booked[1].proc),
        )
        .await;
        // A frame with checkpoints would come back as CHECKPOINT, and stay there.
        execute(
            &pool,
            &format!("UPDATE frame SET str_checkpoint_state = 'ENABLED' WHERE pk_frame = '{}'", booked[2].frame),
        )
        .await;

        let undone = unbook(&store, &booked[..3], UnbookCause::NotRunning).await.unwrap();
        let expected = UnbookOutcome {
            unbooked: vec![booked[1].proc.clone(), booked[2].proc.clone()],
            left_alone: vec![booked[0].proc.clone()],
            ..UnbookOutcome::default()
        };
        assert_eq!(undone, expected);
        assert_eq!(
            texts(
                &pool,
                "SELECT concat_ws(' ', str_name, str_state, int_exit_status, int_version, str_checkpoint_state, ts_stopped IS NULL)
                 FROM frame ORDER BY int_dispatch_order"
            )
            .await,
            [
                "0001-render SUCCEEDED 0 2 DISABLED f",
                "0002-render WAITING 299 2 DISABLED f",
                "0003-render WAITING 299 2 DISABLED f",
                "0004-render RUNNING -1 1 DISABLED t",
            ]
        );
        assert_eq!(
            texts(&pool, "SELECT concat_ws(' ', int_cores_idle, int_mem_idle) FROM host").await,
            ["700 32505856"]
        );
        let history = if generation == Generation::G0 {
            "SELECT str_name || ' ' || (int_ts_stopped = 0) FROM frame_history ORDER BY 1"
        } else {
            "SELECT str_event::text || count(*) FROM frame_history_queue GROUP BY str_event ORDER BY 1"
        };
        let expected = if generation == Generation::G0 {
            vec!["0001-render false", "0004-render true"]
        } else {
            vec!["E1", "S4", "X2"]
        };
        assert_eq!(texts(&pool, history).await, expected);
        assert_balanced(&pool).await;

        // Once more does no harm, and the frames can be booked again without a retry.
        let again = unbook(&store, &booked[..3], UnbookCause::NotRunning).await.unwrap();
        assert_eq!((again.unbooked.len(), again.left_alone.len()), (0, 3));
        let outcome = book_all(&store, &requests(&store, &seeded, 4).await).await;
        assert_eq!(outcome.booked.len(), 2);
        assert!(outcome.booked.iter().all(|booked| booked.version == 3));
        assert_eq!(number(&pool, "SELECT sum(int_retries) FROM frame").await, 0);
        assert_balanced(&pool).await;
    }
}

#[tokio::test]
async fn a_booking_that_is_not_as_it_was_written_is_left_alone() {
    for (what, sql) in [
        ("its frame has another version", "UPDATE frame SET int_version = int_version + 1"),
        ("another proc holds its frame", "UPDATE proc SET pk_proc = 'other'"),
        ("its frame depends again", "UPDATE frame SET str_state = 'EATEN'"),
        ("its proc holds no frame", "UPDATE proc SET pk_frame = NULL"),
        ("it is somebody's local work", "UPDATE proc SET b_local = true"),
    ] {
        let Farm { pool, store, seeded, database: _database } = farm(Generation::G0, &FarmSpec::simple(1)).await;
        let booked = book_all(&store, &requests(&store, &seeded, 1).await).await.booked;
        execute(&pool, sql).await;
        let before = texts(&pool, "SELECT frame::text || proc::text || host::text FROM frame, proc, host").await;
        let undone = unbook(&store, &booked, UnbookCause::NotRunning).await.unwrap();
        assert_eq!((undone.unbooked.len(), undone.left_alone.len(), undone.refused.len()), (0, 1, 0), "{what}");
        let after = texts(&pool, "SELECT frame::text || proc::text || host::text FROM frame, proc, host").await;
        assert_eq!(before, after, "{what}");
    }
}

#[tokio::test]
async fn a_booking_whose_taking_back_is_refused_stands_and_the_others_do_not() {
    let Farm { pool, store, seeded, database: _database } = farm(Generation::G0, &FarmSpec::simple(3).hosts(3)).await;
    let booked = book_all(&store, &requests(&store, &seeded, 3).await).await.booked;
    execute(
        &pool,
        &format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
             CREATE TRIGGER refuse BEFORE UPDATE ON host FOR EACH ROW WHEN (NEW.pk_host = '{}') EXECUTE FUNCTION refuse()",
            booked[1].host
        ),
    )
    .await;
    let undone = unbook(&store, &booked, UnbookCause::LaunchRefused).await.unwrap();
    assert_eq!(undone.refused, [booked[1].proc.clone()]);
    assert_eq!(undone.unbooked, [booked[0].proc.clone(), booked[2].proc.clone()]);
    assert_balanced(&pool).await;
    execute(&pool, HOSTS_REPORT).await;
    let left = find_unsettled(&store, &[seeded.shows[0].id.clone()], Duration::ZERO, true).await.unwrap();
    assert_eq!(left, booked[1..2]);
}

#[tokio::test]
async fn bookings_that_nobody_reported_are_found_as_they_were_written() {
    let Farm { pool, store, seeded, database: _database } = farm(Generation::G5, &FarmSpec::simple(4)).await;
    let shows = [seeded.shows[0].id.clone()];
    let mut booked = book_all(&store, &requests(&store, &seeded, 4).await).await.booked;
    booked.sort_by(|a, b| a.proc.cmp(&b.proc));
    // As long as Cuebot has not heard of the hosts, nobody can say what they do not run.
    assert_eq!(find_unsettled(&store, &shows, Duration::ZERO, true).await.unwrap(), []);
    execute(&pool, HOSTS_REPORT).await;
    assert_eq!(find_unsettled(&store, &shows, Duration::ZERO, true).await.unwrap(), booked);
    assert_eq!(find_unsettled(&store, &shows, Duration::from_mins(1), true).await.unwrap(), []);
    assert_eq!(find_unsettled(&store, &["other".into()], Duration::ZERO, true).await.unwrap(), []);

    // A report, an end, and a long while.
    execute(
        &pool,
        &format!("UPDATE proc SET ts_ping = ts_dispatched + interval '1 second' WHERE pk_proc = '{}'", booked[0].proc),
    )
    .await;
    assert!(complete_as_cuebot(&pool, booked[1].proc.as_str(), "WAITING").await.unwrap());
    assert_eq!(find_unsettled(&store, &shows, Duration::ZERO, true).await.unwrap(), booked[2..]);
    let hour_ago =
        "UPDATE proc SET ts_dispatched = ts_dispatched - interval '1 hour', ts_ping = ts_ping - interval '1 hour'";
    execute(&pool, &format!("{hour_ago} WHERE pk_proc = '{}'", booked[2].proc)).await;
    assert_eq!(find_unsettled(&store, &shows, Duration::from_mins(1), true).await.unwrap(), booked[2..3]);

    let all: Vec<_> = booked.iter().map(|booked| booked.proc.clone()).chain(["none".into()]).collect();
    let expected = [booked[0].clone(), booked[2].clone(), booked[3].clone()];
    assert_eq!(find_booked(&store, &all).await.unwrap(), expected);
}

#[tokio::test]
async fn a_commit_is_undecided_while_its_transaction_lives_and_the_rows_tell_afterwards() {
    let Farm { pool, store, seeded, database: _database } = farm(Generation::G0, &FarmSpec::simple(2)).await;
    let booked = book_all(&store, &requests(&store, &seeded, 1).await).await.booked;
    let mut other = pool.begin().await.unwrap();
    let transaction: i64 = sqlx::query_scalar("SELECT txid_current()").fetch_one(&mut *other).await.unwrap();
    let never = Booked { proc: "never".into(), ..booked[0].clone() };
    let unknown =
        UnknownCommit { transaction, bookings: vec![booked[0].clone(), never], source: StoreError::Unanswered };
    assert_eq!(resolve_commit(&store, &unknown).await.unwrap(), CommitOutcome::Undecided);
    other.commit().await.unwrap();
    assert_eq!(resolve_commit(&store, &unknown).await.unwrap(), CommitOutcome::Settled(booked));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_in_the_commit_leaves_an_unknown_that_can_be_resolved() {
    let Farm { pool, store, seeded, database: _database } = farm(Generation::G0, &FarmSpec::simple(2)).await;
    // The commit waits for a lock that the test holds, until its server process is ended.
    execute(
        &pool,
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON proc DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()",
    )
    .await;
    let mut holder = pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock(1)").execute(&mut *holder).await.unwrap();
    let wanted = requests(&store, &seeded, 2).await;
    let booking = tokio::spawn({
        let (store, wanted) = (store.clone(), wanted.clone());
        async move { book(&store, &wanted, &BookOptions::default()).await }
    });
    let end_the_waiting = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let ended = async {
        while sqlx::query(end_the_waiting).fetch_all(&pool).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the commit waits");
    let error = booking.await.unwrap().expect_err("the connection broke");
    holder.rollback().await.unwrap();
    let cue_scheduler::booking::BookingError::CommitUnknown(unknown) = error else { panic!("{error:?}") };
    assert_eq!(unknown.bookings.len(), 2);
    // Its server process takes a moment to end.
    let settled = async {
        loop {
            match resolve_commit(&store, &unknown).await.unwrap() {
                CommitOutcome::Undecided => tokio::time::sleep(Duration::from_millis(10)).await,
                CommitOutcome::Settled(found) => return found,
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, settled).await.expect("it is settled"), []);
    // Nothing was written, so the same can be booked now.
    execute(&pool, "DROP TRIGGER wait ON proc").await;
    assert_eq!(book_all(&store, &wanted).await.booked.len(), 2);
    assert_balanced(&pool).await;
}
