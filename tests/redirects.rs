//! Redirects on a full farm: what a redirected proc frees gets to where it was redirected to.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use cue_scheduler::farm::audit::AuditRule;
use cue_scheduler::farm::cuebot::CuebotOptions;
use cue_scheduler::farm::fleet::RunTime;
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, SeededJob, ShowSpec};
use cue_scheduler::model::{AllocTag, FrameId, Selection};
use cue_scheduler::rqd::Agents;
use cue_scheduler::scheduler::Settings;
use cue_scheduler::units::{Amounts, Cores};

use crate::support::farm::{Scheduler, farm, quick_farm, quick_settings, until};
use crate::support::{TestDatabase, database, execute};

const LIMIT: Duration = Duration::from_secs(60);
const CORES: u64 = 20;
const REDIRECTS: usize = 10;

/// Five hosts of four cores, an urgent job of ours that takes them all for as long as the test lasts, and
/// two jobs that would never get any: another of ours, and one of a show that Cuebot books.
async fn full_farm(generation: Generation, seed: u64) -> (TestDatabase, Sandbox, Scheduler) {
    let database = database(generation).await;
    let job =
        |name: &str, priority| JobSpec::new(name).priority(priority).layer(LayerSpec::new("render").frames(3_000));
    let show = |name: &str, folder| {
        ShowSpec::new(name).subscription("general", Cores::whole(1_000), Cores::whole(1_000)).folder(folder)
    };
    let hosts = HostClass {
        total: Amounts { cores: Cores::whole(4), ..HostClass::new("render", 5).total },
        ..HostClass::new("render", 5)
    };
    let spec = FarmSpec { seed, ..FarmSpec::empty() }
        .alloc("general", "general")
        .host_class(hosts)
        .show(
            show("ours", FolderSpec::new("comp").job(job("urgent", 500)))
                .folder(FolderSpec::new("late").job(job("patient", 1))),
        )
        .show(show("theirs", FolderSpec::new("anim").job(job("foreign", 1))));
    let quick = quick_farm(spec);
    let options = SandboxOptions {
        generation,
        run_time: RunTime::Between(Duration::from_millis(1_000), Duration::from_millis(2_000)),
        cuebot: CuebotOptions { redirect_delay: Some(Duration::from_millis(300)), ..quick.cuebot },
        ..quick
    };
    let sandbox = farm(database.connect_settings().await, options).await;
    execute(sandbox.pool(), "UPDATE show SET b_scheduler_managed = (str_name = 'ours')").await;
    let ours = AllocTag { show: "ours".to_owned(), tag: "general".to_owned() };
    let selection = Selection { alloc_tags: vec![ours], ..Selection::default() };
    let scheduler = Scheduler::start(&sandbox, Settings { selection, ..quick_settings() }).await;
    until(&sandbox, |progress| progress.running >= CORES).await;
    (database, sandbox, scheduler)
}

/// A proc of the urgent job whose frame has run for a while.
struct Victim {
    proc: String,
    frame: FrameId,
    host: String,
}

async fn victims(sandbox: &Sandbox, count: usize) -> Vec<Victim> {
    let statement = "SELECT p.pk_proc::text, p.pk_frame::text, h.str_name::text FROM proc p
        JOIN host h USING (pk_host) JOIN job j ON j.pk_job = p.pk_job
        WHERE j.str_name LIKE '%urgent' AND p.pk_frame IS NOT NULL
            AND p.ts_booked < current_timestamp - interval '200 milliseconds'
            AND p.pk_proc NOT IN (SELECT pk_proc FROM redirect)
        ORDER BY p.ts_booked DESC LIMIT $1";
    let began = Instant::now();
    loop {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as(statement).bind(i64::try_from(count).unwrap()).fetch_all(sandbox.pool()).await.unwrap();
        if rows.len() == count {
            return rows.into_iter().map(|(proc, frame, host)| Victim { proc, frame: frame.into(), host }).collect();
        }
        assert!(began.elapsed() < LIMIT, "{} procs run", rows.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An operator's order, as Cuebot writes it: to a job, or to the group that the job stands in. Whether its
/// frame still ran.
async fn order(sandbox: &Sandbox, victim: &Victim, job: &SeededJob, to_group: bool) -> bool {
    let (kind, destination) = if to_group { (1_i64, job.folder.as_str()) } else { (0, job.id.as_str()) };
    let statement =
        "INSERT INTO redirect (pk_proc, str_group_id, int_type, str_destination_id, str_name, lng_creation_time)
        VALUES ($1, $2, $3, $4, $5, (extract(epoch FROM now()) * 1000)::int8)";
    sqlx::query(statement)
        .bind(&victim.proc)
        .bind(uuid::Uuid::new_v4().to_string())
        .bind(kind)
        .bind(destination)
        .bind(&job.name)
        .bind(victim.frame.as_str())
        .execute(sandbox.pool())
        .await
        .unwrap()
        .rows_affected()
        == 1
}

fn job_named<'s>(sandbox: &'s Sandbox, name: &str) -> &'s SeededJob {
    sandbox.seeded().jobs.iter().find(|job| job.name.ends_with(name)).unwrap()
}

/// How many frames of a job were launched, by host.
async fn launched(sandbox: &Sandbox, job: &SeededJob) -> BTreeMap<String, usize> {
    let statement = "SELECT pk_frame::text FROM frame WHERE pk_job = $1 AND str_state <> 'WAITING'";
    let frames: Vec<String> =
        sqlx::query_scalar(statement).bind(job.id.as_str()).fetch_all(sandbox.pool()).await.unwrap();
    let hosts: HashMap<String, String> =
        sandbox.launches().into_iter().map(|launch| (launch.frame.to_string(), launch.host)).collect();
    let mut launched = BTreeMap::new();
    for host in frames.iter().filter_map(|frame| hosts.get(frame)) {
        *launched.entry(host.clone()).or_default() += 1;
    }
    launched
}

/// Waits until the destination has got as many frames on each host as procs there were redirected to it;
/// returns how many of the redirects have not reached it by then.
async fn unreached(sandbox: &Sandbox, job: &SeededJob, ordered: &BTreeMap<String, usize>, limit: Duration) -> usize {
    let began = Instant::now();
    loop {
        let launched = launched(sandbox, job).await;
        let missing =
            ordered.iter().map(|(host, count)| count.saturating_sub(launched.get(host).copied().unwrap_or(0)));
        let missing: usize = missing.sum();
        if missing == 0 || began.elapsed() > limit {
            return missing;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn assert_in_order(sandbox: Sandbox, scheduler: Scheduler) {
    scheduler.stop().await;
    let audit = sandbox.audit().await.unwrap();
    // Whose releases Cuebot leaves to the scheduler, their counters lag once it has stopped.
    let is_lag = |rule| {
        matches!(
            rule,
            AuditRule::SubscriptionSum
                | AuditRule::LayerSum
                | AuditRule::JobSum
                | AuditRule::FolderSum
                | AuditRule::PointSum
        )
    };
    let violations: Vec<_> = audit.violations.iter().filter(|violation| !is_lag(violation.rule)).collect();
    assert!(audit.double_launches == 0 && violations.is_empty(), "{} {violations:#?}", audit.double_launches);
    sandbox.stop().await;
}

/// Ten at once, each carried out when its frame ends by itself.
async fn all_are_reached(generation: Generation, destination: &str, to_group: bool) {
    let (_database, sandbox, scheduler) = full_farm(generation, 5).await;
    let job = job_named(&sandbox, destination).clone();
    assert_eq!(launched(&sandbox, &job).await, BTreeMap::new());
    let mut ordered: BTreeMap<String, usize> = BTreeMap::new();
    while ordered.values().sum::<usize>() < REDIRECTS {
        let victim = victims(&sandbox, 1).await.pop().unwrap();
        if order(&sandbox, &victim, &job, to_group).await {
            *ordered.entry(victim.host).or_default() += 1;
        }
    }
    let missing = unreached(&sandbox, &job, &ordered, LIMIT).await;
    assert_eq!(missing, 0, "{generation} {destination}");
    // What was told of each, or it will be when its time is over.
    let told = || scheduler.counted("scheduler_redirects_total");
    until(&sandbox, |_| told() == REDIRECTS as u64).await;
    assert_in_order(sandbox, scheduler).await;
}

/// One after the other, with the frame killed at once: the order lives for a moment only. How many of
/// them were seen, and how many have reached their destination.
async fn with_kill(generation: Generation, destination: &str) -> (usize, usize) {
    let (_database, sandbox, scheduler) = full_farm(generation, 7).await;
    let agents = Agents::new(sandbox.agent_settings());
    let job = job_named(&sandbox, destination).clone();
    let (mut ordered, mut reached) = (0, 0);
    while ordered < REDIRECTS {
        let before = launched(&sandbox, &job).await;
        let victim = victims(&sandbox, 1).await.pop().unwrap();
        let wanted = BTreeMap::from([(victim.host.clone(), before.get(&victim.host).copied().unwrap_or(0) + 1)]);
        if !order(&sandbox, &victim, &job, false).await {
            continue;
        }
        ordered += 1;
        agents.kill(&victim.host, &victim.frame, "redirected").await.unwrap();
        reached += usize::from(unreached(&sandbox, &job, &wanted, Duration::from_secs(10)).await == 0);
    }
    let seen = usize::try_from(scheduler.counted("scheduler_redirects_total")).unwrap();
    println!(
        "{generation} {destination}: of {REDIRECTS} redirects with kill {seen} were seen, {reached} have reached it"
    );
    assert_in_order(sandbox, scheduler).await;
    (seen, reached)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cuebot_that_books_redirects_itself_finds_the_cores_free() {
    all_are_reached(Generation::G3, "foreign", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_cuebot_finds_them_for_its_own_shows() {
    all_are_reached(Generation::G5, "foreign", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_redirected_to_a_job_of_ours_gets_there_beside_a_cuebot_that_books_it_too() {
    all_are_reached(Generation::G3, "patient", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_cuebot_leaves_to_us_is_booked_by_us() {
    all_are_reached(Generation::G5, "patient", false).await;
}

/// How many are seen depends on how busy this machine is; whatever is seen gets there.
#[tokio::test(flavor = "multi_thread")]
async fn redirects_that_kill_get_there_when_they_are_seen() {
    for (generation, destination) in [(Generation::G3, "foreign"), (Generation::G5, "patient")] {
        let (seen, reached) = with_kill(generation, destination).await;
        assert!(seen > 0 && reached >= seen, "{generation} {destination}: {reached} of {seen} that were seen");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a machine with nothing else to do"]
async fn nine_of_ten_redirects_that_kill_get_there() {
    for (generation, destination) in [(Generation::G3, "foreign"), (Generation::G5, "patient")] {
        let (_, reached) = with_kill(generation, destination).await;
        assert!(reached + 1 >= REDIRECTS, "{generation} {destination}: {reached} of {REDIRECTS}");
    }
}

/// Orders that lead nowhere keep nothing: the urgent job goes on with all cores.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_run_there_keeps_nothing() {
    let (_database, sandbox, scheduler) = full_farm(Generation::G5, 9).await;
    let (patient, foreign) = (job_named(&sandbox, "patient").clone(), job_named(&sandbox, "foreign").clone());
    execute(
        sandbox.pool(),
        "UPDATE job SET b_paused = true WHERE str_name LIKE '%patient' OR str_name LIKE '%foreign'",
    )
    .await;
    // A row of long ago whose proc is gone.
    let gone = Victim { proc: uuid::Uuid::new_v4().to_string(), frame: "".into(), host: String::new() };
    assert!(order(&sandbox, &gone, &foreign, false).await);
    let mut ordered = 0;
    while ordered < REDIRECTS {
        let victim = victims(&sandbox, 1).await.pop().unwrap();
        let destination = if ordered.is_multiple_of(2) { &patient } else { &foreign };
        ordered += usize::from(order(&sandbox, &victim, destination, false).await);
    }
    // Each is carried out, and each core is taken again before the first that were kept would be given up.
    let left = "SELECT count(*) FROM redirect";
    while sqlx::query_scalar::<_, i64>(left).fetch_one(sandbox.pool()).await.unwrap() > 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = || scheduler.counted("scheduler_redirects_total");
    until(&sandbox, |progress| {
        assert!(told() < REDIRECTS as u64, "what leads nowhere was kept until it was given up");
        progress.running >= CORES
    })
    .await;
    until(&sandbox, |_| told() == REDIRECTS as u64).await;
    assert_eq!(
        sqlx::query_scalar::<_, i64>(left).fetch_one(sandbox.pool()).await.unwrap(),
        1,
        "the one without a proc"
    );
    assert_eq!(launched(&sandbox, &patient).await, BTreeMap::new());
    assert_eq!(launched(&sandbox, &foreign).await, BTreeMap::new());
    assert_in_order(sandbox, scheduler).await;
}
