//! The walk over the gates, for whoever asks: planning, the reasons of a plan, explanations.
//!
//! Gates are asked about one more frame of a candidate, on the farm as the plan has it by now. First come
//! those that the layer passes on its own; then the subscriptions of the allocations whose hosts could run
//! it, and the caps, for the least that a frame can take; then the hosts, one by one, and on them all caps
//! once more for what the frame would take there. Where hosts or allocations fail for different reasons, the
//! one that gets furthest tells.

use super::caps::Capped;
use super::eligible::{Eligible, Spot};
use super::gates::{FirstShut, Layer, OnHost, Trace, room_gates, shape_gate};
use super::hosts::{Found, Search};
use super::state::State;
use crate::model::{CandidateIx, HostIx, WaitReason};
use crate::units::{Amounts, Cores};

impl<'s> State<'s> {
    /// Walks all gates.
    pub(super) fn evaluate(&self, candidate: CandidateIx, trace: &mut impl Trace) -> Result<(), WaitReason> {
        let demand = self.demand(candidate);
        let capped = self.capped(candidate, None);
        trace.gates(&Layer::GATES, &self.layer(candidate))?;
        let usable = self.usable(candidate, trace)?;
        capped.pass(&Capped::OF_WORK, trace)?;
        if demand.eligible.is_empty() {
            trace.hosts(demand.furthest)?;
        }
        let tried = self.try_hosts(candidate, &usable);
        match tried {
            Ok(()) => {}
            // What the least of a frame cannot pass has a reason already.
            Err(Some((cap, best))) if capped.pass(&Capped::OF_WORK, &mut FirstShut).is_ok() => {
                trace.too_wide(cap, best)?;
            }
            Err(_) => trace.hosts(self.room_reason(candidate, &usable))?,
        }
        let is_held = self.view.is_held(candidate, self.waiting[candidate]);
        trace.gate(WaitReason::BackOff, !(tried.is_ok() && is_held))?;
        trace.gate(WaitReason::PassFull, is_held || tried.is_err())
    }

    /// The gates of a host, whatever the layer may use of it.
    pub(super) fn host_gates(
        &self,
        candidate: CandidateIx,
        host: HostIx,
        trace: &mut impl Trace,
    ) -> Result<(), WaitReason> {
        let layer = self.layer(candidate);
        trace.gate(WaitReason::NoHostWithTags, layer.reaches(host))?;
        trace.gates(&OnHost::GATES, &layer.on(host))?;
        let shape = shape_gate(&self.demand(candidate).ask, &self.view.emptied(host), self.view.policy);
        trace.gate(WaitReason::Shape, shape.is_ok())
    }

    /// Subscription, and what the host has left now.
    pub(super) fn offer_gates(
        &self,
        candidate: CandidateIx,
        host: HostIx,
        trace: &mut impl Trace,
    ) -> Result<Amounts, WaitReason> {
        let eligible = self.eligible_with(candidate, host);
        self.capped(candidate, eligible).pass(&Capped::OF_SHOW, trace)?;
        trace.gate(WaitReason::LaunchesWaiting, self.index.launch_room(host) > 0)?;
        let amounts = room_gates(&self.demand(candidate).ask, &self.index.offer(host), self.view.policy, trace)?;
        trace.gate(WaitReason::RetryElsewhere, self.goes_to(candidate, host))?;
        Ok(amounts)
    }

    pub(super) fn layer(&self, candidate: CandidateIx) -> Layer<'_> {
        Layer::of(&self.view, candidate)
    }

    /// The least that a frame takes on some hosts, or on any: what its caps refuse, they refuse there for
    /// every frame.
    pub(super) fn capped<'a>(&'a self, candidate: CandidateIx, eligible: Option<&'a Eligible<'s>>) -> Capped<'a, 's> {
        let wanted = &self.demand(candidate).least;
        Capped { state: self, ledger: &self.ledger, candidate, eligible, host: None, wanted }
    }

    /// All caps, asked for what a frame takes on a host, and whether the frames that are left go there.
    pub(super) fn accepts(&self, candidate: CandidateIx, host: HostIx, wanted: &Amounts) -> Result<(), WaitReason> {
        let eligible = self.eligible_with(candidate, host);
        Capped { host: Some(host), wanted, ..self.capped(candidate, eligible) }.pass_all()?;
        FirstShut.gate(WaitReason::RetryElsewhere, self.goes_to(candidate, host))
    }

    /// The best of the eligible hosts, under all caps. Where a limit has no more seats, only hosts that hold
    /// one are asked.
    pub(super) fn search(&self, candidate: CandidateIx, eligible: &Eligible<'s>) -> Found {
        let capped = self.capped(candidate, Some(eligible));
        let accepts = |host, wanted: &_| {
            self.goes_to(candidate, host) && Capped { host: Some(host), wanted, ..capped }.pass_all().is_ok()
        };
        let search = Search {
            eligible,
            ask: &self.demand(candidate).ask,
            cores_max: self.cores_left(candidate, eligible),
            warm: &self.view.warm[candidate],
        };
        let limits = self.view.snapshot.candidates[candidate].limits.iter().map(|&limit| &self.ledger.limits[limit]);
        match limits.filter(|limit| !limit.has_room()).find_map(|limit| limit.holders.as_ref()) {
            Some(holders) => {
                let best = self.index.best_of(holders.iter().copied(), &search, accepts);
                Found { spot: best.map(|(_, spot)| spot), has_skipped: true }
            }
            None => self.index.find(&search, accepts),
        }
    }

    /// What the caps leave in cores.
    fn cores_left(&self, candidate: CandidateIx, eligible: &Eligible<'s>) -> Cores {
        let mut left = Cores(i64::MAX);
        let capped = self.capped(candidate, Some(eligible));
        for gates in [Capped::OF_SHOW.as_slice(), &Capped::OF_WORK] {
            capped.ceilings(gates, |_, ceiling| left = ceiling.cores_left().map_or(left, |cores| cores.min(left)));
        }
        left
    }

    /// The allocations whose subscription allows the least that a frame takes. None at all is no
    /// reason yet where no host could run the layer anyway.
    fn usable(&self, candidate: CandidateIx, trace: &mut impl Trace) -> Result<Vec<&Eligible<'s>>, WaitReason> {
        let mut usable = Vec::new();
        let mut furthest = None;
        for eligible in &self.demand(candidate).eligible {
            match self.capped(candidate, Some(eligible)).pass(&Capped::OF_SHOW, &mut FirstShut) {
                Ok(()) => usable.push(eligible),
                Err(reason) => furthest = furthest.max(Some(reason)),
            }
        }
        if let Some(reason) = furthest.filter(|_| usable.is_empty()) {
            trace.hosts(reason)?;
        }
        Ok(usable)
    }

    /// Whether a host takes a frame. If none does and hosts have room, an error tells the cap that is in the
    /// way on the best of them.
    fn try_hosts(&self, candidate: CandidateIx, usable: &[&Eligible<'s>]) -> Result<(), Option<(WaitReason, Spot)>> {
        let mut too_wide: Option<(WaitReason, Spot)> = None;
        for &eligible in usable.iter().filter(|eligible| !eligible.is_exhausted) {
            if self.search(candidate, eligible).spot.is_some() {
                return Ok(());
            }
            let ask = &self.demand(candidate).ask;
            let beyond_caps = Search { eligible, ask, cores_max: Cores(i64::MAX), warm: &[] };
            let Some(best) = self.index.find(&beyond_caps, |_, _| true).spot else { continue };
            let refused = self.accepts(candidate, best.host, &best.amounts).err();
            if let Some(cap) = refused.filter(|&cap| too_wide.is_none_or(|(furthest, _)| cap > furthest)) {
                too_wide = Some((cap, best));
            }
        }
        Err(too_wide)
    }

    /// Of hosts that could run it and have no room for it now; nothing gets further than the last of the room gates.
    fn room_reason(&self, candidate: CandidateIx, usable: &[&Eligible<'s>]) -> WaitReason {
        let mut hosts = usable.iter().flat_map(|eligible| self.index.hosts_of(eligible));
        let (ask, policy) = (&self.demand(candidate).ask, self.view.policy);
        let mut furthest = None;
        while furthest != Some(WaitReason::Capacity)
            && let Some(host) = hosts.next()
        {
            if shape_gate(ask, &self.view.emptied(host), policy).is_err() {
                continue;
            }
            let reason = match self.index.launch_room(host) {
                0 => Some(WaitReason::LaunchesWaiting),
                _ => room_gates(ask, &self.index.offer(host), policy, &mut FirstShut).err(),
            };
            furthest = furthest.max(reason);
        }
        furthest.unwrap_or(WaitReason::GpuReserved)
    }
}
