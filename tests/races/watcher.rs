//! Who looks at the database while a round goes on: which statements of Cuebot's wait for us and for how
//! long, who waits in a circle, and whether a counter ever says less than procs hold.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio_util::sync::CancellationToken;

use super::ground::Ground;
use super::witness;

const LOOK_EVERY: Duration = Duration::from_millis(4);
/// Looks at sessions for each look at counters.
const SESSIONS_PER_COUNTERS: u32 = 5;

/// Sessions that are ours bear this name.
const OURS: &str = "cue-scheduler";
const CUEBOTS: &str = "cuebot";

/// What Cuebot itself writes in another order than everything else. Whoever meets it has to give way. The end of
/// a host takes its row before the foreign key looks at the procs.
const DISORDERLY: [&str; 4] =
    ["SELECT recalculate_subs", "UPDATE job SET pk_folder", "UPDATE frame SET int_dispatch_order", "DELETE FROM host"];

const SESSIONS: &str = "
    SELECT pid, application_name, left(regexp_replace(query, '^(--[^\n]*\n)+', ''), 100) AS query, query_start::text AS since,
        CASE WHEN wait_event_type = 'Lock' THEN pg_blocking_pids(pid) ELSE '{}' END AS blockers
    FROM pg_stat_activity
    WHERE datname = current_database() AND (state <> 'idle' OR wait_event_type = 'Lock')";

/// Counters of shows that we look after which say less than their procs hold. One statement, so one
/// moment: everybody adds a proc and its amounts in one transaction, and takes the proc away first or with
/// them.
const TOO_LOW: &str = "
    WITH held AS MATERIALIZED (
        SELECT p.pk_show, h.pk_alloc, p.pk_layer, p.pk_job, j.pk_folder, j.pk_dept, p.int_cores_reserved AS cores
        FROM proc p JOIN host h USING (pk_host) JOIN job j USING (pk_job) JOIN show s ON s.pk_show = p.pk_show
        WHERE s.str_name <> 'legacy'
    )
    SELECT 'subscription' AS counter, s.pk_subscription AS id, s.int_cores::int8 AS says, t.cores::int8 AS held
    FROM subscription s JOIN (SELECT pk_show, pk_alloc, sum(cores) AS cores FROM held GROUP BY 1, 2) AS t USING (pk_show, pk_alloc)
    WHERE s.int_cores < t.cores
    UNION ALL
    SELECT 'layer', r.pk_layer, r.int_cores::int8, t.cores::int8
    FROM layer_resource r JOIN (SELECT pk_layer, sum(cores) AS cores FROM held GROUP BY 1) AS t USING (pk_layer)
    WHERE r.int_cores < t.cores
    UNION ALL
    SELECT 'job', r.pk_job, r.int_cores::int8, t.cores::int8
    FROM job_resource r JOIN (SELECT pk_job, sum(cores) AS cores FROM held GROUP BY 1) AS t USING (pk_job)
    WHERE r.int_cores < t.cores
    UNION ALL
    SELECT 'folder', r.pk_folder, r.int_cores::int8, t.cores::int8
    FROM folder_resource r JOIN (SELECT pk_folder, sum(cores) AS cores FROM held GROUP BY 1) AS t USING (pk_folder)
    WHERE r.int_cores < t.cores
    UNION ALL
    SELECT 'point', r.pk_point, r.int_cores::int8, t.cores::int8
    FROM point r JOIN (SELECT pk_show, pk_dept, sum(cores) AS cores FROM held GROUP BY 1, 2) AS t USING (pk_show, pk_dept)
    WHERE r.int_cores < t.cores";

struct Session {
    application: String,
    query: String,
    since: String,
    blockers: Vec<i32>,
}

/// A statement of Cuebot's that waits for us, or did.
struct Wait {
    since: String,
    seen: Instant,
    waited: Duration,
    /// For whom, and what these did and waited for meanwhile.
    chains: Vec<String>,
}

pub(super) async fn watch(options: PgConnectOptions, ground: Arc<Ground>, stop: CancellationToken) {
    let mut connection = PgConnection::connect_with(&options.application_name("watcher")).await.unwrap();
    let (mut waits, mut circles, mut low) = (HashMap::new(), HashSet::new(), HashSet::new());
    for look in 0_u32.. {
        look_at_sessions(&mut connection, &ground, &mut waits, &mut circles).await;
        if look.is_multiple_of(SESSIONS_PER_COUNTERS) {
            look_at_counters(&mut connection, &ground, &mut low).await;
            look_at_limits(&mut connection, &ground).await;
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            break;
        }
    }
    connection.close().await.unwrap();
}

async fn look_at_sessions(
    connection: &mut PgConnection,
    ground: &Ground,
    waits: &mut HashMap<(i32, bool), Wait>,
    circles: &mut HashSet<Vec<(i32, String)>>,
) {
    let now = Instant::now();
    let rows = sqlx::query(SESSIONS).fetch_all(connection).await.unwrap();
    let session = |row: &sqlx::postgres::PgRow| Session {
        application: row.get("application_name"),
        query: row.get("query"),
        since: row.get::<Option<String>, _>("since").unwrap_or_default(),
        blockers: row.get("blockers"),
    };
    let sessions: HashMap<i32, Session> = rows.iter().map(|row| (row.get("pid"), session(row))).collect();
    let waiting = sessions.iter().filter(|(_, session)| !session.blockers.is_empty());
    let mut still = HashMap::new();
    for (pid, session) in waiting {
        let behind = everybody_behind(*pid, &sessions);
        if behind.contains(pid) && !session.blockers.is_empty() {
            note_circle(*pid, &sessions, ground, circles);
        }
        let ours = behind.iter().find(|pid| sessions.get(pid).is_some_and(|other| other.application.starts_with(OURS)));
        if !session.application.starts_with(CUEBOTS) {
            continue;
        }
        let is_for_us = ours.is_some();
        let before = waits.remove(&(*pid, is_for_us)).filter(|wait| wait.since == session.since);
        let waited = before.as_ref().map_or(LOOK_EVERY, |wait| wait.waited + now.duration_since(wait.seen));
        let mut chains = before.map(|wait| wait.chains).unwrap_or_default();
        let chain = chain(*pid, &sessions);
        if chains.last() != Some(&chain) {
            chains.push(chain);
        }
        ground.tally(|tally| {
            if !is_for_us {
                tally.longest_own_wait = tally.longest_own_wait.max(waited);
            } else if waited > tally.longest_wait {
                tally.longest_wait = waited;
                tally.longest_wait_of = chains.join("\n    then ");
            }
        });
        still.insert((*pid, is_for_us), Wait { since: session.since.clone(), seen: now, waited, chains });
    }
    *waits = still;
}

/// A session, one that it waits for, one that this one waits for, and so on.
fn chain(pid: i32, sessions: &HashMap<i32, Session>) -> String {
    let (mut told, mut seen, mut next) = (Vec::new(), HashSet::new(), Some(pid));
    while let Some(pid) = next.filter(|pid| seen.insert(*pid)) {
        let Some(session) = sessions.get(&pid) else { break };
        told.push(format!("{} `{}`", session.application, flat(&session.query)));
        next = session.blockers.first().copied();
    }
    told.join(" <- ")
}

/// Whom a session waits for, and whom these wait for.
fn everybody_behind(pid: i32, sessions: &HashMap<i32, Session>) -> HashSet<i32> {
    let mut behind = HashSet::new();
    let mut next = vec![pid];
    while let Some(pid) = next.pop() {
        let blockers = sessions.get(&pid).map(|session| &session.blockers[..]).unwrap_or_default();
        next.extend(blockers.iter().filter(|blocker| behind.insert(**blocker)));
    }
    behind
}

fn note_circle(pid: i32, sessions: &HashMap<i32, Session>, ground: &Ground, circles: &mut HashSet<Vec<(i32, String)>>) {
    let behind = everybody_behind(pid, sessions);
    let mut circle: Vec<i32> =
        behind.iter().copied().filter(|other| everybody_behind(*other, sessions).contains(&pid)).collect();
    circle.sort_unstable();
    let named = |pid: &i32| sessions.get(pid).map(|session| (*pid, session.since.clone()));
    let key: Vec<(i32, String)> = circle.iter().filter_map(named).collect();
    let is_ours = |pid: &i32| sessions.get(pid).is_some_and(|session| session.application.starts_with(OURS));
    let is_cuebots = |pid: &i32| sessions.get(pid).is_some_and(|session| session.application.starts_with(CUEBOTS));
    if !(circle.iter().any(is_ours) && circle.iter().any(is_cuebots) && circles.insert(key)) {
        return;
    }
    let told = circle.iter().filter_map(|pid| sessions.get(pid));
    let told: Vec<String> =
        told.map(|session| format!("{}: `{}`", session.application, flat(&session.query))).collect();
    let told = told.join(" | ");
    let is_disorderly = |pid: &i32| {
        sessions.get(pid).is_some_and(|session| DISORDERLY.iter().any(|start| session.query.starts_with(start)))
    };
    if circle.iter().any(is_disorderly) {
        ground.note("watcher", &format!("wait for each other: {told}"));
        ground.tally(|tally| tally.circles.push(told));
    } else {
        ground.fault(format!("who keeps to the order of locks waited for us, and we for him: {told}"));
    }
}

async fn look_at_counters(connection: &mut PgConnection, ground: &Ground, low: &mut HashSet<(String, String)>) {
    let mut found = HashSet::new();
    for row in sqlx::query(TOO_LOW).fetch_all(connection).await.unwrap() {
        let (counter, id): (String, String) = (row.get("counter"), row.get("id"));
        let (says, held): (i64, i64) = (row.get("says"), row.get("held"));
        if !low.contains(&(counter.clone(), id.clone())) {
            ground.fault(format!("the counter of {counter} {id} says {says} while procs hold {held}"));
        }
        found.insert((counter, id));
    }
    *low = found;
}

/// Only bookings of ours use limits here. A maximum that one has gone by was written down before.
async fn look_at_limits(connection: &mut PgConnection, ground: &Ground) {
    let sql = format!(
        "SELECT used.pk_limit_record, used.used, allowed.max FROM ({}) AS used
         JOIN (SELECT pk_limit_record, max(int_max) AS max FROM race_limit GROUP BY pk_limit_record) AS allowed
             USING (pk_limit_record)
         WHERE used.used > allowed.max",
        witness::limits_in_use(ground.generation)
    );
    for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap() {
        let (limit, used, most): (String, i64, i32) = (row.get(0), row.get(1), row.get(2));
        ground.tally(|tally| tally.breaches += 1);
        ground.fault(format!("{used} of limit {limit} are in use, at most {most} may be"));
    }
}

fn flat(query: &str) -> String {
    query.split_whitespace().collect::<Vec<_>>().join(" ")
}
