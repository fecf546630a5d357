//! Connections: how they are made and what is set on each.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};

use super::error::{Result, StoreError};
use super::features::Features;
use super::meter::Meter;
use super::read::gpu_work::GpuWorkSeen;
use super::schema;
use super::settings::ConnectSettings;
use super::statement::{Source as _, Statement};
use super::store::Store;
use super::way::{self, CONNECT_LIMIT, Way, driven, failed};

/// A statement of ours that runs longer than this is ended by the server, so that a pass fails and
/// is tried again instead of hanging.
const STATEMENT_TIMEOUT: Duration = Duration::from_mins(1);
/// A transaction of ours in which nothing happens for this long is ended by the server, whatever became
/// of this process. Those that hold rows set a limit of their own, which is shorter.
const IDLE_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for which a transaction of ours holds rows that Cuebot may wait for; less where four
/// fifths of the server's `deadlock_timeout` are.
const LOCK_BUDGET_MAX: Duration = Duration::from_millis(400);
/// A connection that rested longer is asked for a sign of life before it is used.
const TRUSTED_REST: Duration = Duration::from_secs(2);

impl Store {
    /// Looks at the way and opens one connection on it, looks at the schema, and opens more when they are
    /// needed.
    ///
    /// # Errors
    /// [`StoreError::Connect`] when no connection can be had, [`StoreError::ClearText`] when the server
    /// wants the password in clear, [`StoreError::Schema`] when this is not Cuebot's database.
    pub async fn connect(settings: &ConnectSettings) -> Result<Self> {
        let (way, options) = way::look(settings).await?;
        let store = Self::connect_with(options, settings.pool_size).await?;
        Ok(Self { reached: Some((Arc::new(settings.clone()), way)), ..store })
    }

    /// As [`Self::connect`], with the driver's own options, and any way that the driver goes.
    pub async fn connect_with(options: PgConnectOptions, pool_size: u32) -> Result<Self> {
        let meter = Meter::default();
        // Once without the pool, which would only say that its time ran out.
        let first = driven(&options).await?;
        // Whether the server hears of the end of this connection changes nothing.
        let _ = first.close().await;
        let pool = pool_options(pool_size).connect_with(options.clone()).await.map_err(failed(&options))?;
        let (features, gpu_work) = (Features::default(), GpuWorkSeen::default());
        let store = Self { pool, features, meter, gpu_work, lock_budget: LOCK_BUDGET_MAX, reached: None };
        let features = schema::detect(&store).await?;
        let lock_budget = store.lock_budget_of_server().await?;
        Ok(Self { features, lock_budget, ..store })
    }

    /// How the server was reached.
    pub fn way(&self) -> Option<Way> {
        self.reached.as_ref().map(|(_, way)| *way)
    }

    /// Looks at the way once more, after the server was away: another one may have come back.
    ///
    /// # Errors
    /// As [`Self::connect`]. If the server wants the password in clear, no further connection has it.
    pub async fn look_at_way(&self) -> Result<()> {
        let Some((settings, _)) = &self.reached else { return Ok(()) };
        match way::look(settings).await {
            Ok((_, options)) => self.pool.set_connect_options(options),
            Err(error) => {
                if matches!(error, StoreError::ClearText { .. }) {
                    self.pool.set_connect_options(settings.connect_options().password(""));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// By the server's own `deadlock_timeout`.
    async fn lock_budget_of_server(&self) -> Result<Duration> {
        let sql = include_str!("sql/deadlock_timeout.sql");
        let rows = self.rows(Statement::new("asking for the server's deadlock_timeout", sql)).await?;
        let milliseconds = rows.one(|row| row.get::<i64>("setting"))?.unsigned_abs();
        Ok(LOCK_BUDGET_MAX.min(Duration::from_millis(milliseconds) * 4 / 5))
    }

    /// Answers once the database does.
    pub async fn ping(&self) -> Result<()> {
        let mut connection = self.pool.acquire().await.map_err(StoreError::query("waiting for a connection"))?;
        connection.ping().await.map_err(StoreError::query("asking the database for a sign of life"))
    }
}

/// One connection outside the pool, with nothing set on it, and its way.
///
/// # Errors
/// [`StoreError::Connect`], also when the server does not answer in time; [`StoreError::ClearText`].
pub async fn connect_once(settings: &ConnectSettings) -> Result<(PgConnection, Way)> {
    let (way, options) = way::look(settings).await?;
    Ok((driven(&options).await?, way))
}

fn pool_options(pool_size: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(pool_size.max(1))
        .acquire_timeout(CONNECT_LIMIT)
        .idle_timeout(Duration::from_secs(30))
        .max_lifetime(Duration::from_hours(1))
        .test_before_acquire(false)
        .before_acquire(|connection, rest| {
            Box::pin(async move {
                if rest.idle_for > TRUSTED_REST {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(|connection, _| {
            Box::pin(async move {
                // Compiling a plan costs more than these short statements take.
                let set = format!(
                    "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; SET jit = off",
                    STATEMENT_TIMEOUT.as_millis(),
                    IDLE_TRANSACTION_TIMEOUT.as_millis(),
                );
                sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(connection).await?;
                Ok(())
            })
        })
}
