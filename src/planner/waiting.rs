//! Why what is left of a candidate waits, judged by what the whole plan leaves.

use super::demand::{Demand, Lane};
use super::gates::{room_gate, shape_gate};
use super::hosts::Search;
use super::plan::Planner;
use crate::model::WaitReason;
use crate::units::Cores;

impl Planner<'_> {
    /// The first gate that one more frame of the candidate fails.
    ///
    /// Caps are asked twice: for the least that a frame can take, and, where hosts have room, for what
    /// it would take on the best of them. Where hosts or allocations fail for different reasons, the
    /// one that gets furthest tells.
    pub(super) fn reason(&self, candidate: usize) -> WaitReason {
        match self.try_once_more(candidate) {
            Err(reason) => reason,
            Ok(()) if self.let_go(candidate) == 0 => WaitReason::BackOff,
            Ok(()) => WaitReason::PassFull,
        }
    }

    fn try_once_more(&self, candidate: usize) -> Result<(), WaitReason> {
        self.work(candidate).pass()?;
        let demand = self.demands.get(candidate);
        let lanes = self.usable_lanes(candidate, demand)?;
        self.caps_for_least(candidate)?;
        if demand.lanes.is_empty() {
            return Err(demand.furthest);
        }
        let mut refused = None;
        for &(lane, subscription) in lanes.iter().filter(|(lane, _)| !lane.is_exhausted) {
            if self.search(candidate, demand, lane, subscription).spot.is_some() {
                return Ok(());
            }
            let beyond_caps = Search { lane, ask: &demand.ask, cores_max: Cores(i64::MAX), warm: &[] };
            if let Some(spot) = self.index.find(&beyond_caps, |_, _| true).spot {
                refused = refused.max(self.accepts(candidate, subscription, spot.host, &spot.amounts).err());
            }
        }
        Err(refused.unwrap_or_else(|| self.room_reason(demand, &lanes)))
    }

    /// The allocations whose subscription allows the least that a frame takes. None at all is no
    /// reason yet where no host could run the layer anyway.
    fn usable_lanes<'p>(&self, candidate: usize, demand: &'p Demand) -> Result<Vec<(&'p Lane, usize)>, WaitReason> {
        let mut usable = Vec::new();
        let mut furthest = None;
        for lane in &demand.lanes {
            let subscription = self.subscription_of(candidate, lane.alloc);
            match (self.subscription_gate(subscription, &demand.least), subscription) {
                (Ok(()), Some(subscription)) => usable.push((lane, subscription)),
                (allowed, _) => furthest = furthest.max(allowed.err()),
            }
        }
        match furthest {
            Some(reason) if usable.is_empty() => Err(reason),
            _ => Ok(usable),
        }
    }

    /// Of hosts that could run it and have no room for it now.
    fn room_reason(&self, demand: &Demand, lanes: &[(&Lane, usize)]) -> WaitReason {
        let mut hosts = lanes.iter().flat_map(|(lane, _)| self.index.hosts_of(lane));
        let lacks_room = |host: usize| {
            shape_gate(&demand.ask, &self.view.emptied(host), self.policy).is_ok()
                && room_gate(&demand.ask, &self.index.room(host), self.policy) == Err(WaitReason::Capacity)
        };
        if hosts.any(lacks_room) { WaitReason::Capacity } else { WaitReason::GpuReserved }
    }
}
