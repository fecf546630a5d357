//! The one type of transaction: reading at one moment, or writing within a budget; every statement is
//! counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Postgres, SqlSafeStr as _, Transaction};

use super::error::Trouble;
use super::error::{Result, StoreError};
use super::features::Features;
use super::meter::Meter;
use super::sessions::Sessions;
use super::statement::{ANSWER_LIMIT, Rows, Source, Statement};
use super::store::Store;

/// The server ends a transaction of ours in which nothing happens for this long. It holds rows that
/// Cuebot waits for, and a process that was stopped or lost its network cannot give them back.
const IDLE_LIMIT: Duration = Duration::from_secs(1);

/// How long a transaction may wait before it holds a row of Cuebot's: for our own chunks that share a
/// limit, of which each takes a budget.
const QUEUE_LIMIT: Duration = Duration::from_secs(2);

/// One part in so many of a budget is kept back: what is left is told to the server again only when it
/// is less than the server knows by that much, as telling costs a round trip.
const KEPT_BACK: u32 = 8;

/// A cancelled statement ran until its limit when it ended at most this long before it: the server's
/// clock and ours do not start at the same instant.
const LIMIT_SLACK: Duration = Duration::from_millis(20);

/// For the way there and back, and what the server answers at once, on a machine that is busy.
const GRACE: Duration = Duration::from_secs(10);

/// COMMIT may wait for a standby, and to cancel that wait would report as done what is not.
pub(super) const COMMIT_LIMIT: Duration = Duration::from_secs(60);

/// A transaction. One that writes holds its locks for at most a budget.
///
/// The budget runs from [`Tx::holds_rows`] to the COMMIT and bounds all waits for locks together. It is
/// shorter than the server's `deadlock_timeout`, so nobody who waits for us ever has to look for a
/// deadlock: we have given up by then.
pub(crate) struct Tx<'c> {
    transaction: Transaction<'c, Postgres>,
    pub(super) features: Features,
    meter: Meter,
    sessions: Arc<Sessions>,
    /// What the server is told at first, and how much later than it everything has to have ended.
    pub(super) budget: Duration,
    kept_back: Duration,
    held_since: Option<Instant>,
    /// The statement limit that the server knows.
    told: Duration,
    /// Statements are prepared by name, to be used again.
    is_named: bool,
}

/// How a COMMIT that was sent came out, other than well.
pub(crate) enum CommitError {
    /// The server said that it rolled back.
    RolledBack(StoreError),
    /// No answer, or one that a server gives when it goes down.
    Unknown(StoreError),
}

impl CommitError {
    /// For what may be repeated either way.
    pub(crate) fn either(self) -> StoreError {
        match self {
            Self::RolledBack(error) | Self::Unknown(error) => error,
        }
    }
}

impl Source for &mut Tx<'_> {
    async fn rows(self, statement: Statement<'_>) -> Result<Rows> {
        let rows = self.fetch(statement).await?;
        self.meter.count(rows.len(), 0);
        Ok(rows)
    }
}

impl Tx<'static> {
    /// Reads at one moment: all statements see the database as at the first one.
    pub(super) async fn reading(store: &Store) -> Result<Self> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let begun = begin_on(store, begin.to_owned(), "beginning to read").await?;
        Ok(Self::of(begun, Arc::clone(&store.sessions), store.meter.clone(), Duration::MAX))
    }

    /// Reads what may be done without: the server ends a statement that takes longer.
    async fn reading_within(store: &Store, limit: Duration) -> Result<Self> {
        let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {}", limit.as_millis());
        let begun = begin_on(store, begin, "beginning to read").await?;
        Ok(Self::of(begun, Arc::clone(&store.sessions), store.meter.clone(), limit))
    }

    /// READ COMMITTED by name: a server's default may be stricter, and then the statements after a
    /// lock would not see what the lock made them wait for.
    pub(crate) async fn writing(store: &Store) -> Result<Self> {
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = 0; \
             SET LOCAL statement_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {}",
            QUEUE_LIMIT.as_millis(),
            IDLE_LIMIT.as_millis(),
        );
        let transaction = begin_on(store, begin, "beginning a transaction").await?;
        let kept_back = store.lock_budget / KEPT_BACK;
        let tx = Self::of(transaction, Arc::clone(&store.sessions), store.meter.clone(), QUEUE_LIMIT);
        Ok(Self { budget: store.lock_budget.saturating_sub(kept_back), kept_back, ..tx })
    }
}

impl Store {
    /// What one statement reads, if the server does it within the limit.
    pub(super) async fn rows_within(&self, limit: Duration, statement: Statement<'_>) -> Result<Rows> {
        let mut tx = Tx::reading_within(self, limit).await?;
        let rows = tx.rows(statement).await;
        let (tx, rows) = tx.unless_failed(rows).await?;
        tx.rollback().await?;
        Ok(rows)
    }
}

impl<'c> Tx<'c> {
    /// Reads on a connection outside the pool. Unnamed statements inside one transaction work through every
    /// kind of proxy.
    pub(super) async fn reading_on(connection: &'c mut PgConnection, limit: Duration) -> Result<Self> {
        let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {}", limit.as_millis());
        let begun =
            connection.begin_with(AssertSqlSafe(begin)).await.map_err(StoreError::query("beginning to read"))?;
        Ok(Self { is_named: false, ..Self::of(begun, Arc::new(Sessions::new(false)), Meter::default(), limit) })
    }

    fn of(transaction: Transaction<'c, Postgres>, sessions: Arc<Sessions>, meter: Meter, told: Duration) -> Self {
        let (budget, kept_back, features) = (Duration::MAX, Duration::ZERO, sessions.features());
        Self { transaction, features, meter, sessions, budget, kept_back, held_since: None, told, is_named: true }
    }

    /// Longest wait for an answer that the server is to give within `told`.
    fn answer_limit(&self) -> Duration {
        self.told.saturating_add(GRACE).min(ANSWER_LIMIT)
    }

    /// The budget begins: from the next statement on, rows are held that others may wait for.
    pub(crate) fn holds_rows(&mut self) {
        self.held_since.get_or_insert_with(Instant::now);
    }

    /// Since when it holds rows; now where it holds none yet.
    pub(crate) fn held_since(&self) -> Instant {
        self.held_since.unwrap_or_else(Instant::now)
    }

    /// A statement whose last parameter, in milliseconds, becomes the server's limit: the budget, or
    /// [`COMMIT_LIMIT`] where nothing but the COMMIT follows.
    pub(super) async fn rows_telling(&mut self, statement: Statement<'_>, limit: Duration) -> Result<Rows> {
        let rows = self.rows(statement.bind(limit.as_millis().to_string())).await?;
        self.told = limit;
        Ok(rows)
    }

    /// A statement that returns every row it writes.
    pub(super) async fn write(&mut self, statement: Statement<'_>) -> Result<Rows> {
        let rows = self.fetch(statement).await?;
        self.meter.count(rows.len(), rows.len() as u64);
        Ok(rows)
    }

    /// A statement that writes and returns nothing.
    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> Result<()> {
        let Statement { step, query } = statement;
        let limit = self.tell_what_is_left(step).await?;
        let began = Instant::now();
        let (within_limit, sessions) = (self.answer_limit(), Arc::clone(&self.sessions));
        let done = sessions.answer(within_limit, query.execute(&mut *self.transaction)).await;
        let done = done.map_err(within(step, limit, began))?;
        self.meter.count(0, done.rows_affected());
        Ok(())
    }

    async fn fetch(&mut self, statement: Statement<'_>) -> Result<Rows> {
        let Statement { step, query } = statement;
        let limit = self.tell_what_is_left(step).await?;
        let began = Instant::now();
        let (within_limit, sessions) = (self.answer_limit(), Arc::clone(&self.sessions));
        let asked = query.persistent(self.is_named).fetch_all(&mut *self.transaction);
        let rows = sessions.answer(within_limit, asked).await.map_err(within(step, limit, began))?;
        Ok(Rows { step, rows })
    }

    pub(crate) async fn commit(mut self) -> Result<(), CommitError> {
        if self.told < COMMIT_LIMIT {
            self.tell(COMMIT_LIMIT, "committing").await.map_err(CommitError::RolledBack)?;
        }
        self.meter.count(0, 0);
        let committed = self.sessions.answer(ANSWER_LIMIT, self.transaction.commit()).await;
        let committed = committed.map_err(StoreError::query("committing"));
        committed.map_err(|error| match error.trouble() {
            Trouble::Connection => CommitError::Unknown(error),
            _ => CommitError::RolledBack(error),
        })
    }

    pub(crate) async fn rollback(self) -> Result<()> {
        self.meter.count(0, 0);
        let rolled_back = self.sessions.answer(GRACE, self.transaction.rollback()).await;
        rolled_back.map_err(StoreError::query("rolling back"))
    }

    /// What was written, if nothing failed. Else the locks are freed before anybody waits for them; a
    /// connection that is too broken for it has none left.
    pub(crate) async fn unless_failed<T>(self, written: Result<T>) -> Result<(Self, T)> {
        match written {
            Ok(written) => Ok((self, written)),
            Err(error) => {
                let _ = self.rollback().await;
                Err(error)
            }
        }
    }

    /// Makes the server's limit what is left of the budget. Returns that limit.
    async fn tell_what_is_left(&mut self, step: &'static str) -> Result<Duration> {
        let Some(since) = self.held_since else { return Ok(self.told) };
        // A statement that begins too late is ended by the server, like one that lasts too long.
        let left = self.budget.saturating_sub(since.elapsed()).max(Duration::from_millis(1));
        if self.told > left + self.kept_back {
            self.tell(left, step).await?;
        }
        Ok(self.told)
    }

    async fn tell(&mut self, limit: Duration, step: &'static str) -> Result<()> {
        let set = format!("SET LOCAL statement_timeout = {}", limit.as_millis());
        let sessions = Arc::clone(&self.sessions);
        let told = sessions.answer(GRACE, self.transaction.execute(sqlx::raw_sql(AssertSqlSafe(set)))).await;
        told.map_err(StoreError::query(step))?;
        self.meter.count(0, 0);
        self.told = limit;
        Ok(())
    }
}

/// As the driver's own way to begin, on a session that is known to be of use.
async fn begin_on(store: &Store, begin: String, step: &'static str) -> Result<Transaction<'static, Postgres>> {
    let session = store.session(step).await?;
    let begun = Transaction::begin(session, Some(AssertSqlSafe(begin).into_sql_str()));
    let begun = store.sessions.answer(GRACE, begun).await.map_err(|error| {
        // To write is, there, what is not supported.
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        let is_standby = matches!(code.as_deref(), Some("25006" | "0A000"));
        if is_standby { store.standby() } else { StoreError::query(step)(error) }
    })?;
    store.meter.count(0, 0);
    Ok(begun)
}

/// The error of a statement that the server was to end after `limit`.
fn within(step: &'static str, limit: Duration, began: Instant) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| {
        let lasted = began.elapsed();
        StoreError::Query { step, source: source.into(), lasted, is_over_limit: lasted + LIMIT_SLACK >= limit }
    }
}
