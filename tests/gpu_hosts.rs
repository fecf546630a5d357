//! GPU hosts and the work around them, from the rows of the database: what ran, how long ago, and how long
//! frames take that may borrow what is kept.

use cue_scheduler::clusters;
use cue_scheduler::db::{SnapshotOptions, Store};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, ShowSpec, seed};
use cue_scheduler::model::{Holds, Plan, Policy, Selection, Snapshot, TagChunkSizes, WaitReason};
use cue_scheduler::planner::plan;
use cue_scheduler::units::{Cores, Kib};

use crate::support::{TestDatabase, database, execute, run_program};

/// A host of 16 cores with two GPUs; a layer of 16 frames without GPUs, and one whose frames take 4 cores, 8 GiB
/// and a GPU.
async fn farm(generation: Generation) -> TestDatabase {
    let database = database(generation).await;
    let plain = LayerSpec::new("plain").frames(16);
    let gpu = LayerSpec::new("gpu").frames(4).cores(Cores::whole(4)).memory(Kib::gib(8)).gpus(1, Kib::gib(8));
    let folder = FolderSpec::new("comp").job(JobSpec::new("plain").layer(plain)).job(JobSpec::new("gpu").layer(gpu));
    let cores = Cores::whole(1_000);
    let class = HostClass::new("gpu", 1).cores(Cores::whole(16)).memory(Kib::gib(64)).gpus(2, Kib::gib(48));
    let spec = FarmSpec::empty()
        .alloc("general", "general")
        .host_class(class)
        .show(ShowSpec::new("show").subscription("general", cores, cores).folder(folder));
    seed(&database.pool(), &spec).await.unwrap();
    database
}

/// Lets all frames of the GPU layer have ended so long ago, and its job be over.
async fn gpu_work_ended(database: &TestDatabase, ago: &str) {
    let sql = format!(
        "UPDATE frame SET str_state = 'RUNNING', str_host = (SELECT str_name FROM host), ts_started = now() - interval '{ago}'
          WHERE pk_layer = (SELECT pk_layer FROM layer WHERE str_name = 'gpu');
         UPDATE frame SET str_state = 'SUCCEEDED', ts_stopped = now() - interval '{ago}'
          WHERE pk_layer = (SELECT pk_layer FROM layer WHERE str_name = 'gpu');
         UPDATE job SET str_state = 'FINISHED', ts_stopped = now() - interval '{ago}' WHERE str_name LIKE '%gpu'"
    );
    execute(&database.pool(), &sql).await;
}

async fn snapshot(store: &Store) -> Snapshot {
    let clusters = clusters::load(store, &Selection::default(), TagChunkSizes::default()).await.unwrap().clusters;
    store.load_snapshot(&clusters, &SnapshotOptions::default()).await.unwrap()
}

fn planned(snapshot: &Snapshot) -> Plan {
    plan(snapshot, &Holds::default(), &Policy::default())
}

/// Frames that one look places, and why the rest waits.
async fn placed(database: &TestDatabase) -> (u64, Option<WaitReason>) {
    let plan = planned(&snapshot(&database.patient_store().await).await);
    (plan.placed_frames(), plan.waiting.first().map(|waiting| waiting.reason))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gpu_host_keeps_follows_from_what_ran_there_and_for_how_long_frames_run() {
    for generation in [Generation::G0, Generation::G5] {
        let database = farm(generation).await;
        gpu_work_ended(&database, "10 minutes").await;
        assert_eq!(placed(&database).await, (8, Some(WaitReason::GpuReserved)), "two bundles of 4 cores are kept");
        let settings = database.connect_settings().await;
        let host = run_program(&settings, &["explain", "host", "127.1.0.1"]).stdout.replace("\n          ", " ");
        assert!(host.contains("kept    4 cores and 8 GiB for each of 2 GPUs idle: GPU work ran"), "{host}");
        let layer = ["explain", "layer", "show-sh010-artist_plain/plain", "-o", "json"];
        let layer = run_program(&settings, &layer).stdout;
        assert!(layer.contains("host 127.1.0.1 keeps 4 cores and 8 GiB for each of 2 GPUs idle"), "{layer}");

        gpu_work_ended(&database, "2 hours").await;
        assert_eq!(placed(&database).await.0, 8, "nobody knows how long the frames take");
        let usage = |table: &str, frames: i64, seconds: i64, of: &str| {
            format!(
                "UPDATE {table} SET int_frame_success_count = {frames}, int_clock_time_success = {seconds}
                  WHERE {of} = (SELECT {of} FROM layer WHERE str_name = 'plain')"
            )
        };
        execute(&database.pool(), &usage("job_usage", 10, 10 * 899, "pk_job")).await;
        assert_eq!(placed(&database).await, (16, None), "those of the job tell");
        execute(&database.pool(), &usage("layer_usage", 2, 2 * 901, "pk_layer")).await;
        assert_eq!(placed(&database).await.0, 8, "those of the layer tell better");

        gpu_work_ended(&database, "25 hours").await;
        assert_eq!(placed(&database).await, (16, None), "no GPU work for a day");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_see_the_same_gpu_work_however_long_they_run() {
    let database = farm(Generation::G5).await;
    let old = database.patient_store().await;
    assert_eq!(snapshot(&old).await.gpu_work, [], "nothing ran yet");
    // A frame starts after the first look of the one instance, and ends before the first of the other.
    execute(
        &database.pool(),
        "INSERT INTO proc (pk_proc, pk_host, pk_show, pk_job, pk_layer, int_cores_reserved, int_mem_reserved, int_gpus_reserved)
         SELECT 'proc', (SELECT pk_host FROM host), job.pk_show, job.pk_job, layer.pk_layer, 400, 8388608, 1
           FROM layer JOIN job USING (pk_job) WHERE layer.str_name = 'gpu'",
    )
    .await;
    let seen = snapshot(&old).await.gpu_work;
    assert_eq!(seen.len(), 1);
    execute(&database.pool(), "DELETE FROM proc").await;
    gpu_work_ended(&database, "0 seconds").await;
    let new = database.patient_store().await;
    let asks =
        |snapshot: &Snapshot| snapshot.gpu_work.iter().map(|row| (row.alloc.clone(), row.ask)).collect::<Vec<_>>();
    let (by_old, by_new) = (snapshot(&old).await, snapshot(&new).await);
    assert_eq!(asks(&by_old), asks(&by_new));
    assert_eq!(planned(&by_old), planned(&by_new));
    assert_eq!(planned(&by_new).placed_frames(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn cuebots_own_rule_asks_the_database_nothing_of_gpu_work() {
    let database = farm(Generation::G5).await;
    gpu_work_ended(&database, "10 minutes").await;
    let settings = database.connect_settings().await;
    let output = crate::support::program(&settings)
        .env("OPENSCHEDULER_QUEUE__GPU_KEEP", "cuebot")
        .args(["plan", "-o", "json"])
        .output()
        .unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((plan["totals"]["frames"].as_u64(), &plan["reasons"][0]["reason"]), (Some(0), &"gpu_reserved".into()));
}
