//! Giving back what shall not run, or does not.

use std::collections::HashSet;
use std::time::{Duration, Instant};

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

impl Launcher {
    /// Takes bookings back in batches. What needs a row that another session holds waits for its next
    /// try on its own, and holds up nothing else.
    pub(super) async fn run_take_back(self, stop: CancellationToken) {
        let mut pauses = retry_pauses();
        let mut pause = GATHER;
        while sleep_or_stop(pause, &stop).await {
            if self.take_back_due(Instant::now()).await {
                pauses.reset();
                pause = GATHER;
            } else {
                pause = pauses.next_pause();
            }
        }
        // What is held has a last try, whether it is due or not.
        self.take_back_due(Instant::now() + Duration::from_hours(1)).await;
    }

    /// Returns whether all is done that can be done now.
    async fn take_back_due(&self, until: Instant) -> bool {
        let due = self.shared.in_hand.lock().due_to_take_back(until);
        for (cause, bookings) in due {
            for batch in bookings.chunks(BATCH_MAX) {
                if !self.take_back(batch, cause).await {
                    return false;
                }
            }
        }
        true
    }

    /// Returns whether all is done that can be done now.
    async fn take_back(&self, batch: &[(Booked, Fence)], cause: UnbookCause) -> bool {
        let bookings: Vec<(&Booked, Fence)> = batch.iter().map(|(booked, fence)| (booked, *fence)).collect();
        let held: HashSet<ProcId> = match booking::unbook_fenced(&self.shared.context.store, &bookings, cause).await {
            Ok(outcome) => {
                log(batch, &outcome.unbooked, cause);
                self.shared.totals.unbooked(outcome.unbooked.len());
                self.shared.context.metrics.unbooked(cause.as_str(), outcome.unbooked.len() as u64);
                outcome.locked.into_iter().collect()
            }
            Err(error) => {
                let (chain, bookings) = (error_chain(&error), batch.len());
                tracing::warn!(error = chain, bookings, "cannot take bookings back yet; trying again");
                if !matches!(error, BookingError::Database { .. }) {
                    return false;
                }
                // Not a matter of waiting: left to the recovery, which asks the hosts first.
                HashSet::new()
            }
        };
        for (booked, _) in batch {
            self.feed(booked, if held.contains(&booked.proc) { Event::RowsHeld } else { Event::Released });
        }
        true
    }
}

fn log(batch: &[(Booked, Fence)], unbooked: &[ProcId], cause: UnbookCause) {
    let unbooked: HashSet<&ProcId> = unbooked.iter().collect();
    for (Booked { frame, host_name, proc, .. }, _) in batch.iter().filter(|(booked, _)| unbooked.contains(&booked.proc))
    {
        tracing::debug!(target: "scheduler", %frame, host = host_name, %proc, cause = cause.as_str(), "gave a booking back");
    }
}
