//! Finding out what became of bookings whose COMMIT was not answered.

use super::error::{BookingError, UnknownCommit};
use super::outcome::CommitOutcome;
use crate::db::Store;
use crate::db::book::settle::{find_booked, is_transaction_open};
use crate::model::ProcId;

/// Asks what became of a commit whose answer was lost. The rows alone do not tell: a server that has
/// not noticed the loss may still commit, so it is asked for the transaction first.
pub async fn resolve_commit(store: &Store, unknown: &UnknownCommit) -> Result<CommitOutcome, BookingError> {
    if is_transaction_open(store, unknown.transaction).await? {
        return Ok(CommitOutcome::Undecided);
    }
    let procs: Vec<ProcId> = unknown.bookings.iter().map(|booked| booked.proc.clone()).collect();
    Ok(CommitOutcome::Settled(find_booked(store, &procs).await?))
}
