//! What can go wrong with a transaction, and what a caller may do about it.

use std::time::Duration;

use sqlx::postgres::PgDatabaseError;

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
    /// The server ended a statement before our own limit was reached; nothing was written.
    #[error(
        "the server ended {step} after {lasted:?}, before our own limit; somebody cancelled it, or something between \
         us and the server limits statements more strictly than we do"
    )]
    Cancelled { step: &'static str, lasted: Duration, source: sqlx::Error },
    /// The database refuses the statement itself: missing rights, a missing column.
    #[error("the database refuses {step}; see that the schema is Cuebot's and that the user may write to it")]
    Database { step: &'static str, source: sqlx::Error },
}

impl BookingError {
    /// Whether the same call can succeed later without anybody's doing.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Connection { .. } | Self::Contended { .. } | Self::Cancelled { .. })
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
    /// The statement had run as long as we allow.
    pub(super) is_over_limit: bool,
    pub(super) lasted: Duration,
}

/// What a failed step means for the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Deadlock, serialization failure, a wait that our budget ended: the same again may pass.
    Contention,
    /// A trigger, constraint or column refuses a row: the chunk passes without that row.
    Row,
    Connection,
    /// Ended by somebody else's limit or by hand.
    Cancelled,
    Statement,
}

/// Classes of SQLSTATE that say what is wrong with the server, the session or the statement. Every other
/// one is a row's: the standard's own, and whatever a site's trigger raises.
const STATEMENT_CLASSES: [&str; 16] =
    ["0A", "0L", "0P", "25", "26", "28", "2D", "34", "3D", "3F", "42", "53", "54", "55", "58", "XX"];

impl StepError {
    pub(super) const fn new(step: &'static str, source: sqlx::Error) -> Self {
        Self { step, source, is_over_limit: false, lasted: Duration::ZERO }
    }

    /// A row is held that this step does not wait for.
    pub(super) fn held(step: &'static str) -> Self {
        Self { is_over_limit: true, ..Self::new(step, sqlx::Error::RowNotFound) }
    }

    pub(super) fn trouble(&self) -> Trouble {
        if self.is_over_limit && matches!(self.source, sqlx::Error::RowNotFound) {
            return Trouble::Contention;
        }
        match &self.source {
            sqlx::Error::Database(error) => match error.code().as_deref() {
                Some("40001" | "40P01" | "55P03" | "25P03") => Trouble::Contention,
                Some("57014") if self.is_over_limit => Trouble::Contention,
                Some("57014") => Trouble::Cancelled,
                Some("53300") => Trouble::Connection,
                Some(code) if ["08", "57"].iter().any(|class| code.starts_with(class)) => Trouble::Connection,
                // Raised inside a function, so by a trigger, it speaks of the row that set it off.
                Some(code)
                    if ["0A", "42", "55"].iter().any(|class| code.starts_with(class))
                        && is_within_function(error.as_ref()) =>
                {
                    Trouble::Row
                }
                Some(code) if STATEMENT_CLASSES.iter().any(|class| code.starts_with(class)) => Trouble::Statement,
                Some(_) => Trouble::Row,
                None => Trouble::Statement,
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

    /// What was to be referred to is gone: the host of a proc, above all.
    pub(super) fn is_about_something_gone(&self) -> bool {
        self.has_code("23503")
    }

    /// The server says that the transaction asked for lies in its future.
    pub(super) fn is_unheard_of(&self) -> bool {
        self.has_code("22023")
    }

    fn has_code(&self, code: &str) -> bool {
        matches!(&self.source, sqlx::Error::Database(error) if error.code().as_deref() == Some(code))
    }

    /// The error of the whole call, once no further attempt is made.
    pub(super) fn after(self, attempts: u32) -> BookingError {
        let trouble = self.trouble();
        let Self { step, source, lasted, .. } = self;
        match trouble {
            Trouble::Contention => BookingError::Contended { step, attempts, source },
            Trouble::Connection => BookingError::Connection { step, source },
            Trouble::Cancelled => BookingError::Cancelled { step, lasted, source },
            Trouble::Row | Trouble::Statement => BookingError::Database { step, source },
        }
    }
}

fn is_within_function(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.try_downcast_ref::<PgDatabaseError>().is_some_and(|error| error.r#where().is_some())
}
