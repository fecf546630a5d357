//! Running totals of what the service did, for the demo's bars and the tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::report::ReasonRow;
use crate::model::WaitReason;
use crate::telemetry::labels::LaunchResult;

/// Cloning shares the totals.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    reading: TotalsReading,
    waiting: BTreeMap<WaitReason, ReasonRow>,
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
    pub fn reading(&self) -> TotalsReading {
        self.counts.lock().reading
    }

    /// What the last pass left waiting, by reason.
    pub fn waiting(&self) -> BTreeMap<WaitReason, ReasonRow> {
        self.counts.lock().waiting.clone()
    }

    pub(super) fn passed(&self, waiting: &BTreeMap<WaitReason, ReasonRow>) {
        let mut counts = self.counts.lock();
        counts.reading.passes += 1;
        counts.waiting.clone_from(waiting);
    }

    pub(super) fn booked(&self, frames: usize) {
        self.counts.lock().reading.booked += frames as u64;
    }

    pub(super) fn launch_ended(&self, result: LaunchResult) {
        let reading = &mut self.counts.lock().reading;
        match result {
            LaunchResult::Launched | LaunchResult::ConfirmedRunning => reading.launched += 1,
            LaunchResult::Refused | LaunchResult::NotSent => reading.refused += 1,
            LaunchResult::Unknown => reading.unknown += 1,
            LaunchResult::ConfirmedNotRunning
            | LaunchResult::TooLate
            | LaunchResult::Overtaken
            | LaunchResult::OvertakenKilled => {}
        }
    }

    pub(super) fn unbooked(&self, frames: usize) {
        self.counts.lock().reading.unbooked += frames as u64;
    }
}
