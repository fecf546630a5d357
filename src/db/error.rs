//! What can go wrong between us and the database, and what it means.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::postgres::PgDatabaseError;

use super::unreached::{self, DriverError};

/// A part that every generation of the schema has, and this database has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum Missing {
    #[strum(to_string = "table {0}")]
    Table(&'static str),
    /// Of a table that is there.
    #[strum(to_string = "{0}.{1}")]
    Column(&'static str, &'static str),
}

/// A failed reading or a failed step of a transaction. Rows of a reading that make no sense are not errors:
/// they are left out.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}", unreached::told(host, *port, name, user, source))]
    Connect { host: String, port: u16, name: String, user: String, source: DriverError },
    #[error(
        "the server at {host}:{port} wants the password of {user} in clear over a connection that is not encrypted, and \
         was told nothing; let its pg_hba.conf say scram-sha-256 for {user}, or let it offer TLS and set database.tls to \
         require or more; database.allow_cleartext_password: true sends it as it stands"
    )]
    ClearText { host: String, port: u16, user: String },
    #[error(
        "cannot read the certificates in {} (database.tls_root_certificate), by which the server at {host}:{port} is to \
         be known to {user}; name a PEM file that this user may read", path.display()
    )]
    Certificates { host: String, port: u16, user: String, path: PathBuf, source: std::io::Error },
    #[error(
        "the server at {host}:{port} is a standby and takes no writes from {user}; let database.db_host lead to the \
         primary"
    )]
    Standby { host: String, port: u16, user: String },
    #[error(
        "between {user} and the database {name} at {host}:{port} is a proxy that pools by transaction; connect to \
         PostgreSQL itself, or let the proxy pool by session: schedulers hold session locks"
    )]
    PooledByTransaction { host: String, port: u16, name: String, user: String },
    #[error(
        "the database {name} at {host}:{port} is not Cuebot's, as far as {user} sees: it has {present} of its {looked_for} \
         tables; let database.db_name name Cuebot's, or let {user} see its tables: USAGE on their schema, which \
         search_path must name"
    )]
    NotCuebot {
        host: String,
        port: u16,
        name: String,
        user: String,
        missing: Vec<Missing>,
        present: usize,
        looked_for: usize,
    },
    #[error(
        "the database lacks {}; check that the database name is that of Cuebot's database and that the user sees its \
         tables",
        .missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Schema { missing: Vec<Missing> },
    #[error("the database stopped answering")]
    Unanswered,
    #[error("failed {step}")]
    Query {
        step: &'static str,
        source: DriverError,
        lasted: Duration,
        /// The statement had run as long as we allow.
        is_over_limit: bool,
    },
}

/// Of whatever asks the database.
pub(super) type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What an error means for the transaction it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Deadlock, serialization failure, a wait that our budget ended: the same again may pass.
    Contention,
    /// A trigger, constraint or column refuses a row: the chunk passes without that row.
    Row,
    /// The server is gone, going down, full, or does not answer; the same may pass later.
    Connection,
    /// Ended by somebody else's limit or by hand.
    Cancelled,
    Statement,
}

/// Classes of SQLSTATE that say what is wrong with the server, the session or the statement. Every other
/// one is a row's: the standard's own, and whatever a site's trigger raises.
const STATEMENT_CLASSES: [&str; 16] =
    ["0A", "0L", "0P", "25", "26", "28", "2D", "34", "3D", "3F", "42", "53", "54", "55", "58", "XX"];

impl StoreError {
    /// Says what was being done when the driver failed.
    pub(super) fn query(step: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query { step, source: source.into(), lasted: Duration::ZERO, is_over_limit: false }
    }

    /// A row is held that this step does not wait for.
    pub(crate) const fn held(step: &'static str) -> Self {
        Self::Query { step, source: DriverError(sqlx::Error::RowNotFound), lasted: Duration::ZERO, is_over_limit: true }
    }

    /// The server is gone, going down, full, or does not answer; the same call may pass later.
    pub fn is_connection_lost(&self) -> bool {
        self.trouble() == Trouble::Connection
    }

    /// The server does not let us in: an unknown user, a wrong password, an entry in its `pg_hba.conf`.
    pub(crate) fn is_login_refused(&self) -> bool {
        self.sql_state().is_some_and(|code| code.starts_with("28"))
    }

    /// The server has no room for one session more.
    pub(super) fn is_full(&self) -> bool {
        self.sql_state().as_deref() == Some("53300")
    }

    /// There is no connection to ask anything over.
    pub const fn is_no_connection(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::ClearText { .. } | Self::Certificates { .. })
    }

    /// The user lacks a privilege.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.sql_state().as_deref() == Some("42501")
    }

    /// What was to be referred to is gone: the host of a proc, above all.
    pub(crate) fn is_about_something_gone(&self) -> bool {
        self.sql_state().as_deref() == Some("23503")
    }

    /// The server says that the transaction asked for lies in its future.
    pub(super) fn is_unheard_of(&self) -> bool {
        self.sql_state().as_deref() == Some("22023")
    }

    /// The statement had run as long as we allow, or would have waited where we do not.
    pub(crate) const fn is_over_limit(&self) -> bool {
        matches!(self, Self::Query { is_over_limit: true, .. })
    }

    /// What was being done.
    pub(crate) const fn step(&self) -> &'static str {
        if let Self::Query { step, .. } = self { step } else { "connecting" }
    }

    /// The database's own words, or else the driver's.
    pub(crate) fn message(&self) -> String {
        let Some(source) = self.driver_error() else { return self.to_string() };
        source.as_database_error().map_or_else(|| source.to_string(), |error| error.message().to_owned())
    }

    /// The driver's words, without what was being done.
    pub(crate) fn cause(&self) -> &dyn std::fmt::Display {
        self.driver_error().map_or(self, |source| source)
    }

    /// How long the failed statement took.
    pub(crate) const fn lasted(&self) -> Duration {
        if let Self::Query { lasted, .. } = self { *lasted } else { Duration::ZERO }
    }

    pub(crate) fn trouble(&self) -> Trouble {
        let is_over_limit = self.is_over_limit();
        match self.driver_error() {
            Some(sqlx::Error::RowNotFound) if is_over_limit => Trouble::Contention,
            Some(sqlx::Error::Database(error)) => match error.code().as_deref() {
                Some("40001" | "40P01" | "55P03" | "25P03") => Trouble::Contention,
                Some("57014") if is_over_limit => Trouble::Contention,
                Some("57014") => Trouble::Cancelled,
                // Full, or a standby by now.
                Some("53300" | "25006") => Trouble::Connection,
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
            Some(
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::BeginFailed,
            ) => Trouble::Connection,
            None if matches!(self, Self::Unanswered | Self::Standby { .. }) => Trouble::Connection,
            _ => Trouble::Statement,
        }
    }

    const fn driver_error(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Connect { source, .. } | Self::Query { source, .. } => Some(&source.0),
            Self::ClearText { .. }
            | Self::Certificates { .. }
            | Self::Standby { .. }
            | Self::PooledByTransaction { .. }
            | Self::NotCuebot { .. }
            | Self::Schema { .. }
            | Self::Unanswered => None,
        }
    }

    fn sql_state(&self) -> Option<String> {
        match self.driver_error()? {
            sqlx::Error::Database(error) => error.code().map(std::borrow::Cow::into_owned),
            _ => None,
        }
    }
}

fn is_within_function(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.try_downcast_ref::<PgDatabaseError>().is_some_and(|error| error.r#where().is_some())
}
