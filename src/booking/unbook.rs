//! Taking bookings back.

use std::collections::{HashMap, HashSet};

use sqlx::query;

use super::counters;
use super::error::{BookingError, StepError, Trouble};
use super::outcome::{UnbookCause, UnbookOutcome};
use super::totals::Totals;
use super::tx::{ATTEMPTS_MAX, CommitError, Tx, amounts, id, wait_with_jitter};
use crate::model::{Booked, ProcId};
use crate::store::Store;
use crate::units::Amounts;

/// Takes bookings back in one transaction: procs deleted, what they held given back, frames WAITING
/// with exit status 299 and no history of the run.
///
/// Only bookings that are still as they were written: the frame RUNNING with the version that the
/// booking wrote and the proc still on it. Anything else ended meanwhile and is left alone, so
/// calling this again, or after an error, does no harm.
///
/// # Errors
/// Nothing was written, or the answer to the commit was lost; repeat in both cases.
pub async fn unbook(store: &Store, bookings: &[Booked], cause: UnbookCause) -> Result<UnbookOutcome, BookingError> {
    let mut outcome = UnbookOutcome::default();
    let mut kept: Vec<&Booked> = bookings.iter().collect();
    let mut attempts = 0;
    let unbooked = loop {
        let error = match attempt(store, &kept).await {
            Ok(unbooked) => break unbooked,
            Err(error) => error,
        };
        attempts += 1;
        match error.trouble() {
            Trouble::Contention if attempts < ATTEMPTS_MAX => wait_with_jitter(attempts).await,
            Trouble::Row if attempts < ATTEMPTS_MAX => {
                let refused = refused(store, &kept).await.map_err(|error| error.after(attempts))?;
                kept.retain(|booked| !refused.contains(&booked.proc));
                outcome.refused.extend(refused);
            }
            _ => return Err(error.after(attempts)),
        }
    };
    for booked in kept {
        let list = if unbooked.contains(&booked.proc) { &mut outcome.unbooked } else { &mut outcome.left_alone };
        list.push(booked.proc.clone());
    }
    tracing::info!(
        cause = cause.as_str(),
        unbooked = outcome.unbooked.len(),
        left_alone = outcome.left_alone.len(),
        refused = outcome.refused.len(),
        "took bookings back"
    );
    Ok(outcome)
}

async fn attempt(store: &Store, bookings: &[&Booked]) -> Result<HashSet<ProcId>, StepError> {
    if bookings.is_empty() {
        return Ok(HashSet::new());
    }
    let mut tx = Tx::begin(store).await?;
    let unbooked = match write(&mut tx, bookings).await {
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
        Err(CommitError::Unknown(source)) => Err(StepError { step: "committing", source }),
    }
}

/// Finds the bookings that make the database raise, by trying halves and rolling back.
async fn refused(store: &Store, bookings: &[&Booked]) -> Result<HashSet<ProcId>, StepError> {
    let mut refused = HashSet::new();
    let mut parts = vec![bookings];
    while let Some(part) = parts.pop() {
        let mut tx = Tx::begin(store).await?;
        let written = write(&mut tx, part).await;
        tx.rollback().await?;
        match (written, part) {
            (Ok(_), _) => {}
            (Err(error), _) if error.trouble() != Trouble::Row => return Err(error),
            (Err(error), [booked]) => {
                tracing::warn!(
                    proc = %booked.proc, frame = %booked.frame, host = %booked.host_name,
                    step = error.step, error = %error.source,
                    "the database refuses to take a booking back; it stands until the row is mended"
                );
                refused.insert(booked.proc.clone());
            }
            (Err(_), _) => {
                let (left, right) = part.split_at(part.len() / 2);
                parts.extend([right, left]);
            }
        }
    }
    Ok(refused)
}

/// All statements between BEGIN and COMMIT, in the order of locks of a booking. The procs go before
/// the frames change, as only a frame whose proc was still there may be put back; the frame counters
/// are held by then.
async fn write(tx: &mut Tx, bookings: &[&Booked]) -> Result<HashSet<ProcId>, StepError> {
    let held = claim(tx, bookings).await?;
    let bookings: Vec<&Booked> = bookings.iter().copied().filter(|booked| held.contains(&booked.proc)).collect();
    if bookings.is_empty() {
        return Ok(HashSet::new());
    }
    counters::lock_stats(
        tx,
        bookings.iter().map(|booked| booked.layer.as_str()),
        bookings.iter().map(|booked| booked.job.as_str()),
    )
    .await?;
    let deleted = delete_procs(tx, &bookings).await?;
    let frames: Vec<&str> =
        bookings.iter().filter(|booked| deleted.procs.contains(&booked.proc)).map(|b| b.frame.as_str()).collect();
    let statement = query(include_str!("../store/sql/unbook_checkpoints.sql"));
    tx.execute("switching checkpoints off", statement.bind(&frames)).await?;
    let statement = query(include_str!("../store/sql/unbook_frames.sql"));
    tx.execute("putting frames back", statement.bind(&frames)).await?;

    // A row that is missing here has nothing to be given back to.
    let totals = &deleted.given_back;
    let allocs = counters::hosts(tx, totals).await?;
    counters::subscriptions(tx, totals, &allocs).await?;
    counters::layers(tx, totals).await?;
    counters::jobs(tx, totals).await?;
    counters::folders(tx, totals).await?;
    counters::points(tx, totals).await?;
    Ok(deleted.procs)
}

async fn claim(tx: &mut Tx, bookings: &[&Booked]) -> Result<HashSet<ProcId>, StepError> {
    let statement = query(include_str!("../store/sql/unbook_claim.sql"))
        .bind(bookings.iter().map(|booked| booked.proc.as_str()).collect::<Vec<_>>())
        .bind(bookings.iter().map(|booked| booked.frame.as_str()).collect::<Vec<_>>())
        .bind(bookings.iter().map(|booked| booked.version).collect::<Vec<_>>());
    let rows = tx.read("claiming booked frames", statement).await?;
    rows.iter().map(|row| id(row, "pk_proc")).collect()
}

struct Deleted {
    procs: HashSet<ProcId>,
    /// What the rows held, negative.
    given_back: Totals,
}

async fn delete_procs(tx: &mut Tx, bookings: &[&Booked]) -> Result<Deleted, StepError> {
    let statement = query(include_str!("../store/sql/unbook_procs.sql"))
        .bind(bookings.iter().map(|booked| booked.proc.as_str()).collect::<Vec<_>>())
        .bind(bookings.iter().map(|booked| booked.frame.as_str()).collect::<Vec<_>>());
    let booking_of: HashMap<&str, &Booked> = bookings.iter().map(|b| (b.proc.as_str(), *b)).collect();
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
