//! What must hold on every farm, checked by recounting a plan from nothing but the snapshot.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use strum::IntoEnumIterator as _;

use super::drawn::{farm, policy};
use super::farm::{Farm, kept};
use crate::model::{
    AssumedBooking, Candidate, CandidateIx, ClusterIx, FolderIx, Holds, HostIx, JobIx, LimitIx, LimitUse, Plan, Policy,
    ShowIx, Snapshot, SubscriptionIx, WaitReason,
};
use crate::planner::reserve::{Ask, Kept, Offer, reserve};
use crate::planner::{PlannedFarm, plan};
use crate::units::{Amounts, Cores, Gpus};

/// The farm as a plan leaves it, recounted frame by frame.
struct Recount<'s> {
    snapshot: &'s Snapshot,
    holds: &'s Holds,
    policy: &'s Policy,
    idle: Vec<Amounts>,
    kept: Vec<Kept>,
    launch_rooms: Vec<Option<u32>>,
    subscriptions: Vec<Cores>,
    folders: Vec<(Cores, Gpus)>,
    jobs: Vec<(Cores, Gpus)>,
    limits: Vec<i64>,
    seats: HashSet<(LimitIx, HostIx)>,
    placed: HashMap<(CandidateIx, HostIx), u32>,
}

impl<'s> Recount<'s> {
    fn new(Farm { snapshot, holds }: &'s Farm, policy: &'s Policy) -> Self {
        let used = |usage: &LimitUse| match usage {
            LimitUse::Frames { used, .. } | LimitUse::Hosts { used, .. } => *used,
        };
        let mut seats = HashSet::new();
        for (position, limit) in LimitIx::all(&snapshot.limits).zip(&snapshot.limits) {
            if let LimitUse::Hosts { holders, .. } = &limit.usage {
                seats.extend(
                    HostIx::all(&snapshot.hosts)
                        .filter(|&host| holders.contains(&snapshot.hosts[host].name))
                        .map(|host| (position, host)),
                );
            }
        }
        Self {
            snapshot,
            holds,
            policy,
            idle: snapshot.hosts.iter().map(|host| host.idle).collect(),
            kept: kept(snapshot, holds, policy),
            launch_rooms: snapshot.hosts.iter().map(|host| holds.launch_room.get(&host.id).copied()).collect(),
            subscriptions: snapshot.subscriptions.iter().map(|row| row.cores).collect(),
            folders: snapshot.folders.iter().map(|row| (row.cores, row.gpus)).collect(),
            jobs: snapshot.jobs.iter().map(|row| (row.cores, row.gpus)).collect(),
            limits: snapshot.limits.iter().map(|limit| used(&limit.usage)).collect(),
            seats,
            placed: HashMap::new(),
        }
    }

    /// What one more frame of a candidate would reserve on a host, if everything allows it.
    fn fits(&self, candidate: CandidateIx, host: HostIx) -> Option<Amounts> {
        let placed = self.placed.get(&(candidate, host)).copied().unwrap_or_default();
        let candidate = &self.snapshot.candidates[candidate];
        let job = &self.snapshot.jobs[candidate.job];
        let folder = &self.snapshot.folders[job.folder];
        let row = &self.snapshot.hosts[host];
        let reaches = candidate.clusters.iter().any(|&cluster| self.covers(cluster, candidate, host));
        let os_fits = job.os.as_ref().is_none_or(|os| row.os.contains(os));
        let offer = Offer {
            kept: self.kept[host],
            busy: self.holds.busy(row, self.policy.host_load),
            ..Offer::of(row, self.idle[host])
        };
        let amounts = reserve(&Ask::of(candidate, self.policy), &offer, self.policy).ok()?;
        let subscription = self.subscription(job.show, host)?;
        let after = self.subscriptions[subscription] + amounts.cores;
        let (folder_cores, folder_gpus) = self.folders[job.folder];
        let (job_cores, job_gpus) = self.jobs[candidate.job];
        let keeping_off = self.holds.elsewhere.get(&candidate.layer).and_then(|hosts| hosts.get(&row.id));
        let goes = keeping_off.is_none_or(|frames| placed + frames < candidate.waiting_frames);
        let holds = row.state.is_open()
            && goes
            && self.launch_rooms[host] != Some(0)
            && row.facility == job.facility
            && reaches
            && os_fits
            && !job.is_paused
            && job.is_auto_book
            && self.snapshot.shows[job.show].is_active
            && !self.holds.taken_back.contains(&self.snapshot.shows[job.show].id)
            && candidate.start_after.is_none_or(|start| start <= self.snapshot.taken_at)
            && !self.holds.unlaunchable.contains_key(&candidate.layer)
            && !(candidate.needs_slots || candidate.has_refused_licences || candidate.unusable.is_some())
            && after <= self.snapshot.subscriptions[subscription].burst
            && folder.cores_max.allows(folder_cores + amounts.cores)
            && (amounts.gpus == Gpus::ZERO || folder.gpus_max.allows(folder_gpus + amounts.gpus))
            && job_cores + amounts.cores <= job.cores_max
            && job_gpus + amounts.gpus <= job.gpus_max
            && candidate.limits.iter().all(|&limit| self.limit_allows(limit, host));
        holds.then_some(amounts)
    }

    fn covers(&self, cluster: ClusterIx, candidate: &crate::model::Candidate, host: HostIx) -> bool {
        candidate.tags.iter().any(|tag| self.snapshot.clusters[cluster].covers(tag, &self.snapshot.hosts[host]))
    }

    fn subscription(&self, show: ShowIx, host: HostIx) -> Option<SubscriptionIx> {
        let show = &self.snapshot.shows[show].id;
        let rows = &self.snapshot.subscriptions;
        SubscriptionIx::all(rows)
            .find(|&at| rows[at].show == *show && rows[at].alloc == self.snapshot.hosts[host].alloc)
    }

    fn limit_allows(&self, limit: LimitIx, host: HostIx) -> bool {
        match &self.snapshot.limits[limit].usage {
            LimitUse::Frames { max, .. } => self.limits[limit] < *max,
            LimitUse::Hosts { max, .. } => self.limits[limit] < *max || self.seats.contains(&(limit, host)),
        }
    }

    fn take(&mut self, candidate: CandidateIx, host: HostIx, amounts: Amounts) {
        *self.placed.entry((candidate, host)).or_default() += 1;
        let candidate = &self.snapshot.candidates[candidate];
        let job = &self.snapshot.jobs[candidate.job];
        let subscription = self.subscription(job.show, host).expect("it was there when it fitted");
        self.idle[host] -= amounts;
        self.launch_rooms[host] = self.launch_rooms[host].map(|room| room - 1);
        self.subscriptions[subscription] += amounts.cores;
        self.folders[job.folder].0 += amounts.cores;
        self.folders[job.folder].1 += amounts.gpus;
        self.jobs[candidate.job].0 += amounts.cores;
        self.jobs[candidate.job].1 += amounts.gpus;
        for &limit in &candidate.limits {
            let counts_hosts = matches!(self.snapshot.limits[limit].usage, LimitUse::Hosts { .. });
            let is_new = !counts_hosts || self.seats.insert((limit, host));
            self.limits[limit] += i64::from(is_new);
        }
    }

    fn fits_anywhere(&self, candidate: CandidateIx) -> bool {
        HostIx::all(&self.snapshot.hosts).any(|host| self.fits(candidate, host).is_some())
    }
}

/// The farm with every list in another order, and where each entry went.
fn shuffled(snapshot: &Snapshot, seed: u64) -> (Snapshot, [Vec<usize>; 3]) {
    fn permuted<T: Clone>(rows: &[T], order: &[usize]) -> Vec<T> {
        order.iter().map(|&from| rows[from].clone()).collect()
    }
    fn positions(order: &[usize]) -> Vec<usize> {
        let mut positions = vec![0; order.len()];
        order.iter().enumerate().for_each(|(to, &from)| positions[from] = to);
        positions
    }

    let mut state = seed | 1;
    let mut shuffle = |length: usize| {
        let mut order: Vec<usize> = (0..length).collect();
        for last in (1..length).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(last, (state >> 33) as usize % (last + 1));
        }
        order
    };
    let hosts = shuffle(snapshot.hosts.len());
    let candidates = shuffle(snapshot.candidates.len());
    let clusters = shuffle(snapshot.clusters.len());
    let jobs = shuffle(snapshot.jobs.len());
    let folders = shuffle(snapshot.folders.len());
    let shows = shuffle(snapshot.shows.len());
    let limits = shuffle(snapshot.limits.len());
    let subscriptions = shuffle(snapshot.subscriptions.len());
    let (job_at, folder_at, show_at) = (positions(&jobs), positions(&folders), positions(&shows));
    let (cluster_at, limit_at) = (positions(&clusters), positions(&limits));
    let mut other = Snapshot {
        taken_at: snapshot.taken_at,
        clusters: permuted(&snapshot.clusters, &clusters),
        hosts: permuted(&snapshot.hosts, &hosts),
        shows: permuted(&snapshot.shows, &shows),
        subscriptions: permuted(&snapshot.subscriptions, &subscriptions),
        folders: permuted(&snapshot.folders, &folders),
        jobs: permuted(&snapshot.jobs, &jobs),
        candidates: permuted(&snapshot.candidates, &candidates),
        limits: permuted(&snapshot.limits, &limits),
        gpu_work: snapshot.gpu_work.clone(),
        left_out: Vec::new(),
    };
    for job in &mut other.jobs {
        job.folder = FolderIx(folder_at[job.folder]);
        job.show = ShowIx(show_at[job.show]);
    }
    for candidate in &mut other.candidates {
        candidate.job = JobIx(job_at[candidate.job]);
        candidate.clusters.iter_mut().for_each(|cluster| *cluster = ClusterIx(cluster_at[*cluster]));
        candidate.clusters.sort_unstable();
        candidate.limits.iter_mut().for_each(|limit| *limit = LimitIx(limit_at[*limit]));
        candidate.limits.sort_unstable();
    }
    (other, [hosts, candidates, clusters])
}

/// A plan of a shuffled farm in the words of the farm it was shuffled from.
fn translated(plan: &Plan, [hosts, candidates, clusters]: &[Vec<usize>; 3]) -> Plan {
    let mut plan = plan.clone();
    for placement in &mut plan.placements {
        placement.host = HostIx(hosts[placement.host]);
        placement.candidate = CandidateIx(candidates[placement.candidate]);
        placement.cluster = ClusterIx(clusters[placement.cluster]);
    }
    plan.waiting.iter_mut().for_each(|waiting| waiting.candidate = CandidateIx(candidates[waiting.candidate]));
    plan.waiting.sort_by_key(|waiting| waiting.candidate);
    plan
}

/// Whether failures keep more frames of it from going.
fn is_held(farm: &Farm, candidate: &Candidate, placed: u32) -> bool {
    let is_probed = farm.holds.on_probation.contains(&candidate.layer) && placed > 0;
    is_probed || farm.holds.backing_off.contains(&candidate.layer)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_stays_under_every_cap_and_leaves_nothing_that_fits(farm in farm(), policy in policy()) {
        let plan = plan(&farm.snapshot, &farm.holds, &policy);
        let snapshot = &farm.snapshot;
        let mut recount = Recount::new(&farm, &policy);
        let mut placed = vec![0_u32; snapshot.candidates.len()];
        for placement in &plan.placements {
            prop_assert!(placement.frames > 0);
            let candidate = &snapshot.candidates[placement.candidate];
            prop_assert!(recount.covers(placement.cluster, candidate, placement.host));
            for _ in 0..placement.frames {
                prop_assert_eq!(recount.fits(placement.candidate, placement.host), Some(placement.reservation));
                recount.take(placement.candidate, placement.host, placement.reservation);
            }
            placed[placement.candidate] += placement.frames;
        }
        let pass_is_full = plan.placed_frames() == u64::from(policy.frames_per_pass_max);
        prop_assert!(plan.placed_frames() <= u64::from(policy.frames_per_pass_max));

        let mut waiting = vec![None; snapshot.candidates.len()];
        for entry in &plan.waiting {
            prop_assert!(entry.frames > 0 && waiting[entry.candidate].is_none());
            waiting[entry.candidate] = Some(entry);
        }
        for (position, candidate) in CandidateIx::all(&snapshot.candidates).zip(&snapshot.candidates) {
            let left = waiting[position].map_or(0, |entry| entry.frames);
            prop_assert_eq!(placed[position] + left, candidate.waiting_frames);
            let Some(entry) = waiting[position] else { continue };
            let is_held_though_it_fits = match entry.reason {
                WaitReason::PassFull => {
                    prop_assert!(pass_is_full);
                    true
                }
                WaitReason::BackOff => {
                    prop_assert!(is_held(&farm, candidate, placed[position]));
                    true
                }
                _ => false,
            };
            prop_assert_eq!(recount.fits_anywhere(position), is_held_though_it_fits, "{:?}", entry);
        }
    }

    #[test]
    fn an_explanation_gives_the_reason_of_the_plan(farm in farm(), policy in policy()) {
        let plan = plan(&farm.snapshot, &farm.holds, &policy);
        let snapshot = &farm.snapshot;
        let planned = PlannedFarm::new(snapshot, &farm.holds, &policy);
        prop_assert_eq!(&plan, &planned.planner.plan());
        for (position, candidate) in CandidateIx::all(&snapshot.candidates).zip(&snapshot.candidates) {
            let told = planned.explain(position);
            let waiting = plan.waiting.iter().find(|waiting| waiting.candidate == position);
            prop_assert_eq!(told.reason, waiting.map(|waiting| waiting.reason), "{:#?}", told);
            prop_assert_eq!(told.waiting_frames, waiting.map_or(0, |waiting| waiting.frames));
            let placed: u32 = told.placed.iter().map(|placed| placed.frames).sum();
            prop_assert_eq!(placed + told.waiting_frames, candidate.waiting_frames);
            let reasons: Vec<WaitReason> = told.gates.iter().map(|gate| gate.reason).collect();
            let all: Vec<WaitReason> = WaitReason::iter().filter(|&reason| reason != WaitReason::LostRace).collect();
            prop_assert_eq!(reasons, all);
            prop_assert!(told.order.position <= told.order.of);
        }
    }

    #[test]
    fn a_host_could_take_what_a_recount_gives_it(farm in farm(), policy in policy()) {
        let snapshot = &farm.snapshot;
        let planned = PlannedFarm::new(snapshot, &farm.holds, &policy);
        for host in HostIx::all(&snapshot.hosts) {
            let told = planned.explain_host(host);
            prop_assert_eq!(told.candidates.len() + told.unreached, snapshot.candidates.len());
            for entry in told.candidates {
                let mut candidates = CandidateIx::all(&snapshot.candidates);
                let candidate = candidates.find(|&at| snapshot.candidates[at].layer == entry.layer).expect("it is told of");
                let mut recount = Recount::new(&farm, &policy);
                let mut frames = 0;
                while frames < entry.waiting_frames && let Some(amounts) = recount.fits(candidate, host) {
                    recount.take(candidate, host, amounts);
                    frames += 1;
                }
                prop_assert_eq!(frames, entry.could_take, "{:?}", entry);
                let is_all = frames == entry.waiting_frames && !is_held(&farm, &snapshot.candidates[candidate], entry.waiting_frames - 1);
                prop_assert_eq!(entry.then.is_none(), is_all, "{:?}", entry);
            }
        }
    }

    #[test]
    fn the_order_of_rows_does_not_matter(farm in farm(), policy in policy(), seed: u64) {
        let planned = plan(&farm.snapshot, &farm.holds, &policy);
        prop_assert_eq!(&planned, &plan(&farm.snapshot, &farm.holds, &policy));
        let (other, places) = shuffled(&farm.snapshot, seed);
        prop_assert_eq!(&planned, &translated(&plan(&other, &farm.holds, &policy), &places));
    }

    #[test]
    fn what_a_plan_is_made_of_can_be_written_and_read(farm in farm(), policy in policy()) {
        let written = serde_json::to_string(&(&farm.snapshot, &farm.holds, &policy)).expect("it is data");
        let read: (Snapshot, Holds, Policy) = serde_json::from_str(&written).expect("it was written so");
        prop_assert_eq!(&read, &(farm.snapshot.clone(), farm.holds.clone(), policy.clone()));
        prop_assert_eq!(plan(&read.0, &read.1, &read.2), plan(&farm.snapshot, &farm.holds, &policy));
    }

    #[test]
    fn assumed_bookings_count_as_made(mut farm in farm(), policy in policy(), first in 0..30_u32) {
        let few = Policy { frames_per_pass_max: first, ..policy.clone() };
        let made = plan(&farm.snapshot, &farm.holds, &few).placements;
        farm.holds.assumed = made.iter().map(|made| AssumedBooking::of_placement(&farm.snapshot, made)).collect();
        let assumed = plan(&farm.snapshot, &farm.holds, &policy);
        for made in &made {
            farm.book(made);
            if let Some(room) = farm.holds.launch_room.get_mut(&farm.snapshot.hosts[made.host].id) {
                *room -= made.frames;
            }
        }
        // A layer on probation has had its frame.
        farm.holds.backing_off.extend(farm.holds.assumed.iter().map(|booking| &booking.layer).filter(|layer| farm.holds.on_probation.contains(*layer)).cloned());
        farm.holds.assumed.clear();
        prop_assert_eq!(assumed, plan(&farm.snapshot, &farm.holds, &policy));
    }
}

#[test]
fn the_farms_drawn_here_show_every_reason() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::<WaitReason, usize>::new();
    let mut placed = 0;
    for _ in 0..3_000 {
        let (farm, policy) = (farm(), policy()).new_tree(&mut runner).expect("nothing is rejected").current();
        let plan = plan(&farm.snapshot, &farm.holds, &policy);
        placed += usize::from(plan.placed_frames() > 0);
        plan.waiting.iter().for_each(|waiting| *seen.entry(waiting.reason).or_default() += 1);
    }
    assert!(placed > 1_200, "only {placed} farms have work that fits: {seen:?}");
    let missing: Vec<WaitReason> = WaitReason::iter().filter(|reason| !seen.contains_key(reason)).collect();
    assert_eq!(missing, [WaitReason::LostRace], "{seen:?}");
}
