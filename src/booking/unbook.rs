//! Taking bookings back.

use std::collections::HashSet;

use super::error::BookingError;
use super::outcome::{LostReason, UnbookCause, UnbookOutcome};
use super::parts::{self, Batch, Failure};
use crate::db::book::unbook::{Fence, Fenced, claim, delete_procs, put_back};
use crate::db::book::{LockedRows, counters};
use crate::db::{CommitError, Store, StoreError, Tx};
use crate::model::{Booked, ProcId};

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

/// As [`unbook`], each booking with what must still hold of it.
///
/// # Errors
/// As those of [`unbook`].
pub async fn unbook_fenced(
    store: &Store,
    bookings: &[Fenced<'_>],
    cause: UnbookCause,
) -> Result<UnbookOutcome, BookingError> {
    let mut work = Work { store, cause, outcome: UnbookOutcome::default() };
    parts::run(&mut work, bookings.to_vec()).await?;
    let outcome = work.outcome;
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

/// A batch on its way, with what has come of its parts.
struct Work<'w> {
    store: &'w Store,
    cause: UnbookCause,
    outcome: UnbookOutcome,
}

impl<'b> Batch<Fenced<'b>> for Work<'_> {
    async fn attempt(&mut self, bookings: &[Fenced<'b>]) -> Result<Vec<Fenced<'b>>, Failure> {
        let mut tx = Tx::writing(self.store).await?;
        tx.holds_rows();
        let written = write(&mut tx, bookings, self.cause).await;
        let (tx, unbooked) = tx.unless_failed(written).await?;
        tx.commit().await.map_err(CommitError::either)?;
        let (taken, left): (Vec<_>, Vec<_>) = procs_of(bookings).partition(|proc| unbooked.contains(proc));
        self.outcome.unbooked.extend(taken);
        self.outcome.left_alone.extend(left);
        Ok(Vec::new())
    }

    async fn without_locked(&mut self, bookings: &[Fenced<'b>]) -> Result<Vec<Fenced<'b>>, StoreError> {
        let rows = bookings.iter().map(|(booked, _)| (&booked.host, &booked.layer, &booked.job));
        let locked = LockedRows::find(self.store, rows).await?;
        let (free, held): (Vec<Fenced<'b>>, Vec<Fenced<'b>>) =
            bookings.iter().partition(|(booked, _)| locked.leaves_free(booked));
        self.outcome.locked.extend(procs_of(&held));
        Ok(free)
    }

    fn set_aside(&mut self, bookings: &[Fenced<'b>], _: LostReason) {
        self.outcome.locked.extend(procs_of(bookings));
    }

    fn refused(&mut self, (booked, _): Fenced<'b>, error: &StoreError) {
        tracing::warn!(
            proc = %booked.proc, frame = %booked.frame, host = %booked.host_name,
            step = error.step(), error = %error.cause(),
            "the database refuses to take a booking back; it stands until the row is mended"
        );
        self.outcome.refused.push(booked.proc.clone());
    }
}

fn procs_of(bookings: &[Fenced<'_>]) -> impl Iterator<Item = ProcId> {
    bookings.iter().map(|(booked, _)| booked.proc.clone())
}

/// All statements between BEGIN and COMMIT, in the order of locks of a booking. The procs go before
/// the frames change, as only a frame whose proc was still there may be put back; the frame counters
/// are held by then.
async fn write(tx: &mut Tx<'_>, bookings: &[Fenced<'_>], cause: UnbookCause) -> Result<HashSet<ProcId>, StoreError> {
    let (with_frame, frameless): (Vec<Fenced<'_>>, Vec<Fenced<'_>>) =
        bookings.iter().partition(|(_, fence)| fence.has_frame());
    let held = if with_frame.is_empty() { HashSet::new() } else { claim(tx, &with_frame).await? };
    let with_frame = with_frame.into_iter().filter(|(booked, _)| held.contains(&booked.proc));
    let bookings: Vec<Fenced<'_>> = with_frame.chain(frameless).collect();
    if bookings.is_empty() {
        return Ok(HashSet::new());
    }
    if !held.is_empty() {
        counters::lock_stats(tx, bookings.iter().map(|(booked, _)| (&booked.layer, &booked.job))).await?;
    }
    let deleted = delete_procs(tx, &bookings).await?;
    let frames = bookings.iter().filter(|(booked, fence)| fence.has_frame() && deleted.procs.contains(&booked.proc));
    let frames: Vec<Fenced<'_>> = frames.copied().collect();
    if !frames.is_empty() {
        put_back(tx, &frames, cause.exit_status()).await?;
    }

    // A row that is missing here has nothing to be given back to.
    let totals = &deleted.given_back;
    let hosts = counters::hosts(tx, totals).await?;
    if !hosts.skipped.is_empty() {
        return Err(StoreError::held("giving back to hosts"));
    }
    counters::subscriptions(tx, totals, &hosts.written).await?;
    counters::layers(tx, totals).await?;
    counters::jobs(tx, totals).await?;
    counters::folders(tx, totals).await?;
    counters::points(tx, totals).await?;
    Ok(deleted.procs)
}
