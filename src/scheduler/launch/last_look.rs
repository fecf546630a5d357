//! What the rows say of bookings right before their launch, asked for many at once.
//!
//! Between a commit and its launch seconds may pass, since agents take calls one after the other. In
//! that time an operator eats or retries the frame, pauses or kills its job.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;

use super::{Launcher, Question, retry_pauses};
use crate::booking::{self, Standing};
use crate::model::Booked;
use crate::tasks::sleep_or_stop;
use crate::telemetry::error_chain;

/// Questions of launches that wait for the answer are gathered for so long.
const GATHER: Duration = Duration::from_millis(10);
pub(super) const BATCH_MAX: usize = 1_000;

impl Launcher {
    /// Waits for as long as the database is away.
    pub(super) async fn last_look(&self, booked: &Booked) -> Standing {
        let (answer, answered) = oneshot::channel();
        let question = Question { booked: booked.clone(), answer };
        if self.shared.last_looks.send(question).is_ok()
            && let Ok(standing) = answered.await
        {
            return standing;
        }
        // The process ends. What is not sent by then is settled by the next start.
        std::future::pending().await
    }

    pub(super) async fn run_last_looks(self, asked: mpsc::UnboundedReceiver<Question>, stop: CancellationToken) {
        let mut batches = pin!(UnboundedReceiverStream::new(asked).chunks_timeout(BATCH_MAX, GATHER));
        while let Some(Some(batch)) = stop.run_until_cancelled(batches.next()).await {
            self.answer(batch, &stop).await;
        }
    }

    async fn answer(&self, mut batch: Vec<Question>, stop: &CancellationToken) {
        let mut pauses = retry_pauses();
        loop {
            // Who asked may have given up meanwhile.
            batch.retain(|question| !question.answer.is_closed());
            if batch.is_empty() {
                return;
            }
            let bookings: Vec<&Booked> = batch.iter().map(|question| &question.booked).collect();
            match booking::find_overtaken(&self.shared.context.store, &bookings).await {
                Ok(overtaken) => {
                    for Question { booked, answer } in batch {
                        let standing = overtaken.get(&booked.proc).copied().unwrap_or(Standing::Stands);
                        // Nobody waits for it any more.
                        let _ = answer.send(standing);
                    }
                    return;
                }
                Err(error) => tracing::debug!(error = error_chain(&error), "cannot look at the rows of launches now"),
            }
            if !sleep_or_stop(pauses.next_pause(), stop).await {
                return;
            }
        }
    }
}
