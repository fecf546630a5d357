//! How a host takes calls: how many at once it is trusted with, how long they take, and so how many launches
//! it can be given. Pure.
//!
//! A host that has not answered lately gets one call at a time. If it is mute, that one call is all that is
//! left without an answer; if it is not, the answer brings it its full share.

use std::time::{Duration, Instant};

/// An answer that is older says little of what the host does now.
const LATELY: Duration = Duration::from_mins(1);

/// How a call ended, for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    /// Nothing came back, or there was no connection.
    Unanswered,
    /// Given up before it was sent, or broken off: says nothing.
    Undecided,
}

#[derive(Debug)]
pub(super) struct Pace {
    /// Calls at once to a host that answers.
    calls_max: usize,
    answered_at: Option<Instant>,
    /// How long calls take, the last ones counting most.
    took: Option<Duration>,
    /// When each call that is under way began.
    under_way: Vec<Instant>,
}

impl Pace {
    pub(super) const fn new(calls_max: usize) -> Self {
        Self { calls_max, answered_at: None, took: None, under_way: Vec::new() }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.under_way.push(now);
    }

    pub(super) fn end(&mut self, began: Instant, end: End, now: Instant) {
        if let Some(position) = self.under_way.iter().position(|at| *at == began) {
            self.under_way.swap_remove(position);
        }
        match end {
            End::Answered => {
                let took = now - began;
                self.took = Some(self.took.map_or(took, |before| (before + took) / 2));
                self.answered_at = Some(now);
            }
            End::Unanswered => self.answered_at = None,
            End::Undecided => {}
        }
    }

    /// Whether its last call was answered, and not long ago.
    pub(super) fn has_answered_lately(&self, now: Instant) -> bool {
        self.answered_at.is_some_and(|at| now < at + LATELY)
    }

    /// How many calls it may have at once.
    pub(super) fn width(&self, now: Instant) -> usize {
        if self.has_answered_lately(now) { self.calls_max } else { 1 }
    }

    /// Since when its longest call is under way.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.under_way.iter().min().copied()
    }

    /// How many calls it can end within `limit`, going by those before and by what it keeps waiting now;
    /// `None` while nothing is known of it.
    pub(super) fn calls_within(&self, limit: Duration, now: Instant) -> Option<u32> {
        let waits = self.oldest().map(|began| now - began);
        let took = self.took.max(waits)?.max(Duration::from_millis(1));
        let in_turn = u32::try_from(limit.as_millis() / took.as_millis()).unwrap_or(u32::MAX);
        Some(in_turn.saturating_mul(u32::try_from(self.width(now)).unwrap_or(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_host_has_one_call_at_a_time_until_it_answers_and_again_when_it_does_not() {
        let (mut pace, now) = (Pace::new(4), Instant::now());
        assert_eq!(pace.width(now), 1);
        pace.begin(now);
        pace.end(now, End::Undecided, now);
        assert_eq!(pace.width(now), 1);
        pace.begin(now);
        pace.end(now, End::Answered, now);
        assert_eq!(pace.width(now), 4);
        pace.begin(now);
        pace.end(now, End::Unanswered, now);
        assert_eq!(pace.width(now), 1);
        pace.begin(now);
        pace.end(now, End::Answered, now);
        assert_eq!((pace.width(now), pace.width(now + LATELY)), (4, 1));
    }

    #[test]
    fn what_it_can_take_goes_by_its_calls_and_by_the_one_that_waits_longest() {
        let (mut pace, start) = (Pace::new(4), Instant::now());
        assert_eq!(pace.calls_within(SECOND * 10, start), None);
        pace.begin(start);
        assert_eq!(pace.calls_within(SECOND * 10, start + SECOND), Some(10));
        assert_eq!(pace.calls_within(SECOND * 10, start + SECOND * 5), Some(2));
        assert_eq!(pace.calls_within(SECOND * 10, start + SECOND * 11), Some(0));
        let answered = start + SECOND * 5;
        pace.end(start, End::Answered, answered);
        assert_eq!(pace.calls_within(SECOND * 10, answered), Some(8));
        // It is quick again.
        for _ in 0..20 {
            pace.begin(answered);
            pace.end(answered, End::Answered, answered);
        }
        assert!(pace.calls_within(SECOND * 10, answered) > Some(1_000));
    }
}
