//! The steps of a plan.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use super::caps::Ledger;
use super::demand::{Demand, Demands, Lane};
use super::fit::reserve;
use super::gates::{Capped, Nature, Subscribed, Work, cores_left, limit_gate};
use super::hosts::{Found, HostIndex, Search, Spot};
use super::order::{Line, Order, Standing};
use super::view::View;
use crate::model::{
    AllocId, Holds, HostId, LayerId, Placement, Plan, Policy, ShowId, Snapshot, Tag, WaitReason, Waiting,
};
use crate::units::{Amounts, Kib};

/// Places what fits now, in order, and says why the rest waits.
#[must_use]
pub fn plan(snapshot: &Snapshot, holds: &Holds, policy: &Policy) -> Plan {
    let mut planner = Planner::new(View::new(snapshot, holds, policy));
    planner.place();
    planner.plan()
}

/// A plan in the making.
pub(super) struct Planner<'s> {
    pub(super) view: View<'s>,
    pub(super) snapshot: &'s Snapshot,
    pub(super) policy: &'s Policy,
    pub(super) index: HostIndex<'s>,
    pub(super) ledger: Ledger<'s>,
    pub(super) demands: Demands,
    pub(super) order: Order,
    /// Rank of each allocation's id.
    allocs: HashMap<&'s AllocId, usize>,
    /// Position of each subscription, by show and rank of the allocation.
    pub(super) subscriptions: HashMap<(&'s ShowId, usize), usize>,
    /// Hosts that run frames of the layer already, per candidate.
    warm: Vec<Vec<usize>>,
    /// Frames still waiting, per candidate.
    pub(super) waiting: Vec<u32>,
    frames_left: u32,
    pub(super) placements: Vec<Placement>,
}

/// One show's layers on one allocation.
struct Contender {
    subscription: usize,
    alloc: usize,
    line: Line,
}

/// A candidate's leave to place frames on an allocation.
#[derive(Clone, Copy)]
struct Turn {
    candidate: usize,
    subscription: usize,
    alloc: usize,
    frames_max: u32,
    /// The position of the show's line, and the show that goes next.
    line: usize,
    next: Option<Standing>,
}

impl<'s> Planner<'s> {
    pub(super) fn new(view: View<'s>) -> Self {
        let View { snapshot, policy, .. } = view;
        let asked: HashSet<&Tag> = snapshot.candidates.iter().flat_map(|candidate| &candidate.tags).collect();
        let index = HostIndex::new(&view, &asked);
        let allocs = alloc_ranks(snapshot);
        Self {
            snapshot,
            policy,
            ledger: Ledger::new(&view),
            demands: Demands::of(&view, &index, &allocs),
            index,
            order: Order::of(snapshot, policy.job_order),
            subscriptions: subscriptions_by_alloc(snapshot, &allocs),
            allocs,
            warm: warm_hosts(&view),
            waiting: view.waiting().to_vec(),
            frames_left: policy.frames_per_pass_max,
            placements: Vec::new(),
            view,
        }
    }

    /// Goes round until a round places nothing. One is seldom enough: GPU work opens hosts to layers
    /// that have left, and a layer that was too wide for its caps on a host takes less of what others
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
        let mut lines: BTreeMap<(&ShowId, usize), Vec<usize>> = BTreeMap::new();
        for &position in &self.order.candidates {
            if self.let_go(position) == 0 || self.work(position).pass().is_err() {
                continue;
            }
            let show = self.show_of(position);
            for lane in self.demands.get(position).lanes.iter().filter(|lane| !lane.is_exhausted) {
                lines.entry((show, lane.alloc)).or_default().push(position);
            }
        }
        let contender = |((show, alloc), candidates)| {
            let subscription = *self.subscriptions.get(&(show, alloc))?;
            let line = Line::new(Vec::into_iter(candidates), self.policy.frames_per_layer_turn);
            Some(Contender { subscription, alloc, line })
        };
        lines.into_iter().filter_map(contender).collect()
    }

    fn go_round(&mut self, mut contenders: Vec<Contender>) {
        let mut queue: BinaryHeap<Reverse<Standing>> = contenders
            .iter()
            .enumerate()
            .map(|(line, contender)| Reverse(self.standing(line, contender.subscription)))
            .collect();
        while self.frames_left > 0
            && let Some(Reverse(Standing { line, .. })) = queue.pop()
        {
            let Contender { subscription, alloc, line: layers } = &mut contenders[line];
            let Some((candidate, frames_max)) = layers.front(&self.order) else { continue };
            let next = queue.peek().map(|&Reverse(next)| next);
            let turn = Turn { candidate, subscription: *subscription, alloc: *alloc, frames_max, line, next };
            let placed = self.take_turn(&turn);
            if placed == 0 || self.let_go(candidate) == 0 {
                layers.leave();
            } else {
                layers.spend(placed);
            }
            queue.push(Reverse(self.standing(line, *subscription)));
        }
    }

    fn standing(&self, line: usize, subscription: usize) -> Standing {
        let used = self.ledger.subscription(subscription);
        Standing { tier: self.snapshot.subscriptions[subscription].tier(used), line }
    }

    /// Places frames on the best host of the allocation while it is the best, the turn lasts and no
    /// other show goes first. Returns how many.
    fn take_turn(&mut self, turn: &Turn) -> u32 {
        let &Turn { candidate, subscription, .. } = turn;
        let frames_max = turn.frames_max.min(self.let_go(candidate)).min(self.frames_left);
        // Its last frames may have gone to another allocation.
        if frames_max == 0 {
            return 0;
        }
        let Some(spot) = self.find(candidate, turn.alloc, subscription) else { return 0 };
        let ask = self.demands.get(candidate).ask;
        let mut room = self.index.room(spot.host);
        let mut amounts = spot.amounts;
        let mut frames = 0;
        loop {
            room.idle -= amounts;
            self.ledger.take(candidate, spot.host, subscription, &amounts);
            self.record(candidate, spot, amounts);
            frames += 1;
            let is_over = frames == frames_max
                || turn.next.is_some_and(|next| next < self.standing(turn.line, subscription))
                // With the largest host first, another host is larger now.
                || !self.policy.host_strategy.core_saturation;
            if is_over {
                break;
            }
            match reserve(&ask, &room, self.policy) {
                Ok(again) if self.accepts(candidate, subscription, spot.host, &again).is_ok() => amounts = again,
                _ => break,
            }
        }
        self.index.set_idle(spot.host, room.idle);
        self.waiting[candidate] -= frames;
        self.frames_left -= frames;
        frames
    }

    /// The best host of an allocation for one more frame, under all caps.
    fn find(&mut self, candidate: usize, alloc: usize, subscription: usize) -> Option<Spot> {
        let demand = self.demands.get(candidate);
        let lane = demand.lanes.iter().find(|lane| lane.alloc == alloc)?;
        let is_hopeless = lane.is_exhausted
            || self.subscription_gate(Some(subscription), &demand.least).is_err()
            || self.caps_for_least(candidate).is_err();
        if is_hopeless {
            return None;
        }
        let found = self.search(candidate, demand, lane, subscription);
        if found.spot.is_none() && !found.has_passed_over {
            let demand = self.demands.get_mut(candidate);
            demand.lanes.iter_mut().filter(|lane| lane.alloc == alloc).for_each(|lane| lane.is_exhausted = true);
        }
        found.spot
    }

    /// The best host of a lane, under all caps. Where a limit has no more seats, only hosts that hold
    /// one are asked.
    pub(super) fn search(&self, candidate: usize, demand: &Demand, lane: &Lane, subscription: usize) -> Found {
        let accepts = |host, amounts: &_| self.accepts(candidate, subscription, host, amounts).is_ok();
        let row = &self.snapshot.candidates[candidate];
        let search = Search {
            lane,
            ask: &demand.ask,
            cores_max: cores_left(&self.work(candidate), &self.ledger, subscription),
            warm: &self.warm[candidate],
        };
        let limits = row.limits.iter().map(|&limit| self.ledger.limit(limit));
        match limits.filter(|limit| !limit.has_room()).find_map(|limit| limit.holders()) {
            Some(holders) => {
                let spot = self.index.find_among(holders.iter().copied(), &search, accepts);
                Found { spot, has_passed_over: true }
            }
            None => self.index.find(&search, accepts),
        }
    }

    /// Folder, job and limits, asked for the least that a frame takes: what fails here fails on every
    /// host.
    pub(super) fn caps_for_least(&self, candidate: usize) -> Result<(), WaitReason> {
        self.cap_gate(candidate, &self.demands.get(candidate).least)?;
        self.seat_gate(candidate)
    }

    /// Whether every limit has room, or at least a seat on a host that the candidate may go to.
    pub(super) fn seat_gate(&self, candidate: usize) -> Result<(), WaitReason> {
        let lanes = &self.demands.get(candidate).lanes;
        let is_reached = |&host: &usize| lanes.iter().any(|lane| self.index.cluster_in(lane, host).is_some());
        let has_seat = self.snapshot.candidates[candidate].limits.iter().all(|&limit| {
            let limit = self.ledger.limit(limit);
            limit.has_room() || limit.holders().is_some_and(|holders| holders.iter().any(is_reached))
        });
        if has_seat { Ok(()) } else { Err(WaitReason::LimitReached) }
    }

    /// All caps, asked for what a frame takes on the host.
    pub(super) fn accepts(
        &self,
        candidate: usize,
        subscription: usize,
        host: usize,
        amounts: &Amounts,
    ) -> Result<(), WaitReason> {
        self.subscription_gate(Some(subscription), amounts)?;
        self.cap_gate(candidate, amounts)?;
        limit_gate(&self.ledger, &self.snapshot.candidates[candidate], host)
    }

    /// Frames of a candidate that may go now.
    pub(super) fn let_go(&self, candidate: usize) -> u32 {
        self.view.let_go(candidate, self.waiting[candidate])
    }

    pub(super) fn work(&self, candidate: usize) -> Work<'_> {
        Work { view: &self.view, candidate: &self.snapshot.candidates[candidate] }
    }

    pub(super) fn nature(&self, candidate: usize, host: usize) -> Nature<'_> {
        let candidate = &self.snapshot.candidates[candidate];
        Nature {
            job: &self.snapshot.jobs[candidate.job],
            candidate,
            host: &self.snapshot.hosts[host],
            is_open: self.view.state(host).is_open(),
        }
    }

    pub(super) fn cap_gate(&self, candidate: usize, wanted: &Amounts) -> Result<(), WaitReason> {
        Capped { work: self.work(candidate), ledger: &self.ledger, wanted }.pass()
    }

    pub(super) fn subscription_gate(&self, subscription: Option<usize>, wanted: &Amounts) -> Result<(), WaitReason> {
        self.subscribed(subscription, wanted).pass()
    }

    pub(super) fn subscribed(&self, subscription: Option<usize>, wanted: &Amounts) -> Subscribed<'s> {
        let used = subscription.map(|position| self.ledger.subscription(position)).unwrap_or_default();
        let subscription = subscription.map(|position| &self.snapshot.subscriptions[position]);
        Subscribed { subscription, used, wanted: wanted.cores }
    }

    /// The subscription that pays for a candidate on a host.
    pub(super) fn subscription_on(&self, candidate: usize, host: usize) -> Option<usize> {
        self.subscription_of(candidate, *self.allocs.get(&self.snapshot.hosts[host].alloc)?)
    }

    pub(super) fn subscription_of(&self, candidate: usize, alloc: usize) -> Option<usize> {
        self.subscriptions.get(&(self.show_of(candidate), alloc)).copied()
    }

    pub(super) fn show_of(&self, candidate: usize) -> &'s ShowId {
        &self.snapshot.shows[self.snapshot.jobs[self.snapshot.candidates[candidate].job].show].id
    }

    fn record(&mut self, candidate: usize, spot: Spot, reservation: Amounts) {
        let one = Placement { candidate, host: spot.host, cluster: spot.cluster, frames: 1, reservation };
        match self.placements.last_mut() {
            Some(last) if (Placement { frames: 1, ..*last }) == one => last.frames += 1,
            _ => self.placements.push(one),
        }
    }

    /// Brings back the demands that may find room on hosts which GPU work has opened.
    fn reopen(&mut self) {
        let opened = self.index.take_opened();
        let is_reopened = |lane: &Lane| {
            opened.groups.iter().any(|&group| lane.reaches_group(group))
                || lane.pinned.iter().any(|pinned| opened.hosts.contains(&pinned.host))
        };
        for demand in self.demands.list.iter_mut().filter(|demand| demand.ask.gpu_memory <= Kib::ZERO) {
            for lane in demand.lanes.iter_mut().filter(|lane| lane.is_exhausted) {
                lane.is_exhausted = !is_reopened(lane);
            }
        }
    }

    /// What has been decided, once nothing more is placed.
    pub(super) fn plan(&self) -> Plan {
        let waiting = (0..self.waiting.len())
            .filter(|&candidate| self.waiting[candidate] > 0)
            .map(|candidate| Waiting { candidate, frames: self.waiting[candidate], reason: self.reason(candidate) });
        Plan { waiting: waiting.collect(), placements: self.placements.clone() }
    }
}

/// Allocations by their ids.
fn alloc_ranks(snapshot: &Snapshot) -> HashMap<&AllocId, usize> {
    let of_hosts = snapshot.hosts.iter().map(|host| &host.alloc);
    let all: BTreeSet<&AllocId> = of_hosts.chain(snapshot.subscriptions.iter().map(|row| &row.alloc)).collect();
    all.into_iter().zip(0..).collect()
}

/// Should a show subscribe twice to an allocation, the subscription with the lower id counts.
fn subscriptions_by_alloc<'s>(
    snapshot: &'s Snapshot,
    allocs: &HashMap<&AllocId, usize>,
) -> HashMap<(&'s ShowId, usize), usize> {
    let mut found: HashMap<(&ShowId, usize), usize> = HashMap::new();
    for (position, row) in snapshot.subscriptions.iter().enumerate() {
        let first = found.entry((&row.show, allocs[&row.alloc])).or_insert(position);
        if row.id < snapshot.subscriptions[*first].id {
            *first = position;
        }
    }
    found
}

fn warm_hosts(view: &View<'_>) -> Vec<Vec<usize>> {
    let View { snapshot, holds, .. } = *view;
    let candidates: HashMap<&LayerId, usize> =
        snapshot.candidates.iter().enumerate().map(|(position, candidate)| (&candidate.layer, position)).collect();
    let mut warm = vec![Vec::new(); snapshot.candidates.len()];
    for (host, row) in snapshot.hosts.iter().enumerate() {
        for candidate in row.running_layers.iter().filter_map(|layer| candidates.get(layer)) {
            warm[*candidate].push(host);
        }
    }
    if !holds.assumed.is_empty() {
        let hosts: HashMap<&HostId, usize> =
            snapshot.hosts.iter().enumerate().map(|(position, host)| (&host.id, position)).collect();
        for booking in &holds.assumed {
            if let (Some(&candidate), Some(&host)) = (candidates.get(&booking.layer), hosts.get(&booking.host)) {
                warm[candidate].push(host);
            }
        }
    }
    warm
}
