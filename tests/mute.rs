//! Hosts that take calls and never answer cost themselves: the others are filled as if they were not there.

use std::time::Duration;

use cue_scheduler::farm::cuebot::CuebotOptions;
use cue_scheduler::farm::fleet::RunTime;
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, ShowSpec};
use cue_scheduler::rqd::AgentSettings;
use cue_scheduler::scheduler::Settings;
use cue_scheduler::units::Cores;

use crate::support::farm::{PATIENCE, Scheduler, farm, quick_farm, quick_settings, until};
use crate::support::{count, database};

const HOSTS: usize = 200;
const MUTE: usize = 80;
/// Of each host.
const CORES: usize = 2;
/// Longer than any test lasts: what is not answered is never given up.
const NEVER: Duration = Duration::from_hours(24);

/// Small hosts.
fn spec(frames: u32) -> FarmSpec {
    let plenty = Cores::whole(100_000);
    let layer = LayerSpec::new("render").frames(frames);
    let folder = FolderSpec::new("comp").job(JobSpec::new("shade").cores_max(plenty).layer(layer));
    FarmSpec::empty()
        .alloc("general", "general")
        .host_class(HostClass::new("render", HOSTS).cores(Cores::whole(2)))
        .show(ShowSpec::new("show").subscription("general", plenty, plenty).folder(folder))
}

/// Nobody else looks after what is stuck.
fn unswept() -> CuebotOptions {
    CuebotOptions { maintenance: None, ..CuebotOptions::default() }
}

/// Few calls may wait for their answer at once, and nothing that waits has an end.
async fn beside_mute_hosts(sandbox: &Sandbox) -> Scheduler {
    let fleet = sandbox.fleet().unwrap();
    for host in &sandbox.seeded().hosts[..MUTE] {
        fleet.mute_host(&host.name).unwrap();
    }
    let settings = Settings { launch_deadline: NEVER, launches_waiting_max: 16, ..quick_settings() };
    let agents = AgentSettings {
        port: sandbox.rqd_port(),
        call_timeout: NEVER,
        calls_in_flight_max: 16,
        ..AgentSettings::default()
    };
    Scheduler::start_calling(sandbox, settings, agents).await
}

#[tokio::test(flavor = "multi_thread")]
async fn eighty_mute_of_two_hundred_hosts_hold_up_none_of_the_others() {
    let database = database(Generation::G5).await;
    let frames = 1_000;
    let run_time = RunTime::Fixed(Duration::from_millis(50));
    let options =
        SandboxOptions { generation: Generation::G5, run_time, cuebot: unswept(), ..quick_farm(spec(frames)) };
    let sandbox = farm(database.connect_settings().await, options).await;
    let scheduler = beside_mute_hosts(&sandbox).await;
    let on = "SELECT count(*) FROM proc JOIN host USING (pk_host) WHERE host.str_name = ANY ($1)";
    let mute: Vec<&str> = sandbox.seeded().hosts[..MUTE].iter().map(|host| host.name.as_str()).collect();
    until(&sandbox, |progress| progress.waiting == 0).await;
    let stuck: i64 = sqlx::query_scalar(on).bind(&mute).fetch_one(sandbox.pool()).await.unwrap();
    let stuck = u64::try_from(stuck).unwrap();
    assert!(stuck > 0, "the mute hosts were never tried");
    // All that is not stuck on them.
    until(&sandbox, |progress| progress.done == u64::from(frames) - stuck && progress.running == stuck).await;
    // Each was sent one launch, whatever else was booked there.
    let unheard = sandbox.fleet().unwrap().counts().unheard;
    assert!(unheard <= MUTE, "{unheard} calls to {MUTE} mute hosts");
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_job_on_a_host_of_its_own_does_not_wait_for_mute_hosts() {
    let database = database(Generation::G5).await;
    let plenty = Cores::whole(100_000);
    let urgent = u32::try_from(CORES).unwrap();
    let rush = JobSpec::new("rush").layer(LayerSpec::new("render").frames(urgent).tags("own"));
    let folder = FolderSpec::new("comp").job(JobSpec { is_paused: true, ..rush });
    let spec = spec(1_000)
        .alloc("own", "own")
        .host_class(HostClass::new("own", 1).alloc("own").cores(Cores::whole(2)))
        .show(ShowSpec::new("urgent").subscription("own", plenty, plenty).folder(folder));
    // More than fits, and nothing of it ends.
    let run_time = RunTime::Fixed(NEVER);
    let options = SandboxOptions { generation: Generation::G5, run_time, cuebot: unswept(), ..quick_farm(spec) };
    let sandbox = farm(database.connect_settings().await, options).await;
    let mut scheduler = beside_mute_hosts(&sandbox).await;
    until(&sandbox, |progress| progress.running == (HOSTS * CORES) as u64).await;
    let launched = async |frames: usize| {
        let began = std::time::Instant::now();
        while sandbox.launches().len() < frames {
            assert!(began.elapsed() < PATIENCE, "{} of {frames} launched", sandbox.launches().len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    launched((HOSTS - MUTE) * CORES).await;
    let resume = "UPDATE job SET b_paused = false WHERE str_name LIKE '%rush'";
    sqlx::raw_sql(resume).execute(sandbox.pool()).await.unwrap();
    launched((HOSTS - MUTE + 1) * CORES).await;
    // What the mute hosts keep waiting is still there, and none of it goes on after the service.
    assert_eq!(count(sandbox.pool(), "proc").await, i64::try_from((HOSTS + 1) * CORES).unwrap());
    let ended = scheduler.stopped().await;
    assert!(ended.unsettled >= MUTE, "{ended:?}");
    assert_eq!(scheduler.metric("scheduler_launches_in_flight", ""), 0, "launches without an end outlive the service");
    sandbox.stop().await;
}
