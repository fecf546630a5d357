//! How statements are sent: from the pool, or inside one read-only transaction.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Transaction};

use super::{Meter, Store, StoreError};

pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// Says what was being done when the driver failed.
pub(super) fn step(step: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Query { step, source }
}

impl Store {
    /// One statement on its own.
    pub(super) async fn rows(&self, doing: &'static str, statement: Statement<'_>) -> Result<Vec<PgRow>, StoreError> {
        let rows = statement.fetch_all(&self.pool).await.map_err(step(doing))?;
        self.meter.count_read(rows.len());
        Ok(rows)
    }

    /// Begins a reading in which every statement sees the same moment.
    pub(super) async fn begin_reading(&self) -> Result<Reading, StoreError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let transaction = self.pool.begin_with(begin).await.map_err(step("beginning to read"))?;
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
        let rows = statement.fetch_all(&mut *self.transaction).await.map_err(step(doing))?;
        self.meter.count_read(rows.len());
        Ok(rows)
    }

    pub(super) async fn end(self) -> Result<(), StoreError> {
        self.transaction.commit().await.map_err(step("ending to read"))?;
        self.meter.count_statements(1);
        Ok(())
    }
}
