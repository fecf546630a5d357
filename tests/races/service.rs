//! A round of the whole service, on hosts that take launches as real agents do: late, twice, not at all.
//! Operators and sweeps act while launches are on their way; what runs twice, shows here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cue_scheduler::db::ConnectSettings;
use cue_scheduler::farm::audit::{AuditReport, AuditRule};
use cue_scheduler::farm::cuebot::CuebotOptions;
use cue_scheduler::farm::fleet::Faults;
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::seed::FarmSpec;
use cue_scheduler::rqd::{AgentSettings, Agents};
use sqlx::Connection as _;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cuebot::{self, Session};
use super::ground::{Ground, Tally};
use super::{END_LIMIT, crowded, generation_of, watcher, witness};
use crate::support::database;
use crate::support::farm::{Scheduler, farm, quick_farm, quick_settings};

/// Runs take their time, and so do operators.
const REST_MAX: Duration = Duration::from_millis(120);
/// Everybody may go on and nothing is short any more.
const OPEN_EVERYTHING: [&str; 8] = [
    "DELETE FROM race_closed",
    "UPDATE job SET b_paused = false, b_auto_book = true",
    "UPDATE subscription SET int_burst = 100000",
    "UPDATE folder_resource SET int_max_cores = -1",
    "UPDATE job_resource SET int_max_cores = 100000",
    "INSERT INTO race_limit SELECT pk_limit_record, 1000 FROM limit_record",
    "UPDATE limit_record SET int_max_value = 1000",
    "UPDATE host SET str_lock_state = 'OPEN'",
];
/// What has not ended: frames that run or may run, and procs.
const LEFT: &str = "
    SELECT (SELECT count(*) FROM proc) + (SELECT count(*) FROM frame JOIN job USING (pk_job)
        WHERE frame.str_state = 'RUNNING' OR (frame.str_state IN ('WAITING', 'CHECKPOINT') AND job.str_state = 'PENDING'))";

fn options(number: u64) -> SandboxOptions {
    let mut spec: FarmSpec = crowded(number);
    spec.seed = number;
    spec.shows.retain(|show| show.name != "legacy");
    let faults = Faults {
        refuse: 0.03,
        lose_answer: 0.02,
        fail_answer: 0.02,
        delay_answer: 0.25,
        answer_delay: Duration::from_millis(400),
        // Within the time of the call: what an agent takes up later than that, nobody can take back.
        delay_start: 0.2,
        start_delay: Duration::from_millis(300),
        fail_frame: 0.05,
        ..Faults::default()
    };
    let quick = quick_farm(spec);
    let cuebot = CuebotOptions { redirect_delay: Some(Duration::from_millis(100)), ..quick.cuebot };
    SandboxOptions { generation: generation_of(number), faults, cuebot, ..quick }
}

/// What it must not show is in the tally.
pub(super) async fn round(number: u64, acts: u32) -> (Arc<Ground>, Tally) {
    let generation = generation_of(number);
    let database = database(generation).await;
    let settings = database.connect_settings().await;
    let cuebots = ConnectSettings { application: "cuebot stand-in".to_owned(), ..settings };
    let sandbox = farm(cuebots, options(number)).await;
    witness::appoint(sandbox.pool(), generation).await;
    let ground = Arc::new(Ground::new(number, generation));
    let connect = database.connect_options();
    let stop_watching = CancellationToken::new();
    let watching = tokio::spawn(watcher::watch(connect.clone(), Arc::clone(&ground), stop_watching.clone()));
    let scheduler = Scheduler::start(&sandbox, quick_settings()).await;

    let agents = Agents::new(AgentSettings { port: sandbox.rqd_port(), ..AgentSettings::default() });
    let mut acting = JoinSet::new();
    let sessions = [
        ("operator", cuebot::OPERATORS_WITH_AGENTS, 2),
        ("hosts", cuebot::HOSTS_WITH_AGENTS, 1),
        ("sweeps", cuebot::SWEEPS, 1),
    ];
    let mut session_number = 10;
    for (name, kinds, many) in sessions {
        for _ in 0..many {
            session_number += 1;
            let session = Session::open(&connect, &ground, name, session_number).await;
            acting.spawn(session.with_agents(agents.clone()).resting(REST_MAX).play(kinds, acts));
        }
    }
    while let Some(ended) = acting.join_next().await {
        if let Err(error) = ended {
            ground.fault(format!("somebody stumbled: {error}"));
        }
    }
    open_everything(&connect).await;
    let report = until_ended(&sandbox, &ground).await;
    for violation in &report.violations {
        ground.fault(format!("the audit: {violation:?}"));
    }
    let counted = |rule: AuditRule| report.violations_by_rule.get(&rule).copied().unwrap_or_default();
    let totals = scheduler.totals.reading();
    let repaired = ["scheduler_drift_repaired_rows_total", "scheduler_releases_accounted_rows_total"];
    let repaired: u64 = repaired.iter().map(|name| scheduler.counted(name)).sum();
    ground.tally(|tally| {
        tally.doubles += counted(AuditRule::DoubleLaunch) + counted(AuditRule::SeveralProcs);
        tally.lost += report.violations_total - counted(AuditRule::DoubleLaunch) - counted(AuditRule::SeveralProcs);
        tally.bookings += totals.booked;
        tally.take_backs += totals.unbooked;
        tally.launches += sandbox.launches().len() as u64;
        tally.repairs += repaired;
    });
    scheduler.stop().await;
    stop_watching.cancel();
    watching.await.unwrap();
    witness::hear(sandbox.pool(), &ground).await;
    sandbox.stop().await;
    let tally = ground.tallied();
    (ground, tally)
}

/// By nobody whose locks are judged: no Cuebot changes all rows of a table in one statement.
async fn open_everything(connect: &PgConnectOptions) {
    let mut connection = PgConnection::connect_with(&connect.clone().application_name("opening")).await.unwrap();
    for statement in OPEN_EVERYTHING {
        while let Err(error) = sqlx::query(statement).execute(&mut connection).await {
            let code = error.as_database_error().and_then(DatabaseError::code);
            assert_eq!(code.as_deref(), Some("40P01"), "{error}");
        }
    }
    connection.close().await.unwrap();
}

/// Waits until everything has ended and the books balance, or says what is left.
async fn until_ended(sandbox: &Sandbox, ground: &Ground) -> AuditReport {
    let began = Instant::now();
    loop {
        let left: i64 = sqlx::query_scalar(LEFT).fetch_one(sandbox.pool()).await.unwrap();
        let report = sandbox.audit().await.unwrap();
        // Twice stays twice.
        if left == 0 && (report.is_clean() || report.double_launches > 0) {
            return report;
        }
        if began.elapsed() > END_LIMIT {
            ground.tally(|tally| tally.lost += u64::try_from(left).unwrap_or_default());
            ground.fault(format!("{left} frames and procs have not ended: {:?}", report.frames));
            return report;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
