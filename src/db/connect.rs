//! Connections: how they are made and what is set on each.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgSslMode};

use super::statement::{Source as _, Statement};
use super::way::{self, Way, stays_here};
use super::{Features, Meter, Store, StoreError};

/// A statement of ours that runs longer than this is ended by the server, so that a pass fails and
/// is tried again instead of hanging.
const STATEMENT_TIMEOUT: Duration = Duration::from_mins(1);
/// A transaction of ours in which nothing happens for this long is ended by the server, whatever became
/// of this process. Those that hold rows set a limit of their own, which is shorter.
const IDLE_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for which a transaction of ours holds rows that Cuebot may wait for; less where four
/// fifths of the server's `deadlock_timeout` are.
const LOCK_BUDGET_MAX: Duration = Duration::from_millis(400);
/// The pool itself goes on trying to connect to a server that refuses; waiting longer only hides for
/// longer that the database is away.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A connection that rested longer is asked for a sign of life before it is used.
const TRUSTED_REST: Duration = Duration::from_secs(2);

/// Where the database is and who we are there.
#[derive(Clone)]
pub struct ConnectSettings {
    /// Host name, address, or the folder of a Unix socket (begins with `/`).
    pub host: String,
    pub port: u16,
    pub name: String,
    pub user: String,
    pub password: Option<String>,
    /// The name of the sessions, see [`ConnectSettings::as_scheduler`].
    pub application: String,
    /// Most connections held at once.
    pub pool_size: u32,
    pub tls: TlsMode,
    /// Certificates to trust instead of the public authorities, in PEM.
    pub tls_root_certificate: Option<PathBuf>,
    /// Whether a server on another machine may be given the password as it stands, over a connection that
    /// is not encrypted.
    pub allow_cleartext_password: bool,
    /// Which addresses are this machine's own and no wire's.
    pub stays_here: fn(IpAddr) -> bool,
}

/// How a connection is encrypted; the words of PostgreSQL's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    Disable,
    /// Encrypted when the server offers it.
    #[default]
    Prefer,
    /// Encrypted, whoever answers.
    Require,
    /// And the certificate is signed by a trusted authority.
    VerifyCa,
    /// And it names the host.
    VerifyFull,
}

impl Default for ConnectSettings {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 5432,
            name: "cuebot".to_owned(),
            user: "postgres".to_owned(),
            password: None,
            application: "cue-scheduler reading".to_owned(),
            pool_size: 20,
            tls: TlsMode::default(),
            tls_root_certificate: None,
            allow_cleartext_password: false,
            stays_here,
        }
    }
}

impl fmt::Debug for ConnectSettings {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectSettings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("name", &self.name)
            .field("user", &self.user)
            .field("pool_size", &self.pool_size)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl ConnectSettings {
    /// For a process that books: its sessions have a name of their own, by which schedulers tell their
    /// own sessions from those of others.
    #[must_use]
    pub fn as_scheduler(self) -> Self {
        let process = uuid::Uuid::new_v4().simple().to_string();
        Self { application: format!("cue-scheduler {}", &process[..12]), ..self }
    }

    /// The driver's form of the settings. What connects with it goes any way that the driver goes.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .database(&self.name)
            .username(&self.user)
            .application_name(&self.application)
            .statement_cache_capacity(256)
            .ssl_mode(match self.tls {
                TlsMode::Disable => PgSslMode::Disable,
                TlsMode::Prefer => PgSslMode::Prefer,
                TlsMode::Require => PgSslMode::Require,
                TlsMode::VerifyCa => PgSslMode::VerifyCa,
                TlsMode::VerifyFull => PgSslMode::VerifyFull,
            });
        if self.host.starts_with('/') {
            options = options.socket(&self.host);
        }
        if let Some(password) = &self.password {
            options = options.password(password);
        }
        if let Some(certificate) = &self.tls_root_certificate {
            options = options.ssl_root_cert(certificate);
        }
        options
    }
}

impl Store {
    /// Looks at the way and opens one connection on it, looks at the schema, and opens more when they are
    /// needed.
    ///
    /// # Errors
    /// [`StoreError::Connect`] when no connection can be had, [`StoreError::ClearText`] when the server
    /// wants the password in clear, [`StoreError::Schema`] when this is not Cuebot's database.
    pub async fn connect(settings: &ConnectSettings) -> Result<Self, StoreError> {
        let (way, options) = way::look(settings).await?;
        let store = Self::connect_with(options, settings.pool_size).await?;
        Ok(Self { reached: Some((Arc::new(settings.clone()), way)), ..store })
    }

    /// As [`Self::connect`], with the driver's own options, and any way that the driver goes.
    pub async fn connect_with(options: PgConnectOptions, pool_size: u32) -> Result<Self, StoreError> {
        let meter = Meter::default();
        // Once without the pool, which would only say that its time ran out.
        let first = driven(&options).await?;
        // Whether the server hears of the end of this connection changes nothing.
        let _ = first.close().await;
        let pool = pool_options(pool_size).connect_with(options.clone()).await.map_err(failed(&options))?;
        let store = Self { pool, features: Features::default(), meter, lock_budget: LOCK_BUDGET_MAX, reached: None };
        let features = Features::detect(&store).await?;
        let lock_budget = store.lock_budget_of_server().await?;
        Ok(Self { features, lock_budget, ..store })
    }

    /// How the server was reached.
    #[must_use]
    pub fn way(&self) -> Option<Way> {
        self.reached.as_ref().map(|(_, way)| *way)
    }

    /// Looks at the way once more, after the server was away: another one may have come back.
    ///
    /// # Errors
    /// As [`Self::connect`]. If the server wants the password in clear, no further connection has it.
    pub async fn look_at_way(&self) -> Result<(), StoreError> {
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
    async fn lock_budget_of_server(&self) -> Result<Duration, StoreError> {
        let sql = include_str!("sql/deadlock_timeout.sql");
        let rows = self.rows(Statement::new("asking for the server's deadlock_timeout", sql)).await?;
        let milliseconds = rows.one(|row| row.number("setting"))?.unsigned_abs();
        Ok(LOCK_BUDGET_MAX.min(Duration::from_millis(milliseconds) * 4 / 5))
    }

    /// Answers once the database does.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await.map_err(StoreError::query("waiting for a connection"))?;
        connection.ping().await.map_err(StoreError::query("asking the database for a sign of life"))
    }
}

/// One connection outside the pool, with nothing set on it, and its way.
///
/// # Errors
/// [`StoreError::Connect`], also when the server does not answer in time; [`StoreError::ClearText`].
pub async fn connect_once(settings: &ConnectSettings) -> Result<(PgConnection, Way), StoreError> {
    let (way, options) = way::look(settings).await?;
    Ok((driven(&options).await?, way))
}

/// A connection as the driver makes it.
pub(super) async fn driven(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let connected = tokio::time::timeout(CONNECT_LIMIT, PgConnection::connect_with(options)).await;
    connected.map_err(|_| failed(options)(sqlx::Error::PoolTimedOut))?.map_err(failed(options))
}

/// Says where the connection should have led.
pub(super) fn failed(options: &PgConnectOptions) -> impl Fn(sqlx::Error) -> StoreError {
    |source| StoreError::Connect {
        host: options.get_socket().map_or_else(|| options.get_host().to_owned(), |socket| socket.display().to_string()),
        port: options.get_port(),
        name: options.get_database().unwrap_or_default().to_owned(),
        user: options.get_username().to_owned(),
        source,
    }
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
