//! Making counters say what the procs say.

use sqlx::query;

use super::error::{BookingError, StepError, Trouble};
use super::outcome::{CounterTable, Drift, Repaired};
use super::tx::{ATTEMPTS_MAX, CommitError, Tx, column_of, rows, wait_with_jitter};
use crate::model::ShowId;
use crate::store::Store;

/// Finds counter rows of `shows` that do not say what the procs hold and writes what they do, each
/// row in a transaction of its own.
///
/// Right whoever else subtracts on release, or does not: everybody changes a proc and its counters in
/// one transaction, so a row that is locked first and summed after is exact. Caps stay as they are,
/// also where use is above them.
///
/// A row that the database refuses to change is left as it is; the log names it.
///
/// # Errors
/// The database is away. Rows before that are repaired.
pub async fn repair(store: &Store, shows: &[ShowId]) -> Result<Drift, BookingError> {
    let mut drift = Drift::default();
    for (table, row) in find(store, shows).await.map_err(|error| error.after(1))? {
        match repair_row(store, table, &row).await {
            Ok(repaired) => drift.repaired.extend(repaired),
            Err(error @ BookingError::Connection { .. }) => return Err(error),
            Err(error) => {
                let cause = std::error::Error::source(&error);
                tracing::warn!(table = table.as_str(), row, %error, ?cause, "cannot correct a counter");
            }
        }
    }
    if !drift.repaired.is_empty() {
        tracing::info!(rows = ?drift.rows(), "corrected counters that did not say what the procs hold");
    }
    Ok(drift)
}

async fn find(store: &Store, shows: &[ShowId]) -> Result<Vec<(CounterTable, String)>, StepError> {
    let statement =
        query(include_str!("../store/sql/repair_find.sql")).bind(shows.iter().map(ShowId::as_str).collect::<Vec<_>>());
    let rows = rows(store, "comparing counters with procs", statement).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let name: &str = column_of(row, "counter")?;
        if let Some(table) = CounterTable::ALL.into_iter().find(|table| table.as_str() == name) {
            found.push((table, column_of(row, "id")?));
        }
    }
    Ok(found)
}

/// `None` when the row agreed once it was locked, or is gone.
async fn repair_row(store: &Store, table: CounterTable, row: &str) -> Result<Option<Repaired>, BookingError> {
    let mut attempts = 0;
    loop {
        let error = match attempt(store, table, row).await {
            Ok(repaired) => return Ok(repaired),
            Err(error) => error,
        };
        attempts += 1;
        // A row that is held is looked at again with the next repair.
        if error.is_over_limit || error.trouble() != Trouble::Contention || attempts >= ATTEMPTS_MAX {
            return Err(error.after(attempts));
        }
        wait_with_jitter(attempts).await;
    }
}

async fn attempt(store: &Store, table: CounterTable, row: &str) -> Result<Option<Repaired>, StepError> {
    let mut tx = Tx::begin(store).await?;
    tx.holds_rows();
    let Some((cores_before, gpus_before)) = counter(&mut tx, "locking a counter", lock_statement(table), row).await?
    else {
        tx.rollback().await?;
        return Ok(None);
    };
    let after = counter(&mut tx, "writing a counter", set_statement(table), row).await?;
    match tx.commit().await {
        Ok(()) => {}
        Err(CommitError::RolledBack(error)) => return Err(error),
        // Repeated with the next repair if it was not written.
        Err(CommitError::Unknown(source)) => return Err(StepError::new("committing", source)),
    }
    let (cores, gpus) = after.unwrap_or((cores_before, gpus_before));
    let (cores_too_many, gpus_too_many) = (cores_before - cores, gpus_before - gpus);
    let is_drift = cores_too_many != 0 || gpus_too_many != 0;
    Ok(is_drift.then(|| Repaired { table, row: row.to_owned(), cores_too_many, gpus_too_many }))
}

/// Cores and GPUs that the row counts after the statement; `None` when there is no such row.
async fn counter(
    tx: &mut Tx,
    name: &'static str,
    statement: &'static str,
    row: &str,
) -> Result<Option<(i64, i64)>, StepError> {
    let rows = tx.write(name, query(statement).bind(row)).await?;
    rows.first().map(|row| Ok((column_of(row, "cores")?, column_of(row, "gpus")?))).transpose()
}

const fn lock_statement(table: CounterTable) -> &'static str {
    match table {
        CounterTable::Subscription => include_str!("../store/sql/repair_lock_subscription.sql"),
        CounterTable::LayerResource => include_str!("../store/sql/repair_lock_layer_resource.sql"),
        CounterTable::JobResource => include_str!("../store/sql/repair_lock_job_resource.sql"),
        CounterTable::FolderResource => include_str!("../store/sql/repair_lock_folder_resource.sql"),
        CounterTable::Point => include_str!("../store/sql/repair_lock_point.sql"),
    }
}

const fn set_statement(table: CounterTable) -> &'static str {
    match table {
        CounterTable::Subscription => include_str!("../store/sql/repair_set_subscription.sql"),
        CounterTable::LayerResource => include_str!("../store/sql/repair_set_layer_resource.sql"),
        CounterTable::JobResource => include_str!("../store/sql/repair_set_job_resource.sql"),
        CounterTable::FolderResource => include_str!("../store/sql/repair_set_folder_resource.sql"),
        CounterTable::Point => include_str!("../store/sql/repair_set_point.sql"),
    }
}
