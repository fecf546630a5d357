//! Finding out what became of bookings whose launch or completion is not known.

use std::collections::HashMap;
use std::time::Duration;

use crate::db::row::RESERVED;
use crate::db::{Problem, Result, Row, Source as _, Statement, Store};
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
) -> Result<Vec<Booked>> {
    let statement = Statement::new("looking for unsettled bookings", include_str!("../sql/settle_find_unsettled.sql"))
        .texts(shows)
        .bind(age.as_secs_f64())
        .bind(only_reported_hosts);
    let found: Vec<_> = store.rows(statement).await?.all(booking)?;
    Ok(found.into_iter().flatten().collect())
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
pub async fn find_silent(store: &Store, shows: &[ShowId], silences: &SilenceEnds) -> Result<Vec<SilentBooking>> {
    let statement = Statement::new("looking for silent bookings", include_str!("../sql/settle_find_silent.sql"))
        .texts(shows)
        .bind(silences.farm)
        .texts(silences.hosts.iter().map(|(host, _)| host))
        .bind(silences.hosts.iter().map(|(_, ended)| *ended).collect::<Vec<_>>())
        .bind(SWEEP_AGE.as_secs_f64())
        .bind(SILENT_MAX);
    let found: Vec<_> = store.rows(statement).await?.all(|row| {
        let (last_sign, frame) = (row.time("last_sign")?, row.get::<Option<FrameId>>("pk_frame")?);
        Ok(booking(row)?.map(|booked| SilentBooking { booked, last_sign, has_frame: frame.is_some() }))
    })?;
    Ok(found.into_iter().flatten().collect())
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
pub async fn find_overtaken(store: &Store, bookings: &[&Booked]) -> Result<HashMap<ProcId, Standing>> {
    let statement = Statement::new("looking at bookings once more", include_str!("../sql/settle_overtaken.sql"))
        .texts(bookings.iter().map(|booked| &booked.proc))
        .texts(bookings.iter().map(|booked| &booked.frame))
        .bind(bookings.iter().map(|booked| booked.version).collect::<Vec<_>>());
    store.rows(statement).await?.all(|row| {
        let standing = match (row.get("is_gone")?, row.get("has_succeeded")?) {
            (true, true) => Standing::Succeeded,
            (true, false) => Standing::Gone,
            (false, _) => Standing::MayNotStart,
        };
        Ok((row.get("pk_proc")?, standing))
    })
}

/// Those of `procs` that exist and still run their frame.
pub async fn find_booked(store: &Store, procs: &[ProcId]) -> Result<Vec<Booked>> {
    let statement = Statement::new("looking for procs", include_str!("../sql/settle_find_booked.sql")).texts(procs);
    let found: Vec<_> = store.rows(statement).await?.all(booking)?;
    Ok(found.into_iter().flatten().collect())
}

/// Whether the server has not ended a transaction yet, which may be committed then.
pub(crate) async fn is_transaction_open(store: &Store, transaction: i64) -> Result<bool> {
    let statement =
        Statement::new("asking for a transaction", include_str!("../sql/settle_transaction.sql")).bind(transaction);
    let rows = match store.rows(statement).await {
        Ok(rows) => rows,
        // A server that has never heard of the transaction, as after a switch to one that lagged behind:
        // what it has is all there is.
        Err(error) if error.is_unheard_of() => return Ok(false),
        Err(error) => return Err(error),
    };
    rows.one(|row| Ok(row.get::<Option<String>>("status")?.as_deref() == Some("in progress")))
}

/// Without a frame, what is said of it is empty. `None` for a frame whose number does not fit the wire; it cannot have
/// been launched.
fn booking(row: &Row<'_>) -> Result<Option<Booked>, Problem> {
    let frame = row.get::<Option<FrameId>>("pk_frame")?.unwrap_or_else(|| FrameId::new(""));
    let number: i64 = row.get::<Option<_>>("int_number")?.unwrap_or_default();
    let Ok(frame_number) = i32::try_from(number) else {
        tracing::warn!(%frame, number, "left a booked frame out: its number is out of range");
        return Ok(None);
    };
    Ok(Some(Booked {
        proc: row.get("pk_proc")?,
        frame,
        frame_name: row.get::<Option<_>>("str_name")?.unwrap_or_default(),
        frame_number,
        version: row.get::<Option<_>>("int_version")?.unwrap_or_default(),
        layer: row.get("pk_layer")?,
        job: row.get("pk_job")?,
        show: row.get("pk_show")?,
        host: row.get("pk_host")?,
        host_name: row.text("host_name")?,
        reservation: row.amounts(RESERVED)?,
    }))
}
