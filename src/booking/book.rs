//! The booking transaction.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use smart_default::SmartDefault;

use super::error::{BookingError, UnknownCommit};
use super::fit::split;
use super::outcome::{ChunkOutcome, Lost, LostReason, Refusal};
use super::parts::{self, Batch, Failure};
use crate::db::book::counters::{self, Totals};
use crate::db::book::remaining::load_remaining;
use crate::db::book::{self, LockedRows, lock_limits, steps};
use crate::db::{CommitError, Store, StoreError, Tx};
use crate::model::{Booked, BookingRequest, FrameId, LIMIT_SETTLE_WINDOW};
use crate::units::Cores;

/// How to book.
#[derive(Clone, Debug, SmartDefault)]
pub struct BookOptions {
    /// Cuebot's `limit.settle_window_seconds`: how long a report of licence use may lag behind.
    #[default(LIMIT_SETTLE_WINDOW)]
    pub limit_settle_window: Duration,
    /// Whether to look for hosts that other sessions hold before the transaction begins. Where none
    /// was held for long, the look costs more than the transaction that has to run twice.
    #[default(true)]
    pub look_for_held_hosts: bool,
    /// Exit statuses after which a run does not count as a retry, beside those that never do.
    pub excused_statuses: Vec<i64>,
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
    Work { store, options, commits: true, outcome: ChunkOutcome::default() }.run(requests).await
}

/// As [`book()`] in every statement, lock and condition, except that what was written is rolled back
/// where it would be committed: triggers, caps and locks were met, and nothing is booked.
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
    Work { store, options, commits: false, outcome: ChunkOutcome::default() }.run(requests).await
}

/// A chunk on its way, with what has come of its parts.
struct Work<'w> {
    store: &'w Store,
    options: &'w BookOptions,
    /// Whether what was written whole is committed, or rolled back.
    commits: bool,
    outcome: ChunkOutcome,
}

impl Work<'_> {
    async fn run(mut self, requests: &[BookingRequest]) -> Result<ChunkOutcome, BookingError> {
        let (mut kept, lost) = writable(requests);
        self.outcome.lost.extend(lost);
        if !kept.is_empty() && self.options.look_for_held_hosts {
            let locked = LockedRows::of_hosts(self.store, kept.iter().map(|request| &request.host)).await?;
            kept = self.without(&kept, &locked);
        }
        if let Err(error) = parts::run(&mut self, kept).await {
            if self.outcome.booked.is_empty() {
                return Err(error);
            }
            self.outcome.cut_short_by = Some(error);
        }
        let positions: HashMap<&FrameId, usize> =
            requests.iter().enumerate().map(|(position, request)| (&request.frame.id, position)).collect();
        self.outcome.booked.sort_by_key(|booked| positions.get(&booked.frame).copied());
        Ok(self.outcome)
    }

    /// The requests that need none of the locked rows; the others are lost.
    fn without<'r>(&mut self, requests: &[&'r BookingRequest], locked: &LockedRows) -> Vec<&'r BookingRequest> {
        let (free, lost) = split(requests, |request| locked.admits(request));
        self.outcome.lost.extend(lost);
        free
    }
}

impl<'r> Batch<&'r BookingRequest> for Work<'_> {
    async fn attempt(&mut self, requests: &[&'r BookingRequest]) -> Result<Vec<&'r BookingRequest>, Failure> {
        let mut tx = Tx::writing(self.store).await?;
        let written = write(&mut tx, requests, self.options).await;
        let (tx, written) = tx.unless_failed(written).await?;
        let Written { transaction, claimed, versions, lost, no_room } = written;
        if let Some((reason, crowded)) = no_room {
            tx.rollback().await?;
            self.rolled_back();
            let (fitting, without_room) =
                fitting(self.store, &claimed, reason, &crowded).await.map_err(BookingError::from)?;
            self.outcome.lost.extend(lost.into_iter().chain(without_room));
            return Ok(fitting);
        }
        let version = |request: &BookingRequest| versions.get(&request.frame.id).copied();
        let booked: Vec<_> =
            claimed.iter().filter_map(|request| Some(Booked::of(request, version(request)?))).collect();
        if self.commits {
            let held_since = tx.held_since();
            match tx.commit().await {
                Ok(()) => self.outcome.held += held_since.elapsed(),
                Err(CommitError::RolledBack(error)) => return Err(error.into()),
                Err(CommitError::Unknown(source)) => {
                    let unknown = UnknownCommit { transaction, bookings: booked, source };
                    return Err(BookingError::CommitUnknown(Box::new(unknown)).into());
                }
            }
        } else {
            tx.rollback().await?;
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

    fn set_aside(&mut self, requests: &[&'r BookingRequest], reason: LostReason) {
        self.outcome.lost.extend(requests.iter().map(|request| Lost::new(request, reason)));
    }

    fn refused(&mut self, request: &'r BookingRequest, error: &StoreError) {
        // Its host was deleted meanwhile, which is neither an error of ours nor of the row.
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
async fn fitting<'r>(
    store: &Store,
    claimed: &[&'r BookingRequest],
    reason: LostReason,
    crowded: &HashSet<FrameId>,
) -> Result<(Vec<&'r BookingRequest>, Vec<Lost>), StoreError> {
    if !matches!(reason, LostReason::FrameTaken | LostReason::HostLocked) {
        let mut remaining = load_remaining(store, claimed).await?;
        let (kept, lost) = split(claimed, |request| remaining.take(request));
        if lost.iter().any(|lost| crowded.contains(&lost.frame)) {
            return Ok((kept, lost));
        }
    }
    Ok(split(claimed, |request| if crowded.contains(&request.frame.id) { Err(reason) } else { Ok(()) }))
}

/// Rows written and not yet committed.
#[derive(Default)]
struct Written<'r> {
    transaction: i64,
    /// What is booked, or could be but for want of room.
    claimed: Vec<&'r BookingRequest>,
    versions: HashMap<FrameId, i32>,
    /// Lost on the way here, for other reasons.
    lost: Vec<Lost>,
    /// Why something that requests share has no room for them all, as far as the refusal itself tells, and those of
    /// the claimed that share it.
    no_room: Option<(LostReason, HashSet<FrameId>)>,
}

/// All statements between BEGIN and COMMIT, in the order of locks.
async fn write<'r>(
    tx: &mut Tx<'_>,
    requests: &[&'r BookingRequest],
    options: &BookOptions,
) -> Result<Written<'r>, StoreError> {
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
        return Ok(Written { transaction, lost, ..Written::default() });
    }
    let of_frames = requests.iter().map(|request| (&request.frame.layer, &request.frame.job));
    counters::lock_stats(tx, of_frames).await?;
    let versions = book::start_frames(tx, &requests, &options.excused_statuses).await?;
    let no_room = match write_amounts(tx, &requests).await {
        Ok(()) => None,
        Err(Stopped::NoRoom(reason, crowded)) => Some((reason, crowded)),
        Err(Stopped::Failed(error)) => return Err(error),
    };
    Ok(Written { transaction, claimed: requests, versions, lost, no_room })
}

/// Why amounts are not written.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("no room for all that share it")]
    NoRoom(LostReason, HashSet<FrameId>),
    #[error(transparent)]
    Failed(#[from] StoreError),
}

/// Procs, hosts and counters. The rows that all of a show's bookings go through come last, so that
/// they are held the shortest. Stops at the first that has no room and names the frames that share it.
async fn write_amounts(tx: &mut Tx<'_>, requests: &[&BookingRequest]) -> Result<(), Stopped> {
    let all = |reason: LostReason, has_room: &dyn Fn(&BookingRequest) -> bool| {
        let crowded = requests.iter().filter(|request| !has_room(request));
        let crowded: HashSet<FrameId> = crowded.map(|request| request.frame.id.clone()).collect();
        if crowded.is_empty() { Ok(()) } else { Err(Stopped::NoRoom(reason, crowded)) }
    };
    let with_proc = book::insert_procs(tx, requests).await?;
    all(LostReason::FrameTaken, &|request| with_proc.contains(&request.frame.id))?;
    let mut totals = Totals::default();
    for request in requests {
        totals.add(&request.host, &request.show, &request.frame.job, &request.frame.layer, request.reservation);
    }
    let counters::Hosts { written: allocs, skipped } = counters::hosts(tx, &totals).await?;
    all(LostReason::HostLocked, &|request| !skipped.contains(&request.host))?;
    all(LostReason::HostLacksRoom, &|request| allocs.contains_key(&request.host))?;
    let full = counters::subscriptions(tx, &totals, &allocs).await?;
    all(LostReason::BurstReached, &|request| !full.contains(&(request.show.clone(), allocs[&request.host].clone())))?;
    counters::layers(tx, &totals).await?;
    let full = counters::jobs(tx, &totals).await?;
    all(LostReason::JobCores, &|request| !full.contains(&request.frame.job))?;
    let full = counters::folders(tx, &totals).await?;
    all(LostReason::FolderCores, &|request| !full.contains(&request.frame.job))?;
    counters::points(tx, &totals).await?;
    let unsound = book::confirm(tx, &totals).await?;
    all(LostReason::FrameTaken, &|request| !unsound.jobs.contains(&request.frame.job))?;
    all(LostReason::HostLacksRoom, &|request| !unsound.hosts.contains(&request.host))
}
