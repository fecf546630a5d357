//! Connections: how they are made and what is set on each.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, Row as _};

use super::error::{Result, StoreError};
use super::meter::Meter;
use super::pooling;
use super::read::gpu_work::GpuWorkSeen;
use super::schema;
use super::sessions::{Sessions, sign_of_life};
use super::settings::ConnectSettings;
use super::statement::{Source as _, Statement};
use super::store::Store;
use super::unreached::CONNECT_LIMIT;
use super::way::{self, Way, driven, failed, host_of};

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
    /// wants the password in clear, [`StoreError::Standby`] when it takes no writes and the settings need
    /// them, [`StoreError::PooledByTransaction`] when a proxy is in the way, [`StoreError::NotCuebot`] and
    /// [`StoreError::Schema`] when this is not Cuebot's database or an older one.
    pub async fn connect(settings: &ConnectSettings) -> Result<Self> {
        let (way, options) = way::look(settings).await?;
        if !settings.may_be_pooled {
            refuse_pooling_by_transaction(&options).await?;
        }
        let store = Self::open(options, settings.pool_size, settings.needs_primary).await?;
        Ok(Self { reached: Some((Arc::new(settings.clone()), way)), ..store })
    }

    /// As [`Self::connect`], with the driver's own options, and any way that the driver goes.
    pub async fn connect_with(options: PgConnectOptions, pool_size: u32) -> Result<Self> {
        // Once without the pool, which would only say that its time ran out.
        let first = driven(&options).await?;
        // Whether the server hears of the end of this connection changes nothing.
        let _ = first.close().await;
        Self::open(options, pool_size, false).await
    }

    async fn open(options: PgConnectOptions, pool_size: u32, needs_primary: bool) -> Result<Self> {
        let sessions = Arc::new(Sessions::new(needs_primary));
        let pool = pool_options(pool_size, &sessions);
        let pool = pool.connect_with(options.clone()).await.map_err(failed(&options))?;
        let store = Self {
            pool,
            sessions,
            meter: Meter::default(),
            gpu_work: GpuWorkSeen::default(),
            lock_budget: LOCK_BUDGET_MAX,
            reached: None,
        };
        store.look_at_schema().await?;
        let lock_budget = store.lock_budget_of_server().await?;
        Ok(Self { lock_budget, ..store })
    }

    /// Finds out what the schema offers now; it may have been migrated. Returns whether that is something else.
    ///
    /// # Errors
    /// When it lacks what every generation has, and when the database does not answer.
    pub(crate) async fn look_at_schema(&self) -> Result<bool> {
        match schema::detect(self).await {
            Ok(features) => Ok(self.sessions.set_features(features)),
            Err(StoreError::Schema { missing }) if schema::is_strange(&missing) => {
                let options = self.pool.connect_options();
                Err(StoreError::NotCuebot {
                    host: host_of(&options),
                    port: options.get_port(),
                    name: options.get_database().unwrap_or_default().to_owned(),
                    user: options.get_username().to_owned(),
                    present: schema::needed().count() - schema::missing_tables(&missing),
                    looked_for: schema::needed().count(),
                    missing,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a statement failed for what the schema lacks, or lacks no longer.
    pub(crate) fn is_schema_in_doubt(&self) -> bool {
        self.sessions.is_schema_in_doubt()
    }

    /// Counts how often the database came back after [`super::Pulse`] had missed it.
    pub(crate) fn returns(&self) -> tokio::sync::watch::Receiver<u64> {
        self.sessions.returns()
    }

    /// Whether the server follows another one, so that what is read may be older than what the other one has.
    pub fn is_standby(&self) -> bool {
        self.sessions.has_met_standby()
    }

    pub(super) fn standby(&self) -> StoreError {
        let options = self.pool.connect_options();
        let (host, port, user) = (host_of(&options), options.get_port(), options.get_username().to_owned());
        StoreError::Standby { host, port, user }
    }

    /// Lets later sessions begin with the password that its file holds by now.
    pub(super) async fn take_new_password(&self) -> Result<()> {
        let Some((settings, _)) = self.reached.as_ref().filter(|_| self.has_password_file()) else { return Ok(()) };
        let current = (**settings).clone().with_current_password().await;
        if self.sessions.is_new_password(current.password) { self.look_at_way().await } else { Ok(()) }
    }

    pub(super) fn has_password_file(&self) -> bool {
        self.reached.as_ref().is_some_and(|(settings, _)| settings.password_file.is_some())
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
        let mut connection = self.acquire().await.map_err(StoreError::query("waiting for a connection"))?;
        sign_of_life(&mut connection).await.map_err(StoreError::query("asking the database for a sign of life"))
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

/// # Errors
/// [`StoreError::PooledByTransaction`]. A server that has no second connection left is not asked for one.
async fn refuse_pooling_by_transaction(options: &PgConnectOptions) -> Result<()> {
    let mut first = driven(options).await?;
    let Ok(mut second) = driven(options).await else { return Ok(_ = first.close().await) };
    let asked = tokio::time::timeout(CONNECT_LIMIT, pooling::is_by_transaction(&mut first, &mut second)).await;
    let is_by_transaction = asked.map_err(|_| StoreError::Unanswered)??;
    // Whether the server hears of the end of these connections changes nothing.
    let _ = (first.close().await, second.close().await);
    if !is_by_transaction {
        return Ok(());
    }
    Err(StoreError::PooledByTransaction {
        host: host_of(options),
        port: options.get_port(),
        name: options.get_database().unwrap_or_default().to_owned(),
        user: options.get_username().to_owned(),
    })
}

fn pool_options(pool_size: u32, sessions: &Arc<Sessions>) -> PgPoolOptions {
    let (opened, taken, given_back) = (Arc::clone(sessions), Arc::clone(sessions), Arc::clone(sessions));
    PgPoolOptions::new()
        .max_connections(pool_size.max(1))
        .acquire_timeout(CONNECT_LIMIT)
        .idle_timeout(Duration::from_secs(30))
        .max_lifetime(Duration::from_hours(1))
        .test_before_acquire(false)
        .before_acquire(move |connection, rest| {
            let is_trusted = taken.trusts(rest.age);
            Box::pin(async move {
                if is_trusted && rest.idle_for > TRUSTED_REST {
                    sign_of_life(connection).await?;
                }
                Ok(is_trusted)
            })
        })
        .after_release(move |connection, rest| {
            let (is_trusted, is_in_doubt) = (given_back.trusts(rest.age), given_back.is_in_doubt());
            Box::pin(async move {
                // The driver asks for one too, and would wait without end for a session that is dead.
                if is_trusted && is_in_doubt {
                    sign_of_life(connection).await?;
                }
                Ok(is_trusted)
            })
        })
        .after_connect(move |connection, _| {
            let sessions = Arc::clone(&opened);
            Box::pin(async move {
                // Compiling a plan costs more than these short statements take. The server shall notice within
                // two minutes that the way to us is cut.
                let set = format!(
                    "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; SET jit = off; \
                     SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 15; SET tcp_keepalives_count = 4; {}",
                    STATEMENT_TIMEOUT.as_millis(),
                    IDLE_TRANSACTION_TIMEOUT.as_millis(),
                    include_str!("sql/is_standby.sql"),
                );
                let row = connection.fetch_one(sqlx::raw_sql(sqlx::AssertSqlSafe(set))).await?;
                if row.try_get("is_standby")? {
                    sessions.met_standby();
                }
                Ok(())
            })
        })
}
