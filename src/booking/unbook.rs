//! Taking bookings back.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use sqlx::query;

use super::counters;
use super::error::{BookingError, StepError, Trouble};
use super::locked::Locked;
use super::outcome::{UnbookCause, UnbookOutcome};
use super::totals::Totals;
use super::tx::{ATTEMPTS_MAX, CommitError, Tx, amounts, id, wait_with_jitter};
use crate::db::Store;
use crate::model::{Booked, ProcId, Timestamp};
use crate::units::Amounts;

/// Longest time for a batch in which rows are held or refused; the rest is left for a later call.
const BATCH_LIMIT: Duration = Duration::from_secs(2);

/// Takes bookings back: procs deleted, what they held given back, frames WAITING with exit status 299
/// and no history of the run. One transaction, or several where a row of the batch is held or refused:
/// what needs that row is set aside, and the rest goes on.
///
/// Only bookings that are still as they were written: the frame RUNNING with the version that the
/// booking wrote and the proc still on it. Anything else ended meanwhile and is left alone, so
/// calling this again, or after an error, does no harm.
///
/// # Errors
/// What is not in the outcome was not written, or the answer to its commit was lost; repeat in both
/// cases.
pub async fn unbook(store: &Store, bookings: &[Booked], cause: UnbookCause) -> Result<UnbookOutcome, BookingError> {
    let bookings: Vec<(&Booked, Fence)> = bookings.iter().map(|booked| (booked, Fence::Version)).collect();
    unbook_fenced(store, &bookings, cause).await
}

/// What must still hold of a booking when it is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// The frame has the version that the booking wrote.
    Version,
    /// And nobody has reported the proc since.
    Unmoved(Timestamp),
    /// The proc has no frame, and nobody has reported it since. There is no frame to put back.
    Frameless(Timestamp),
}

impl Fence {
    const fn last_sign(self) -> Option<Timestamp> {
        match self {
            Self::Version => None,
            Self::Unmoved(last_sign) | Self::Frameless(last_sign) => Some(last_sign),
        }
    }

    const fn has_frame(self) -> bool {
        !matches!(self, Self::Frameless(_))
    }
}

type Fenced<'b> = (&'b Booked, Fence);

/// As [`unbook`], each booking with what must still hold of it.
///
/// # Errors
/// As those of [`unbook`].
pub async fn unbook_fenced(
    store: &Store,
    bookings: &[Fenced<'_>],
    cause: UnbookCause,
) -> Result<UnbookOutcome, BookingError> {
    let mut outcome = UnbookOutcome::default();
    let until = Instant::now() + BATCH_LIMIT;
    let mut parts = vec![Part { bookings: bookings.to_vec(), collisions: 0 }];
    while let Some(part) = parts.pop() {
        if part.bookings.is_empty() {
            continue;
        }
        if Instant::now() >= until {
            outcome.locked.extend(procs_of(&part.bookings));
            continue;
        }
        let error = match attempt(store, &part.bookings, cause).await {
            Ok(unbooked) => {
                for proc in procs_of(&part.bookings) {
                    let list = if unbooked.contains(&proc) { &mut outcome.unbooked } else { &mut outcome.left_alone };
                    list.push(proc);
                }
                continue;
            }
            Err(error) => error,
        };
        match (error.trouble(), &part.bookings[..]) {
            (Trouble::Contention, _) if !error.is_over_limit && part.collisions + 1 < ATTEMPTS_MAX => {
                wait_with_jitter(part.collisions + 1).await;
                parts.push(Part { collisions: part.collisions + 1, ..part });
            }
            (Trouble::Contention, _) => {
                let bookings: Vec<&Booked> = part.bookings.iter().map(|(booked, _)| *booked).collect();
                let locked = Locked::rows_of_booked(store, &bookings).await.map_err(|error| error.after(1))?;
                let (free, held): (Vec<Fenced<'_>>, Vec<Fenced<'_>>) =
                    part.bookings.iter().partition(|(booked, _)| locked.leaves_free(booked));
                if held.is_empty() && free.len() > 1 {
                    parts.extend(part.halves());
                } else if held.is_empty() {
                    outcome.locked.extend(procs_of(&free));
                } else {
                    outcome.locked.extend(procs_of(&held));
                    parts.push(Part { bookings: free, ..part });
                }
            }
            (Trouble::Row, [(booked, _)]) => {
                tracing::warn!(
                    proc = %booked.proc, frame = %booked.frame, host = %booked.host_name,
                    step = error.step, error = %error.source,
                    "the database refuses to take a booking back; it stands until the row is mended"
                );
                outcome.refused.push(booked.proc.clone());
            }
            (Trouble::Row, _) => parts.extend(part.halves()),
            _ => return Err(error.after(part.collisions + 1)),
        }
    }
    tracing::info!(
        cause = cause.as_str(),
        unbooked = outcome.unbooked.len(),
        left_alone = outcome.left_alone.len(),
        refused = outcome.refused.len(),
        locked = outcome.locked.len(),
        "took bookings back"
    );
    Ok(outcome)
}

/// Bookings that are taken back in one transaction.
struct Part<'b> {
    bookings: Vec<Fenced<'b>>,
    /// Deadlocks and serialization failures that it met.
    collisions: u32,
}

impl Part<'_> {
    fn halves(mut self) -> [Self; 2] {
        let second = self.bookings.split_off(self.bookings.len() / 2);
        [Self { bookings: second, ..self }, self]
    }
}

fn procs_of(bookings: &[Fenced<'_>]) -> Vec<ProcId> {
    bookings.iter().map(|(booked, _)| booked.proc.clone()).collect()
}

async fn attempt(store: &Store, bookings: &[Fenced<'_>], cause: UnbookCause) -> Result<HashSet<ProcId>, StepError> {
    let mut tx = Tx::begin(store).await?;
    tx.holds_rows();
    let unbooked = match write(&mut tx, bookings, cause).await {
        Ok(unbooked) => unbooked,
        Err(error) => {
            // Frees the locks before anybody waits; a connection too broken for it has none left.
            let _ = tx.rollback().await;
            return Err(error);
        }
    };
    match tx.commit().await {
        Ok(()) => Ok(unbooked),
        Err(CommitError::RolledBack(error)) => Err(error),
        Err(CommitError::Unknown(source)) => Err(StepError::new("committing", source)),
    }
}

/// All statements between BEGIN and COMMIT, in the order of locks of a booking. The procs go before
/// the frames change, as only a frame whose proc was still there may be put back; the frame counters
/// are held by then.
async fn write(tx: &mut Tx, bookings: &[Fenced<'_>], cause: UnbookCause) -> Result<HashSet<ProcId>, StepError> {
    let (with_frame, frameless): (Vec<Fenced<'_>>, Vec<Fenced<'_>>) =
        bookings.iter().partition(|(_, fence)| fence.has_frame());
    let held = if with_frame.is_empty() { HashSet::new() } else { claim(tx, &with_frame).await? };
    let with_frame = with_frame.into_iter().filter(|(booked, _)| held.contains(&booked.proc));
    let bookings: Vec<Fenced<'_>> = with_frame.chain(frameless).collect();
    if bookings.is_empty() {
        return Ok(HashSet::new());
    }
    if !held.is_empty() {
        counters::lock_stats(
            tx,
            bookings.iter().map(|(booked, _)| booked.layer.as_str()),
            bookings.iter().map(|(booked, _)| booked.job.as_str()),
        )
        .await?;
    }
    let deleted = delete_procs(tx, &bookings).await?;
    let frames: Vec<&str> = bookings
        .iter()
        .filter(|(booked, fence)| fence.has_frame() && deleted.procs.contains(&booked.proc))
        .map(|(booked, _)| booked.frame.as_str())
        .collect();
    if !frames.is_empty() {
        let statement = query(include_str!("../db/sql/unbook_checkpoints.sql"));
        tx.execute("switching checkpoints off", statement.bind(&frames)).await?;
        let statement = query(include_str!("../db/sql/unbook_frames.sql"));
        tx.execute("putting frames back", statement.bind(&frames).bind(cause.exit_status())).await?;
    }

    // A row that is missing here has nothing to be given back to.
    let totals = &deleted.given_back;
    let hosts = counters::hosts(tx, totals).await?;
    if !hosts.skipped.is_empty() {
        return Err(StepError::held("giving back to hosts"));
    }
    counters::subscriptions(tx, totals, &hosts.written).await?;
    counters::layers(tx, totals).await?;
    counters::jobs(tx, totals).await?;
    counters::folders(tx, totals).await?;
    counters::points(tx, totals).await?;
    Ok(deleted.procs)
}

async fn claim(tx: &mut Tx, bookings: &[Fenced<'_>]) -> Result<HashSet<ProcId>, StepError> {
    let statement = query(include_str!("../db/sql/unbook_claim.sql"))
        .bind(bookings.iter().map(|(booked, _)| booked.proc.as_str()).collect::<Vec<_>>())
        .bind(bookings.iter().map(|(booked, _)| booked.frame.as_str()).collect::<Vec<_>>())
        .bind(bookings.iter().map(|(booked, _)| booked.version).collect::<Vec<_>>())
        .bind(bookings.iter().map(|(_, fence)| fence.last_sign()).collect::<Vec<_>>());
    let rows = tx.read("claiming booked frames", statement).await?;
    rows.iter().map(|row| id(row, "pk_proc")).collect()
}

struct Deleted {
    procs: HashSet<ProcId>,
    /// What the rows held, negative.
    given_back: Totals,
}

async fn delete_procs(tx: &mut Tx, bookings: &[Fenced<'_>]) -> Result<Deleted, StepError> {
    let frame = |(booked, fence): &Fenced<'_>| fence.has_frame().then(|| booked.frame.to_string());
    let statement = query(include_str!("../db/sql/unbook_procs.sql"))
        .bind(bookings.iter().map(|(booked, _)| booked.proc.as_str()).collect::<Vec<_>>())
        .bind(bookings.iter().map(frame).collect::<Vec<_>>())
        .bind(bookings.iter().map(|(_, fence)| fence.last_sign()).collect::<Vec<_>>());
    let booking_of: HashMap<&str, &Booked> = bookings.iter().map(|(b, _)| (b.proc.as_str(), *b)).collect();
    let mut deleted = Deleted { procs: HashSet::new(), given_back: Totals::default() };
    for row in &tx.write("deleting procs", statement).await? {
        let proc: ProcId = id(row, "pk_proc")?;
        if let Some(booked) = booking_of.get(proc.as_str()) {
            let held = Amounts::default() - amounts(row)?;
            deleted.given_back.add(&id(row, "pk_host")?, &booked.show, &booked.job, &booked.layer, held);
        }
        deleted.procs.insert(proc);
    }
    Ok(deleted)
}
