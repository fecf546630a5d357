//! Finding out what became of bookings that nobody can vouch for.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::query;

use super::error::{BookingError, StepError, UnknownCommit};
use super::outcome::CommitOutcome;
use super::tx::{amounts, column_of, id, rows};
use crate::db::Store;
use crate::model::{Booked, FrameId, HostId, ProcId, ShowId, Timestamp};

/// Cuebot's own sweep takes procs for lost after 300 seconds; behind it nobody needs an explanation for a
/// booking's silence.
const SWEEP_AGE: Duration = Duration::from_secs(330);
/// Silent bookings that one search finds.
const SILENT_MAX: i64 = 1_000;

/// Bookings of `shows` that are at least `age` old and that no agent has ever reported: left by a
/// scheduler that died between commit and launch, or launched and not reported yet. Ask the agent
/// before taking one back. `only_reported_hosts`: only where the host has reported since.
pub async fn find_unsettled(
    store: &Store,
    shows: &[ShowId],
    age: Duration,
    only_reported_hosts: bool,
) -> Result<Vec<Booked>, BookingError> {
    let statement = query(include_str!("../db/sql/settle_find_unsettled.sql"))
        .bind(shows.iter().map(ShowId::as_str).collect::<Vec<_>>())
        .bind(age.as_secs_f64())
        .bind(only_reported_hosts);
    bookings(rows(store, "looking for unsettled bookings", statement).await)
}

/// When the last silences ended after which completions may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SilenceEnds {
    /// Of the whole farm: of Cuebot, or of the database.
    pub farm: Option<Timestamp>,
    /// Of single hosts.
    pub hosts: Vec<(HostId, Timestamp)>,
}

/// A booking without a sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilentBooking {
    /// The frame's fields are empty for a proc without one.
    pub booked: Booked,
    pub last_sign: Timestamp,
    pub has_frame: bool,
}

/// Bookings of `shows` that give no sign of life although their hosts have reported: since before the end
/// of a silence, or for longer than Cuebot's own sweep takes. Ask the agent before giving one back.
pub async fn find_silent(
    store: &Store,
    shows: &[ShowId],
    silences: &SilenceEnds,
) -> Result<Vec<SilentBooking>, BookingError> {
    let statement = query(include_str!("../db/sql/settle_find_silent.sql"))
        .bind(shows.iter().map(ShowId::as_str).collect::<Vec<_>>())
        .bind(silences.farm)
        .bind(silences.hosts.iter().map(|(host, _)| host.as_str()).collect::<Vec<_>>())
        .bind(silences.hosts.iter().map(|(_, ended)| *ended).collect::<Vec<_>>())
        .bind(SWEEP_AGE.as_secs_f64())
        .bind(SILENT_MAX);
    let found = rows(store, "looking for silent bookings", statement).await;
    let silent = found.and_then(|rows| rows.iter().filter_map(|row| silent_booking(row).transpose()).collect());
    silent.map_err(|error| error.after(1))
}

fn silent_booking(row: &PgRow) -> Result<Option<SilentBooking>, StepError> {
    let last_sign = column_of(row, "last_sign")?;
    let frame: Option<String> = column_of(row, "pk_frame")?;
    let has_frame = frame.is_some();
    let booked = if has_frame { booking(row)? } else { Some(frameless_booking(row)?) };
    Ok(booked.map(|booked| SilentBooking { booked, last_sign, has_frame }))
}

/// What the rows say of a booking right before or after its launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As it was written, and its job may start frames.
    Stands,
    /// Proc or frame are gone or changed: whoever did that gave back what was reserved.
    Gone,
    /// They are gone since the frame has succeeded.
    Succeeded,
    /// As it was written, and its job was paused or has ended.
    MayNotStart,
}

/// Those of the bookings that do not simply stand.
pub async fn find_overtaken(store: &Store, bookings: &[&Booked]) -> Result<HashMap<ProcId, Standing>, BookingError> {
    let statement = query(include_str!("../db/sql/settle_overtaken.sql"))
        .bind(bookings.iter().map(|booked| booked.proc.as_str()).collect::<Vec<_>>())
        .bind(bookings.iter().map(|booked| booked.frame.as_str()).collect::<Vec<_>>())
        .bind(bookings.iter().map(|booked| booked.version).collect::<Vec<_>>());
    let found = rows(store, "looking at bookings once more", statement).await.map_err(|error| error.after(1))?;
    let overtaken = found.iter().map(|row| {
        let standing = match (column_of(row, "is_gone")?, column_of(row, "has_succeeded")?) {
            (true, true) => Standing::Succeeded,
            (true, false) => Standing::Gone,
            (false, _) => Standing::MayNotStart,
        };
        Ok((id(row, "pk_proc")?, standing))
    });
    overtaken.collect::<Result<_, _>>().map_err(|error: StepError| error.after(1))
}

/// Those of `procs` that exist and still run their frame.
pub async fn find_booked(store: &Store, procs: &[ProcId]) -> Result<Vec<Booked>, BookingError> {
    let statement = query(include_str!("../db/sql/settle_find_booked.sql"))
        .bind(procs.iter().map(ProcId::as_str).collect::<Vec<_>>());
    bookings(rows(store, "looking for procs", statement).await)
}

/// Asks what became of a commit whose answer was lost. The rows alone do not tell: a server that has
/// not noticed the loss may still commit, so it is asked for the transaction first.
pub async fn resolve_commit(store: &Store, unknown: &UnknownCommit) -> Result<CommitOutcome, BookingError> {
    let statement = query(include_str!("../db/sql/settle_transaction.sql")).bind(unknown.transaction);
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
        frame,
        frame_name: column_of(row, "str_name")?,
        frame_number,
        version: column_of(row, "int_version")?,
        ..frameless_booking(row)?
    }))
}

/// What the proc alone says.
fn frameless_booking(row: &PgRow) -> Result<Booked, StepError> {
    Ok(Booked {
        proc: id(row, "pk_proc")?,
        frame: FrameId::new(""),
        frame_name: String::new(),
        frame_number: 0,
        version: 0,
        layer: id(row, "pk_layer")?,
        job: id(row, "pk_job")?,
        show: id(row, "pk_show")?,
        host: id(row, "pk_host")?,
        host_name: column_of(row, "host_name")?,
        reservation: amounts(row)?,
    })
}
