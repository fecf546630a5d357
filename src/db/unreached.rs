//! Why there is no connection, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpStream;

/// The pool itself goes on trying to connect to a server that refuses; waiting longer only hides for
/// longer that the database is away.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// To find out whether a host that did not answer is there at all.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// An error of the driver, in the server's words where they are the server's.
#[derive(Debug, derive_more::From)]
pub struct DriverError(pub(super) sqlx::Error);

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            // The driver adds a line number of the server's own source.
            sqlx::Error::Database(error) => f.write_str(error.message()),
            sqlx::Error::PoolTimedOut => {
                write!(
                    f,
                    "no connection to the database was free or could be made within {} s",
                    CONNECT_LIMIT.as_secs()
                )
            }
            other => other.fmt(f),
        }
    }
}

impl Error for DriverError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            sqlx::Error::Database(_) | sqlx::Error::PoolTimedOut => None,
            other => Some(other),
        }
    }
}

/// One sentence: what is wrong, with host, port and user, and the remedy.
pub(super) fn told(host: &str, port: u16, name: &str, user: &str, source: &DriverError) -> String {
    let place =
        if host.starts_with('/') { format!("the socket of port {port} in {host}") } else { format!("{host}:{port}") };
    match &source.0 {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("28P01") => format!(
                "the server at {place} does not take the password of {user}; check database.db_user and database.db_pass \
                 or database.db_pass_file"
            ),
            Some(code) if code.starts_with("28") => format!(
                "the server at {place} does not let {user} in; check database.db_user, and the server's roles and its \
                 pg_hba.conf"
            ),
            Some("3D000") => {
                format!("the server at {place} has no database {name} for {user}; check database.db_name")
            }
            _ => format!("the server at {place} does not let {user} into the database {name} now"),
        },
        sqlx::Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused => format!(
                "nothing listens at {place}, where the database {name} is to be for {user}; start the server, or check \
                 database.db_host and database.db_port"
            ),
            ErrorKind::TimedOut => format!(
                "the database {name} cannot be reached at {place} as {user}; check database.db_host, database.db_port, \
                 firewalls, and that the server is well"
            ),
            ErrorKind::NotFound if host.starts_with('/') => {
                format!(
                    "{place} is not there to reach the database {name} as {user}; check database.db_host and database.db_port"
                )
            }
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                not_postgresql(&place, user)
            }
            _ => format!(
                "cannot connect to the database {name} at {place} as {user}; check database.db_host and database.db_port"
            ),
        },
        sqlx::Error::Protocol(_) => not_postgresql(&place, user),
        sqlx::Error::Tls(_) => format!(
            "no encrypted connection comes about with {place} for {user}; check database.tls, the server's certificate, \
             and that what listens there is PostgreSQL (database.db_port)"
        ),
        _ => format!("cannot use the database {name} at {place} as {user}; check the database settings"),
    }
}

fn not_postgresql(place: &str, user: &str) -> String {
    format!(
        "what listens at {place} does not answer {user} as PostgreSQL does; check database.db_host and database.db_port"
    )
}

/// The error of a connection that did not come about in time: whether anybody is there at all.
pub(super) async fn silence(options: &PgConnectOptions) -> sqlx::Error {
    let limit = CONNECT_LIMIT.as_secs();
    let probe = TcpStream::connect((options.get_host(), options.get_port()));
    let is_there =
        options.get_socket().is_some() || matches!(tokio::time::timeout(PROBE_LIMIT, probe).await, Ok(Ok(_)));
    let what = if is_there {
        format!("it accepts connections and has not answered within {limit} s")
    } else {
        format!("no connection came about within {limit} s")
    };
    sqlx::Error::Io(std::io::Error::new(ErrorKind::TimedOut, what))
}
