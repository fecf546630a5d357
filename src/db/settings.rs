//! Where the database is.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use smart_default::SmartDefault;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::sync::Semaphore;

use crate::config::{self, Secret, Tls};

/// For the file of the password, which may be on another machine.
const PASSWORD_LIMIT: Duration = Duration::from_secs(2);

/// Where the database is and who we are there.
#[derive(Clone, SmartDefault)]
pub struct ConnectSettings {
    /// Host name, address, or the folder of a Unix socket (begins with `/`).
    #[default("localhost")]
    pub host: String,
    #[default(5432)]
    pub port: u16,
    #[default("cuebot")]
    pub name: String,
    #[default("postgres")]
    pub user: String,
    pub password: Option<String>,
    /// The file that the password stands in, read again for each new session.
    pub password_file: Option<PathBuf>,
    /// What was read there last.
    pub password_read: PasswordRead,
    /// The name of the sessions, see [`ConnectSettings::as_scheduler`].
    #[default("cue-scheduler reading")]
    pub application: String,
    /// Most connections held at once.
    #[default(20)]
    pub pool_size: u32,
    pub tls: Tls,
    /// Certificates to trust instead of the public authorities, in PEM.
    pub tls_root_certificate: Option<PathBuf>,
    /// Whether a server that takes no writes is of no use.
    pub needs_primary: bool,
    /// Whether to go on where a proxy hands out connections by the transaction: to tell what else is wrong.
    pub may_be_pooled: bool,
    /// Whether a server on another machine may be given the password as it stands, over a connection that
    /// is not encrypted.
    pub allow_cleartext_password: bool,
    /// Which addresses are this machine's own and no wire's.
    #[default(stays_here)]
    pub stays_here: fn(IpAddr) -> bool,
}

/// What a file of a password held last. Cloning shares it.
#[derive(Clone, SmartDefault)]
pub struct PasswordRead {
    /// `None` until it was read.
    last: Arc<Mutex<Option<Held>>>,
    /// One reading at a time, however long it lasts.
    #[default(Arc::new(Semaphore::new(1)))]
    turn: Arc<Semaphore>,
}

/// Nothing where the file is empty.
#[derive(Clone)]
struct Held(Option<Secret>);

impl PasswordRead {
    /// What the file holds, or held when it was last read.
    async fn current(&self, path: PathBuf) -> Option<Held> {
        let reading = async {
            // It goes on when nobody waits for it any more.
            let turn = Arc::clone(&self.turn).acquire_owned().await;
            let last = Arc::clone(&self.last);
            let read = move || {
                if let Ok(password) = config::read_password(&path) {
                    *last.lock() = Some(Held(password));
                }
                drop(turn);
            };
            tokio::task::spawn_blocking(read).await
        };
        let _ = tokio::time::timeout(PASSWORD_LIMIT, reading).await;
        self.last.lock().clone()
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
    /// own sessions from those of others, and no use for a standby.
    #[must_use]
    pub fn as_scheduler(self) -> Self {
        let process = uuid::Uuid::new_v4().simple().to_string();
        Self { application: format!("cue-scheduler {}", &process[..12]), needs_primary: true, ..self }
    }

    /// With the password that its file holds now. While that cannot be read the one before holds.
    #[must_use]
    pub(super) async fn with_current_password(self) -> Self {
        let Some(path) = self.password_file.clone() else { return self };
        match self.password_read.current(path).await {
            Some(Held(password)) => Self { password: password.map(|secret| secret.reveal().to_owned()), ..self },
            None => self,
        }
    }

    /// The driver's form of the settings. What connects with it goes any way that the driver goes.
    pub fn connect_options(&self) -> PgConnectOptions {
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .database(&self.name)
            .username(&self.user)
            .application_name(&self.application)
            // Poolers refuse what they do not know at the start of a session. Numbers come in binary form.
            .extra_float_digits(None)
            .statement_cache_capacity(256)
            .ssl_mode(match self.tls {
                Tls::Disable => PgSslMode::Disable,
                Tls::Prefer => PgSslMode::Prefer,
                Tls::Require => PgSslMode::Require,
                Tls::VerifyCa => PgSslMode::VerifyCa,
                Tls::VerifyFull => PgSslMode::VerifyFull,
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

/// Whether what goes to this address stays on this machine.
pub fn stays_here(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
