//! What must hold on every farm, checked by recounting a plan from nothing but the snapshot.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use strum::IntoEnumIterator as _;

use super::farm::{Farm, kept, tags, unusable};
use crate::model::{
    AssumedBooking, Candidate, CandidateIx, Cap, ClusterIx, ClusterKind, CoreRequest, FolderIx, FractionalCores,
    GpuAsk, GpuKeep, GpuWork, Holds, HostIx, HostState, HostStrategy, JobIx, JobOrder, LayerId, LimitIx, LimitUse,
    LoadRule, Plan, Policy, ShowIx, Snapshot, SubscriptionIx, TagKind, ThreadMode, Timestamp, WaitReason,
};
use crate::planner::reserve::{Ask, Kept, Offer, reserve};
use crate::planner::{PlannedFarm, plan};
use crate::units::{Amounts, Cores, Gpus, Kib};

const TAGS: [&str; 3] = ["general", "gpu", "desk"];
const ALLOCS: [&str; 2] = ["alloc", "cloud"];
const SHOWS: [&str; 3] = ["show", "other", "third"];

/// Index of a value; small, so that it shrinks well.
type Pick = usize;

#[derive(Clone, Debug)]
struct HostDraft {
    alloc: Pick,
    tags: Pick,
    cores: i64,
    busy: i64,
    gib: i64,
    gpus: i64,
    gpu_gib: i64,
    mode: Pick,
    state: Pick,
    warm: Pick,
}

#[derive(Clone, Debug)]
struct LayerDraft {
    job: Pick,
    frames: u32,
    tags: Pick,
    cores: Pick,
    cores_max: Pick,
    gib: i64,
    gpus: i64,
    gpu_gib: i64,
    is_threadable: bool,
    limits: Pick,
    held: Pick,
}

#[derive(Clone, Debug)]
struct JobDraft {
    show: Pick,
    folder: Pick,
    priority: i32,
    started: i64,
    cores_max: Pick,
    gpus_max: Pick,
    held: Pick,
    os: Pick,
}

fn host() -> impl Strategy<Value = HostDraft> {
    (0..2_usize, 0..8_usize, 1..9_i64, 0..5_i64, 1..40_i64, 0..3_i64, 0..9_i64, 0..6_usize, 0..8_usize, 0..9_usize)
        .prop_map(|(alloc, tags, cores, busy, gib, gpus, gpu_gib, mode, state, warm)| HostDraft {
            alloc,
            tags: tags | 1,
            cores,
            busy,
            gib,
            gpus,
            gpu_gib: if gpus == 0 { 0 } else { gpu_gib },
            mode,
            state,
            warm,
        })
}

fn layer() -> impl Strategy<Value = LayerDraft> {
    let work = (0..5_usize, 1..30_u32, 1..8_usize, 0..8_usize, 0..5_usize, 0..8_i64);
    let rest = (0..5_i64, 0..6_i64, any::<bool>(), 0..40_usize, 0..30_usize);
    (work, rest).prop_map(
        |((job, frames, tags, cores, cores_max, gib), (gpus, gpu_gib, is_threadable, limits, held))| LayerDraft {
            job,
            frames,
            tags,
            cores,
            cores_max,
            gib,
            gpus: (gpus - 3).max(0),
            gpu_gib: (gpu_gib - 3).max(0),
            is_threadable,
            limits,
            held,
        },
    )
}

fn job() -> impl Strategy<Value = JobDraft> {
    (0..3_usize, 0..2_usize, 0..3_i32, 0..3_i64, 0..24_usize, 0..40_usize, 0..30_usize, 0..16_usize).prop_map(
        |(show, folder, priority, started, cores_max, gpus_max, held, os)| JobDraft {
            show,
            folder,
            priority,
            started,
            cores_max,
            gpus_max,
            held,
            os,
        },
    )
}

prop_compose! {
    fn farm()(
        hosts in vec(host(), 0..14),
        layers in vec(layer(), 0..9),
        jobs in vec(job(), 5),
        bursts in vec((0..4_i64, -1..60_i64), 6),
        folders in vec(0..16_usize, 2),
        limits in vec((0..3_i64, 0..12_i64, any::<bool>()), 3),
    ) -> Farm {
        build(&hosts, &layers, &jobs, &bursts, &folders, &limits)
    }
}

fn build(
    hosts: &[HostDraft],
    layers: &[LayerDraft],
    jobs: &[JobDraft],
    bursts: &[(i64, i64)],
    folders: &[Pick],
    limits: &[(i64, i64, bool)],
) -> Farm {
    let mut farm = Farm::new();
    farm.snapshot.shows.clear();
    farm.snapshot.subscriptions.clear();
    farm.snapshot.clusters.clear();
    for (show, name) in SHOWS.iter().enumerate() {
        farm.show(name, bursts[show].0, bursts[show].1);
        // The third show does not subscribe to the second allocation, but reaches it by tags.
        if show < 2 {
            farm.subscribe(name, "cloud", bursts[show + 3].0, bursts[show + 3].1);
            let allocs = vec![("cloud".into(), "cloud".to_owned())];
            farm.cluster(name, ClusterKind::Allocation { tag: "general".into(), allocs });
        }
        farm.cluster(name, ClusterKind::Tags { kind: TagKind::Manual, tags: vec!["gpu".into(), "desk".into()] });
    }
    farm.snapshot.shows[2].is_active = bursts[5].1 > 3;
    if bursts[4] == (0, 0) {
        farm.holds.taken_back.insert(farm.snapshot.shows[1].id.clone());
    }
    farm.snapshot.folders.push(crate::model::FolderRow { id: "folder-2".into(), ..farm.snapshot.folders[0].clone() });
    for (folder, &cap) in farm.snapshot.folders.iter_mut().zip(folders) {
        folder.cores_max = [Cap::AtMost(Cores::whole(12)), Cap::AtMost(Cores(350)), Cap::AtMost(Cores(0))]
            .get(cap)
            .copied()
            .unwrap_or(Cap::Unlimited);
        folder.gpus_max = if cap == 3 { Cap::AtMost(Gpus(1)) } else { Cap::Unlimited };
    }
    for draft in hosts {
        let total = Amounts {
            cores: Cores::whole(draft.cores),
            memory: Kib::gib(draft.gib),
            gpus: Gpus(draft.gpus),
            gpu_memory: Kib::gib(draft.gpu_gib),
        };
        let host = farm.host(total);
        host.alloc = ALLOCS[draft.alloc].into();
        host.facility = if draft.busy == 4 && draft.state == 2 { "far".into() } else { host.facility.clone() };
        host.tags = some_tags(draft.tags);
        host.idle.cores = Cores((total.cores.get() - draft.busy * 50).max(0));
        host.idle.memory = Kib((total.memory.get() - draft.busy * 700_000).max(0));
        host.thread_mode = [ThreadMode::All, ThreadMode::Variable].get(draft.mode).copied().unwrap_or_default();
        host.state = match draft.state {
            0 => HostState::Locked,
            _ => HostState::Open,
        };
        host.os = if draft.state == 1 { vec!["mac".to_owned()] } else { host.os.clone() };
        // Of all kinds: none, what is booked, other work, nonsense.
        host.load.booked = host.total.cores - host.idle.cores;
        host.load.booked_at_report = if draft.busy == 3 { Cores::ZERO } else { host.load.booked };
        host.load.reported = Cores([0, 0, 0, 0, 300, 0, 10_000, 0, 0][draft.warm]);
        if draft.state == 3 && draft.busy == 2 {
            host.state = HostState::LowFreeMemory;
        }
        host.running_layers = [format!("layer-{:04}", draft.warm).into()].into();
        let id = host.id.clone();
        if (draft.cores + draft.gib) % 7 == 0 {
            farm.holds.launch_room.insert(id, u32::try_from(draft.busy).unwrap_or_default());
        }
    }
    for draft in jobs {
        let job = farm.job(draft.show);
        let row = &mut farm.snapshot.jobs[job];
        row.folder = FolderIx(draft.folder);
        row.priority = draft.priority;
        row.started_at = Timestamp::UNIX_EPOCH + time::Duration::seconds(draft.started);
        row.cores_max = [Cores(-1), Cores(0), Cores(450), Cores::whole(3)]
            .get(draft.cores_max)
            .copied()
            .unwrap_or(Cores::whole(100));
        row.gpus_max = [Gpus(-1), Gpus(0), Gpus(1)].get(draft.gpus_max).copied().unwrap_or(Gpus(10));
        row.is_paused = draft.held == 0;
        row.is_auto_book = draft.held != 1;
        row.os =
            [None, Some("windows"), Some("mac")].get(draft.os).copied().unwrap_or(Some("linux")).map(str::to_owned);
    }
    for &(used, max, counts_hosts) in limits {
        farm.limit(if counts_hosts {
            LimitUse::Hosts { used, max, holders: BTreeSet::from(["host-0001".to_owned()]) }
        } else {
            LimitUse::Frames { used, max }
        });
    }
    for draft in layers {
        add_layer(&mut farm, draft);
    }
    farm
}

fn add_layer(farm: &mut Farm, draft: &LayerDraft) {
    let layer = farm.layer(draft.job, draft.frames);
    layer.tags = some_tags(draft.tags);
    layer.cores = CoreRequest::from_column([0, -100, 50, 100, 100, 200, 250, 400][draft.cores]);
    layer.cores_max = [None, None, Some(Cores(100)), Some(Cores(150)), Some(Cores(300))][draft.cores_max];
    layer.memory = Kib::gib(draft.gib) + Kib::mib(300);
    layer.gpus = Gpus(draft.gpus);
    layer.gpu_memory = Kib::gib(draft.gpu_gib);
    layer.run_time = Some(Duration::from_mins(draft.gib.unsigned_abs() * 4));
    layer.is_threadable = draft.is_threadable;
    let bound = (0..3).filter(|limit| draft.limits & (1 << limit) != 0 && draft.limits < 8);
    layer.limits = bound.map(LimitIx).collect();
    layer.start_after = (draft.held == 1).then_some(Timestamp::UNIX_EPOCH + time::Duration::HOUR);
    if draft.held == 2 {
        layer.clusters.clear();
    }
    (layer.needs_slots, layer.has_refused_licences) = (draft.held == 5, draft.held == 6);
    layer.unusable = (draft.held == 7).then(unusable);
    let ask = GpuAsk { cores: layer.cores, memory: layer.memory, gpus: layer.gpus, gpu_memory: layer.gpu_memory };
    let layer = layer.layer.clone();
    // Seen and gone from the first allocation, or running on the second.
    if draft.gpus > 0 && draft.frames < 15 {
        let last_seen = Timestamp::UNIX_EPOCH - time::Duration::hours(if draft.held > 3 { 0 } else { 2 });
        farm.snapshot.gpu_work.push(GpuWork { alloc: ALLOCS[draft.job % 2].into(), ask, last_seen });
    }
    hold(farm, layer, draft);
}

/// Puts some layers on hold, by their drafts.
fn hold(farm: &mut Farm, layer: LayerId, draft: &LayerDraft) {
    match draft.held {
        0 => _ = farm.holds.backing_off.insert(layer),
        8 => _ = farm.holds.unlaunchable.insert(layer, "its range does not serve it".to_owned()),
        3 => _ = farm.holds.on_probation.insert(layer),
        // All of its frames keep off all hosts but one, or half of them off one.
        4 => {
            let all = farm.snapshot.hosts.iter().skip(1).map(|host| (host.id.clone(), draft.frames)).collect();
            farm.holds.elsewhere.insert(layer, all);
        }
        5..8 => {
            let half = farm.snapshot.hosts.first().map(|host| (host.id.clone(), draft.frames / 2));
            farm.holds.elsewhere.insert(layer, half.into_iter().collect());
        }
        _ => {}
    }
}

/// A bit per tag.
fn some_tags(bits: Pick) -> BTreeSet<crate::model::Tag> {
    tags(&TAGS.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, tag)| *tag).collect::<Vec<_>>())
}

fn policy() -> impl Strategy<Value = Policy> {
    (any::<[bool; 7]>(), 1..6_u32, prop_oneof![3 => Just(20_000_u32), 1 => 0..12_u32]).prop_map(
        |(
            [fifo, core_saturation, memory_saturation, round_up, by_memory, is_foreign, is_off],
            frames_per_layer_turn,
            frames_per_pass_max,
        )| Policy {
            host_load: match (is_foreign, is_off) {
                (true, _) => LoadRule::Foreign,
                (false, true) => LoadRule::Off,
                (false, false) => LoadRule::Cuebot,
            },
            job_order: if fifo { JobOrder::Fifo } else { JobOrder::Priority },
            frames_per_layer_turn,
            frames_per_pass_max,
            host_strategy: HostStrategy { core_saturation, memory_saturation },
            gpu_keep: if by_memory { GpuKeep::Cuebot } else { GpuKeep::default() },
            fractional_cores: if round_up { FractionalCores::RoundUp } else { FractionalCores::Keep },
            ..Policy::default()
        },
    )
}

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
