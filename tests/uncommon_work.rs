//! Rows and work that real farms have and that are not booked as they stand: all of it waits under a reason, is
//! counted everywhere, and is named to people.

use cue_scheduler::clusters;
use cue_scheduler::db::SnapshotOptions;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, JobSpec, LayerSpec, ShowSpec, seed};
use cue_scheduler::model::{Holds, Policy, Selection, TagChunkSizes};
use cue_scheduler::planner::plan;
use cue_scheduler::telemetry::Metrics;
use cue_scheduler::units::Cores;
use serde_json::Value;

use crate::support::{Ran, TestDatabase, database, execute, program, run_program};

const PLENTY: Cores = Cores::whole(1_000);

/// A show with a job for each of these layers, named after it.
async fn farm(generation: Generation, layers: Vec<LayerSpec>) -> TestDatabase {
    let database = database(generation).await;
    let jobs = layers.into_iter().map(|layer| JobSpec::new(&layer.name.clone()).layer(layer));
    let folder = jobs.fold(FolderSpec::new("comp"), FolderSpec::job);
    let show = ShowSpec::new("show").subscription("general", PLENTY, PLENTY).folder(folder);
    let spec = FarmSpec { shows: vec![show], ..FarmSpec::simple(1).hosts(2) };
    seed(&database.pool(), &spec).await.unwrap();
    database
}

fn layer(name: &str) -> LayerSpec {
    LayerSpec::new(name).frames(3)
}

/// What the program prints, in one line for each of its own.
async fn told(database: &TestDatabase, args: &[&str]) -> String {
    let Ran { code, stdout, stderr } = run_program(&database.connect_settings().await, args);
    assert!(code < 2, "{args:?}: {stderr}");
    stdout.replace("\n          ", " ")
}

async fn json(database: &TestDatabase, args: &[&str]) -> Value {
    serde_json::from_str(&told(database, &[args, &["-o", "json"]].concat()).await).unwrap()
}

/// Status, what was found, and what to do.
async fn check(database: &TestDatabase, name: &str) -> (String, String) {
    let checks = json(database, &["check-db"]).await;
    let all = checks["checks"].as_array().unwrap();
    let one = all.iter().find(|check| check["name"] == name).unwrap();
    (one["status"].as_str().unwrap().to_owned(), one["found"].as_str().unwrap().to_owned())
}

/// The reason of the one layer of a job.
async fn reason(database: &TestDatabase, job: &str) -> String {
    let told = json(database, &["explain", "job", &format!("show-sh010-artist_{job}")]).await;
    told["layers"][0]["reason"].as_str().unwrap_or("none").to_owned()
}

/// Frames that the metrics have under a reason.
async fn counted_as_waiting(database: &TestDatabase, reason: &str) -> i64 {
    let store = database.patient_store().await;
    let clusters = clusters::load(&store, &Selection::default(), TagChunkSizes::default()).await.unwrap().clusters;
    let snapshot = store.load_snapshot(&clusters, &SnapshotOptions::default()).await.unwrap();
    let registry = prometheus::Registry::new();
    let metrics = Metrics::new(&registry).unwrap();
    metrics.set_waiting(&snapshot, &plan(&snapshot, &Holds::default(), &Policy::default()));
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == "scheduler_waiting_frames").unwrap();
    let of_reason = family.get_metric().iter().find(|metric| metric.get_label()[0].value() == reason).unwrap();
    #[expect(clippy::cast_possible_truncation, reason = "a small whole number")]
    let frames = of_reason.get_gauge().value() as i64;
    frames
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_whose_row_makes_no_sense_is_counted_everywhere() {
    let broken = [
        ("UPDATE layer SET int_gpus_min = -1", "int_gpus_min is -1; set it to 0 or more"),
        ("UPDATE layer SET int_mem_min = -5", "int_mem_min is -5; set it to 0 or more"),
        ("DELETE FROM job_resource", "it has no job_resource row; submit the job again"),
    ];
    for (number, (change, problem)) in broken.into_iter().enumerate() {
        let generation = if number == 0 { Generation::G0 } else { Generation::G5 };
        let database = farm(generation, vec![layer("sound"), layer("broken")]).await;
        let of_broken = "(SELECT pk_job FROM job WHERE str_name LIKE '%broken')";
        execute(&database.pool(), &format!("{change} WHERE pk_job = {of_broken}")).await;

        let plan = json(&database, &["plan"]).await;
        assert_eq!((plan["totals"]["frames"].as_u64(), plan["totals"]["waiting_frames"].as_u64()), (Some(3), Some(3)));
        let [waiting] = &plan["waiting"].as_array().unwrap()[..] else { panic!("{plan}") };
        assert_eq!((&waiting["reason"], waiting["frames"].as_u64()), (&"row_unusable".into(), Some(3)), "{change}");
        assert!(waiting["detail"].as_str().unwrap().ends_with(problem), "{waiting}");
        assert_eq!(plan["reasons"][0]["reason"], "row_unusable");
        let of_job = told(&database, &["plan", "--job", "show-sh010-artist_broken"]).await;
        // Columns are as wide as the terminal lets them.
        let of_job = of_job.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(of_job.contains("3 frames of 1 layer would wait") && of_job.contains(problem), "{of_job}");
        assert_eq!(counted_as_waiting(&database, "row_unusable").await, 3);

        let job = told(&database, &["explain", "job", "show-sh010-artist_broken"]).await;
        assert!(job.contains("3 waiting") && !job.contains("no frame waits"), "{job}");
        let job = json(&database, &["explain", "job", "show-sh010-artist_broken"]).await;
        assert_eq!(job["layers"][0]["reason"], "row_unusable");
        let remedy = job["layers"][0]["remedies"][0].as_str().unwrap();
        assert!(remedy.starts_with("mend the row ") && remedy.contains(problem), "{remedy}");
        let story = told(&database, &["explain", "layer", "show-sh010-artist_broken/broken"]).await;
        let said = format!("cannot be used: {problem} (row_unusable)");
        assert!(story.contains("3 frames wait: the row in ") && story.contains(&said), "{story}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_left_out_by_name_once_the_schema_has_them() {
    let database = farm(Generation::G5, vec![layer("plain"), layer("slots")]).await;
    assert_eq!(check(&database, "slots").await, ("ok".to_owned(), "the schema has none".to_owned()));
    execute(
        &database.pool(),
        "ALTER TABLE layer ADD COLUMN int_slots_required int NOT NULL DEFAULT 0;
         ALTER TABLE host ADD COLUMN int_concurrent_slots_limit int NOT NULL DEFAULT -1;
         ALTER TABLE proc ADD COLUMN int_slots_reserved int NOT NULL DEFAULT 0",
    )
    .await;
    let unused = "the schema has host.int_concurrent_slots_limit, layer.int_slots_required, \
                  proc.int_slots_reserved; no host and no waiting layer uses them";
    assert_eq!(check(&database, "slots").await, ("ok".to_owned(), unused.to_owned()));
    assert_eq!((reason(&database, "plain").await, reason(&database, "slots").await), ("none".into(), "none".into()));
    execute(
        &database.pool(),
        "UPDATE layer SET int_slots_required = 2 WHERE str_name = 'slots';
         UPDATE host SET int_concurrent_slots_limit = 8 WHERE str_name = '127.1.0.2'",
    )
    .await;
    let (status, found) = check(&database, "slots").await;
    assert_eq!(status, "warning");
    let ends = "1 hosts with a limit: 127.1.0.2; 1 layers that ask for them: show-sh010-artist_slots/slots";
    assert!(found.contains("are not booked yet; left out: ") && found.ends_with(ends), "{found}");
    assert_eq!(reason(&database, "slots").await, "slots_required");
    let plan = json(&database, &["plan"]).await;
    let places = plan["placements"].as_array().unwrap();
    assert!(places.iter().all(|place| place["host"] == "127.1.0.1") && places.len() == 1, "{plan}");
    let host = json(&database, &["explain", "host", "127.1.0.2"]).await;
    assert_eq!(host["state"], "it counts slots, which are not booked yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_licences_are_named_and_a_key_leaves_such_work_out() {
    let declaring = |name: &str, value: &str| LayerSpec {
        environment: vec![("CUE_LICENSES".to_owned(), value.to_owned())],
        ..layer(name)
    };
    let database = farm(Generation::G0, vec![layer("plain"), declaring("nuke", "nuke"), declaring("empty", " ")]).await;
    execute(
        &database.pool(),
        "INSERT INTO job_env (pk_job_env, pk_job, str_key, str_value)
         SELECT pk_job, pk_job, 'CUE_LICENSES', 'hou' FROM job WHERE str_name LIKE '%plain' OR str_name LIKE '%empty'",
    )
    .await;
    let names = "CUE_LICENSES is set in layers of show (2 layers)";
    assert_eq!(check(&database, "licences").await, ("warning".to_owned(), names.to_owned()));
    let file = tempfile::NamedTempFile::new().unwrap();
    let check = ["exclusion-list", "--check", file.path().to_str().unwrap()];
    let ran = run_program(&database.connect_settings().await, &check);
    assert!(ran.stderr.contains("CUE_LICENSES") && ran.stderr.contains("show: 2 layers"), "{}", ran.stderr);
    for job in ["plain", "nuke", "empty"] {
        assert_eq!(reason(&database, job).await, "none", "{job}");
    }
    let settings = database.connect_settings().await;
    let output = program(&settings)
        .env("OPENSCHEDULER_SCHEDULER__CUE_LICENSES", "refuse")
        .args(["plan", "-o", "json"])
        .output()
        .unwrap();
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let waiting: Vec<(&str, &str)> = (plan["waiting"].as_array().unwrap().iter())
        .map(|row| (row["layer"].as_str().unwrap(), row["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(waiting, [("nuke", "licences_declared"), ("plain", "licences_declared")]);
    assert_eq!(plan["totals"]["frames"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_a_range_that_no_frame_renders_are_named() {
    let database = farm(Generation::G5, vec![layer("whole").chunk_size(3), layer("holed").chunk_size(3)]).await;
    assert_eq!(check(&database, "chunks").await.0, "ok");
    execute(
        &database.pool(),
        "UPDATE layer SET str_range = '1-8:4' WHERE str_name = 'holed';
         UPDATE frame SET int_number = CASE int_number WHEN 1 THEN 1 WHEN 4 THEN 3 ELSE 6 END
          WHERE pk_layer = (SELECT pk_layer FROM layer WHERE str_name = 'holed')",
    )
    .await;
    let found = "numbers that no frame renders: 4 of show-sh010-artist_holed/holed (`1-8:4` in chunks of 3)";
    assert_eq!(check(&database, "chunks").await, ("warning".to_owned(), found.to_owned()));
    let story = told(&database, &["explain", "layer", "show-sh010-artist_holed/holed"]).await;
    assert!(story.contains("of its range `1-8:4` in chunks of 3, 4 is in no frame: nobody renders it"), "{story}");
    let story = told(&database, &["explain", "layer", "show-sh010-artist_whole/whole"]).await;
    assert!(!story.contains("in no frame"), "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_that_only_a_regular_expression_finds_have_their_own_words() {
    let database = farm(Generation::G0, vec![layer("plain"), layer("upper").tags("General"), layer("part")]).await;
    execute(
        &database.pool(),
        "UPDATE layer SET str_tags = 'gener' WHERE str_name = 'part';
         INSERT INTO layer SELECT (jsonb_populate_record(layer, jsonb_build_object('pk_layer', 'empty', 'str_name', 'empty', 'str_tags', ''))).*
           FROM layer WHERE str_name = 'part';
         INSERT INTO layer SELECT (jsonb_populate_record(layer, jsonb_build_object('pk_layer', 'or', 'str_name', 'or', 'str_tags', 'ral|nosuch'))).*
           FROM layer WHERE str_name = 'part';
         INSERT INTO layer SELECT (jsonb_populate_record(layer, jsonb_build_object('pk_layer', 'odd', 'str_name', 'odd', 'str_tags', 'a(b'))).*
           FROM layer WHERE str_name = 'part'",
    )
    .await;
    let (status, found) = check(&database, "tags").await;
    assert_eq!(status, "warning");
    assert!(found.starts_with("4 layers whose tags only Cuebot's regular expression finds: "), "{found}");
    for named in [
        "part asks for `gener` (near `general`)",
        "upper asks for `General` (near `general`)",
        "or asks for `ral|nosuch`",
        "empty asks for ``",
    ] {
        assert!(found.contains(named), "{named}: {found}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let check = ["exclusion-list", "--check", file.path().to_str().unwrap()];
    let ran = run_program(&database.connect_settings().await, &check);
    assert!(ran.stderr.contains("the tags of 4 layers") && ran.stderr.contains("`General`"), "{}", ran.stderr);

    for layer in ["upper/upper", "part/part"] {
        let story = json(&database, &["explain", "layer", &format!("show-sh010-artist_{layer}")]).await;
        assert_eq!(story["reason"], "no_host_with_tags", "{layer}");
    }
    let story = json(&database, &["explain", "layer", "show-sh010-artist_upper/upper"]).await;
    let remedies = story["remedies"].to_string();
    assert!(remedies.contains("such as `general`, as only Cuebot's own reading of `General`"), "{remedies}");
    assert!(!remedies.contains("select a cluster"), "{remedies}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_and_systems_are_printed_as_they_are_stored() {
    let database = farm(Generation::G5, vec![layer("commas").tags("a,b c"), layer("system")]).await;
    execute(&database.pool(), "UPDATE job SET str_os = 'plan9 ' WHERE str_name LIKE '%system'").await;
    let story = told(&database, &["explain", "layer", "show-sh010-artist_commas/commas"]).await;
    assert!(story.contains("`a,b c`") && !story.contains("`a,bc`"), "{story}");
    let story = told(&database, &["explain", "layer", "show-sh010-artist_system/system"]).await;
    assert!(story.contains("the job wants `plan9 `") && story.contains("without `plan9 `"), "{story}");
}
