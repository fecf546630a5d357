//! Who is next.
//!
//! On each allocation the show with the lowest tier goes first, judged anew for every frame. Inside a
//! show standing decides: by priority, or, in order of arrival, by job. Layers of the highest standing
//! take turns, in the order of their jobs' starts and then of dispatch order; only when none of them
//! can place another frame on the allocation does the next standing begin. So a host that two jobs
//! want goes to the one with the higher priority, and jobs of equal priority share.

use std::cmp::Ordering;
use std::collections::VecDeque;

use crate::model::{JobOrder, Snapshot, Timestamp};

/// All candidates in the order of their shows' policy.
pub(super) struct Order {
    /// First to last.
    pub(super) candidates: Vec<usize>,
    /// Per candidate; equal = turns are taken. The lower goes first.
    standing: Vec<u32>,
}

/// What puts one layer before another of its show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precedence {
    Priority,
    /// Its job started earlier.
    JobStart,
    /// Nothing but the order of ids between jobs that started at once.
    JobId,
    DispatchOrder,
    LayerId,
}

impl Order {
    pub(super) fn of(snapshot: &Snapshot, job_order: JobOrder) -> Self {
        let key = |candidate: usize| Key::of(snapshot, job_order, candidate);
        let mut candidates: Vec<usize> = (0..snapshot.candidates.len()).collect();
        candidates.sort_by(|&a, &b| key(a).cmp(&key(b)));
        let mut standing = vec![0; candidates.len()];
        for pair in candidates.windows(2) {
            let next = u32::from(!key(pair[0]).stands_like(&key(pair[1]), job_order));
            standing[pair[1]] = standing[pair[0]] + next;
        }
        Self { candidates, standing }
    }

    pub(super) fn takes_turns(&self, a: usize, b: usize) -> bool {
        self.standing[a] == self.standing[b]
    }
}

/// What decides between two candidates of a show.
pub(super) fn precedence(snapshot: &Snapshot, job_order: JobOrder, a: usize, b: usize) -> Precedence {
    let (a, b) = (Key::of(snapshot, job_order, a), Key::of(snapshot, job_order, b));
    if a.priority != b.priority {
        Precedence::Priority
    } else if a.started_at != b.started_at {
        Precedence::JobStart
    } else if a.job != b.job {
        Precedence::JobId
    } else if a.dispatch_order != b.dispatch_order {
        Precedence::DispatchOrder
    } else {
        Precedence::LayerId
    }
}

/// Compared field by field.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'s> {
    /// Negated; 0 where priority does not count.
    priority: i64,
    started_at: Timestamp,
    job: &'s str,
    dispatch_order: i32,
    layer: &'s str,
}

impl<'s> Key<'s> {
    fn of(snapshot: &'s Snapshot, job_order: JobOrder, candidate: usize) -> Self {
        let candidate = &snapshot.candidates[candidate];
        let job = &snapshot.jobs[candidate.job];
        Self {
            priority: match job_order {
                JobOrder::Priority => -i64::from(job.priority),
                JobOrder::Fifo => 0,
            },
            started_at: job.started_at,
            job: job.id.as_str(),
            dispatch_order: candidate.dispatch_order,
            layer: candidate.layer.as_str(),
        }
    }

    fn stands_like(&self, other: &Self, job_order: JobOrder) -> bool {
        match job_order {
            JobOrder::Priority => self.priority == other.priority,
            JobOrder::Fifo => self.job == other.job,
        }
    }
}

/// The layers of one show that queue for one allocation.
pub(super) struct Line {
    /// In order, those that have not had a turn yet.
    behind: VecDeque<usize>,
    /// Of equal standing: whose turn it is, and the frames that each has left in its turn.
    turns: VecDeque<(usize, u32)>,
    frames_per_turn: u32,
}

impl Line {
    /// `candidates` in order.
    pub(super) fn new(candidates: impl IntoIterator<Item = usize>, frames_per_turn: u32) -> Self {
        Self {
            behind: candidates.into_iter().collect(),
            turns: VecDeque::new(),
            frames_per_turn: frames_per_turn.max(1),
        }
    }

    /// Whose turn it is, and how many frames the turn still has.
    pub(super) fn front(&mut self, order: &Order) -> Option<(usize, u32)> {
        if self.turns.is_empty() {
            let standing = order.standing[*self.behind.front()?];
            while let Some(candidate) = self.behind.pop_front_if(|&mut next| order.standing[next] == standing) {
                self.turns.push_back((candidate, self.frames_per_turn));
            }
        }
        self.turns.front().copied()
    }

    /// The front has placed some of its turn's frames.
    pub(super) fn spend(&mut self, frames: u32) {
        let Some((candidate, left)) = self.turns.pop_front() else { return };
        if frames < left {
            self.turns.push_front((candidate, left - frames));
        } else {
            self.turns.push_back((candidate, self.frames_per_turn));
        }
    }

    /// The front has nothing more to place here.
    pub(super) fn leave(&mut self) {
        self.turns.pop_front();
    }
}

/// A show's tier on an allocation, lowest first. Equal tiers go by the ids of show and allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) tier: f64,
    /// Position among the lines, which are sorted by those ids.
    pub(super) line: usize,
}

impl Ord for Standing {
    fn cmp(&self, other: &Self) -> Ordering {
        self.tier.total_cmp(&other.tier).then(self.line.cmp(&other.line))
    }
}

impl PartialOrd for Standing {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Standing {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Standing {}
