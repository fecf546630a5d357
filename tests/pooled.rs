//! Through Debian's `PgBouncer`: by session all works, by transaction every command says what is wrong.

use cue_scheduler::db::{ConnectSettings, Store, StoreError};
use cue_scheduler::farm::sandbox::SandboxOptions;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::FarmSpec;
use cue_scheduler::units::counted;

use crate::support::farm::{Scheduler, assert_all_done, farm, quick_farm, quick_settings};
use crate::support::{PgBouncer, database, run_program};

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_with_its_own_defaults_works() {
    let database = database(Generation::G5).await;
    let options = SandboxOptions { generation: Generation::G5, ..quick_farm(FarmSpec::simple(60)) };
    let sandbox = farm(database.connect_settings().await, options).await;
    let pooler = PgBouncer::start(&database.connect_settings().await, "");
    let settings = ConnectSettings { pool_size: 8, ..pooler.settings(&database.connect_settings().await) };
    let ran = run_program(&settings, &["check-db"]);
    assert!(ran.stdout.contains("none: sessions keep their server process"), "{ran:?}");
    let scheduler = Scheduler::start_on(settings, &sandbox, quick_settings()).await;
    assert_all_done(&sandbox).await;
    scheduler.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_pools_by_transaction_is_told_by_every_command() {
    let database = database(Generation::G5).await;
    let sandbox = farm(database.connect_settings().await, quick_farm(FarmSpec::simple(3))).await;
    sandbox.stop().await;
    let pooler = PgBouncer::start(&database.connect_settings().await, "pool_mode = transaction");
    let settings = pooler.settings(&database.connect_settings().await);
    let error = Store::connect(&settings).await.unwrap_err();
    assert!(matches!(error, StoreError::PooledByTransaction { .. }), "{error:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.yaml").display().to_string();
    let commands: [&[&str]; 8] = [
        &["run", "--metrics_port", "0"],
        &["plan"],
        &["dry-run", "--cycles", "1"],
        &["clusters", "list"],
        &["explain", "job", "job"],
        &["exclusion-list"],
        &["config", "init", "--yes", &file],
        &["check-db"],
    ];
    let mut silent = Vec::new();
    for args in commands {
        let ran = run_program(&settings, args);
        assert_eq!(ran.code, 1, "{args:?}: {ran:?}");
        let told = format!("{}{}", ran.stderr, ran.stdout);
        if !(told.contains("pools by transaction") && told.contains("let the proxy pool by session")) {
            silent.push(format!("{args:?}: {ran:?}"));
        }
    }
    assert!(silent.is_empty(), "{}: {silent:#?}", counted(silent.len(), "command"));
}
