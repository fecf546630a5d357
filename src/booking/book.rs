//! The booking transaction.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sqlx::query;

use super::counters::{self, Columns};
use super::error::{BookingError, StepError, Trouble, UnknownCommit};
use super::limits::lock_limits;
use super::outcome::{ChunkOutcome, Lost, LostReason, Refusal};
use super::room::{load_room, split, without};
use super::totals::Totals;
use super::tx::{ATTEMPTS_MAX, CommitError, Tx, column_of, id, wait_with_jitter};
use crate::model::{Booked, BookingRequest, FrameId};
use crate::store::Store;
use crate::units::Cores;

/// How to book.
#[derive(Clone, Debug)]
pub struct BookOptions {
    /// Cuebot's `limit.settle_window_seconds`: how long a report of licence use may lag behind.
    pub limit_settle_window: Duration,
}

impl Default for BookOptions {
    fn default() -> Self {
        Self { limit_settle_window: Duration::from_mins(2) }
    }
}

/// Books a chunk in one transaction of a fixed number of statements.
///
/// A request whose frame was taken, or for which a host, cap or limit has no room, is lost alone: of
/// the requests that share what lacks room, the first in order that fit are booked. When that shows
/// only while writing, the transaction is rolled back and run again without them, so every round is
/// smaller than the one before.
///
/// # Errors
/// Nothing is booked unless the error is [`BookingError::CommitUnknown`].
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
    let mut outcome = ChunkOutcome::default();
    let (mut kept, lost) = writable(requests);
    outcome.lost.extend(lost);
    let mut attempts = 0;
    while !kept.is_empty() {
        let error = match attempt(store, &kept, options, end).await {
            Ok(Attempt::Booked { booked, lost }) => {
                outcome.booked = booked;
                outcome.lost.extend(lost);
                break;
            }
            Ok(Attempt::NoRoom(no_room)) => {
                outcome.rolled_back += 1;
                let (fitting, lost) = fitting(store, &no_room).await.map_err(|error| error.after(attempts))?;
                kept = fitting;
                outcome.lost.extend(no_room.lost);
                outcome.lost.extend(lost);
                continue;
            }
            Ok(Attempt::CommitUnknown(unknown)) => return Err(BookingError::CommitUnknown(unknown)),
            Err(error) => error,
        };
        attempts += 1;
        outcome.rolled_back += 1;
        match error.trouble() {
            Trouble::Contention if attempts < ATTEMPTS_MAX => wait_with_jitter(attempts).await,
            Trouble::Row if attempts < ATTEMPTS_MAX => {
                let refusals = refused(store, &kept, options).await.map_err(|error| error.after(attempts))?;
                let frames = refusals.iter().map(|refusal| refusal.frame.clone()).collect();
                let (writable, lost) = without(&kept, &frames, LostReason::Refused);
                kept = writable;
                outcome.lost.extend(lost);
                outcome.refusals.extend(refusals);
            }
            _ => return Err(error.after(attempts)),
        }
    }
    Ok(outcome)
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
    if *reason != LostReason::FrameTaken {
        let mut room = load_room(store, claimed).await?;
        let (kept, lost) = split(claimed, |request| room.take(request));
        if lost.iter().any(|lost| crowded.contains(&lost.frame)) {
            return Ok((kept, lost));
        }
    }
    Ok(without(claimed, crowded, *reason))
}

/// Finds the requests that make the database raise, by trying halves and rolling back.
async fn refused(
    store: &Store,
    requests: &[&BookingRequest],
    options: &BookOptions,
) -> Result<Vec<Refusal>, StepError> {
    let mut refused = Vec::new();
    let mut parts = vec![requests];
    while let Some(part) = parts.pop() {
        let mut tx = Tx::begin(store).await?;
        let written = write(&mut tx, part, options).await;
        tx.rollback().await?;
        match (written, part) {
            (Ok(_), _) => {}
            (Err(error), _) if error.trouble() != Trouble::Row => return Err(error),
            (Err(error), [request]) => {
                tracing::warn!(
                    frame = %request.frame.id, layer = %request.frame.layer, host = %request.host,
                    step = error.step, error = %error.source,
                    "the database refuses a booking; the frame keeps waiting"
                );
                refused.push(Refusal::new(request, &error));
            }
            (Err(_), _) => {
                let (left, right) = part.split_at(part.len() / 2);
                parts.extend([right, left]);
            }
        }
    }
    Ok(refused)
}

enum Attempt<'r> {
    Booked {
        booked: Vec<Booked>,
        lost: Vec<Lost>,
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
        return Ok(Attempt::Booked { booked, lost });
    }
    match tx.commit().await {
        Ok(()) => Ok(Attempt::Booked { booked, lost }),
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
    let (transaction, claimed) = claim(tx, &requests).await?;
    let (requests, taken) =
        split(
            &requests,
            |request| {
                if claimed.contains(&request.frame.id) { Ok(()) } else { Err(LostReason::FrameTaken) }
            },
        );
    lost.extend(taken);
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
    let allocs = counters::hosts(tx, &totals).await?;
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
    Ok(None)
}

/// The transaction's id and the frames that are ours now.
async fn claim(tx: &mut Tx, requests: &[&BookingRequest]) -> Result<(i64, HashSet<FrameId>), StepError> {
    let frames: Vec<&str> = requests.iter().map(|request| request.frame.id.as_str()).collect();
    let versions: Vec<i32> = requests.iter().map(|request| request.frame.version).collect();
    let layers: HashSet<&str> = requests.iter().map(|request| request.frame.layer.as_str()).collect();
    let layers: Vec<&str> = layers.into_iter().collect();
    let statement = if tx.features.has_start_after {
        include_str!("../store/sql/book_claim_start_after.sql")
    } else {
        include_str!("../store/sql/book_claim.sql")
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

/// New versions by frame.
async fn start_frames(tx: &mut Tx, requests: &[&BookingRequest]) -> Result<HashMap<FrameId, i32>, StepError> {
    let frames = Columns::of(requests.iter().map(|request| (request.frame.id.as_str(), &request.reservation)));
    let host_names: Vec<&str> = requests.iter().map(|request| request.host_name.as_str()).collect();
    let statement = query(include_str!("../store/sql/book_frames.sql"))
        .bind(&frames.ids)
        .bind(&host_names)
        .bind(&frames.cores)
        .bind(&frames.memory)
        .bind(&frames.gpus)
        .bind(&frames.gpu_memory);
    let rows = tx.write("starting frames", statement).await?;
    rows.iter().map(|row| Ok((id(row, "pk_frame")?, column_of(row, "int_version")?))).collect()
}

/// The frames that got their proc.
async fn insert_procs(tx: &mut Tx, requests: &[&BookingRequest]) -> Result<HashSet<FrameId>, StepError> {
    let column = |value: fn(&BookingRequest) -> &str| requests.iter().map(|r| value(r)).collect::<Vec<&str>>();
    let frames = Columns::of(requests.iter().map(|request| (request.frame.id.as_str(), &request.reservation)));
    let statement = query(include_str!("../store/sql/book_procs.sql"))
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
    let rows = tx.write("writing procs", statement).await?;
    rows.iter().map(|row| id(row, "pk_frame")).collect()
}
