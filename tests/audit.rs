//! The audit finds nothing on a sound farm, and every planted breach by its name.

use std::time::Duration;

use cue_scheduler::farm::audit::{AuditReport, AuditRule, LISTED_PER_RULE_MAX, audit, audit_rows};
use cue_scheduler::farm::launch::Launch;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, seed};
use sqlx::PgPool;

use crate::support::{TestDatabase, book_all, database, execute, launches, requests};

/// Two hosts with eight running frames of one limited layer, and eight frames still waiting.
async fn booked_farm(database: &TestDatabase) -> Vec<Launch> {
    let spec = FarmSpec::simple(16).hosts(2).limit("nuke", 100).each_layer(|layer| layer.limits = vec!["nuke".into()]);
    let farm = seed(&database.pool(), &spec).await.unwrap();
    let outcome = book_all(&database.patient_store().await, &{
        let store = database.patient_store().await;
        requests(&store, &farm, 8).await
    })
    .await;
    assert_eq!((outcome.booked.len(), outcome.lost.len()), (8, 0));
    launches(&outcome.booked)
}

async fn clean(pool: &PgPool, launches: &[Launch]) -> AuditReport {
    let report = audit(pool, launches).await.unwrap();
    assert_eq!(report.violations, []);
    assert!(report.is_clean());
    report
}

#[tokio::test]
async fn a_sound_farm_is_clean_in_every_generation() {
    for generation in Generation::ALL {
        let database = database(generation).await;
        let launches = booked_farm(&database).await;
        let report = clean(&database.pool(), &launches).await;
        assert_eq!((report.frames_in("WAITING"), report.frames_in("RUNNING")), (8, 8));
        assert_eq!((report.procs, report.frameless_procs, report.launches), (8, 0, Some(8)));
        assert_eq!((report.double_launches, report.cap_breaches), (0, 0));
    }
}

/// A rule, how to break it, and how to mend it again.
#[expect(clippy::too_many_lines, reason = "a table")]
fn plants() -> Vec<(AuditRule, String, String)> {
    const ONE_PROC: &str = "(SELECT min(pk_proc) FROM proc)";
    const ONE_FRAME: &str = "(SELECT min(pk_frame) FROM proc)";
    let quiet = |table: &str, sql: &str| {
        format!("ALTER TABLE {table} DISABLE TRIGGER USER; {sql}; ALTER TABLE {table} ENABLE TRIGGER USER")
    };
    vec![
        (
            AuditRule::FrameWithoutProc,
            format!("CREATE TABLE kept AS SELECT * FROM proc WHERE pk_proc = {ONE_PROC}; DELETE FROM proc WHERE pk_proc = {ONE_PROC}"),
            "INSERT INTO proc SELECT * FROM kept; DROP TABLE kept".into(),
        ),
        (
            AuditRule::ProcWithoutRunningFrame,
            quiet("frame", &format!("UPDATE frame SET str_state = 'SUCCEEDED' WHERE pk_frame = {ONE_FRAME}")),
            quiet("frame", &format!("UPDATE frame SET str_state = 'RUNNING' WHERE pk_frame = {ONE_FRAME}")),
        ),
        (
            AuditRule::SeveralProcs,
            format!("ALTER TABLE proc DROP CONSTRAINT c_proc_uk; CREATE TABLE kept AS SELECT * FROM proc WHERE pk_proc = {ONE_PROC}; UPDATE kept SET pk_proc = 'second'; INSERT INTO proc SELECT * FROM kept"),
            "DELETE FROM proc WHERE pk_proc = 'second'; DROP TABLE kept; ALTER TABLE proc ADD CONSTRAINT c_proc_uk UNIQUE (pk_frame)".into(),
        ),
        (
            AuditRule::ProcDisagrees,
            format!("UPDATE frame SET str_host = '127.9.9.9' WHERE pk_frame = {ONE_FRAME}"),
            "UPDATE frame f SET str_host = h.str_name FROM proc p JOIN host h USING (pk_host) WHERE p.pk_frame = f.pk_frame".into(),
        ),
        (
            AuditRule::HostIdle,
            "UPDATE host SET int_mem_idle = int_mem_idle - 1 WHERE pk_host = (SELECT min(pk_host) FROM host)".into(),
            "UPDATE host SET int_mem_idle = int_mem_idle + 1 WHERE pk_host = (SELECT min(pk_host) FROM host)".into(),
        ),
        (
            AuditRule::HostNegative,
            quiet("host", "UPDATE host SET int_gpus_idle = -1, int_gpus = -1"),
            "UPDATE host SET int_gpus_idle = 0, int_gpus = 0".into(),
        ),
        (
            AuditRule::SubscriptionSum,
            "UPDATE subscription SET int_cores = int_cores + 1".into(),
            "UPDATE subscription SET int_cores = int_cores - 1".into(),
        ),
        (
            AuditRule::LayerSum,
            "UPDATE layer_resource SET int_gpus = int_gpus + 1".into(),
            "UPDATE layer_resource SET int_gpus = int_gpus - 1".into(),
        ),
        (
            AuditRule::JobSum,
            "UPDATE job_resource SET int_local_cores = int_local_cores + 1".into(),
            "UPDATE job_resource SET int_local_cores = int_local_cores - 1".into(),
        ),
        (
            AuditRule::FolderSum,
            "UPDATE folder_resource SET int_cores = int_cores - 1 WHERE int_cores > 0".into(),
            "UPDATE folder_resource SET int_cores = int_cores + 1 WHERE int_cores > 0".into(),
        ),
        (
            AuditRule::PointSum,
            "UPDATE point SET int_cores = int_cores + 100".into(),
            "UPDATE point SET int_cores = int_cores - 100".into(),
        ),
        (
            AuditRule::SubscriptionBurst,
            "UPDATE subscription SET int_burst = int_cores - 1".into(),
            "UPDATE subscription SET int_burst = 100000".into(),
        ),
        (
            AuditRule::NoSubscription,
            "CREATE TABLE kept AS SELECT * FROM subscription; DELETE FROM subscription".into(),
            "INSERT INTO subscription SELECT * FROM kept; DROP TABLE kept".into(),
        ),
        (
            AuditRule::FolderCap,
            "UPDATE folder_resource SET int_max_cores = int_cores - 1 WHERE int_cores > 0".into(),
            "UPDATE folder_resource SET int_max_cores = -1".into(),
        ),
        (
            AuditRule::JobCap,
            "UPDATE job_resource SET int_max_cores = int_cores - 1".into(),
            "UPDATE job_resource SET int_max_cores = 10000".into(),
        ),
        (
            AuditRule::Limit,
            "UPDATE limit_record SET int_max_value = 7".into(),
            "UPDATE limit_record SET int_max_value = 8".into(),
        ),
        (
            AuditRule::LayerCounts,
            "UPDATE layer_stat SET int_total_count = int_total_count - 1".into(),
            "UPDATE layer_stat SET int_total_count = int_total_count + 1".into(),
        ),
        (
            AuditRule::JobCounts,
            "UPDATE job_stat SET int_waiting_count = -1".into(),
            "UPDATE job_stat SET int_waiting_count = 8".into(),
        ),
        (
            AuditRule::History,
            format!("UPDATE frame_history SET int_ts_stopped = 1 WHERE pk_frame = {ONE_FRAME}"),
            "UPDATE frame_history SET int_ts_stopped = 0".into(),
        ),
    ]
}

#[tokio::test]
async fn every_breach_in_the_rows_is_found_and_named() {
    let plants = plants();
    let by_launch = [AuditRule::DoubleLaunch, AuditRule::ProcWithoutLaunch, AuditRule::ProcessWithoutProc];
    for &rule in AuditRule::ALL {
        assert!(
            by_launch.contains(&rule) || plants.iter().any(|(planted, ..)| *planted == rule),
            "{rule} is not tested"
        );
    }
    for generation in [Generation::G0, Generation::G5] {
        let database = database(generation).await;
        let pool = database.pool();
        booked_farm(&database).await;
        for (rule, plant, undo) in &plants {
            // The newest schema queues history: there are no open rows to go by.
            if generation == Generation::G5 && *rule == AuditRule::History {
                continue;
            }
            execute(&pool, plant).await;
            let report = audit_rows(&pool).await.unwrap();
            assert!(report.violations_by_rule.contains_key(rule), "{rule} in {generation} is not in {report:?}");
            let named = report.violations.iter().find(|violation| violation.rule == *rule).unwrap();
            assert!(named.row.len() == 36 && named.table == rule.table() && !named.detail.is_empty(), "{named:?}");
            assert_eq!(report.cap_breaches, u64::from(rule.is_cap()), "{rule} in {generation}");
            execute(&pool, undo).await;
            assert_eq!(audit_rows(&pool).await.unwrap().violations, [], "after {rule} in {generation}");
        }
    }
}

#[tokio::test]
async fn every_breach_among_launches_is_found_and_named() {
    let database = database(Generation::G0).await;
    let pool = database.pool();
    let sound = booked_farm(&database).await;
    clean(&pool, &sound).await;

    let mut twice = sound.clone();
    twice.push(Launch { started_at: sound[0].started_at + Duration::from_secs(1), ..sound[0].clone() });
    let report = audit(&pool, &twice).await.unwrap();
    assert_eq!((report.double_launches, report.violations_total), (1, 1));
    let named = &report.violations[0];
    assert_eq!(
        (named.rule, named.table, named.row.as_str()),
        (AuditRule::DoubleLaunch, "frame", sound[0].frame.as_str())
    );

    let report = audit(&pool, &sound[1..]).await.unwrap();
    let named = &report.violations[0];
    assert_eq!((named.rule, named.row.as_str()), (AuditRule::ProcWithoutLaunch, sound[0].resource.as_str()));

    let mut elsewhere = sound.clone();
    elsewhere[0].host = "127.9.9.9".into();
    let report = audit(&pool, &elsewhere).await.unwrap();
    assert!(report.violations_by_rule.contains_key(&AuditRule::ProcWithoutLaunch), "{report:?}");

    // A process of a proc that was taken back runs on.
    let mut orphan = sound.clone();
    orphan.push(Launch { frame: "other".into(), resource: "gone".into(), ..sound[0].clone() });
    let report = audit(&pool, &orphan).await.unwrap();
    let named = &report.violations[0];
    assert_eq!((named.rule, named.row.as_str()), (AuditRule::ProcessWithoutProc, "gone"));
    orphan.last_mut().unwrap().ended_at = Some(sound[0].started_at);
    clean(&pool, &orphan).await;

    // Nobody knows what was launched: no word about it.
    assert!(audit_rows(&pool).await.unwrap().is_clean());
}

#[tokio::test]
async fn a_broken_farm_makes_a_short_report_that_counts_everything() {
    let database = database(Generation::G0).await;
    let pool = database.pool();
    seed(&pool, &FarmSpec::simple(1).hosts(3 * LISTED_PER_RULE_MAX)).await.unwrap();
    execute(&pool, "UPDATE host SET int_cores_idle = int_cores_idle + 100").await;
    let report = audit_rows(&pool).await.unwrap();
    assert_eq!(report.violations.len(), LISTED_PER_RULE_MAX);
    assert_eq!(report.violations_by_rule[&AuditRule::HostIdle], 3 * LISTED_PER_RULE_MAX as u64);
    assert_eq!(report.violations_total, 3 * LISTED_PER_RULE_MAX as u64);
}

#[tokio::test]
async fn host_limits_count_hosts_and_leave_reported_seats_aside() {
    let database = database(Generation::G5).await;
    let pool = database.pool();
    booked_farm(&database).await;
    execute(&pool, "UPDATE limit_record SET str_type = 'HOST', int_max_value = 1").await;
    assert_eq!(audit_rows(&pool).await.unwrap().violations_by_rule[&AuditRule::Limit], 1);
    execute(&pool, "UPDATE limit_record SET int_soft_value = 2").await;
    assert!(audit_rows(&pool).await.unwrap().is_clean());
    execute(&pool, "UPDATE limit_record SET int_soft_value = 1, str_enforcement = 'ADVISORY'").await;
    assert!(audit_rows(&pool).await.unwrap().is_clean());
    // Loopback names all are cut to their first number, as Cuebot cuts host names.
    execute(
        &pool,
        "UPDATE limit_record SET str_enforcement = 'ENFORCED', ts_reported = current_timestamp;
         INSERT INTO limit_host (pk_limit_host, pk_limit_record, str_host_name, str_reported_name, ts_reported)
         SELECT 'seat', pk_limit_record, '127', '127', current_timestamp FROM limit_record",
    )
    .await;
    assert!(audit_rows(&pool).await.unwrap().is_clean());
}
