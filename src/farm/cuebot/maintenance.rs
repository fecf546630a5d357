//! Sweeps for what nobody will report any more: silent hosts, and the runs that were lost with them.

use std::sync::Arc;

use futures::StreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::{Row as _, query};

use super::completions::finish_lost;
use super::options::CuebotCounts;
use super::options::Maintenance;
use super::shared::Shared;
use super::stop::{Lost, Stopped, stop_lost};
use crate::model::FrameId;

/// Lost things that one sweep takes up.
const SWEPT_MAX: i64 = 1_000;
const KILLS_AT_ONCE_MAX: usize = 16;
const ORPHAN: i64 = 301;
const HOST_DOWN: i64 = 399;

pub(super) async fn sweep_regularly(shared: Arc<Shared>, maintenance: Maintenance) {
    let stop = shared.tasks.stop_signal();
    while stop.run_until_cancelled(tokio::time::sleep(maintenance.interval)).await.is_some() {
        if shared.is_silent() {
            continue;
        }
        if let Err(error) = sweep(&shared, &maintenance).await {
            tracing::debug!(%error, "the Cuebot stand-in could not sweep");
        }
    }
}

/// One sweep. Hosts come first, as the fate of a lost run depends on its host.
async fn sweep(shared: &Shared, maintenance: &Maintenance) -> Result<(), sqlx::Error> {
    let silent = maintenance.host_down_after.as_secs_f64();
    let down = query(include_str!("../sql/cuebot_down_hosts.sql")).bind(silent).fetch_all(&shared.pool).await?;
    shared.count(|counts| counts.hosts_down += down.len());
    sweep_procs(shared, maintenance).await?;
    sweep_frames(shared, maintenance).await
}

async fn sweep_procs(shared: &Shared, maintenance: &Maintenance) -> Result<(), sqlx::Error> {
    let age = maintenance.proc_orphan_after.as_secs_f64();
    let statement = query(include_str!("../sql/cuebot_stale_procs.sql")).bind(age).bind(SWEPT_MAX);
    let stale = statement.fetch_all(&shared.pool).await?;
    let stale = stale.iter().map(StaleProc::of).collect::<Result<Vec<_>, _>>()?;
    let kept_until = age + maintenance.proc_kept_for_max.as_secs_f64();
    let (idle, running): (Vec<StaleProc>, Vec<StaleProc>) = stale.into_iter().partition(|proc| proc.frame.is_none());
    let lost: Vec<Lost> = futures::stream::iter(running)
        .map(|proc| fate_of(shared, proc, kept_until))
        .buffered(KILLS_AT_ONCE_MAX)
        .filter_map(std::future::ready)
        .collect()
        .await;
    // Nothing runs on these: their release was lost.
    let procs = idle.into_iter().map(|proc| proc.proc).collect();
    finish_lost(shared, Stopped { procs, ..Stopped::default() }).await;
    give_up(shared, &lost, age, |counts, orphans| counts.orphan_procs += orphans).await
}

async fn sweep_frames(shared: &Shared, maintenance: &Maintenance) -> Result<(), sqlx::Error> {
    let age = maintenance.frame_orphan_after.as_secs_f64();
    let statement = query(include_str!("../sql/cuebot_stale_frames.sql")).bind(age).bind(SWEPT_MAX);
    let mut lost = Vec::new();
    for row in statement.fetch_all(&shared.pool).await? {
        let (frame, host): (String, String) = (row.try_get("pk_frame")?, row.try_get("host_name")?);
        // Without a host it never ran.
        let is_gone = host.is_empty() || is_gone(shared, &host, &frame).await;
        let state = if is_gone { "WAITING" } else { "DEAD" };
        lost.push(Lost { frame, proc: None, state, exit_status: ORPHAN });
    }
    give_up(shared, &lost, age, |counts, orphans| counts.orphan_frames += orphans).await
}

async fn give_up(
    shared: &Shared,
    lost: &[Lost],
    silent_seconds: f64,
    count: impl FnOnce(&mut CuebotCounts, usize),
) -> Result<(), sqlx::Error> {
    if lost.is_empty() {
        return Ok(());
    }
    let stopped = stop_lost(&shared.pool, lost, silent_seconds).await?;
    shared.count(|counts| count(counts, stopped.runs.len()));
    finish_lost(shared, stopped).await;
    Ok(())
}

struct StaleProc {
    proc: String,
    frame: Option<String>,
    host: String,
    is_host_up: bool,
    silent_seconds: f64,
}

impl StaleProc {
    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            proc: row.try_get("pk_proc")?,
            frame: row.try_get("pk_frame")?,
            host: row.try_get("host_name")?,
            is_host_up: row.try_get("is_host_up")?,
            silent_seconds: row.try_get("silent_seconds")?,
        })
    }
}

/// What becomes of a run that nobody reports: back to the queue once it is certain that it does not
/// run, and dead when its host lives and never says so. `None`: not yet.
async fn fate_of(shared: &Shared, stale: StaleProc, kept_until: f64) -> Option<Lost> {
    let frame = stale.frame?;
    let (outcome, exit_status) = if !stale.is_host_up {
        ("WAITING", HOST_DOWN)
    } else if is_gone(shared, &stale.host, &frame).await {
        ("WAITING", ORPHAN)
    } else if stale.silent_seconds > kept_until {
        ("DEAD", ORPHAN)
    } else {
        return None;
    };
    Some(Lost { frame, proc: Some(stale.proc), state: outcome, exit_status })
}

/// Whether the host says that the frame does not run, after it was told to kill it. Without agents to
/// call there is nobody to ask.
async fn is_gone(shared: &Shared, host: &str, frame: &str) -> bool {
    let Some(agents) = shared.agents() else { return true };
    shared.count(|counts| counts.kills += 1);
    agents.kill(host, &FrameId::new(frame), "Cuebot has lost this run").await.is_ok()
}
