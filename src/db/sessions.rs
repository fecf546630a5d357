//! What the sessions of a store share: how long each of them is waited for, which are still trusted, and what
//! the schema offered when it was looked at last.
//!
//! The server's own limits do not act where the server stands still, or where the way to it is cut without a
//! word, so every wait has a limit of ours too. That one is long, as a statement of a large farm may take long.
//! What ends such waits sooner is a session that only ever asks for a sign of life, see [`super::pulse`]: when
//! that has missed the database and reaches it again, whatever still waits does so on a session that is dead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnection, PgDatabaseError};
use tokio::sync::watch;

use super::features::Features;
use crate::config::Secret;

/// A server has answered by then that was only frozen.
const ANSWERS_AFTER_RETURN: Duration = Duration::from_secs(2);
/// For a sign of life of one session. Well below the time in which the pool has to find another one.
const SIGN_OF_LIFE_LIMIT: Duration = Duration::from_secs(2);
/// So long after an answer was given up, sessions are asked for a sign of life when they are given back.
const DOUBT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Sessions {
    /// Whether a server that takes no writes is of no use.
    pub(super) needs_primary: bool,
    features: RwLock<Features>,
    is_schema_in_doubt: AtomicBool,
    has_met_standby: AtomicBool,
    trust: RwLock<Trust>,
    /// The password that its file held last.
    password: RwLock<Option<Secret>>,
    /// How often the database came back after it was missed.
    returns: watch::Sender<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Trust {
    /// Sessions that are older are closed and not used.
    since: Option<Instant>,
    in_doubt_until: Option<Instant>,
}

impl Sessions {
    pub(super) fn new(needs_primary: bool) -> Self {
        Self {
            needs_primary,
            features: RwLock::default(),
            is_schema_in_doubt: AtomicBool::new(false),
            has_met_standby: AtomicBool::new(false),
            trust: RwLock::default(),
            password: RwLock::default(),
            returns: watch::Sender::new(0),
        }
    }

    pub(super) fn features(&self) -> Features {
        *self.features.read()
    }

    /// Takes in what the schema offers now; returns whether that is something else.
    pub(super) fn set_features(&self, features: Features) -> bool {
        self.is_schema_in_doubt.store(false, Ordering::Relaxed);
        std::mem::replace(&mut *self.features.write(), features) != features
    }

    pub(super) fn is_schema_in_doubt(&self) -> bool {
        self.is_schema_in_doubt.load(Ordering::Relaxed)
    }

    /// Whether a session led to a standby since the database came back last.
    pub(super) fn has_met_standby(&self) -> bool {
        self.has_met_standby.load(Ordering::Relaxed)
    }

    pub(super) fn met_standby(&self) {
        self.has_met_standby.store(true, Ordering::Relaxed);
    }

    /// Whether this is another password than the one before; the first is one.
    pub(super) fn is_new_password(&self, password: Option<String>) -> bool {
        let password = password.map(Secret::new);
        std::mem::replace(&mut *self.password.write(), password.clone()) != password
    }

    pub(super) fn returns(&self) -> watch::Receiver<u64> {
        self.returns.subscribe()
    }

    /// The database, and one that takes writes, is reached after it was missed: whatever session was opened
    /// before leads elsewhere or nowhere.
    pub(super) fn returned(&self) {
        self.has_met_standby.store(false, Ordering::Relaxed);
        self.distrust();
        self.returns.send_modify(|returns| *returns += 1);
    }

    fn distrust(&self) {
        self.trust.write().since = Some(Instant::now());
    }

    fn doubt(&self) {
        self.trust.write().in_doubt_until = Some(Instant::now() + DOUBT);
    }

    /// Whether a session of this age is used once more.
    pub(super) fn trusts(&self, age: Duration) -> bool {
        self.trust.read().since.is_none_or(|since| age <= since.elapsed())
    }

    /// Whether a session that is given back has to show that it lives.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.trust.read().in_doubt_until.is_some_and(|until| Instant::now() < until)
    }

    /// What the database answers, or that it does not, within `limit` and not long after it came back from
    /// where it was missed.
    pub(super) async fn answer<T>(
        &self,
        limit: Duration,
        asked: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let mut returns = self.returns();
        let given_up = async {
            let come_back = async {
                // Its sender is here.
                let _ = returns.changed().await;
                tokio::time::sleep(ANSWERS_AFTER_RETURN).await;
            };
            let _ = tokio::time::timeout(limit, come_back).await;
        };
        let answered = tokio::select! {
            biased;
            answered = asked => answered,
            () = given_up => {
                self.doubt();
                Err(silent())
            }
        };
        answered.inspect_err(|error| self.learn_from(error))
    }

    /// Some errors say that what was found out about the database holds no longer.
    fn learn_from(&self, error: &sqlx::Error) {
        let Some(error) = error.as_database_error() else { return };
        let is_of_stale_plan = || {
            let error = error.try_downcast_ref::<PgDatabaseError>();
            error.and_then(PgDatabaseError::routine) == Some("RevalidateCachedQuery")
        };
        match error.code().as_deref() {
            // A column or table that is not there, or not any more.
            Some("42703" | "42P01") => self.is_schema_in_doubt.store(true, Ordering::Relaxed),
            // The server prepared it before the schema changed, and would say so each time.
            Some("0A000") if is_of_stale_plan() => {
                self.is_schema_in_doubt.store(true, Ordering::Relaxed);
                self.distrust();
            }
            Some("25006") if self.needs_primary => self.met_standby(),
            _ => {}
        }
    }
}

/// A sign of life of one session.
pub(super) async fn sign_of_life(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    tokio::time::timeout(SIGN_OF_LIFE_LIMIT, connection.ping()).await.unwrap_or_else(|_| Err(silent()))
}

fn silent() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database does not answer"))
}
