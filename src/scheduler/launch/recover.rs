//! Finding, by their rows, bookings that nobody vouches for.

use std::time::{Duration, Instant};

use super::settle::Why;
use super::{LaunchTargets, Launcher};
use crate::booking::{self, BookingError, SilenceEnds, SilentBooking};
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
        if matches!(self.shared.targets, LaunchTargets::Nowhere) {
            return Ok(Recovery::default());
        }
        let is_alone = self.is_alone().await;
        let age = self.shared.settings.recovery_age();
        let store = &self.shared.store;
        let now = Instant::now();
        let mut recovery = Recovery::default();
        for booked in booking::find_unsettled(store, shows, age, true).await? {
            let why = Why::Found { judged_from: now, only_while_alone: false };
            recovery.never_reported += usize::from(self.take_over(booked, why));
        }
        if is_alone {
            // Those that are younger, the others being in hand.
            let judged_from = now + age.saturating_sub(FOUND_AGE_MIN);
            for booked in booking::find_unsettled(store, shows, FOUND_AGE_MIN, false).await? {
                let why = Why::Found { judged_from, only_while_alone: true };
                recovery.never_reported += usize::from(self.take_over(booked, why));
            }
        }
        for SilentBooking { booked, last_sign, has_frame } in booking::find_silent(store, shows, silences).await? {
            recovery.silent += usize::from(self.take_over(booked, Why::Silent { last_sign, has_frame }));
        }
        Ok(recovery)
    }

    /// Whether it is asked about from now on; `false`: it is in hand already.
    fn take_over(&self, booked: Booked, why: Why) -> bool {
        {
            let mut state = self.state();
            let is_launched = state.launched.procs.contains(&booked.proc);
            let is_vouched_for = is_launched && !matches!(why, Why::Silent { .. });
            if is_vouched_for || state.in_hand.contains_key(&booked.proc) {
                return false;
            }
            state.in_hand.insert(booked.proc.clone(), booked.frame.clone());
        }
        tracing::debug!(frame = %booked.frame, host = %booked.host_name, proc = %booked.proc, ?why,
            "found a booking that nobody vouches for; asking its host");
        self.unsettle(booked, why);
        true
    }
}
