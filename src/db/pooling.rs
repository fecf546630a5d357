//! Whether a proxy between us and the server hands out its connections by the transaction.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _, raw_sql};

use super::error::{Result, StoreError};

/// Whether two sessions share one server process, or one session changes its process: then a proxy
/// hands out connections by the transaction, and session locks and settings do not hold.
pub(super) async fn is_by_transaction(first: &mut PgConnection, second: &mut PgConnection) -> Result<bool> {
    let failed = || StoreError::query("comparing two sessions");
    let (mut of_first, mut of_second) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..2 {
        of_first.insert(process(first).await?);
        of_second.insert(process(second).await?);
    }
    // While the transaction is open, its process is the second session's alone.
    second.execute(raw_sql("BEGIN READ ONLY")).await.map_err(failed())?;
    of_second.insert(process(second).await?);
    of_first.insert(process(first).await?);
    second.execute(raw_sql("ROLLBACK")).await.map_err(failed())?;
    Ok(of_first.len() > 1 || of_second.len() > 1 || !of_first.is_disjoint(&of_second))
}

async fn process(connection: &mut PgConnection) -> Result<i32> {
    let failed = || StoreError::query("comparing two sessions");
    let row = connection.fetch_one(raw_sql(include_str!("sql/check_process.sql"))).await.map_err(failed())?;
    row.try_get("pid").map_err(failed())
}
