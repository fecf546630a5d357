//! Farms and policies drawn at random, for what must hold on every one.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::farm::{Farm, tags, unusable};
use crate::model::{
    Cap, ClusterKind, CoreRequest, FolderIx, FractionalCores, GpuAsk, GpuKeep, GpuWork, HostState, HostStrategy,
    JobOrder, LayerId, LimitIx, LimitUse, LoadRule, Policy, TagKind, ThreadMode, Timestamp,
};
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
    pub(super) fn farm()(
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

pub(super) fn policy() -> impl Strategy<Value = Policy> {
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
