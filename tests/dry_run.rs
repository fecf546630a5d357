//! `rqd.dry_run_mode`: the whole way up to the plan, and no further.

use std::time::Duration;

use cue_scheduler::config::{FlagValue, Inputs, load};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, seed};
use cue_scheduler::pass::{LaunchTargets, Parts, Service, Settings, Totals};
use cue_scheduler::telemetry::{Health, Metrics};
use tokio_util::sync::CancellationToken;

use crate::support::{TestDatabase, database};

const PATIENCE: Duration = Duration::from_secs(30);

/// Lets the service look twice at a farm of five waiting frames; returns how many run afterwards.
async fn running_after_two_looks(database: &TestDatabase, is_dry: bool) -> i64 {
    let flags = vec![
        FlagValue::one("--dry", "rqd.dry_run_mode", is_dry.to_string()),
        FlagValue::one("--interval", "queue.monitor_interval", "20ms"),
        FlagValue::one("--scan", "queue.active_scan_interval", "10ms"),
    ];
    let config = load(&Inputs { flags, ..Inputs::default() }).unwrap().config;
    let totals = Totals::default();
    let service = Service::prepare(Parts {
        store: database.store().await,
        targets: LaunchTargets::Nowhere,
        settings: Settings::of(&config),
        metrics: Metrics::new(&prometheus::Registry::new()).unwrap(),
        health: Health::new(),
        totals: totals.clone(),
    })
    .await
    .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(service.run(stop.clone()));
    tokio::time::timeout(PATIENCE, async {
        while totals.reading().passes < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    stop.cancel();
    let ended = tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
    assert_eq!(ended.unsettled, 0);
    let count = "SELECT count(*) FROM proc JOIN frame USING (pk_frame) WHERE frame.str_state = 'RUNNING'";
    sqlx::query_scalar(count).fetch_one(&database.pool()).await.unwrap()
}

#[tokio::test]
async fn a_dry_run_looks_and_writes_nothing() {
    let database = database(Generation::G5).await;
    seed(&database.pool(), &FarmSpec::simple(5)).await.unwrap();
    // Every row with its last transaction: any write at all would show.
    let rows = "SELECT md5(string_agg(state, ',' ORDER BY state)) FROM (
        SELECT pk_frame || xmin::text || ctid::text AS state FROM frame
        UNION ALL SELECT pk_host || xmin::text || ctid::text FROM host
        UNION ALL SELECT pk_subscription || xmin::text || ctid::text FROM subscription
        UNION ALL SELECT pk_layer_resource || xmin::text || ctid::text FROM layer_resource
        UNION ALL SELECT pk_job_resource || xmin::text || ctid::text FROM job_resource) AS rows";
    let state = async || sqlx::query_scalar::<_, String>(rows).fetch_one(&database.pool()).await.unwrap();
    let before = state().await;
    assert_eq!(running_after_two_looks(&database, true).await, 0);
    assert_eq!(state().await, before);
    assert_eq!(running_after_two_looks(&database, false).await, 5);
}
