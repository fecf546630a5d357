//! The booking transaction.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::error::{BookingError, UnknownCommit};
use super::fit::{split, without};
use super::outcome::{ChunkOutcome, Lost, LostReason, Refusal};
use super::parts::{self, Aside, Batch, Failure};
use crate::db::book::counters::{self, Totals};
use crate::db::book::remaining::load_remaining;
use crate::db::book::{self, LockedRows, lock_limits, steps};
use crate::db::{CommitError, Store, StoreError, Tx};
use crate::model::{Booked, BookingRequest, FrameId, LIMIT_SETTLE_WINDOW};
use crate::units::Cores;

/// How to book.
#[derive(Clone, Debug)]
pub struct BookOptions {
    /// Cuebot's `limit.settle_window_seconds`: how long a report of licence use may lag behind.
    pub limit_settle_window: Duration,
    /// Whether to look for hosts that other sessions hold before the transaction begins. Where none
    /// was held for long, the look costs more than the transaction that has to run twice.
    pub look_for_held_hosts: bool,
}

impl Default for BookOptions {
    fn default() -> Self {
        Self { limit_settle_window: LIMIT_SETTLE_WINDOW, look_for_held_hosts: true }
    }
}

/// Books a chunk in one transaction of a fixed number of statements.
///
/// A request whose frame was taken, or for which a host, cap or limit has no room, is lost alone: of
/// the requests that share what lacks room, the first in order that fit are booked. When that shows
/// only while writing, the transaction is rolled back and run again without them, so every round is
/// smaller than the one before.
///
/// So is a request for which somebody else holds a row: hosts are looked at before where that is asked
/// for, and never waited for; all other waits together last for at most the budget. When it is spent, the
/// held rows are looked for and what needs them is lost, and where none is held the chunk is halved, as it
/// is to find a row that the database refuses. The halves are transactions of their own.
///
/// # Errors
/// Nothing is booked unless the error is [`BookingError::CommitUnknown`]. An error after a part was
/// committed is told in the outcome.
pub async fn book(
    store: &Store,
    requests: &[BookingRequest],
    options: &BookOptions,
) -> Result<ChunkOutcome, BookingError> {
    run(store, requests, options, End::Commit).await
}

/// As [`book()`] in every statement, lock and condition, except that what was written is rolled back
/// where it would be committed: triggers, caps and locks have spoken, and nothing is booked.
///
/// What the outcome names as booked would have been. Rows are locked for as long as in a booking.
///
/// # Errors
/// As those of [`book()`], but never [`BookingError::CommitUnknown`].
pub async fn verify(
    store: &Store,
    requests: &[BookingRequest],
    options: &BookOptions,
) -> Result<ChunkOutcome, BookingError> {
    run(store, requests, options, End::RollBack).await
}

/// What becomes of a chunk that was written whole.
#[derive(Clone, Copy, Debug)]
enum End {
    Commit,
    RollBack,
}

async fn run(
    store: &Store,
    requests: &[BookingRequest],
    options: &BookOptions,
    end: End,
) -> Result<ChunkOutcome, BookingError> {
    let mut work = Work { store, options, end, outcome: ChunkOutcome::default() };
    let (mut kept, lost) = writable(requests);
    work.outcome.lost.extend(lost);
    if !kept.is_empty() && options.look_for_held_hosts {
        let locked = LockedRows::of_hosts(store, kept.iter().map(|request| &request.host)).await?;
        kept = work.without(&kept, &locked);
    }
    if let Err(error) = parts::run(&mut work, kept).await {
        if work.outcome.booked.is_empty() {
            return Err(error);
        }
        work.outcome.cut_short_by = Some(error);
    }
    let mut outcome = work.outcome;
    let positions: HashMap<&FrameId, usize> =
        requests.iter().enumerate().map(|(position, request)| (&request.frame.id, position)).collect();
    outcome.booked.sort_by_key(|booked| positions.get(&booked.frame).copied());
    Ok(outcome)
}

/// A chunk on its way, with what has come of its parts.
struct Work<'w> {
    store: &'w Store,
    options: &'w BookOptions,
    end: End,
    outcome: ChunkOutcome,
}

impl<'r> Batch<&'r BookingRequest> for Work<'_> {
    async fn attempt(&mut self, requests: &[&'r BookingRequest]) -> Result<Vec<&'r BookingRequest>, Failure> {
        let mut tx = Tx::writing(self.store).await?;
        let written = match write(&mut tx, requests, self.options).await {
            Ok(written) => written,
            Err(error) => {
                tx.abandon().await;
                return Err(error.into());
            }
        };
        let Written { transaction, booked, lost } = match written {
            Ok(written) => written,
            Err(no_room) => {
                tx.rollback().await?;
                self.rolled_back();
                let (fitting, lost) = fitting(self.store, &no_room).await.map_err(BookingError::from)?;
                self.outcome.lost.extend(no_room.lost);
                self.outcome.lost.extend(lost);
                return Ok(fitting);
            }
        };
        if let End::RollBack = self.end {
            tx.rollback().await?;
        } else {
            let held_since = tx.held_since();
            match tx.commit().await {
                Ok(()) => self.outcome.held += held_since.elapsed(),
                Err(CommitError::RolledBack(error)) => return Err(error.into()),
                Err(CommitError::Unknown(source)) => {
                    let unknown = UnknownCommit { transaction, bookings: booked, source };
                    return Err(BookingError::CommitUnknown(Box::new(unknown)).into());
                }
            }
        }
        self.outcome.booked.extend(booked);
        self.outcome.lost.extend(lost);
        Ok(Vec::new())
    }

    fn rolled_back(&mut self) {
        self.outcome.rolled_back += 1;
    }

    async fn without_locked(&mut self, requests: &[&'r BookingRequest]) -> Result<Vec<&'r BookingRequest>, StoreError> {
        let rows = requests.iter().map(|request| (&request.host, &request.frame.layer, &request.frame.job));
        let locked = LockedRows::find(self.store, rows).await?;
        Ok(self.without(requests, &locked))
    }

    fn halved(&mut self) {
        self.outcome.halved += 1;
    }

    fn set_aside(&mut self, requests: &[&'r BookingRequest], why: Aside) {
        let reason = match why {
            Aside::Locked => LostReason::RowLocked,
            Aside::NotTried => LostReason::NotTried,
        };
        self.outcome.lost.extend(requests.iter().map(|request| Lost::new(request, reason)));
    }

    fn refused(&mut self, request: &'r BookingRequest, error: &StoreError) {
        // Not an error of ours or of the row: whoever deletes a host has to be faster than nobody.
        if error.step() == steps::WRITE_PROCS && error.is_about_something_gone() {
            self.outcome.lost.push(Lost::new(request, LostReason::HostNotOpen));
            return;
        }
        tracing::warn!(
            frame = %request.frame.id, layer = %request.frame.layer, host = %request.host,
            step = error.step(), error = %error.cause(),
            "the database refuses a booking; the frame keeps waiting"
        );
        self.outcome.refusals.push(Refusal::new(request, error));
        self.outcome.lost.push(Lost::new(request, LostReason::Refused));
    }
}

impl Work<'_> {
    /// The requests that need none of the locked rows; the others are lost.
    fn without<'r>(&mut self, requests: &[&'r BookingRequest], locked: &LockedRows) -> Vec<&'r BookingRequest> {
        let (free, lost) = split(requests, |request| locked.admits(request));
        self.outcome.lost.extend(lost);
        free
    }
}

/// Leaves out what no database would take: reservations without cores, a second request for a frame.
fn writable(requests: &[BookingRequest]) -> (Vec<&BookingRequest>, Vec<Lost>) {
    let mut frames = HashSet::new();
    let requests: Vec<&BookingRequest> = requests.iter().collect();
    split(&requests, |request| {
        if request.reservation.cores <= Cores::ZERO {
            Err(LostReason::NothingReserved)
        } else if frames.insert(request.frame.id.clone()) {
            Ok(())
        } else {
            Err(LostReason::FrameTaken)
        }
    })
}

/// What of the claimed fits under what is left now. At least one of the crowded goes, so that the next
/// round is smaller.
async fn fitting<'r>(store: &Store, no_room: &NoRoom<'r>) -> Result<(Vec<&'r BookingRequest>, Vec<Lost>), StoreError> {
    let NoRoom { claimed, crowded, reason, .. } = no_room;
    if !matches!(reason, LostReason::FrameTaken | LostReason::HostLocked) {
        let mut remaining = load_remaining(store, claimed).await?;
        let (kept, lost) = split(claimed, |request| remaining.take(request));
        if lost.iter().any(|lost| crowded.contains(&lost.frame)) {
            return Ok((kept, lost));
        }
    }
    Ok(without(claimed, crowded, *reason))
}

/// Rows written and not yet committed.
struct Written {
    transaction: i64,
    booked: Vec<Booked>,
    lost: Vec<Lost>,
}

/// Something that requests share did not have room for them all.
struct NoRoom<'r> {
    /// What could be booked but for that.
    claimed: Vec<&'r BookingRequest>,
    /// Lost on the way here, for other reasons.
    lost: Vec<Lost>,
    /// Those of the claimed that share what lacks room.
    crowded: HashSet<FrameId>,
    /// Why, as far as the refusal itself tells.
    reason: LostReason,
}

/// All statements between BEGIN and COMMIT, in the order of locks.
async fn write<'r>(
    tx: &mut Tx<'_>,
    requests: &[&'r BookingRequest],
    options: &BookOptions,
) -> Result<Result<Written, NoRoom<'r>>, StoreError> {
    let mut limits = lock_limits(tx, requests, options.limit_settle_window).await?;
    let (requests, mut lost) = split(requests, |request| limits.take(request));
    tx.holds_rows();
    let (transaction, claimed) = book::claim(tx, &requests).await?;
    let held = if claimed.len() < requests.len() { book::held_by_others(tx, &requests).await? } else { HashSet::new() };
    let (requests, not_ours) = split(&requests, |request| {
        if claimed.contains(&request.frame.id) {
            Ok(())
        } else if held.contains(&request.frame.id) {
            Err(LostReason::FrameLocked)
        } else {
            Err(LostReason::FrameTaken)
        }
    });
    lost.extend(not_ours);
    if requests.is_empty() {
        return Ok(Ok(Written { transaction, booked: Vec::new(), lost }));
    }
    counters::lock_stats(
        tx,
        requests.iter().map(|request| &request.frame.layer),
        requests.iter().map(|request| &request.frame.job),
    )
    .await?;
    let versions = book::start_frames(tx, &requests).await?;
    if let Some((reason, crowded)) = write_amounts(tx, &requests).await? {
        return Ok(Err(NoRoom { claimed: requests, lost, crowded, reason }));
    }
    let booked = requests.iter().filter_map(|request| Some(Booked::of(request, *versions.get(&request.frame.id)?)));
    Ok(Ok(Written { transaction, booked: booked.collect(), lost }))
}

/// Procs, hosts and counters. The rows that all of a show's bookings go through come last, so that
/// they are held the shortest. Stops at the first that has no room and names the frames that share it.
async fn write_amounts(
    tx: &mut Tx<'_>,
    requests: &[&BookingRequest],
) -> Result<Option<(LostReason, HashSet<FrameId>)>, StoreError> {
    let crowded = |reason: LostReason, shares: &dyn Fn(&BookingRequest) -> bool| {
        let sharing = requests.iter().filter(|request| shares(request));
        Ok(Some((reason, sharing.map(|request| request.frame.id.clone()).collect())))
    };
    let with_proc = book::insert_procs(tx, requests).await?;
    if with_proc.len() < requests.len() {
        return crowded(LostReason::FrameTaken, &|request| !with_proc.contains(&request.frame.id));
    }
    let mut totals = Totals::default();
    for request in requests {
        totals.add(&request.host, &request.show, &request.frame.job, &request.frame.layer, request.reservation);
    }
    let counters::Hosts { written: allocs, skipped } = counters::hosts(tx, &totals).await?;
    if !skipped.is_empty() {
        return crowded(LostReason::HostLocked, &|request| skipped.contains(&request.host));
    }
    if allocs.len() < totals.hosts.len() {
        return crowded(LostReason::HostLacksRoom, &|request| !allocs.contains_key(&request.host));
    }
    let over = counters::subscriptions(tx, &totals, &allocs).await?;
    if !over.is_empty() {
        return crowded(LostReason::BurstReached, &|request| {
            over.contains(&(request.show.clone(), allocs[&request.host].clone()))
        });
    }
    counters::layers(tx, &totals).await?;
    let over = counters::jobs(tx, &totals).await?;
    if !over.is_empty() {
        return crowded(LostReason::JobCores, &|request| over.contains(&request.frame.job));
    }
    let over = counters::folders(tx, &totals).await?;
    if !over.is_empty() {
        return crowded(LostReason::FolderCores, &|request| over.contains(&request.frame.job));
    }
    counters::points(tx, &totals).await?;
    let unsound = book::confirm(tx, &totals).await?;
    if !unsound.jobs.is_empty() {
        return crowded(LostReason::FrameTaken, &|request| unsound.jobs.contains(&request.frame.job));
    }
    if !unsound.hosts.is_empty() {
        return crowded(LostReason::HostLacksRoom, &|request| unsound.hosts.contains(&request.host));
    }
    Ok(None)
}
