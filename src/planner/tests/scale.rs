//! A large farm with a deep queue.

use super::farm::{Farm, amounts, tags};
use crate::model::{ClusterKind, CoreRequest, Plan, Policy, TagKind, WaitReason};
use crate::planner::plan;
use crate::units::{Cores, Gpus, Kib};

/// Hosts of five kinds, each with a tag of its own, and layers of 20 shows that ask for many different
/// things, some for hosts by name; more frames than the farm can take.
fn large_farm(hosts: usize, layers: usize) -> Farm {
    let mut farm = Farm::new();
    for show in 1..20 {
        farm.show(&format!("show-{show:02}"), 500 * (1 + show), 20_000);
    }
    farm.snapshot.subscriptions[0].size = Cores::whole(500);
    farm.snapshot.subscriptions[0].burst = Cores::whole(20_000);
    for show in 0..20 {
        let name = farm.snapshot.shows[show].name.clone();
        farm.subscribe(&name, "cloud", 1_000, 5_000);
        let mut pins: Vec<crate::model::Tag> =
            (0..hosts).map(|host| format!("host-{host:04}").as_str().into()).collect();
        pins.push("gpu".into());
        farm.cluster(&name, ClusterKind::Tags { kind: TagKind::Manual, tags: pins });
        let allocs = vec![("cloud".into(), "cloud".to_owned())];
        farm.cluster(&name, ClusterKind::Allocation { tag: "cloud".into(), allocs });
    }
    for host in 0..hosts {
        let total = [amounts(16, 64, 0, 0), amounts(32, 128, 0, 0), amounts(64, 256, 0, 0), amounts(32, 128, 2, 48)]
            [if host % 20 == 0 { 3 } else { host % 3 }];
        let row = farm.host(total);
        let name = row.name.clone();
        let common = match host % 20 {
            0 => "gpu",
            1 | 2 => "cloud",
            _ => "general",
        };
        row.tags = tags(&[common, &name]);
        row.alloc = if common == "cloud" { "cloud".into() } else { row.alloc.clone() };
        row.idle.memory -= Kib(i64::try_from(host * 37 % 100_000).unwrap_or_default());
        let busy = i64::try_from(host % 5).unwrap_or_default();
        row.idle.cores -= Cores::whole(busy * 3);
    }
    for job in 0..500 {
        let position = farm.job(job % 20);
        farm.snapshot.jobs[position].priority = i32::try_from(job % 7).unwrap_or_default();
    }
    for layer in 0..layers {
        let row = farm.layer(layer % 500, 60);
        row.is_threadable = layer % 3 == 0;
        row.cores = CoreRequest::from_column([100, 100, 200, 400, 50, 0][layer % 6]);
        row.memory = Kib::mib(i64::try_from(1_000 + layer).unwrap_or_default());
        match layer % 10 {
            0 => row.tags = tags(&["cloud"]),
            1 => {
                row.tags = tags(&["gpu"]);
                row.gpus = Gpus(1);
                row.gpu_memory = Kib::gib(12);
            }
            2 => row.tags = tags(&["general", &format!("host-{:04}", layer % hosts)]),
            _ => {}
        }
    }
    farm
}

fn check(farm: &Farm, plan: &Plan, frames_max: u64) {
    assert_eq!(plan.placed_frames(), frames_max);
    let mut left: Vec<u32> = farm.snapshot.candidates.iter().map(|candidate| candidate.waiting_frames).collect();
    let mut idle: Vec<_> = farm.snapshot.hosts.iter().map(|host| host.idle).collect();
    for placement in &plan.placements {
        left[placement.candidate] -= placement.frames;
        for _ in 0..placement.frames {
            assert!(placement.reservation.fits_in(&idle[placement.host]));
            idle[placement.host] -= placement.reservation;
        }
    }
    let waiting: Vec<(usize, u32)> = plan.waiting.iter().map(|waiting| (waiting.candidate.0, waiting.frames)).collect();
    let expected: Vec<(usize, u32)> = left.into_iter().enumerate().filter(|&(_, frames)| frames > 0).collect();
    assert_eq!(waiting, expected);
}

#[test]
fn ten_thousand_hosts_and_five_thousand_layers() {
    let farm = large_farm(10_000, 5_000);
    let plan = plan(&farm.snapshot, &farm.holds, &Policy::default());
    check(&farm, &plan, 20_000);
    assert!(plan.waiting.iter().any(|waiting| waiting.reason == WaitReason::PassFull));
}

#[test]
fn a_large_farm_filled_to_the_last_core() {
    let farm = large_farm(2_500, 1_250);
    let policy = Policy { frames_per_pass_max: u32::MAX, ..Policy::default() };
    let plan = plan(&farm.snapshot, &farm.holds, &policy);
    check(&farm, &plan, plan.placed_frames());
    assert!(plan.placed_frames() > 30_000);
    assert!(plan.waiting.iter().all(|waiting| waiting.reason != WaitReason::PassFull));
}
