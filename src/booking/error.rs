//! What can go wrong with a transaction, and what a caller may do about it.

use std::time::Duration;

use crate::db::{StoreError, Trouble};
use crate::model::Booked;

#[derive(Debug, thiserror::Error)]
pub enum BookingError {
    /// The connection broke, or none could be had, before anything was committed. A booking did not
    /// happen. Taking back and repairing are fenced and may be repeated in any case.
    #[error("lost the database")]
    Connection { source: StoreError },
    /// The connection broke in the COMMIT: the bookings exist or not, and nobody may be launched or
    /// booked again before [`super::resolve_commit`] says which.
    #[error("the answer to the commit of {} bookings was lost", .0.bookings.len())]
    CommitUnknown(#[source] Box<UnknownCommit>),
    /// Deadlocks or waits for locks kept recurring; nothing was written.
    #[error("gave up after {attempts} attempts that met a deadlock or waited too long for a lock")]
    Contended { attempts: u32, source: StoreError },
    /// The server ended a statement before our own limit was reached; nothing was written.
    #[error(
        "the server ended a statement after {lasted:?}, before our own limit; somebody cancelled it, or something between \
         us and the server limits statements more strictly than we do"
    )]
    Cancelled { lasted: Duration, source: StoreError },
    /// The database refuses the statement itself: missing rights, a missing column.
    #[error("the database refuses; see that the schema is Cuebot's and that the user may write to it")]
    Database { source: StoreError },
}

impl BookingError {
    /// Whether the same call can succeed later without anybody's doing.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Connection { .. } | Self::Contended { .. } | Self::Cancelled { .. })
    }

    /// The error of a whole call, once no further attempt is made.
    pub(super) fn after(source: StoreError, attempts: u32) -> Self {
        match source.trouble() {
            Trouble::Contention => Self::Contended { attempts, source },
            Trouble::Connection => Self::Connection { source },
            Trouble::Cancelled => Self::Cancelled { lasted: source.lasted(), source },
            Trouble::Row | Trouble::Statement => Self::Database { source },
        }
    }
}

/// Of what is tried once.
impl From<StoreError> for BookingError {
    fn from(error: StoreError) -> Self {
        Self::after(error, 1)
    }
}

/// Bookings whose COMMIT was sent and not answered.
#[derive(Debug, thiserror::Error)]
#[error("transaction {transaction} may or may not be committed")]
pub struct UnknownCommit {
    /// The server's id of the transaction.
    pub transaction: i64,
    /// What is booked if it was committed.
    pub bookings: Vec<Booked>,
    pub source: StoreError,
}
