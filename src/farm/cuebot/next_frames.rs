//! The habit of Cuebot that a scheduler beside it has to live with: a proc whose frame ended gets the
//! next frame of the same job, whoever booked it.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::{PgPool, Row as _, query};

use super::Shared;
use super::options::NextFrames;
use super::stop::Stopped;
use crate::booking::{UnbookCause, find_booked, unbook};
use crate::db::Store;
use crate::model::{Booked, ProcId, Timestamp};
use crate::rqd::proto::rqd::RunFrame;
use crate::rqd::{Agents, LaunchOutcome, MemoryLimitFactors, build_run_frame};

/// Puts next frames on the procs of a batch where there are any, and takes those procs out of it.
/// Launches follow in the background.
pub(super) async fn go_on(shared: &Arc<Shared>, stopped: &mut Stopped) {
    let (NextFrames::SameJob, Some(agents), Some(store)) = (shared.options.next_frames, shared.agents(), &shared.store)
    else {
        return;
    };
    let mut busy = HashSet::new();
    for proc in &stopped.may_go_on {
        match start(&shared.pool, proc).await {
            Ok(true) => {
                busy.insert(proc.clone());
                shared.count(|counts| counts.next_frames += 1);
                let launching = Box::pin(launch(store.clone(), agents.clone(), ProcId::new(proc)));
                let stop = shared.tasks.stop_signal();
                shared.tasks.spawn("cuebot next frame", async move {
                    stop.run_until_cancelled(launching).await;
                });
            }
            Ok(false) => {}
            // The proc is released then, which is as good.
            Err(error) => tracing::debug!(proc, %error, "could not go on with a next frame"),
        }
    }
    stopped.procs.retain(|proc| !busy.contains(proc));
}

/// One transaction. Whether the proc runs a frame again.
async fn start(pool: &PgPool, proc: &str) -> Result<bool, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let statement = query(include_str!("../sql/cuebot_next_frame.sql")).bind(proc);
    let Some(next) = statement.fetch_optional(&mut *tx).await? else { return Ok(false) };
    let (frame, layer, job): (String, String, String) =
        (next.try_get("pk_frame")?, next.try_get("pk_layer")?, next.try_get("pk_job")?);
    let statement = query(include_str!("../sql/cuebot_lock_layer_stats.sql")).bind([&layer]);
    statement.execute(&mut *tx).await?;
    let statement = query(include_str!("../sql/cuebot_lock_job_stats.sql")).bind([&job]);
    statement.execute(&mut *tx).await?;
    let statement = query(include_str!("../sql/cuebot_start_frame.sql")).bind(&frame).bind(proc);
    let started = statement.fetch_optional(&mut *tx).await?;
    let statement = query(include_str!("../sql/cuebot_reuse_proc.sql")).bind(proc).bind(&frame).bind(&layer);
    let reused = statement.execute(&mut *tx).await?.rows_affected();
    if started.is_none() || reused == 0 {
        tx.rollback().await?;
        return Ok(false);
    }
    tx.commit().await?;
    Ok(true)
}

/// Launches what a proc holds. What certainly does not run goes back to the queue; what may run is left
/// to the reports and the sweep.
pub(super) async fn launch(store: Store, agents: Agents, proc: ProcId) {
    let Some((booked, frame)) = message(&store, &proc).await else { return };
    let outcome = agents.launch(&booked.host_name, frame).await;
    if matches!(outcome, LaunchOutcome::Launched | LaunchOutcome::Unknown(_)) {
        return;
    }
    tracing::debug!(%proc, outcome = outcome.into_str(), "a next frame was not launched");
    if let Err(error) = unbook(&store, &[booked], UnbookCause::LaunchRefused).await {
        tracing::debug!(%proc, %error, "could not take a next frame back");
    }
}

async fn message(store: &Store, proc: &ProcId) -> Option<(Booked, RunFrame)> {
    let booked = find_booked(store, std::slice::from_ref(proc)).await.ok()?.pop()?;
    let launches = store.load_layer_launches(std::slice::from_ref(&booked.layer)).await.ok()?;
    let launch = launches.by_layer.get(&booked.layer)?;
    let frame = build_run_frame(launch, &booked, Timestamp::now_utc(), &MemoryLimitFactors::default()).ok()?;
    Some((booked, frame))
}
