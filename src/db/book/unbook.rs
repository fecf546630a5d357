//! Taking bookings back, statement by statement.

use std::collections::{HashMap, HashSet};

use super::counters::Totals;
use crate::db::row::RESERVED;
use crate::db::{Result, Source as _, Statement, Tx};
use crate::model::{Booked, ProcId, Timestamp};
use crate::units::Amounts;

/// What must still hold of a booking when it is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// The frame has the version that the booking wrote.
    Version,
    /// And nobody has reported the proc since.
    Unmoved(Timestamp),
    /// The proc has no frame, and nobody has reported it since. There is no frame to put back.
    Frameless(Timestamp),
}

impl Fence {
    const fn last_sign(self) -> Option<Timestamp> {
        match self {
            Self::Version => None,
            Self::Unmoved(last_sign) | Self::Frameless(last_sign) => Some(last_sign),
        }
    }

    pub(crate) const fn has_frame(self) -> bool {
        !matches!(self, Self::Frameless(_))
    }
}

pub(crate) type Fenced<'b> = (&'b Booked, Fence);

/// The bookings whose frames are ours now.
pub(crate) async fn claim(tx: &mut Tx<'_>, bookings: &[Fenced<'_>]) -> Result<HashSet<ProcId>> {
    let statement = Statement::new("claiming booked frames", include_str!("../sql/unbook_claim.sql"))
        .texts(bookings.iter().map(|(booked, _)| &booked.proc))
        .texts(bookings.iter().map(|(booked, _)| &booked.frame))
        .bind(bookings.iter().map(|(booked, _)| booked.version).collect::<Vec<_>>())
        .bind(bookings.iter().map(|(_, fence)| fence.last_sign()).collect::<Vec<_>>());
    tx.rows(statement).await?.all(|row| row.get("pk_proc"))
}

pub(crate) struct Deleted {
    pub(crate) procs: HashSet<ProcId>,
    /// What the rows held, negative.
    pub(crate) given_back: Totals,
}

pub(crate) async fn delete_procs(tx: &mut Tx<'_>, bookings: &[Fenced<'_>]) -> Result<Deleted> {
    let frame = |(booked, fence): &Fenced<'_>| fence.has_frame().then(|| booked.frame.to_string());
    let statement = Statement::new("deleting procs", include_str!("../sql/unbook_procs.sql"))
        .texts(bookings.iter().map(|(booked, _)| &booked.proc))
        .bind(bookings.iter().map(frame).collect::<Vec<_>>())
        .bind(bookings.iter().map(|(_, fence)| fence.last_sign()).collect::<Vec<_>>());
    let booking_of: HashMap<&ProcId, &Booked> = bookings.iter().map(|(booked, _)| (&booked.proc, *booked)).collect();
    let mut deleted = Deleted { procs: HashSet::new(), given_back: Totals::default() };
    tx.write(statement).await?.each(|row| {
        let proc: ProcId = row.get("pk_proc")?;
        if let Some(booked) = booking_of.get(&proc) {
            let held = Amounts::default() - row.amounts(RESERVED)?;
            deleted.given_back.add(&row.get("pk_host")?, &booked.show, &booked.job, &booked.layer, held);
        }
        deleted.procs.insert(proc);
        Ok(())
    })?;
    Ok(deleted)
}

/// Puts the frames of bookings back to waiting.
pub(crate) async fn put_back(tx: &mut Tx<'_>, bookings: &[Fenced<'_>], exit_status: i64) -> Result<()> {
    let frames = || bookings.iter().map(|(booked, _)| &booked.frame);
    let sql = include_str!("../sql/unbook_checkpoints.sql");
    tx.execute(Statement::new("switching checkpoints off", sql).texts(frames())).await?;
    let sql = include_str!("../sql/unbook_frames.sql");
    tx.execute(Statement::new("putting frames back", sql).texts(frames()).bind(exit_status)).await
}
