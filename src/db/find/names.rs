//! Names of what there is, for completion while a user types.

use crate::db::check::Session;
use crate::db::{ConnectSettings, Result, Source as _, Statement, Store};

/// More than anybody reads.
const NAMES_MAX: i64 = 200;
/// More than a farm has; among so many the ones like a misspelt name are looked for.
const ALL_MAX: i64 = 100_000;

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    Facility,
    Show,
    Host,
    /// One that is not finished.
    Job,
    /// On a host.
    Tag,
    /// A show with the tag of an allocation that it subscribes to, as `show:tag`.
    AllocTag,
}

/// Some names that begin with `prefix`, sorted. One short-lived connection, and nothing else looked at.
pub async fn names(settings: &ConnectSettings, named: Named, prefix: &str) -> Result<Vec<String>> {
    let mut session = Session::open(settings).await?;
    let names = session.rows(named.statement(prefix, NAMES_MAX)).await?.all(|row| row.text("name"));
    session.close().await;
    names
}

impl Store {
    /// All names of a kind, sorted.
    pub async fn load_names(&self, named: Named) -> Result<Vec<String>> {
        self.rows(named.statement("", ALL_MAX)).await?.all(|row| row.text("name"))
    }
}

impl Named {
    fn statement(self, prefix: &str, max: i64) -> Statement<'static> {
        let sql = match self {
            Self::Facility => include_str!("../sql/names_facilities.sql"),
            Self::Show => include_str!("../sql/names_shows.sql"),
            Self::Host => include_str!("../sql/names_hosts.sql"),
            Self::Job => include_str!("../sql/names_jobs.sql"),
            Self::Tag => include_str!("../sql/names_tags.sql"),
            Self::AllocTag => include_str!("../sql/names_alloc_tags.sql"),
        };
        Statement::new("looking for names", sql).bind(prefix).bind(max)
    }
}
