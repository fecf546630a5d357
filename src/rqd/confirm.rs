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

use crate::config::Rqd;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmSettings {
    /// Least time between the two "not running" answers that count.
    pub apart: Duration,
    /// Wait after the first question that the agent did not answer; doubled after each further one.
    pub retry_first: Duration,
    pub retry_max: Duration,
}

impl Default for ConfirmSettings {
    fn default() -> Self {
        Self {
            apart: Rqd::default().confirm_interval,
            retry_first: Duration::from_secs(1),
            retry_max: Duration::from_secs(30),
        }
    }
}

/// What came back on the question whether the agent runs the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmAnswer {
    Running,
    NotRunning,
    /// None: not reachable, or an error.
    Unanswered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The launch succeeded.
    Running,
    /// The frame does not run and will not start: give the booking back, fenced.
    NotRunning,
    /// Ask again then. Without end: the booking of a host that never answers again is Cuebot's to
    /// release, which knows whether the machine was rebooted.
    AskAgain { at: Instant },
}

/// The questions about one launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    settings: ConfirmSettings,
    not_running_since: Option<Instant>,
    unanswered: u32,
}

impl Confirmation {
    #[must_use]
    pub const fn new(settings: ConfirmSettings) -> Self {
        Self { settings, not_running_since: None, unanswered: 0 }
    }

    /// Takes an answer to a question that left at `asked_at`. Of the first "not running" the arrival
    /// counts, since the host may have answered it at any time before; of the second the question, since
    /// what happened on the host after that is not in the answer.
    pub fn take(&mut self, answer: ConfirmAnswer, asked_at: Instant, arrived_at: Instant) -> Verdict {
        match answer {
            ConfirmAnswer::Running => Verdict::Running,
            ConfirmAnswer::NotRunning => {
                self.unanswered = 0;
                let enough = *self.not_running_since.get_or_insert(arrived_at) + self.settings.apart;
                if asked_at >= enough { Verdict::NotRunning } else { Verdict::AskAgain { at: enough } }
            }
            ConfirmAnswer::Unanswered => {
                let wait = doubled(self.settings.retry_first, self.unanswered, self.settings.retry_max);
                self.unanswered = self.unanswered.saturating_add(1);
                Verdict::AskAgain { at: asked_at + wait }
            }
        }
    }
}

/// `first`, doubled `times` times, at most `max`.
pub(super) fn doubled(first: Duration, times: u32, max: Duration) -> Duration {
    first.saturating_mul(2u32.saturating_pow(times)).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Answers that arrive at once.
    fn verdicts(answers: &[(u32, ConfirmAnswer)]) -> Vec<Result<u64, Verdict>> {
        late_verdicts(&answers.iter().map(|(second, answer)| (*second, *second, *answer)).collect::<Vec<_>>())
    }

    /// Second of the question, second of the answer.
    fn late_verdicts(answers: &[(u32, u32, ConfirmAnswer)]) -> Vec<Result<u64, Verdict>> {
        let start = Instant::now();
        let mut confirmation = Confirmation::new(ConfirmSettings::default());
        let mut take = |asked: u32, arrived: u32, answer| match confirmation.take(
            answer,
            start + SECOND * asked,
            start + SECOND * arrived,
        ) {
            Verdict::AskAgain { at } => Ok((at - start).as_secs()),
            verdict => Err(verdict),
        };
        answers.iter().map(|(asked, arrived, answer)| take(*asked, *arrived, *answer)).collect()
    }

    #[test]
    fn a_late_first_answer_does_not_count_from_its_question() {
        use ConfirmAnswer::NotRunning;
        assert_eq!(
            late_verdicts(&[(0, 8, NotRunning), (8, 8, NotRunning), (15, 15, NotRunning)]),
            [Ok(15), Ok(15), Err(Verdict::NotRunning)]
        );
        // Nor does a question that left too early count for its late answer.
        assert_eq!(
            late_verdicts(&[(0, 1, NotRunning), (7, 20, NotRunning), (20, 21, NotRunning)]),
            [Ok(8), Ok(8), Err(Verdict::NotRunning)]
        );
    }

    #[test]
    fn two_answers_apart_release() {
        use ConfirmAnswer::NotRunning;
        assert_eq!(verdicts(&[(0, NotRunning), (7, NotRunning)]), [Ok(7), Err(Verdict::NotRunning)]);
        assert_eq!(
            verdicts(&[(0, NotRunning), (3, NotRunning), (9, NotRunning)]),
            [Ok(7), Ok(7), Err(Verdict::NotRunning)]
        );
    }

    #[test]
    fn running_keeps_at_any_time() {
        use ConfirmAnswer::{NotRunning, Running};
        assert_eq!(verdicts(&[(0, Running)]), [Err(Verdict::Running)]);
        assert_eq!(verdicts(&[(0, NotRunning), (7, Running)]), [Ok(7), Err(Verdict::Running)]);
    }

    #[test]
    fn no_answer_asks_for_ever_and_less_often() {
        use ConfirmAnswer::{NotRunning, Unanswered};
        let asked: Vec<(u32, ConfirmAnswer)> = (0..40).map(|n| (n * 100, Unanswered)).collect();
        let waits: Vec<u64> = verdicts(&asked).into_iter().zip(0..).map(|(at, n)| at.unwrap() - n * 100).collect();
        assert_eq!(waits[..7], [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(waits[39], 30);
        assert_eq!(
            verdicts(&[(0, NotRunning), (7, Unanswered), (8, NotRunning)]),
            [Ok(7), Ok(8), Err(Verdict::NotRunning)]
        );
    }
}
