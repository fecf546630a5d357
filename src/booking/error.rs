//! What can go wrong with a transaction, and what a caller may do about it.

use crate::model::Booked;

#[derive(Debug, thiserror::Error)]
pub enum BookingError {
    /// The connection broke, or none could be had, before anything was committed. A booking did not
    /// happen. Taking back and repairing are fenced and may be repeated in any case.
    #[error("lost the database while {step}")]
    Connection { step: &'static str, source: sqlx::Error },
    /// The connection broke in the COMMIT: the bookings exist or not, and nobody may be launched or
    /// booked again before [`super::resolve_commit`] says which.
    #[error("the answer to the commit of {} bookings was lost", .0.bookings.len())]
    CommitUnknown(#[source] Box<UnknownCommit>),
    /// Deadlocks or waits for locks kept recurring; nothing was written.
    #[error("gave up {step} after {attempts} attempts that met a deadlock or waited too long for a lock")]
    Contended { step: &'static str, attempts: u32, source: sqlx::Error },
    /// The database refuses the statement itself: missing rights, a missing column.
    #[error("the database refuses {step}; see that the schema is Cuebot's and that the user may write to it")]
    Database { step: &'static str, source: sqlx::Error },
}

impl BookingError {
    /// Whether the same call can succeed later without anybody's doing.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Connection { .. } | Self::Contended { .. })
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
    #[source]
    pub source: sqlx::Error,
}

/// A failed step of a transaction that was not committed.
#[derive(Debug)]
pub(super) struct StepError {
    pub(super) step: &'static str,
    pub(super) source: sqlx::Error,
}

/// What a failed step means for the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Deadlock, serialization failure, lock timeout: the same again may pass.
    Contention,
    /// A trigger, constraint or column refuses a row: the chunk passes without that row.
    Row,
    Connection,
    Statement,
}

impl StepError {
    pub(super) fn trouble(&self) -> Trouble {
        match &self.source {
            sqlx::Error::Database(error) => match error.code().as_deref() {
                Some("40001" | "40P01" | "55P03" | "57014") => Trouble::Contention,
                Some(code) if ["22", "23", "P0"].iter().any(|class| code.starts_with(class)) => Trouble::Row,
                Some("25P03" | "53300") => Trouble::Connection,
                Some(code) if ["08", "57"].iter().any(|class| code.starts_with(class)) => Trouble::Connection,
                _ => Trouble::Statement,
            },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Trouble::Connection,
            _ => Trouble::Statement,
        }
    }

    /// The server says that the transaction asked for lies in its future.
    pub(super) fn is_unheard_of(&self) -> bool {
        matches!(&self.source, sqlx::Error::Database(error) if error.code().as_deref() == Some("22023"))
    }

    /// The error of the whole call, once no further attempt is made.
    pub(super) fn after(self, attempts: u32) -> BookingError {
        let trouble = self.trouble();
        let Self { step, source } = self;
        match trouble {
            Trouble::Contention => BookingError::Contended { step, attempts, source },
            Trouble::Connection => BookingError::Connection { step, source },
            Trouble::Row | Trouble::Statement => BookingError::Database { step, source },
        }
    }
}
