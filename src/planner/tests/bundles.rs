//! What hosts with idle GPUs keep for GPU work, and who gets the rest.

use std::time::Duration;

use super::farm::{Farm, amounts, placed, reason, tags};
use crate::model::{CoreRequest, GpuAsk, GpuKeep, GpuWork, Plan, Policy, Timestamp, WaitReason};
use crate::planner::{PlannedFarm, plan};
use crate::units::{Cores, Gpus, Kib};

const HOUR: time::Duration = time::Duration::HOUR;

/// A host of 16 cores, 64 GiB and two GPUs of 24 GiB, and ten frames of one core that need none of them.
fn farm() -> Farm {
    let mut farm = Farm::new();
    farm.snapshot.taken_at = Timestamp::UNIX_EPOCH + 100 * HOUR;
    farm.host(amounts(16, 64, 2, 48));
    let job = farm.job(0);
    farm.layer(job, 16);
    farm
}

/// A layer whose frames take 4 cores, 8 GiB and a GPU, seen on the allocation so many hours ago.
fn seen(farm: &mut Farm, hours: i64) {
    let ask = GpuAsk {
        cores: CoreRequest::AtLeast(Cores::whole(4)),
        memory: Kib::gib(8),
        gpus: Gpus(1),
        gpu_memory: Kib::gib(8),
    };
    let last_seen = farm.snapshot.taken_at - HOUR * i32::try_from(hours).unwrap();
    farm.snapshot.gpu_work.push(GpuWork { alloc: "alloc".into(), ask, last_seen });
}

fn waiting_gpu_layer(farm: &mut Farm, frames: u32, gpus: i64, gpu_gib: i64) -> usize {
    let job = farm.job(0);
    let layer = farm.layer(job, frames);
    layer.gpus = Gpus(gpus);
    layer.gpu_memory = Kib::gib(gpu_gib);
    farm.snapshot.candidates.len() - 1
}

fn planned(farm: &Farm) -> Plan {
    plan(&farm.snapshot, &farm.holds, &Policy::default())
}

/// Frames of a layer that a plan places.
fn frames(farm: &Farm, layer: usize) -> u32 {
    placed(&planned(farm), layer).iter().map(|(_, frames)| frames).sum()
}

#[test]
fn without_gpu_work_of_the_last_day_a_gpu_host_is_like_any_other() {
    assert_eq!(frames(&farm(), 0), 16);
}

#[test]
fn each_idle_gpu_keeps_a_bundle_and_the_rest_is_open() {
    let mut lately = farm();
    seen(&mut lately, 0);
    assert_eq!((frames(&lately, 0), reason(&planned(&lately), 0)), (8, Some(WaitReason::GpuReserved)));
    let mut half_busy = lately.clone();
    half_busy.snapshot.hosts[0].idle = amounts(12, 56, 1, 40);
    assert_eq!(frames(&half_busy, 0), 8);
    let mut busy = lately.clone();
    busy.snapshot.hosts[0].idle = amounts(8, 48, 0, 32);
    assert_eq!(frames(&busy, 0), 8, "GPU memory alone keeps nothing");
}

#[test]
fn memory_is_kept_as_cores_are() {
    let mut lately = farm();
    seen(&mut lately, 0);
    lately.snapshot.candidates[0].memory = Kib::gib(10);
    assert_eq!(frames(&lately, 0), 4, "64 GiB but 16");
}

#[test]
fn after_gpu_keep_frames_known_to_be_short_may_borrow_the_bundles() {
    let with = |hours, minutes: Option<u64>| {
        let mut farm = farm();
        seen(&mut farm, hours);
        farm.snapshot.candidates[0].run_time = minutes.map(Duration::from_mins);
        frames(&farm, 0)
    };
    assert_eq!(with(0, Some(14)), 8, "GPU work has just run");
    assert_eq!(with(2, Some(14)), 16);
    assert_eq!(with(2, Some(15)), 8);
    assert_eq!(with(2, None), 8, "nobody knows how long they take");
}

#[test]
fn bundles_are_not_lent_while_gpu_work_waits_that_may_go() {
    let mut farm = farm();
    seen(&mut farm, 2);
    farm.snapshot.candidates[0].run_time = Some(Duration::from_mins(1));
    // Nothing of it fits, so that the bundles stay.
    let gpu = waiting_gpu_layer(&mut farm, 1, 2, 8);
    farm.snapshot.candidates[gpu].cores = CoreRequest::AtLeast(Cores::whole(16));
    farm.snapshot.candidates[gpu].is_threadable = true;
    farm.snapshot.hosts[0].idle.cores = Cores::whole(15);
    assert_eq!(frames(&farm, 0), 0, "two bundles of 8 cores");
    farm.snapshot.jobs[1].is_paused = true;
    assert_eq!(frames(&farm, 0), 15);
}

#[test]
fn only_gpu_work_that_reaches_the_hosts_and_fits_them_keeps_anything() {
    let mut elsewhere = farm();
    let gpu = waiting_gpu_layer(&mut elsewhere, 1, 1, 8);
    elsewhere.snapshot.candidates[gpu].tags = tags(&["gpu"]);
    assert_eq!(frames(&elsewhere, 0), 16);
    let mut too_big = farm();
    let gpu = waiting_gpu_layer(&mut too_big, 1, 4, 8);
    too_big.snapshot.candidates[gpu].cores = CoreRequest::AtLeast(Cores::whole(8));
    assert_eq!(frames(&too_big, 0), 16);
}

#[test]
fn gpu_work_that_cannot_run_however_long_it_waits_keeps_nothing() {
    let with = |change: fn(&mut Farm)| {
        let mut farm = farm();
        // More than the host has idle, and not more than it has.
        waiting_gpu_layer(&mut farm, 1, 2, 8);
        farm.snapshot.hosts[0].idle = amounts(16, 64, 1, 24);
        farm.snapshot.candidates[1].cores = CoreRequest::AtLeast(Cores::whole(8));
        change(&mut farm);
        frames(&farm, 0)
    };
    assert_eq!(with(|_| {}), 12);
    assert_eq!(with(|farm| farm.snapshot.jobs[1].cores_max = Cores::ZERO), 16);
    assert_eq!(with(|farm| farm.snapshot.jobs[1].gpus_max = Gpus::ZERO), 16);
    assert_eq!(with(|farm| farm.snapshot.jobs[1].os = Some("windows".to_owned())), 16);
    assert_eq!(with(|farm| farm.snapshot.candidates[1].memory = Kib::gib(65)), 16);
    assert_eq!(with(|farm| _ = farm.holds.backing_off.insert(farm.snapshot.candidates[1].layer.clone())), 16);
    let mut frozen = farm();
    let show = frozen.show("frozen", 0, 0);
    let job = frozen.job(show);
    frozen.layer(job, 1).gpus = Gpus(2);
    assert_eq!(frames(&frozen, 0), 16);
}

#[test]
fn gpu_layers_without_gpu_memory_go_to_idle_gpus() {
    let mut farm = farm();
    farm.snapshot.candidates.clear();
    let gpu = waiting_gpu_layer(&mut farm, 2, 1, 0);
    assert_eq!(frames(&farm, gpu), 2);
    let by_memory = Policy { gpu_keep: GpuKeep::Cuebot, ..Policy::default() };
    assert_eq!(plan(&farm.snapshot, &farm.holds, &by_memory).placed_frames(), 0, "as Cuebot has it");
    farm.snapshot.hosts[0].idle.gpus = Gpus::ZERO;
    assert_eq!(reason(&planned(&farm), gpu), Some(WaitReason::Capacity), "it waits for a GPU");
}

#[test]
fn what_is_kept_is_told_with_its_size_and_its_end() {
    let mut farm = farm();
    seen(&mut farm, 0);
    let policy = Policy::default();
    let told = PlannedFarm::new(&farm.snapshot, &farm.holds, &policy).explain_host(crate::model::HostIx(0));
    let kept = told.kept_for_gpus.unwrap();
    assert_eq!((kept.gpus, kept.cores, kept.memory), (Gpus(2), Cores::whole(4), Kib::gib(8)));
    assert_eq!((kept.is_awaited, kept.lent_from), (false, Some(farm.snapshot.taken_at + HOUR)));
    waiting_gpu_layer(&mut farm, 30, 1, 8);
    let told = PlannedFarm::new(&farm.snapshot, &farm.holds, &policy).explain_host(crate::model::HostIx(0));
    assert!(told.kept_for_gpus.is_some_and(|kept| kept.is_awaited && kept.lent_from.is_none()));
}
