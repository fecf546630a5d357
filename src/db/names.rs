//! Names of what there is, for completion while a user types.

use sqlx::{Connection as _, Executor as _, Row as _, query, raw_sql};

use super::reading::step;
use super::{ConnectSettings, StoreError, connect_once};

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
pub async fn names(settings: &ConnectSettings, named: Named, prefix: &str) -> Result<Vec<String>, StoreError> {
    let (mut connection, _) = connect_once(settings).await?;
    let failed = || step("looking for names");
    connection.execute(raw_sql("SET default_transaction_read_only = on")).await.map_err(failed())?;
    let statement = query(match named {
        Named::Facility => include_str!("sql/names_facilities.sql"),
        Named::Show => include_str!("sql/names_shows.sql"),
        Named::Host => include_str!("sql/names_hosts.sql"),
        Named::Job => include_str!("sql/names_jobs.sql"),
        Named::Tag => include_str!("sql/names_tags.sql"),
        Named::AllocTag => include_str!("sql/names_alloc_tags.sql"),
    });
    let rows = statement.bind(prefix).bind(NAMES_MAX).fetch_all(&mut connection).await.map_err(failed())?;
    let names: Result<_, _> = rows.iter().map(|row| row.try_get("name")).collect();
    // A goodbye that does not arrive is none of our business.
    let _ = connection.close().await;
    names.map_err(failed())
}
