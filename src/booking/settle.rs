//! Finding out what became of bookings that nobody can vouch for.

use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::query;

use super::error::{BookingError, StepError, UnknownCommit};
use super::outcome::CommitOutcome;
use super::tx::{amounts, column_of, id, rows};
use crate::model::{Booked, ProcId, ShowId};
use crate::store::Store;

/// Bookings of `shows` that are at least `age` old and that no agent has ever reported: left by a
/// scheduler that died between commit and launch, or launched and not reported yet. Ask the agent
/// before taking one back.
pub async fn find_unsettled(store: &Store, shows: &[ShowId], age: Duration) -> Result<Vec<Booked>, BookingError> {
    let statement = query(include_str!("../store/sql/settle_find_unsettled.sql"))
        .bind(shows.iter().map(ShowId::as_str).collect::<Vec<_>>())
        .bind(age.as_secs_f64());
    bookings(rows(store, "looking for unsettled bookings", statement).await)
}

/// Those of `procs` that exist and still run their frame.
pub async fn find_booked(store: &Store, procs: &[ProcId]) -> Result<Vec<Booked>, BookingError> {
    let statement = query(include_str!("../store/sql/settle_find_booked.sql"))
        .bind(procs.iter().map(ProcId::as_str).collect::<Vec<_>>());
    bookings(rows(store, "looking for procs", statement).await)
}

/// Asks what became of a commit whose answer was lost. The rows alone do not tell: a server that has
/// not noticed the loss may still commit, so it is asked for the transaction first.
pub async fn resolve_commit(store: &Store, unknown: &UnknownCommit) -> Result<CommitOutcome, BookingError> {
    let statement = query(include_str!("../store/sql/settle_transaction.sql")).bind(unknown.transaction);
    let rows = match rows(store, "asking for a transaction", statement).await {
        Ok(rows) => rows,
        // A server that has never heard of the transaction, as after a switch to one that lagged behind:
        // what it has is all there is.
        Err(error) if error.is_unheard_of() => Vec::new(),
        Err(error) => return Err(error.after(1)),
    };
    for row in &rows {
        let status: Option<String> = column_of(row, "status").map_err(|error| error.after(1))?;
        if status.as_deref() == Some("in progress") {
            return Ok(CommitOutcome::Undecided);
        }
    }
    let procs: Vec<ProcId> = unknown.bookings.iter().map(|booked| booked.proc.clone()).collect();
    Ok(CommitOutcome::Settled(find_booked(store, &procs).await?))
}

fn bookings(rows: Result<Vec<PgRow>, StepError>) -> Result<Vec<Booked>, BookingError> {
    let bookings = rows.and_then(|rows| rows.iter().filter_map(|row| booking(row).transpose()).collect());
    bookings.map_err(|error| error.after(1))
}

/// `None` for a frame whose number does not fit the wire; it cannot have been launched.
fn booking(row: &PgRow) -> Result<Option<Booked>, StepError> {
    let number: i64 = column_of(row, "int_number")?;
    let frame = id(row, "pk_frame")?;
    let Ok(frame_number) = i32::try_from(number) else {
        tracing::warn!(%frame, number, "left a booked frame out: its number is out of range");
        return Ok(None);
    };
    Ok(Some(Booked {
        proc: id(row, "pk_proc")?,
        frame,
        frame_name: column_of(row, "str_name")?,
        frame_number,
        version: column_of(row, "int_version")?,
        layer: id(row, "pk_layer")?,
        job: id(row, "pk_job")?,
        show: id(row, "pk_show")?,
        host: id(row, "pk_host")?,
        host_name: column_of(row, "host_name")?,
        reservation: amounts(row)?,
    }))
}
