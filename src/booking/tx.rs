//! One transaction of this room: READ COMMITTED, bounded waits for locks, every statement counted.

use std::time::Duration;

use rand::RngExt as _;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres, Row as _, Transaction};

use super::error::{StepError, Trouble};
use crate::store::{Features, Meter, Store, answer};
use crate::units::{Amounts, Cores, Gpus, Kib};

/// Longest wait for one row that somebody else holds; Cuebot holds rows for milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Attempts at one transaction before deadlocks and lock timeouts are given up on.
pub(super) const ATTEMPTS_MAX: u32 = 8;

pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// One statement on its own, without locks.
pub(super) async fn rows(store: &Store, name: &'static str, statement: Statement<'_>) -> Result<Vec<PgRow>, StepError> {
    let rows = answer(statement.fetch_all(store.pool())).await.map_err(step(name))?;
    store.meter().count_read(rows.len());
    Ok(rows)
}

pub(super) struct Tx {
    transaction: Transaction<'static, Postgres>,
    pub(super) features: Features,
    meter: Meter,
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
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = {}",
            LOCK_TIMEOUT.as_millis()
        );
        let opened = answer(store.pool().begin_with(AssertSqlSafe(begin))).await;
        let transaction = opened.map_err(step("beginning a transaction"))?;
        store.meter().count_statements(1);
        Ok(Self { transaction, features: *store.features(), meter: store.meter().clone() })
    }

    /// A statement that reads or locks.
    pub(super) async fn read(&mut self, name: &'static str, statement: Statement<'_>) -> Result<Vec<PgRow>, StepError> {
        let rows = answer(statement.fetch_all(&mut *self.transaction)).await.map_err(step(name))?;
        self.meter.count_read(rows.len());
        Ok(rows)
    }

    /// A statement that returns every row it writes.
    pub(super) async fn write(
        &mut self,
        name: &'static str,
        statement: Statement<'_>,
    ) -> Result<Vec<PgRow>, StepError> {
        let rows = answer(statement.fetch_all(&mut *self.transaction)).await.map_err(step(name))?;
        self.meter.count_write(rows.len() as u64, rows.len());
        Ok(rows)
    }

    /// A statement that writes and returns nothing.
    pub(super) async fn execute(&mut self, name: &'static str, statement: Statement<'_>) -> Result<(), StepError> {
        let done = answer(statement.execute(&mut *self.transaction)).await.map_err(step(name))?;
        self.meter.count_write(done.rows_affected(), 0);
        Ok(())
    }

    pub(super) async fn commit(self) -> Result<(), CommitError> {
        self.meter.count_statements(1);
        answer(self.transaction.commit()).await.map_err(|source| {
            let error = StepError { step: "committing", source };
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
}

pub(super) fn step(name: &'static str) -> impl FnOnce(sqlx::Error) -> StepError {
    move |source| StepError { step: name, source }
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
