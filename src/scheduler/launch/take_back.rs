//! Giving back what shall not run, or does not.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;

use super::machine::Event;
use super::{Launcher, retry_pauses};
use crate::booking::{self, BookingError, Fence, UnbookCause};
use crate::model::{Booked, ProcId};
use crate::tasks::sleep_or_stop;
use crate::telemetry::error_chain;

/// Bookings to take back are gathered for this long, so that a host that refuses a hundred frames
/// costs one transaction.
const GATHER: Duration = Duration::from_millis(50);
const BATCH_MAX: usize = 200;
/// Until a booking of which another session holds a row is tried again.
const HELD_PAUSE: Duration = Duration::from_secs(1);

/// A booking to take back, and what must still hold for that.
#[derive(Clone, Debug)]
pub(super) struct TakeBack {
    pub(super) booked: Booked,
    pub(super) cause: UnbookCause,
    pub(super) fence: Fence,
}

impl Launcher {
    /// Takes bookings back in batches. What needs a row that another session holds waits for its next
    /// try on its own, and holds up nothing else.
    pub(super) async fn run_take_back(self, arriving: mpsc::UnboundedReceiver<TakeBack>, stop: CancellationToken) {
        let mut batches = pin!(UnboundedReceiverStream::new(arriving).chunks_timeout(BATCH_MAX, GATHER));
        while let Some(Some(batch)) = stop.run_until_cancelled(batches.next()).await {
            let mut by_cause: HashMap<UnbookCause, Vec<TakeBack>> = HashMap::new();
            for take_back in batch {
                by_cause.entry(take_back.cause).or_default().push(take_back);
            }
            for (cause, batch) in by_cause {
                let held = self.until_done(batch, cause, &stop).await;
                if !held.is_empty() {
                    let take_backs = self.shared.take_backs.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(HELD_PAUSE).await;
                        // Without a receiver the process ends.
                        held.into_iter().for_each(|take_back| _ = take_backs.send(take_back));
                    });
                }
            }
        }
    }

    /// Returns those of which another session holds a row.
    async fn until_done(
        &self,
        mut batch: Vec<TakeBack>,
        cause: UnbookCause,
        stop: &CancellationToken,
    ) -> Vec<TakeBack> {
        let mut pauses = retry_pauses();
        loop {
            let bookings: Vec<(&Booked, Fence)> = batch.iter().map(|one| (&one.booked, one.fence)).collect();
            let error = match booking::unbook_fenced(&self.shared.store, &bookings, cause).await {
                Ok(outcome) => {
                    self.shared.totals.unbooked(outcome.unbooked.len());
                    self.shared.metrics.unbooked(cause.as_str(), outcome.unbooked.len() as u64);
                    let locked: HashSet<ProcId> = outcome.locked.into_iter().collect();
                    self.release(batch.extract_if(.., |one| !locked.contains(&one.booked.proc)));
                    return batch;
                }
                Err(error) => error,
            };
            let bookings = batch.len();
            tracing::warn!(error = error_chain(&error), bookings, "cannot take bookings back yet; trying again");
            if matches!(error, BookingError::Database { .. }) {
                // Not a matter of waiting: left to the recovery, which asks the hosts first.
                self.release(batch);
                return Vec::new();
            }
            if !sleep_or_stop(pauses.wait(), stop).await {
                return Vec::new();
            }
        }
    }

    fn release(&self, ended: impl IntoIterator<Item = TakeBack>) {
        for TakeBack { booked, .. } in ended {
            self.feed(&booked, Event::Released);
        }
    }
}
