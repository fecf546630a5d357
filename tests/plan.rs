//! `plan`: what it shows is what `run` does, and it writes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use cue_scheduler::clusters;
use cue_scheduler::config::CuebotSilence;
use cue_scheduler::db::ConnectSettings;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, ShowSpec, seed};
use cue_scheduler::preview::{PlanDocument, look};
use cue_scheduler::scheduler::{LaunchTargets, Parts, Service, Settings, Totals};
use cue_scheduler::telemetry::{Health, Metrics};
use cue_scheduler::units::{Amounts, Cores, Gpus, Kib};
use tokio_util::sync::CancellationToken;

use crate::support::{Ran, TestDatabase, database, fingerprint, program, read_only_settings, run_program};

const PATIENCE: Duration = Duration::from_secs(60);

/// Frame to host and reserved amounts.
type Placed = BTreeMap<String, (String, Amounts)>;

async fn planned(database: &TestDatabase, settings: &Settings) -> Placed {
    let store = database.store().await;
    let clusters = clusters::load(&store, &settings.selection, settings.chunk_sizes).await.unwrap().clusters;
    let look = look(&store, &clusters, settings).await.unwrap();
    assert_eq!(look.left_out, []);
    let document = PlanDocument::of(&look);
    let placed = document.placements.iter().flat_map(|row| {
        let placed = (row.host.clone(), row.reserved);
        row.frames.iter().map(move |frame| (frame.id.to_string(), placed.clone()))
    });
    let placed: Placed = placed.collect();
    assert_eq!(placed.len() as u64, document.totals.frames, "each frame once");
    assert_eq!(document.totals.frames, look.plan.placed_frames());
    placed
}

/// Lets the scheduler go round until it finds nothing more to place.
async fn booked(database: &TestDatabase, settings: Settings) -> Placed {
    let totals = Totals::default();
    let parts = Parts {
        // However busy the machine is, no chunk is halved for it.
        store: database.patient_store().await,
        targets: LaunchTargets::Nowhere,
        settings: Settings { booking_chunks_in_flight: 1, ..settings },
        metrics: Metrics::new(&prometheus::Registry::new()).unwrap(),
        health: Health::new(),
        totals: totals.clone(),
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(Service::prepare(parts).await.unwrap().run(stop.clone()));
    tokio::time::timeout(PATIENCE, async {
        while totals.reading().passes < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    stop.cancel();
    tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
    let procs = "SELECT proc.pk_frame::text, host.str_name::text, proc.int_cores_reserved::int8,
            proc.int_mem_reserved::int8, proc.int_gpus_reserved::int8, proc.int_gpu_mem_reserved::int8
        FROM proc JOIN host USING (pk_host)";
    let rows: Vec<(String, String, i64, i64, i64, i64)> =
        sqlx::query_as(procs).fetch_all(&database.pool()).await.unwrap();
    let placed = rows.into_iter().map(|(frame, host, cores, memory, gpus, gpu_memory)| {
        let amounts =
            Amounts { cores: Cores(cores), memory: Kib(memory), gpus: Gpus(gpus), gpu_memory: Kib(gpu_memory) };
        (frame, (host, amounts))
    });
    placed.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn run_books_exactly_what_plan_placed() {
    let settings = Settings { active_scan_interval: Duration::from_millis(20), ..Settings::default() };
    // These hosts have reported once, however long it takes to plan for them.
    let settings =
        Settings { monitor_interval: Duration::from_millis(50), cuebot_silence: CuebotSilence::Off, ..settings };
    for (number, generation) in [(1, Generation::G0), (2, Generation::G5), (3, Generation::G5), (4, Generation::G2)] {
        let database = database(generation).await;
        seed(&database.pool(), &FarmSpec::demo(250, 40, 4_000, number)).await.unwrap();
        let planned = planned(&database, &settings).await;
        assert!(planned.len() > 300, "seed {number} places only {}", planned.len());
        let booked = booked(&database, settings.clone()).await;
        assert_eq!(booked.len(), planned.len(), "seed {number}");
        assert_eq!(booked, planned, "seed {number}");
    }
}

/// A host of eight cores, a layer that fills it and more, one that is too big, and a paused job.
fn small_farm() -> FarmSpec {
    let folder = FolderSpec::new("comp")
        .job(JobSpec::new("shade").layer(LayerSpec::new("render").frames(10).memory(Kib::gib(4))))
        .job(JobSpec::new("sim").layer(LayerSpec::new("solve").cores(Cores::whole(64))))
        .job(JobSpec { is_paused: true, ..JobSpec::new("later") }.layer(LayerSpec::new("render").frames(3)));
    let show = ShowSpec::new("show").subscription("general", Cores::whole(1_000), Cores::whole(1_000));
    FarmSpec::empty().alloc("general", "general").host_class(HostClass::new("render", 1)).show(show.folder(folder))
}

async fn small() -> (TestDatabase, ConnectSettings) {
    let database = database(Generation::G5).await;
    seed(&database.pool(), &small_farm()).await.unwrap();
    let settings = database.connect_settings().await;
    (database, settings)
}

/// Moments differ between runs.
fn steady(text: &str) -> String {
    let is_moment = |word: &str| word.len() > 19 && word.contains('T') && word.trim_end_matches('"').ends_with('Z');
    let words = text.split_inclusive([' ', '\n', ',']);
    let moment = |word: &str| word.split(['"', ',', '\n', ' ']).find(|part| is_moment(part)).map(str::to_owned);
    words.map(|word| moment(word).map_or(word.to_owned(), |found| word.replace(&found, "MOMENT"))).collect()
}

#[tokio::test]
async fn it_shows_placements_clusters_and_what_waits() {
    let (database, settings) = small().await;
    let before = fingerprint(&database.pool()).await;
    let ran = |args: &[&str]| {
        let Ran { code, stdout, stderr } = run_program(&settings, args);
        assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
        steady(&stdout)
    };
    insta::assert_snapshot!("plan_table", ran(&["plan"]));
    insta::assert_snapshot!("plan_summary", ran(&["plan", "--summary"]));
    insta::assert_snapshot!("plan_json", ran(&["plan", "-o", "json"]));
    assert_eq!(ran(&["plan", "-o", "name"]), "show-sh010-artist_shade/render\n");
    assert!(ran(&["plan", "-o", "csv"]).starts_with("layer,frames,host,cores,memory,gpus,gpu memory,cluster,"));
    assert!(ran(&["plan", "-o", "wide"]).contains("local/show/general"));
    assert!(ran(&["plan", "-o", "yaml", "--summary"]).contains("waiting_layers: 3"));
    for narrow in [["--job", "show-sh010-artist_later"], ["--job", "show-sh010-artist_l"]] {
        let shown = ran(&[&["plan"][..], &narrow].concat());
        assert!(shown.contains("job_paused") && shown.contains("Would place nothing."), "{shown}");
        assert!(!shown.contains("shape"), "{shown}");
    }
    assert!(!ran(&["plan", "--host", "127.1.0.1"]).contains("shape"));
    assert_eq!(fingerprint(&database.pool()).await, before);

    let reader = read_only_settings(&database).await;
    assert_eq!(run_program(&reader, &["plan"]).stdout, run_program(&settings, &["plan"]).stdout);
}

#[tokio::test]
async fn a_name_that_nothing_has_is_told_with_the_nearest_and_no_plan() {
    let (database, settings) = small().await;
    let ran = |args: &[&str]| run_program(&settings, &[&["plan"][..], args].concat());
    let cases = [
        (["--show", "shwo"], "there is no show \"shwo\"\nhint: show\n"),
        (
            ["--job", "show-sh010-artist_shaed"],
            "there is no job \"show-sh010-artist_shaed\" among the pending ones\nhint: show-sh010-artist_shade\n",
        ),
        (["--host", "127.0.1.0"], "there is no host \"127.0.1.0\"\nhint: 127.1.0.1\n"),
        (["--cluster", "local/show/genral"], "there is no cluster \"local/show/genral\"\nhint: local/show/general\n"),
    ];
    for (args, told) in cases {
        let Ran { code, stdout, stderr } = ran(&args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert!(stderr.starts_with(&format!("error: {told}")), "{args:?}: {stderr}");
    }
    // One of two is enough to ask again.
    assert_eq!(ran(&["--show", "show", "--show", "shwo"]).code, 2);
    // What is there and has nothing to place or to wait is no mistake.
    sqlx::raw_sql("UPDATE layer_stat SET int_waiting_count = 0").execute(&database.pool()).await.unwrap();
    for args in
        [["--show", "show"], ["--job", "show-sh010-artist_shade"], ["--host", "127.1"], ["--cluster", "local/s"]]
    {
        let Ran { code, stderr, .. } = ran(&args);
        assert_eq!(code, 0, "{args:?}: {stderr}");
        assert!(stderr.contains("nothing in the plan matches"), "{args:?}: {stderr}");
    }
}

#[tokio::test]
async fn the_exit_code_tells_what_would_happen() {
    let (database, settings) = small().await;
    let pool = database.pool();
    let code = |args: &[&str]| run_program(&settings, &[&["plan", "--detailed-exitcode"][..], args].concat()).code;
    assert_eq!(code(&[]), 2);
    assert_eq!(code(&["--job", "show-sh010-artist_sim"]), 3);
    assert_eq!(code(&["--job", "no-such-job"]), 1);
    sqlx::query("UPDATE job SET b_paused = true").execute(&pool).await.unwrap();
    assert_eq!(code(&[]), 3);
    assert_eq!(code(&["--facility", "nowhere"]), 1);
    assert_eq!(code(&["--from", "/nonexistent/plan.json"]), 1);
    let gone = ConnectSettings { port: 1, host: "127.0.0.1".to_owned(), ..settings.clone() };
    let ran = run_program(&gone, &["plan", "--detailed-exitcode"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("Failed to connect to database"), "{}", ran.stderr);
}

/// No agent reports so seldom: the service would book nothing, and no host of its own.
#[tokio::test]
async fn while_cuebot_is_silent_no_command_promises_anything_and_all_say_why() {
    let (database, settings) = small().await;
    let silence = "UPDATE host_stat SET ts_ping = now() - interval '10 minutes'";
    sqlx::raw_sql(silence).execute(&database.pool()).await.unwrap();
    let told = |rule: &str, args: &[&str]| {
        let mut command = program(&settings);
        command.env("OPENSCHEDULER_QUEUE__CUEBOT_SILENCE", rule).args(args);
        // That a host is overdue does not hang on this.
        command.env("OPENSCHEDULER_HOST_CACHE__HOST_STALENESS_THRESHOLD", "1h");
        let Ran { code, stdout, stderr } = command.output().unwrap().into();
        assert_eq!(code, 0, "{args:?}: {stderr}");
        (stdout, stderr)
    };
    let layer = "show-sh010-artist_shade/render";
    for rule in ["auto", "5m"] {
        for args in [&["plan"][..], &["explain", "layer", layer], &["dry-run", "--cycles", "1"]] {
            let (stdout, stderr) = told(rule, args);
            let warned = stderr.lines().any(|line| {
                line.starts_with("warning: no host report for 1")
                    && line.ends_with(
                        "m: Cuebot does not answer, and `run` books nothing until one arrives (queue.cuebot_silence)",
                    )
            });
            assert!(warned, "{args:?}: {stderr}");
            assert!(stdout.contains("no_host_open"), "{args:?}: {stdout}");
        }
        assert!(told(rule, &["plan"]).0.contains("Would place nothing."));
        assert!(told(rule, &["clusters", "show", "local/show/general"]).0.contains("of which 0 would be placed now"));
    }
    // Silent for long, by what the settings say not for long enough: the host is overdue all the same.
    let (stdout, stderr) = told("1h", &["plan"]);
    assert_eq!((stdout.contains("Would place nothing."), stderr.as_str()), (true, ""));
    let (stdout, stderr) = told("off", &["plan"]);
    assert_eq!((stdout.contains("Would place nothing."), stderr.as_str()), (false, ""));
}

#[tokio::test]
async fn an_empty_farm_has_an_empty_plan() {
    let database = database(Generation::G5).await;
    seed(&database.pool(), &FarmSpec::empty()).await.unwrap();
    let settings = database.connect_settings().await;
    let ran = run_program(&settings, &["plan", "--detailed-exitcode"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "Would place nothing.\nNothing would be left waiting.\n"));
}

#[tokio::test]
async fn a_kept_plan_is_shown_again_with_what_has_overtaken_it() {
    let (database, settings) = small().await;
    let pool = database.pool();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.json");
    let file = file.to_str().unwrap();
    let shown = run_program(&settings, &["plan", "-o", "json", "--out", file]);
    assert_eq!((shown.code, shown.stderr), (0, format!("kept the plan in {file}\n")));
    assert_eq!(std::fs::read_to_string(file).unwrap(), shown.stdout);

    let from = |format: &str| run_program(&settings, &["plan", "--from", file, "-o", format]).stdout;
    assert_eq!(from("json"), shown.stdout, "nothing has happened yet");
    assert!(from("table").contains("the farm has overtaken 0 of "));

    let cases = [
        ("UPDATE host SET str_lock_state = 'LOCKED'", "host_not_open"),
        ("UPDATE host SET str_lock_state = 'OPEN', int_cores_idle = 100", "host_full"),
        ("UPDATE host SET int_cores_idle = int_cores; UPDATE job SET b_paused = true", "job_paused"),
        ("UPDATE job SET b_paused = false; UPDATE frame SET int_version = int_version + 1", "frames_taken"),
        ("UPDATE job SET str_state = 'FINISHED'", "layer_gone"),
    ];
    for (change, cause) in cases {
        sqlx::raw_sql(change).execute(&pool).await.unwrap();
        let document = PlanDocument::parse(&from("json")).unwrap();
        let causes: Vec<_> = document
            .placements
            .iter()
            .flat_map(|row| &row.overtaken)
            .map(|overtaken| serde_json::to_value(overtaken.cause).unwrap())
            .collect();
        assert!(causes.iter().any(|found| found == cause), "{change}: {causes:?}");
    }
    let before = fingerprint(&pool).await;
    insta::assert_snapshot!("plan_overtaken", steady(&from("table")));
    assert_eq!(fingerprint(&pool).await, before);

    std::fs::write(file, "{\"format\": \"cue-scheduler plan\", \"version\": 99}").unwrap();
    let ran = run_program(&settings, &["plan", "--from", file]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("its format has version 99"), "{}", ran.stderr);
}

/// A layer whose counter promises eight frames and that has three, before one that would fill the host alone.
#[tokio::test]
async fn frames_that_are_only_counted_take_no_host_and_are_named() {
    let folder = FolderSpec::new("comp")
        .job(JobSpec::new("phantom").priority(100).layer(LayerSpec::new("a").frames(8)))
        .job(JobSpec::new("real").layer(LayerSpec::new("a").frames(8)));
    let mut spec = FarmSpec::simple(0);
    spec.shows[0].folders = vec![folder];
    let database = database(Generation::G0).await;
    seed(&database.pool(), &spec).await.unwrap();
    let plant = "ALTER TABLE frame DISABLE TRIGGER USER;
        UPDATE frame SET str_state = 'EATEN' FROM job
            WHERE job.pk_job = frame.pk_job AND job.str_name LIKE '%phantom' AND frame.int_number > 3;
        ALTER TABLE frame ENABLE TRIGGER USER";
    sqlx::raw_sql(plant).execute(&database.pool()).await.unwrap();
    let settings = database.connect_settings().await;
    let ran = run_program(&settings, &["plan", "-o", "json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let document = PlanDocument::parse(&ran.stdout).unwrap();
    let mut placed: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &document.placements {
        *placed.entry(row.work.job.rsplit('_').next().unwrap()).or_default() += row.frames.len();
    }
    assert_eq!(placed, [("phantom", 3), ("real", 5)].into(), "{document:#?}");
    let waiting: Vec<_> = document.waiting.iter().map(|row| (row.work.name(), row.frames, row.reason)).collect();
    let capacity = cue_scheduler::model::WaitReason::Capacity;
    assert_eq!(waiting, [("show-sh010-artist_real/a".to_owned(), 3, capacity)]);
    let wrong: Vec<_> = document.wrong_counts.iter().map(|row| (row.work.name(), row.count, row.frames)).collect();
    assert_eq!(wrong, [("show-sh010-artist_phantom/a".to_owned(), 8, 3)]);

    let cluster = run_program(&settings, &["clusters", "show", "local/show/general"]).stdout;
    let waiting = "11 frames of 2 layers, of which 8 would be placed now";
    assert!(cluster.replace("\n            ", " ").contains(waiting), "{cluster}");

    let table = |args: &[&str]| run_program(&settings, &[&["plan"][..], args].concat()).stdout;
    let told = table(&[]);
    let row = ["show-sh010-artist_phantom/a", "8", "3"];
    assert!(told.lines().any(|line| line.split_whitespace().eq(row)), "{told}");
    let sentence = "Counters of waiting frames are wrong";
    assert!(told.contains(sentence) && !table(&["--job", "show-sh010-artist_real"]).contains(sentence), "{told}");
}

#[tokio::test]
async fn wrong_use_is_told() {
    let nobody = ConnectSettings::default();
    for (args, message) in [
        (&["plan", "--out", "a", "--from", "b"][..], "cannot be used with"),
        (&["plan", "--clusters", "a"], "a similar argument exists: '--cluster'"),
    ] {
        let ran = run_program(&nobody, args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        assert!(ran.stderr.contains(message), "{}", ran.stderr);
    }
}
