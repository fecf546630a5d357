//! A session beside all others that asks for a sign of life, so that a database that stands still, takes no
//! writes or cannot be reached is known within seconds, whatever else waits for it.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _, raw_sql};

use super::error::{Result, StoreError};
use super::store::Store;
use super::way::driven;

/// Longest time until a session answers that did before. A server that is merely busy answers such a question.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
/// Between two times that all sessions are given up because one of them met a standby: where a name leads to both
/// servers, that helps only now and then.
const STANDBY_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Pulse {
    store: Store,
    session: Option<PgConnection>,
    is_missed: bool,
    returned_at: Option<Instant>,
}

impl Store {
    pub(crate) const fn pulse(self) -> Pulse {
        Pulse { store: self, session: None, is_missed: false, returned_at: None }
    }
}

impl Pulse {
    /// Asks once. Where the database was missed before and is back, everybody hears of it. That it has no room for
    /// one session more says nothing of the others.
    ///
    /// # Errors
    /// It does not answer, lets nobody in, or takes no writes.
    pub(crate) async fn beat(&mut self) -> Result<()> {
        let beaten = self.ask().await;
        match &beaten {
            // It is one session too many that is refused, and those there are may go on.
            Err(error) if error.is_full() && !self.is_missed => {
                self.session = None;
                return Ok(());
            }
            Err(_) => (self.session, self.is_missed) = (None, true),
            Ok(()) => {
                let is_due = self.returned_at.is_none_or(|at| at.elapsed() >= STANDBY_PAUSE);
                if std::mem::take(&mut self.is_missed) || (is_due && self.store.sessions.has_met_standby()) {
                    self.returned_at = Some(Instant::now());
                    self.store.sessions.returned();
                }
            }
        }
        beaten
    }

    async fn ask(&mut self) -> Result<()> {
        self.store.take_new_password().await?;
        let session = if let Some(session) = &mut self.session {
            session
        } else {
            self.store.look_at_way().await?;
            self.session.insert(driven(&self.store.pool.connect_options()).await?)
        };
        let asked = session.fetch_one(raw_sql(include_str!("sql/is_standby.sql")));
        let failed = || StoreError::query("asking the database for a sign of life");
        let row = tokio::time::timeout(ANSWER_LIMIT, asked).await.map_err(|_| StoreError::Unanswered)?;
        let is_standby = row.and_then(|row| row.try_get("is_standby")).map_err(failed())?;
        if is_standby { Err(self.store.standby()) } else { Ok(()) }
    }
}
