//! The whole story behind a plan, for people: why a layer waits, and what a host could take.
//!
//! Everything is read from a trace of the walk over the gates, on the farm as the plan leaves it: about one
//! more frame of the layer, after all that was placed. So the first gate that is shut is the reason that the
//! plan gives. Numbers from before the plan stand beside those after it.

use std::collections::BTreeSet;

use super::gates::{FirstShut, Layer, Trace, room_gates};
use super::ledger::Ledger;
use super::order::precedence;
use super::plan::Planner;
use super::report::{
    Ahead, CapReport, Explanation, FullHost, GateVerdict, HostExplanation, OnHost, OrderReport, PlacedOn, Quantity,
    ShowTier,
};
use super::reserve::reserve;
use super::trace::Recorded;
use super::view::View;
use crate::model::{CandidateIx, Holds, HostIx, LimitIx, LimitUse, Plan, Policy, ShowId, Snapshot, WaitReason};

/// A farm with the plan that was made for it.
pub struct PlannedFarm<'s> {
    planner: Planner<'s>,
    /// The accounts before the plan.
    before: Ledger<'s>,
}

/// How many layers before it an explanation names.
const AHEAD_MAX: usize = 10;

impl<'s> PlannedFarm<'s> {
    /// Makes the plan.
    #[must_use]
    pub fn new(snapshot: &'s Snapshot, holds: &'s Holds, policy: &'s Policy) -> Self {
        let mut planner = Planner::new(View::new(snapshot, holds, policy));
        let before = planner.state.ledger.clone();
        planner.place();
        Self { planner, before }
    }

    /// The same as [`super::plan`] gives.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.planner.plan()
    }

    /// The story of one candidate, by its position in the snapshot.
    #[must_use]
    pub fn explain(&self, candidate: CandidateIx) -> Explanation {
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
    #[must_use]
    pub fn full_hosts(&self, candidate: CandidateIx) -> Vec<FullHost> {
        let state = &self.planner.state;
        let hosts = Recorded::of(state, candidate).stopped_at(WaitReason::Capacity);
        let is_given_work = |host| state.index.offer(host).idle != state.view.offer(host).idle;
        hosts.into_iter().map(|host| FullHost { host, is_given_work: is_given_work(host) }).collect()
    }

    /// What one host could take, by its position in the snapshot.
    #[must_use]
    pub fn explain_host(&self, host: HostIx) -> HostExplanation {
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
            idle_after: state.index.offer(host).idle,
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
        let (snapshot, demand) = (state.view.snapshot, state.demand(candidate));
        let bursts = demand.eligible.iter().filter_map(|eligible| {
            let host = state.index.hosts_of(eligible).next()?;
            let position = state.subscription(state.show_of(candidate), eligible.alloc)?;
            Some(CapReport {
                reason: WaitReason::SubscriptionBurst,
                name: snapshot.hosts[host].alloc_name.clone(),
                before: Quantity::Cores(self.before.subscription(position)),
                after: Quantity::Cores(state.ledger.subscription(position)),
                max: Some(Quantity::Cores(snapshot.subscriptions[position].burst)),
                wanted: Quantity::Cores(demand.least.cores),
            })
        });
        let before = state.capped(candidate, &self.before, &demand.least);
        let after = state.capped(candidate, &state.ledger, &demand.least);
        let ceilings = before.ceilings().zip(after.ceilings()).map(|((reason, before), (_, after))| CapReport {
            reason,
            name: before.name.to_owned(),
            before: before.used,
            after: after.used,
            max: before.max,
            wanted: before.wanted,
        });
        let limits = snapshot.candidates[candidate].limits.iter().map(|&limit| self.limit(limit));
        bursts.chain(ceilings).chain(limits).collect()
    }

    fn limit(&self, limit: LimitIx) -> CapReport {
        let row = &self.planner.state.view.snapshot.limits[limit];
        let quantity = match row.usage {
            LimitUse::Frames { .. } => Quantity::Frames,
            LimitUse::Hosts { .. } => Quantity::Hosts,
        };
        let account = self.planner.state.ledger.limit(limit);
        CapReport {
            reason: WaitReason::LimitReached,
            name: row.name.clone(),
            before: quantity(self.before.limit(limit).used()),
            after: quantity(account.used()),
            max: Some(quantity(account.max())),
            wanted: quantity(1),
        }
    }

    fn order(&self, candidate: CandidateIx) -> OrderReport {
        let planner = &self.planner;
        let (state, snapshot) = (&planner.state, planner.state.view.snapshot);
        let show = state.show_of(candidate);
        let contend = |position: &CandidateIx| {
            *position == candidate || planner.may_go(*position, state.view.waiting()[*position])
        };
        let contenders: Vec<CandidateIx> = planner.order.candidates.iter().copied().filter(contend).collect();
        let of_show: Vec<CandidateIx> =
            contenders.iter().copied().filter(|&other| state.show_of(other) == show).collect();
        let index = of_show.iter().position(|&other| other == candidate).unwrap_or_default();
        let ahead = of_show[..index].iter().rev().take(AHEAD_MAX).rev().map(|&other| {
            let row = &snapshot.candidates[other];
            Ahead {
                layer: row.layer.clone(),
                layer_name: row.layer_name.clone(),
                job_name: snapshot.jobs[row.job].name.clone(),
                by: precedence(snapshot, state.view.policy.job_order, other, candidate),
                takes_turns: planner.order.takes_turns(other, candidate),
                placed_frames: state.view.waiting()[other] - state.waiting[other],
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
        let planner = &self.planner;
        let (state, snapshot) = (&planner.state, planner.state.view.snapshot);
        let mut shows = Vec::new();
        for eligible in &state.demand(candidate).eligible {
            let reaches =
                |other: &&CandidateIx| state.demand(**other).eligible.iter().any(|own| own.alloc == eligible.alloc);
            let rivals: BTreeSet<&ShowId> =
                contenders.iter().filter(reaches).map(|&other| state.show_of(other)).collect();
            let alloc_name = state.index.hosts_of(eligible).next().map(|host| &snapshot.hosts[host].alloc_name);
            let tiers = rivals.into_iter().filter_map(|show| {
                let position = state.subscription(show, eligible.alloc)?;
                let row = &snapshot.subscriptions[position];
                Some(ShowTier {
                    alloc_name: alloc_name?.clone(),
                    show: snapshot.shows.iter().find(|row| row.id == *show)?.name.clone(),
                    before: row.tier(self.before.subscription(position)),
                    after: row.tier(state.ledger.subscription(position)),
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
        let (demand, policy) = (state.demand(candidate), state.view.policy);
        let waiting_frames = state.view.waiting()[candidate];
        let mut offer = state.view.offer(host);
        let mut could_take = 0;
        let mut reservation = None;
        let mut then = FirstShut
            .gates(&Layer::GATES, &layer)
            .and_then(|()| state.host_gates(candidate, host, &mut FirstShut))
            .err();
        if then.is_none() {
            let subscription = state.subscription_on(candidate, host);
            let mut ledger = self.before.clone();
            while could_take < waiting_frames && then.is_none() {
                let reserved = room_gates(&demand.ask, &offer, policy, &mut FirstShut);
                let wanted = reserved.unwrap_or(demand.least);
                match state.accepts(&ledger, candidate, subscription, host, &wanted).and(reserved) {
                    Ok(amounts) => {
                        if let Some(payer) = subscription {
                            ledger.take(candidate, host, payer, &amounts);
                        }
                        offer.idle -= amounts;
                        reservation = reservation.or(Some(amounts));
                        could_take += 1;
                    }
                    Err(reason) => then = Some(reason),
                }
            }
        }
        let refusal = reserve(&demand.ask, &offer, policy).err().filter(|_| then >= Some(WaitReason::Shape));
        let is_held = state.view.let_go(candidate, waiting_frames) < waiting_frames;
        let placed = self.planner.placements.iter();
        let placed = placed.filter(|placed| placed.candidate == candidate && placed.host == host);
        Some(OnHost {
            layer: layer.candidate.layer.clone(),
            layer_name: layer.candidate.layer_name.clone(),
            job_name: layer.job.name.clone(),
            waiting_frames,
            could_take,
            reservation,
            refusal,
            then: then.or(is_held.then_some(WaitReason::BackOff)),
            placed_frames: placed.map(|placed| placed.frames).sum(),
        })
    }
}
