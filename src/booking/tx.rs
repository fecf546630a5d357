//! One transaction of this room: READ COMMITTED, one budget for all its waits, every statement counted.

use std::time::{Duration, Instant};

use rand::RngExt as _;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Executor as _, Postgres, Row as _, Transaction};

use super::error::{StepError, Trouble};
use crate::db::{Features, Meter, Store, answer};
use crate::units::{Amounts, Cores, Gpus, Kib};

/// Attempts at one transaction before deadlocks and serialization failures are given up on.
pub(super) const ATTEMPTS_MAX: u32 = 8;

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

/// COMMIT may wait for a standby, and to cancel that wait would report as done what is not.
pub(super) const COMMIT_LIMIT: Duration = Duration::from_secs(60);

pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// One statement on its own, without locks.
pub(super) async fn rows(store: &Store, name: &'static str, statement: Statement<'_>) -> Result<Vec<PgRow>, StepError> {
    let rows = answer(statement.fetch_all(store.pool())).await.map_err(step(name))?;
    store.meter().count_read(rows.len());
    Ok(rows)
}

/// A transaction whose locks are held for at most a budget.
///
/// The budget runs from [`Tx::holds_rows`] to the COMMIT and bounds all waits for locks together. It is
/// shorter than the server's `deadlock_timeout`, so nobody who waits for us ever has to look for a
/// deadlock: we have given up by then.
pub(super) struct Tx {
    transaction: Transaction<'static, Postgres>,
    pub(super) features: Features,
    meter: Meter,
    /// What the server is told at first, and how much later than it everything has to have ended.
    budget: Duration,
    kept_back: Duration,
    held_since: Option<Instant>,
    /// The statement limit that the server knows.
    told: Duration,
}

/// How a COMMIT that was sent came out, other than well.
pub(super) enum CommitError {
    /// The server said that it rolled back.
    RolledBack(StepError),
    /// No answer, or one that a server gives when it goes down.
    Unknown(sqlx::Error),
}

impl Tx {
    /// READ COMMITTED by name: a server's default may be stricter, and then the statements after a
    /// lock would not see what the lock made them wait for.
    pub(super) async fn begin(store: &Store) -> Result<Self, StepError> {
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = 0; \
             SET LOCAL statement_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {}",
            QUEUE_LIMIT.as_millis(),
            IDLE_LIMIT.as_millis(),
        );
        let opened = answer(store.pool().begin_with(AssertSqlSafe(begin))).await;
        let transaction = opened.map_err(step("beginning a transaction"))?;
        store.meter().count_statements(1);
        let kept_back = store.lock_budget() / KEPT_BACK;
        Ok(Self {
            transaction,
            features: *store.features(),
            meter: store.meter().clone(),
            budget: store.lock_budget() - kept_back,
            kept_back,
            held_since: None,
            told: QUEUE_LIMIT,
        })
    }

    /// The budget begins: from the next statement on, rows are held that others may wait for.
    pub(super) fn holds_rows(&mut self) {
        self.held_since.get_or_insert_with(Instant::now);
    }

    /// Since when it holds rows; now where it holds none yet.
    pub(super) fn held_since(&self) -> Instant {
        self.held_since.unwrap_or_else(Instant::now)
    }

    /// The budget, for a statement that sets it as the server's limit on its way.
    pub(super) const fn budget_millis(&self) -> i64 {
        millis(self.budget)
    }

    /// The server was told by a statement that its limit is the budget now.
    pub(super) const fn budget_is_told(&mut self) {
        self.told = self.budget;
    }

    /// A statement that reads or locks.
    pub(super) async fn read(&mut self, name: &'static str, statement: Statement<'_>) -> Result<Vec<PgRow>, StepError> {
        let limit = self.tell_what_is_left(name).await?;
        let began = Instant::now();
        let rows = answer(statement.fetch_all(&mut *self.transaction)).await.map_err(within(name, limit, began))?;
        self.meter.count_read(rows.len());
        Ok(rows)
    }

    /// A statement that returns every row it writes.
    pub(super) async fn write(
        &mut self,
        name: &'static str,
        statement: Statement<'_>,
    ) -> Result<Vec<PgRow>, StepError> {
        let limit = self.tell_what_is_left(name).await?;
        let began = Instant::now();
        let rows = answer(statement.fetch_all(&mut *self.transaction)).await.map_err(within(name, limit, began))?;
        self.meter.count_write(rows.len() as u64, rows.len());
        Ok(rows)
    }

    /// A statement that writes and returns nothing.
    pub(super) async fn execute(&mut self, name: &'static str, statement: Statement<'_>) -> Result<(), StepError> {
        let limit = self.tell_what_is_left(name).await?;
        let began = Instant::now();
        let done = answer(statement.execute(&mut *self.transaction)).await.map_err(within(name, limit, began))?;
        self.meter.count_write(done.rows_affected(), 0);
        Ok(())
    }

    /// The server was told by a statement that its limit is [`COMMIT_LIMIT`] now.
    pub(super) const fn commit_limit_is_told(&mut self) {
        self.told = COMMIT_LIMIT;
    }

    pub(super) async fn commit(mut self) -> Result<(), CommitError> {
        if self.told < COMMIT_LIMIT {
            self.tell(COMMIT_LIMIT, "committing").await.map_err(CommitError::RolledBack)?;
        }
        self.meter.count_statements(1);
        answer(self.transaction.commit()).await.map_err(|source| {
            let error = StepError::new("committing", source);
            match error.trouble() {
                Trouble::Connection => CommitError::Unknown(error.source),
                _ => CommitError::RolledBack(error),
            }
        })
    }

    pub(super) async fn rollback(self) -> Result<(), StepError> {
        self.meter.count_statements(1);
        answer(self.transaction.rollback()).await.map_err(step("rolling back"))
    }

    /// Makes the server's limit what is left of the budget. Returns that limit.
    async fn tell_what_is_left(&mut self, name: &'static str) -> Result<Duration, StepError> {
        let Some(since) = self.held_since else { return Ok(self.told) };
        // A statement that begins too late is ended by the server, like one that lasts too long.
        let left = self.budget.saturating_sub(since.elapsed()).max(Duration::from_millis(1));
        if self.told > left + self.kept_back {
            self.tell(left, name).await?;
        }
        Ok(self.told)
    }

    async fn tell(&mut self, limit: Duration, name: &'static str) -> Result<(), StepError> {
        let set = format!("SET LOCAL statement_timeout = {}", limit.as_millis());
        answer(self.transaction.execute(sqlx::raw_sql(AssertSqlSafe(set)))).await.map_err(step(name))?;
        self.meter.count_statements(1);
        self.told = limit;
        Ok(())
    }
}

pub(super) const fn millis(time: Duration) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "limits of seconds")]
    let millis = time.as_millis() as i64;
    millis
}

pub(super) fn step(name: &'static str) -> impl FnOnce(sqlx::Error) -> StepError {
    move |source| StepError::new(name, source)
}

/// The error of a statement that the server was to end after `limit`.
fn within(name: &'static str, limit: Duration, began: Instant) -> impl FnOnce(sqlx::Error) -> StepError {
    move |source| {
        let lasted = began.elapsed();
        StepError { is_over_limit: lasted + LIMIT_SLACK >= limit, lasted, ..StepError::new(name, source) }
    }
}

/// A key column, as the text it is.
pub(super) fn id<I: From<String>>(row: &PgRow, column: &'static str) -> Result<I, StepError> {
    column_of::<String>(row, column).map(I::from)
}

pub(super) fn column_of<'r, T>(row: &'r PgRow, column: &'static str) -> Result<T, StepError>
where
    T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    row.try_get(column).map_err(step("reading a row"))
}

/// What a `proc` row holds.
pub(super) fn amounts(row: &PgRow) -> Result<Amounts, StepError> {
    Ok(Amounts {
        cores: Cores(column_of(row, "int_cores_reserved")?),
        memory: Kib(column_of(row, "int_mem_reserved")?),
        gpus: Gpus(column_of(row, "int_gpus_reserved")?),
        gpu_memory: Kib(column_of(row, "int_gpu_mem_reserved")?),
    })
}

/// Waits before the next attempt after a deadlock: longer each time, and never the same for two who
/// collided.
pub(super) async fn wait_with_jitter(attempt: u32) {
    let bound = 20_u64 << attempt.min(5);
    let pause = rand::rng().random_range(1..=bound);
    tokio::time::sleep(Duration::from_millis(pause)).await;
}
