//! `explain`: the cause of waiting is found, with true counts, and nothing is written.

use cue_scheduler::cluster;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{
    AllocSpec, FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, Seeded, ShowSpec, seed,
};
use cue_scheduler::model::{Policy, Selection, Snapshot, TagChunkSizes, TagKind, ThreadMode, WaitReason};
use cue_scheduler::pass::{LayerStory, Stories};
use cue_scheduler::placement::{Verdict, plan};
use cue_scheduler::store::{ConnectSettings, Match, SnapshotOptions, Store};
use cue_scheduler::units::{Cores, Gpus, Kib};

use crate::support::{Ran, TestDatabase, book_all, database, fingerprint, read_only_settings, requests, run_program};

const PLENTY: Cores = Cores::whole(1_000);
/// Of the farm below, in whatever state.
const HOSTS: usize = 4 + 2 + 1 + 2 + 3 + 2 + 2;

/// One job per cause, each named after it. Only `pass_full` and `back_off` have nothing in their way but
/// the scheduler itself.
fn farm_of_causes() -> FarmSpec {
    let job = |name: &str, layer: LayerSpec| JobSpec::new(name).layer(layer);
    let layer = || LayerSpec::new("layer").frames(2);
    let comp = FolderSpec::new("comp")
        .job(JobSpec { is_paused: true, ..job("job_paused", layer()) })
        .job(JobSpec { is_auto_book: false, ..job("auto_book_off", layer()) })
        .job(job("start_after", layer()))
        .job(job("not_selected", layer().tags("nowhere")))
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
        .job(job("gpu_reserved", layer().tags("gpu")))
        .job(job("capacity", layer().tags("full").cores(Cores::whole(4))))
        .job(job("pass_full", layer().frames(10)))
        .job(job("back_off", layer()));
    let tight = FolderSpec::new("tight").cores_max(Cores(50)).job(job("folder_cores", layer()));
    let no_gpus = FolderSpec::new("no_gpus")
        .gpus_max(Gpus::ZERO)
        .job(job("folder_gpus", layer().tags("gpu").gpus(1, Kib::gib(8))));
    let mut show = ShowSpec::new("show").folder(comp).folder(tight).folder(no_gpus);
    for alloc in ["general", "gpu", "empty", "closed", "all", "full"] {
        show = show.subscription(alloc, PLENTY, PLENTY);
    }
    let small = |name: &str, burst: Cores, job: JobSpec| {
        ShowSpec::new(name).subscription("general", PLENTY, burst).folder(FolderSpec::new("comp").job(job))
    };
    let inactive = small("idle", PLENTY, job("show_inactive", layer()));
    let mut farm = FarmSpec::empty()
        .host_class(HostClass::new("render", 4))
        .host_class(HostClass::new("windows", 2).os("windows").tag("mixed", TagKind::Manual))
        .host_class(HostClass::new("foreign", 1).alloc("foreign").tag("mixed", TagKind::Manual))
        .host_class(HostClass::new("gpu", 2).alloc("gpu").gpus(4, Kib::gib(96)))
        .host_class(HostClass::new("closed", 3).alloc("closed"))
        .host_class(HostClass::new("all", 2).alloc("all").thread_mode(ThreadMode::All))
        .host_class(HostClass::new("full", 2).alloc("full"))
        .limit("licence", 0)
        .show(show)
        .show(ShowSpec { is_active: false, ..inactive })
        .show(small("taken", PLENTY, job("show_taken_back", layer())))
        .show(small("frozen", Cores::ZERO, job("subscription_frozen", layer())))
        .show(small("burst", Cores(50), job("subscription_burst", layer())));
    for alloc in ["general", "foreign", "gpu", "empty", "closed", "all", "full"] {
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
         UPDATE layer SET ts_start_after = now() + interval '1 hour'
           FROM job WHERE job.pk_job = layer.pk_job AND job.str_name LIKE '%start\\_after';",
        closed[0].id,
        closed[1].id,
        closed[2].id,
        of_class("full"),
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&database.pool()).await.unwrap();
    (database, seeded)
}

async fn snapshot(store: &Store, seeded: &Seeded) -> Snapshot {
    let clusters = cluster::load(store, &Selection::default(), TagChunkSizes::default()).await.unwrap().clusters;
    let held = seeded.jobs.iter().find(|job| job.name.ends_with("back_off")).unwrap();
    let options = SnapshotOptions {
        backing_off: seeded.layers_of(&held.id).map(|layer| layer.id.clone()).collect(),
        ..SnapshotOptions::default()
    };
    let mut snapshot = store.load_snapshot(&clusters, &options).await.unwrap();
    // Only a service that saw the flag on knows.
    snapshot.shows.iter_mut().for_each(|show| show.is_taken_back = show.name == "taken");
    assert_eq!((snapshot.left_out.as_slice(), snapshot.hosts.len()), (&[][..], HOSTS));
    snapshot
}

/// Hosts that a gate was asked about, and that passed it.
fn hosts_at(story: &LayerStory, reason: WaitReason) -> (usize, usize) {
    let told = story.explanation.as_ref().unwrap();
    let gate = told.gates.iter().find(|gate| gate.reason == reason).unwrap();
    let hosts = gate.hosts.unwrap();
    (hosts.asked, hosts.passed)
}

#[tokio::test]
async fn each_cause_is_found_first_with_true_counts() {
    let (database, seeded) = planted().await;
    let before = fingerprint(&database.pool()).await;
    let store = database.store().await;
    let snapshot = snapshot(&store, &seeded).await;
    // Three frames of the one layer that nothing holds back.
    let policy = Policy { frames_per_pass_max: 3, ..Policy::default() };
    let stories = Stories::new(&snapshot, &policy);
    let planned = plan(&snapshot, &policy);
    let mut found = Vec::new();
    for reason in WaitReason::ALL.into_iter().filter(|reason| *reason != WaitReason::LostRace) {
        let job = seeded.jobs.iter().find(|job| job.name.ends_with(reason.as_str())).unwrap();
        let Match::One(layer) = store.find_layer(&format!("{}/layer", job.name)).await.unwrap() else {
            panic!("{} has one layer", job.name);
        };
        let story = stories.layer(&layer);
        assert_eq!(story.reason, Some(reason), "{story:#?}");
        assert!(!story.remedies.is_empty(), "{reason:?}");
        let told = story.explanation.as_ref().unwrap();
        let first = told.gates.iter().find(|gate| gate.verdict == Verdict::Shut).unwrap();
        assert_eq!(first.reason, reason);
        let candidate = snapshot.candidates.iter().position(|candidate| candidate.layer == layer.id).unwrap();
        let waiting = planned.waiting.iter().find(|waiting| waiting.candidate == candidate).unwrap();
        assert_eq!((waiting.reason, waiting.frames), (reason, told.waiting_frames), "the plan says the same");
        let placed: u32 = told.placed.iter().map(|placed| placed.frames).sum();
        assert_eq!(i64::from(told.waiting_frames + placed), layer.frames.waiting, "{reason:?}");
        found.push((reason, story));
    }
    assert_eq!(found.len(), 24);

    let story = |reason: WaitReason| &found.iter().find(|(of, _)| *of == reason).unwrap().1;
    // (gate, asked, passed), as the farm was planted: six general hosts, two of which run windows.
    let counts = [
        (WaitReason::NoHostWithTags, HOSTS, 0),
        (WaitReason::NoHostOpen, 3, 0),
        (WaitReason::OperatingSystem, 6, 0),
        (WaitReason::ThreadMode, 2, 0),
        (WaitReason::Shape, 6, 0),
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
        Some("of 16 hosts: 13 without tag `closed`, 2 locked, 1 without a recent report")
    );
    let full = story(WaitReason::Capacity);
    assert_eq!(full.hosts.as_deref(), Some("of 16 hosts: 14 without tag `full`, 2 with too few idle cores"));
    assert!(full.nearest.as_deref().unwrap().ends_with("has 1.5 cores idle, a frame needs 4"), "{:?}", full.nearest);
    let shape = story(WaitReason::Shape);
    assert!(
        shape.nearest.as_deref().unwrap().ends_with("has 32 GiB in all, a frame needs 64 GiB"),
        "{:?}",
        shape.nearest
    );
    let unsubscribed = story(WaitReason::NoSubscription);
    assert_eq!(
        unsubscribed.hosts.as_deref(),
        Some(
            "of 16 hosts: 13 without tag `mixed`, 2 without rhel9, 1 in allocations that the show does not subscribe to"
        )
    );
    let remedies = [
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
    for (reason, remedy) in remedies {
        assert!(story(reason).remedies[0].starts_with(remedy), "{:?}", story(reason).remedies);
    }
    assert_eq!(fingerprint(&database.pool()).await, before);
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
    let store = database.store().await;
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
            "proc {frameless} holds 1 core, 1 GiB and runs nothing, last heard of 7 min ago; Cuebot's maintenance gives it up"
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

#[tokio::test]
async fn a_frame_tells_its_state() {
    let database = database(Generation::G5).await;
    let seeded = seed(&database.pool(), &FarmSpec::simple(4)).await.unwrap();
    let settings = database.connect_settings().await;
    let change =
        |number: i32, set: &str| sqlx::AssertSqlSafe(format!("UPDATE frame SET {set} WHERE int_number = {number}"));
    let states = [
        (1, "str_state = 'DEPEND', int_depend_count = 2", "DEPEND: it waits for 2 things that it depends on"),
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
    for (number, _, words) in states {
        let name = format!("{}/000{number}-render", seeded.jobs[0].name);
        let told = shown(&settings, &["frame", &name]).replace("\n          ", " ");
        assert!(told.contains(words), "{told}");
    }
    let told = shown(&settings, &["job", &seeded.jobs[0].name]);
    assert!(told.contains("1 waiting, 1 running, 1 depend, 1 dead, 0 done"), "{told}");
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
        assert_eq!((code, stdout.as_str()), (1, ""), "{args:?}");
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
    // A wildcard is a letter like others.
    assert!(failed(&["host", "%"]).contains("there is no host"));
    for id in [seeded.jobs[0].id.as_str(), seeded.jobs[0].name.as_str()] {
        assert!(shown(&settings, &["job", id]).contains(&seeded.jobs[0].name));
    }
    let gone = ConnectSettings { port: 1, host: "127.0.0.1".to_owned(), ..settings.clone() };
    let ran = run_program(&gone, &["explain", "job", "a"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("Failed to connect to database"), "{}", ran.stderr);
    for args in [&["explain"][..], &["explain", "cluster", "a"], &["explain", "job"]] {
        assert_eq!(run_program(&settings, args).code, 2, "{args:?}");
    }
}

#[tokio::test]
async fn an_empty_farm_has_nothing_to_explain() {
    let database = database(Generation::G5).await;
    seed(&database.pool(), &FarmSpec::empty()).await.unwrap();
    let ran = run_program(&database.connect_settings().await, &["explain", "job", "a"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, "error: there is no job \"a\" among the pending ones\n"));
}

#[tokio::test]
async fn no_search_reads_every_frame() {
    let database = database(Generation::G0).await;
    let pool = database.pool();
    let seeded = seed(&pool, &FarmSpec::demo(50, 60, 30_000, 5)).await.unwrap();
    sqlx::raw_sql("ANALYZE").execute(&pool).await.unwrap();
    let job = &seeded.jobs[7].name;
    let pattern = format!("{job}%");
    let searches: [(&str, Vec<&str>); 4] = [
        (include_str!("../src/store/sql/find_jobs.sql"), vec![job, &pattern, "21"]),
        (include_str!("../src/store/sql/find_layers.sql"), vec!["id", &pattern, "r%", job, "r", "21"]),
        (include_str!("../src/store/sql/find_frames.sql"), vec!["id", &pattern, "0001%", job, "0001", "21"]),
        (include_str!("../src/store/sql/frame_states.sql"), vec!["{a,b,c}"]),
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
