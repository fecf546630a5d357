//! One connection, on which every statement has a read-only transaction of its own.

use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Postgres, raw_sql};

use super::{CheckError, STATEMENT_LIMIT};
use crate::db::{ConnectSettings, StoreError, Way, connect_once};

/// After the server should have ended the statement itself.
const GRACE: Duration = Duration::from_secs(5);

pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

pub(super) struct Session {
    connection: PgConnection,
    way: Way,
    /// A statement was not answered; another one would only wait for it.
    is_lost: bool,
}

impl Session {
    pub(super) async fn open(settings: &ConnectSettings) -> Result<Self, StoreError> {
        let (connection, way) = connect_once(settings).await?;
        Ok(Self { connection, way, is_lost: false })
    }

    pub(super) const fn way(&self) -> Way {
        self.way
    }

    pub(super) async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, CheckError> {
        if self.is_lost {
            return Err(CheckError::Lost);
        }
        let Ok(rows) =
            tokio::time::timeout(STATEMENT_LIMIT + GRACE, in_transaction(&mut self.connection, statement)).await
        else {
            self.is_lost = true;
            return Err(CheckError::Lost);
        };
        Ok(rows?)
    }

    /// The one row of a statement that has one.
    pub(super) async fn row(&mut self, statement: Statement<'_>) -> Result<PgRow, CheckError> {
        self.rows(statement).await?.into_iter().next().ok_or_else(|| CheckError::from(sqlx::Error::RowNotFound))
    }

    pub(super) async fn ping(&mut self) -> Result<(), CheckError> {
        if self.is_lost {
            return Err(CheckError::Lost);
        }
        let Ok(pinged) = tokio::time::timeout(STATEMENT_LIMIT, self.connection.ping()).await else {
            self.is_lost = true;
            return Err(CheckError::Lost);
        };
        Ok(pinged?)
    }

    pub(super) async fn close(self) {
        if !self.is_lost {
            // A goodbye that does not arrive is none of our business.
            let _ = self.connection.close().await;
        }
    }
}

/// Unnamed statements inside one transaction work through every kind of proxy.
async fn in_transaction(connection: &mut PgConnection, statement: Statement<'_>) -> Result<Vec<PgRow>, sqlx::Error> {
    let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {}", STATEMENT_LIMIT.as_millis());
    connection.execute(raw_sql(AssertSqlSafe(begin))).await?;
    let rows = statement.persistent(false).fetch_all(&mut *connection).await;
    connection.execute(raw_sql("ROLLBACK")).await?;
    rows
}
