//! The steps of a plan.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::eligible::{Eligible, Spot};
use super::gates::{FirstShut, Layer, Trace};
use super::order::{Order, Queue, ShowRank};
use super::reserve::reserve;
use super::state::State;
use super::view::View;
use crate::model::{
    AllocId, CandidateIx, Holds, Placement, Plan, Policy, ShowId, Snapshot, SubscriptionIx, WaitReason, Waiting,
};
use crate::units::{Amounts, Kib};

/// Places what fits now, in order, and says why the rest waits.
pub fn plan(snapshot: &Snapshot, holds: &Holds, policy: &Policy) -> Plan {
    let mut planner = Planner::new(View::new(snapshot, holds, policy));
    planner.place();
    planner.plan()
}

/// A plan that is being made.
pub(super) struct Planner<'s> {
    pub(super) state: State<'s>,
    pub(super) order: Order,
    frames_left: u32,
    pub(super) placements: Vec<Placement>,
}

/// One show's layers on one allocation.
struct Contender {
    subscription: SubscriptionIx,
    queue: Queue,
}

/// What one candidate may place on an allocation before the next is asked.
#[derive(Clone, Copy)]
struct Grant {
    candidate: CandidateIx,
    subscription: SubscriptionIx,
    frames_max: u32,
    /// The position of the show's queue, and the show that goes next.
    queue: usize,
    next: Option<ShowRank>,
}

impl<'s> Planner<'s> {
    pub(super) fn new(view: View<'s>) -> Self {
        Self {
            order: Order::of(view.snapshot, view.policy.job_order),
            frames_left: view.policy.frames_per_pass_max,
            placements: Vec::new(),
            state: State::new(view),
        }
    }

    /// Repeats rounds until one places nothing. One is seldom enough: GPU work opens hosts to layers that
    /// have left their queue, and a layer that was too wide for its caps on a host takes less of what others
    /// leave there.
    pub(super) fn place(&mut self) {
        loop {
            let frames_before = self.frames_left;
            let contenders = self.contenders();
            self.go_round(contenders);
            self.reopen();
            if self.frames_left == 0 || self.frames_left == frames_before {
                return;
            }
        }
    }

    /// Every show with work for an allocation that it may use, by ids of show and allocation.
    fn contenders(&self) -> Vec<Contender> {
        let mut contenders: BTreeMap<(&ShowId, &AllocId), Contender> = BTreeMap::new();
        for &position in &self.order.candidates {
            if !self.may_go(position, self.state.waiting[position]) {
                continue;
            }
            let show = self.state.show_of(position);
            for eligible in self.state.demand(position).eligible.iter().filter(|hosts| !hosts.is_exhausted) {
                let Some(subscription) = eligible.subscription else { continue };
                let contender = contenders.entry((show, eligible.alloc)).or_insert_with(|| Contender {
                    subscription,
                    queue: Queue::new(self.state.view.policy.frames_per_layer_turn),
                });
                contender.queue.push(position);
            }
        }
        contenders.into_values().collect()
    }

    fn go_round(&mut self, mut contenders: Vec<Contender>) {
        let mut shows: BinaryHeap<Reverse<ShowRank>> = contenders
            .iter()
            .enumerate()
            .map(|(queue, contender)| Reverse(self.show_rank(queue, contender.subscription)))
            .collect();
        while self.frames_left > 0
            && let Some(Reverse(ShowRank { queue, .. })) = shows.pop()
        {
            let Contender { subscription, queue: layers } = &mut contenders[queue];
            let Some((candidate, frames_max)) = layers.front(&self.order) else { continue };
            let next = shows.peek().map(|&Reverse(next)| next);
            let grant = Grant { candidate, subscription: *subscription, frames_max, queue, next };
            let placed = self.fill(&grant);
            if placed == 0 || self.state.let_go(candidate) == 0 {
                layers.leave();
            } else {
                layers.spend(placed);
            }
            shows.push(Reverse(self.show_rank(queue, *subscription)));
        }
    }

    fn show_rank(&self, queue: usize, subscription: SubscriptionIx) -> ShowRank {
        let used = self.state.ledger.subscriptions[subscription].cores;
        ShowRank { tier: self.state.view.snapshot.subscriptions[subscription].tier(used), queue }
    }

    /// Places frames on the best host of the allocation while it is the best, the grant lasts and no
    /// other show goes first. Returns how many.
    fn fill(&mut self, grant: &Grant) -> u32 {
        let &Grant { candidate, subscription, .. } = grant;
        let frames_max = grant.frames_max.min(self.state.let_go(candidate)).min(self.frames_left);
        // Its last frames may have gone to another allocation.
        if frames_max == 0 {
            return 0;
        }
        let Some(spot) = self.find(grant) else { return 0 };
        let (ask, policy) = (self.state.demand(candidate).ask, self.state.view.policy);
        let mut offer = self.state.index.offer(spot.host);
        let mut amounts = spot.amounts;
        let mut frames = 0;
        let frames_max = frames_max.min(self.state.index.launch_room(spot.host));
        loop {
            offer.idle -= amounts;
            self.state.ledger.take(candidate, spot.host, subscription, &amounts);
            self.state.went_to(candidate, spot.host);
            self.record(candidate, spot, amounts);
            frames += 1;
            let is_over = frames == frames_max
                || grant.next.is_some_and(|next| next < self.show_rank(grant.queue, subscription))
                // With the largest host first, another host is larger now.
                || !policy.host_strategy.core_saturation;
            if is_over {
                break;
            }
            match reserve(&ask, &offer, policy) {
                Ok(again) if self.state.accepts(candidate, spot.host, &again).is_ok() => amounts = again,
                _ => break,
            }
        }
        self.state.index.set_idle(spot.host, offer.idle, frames);
        self.state.waiting[candidate] -= frames;
        self.frames_left -= frames;
        frames
    }

    /// The best host of an allocation for one more frame, under all caps.
    fn find(&mut self, grant: &Grant) -> Option<Spot> {
        let &Grant { candidate, subscription, .. } = grant;
        let state = &self.state;
        let eligible = &state.demand(candidate).eligible;
        let position = eligible.iter().position(|hosts| hosts.subscription == Some(subscription))?;
        let eligible = &eligible[position];
        if eligible.is_exhausted || state.capped(candidate, Some(eligible)).pass_all().is_err() {
            return None;
        }
        let found = state.search(candidate, eligible);
        if found.spot.is_none() && !found.has_skipped {
            self.state.demands.get_mut(candidate).eligible[position].is_exhausted = true;
        }
        found.spot
    }

    /// Whether any of a candidate's frames could be placed when so many wait, if hosts had room.
    pub(super) fn may_go(&self, candidate: CandidateIx, waiting: u32) -> bool {
        self.state.view.let_go(candidate, waiting) > 0
            && FirstShut.gates(&Layer::GATES, &self.state.layer(candidate)).is_ok()
    }

    fn record(&mut self, candidate: CandidateIx, spot: Spot, reservation: Amounts) {
        let one = Placement { candidate, host: spot.host, cluster: spot.cluster, frames: 1, reservation };
        match self.placements.last_mut() {
            Some(last) if (Placement { frames: 1, ..*last }) == one => last.frames += 1,
            _ => self.placements.push(one),
        }
    }

    /// Brings back the demands that may find room on hosts which GPU work has opened.
    fn reopen(&mut self) {
        let opened = self.state.index.take_opened();
        let is_reopened = |hosts: &Eligible<'_>| {
            opened.groups.iter().any(|group| hosts.groups.contains_key(group))
                || hosts.pinned.keys().any(|host| opened.hosts.contains(host))
        };
        for demand in self.state.demands.list.iter_mut().filter(|demand| demand.ask.gpu_memory <= Kib::ZERO) {
            for hosts in demand.eligible.iter_mut().filter(|hosts| hosts.is_exhausted) {
                hosts.is_exhausted = !is_reopened(hosts);
            }
        }
    }

    /// What has been decided, once nothing more is placed. What is left waits for the first gate that one more
    /// frame fails.
    pub(super) fn plan(&self) -> Plan {
        let waiting = CandidateIx::all(&self.state.waiting).zip(&self.state.waiting).filter(|&(_, &frames)| frames > 0);
        let waiting = waiting.map(|(candidate, &frames)| {
            let shut = self.state.evaluate(candidate, &mut FirstShut).err();
            Waiting { candidate, frames, reason: shut.unwrap_or(WaitReason::PassFull) }
        });
        Plan { waiting: waiting.collect(), placements: self.placements.clone() }
    }
}
