//! Who is next.
//!
//! On each allocation the show with the lowest tier goes first, judged anew for every frame. Inside a
//! show the priority class decides: by priority, or, in order of arrival, by job. Layers of the highest class
//! take turns, in the order of their jobs' starts and then of dispatch order; only when none of them
//! can place another frame on the allocation does the next class begin. So a host that two jobs
//! want goes to the one with the higher priority, and jobs of equal priority share.

use std::cmp::Ordering;
use std::collections::VecDeque;

use crate::model::{CandidateIx, JobOrder, Snapshot, Timestamp};

/// All candidates in the order of their shows' policy.
pub(super) struct Order {
    /// First to last.
    pub(super) candidates: Vec<CandidateIx>,
    /// The priority class of each candidate: those of one class take turns. The lowest goes first.
    class: Vec<u32>,
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
        let key = |candidate: CandidateIx| Key::of(snapshot, job_order, candidate);
        let mut candidates: Vec<CandidateIx> = CandidateIx::all(&snapshot.candidates).collect();
        candidates.sort_by(|&a, &b| key(a).cmp(&key(b)));
        let mut class = vec![0; candidates.len()];
        for pair in candidates.windows(2) {
            let next = u32::from(!key(pair[0]).is_of_class(&key(pair[1]), job_order));
            class[pair[1]] = class[pair[0]] + next;
        }
        Self { candidates, class }
    }

    pub(super) fn takes_turns(&self, a: CandidateIx, b: CandidateIx) -> bool {
        self.class[a] == self.class[b]
    }
}

/// What decides between two candidates of a show.
pub(super) fn precedence(snapshot: &Snapshot, job_order: JobOrder, a: CandidateIx, b: CandidateIx) -> Precedence {
    let (a, b) = (Key::of(snapshot, job_order, a), Key::of(snapshot, job_order, b));
    let differences = [
        (Precedence::Priority, a.priority != b.priority),
        (Precedence::JobStart, a.started_at != b.started_at),
        (Precedence::JobId, a.job != b.job),
        (Precedence::DispatchOrder, a.dispatch_order != b.dispatch_order),
    ];
    differences.into_iter().find(|&(_, differs)| differs).map_or(Precedence::LayerId, |(by, _)| by)
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
    fn of(snapshot: &'s Snapshot, job_order: JobOrder, candidate: CandidateIx) -> Self {
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

    fn is_of_class(&self, other: &Self, job_order: JobOrder) -> bool {
        match job_order {
            JobOrder::Priority => self.priority == other.priority,
            JobOrder::Fifo => self.job == other.job,
        }
    }
}

/// The layers of one show that queue for one allocation.
pub(super) struct Queue {
    /// In order, those that have not had a turn yet.
    behind: VecDeque<CandidateIx>,
    /// Of one class: whose turn it is, and the frames that each has left of its quantum.
    turns: VecDeque<(CandidateIx, u32)>,
    quantum: u32,
}

impl Queue {
    pub(super) fn new(quantum: u32) -> Self {
        Self { behind: VecDeque::new(), turns: VecDeque::new(), quantum: quantum.max(1) }
    }

    /// Called in order.
    pub(super) fn push(&mut self, candidate: CandidateIx) {
        self.behind.push_back(candidate);
    }

    /// Whose turn it is, and how many frames of its quantum are left.
    pub(super) fn front(&mut self, order: &Order) -> Option<(CandidateIx, u32)> {
        if self.turns.is_empty() {
            let class = order.class[*self.behind.front()?];
            while let Some(candidate) = self.behind.pop_front_if(|&mut next| order.class[next] == class) {
                self.turns.push_back((candidate, self.quantum));
            }
        }
        self.turns.front().copied()
    }

    /// The front has placed some frames of its quantum.
    pub(super) fn spend(&mut self, frames: u32) {
        let Some((candidate, left)) = self.turns.pop_front() else { return };
        if frames < left {
            self.turns.push_front((candidate, left - frames));
        } else {
            self.turns.push_back((candidate, self.quantum));
        }
    }

    /// The front has nothing more to place here.
    pub(super) fn leave(&mut self) {
        self.turns.pop_front();
    }
}

/// A show's tier on an allocation, lowest first. Equal tiers go by the ids of show and allocation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ShowRank {
    pub(super) tier: f64,
    /// Position among the queues, which are sorted by those ids.
    pub(super) queue: usize,
}

impl Ord for ShowRank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.tier.total_cmp(&other.tier).then(self.queue.cmp(&other.queue))
    }
}

impl PartialOrd for ShowRank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for ShowRank {}
