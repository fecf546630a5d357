//! The booking transaction.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use sqlx::query;

use super::counters::{self, Columns};
use super::error::{BookingError, StepError, Trouble, UnknownCommit};
use super::limits::lock_limits;
use super::locked::Locked;
use super::outcome::{ChunkOutcome, Lost, LostReason, Refusal, steps};
use super::room::{load_room, split, without};
use super::totals::Totals;
use super::tx::{ATTEMPTS_MAX, COMMIT_LIMIT, CommitError, Tx, column_of, id, wait_with_jitter};
use crate::db::Store;
use crate::model::{Booked, BookingRequest, FrameId, HostId, JobId, LIMIT_SETTLE_WINDOW};
use crate::units::Cores;

/// Longest time for a chunk in which rows are held or refused; what is not booked by then waits for the
/// next pass.
const CHUNK_LIMIT: Duration = Duration::from_secs(2);

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
/// for, and never waited for; all other waits together last for at most the budget. When it is spent, the held rows are looked
/// for and what needs them is lost, and where none is held the chunk is halved, as it is to find a
/// row that the database refuses. The halves are transactions of their own.
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

/// As [`book`] in every statement, lock and condition, except that what was written is rolled back
/// where it would be committed: triggers, caps and locks have spoken, and nothing is booked.
///
/// What the outcome names as booked would have been. Rows are locked for as long as in a booking.
///
/// # Errors
/// As those of [`book`], but never [`BookingError::CommitUnknown`].
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
    let (kept, lost) = writable(requests);
    work.outcome.lost.extend(lost);
    if !kept.is_empty() && options.look_for_held_hosts {
        let locked = Locked::hosts(store, &kept).await.map_err(|error| error.after(1))?;
        let free = work.without_locked(&kept, &locked);
        work.book(free).await?;
    } else {
        work.book(kept).await?;
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

/// Requests that are tried in one transaction.
struct Part<'r> {
    requests: Vec<&'r BookingRequest>,
    /// Deadlocks and serialization failures that it met.
    collisions: u32,
}

impl<'r> Work<'_> {
    /// Books part after part until nothing is left or the time is over: what one held or refused row
    /// costs is bounded, for the chunk and so for the pass.
    async fn book(&mut self, requests: Vec<&'r BookingRequest>) -> Result<(), BookingError> {
        let until = Instant::now() + CHUNK_LIMIT;
        let mut parts = vec![Part { requests, collisions: 0 }];
        while let Some(part) = parts.pop() {
            if part.requests.is_empty() {
                continue;
            }
            if Instant::now() >= until {
                self.lose(&part.requests, LostReason::NotTried);
                continue;
            }
            match self.book_part(part).await {
                Ok(rest) => parts.extend(rest),
                Err(error) if self.outcome.booked.is_empty() => return Err(error),
                Err(error) => {
                    self.outcome.cut_short_by = Some(error);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Tries a part once. What is left of it comes back, the last to be tried first.
    async fn book_part(&mut self, part: Part<'r>) -> Result<Vec<Part<'r>>, BookingError> {
        let error = match attempt(self.store, &part.requests, self.options, self.end).await {
            Ok(Attempt::Booked { booked, lost, held }) => {
                self.outcome.held += held;
                self.outcome.booked.extend(booked);
                self.outcome.lost.extend(lost);
                return Ok(Vec::new());
            }
            Ok(Attempt::NoRoom(no_room)) => {
                self.outcome.rolled_back += 1;
                let fitted = fitting(self.store, &no_room).await;
                let (fitting, lost) = fitted.map_err(|error| error.after(part.collisions))?;
                self.outcome.lost.extend(no_room.lost);
                self.outcome.lost.extend(lost);
                return Ok(vec![Part { requests: fitting, ..part }]);
            }
            Ok(Attempt::CommitUnknown(unknown)) => return Err(BookingError::CommitUnknown(unknown)),
            Err(error) => error,
        };
        self.outcome.rolled_back += 1;
        match error.trouble() {
            Trouble::Contention if error.is_over_limit => self.after_waiting_in_vain(part).await,
            Trouble::Contention if part.collisions + 1 < ATTEMPTS_MAX => {
                wait_with_jitter(part.collisions + 1).await;
                Ok(vec![Part { collisions: part.collisions + 1, ..part }])
            }
            Trouble::Row => Ok(self.after_a_refusal(part, &error)),
            _ => Err(error.after(part.collisions + 1)),
        }
    }

    /// The budget ran out: what needs a held row is lost, or where none is held the part is halved.
    async fn after_waiting_in_vain(&mut self, part: Part<'r>) -> Result<Vec<Part<'r>>, BookingError> {
        let locked = Locked::rows_of(self.store, &part.requests).await.map_err(|error| error.after(1))?;
        let free = self.without_locked(&part.requests, &locked);
        if free.len() < part.requests.len() {
            return Ok(vec![Part { requests: free, ..part }]);
        }
        if part.requests.len() == 1 {
            self.lose(&part.requests, LostReason::RowLocked);
            return Ok(Vec::new());
        }
        self.outcome.halved += 1;
        Ok(part.halves())
    }

    fn after_a_refusal(&mut self, part: Part<'r>, error: &StepError) -> Vec<Part<'r>> {
        let [request] = part.requests[..] else { return part.halves() };
        // Not an error of ours or of the row: whoever deletes a host has to be faster than nobody.
        if error.step == steps::WRITE_PROCS && error.is_about_something_gone() {
            self.lose(&part.requests, LostReason::HostNotOpen);
            return Vec::new();
        }
        tracing::warn!(
            frame = %request.frame.id, layer = %request.frame.layer, host = %request.host,
            step = error.step, error = %error.source,
            "the database refuses a booking; the frame keeps waiting"
        );
        self.outcome.refusals.push(Refusal::new(request, error));
        self.lose(&part.requests, LostReason::Refused);
        Vec::new()
    }

    fn without_locked(&mut self, requests: &[&'r BookingRequest], locked: &Locked) -> Vec<&'r BookingRequest> {
        let (free, lost) = split(requests, |request| locked.admits(request));
        self.outcome.lost.extend(lost);
        free
    }

    fn lose(&mut self, requests: &[&BookingRequest], reason: LostReason) {
        self.outcome.lost.extend(requests.iter().map(|request| Lost::new(request, reason)));
    }
}

impl Part<'_> {
    /// The first half comes last, to be tried first.
    fn halves(mut self) -> Vec<Self> {
        let second = self.requests.split_off(self.requests.len() / 2);
        vec![Self { requests: second, ..self }, self]
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
async fn fitting<'r>(store: &Store, no_room: &NoRoom<'r>) -> Result<(Vec<&'r BookingRequest>, Vec<Lost>), StepError> {
    let NoRoom { claimed, crowded, reason, .. } = no_room;
    if !matches!(reason, LostReason::FrameTaken | LostReason::HostLocked) {
        let mut room = load_room(store, claimed).await?;
        let (kept, lost) = split(claimed, |request| room.take(request));
        if lost.iter().any(|lost| crowded.contains(&lost.frame)) {
            return Ok((kept, lost));
        }
    }
    Ok(without(claimed, crowded, *reason))
}

enum Attempt<'r> {
    Booked {
        booked: Vec<Booked>,
        lost: Vec<Lost>,
        held: Duration,
    },
    /// Rolled back.
    NoRoom(NoRoom<'r>),
    CommitUnknown(Box<UnknownCommit>),
}

async fn attempt<'r>(
    store: &Store,
    requests: &[&'r BookingRequest],
    options: &BookOptions,
    end: End,
) -> Result<Attempt<'r>, StepError> {
    let mut tx = Tx::begin(store).await?;
    let written = match write(&mut tx, requests, options).await {
        Ok(Ok(written)) => written,
        Ok(Err(no_room)) => {
            tx.rollback().await?;
            return Ok(Attempt::NoRoom(no_room));
        }
        Err(error) => {
            // Frees the locks before anybody waits; a connection too broken for it has none left.
            let _ = tx.rollback().await;
            return Err(error);
        }
    };
    let Written { transaction, booked, lost } = written;
    if let End::RollBack = end {
        tx.rollback().await?;
        return Ok(Attempt::Booked { booked, lost, held: Duration::ZERO });
    }
    let held_since = tx.held_since();
    match tx.commit().await {
        Ok(()) => Ok(Attempt::Booked { booked, lost, held: held_since.elapsed() }),
        Err(CommitError::RolledBack(error)) => Err(error),
        Err(CommitError::Unknown(source)) => {
            Ok(Attempt::CommitUnknown(Box::new(UnknownCommit { transaction, bookings: booked, source })))
        }
    }
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
    tx: &mut Tx,
    requests: &[&'r BookingRequest],
    options: &BookOptions,
) -> Result<Result<Written, NoRoom<'r>>, StepError> {
    let mut limits = lock_limits(tx, requests, options.limit_settle_window).await?;
    let (requests, mut lost) = split(requests, |request| limits.take(request));
    tx.holds_rows();
    let (transaction, claimed) = claim(tx, &requests).await?;
    let held = if claimed.len() < requests.len() { held_by_others(tx, &requests).await? } else { HashSet::new() };
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
        requests.iter().map(|request| request.frame.layer.as_str()),
        requests.iter().map(|request| request.frame.job.as_str()),
    )
    .await?;
    let versions = start_frames(tx, &requests).await?;
    if let Some((reason, crowded)) = write_amounts(tx, &requests).await? {
        return Ok(Err(NoRoom { claimed: requests, lost, crowded, reason }));
    }
    let booked = requests.iter().filter_map(|request| Some(Booked::of(request, *versions.get(&request.frame.id)?)));
    Ok(Ok(Written { transaction, booked: booked.collect(), lost }))
}

/// Procs, hosts and counters. The rows that all of a show's bookings go through come last, so that
/// they are held the shortest. Stops at the first that has no room and names the frames that share it.
async fn write_amounts(
    tx: &mut Tx,
    requests: &[&BookingRequest],
) -> Result<Option<(LostReason, HashSet<FrameId>)>, StepError> {
    let crowded = |reason: LostReason, shares: &dyn Fn(&BookingRequest) -> bool| {
        let sharing = requests.iter().filter(|request| shares(request));
        Ok(Some((reason, sharing.map(|request| request.frame.id.clone()).collect())))
    };
    let with_proc = insert_procs(tx, requests).await?;
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
    let unsound = confirm(tx, &totals).await?;
    if !unsound.jobs.is_empty() {
        return crowded(LostReason::FrameTaken, &|request| unsound.jobs.contains(&request.frame.job));
    }
    if !unsound.hosts.is_empty() {
        return crowded(LostReason::HostLacksRoom, &|request| unsound.hosts.contains(&request.host));
    }
    Ok(None)
}

/// What must not be committed after all.
#[derive(Debug, Default)]
struct Unsound {
    /// Paused, ended or taken off automatic booking while we waited.
    jobs: HashSet<JobId>,
    /// More is reserved on them than they have.
    hosts: HashSet<HostId>,
}

async fn confirm(tx: &mut Tx, totals: &Totals) -> Result<Unsound, StepError> {
    let statement = query(include_str!("../db/sql/book_confirm.sql"))
        .bind(totals.jobs.keys().map(JobId::as_str).collect::<Vec<_>>())
        .bind(totals.hosts.keys().map(HostId::as_str).collect::<Vec<_>>())
        .bind(COMMIT_LIMIT.as_millis().to_string());
    let rows = tx.read("looking at jobs and hosts once more", statement).await?;
    tx.commit_limit_is_told();
    let mut unsound = Unsound::default();
    for row in &rows {
        match column_of::<&str>(row, "kind")? {
            "job" => _ = unsound.jobs.insert(id(row, "id")?),
            _ => _ = unsound.hosts.insert(id(row, "id")?),
        }
    }
    Ok(unsound)
}

/// The transaction's id and the frames that are ours now.
async fn claim(tx: &mut Tx, requests: &[&BookingRequest]) -> Result<(i64, HashSet<FrameId>), StepError> {
    let frames: Vec<&str> = requests.iter().map(|request| request.frame.id.as_str()).collect();
    let versions: Vec<i32> = requests.iter().map(|request| request.frame.version).collect();
    let layers: HashSet<&str> = requests.iter().map(|request| request.frame.layer.as_str()).collect();
    let layers: Vec<&str> = layers.into_iter().collect();
    let statement = if tx.features.has_start_after {
        include_str!("../db/sql/book_claim_start_after.sql")
    } else {
        include_str!("../db/sql/book_claim.sql")
    };
    let statement = query(statement).bind(&frames).bind(&versions).bind(&layers);
    let rows = tx.read("claiming frames", statement).await?;
    let mut transaction = 0;
    let mut claimed = HashSet::with_capacity(rows.len());
    for row in &rows {
        transaction = column_of(row, "transaction")?;
        claimed.insert(id(row, "pk_frame")?);
    }
    Ok((transaction, claimed))
}

/// Those of the frames that another session holds, and that are otherwise as they were read.
async fn held_by_others(tx: &mut Tx, requests: &[&BookingRequest]) -> Result<HashSet<FrameId>, StepError> {
    let statement = query(include_str!("../db/sql/book_unclaimed.sql"))
        .bind(requests.iter().map(|request| request.frame.id.as_str()).collect::<Vec<_>>())
        .bind(requests.iter().map(|request| request.frame.version).collect::<Vec<_>>());
    let rows = tx.read("looking at frames that could not be claimed", statement).await?;
    rows.iter().map(|row| id(row, "pk_frame")).collect()
}

/// New versions by frame.
async fn start_frames(tx: &mut Tx, requests: &[&BookingRequest]) -> Result<HashMap<FrameId, i32>, StepError> {
    let frames = Columns::of(requests.iter().map(|request| (request.frame.id.as_str(), &request.reservation)));
    let host_names: Vec<&str> = requests.iter().map(|request| request.host_name.as_str()).collect();
    let statement = query(include_str!("../db/sql/book_frames.sql"))
        .bind(&frames.ids)
        .bind(&host_names)
        .bind(&frames.cores)
        .bind(&frames.memory)
        .bind(&frames.gpus)
        .bind(&frames.gpu_memory);
    let rows = tx.write(steps::START_FRAMES, statement).await?;
    rows.iter().map(|row| Ok((id(row, "pk_frame")?, column_of(row, "int_version")?))).collect()
}

/// The frames that got their proc.
async fn insert_procs(tx: &mut Tx, requests: &[&BookingRequest]) -> Result<HashSet<FrameId>, StepError> {
    let column = |value: fn(&BookingRequest) -> &str| requests.iter().map(|r| value(r)).collect::<Vec<&str>>();
    let frames = Columns::of(requests.iter().map(|request| (request.frame.id.as_str(), &request.reservation)));
    let statement = query(include_str!("../db/sql/book_procs.sql"))
        .bind(column(|r| r.proc.as_str()))
        .bind(&frames.ids)
        .bind(column(|r| r.frame.layer.as_str()))
        .bind(column(|r| r.frame.job.as_str()))
        .bind(column(|r| r.show.as_str()))
        .bind(column(|r| r.host.as_str()))
        .bind(&frames.cores)
        .bind(&frames.memory)
        .bind(&frames.gpus)
        .bind(&frames.gpu_memory);
    let rows = tx.write(steps::WRITE_PROCS, statement).await?;
    rows.iter().map(|row| id(row, "pk_frame")).collect()
}
