//! Names of what there is, for completion while a user types.

use crate::db::check::Session;
use crate::db::{ConnectSettings, Result, Source as _, Statement};

/// More than anybody reads.
const NAMES_MAX: i64 = 200;

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
    let sql = match named {
        Named::Facility => include_str!("../sql/names_facilities.sql"),
        Named::Show => include_str!("../sql/names_shows.sql"),
        Named::Host => include_str!("../sql/names_hosts.sql"),
        Named::Job => include_str!("../sql/names_jobs.sql"),
        Named::Tag => include_str!("../sql/names_tags.sql"),
        Named::AllocTag => include_str!("../sql/names_alloc_tags.sql"),
    };
    let statement = Statement::new("looking for names", sql).bind(prefix).bind(NAMES_MAX);
    let names = session.rows(statement).await?.all(|row| row.text("name"));
    session.close().await;
    names
}
