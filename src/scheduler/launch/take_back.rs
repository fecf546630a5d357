//! Giving back what shall not run, or does not.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Launcher, RETRY_PAUSE_MAX};
use crate::booking::{self, BookingError, Fence, UnbookCause};
use crate::model::{Booked, ProcId};
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
    pub(super) async fn run_take_back(self, mut arriving: mpsc::UnboundedReceiver<TakeBack>, stop: CancellationToken) {
        let mut held: Vec<(Instant, TakeBack)> = Vec::new();
        loop {
            let mut batch = Vec::new();
            let next_try = held.iter().map(|(try_at, _)| *try_at).min();
            tokio::select! {
                received = arriving.recv_many(&mut batch, BATCH_MAX) => if received == 0 { return },
                () = sleep_until(next_try) => {}
                () = stop.cancelled() => if arriving.is_empty() && held.is_empty() { return },
            }
            if !stop.is_cancelled() && !batch.is_empty() {
                tokio::time::sleep(GATHER).await;
            }
            while batch.len() < BATCH_MAX {
                match arriving.try_recv() {
                    Ok(more) => batch.push(more),
                    Err(_) => break,
                }
            }
            let now = Instant::now();
            // The last try is made whether it is due or not.
            let due = held.extract_if(.., |(try_at, _)| *try_at <= now || stop.is_cancelled());
            batch.extend(due.map(|(_, take_back)| take_back));
            let mut by_cause: HashMap<UnbookCause, Vec<TakeBack>> = HashMap::new();
            for take_back in batch {
                by_cause.entry(take_back.cause).or_default().push(take_back);
            }
            for (cause, batch) in by_cause {
                let locked = self.until_done(batch, cause, &stop).await;
                if !stop.is_cancelled() {
                    let try_at = Instant::now() + HELD_PAUSE;
                    held.extend(locked.into_iter().map(|take_back| (try_at, take_back)));
                }
            }
        }
    }

    /// Returns those of which another session holds a row.
    async fn until_done(&self, batch: Vec<TakeBack>, cause: UnbookCause, stop: &CancellationToken) -> Vec<TakeBack> {
        let mut pause = Duration::from_millis(100);
        loop {
            let bookings: Vec<(&Booked, Fence)> = batch.iter().map(|one| (&one.booked, one.fence)).collect();
            match booking::unbook_fenced(&self.shared.store, &bookings, cause).await {
                Ok(outcome) => {
                    self.shared.totals.unbooked(outcome.unbooked.len());
                    self.shared.metrics.unbooked(cause.as_str(), outcome.unbooked.len() as u64);
                    let locked: HashSet<ProcId> = outcome.locked.into_iter().collect();
                    let (locked, done): (Vec<TakeBack>, Vec<TakeBack>) =
                        batch.into_iter().partition(|one| locked.contains(&one.booked.proc));
                    self.forget(done.iter().map(|one| &one.booked.proc));
                    return locked;
                }
                Err(error) => {
                    tracing::warn!(
                        error = error_chain(&error),
                        bookings = batch.len(),
                        "cannot take bookings back yet; trying again"
                    );
                    if matches!(error, BookingError::Database { .. }) {
                        // Not a matter of waiting: left to the recovery, which asks the hosts first.
                        self.forget(batch.iter().map(|one| &one.booked.proc));
                        return Vec::new();
                    }
                }
            }
            if stop.is_cancelled() && pause >= RETRY_PAUSE_MAX {
                return Vec::new();
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }
}

/// Never, without a time.
async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
