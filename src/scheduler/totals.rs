//! Running totals of what the service did, for the demo's bars and the tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::report::WaitingCount;
use crate::model::WaitReason;

/// Cloning shares the totals.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    reading: TotalsReading,
    waiting: BTreeMap<WaitReason, WaitingCount>,
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
        self.state().reading
    }

    /// What the last pass left waiting, by reason.
    #[must_use]
    pub fn waiting(&self) -> BTreeMap<WaitReason, WaitingCount> {
        self.state().waiting.clone()
    }

    pub(super) fn passed(&self, waiting: &BTreeMap<WaitReason, WaitingCount>) {
        let mut state = self.state();
        state.reading.passes += 1;
        state.waiting.clone_from(waiting);
    }

    pub(super) fn booked(&self, frames: usize) {
        self.state().reading.booked += frames as u64;
    }

    pub(super) fn launched(&self) {
        self.state().reading.launched += 1;
    }

    pub(super) fn refused(&self) {
        self.state().reading.refused += 1;
    }

    pub(super) fn unknown(&self) {
        self.state().reading.unknown += 1;
    }

    pub(super) fn unbooked(&self, frames: usize) {
        self.state().reading.unbooked += frames as u64;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
