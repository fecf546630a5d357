//! What is read of a farm: whole in every generation, and with bad rows left out by name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cue_scheduler::clusters;
use cue_scheduler::db::{SnapshotOptions, Store};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostNames, JobSpec, LayerSpec, Seeded, ShowSpec, seed};
use cue_scheduler::model::{
    Cap, ClusterKind, CoreRequest, Holds, HostId, HostState, LayerId, LeftOutRow, LimitIx, LimitUse, LoadRule, Policy,
    Selection, Snapshot, Tag, TagChunkSizes, TagKind, ThreadMode, Timestamp, WaitReason,
};
use cue_scheduler::planner::plan;
use cue_scheduler::preview::look;
use cue_scheduler::scheduler::Settings;
use cue_scheduler::units::{Amounts, Cores, Gpus, Kib};
use sqlx::PgPool;

use crate::support::{TestDatabase, book_all, database, execute, one_core, requests, texts};

struct Farm {
    _database: TestDatabase,
    pool: PgPool,
    store: Store,
    seeded: Seeded,
}

async fn farm(generation: Generation, spec: &FarmSpec) -> Farm {
    let database = database(generation).await;
    let pool = database.pool();
    let seeded = seed(&pool, spec).await.unwrap();
    let store = database.patient_store().await;
    Farm { _database: database, pool, store, seeded }
}

/// Makes the database as empty as a new one, in a tenth of the time.
async fn wipe(pool: &PgPool) {
    execute(
        pool,
        "DO $$ DECLARE name text; BEGIN
             SET LOCAL session_replication_role = replica;
             FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('config', 'task_lock') LOOP
                 EXECUTE format('DELETE FROM %I', name);
             END LOOP;
         END $$",
    )
    .await;
}

async fn snapshot(store: &Store) -> Snapshot {
    let loaded = clusters::load(store, &Selection::default(), TagChunkSizes::default()).await.unwrap();
    assert_eq!(loaded.left_out, []);
    store.load_snapshot(&loaded.clusters, &SnapshotOptions::default()).await.unwrap()
}

#[tokio::test]
async fn a_whole_farm_is_read_alike_in_every_generation() {
    let mut readings = Vec::new();
    for generation in Generation::ALL {
        let Farm { store, seeded, pool, _database } = farm(generation, &FarmSpec::demo(70, 9, 300, 11)).await;
        let read = snapshot(&store).await;
        assert_eq!(read.left_out, [], "{generation}");

        assert_eq!(read.hosts.len(), seeded.hosts.len());
        for host in &read.hosts {
            let made = seeded.host_named(&host.name).unwrap();
            assert_eq!((&host.id, &host.alloc, host.total, host.idle), (&made.id, &made.alloc, made.total, made.total));
            assert_eq!(
                (host.os.join(","), host.thread_mode, &host.state),
                (made.os.clone(), made.thread_mode, &HostState::Open)
            );
            let tags: BTreeSet<_> = made.tags.iter().map(String::as_str).collect();
            assert_eq!(host.tags.iter().map(Tag::as_str).collect::<BTreeSet<_>>(), tags);
        }
        assert_eq!(read.candidates.len(), seeded.layers.len());
        assert_eq!(read.jobs.len(), seeded.jobs.len());
        assert_eq!(read.subscriptions.len(), seeded.subscriptions.len());
        for candidate in &read.candidates {
            let layer = seeded.layers.iter().find(|layer| layer.id == candidate.layer).unwrap();
            assert_eq!((candidate.waiting_frames, &read.jobs[candidate.job].id), (layer.frames, &layer.job));
            assert!(!candidate.clusters.is_empty(), "{candidate:?}");
            let age = read.taken_at - candidate.waiting_since;
            assert!(age.is_positive() && age < Duration::from_mins(5), "{age}");
        }

        // Frames: as many as asked for, in dispatch order.
        let wanted: Vec<_> = seeded.layers.iter().map(|layer| (layer.id.clone(), 4)).collect();
        let frames = store.load_waiting_frames(&wanted).await.unwrap();
        assert_eq!(frames.left_out, []);
        for layer in &seeded.layers {
            let sql = format!(
                "SELECT pk_frame FROM frame WHERE pk_layer = '{}' ORDER BY int_dispatch_order LIMIT 4",
                layer.id
            );
            let got: Vec<String> = frames.by_layer[&layer.id].iter().map(|frame| frame.id.to_string()).collect();
            assert_eq!(got, texts(&pool, &sql).await);
        }
        let layers: Vec<LayerId> = seeded.layers.iter().map(|layer| layer.id.clone()).collect();
        let launches = store.load_layer_launches(&layers).await.unwrap();
        assert_eq!((launches.left_out.len(), launches.by_layer.len()), (0, layers.len()));

        // What depends on the clock is the one thing that may differ.
        let mut read = read;
        read.taken_at = Timestamp::UNIX_EPOCH;
        for candidate in &mut read.candidates {
            candidate.waiting_since = Timestamp::UNIX_EPOCH;
        }
        for job in &mut read.jobs {
            job.started_at = Timestamp::UNIX_EPOCH;
        }
        for host in &mut read.hosts {
            host.reported_at = Timestamp::UNIX_EPOCH;
        }
        // And the flag that only later schemas have.
        for show in &mut read.shows {
            let has_flag = generation >= Generation::G2;
            assert_eq!(show.is_scheduler_managed.take().is_some(), has_flag, "{generation}");
        }
        for limit in &mut read.limits {
            if let LimitUse::Hosts { used, max, .. } = limit.usage {
                limit.usage = LimitUse::Frames { used, max };
            }
        }
        readings.push(read);
    }
    for (reading, generation) in readings.iter().zip(Generation::ALL) {
        assert_eq!(*reading, readings[0], "{generation}");
    }
}

#[tokio::test]
async fn columns_arrive_as_what_they_mean() {
    let spec = FarmSpec::simple(5)
        .limit("nuke", 3)
        .each_host_class(|class| {
            class.os = "centos7, rhel9".into();
            class.thread_mode = ThreadMode::Variable;
            class.tags.push(("sim".into(), TagKind::Manual));
        })
        .each_subscription(|subscription| (subscription.size, subscription.burst) = (Cores(300), Cores(700)))
        .each_folder(|folder| folder.cores_max = Some(Cores(650)))
        .each_job(|job| {
            job.priority = 42;
            job.os = Some("rhel9".into());
            job.is_paused = true;
            job.is_auto_book = false;
            job.cores_max = Cores(-1);
            job.environment = vec![("SHOT".into(), "010".into()), ("LEVEL".into(), "job".into())];
        })
        .each_layer(|layer| {
            layer.cores_min = Cores(-150);
            layer.cores_max = Cores(400);
            layer.gpus = Gpus(2);
            layer.gpu_memory = Kib::gib(4);
            layer.is_threadable = false;
            layer.tags = " sim|general ".into();
            layer.services = "arnold, nuke,".into();
            layer.limits = vec!["nuke".into()];
            layer.chunk_size = 3;
            layer.environment = vec![("LEVEL".into(), "layer".into())];
        });
    for generation in [Generation::G0, Generation::G5] {
        let Farm { store, seeded, pool, _database } = farm(generation, &spec).await;
        execute(
            &pool,
            "INSERT INTO job_env (pk_job_env, pk_job, str_key, str_value) SELECT 'a', pk_job, NULL, 'lost' FROM job;
             INSERT INTO job_env (pk_job_env, pk_job, str_key, str_value) SELECT 'b', pk_job, 'EMPTY', NULL FROM job",
        )
        .await;
        let read = snapshot(&store).await;
        assert_eq!(read.left_out, []);
        assert_eq!(read.hosts[0].os, ["centos7", "rhel9"]);
        assert_eq!(read.hosts[0].thread_mode, ThreadMode::Variable);
        assert_eq!((read.subscriptions[0].size, read.subscriptions[0].burst), (Cores(300), Cores(700)));
        assert_eq!(read.folders[0].cores_max, Cap::AtMost(Cores(650)));
        assert_eq!(read.folders[0].gpus_max, Cap::Unlimited);
        let job = &read.jobs[0];
        assert_eq!(
            (job.priority, job.os.as_deref(), job.is_paused, job.is_auto_book),
            (42, Some("rhel9"), true, false)
        );
        assert_eq!(job.cores_max, Cores(-1));
        let layer = &read.candidates[0];
        assert_eq!((layer.cores, layer.cores_max), (CoreRequest::AllBut(Cores(150)), Some(Cores(400))));
        assert_eq!((layer.gpus, layer.gpu_memory, layer.is_threadable), (Gpus(2), Kib::gib(4), false));
        assert_eq!(layer.tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["general", "sim"]);
        assert_eq!(layer.services, ["arnold", "nuke"]);
        assert_eq!(
            (layer.limits.as_slice(), &read.limits[0].usage),
            ([LimitIx(0)].as_slice(), &LimitUse::Frames { used: 0, max: 3 })
        );

        let launches = store.load_layer_launches(&[seeded.layers[0].id.clone()]).await.unwrap();
        let launch = &launches.by_layer[&seeded.layers[0].id];
        assert_eq!((launch.range.as_str(), launch.chunk_size, launch.is_threadable), ("1-15", 3, false));
        assert_eq!((launch.show.as_str(), launch.shot.as_str(), launch.user.as_str()), ("show", "sh010", "artist"));
        assert_eq!(
            (launch.uid, launch.stuck_detection_minutes, launch.os.as_deref()),
            (Some(1_000), None, Some("rhel9"))
        );
        let variables = [("EMPTY", ""), ("LEVEL", "layer"), ("SHOT", "010")];
        assert_eq!(
            launch.environment,
            BTreeMap::from(variables.map(|(key, value)| (key.to_owned(), value.to_owned())))
        );
    }
}

#[tokio::test]
async fn use_and_running_layers_follow_bookings() {
    for generation in [Generation::G0, Generation::G5] {
        let spec = FarmSpec::simple(6).limit("nuke", 9).each_layer(|layer| layer.limits = vec!["nuke".into()]);
        let Farm { store, seeded, _database, .. } = farm(generation, &spec).await;
        assert_eq!(book_all(&store, &requests(&store, &seeded, 4).await).await.booked.len(), 4);
        let read = snapshot(&store).await;
        let host = &read.hosts[0];
        assert_eq!(host.idle, host.total - [one_core(); 4].into_iter().sum::<Amounts>());
        assert_eq!(host.running_layers, BTreeSet::from([seeded.layers[0].id.clone()]));
        assert_eq!(read.candidates[0].waiting_frames, 2);
        assert_eq!(
            (read.subscriptions[0].cores, read.folders[0].cores, read.jobs[0].cores),
            (Cores(400), Cores(400), Cores(400))
        );
        assert_eq!(read.limits[0].usage, LimitUse::Frames { used: 4, max: 9 });
    }
}

/// What a plan makes of the only layer: frames placed, what each reserves, and why the rest waits.
fn planned(read: &Snapshot, holds: &Holds, policy: &Policy) -> (u64, Option<Cores>, Option<WaitReason>) {
    let plan = plan(read, holds, policy);
    let cores = plan.placements.first().map(|placement| placement.reservation.cores);
    (plan.placed_frames(), cores, plan.waiting.first().map(|waiting| waiting.reason))
}

#[tokio::test]
async fn fit_and_width_go_by_the_ledger_whatever_memory_a_machine_measures() {
    // A machine of 32 GiB, of which Cuebot keeps half a GiB back, and which has nothing to do.
    let spec = FarmSpec::simple(1)
        .each_host_class(|class| class.total.memory = Kib(33_030_144))
        .each_layer(|layer| (layer.memory, layer.is_threadable) = (Kib::gib(31), true));
    let Farm { store, pool, _database, .. } = farm(Generation::G0, &spec).await;
    execute(&pool, "UPDATE host_stat SET int_mem_free = 30 * 1048576").await;
    let placed = |read: &Snapshot| planned(read, &Holds::default(), &Policy::default());
    assert_eq!(placed(&snapshot(&store).await).0, 1);

    // Half an hour of a core: by what is free it would be two cores.
    execute(&pool, "UPDATE layer SET int_mem_min = 5939 * 1024").await;
    assert_eq!(placed(&snapshot(&store).await), (1, Some(Cores::ONE), None));

    execute(&pool, "UPDATE host_stat SET int_mem_free = 512 * 1024").await;
    assert_eq!(placed(&snapshot(&store).await).0, 1);
    execute(&pool, "UPDATE host_stat SET int_mem_free = 512 * 1024 - 1").await;
    assert_eq!(placed(&snapshot(&store).await), (0, None, Some(WaitReason::LowFreeMemory)));
}

#[tokio::test]
async fn gpu_memory_goes_by_the_ledger_too() {
    let spec = FarmSpec::simple(1)
        .each_host_class(|class| (class.total.gpus, class.total.gpu_memory) = (Gpus(1), Kib::gib(24)))
        .each_layer(|layer| (layer.gpus, layer.gpu_memory) = (Gpus(1), Kib::gib(24)));
    let Farm { store, pool, _database, .. } = farm(Generation::G0, &spec).await;
    execute(&pool, "UPDATE host_stat SET int_gpu_mem_total = 24 * 1048576, int_gpu_mem_free = 23 * 1048576").await;
    assert_eq!(planned(&snapshot(&store).await, &Holds::default(), &Policy::default()).0, 1);
}

#[tokio::test]
async fn only_load_that_no_booking_explains_takes_cores_away() {
    let spec = FarmSpec::simple(9);
    let Farm { store, pool, seeded, _database } = farm(Generation::G0, &spec).await;
    let cores = seeded.hosts[0].total.cores.whole_cores();
    assert_eq!(cores, 8);
    let placed = |read: &Snapshot, host_load| {
        let (frames, _, reason) = planned(read, &Holds::default(), &Policy { host_load, ..Policy::default() });
        (frames, reason)
    };
    // Somebody works at the desk and takes all of it.
    execute(&pool, "UPDATE host_stat SET int_load = 800").await;
    let read = snapshot(&store).await;
    assert_eq!(placed(&read, LoadRule::Foreign), (0, Some(WaitReason::HostLoad)));
    assert_eq!(placed(&read, LoadRule::Cuebot), (0, Some(WaitReason::HostLoad)));
    assert_eq!(placed(&read, LoadRule::Off), (8, Some(WaitReason::Capacity)));
    // Half of it; a twentieth more than there is may be in use.
    execute(&pool, "UPDATE host_stat SET int_load = 340").await;
    assert_eq!(placed(&snapshot(&store).await, LoadRule::Foreign), (5, Some(WaitReason::HostLoad)));
    execute(&pool, "UPDATE host_stat SET int_load = 341").await;
    assert_eq!(placed(&snapshot(&store).await, LoadRule::Foreign), (4, Some(WaitReason::HostLoad)));

    // Three of the cores are ours.
    assert_eq!(book_all(&store, &requests(&store, &seeded, 3).await).await.booked.len(), 3);
    // They were not, when the host reported.
    assert_eq!(placed(&snapshot(&store).await, LoadRule::Foreign), (1, Some(WaitReason::HostLoad)));
    execute(&pool, "UPDATE host_stat SET ts_ping = clock_timestamp()").await;
    assert_eq!(placed(&snapshot(&store).await, LoadRule::Foreign), (4, Some(WaitReason::HostLoad)));
    execute(&pool, "UPDATE host_stat SET int_load = 340").await;
    assert_eq!(placed(&snapshot(&store).await, LoadRule::Foreign), (5, Some(WaitReason::Capacity)));
    // More than four times the cores is nobody's load.
    execute(&pool, "UPDATE host_stat SET int_load = 3201").await;
    assert_eq!(placed(&snapshot(&store).await, LoadRule::Cuebot), (5, Some(WaitReason::Capacity)));
    execute(&pool, "UPDATE host_stat SET int_load = -100").await;
    assert_eq!(placed(&snapshot(&store).await, LoadRule::Foreign), (5, Some(WaitReason::Capacity)));
}

#[tokio::test]
async fn what_was_booked_on_a_host_lately_is_read_from_frames() {
    let Farm { store, pool, seeded, _database } = farm(Generation::G5, &FarmSpec::simple(9).hosts(2)).await;
    let (host, other) = (&seeded.hosts[0], &seeded.hosts[1]);
    let ran = async |number: i32, state: &str, cores: i32, from: i32, to: i32| {
        let sql = format!(
            "UPDATE frame SET str_state = '{state}', str_host = '{}', int_cores = {cores},
                    ts_started = (SELECT ts_ping FROM host_stat WHERE pk_host = '{}') + {from} * interval '1 second',
                    ts_stopped = (SELECT ts_ping FROM host_stat WHERE pk_host = '{}') + {to} * interval '1 second'
              WHERE int_number = {number}",
            host.name, host.id, host.id
        );
        execute(&pool, &sql).await;
    };
    let lately = async || {
        let ids = [host.id.clone(), other.id.clone()];
        let found = store.booked_lately(&ids, Duration::from_mins(2)).await.unwrap();
        assert!(!found.contains_key(&other.id));
        found.get(&host.id).copied()
    };
    assert_eq!(lately().await, None);
    ran(1, "SUCCEEDED", 800, -500, -121).await;
    ran(2, "SUCCEEDED", 100, 5, 9).await;
    assert_eq!(lately().await, None);
    // Two at once, and one after them: Cuebot writes a stop a second too late.
    ran(3, "DEAD", 300, -200, -100).await;
    ran(4, "WAITING", 200, -150, -110).await;
    ran(5, "RUNNING", 400, -100, 0).await;
    assert_eq!(lately().await, Some(Cores(500)));
    ran(6, "SUCCEEDED", 200, -60, -59).await;
    assert_eq!(lately().await, Some(Cores(600)));
}

#[tokio::test]
async fn a_look_that_watched_nothing_asks_what_ended_before_it_calls_a_host_busy() {
    let Farm { store, pool, seeded, _database } = farm(Generation::G5, &FarmSpec::simple(9)).await;
    let loaded = clusters::load(&store, &Selection::default(), TagChunkSizes::default()).await.unwrap();
    let frames = async || look(&store, &loaded.clusters, &Settings::default()).await.unwrap().plan.placed_frames();
    execute(&pool, "UPDATE host_stat SET int_load = 640").await;
    assert_eq!(frames().await, 2);
    let name = &seeded.hosts[0].name;
    execute(
        &pool,
        &format!(
            "UPDATE frame SET str_state = 'SUCCEEDED', str_host = '{name}', int_cores = 800,
                    ts_started = now() - interval '200 seconds', ts_stopped = now() - interval '20 seconds'
              WHERE int_number = 1"
        ),
    )
    .await;
    assert_eq!(frames().await, 8);
}

#[tokio::test]
async fn a_report_from_the_future_is_good_for_no_longer_than_the_staleness() {
    let Farm { store, pool, _database, .. } = farm(Generation::G0, &FarmSpec::simple(1)).await;
    let state = async |ahead: &str| {
        execute(&pool, &format!("UPDATE host_stat SET ts_ping = now() + interval '{ahead}'")).await;
        let read = snapshot(&store).await;
        let oddities: Vec<&str> = Holds::default().oddities(&read.hosts[0], read.taken_at).map(Into::into).collect();
        assert_eq!(oddities, ["report_in_future"]);
        read.hosts[0].state.clone()
    };
    assert_eq!(state("100 seconds").await, HostState::Open);
    assert!(matches!(state("1 hour").await, HostState::FutureReport { seconds: 3_500..=3_600 }));
    // It is no sign that anybody reports.
    let loaded = clusters::load(&store, &Selection::default(), TagChunkSizes::default()).await.unwrap();
    assert_eq!(store.newest_report(&loaded.clusters).await.unwrap().newest, None);
}

#[tokio::test]
async fn a_host_that_takes_nothing_says_why() {
    let Farm { store, pool, seeded, _database } = farm(Generation::G0, &FarmSpec::simple(1).hosts(9)).await;
    let put_aside = HostId::clone(&seeded.hosts[8].id);
    let at = |number: usize| format!("WHERE pk_host = '{}'", seeded.hosts[number].id);
    for sql in [
        format!("UPDATE host_stat SET str_state = 'REBOOT_WHEN_IDLE' {}", at(1)),
        format!("UPDATE host SET str_lock_state = 'LOCKED' {}", at(2)),
        format!("UPDATE host SET str_lock_state = 'NIMBY_LOCKED' {}", at(3)),
        format!("UPDATE host_stat SET ts_ping = current_timestamp - interval '300 seconds' {}", at(4)),
        format!(
            "INSERT INTO host_local (pk_host_local, pk_host, pk_job, str_type) SELECT 'l', pk_host, pk_job, 'JOB_PARTITION' FROM host, job {}",
            at(5)
        ),
        format!("UPDATE host_stat SET int_mem_free = 524287 {}", at(6)),
        format!("UPDATE host SET str_lock_state = 'SOMETHING_NEW' {}", at(7)),
    ] {
        execute(&pool, &sql).await;
    }
    let holds = Holds { put_aside: [(put_aside, "it refuses".to_owned())].into(), ..Holds::default() };
    let read = snapshot(&store).await;
    assert_eq!(read.left_out, []);
    let states: Vec<HostState> = seeded
        .hosts
        .iter()
        .map(|made| holds.state(read.hosts.iter().find(|host| host.id == made.id).unwrap()).into_owned())
        .collect();
    assert!(matches!(states[4], HostState::Stale { seconds: 300..400 }), "{states:?}");
    assert_eq!(
        [&states[..4], &states[5..]].concat(),
        [
            HostState::Open,
            HostState::NotUp("REBOOT_WHEN_IDLE".into()),
            HostState::Locked,
            HostState::NimbyLocked,
            HostState::LocalWork,
            HostState::LowFreeMemory,
            HostState::Locked,
            HostState::PutAside("it refuses".into()),
        ]
    );
}

/// Three hosts, and two shows with a job and a layer each: what is bad is planted into the first.
fn pair() -> FarmSpec {
    let show = |name: &str| {
        let layer = LayerSpec::new("render").frames(3);
        let job = JobSpec::new("job").layer(layer);
        ShowSpec::new(name).subscription("general", Cores(1_000), Cores(1_000)).folder(FolderSpec::new(name).job(job))
    };
    let mut spec = FarmSpec::simple(0).hosts(3).host_names(HostNames::Numbered { prefix: "node".into() });
    spec.shows = vec![show("bad"), show("good")];
    spec
}

#[derive(Debug, PartialEq, Eq)]
struct Present {
    hosts: usize,
    candidates: usize,
    jobs: usize,
}

/// A bad row, what is said of it, and what is there all the same; waiting layers of bad rows are.
struct BadRow {
    generation: Generation,
    sql: &'static str,
    /// Table and words of the problem; `None`: the row is good enough and nothing is left out.
    left_out: Option<(&'static str, &'static str)>,
    present: Present,
}

const ALL: Present = Present { hosts: 3, candidates: 2, jobs: 2 };
const ONE_HOST_LESS: Present = Present { hosts: 2, ..ALL };
/// Jobs are read for the layers that are left.
const ONE_JOB_LESS: Present = Present { candidates: 1, jobs: 1, ..ALL };

fn bad_rows() -> Vec<BadRow> {
    use Generation::{G0, G5};
    let row = |generation, sql, left_out, present| BadRow { generation, sql, left_out, present };
    vec![
        // Systems: none is no condition.
        row(G0, "UPDATE job SET str_os = NULL", None, ALL),
        row(G5, "UPDATE job SET str_os = ' '", None, ALL),
        row(G0, "UPDATE host_stat SET str_os = '' WHERE pk_host = (SELECT pk_host FROM host WHERE str_name = 'node0001')", None, ALL),
        // Tags.
        row(G0, "UPDATE layer SET str_tags = '' WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'bad')", None, ALL),
        row(G5, "UPDATE layer SET str_tags = ' | ' WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'bad')", None, ALL),
        row(G0, "INSERT INTO host_tag (pk_host_tag, pk_host, str_tag) SELECT 'blank', pk_host, ' ' FROM host LIMIT 1", None, ALL),
        // Hosts.
        row(G0, "UPDATE host SET int_thread_mode = 7 WHERE str_name = 'node0001'", Some(("host", "int_thread_mode is 7")), ONE_HOST_LESS),
        row(G5, "UPDATE host SET int_mem = -1 WHERE str_name = 'node0001'", Some(("host", "int_mem is -1")), ONE_HOST_LESS),
        row(G0, "ALTER TABLE host DISABLE TRIGGER USER; UPDATE host SET int_gpus_idle = -2 WHERE str_name = 'node0001'; ALTER TABLE host ENABLE TRIGGER USER", Some(("host", "int_gpus_idle is -2")), ONE_HOST_LESS),
        row(G0, "DELETE FROM host_stat WHERE pk_host = (SELECT pk_host FROM host WHERE str_name = 'node0001')", Some(("host", "it has no host_stat row")), ONE_HOST_LESS),
        row(G5, "DELETE FROM host_tag WHERE pk_host = (SELECT pk_host FROM host WHERE str_name = 'node0001')", None, ALL),
        row(G0, "UPDATE host_stat SET str_state = 'ON_FIRE', ts_ping = 'infinity' WHERE pk_host = (SELECT pk_host FROM host WHERE str_name = 'node0001')", None, ALL),
        // Layers.
        row(G0, "UPDATE layer SET int_mem_min = -5 WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'bad')", Some(("layer", "int_mem_min is -5")), ALL),
        row(G5, "UPDATE layer SET int_gpus_min = -1 WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'bad')", Some(("layer", "int_gpus_min is -1")), ALL),
        row(G0, "UPDATE layer SET int_cores_max = -100 WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'bad')", None, ALL),
        row(G0, "UPDATE layer SET int_dispatch_order = 5000000000 WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'bad')", Some(("layer", "int_dispatch_order is 5000000000")), ALL),
        row(G5, "ALTER TABLE layer ALTER b_threadable DROP NOT NULL; UPDATE layer SET b_threadable = NULL WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'bad')", Some(("layer", "b_threadable is NULL")), ALL),
        row(G5, "UPDATE layer SET int_gpu_mem_min = -7 WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'bad')", Some(("layer", "int_gpu_mem_min is -7")), ALL),
        row(G5, "UPDATE layer_stat SET int_waiting_count = -2 WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'bad')", None, ONE_JOB_LESS),
        row(G5, "UPDATE layer SET ts_start_after = 'infinity' WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'bad')", None, ALL),
        row(G5, "UPDATE layer SET ts_eligible = '-infinity'; UPDATE frame SET ts_eligible = NULL", None, ALL),
        row(G0, "DELETE FROM layer_stat WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'bad')", None, ONE_JOB_LESS),
        // Jobs and folders.
        row(G0, "DELETE FROM job_resource WHERE pk_job = (SELECT pk_job FROM job WHERE str_show = 'bad')", Some(("job", "it has no job_resource row")), ALL),
        row(G0, "DELETE FROM folder_resource WHERE pk_folder = (SELECT pk_folder FROM job WHERE str_show = 'bad')", Some(("job", "has no folder_resource row")), ALL),
        row(G0, "INSERT INTO folder_resource (pk_folder_resource, pk_folder, int_max_cores) SELECT 'second', pk_folder, 0 FROM job WHERE str_show = 'bad'", Some(("folder_resource", "has a second row")), ALL),
        row(G5, "UPDATE job_resource SET int_cores = -300, int_max_cores = 0; UPDATE subscription SET int_cores = -5, int_burst = -1", None, ALL),
        row(G0, "DELETE FROM point", None, ALL),
        // Without a subscription a show has no cluster, and its work is nobody's.
        row(G0, "DELETE FROM subscription WHERE pk_show = (SELECT pk_show FROM show WHERE str_name = 'bad')", None, ONE_JOB_LESS),
        // Limits.
        row(G0, "INSERT INTO layer_limit (pk_layer_limit, pk_layer, pk_limit_record) SELECT 'x', pk_layer, 'nowhere' FROM layer JOIN job USING (pk_job) WHERE str_show = 'bad'", Some(("layer_limit", "is bound to this limit, which does not exist")), ALL),
        row(G0, "INSERT INTO limit_record (pk_limit_record, str_name, int_max_value) VALUES ('twin', 'a', 5), ('twin', 'b', 2);
            INSERT INTO layer_limit (pk_layer_limit, pk_layer, pk_limit_record) SELECT 'x', pk_layer, 'twin' FROM layer JOIN job USING (pk_job) WHERE str_show = 'bad'", Some(("limit_record", "two rows have this id")), ALL),
        // Places.
        row(G0, "UPDATE alloc SET str_tag = NULL", None, ALL),
        row(G0, "UPDATE alloc SET str_tag = NULL; DELETE FROM host_tag WHERE str_tag_type = 'ALLOC'", None, ALL),
    ]
}

#[tokio::test]
async fn a_bad_row_is_left_out_by_name_and_the_rest_is_there() {
    let databases = [database(Generation::G0).await, database(Generation::G5).await];
    let stores = [databases[0].store().await, databases[1].store().await];
    for BadRow { generation, sql, left_out, present } in bad_rows() {
        let number = usize::from(generation == Generation::G5);
        let (pool, store) = (databases[number].pool(), &stores[number]);
        wipe(&pool).await;
        seed(&pool, &pair()).await.unwrap();
        execute(&pool, sql).await;
        let read = snapshot(store).await;
        let found = Present { hosts: read.hosts.len(), candidates: read.candidates.len(), jobs: read.jobs.len() };
        assert_eq!(found, present, "{sql}: {:?}", read.left_out);
        match left_out {
            None => assert_eq!(read.left_out, [], "{sql}"),
            Some((table, words)) => {
                let [LeftOutRow { table: named, id, problem }] = read.left_out.as_slice() else {
                    panic!("{sql}: {:?}", read.left_out)
                };
                assert_eq!(*named, table, "{sql}");
                assert!(problem.contains(words) && !id.is_empty() && id != "?", "{sql}: {problem}");
                // What waits in it is counted all the same, and can be told from what can be booked.
                let unusable: Vec<_> = read.candidates.iter().filter_map(|one| one.unusable.as_ref()).collect();
                let is_of_work = matches!(table, "layer" | "job");
                assert_eq!(unusable.iter().any(|row| *row == &read.left_out[0]), is_of_work, "{sql}");
            }
        }
    }
}

#[tokio::test]
async fn keys_are_kept_as_they_are() {
    // Upper-case hex, and no UUIDs at all; the children follow by hand, as keys do not cascade.
    let Farm { store, pool, seeded, _database } = farm(Generation::G0, &FarmSpec::simple(3)).await;
    execute(
        &pool,
        "SET session_replication_role = replica;
         UPDATE layer SET pk_layer = 'Layer: Straße 1'; UPDATE layer_stat SET pk_layer = 'Layer: Straße 1';
         UPDATE layer_resource SET pk_layer = 'Layer: Straße 1'; UPDATE layer_history SET pk_layer = 'Layer: Straße 1';
         UPDATE frame SET pk_layer = 'Layer: Straße 1', pk_frame = 'frame ' || int_number;
         UPDATE host SET pk_host = upper(pk_host); UPDATE host_stat SET pk_host = upper(pk_host);
         UPDATE host_tag SET pk_host = upper(pk_host);
         SET session_replication_role = origin",
    )
    .await;
    let read = snapshot(&store).await;
    assert_eq!((read.left_out.len(), read.candidates[0].layer.as_str()), (0, "Layer: Straße 1"));
    assert_eq!(read.hosts[0].id.as_str(), seeded.hosts[0].id.as_str().to_uppercase());

    let mut seeded = seeded;
    seeded.layers[0].id = "Layer: Straße 1".into();
    seeded.hosts[0].id = read.hosts[0].id.clone();
    let wanted = requests(&store, &seeded, 3).await;
    assert_eq!(wanted[0].frame.id.as_str(), "frame 1");
    assert_eq!(book_all(&store, &wanted).await.booked.len(), 3);
    let launches = store.load_layer_launches(&[seeded.layers[0].id.clone()]).await.unwrap();
    assert_eq!(launches.by_layer.len(), 1);
}

#[tokio::test]
async fn a_frame_that_makes_no_sense_is_left_out_by_name() {
    let Farm { store, pool, seeded, _database } = farm(Generation::G5, &FarmSpec::simple(4)).await;
    execute(
        &pool,
        "UPDATE frame SET int_version = NULL WHERE int_number = 1;
         UPDATE frame SET int_number = 3000000000 WHERE int_number = 2;
         UPDATE frame SET str_name = 'no number and no hyphen' WHERE int_number = 3",
    )
    .await;
    let layer = seeded.layers[0].id.clone();
    let frames = store.load_waiting_frames(&[(layer.clone(), 10), ("no layer".into(), 5)]).await.unwrap();
    let names: Vec<&str> = frames.by_layer[&layer].iter().map(|frame| frame.name.as_str()).collect();
    assert_eq!(names, ["no number and no hyphen", "0004-render"]);
    let problems: Vec<&str> = frames.left_out.iter().map(|row| row.problem.as_str()).collect();
    assert_eq!(problems.len(), 2);
    assert!(
        problems[0].contains("int_version is NULL") && problems[1].contains("int_number is 3000000000"),
        "{problems:?}"
    );
}

#[tokio::test]
async fn frames_of_a_delayed_layer_are_not_handed_out() {
    let Farm { store, pool, seeded, _database } = farm(Generation::G5, &FarmSpec::simple(4)).await;
    let wanted = [(seeded.layers[0].id.clone(), 10)];
    execute(&pool, "UPDATE layer SET ts_start_after = current_timestamp + interval '1 hour'").await;
    assert_eq!(store.load_waiting_frames(&wanted).await.unwrap().by_layer.len(), 0);
    let read = snapshot(&store).await;
    assert!(read.candidates[0].start_after.unwrap() > read.taken_at);
    execute(&pool, "UPDATE layer SET ts_start_after = current_timestamp - interval '1 hour'").await;
    assert_eq!(store.load_waiting_frames(&wanted).await.unwrap().by_layer.len(), 1);
}

#[tokio::test]
async fn limits_gate_as_their_generation_says() {
    let cases = [
        (Generation::G0, "UPDATE limit_record SET int_max_value = NULL", Some(LimitUse::Frames { used: 0, max: 0 })),
        (Generation::G0, "UPDATE limit_record SET b_host_limit = true", Some(LimitUse::Frames { used: 0, max: 4 })),
        (Generation::G5, "UPDATE limit_record SET int_max_value = NULL", None),
        (Generation::G5, "UPDATE limit_record SET str_enforcement = 'ADVISORY'", None),
        (Generation::G5, "UPDATE limit_record SET ts_reported = current_timestamp - interval '1 day'", None),
        (
            Generation::G5,
            "UPDATE limit_record SET ts_reported = current_timestamp - interval '1 day', int_report_ttl = 0",
            Some(LimitUse::Frames { used: 0, max: 4 }),
        ),
        (
            Generation::G5,
            "UPDATE limit_record SET str_type = 'HOST', int_soft_value = 2, ts_reported = current_timestamp;
             INSERT INTO limit_host (pk_limit_host, pk_limit_record, str_host_name, str_reported_name, ts_reported)
             SELECT 'seat', pk_limit_record, 'desk', 'desk.studio', current_timestamp FROM limit_record",
            Some(LimitUse::Hosts { used: 1, max: 2, holders: ["desk".to_owned()].into() }),
        ),
    ];
    for (generation, sql, usage) in cases {
        let spec = FarmSpec::simple(2).limit("nuke", 4).each_layer(|layer| layer.limits = vec!["nuke".into()]);
        let Farm { store, pool, _database, .. } = farm(generation, &spec).await;
        execute(&pool, sql).await;
        let read = snapshot(&store).await;
        assert_eq!(read.limits.iter().map(|limit| limit.usage.clone()).next(), usage, "{sql}");
        assert_eq!(read.candidates[0].limits.len(), usize::from(usage.is_some()), "{sql}");
    }
}

#[tokio::test]
async fn an_allocation_without_a_tag_still_has_its_tag_clusters() {
    let spec = FarmSpec::simple(1).each_host_class(|class| class.tags.push(("sim".into(), TagKind::Manual)));
    let Farm { store, pool, _database, .. } = farm(Generation::G0, &spec).await;
    let names = |clusters: &[cue_scheduler::model::Cluster]| {
        clusters.iter().map(|cluster| cluster.name.clone()).collect::<Vec<_>>()
    };
    let load =
        || async { clusters::load(&store, &Selection::default(), TagChunkSizes::default()).await.unwrap().clusters };
    assert_eq!(names(&load().await), ["local/show/general", "local/show/hostname-1", "local/show/manual-1"]);
    // The hosts still carry the old tag.
    execute(&pool, "UPDATE alloc SET str_tag = NULL").await;
    assert_eq!(names(&load().await), ["local/show/general", "local/show/hostname-1", "local/show/manual-1"]);
    execute(&pool, "DELETE FROM host_tag WHERE str_tag_type = 'ALLOC'").await;
    let clusters = load().await;
    assert_eq!(names(&clusters), ["local/show/hostname-1", "local/show/manual-1"]);
    assert!(
        matches!(&clusters[1].kind, ClusterKind::Tags { kind: TagKind::Manual, tags } if tags[0].as_str() == "sim")
    );
}

#[tokio::test]
async fn a_host_offers_no_more_than_procs_leave_whatever_its_row_says() {
    let spec = FarmSpec::simple(4)
        .hosts(2)
        .each_host_class(|class| (class.total.gpus, class.total.gpu_memory) = (Gpus(4), Kib::gib(8)));
    for generation in [Generation::G0, Generation::G5] {
        let Farm { store, pool, seeded, _database } = farm(generation, &spec).await;
        assert_eq!(book_all(&store, &requests(&store, &seeded, 4).await).await.booked.len(), 4);
        let idle = async || snapshot(&store).await.hosts.iter().map(|host| host.idle).collect::<Vec<_>>();
        let total = seeded.hosts[0].total;
        let left = total - one_core() - one_core();
        // As after a boot report that raced with the bookings; one host is right.
        let reset = format!(
            "UPDATE host SET int_cores_idle = int_cores, int_mem_idle = int_mem WHERE pk_host = '{}'",
            seeded.hosts[0].id
        );
        execute(&pool, &reset).await;
        assert_eq!(idle().await, [left, left], "{generation}");
        // A leak: the row says less, and that holds until it is repaired.
        execute(&pool, "UPDATE host SET int_cores_idle = 100, int_gpu_mem_idle = 7").await;
        let leaked = Amounts { cores: Cores(100), gpu_memory: Kib(7), ..left };
        assert_eq!(idle().await, [leaked, leaked]);
        // More is booked than there is, by procs of whatever show and of no layer.
        execute(
            &pool,
            "UPDATE host SET int_cores_idle = int_cores, int_gpus_idle = int_gpus, int_gpu_mem_idle = int_gpu_mem;
             UPDATE proc SET int_cores_reserved = 900, int_gpus_reserved = 1, pk_layer = NULL, pk_show = 'foreign'",
        )
        .await;
        let overbooked = Amounts { cores: Cores::ZERO, gpus: total.gpus - Gpus(2), ..left };
        assert_eq!(idle().await, [overbooked, overbooked]);
    }
}

#[tokio::test]
async fn the_change_probe_rests_while_nothing_changes_and_sees_what_can_start_work() {
    for generation in [Generation::G0, Generation::G5] {
        let Farm { store, pool, _database, .. } = farm(generation, &FarmSpec::demo(20, 4, 60, 2)).await;
        let clusters = clusters::load(&store, &Selection::default(), TagChunkSizes::default()).await.unwrap().clusters;
        let mut before = store.probe_change(&clusters).await.unwrap();
        execute(&pool, "UPDATE host_stat SET ts_ping = current_timestamp, int_load = 7").await;
        assert_eq!(store.probe_change(&clusters).await.unwrap(), before, "a report changes nothing");
        let mut changes = vec![
            "UPDATE job SET b_paused = true",
            "UPDATE job_resource SET int_priority = int_priority + 1 WHERE pk_job = (SELECT min(pk_job) FROM job)",
            "UPDATE job_resource SET int_cores = int_cores + 1 WHERE pk_job = (SELECT min(pk_job) FROM job)",
            "UPDATE host SET int_mem_idle = int_mem_idle - 1 WHERE pk_host = (SELECT min(pk_host) FROM host)",
            "UPDATE host SET str_lock_state = 'LOCKED' WHERE pk_host = (SELECT min(pk_host) FROM host)",
            "UPDATE subscription SET int_burst = int_burst + 1",
            "UPDATE folder_resource SET int_max_cores = 5",
            "UPDATE limit_record SET int_max_value = 1",
        ];
        if generation == Generation::G5 {
            changes.push("UPDATE layer SET ts_start_after = current_timestamp + interval '1 hour'");
        }
        for change in changes {
            execute(&pool, change).await;
            let after = store.probe_change(&clusters).await.unwrap();
            assert_ne!(after, before, "{change}");
            before = after;
        }
    }
}
