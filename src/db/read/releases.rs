//! Cuebot's word that it released procs and left their counters to the scheduler.

use std::time::Duration;

use serde::Deserialize;
use sqlx::Acquire as _;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};

use crate::db::sessions::sign_of_life;
use crate::db::{Result, Store, StoreError};
use crate::model::{AllocId, DeptId, FolderId, JobId, LayerId, ShowId};
use crate::units::{Amounts, Cores, Gpus};

/// The channel of the generations of Cuebot that send one. Others never notify.
const CHANNEL: &str = "acct_release";

const LISTEN_LIMIT: Duration = Duration::from_secs(5);

/// A connection that waits for notifications. What is sent while there is none is lost, so notifications
/// only ever hasten what is done at intervals anyway.
#[derive(Debug)]
pub struct Releases {
    listener: PgListener,
}

/// A proc that is gone and that nobody has subtracted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Release {
    pub show: ShowId,
    pub alloc: AllocId,
    pub folder: FolderId,
    pub job: JobId,
    pub layer: LayerId,
    pub dept: DeptId,
    /// Cores and GPUs; of the cores the whole ones, as Cuebot says no more.
    #[serde(skip)]
    pub released: Amounts,
}

/// What a notification says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseNotice {
    Release(Release),
    /// Not what Cuebot writes.
    Unreadable,
}

impl Store {
    pub async fn listen_for_releases(&self) -> Result<Releases> {
        let doing = "listening for releases";
        // On its way out a listener says so, and where nobody answers it would keep a place of the pool for it.
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(LISTEN_LIMIT);
        let pool = pool.connect_lazy_with(PgConnectOptions::clone(&self.pool.connect_options()));
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        let listener = self.sessions.answer(LISTEN_LIMIT, listening).await.map_err(StoreError::query(doing))?;
        Ok(Releases { listener })
    }
}

impl Releases {
    /// Waits for the next notification.
    ///
    /// # Errors
    /// The connection is lost; listen anew.
    pub async fn next(&mut self) -> Result<ReleaseNotice> {
        let received = self.listener.try_recv().await.and_then(|notice| notice.ok_or(sqlx::Error::WorkerCrashed));
        received.map(|notice| ReleaseNotice::of(notice.payload())).map_err(StoreError::query("waiting for releases"))
    }

    /// The notifications of all that has committed by now and was not returned before: the server sends
    /// them ahead of its answer to any statement.
    ///
    /// # Errors
    /// As those of [`Self::next`].
    pub async fn arrived(&mut self) -> Result<Vec<ReleaseNotice>> {
        let listener = &mut self.listener;
        let asked = async { sign_of_life(listener.acquire().await?).await }.await;
        asked.map_err(StoreError::query("asking for releases"))?;
        Ok(std::iter::from_fn(|| self.listener.next_buffered())
            .map(|notice| ReleaseNotice::of(notice.payload()))
            .collect())
    }
}

/// As Cuebot writes it: what changes in the counters, so zero or negative.
#[derive(Deserialize)]
struct Payload {
    #[serde(flatten)]
    release: Release,
    /// Whole ones.
    cores: i64,
    gpus: i64,
}

impl ReleaseNotice {
    /// Reads a payload.
    pub fn of(payload: &str) -> Self {
        let Ok(payload) = serde_json::from_str::<Payload>(payload) else { return Self::Unreadable };
        if payload.cores > 0 || payload.gpus > 0 {
            return Self::Unreadable;
        }
        let released = Amounts { cores: -Cores::whole(payload.cores), gpus: -Gpus(payload.gpus), ..Amounts::default() };
        Self::Release(Release { released, ..payload.release })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_what_is_gone() {
        let text = r#"{"show": "s", "alloc": "a", "folder": "f", "job": "j", "layer": "l", "dept": "d", "cores": -3, "gpus": 0, "more": 1}"#;
        let ReleaseNotice::Release(release) = ReleaseNotice::of(text) else { panic!("readable") };
        assert_eq!((release.show.as_str(), release.dept.as_str()), ("s", "d"));
        assert_eq!(release.released, Amounts { cores: Cores::whole(3), ..Amounts::default() });
    }

    #[test]
    fn what_cuebot_does_not_write_is_unreadable() {
        let of = |amounts: &str| {
            format!(r#"{{"show": "s", "alloc": "a", "folder": "f", "job": "j", "layer": "l", "dept": "d", {amounts}}}"#)
        };
        let texts = [
            String::new(),
            "end".to_owned(),
            "[]".to_owned(),
            of(r#""cores": -1"#),
            of(r#""cores": 1, "gpus": 0"#),
            of(r#""cores": -1, "gpus": 1"#),
            of(r#""cores": -0.5, "gpus": 0"#),
            of(r#""cores": "-1", "gpus": 0"#),
            of(r#""cores": -99999999999999999999, "gpus": 0"#),
            r#"{"show": "s", "cores": -1, "gpus": 0}"#.to_owned(),
        ];
        for text in texts {
            assert_eq!(ReleaseNotice::of(&text), ReleaseNotice::Unreadable, "{text}");
        }
    }
}
