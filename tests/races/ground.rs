//! What everybody in a round shares: the sequence of acts, the counts, and what was found wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cue_scheduler::farm::schema::Generation;
use tokio::sync::RwLock;

/// Lines of a round's sequence that are kept.
const LINES_MAX: usize = 20_000;

pub(super) struct Ground {
    pub(super) seed: u64,
    pub(super) generation: Generation,
    /// What Cuebot would do to itself is kept apart, since it is not what is judged here: whoever moves a
    /// job moves what its counter says at that moment, and whoever recalculates subscriptions counts what
    /// a lost proc has not yet had subtracted. Both write; who releases and books reads.
    pub(super) moves: RwLock<()>,
    pub(super) recalculations: RwLock<()>,
    /// Opening and closing jobs, one at a time, so that what is written down of it is in its order.
    pub(super) closings: tokio::sync::Mutex<()>,
    began: Instant,
    state: Mutex<State>,
    losses: Mutex<Vec<Loss>>,
}

/// The loss of a proc, from before the proc goes until all is subtracted.
struct Loss {
    began: Instant,
    ended: Option<Instant>,
}

/// Ends a loss when it goes.
pub(super) struct LossGuard {
    ground: Arc<Ground>,
    position: usize,
}

impl LossGuard {
    pub(super) fn begin(ground: &Arc<Ground>) -> Self {
        let mut losses = ground.losses();
        losses.push(Loss { began: Instant::now(), ended: None });
        Self { ground: Arc::clone(ground), position: losses.len() - 1 }
    }
}

impl Drop for LossGuard {
    fn drop(&mut self) {
        self.ground.losses()[self.position].ended = Some(Instant::now());
    }
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    tally: Tally,
}

/// What happened in a round, or in many.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) acts: BTreeMap<&'static str, u64>,
    pub(super) bookings: u64,
    /// Requests that were not booked, by their reasons.
    pub(super) not_booked: BTreeMap<&'static str, u64>,
    pub(super) take_backs: u64,
    pub(super) repairs: u64,
    pub(super) launches: u64,
    pub(super) doubles: u64,
    pub(super) lost: u64,
    pub(super) breaches: u64,
    /// Deadlocks that the server ended by failing a statement of Cuebot's, and in which we had a part.
    pub(super) deadlocks: u64,
    /// The same, of a statement of ours.
    pub(super) our_deadlocks: u64,
    /// Among sessions of Cuebot's alone.
    pub(super) own_deadlocks: u64,
    /// Circles of waits, with what Cuebot locks in an order of its own, which we left before the server looked.
    pub(super) circles: Vec<String>,
    pub(super) longest_wait: Duration,
    pub(super) longest_wait_of: String,
    /// Of a statement of Cuebot's for others of Cuebot's, and nobody of ours: what it waits anyway.
    pub(super) longest_own_wait: Duration,
    /// Everything that a round must not show.
    pub(super) faults: Vec<String>,
}

impl Ground {
    pub(super) fn new(seed: u64, generation: Generation) -> Self {
        Self {
            seed,
            generation,
            moves: RwLock::default(),
            recalculations: RwLock::default(),
            closings: tokio::sync::Mutex::default(),
            began: Instant::now(),
            state: Mutex::default(),
            losses: Mutex::default(),
        }
    }

    /// An act by its kind, and what came of it.
    pub(super) fn acted(&self, who: &str, act: &'static str, what: &str) {
        let at = self.began.elapsed().as_millis();
        let mut state = self.state();
        *state.tally.acts.entry(act).or_default() += 1;
        if state.lines.len() < LINES_MAX {
            state.lines.push(format!("{at:>6} ms  {who:<12} {act:<12} {what}"));
        }
    }

    pub(super) fn fault(&self, fault: String) {
        self.note("fault", &fault);
        self.tally(|tally| tally.faults.push(fault));
    }

    /// A line between the acts.
    pub(super) fn note(&self, who: &str, line: &str) {
        let at = self.began.elapsed().as_millis();
        self.state().lines.push(format!("{at:>6} ms  {who:<12} {line}"));
    }

    pub(super) fn tally(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.state().tally);
    }

    pub(super) fn tallied(&self) -> Tally {
        self.state().tally.clone()
    }

    /// The sequence of acts.
    pub(super) fn sequence(&self) -> String {
        self.state().lines.join("\n")
    }

    /// When the oldest loss began that was under way at `at` or later.
    pub(super) fn oldest_loss_since(&self, at: Instant) -> Option<Instant> {
        let losses = self.losses();
        losses.iter().filter(|loss| loss.ended.is_none_or(|ended| ended >= at)).map(|loss| loss.began).min()
    }

    fn losses(&self) -> MutexGuard<'_, Vec<Loss>> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        for (act, times) in &other.acts {
            *self.acts.entry(act).or_default() += times;
        }
        self.bookings += other.bookings;
        for (reason, times) in &other.not_booked {
            *self.not_booked.entry(reason).or_default() += times;
        }
        self.take_backs += other.take_backs;
        self.repairs += other.repairs;
        self.launches += other.launches;
        self.doubles += other.doubles;
        self.lost += other.lost;
        self.breaches += other.breaches;
        self.deadlocks += other.deadlocks;
        self.our_deadlocks += other.our_deadlocks;
        self.own_deadlocks += other.own_deadlocks;
        self.circles.extend(other.circles.iter().cloned());
        if other.longest_wait > self.longest_wait {
            self.longest_wait = other.longest_wait;
            self.longest_wait_of.clone_from(&other.longest_wait_of);
        }
        self.longest_own_wait = self.longest_own_wait.max(other.longest_own_wait);
        self.faults.extend(other.faults.iter().cloned());
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(what, times)| format!("{what} {times}")).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "  acts: {}", list(&self.acts))?;
        writeln!(f, "  not booked: {}", list(&self.not_booked))?;
        writeln!(
            f,
            "  bookings {}, take-backs {}, repairs {}, launches {}",
            self.bookings, self.take_backs, self.repairs, self.launches
        )?;
        writeln!(
            f,
            "  doubles {}, lost {}, breaches {}, deadlocks with us that ended a statement of Cuebot's {}, of ours {}, \
             of Cuebot's own {}, circles {}",
            self.doubles,
            self.lost,
            self.breaches,
            self.deadlocks,
            self.our_deadlocks,
            self.own_deadlocks,
            self.circles.len()
        )?;
        for circle in &self.circles {
            writeln!(f, "  waited for each other: {circle}")?;
        }
        write!(
            f,
            "  longest wait of a statement of Cuebot's for Cuebot's own: {} ms; for us: {} ms{}{}",
            self.longest_own_wait.as_millis(),
            self.longest_wait.as_millis(),
            if self.longest_wait_of.is_empty() { "" } else { ", of " },
            self.longest_wait_of
        )
    }
}
