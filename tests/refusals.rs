//! What agents refuse, and whose fault it is.

use std::collections::BTreeSet;
use std::time::Duration;

use cue_scheduler::farm::fleet::{AgentKind, REFUSED_VARIABLE, RunTime};
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{JobSpec, LayerSpec};
use cue_scheduler::model::WaitReason;
use cue_scheduler::rqd::BreakerSettings;
use cue_scheduler::scheduler::Settings;
use cue_scheduler::units::Cores;
use sqlx::AssertSqlSafe;

use crate::support::database;
use crate::support::farm::{Scheduler, farm, four_core_farm, quick_farm, quick_settings, until};

const LASTING: &str = "sleep 3600";

/// Hosts of four cores and these jobs; commands are `true`, or sleep as long as they say.
fn jobs(hosts: usize, jobs: impl IntoIterator<Item = JobSpec>) -> SandboxOptions {
    let run_time = RunTime::Command(Duration::from_millis(50));
    SandboxOptions { generation: Generation::G5, run_time, ..quick_farm(four_core_farm(hosts, jobs)) }
}

/// What is put aside or held back stays so for longer than any test: agents must be given time to answer.
fn unforgiving() -> Settings {
    let long = Duration::from_secs(3_600);
    let breaker = quick_settings().host_breaker;
    let host_breaker = BreakerSettings { pause: long, cool_down_first: long, cool_down_max: long, ..breaker };
    Settings { host_breaker, job_back_off_duration: long, ..quick_settings() }
}

async fn numbers(sandbox: &Sandbox, sql: &str) -> BTreeSet<i64> {
    let numbers: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(sandbox.pool()).await.unwrap();
    numbers.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_fraction_rounds_up_what_its_own_host_refuses_and_nothing_else() {
    let database = database(Generation::G5).await;
    let threadable = LayerSpec::new("wide").cores(Cores(150)).frames(16);
    let threadable = LayerSpec { cores_max: Cores(150), ..threadable };
    let half = LayerSpec::new("half").cores(Cores(50)).frames(64).single_threaded().command(LASTING);
    let half = JobSpec { is_paused: true, ..JobSpec::new("half").layer(half) };
    let options = jobs(4, [JobSpec::new("wide").layer(threadable), half]);
    let agent_kinds = vec![AgentKind::Python, AgentKind::Rust];
    let sandbox = farm(database.connect_settings().await, SandboxOptions { agent_kinds, ..options }).await;
    let scheduler = Scheduler::start_calling(&sandbox, unforgiving(), sandbox.agent_settings()).await;
    let nothing_is_held_back = || {
        let waiting = scheduler.totals.waiting();
        assert!(!waiting.contains_key(&WaitReason::BackOff), "a layer was held back: {waiting:?}");
        assert_eq!(scheduler.metric("scheduler_hosts", "put_aside"), 0);
        true
    };
    until(&sandbox, |progress| nothing_is_held_back() && progress.done == 16).await;
    let wide = "SELECT int_cores::int8 FROM frame WHERE str_state = 'SUCCEEDED'";
    assert_eq!(numbers(&sandbox, wide).await, [200].into());

    sqlx::query("UPDATE job SET b_paused = false").execute(sandbox.pool()).await.unwrap();
    // Half cores on two hosts of four, whole ones on the other two.
    until(&sandbox, |progress| {
        nothing_is_held_back() && progress.running == 24 && scheduler.totals.reading().launched == 40
    })
    .await;
    for (host, cores) in sandbox.seeded().hosts.iter().zip([50, 100, 50, 100]) {
        let reserved = format!("SELECT int_cores_reserved::int8 FROM proc WHERE pk_host = '{}'", host.id);
        assert_eq!(numbers(&sandbox, &reserved).await, [cores].into(), "{}", host.name);
    }
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_every_agent_refuses_puts_no_host_aside() {
    let database = database(Generation::G5).await;
    let refused = LayerSpec::new("refused").frames(100);
    let refused = LayerSpec { environment: vec![(REFUSED_VARIABLE.to_owned(), "1".to_owned())], ..refused };
    // Its cap leaves a few cores free, so that capacity is nobody's reason to wait.
    let sound = LayerSpec::new("sound").frames(100).command(LASTING);
    let sound = JobSpec::new("sound").priority(50).cores_max(Cores::whole(18)).layer(sound);
    let options = jobs(5, [JobSpec::new("refused").priority(200).layer(refused), sound]);
    let sandbox = farm(database.connect_settings().await, options).await;
    let scheduler = Scheduler::start_calling(&sandbox, unforgiving(), sandbox.agent_settings()).await;
    let fleet = sandbox.fleet().unwrap();
    until(&sandbox, |_| fleet.counts().running == 18).await;
    assert!(fleet.counts().refused > 0, "nothing was refused");
    // All is taken; what waits is told by the next pass.
    let passes = scheduler.totals.reading().passes;
    until(&sandbox, |_| scheduler.totals.reading().passes > passes + 1).await;
    let waiting = scheduler.totals.waiting();
    assert!(waiting.contains_key(&WaitReason::BackOff), "the refused layer is not held back: {waiting:?}");
    assert_eq!(scheduler.metric("scheduler_hosts", "put_aside"), 0);
    scheduler.stop().await;
    sandbox.stop().await;
}
