//! The loop that asks the database for a sign of life, whatever the passes are doing.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::context::Context;
use crate::db::{Store, StoreError};
use crate::tasks::sleep_or_stop;
use crate::telemetry::{Condition, error_chain};

/// Between two questions.
const BEAT: Duration = Duration::from_secs(1);

/// Says whether the database answers and takes writes. Who waits for it hears when it is back, see
/// [`crate::db::Store::returns`].
pub(super) async fn run_database(context: Context, stop: CancellationToken) {
    let Context { store, metrics, health, .. } = context;
    let mut pulse = store.clone().pulse();
    let (mut is_missed, mut is_in_doubt) = (false, false);
    while sleep_or_stop(BEAT, &stop).await {
        let Some(beat) = stop.run_until_cancelled(pulse.beat()).await else { return };
        match beat {
            Ok(()) => {
                if std::mem::take(&mut is_missed) {
                    metrics.set_database_up(true);
                    health.clear(Condition::Database);
                    tracing::info!(target: "scheduler", "the database is back; going on");
                }
                let was_in_doubt = std::mem::replace(&mut is_in_doubt, store.is_schema_in_doubt());
                if is_in_doubt {
                    look_again(&store, was_in_doubt).await;
                }
            }
            Err(error) => {
                is_missed = true;
                metrics.set_database_up(false);
                let chain = error_chain(&error);
                let reason = match error {
                    StoreError::Standby { .. } => "read-only: it is a standby and takes no writes",
                    _ => "does not answer; the log says why",
                };
                if health.raise(Condition::Database, reason) {
                    tracing::error!(target: "scheduler", "the database is away: {chain}; pausing until it is back");
                }
            }
        }
    }
}

/// After that, statements are those for the schema as it is now.
pub(super) async fn look_at_schema(store: &Store) {
    look_again(store, false).await;
}

/// That it fails is told once as long as the doubt lasts.
async fn look_again(store: &Store, is_told: bool) {
    match store.look_at_schema().await {
        Ok(true) => {
            let schema = store.features().generation_guess();
            tracing::info!(target: "scheduler", schema, "the schema of the database changed; going on with the new one");
        }
        Ok(false) => {}
        Err(error) if is_told => tracing::debug!(error = error_chain(&error), "cannot look at the schema yet"),
        Err(error) => tracing::warn!(target: "scheduler", error = error_chain(&error), "cannot look at the schema now"),
    }
}
