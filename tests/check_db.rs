//! `check-db`: every wrong that it looks for, planted and found, and nothing written.

mod pooler;

use std::time::Duration;

use cue_scheduler::booking::{Repairs, UnbookCause, unbook};
use cue_scheduler::db::{ConnectSettings, Store};
use cue_scheduler::farm::postgres::{Durability, PostgresOptions, PostgresServer, RestartMode};
use cue_scheduler::farm::schema::{self, Generation};
use cue_scheduler::farm::seed::{FarmSpec, Seeded, ShowSpec, seed};
use cue_scheduler::model::{AllocTag, Selection, TagChunkSizes};
use cue_scheduler::ops::check::{CheckResult, Status, Wanted, check};
use cue_scheduler::rqd::{AgentSettings, Agents};
use cue_scheduler::units::Cores;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::support::farm::{farm, quick_farm};
use crate::support::{
    PATIENCE, TestDatabase, book_all, database, fingerprint, look, read_only_settings, requests, run_program, scope,
};

fn wanted() -> Wanted {
    Wanted {
        selection: Selection::default(),
        chunk_sizes: TagChunkSizes::default(),
        host_staleness: Duration::from_mins(2),
        long_transaction: Duration::from_mins(5),
        book_beside_foreign_planner: false,
        instances: 1,
        agents: None,
    }
}

/// Three hosts, and a second show without work.
fn spec() -> FarmSpec {
    let second = ShowSpec::new("other").subscription("general", Cores::whole(10), Cores::whole(20));
    FarmSpec::simple(3).hosts(3).show(second)
}

async fn seeded(generation: Generation) -> (TestDatabase, Seeded) {
    let database = database(generation).await;
    let seeded = seed(&database.pool(), &spec()).await.unwrap();
    (database, seeded)
}

async fn settings(database: &TestDatabase) -> ConnectSettings {
    ConnectSettings { pool_size: 2, ..database.connect_settings().await }
}

async fn checks(database: &TestDatabase, wanted: &Wanted) -> Vec<CheckResult> {
    check(&settings(database).await, wanted).await.unwrap()
}

/// All warnings and failures, as lines.
fn wrong(checks: &[CheckResult]) -> Vec<String> {
    let wrong = checks.iter().filter(|check| matches!(check.status, Status::Warning | Status::Failed));
    wrong.map(|check| format!("{} {}: {}", check.name, check.status.into_str(), check.found)).collect()
}

/// Checks that were not made, each with the one that it depends on.
fn not_checked(checks: &[CheckResult]) -> Vec<(&str, &str)> {
    let skipped = checks.iter().filter(|check| check.status == Status::NotChecked);
    skipped.map(|check| (check.name, check.found.strip_prefix("depends on ").unwrap())).collect()
}

/// All that needs the rows that the settings select.
const OF_THE_SELECTION: [&str; 15] = [
    "subscriptions",
    "folders",
    "hosts",
    "stale-hosts",
    "counters",
    "waiting-counts",
    "limits",
    "tags",
    "slots",
    "licences",
    "chunks",
    "silent-procs",
    "frameless-procs",
    "left-out-rows",
    "owners",
];

fn after<'c>(cause: &'c str, names: &[&'c str]) -> Vec<(&'c str, &'c str)> {
    names.iter().map(|name| (*name, cause)).collect()
}

#[tokio::test]
async fn nothing_is_wrong_with_a_healthy_farm_and_nothing_is_written() {
    for generation in [Generation::G0, Generation::G3, Generation::G5] {
        let (database, _) = seeded(generation).await;
        let before = fingerprint(&database.pool()).await;
        let checks = checks(&database, &wanted()).await;
        assert!(checks.iter().all(|check| check.status == Status::Ok && check.remedy.is_none()), "{checks:?}");
        let names: Vec<&str> = checks.iter().map(|check| check.name).collect();
        assert_eq!(
            names,
            [
                "connection",
                "tls",
                "server",
                "latency",
                "clock",
                "schema",
                "read-privileges",
                "write-privileges",
                "triggers",
                "indexes",
                "connections",
                "pooling-proxy",
                "dead-rows",
                "selection",
                "subscriptions",
                "folders",
                "hosts",
                "stale-hosts",
                "counters",
                "waiting-counts",
                "limits",
                "tags",
                "slots",
                "licences",
                "chunks",
                "silent-procs",
                "frameless-procs",
                "left-out-rows",
                "owners",
                "foreign-planner",
            ]
        );
        assert_eq!(fingerprint(&database.pool()).await, before, "{generation}");
    }
}

/// What is done to the database, and the one line that tells of it.
const WRONGS: &[(&str, &str)] = &[
    (
        "DROP TRIGGER update_frame_status_counts ON frame",
        "triggers failed: 11 of 12 found by what they do; none that frame: counts frames by state",
    ),
    (
        "ALTER TABLE subscription DISABLE TRIGGER verify_subscription",
        "triggers warning: 11 of 12 found by what they do; none that subscription: refuses more than a subscription's burst",
    ),
    ("DROP INDEX i_proc_pkshow", "indexes warning: none on proc (pk_show)"),
    (
        "ALTER TABLE proc DROP CONSTRAINT c_proc_uk",
        "indexes failed: no unique index on proc (pk_frame): a frame could be booked twice",
    ),
    (
        "UPDATE subscription SET int_burst = 0 WHERE pk_show = (SELECT pk_show FROM show WHERE str_name = 'other')",
        "subscriptions warning: burst 0, nothing runs: other on local.general",
    ),
    (
        "UPDATE subscription SET int_size = 0",
        "subscriptions warning: size 0, always last: other on local.general, show on local.general",
    ),
    (
        "UPDATE subscription SET int_burst = 8 WHERE pk_show = (SELECT pk_show FROM show WHERE str_name = 'other')",
        "subscriptions warning: less than a core, as if hundredths were taken for cores: other on local.general (size 10, burst 0.08)",
    ),
    (
        "DELETE FROM folder_resource USING folder
          WHERE folder.pk_folder = folder_resource.pk_folder AND folder.str_name = 'comp'",
        "folders failed: no row in folder_resource, nothing is booked: show/comp",
    ),
    (
        "INSERT INTO folder_resource (pk_folder_resource, pk_folder)
         SELECT 'surplus', pk_folder FROM folder WHERE str_name = 'comp'",
        "folders warning: several rows in folder_resource: show/comp",
    ),
    ("UPDATE host SET str_lock_state = 'LOCKED'", "hosts failed: local.general: 3 locked"),
    (
        "UPDATE host_stat SET ts_ping = current_timestamp - interval '1 hour' FROM host
          WHERE host.pk_host = host_stat.pk_host AND host.str_name = '127.1.0.2'",
        "stale-hosts warning: 1 of 3 sent no report for 120 s: 127.1.0.2",
    ),
    (
        "UPDATE host_stat SET ts_ping = current_timestamp - interval '1 hour'",
        "stale-hosts failed: 3 of 3 sent no report for 120 s: 127.1.0.1, 127.1.0.2, 127.1.0.3",
    ),
    (
        "UPDATE subscription SET int_cores = 100; UPDATE layer_resource SET int_cores = -100",
        "counters warning: do not say what the procs hold: 1 of layer_resource, 2 of subscription",
    ),
    (
        "UPDATE host SET int_cores_idle = int_cores_idle - 100 WHERE str_name <> '127.1.0.2'",
        "counters warning: do not say what the procs hold: what is idle on 2 hosts: 127.1.0.1, 127.1.0.3",
    ),
    (
        "UPDATE host SET int_mem_idle = int_mem_idle - 1 WHERE str_name = '127.1.0.2';
         UPDATE point SET int_cores = 100",
        "counters warning: do not say what the procs hold: 1 of point; what is idle on 1 host: 127.1.0.2",
    ),
    (
        "ALTER TABLE proc DISABLE TRIGGER USER; ALTER TABLE host DISABLE TRIGGER USER;
         INSERT INTO proc (pk_proc, pk_host, int_cores_reserved, int_mem_reserved, int_gpus_reserved, ts_ping)
             SELECT 'proc-' || number, pk_host, 150, 0, 0, current_timestamp - number * interval '4 minutes'
               FROM host, generate_series(1, 2) AS number WHERE str_name = '127.1.0.3';
         UPDATE host SET int_cores_idle = int_cores_idle - 300 WHERE str_name = '127.1.0.3';
         ALTER TABLE proc ENABLE TRIGGER USER; ALTER TABLE host ENABLE TRIGGER USER",
        "frameless-procs warning: 1 proc without a frame, 1.5 cores held by nothing: proc-2 on 127.1.0.3 for 8 min",
    ),
    (
        "UPDATE layer_stat SET int_waiting_count = 4",
        "waiting-counts warning: too high, hosts are planned for nothing: show-sh010-artist_shade/render says 4, 3 wait",
    ),
    (
        "UPDATE layer_stat SET int_waiting_count = 0; UPDATE job_stat SET int_waiting_count = -1",
        "waiting-counts warning: too low, nothing is booked of what they hide: show-sh010-artist_shade/render says 0, \
         3 wait; of whole jobs: show-sh010-artist_shade says -1, 3 wait",
    ),
    (
        "INSERT INTO layer_limit (pk_layer_limit, pk_layer, pk_limit_record) SELECT 'bound', pk_layer, 'gone' FROM layer",
        "limits warning: bound to a deleted limit, which holds nothing back: show-sh010-artist_shade/render (gone)",
    ),
    (
        "ALTER TABLE proc DISABLE TRIGGER USER; ALTER TABLE host DISABLE TRIGGER USER;
         UPDATE host_stat SET ts_ping = current_timestamp + interval '1 hour';
         INSERT INTO proc (pk_proc, pk_host, pk_frame, int_cores_reserved, int_mem_reserved, ts_ping, ts_dispatched)
             SELECT 'proc-' || int_number, pk_host, pk_frame, 150, 0, current_timestamp - interval '500 seconds',
                    current_timestamp + (int_number - 2) * interval '1 hour'
               FROM host, frame WHERE host.str_name = '127.1.0.3' AND int_number <> 2;
         UPDATE host SET int_cores_idle = int_cores_idle - 300 WHERE str_name = '127.1.0.3';
         ALTER TABLE proc ENABLE TRIGGER USER; ALTER TABLE host ENABLE TRIGGER USER",
        "silent-procs warning: no report names 1 proc any more, 1.5 cores held by nothing: 1 on 127.1.0.3 \
         for 8 min",
    ),
    ("UPDATE show SET b_scheduler_managed = false", "selection failed: no cluster: nothing would be booked"),
];

#[tokio::test]
async fn each_wrong_is_found_and_nothing_else() {
    for (plant, line) in WRONGS {
        let (database, _) = seeded(Generation::G5).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(*plant)).execute(&database.pool()).await.unwrap();
        let checks = checks(&database, &wanted()).await;
        let mut told = wrong(&checks);
        // What another check tells of may be why a row is left out.
        if told.len() > 1 {
            told.retain(|told| !told.starts_with("left-out-rows "));
        }
        assert_eq!(told, [*line], "{plant}");
        let is_wrong = |check: &CheckResult| matches!(check.status, Status::Warning | Status::Failed);
        assert!(checks.iter().all(|check| is_wrong(check) == check.remedy.is_some()), "{checks:?}");
        let of_none = if line.starts_with("selection failed: ") { &OF_THE_SELECTION[..] } else { &[] };
        assert_eq!(not_checked(&checks), after("selection", of_none), "{plant}");
    }
}

/// What the remedy says is enough, and what is only in flight is nothing wrong.
#[tokio::test]
async fn counters_of_waiting_frames_are_compared_at_one_moment_and_set_right_by_the_remedy() {
    for generation in [Generation::G0, Generation::G5] {
        let (database, _) = seeded(generation).await;
        let pool = database.pool();
        let mut stopped = pool.begin().await.unwrap();
        let stop = "UPDATE frame SET str_state = 'EATEN' WHERE int_number = 1";
        sqlx::raw_sql(stop).execute(&mut *stopped).await.unwrap();
        assert_eq!(wrong(&checks(&database, &wanted()).await), [""; 0], "{generation}: in flight");
        stopped.commit().await.unwrap();
        assert_eq!(wrong(&checks(&database, &wanted()).await), [""; 0], "{generation}: done");

        let plant = "UPDATE layer_stat SET int_waiting_count = 9; UPDATE job_stat SET int_waiting_count = 0;
            INSERT INTO layer_limit (pk_layer_limit, pk_layer, pk_limit_record) SELECT 'bound', pk_layer, 'it''s' FROM layer";
        sqlx::raw_sql(plant).execute(&pool).await.unwrap();
        let found = checks(&database, &wanted()).await;
        // The third names the links to the limit as rows that are left out.
        assert_eq!(wrong(&found).len(), 3, "{found:?}");
        for name in ["waiting-counts", "limits"] {
            let check = found.iter().find(|check| check.name == name).unwrap();
            let statements = check.remedy.as_ref().unwrap().split_once("as the owner of the tables: ").unwrap().1;
            sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(&pool).await.unwrap();
        }
        assert_eq!(wrong(&checks(&database, &wanted()).await), [""; 0], "{generation}");
        // Nobody cares for jobs that are over.
        let over = "UPDATE layer_stat SET int_waiting_count = 9; UPDATE job SET str_state = 'FINISHED'";
        sqlx::raw_sql(over).execute(&pool).await.unwrap();
        assert_eq!(wrong(&checks(&database, &wanted()).await), [""; 0], "{generation}");
    }
}

#[tokio::test]
async fn a_schema_that_lacks_something_fails_and_the_rest_is_looked_at() {
    let (database, _) = seeded(Generation::G5).await;
    let drop = "ALTER TABLE proc DROP COLUMN int_mem_pre_reserved; DROP TABLE host_local CASCADE";
    sqlx::raw_sql(drop).execute(&database.pool()).await.unwrap();
    let checks = checks(&database, &wanted()).await;
    // Nothing is said of the index on the table that is gone.
    assert_eq!(wrong(&checks), ["schema failed: 2 missing: table host_local, proc.int_mem_pre_reserved"]);
    let needs_all = [&["selection"], &OF_THE_SELECTION[..], &["foreign-planner"]].concat();
    assert_eq!(not_checked(&checks), after("schema", &needs_all));
    assert!(checks.iter().any(|check| check.name == "triggers" && check.status == Status::Ok), "{checks:?}");
}

const OF_THE_SCHEMA: [&str; 5] = ["read-privileges", "write-privileges", "triggers", "indexes", "selection"];

/// Empty, and one that happens to have tables of the same names.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_program_is_called_so_and_nothing_else_is_said_of_it() {
    let (database, _) = seeded(Generation::G5).await;
    let pool = database.pool();
    let agents = Agents::new(AgentSettings { port: 1, ..AgentSettings::default() });
    let wanted = Wanted { agents: Some((agents, 2)), ..wanted() };
    for (plant, found) in [
        ("DROP SCHEMA public CASCADE; CREATE SCHEMA public", "none"),
        ("CREATE TABLE host (pk_host text); CREATE TABLE job (id int)", "only host, job"),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(plant)).execute(&pool).await.unwrap();
        let checks = checks(&database, &wanted).await;
        assert_eq!(
            wrong(&checks),
            [format!(
                "schema failed: this is not Cuebot's database: looked for its tables alloc, facility, folder, \
                 folder_resource, frame, host, host_local, host_stat and 18 more, found {found}"
            )]
        );
        let needs_it = [&OF_THE_SCHEMA[..], &OF_THE_SELECTION, &["foreign-planner", "agents"]].concat();
        assert_eq!(not_checked(&checks), after("schema", &needs_it));
        let good = ["connection", "tls", "server", "latency", "clock", "connections", "pooling-proxy", "dead-rows"];
        let is_good = |check: &&CheckResult| check.status == Status::Ok;
        assert_eq!(checks.iter().filter(is_good).map(|check| check.name).collect::<Vec<_>>(), good);
    }

    let settings = settings(&database).await;
    let ran = run_program(&settings, &["check-db"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let told = ["hosts", "not", "checked", "depends", "on", "schema"];
    assert!(ran.stdout.lines().any(|line| line.split_whitespace().eq(told)), "{}", ran.stdout);
    let ran = run_program(&settings, &["check-db", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &document["status"]), (1, &"failed".into()));
    let hosts = document["checks"].as_array().unwrap().iter().find(|check| check["name"] == "hosts").unwrap();
    let expected =
        serde_json::json!({"name": "hosts", "status": "not checked", "found": "depends on schema", "remedy": null});
    assert_eq!(hosts, &expected);
}

#[tokio::test]
async fn a_farm_that_may_not_be_read_is_not_judged() {
    let (database, _) = seeded(Generation::G5).await;
    let pool = database.pool();
    let role = format!("stranger_{}", database.name());
    let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA public TO {role}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&pool).await.unwrap();
    let settings = ConnectSettings { user: role.clone(), password: Some("x".to_owned()), ..settings(&database).await };
    let checks = check(&settings, &wanted()).await.unwrap();
    let failed: Vec<&str> =
        checks.iter().filter(|check| check.status == Status::Failed).map(|check| check.name).collect();
    assert_eq!(failed, ["read-privileges", "write-privileges"]);
    assert_eq!(not_checked(&checks), after("read-privileges", &[&["selection"], &OF_THE_SELECTION[..]].concat()));

    // Where the clusters can be read and the hosts' states not, only these are in the dark.
    let grant =
        format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; REVOKE SELECT ON host_stat FROM {role}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(grant)).execute(&pool).await.unwrap();
    let checks = check(&settings, &wanted()).await.unwrap();
    assert_eq!(
        not_checked(&checks),
        after("read-privileges", &["hosts", "stale-hosts", "silent-procs", "left-out-rows"])
    );
}

#[tokio::test]
async fn where_no_host_is_up_nothing_is_said_of_reports_and_agents() {
    let (database, _) = seeded(Generation::G5).await;
    let agents = Agents::new(AgentSettings { port: 1, ..AgentSettings::default() });
    let wanted = Wanted { agents: Some((agents, 2)), ..wanted() };
    let stale = "UPDATE host_stat SET ts_ping = current_timestamp - interval '1 hour'";
    sqlx::raw_sql(stale).execute(&database.pool()).await.unwrap();
    assert_eq!(not_checked(&checks(&database, &wanted).await), [("agents", "stale-hosts")]);
    sqlx::raw_sql("UPDATE host_stat SET str_state = 'DOWN'").execute(&database.pool()).await.unwrap();
    let checks = checks(&database, &wanted).await;
    assert_eq!(wrong(&checks), ["hosts failed: local.general: 3 down"]);
    assert_eq!(not_checked(&checks), after("hosts", &["stale-hosts", "agents"]));
}

#[tokio::test]
async fn names_that_are_not_there_fail_with_those_that_are() {
    let (database, _) = seeded(Generation::G5).await;
    let of = async |selection: Selection| {
        let checks = checks(&database, &Wanted { selection, ..wanted() }).await;
        assert_eq!(wrong(&checks).len(), 1, "{checks:?}");
        assert_eq!(not_checked(&checks), after("selection", &OF_THE_SELECTION));
        checks.into_iter().find(|check| check.name == "selection").unwrap()
    };
    let facility = of(Selection { facility: Some("locale".to_owned()), ..Selection::default() }).await;
    assert_eq!(facility.status, Status::Failed);
    assert_eq!(facility.found, "no facility is named \"locale\"; did you mean \"local\"? there are: local");
    let tag = AllocTag { show: "show".to_owned(), tag: "nothing".to_owned() };
    let tag = of(Selection { alloc_tags: vec![tag], ..Selection::default() }).await;
    assert_eq!(tag.found, "no allocation has the tag \"nothing\"; there are: general");
    let manual = of(Selection { manual_tags: vec!["urgent".to_owned()], ..Selection::default() }).await;
    assert!(manual.found.starts_with("no host carries the tag \"urgent\""), "{}", manual.found);

    let several = Selection {
        facility: Some("locale".to_owned()),
        alloc_tags: vec![
            AllocTag { show: "shaw".to_owned(), tag: "general".to_owned() },
            AllocTag { show: "show".to_owned(), tag: "genral".to_owned() },
        ],
        manual_tags: vec!["urgent".to_owned()],
        ..Selection::default()
    };
    let several = of(several).await.found;
    for name in ["locale", "shaw", "genral", "urgent"] {
        assert!(several.contains(&format!("\"{name}\"")), "{name}: {several}");
    }
}

#[tokio::test]
async fn shows_that_nobody_or_everybody_books_are_named() {
    let (database, _) = seeded(Generation::G5).await;
    let tag = AllocTag { show: "show".to_owned(), tag: "general".to_owned() };
    let wanted = Wanted { selection: Selection { alloc_tags: vec![tag], ..Selection::default() }, ..wanted() };
    assert_eq!(
        wrong(&checks(&database, &wanted).await),
        ["owners warning: flagged for a scheduler and not served by this one: other"]
    );
    let unflag = "UPDATE show SET b_scheduler_managed = false";
    sqlx::raw_sql(unflag).execute(&database.pool()).await.unwrap();
    assert_eq!(
        wrong(&checks(&database, &wanted).await),
        ["owners warning: served here and not flagged, so that Cuebot books them too: show"]
    );
}

#[tokio::test]
async fn an_active_planner_of_cuebot_fails_unless_told_otherwise() {
    let (database, _) = seeded(Generation::G5).await;
    let mut leader = database.pool().acquire().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(22360104104064357)").execute(&mut *leader).await.unwrap();
    let found = "Cuebot's own planner is active";
    assert_eq!(
        wrong(&checks(&database, &wanted()).await),
        [format!("foreign-planner failed: {found}: nothing would be booked")]
    );
    let beside = Wanted { book_beside_foreign_planner: true, ..wanted() };
    assert_eq!(
        wrong(&checks(&database, &beside).await),
        [format!("foreign-planner warning: {found}, and the settings say to book beside it")]
    );
}

#[tokio::test]
async fn pools_that_want_more_than_there_is_fail() {
    let (database, _) = seeded(Generation::G5).await;
    let settings = ConnectSettings { pool_size: 99, ..settings(&database).await };
    let checks = check(&settings, &Wanted { instances: 3, ..wanted() }).await.unwrap();
    let lines = wrong(&checks);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("connections failed: 303 needed, 200 allowed, "), "{lines:?}");
}

#[tokio::test]
async fn a_proxy_that_pools_by_transaction_fails() {
    let (database, _) = seeded(Generation::G5).await;
    let settings = settings(&database).await;
    let port = pooler::start(format!("{}:{}", settings.host, settings.port)).await;
    let settings = ConnectSettings { host: "127.0.0.1".to_owned(), port, ..settings };
    let checks = check(&settings, &wanted()).await.unwrap();
    let proxy = checks.iter().find(|check| check.name == "pooling-proxy").unwrap();
    assert_eq!(
        (proxy.status, proxy.found.as_str()),
        (Status::Failed, "a proxy that pools by transaction"),
        "{checks:#?}"
    );
    for name in ["read-privileges", "triggers", "indexes", "clock"] {
        let check = checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(check.status, Status::Ok, "{check:?}");
    }
}

#[tokio::test]
async fn agents_are_called_where_asked_for() {
    let database = database(Generation::G5).await;
    let sandbox = farm(database.connect_settings().await, quick_farm(spec())).await;
    let with = async |port: u16, hosts: usize| {
        let agents = Agents::new(AgentSettings { port, ..AgentSettings::default() });
        let wanted = Wanted { agents: Some((agents, hosts)), ..wanted() };
        checks(&database, &wanted).await.into_iter().find(|check| check.name == "agents").unwrap()
    };
    let check = with(sandbox.rqd_port(), 2).await;
    assert_eq!((check.status, check.found.as_str()), (Status::Ok, "2 agents answered"));
    assert_eq!(with(sandbox.rqd_port(), 50).await.found, "3 agents answered");
    let check = with(1, 2).await;
    assert_eq!(check.status, Status::Failed);
    assert!(check.found.starts_with("2 of 2 agents did not answer: "), "{}", check.found);
    assert_eq!(sandbox.stop().await, [""; 0]);
}

#[tokio::test]
async fn a_role_that_may_only_read_is_told_what_it_lacks() {
    for (generation, history) in [
        (Generation::G0, "no DELETE on frame_history, proc; no INSERT on frame_history, proc"),
        (Generation::G5, "no DELETE on proc; no INSERT on frame_history_queue, proc"),
    ] {
        let (database, _) = seeded(generation).await;
        let settings = ConnectSettings { pool_size: 2, ..read_only_settings(&database).await };
        let before = fingerprint(&database.pool()).await;
        let lines = wrong(&check(&settings, &wanted()).await.unwrap());
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with(&format!("write-privileges failed: {history}; no UPDATE on folder_resource, frame, ")),
            "{lines:?}"
        );
        assert_eq!(fingerprint(&database.pool()).await, before);
    }
}

/// The remedies are what a user needs: with them alone it books, takes back and repairs.
#[tokio::test]
async fn the_grants_that_are_named_are_enough() {
    for generation in [Generation::G0, Generation::G5] {
        let (database, farm) = seeded(generation).await;
        let (pool, role) = (database.pool(), format!("Booker_{}", database.name()));
        let create = format!("CREATE ROLE \"{role}\" LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA public TO \"{role}\"");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&pool).await.unwrap();
        let settings = ConnectSettings { user: role, password: Some("x".to_owned()), ..settings(&database).await };
        let first = check(&settings, &wanted()).await.unwrap();
        for name in ["read-privileges", "write-privileges"] {
            let check = first.iter().find(|check| check.name == name).unwrap();
            assert_eq!(check.status, Status::Failed);
            let grants = check.remedy.as_ref().unwrap().strip_prefix("as the owner of the tables: ").unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(grants)).execute(&pool).await.unwrap();
        }
        assert_eq!(wrong(&check(&settings, &wanted()).await.unwrap()), [""; 0], "{generation}");

        let store = Store::connect(&settings).await.unwrap().with_lock_budget(PATIENCE);
        let booked = book_all(&store, &requests(&store, &farm, 3).await).await.booked;
        assert_eq!(booked.len(), 3, "{generation}");
        unbook(&store, &booked, UnbookCause::LaunchRefused).await.unwrap();
        let plant = "UPDATE subscription SET int_cores = 100; UPDATE host SET int_cores_idle = int_cores_idle - 100";
        sqlx::raw_sql(plant).execute(&pool).await.unwrap();
        let mut repairs = Repairs::new(Duration::ZERO);
        look(&mut repairs, &store, &scope(&farm)).await;
        assert_eq!(look(&mut repairs, &store, &scope(&farm)).await.drift.len(), 2 + 3, "{generation}");
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_prints_and_ends_as_documented() {
    let (database, _) = seeded(Generation::G5).await;
    let settings = settings(&database).await;
    let ran = run_program(&settings, &["check-db"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stdout.starts_with("CHECK "), "{}", ran.stdout);
    assert!(ran.stdout.lines().all(|line| !line.starts_with(' ')), "a line is broken: {}", ran.stdout);
    assert!(
        ran.stdout.lines().any(|line| line.split_whitespace().collect::<Vec<_>>()[..]
            == ["selection", "ok", "4", "clusters", "of", "2", "shows", "in", "local"]),
        "{}",
        ran.stdout
    );

    sqlx::raw_sql("UPDATE host SET str_lock_state = 'LOCKED'").execute(&database.pool()).await.unwrap();
    let ran = run_program(&settings, &["check-db"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.ends_with("\nhosts: none is up and open: start RQD, or unlock hosts\n"), "{}", ran.stdout);
    let ran = run_program(&settings, &["check-db", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &document["status"]), (1, &"failed".into()));
    let hosts = document["checks"].as_array().unwrap().iter().find(|check| check["name"] == "hosts").unwrap();
    let expected = serde_json::json!({
        "name": "hosts",
        "status": "failed",
        "found": "local.general: 3 locked",
        "remedy": "none is up and open: start RQD, or unlock hosts",
    });
    assert_eq!(hosts, &expected);

    let nowhere = ConnectSettings { name: "nowhere".to_owned(), ..settings };
    let ran = run_program(&nowhere, &["check-db"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains(" has no database nowhere for "), "{}", ran.stderr);
}

/// On a server of its own: a slot is everybody's there.
#[tokio::test]
async fn what_keeps_dead_rows_is_told_with_what_ends_it() {
    let options = PostgresOptions { durability: Durability::Real, ..PostgresOptions::default() };
    let server = PostgresServer::start(&options).await.unwrap();
    server.create_database("farm", None).await.unwrap();
    let connect = async || server.connect_options("farm").connect().await.unwrap();
    let mut connection = connect().await;
    sqlx::raw_sql("ALTER SYSTEM SET max_prepared_transactions = 2").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    server.restart(RestartMode::Fast).await.unwrap();
    let mut connection = connect().await;
    schema::create(&mut connection, Generation::G5).await.unwrap();
    sqlx::raw_sql("SELECT pg_create_physical_replication_slot('idle_slot', true)")
        .execute(&mut connection)
        .await
        .unwrap();
    for begin in ["BEGIN; UPDATE config SET str_key = str_key; PREPARE TRANSACTION 'left behind'", "BEGIN; SELECT 1"] {
        sqlx::raw_sql(begin).execute(&mut connection).await.unwrap();
    }
    let wanted = Wanted { long_transaction: Duration::ZERO, ..wanted() };
    let checks = check(&server.connect_settings("farm"), &wanted).await.unwrap();
    let check = checks.iter().find(|check| check.name == "dead-rows").unwrap();
    assert_eq!(check.status, Status::Warning, "{check:?}");
    for part in ["open transactions: ", "prepared transactions: left behind for 0 min", "nobody reads: idle_slot"] {
        assert!(check.found.contains(part), "{part} is not in {}", check.found);
    }
    let remedy = check.remedy.as_deref().unwrap();
    for part in ["pg_terminate_backend(", "ROLLBACK PREPARED 'left behind'", "pg_drop_replication_slot('idle_slot')"] {
        assert!(remedy.contains(part), "{part} is not in {remedy}");
    }
    connection.close().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn rows_that_no_pass_can_use_are_named() {
    let (database, _) = seeded(Generation::G5).await;
    let pool = database.pool();
    sqlx::raw_sql("UPDATE host SET int_thread_mode = 7 WHERE str_name = '127.1.0.3'").execute(&pool).await.unwrap();
    let checks = checks(&database, &wanted()).await;
    let lines = wrong(&checks);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("left-out-rows warning: 1 row left out: host "), "{lines:?}");
    assert!(lines[0].contains("int_thread_mode is 7"), "{lines:?}");
}

/// Which says nothing about the flag.
#[tokio::test]
async fn without_a_show_that_is_what_is_said() {
    for generation in [Generation::G0, Generation::G5] {
        let database = database(generation).await;
        let checks = checks(&database, &wanted()).await;
        assert!(not_checked(&checks).contains(&("owners", "selection")), "{generation}");
        let selection = checks.iter().find(|check| check.name == "selection").unwrap();
        assert_eq!(selection.found, "there is no show: nothing would be booked", "{generation}");
        let remedy = "create a show in Cuebot, and subscribe it to an allocation";
        assert_eq!(selection.remedy.as_deref(), Some(remedy), "{generation}");
    }
}
