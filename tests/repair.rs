//! Counters and idle amounts are made to say what procs hold, and never less while somebody is still
//! subtracting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use cue_scheduler::booking::{RepairScope, Repaired, Repairs, RepairsDone, UnbookCause, unbook};
use cue_scheduler::db::{Release, ReleaseNotice, Store};
use cue_scheduler::farm::audit::{AuditRule, audit_rows};
use cue_scheduler::farm::fleet::RunTime;
use cue_scheduler::farm::sandbox::SandboxOptions;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, JobSpec, LayerSpec, Seeded, seed};
use cue_scheduler::model::{AllocId, Booked, CounterTable, DeptId, FolderId, ShowId};
use cue_scheduler::units::{Amounts, Cores, Gpus, Kib};
use futures::future::join_all;
use sqlx::{AssertSqlSafe, PgPool};

use crate::booking::{by_host, complete_as_cuebot, crossing_layers, reserving, two_shows};
use crate::support::farm::{Scheduler, farm as sandbox_of, quick_farm, quick_settings, until};
use crate::support::{Loss, TestDatabase, book_all, database, execute, look, number, one_core, requests, scope, texts};

const OLDEST_AND_NEWEST: [Generation; 2] = [Generation::G0, Generation::G5];
const COUNTERS: [CounterTable; 5] = [
    CounterTable::Subscription,
    CounterTable::LayerResource,
    CounterTable::JobResource,
    CounterTable::FolderResource,
    CounterTable::Point,
];

/// No look of a test lies so far apart from another.
const LONG: Duration = Duration::from_hours(1);

struct Farm {
    _database: TestDatabase,
    pool: PgPool,
    store: Store,
    seeded: Seeded,
    scope: RepairScope,
}

impl Farm {
    async fn new(generation: Generation, spec: &FarmSpec) -> Self {
        let database = database(generation).await;
        let pool = database.pool();
        let seeded = seed(&pool, spec).await.unwrap();
        let (store, scope) = (database.store().await, scope(&seeded));
        Self { _database: database, pool, store, seeded, scope }
    }

    async fn book(&self, frames: u32) -> Vec<Booked> {
        let outcome = book_all(&self.store, &requests(&self.store, &self.seeded, frames).await).await;
        assert_eq!(outcome.lost, []);
        outcome.booked
    }

    /// Centicores of the one row in use of each counter.
    async fn counters(&self) -> [i64; 5] {
        let mut counters = [0; 5];
        for (table, counter) in COUNTERS.iter().zip(&mut counters) {
            *counter = number(&self.pool, &format!("SELECT sum(int_cores) FROM {}", table.as_str())).await;
        }
        counters
    }

    async fn look(&self, repairs: &mut Repairs) -> RepairsDone {
        look(repairs, &self.store, &self.scope).await
    }

    async fn add_to_counters(&self, centicores: i64) {
        for table in COUNTERS {
            // As drift comes about: nobody asks a cap.
            let (table, by) = (table.as_str(), centicores);
            execute(&self.pool, &format!(
                "ALTER TABLE {table} DISABLE TRIGGER USER; UPDATE {table} SET int_cores = int_cores + {by} WHERE int_cores > 0;
                 ALTER TABLE {table} ENABLE TRIGGER USER"
            ))
            .await;
        }
    }

    async fn assert_balanced(&self) {
        assert_eq!(audit_rows(&self.pool).await.unwrap().violations, []);
    }
}

/// One host, and a show whose burst is `burst` cores.
fn capped(frames: u32, burst: i64) -> FarmSpec {
    FarmSpec::simple(frames)
        .each_subscription(|subscription| subscription.burst = Cores::whole(burst))
        .each_job(|job| job.cores_max = Cores::whole(1_000))
}

fn cores(cores: i64) -> Amounts {
    Amounts { cores: Cores::whole(cores), ..Amounts::default() }
}

fn of(repaired: &[Repaired]) -> Vec<(CounterTable, Amounts)> {
    repaired.iter().map(|repaired| (repaired.table, repaired.too_much)).collect()
}

/// Every counter, each off by so many cores.
fn each(by: i64) -> Vec<(CounterTable, Amounts)> {
    COUNTERS.map(|table| (table, cores(by))).to_vec()
}

#[tokio::test]
async fn nothing_is_taken_off_that_the_loss_of_a_proc_is_about_to_subtract() {
    for generation in Generation::ALL {
        let farm = Farm::new(generation, &capped(6, 4)).await;
        let booked = farm.book(4).await;
        let mut repairs = Repairs::new(LONG);
        let mut loss = Loss::begin(&farm.pool, booked[0].proc.as_str()).await;
        loop {
            // Twice, as a first look never takes anything off.
            for _ in 0..2 {
                let RepairsDone { drift, releases, .. } = farm.look(&mut repairs).await;
                assert_eq!((drift, releases), (vec![], vec![]), "{generation}");
            }
            // What was free by the counters would be beyond the burst once the loss is over.
            let outcome = book_all(&farm.store, &requests(&farm.store, &farm.seeded, 1).await).await;
            for booked in &outcome.booked {
                assert!(number(&farm.pool, "SELECT sum(int_cores) FROM subscription").await <= 400);
                unbook(&farm.store, std::slice::from_ref(booked), UnbookCause::LaunchRefused).await.unwrap();
            }
            assert!(number(&farm.pool, "SELECT sum(int_cores_reserved) FROM proc").await <= 400);
            if !loss.step().await {
                break;
            }
        }
        assert_eq!(farm.counters().await, [300; 5], "{generation}");
        execute(&farm.pool, "UPDATE frame SET str_state = 'WAITING', int_exit_status = 301 WHERE pk_frame NOT IN (SELECT pk_frame FROM proc) AND str_state = 'RUNNING'").await;
        farm.assert_balanced().await;
    }
}

#[tokio::test]
async fn drift_is_taken_off_and_what_a_loss_subtracts_is_not() {
    for generation in OLDEST_AND_NEWEST {
        let farm = Farm::new(generation, &capped(4, 100)).await;
        let booked = farm.book(4).await;
        let mut repairs = Repairs::new(Duration::ZERO);
        farm.add_to_counters(300).await;
        assert_eq!(farm.look(&mut repairs).await.drift, [], "a first look");
        let loss = Loss::begin(&farm.pool, booked[0].proc.as_str()).await;
        assert_eq!(of(&farm.look(&mut repairs).await.drift), each(3), "{generation}");
        assert_eq!(farm.counters().await, [400; 5], "three procs and the one that is being given up");
        loss.end().await;
        assert_eq!(farm.counters().await, [300; 5]);
        assert_eq!(farm.look(&mut repairs).await.drift, []);
    }
}

#[tokio::test]
async fn a_loss_that_begins_after_the_look_is_seen_under_the_lock() {
    let farm = Farm::new(Generation::G5, &capped(4, 100)).await;
    let booked = farm.book(4).await;
    farm.add_to_counters(300).await;
    execute(&farm.pool, "UPDATE host SET int_cores_idle = int_cores_idle - 300").await;
    // Two services at once, and both have seen the same drift.
    let (mut first, mut second) = (Repairs::new(Duration::ZERO), Repairs::new(Duration::ZERO));
    assert_eq!((farm.look(&mut first).await.drift, farm.look(&mut second).await.drift), (vec![], vec![]));
    let seen = second.observe(&farm.store, &farm.scope).await.unwrap();
    assert_eq!(farm.look(&mut first).await.drift.len(), 6);
    let loss = Loss::begin(&farm.pool, booked[0].proc.as_str()).await;
    assert_eq!(second.correct(&farm.store, seen).await.unwrap().drift, []);
    loss.end().await;
    assert_eq!(farm.counters().await, [300; 5]);
    assert_eq!(number(&farm.pool, "SELECT int_cores_idle FROM host").await, 500);
}

#[tokio::test]
async fn a_loss_that_was_cut_off_is_drift_like_any_other() {
    let farm = Farm::new(Generation::G5, &capped(4, 100)).await;
    let booked = farm.book(4).await;
    let mut repairs = Repairs::new(Duration::ZERO);
    farm.add_to_counters(100).await;
    farm.look(&mut repairs).await;
    // The host is given back, and then its Cuebot is gone.
    let mut loss = Loss::begin(&farm.pool, booked[0].proc.as_str()).await;
    assert!(loss.step().await);
    assert_eq!(of(&farm.look(&mut repairs).await.drift), each(1));
    assert_eq!(of(&farm.look(&mut repairs).await.drift), each(1));
    assert_eq!(farm.counters().await, [300; 5]);
}

#[tokio::test]
async fn drifted_counters_are_corrected_and_caps_below_use_stay() {
    for generation in OLDEST_AND_NEWEST {
        let farm = Farm::new(generation, &two_shows(4)).await;
        let requests = reserving(requests(&farm.store, &farm.seeded, 4).await, Amounts { gpus: Gpus(1), ..one_core() });
        assert_eq!(book_all(&farm.store, &requests).await.booked.len(), 8);
        let show: ShowId = farm.seeded.shows.iter().find(|show| show.name == "tight").unwrap().id.clone();
        let tight = RepairScope { shows: vec![show], ..RepairScope::default() };
        let mut repairs = Repairs::new(Duration::ZERO);
        assert_eq!(look(&mut repairs, &farm.store, &tight).await, RepairsDone::default(), "nothing has drifted");

        // All of the show "tight" drift, and both caps are below use: triggers refuse plain writes.
        execute(
            &farm.pool,
            "UPDATE subscription SET int_cores = int_cores + 300, int_gpus = 0, int_burst = 100;
             UPDATE layer_resource SET int_cores = -100;
             UPDATE job_resource SET int_cores = 0, int_gpus = 9, int_max_cores = 100, int_max_gpus = 1;
             UPDATE folder_resource SET int_cores = int_cores + 50 WHERE int_cores > 0;
             UPDATE point SET int_cores = 401",
        )
        .await;
        let amounts = |cores: i64, gpus: i64| Amounts { cores: Cores(cores), gpus: Gpus(gpus), ..Amounts::default() };
        let too_low = look(&mut repairs, &farm.store, &tight).await;
        assert_eq!(
            of(&too_low.drift),
            [
                (CounterTable::Subscription, amounts(0, -4)),
                (CounterTable::LayerResource, amounts(-500, 0)),
                (CounterTable::JobResource, amounts(-400, 0)),
            ],
            "{generation}: at once"
        );
        let too_high = look(&mut repairs, &farm.store, &tight).await;
        assert_eq!(
            of(&too_high.drift),
            [
                (CounterTable::Subscription, amounts(300, 0)),
                (CounterTable::JobResource, amounts(0, 5)),
                (CounterTable::FolderResource, amounts(50, 0)),
                (CounterTable::Point, amounts(1, 0)),
            ],
            "{generation}: at the look after"
        );
        for sql in [
            "SELECT concat_ws(' ', int_cores, int_gpus, int_burst) FROM subscription JOIN show USING (pk_show) WHERE str_name = 'tight'",
            "SELECT concat_ws(' ', int_cores, int_gpus, job_resource.int_max_cores) FROM job_resource JOIN job USING (pk_job) WHERE str_show = 'tight'",
        ] {
            assert_eq!(texts(&farm.pool, sql).await, ["400 4 100"]);
        }
        // Another scheduler's show is none of our business.
        assert_eq!(look(&mut repairs, &farm.store, &tight).await, RepairsDone::default());
        assert_eq!(number(&farm.pool, "SELECT sum(int_cores) FROM subscription").await, 400 + 700 + 300);
        farm.look(&mut repairs).await;
        farm.look(&mut repairs).await;
        execute(&farm.pool,
            "UPDATE subscription SET int_burst = 10000; UPDATE job_resource SET int_max_cores = 10000, int_max_gpus = 100",
        )
        .await;
        farm.assert_balanced().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counters_stay_exact_when_they_are_repaired_while_frames_come_and_go() {
    let farm = Farm::new(Generation::G5, &crossing_layers(25)).await;
    let is_done = AtomicBool::new(false);
    let work = async {
        loop {
            let wanted = requests(&farm.store, &farm.seeded, 2).await;
            if wanted.is_empty() {
                break;
            }
            let chunks = by_host(wanted);
            let outcomes = join_all(chunks.iter().map(|chunk| book_all(&farm.store, chunk))).await;
            for booked in outcomes.iter().flat_map(|outcome| &outcome.booked) {
                complete_as_cuebot(&farm.pool, booked.proc.as_str(), "SUCCEEDED").await.unwrap();
            }
        }
        is_done.store(true, Ordering::Relaxed);
    };
    let mut repairs = Repairs::new(Duration::ZERO);
    let planting = async {
        let mut corrected = 0;
        while !is_done.load(Ordering::Relaxed) {
            execute(
                &farm.pool,
                "UPDATE host SET int_cores_idle = int_cores_idle - 10 WHERE pk_host = (SELECT min(pk_host) FROM host);
                 UPDATE subscription SET int_cores = int_cores + 300; UPDATE point SET int_cores = int_cores - 70",
            )
            .await;
            corrected += farm.look(&mut repairs).await.drift.len();
        }
        corrected
    };
    let ((), corrected) = tokio::join!(work, planting);
    assert!(corrected >= 2, "{corrected}");
    // The first look may be the first that sees a surplus, and the last that misses procs.
    for _ in 0..3 {
        farm.look(&mut repairs).await;
    }
    farm.assert_balanced().await;
}

#[tokio::test]
async fn a_row_that_is_refused_keeps_no_other_from_being_corrected() {
    let farm = Farm::new(Generation::G5, &capped(4, 100)).await;
    farm.book(4).await;
    farm.add_to_counters(-100).await;
    execute(
        &farm.pool,
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
         CREATE TRIGGER no BEFORE UPDATE ON layer_resource FOR EACH ROW EXECUTE FUNCTION no()",
    )
    .await;
    let mut repairs = Repairs::default();
    assert_eq!(farm.look(&mut repairs).await.drift.len(), 4);
    assert_eq!(farm.counters().await, [400, 300, 400, 400, 400]);
    execute(&farm.pool, "DROP TRIGGER no ON layer_resource").await;
    assert_eq!(of(&farm.look(&mut repairs).await.drift), [(CounterTable::LayerResource, cores(-1))]);
}

#[tokio::test]
async fn a_row_that_somebody_holds_is_left_for_the_next_look() {
    let farm = Farm::new(Generation::G5, &capped(4, 100)).await;
    farm.book(4).await;
    farm.add_to_counters(-100).await;
    let mut holder = farm.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM subscription FOR UPDATE").execute(&mut *holder).await.unwrap();
    let mut repairs = Repairs::default();
    let corrected = farm.look(&mut repairs).await.drift;
    assert_eq!(corrected.iter().map(|repaired| repaired.table).collect::<Vec<_>>(), COUNTERS[1..]);
    holder.rollback().await.unwrap();
    assert_eq!(of(&farm.look(&mut repairs).await.drift), [(CounterTable::Subscription, cores(-1))]);
}

/// Cuebot releases the proc of a show that it leaves to us: the host gets back what it held, and nobody
/// subtracts it.
async fn release_as_skipped(farm: &Farm, booked: &Booked) {
    let mut release = farm.pool.begin().await.unwrap();
    sqlx::query("UPDATE frame SET str_state = 'SUCCEEDED', int_exit_status = 0, int_version = int_version + 1 WHERE pk_frame = $1")
        .bind(booked.frame.as_str())
        .execute(&mut *release)
        .await
        .unwrap();
    let held: (i64, i64) = sqlx::query_as(
        "DELETE FROM proc WHERE pk_proc = $1 RETURNING int_cores_reserved::int8, int_mem_reserved::int8",
    )
    .bind(booked.proc.as_str())
    .fetch_one(&mut *release)
    .await
    .unwrap();
    sqlx::query(
        "UPDATE host SET int_cores_idle = int_cores_idle + $2, int_mem_idle = int_mem_idle + $3 WHERE pk_host = $1",
    )
    .bind(booked.host.as_str())
    .bind(held.0)
    .bind(held.1)
    .execute(&mut *release)
    .await
    .unwrap();
    release.commit().await.unwrap();
}

/// What Cuebot says of it.
fn announced(farm: &Farm, booked: &Booked, cores: i64) -> Release {
    let job = farm.seeded.jobs.iter().find(|job| job.id == booked.job).unwrap();
    Release {
        show: booked.show.clone(),
        alloc: farm.seeded.allocs[0].id.clone(),
        folder: job.folder.clone(),
        job: booked.job.clone(),
        layer: booked.layer.clone(),
        dept: job.dept.clone(),
        released: Amounts { cores: Cores::whole(cores), ..Amounts::default() },
    }
}

#[tokio::test]
async fn what_cuebot_announces_is_subtracted_at_once_and_no_more_than_that() {
    let farm = Farm::new(Generation::G3, &capped(4, 100)).await;
    let booked = farm.book(4).await;
    let mut repairs = Repairs::default();
    for booked in &booked[..2] {
        release_as_skipped(&farm, booked).await;
    }
    // A third is in the middle of being given up by a Cuebot that subtracts.
    let loss = Loss::begin(&farm.pool, booked[2].proc.as_str()).await;
    repairs.announce(announced(&farm, &booked[0], 1));
    repairs.announce(announced(&farm, &booked[1], 1));
    let foreign = Release {
        show: ShowId::new("foreign"),
        alloc: AllocId::new("a"),
        folder: FolderId::new("f"),
        dept: DeptId::new("d"),
        ..announced(&farm, &booked[3], 1)
    };
    repairs.announce(foreign);
    let done = repairs.account(&farm.store, &farm.scope.shows).await.unwrap();
    assert_eq!((of(&done.releases), done.drift), (each(2), vec![]));
    assert_eq!(farm.counters().await, [200; 5]);
    loss.end().await;
    assert_eq!(farm.counters().await, [100; 5]);
    // Said again, or of a proc that somebody has subtracted: what procs hold is never touched.
    repairs.announce(announced(&farm, &booked[0], 8));
    let done = repairs.account(&farm.store, &farm.scope.shows).await.unwrap();
    assert_eq!(done, RepairsDone::default());
    assert_eq!(farm.counters().await, [100; 5]);
}

#[tokio::test]
async fn fractions_that_an_announcement_leaves_out_follow_and_are_no_drift() {
    let farm = Farm::new(Generation::G3, &capped(3, 100)).await;
    let reservation = Amounts { cores: Cores(150), ..one_core() };
    let requests = reserving(requests(&farm.store, &farm.seeded, 3).await, reservation);
    let booked = book_all(&farm.store, &requests).await.booked;
    let mut repairs = Repairs::new(Duration::ZERO);
    for booked in &booked[..2] {
        release_as_skipped(&farm, booked).await;
        repairs.announce(announced(&farm, booked, 1));
    }
    let done = repairs.account(&farm.store, &farm.scope.shows).await.unwrap();
    assert_eq!(of(&done.releases), each(2));
    assert_eq!(farm.counters().await, [250; 5]);
    assert_eq!(farm.look(&mut repairs).await.releases, [], "a first look");
    let done = farm.look(&mut repairs).await;
    assert_eq!((of(&done.releases), done.drift), (each(1), vec![]));
    assert_eq!(farm.counters().await, [150; 5]);
}

/// Two jobs in one of two folders, which are departments too.
fn two_folders(frames: u32) -> FarmSpec {
    let job = |name: &str| JobSpec::new(name).layer(LayerSpec::new("render").frames(frames));
    let mut spec = capped(0, 100);
    let from = FolderSpec::new("from").dept("fx").job(job("one")).job(job("two"));
    spec.shows[0].folders = vec![from, FolderSpec::new("to").dept("light")];
    spec
}

/// As Cuebot moves a job: triggers take along what its counter says.
fn moved(job: &str) -> String {
    format!(
        "UPDATE job SET (pk_folder, pk_dept) = (SELECT pk_folder, pk_dept FROM folder WHERE str_name = 'to')
         WHERE str_name LIKE '%\\_{job}'"
    )
}

#[tokio::test]
async fn a_folder_is_not_told_that_it_holds_less_than_its_jobs_take_along() {
    let farm = Farm::new(Generation::G3, &two_folders(2)).await;
    let booked = farm.book(2).await;
    let of_job = |name: &str| {
        let job = farm.seeded.jobs.iter().find(|job| job.name.ends_with(name)).unwrap().id.clone();
        booked.iter().filter(|booked| booked.job == job).collect::<Vec<_>>()
    };
    let (one, two) = (of_job("_one"), of_job("_two"));
    let too_low = "SELECT count(*) FROM folder_resource r WHERE int_cores < (
                       SELECT coalesce(sum(int_cores_reserved), 0) FROM proc JOIN job USING (pk_job) WHERE pk_folder = r.pk_folder)";
    // One of each job is released, but only the first is announced by now, and its job is moved.
    release_as_skipped(&farm, one[0]).await;
    release_as_skipped(&farm, two[0]).await;
    execute(&farm.pool, &moved("one")).await;
    let mut repairs = Repairs::new(LONG);
    repairs.announce(announced(&farm, one[0], 1));
    repairs.account(&farm.store, &farm.scope.shows).await.unwrap();
    // The folder's surplus is the other job's, which takes it along.
    execute(&farm.pool, &moved("two")).await;
    assert_eq!(number(&farm.pool, too_low).await, 0);
    assert_eq!(number(&farm.pool, "SELECT min(int_cores) FROM point").await, 0);
    let mut repairs = Repairs::new(Duration::ZERO);
    farm.look(&mut repairs).await;
    farm.look(&mut repairs).await;
    farm.assert_balanced().await;
}

#[tokio::test]
async fn a_job_that_is_being_moved_is_repaired_where_it_comes_to() {
    let farm = Farm::new(Generation::G5, &two_folders(2)).await;
    farm.book(2).await;
    farm.add_to_counters(100).await;
    let mut repairs = Repairs::new(Duration::ZERO);
    farm.look(&mut repairs).await;
    // It has read what its counter says, and is not committed yet.
    let mut moving = farm.pool.begin().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(moved("one"))).execute(&mut *moving).await.unwrap();
    let corrected = farm.look(&mut repairs).await.drift;
    assert_eq!(
        corrected.iter().filter(|repaired| repaired.table == CounterTable::JobResource).count(),
        1,
        "{corrected:?}"
    );
    moving.commit().await.unwrap();
    for _ in 0..2 {
        farm.look(&mut repairs).await;
    }
    farm.assert_balanced().await;
}

#[tokio::test]
async fn announcements_arrive_with_whatever_committed_before() {
    let farm = Farm::new(Generation::G3, &capped(1, 100)).await;
    let booked = farm.book(1).await;
    let mut releases = farm.store.listen_for_releases().await.unwrap();
    assert_eq!(releases.arrived().await.unwrap(), []);
    let expected = announced(&farm, &booked[0], 3);
    let Release { show, alloc, folder, job, layer, dept, .. } = &expected;
    let payload = format!(
        r#"{{"show": "{show}", "alloc": "{alloc}", "folder": "{folder}", "job": "{job}", "layer": "{layer}", "dept": "{dept}", "cores": -3, "gpus": 0}}"#
    );
    for payload in [payload.as_str(), "nonsense", payload.as_str()] {
        sqlx::query("SELECT pg_notify('acct_release', $1)").bind(payload).execute(&farm.pool).await.unwrap();
    }
    let expected = ReleaseNotice::Release(expected);
    let all = [expected.clone(), ReleaseNotice::Unreadable, expected.clone()];
    assert_eq!(releases.arrived().await.unwrap(), all);
    sqlx::query("SELECT pg_notify('acct_release', $1)").bind(&payload).execute(&farm.pool).await.unwrap();
    assert_eq!(releases.next().await.unwrap(), expected);
}

/// Looks until the releases of the show are ours: its Cuebot is seen to leave them.
async fn learn(farm: &Farm, repairs: &mut Repairs, booked: &mut Vec<Booked>) {
    release_as_skipped(farm, &booked.pop().unwrap()).await;
    farm.look(repairs).await;
    release_as_skipped(farm, &booked.pop().unwrap()).await;
    let at_once = farm.look(repairs).await;
    assert_eq!(at_once.releases, [], "it may be subtracted yet");
    let learned = farm.look(repairs).await;
    assert_eq!(of(&learned.releases), each(1), "what is left after the first was taken for drift");
}

#[tokio::test]
async fn a_cuebot_that_leaves_releases_to_us_without_a_word_is_found_out() {
    let farm = Farm::new(Generation::G2, &capped(9, 100)).await;
    let mut booked = farm.book(8).await;
    let mut repairs = Repairs::new(Duration::ZERO);
    learn(&farm, &mut repairs, &mut booked).await;
    for _ in 0..2 {
        release_as_skipped(&farm, &booked.pop().unwrap()).await;
        let done = farm.look(&mut repairs).await;
        assert!(done.look_again.unwrap() < Duration::from_secs(1), "{done:?}");
        assert_eq!((of(&done.releases), done.drift), (each(1), vec![]), "at once");
    }
    // What we take back we subtract ourselves; that says nothing about Cuebot.
    let taken_back = booked.pop().unwrap();
    unbook(&farm.store, &[taken_back], UnbookCause::LaunchRefused).await.unwrap();
    release_as_skipped(&farm, &booked.pop().unwrap()).await;
    assert_eq!(of(&farm.look(&mut repairs).await.releases), each(1), "still at once");

    // A Cuebot that subtracts, as after an upgrade.
    assert!(complete_as_cuebot(&farm.pool, booked.pop().unwrap().proc.as_str(), "SUCCEEDED").await.unwrap());
    farm.look(&mut repairs).await;
    let loss = Loss::begin(&farm.pool, booked.pop().unwrap().proc.as_str()).await;
    let done = farm.look(&mut repairs).await;
    assert_eq!((done.releases, done.drift), (vec![], vec![]), "it subtracts the loss as well");
    loss.end().await;
    assert_eq!(farm.counters().await, [0; 5]);
}

#[tokio::test]
async fn releases_are_ours_only_where_the_flag_says_that_the_show_is() {
    let unflagged = FarmSpec { is_scheduler_managed: false, ..capped(8, 100) };
    for (generation, spec) in [(Generation::G0, capped(8, 100)), (Generation::G2, unflagged)] {
        let farm = Farm::new(generation, &spec).await;
        let mut booked = farm.book(8).await;
        let mut repairs = Repairs::new(Duration::ZERO);
        for _ in 0..4 {
            release_as_skipped(&farm, &booked.pop().unwrap()).await;
            assert_eq!(farm.look(&mut repairs).await.releases, [], "{generation}");
        }
        // With the lag of one look, as drift.
        assert_eq!(of(&farm.look(&mut repairs).await.drift), each(1), "{generation}");
        assert_eq!(farm.counters().await, [400; 5]);
    }
}

#[tokio::test]
async fn idle_amounts_that_are_too_low_are_raised_but_not_by_what_is_about_to_be_given_back() {
    for generation in OLDEST_AND_NEWEST {
        let spec =
            capped(4, 100).each_host_class(|class| (class.total.gpus, class.total.gpu_memory) = (Gpus(4), Kib::gib(8)));
        let farm = Farm::new(generation, &spec).await;
        let reservation = Amounts { gpus: Gpus(1), gpu_memory: Kib::gib(1), ..one_core() };
        let requests = reserving(requests(&farm.store, &farm.seeded, 4).await, reservation);
        let booked = book_all(&farm.store, &requests).await.booked;
        let leak = Amounts { cores: Cores(150), memory: Kib(17), gpus: Gpus(0), gpu_memory: Kib(5) };
        execute(
            &farm.pool,
            "UPDATE host SET int_cores_idle = int_cores_idle - 150, int_mem_idle = int_mem_idle - 17,
                 int_gpu_mem_idle = int_gpu_mem_idle - 5",
        )
        .await;
        let mut repairs = Repairs::new(Duration::ZERO);
        let first = farm.look(&mut repairs).await;
        assert_eq!(first.drift, [], "a first look");
        assert!(first.look_again.is_some());
        let loss = Loss::begin(&farm.pool, booked[0].proc.as_str()).await;
        assert_eq!(of(&farm.look(&mut repairs).await.drift), [(CounterTable::Host, leak)], "{generation}");
        loss.end().await;
        let report = audit_rows(&farm.pool).await.unwrap();
        assert_eq!(report.violations_by_rule.get(&AuditRule::HostIdle), None, "{report:?}");
        assert_eq!(farm.look(&mut repairs).await, RepairsDone::default());
    }
}

#[tokio::test]
async fn a_boot_report_that_raced_with_a_booking_is_put_right_at_once() {
    let farm = Farm::new(Generation::G5, &capped(8, 100)).await;
    // Cuebot's reset of a host without procs: its look for procs is as old as its wait for the host.
    let mut booking = farm.pool.begin().await.unwrap();
    sqlx::query("UPDATE host SET int_cores_idle = int_cores_idle - 300").execute(&mut *booking).await.unwrap();
    let reset = tokio::spawn({
        let pool = farm.pool.clone();
        async move {
            let reset = "UPDATE host SET int_cores_idle = int_cores, int_mem_idle = int_mem
                WHERE NOT EXISTS (SELECT FROM proc WHERE proc.pk_host = host.pk_host)";
            sqlx::query(reset).execute(&pool).await.unwrap().rows_affected()
        }
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE host SET int_cores_idle = int_cores,%'
        AND datname = current_database()";
    while number(&farm.pool, waits).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let proc = "INSERT INTO proc (pk_proc, pk_host, pk_show, pk_layer, pk_job, int_cores_reserved, int_mem_reserved, int_gpus_reserved)
        SELECT 'proc', pk_host, job.pk_show, layer.pk_layer, job.pk_job, 300, 0, 0 FROM host, job JOIN layer USING (pk_job)";
    sqlx::query(proc).execute(&mut *booking).await.unwrap();
    booking.commit().await.unwrap();
    assert_eq!(reset.await.unwrap(), 1);
    assert_eq!(number(&farm.pool, "SELECT int_cores_idle FROM host").await, 800, "as if nothing were booked");

    let mut repairs = Repairs::new(Duration::ZERO);
    let done = farm.look(&mut repairs).await;
    assert!(of(&done.drift).contains(&(CounterTable::Host, cores(-3))), "{done:?}");
    assert_eq!(number(&farm.pool, "SELECT int_cores_idle FROM host").await, 500);
    // Booked twice over meanwhile: nothing is idle, and that is all that can be said.
    execute(&farm.pool, "UPDATE proc SET int_cores_reserved = 1600").await;
    assert!(of(&farm.look(&mut repairs).await.drift).contains(&(CounterTable::Host, cores(-5))));
    assert_eq!(number(&farm.pool, "SELECT int_cores_idle FROM host").await, 0);
    assert!(!of(&farm.look(&mut repairs).await.drift).iter().any(|(table, _)| *table == CounterTable::Host));
}

#[tokio::test]
async fn hosts_that_render_for_their_owners_are_neither_judged_nor_touched() {
    let farm = Farm::new(Generation::G5, &FarmSpec::simple(4).hosts(3)).await;
    farm.book(3).await;
    let local = |host: usize| farm.seeded.hosts[host].id.clone();
    execute(&farm.pool, &format!(
        "UPDATE host SET int_cores_idle = int_cores_idle + 50;
         INSERT INTO host_local (pk_host_local, pk_job, pk_host, ts_created, int_mem_max, int_mem_idle, int_cores_max, int_cores_idle, int_threads, str_type)
             SELECT 'local', pk_job, '{}', current_timestamp, 0, 0, 0, 0, 1, 'JOB_PARTITION' FROM job;
         UPDATE proc SET b_local = true WHERE pk_host = '{}'",
        local(0),
        local(1),
    ))
    .await;
    let mut repairs = Repairs::new(Duration::ZERO);
    let scope = RepairScope { shows: Vec::new(), ..farm.scope.clone() };
    let done = look(&mut repairs, &farm.store, &scope).await;
    assert_eq!(done.drift.iter().map(|repaired| repaired.row.as_str()).collect::<Vec<_>>(), [local(2).as_str()]);
    // A partition that is made between the look and the lock.
    execute(&farm.pool, "UPDATE host SET int_cores_idle = int_cores_idle + 50").await;
    let seen = repairs.observe(&farm.store, &scope).await.unwrap();
    execute(&farm.pool, &format!("UPDATE host_local SET pk_host = '{}'", local(2))).await;
    assert_eq!(repairs.correct(&farm.store, seen).await.unwrap().drift, []);
    assert_eq!(
        number(&farm.pool, &format!("SELECT int_cores_idle FROM host WHERE pk_host = '{}'", local(2))).await,
        750
    );
}

/// What the procs of a farm hold in all, looked at without a pause, in a statement of its own each time.
struct Gauge {
    highest: Arc<AtomicI64>,
    lately: Arc<AtomicI64>,
    is_over: Arc<AtomicBool>,
    looking: tokio::task::JoinHandle<()>,
}

impl Gauge {
    fn start(pool: PgPool) -> Self {
        let (highest, lately, is_over) = <(Arc<AtomicI64>, Arc<AtomicI64>, Arc<AtomicBool>)>::default();
        let looking = tokio::spawn({
            let (highest, lately, is_over) = (highest.clone(), lately.clone(), is_over.clone());
            async move {
                while !is_over.load(Ordering::Relaxed) {
                    let held = sqlx::query_scalar("SELECT coalesce(sum(int_cores_reserved), 0)::int8 FROM proc");
                    let held: i64 = held.fetch_one(&pool).await.unwrap();
                    highest.fetch_max(held, Ordering::Relaxed);
                    lately.fetch_max(held, Ordering::Relaxed);

                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }
        });
        Self { highest, lately, is_over, looking }
    }

    fn forget(&self) {
        self.lately.store(0, Ordering::Relaxed);
    }

    /// The highest ever, and since the last time that it was to forget.
    async fn end(self) -> (i64, i64) {
        self.is_over.store(true, Ordering::Relaxed);
        self.looking.await.unwrap();
        (self.highest.load(Ordering::Relaxed), self.lately.load(Ordering::Relaxed))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_whose_releases_are_left_to_us_run_at_their_burst_and_never_above() {
    const BURST: i64 = 200;
    for generation in [Generation::G2, Generation::G3] {
        let database = database(generation).await;
        let spec = capped(20_000, BURST).hosts(30);
        let run_time = RunTime::Between(Duration::from_millis(1_600), Duration::from_millis(2_400));
        let options = SandboxOptions { generation, run_time, ..quick_farm(spec) };
        let sandbox = sandbox_of(database.connect_settings().await, options).await;
        let gauge = Gauge::start(database.pool());
        let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
        // Where nothing is announced it takes some looks to see that nobody else subtracts.
        let accounted = |scheduler: &Scheduler| scheduler.counted("scheduler_releases_accounted_rows_total") > 0;
        until(&sandbox, |_| accounted(&scheduler)).await;
        let from = until(&sandbox, |_| true).await.done;
        if generation == Generation::G3 {
            sqlx::query("NOTIFY acct_release, 'nonsense'").execute(sandbox.pool()).await.unwrap();
        }
        gauge.forget();
        until(&sandbox, |progress| progress.done >= from + 500).await;
        let (highest, lately) = gauge.end().await;
        let burst = BURST * 100;
        assert!(highest <= burst, "{generation}: {highest} centicores of {burst}");
        assert!(lately * 100 >= burst * 95, "{generation}: {lately} centicores of {burst}");
        if generation == Generation::G3 {
            // An alarm that is silent while nothing is wrong.
            assert_eq!(scheduler.counted("scheduler_drift_repaired_rows_total"), 0);
            assert_eq!(scheduler.counted("scheduler_release_notices_unreadable_total"), 1);
        }
        scheduler.stop().await;
        sandbox.stop().await;
    }
}
