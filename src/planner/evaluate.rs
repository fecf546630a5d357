//! The walk over the gates, for whoever asks: planning, the reasons of a plan, explanations.
//!
//! Gates are asked about one more frame of a candidate, on the farm as the plan has it by now. First come
//! those that the layer passes on its own; then the subscriptions of the allocations whose hosts could run
//! it, and the caps, for the least that a frame can take; then the hosts, one by one, and on them all caps
//! once more for what the frame would take there. Where hosts or allocations fail for different reasons, the
//! one that gets furthest tells.

use super::eligible::Eligible;
use super::gates::{Capped, FirstShut, Layer, OnHost, Subscribed, Trace, room_gates, shape_gate};
use super::hosts::{Found, Search, Spot};
use super::ledger::Ledger;
use super::state::State;
use crate::model::{CandidateIx, HostIx, SubscriptionIx, WaitReason};
use crate::units::{Amounts, Cores};

/// What the whole walk tells beside the answers of single gates. As those, an error ends it.
pub(super) trait WalkTrace: Trace {
    /// Hosts have stopped, those that get furthest at this gate.
    fn hosts(&mut self, furthest: WaitReason) -> Result<(), WaitReason> {
        Err(furthest)
    }

    /// Hosts have room, and on the best of them the frame would break a cap.
    fn too_wide(&mut self, cap: WaitReason, _best: Spot) -> Result<(), WaitReason> {
        Err(cap)
    }
}

impl WalkTrace for FirstShut {}

/// What became of one more frame on the hosts of some allocations.
enum Tried {
    Accepted,
    TooWide(WaitReason, Spot),
    NoRoom,
}

impl<'s> State<'s> {
    /// Why what is left of a candidate waits: the first gate that one more frame fails.
    pub(super) fn reason(&self, candidate: CandidateIx) -> WaitReason {
        self.evaluate(candidate, &mut FirstShut).err().unwrap_or(WaitReason::PassFull)
    }

    /// Walks all gates.
    pub(super) fn evaluate(&self, candidate: CandidateIx, trace: &mut impl WalkTrace) -> Result<(), WaitReason> {
        let demand = self.demand(candidate);
        trace.gates(&Layer::GATES, &self.layer(candidate))?;
        let usable = self.usable(candidate, trace)?;
        self.capped(candidate, &self.ledger, &demand.least).pass(trace)?;
        trace.gate(WaitReason::LimitReached, self.has_seat(candidate))?;
        if demand.eligible.is_empty() {
            trace.hosts(demand.furthest)?;
        }
        let tried = self.try_hosts(candidate, &usable);
        match tried {
            Tried::Accepted => {}
            // What the least of a frame cannot pass has a reason already.
            Tried::TooWide(cap, best) if self.caps_for_least(candidate).is_ok() => trace.too_wide(cap, best)?,
            Tried::TooWide(..) | Tried::NoRoom => trace.hosts(self.room_reason(candidate, &usable))?,
        }
        let is_accepted = matches!(tried, Tried::Accepted);
        let is_held = self.view.is_held(candidate, self.waiting[candidate]);
        trace.gate(WaitReason::BackOff, !(is_accepted && is_held))?;
        trace.gate(WaitReason::PassFull, is_held || !is_accepted)
    }

    /// The gates of a host, whatever the layer may use of it.
    pub(super) fn host_gates(
        &self,
        candidate: CandidateIx,
        host: HostIx,
        trace: &mut impl Trace,
    ) -> Result<Amounts, WaitReason> {
        let layer = self.layer(candidate);
        trace.gate(WaitReason::NoHostWithTags, layer.reaches(host))?;
        trace.gates(&OnHost::GATES, &layer.on(host))?;
        let shape = shape_gate(&self.demand(candidate).ask, &self.view.emptied(host), self.view.policy);
        trace.gate(WaitReason::Shape, shape.is_ok())?;
        shape
    }

    /// Subscription, and what the host has left now.
    pub(super) fn offer_gates(
        &self,
        candidate: CandidateIx,
        host: HostIx,
        trace: &mut impl Trace,
    ) -> Result<Amounts, WaitReason> {
        let demand = self.demand(candidate);
        let subscription = self.subscription_on(candidate, host);
        trace.gates(&Subscribed::GATES, &self.subscribed(subscription, &self.ledger, &demand.least))?;
        room_gates(&demand.ask, &self.index.offer(host), self.view.policy, trace)
    }

    /// All caps, asked for what a frame takes on the host.
    pub(super) fn accepts(
        &self,
        ledger: &Ledger<'_>,
        candidate: CandidateIx,
        subscription: Option<SubscriptionIx>,
        host: HostIx,
        amounts: &Amounts,
    ) -> Result<(), WaitReason> {
        FirstShut.gates(&Subscribed::GATES, &self.subscribed(subscription, ledger, amounts))?;
        self.capped(candidate, ledger, amounts).pass(&mut FirstShut)?;
        let limits = &self.view.snapshot.candidates[candidate].limits;
        FirstShut.gate(WaitReason::LimitReached, limits.iter().all(|&limit| ledger.limit(limit).allows(host)))
    }

    pub(super) fn subscription_allows(&self, subscription: SubscriptionIx, wanted: &Amounts) -> Result<(), WaitReason> {
        FirstShut.gates(&Subscribed::GATES, &self.subscribed(Some(subscription), &self.ledger, wanted))
    }

    /// Folder, job and limits, asked for the least that a frame takes: what fails here fails on every
    /// host.
    pub(super) fn caps_for_least(&self, candidate: CandidateIx) -> Result<(), WaitReason> {
        self.capped(candidate, &self.ledger, &self.demand(candidate).least).pass(&mut FirstShut)?;
        FirstShut.gate(WaitReason::LimitReached, self.has_seat(candidate))
    }

    pub(super) fn layer(&self, candidate: CandidateIx) -> Layer<'_> {
        Layer::of(&self.view, candidate)
    }

    pub(super) fn capped<'a>(
        &'a self,
        candidate: CandidateIx,
        ledger: &'a Ledger<'a>,
        wanted: &'a Amounts,
    ) -> Capped<'a> {
        Capped { layer: self.layer(candidate), ledger, wanted }
    }

    pub(super) fn subscribed(
        &self,
        subscription: Option<SubscriptionIx>,
        ledger: &Ledger<'_>,
        wanted: &Amounts,
    ) -> Subscribed<'s> {
        let used = subscription.map(|position| ledger.subscription(position)).unwrap_or_default();
        let subscription = subscription.map(|position| &self.view.snapshot.subscriptions[position]);
        Subscribed { subscription, used, wanted: wanted.cores }
    }

    /// The best of the eligible hosts, under all caps. Where a limit has no more seats, only hosts that hold
    /// one are asked.
    pub(super) fn search(&self, candidate: CandidateIx, eligible: &Eligible, subscription: SubscriptionIx) -> Found {
        let accepts =
            |host, amounts: &_| self.accepts(&self.ledger, candidate, Some(subscription), host, amounts).is_ok();
        let demand = self.demand(candidate);
        let search = Search {
            eligible,
            ask: &demand.ask,
            cores_max: self.cores_left(candidate, subscription, &demand.least),
            warm: &self.warm[candidate],
        };
        let limits = self.view.snapshot.candidates[candidate].limits.iter().map(|&limit| self.ledger.limit(limit));
        match limits.filter(|limit| !limit.has_room()).find_map(|limit| limit.holders()) {
            Some(holders) => {
                let spot = self.index.find_among(holders.iter().copied(), &search, accepts);
                Found { spot, has_skipped: true }
            }
            None => self.index.find(&search, accepts),
        }
    }

    /// What subscription, folder and job leave in cores.
    fn cores_left(&self, candidate: CandidateIx, subscription: SubscriptionIx, least: &Amounts) -> Cores {
        let of_show = self.view.snapshot.subscriptions[subscription].burst - self.ledger.subscription(subscription);
        let capped = self.capped(candidate, &self.ledger, least);
        capped.ceilings().filter_map(|(_, ceiling)| ceiling.cores_left()).fold(of_show, Cores::min)
    }

    /// Whether every limit has room, or at least a seat on a host that the candidate may go to.
    fn has_seat(&self, candidate: CandidateIx) -> bool {
        let eligible = &self.demand(candidate).eligible;
        let is_reached = |&host: &HostIx| eligible.iter().any(|hosts| self.index.cluster_in(hosts, host).is_some());
        self.view.snapshot.candidates[candidate].limits.iter().all(|&limit| {
            let limit = self.ledger.limit(limit);
            limit.has_room() || limit.holders().is_some_and(|holders| holders.iter().any(is_reached))
        })
    }

    /// The allocations whose subscription allows the least that a frame takes. None at all is no
    /// reason yet where no host could run the layer anyway.
    fn usable(
        &self,
        candidate: CandidateIx,
        trace: &mut impl WalkTrace,
    ) -> Result<Vec<(&Eligible, SubscriptionIx)>, WaitReason> {
        let demand = self.demand(candidate);
        let mut usable = Vec::new();
        let mut furthest = None;
        for eligible in &demand.eligible {
            let subscription = self.subscription(self.show_of(candidate), eligible.alloc);
            let subscribed = self.subscribed(subscription, &self.ledger, &demand.least);
            match (FirstShut.gates(&Subscribed::GATES, &subscribed), subscription) {
                (Ok(()), Some(subscription)) => usable.push((eligible, subscription)),
                (allowed, _) => furthest = furthest.max(allowed.err()),
            }
        }
        if let Some(reason) = furthest.filter(|_| usable.is_empty()) {
            trace.hosts(reason)?;
        }
        Ok(usable)
    }

    /// Whether a host takes a frame, and if hosts only lack leave of the caps, which is in the way on the
    /// best of them.
    fn try_hosts(&self, candidate: CandidateIx, usable: &[(&Eligible, SubscriptionIx)]) -> Tried {
        let mut tried = Tried::NoRoom;
        for &(eligible, subscription) in usable.iter().filter(|(eligible, _)| !eligible.is_exhausted) {
            if self.search(candidate, eligible, subscription).spot.is_some() {
                return Tried::Accepted;
            }
            let ask = &self.demand(candidate).ask;
            let beyond_caps = Search { eligible, ask, cores_max: Cores(i64::MAX), warm: &[] };
            let Some(best) = self.index.find(&beyond_caps, |_, _| true).spot else { continue };
            let refused = self.accepts(&self.ledger, candidate, Some(subscription), best.host, &best.amounts).err();
            let furthest = if let Tried::TooWide(reason, _) = tried { Some(reason) } else { None };
            if let Some(reason) = refused.filter(|&reason| Some(reason) > furthest) {
                tried = Tried::TooWide(reason, best);
            }
        }
        tried
    }

    /// Of hosts that could run it and have no room for it now.
    fn room_reason(&self, candidate: CandidateIx, usable: &[(&Eligible, SubscriptionIx)]) -> WaitReason {
        let mut hosts = usable.iter().flat_map(|(eligible, _)| self.index.hosts_of(eligible));
        let (ask, policy) = (&self.demand(candidate).ask, self.view.policy);
        let lacks_room = |host: HostIx| {
            shape_gate(ask, &self.view.emptied(host), policy).is_ok()
                && room_gates(ask, &self.index.offer(host), policy, &mut FirstShut) == Err(WaitReason::Capacity)
        };
        if hosts.any(lacks_room) { WaitReason::Capacity } else { WaitReason::GpuReserved }
    }
}
