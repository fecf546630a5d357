//! Whether a Cuebot leaves the accounting of a show's releases to its scheduler, judged by what becomes
//! of a subscription's counter when procs go. Pure.
//!
//! Some generations subtract the procs of flagged shows from the five accounting tables, some do not and
//! say so in a notification, some do not and say nothing. The rows tell: a proc whose run has ended goes
//! in one transaction with whatever is subtracted for it, so what it held is in the counter afterwards,
//! or it is not.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::units::Amounts;

/// What looks at one subscription have shown.
#[derive(Debug)]
pub(super) struct Evidence {
    /// The surplus that must be there as long as nobody else subtracts.
    owed: Amounts,
    /// Looks after which something was counted that no proc holds any more; too young to prove anything.
    young: VecDeque<Instant>,
    is_proven: bool,
}

/// What the procs held that have vanished since the look before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Vanished {
    pub(super) all: Amounts,
    /// Of these, the ones whose runs an agent has reported to be over. Others may have been taken back by
    /// us, with their amounts, or may be in the middle of being given up.
    pub(super) ended: Amounts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Unknown,
    /// All that vanished is still counted, some of it for long enough.
    LeftToUs,
    /// Somebody else has subtracted something.
    Subtracted,
}

impl Evidence {
    pub(super) fn begin(surplus: Amounts) -> Self {
        Self { owed: surplus, young: VecDeque::new(), is_proven: false }
    }

    /// A look that was begun at `asked` and answered at `at`.
    pub(super) fn look(
        &mut self,
        surplus: Amounts,
        vanished: Vanished,
        (asked, at): (Instant, Instant),
        apart: Duration,
    ) -> Verdict {
        let owed = self.owed + vanished.ended;
        if owed.cores > surplus.cores || owed.gpus > surplus.gpus {
            *self = Self::begin(surplus);
            return Verdict::Subtracted;
        }
        // More than all that vanished accounts for: procs that came and went between the two looks. None
        // so young is ever given up, so their runs have ended.
        let came_and_went = surplus - self.owed - vanished.all;
        if vanished.ended.has_some() || came_and_went.has_some() {
            self.young.push_back(at);
        }
        self.owed = surplus;
        while self.young.front().is_some_and(|seen| *seen + apart <= asked) {
            self.young.pop_front();
            self.is_proven = true;
        }
        if self.is_proven { Verdict::LeftToUs } else { Verdict::Unknown }
    }

    /// We have lowered the row, or raised it where negative, since the newest look.
    pub(super) fn lowered(&mut self, by: Amounts) {
        self.owed -= by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Cores;

    const APART: Duration = Duration::from_secs(5);

    fn cores(cores: i64) -> Amounts {
        Amounts { cores: Cores::whole(cores), ..Amounts::default() }
    }

    struct Case {
        evidence: Evidence,
        start: Instant,
    }

    impl Case {
        fn new(surplus: i64) -> Self {
            Self { evidence: Evidence::begin(cores(surplus)), start: Instant::now() }
        }

        fn look(&mut self, second: u64, surplus: i64, ended: i64) -> Verdict {
            self.look_after_losses(second, surplus, ended, 0)
        }

        fn look_after_losses(&mut self, second: u64, surplus: i64, ended: i64, lost: i64) -> Verdict {
            let at = self.start + Duration::from_secs(second);
            let vanished = Vanished { all: cores(ended + lost), ended: cores(ended) };
            self.evidence.look(cores(surplus), vanished, (at, at), APART)
        }
    }

    #[test]
    fn what_is_still_counted_long_after_its_end_was_left_to_us() {
        let mut case = Case::new(10);
        assert_eq!(case.look(1, 10, 0), Verdict::Unknown, "nothing has ended");
        assert_eq!(case.look(2, 12, 2), Verdict::Unknown, "it may be subtracted yet");
        assert_eq!(case.look(6, 15, 3), Verdict::Unknown);
        assert_eq!(case.look(7, 15, 0), Verdict::LeftToUs);
        // Lowered by us to what procs hold, and more ends.
        case.evidence.lowered(cores(15));
        assert_eq!(case.look(8, 4, 4), Verdict::LeftToUs);
        // Some came and went unseen.
        assert_eq!(case.look(9, 9, 1), Verdict::LeftToUs);
    }

    #[test]
    fn procs_that_came_and_went_unseen_tell_as_much() {
        let mut case = Case::new(10);
        assert_eq!(case.look(1, 30, 0), Verdict::Unknown, "it may be subtracted yet");
        assert_eq!(case.look(6, 30, 0), Verdict::LeftToUs);
        // What is being given up was seen before, and tells nothing.
        let mut case = Case::new(0);
        assert_eq!(case.look_after_losses(1, 3, 0, 3), Verdict::Unknown);
        assert_eq!(case.look_after_losses(9, 3, 0, 0), Verdict::Unknown);
    }

    #[test]
    fn one_subtraction_by_somebody_else_ends_it() {
        let mut case = Case::new(0);
        case.look(1, 2, 2);
        assert_eq!(case.look(7, 4, 2), Verdict::LeftToUs);
        case.evidence.lowered(cores(4));
        assert_eq!(case.look(8, 2, 3), Verdict::Subtracted);
        assert_eq!(case.look(20, 2, 0), Verdict::Unknown, "what was proven before is no proof any more");
        let mut case = Case::new(0);
        assert_eq!(case.look(1, -1, 0), Verdict::Subtracted, "below what procs hold");
    }

    #[test]
    fn a_cuebot_that_subtracts_is_never_taken_for_one_that_does_not() {
        // Old drift of five; ends are subtracted in their own transactions.
        let mut case = Case::new(5);
        assert_eq!(case.look(1, 5, 3), Verdict::Subtracted);
        // One ends and is subtracted while another is in the middle of being given up.
        assert_eq!(case.look_after_losses(2, 6, 1, 1), Verdict::Unknown);
        assert_eq!(case.look(3, 5, 0), Verdict::Subtracted);
        assert_eq!(case.look(9, 5, 0), Verdict::Unknown);
    }
}
