//! Finding out what became of a launch that was not answered.
//!
//! The booking stands until the agent has answered for it. One "not running" is not enough: the
//! launch may be waiting in the agent or on the way to it. Two, some time apart, are: the agent
//! drops a call whose time ran out before it began.
//!
//! What this cannot see is a frame that ran and ended between the questions. Its report may not
//! have reached Cuebot yet, so whoever gives the booking back must do so only while frame version
//! and proc are those of the booking: a frame that was reported meanwhile no longer has them.

use std::time::{Duration, Instant};

use smart_default::SmartDefault;

use crate::config::Rqd;
use crate::tasks::Backoff;

#[derive(Clone, Copy, Debug, PartialEq, Eq, SmartDefault)]
pub struct ConfirmSettings {
    /// Least time between the two "not running" answers that count.
    #[default(Rqd::default().confirm_interval)]
    pub apart: Duration,
    /// Wait after the first question that the agent did not answer; doubled after each further one.
    #[default(Duration::from_secs(1))]
    pub retry_first: Duration,
    #[default(Duration::from_secs(30))]
    pub retry_max: Duration,
}

/// What the agent has said about one launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Confirmation {
    apart: Duration,
    not_running_since: Option<Instant>,
    retry: Backoff,
}

impl Confirmation {
    pub(crate) const fn new(settings: ConfirmSettings) -> Self {
        let ConfirmSettings { apart, retry_first, retry_max } = settings;
        Self { apart, not_running_since: None, retry: Backoff::new(retry_first, retry_max) }
    }

    /// Takes a "not running" to a question that left at `asked_at`. Of the first the arrival counts, since
    /// the host may have answered it at any time before; of the second the question, since what happened
    /// on the host after that is not in the answer. `Ok`: the frame does not run and will not start.
    ///
    /// # Errors
    /// When to ask again.
    pub(crate) fn not_running(&mut self, asked_at: Instant, arrived_at: Instant) -> Result<(), Instant> {
        self.retry.reset();
        let enough = *self.not_running_since.get_or_insert(arrived_at) + self.apart;
        if asked_at >= enough { Ok(()) } else { Err(enough) }
    }

    /// Takes no answer, or one that cannot be believed. Returns when to ask again, without end: the booking
    /// of a host that never answers again is Cuebot's to release, which knows whether the machine was
    /// rebooted.
    pub(crate) fn unanswered(&mut self, asked_at: Instant) -> Instant {
        asked_at + self.retry.next_pause()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Seconds of the question and of the answer, `None` when there was none, and when to ask again; `None`
    /// for certain.
    fn assert_answers(answers: &[(u32, Option<u32>, Option<u32>)]) {
        let start = Instant::now();
        let mut confirmation = Confirmation::new(ConfirmSettings::default());
        for &(asked, answered, again) in answers {
            let asked_at = start + SECOND * asked;
            let ask_at = match answered {
                Some(answered) => confirmation.not_running(asked_at, start + SECOND * answered).err(),
                None => Some(confirmation.unanswered(asked_at)),
            };
            assert_eq!(ask_at, again.map(|again| start + SECOND * again), "{asked} of {answers:?}");
        }
    }

    #[test]
    fn two_answers_apart_release() {
        assert_answers(&[(0, Some(0), Some(7)), (7, Some(7), None)]);
        assert_answers(&[(0, Some(0), Some(7)), (3, Some(3), Some(7)), (9, Some(9), None)]);
    }

    #[test]
    fn a_late_first_answer_does_not_count_from_its_question() {
        assert_answers(&[(0, Some(8), Some(15)), (8, Some(8), Some(15)), (15, Some(15), None)]);
        // Nor does a question that left too early count for its late answer.
        assert_answers(&[(0, Some(1), Some(8)), (7, Some(20), Some(8)), (20, Some(21), None)]);
    }

    #[test]
    fn no_answer_asks_for_ever_and_less_often() {
        let waits = [1, 2, 4, 8, 16].into_iter().chain([30; 35]);
        let asked: Vec<_> = (0..).zip(waits).map(|(n, wait)| (n * 100, None, Some(n * 100 + wait))).collect();
        assert_answers(&asked);
        assert_answers(&[(0, Some(0), Some(7)), (7, None, Some(8)), (8, Some(8), None)]);
    }
}
