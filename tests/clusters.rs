//! `clusters list` and `clusters show`: what they print, and that they only look.

use cue_scheduler::db::ConnectSettings;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{
    FarmSpec, FolderSpec, HostClass, HostNames, JobSpec, LayerSpec, Seeded, ShowSpec, seed,
};
use cue_scheduler::model::TagKind;
use cue_scheduler::units::{Cores, Kib};
use insta::assert_snapshot;

use crate::support::{TestDatabase, book_all, database, fingerprint, read_only_settings, requests, run_program};

/// Two allocations, three hosts and a desk, one show that waits for four reasons, and one without work.
async fn farm(database: &TestDatabase) -> Seeded {
    let shade = JobSpec::new("shade")
        .layer(LayerSpec::new("render").frames(30))
        .layer(LayerSpec::new("huge").frames(5).memory(Kib::gib(900)))
        .layer(LayerSpec::new("night").frames(7).tags("urgent"));
    let paused = JobSpec { is_paused: true, ..JobSpec::new("later").layer(LayerSpec::new("render").frames(11)) };
    let spec = FarmSpec::empty()
        .host_names(HostNames::Numbered { prefix: "r".to_owned() })
        .alloc("general", "general")
        .alloc("desk", "desktop")
        .host_class(HostClass::new("render", 3).tag("urgent", TagKind::Manual))
        .host_class(HostClass::new("desk", 1).alloc("desk").gpus(2, Kib::gib(8)))
        .show(
            ShowSpec::new("alpha")
                .subscription("general", Cores::whole(50), Cores::whole(100))
                .subscription("desk", Cores::whole(10), Cores(1_050))
                .folder(FolderSpec::new("comp").job(shade).job(paused)),
        )
        .show(ShowSpec::new("beta").subscription("general", Cores::whole(20), Cores::whole(20)));
    let seeded = seed(&database.pool(), &spec).await.unwrap();
    sqlx::raw_sql(
        "UPDATE host_stat SET str_state = 'DOWN' WHERE pk_host = (SELECT pk_host FROM host WHERE str_name = 'r0003')",
    )
    .execute(&database.pool())
    .await
    .unwrap();
    seeded
}

/// Books one frame, as long ago as the word says that the table prints.
async fn book_one(database: &TestDatabase, seeded: &Seeded) {
    let store = database.patient_store().await;
    let first = requests(&store, seeded, 1).await.remove(0);
    assert_eq!(book_all(&store, &[first]).await.booked.len(), 1);
    store.close().await;
    let ago = "UPDATE proc SET ts_dispatched = now() - interval '125 minutes'";
    sqlx::raw_sql(ago).execute(&database.pool()).await.unwrap();
}

/// What is printed of a command that succeeds, with the moments of this run taken out.
fn printed(settings: &ConnectSettings, args: &[&str]) -> String {
    let ran = run_program(settings, args);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args:?}: {}", ran.stdout);
    let is_moment = |word: &str| word.len() >= 20 && word.contains('T') && word.contains(':') && word.starts_with("20");
    let words = ran.stdout.split_inclusive(|letter: char| " \",\n'".contains(letter));
    words
        .map(|word| {
            let bare = word.trim_end_matches(|letter: char| " \",\n'".contains(letter));
            if is_moment(bare) { word.replace(bare, "MOMENT") } else { word.to_owned() }
        })
        .collect()
}

#[tokio::test]
async fn the_list_is_told_in_every_form() {
    let database = database(Generation::G5).await;
    let seeded = farm(&database).await;
    book_one(&database, &seeded).await;
    let settings = database.connect_settings().await;
    let table = printed(&settings, &["clusters", "list"]);
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert_snapshot!("clusters_list", table);
    assert_snapshot!("clusters_list_wide", printed(&settings, &["clusters", "list", "-o", "wide"]));
    assert_snapshot!("clusters_list_csv", printed(&settings, &["clusters", "list", "-o", "csv"]));
    assert_snapshot!("clusters_list_name", printed(&settings, &["clusters", "list", "-o", "name"]));
    let json: serde_json::Value =
        serde_json::from_str(&printed(&settings, &["clusters", "list", "-o", "json"])).unwrap();
    let yaml: serde_json::Value =
        serde_yaml::from_str(&printed(&settings, &["clusters", "list", "-o", "yaml"])).unwrap();
    assert_eq!(json, yaml);
    assert_snapshot!("clusters_list_json", serde_json::to_string_pretty(&json[0]).unwrap());
}

#[tokio::test]
async fn one_cluster_is_told_with_everything() {
    let database = database(Generation::G0).await;
    let seeded = farm(&database).await;
    book_one(&database, &seeded).await;
    let settings = database.connect_settings().await;
    let exact = printed(&settings, &["clusters", "show", "local/alpha/general"]);
    assert_snapshot!("clusters_show", exact);
    assert_eq!(printed(&settings, &["clusters", "show", "local/alpha/gen"]), exact);
    assert_snapshot!("clusters_show_wide", printed(&settings, &["clusters", "show", "local/alpha/gen", "-o", "wide"]));
    assert_eq!(printed(&settings, &["clusters", "show", "local/alpha/gen", "-o", "name"]), "local/alpha/general\n");
    assert_snapshot!("clusters_show_manual", printed(&settings, &["clusters", "show", "local/alpha/manual-1"]));

    let ambiguous = run_program(&settings, &["clusters", "show", "local/alpha/"]);
    assert_eq!((ambiguous.code, ambiguous.stdout.as_str()), (2, ""));
    assert_eq!(
        ambiguous.stderr,
        "error: several clusters begin with \"local/alpha/\": local/alpha/desktop, local/alpha/general, \
         local/alpha/hostname-1, local/alpha/manual-1\n"
    );
    let unknown = run_program(&settings, &["clusters", "show", "local/alpha/genral"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""));
    let told = "error: no cluster of this configuration is named \"local/alpha/genral\"; did you mean \
                \"local/alpha/general\"?";
    assert!(unknown.stderr.starts_with(told), "{}", unknown.stderr);
}

#[tokio::test]
async fn the_figures_are_those_of_the_rows() {
    let database = database(Generation::G5).await;
    farm(&database).await;
    let settings = database.connect_settings().await;
    let ran = run_program(&settings, &["clusters", "list", "-o", "json"]);
    let clusters: Vec<serde_json::Value> = serde_json::from_str(&ran.stdout).unwrap();
    let of = |name: &str| clusters.iter().find(|cluster| cluster["name"] == name).unwrap();
    let general = of("local/alpha/general");
    // Three hosts of eight cores, one of them down.
    assert_eq!((&general["hosts"], &general["hosts_up"]), (&3.into(), &2.into()));
    assert_eq!((&general["idle_cores"], &general["total_cores"]), (&16.0.into(), &24.0.into()));
    assert_eq!(general["hosts_by_state"], serde_json::json!({"down": 1, "open": 2}));
    // 30 + 5 + 11 frames ask for the tag; 16 cores are idle, but seven frames of the other tag want some.
    assert_eq!((&general["waiting_layers"], &general["waiting_frames"]), (&3.into(), &46.into()));
    let reasons: Vec<_> = general["waiting_by_reason"].as_array().unwrap().iter().map(|row| &row["reason"]).collect();
    assert!(reasons.contains(&&"job_paused".into()) && reasons.contains(&&"shape".into()), "{reasons:?}");
    let left: u64 =
        general["waiting_by_reason"].as_array().unwrap().iter().map(|row| row["frames"].as_u64().unwrap()).sum();
    assert_eq!(left + general["placeable_frames"].as_u64().unwrap(), 46);
    assert_eq!(of("local/alpha/manual-1")["waiting_frames"], 7);
    assert_eq!(of("local/alpha/desktop")["total_gpus"], 2);
    assert_eq!(of("local/beta/general")["waiting_frames"], 0);
    let desk = &of("local/alpha/desktop")["allocations"][0];
    assert_eq!((&desk["name"], &desk["subscription"]["burst_cores"]), (&"local.desk".into(), &10.5.into()));
}

#[tokio::test]
async fn looking_changes_nothing_and_needs_no_more_than_reading() {
    for generation in [Generation::G0, Generation::G5] {
        let database = database(generation).await;
        let seeded = farm(&database).await;
        book_one(&database, &seeded).await;
        let before = fingerprint(&database.pool()).await;
        let (owner, reader) = (database.connect_settings().await, read_only_settings(&database).await);
        for args in [&["clusters", "list"][..], &["clusters", "show", "local/alpha/general", "-o", "json"]] {
            assert_eq!(printed(&reader, args), printed(&owner, args));
        }
        assert_eq!(fingerprint(&database.pool()).await, before, "{generation}");
    }
}

#[tokio::test]
async fn an_empty_farm_has_no_clusters() {
    let database = database(Generation::G5).await;
    let settings = database.connect_settings().await;
    let ran = run_program(&settings, &["clusters", "list"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert!(ran.stderr.starts_with("no cluster"), "{}", ran.stderr);
    assert_eq!(run_program(&settings, &["clusters", "list", "-o", "json", "-q"]).stdout, "[]\n");
    let shown = run_program(&settings, &["clusters", "show", "x"]);
    assert_eq!(shown.code, 2);
    assert!(shown.stderr.contains("is named \"x\"; there is none at all"), "{}", shown.stderr);
}

#[test]
fn wrong_use_and_no_database_are_told() {
    let nowhere = ConnectSettings { host: "/nonexistent".to_owned(), ..ConnectSettings::default() };
    let ran = run_program(&nowhere, &["clusters", "list"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.starts_with("error: Failed to connect to database"), "{}", ran.stderr);
    for args in [&["clusters"][..], &["clusters", "show"], &["clusters", "list", "x"], &["clusters", "lst"]] {
        let ran = run_program(&nowhere, args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}: {}", ran.stderr);
    }
}
