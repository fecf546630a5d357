//! The database as everybody here uses it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, PgPool, Postgres, Row as _};

use super::error::{Result, StoreError};
use super::features::Features;
use super::meter::Meter;
use super::read::gpu_work::GpuWorkSeen;
use super::sessions::Sessions;
use super::settings::ConnectSettings;
use super::way::Way;

/// For what is answered at once.
const STANDBY_LIMIT: Duration = Duration::from_secs(5);
/// A server that hears of the end of our connections does so by then.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// The database as this scheduler uses it. Cloning shares the connections and the meter.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) pool: PgPool,
    pub(super) sessions: Arc<Sessions>,
    pub(super) meter: Meter,
    pub(super) gpu_work: GpuWorkSeen,
    pub(super) lock_budget: Duration,
    /// By what settings, and which way; unless the driver's own options said it.
    pub(super) reached: Option<(Arc<ConnectSettings>, Way)>,
}

impl Store {
    /// The connections themselves. What is sent over them is not counted in [`Store::meter`].
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// As the schema was when it was looked at last.
    pub fn features(&self) -> Features {
        self.sessions.features()
    }

    pub const fn meter(&self) -> &Meter {
        &self.meter
    }

    /// How long a transaction that writes may hold rows, its waits included. Shorter than the server's
    /// `deadlock_timeout`: whoever waits for us has us out of the way before it looks for a deadlock.
    pub const fn lock_budget(&self) -> Duration {
        self.lock_budget
    }

    /// Another budget, for measuring what work costs whatever the machine is busy with.
    #[must_use]
    pub fn with_lock_budget(self, lock_budget: Duration) -> Self {
        Self { lock_budget, ..self }
    }

    /// Closes all connections; statements under way are finished first, unless the database does not answer.
    pub async fn close(&self) {
        let _ = tokio::time::timeout(CLOSE_LIMIT, self.pool.close()).await;
    }

    /// A session for a statement or transaction, opened with the password that holds now.
    pub(super) async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        match self.pool.acquire().await {
            // Its file may have been written since.
            Err(error) if is_about_password(&error) && self.has_password_file() => match self.look_at_way().await {
                Ok(()) => self.pool.acquire().await,
                Err(_) => Err(error),
            },
            acquired => acquired,
        }
    }

    /// As [`Self::acquire`], and never one of a standby where that is of no use: what it says may be old.
    ///
    /// # Errors
    /// [`StoreError::Standby`].
    pub(super) async fn session(&self, step: &'static str) -> Result<PoolConnection<Postgres>> {
        let mut session = self.acquire().await.map_err(StoreError::query(step))?;
        if self.sessions.needs_primary && self.sessions.has_met_standby() {
            let asked = session.fetch_one(sqlx::raw_sql(include_str!("sql/is_standby.sql")));
            let row = self.sessions.answer(STANDBY_LIMIT, asked).await;
            if row.and_then(|row| row.try_get("is_standby")).map_err(StoreError::query(step))? {
                session.close_on_drop();
                return Err(self.standby());
            }
        }
        Ok(session)
    }
}

fn is_about_password(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("28P01"))
}
