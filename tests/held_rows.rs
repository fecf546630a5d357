//! One stuck row costs one row: what other sessions hold, what the database refuses, what changes while
//! a booking waits.

use std::collections::BTreeMap;
use std::time::Duration;

use cue_scheduler::booking::{Blame, BookOptions, BookingError, ChunkOutcome, LostReason, UnbookCause, book, unbook};
use cue_scheduler::db::Store;
use cue_scheduler::farm::audit::audit_rows;
use cue_scheduler::farm::postgres::{Durability, PostgresOptions, PostgresServer};
use cue_scheduler::farm::schema::{self, Generation};
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, Seeded, ShowSpec, seed};
use cue_scheduler::model::BookingRequest;
use cue_scheduler::units::Cores;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, Postgres, Transaction};

use crate::support::farm::{Scheduler, farm, quick_farm, quick_settings, until};
use crate::support::{PATIENCE, TestDatabase, book_all, database, execute, requests};

struct Farm {
    pool: PgPool,
    store: Store,
    seeded: Seeded,
    _database: TestDatabase,
}

async fn farm_of(spec: &FarmSpec) -> Farm {
    let database = database(Generation::G5).await;
    let pool = database.pool();
    let seeded = seed(&pool, spec).await.unwrap();
    let store = database.store().await;
    Farm { pool, store, seeded, _database: database }
}

/// Two jobs of one show in folders of their own, two layers each, on two hosts.
fn crossing(frames: u32) -> FarmSpec {
    let folder = |name: &str| {
        let job =
            JobSpec::new(name).layer(LayerSpec::new("a").frames(frames)).layer(LayerSpec::new("b").frames(frames));
        FolderSpec::new(name).job(job)
    };
    let mut spec = FarmSpec::simple(0).hosts(2);
    spec.shows[0].folders = vec![folder("one"), folder("two")];
    spec
}

/// A session that holds rows and does nothing more.
async fn hold(pool: &PgPool, sql: &str) -> Transaction<'static, Postgres> {
    let mut session = pool.begin().await.unwrap();
    let held = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut *session).await;
    held.unwrap_or_else(|error| panic!("{sql}: {error}"));
    session
}

fn lost(outcome: &ChunkOutcome) -> BTreeMap<LostReason, usize> {
    outcome.lost.iter().fold(BTreeMap::new(), |mut counts, lost| {
        *counts.entry(lost.reason).or_default() += 1;
        counts
    })
}

async fn running(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM frame WHERE str_state = 'RUNNING'").fetch_one(pool).await.unwrap()
}

/// What is held, how, what it costs of eight requests for two layers each of two jobs on two hosts.
const HELD: [(&str, LostReason, usize); 9] = [
    ("SELECT FROM host WHERE pk_host = (SELECT min(pk_host) FROM host) FOR UPDATE", LostReason::HostLocked, 4),
    ("SELECT FROM host WHERE pk_host = (SELECT min(pk_host) FROM host) FOR NO KEY UPDATE", LostReason::HostLocked, 4),
    ("SELECT FROM layer_stat WHERE pk_layer = (SELECT min(pk_layer) FROM layer) FOR UPDATE", LostReason::RowLocked, 2),
    ("SELECT FROM job_stat WHERE pk_job = (SELECT min(pk_job) FROM job) FOR UPDATE", LostReason::RowLocked, 4),
    (
        "SELECT FROM layer_resource WHERE pk_layer = (SELECT max(pk_layer) FROM layer) FOR UPDATE",
        LostReason::RowLocked,
        2,
    ),
    ("SELECT FROM job_resource WHERE pk_job = (SELECT max(pk_job) FROM job) FOR UPDATE", LostReason::RowLocked, 4),
    ("SELECT FROM job WHERE pk_job = (SELECT max(pk_job) FROM job) FOR NO KEY UPDATE", LostReason::RowLocked, 4),
    (
        "SELECT FROM folder_resource WHERE pk_folder = (SELECT pk_folder FROM folder WHERE str_name = 'two') FOR UPDATE",
        LostReason::RowLocked,
        4,
    ),
    (
        "SELECT FROM frame WHERE pk_frame = (SELECT min(pk_frame) FROM frame WHERE int_dispatch_order = 0) FOR UPDATE",
        LostReason::FrameLocked,
        1,
    ),
];

#[tokio::test]
async fn a_held_row_costs_what_needs_it_and_nothing_else() {
    for (held, reason, cost) in HELD {
        let farm = farm_of(&crossing(2)).await;
        let wanted = requests(&farm.store, &farm.seeded, 2).await;
        assert_eq!(wanted.len(), 8);
        let session = hold(&farm.pool, held).await;
        let outcome = book_all(&farm.store, &wanted).await;
        assert_eq!(lost(&outcome), BTreeMap::from([(reason, cost)]), "{held}");
        assert_eq!(outcome.booked.len(), 8 - cost, "{held}");
        // The rows that the rest shares with it are free again while it is still held.
        session.rollback().await.unwrap();
        assert_eq!(audit_rows(&farm.pool).await.unwrap().violations, [], "{held}");
        let rest = requests(&farm.store, &farm.seeded, 2).await;
        assert_eq!(book_all(&farm.store, &rest).await.booked.len(), cost, "{held}");
    }
}

#[tokio::test]
async fn a_held_counter_of_a_whole_show_costs_that_show() {
    let other = || {
        let job = JobSpec::new("job").layer(LayerSpec::new("render").frames(4));
        ShowSpec::new("other")
            .subscription("general", Cores(10_000), Cores(10_000))
            .folder(FolderSpec::new("f").job(job))
    };
    for held in [
        "SELECT FROM subscription WHERE pk_show = (SELECT pk_show FROM show WHERE str_name = 'show') FOR UPDATE",
        "SELECT FROM point WHERE pk_show = (SELECT pk_show FROM show WHERE str_name = 'show') FOR UPDATE",
    ] {
        let farm = farm_of(&FarmSpec::simple(4).hosts(2).show(other())).await;
        let wanted = requests(&farm.store, &farm.seeded, 4).await;
        let session = hold(&farm.pool, held).await;
        let outcome = book_all(&farm.store, &wanted).await;
        assert_eq!((outcome.booked.len(), lost(&outcome)), (4, BTreeMap::from([(LostReason::RowLocked, 4)])), "{held}");
        session.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn one_stuck_booking_does_not_keep_the_others_from_being_taken_back() {
    for (held, cost) in [
        ("SELECT FROM host WHERE pk_host = (SELECT min(pk_host) FROM host) FOR UPDATE", 4),
        ("SELECT FROM layer_stat WHERE pk_layer = (SELECT min(pk_layer) FROM layer) FOR UPDATE", 2),
        ("SELECT FROM job_resource WHERE pk_job = (SELECT min(pk_job) FROM job) FOR UPDATE", 4),
        ("SELECT FROM job WHERE pk_job = (SELECT min(pk_job) FROM job) FOR NO KEY UPDATE", 4),
        ("SELECT FROM frame WHERE pk_frame = (SELECT min(pk_frame) FROM frame) FOR UPDATE", 1),
        ("SELECT FROM proc WHERE pk_proc = (SELECT min(pk_proc) FROM proc) FOR UPDATE", 1),
    ] {
        let farm = farm_of(&crossing(2)).await;
        let booked = book_all(&farm.store, &requests(&farm.store, &farm.seeded, 2).await).await.booked;
        assert_eq!(booked.len(), 8);
        let session = hold(&farm.pool, held).await;
        let outcome = unbook(&farm.store, &booked, UnbookCause::LaunchRefused).await.unwrap();
        assert_eq!((outcome.unbooked.len(), outcome.locked.len()), (8 - cost, cost), "{held}");
        session.rollback().await.unwrap();
        assert_eq!(audit_rows(&farm.pool).await.unwrap().violations, [], "{held}");
        let outcome = unbook(&farm.store, &booked, UnbookCause::LaunchRefused).await.unwrap();
        assert_eq!((outcome.unbooked.len(), outcome.left_alone.len()), (cost, 8 - cost), "{held}");
        assert_eq!(audit_rows(&farm.pool).await.unwrap().violations, [], "{held}");
    }
}

/// A trigger of the site's own on a table, which raises for some rows.
fn trigger(table: &str, event: &str, condition: &str, raise: &str) -> String {
    format!(
        "CREATE FUNCTION site_rule() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF {condition} THEN {raise}; END IF; RETURN NEW; END $$;
         CREATE TRIGGER site_rule BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION site_rule()"
    )
}

#[tokio::test]
async fn whatever_a_trigger_of_the_site_raises_costs_only_the_row_that_set_it_off() {
    for raise in [
        "RAISE EXCEPTION 'no'",
        "RAISE EXCEPTION 'no' USING ERRCODE = 'UF001'",
        "RAISE EXCEPTION 'no' USING ERRCODE = '45000'",
        "RAISE EXCEPTION 'no' USING ERRCODE = 'insufficient_privilege'",
        "PERFORM 1 FROM a_table_of_the_site",
    ] {
        let farm = farm_of(&FarmSpec::simple(6)).await;
        let wanted = requests(&farm.store, &farm.seeded, 6).await;
        let condition = format!("NEW.pk_frame = '{}'", wanted[2].frame.id);
        execute(&farm.pool, &trigger("proc", "INSERT", &condition, raise)).await;
        let outcome = book_all(&farm.store, &wanted).await;
        assert_eq!((outcome.booked.len(), lost(&outcome)), (5, BTreeMap::from([(LostReason::Refused, 1)])), "{raise}");
        assert_eq!(outcome.lost[0].frame, wanted[2].frame.id, "{raise}");
        assert_eq!(audit_rows(&farm.pool).await.unwrap().violations, [], "{raise}");
    }
}

#[tokio::test]
async fn who_is_to_blame_for_a_refusal_is_told_by_the_row_that_was_refused() {
    for (table, event, condition, blames) in [
        ("frame", "UPDATE", "NEW.pk_frame = '{}'", Blame::Frame),
        ("proc", "INSERT", "NEW.pk_frame = '{}'", Blame::HostOrLayer),
        ("host", "UPDATE", "NEW.pk_host IS NOT NULL", Blame::HostOrLayer),
        ("layer_resource", "UPDATE", "NEW.pk_layer IS NOT NULL", Blame::Layer),
    ] {
        let farm = farm_of(&FarmSpec::simple(1)).await;
        let wanted = requests(&farm.store, &farm.seeded, 1).await;
        let condition = condition.replace("{}", wanted[0].frame.id.as_str());
        execute(&farm.pool, &trigger(table, event, &condition, "RAISE EXCEPTION 'no'")).await;
        let outcome = book_all(&farm.store, &wanted).await;
        assert_eq!(outcome.refusals.iter().map(|refusal| refusal.blames).collect::<Vec<_>>(), [blames], "{table}");
    }
}

#[tokio::test]
async fn a_host_that_is_deleted_in_flight_is_nobodys_fault() {
    let farm = farm_of(&FarmSpec::simple(4).hosts(2)).await;
    let wanted = requests(&farm.store, &farm.seeded, 4).await;
    execute(&farm.pool, &format!("DELETE FROM host WHERE pk_host = '{}'", farm.seeded.hosts[0].id)).await;
    let outcome = book_all(&farm.store, &wanted).await;
    assert_eq!(lost(&outcome), BTreeMap::from([(LostReason::HostNotOpen, 2)]));
    assert_eq!((outcome.booked.len(), outcome.refusals.len()), (2, 0));
}

/// Begins to book, and returns once the database says that the booking waits for a lock.
async fn book_until_it_waits(farm: &Farm, wanted: Vec<BookingRequest>) -> tokio::task::JoinHandle<Booking> {
    let store = farm.store.clone();
    let booking = tokio::spawn(async move { book(&store, &wanted, &BookOptions::default()).await });
    until_waiting(&farm.pool, &booking, 1).await;
    assert!(!booking.is_finished(), "the booking does not wait");
    booking
}

/// Returns once so many sessions wait for a lock, or what was begun has ended.
async fn until_waiting<T>(pool: &PgPool, begun: &tokio::task::JoinHandle<T>, sessions: i64) {
    let waits = "SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
                 WHERE NOT granted AND datname = current_database()";
    let waiting = async {
        while !begun.is_finished() && sqlx::query_scalar::<_, i64>(waits).fetch_one(pool).await.unwrap() < sessions {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it waits or ends");
}

type Booking = Result<ChunkOutcome, BookingError>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_paused_or_ends_while_a_booking_waits_gets_nothing() {
    for change in ["b_paused = true", "str_state = 'FINISHED', ts_stopped = current_timestamp"] {
        let farm = farm_of(&crossing(2)).await;
        let wanted = requests(&farm.store, &farm.seeded, 2).await;
        let mut session = hold(&farm.pool, "SELECT FROM subscription FOR UPDATE").await;
        let booking = book_until_it_waits(&farm, wanted).await;
        let change = format!("UPDATE job SET {change} WHERE str_name LIKE '%one%'");
        sqlx::raw_sql(AssertSqlSafe(change.clone())).execute(&mut *session).await.unwrap();
        session.commit().await.unwrap();
        let outcome = booking.await.unwrap().unwrap();
        assert_eq!(lost(&outcome), BTreeMap::from([(LostReason::FrameTaken, 4)]), "{change}");
        assert_eq!((outcome.booked.len(), running(&farm.pool).await), (4, 4), "{change}");
    }
}

/// As Cuebot moves a job: triggers take along what the job's counters say.
const MOVE: &str = "UPDATE job SET pk_folder = (SELECT pk_folder FROM folder WHERE str_name = 'two'),
    pk_dept = (SELECT pk_dept FROM dept WHERE str_name = 'fx') WHERE str_name LIKE '%one%'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_moves_meanwhile_is_counted_where_it_is() {
    let mut spec = crossing(4);
    spec.shows[0].folders[1].dept = "fx".to_owned();
    for is_first in [true, false] {
        for takes_back in [false, true] {
            let farm = farm_of(&spec).await;
            let store = farm.store.clone().with_lock_budget(Duration::from_secs(30));
            let wanted = requests(&store, &farm.seeded, 2).await;
            let booked = if takes_back { book_all(&store, &wanted).await.booked } else { Vec::new() };
            let writing = {
                let store = store.clone();
                async move {
                    if takes_back {
                        unbook(&store, &booked, UnbookCause::LaunchRefused).await.unwrap().unbooked.len()
                    } else {
                        book_all(&store, &wanted).await.booked.len()
                    }
                }
            };
            let written = if is_first {
                // The job is on its way before we come to it.
                let moving = hold(&farm.pool, MOVE).await;
                let writing = tokio::spawn(writing);
                until_waiting(&farm.pool, &writing, 1).await;
                moving.commit().await.unwrap();
                writing.await.unwrap()
            } else {
                // We have written everything but the points when it comes.
                let points = hold(&farm.pool, "SELECT FROM point FOR UPDATE").await;
                let writing = tokio::spawn(writing);
                until_waiting(&farm.pool, &writing, 1).await;
                let pool = farm.pool.clone();
                let moving = tokio::spawn(async move { execute(&pool, MOVE).await });
                until_waiting(&farm.pool, &moving, 2).await;
                points.rollback().await.unwrap();
                moving.await.unwrap();
                writing.await.unwrap()
            };
            assert_eq!(written, 8);
            let told = format!("the move is first: {is_first}, taking back: {takes_back}");
            assert_eq!(audit_rows(&farm.pool).await.unwrap().violations, [], "{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_somebody_cancels_is_no_contention() {
    let farm = farm_of(&FarmSpec::simple(2)).await;
    let wanted = requests(&farm.store, &farm.seeded, 2).await;
    let session = hold(&farm.pool, "SELECT FROM point FOR UPDATE").await;
    let booking = book_until_it_waits(&farm, wanted).await;
    execute(
        &farm.pool,
        "SELECT pg_cancel_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
         WHERE NOT granted AND datname = current_database()",
    )
    .await;
    let ended = booking.await.unwrap();
    assert!(matches!(&ended, Err(error @ BookingError::Cancelled { .. }) if error.is_retryable()), "{ended:?}");
    session.rollback().await.unwrap();
    assert_eq!(running(&farm.pool).await, 0);
}

#[tokio::test]
async fn a_booking_never_waits_as_long_as_the_server_waits_before_it_looks_for_deadlocks() {
    for (deadlock_timeout, budget) in [("1s", 400), ("200ms", 160), ("1min", 400)] {
        let database = database(Generation::G0).await;
        let set = format!("ALTER DATABASE {} SET deadlock_timeout = '{deadlock_timeout}'", database.name());
        execute(&database.pool(), &set).await;
        let store = database.store().await;
        assert_eq!(store.lock_budget(), Duration::from_millis(budget), "{deadlock_timeout}");
    }
}

#[tokio::test]
async fn a_host_whose_idle_amounts_were_written_full_beside_procs_takes_no_more_than_it_has() {
    let farm = farm_of(&FarmSpec::simple(12).hosts(2)).await;
    let wanted = requests(&farm.store, &farm.seeded, 12).await;
    let (first, rest) = wanted.split_at(8);
    assert_eq!(book_all(&farm.store, first).await.booked.len(), 8);
    // A boot report that raced with these bookings: full, although eight cores hold procs.
    execute(&farm.pool, "UPDATE host SET int_cores = 400, int_cores_idle = 400").await;
    let outcome = book_all(&farm.store, rest).await;
    assert_eq!((outcome.booked.len(), lost(&outcome)), (0, BTreeMap::from([(LostReason::HostLacksRoom, 4)])));
    // A host with local work is not judged: local procs draw on host_local.
    execute(
        &farm.pool,
        "INSERT INTO host_local (pk_host_local, pk_job, pk_host, str_type)
         SELECT pk_host, (SELECT min(pk_job) FROM job), pk_host, 'JOB_PARTITION' FROM host",
    )
    .await;
    assert_eq!(book_all(&farm.store, rest).await.booked.len(), 4);
}

/// Five hosts of eight cores and one layer.
fn five_hosts(frames: u32) -> FarmSpec {
    FarmSpec::simple(frames).hosts(5)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_session_on_one_host_does_not_stop_the_farm() {
    let database = database(Generation::G5).await;
    let sandbox = farm(database.connect_settings().await, quick_farm(five_hosts(60))).await;
    let session =
        hold(sandbox.pool(), "SELECT FROM host WHERE pk_host = (SELECT min(pk_host) FROM host) FOR UPDATE").await;
    let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
    until(&sandbox, |progress| progress.done == 60).await;
    let on_held = "SELECT count(*) FROM frame JOIN host ON host.str_name = frame.str_host
                   WHERE pk_host = (SELECT min(pk_host) FROM host)";
    assert_eq!(sqlx::query_scalar::<_, i64>(on_held).fetch_one(sandbox.pool()).await.unwrap(), 0);
    session.rollback().await.unwrap();
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_a_session_holds_start_in_their_order_once_it_lets_go() {
    let database = database(Generation::G5).await;
    let sandbox = farm(database.connect_settings().await, quick_farm(FarmSpec::simple(24))).await;
    let session = hold(sandbox.pool(), "SELECT FROM frame WHERE int_dispatch_order < 16 FOR UPDATE").await;
    let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
    // Those behind them go first.
    until(&sandbox, |progress| progress.done == 8).await;
    session.rollback().await.unwrap();
    until(&sandbox, |progress| progress.done == 24).await;
    let order: Vec<i32> = sqlx::query_scalar(
        "SELECT int_dispatch_order::int4 FROM frame WHERE int_dispatch_order < 16 ORDER BY ts_started, int_dispatch_order",
    )
    .fetch_all(sandbox.pool())
    .await
    .unwrap();
    assert!(order.is_sorted(), "{order:?}");
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_the_database_refuses_does_not_take_the_work_of_a_sound_one() {
    let database = database(Generation::G5).await;
    let sandbox = farm(database.connect_settings().await, quick_farm(FarmSpec::simple(120).hosts(2))).await;
    execute(
        sandbox.pool(),
        &trigger("proc", "INSERT", "NEW.pk_host = (SELECT min(pk_host) FROM host)", "RAISE EXCEPTION 'no'"),
    )
    .await;
    let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
    until(&sandbox, |progress| progress.done == 120).await;
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_came_to_nothing_is_followed_by_one_without_what_came_to_nothing() {
    let database = database(Generation::G5).await;
    let job =
        |name: &str, priority, frames| JobSpec::new(name).priority(priority).layer(LayerSpec::new(name).frames(frames));
    let show = ShowSpec::new("show").subscription("general", Cores::whole(1_000), Cores::whole(1_000));
    let spec = FarmSpec::empty()
        .alloc("general", "general")
        .host_class(HostClass::new("render", 1).cores(Cores::whole(4)))
        .show(show.folder(FolderSpec::new("comp").job(job("phantom", 100, 1)).job(job("good", 50, 4))));
    let sandbox = farm(database.connect_settings().await, quick_farm(spec)).await;
    execute(
        sandbox.pool(),
        "DELETE FROM frame WHERE pk_layer = (SELECT pk_layer FROM layer WHERE str_name = 'phantom');
         UPDATE layer_stat SET int_waiting_count = 4 WHERE pk_layer = (SELECT pk_layer FROM layer WHERE str_name = 'phantom')",
    )
    .await;
    // Nothing but the passes themselves calls for another one.
    let settings = cue_scheduler::scheduler::Settings {
        monitor_interval: Duration::from_secs(3_600),
        active_scan_interval: Duration::from_secs(3_600),
        ..quick_settings()
    };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    until(&sandbox, |progress| progress.done == 4).await;
    scheduler.stop().await;
    sandbox.stop().await;
}

/// To be cancelled there would report as done what no standby has.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_waits_for_its_standby_longer_than_for_any_row() {
    let options = PostgresOptions { durability: Durability::Real, ..PostgresOptions::default() };
    let server = PostgresServer::start(&options).await.unwrap();
    server.create_database("farm", None).await.unwrap();
    let mut connection = sqlx::PgConnection::connect_with(&server.connect_options("farm")).await.unwrap();
    schema::create(&mut connection, Generation::G5).await.unwrap();
    connection.close().await.unwrap();
    let pool = PgPool::connect_with(server.connect_options("farm")).await.unwrap();
    // Waits for nobody, whatever the server's setting is.
    let mut watcher = pool.acquire().await.unwrap();
    sqlx::raw_sql("SET synchronous_commit = local").execute(&mut *watcher).await.unwrap();
    let seeded = seed(&pool, &crossing(2)).await.unwrap();
    let store = Store::connect(&server.connect_settings("farm")).await.unwrap();
    let wanted = requests(&store, &seeded, 2).await;

    let standby = async |watcher: &mut PgConnection, change: &str| {
        let alter = format!("ALTER SYSTEM {change}");
        sqlx::query(AssertSqlSafe(alter)).execute(&mut *watcher).await.unwrap();
        sqlx::query("SELECT pg_reload_conf()").execute(&mut *watcher).await.unwrap();
    };
    standby(&mut watcher, "SET synchronous_standby_names = 'nobody'").await;
    let booking = tokio::spawn(async move { book_all(&store, &wanted).await });
    let has_waited = "SELECT count(*) FROM pg_stat_activity
                      WHERE wait_event = 'SyncRep' AND query_start < clock_timestamp() - interval '1 s'";
    let waited = async {
        while sqlx::query_scalar::<_, i64>(has_waited).fetch_one(&mut *watcher).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waited).await.expect("a commit waits for a second");
    standby(&mut watcher, "RESET synchronous_standby_names").await;
    assert_eq!(booking.await.unwrap().booked.len(), 8);
    server.stop().await;
}
