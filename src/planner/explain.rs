//! The whole story behind a plan, for people: why a layer waits, and what a host could take.
//!
//! Everything is judged on the farm as the plan leaves it, by the gates that the plan was made by: a
//! gate is asked about one more frame of the layer, after all that was placed. So the first gate that
//! is shut is the reason that the plan gives. Numbers from before the plan stand beside those after it.

use std::collections::BTreeSet;

use super::alone::Alone;
use super::caps::Ledger;
use super::funnel::Funnel;
use super::gates::reach_gate;
use super::order::precedence;
use super::plan::Planner;
use super::report::{
    Ahead, CapReport, Explanation, FullHost, HostExplanation, OnHost, OrderReport, PlacedOn, Quantity, ShowTier,
    Verdict,
};
use super::view::View;
use crate::model::{Cap, Holds, LimitUse, Plan, Policy, ShowId, Snapshot, WaitReason};

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
        let before = planner.ledger.clone();
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
    pub fn explain(&self, candidate: usize) -> Explanation {
        let row = &self.planner.snapshot.candidates[candidate];
        let job = &self.planner.snapshot.jobs[row.job];
        let funnel = Funnel::of(&self.planner, candidate);
        let waiting_frames = self.planner.waiting[candidate];
        let gates = funnel.gates();
        let shut = gates.iter().find(|gate| gate.verdict == Verdict::Shut).map(|gate| gate.reason);
        Explanation {
            layer: row.layer.clone(),
            layer_name: row.layer_name.clone(),
            job: job.id.clone(),
            job_name: job.name.clone(),
            placed: self.placed(candidate),
            waiting_frames,
            reason: shut.filter(|_| waiting_frames > 0),
            gates,
            caps: self.caps(candidate, &funnel),
            nearest: funnel.nearest(),
            order: self.order(candidate),
        }
    }

    /// Hosts that lack nothing but room for one more frame of a candidate.
    #[must_use]
    pub fn full_hosts(&self, candidate: usize) -> Vec<FullHost> {
        let hosts = Funnel::of(&self.planner, candidate).full_hosts();
        let full = |host: usize| FullHost {
            host,
            is_given_work: self.planner.index.room(host).idle != self.planner.view.room(host).idle,
        };
        hosts.into_iter().map(full).collect()
    }

    /// What one host could take, by its position in the snapshot.
    #[must_use]
    pub fn explain_host(&self, host: usize) -> HostExplanation {
        let snapshot = self.planner.snapshot;
        let row = &snapshot.hosts[host];
        let candidates = 0..snapshot.candidates.len();
        let found: Vec<OnHost> = candidates.clone().filter_map(|candidate| self.on_host(candidate, host)).collect();
        HostExplanation {
            host: row.name.clone(),
            alloc_name: row.alloc_name.clone(),
            state: self.planner.view.state(host).sentence(),
            total: row.total,
            idle_before: self.planner.view.room(host).idle,
            idle_after: self.planner.index.room(host).idle,
            unreached: candidates.len() - found.len(),
            candidates: found,
        }
    }

    fn placed(&self, candidate: usize) -> Vec<PlacedOn> {
        let snapshot = self.planner.snapshot;
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

    fn caps(&self, candidate: usize, funnel: &Funnel<'_, '_>) -> Vec<CapReport> {
        let planner = &self.planner;
        let snapshot = planner.snapshot;
        let row = &snapshot.candidates[candidate];
        let job = &snapshot.jobs[row.job];
        let folder = &snapshot.folders[job.folder];
        let wanted = &planner.demands.get(candidate).least;
        let mut caps: Vec<CapReport> = funnel
            .allocs
            .iter()
            .filter_map(|alloc| {
                let position = alloc.subscription?;
                Some(CapReport {
                    reason: WaitReason::SubscriptionBurst,
                    name: alloc.name.clone(),
                    before: Quantity::Cores(self.before.subscription(position)),
                    after: Quantity::Cores(planner.ledger.subscription(position)),
                    max: Some(Quantity::Cores(snapshot.subscriptions[position].burst)),
                    wanted: Quantity::Cores(wanted.cores),
                })
            })
            .collect();
        let (folder_before, folder_after) = (self.before.folder(job.folder), planner.ledger.folder(job.folder));
        let (job_before, job_after) = (self.before.job(row.job), planner.ledger.job(row.job));
        let cores = |reason, name: &str, before, after, max| CapReport {
            reason,
            name: name.to_owned(),
            before: Quantity::Cores(before),
            after: Quantity::Cores(after),
            max: at_most(max).map(Quantity::Cores),
            wanted: Quantity::Cores(wanted.cores),
        };
        let gpus = |reason, name: &str, before, after, max| CapReport {
            reason,
            name: name.to_owned(),
            before: Quantity::Gpus(before),
            after: Quantity::Gpus(after),
            max: at_most(max).map(Quantity::Gpus),
            wanted: Quantity::Gpus(wanted.gpus),
        };
        let (job_cores, job_gpus) = (Cap::AtMost(job.cores_max), Cap::AtMost(job.gpus_max));
        caps.push(cores(
            WaitReason::FolderCores,
            &folder.name,
            folder_before.cores,
            folder_after.cores,
            folder.cores_max,
        ));
        caps.push(gpus(WaitReason::FolderGpus, &folder.name, folder_before.gpus, folder_after.gpus, folder.gpus_max));
        caps.push(cores(WaitReason::JobCores, &job.name, job_before.cores, job_after.cores, job_cores));
        caps.push(gpus(WaitReason::JobGpus, &job.name, job_before.gpus, job_after.gpus, job_gpus));
        caps.extend(row.limits.iter().map(|&limit| self.limit(limit)));
        caps
    }

    fn limit(&self, limit: usize) -> CapReport {
        let row = &self.planner.snapshot.limits[limit];
        let quantity = match row.usage {
            LimitUse::Frames { .. } => Quantity::Frames,
            LimitUse::Hosts { .. } => Quantity::Hosts,
        };
        let account = self.planner.ledger.limit(limit);
        CapReport {
            reason: WaitReason::LimitReached,
            name: row.name.clone(),
            before: quantity(self.before.limit(limit).used()),
            after: quantity(account.used()),
            max: Some(quantity(account.max())),
            wanted: quantity(1),
        }
    }

    fn order(&self, candidate: usize) -> OrderReport {
        let planner = &self.planner;
        let snapshot = planner.snapshot;
        let show = planner.show_of(candidate);
        let may_go = |position: usize| {
            let waiting = planner.view.waiting()[position];
            planner.view.let_go(position, waiting) > 0 && planner.work(position).pass().is_ok()
        };
        let contend = |position: &usize| *position == candidate || may_go(*position);
        let contenders: Vec<usize> = planner.order.candidates.iter().copied().filter(contend).collect();
        let of_show: Vec<usize> = contenders.iter().copied().filter(|&other| planner.show_of(other) == show).collect();
        let index = of_show.iter().position(|&other| other == candidate).unwrap_or_default();
        let ahead = of_show[..index].iter().rev().take(AHEAD_MAX).rev().map(|&other| {
            let row = &snapshot.candidates[other];
            Ahead {
                layer: row.layer.clone(),
                layer_name: row.layer_name.clone(),
                job_name: snapshot.jobs[row.job].name.clone(),
                by: precedence(snapshot, planner.policy.job_order, other, candidate),
                takes_turns: planner.order.takes_turns(other, candidate),
                placed_frames: planner.view.waiting()[other] - planner.waiting[other],
                waiting_frames: planner.waiting[other],
            }
        });
        OrderReport {
            position: index + 1,
            of: of_show.len(),
            ahead: ahead.collect(),
            shows: self.tiers(candidate, &contenders),
        }
    }

    fn tiers(&self, candidate: usize, contenders: &[usize]) -> Vec<ShowTier> {
        let planner = &self.planner;
        let snapshot = planner.snapshot;
        let mut shows = Vec::new();
        for lane in &planner.demands.get(candidate).lanes {
            let reaches = |other: &&usize| planner.demands.get(**other).lanes.iter().any(|own| own.alloc == lane.alloc);
            let rivals: BTreeSet<&ShowId> =
                contenders.iter().filter(reaches).map(|&other| planner.show_of(other)).collect();
            let alloc_name = planner.index.hosts_of(lane).next().map(|host| &snapshot.hosts[host].alloc_name);
            let tiers = rivals.into_iter().filter_map(|show| {
                let position = *planner.subscriptions.get(&(show, lane.alloc))?;
                let row = &snapshot.subscriptions[position];
                Some(ShowTier {
                    alloc_name: alloc_name?.clone(),
                    show: snapshot.shows.iter().find(|row| row.id == *show)?.name.clone(),
                    before: row.tier(self.before.subscription(position)),
                    after: row.tier(planner.ledger.subscription(position)),
                })
            });
            let start = shows.len();
            shows.extend(tiers);
            shows[start..].sort_by(|a: &ShowTier, b| a.before.total_cmp(&b.before).then_with(|| a.show.cmp(&b.show)));
        }
        shows
    }

    /// `None` where the candidate's tags do not reach the host.
    fn on_host(&self, candidate: usize, host: usize) -> Option<OnHost> {
        let planner = &self.planner;
        let snapshot = planner.snapshot;
        let work = planner.work(candidate);
        let row = work.candidate;
        if reach_gate(&work, &snapshot.hosts[host]) == Err(WaitReason::NoHostWithTags) {
            return None;
        }
        let mut alone = Alone::new(planner, &self.before, candidate, host);
        let waiting_frames = planner.view.waiting()[candidate];
        let mut could_take = 0;
        let mut reservation = None;
        let mut then = None;
        while could_take < waiting_frames && then.is_none() {
            match alone.take() {
                Ok(amounts) => {
                    reservation = reservation.or(Some(amounts));
                    could_take += 1;
                }
                Err(reason) => then = Some(reason),
            }
        }
        let placed = planner.placements.iter().filter(|placed| placed.candidate == candidate && placed.host == host);
        Some(OnHost {
            layer: row.layer.clone(),
            layer_name: row.layer_name.clone(),
            job_name: work.job().name.clone(),
            waiting_frames,
            could_take,
            reservation,
            refusal: alone.refusal().filter(|_| then >= Some(WaitReason::Shape)),
            then: then
                .or((planner.view.let_go(candidate, waiting_frames) < waiting_frames).then_some(WaitReason::BackOff)),
            placed_frames: placed.map(|placed| placed.frames).sum(),
        })
    }
}

const fn at_most<T: Copy>(cap: Cap<T>) -> Option<T> {
    match cap {
        Cap::Unlimited => None,
        Cap::AtMost(max) => Some(max),
    }
}
