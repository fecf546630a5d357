//! Whose a show is while somebody else takes it: its scheduler flag goes off, or others book it.

use std::sync::Arc;
use std::time::Duration;

use cue_scheduler::config::FlagOff;
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, ShowSpec};
use cue_scheduler::model::{AllocTag, Selection, WaitReason};
use cue_scheduler::scheduler::Settings;
use cue_scheduler::units::Cores;

use crate::support::farm::{Scheduler, assert_all_done, farm, quick_farm, quick_settings, until};
use crate::support::{TestDatabase, book_all, database, execute, requests};

const LONG: Duration = Duration::from_secs(3_600);

/// A flagged show with a job of eight frames, and two of four that are paused.
async fn flagged(database: &TestDatabase) -> Sandbox {
    let job = |name: &str, frames, is_paused| {
        let job = JobSpec::new(name).layer(LayerSpec::new("render").frames(frames));
        JobSpec { is_paused, ..job }
    };
    let folder =
        FolderSpec::new("comp").job(job("first", 8, false)).job(job("second", 4, true)).job(job("third", 4, true));
    let show = ShowSpec::new("show").subscription("general", Cores::whole(1_000), Cores::whole(1_000));
    let spec =
        FarmSpec::empty().alloc("general", "general").host_class(HostClass::new("render", 1)).show(show.folder(folder));
    farm(database.connect_settings().await, SandboxOptions { generation: Generation::G5, ..quick_farm(spec) }).await
}

async fn switch(sandbox: &Sandbox, is_on: bool) {
    execute(sandbox.pool(), &format!("UPDATE show SET b_scheduler_managed = {is_on}")).await;
}

async fn unpause(sandbox: &Sandbox, job: &str) {
    execute(sandbox.pool(), &format!("UPDATE job SET b_paused = false WHERE str_name LIKE '%{job}'")).await;
}

fn says_flag_off(scheduler: &Scheduler) -> bool {
    scheduler
        .health
        .readiness()
        .is_err_and(|reasons| reasons.contains("scheduler flag: switched off") && reasons.contains("show"))
}

// In one thread, so that its log can be read.
#[tokio::test]
async fn a_flag_that_goes_off_is_said_at_once_and_the_show_booked_until_every_cuebot_knows() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt().with_writer(Arc::new(log.reopen().unwrap())).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // While there is only one, a place that logs asks that of the thread which comes by first, here perhaps
    // another test's, and remembers the answer for all.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let database = database(Generation::G5).await;
    let sandbox = flagged(&database).await;
    let scheduler = Scheduler::start(&sandbox, Settings { flag_off_after: LONG, ..quick_settings() }).await;
    until(&sandbox, |progress| progress.done == 8).await;
    switch(&sandbox, false).await;
    until(&sandbox, |_| says_flag_off(&scheduler)).await;
    assert_eq!(scheduler.counted("scheduler_flag_switched_off_total"), 1);
    unpause(&sandbox, "second").await;
    until(&sandbox, |progress| progress.done == 12).await;
    assert!(says_flag_off(&scheduler));

    switch(&sandbox, true).await;
    until(&sandbox, |_| scheduler.health.readiness().is_ok()).await;
    assert_eq!(scheduler.counted("scheduler_flag_switched_off_total"), 1);
    scheduler.stop().await;
    sandbox.stop().await;
    let log = std::fs::read_to_string(log.path()).unwrap();
    let said =
        log.lines().filter(|line| line.contains("ERROR") && line.contains("scheduler flag of a show was switched off"));
    assert_eq!(said.count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn once_every_cuebot_knows_nothing_more_of_the_show_is_booked() {
    let database = database(Generation::G5).await;
    let sandbox = flagged(&database).await;
    let scheduler = Scheduler::start(&sandbox, Settings { flag_off_after: Duration::ZERO, ..quick_settings() }).await;
    until(&sandbox, |progress| progress.done == 8).await;
    switch(&sandbox, false).await;
    until(&sandbox, |_| says_flag_off(&scheduler)).await;
    unpause(&sandbox, "second").await;
    until(&sandbox, |_| {
        scheduler.totals.waiting().get(&WaitReason::ShowTakenBack).is_some_and(|waiting| waiting.frames == 4)
    })
    .await;
    assert_eq!(scheduler.totals.reading().booked, 8);
    assert!(says_flag_off(&scheduler));
    switch(&sandbox, true).await;
    unpause(&sandbox, "third").await;
    assert_all_done(&sandbox).await;
    assert_eq!(scheduler.health.readiness(), Ok(()));
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_that_shall_be_kept_is_kept_when_its_flag_goes_off() {
    let database = database(Generation::G5).await;
    let sandbox = flagged(&database).await;
    let settings = Settings {
        flag_off: FlagOff::Keep,
        flag_off_after: Duration::ZERO,
        // The clusters are built anew all the time: being flagged is what makes the show ours here.
        cluster_reload_interval: Duration::from_millis(50),
        ..quick_settings()
    };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    until(&sandbox, |progress| progress.done == 8).await;
    switch(&sandbox, false).await;
    until(&sandbox, |_| says_flag_off(&scheduler)).await;
    let passes = scheduler.totals.reading().passes;
    until(&sandbox, |_| scheduler.totals.reading().passes > passes + 3).await;
    unpause(&sandbox, "second").await;
    until(&sandbox, |progress| progress.done == 12).await;
    assert!(says_flag_off(&scheduler));
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_book_of_a_show_of_ours_is_counted() {
    let database = database(Generation::G5).await;
    let layer = |name: &str, tags: &str| LayerSpec::new(name).frames(200).tags(tags);
    // Ours by name and never flagged. Of the second layer nothing can be placed here.
    let job = JobSpec::new("job").layer(layer("ours", "general")).layer(layer("theirs", "elsewhere"));
    let show = ShowSpec::new("show").subscription("general", Cores::whole(1_000), Cores::whole(1_000));
    let spec = FarmSpec::empty().alloc("general", "general").host_class(HostClass::new("render", 1));
    let spec = FarmSpec { is_scheduler_managed: false, ..spec.show(show.folder(FolderSpec::new("comp").job(job))) };
    let options = SandboxOptions { generation: Generation::G5, ..quick_farm(spec) };
    let sandbox = farm(database.connect_settings().await, options).await;
    let ours = AllocTag { show: "show".to_owned(), tag: "general".to_owned() };
    let selection = Selection { alloc_tags: vec![ours], ..Selection::default() };
    let settings = Settings { selection, recover_interval: Duration::from_millis(100), ..quick_settings() };
    let scheduler = Scheduler::start(&sandbox, settings).await;
    until(&sandbox, |progress| progress.done == 200).await;
    let foreign = || scheduler.counted("scheduler_foreign_bookings_total");
    assert_eq!((foreign(), scheduler.health.readiness()), (0, Ok(())));
    let store = database.store().await;
    let requests = requests(&store, sandbox.seeded(), 200).await;
    let mut booked = 0;
    for request in &requests {
        // Short of time a look may miss one of them.
        booked += book_all(&store, std::slice::from_ref(request)).await.booked.len() as u64;
        if foreign() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until(&sandbox, |_| foreign() > 0).await;
    assert!(foreign() <= booked);
    scheduler.stop().await;
    sandbox.stop().await;
}
