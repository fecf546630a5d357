//! What passes would do, without doing it. [`look()`] ends where a pass would book; the bookings of a [`DryRun`] of
//! many passes, and of a service that [`prepare`] makes, go into memory. A [`PlanDocument`] tells of a plan.

mod document;
mod dry_run;
mod look;
mod memory;
mod narrow;
mod overtaken;

use std::sync::Arc;

pub use document::{ClusterShare, PlacementRow, PlanDocument, PlanTotals, WaitingRow, WrongCountRow};
pub use dry_run::{DryRun, DryRunEnd, DryRunLimits, DryRunSummary, LostRow};
pub use look::{Look, look};
use memory::Memory;
pub use memory::bookable;
pub use narrow::Narrowing;

use crate::scheduler::{Parts, PassError, Service};

/// The service as the settings have it: in dry-run mode nothing is booked, launched or repaired, and bookings
/// are only remembered.
///
/// # Errors
/// As [`Service::prepare`].
pub async fn prepare(parts: Parts) -> Result<Service, PassError> {
    if !parts.settings.dry_run_mode {
        return Service::prepare(parts).await;
    }
    Service::prepare_dry(parts, |store, hints| Arc::new(Memory::new(store.clone(), hints.clone()))).await
}
