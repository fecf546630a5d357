//! The way to the server: how it is encrypted, and that no password goes over it in clear.
//!
//! The driver gives a server the password as it stands when the server asks for it so, encrypted or not,
//! and with `prefer` it goes on unencrypted when a server declines encryption. So unless the settings say
//! encrypted, or the server is on this machine, the way is looked at before the driver goes it. A server
//! that offers encryption is then only reached encrypted. One that does not is asked how it wants to know
//! who we are, and is told nothing if it wants the password in clear.
//!
//! This protects the password from whoever listens on the wire to a server that is set up so. It does
//! not protect from whoever can change what goes over the wire, or answer in the server's place: that is
//! what `verify-full` is for. Nor does it see what a server asks for later, of a connection that the pool
//! opens in between; it is looked at again when the server was away.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};

use super::error::{Result, StoreError};
use super::settings::ConnectSettings;
use super::unreached::{CONNECT_LIMIT, silence};
use crate::config::Tls;

/// Between two looks a server can come up or become full. It does not do so again and again.
const LOOKS_MAX: u32 = 3;
/// No server has more to say before it asks who we are.
const MESSAGES_MAX: u32 = 16;
const MESSAGE_BYTES_MAX: usize = 1 << 16;

/// How the server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub encryption: Encryption,
    /// It does not leave this machine.
    pub is_local: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum Encryption {
    #[strum(serialize = "not encrypted")]
    None,
    /// Whoever answered.
    #[strum(serialize = "encrypted, certificate not verified")]
    Unverified,
    /// The certificate is signed by a trusted authority.
    #[strum(serialize = "encrypted, certificate verified, its name not")]
    OfAuthority,
    /// And it names the host.
    #[strum(serialize = "encrypted, certificate and name verified")]
    OfHost,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stays = if self.is_local { ", and stays on this machine" } else { "" };
        write!(f, "{}{stays}", self.encryption)
    }
}

/// The way, and the driver's options that go no other.
///
/// # Errors
/// [`StoreError::ClearText`] when the server wants the password in clear, [`StoreError::Connect`] when it
/// cannot be asked.
pub(super) async fn look(settings: &ConnectSettings) -> Result<(Way, PgConnectOptions)> {
    let settings = &settings.clone().with_current_password().await;
    let options = settings.connect_options();
    can_read_certificates(settings)?;
    if settings.host.starts_with('/') {
        return Ok((Way { encryption: Encryption::None, is_local: true }, options));
    }
    // A name that is not known is the driver's to tell.
    let looked_up = tokio::time::timeout(CONNECT_LIMIT, lookup_host((settings.host.as_str(), settings.port))).await;
    let addresses: Vec<SocketAddr> = match looked_up {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    let is_local = !addresses.is_empty() && addresses.iter().all(|address| (settings.stays_here)(address.ip()));
    let way = |encryption| Way { encryption, is_local };
    match settings.tls {
        Tls::Require => return Ok((way(Encryption::Unverified), options)),
        Tls::VerifyCa => return Ok((way(Encryption::OfAuthority), options)),
        Tls::VerifyFull => return Ok((way(Encryption::OfHost), options)),
        Tls::Disable if is_local => return Ok((way(Encryption::None), options)),
        Tls::Disable | Tls::Prefer => {}
    }
    let is_free = is_local || settings.allow_cleartext_password;
    // Also keeps the one from the environment, which the driver knows, from being sent.
    let without_password = options.clone().password("");
    let mut last = None;
    for _ in 0..LOOKS_MAX {
        match tokio::time::timeout(CONNECT_LIMIT, ask(settings, &addresses, is_free)).await {
            Ok(Ok(Answer::Encrypted)) => {
                return Ok((way(Encryption::Unverified), options.ssl_mode(PgSslMode::Require)));
            }
            Ok(Ok(Answer::Hidden)) => return Ok((way(Encryption::None), options)),
            Ok(Ok(Answer::InClear)) => {
                let (host, port, user) = (settings.host.clone(), settings.port, settings.user.clone());
                return Err(StoreError::ClearText { host, port, user });
            }
            _ if is_free => return Ok((way(Encryption::None), options)),
            Err(_) => break,
            // The driver says it better, and has nothing to tell should it come further than we did.
            Ok(Ok(Answer::Refused) | Err(_)) => match driven(&without_password).await {
                Err(error) if !error.is_login_refused() => return Err(error),
                Err(error) => last = Some(error),
                Ok(connection) => _ = connection.close().await,
            },
        }
    }
    match last {
        Some(error) => Err(error),
        None => Err(failed(&options)(silence(&options).await)),
    }
}

/// The driver says which file it cannot read of none.
fn can_read_certificates(settings: &ConnectSettings) -> Result<()> {
    let Some(path) = &settings.tls_root_certificate else { return Ok(()) };
    let opened = std::fs::metadata(path).and_then(|found| {
        if found.is_file() {
            std::fs::File::open(path)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
        }
    });
    opened.map(drop).map_err(|source| {
        let (host, port, user) = (settings.host.clone(), settings.port, settings.user.clone());
        StoreError::Certificates { host, port, user, path: path.clone(), source }
    })
}

/// What a server says before it knows who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It speaks TLS.
    Encrypted,
    /// It wants no password, or a proof that does not give it away.
    Hidden,
    InClear,
    /// Nothing but an error.
    Refused,
}

async fn ask(settings: &ConnectSettings, addresses: &[SocketAddr], is_free: bool) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(addresses).await?;
    if settings.tls == Tls::Prefer {
        stream.write_all(&SSL_REQUEST).await?;
        match stream.read_u8().await? {
            b'S' => return Ok(Answer::Encrypted),
            b'N' if is_free => return Ok(Answer::Hidden),
            b'N' => {}
            b'E' => return Ok(Answer::Refused),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    } else if is_free {
        return Ok(Answer::Hidden);
    }
    stream.write_all(&startup(settings)).await?;
    for _ in 0..MESSAGES_MAX {
        let kind = stream.read_u8().await?;
        let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
        if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = vec![0; length - 4];
        stream.read_exact(&mut message).await?;
        match (kind, message.first_chunk()) {
            (b'R', Some(&CLEARTEXT_PASSWORD)) => return Ok(Answer::InClear),
            (b'R', Some(_)) => return Ok(Answer::Hidden),
            (b'E', _) => return Ok(Answer::Refused),
            // A notice, or what it does not know of our version.
            (b'N' | b'v', _) => {}
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Its length, and the number that stands for it.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const VERSION_3: u32 = 3 << 16;
const CLEARTEXT_PASSWORD: [u8; 4] = 3_u32.to_be_bytes();

fn startup(settings: &ConnectSettings) -> Vec<u8> {
    let ConnectSettings { user, name, application, .. } = settings;
    let texts = ["user", user, "database", name, "application_name", application, ""];
    let texts: Vec<u8> = texts.iter().flat_map(|text| [text.as_bytes(), &[0]].concat()).collect();
    let length = u32::try_from(texts.len() + 8).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &VERSION_3.to_be_bytes(), &texts].concat()
}

/// A connection as the driver makes it.
pub(super) async fn driven(options: &PgConnectOptions) -> Result<PgConnection> {
    match tokio::time::timeout(CONNECT_LIMIT, PgConnection::connect_with(options)).await {
        Ok(connected) => connected.map_err(failed(options)),
        Err(_) => Err(failed(options)(silence(options).await)),
    }
}

/// Says where the connection should have led.
pub(super) fn failed(options: &PgConnectOptions) -> impl Fn(sqlx::Error) -> StoreError {
    |source| StoreError::Connect {
        host: host_of(options),
        port: options.get_port(),
        name: options.get_database().unwrap_or_default().to_owned(),
        user: options.get_username().to_owned(),
        source: source.into(),
    }
}

/// As the settings name it.
pub(super) fn host_of(options: &PgConnectOptions) -> String {
    options.get_socket().map_or_else(|| options.get_host().to_owned(), |socket| socket.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::stays_here;

    #[test]
    fn only_loopback_addresses_stay_on_this_machine() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("127.1.2.3", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("192.0.2.7", false),
            ("fe80::1", false),
            ("::ffff:10.0.0.1", false),
        ] {
            assert_eq!(stays_here(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn the_way_is_told_in_words() {
        let told = |encryption, is_local| Way { encryption, is_local }.to_string();
        assert_eq!(told(Encryption::None, true), "not encrypted, and stays on this machine");
        assert_eq!(told(Encryption::Unverified, false), "encrypted, certificate not verified");
        assert_eq!(told(Encryption::OfHost, false), "encrypted, certificate and name verified");
    }
}
