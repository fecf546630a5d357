//! Finding, by their rows, bookings that nobody vouches for.

use std::time::{Duration, Instant};

use super::machine::{Others, Why};
use super::{LaunchTargets, Launcher};
use crate::booking::{self, BookingError, Fence, SilenceEnds, SilentBooking};
use crate::model::{Booked, ShowId};

/// A booking so young may be in the middle of its commit's answer, whoever made it.
pub(in crate::scheduler) const FOUND_AGE_MIN: Duration = Duration::from_secs(2);

/// What one search found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::scheduler) struct Recovery {
    /// Bookings that no agent has reported.
    pub(in crate::scheduler) never_reported: usize,
    /// Bookings without a sign of life since a silence, or for longer than Cuebot's own sweep takes.
    pub(in crate::scheduler) silent: usize,
}

impl Launcher {
    /// Looks for bookings of `shows` whose hosts are to be asked; nothing is launched.
    ///
    /// A scheduler that is alone need not wait until nobody else can launch what it finds.
    /// `silences`: when bookings that gave no sign of life before may have lost their completion.
    pub(in crate::scheduler) async fn recover(
        &self,
        shows: &[ShowId],
        silences: &SilenceEnds,
    ) -> Result<Recovery, BookingError> {
        let now = Instant::now();
        if matches!(self.shared.targets, LaunchTargets::Nowhere) {
            return Ok(Recovery::default());
        }
        let is_alone = self.others().await == Others::Nobody;
        let age = self.shared.context.settings().recovery_age();
        let store = &self.shared.context.store;
        let mut recovery = Recovery::default();
        let found = booking::find_unsettled(store, shows, age, true).await?;
        recovery.never_reported += self.take_over(found, &Why::Found { judged_from: now, only_while_alone: false });
        if is_alone {
            // Those that are younger, the others being in hand.
            let judged_from = now + age.saturating_sub(FOUND_AGE_MIN);
            let found = booking::find_unsettled(store, shows, FOUND_AGE_MIN, false).await?;
            recovery.never_reported += self.take_over(found, &Why::Found { judged_from, only_while_alone: true });
        }
        for SilentBooking { booked, last_sign, has_frame } in booking::find_silent(store, shows, silences).await? {
            let fence = if has_frame { Fence::Unmoved(last_sign) } else { Fence::Frameless(last_sign) };
            recovery.silent += self.take_over(vec![booked], &Why::Silent(fence));
        }
        Ok(recovery)
    }

    /// Returns how many are asked about from now on; the others are in hand already, or vouched for.
    fn take_over(&self, found: Vec<Booked>, why: &Why) -> usize {
        let taken = self.shared.in_hand.lock().find(found, why, Instant::now());
        for booked in &taken {
            tracing::debug!(frame = %booked.frame, host = %booked.host_name, proc = %booked.proc, ?why,
                "found a booking that nobody vouches for; asking its host");
        }
        taken.len()
    }
}
