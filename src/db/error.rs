//! What can go wrong between us and the database.

use super::Missing;

/// A failed reading. Rows that make no sense are not errors: they are left out.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot use the database {name} at {host}:{port} as {user}; check the database settings")]
    Connect { host: String, port: u16, name: String, user: String, source: sqlx::Error },
    #[error(
        "the server at {host}:{port} wants the password of {user} in clear over a connection that is not encrypted, and \
         was told nothing; let its pg_hba.conf say scram-sha-256 for {user}, or let it offer TLS and set database.tls to \
         require or more; database.allow_cleartext_password: true sends it as it stands"
    )]
    ClearText { host: String, port: u16, user: String },
    #[error(
        "the database lacks {}; check that the database name is that of Cuebot's database and that the user sees its \
         tables",
        .missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Schema { missing: Vec<Missing> },
    #[error("failed {step}")]
    Query { step: &'static str, source: sqlx::Error },
}

impl StoreError {
    /// The same call may pass at once: serialization failure, deadlock, lock not available.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.sql_state().is_some_and(|code| matches!(code.as_str(), "40001" | "40P01" | "55P03"))
    }

    /// The server is gone, going down, full, or does not answer; the same call may pass later.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        match self.database_error() {
            Some(sqlx::Error::Database(_)) => self
                .sql_state()
                .is_some_and(|code| code.starts_with("08") || code.starts_with("57P") || code == "53300"),
            Some(
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::BeginFailed,
            ) => true,
            _ => false,
        }
    }

    /// The server does not let us in: an unknown user, a wrong password, an entry in its `pg_hba.conf`.
    pub(super) fn is_login_refused(&self) -> bool {
        self.sql_state().is_some_and(|code| code.starts_with("28"))
    }

    fn database_error(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Connect { source, .. } | Self::Query { source, .. } => Some(source),
            Self::ClearText { .. } | Self::Schema { .. } => None,
        }
    }

    fn sql_state(&self) -> Option<String> {
        match self.database_error()? {
            sqlx::Error::Database(error) => error.code().map(std::borrow::Cow::into_owned),
            _ => None,
        }
    }
}
