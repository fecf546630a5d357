//! A batch in transactions: as a whole, and where a row of it is held or refused in parts, so that what needs
//! that row is set aside and the rest goes on. A row that is held is no error.

use std::time::{Duration, Instant};

use rand::RngExt as _;

use super::error::BookingError;
use super::outcome::LostReason;
use crate::db::{StoreError, Trouble};

/// Attempts at one transaction before it is cut up for its deadlocks and serialization failures.
const ATTEMPTS_MAX: u32 = 8;

/// Longest time for a batch in which rows are held or refused; the rest is left for another time.
const BATCH_LIMIT: Duration = Duration::from_secs(2);

/// What is done in transactions, and what becomes of items that cannot be.
pub(super) trait Batch<T: Copy> {
    /// Tries items in one transaction. What is to be tried again comes back.
    async fn attempt(&mut self, items: &[T]) -> Result<Vec<T>, Failure>;

    /// Sets aside what needs a row that another session holds, and returns the rest.
    async fn without_locked(&mut self, items: &[T]) -> Result<Vec<T>, StoreError>;

    /// A transaction came to nothing.
    fn rolled_back(&mut self) {}

    /// The budget ran out although nobody holds a row.
    fn halved(&mut self) {}

    /// Leaves items for another time.
    fn set_aside(&mut self, items: &[T], reason: LostReason);

    /// The database refuses to write one item.
    fn refused(&mut self, item: T, error: &StoreError);
}

/// How a transaction failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) enum Failure {
    /// It was not committed; the same again, or parts of it, may pass.
    Step(#[from] StoreError),
    /// For good.
    Batch(#[from] BookingError),
}

/// Items that are tried in one transaction.
struct Part<T> {
    items: Vec<T>,
    /// Deadlocks and serialization failures that they met.
    collisions: u32,
}

impl<T> Part<T> {
    /// The first half comes last, to be tried first.
    fn halves(mut self) -> Vec<Self> {
        let second = self.items.split_off(self.items.len() / 2);
        vec![Self { items: second, ..self }, self]
    }
}

/// Tries part after part until nothing is left or the time is over: what one held or refused row costs is
/// bounded, for the batch and so for the pass.
pub(super) async fn run<T: Copy>(batch: &mut impl Batch<T>, items: Vec<T>) -> Result<(), BookingError> {
    let until = Instant::now() + BATCH_LIMIT;
    let mut parts = vec![Part { items, collisions: 0 }];
    while let Some(part) = parts.pop() {
        if part.items.is_empty() {
            continue;
        }
        if Instant::now() >= until {
            batch.set_aside(&part.items, LostReason::NotTried);
            continue;
        }
        match batch.attempt(&part.items).await {
            Ok(items) => parts.push(Part { items, ..part }),
            Err(Failure::Step(error)) => {
                batch.rolled_back();
                parts.extend(after(batch, part, error).await?);
            }
            Err(Failure::Batch(error)) => return Err(error),
        }
    }
    Ok(())
}

/// What is left of a part after a failure, the last to be tried first.
async fn after<T: Copy>(
    batch: &mut impl Batch<T>,
    part: Part<T>,
    error: StoreError,
) -> Result<Vec<Part<T>>, BookingError> {
    let collisions = part.collisions + 1;
    match (error.trouble(), &part.items[..]) {
        (Trouble::Contention, _) if !error.is_over_limit() && collisions < ATTEMPTS_MAX => {
            wait_with_jitter(collisions).await;
            Ok(vec![Part { collisions, ..part }])
        }
        // It waited in vain, or met the same again and again, as where a site's trigger does not wait for locks.
        (Trouble::Contention, items) => {
            let free = batch.without_locked(items).await?;
            if free.len() < items.len() {
                return Ok(vec![Part { items: free, ..part }]);
            }
            if items.len() == 1 {
                batch.set_aside(items, LostReason::RowLocked);
                return Ok(Vec::new());
            }
            batch.halved();
            Ok(part.halves())
        }
        (Trouble::Row, [item]) => {
            batch.refused(*item, &error);
            Ok(Vec::new())
        }
        (Trouble::Row, _) => Ok(part.halves()),
        _ => Err(BookingError::after(error, collisions)),
    }
}

/// Waits before the next attempt after a deadlock: longer each time, and never the same for two who
/// collided.
async fn wait_with_jitter(attempt: u32) {
    let bound = 20_u64 << attempt.min(5);
    let pause = rand::rng().random_range(1..=bound);
    tokio::time::sleep(Duration::from_millis(pause)).await;
}
