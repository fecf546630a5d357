//! How statements are sent: from the pool, or inside one read-only transaction.

use std::time::Duration;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Transaction};

use super::{Meter, Store, StoreError};

pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// A server that is gone without a word (a cut cable, a firewall that forgot us) answers never, and then
/// its own limit on statements does not hold either.
const ANSWER_LIMIT: Duration = Duration::from_secs(65);

/// What the database answers, or that it does not.
pub(crate) async fn answer<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let silent = || sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database does not answer"));
    tokio::time::timeout(ANSWER_LIMIT, asked).await.unwrap_or_else(|_| Err(silent()))
}

/// Says what was being done when the driver failed.
pub(super) fn step(step: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Query { step, source }
}

impl Store {
    /// One statement on its own.
    pub(super) async fn rows(&self, doing: &'static str, statement: Statement<'_>) -> Result<Vec<PgRow>, StoreError> {
        let rows = answer(statement.fetch_all(&self.pool)).await.map_err(step(doing))?;
        self.meter.count_read(rows.len());
        Ok(rows)
    }

    /// Begins a reading in which every statement sees the same moment.
    pub(super) async fn begin_reading(&self) -> Result<Reading, StoreError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let transaction = answer(self.pool.begin_with(begin)).await.map_err(step("beginning to read"))?;
        self.meter.count_statements(1);
        Ok(Reading { transaction, meter: self.meter.clone() })
    }
}

/// A read-only transaction; all its statements see the database as at its first one.
pub(super) struct Reading {
    transaction: Transaction<'static, Postgres>,
    meter: Meter,
}

impl Reading {
    pub(super) async fn rows(
        &mut self,
        doing: &'static str,
        statement: Statement<'_>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let rows = answer(statement.fetch_all(&mut *self.transaction)).await.map_err(step(doing))?;
        self.meter.count_read(rows.len());
        Ok(rows)
    }

    pub(super) async fn end(self) -> Result<(), StoreError> {
        answer(self.transaction.commit()).await.map_err(step("ending to read"))?;
        self.meter.count_statements(1);
        Ok(())
    }
}
