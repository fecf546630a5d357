//! The habit of Cuebot that a scheduler beside it has to live with: a proc whose frame ended gets the
//! next frame of the same job, whoever booked it.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::{PgPool, Row as _, query};

use super::launches::{Launch, Start};
use super::options::NextFrames;
use super::shared::Shared;
use super::stop::Stopped;

/// Puts next frames on the procs of a batch where there are any, and takes those procs out of it.
/// Launches follow in the background.
pub(super) async fn go_on(shared: &Arc<Shared>, stopped: &mut Stopped) {
    let (NextFrames::SameJob, Some(agents)) = (shared.options.next_frames, shared.agents()) else { return };
    let mut busy = HashSet::new();
    for proc in &stopped.may_go_on {
        match start(&shared.pool, proc).await {
            Ok(Some(launch)) => {
                busy.insert(proc.clone());
                shared.count(|counts| counts.next_frames += 1);
                let (launcher, agents, stop) = (Arc::clone(shared), agents.clone(), shared.tasks.stop_signal());
                shared.tasks.spawn("cuebot next frame", async move {
                    stop.run_until_cancelled(Box::pin(launch.go(&launcher, &agents))).await;
                });
            }
            Ok(None) => {}
            // The proc is released then, which is as good.
            Err(error) => tracing::debug!(proc, %error, "could not go on with a next frame"),
        }
    }
    stopped.procs.retain(|proc| !busy.contains(proc));
}

/// One transaction. `None`: nothing is there for the proc to go on with.
async fn start(pool: &PgPool, proc: &str) -> Result<Option<Launch>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let statement = query(include_str!("../sql/cuebot_next_frame.sql")).bind(proc);
    let Some(next) = statement.fetch_optional(&mut *tx).await? else { return Ok(None) };
    let (start, layer) = (Start::of(&next)?, next.try_get::<&str, _>("pk_layer")?);
    let is_started = start.write(&mut tx).await?;
    let statement = query(include_str!("../sql/cuebot_reuse_proc.sql")).bind(proc).bind(&start.frame).bind(layer);
    if !is_started || statement.execute(&mut *tx).await?.rows_affected() == 0 {
        return Ok(None);
    }
    let launch = Launch::read(&mut tx, proc).await?;
    tx.commit().await?;
    Ok(Some(launch))
}
