//! How many hosts each gate leaves a candidate, counted one by one on the farm as the plan leaves it.

use std::collections::HashSet;

use super::fit::{Room, needed, reserve};
use super::gates::{Capped, Gate, Nature, Subscribed, reach_gate, room_gate, shape_gate};
use super::hosts::{Search, Spot};
use super::plan::Planner;
use super::report::{GateReport, HostCount, Miss, NearMiss, Verdict};
use crate::model::WaitReason;
use crate::units::{Amounts, Cores};

/// Hosts that get past each gate, each list out of the one before.
pub(super) struct Funnel<'p, 's> {
    planner: &'p Planner<'s>,
    candidate: usize,
    stages: Vec<Stage>,
    /// Allocations of the hosts that could run it, in the order of their ids.
    pub(super) allocs: Vec<Alloc>,
    /// A host takes one more frame.
    is_accepted: bool,
    /// Where hosts have room: the cap that the frame would break on the best of them.
    refused: Option<(WaitReason, Spot)>,
}

/// The hosts that pass one gate.
struct Stage {
    reason: WaitReason,
    asked: usize,
    passed: Vec<usize>,
}

pub(super) struct Alloc {
    pub(super) name: String,
    pub(super) subscription: Option<usize>,
}

impl<'p, 's> Funnel<'p, 's> {
    pub(super) fn of(planner: &'p Planner<'s>, candidate: usize) -> Self {
        let mut funnel =
            Self { planner, candidate, stages: Vec::new(), allocs: Vec::new(), is_accepted: false, refused: None };
        let snapshot = planner.snapshot;
        let work = planner.work(candidate);
        let demand = planner.demands.get(candidate);
        let mut hosts: Vec<usize> = (0..snapshot.hosts.len()).collect();
        hosts.sort_by_key(|&host| &snapshot.hosts[host].name);
        funnel.narrow(WaitReason::NoHostWithTags, &mut hosts, |host| reach_gate(&work, &snapshot.hosts[host]).is_ok());
        for (reason, is_open) in Nature::GATES {
            funnel.narrow(reason, &mut hosts, |host| is_open(&planner.nature(candidate, host)));
        }
        funnel.narrow(WaitReason::Shape, &mut hosts, |host| {
            shape_gate(&demand.ask, &planner.view.emptied(host), planner.policy).is_ok()
        });
        funnel.allocs = allocs(planner, candidate);
        for (reason, is_open) in Subscribed::GATES {
            funnel.narrow(reason, &mut hosts, |host| {
                is_open(&planner.subscribed(planner.subscription_on(candidate, host), &demand.least))
            });
        }
        funnel.look_for_room(&hosts);
        let room = |host: usize| room_gate(&demand.ask, &planner.index.room(host), planner.policy);
        funnel.narrow(WaitReason::GpuReserved, &mut hosts, |host| room(host) != Err(WaitReason::GpuReserved));
        funnel.narrow(WaitReason::Capacity, &mut hosts, |host| room(host).is_ok());
        funnel
    }

    fn narrow(&mut self, reason: WaitReason, hosts: &mut Vec<usize>, passes: impl Fn(usize) -> bool) {
        let asked = hosts.len();
        hosts.retain(|&host| passes(host));
        self.stages.push(Stage { reason, asked, passed: hosts.clone() });
    }

    /// Whether one of the hosts takes a frame, and if they only lack leave of the caps, of which.
    fn look_for_room(&mut self, hosts: &[usize]) {
        let planner = self.planner;
        let demand = planner.demands.get(self.candidate);
        self.is_accepted = hosts.iter().any(|&host| {
            let reserved = reserve(&demand.ask, &planner.index.room(host), planner.policy);
            let subscription = planner.subscription_on(self.candidate, host);
            matches!((reserved, subscription), (Ok(amounts), Some(subscription))
                if planner.accepts(self.candidate, subscription, host, &amounts).is_ok())
        });
        // What the least of a frame cannot pass has a reason already.
        if self.is_accepted || planner.caps_for_least(self.candidate).is_err() {
            return;
        }
        for lane in &demand.lanes {
            let search = Search { lane, ask: &demand.ask, cores_max: Cores(i64::MAX), warm: &[] };
            let subscription = planner.subscription_of(self.candidate, lane.alloc);
            let is_usable = planner.subscription_gate(subscription, &demand.least).is_ok();
            let Some(subscription) = subscription.filter(|_| is_usable) else { continue };
            let Some(spot) = planner.index.find(&search, |_, _| true).spot else { continue };
            let refused = planner.accepts(self.candidate, subscription, spot.host, &spot.amounts).err();
            if let Some(reason) = refused.filter(|&reason| self.refused.is_none_or(|(furthest, _)| reason > furthest)) {
                self.refused = Some((reason, spot));
            }
        }
    }

    fn passed(&self, reason: WaitReason) -> &[usize] {
        self.stages.iter().find(|stage| stage.reason == reason).map_or(&[], |stage| &stage.passed)
    }

    /// Hosts that pass all gates of hosts but the one for room.
    pub(super) fn full_hosts(&self) -> Vec<usize> {
        let with_room: HashSet<&usize> = self.passed(WaitReason::Capacity).iter().collect();
        self.passed(WaitReason::GpuReserved).iter().copied().filter(|host| !with_room.contains(host)).collect()
    }

    /// In the order of the reasons.
    pub(super) fn gates(&self) -> Vec<GateReport> {
        let planner = self.planner;
        let work = planner.work(self.candidate);
        let capped = Capped { work, ledger: &planner.ledger, wanted: &planner.demands.get(self.candidate).least };
        let mut gates: Vec<GateReport> = reports(&super::gates::Work::GATES, &work).collect();
        gates.extend(reports(&Capped::GATES, &capped));
        gates.push(report(WaitReason::LimitReached, planner.seat_gate(self.candidate).is_ok()));
        let is_backing_off = planner.let_go(self.candidate) == 0;
        gates.push(report(WaitReason::BackOff, !(self.is_accepted && is_backing_off)));
        gates.push(report(WaitReason::PassFull, is_backing_off || !self.is_accepted));
        if let Some((refused, _)) = self.refused {
            gates.iter_mut().filter(|gate| gate.reason == refused).for_each(|gate| gate.verdict = Verdict::Shut);
        }
        gates.extend(self.stages.iter().map(|stage| self.stage_report(stage)));
        gates.sort_by_key(|gate| gate.reason);
        gates
    }

    fn stage_report(&self, stage: &Stage) -> GateReport {
        let is_refused = self.refused.is_some_and(|(refused, _)| refused == stage.reason);
        let verdict = if stage.asked == 0 && stage.reason != WaitReason::NoHostWithTags {
            Verdict::NotAsked
        } else if stage.passed.is_empty() || is_refused {
            Verdict::Shut
        } else {
            Verdict::Passed
        };
        let hosts = Some(HostCount { asked: stage.asked, passed: stage.passed.len() });
        GateReport { reason: stage.reason, verdict, hosts }
    }

    /// The host that comes nearest to taking a frame, where none takes one.
    pub(super) fn nearest(&self) -> Option<NearMiss> {
        if self.is_accepted {
            return None;
        }
        let name = |host: usize| self.planner.snapshot.hosts[host].name.clone();
        if let Some((reason, spot)) = self.refused {
            let miss = if reason == WaitReason::LimitReached { Miss::NoSeat } else { Miss::TooWide(spot.amounts) };
            return Some(NearMiss { host: name(spot.host), reason, miss });
        }
        let usable = self.passed(WaitReason::SubscriptionBurst);
        if !usable.is_empty() {
            return self.nearest_by_room(usable, |host| self.planner.index.room(host));
        }
        if !self.passed(WaitReason::Shape).is_empty() {
            return None;
        }
        let able = self.passed(WaitReason::ThreadMode);
        if !able.is_empty() {
            return self.nearest_by_room(able, |host| self.planner.view.emptied(host));
        }
        let stages = [WaitReason::OperatingSystem, WaitReason::NoHostOpen, WaitReason::NoHostWithTags];
        let furthest = stages.into_iter().find_map(|stage| self.passed(stage).first())?;
        self.nearest_by_nature(*furthest)
    }

    fn nearest_by_nature(&self, host: usize) -> Option<NearMiss> {
        let work = self.planner.work(self.candidate);
        let row = &self.planner.snapshot.hosts[host];
        let reason = self.planner.nature(self.candidate, host).pass().err()?;
        let miss = match reason {
            WaitReason::NoHostOpen => Miss::State(self.planner.view.state(host).sentence()),
            WaitReason::OperatingSystem => {
                Miss::OperatingSystem { wanted: work.job().os.clone().unwrap_or_default(), offered: row.os.clone() }
            }
            _ => Miss::ThreadMode,
        };
        Some(NearMiss { host: row.name.clone(), reason, miss })
    }

    /// The one that lacks the fewest kinds of amounts, and of those the least.
    fn nearest_by_room(&self, hosts: &[usize], room: impl Fn(usize) -> Room) -> Option<NearMiss> {
        let ask = &self.planner.demands.get(self.candidate).ask;
        let nearest = hosts.iter().copied().min_by_key(|&host| {
            let room = room(host);
            shortage(&room.idle, &needed(ask, &room))
        })?;
        let row = &self.planner.snapshot.hosts[nearest];
        let room = room(nearest);
        let (reason, refusal) = match shape_gate(ask, &self.planner.view.emptied(nearest), self.planner.policy) {
            Ok(_) => {
                (room_gate(ask, &room, self.planner.policy).err()?, reserve(ask, &room, self.planner.policy).err()?)
            }
            Err(shape) => (shape, super::fit::reserve_unprotected(ask, &room, self.planner.policy).err()?),
        };
        let miss = Miss::Room { refusal, has: room.idle, needed: needed(ask, &room) };
        Some(NearMiss { host: row.name.clone(), reason, miss })
    }
}

/// Kinds of amounts that are short, and the worst shortage in thousandths of what is needed.
fn shortage(has: &Amounts, needed: &Amounts) -> (usize, i64) {
    let kinds = [
        (has.cores.get(), needed.cores.get()),
        (has.memory.get(), needed.memory.get()),
        (has.gpus.get(), needed.gpus.get()),
        (has.gpu_memory.get(), needed.gpu_memory.get()),
    ];
    let short = kinds.into_iter().filter(|(has, needed)| has < needed);
    let worst = short.clone().map(|(has, needed)| (needed - has).saturating_mul(1_000) / needed.max(1)).max();
    // Short of nothing and refused all the same: kept for GPU work, whatever it has.
    worst.map_or((1, 1_000), |worst| (short.count(), worst))
}

fn reports<T>(gates: &[Gate<T>], case: &T) -> impl Iterator<Item = GateReport> {
    gates.iter().map(|(reason, is_open)| report(*reason, is_open(case)))
}

const fn report(reason: WaitReason, is_open: bool) -> GateReport {
    GateReport { reason, verdict: if is_open { Verdict::Passed } else { Verdict::Shut }, hosts: None }
}

fn allocs(planner: &Planner<'_>, candidate: usize) -> Vec<Alloc> {
    let lanes = planner.demands.get(candidate).lanes.iter();
    let alloc = |lane| {
        let host = planner.index.hosts_of(lane).next()?;
        let name = planner.snapshot.hosts[host].alloc_name.clone();
        Some(Alloc { name, subscription: planner.subscription_of(candidate, lane.alloc) })
    };
    lanes.filter_map(alloc).collect()
}
