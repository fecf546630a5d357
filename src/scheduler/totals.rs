//! Running totals of what the service did, for the demo's bars and the tests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::report::WaitingCount;
use crate::model::WaitReason;

/// Cloning shares the totals.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    passes: AtomicU64,
    booked: AtomicU64,
    launched: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
    unbooked: AtomicU64,
    waiting: Mutex<BTreeMap<WaitReason, WaitingCount>>,
}

/// The totals at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TotalsReading {
    pub passes: u64,
    /// Frames whose booking was committed; one that was taken back and booked again counts twice.
    pub booked: u64,
    /// Launches known to have succeeded.
    pub launched: u64,
    /// Launches refused, or not sent at all.
    pub refused: u64,
    /// Launches without a known outcome when they were sent.
    pub unknown: u64,
    /// Bookings taken back.
    pub unbooked: u64,
}

impl Totals {
    #[must_use]
    pub fn reading(&self) -> TotalsReading {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TotalsReading {
            passes: load(&self.counts.passes),
            booked: load(&self.counts.booked),
            launched: load(&self.counts.launched),
            refused: load(&self.counts.refused),
            unknown: load(&self.counts.unknown),
            unbooked: load(&self.counts.unbooked),
        }
    }

    /// What the last pass left waiting, by reason.
    #[must_use]
    pub fn waiting(&self) -> BTreeMap<WaitReason, WaitingCount> {
        self.counts.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn passed(&self, waiting: &BTreeMap<WaitReason, WaitingCount>) {
        self.counts.passes.fetch_add(1, Ordering::Relaxed);
        self.counts.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone_from(waiting);
    }

    pub(super) fn booked(&self, frames: usize) {
        self.counts.booked.fetch_add(frames as u64, Ordering::Relaxed);
    }

    pub(super) fn launched(&self) {
        self.counts.launched.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unknown(&self) {
        self.counts.unknown.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unbooked(&self, frames: usize) {
        self.counts.unbooked.fetch_add(frames as u64, Ordering::Relaxed);
    }
}
