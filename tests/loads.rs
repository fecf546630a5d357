//! Loads that hosts report, as the service judges them: the simulated hosts report true averages of a minute.

use std::time::{Duration, Instant};

use cue_scheduler::farm::fleet::RunTime;
use cue_scheduler::farm::sandbox::SandboxOptions;
use cue_scheduler::farm::seed::FarmSpec;
use cue_scheduler::model::{LoadRule, Policy};
use cue_scheduler::scheduler::Settings;
use cue_scheduler::units::Cores;

use crate::support::farm::{Scheduler, assert_all_done, farm, quick_farm, quick_settings};
use crate::support::{PATIENCE, database, execute};

/// Asks again and again.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn whole_hosts_are_refilled_although_their_loads_still_hold_what_has_ended() {
    for rule in [LoadRule::Foreign, LoadRule::Cuebot] {
        let spec = FarmSpec::simple(4).hosts(1).each_layer(|layer| {
            layer.cores_min = Cores::whole(8);
            layer.is_threadable = true;
        });
        let options = SandboxOptions { run_time: RunTime::Fixed(Duration::from_secs(4)), ..quick_farm(spec) };
        let database = database(options.generation).await;
        let sandbox = farm(database.connect_settings().await, options).await;
        let policy = Policy { host_load: rule, ..Policy::default() };
        let scheduler = Scheduler::start(&sandbox, Settings { policy, ..quick_settings() }).await;
        let waits_for_load = || scheduler.metric("scheduler_waiting_frames", "host_load") > 0;
        if rule == LoadRule::Foreign {
            until("all frames are done", async || {
                assert!(!waits_for_load(), "nobody else works there");
                sandbox.progress().await.unwrap().is_finished()
            })
            .await;
            assert_all_done(&sandbox).await;
        } else {
            // That there is a load to judge, as Cuebot judges it.
            until("a frame waits for the load to fall", async || waits_for_load()).await;
        }
        scheduler.stop().await;
        sandbox.stop().await;
    }
}

#[tokio::test]
async fn hosts_that_report_what_cannot_be_are_counted() {
    let never = Duration::from_hours(1);
    let options = SandboxOptions { report_interval: never, ..quick_farm(FarmSpec::simple(0).hosts(2)) };
    let database = database(options.generation).await;
    let sandbox = farm(database.connect_settings().await, options).await;
    execute(
        sandbox.pool(),
        "UPDATE host_stat SET int_load = 100000 WHERE pk_host = (SELECT min(pk_host) FROM host);
         UPDATE host_stat SET ts_ping = now() + interval '1 hour' WHERE pk_host = (SELECT max(pk_host) FROM host)",
    )
    .await;
    let scheduler = Scheduler::start(&sandbox, quick_settings()).await;
    let odd = |oddity| scheduler.metric("scheduler_odd_hosts", oddity);
    until("they are counted", async || odd("load_too_high") == 1 && odd("report_in_future") == 1).await;
    assert_eq!((odd("load_stuck"), scheduler.metric("scheduler_hosts", "future_report")), (0, 1));
    scheduler.stop().await;
    sandbox.stop().await;
}
