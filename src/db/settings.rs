//! Where the database is.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use smart_default::SmartDefault;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::config::Tls;

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
    /// The name of the sessions, see [`ConnectSettings::as_scheduler`].
    #[default("cue-scheduler reading")]
    pub application: String,
    /// Most connections held at once.
    #[default(20)]
    pub pool_size: u32,
    pub tls: Tls,
    /// Certificates to trust instead of the public authorities, in PEM.
    pub tls_root_certificate: Option<PathBuf>,
    /// Whether a server on another machine may be given the password as it stands, over a connection that
    /// is not encrypted.
    pub allow_cleartext_password: bool,
    /// Which addresses are this machine's own and no wire's.
    #[default(stays_here)]
    pub stays_here: fn(IpAddr) -> bool,
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
    pub fn connect_options(&self) -> PgConnectOptions {
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .database(&self.name)
            .username(&self.user)
            .application_name(&self.application)
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
