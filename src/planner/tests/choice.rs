//! Who goes first, and where to.

use super::farm::{Farm, amounts, placed, reason};
use crate::model::{
    CandidateIx, ClusterIx, ClusterKind, HostIx, HostStrategy, JobOrder, Placement, Policy, TagKind, Timestamp,
    WaitReason,
};
use crate::planner::plan;
use crate::units::{Cores, Kib};

/// Frames placed per candidate.
fn shares(farm: &Farm, policy: &Policy) -> Vec<u32> {
    let plan = plan(&farm.snapshot, &farm.holds, policy);
    let frames = |candidate| placed(&plan, candidate).into_iter().map(|(_, frames)| frames).sum();
    (0..farm.snapshot.candidates.len()).map(frames).collect()
}

fn turn(frames_per_layer_turn: u32) -> Policy {
    Policy { frames_per_layer_turn, ..Policy::default() }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + time::Duration::seconds(seconds)
}

#[test]
fn a_lone_layer_fills_the_farm_in_one_pass() {
    let mut farm = Farm::new();
    for _ in 0..10 {
        farm.host(amounts(8, 64, 0, 0));
    }
    let job = farm.job(0);
    farm.layer(job, 500);
    assert_eq!(shares(&farm, &turn(3)), [80]);
}

#[test]
fn the_higher_priority_takes_all_it_can_first() {
    let mut farm = Farm::new();
    farm.host(amounts(8, 64, 0, 0));
    for priority in [1, 9] {
        let job = farm.job(0);
        farm.snapshot.jobs[job].priority = priority;
        farm.layer(job, 6);
    }
    assert_eq!(shares(&farm, &turn(2)), [2, 6]);
}

#[test]
fn a_lower_priority_takes_what_the_higher_has_no_use_for() {
    let mut farm = Farm::new();
    farm.host(amounts(8, 2, 0, 0));
    for (priority, gib) in [(1, 1), (9, 3)] {
        let job = farm.job(0);
        farm.snapshot.jobs[job].priority = priority;
        farm.layer(job, 6).memory = Kib::gib(gib);
    }
    let plan = plan(&farm.snapshot, &farm.holds, &Policy::default());
    assert_eq!((placed(&plan, 0), reason(&plan, 1)), (vec![(0, 2)], Some(WaitReason::Shape)));
}

#[test]
fn jobs_of_one_priority_share_and_the_one_that_started_first_begins() {
    let mut farm = Farm::new();
    farm.host(amounts(8, 64, 0, 0));
    for started in [20, 10] {
        let job = farm.job(0);
        farm.snapshot.jobs[job].started_at = at(started);
        farm.layer(job, 100);
    }
    assert_eq!(shares(&farm, &turn(3)), [3, 5]);
}

#[test]
fn layers_of_a_job_take_turns_in_dispatch_order() {
    let mut farm = Farm::new();
    farm.host(amounts(8, 64, 0, 0));
    let job = farm.job(0);
    farm.layer(job, 100).dispatch_order = 2;
    farm.layer(job, 100).dispatch_order = 1;
    assert_eq!(shares(&farm, &turn(5)), [3, 5]);
}

#[test]
fn in_order_of_arrival_priority_does_not_count() {
    let mut farm = Farm::new();
    farm.host(amounts(8, 64, 0, 0));
    for (started, priority) in [(20, 9), (10, 1)] {
        let job = farm.job(0);
        farm.snapshot.jobs[job].started_at = at(started);
        farm.snapshot.jobs[job].priority = priority;
        farm.layer(job, 6);
    }
    let fifo = Policy { job_order: JobOrder::Fifo, ..turn(2) };
    assert_eq!(shares(&farm, &fifo), [2, 6]);
}

#[test]
fn shows_share_an_allocation_by_the_sizes_of_their_subscriptions() {
    let mut farm = Farm::new();
    farm.snapshot.subscriptions[0].size = Cores::whole(10);
    farm.show("other", 30, 1_000);
    for _ in 0..10 {
        farm.host(amounts(8, 64, 0, 0));
    }
    for show in 0..2 {
        let job = farm.job(show);
        farm.layer(job, 500);
    }
    assert_eq!(shares(&farm, &Policy::default()), [20, 60]);
}

#[test]
fn what_a_show_already_uses_counts() {
    let mut farm = Farm::new();
    farm.show("other", 100, 1_000);
    farm.snapshot.subscriptions[0].cores = Cores::whole(6);
    farm.host(amounts(8, 64, 0, 0));
    for show in 0..2 {
        let job = farm.job(show);
        farm.layer(job, 500);
    }
    assert_eq!(shares(&farm, &Policy::default()), [1, 7]);
}

#[test]
fn the_flags_choose_the_host() {
    let mut farm = Farm::new();
    for (cores, gib) in [(8, 16), (4, 8), (4, 64), (8, 64), (1, 64)] {
        farm.host(amounts(cores, gib, 0, 0));
    }
    let job = farm.job(0);
    let layer = farm.layer(job, 1);
    layer.cores = crate::model::CoreRequest::AtLeast(Cores::whole(2));
    layer.is_threadable = true;
    let first = |core_saturation, memory_saturation| {
        let host_strategy = HostStrategy { core_saturation, memory_saturation };
        placed(&plan(&farm.snapshot, &farm.holds, &Policy { host_strategy, ..Policy::default() }), 0)[0].0
    };
    assert_eq!(first(true, false), 2);
    assert_eq!(first(true, true), 1);
    assert_eq!(first(false, false), 3);
    assert_eq!(first(false, true), 0);
}

#[test]
fn among_equal_hosts_one_that_runs_the_layer_is_taken() {
    let mut farm = Farm::new();
    for _ in 0..3 {
        farm.host(amounts(8, 64, 0, 0));
    }
    let job = farm.job(0);
    let layer = farm.layer(job, 1).layer.clone();
    farm.snapshot.hosts[2].running_layers = [layer].into();
    assert_eq!(placed(&plan(&farm.snapshot, &farm.holds, &Policy::default()), 0), [(2, 1)]);
    // Only among equals: the strategy wants the smaller host.
    farm.snapshot.hosts[1].idle.cores = Cores::whole(7);
    assert_eq!(placed(&plan(&farm.snapshot, &farm.holds, &Policy::default()), 0), [(1, 1)]);
}

#[test]
fn equal_hosts_are_taken_in_the_order_of_their_ids() {
    let mut farm = Farm::new();
    for id in ["c", "a", "b"] {
        farm.host(amounts(1, 64, 0, 0)).id = id.into();
    }
    let job = farm.job(0);
    farm.layer(job, 2);
    assert_eq!(placed(&plan(&farm.snapshot, &farm.holds, &Policy::default()), 0), [(1, 1), (2, 1)]);
}

#[test]
fn a_layer_of_several_clusters_is_placed_once_and_counted_under_the_first() {
    let mut farm = Farm::new();
    farm.cluster("show", ClusterKind::Tags { kind: TagKind::Manual, tags: vec!["general".into()] });
    farm.host(amounts(8, 64, 0, 0));
    let job = farm.job(0);
    farm.layer(job, 2);
    let plan = plan(&farm.snapshot, &farm.holds, &Policy::default());
    let reservation = crate::units::Amounts { memory: Kib::gib(1), ..amounts(1, 0, 0, 0) };
    assert_eq!(
        plan.placements,
        [Placement { candidate: CandidateIx(0), host: HostIx(0), cluster: ClusterIx(0), frames: 2, reservation }]
    );
    assert!(plan.waiting.is_empty());
}

#[test]
fn frames_that_reserve_different_amounts_are_separate_placements() {
    let mut farm = Farm::new();
    farm.host(amounts(8, 32, 0, 0));
    let job = farm.job(0);
    let layer = farm.layer(job, 3);
    layer.is_threadable = true;
    layer.memory = Kib::gib(10);
    let plan = plan(&farm.snapshot, &farm.holds, &Policy::default());
    // 10 of 32 GiB are worth 2.5 cores, then 10 of 22 are worth 3.6 of what is idle.
    let reserved: Vec<_> = plan.placements.iter().map(|p| (p.frames, p.reservation.cores.to_string())).collect();
    assert_eq!(reserved, [(1, "3".to_owned()), (1, "4".to_owned()), (1, "1".to_owned())]);
}

#[test]
fn a_burst_may_be_used_to_the_last_core() {
    let mut farm = Farm::new();
    farm.host(amounts(200, 640, 0, 0));
    let job = farm.job(0);
    farm.layer(job, 200);
    let plan = plan(&farm.snapshot, &farm.holds, &Policy::default());
    assert_eq!((plan.placed_frames(), reason(&plan, 0)), (100, Some(WaitReason::SubscriptionBurst)));
}
