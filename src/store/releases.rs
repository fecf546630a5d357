//! Cuebot's word that it released procs and left their counters to the scheduler.

use sqlx::postgres::PgListener;

use super::reading::step;
use super::{Store, StoreError};

/// The channel of the generations of Cuebot that send one. Others never notify.
const CHANNEL: &str = "acct_release";

/// A connection that waits for notifications. It connects again by itself; what was sent meanwhile is
/// lost, so notifications only ever hasten what is done at intervals anyway.
#[derive(Debug)]
pub struct Releases {
    listener: PgListener,
}

impl Store {
    pub async fn listen_for_releases(&self) -> Result<Releases, StoreError> {
        let doing = "listening for releases";
        let mut listener = PgListener::connect_with(&self.pool).await.map_err(step(doing))?;
        listener.listen(CHANNEL).await.map_err(step(doing))?;
        Ok(Releases { listener })
    }
}

impl Releases {
    /// Returns with the next notification.
    pub async fn next(&mut self) -> Result<(), StoreError> {
        self.listener.recv().await.map(|_| ()).map_err(step("waiting for releases"))
    }

    /// Forgets the notifications that have arrived already.
    pub fn skip_arrived(&mut self) {
        while self.listener.next_buffered().is_some() {}
    }
}
