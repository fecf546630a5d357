//! `explain`: the cause of waiting is found, with true counts, and nothing is written.

use std::collections::BTreeSet;

use cue_scheduler::clusters;
use cue_scheduler::db::{ConnectSettings, Match, SnapshotOptions, Store};
use cue_scheduler::explain::{LayerStory, Stories, WorkBooks};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{
    AllocSpec, FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, Seeded, ShowSpec, seed,
};
use cue_scheduler::model::{
    Booked, FacilityId, Holds, Policy, Selection, Snapshot, TagChunkSizes, TagKind, ThreadMode, WaitReason,
};
use cue_scheduler::planner::{GateVerdict, plan};
use cue_scheduler::telemetry::Metrics;
use cue_scheduler::units::{Cores, Gpus, Kib};
use strum::IntoEnumIterator as _;

use crate::support::{
    Ran, TestDatabase, book_all, database, execute, fingerprint, program, read_only_settings, requests, run_program,
};

const PLENTY: Cores = Cores::whole(1_000);
/// Of the farm below, in whatever state.
const HOSTS: usize = 4 + 2 + 1 + 2 + 3 + 2 + 2 + 1 + 1 + 2;

/// One job per cause, each named after it. Only `pass_full` and `back_off` have nothing in their way but
/// the scheduler itself.
fn farm_of_causes() -> FarmSpec {
    let job = |name: &str, layer: LayerSpec| JobSpec::new(name).layer(layer);
    let layer = || LayerSpec::new("layer").frames(2);
    let comp = FolderSpec::new("comp")
        .job(JobSpec { is_paused: true, ..job("job_paused", layer()) })
        .job(JobSpec { is_auto_book: false, ..job("auto_book_off", layer()) })
        .job(job("start_after", layer()))
        .job(job("row_unusable", layer()))
        .job(job("unlaunchable", layer()))
        .job(job("slots_required", layer()))
        .job(job(
            "licences_declared",
            LayerSpec { environment: vec![("CUE_LICENSES".to_owned(), "nuke".to_owned())], ..layer() },
        ))
        .job(job("not_selected", layer().tags("elsewhere")))
        .job(job("no_subscription", layer().tags("mixed")).os("rhel9"))
        .job(job("job_cap_not_positive", layer()).cores_max(Cores::ZERO))
        .job(job("job_cores", layer()).cores_max(Cores(50)))
        .job(JobSpec { gpus_max: Gpus(1), ..job("job_gpus", layer().tags("gpu").gpus(2, Kib::gib(8))) })
        .job(job("limit_reached", layer().limit("licence")))
        .job(job("no_host_with_tags", layer().tags("empty")))
        .job(job("no_host_open", layer().tags("closed")))
        .job(job("operating_system", layer()).os("plan9"))
        .job(job("thread_mode", layer().tags("all").single_threaded()))
        .job(job("shape", layer().memory(Kib::gib(64))))
        .job(job("launches_waiting", layer().tags("slow")))
        .job(job("low_free_memory", layer().tags("starved")))
        .job(job("host_load", layer().tags("desk")))
        .job(job("gpu_reserved", layer().tags("gpu").cores(Cores::whole(6))))
        .job(job("capacity", layer().tags("full").cores(Cores::whole(4))))
        .job(job("pass_full", layer().frames(10)))
        .job(job("back_off", layer()));
    let tight = FolderSpec::new("tight").cores_max(Cores(50)).job(job("folder_cores", layer()));
    let no_gpus = FolderSpec::new("no_gpus")
        .gpus_max(Gpus::ZERO)
        .job(job("folder_gpus", layer().tags("gpu").gpus(1, Kib::gib(8))));
    let mut show = ShowSpec::new("show").folder(comp).folder(tight).folder(no_gpus);
    for alloc in ["general", "gpu", "empty", "closed", "all", "full", "starved", "desk", "slow"] {
        show = show.subscription(alloc, PLENTY, PLENTY);
    }
    let small = |name: &str, burst: Cores, job: JobSpec| {
        ShowSpec::new(name).subscription("general", PLENTY, burst).folder(FolderSpec::new("comp").job(job))
    };
    let inactive = small("idle", PLENTY, job("show_inactive", layer()));
    let mut farm = FarmSpec::empty()
        .host_class(HostClass::new("render", 4))
        .host_class(HostClass::new("windows", 2).os("windows").tag("mixed", TagKind::Manual))
        .host_class(
            HostClass::new("foreign", 1)
                .alloc("foreign")
                .tag("mixed", TagKind::Manual)
                .tag("elsewhere", TagKind::Manual),
        )
        .host_class(HostClass::new("gpu", 2).alloc("gpu").gpus(4, Kib::gib(96)))
        .host_class(HostClass::new("closed", 3).alloc("closed"))
        .host_class(HostClass::new("all", 2).alloc("all").thread_mode(ThreadMode::All))
        .host_class(HostClass::new("full", 2).alloc("full"))
        .host_class(HostClass::new("starved", 1).alloc("starved"))
        .host_class(HostClass::new("desk", 1).alloc("desk"))
        .host_class(HostClass::new("slow", 2).alloc("slow"))
        .limit("licence", 0)
        .show(show)
        .show(ShowSpec { is_active: false, ..inactive })
        .show(small("taken", PLENTY, job("show_taken_back", layer())))
        .show(small("frozen", Cores::ZERO, job("subscription_frozen", layer())))
        .show(small("burst", Cores(50), job("subscription_burst", layer())))
        .show(small("failing", PLENTY, job("retry_elsewhere", layer())));
    for alloc in ["general", "foreign", "gpu", "empty", "closed", "all", "full", "starved", "desk", "slow"] {
        farm.allocs.push(AllocSpec { name: alloc.to_owned(), tag: Some(alloc.to_owned()) });
    }
    farm
}

async fn planted() -> (TestDatabase, Seeded) {
    let database = database(Generation::G5).await;
    let seeded = seed(&database.pool(), &farm_of_causes()).await.unwrap();
    let of_class = |class: &str| {
        let ids: Vec<String> =
            seeded.hosts.iter().filter(|host| host.class == class).map(|host| format!("'{}'", host.id)).collect();
        ids.join(",")
    };
    let closed: Vec<_> = seeded.hosts.iter().filter(|host| host.class == "closed").collect();
    let change = format!(
        "UPDATE host SET str_lock_state = 'LOCKED' WHERE pk_host IN ('{}', '{}');
         UPDATE host_stat SET ts_ping = now() - interval '1 hour' WHERE pk_host = '{}';
         UPDATE host SET int_cores_idle = 150 WHERE pk_host IN ({});
         UPDATE host_stat SET int_mem_free = 500000 WHERE pk_host = {};
         UPDATE host_stat SET int_load = 800 WHERE pk_host = {};
         UPDATE layer SET ts_start_after = now() + interval '1 hour'
           FROM job WHERE job.pk_job = layer.pk_job AND job.str_name LIKE '%start\\_after';
         ALTER TABLE layer ADD COLUMN int_slots_required int NOT NULL DEFAULT 0;
         UPDATE layer SET int_slots_required = 1
           FROM job WHERE job.pk_job = layer.pk_job AND job.str_name LIKE '%slots\\_required';",
        closed[0].id,
        closed[1].id,
        closed[2].id,
        of_class("full"),
        of_class("starved"),
        of_class("desk"),
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&database.pool()).await.unwrap();
    (database, seeded)
}

const MAKE_UNUSABLE: &str = "UPDATE layer SET int_gpus_min = -1
       FROM job WHERE job.pk_job = layer.pk_job AND job.str_name LIKE '%row\\_unusable'";

/// After [`MAKE_UNUSABLE`].
async fn snapshot(store: &Store, seeded: &Seeded) -> (Snapshot, Holds) {
    let clusters = clusters::load(store, &Selection::default(), TagChunkSizes::default()).await.unwrap().clusters;
    let held = seeded.jobs.iter().find(|job| job.name.ends_with("back_off")).unwrap();
    let unlaunchable = seeded.jobs.iter().find(|job| job.name.ends_with("unlaunchable")).unwrap();
    let problem = "the range \"1-\" of layer layer does not serve it; correct layer.str_range";
    let options = SnapshotOptions { refuses_licences: true, ..SnapshotOptions::default() };
    let snapshot = store.load_snapshot(&clusters, &options).await.unwrap();
    let failed = seeded.jobs.iter().find(|job| job.name.ends_with("retry_elsewhere")).unwrap();
    let keeping_off = || seeded.hosts.iter().map(|host| (host.id.clone(), 2)).collect();
    let elsewhere = seeded.layers_of(&failed.id).map(|layer| (layer.id.clone(), keeping_off()));
    let taken = snapshot.shows.iter().filter(|show| show.name == "taken");
    let slow = seeded.hosts.iter().filter(|host| host.class == "slow");
    let holds = Holds {
        // As one that a running service has learned of its agents.
        launch_room: slow.map(|host| (host.id.clone(), 0)).collect(),
        backing_off: seeded.layers_of(&held.id).map(|layer| layer.id.clone()).collect(),
        // As frames that failed there a moment ago say.
        elsewhere: elsewhere.collect(),
        unlaunchable: seeded.layers_of(&unlaunchable.id).map(|layer| (layer.id.clone(), problem.to_owned())).collect(),
        // Only a service that saw the flag on knows.
        taken_back: taken.map(|show| show.id.clone()).collect(),
        ..Holds::default()
    };
    let [left_out] = &snapshot.left_out[..] else { panic!("{:?}", snapshot.left_out) };
    assert_eq!((left_out.problem.as_str(), snapshot.hosts.len()), ("int_gpus_min is -1; set it to 0 or more", HOSTS));
    (snapshot, holds)
}

fn facilities(snapshot: &Snapshot) -> Vec<FacilityId> {
    let facilities: BTreeSet<FacilityId> = snapshot.hosts.iter().map(|host| host.facility.clone()).collect();
    facilities.into_iter().collect()
}

/// Hosts that a gate was asked about, and that passed it.
fn hosts_at(story: &LayerStory, reason: WaitReason) -> (usize, usize) {
    let told = story.explanation.as_ref().unwrap();
    let gate = told.gates.iter().find(|gate| gate.reason == reason).unwrap();
    let hosts = gate.hosts.unwrap();
    (hosts.asked, hosts.passed)
}

/// What is said first of a cap.
const CAPS_TO_RAISE: [(WaitReason, &str); 6] = [
    (
        WaitReason::SubscriptionBurst,
        "raise the burst of the show's subscription to local.general from 0.5 to 1 or more",
    ),
    (WaitReason::FolderCores, "raise the core cap of the folder tight from 0.5 to 1 or more"),
    (WaitReason::FolderGpus, "raise the GPU cap of the folder no_gpus from 0 to 1 or more"),
    (WaitReason::JobCores, "raise the job's core cap from 0.5 to 1 or more"),
    (WaitReason::JobGpus, "raise the job's GPU cap from 1 to 2 or more"),
    (WaitReason::LimitReached, "raise the limit licence from 0 to 1 or more"),
];

#[tokio::test]
async fn each_cause_is_found_first_with_true_counts() {
    let (database, seeded) = planted().await;
    execute(&database.pool(), MAKE_UNUSABLE).await;
    let before = fingerprint(&database.pool()).await;
    let store = database.patient_store().await;
    let (snapshot, holds) = snapshot(&store, &seeded).await;
    // Three frames of the one layer that nothing holds back.
    let policy = Policy { frames_per_pass_max: 3, ..Policy::default() };
    let books = WorkBooks { held: store.load_held(&facilities(&snapshot)).await.unwrap(), ..WorkBooks::default() };
    let stories = Stories::new(&snapshot, &holds, &policy, &books);
    let planned = plan(&snapshot, &holds, &policy);
    let mut found = Vec::new();
    for reason in WaitReason::iter().filter(|reason| *reason != WaitReason::LostRace) {
        let job = seeded.jobs.iter().find(|job| job.name.ends_with(reason.into_str())).unwrap();
        let Match::One(layer) = store.find_layer(&format!("{}/layer", job.name)).await.unwrap() else {
            panic!("{} has one layer", job.name);
        };
        let story = stories.layer(&layer);
        assert_eq!(story.reason, Some(reason), "{story:#?}");
        assert!(!story.remedies.is_empty(), "{reason:?}");
        let told = story.explanation.as_ref().unwrap();
        let first = told.gates.iter().find(|gate| gate.verdict == GateVerdict::Shut).unwrap();
        assert_eq!(first.reason, reason);
        let candidate = snapshot.candidates.iter().position(|candidate| candidate.layer == layer.id).unwrap();
        let waiting = planned.waiting.iter().find(|waiting| waiting.candidate.0 == candidate).unwrap();
        assert_eq!((waiting.reason, waiting.frames), (reason, told.waiting_frames), "the plan says the same");
        let placed: u32 = told.placed.iter().map(|placed| placed.frames).sum();
        assert_eq!(i64::from(told.waiting_frames + placed), layer.frames.waiting, "{reason:?}");
        found.push((reason, story));
    }
    assert_eq!(found.len(), 32);

    let story = |reason: WaitReason| &found.iter().find(|(of, _)| *of == reason).unwrap().1;
    // (gate, asked, passed), as the farm was planted: six general hosts, two of which run windows.
    let counts = [
        (WaitReason::NoHostWithTags, HOSTS, 0),
        (WaitReason::NoHostOpen, 3, 0),
        (WaitReason::OperatingSystem, 6, 0),
        (WaitReason::ThreadMode, 2, 0),
        (WaitReason::Shape, 6, 0),
        (WaitReason::LaunchesWaiting, 2, 0),
        (WaitReason::LowFreeMemory, 1, 0),
        (WaitReason::HostLoad, 1, 0),
        (WaitReason::GpuReserved, 2, 0),
        (WaitReason::Capacity, 2, 0),
        (WaitReason::NoSubscription, 1, 0),
        (WaitReason::SubscriptionFrozen, 6, 0),
        (WaitReason::SubscriptionBurst, 6, 0),
    ];
    for (reason, asked, passed) in counts {
        assert_eq!(hosts_at(story(reason), reason), (asked, passed), "{reason:?}");
    }
    let closed = story(WaitReason::NoHostOpen);
    assert_eq!(closed.closed_hosts, [("locked", 2), ("stale", 1)].into());
    assert_eq!(
        closed.hosts.as_deref(),
        Some("of 20 hosts: 17 without tag `closed`, 2 locked, 1 without a recent report")
    );
    let full = story(WaitReason::Capacity);
    assert_eq!(full.hosts.as_deref(), Some("of 20 hosts: 18 without tag `full`, 2 with too few idle cores"));
    assert!(full.nearest.as_deref().unwrap().ends_with("has 1.5 cores idle, a frame needs 4"), "{:?}", full.nearest);
    let failed = story(WaitReason::RetryElsewhere);
    assert_eq!(
        failed.hosts.as_deref(),
        Some("of 20 hosts: 14 without tag `general`, 6 on which its frames failed a moment ago")
    );
    assert!(failed.nearest.as_deref().unwrap().ends_with("but the frames failed there a moment ago"));
    let shape = story(WaitReason::Shape);
    assert!(
        shape.nearest.as_deref().unwrap().ends_with("has 32 GiB in all, a frame needs 64 GiB"),
        "{:?}",
        shape.nearest
    );
    let desk = story(WaitReason::HostLoad);
    assert_eq!(desk.hosts.as_deref(), Some("of 20 hosts: 19 without tag `desk`, 1 busy with other work"));
    assert!(
        desk.nearest
            .as_deref()
            .unwrap()
            .ends_with("has 0.4 cores idle beside the other work of its load, a frame needs 1"),
        "{:?}",
        desk.nearest
    );
    let unsubscribed = story(WaitReason::NoSubscription);
    assert_eq!(
        unsubscribed.hosts.as_deref(),
        Some(
            "of 20 hosts: 17 without tag `mixed`, 2 without `rhel9`, 1 in allocations that the show does not subscribe to"
        )
    );
    for (reason, remedy) in CAPS_TO_RAISE {
        assert!(story(reason).remedies[0].starts_with(remedy), "{:?}", story(reason).remedies);
    }
    assert_eq!(
        story(WaitReason::NotSelected).remedies[0],
        "subscribe the show show to an allocation of hosts with its tags, local.foreign: cueadmin -create-sub show \
         local.foreign SIZE BURST, both in cores"
    );
    let burst = &story(WaitReason::SubscriptionBurst).remedies[0];
    assert!(burst.contains(": cueadmin -burst burst local.general 100 (hundredths of a core"), "{burst}");
    assert_eq!(fingerprint(&database.pool()).await, before);
}

/// What is in the way at once is told at once, first what no waiting changes.
#[tokio::test]
async fn every_blocker_is_told_with_what_would_remove_it() {
    let (database, _) = planted().await;
    let settings = database.connect_settings().await;
    execute(
        &database.pool(),
        "UPDATE layer SET int_mem_min = 64 * 1048576 FROM job
          WHERE job.pk_job = layer.pk_job AND job.str_name LIKE '%start\\_after';
         UPDATE job SET b_paused = true WHERE str_name LIKE '%start\\_after'",
    )
    .await;
    let told = shown(&settings, &["layer", "show-sh010-artist_start_after/layer", "-o", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["reason"], "job_paused");
    let remedies: Vec<&str> = told["remedies"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(remedies[0], "resume the job (the job is paused, and stays so)");
    assert!(remedies[1].ends_with(" (too big for every host, even an empty one, and stays so)"), "{remedies:?}");
    assert!(remedies[2].starts_with("wait until ") && remedies[2].ends_with(" (the layer may not start yet)"));
    assert_eq!(remedies.len(), 3, "{remedies:?}");
}

#[tokio::test]
async fn work_of_a_show_that_is_not_ours_is_cuebots_and_in_no_total() {
    let (database, _) = planted().await;
    let settings = database.connect_settings().await;
    let waiting = || {
        let ran = run_program(&settings, &["plan", "--summary", "-o", "json"]);
        let plan: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        plan["totals"]["waiting_frames"].as_i64().unwrap()
    };
    let before = waiting();
    execute(&database.pool(), "UPDATE show SET b_scheduler_managed = (str_name <> 'frozen')").await;
    assert_eq!(waiting(), before - 2);
    for (what, name) in [("job", ""), ("layer", "/layer")] {
        let told = shown(&settings, &[what, &format!("frozen-sh010-artist_subscription_frozen{name}")]);
        assert!(
            told.contains("  why     Cuebot dispatches show frozen: it is not flagged for a scheduler\n"),
            "{told}"
        );
        assert!(told.contains("cueadmin -scheduler-managed frozen on\n") && !told.contains("not_selected"), "{told}");
    }
    let ran = run_program(&settings, &["plan", "--show", "frozen"]);
    assert!(ran.stderr.contains("Cuebot dispatches show frozen: no cluster of this scheduler serves it"), "{ran:?}");
    // A show of ours, and a tag that nobody carries.
    execute(
        &database.pool(),
        "UPDATE layer SET str_tags = 'nowhere' FROM job
          WHERE job.pk_job = layer.pk_job AND job.str_name LIKE '%not\\_selected'",
    )
    .await;
    let told = shown(&settings, &["layer", "show-sh010-artist_not_selected/layer"]);
    assert!(told.contains("no host carries its tags (no_host_with_tags)"), "{told}");
    assert!(!told.contains("select a cluster"), "{told}");
}

#[tokio::test]
async fn what_only_a_running_service_knows_is_said_to_be_unseen() {
    let (database, seeded) = planted().await;
    let settings = database.connect_settings().await;
    let host = &seeded.hosts[0].name;
    let layer = "show-sh010-artist_shape/layer";
    execute(&database.pool(), MAKE_UNUSABLE).await;
    let store = database.patient_store().await;
    let (snapshot, holds) = snapshot(&store, &seeded).await;
    let registry = prometheus::Registry::new();
    let metrics = Metrics::new(&registry).unwrap();
    metrics.set_waiting(&snapshot, &plan(&snapshot, &holds, &Policy::default()));
    metrics.set_failing_hosts(std::slice::from_ref(host));
    for args in [&["plan"][..], &["explain", "layer", layer], &["explain", "host", host]] {
        let told = run_program(&settings, args).stdout;
        let unseen = told.lines().filter(|line| line.starts_with("Not seen here, and may apply:")).count();
        assert_eq!(unseen, 1, "{args:?}: {told}");
        // By the names that the service itself gives them.
        let names =
            ["scheduler_waiting_frames", "scheduler_hosts", "scheduler_failing_hosts", "scheduler_unsettled_bookings"];
        assert!(told.contains("scheduler_held_back"), "{told}");
        for name in names {
            assert!(told.contains(name) && registry.gather().iter().any(|of| of.name() == name), "{name}: {told}");
        }
    }
}

fn shown(settings: &ConnectSettings, args: &[&str]) -> String {
    let Ran { code, stdout, stderr } = run_program(settings, &[&["explain"][..], args].concat());
    assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
    stdout
}

#[tokio::test]
async fn stories_are_told_in_every_form() {
    let (database, seeded) = planted().await;
    let settings = database.connect_settings().await;
    let before = fingerprint(&database.pool()).await;
    let full = seeded.hosts.iter().find(|host| host.class == "full").unwrap();
    let render = &seeded.hosts[0];
    let told = |args: &[&str]| shown(&settings, args);
    insta::assert_snapshot!("explain_layer", told(&["layer", "show-sh010-artist_capacity/layer"]));
    insta::assert_snapshot!("explain_layer_json", told(&["layer", "show-sh010-artist_capacity/layer", "-o", "json"]));
    insta::assert_snapshot!("explain_job", told(&["job", "show-sh010-artist_job_p"]));
    insta::assert_snapshot!("explain_job_json", told(&["job", "show-sh010-artist_shape", "-o", "json"]));
    insta::assert_snapshot!("explain_frame", told(&["frame", "show-sh010-artist_pass_full/0001"]));
    insta::assert_snapshot!("explain_host", told(&["host", &full.name]));
    insta::assert_snapshot!("explain_busy_host", told(&["host", render.id.as_str()]));
    assert_eq!(told(&["job", "show-sh010-artist_shape", "-o", "name"]), "show-sh010-artist_shape\n");
    assert!(told(&["layer", "show-sh010-artist_shape/layer", "-o", "csv"]).contains("\nshape,shut,6,0\n"));
    assert!(told(&["host", &full.name, "-o", "yaml"]).contains("idle_before:"));

    let reader = read_only_settings(&database).await;
    for args in [["job", "show-sh010-artist_shape"], ["layer", "show-sh010-artist_shape/layer"], ["host", &full.name]] {
        assert_eq!(shown(&reader, &args), told(&args));
    }
    assert_eq!(fingerprint(&database.pool()).await, before);
}

#[tokio::test]
async fn a_host_tells_what_nobody_holds_and_what_is_held_by_nothing() {
    let database = database(Generation::G5).await;
    let pool = database.pool();
    let seeded = seed(&pool, &FarmSpec::simple(4).hosts(2)).await.unwrap();
    let store = database.patient_store().await;
    assert_eq!(book_all(&store, &requests(&store, &seeded, 4).await).await.booked.len(), 4);
    let settings = database.connect_settings().await;
    let host = &seeded.hosts[0];
    let books = || {
        let told = shown(&settings, &["host", &host.name]);
        let told = told.split("  tags ").next().unwrap().replace("\n          ", " ");
        told.lines().filter_map(|line| line.strip_prefix("  books   ").map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(books(), [""; 0]);
    let plant = async |sql: &str| _ = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&pool).await.unwrap();
    plant("UPDATE host SET int_cores_idle = int_cores_idle - 250, int_mem_idle = int_mem_idle - 1048576").await;
    assert_eq!(
        books(),
        ["nobody holds 2.5 cores, 1 GiB, which its row says are taken; a running scheduler gives them back"]
    );
    plant("UPDATE host SET int_cores_idle = int_cores, int_mem_idle = int_mem_idle + 1048576").await;
    assert_eq!(books(), ["procs hold 2 cores, which its row says are idle; a running scheduler takes them off"]);
    let json = |field: &str| {
        let told: serde_json::Value =
            serde_json::from_str(&shown(&settings, &["host", &host.name, "-o", "json"])).unwrap();
        told[field].clone()
    };
    assert_eq!(json("idle_before")["cores"], 6.0, "and the plan knows");

    // Cuebot has stopped the frame and lost the release.
    plant(&format!(
        "UPDATE host SET int_cores_idle = int_cores - 200;
         UPDATE proc SET pk_frame = NULL, ts_ping = current_timestamp - interval '7 minutes'
             WHERE pk_proc = (SELECT min(pk_proc) FROM proc WHERE pk_host = '{}')",
        host.id
    ))
    .await;
    let frameless = json("frameless")[0]["proc"].as_str().unwrap().to_owned();
    assert_eq!(
        books(),
        [format!(
            "nobody's work holds 1 core, 1 GiB: proc {frameless} runs nothing, last heard of 7 min ago; Cuebot's maintenance or a running scheduler gives it up"
        )]
    );
    let frames: i64 = json("running").as_array().unwrap().iter().map(|row| row["frames"].as_i64().unwrap()).sum();
    assert_eq!(frames, 1, "one of the two runs");
    // Just stopped: it is being released.
    plant("UPDATE proc SET ts_ping = current_timestamp").await;
    assert_eq!(books(), [""; 0]);

    plant("UPDATE proc SET int_cores_reserved = 1200; UPDATE host SET int_cores_idle = 0").await;
    assert_eq!(
        books(),
        ["it is overbooked: procs hold 16 cores more than it has; nothing of that is booked until enough of them end"]
    );
    assert_eq!(json("overbooked")["cores"], 16.0);
}

/// Booked frames of one layer, in the order of their numbers, on hosts in turn; all of them were heard of, and
/// their hosts too. Moments lie far off, so that no load of the machine makes them another.
async fn booked_farm(spec: FarmSpec, frames: u32) -> BookedFarm {
    let database = database(Generation::G5).await;
    let pool = database.pool();
    let seeded = seed(&pool, &spec).await.unwrap();
    let store = database.patient_store().await;
    let booked = book_all(&store, &requests(&store, &seeded, frames).await).await.booked;
    let farm = BookedFarm { settings: database.connect_settings().await, database, seeded, booked };
    farm.plant(
        "UPDATE proc SET ts_dispatched = now() - interval '9 hours', ts_ping = now() + interval '1 hour';
         UPDATE host_stat SET ts_ping = now() + interval '1 hour'",
    )
    .await;
    farm
}

struct BookedFarm {
    database: TestDatabase,
    settings: ConnectSettings,
    seeded: Seeded,
    booked: Vec<Booked>,
}

impl BookedFarm {
    async fn plant(&self, sql: &str) {
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&self.database.pool()).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Nothing was heard of some bookings since long ago.
    async fn silence(&self, booked: &[Booked]) {
        for booked in booked {
            let silent = "UPDATE proc SET ts_ping = now() - interval '7 hours' WHERE pk_proc =";
            self.plant(&format!("{silent} '{}'", booked.proc)).await;
        }
    }

    fn text(&self, args: &[&str]) -> String {
        self.shown(args).replace("\n          ", " ")
    }

    /// Its hosts' reports are good for longer than by default.
    fn shown(&self, args: &[&str]) -> String {
        let mut command = program(&self.settings);
        command
            .env("OPENSCHEDULER_HOST_CACHE__HOST_STALENESS_THRESHOLD", "2h")
            .env("OPENSCHEDULER_QUEUE__CUEBOT_SILENCE", "off");
        let Ran { code, stdout, stderr } = command.arg("explain").args(args).output().unwrap().into();
        assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
        stdout
    }

    /// What stands beside a label, as often as it comes, but for the date of the hosts' reports.
    fn lines(&self, args: &[&str], label: &str) -> Vec<String> {
        let label = format!("  {label:<8}");
        let text = self.text(args);
        let lines = text.lines().filter_map(|line| line.strip_prefix(&label)).filter(|line| !line.contains(AHEAD));
        lines.map(str::to_owned).collect()
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.shown(&[args, &["-o", "json"]].concat())).unwrap()
    }
}

const AHEAD: &str = "its last report is dated ahead of the database's clock";

const GIVES_BACK: &str = "a running scheduler asks the host and gives it back, soon after an outage that it saw, \
                          else behind Cuebot's own sweep (after 5 min or more)";

#[tokio::test]
async fn a_running_frame_tells_its_last_sign_of_life_and_a_silent_one_is_not_said_to_run() {
    let farm = booked_farm(FarmSpec::simple(7), 6).await;
    let host = &farm.seeded.hosts[0].name;
    let of = |number: i32| farm.booked.iter().find(|booked| booked.frame_number == number).unwrap().clone();
    let state = |number: i32| farm.lines(&["frame", of(number).frame.as_str()], "state").remove(0);
    assert_eq!(state(1), format!("RUNNING: it runs on {host} with 1 core, 1 GiB, last heard of 0 s ago"));

    farm.silence(&[of(2), of(3)]).await;
    let silent = format!(
        "RUNNING: its rows say RUNNING on {host}, but nothing was heard of it for 7 h although the host reported 0 s \
         ago: nobody's work holds 1 core, 1 GiB; {GIVES_BACK}"
    );
    assert_eq!(state(2), silent);
    let told = farm.json(&["frame", of(2).frame.as_str()]);
    assert_eq!((&told["is_silent"], &told["proc"]), (&true.into(), &of(2).proc.as_str().into()));
    assert!(told["last_sign_seconds"].as_i64().unwrap() >= 7 * 3_600, "{told}");
    // Cuebot has moved the proc to this frame just now: what was heard before tells nothing.
    farm.plant(&format!("UPDATE proc SET ts_dispatched = now() + interval '1 hour' WHERE pk_proc = '{}'", of(3).proc))
        .await;
    assert_eq!(
        state(3),
        format!("RUNNING: it was booked on {host} with 1 core, 1 GiB 0 s ago, and no report has named it yet")
    );

    // Cuebot's unguarded clear, and its stop that lost the frame's proc.
    farm.plant(&format!("UPDATE frame SET str_state = 'WAITING' WHERE pk_frame = '{}'", of(4).frame)).await;
    let left_out = "nobody books it until Cuebot has released the proc, or somebody unbooks it";
    let holds = format!("and proc {} on {host} holds 1 core, 1 GiB for it and may run it still", of(4).proc);
    assert_eq!(state(4), format!("WAITING: it waits for a host, {holds}: {left_out}"));
    assert_eq!(
        farm.lines(&["frame", of(4).frame.as_str()], "books")[0],
        format!("1 of its waiting frames is held by procs and may run still: {left_out}")
    );
    assert!(farm.text(&["frame", of(4).frame.as_str()]).contains("  why     the next pass places 1 frame\n"));
    farm.plant(&format!("DELETE FROM proc WHERE pk_proc = '{}'", of(5).proc)).await;
    assert_eq!(
        state(5),
        format!(
            "RUNNING: its row says RUNNING on {host}, but it has no proc: nothing is booked for it; Cuebot's \
             maintenance puts it back to WAITING, after 5 min or more"
        )
    );

    farm.plant("UPDATE host_stat SET ts_ping = now() - interval '8 hours'").await;
    let unheard = format!(
        "RUNNING: its rows say RUNNING on {host} with 1 core, 1 GiB, but the host itself has not reported for 8 h"
    );
    assert_eq!(state(2), format!("{unheard}: nobody knows whether it runs"));

    // Of a job that is over the cores are still held.
    farm.plant("UPDATE host_stat SET ts_ping = now() + interval '1 hour'; UPDATE job SET str_state = 'FINISHED'").await;
    assert_eq!(state(2), silent.replace("RUNNING: its", "RUNNING: the job is FINISHED; its"));
    assert_eq!(state(4), format!("WAITING: the job is FINISHED, {holds}"));
    assert_eq!(state(5), "RUNNING: the job is FINISHED");
    farm.plant("UPDATE job SET str_state = 'PENDING'").await;

    // Cuebot alone looks after shows that are not served here.
    farm.plant("UPDATE host_stat SET ts_ping = now() + interval '1 hour'; UPDATE show SET b_scheduler_managed = false")
        .await;
    farm.plant(
        "INSERT INTO show (pk_show, str_name, b_scheduler_managed) VALUES ('ours', 'ours', true);
                INSERT INTO subscription (pk_subscription, pk_alloc, pk_show, int_size, int_burst)
                    SELECT 'ours', pk_alloc, 'ours', 100, 100 FROM alloc",
    )
    .await;
    assert_eq!(state(2), silent.replace(GIVES_BACK, "Cuebot's own sweep gives it back, after 5 min or more"));
}

#[tokio::test]
async fn a_host_lists_only_what_is_alive_with_its_last_sign_and_names_the_rest() {
    let farm = booked_farm(FarmSpec::simple(6), 6).await;
    let host = farm.seeded.hosts[0].name.clone();
    let told = ["host", host.as_str()];
    let running = || {
        let text = farm.text(&told);
        let row = text.lines().skip_while(|line| !line.starts_with("RUNNING")).nth(1).unwrap_or_default().to_owned();
        row.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(running(), "6 6 6 GiB 0 0s");
    assert_eq!(farm.lines(&told, "books"), [""; 0]);

    let mut booked = farm.booked.clone();
    booked.sort_by_key(|booked| booked.frame_number);
    farm.silence(&booked[..2]).await;
    farm.plant(&format!("UPDATE frame SET str_state = 'WAITING' WHERE pk_frame = '{}'", booked[2].frame)).await;
    farm.plant(&format!(
        "UPDATE proc SET pk_frame = NULL, ts_ping = now() - interval '7 hours' WHERE pk_proc = '{}'",
        booked[3].proc
    ))
    .await;
    assert_eq!(running(), "2 2 2 GiB 0 0s");
    let job = &farm.seeded.jobs[0].name;
    assert_eq!(
        farm.lines(&told, "books"),
        [
            format!(
                "nobody's work holds 1 core, 1 GiB: proc {} runs nothing, last heard of 7 h ago; Cuebot's maintenance \
                 or a running scheduler gives it up",
                booked[3].proc
            ),
            format!(
                "nobody's work holds 2 cores, 2 GiB: nothing was heard of {job}/0001-render, {job}/0002-render for 7 h \
                 although the host reported 0 s ago; {GIVES_BACK}"
            ),
            format!(
                "proc {} holds 1 core, 1 GiB for {job}/0003-render, which is WAITING and may run still: nobody books it \
                 until Cuebot has released the proc, or somebody unbooks it",
                booked[2].proc
            ),
        ]
    );
    let json = farm.json(&told);
    assert_eq!(json["running"][0]["frames"], 2);
    assert_eq!(json["running"][0]["last_sign_seconds"].as_i64().unwrap().max(0), 0);
    let others: Vec<&str> =
        json["other_procs"].as_array().unwrap().iter().map(|proc| proc["frame"].as_str().unwrap()).collect();
    assert_eq!(others, ["0001-render", "0002-render", "0003-render"]);

    farm.plant("UPDATE host_stat SET ts_ping = now() - interval '8 hours'").await;
    let unheard = "the host has not reported for 8 h: nobody knows whether what runs here still runs";
    assert_eq!(farm.lines(&told, "books").last().unwrap(), unheard);
}

#[tokio::test]
async fn nobody_is_told_to_wait_for_the_end_of_work_where_none_runs() {
    // Two hosts of eight cores, full, and four frames that wait.
    let farm = booked_farm(FarmSpec::simple(20).hosts(2), 16).await;
    let layer = format!("{}/render", farm.seeded.jobs[0].name);
    let to_run = || {
        let mut told = farm.lines(&["layer", &layer], "to run");
        assert_eq!(told.pop().unwrap(), "ask for less, or let it go before others by its job's priority");
        let of_job = farm.lines(&["job", &farm.seeded.jobs[0].name], "to run");
        assert_eq!(of_job[..told.len()], told.iter().map(|remedy| format!("render: {remedy}")).collect::<Vec<_>>());
        told
    };
    let running = "wait until running work ends";
    let given_back = "wait until a running scheduler has given back what nobody's work holds";
    assert_eq!(to_run(), [running]);

    // Some runs, some does not.
    farm.silence(&farm.booked[..3]).await;
    let silent = "not heard of for 7 h although their hosts report";
    assert_eq!(to_run(), [running, &format!("{given_back}: 3 cores, 3 GiB on 2 hosts (3 procs {silent})")]);
    assert_eq!(
        farm.lines(&["layer", &layer], "books"),
        [format!(
            "nothing was heard of 3 running frames for 7 h although their hosts report: nobody's work holds 3 cores, 3 \
             GiB; {GIVES_BACK}"
        )]
    );
    let json = farm.json(&["layer", &layer]);
    assert_eq!((&json["held_by_nobody"]["cores"], &json["held_by_nobody"]["silent_procs"]), (&3.0.into(), &3.into()));

    // Nothing runs: procs without a sign of life, one without a frame, and cores that only the rows call taken.
    farm.silence(&farm.booked).await;
    let lost = &farm.booked[0].proc;
    farm.plant(&format!("UPDATE proc SET pk_frame = NULL WHERE pk_proc = '{lost}'")).await;
    farm.plant(&format!("DELETE FROM proc WHERE pk_proc = '{}'", farm.booked[1].proc)).await;
    assert_eq!(
        to_run(),
        [format!(
            "{given_back}: 16 cores, 16 GiB on 2 hosts (14 procs {silent}, 1 proc without a frame, 1 core, 1 GiB by no \
             proc at all)"
        )]
    );
    farm.plant("DELETE FROM proc").await;
    assert_eq!(to_run(), [format!("{given_back}: 16 cores, 16 GiB on 2 hosts (by no proc at all)")]);

    // Nothing is booked, and the machines are full of what is not ours.
    let remedy = || farm.lines(&["layer", &layer], "to run");
    farm.plant(
        "UPDATE host SET int_cores_idle = int_cores, int_mem_idle = int_mem;
         UPDATE host_stat SET int_mem_free = 500000",
    )
    .await;
    assert_eq!(
        remedy(),
        ["free memory on these machines: what measures less than 512 MiB is given nothing, as under Cuebot"]
    );
    assert_eq!(
        farm.lines(&["layer", &layer], "nearest"),
        [format!("host {} measures less than 512 MiB of free memory", farm.seeded.hosts[0].name)]
    );
    // As long as a row says that a frame runs there, that may be the load.
    farm.plant(
        "UPDATE host_stat SET int_mem_free = int_mem_total, int_load = 750;
         UPDATE frame SET str_host = NULL WHERE str_state = 'RUNNING'",
    )
    .await;
    assert_eq!(
        remedy(),
        ["wait until the load of these hosts falls, or let it not count: queue.host_load: off".to_owned()]
    );
    let host = &farm.seeded.hosts[0].name;
    assert_eq!(
        farm.lines(&["host", host], "load"),
        ["7.5 in the minute before its last report: 7.1 of the idle cores are not handed out (queue.host_load)"]
    );
    farm.plant("UPDATE host_stat SET int_load = 9000").await;
    assert_eq!(
        farm.lines(&["host", host], "books"),
        ["its load is more than four times its cores, which is nonsense: it is ignored"]
    );
    assert!(farm.text(&["host", host]).contains(AHEAD));
    farm.plant("UPDATE host_stat SET ts_ping = now() + interval '1 day'").await;
    let state = farm.lines(&["host", host], "why").remove(0);
    assert!(state.starts_with("it takes nothing: its last report is dated 86"), "{state}");
}

#[tokio::test]
async fn a_cap_that_nobodys_work_fills_is_not_waited_for() {
    let mut spec = FarmSpec::simple(9).hosts(2).each_job(|job| job.cores_max = Cores::whole(4));
    spec.shows[0].subscriptions[0].burst = Cores::whole(100);
    let farm = booked_farm(spec, 4).await;
    let layer = format!("{}/render", farm.seeded.jobs[0].name);
    let to_run = || farm.lines(&["layer", &layer], "to run");
    let raise = "raise the job's core cap from 4 to 5 or more";
    assert_eq!(to_run(), [format!("{raise}, or wait until 1 of it is free")]);
    farm.silence(&farm.booked[..1]).await;
    let given_back = |cores: i64| {
        format!(
            "wait until a running scheduler has given back the {cores} of the job's core cap that nobody's work holds"
        )
    };
    assert_eq!(to_run(), [format!("{raise}, or wait until 1 of it is free"), given_back(1)]);
    farm.silence(&farm.booked).await;
    assert_eq!(to_run(), [raise.to_owned(), given_back(4)]);

    let burst = "UPDATE job_resource SET int_max_cores = 10000; UPDATE subscription SET int_burst = 400";
    farm.plant(burst).await;
    let name = "the burst of the show's subscription to local.general";
    assert_eq!(
        to_run(),
        [
            format!(
                "raise {name} from 4 to 5 or more: cueadmin -burst show local.general 500 (hundredths of a core: 100 \
                 cores are 10000)"
            ),
            format!("wait until a running scheduler has given back the 4 of {name} that nobody's work holds"),
        ]
    );
}

/// The job of a layer that has no waiting frame, before another one on an idle farm.
fn phantom_farm() -> FarmSpec {
    let folder = FolderSpec::new("comp")
        .job(
            JobSpec::new("phantom")
                .priority(100)
                .layer(LayerSpec::new("a").frames(8))
                .layer(LayerSpec::new("b").frames(2)),
        )
        .job(JobSpec::new("real").layer(LayerSpec::new("a").frames(8)));
    let mut spec = FarmSpec::simple(0);
    spec.shows[0].folders = vec![folder];
    spec
}

#[tokio::test]
async fn a_count_that_is_wrong_is_told_and_promises_nothing() {
    let database = database(Generation::G5).await;
    let seeded = seed(&database.pool(), &phantom_farm()).await.unwrap();
    let farm = BookedFarm { settings: database.connect_settings().await, database, seeded, booked: Vec::new() };
    let [phantom, real] = ["phantom", "real"]
        .map(|name| farm.seeded.jobs.iter().find(|job| job.name.ends_with(name)).unwrap().name.clone());
    let layer = format!("{phantom}/a");
    let places = |args: &[&str], frames: u32| {
        let why = farm.lines(args, "why").remove(0);
        assert!(why.starts_with(&format!("the next pass places {frames} frame")), "{why}");
    };
    places(&["layer", &layer], 8);
    assert_eq!(farm.lines(&["layer", &layer], "books"), [""; 0]);

    // The frames went and their counters did not follow.
    let without = |sql: &str| {
        format!(
            "ALTER TABLE frame DISABLE TRIGGER USER;
             UPDATE frame SET {sql} FROM layer, job WHERE layer.pk_layer = frame.pk_layer AND job.pk_job = layer.pk_job
                 AND job.str_name LIKE '%phantom' AND layer.str_name = 'a';
             ALTER TABLE frame ENABLE TRIGGER USER"
        )
    };
    farm.plant(&without("str_state = 'EATEN'")).await;
    let remedy = "set its count right: `cue-scheduler check-db` prints how (waiting-counts)";
    let wrong = "its count says 8 waiting frames, there is none: hosts are planned for nothing";
    let text = farm.text(&["layer", &layer]);
    assert!(text.contains("  frames  0 waiting") && !text.contains("PLACED"), "{text}");
    assert_eq!(farm.lines(&["layer", &layer], "why"), ["no frame waits for a host: none"]);
    assert_eq!(farm.lines(&["layer", &layer], "books"), [wrong]);
    assert_eq!(farm.lines(&["layer", &layer], "to run"), [remedy]);
    assert_eq!(
        farm.lines(&["job", &phantom], "books"),
        ["its own count says 10 waiting frames, there are 2: hosts are planned for nothing", &format!("a: {wrong}")]
    );
    assert_eq!(farm.lines(&["job", &phantom], "to run"), [format!("a: {remedy}")]);
    places(&["job", &phantom], 2);
    assert_eq!(farm.json(&["layer", &layer])["waiting_seen"], 0);
    // What is not there takes no room from the others either.
    places(&["job", &real], 6);
    let on_host = farm.json(&["host", &farm.seeded.hosts[0].name]);
    let placed: i64 =
        on_host["candidates"].as_array().unwrap().iter().map(|layer| layer["placed_frames"].as_i64().unwrap()).sum();
    assert_eq!(placed, 2 + 6);

    // Fewer than the count says.
    farm.plant(&without("str_state = CASE WHEN int_number <= 3 THEN 'WAITING' ELSE 'EATEN' END")).await;
    places(&["layer", &layer], 3);
    assert_eq!(
        farm.lines(&["layer", &layer], "books"),
        ["its count says 8 waiting frames, there are 3: hosts are planned for nothing"]
    );
    let frame = layer.replace("/a", "/0001-a");
    assert_eq!(farm.lines(&["frame", &frame], "books").len(), 1);

    // A count of 0 that hides them.
    farm.plant(
        "UPDATE layer_stat SET int_waiting_count = 0 WHERE int_waiting_count = 8 AND pk_job IN
                    (SELECT pk_job FROM job WHERE str_name LIKE '%phantom')",
    )
    .await;
    assert_eq!(farm.lines(&["layer", &layer], "why"), ["3 frames wait and no count shows it: nothing is booked"]);
    assert_eq!(
        farm.lines(&["layer", &layer], "books"),
        ["its count says 0 waiting frames, there are 3: nothing is booked of them"]
    );
    assert_eq!(farm.lines(&["layer", &layer], "to run"), [remedy]);
    assert_eq!(farm.lines(&["frame", &frame], "why"), ["3 frames wait and no count shows it: nothing is booked"]);
    // A count that hides some.
    farm.plant("UPDATE layer_stat SET int_waiting_count = 1 WHERE int_waiting_count = 0").await;
    places(&["layer", &layer], 1);
    assert_eq!(
        farm.lines(&["layer", &layer], "books"),
        ["its count says 1 waiting frame, there are 3: the rest is not booked"]
    );
}

#[tokio::test]
async fn a_layer_that_is_bound_to_a_deleted_limit_is_told() {
    for generation in [Generation::G0, Generation::G5] {
        let database = database(generation).await;
        let spec =
            FarmSpec::simple(3).limit("licence", 1).each_layer(|layer| layer.limits = vec!["licence".to_owned()]);
        let seeded = seed(&database.pool(), &spec).await.unwrap();
        let farm = BookedFarm { settings: database.connect_settings().await, database, seeded, booked: Vec::new() };
        let layer = format!("{}/render", farm.seeded.jobs[0].name);
        let limit: String = sqlx::query_scalar("SELECT pk_limit_record FROM limit_record")
            .fetch_one(&farm.database.pool())
            .await
            .unwrap();
        farm.plant("DELETE FROM limit_record").await;
        let lines = |args: &[&str], label: &str| {
            let ran = run_program(&farm.settings, &[&["explain"][..], args].concat());
            assert_eq!(ran.code, 0, "{ran:?}");
            let text = ran.stdout.replace("\n          ", " ");
            let label = format!("  {label:<8}");
            text.lines().filter_map(|line| line.strip_prefix(&label).map(str::to_owned)).collect::<Vec<_>>()
        };
        let bound = format!("it is bound to the limit {limit}, which was deleted: that limit holds nothing back");
        let remedy = "unbind it from the deleted limit: `cue-scheduler check-db` prints how (limits)";
        assert_eq!(lines(&["layer", &layer], "books"), [&*bound]);
        assert_eq!(lines(&["layer", &layer], "why"), ["the next pass places 3 frames"], "{generation}");
        assert_eq!(lines(&["layer", &layer], "to run"), [remedy]);
        assert_eq!(lines(&["job", &farm.seeded.jobs[0].name], "books"), [format!("render: {bound}")]);
        assert_eq!(lines(&["frame", &layer.replace("/render", "/0001-render")], "books"), [&*bound]);
    }
}

#[tokio::test]
async fn a_frame_tells_its_state() {
    let database = database(Generation::G5).await;
    let seeded = seed(&database.pool(), &FarmSpec::simple(6)).await.unwrap();
    let settings = database.connect_settings().await;
    let change =
        |number: i32, set: &str| sqlx::AssertSqlSafe(format!("UPDATE frame SET {set} WHERE int_number = {number}"));
    let states = [
        (
            1,
            "str_state = 'DEPEND', int_depend_count = 2",
            "DEPEND: it waits for 2 things that it depends on (JOB/0004-render); Cuebot puts",
        ),
        (
            6,
            "str_state = 'DEPEND', int_depend_count = 1",
            "but nothing is left that it depends on, and it was not put to",
        ),
        (5, "str_state = 'DEPEND', int_depend_count = 0", "DEPEND: nothing is left that it depends on, and it was not"),
        (
            2,
            "str_state = 'DEAD', str_host = '127.1.0.1/1.0/0', int_exit_status = 7, int_retries = 3",
            "exit status 7 after 3 retries",
        ),
        (3, "str_state = 'RUNNING', str_host = '127.1.0.1/1.0/0'", "nothing is booked for it"),
        (4, "int_version = 0", "the next pass places 1 frame"),
    ];
    for (number, set, _) in &states {
        sqlx::query(change(*number, set)).execute(&database.pool()).await.unwrap();
    }
    execute(
        &database.pool(),
        "INSERT INTO depend (pk_depend, pk_job_depend_on, pk_layer_depend_on, pk_frame_depend_on, pk_job_depend_er,
                pk_layer_depend_er, pk_frame_depend_er, str_type, str_signature)
         SELECT 'depend', pk_job, pk_layer, pk_frame, pk_job, pk_layer,
                (SELECT pk_frame FROM frame WHERE int_number = 1), 'FRAME_ON_FRAME', 'signature'
           FROM frame WHERE int_number = 4",
    )
    .await;
    for (number, _, words) in states {
        let words = words.replace("JOB", &seeded.jobs[0].name);
        let name = format!("{}/000{number}-render", seeded.jobs[0].name);
        let told = shown(&settings, &["frame", &name]).replace("\n          ", " ");
        assert!(told.contains(&words), "{told}");
    }
    // Who may not read what frames depend on is told the rest.
    let reader = read_only_settings(&database).await;
    let told = shown(&reader, &["frame", &format!("{}/0001-render", seeded.jobs[0].name)]);
    assert!(told.contains("it waits for 2 things that it depends on; Cuebot puts"), "{told}");
    let told = shown(&settings, &["job", &seeded.jobs[0].name]);
    assert!(told.contains("1 waiting, 1 running, 3 depend, 1 dead, 0 done"), "{told}");
    sqlx::query("UPDATE job SET str_state = 'FINISHED'").execute(&database.pool()).await.unwrap();
    let told = shown(&settings, &["job", &seeded.jobs[0].name]);
    assert!(told.contains("the job is FINISHED"), "{told}");
}

#[tokio::test]
async fn a_name_must_lead_to_one_thing() {
    let (database, seeded) = planted().await;
    let settings = database.connect_settings().await;
    let failed = |args: &[&str]| {
        let Ran { code, stdout, stderr } = run_program(&settings, &[&["explain"][..], args].concat());
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}");
        stderr
    };
    assert_eq!(
        failed(&["job", "show-sh010-artist_job_"]),
        "error: \"show-sh010-artist_job_\" is the beginning of several jobs\n\
         hint: show-sh010-artist_job_cap_not_positive\nhint: show-sh010-artist_job_cores\n\
         hint: show-sh010-artist_job_gpus\nhint: show-sh010-artist_job_paused\n"
    );
    let stderr = failed(&["job", "show-sh010-artist_shap_"]);
    assert!(stderr.contains("there is no job \"show-sh010-artist_shap_\""), "{stderr}");
    assert!(stderr.contains("hint: show-sh010-artist_shape\n"), "{stderr}");
    assert!(failed(&["layer", "layer"]).contains("the beginning of several layers"));
    assert!(failed(&["frame", "0001-layer"]).contains("name it as JOB/FRAME"));
    assert!(failed(&["host", "nobody"]).contains("there is no host \"nobody\""));
    let near = [
        (["layer", "show-sh010-artist_shape/leyer"], "hint: show-sh010-artist_shape/layer\n"),
        (["layer", "show-sh010-artist_shap_/layer"], "hint: show-sh010-artist_shape/layer\n"),
        (["frame", "show-sh010-artist_shap_/0001-layer"], "hint: show-sh010-artist_shape/0001-layer\n"),
    ];
    for (args, hint) in near {
        assert!(failed(&args).contains(hint), "{args:?}: {}", failed(&args));
    }
    let misspelt = format!("{}99", seeded.hosts[0].name);
    assert!(failed(&["host", &misspelt]).contains("\nhint: "), "{misspelt}");
    // A wildcard is a letter like others.
    assert!(failed(&["host", "%"]).contains("there is no host"));
    for id in [seeded.jobs[0].id.as_str(), seeded.jobs[0].name.as_str()] {
        assert!(shown(&settings, &["job", id]).contains(&seeded.jobs[0].name));
    }
    let gone = ConnectSettings { port: 1, host: "127.0.0.1".to_owned(), ..settings.clone() };
    let ran = run_program(&gone, &["explain", "job", "a"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("Failed to connect to database"), "{}", ran.stderr);
    let commands: [&[&str]; 6] = [
        &["plan", "--show", "a"],
        &["clusters", "list"],
        &["clusters", "show", "a"],
        &["explain", "host", "a"],
        &["exclusion-list"],
        &["check-db"],
    ];
    for args in commands {
        let ran = run_program(&gone, args);
        assert_eq!(ran.code, 1, "no connection is one code everywhere: {args:?}: {}", ran.stderr);
    }
    for args in [&["explain"][..], &["explain", "cluster", "a"], &["explain", "job"]] {
        assert_eq!(run_program(&settings, args).code, 2, "{args:?}");
    }
}

#[tokio::test]
async fn an_empty_farm_has_nothing_to_explain() {
    let database = database(Generation::G5).await;
    seed(&database.pool(), &FarmSpec::empty()).await.unwrap();
    let ran = run_program(&database.connect_settings().await, &["explain", "job", "a"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (2, "error: there is no job \"a\" among the pending ones\n"));
}

#[tokio::test]
async fn no_search_reads_every_frame() {
    let database = database(Generation::G0).await;
    let pool = database.pool();
    let seeded = seed(&pool, &FarmSpec::demo(50, 60, 30_000, 5)).await.unwrap();
    sqlx::raw_sql("ANALYZE").execute(&pool).await.unwrap();
    let job = &seeded.jobs[7].name;
    let (pattern, host) = (format!("{job}%"), seeded.hosts[0].id.as_str());
    let jobs = format!("{{{}}}", seeded.jobs[7].id);
    let searches: [(&str, Vec<&str>); 8] = [
        (include_str!("../src/db/sql/find_jobs.sql"), vec![job, &pattern, "21"]),
        (include_str!("../src/db/sql/find_layers.sql"), vec!["id", &pattern, "r%", job, "r", "21"]),
        (
            include_str!("../src/db/sql/find_frames.sql"),
            vec!["id", &pattern, "0001%", job, "0001", "21", "60", "{0,-1}"],
        ),
        (include_str!("../src/db/sql/failures_on_host.sql"), vec!["127.1.0.1", "{0,-1}", "11", "21"]),
        (include_str!("../src/db/sql/procs_on_host.sql"), vec![host, "60"]),
        (include_str!("../src/db/sql/waiting_counts.sql"), vec![&jobs, "{}", "false"]),
        (include_str!("../src/db/sql/deleted_limits.sql"), vec![&jobs, "{}"]),
        (include_str!("../src/db/sql/frame_states.sql"), vec!["{a,b,c}"]),
    ];
    for (statement, values) in searches {
        let mut text = format!("EXPLAIN {statement}");
        for (position, value) in values.iter().enumerate().rev() {
            text = text.replace(&format!("${}", position + 1), &format!("'{value}'"));
        }
        let lines: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_all(&pool).await.unwrap();
        let plan = lines.join("\n");
        assert!(!plan.contains("Seq Scan on frame"), "{plan}");
    }
}
