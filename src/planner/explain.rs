//! What people are told of a plan: why a layer waits, and what a host could take.
//!
//! Everything is read from a trace of the walk over the gates, on the farm as the plan leaves it: about one
//! more frame of the layer, after all that was placed. So the first gate that is shut is the reason that the
//! plan gives. Numbers from before the plan stand beside those after it.

use std::collections::BTreeMap;

use super::caps::Capped;
use super::gates::{FirstShut, Layer, Trace, room_gates};
use super::ledger::Ledger;
use super::order::precedence;
use super::plan::Planner;
use super::report::{
    Ahead, CapReport, Explanation, FullHost, GateVerdict, HostExplanation, OnHost, OrderReport, PlacedOn, ShowTier,
};
use super::reserve::{Offer, reserve};
use super::trace::Recorded;
use super::view::View;
use crate::model::{CandidateIx, Holds, HostIx, Policy, ShowId, Snapshot, SubscriptionIx, WaitReason};
use crate::units::Amounts;

/// A farm with the plan that was made for it.
pub(crate) struct PlannedFarm<'s> {
    pub(super) planner: Planner<'s>,
    /// The accounts before the plan.
    before: Ledger<'s>,
}

/// How many layers before it an explanation names.
const AHEAD_MAX: usize = 10;

impl<'s> PlannedFarm<'s> {
    /// Makes the plan.
    pub(crate) fn new(snapshot: &'s Snapshot, holds: &'s Holds, policy: &'s Policy) -> Self {
        let mut planner = Planner::new(View::new(snapshot, holds, policy));
        let before = planner.state.ledger.clone();
        planner.place();
        Self { planner, before }
    }

    /// What is told of one candidate, by its position in the snapshot.
    pub(crate) fn explain(&self, candidate: CandidateIx) -> Explanation {
        let state = &self.planner.state;
        let Layer { candidate: row, job, .. } = state.layer(candidate);
        let waiting_frames = state.waiting[candidate];
        let recorded = Recorded::of(state, candidate);
        let gates = recorded.gates();
        let shut = gates.iter().find(|gate| gate.verdict == GateVerdict::Shut).map(|gate| gate.reason);
        Explanation {
            layer: row.layer.clone(),
            layer_name: row.layer_name.clone(),
            job: job.id.clone(),
            job_name: job.name.clone(),
            placed: self.placed(candidate),
            waiting_frames,
            reason: shut.filter(|_| waiting_frames > 0),
            gates,
            caps: self.caps(candidate),
            nearest: recorded.nearest(),
            order: self.order(candidate),
        }
    }

    /// Hosts that lack nothing but room for one more frame of a candidate.
    pub(crate) fn full_hosts(&self, candidate: CandidateIx) -> Vec<FullHost> {
        let state = &self.planner.state;
        let hosts = Recorded::of(state, candidate).stopped_at(WaitReason::Capacity);
        let is_given_work = |host| state.index.offer(host).idle != state.view.offer(host).idle;
        hosts.into_iter().map(|host| FullHost { host, is_given_work: is_given_work(host) }).collect()
    }

    /// What one host could take, by its position in the snapshot.
    pub(crate) fn explain_host(&self, host: HostIx) -> HostExplanation {
        let state = &self.planner.state;
        let snapshot = state.view.snapshot;
        let row = &snapshot.hosts[host];
        let candidates = CandidateIx::all(&snapshot.candidates);
        let found: Vec<OnHost> = candidates.clone().filter_map(|candidate| self.on_host(candidate, host)).collect();
        HostExplanation {
            host: row.name.clone(),
            alloc_name: row.alloc_name.clone(),
            state: state.view.state(host).sentence(),
            total: row.total,
            idle_before: state.view.offer(host).idle,
            busy: state.view.offer(host).busy,
            idle_after: state.index.offer(host).idle,
            kept_for_gpus: state.bundles.told(row, &state.view.offer(host).idle, &state.view),
            unreached: candidates.len() - found.len(),
            candidates: found,
        }
    }

    fn placed(&self, candidate: CandidateIx) -> Vec<PlacedOn> {
        let snapshot = self.planner.state.view.snapshot;
        let of_candidate = self.planner.placements.iter().filter(|placement| placement.candidate == candidate);
        of_candidate
            .map(|placement| PlacedOn {
                host: snapshot.hosts[placement.host].name.clone(),
                cluster: snapshot.clusters[placement.cluster].name.clone(),
                frames: placement.frames,
                reservation: placement.reservation,
            })
            .collect()
    }

    fn caps(&self, candidate: CandidateIx) -> Vec<CapReport> {
        let state = &self.planner.state;
        let ceilings = |ledger| {
            let mut found = Vec::new();
            for eligible in state.demand(candidate).eligible.iter().filter(|hosts| hosts.subscription.is_some()) {
                let show = Capped { ledger, ..state.capped(candidate, Some(eligible)) };
                show.ceilings(&Capped::OF_SHOW, |reason, ceiling| found.push((reason, ceiling)));
            }
            let work = Capped { ledger, ..state.capped(candidate, None) };
            work.ceilings(&Capped::OF_WORK, |reason, ceiling| found.push((reason, ceiling)));
            found
        };
        let (before, after) = (ceilings(&self.before), ceilings(&state.ledger));
        let reports = before.into_iter().zip(after).map(|((reason, before), (_, after))| CapReport {
            reason,
            name: before.name.to_owned(),
            before: before.used,
            after: after.used,
            max: before.max,
            wanted: before.wanted,
        });
        reports.collect()
    }

    fn order(&self, candidate: CandidateIx) -> OrderReport {
        let planner = &self.planner;
        let (state, snapshot) = (&planner.state, planner.state.view.snapshot);
        let show = state.show_of(candidate);
        let contend =
            |position: &CandidateIx| *position == candidate || planner.may_go(*position, state.view.waiting[*position]);
        let contenders: Vec<CandidateIx> = planner.order.candidates.iter().copied().filter(contend).collect();
        let of_show: Vec<CandidateIx> =
            contenders.iter().copied().filter(|&other| state.show_of(other) == show).collect();
        let index = of_show.iter().position(|&other| other == candidate).unwrap_or_default();
        let ahead = of_show[index.saturating_sub(AHEAD_MAX)..index].iter().map(|&other| {
            let row = &snapshot.candidates[other];
            Ahead {
                layer: row.layer.clone(),
                layer_name: row.layer_name.clone(),
                job_name: snapshot.jobs[row.job].name.clone(),
                by: precedence(snapshot, state.view.policy.job_order, other, candidate),
                takes_turns: planner.order.takes_turns(other, candidate),
                placed_frames: state.view.waiting[other] - state.waiting[other],
                waiting_frames: state.waiting[other],
            }
        });
        OrderReport {
            position: index + 1,
            of: of_show.len(),
            ahead: ahead.collect(),
            shows: self.tiers(candidate, &contenders),
        }
    }

    fn tiers(&self, candidate: CandidateIx, contenders: &[CandidateIx]) -> Vec<ShowTier> {
        let state = &self.planner.state;
        let snapshot = state.view.snapshot;
        let mut shows = Vec::new();
        for eligible in &state.demand(candidate).eligible {
            let mut rivals: BTreeMap<&ShowId, SubscriptionIx> = BTreeMap::new();
            for &other in contenders {
                let own = state.demand(other).eligible.iter().find(|own| own.alloc == eligible.alloc);
                rivals.extend(own.and_then(|own| Some((state.show_of(other), own.subscription?))));
            }
            let tiers = rivals.into_iter().filter_map(|(show, position)| {
                let row = &snapshot.subscriptions[position];
                Some(ShowTier {
                    alloc_name: eligible.alloc_name.to_owned(),
                    show: snapshot.shows.iter().find(|row| row.id == *show)?.name.clone(),
                    before: row.tier(self.before.subscriptions[position].cores),
                    after: row.tier(state.ledger.subscriptions[position].cores),
                })
            });
            let start = shows.len();
            shows.extend(tiers);
            shows[start..].sort_by(|a: &ShowTier, b| a.before.total_cmp(&b.before).then_with(|| a.show.cmp(&b.show)));
        }
        shows
    }

    /// One candidate on one host, before the plan and as if nobody else wanted anything. `None` where its tags
    /// do not reach the host.
    fn on_host(&self, candidate: CandidateIx, host: HostIx) -> Option<OnHost> {
        let state = &self.planner.state;
        let layer = state.layer(candidate);
        if !layer.reaches(host) {
            return None;
        }
        let waiting_frames = state.view.waiting[candidate];
        let mut offer = state.view.offer(host);
        let passed =
            FirstShut.gates(&Layer::GATES, &layer).and_then(|()| state.host_gates(candidate, host, &mut FirstShut));
        let (taken, then) = match passed {
            Ok(()) => self.fill(candidate, host, &mut offer),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let refusal = reserve(&state.demand(candidate).ask, &offer, state.view.policy).err();
        let is_held = state.view.let_go(candidate, waiting_frames) < waiting_frames;
        let placed = self.planner.placements.iter();
        let placed = placed.filter(|placed| placed.candidate == candidate && placed.host == host);
        Some(OnHost {
            layer: layer.candidate.layer.clone(),
            layer_name: layer.candidate.layer_name.clone(),
            job_name: layer.job.name.clone(),
            waiting_frames,
            could_take: u32::try_from(taken.len()).unwrap_or(u32::MAX),
            reservation: taken.first().copied(),
            refusal: refusal.filter(|_| then >= Some(WaitReason::Shape)),
            then: then.or(is_held.then_some(WaitReason::BackOff)),
            placed_frames: placed.map(|placed| placed.frames).sum(),
        })
    }

    /// Puts all waiting frames of a candidate on a host, as far as it and the caps of before the plan let them:
    /// what each takes, and what stops the next.
    fn fill(&self, candidate: CandidateIx, host: HostIx, offer: &mut Offer) -> (Vec<Amounts>, Option<WaitReason>) {
        let state = &self.planner.state;
        let (demand, eligible) = (state.demand(candidate), state.eligible_with(candidate, host));
        let mut ledger = self.before.clone();
        let mut taken = Vec::new();
        let going = state.view.beside.get(&(candidate, host)).map_or(usize::MAX, |frames| *frames as usize);
        for _ in 0..state.view.waiting[candidate] {
            let reserved = if taken.len() < state.view.launch_room(host) as usize {
                room_gates(&demand.ask, offer, state.view.policy, &mut FirstShut)
            } else {
                Err(WaitReason::LaunchesWaiting)
            };
            let wanted = &reserved.unwrap_or(demand.least);
            let capped = Capped { ledger: &ledger, host: Some(host), wanted, ..state.capped(candidate, eligible) };
            let amounts = match capped.pass_all().and(reserved) {
                Ok(_) if taken.len() >= going => return (taken, Some(WaitReason::RetryElsewhere)),
                Ok(amounts) => amounts,
                Err(reason) => return (taken, Some(reason)),
            };
            if let Some(subscription) = eligible.and_then(|eligible| eligible.subscription) {
                ledger.take(candidate, host, subscription, &amounts);
            }
            offer.idle -= amounts;
            taken.push(amounts);
        }
        (taken, None)
    }
}
