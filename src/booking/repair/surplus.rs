//! How far a counter that is too high may be lowered, judged by what was seen of it. Pure.
//!
//! Cuebot gives up a lost proc statement by statement, each committed alone: the proc goes first. So a
//! surplus may be drift, or it may be about to be subtracted by whoever deleted the proc. Told apart by
//! time: what has been there in every look since one that lies long enough back is drift, less what the
//! procs held that were there in that look and are gone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::db::repair::{Correction, Counted, Procs, Seen};
use crate::units::Amounts;

/// Looks that are remembered of a row, half a second apart at least: those of the last half minute.
const LOOKS_MAX: usize = 64;

/// One look at a row.
#[derive(Debug)]
struct Look {
    /// When the database had answered.
    at: Instant,
    surplus: Amounts,
    /// By procs that the look before had seen.
    vanished: Amounts,
}

/// A row with a surplus, from the first look that saw it on.
#[derive(Debug)]
pub(super) struct Watch {
    /// In order; of those that are old enough to judge by, only the newest is kept.
    looks: VecDeque<Look>,
    procs: Procs,
}

impl Watch {
    pub(super) fn begin(seen: Seen, at: Instant) -> Self {
        let first = Look { at, surplus: seen.surplus, vanished: Amounts::default() };
        Self { looks: VecDeque::from([first]), procs: seen.procs }
    }

    /// Takes another look in. Returns the procs that the look before had seen and this one has not.
    pub(super) fn look(&mut self, seen: Seen, at: Instant) -> Vec<Counted> {
        let before = std::mem::replace(&mut self.procs, seen.procs);
        let gone = before.into_iter().filter(|(proc, _)| !self.procs.contains_key(proc));
        let gone: Vec<Counted> = gone.map(|(_, counted)| counted).collect();
        let vanished = gone.iter().map(|counted| counted.held).sum();
        self.looks.push_back(Look { at, surplus: seen.surplus, vanished });
        // Of a row that is right nobody asks what it allows.
        if self.looks.len() > LOOKS_MAX {
            self.looks.pop_front();
        }
        gone
    }

    /// How far the row may be lowered after the newest look, which was begun at `asked`. `None`: not at
    /// all yet.
    pub(super) fn allowance(&mut self, asked: Instant, apart: Duration) -> Option<Correction> {
        let earlier = self.looks.len().checked_sub(1)?;
        let base = self.looks.iter().take(earlier).rposition(|look| look.at + apart <= asked)?;
        self.looks.drain(..base);
        let in_flight = self.looks.iter().skip(1).map(|look| look.vanished).sum();
        let surpluses = self.looks.iter().map(|look| look.surplus);
        let at_most = surpluses.reduce(Amounts::min)?;
        let is_some = (self.surplus() - in_flight).min(at_most).has_some();
        is_some.then(|| Correction { at_most: Some(at_most), in_flight, procs: self.procs.clone() })
    }

    /// In the newest look.
    pub(super) fn surplus(&self) -> Amounts {
        self.looks.back().map(|look| look.surplus).unwrap_or_default()
    }

    /// The row was lowered, or raised where negative, since the newest look.
    pub(super) fn lowered(&mut self, by: Amounts) {
        for look in &mut self.looks {
            look.surplus -= by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProcId;
    use crate::units::{Cores, Gpus};

    const APART: Duration = Duration::from_secs(5);

    fn cores(cores: i64) -> Amounts {
        Amounts { cores: Cores::whole(cores), ..Amounts::default() }
    }

    /// Each proc holds one core.
    fn seen(surplus: i64, procs: &[&str]) -> Seen {
        let counted = |proc: &&str| (ProcId::new(*proc), Counted { held: cores(1), frame: None });
        Seen { surplus: cores(surplus), procs: procs.iter().map(counted).collect() }
    }

    /// Looks at these seconds; what the last of them allows.
    fn allowance(looks: &[(u64, i64, &[&str])]) -> Option<Allowed> {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let (first, others) = looks.split_first().expect("a look");
        let mut watch = Watch::begin(seen(first.1, first.2), at(first.0));
        let mut allowance = allowed_by(&mut watch, at(first.0));
        for (second, surplus, procs) in others {
            watch.look(seen(*surplus, procs), at(*second));
            allowance = allowed_by(&mut watch, at(*second));
        }
        allowance
    }

    /// How far the row may be lowered, and what may still be subtracted by others.
    type Allowed = (Option<Amounts>, Amounts);

    fn allowed(at_most: i64, in_flight: i64) -> Allowed {
        (Some(cores(at_most)), cores(in_flight))
    }

    fn allowed_by(watch: &mut Watch, asked: Instant) -> Option<Allowed> {
        watch.allowance(asked, APART).map(|correction| (correction.at_most, correction.in_flight))
    }

    #[test]
    fn a_surplus_is_lowered_once_two_looks_far_enough_apart_have_seen_it() {
        assert_eq!(allowance(&[(0, 3, &["a"])]), None);
        assert_eq!(allowance(&[(0, 3, &["a"]), (4, 3, &["a"])]), None);
        assert_eq!(allowance(&[(0, 3, &["a"]), (4, 3, &["a"]), (5, 3, &["a"])]), Some(allowed(3, 0)));
        assert_eq!(allowance(&[(0, 3, &[]), (60, 3, &[])]), Some(allowed(3, 0)));
    }

    #[test]
    fn what_vanished_since_may_still_be_subtracted() {
        // One of three is in the middle of being given up.
        assert_eq!(allowance(&[(0, 2, &["a", "b"]), (5, 3, &["a"])]), Some(allowed(2, 1)));
        assert_eq!(allowance(&[(0, 1, &["a"]), (5, 1, &[])]), None);
        // Five seconds later it is drift like any other.
        assert_eq!(allowance(&[(0, 1, &["a"]), (5, 1, &[]), (10, 1, &[])]), Some(allowed(1, 0)));
        // Looks in between say when it vanished.
        assert_eq!(allowance(&[(0, 1, &["a"]), (1, 1, &[]), (5, 1, &[]), (6, 1, &[])]), Some(allowed(1, 0)));
        assert_eq!(allowance(&[(0, 1, &["a"]), (1, 1, &["a"]), (2, 2, &[]), (6, 2, &[])]), Some(allowed(1, 1)));
    }

    #[test]
    fn a_surplus_that_was_gone_in_between_is_another_one() {
        assert_eq!(allowance(&[(0, 3, &[]), (3, 0, &[]), (5, 3, &[])]), None);
        // Procs that no look has seen came, went and are being given up: at most what was there all the time.
        assert_eq!(allowance(&[(0, 1, &[]), (3, 7, &[]), (5, 9, &[])]), Some(allowed(1, 0)));
    }

    #[test]
    fn a_proc_that_counts_elsewhere_now_is_gone_from_here() {
        let gone = |watch: &mut Watch| watch.look(seen(1, &["b"]), Instant::now()).len();
        assert_eq!(gone(&mut Watch::begin(seen(0, &["a", "b"]), Instant::now())), 1);
    }

    #[test]
    fn what_was_lowered_is_not_lowered_again() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut watch = Watch::begin(seen(3, &["a"]), at(0));
        watch.look(seen(4, &[]), at(5));
        assert_eq!(allowed_by(&mut watch, at(5)), Some(allowed(3, 1)));
        watch.lowered(cores(3));
        watch.look(seen(1, &[]), at(6));
        assert_eq!(allowed_by(&mut watch, at(6)), None, "the one in flight");
        watch.look(seen(1, &[]), at(10));
        assert_eq!(allowed_by(&mut watch, at(10)), Some(allowed(1, 0)));
    }

    #[test]
    fn kinds_are_judged_apart() {
        let gpu = Amounts { gpus: Gpus(1), ..Amounts::default() };
        let both = Seen { surplus: gpu - cores(1), procs: Procs::new() };
        let start = Instant::now();
        let mut watch = Watch::begin(both.clone(), start);
        watch.look(both, start + APART);
        let allowance = watch.allowance(start + APART, APART).expect("one GPU");
        assert_eq!(allowance.at_most, Some(gpu - cores(1)));
    }
}
