//! One farm per reason to wait.

use super::farm::{Farm, amounts, placed, reason, tags, unusable};
use crate::model::{
    Cap, ClusterIx, ClusterKind, CoreRequest, GpuKeep, HostState, LimitUse, Policy, ThreadMode, Timestamp, WaitReason,
};
use crate::planner::plan;
use crate::units::{Cores, Gpus, Kib};

/// The reason of the first layer on a farm with one host of 4 cores and 8 GiB, changed by `change`.
fn reason_after(change: impl FnOnce(&mut Farm)) -> Option<WaitReason> {
    reason_under(GpuKeep::default(), change)
}

fn reason_under(gpu_keep: GpuKeep, change: impl FnOnce(&mut Farm)) -> Option<WaitReason> {
    let mut farm = Farm::new();
    farm.host(amounts(4, 8, 0, 0));
    let job = farm.job(0);
    farm.layer(job, 1);
    change(&mut farm);
    reason(&plan(&farm.snapshot, &farm.holds, &Policy { gpu_keep, ..Policy::default() }), 0)
}

fn hold_back(farm: &mut Farm) {
    farm.holds.backing_off.insert(farm.snapshot.candidates[0].layer.clone());
}

#[test]
fn nothing_in_the_way_means_no_reason() {
    assert_eq!(reason_after(|_| {}), None);
}

#[test]
fn what_the_job_and_its_show_say() {
    assert_eq!(reason_after(|farm| farm.snapshot.jobs[0].is_paused = true), Some(WaitReason::JobPaused));
    assert_eq!(reason_after(|farm| farm.snapshot.jobs[0].is_auto_book = false), Some(WaitReason::AutoBookOff));
    assert_eq!(reason_after(|farm| farm.snapshot.shows[0].is_active = false), Some(WaitReason::ShowInactive));
    let later = Timestamp::UNIX_EPOCH + time::Duration::seconds(1);
    let after = |farm: &mut Farm| farm.snapshot.candidates[0].start_after = Some(later);
    assert_eq!(reason_after(after), Some(WaitReason::StartAfter));
    let come = |farm: &mut Farm| {
        after(farm);
        farm.snapshot.taken_at = later;
    };
    assert_eq!(reason_after(come), None);
    let of_row = |farm: &mut Farm| farm.snapshot.candidates[0].unusable = Some(unusable());
    assert_eq!(reason_after(of_row), Some(WaitReason::RowUnusable));
    assert_eq!(reason_after(|farm| farm.snapshot.candidates[0].needs_slots = true), Some(WaitReason::SlotsRequired));
    let licences = |farm: &mut Farm| farm.snapshot.candidates[0].has_refused_licences = true;
    assert_eq!(reason_after(licences), Some(WaitReason::LicencesDeclared));
    let unserved = |farm: &mut Farm| farm.snapshot.candidates[0].clusters.clear();
    assert_eq!(reason_after(unserved), Some(WaitReason::NotSelected));
    let nowhere = |farm: &mut Farm| {
        unserved(farm);
        farm.snapshot.candidates[0].tags = tags(&["General"]);
    };
    assert_eq!(reason_after(nowhere), Some(WaitReason::NoHostWithTags));
}

#[test]
fn subscriptions() {
    assert_eq!(reason_after(|farm| farm.snapshot.subscriptions.clear()), Some(WaitReason::NoSubscription));
    let burst = |centicores: i64| move |farm: &mut Farm| farm.snapshot.subscriptions[0].burst = Cores(centicores);
    assert_eq!(reason_after(burst(0)), Some(WaitReason::SubscriptionFrozen));
    assert_eq!(reason_after(burst(-1)), Some(WaitReason::SubscriptionFrozen));
    assert_eq!(reason_after(burst(99)), Some(WaitReason::SubscriptionBurst));
    assert_eq!(reason_after(burst(100)), None);
}

#[test]
fn a_subscription_that_no_matching_host_belongs_to_does_not_count() {
    let elsewhere = |farm: &mut Farm| {
        farm.snapshot.subscriptions[0].burst = Cores::ZERO;
        farm.subscribe("show", "elsewhere", 10, 10);
    };
    assert_eq!(reason_after(elsewhere), Some(WaitReason::SubscriptionFrozen));
    let two = |farm: &mut Farm| {
        elsewhere(farm);
        farm.cluster("show", ClusterKind::Tags { kind: crate::model::TagKind::Manual, tags: vec!["general".into()] });
        farm.snapshot.candidates[0].clusters = vec![ClusterIx(0), ClusterIx(1)];
        farm.host(amounts(4, 8, 0, 0)).alloc = "elsewhere".into();
    };
    assert_eq!(reason_after(two), None);
    // The room elsewhere is all that counts then: the idle host of the frozen allocation does not.
    let busy = |farm: &mut Farm| {
        two(farm);
        farm.snapshot.hosts[1].idle = amounts(0, 0, 0, 0);
    };
    assert_eq!(reason_after(busy), Some(WaitReason::Capacity));
}

#[test]
fn folder_and_job_caps() {
    let folder = |cores: i64| move |farm: &mut Farm| farm.snapshot.folders[0].cores_max = Cap::AtMost(Cores(cores));
    assert_eq!(reason_after(folder(99)), Some(WaitReason::FolderCores));
    assert_eq!(reason_after(folder(100)), None);
    let folder_gpus = |farm: &mut Farm| farm.snapshot.folders[0].gpus_max = Cap::AtMost(Gpus::ZERO);
    assert_eq!(reason_after(folder_gpus), None);
    let on_gpu = |farm: &mut Farm| {
        farm.snapshot.candidates[0].gpus = Gpus(1);
        folder_gpus(farm);
    };
    assert_eq!(reason_after(on_gpu), Some(WaitReason::FolderGpus));
    let with_gpu_host = |farm: &mut Farm| {
        on_gpu(farm);
        farm.host(amounts(4, 8, 1, 0));
    };
    assert_eq!(reason_after(with_gpu_host), Some(WaitReason::FolderGpus));
    for max in [0, -1] {
        let job = |farm: &mut Farm| farm.snapshot.jobs[0].cores_max = Cores(max);
        assert_eq!(reason_after(job), Some(WaitReason::JobCapNotPositive));
    }
    assert_eq!(reason_after(|farm| farm.snapshot.jobs[0].gpus_max = Gpus(-1)), Some(WaitReason::JobCapNotPositive));
    assert_eq!(reason_after(|farm| farm.snapshot.jobs[0].gpus_max = Gpus(0)), None);
    assert_eq!(reason_after(|farm| farm.snapshot.jobs[0].cores_max = Cores(99)), Some(WaitReason::JobCores));
    let over_gpus = |farm: &mut Farm| {
        farm.snapshot.jobs[0].gpus = Gpus(2);
        farm.snapshot.jobs[0].gpus_max = Gpus(1);
    };
    assert_eq!(reason_after(over_gpus), Some(WaitReason::JobGpus));
}

#[test]
fn a_cap_is_judged_by_what_the_frame_takes_on_the_hosts_that_have_room() {
    // Selfish: it takes all four cores of the host, though it asks for one.
    let wide = |farm: &mut Farm| {
        farm.snapshot.candidates[0].is_threadable = true;
        farm.snapshot.candidates[0].memory = Kib::gib(7);
        farm.snapshot.folders[0].cores_max = Cap::AtMost(Cores::whole(3));
    };
    assert_eq!(reason_after(wide), Some(WaitReason::FolderCores));
    let beside_a_smaller_host = |farm: &mut Farm| {
        wide(farm);
        farm.host(amounts(2, 8, 0, 0));
    };
    assert_eq!(reason_after(beside_a_smaller_host), None);
}

#[test]
fn all_limits_must_have_room() {
    let limits = |usages: Vec<LimitUse>| {
        move |farm: &mut Farm| {
            let bound = usages.into_iter().map(|usage| farm.limit(usage)).collect();
            farm.snapshot.candidates[0].limits = bound;
        }
    };
    let frames = |used, max| LimitUse::Frames { used, max };
    let hosts = |used, max, holders: &[&str]| LimitUse::Hosts {
        used,
        max,
        holders: holders.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(reason_after(limits(vec![frames(0, 5), frames(1, 1)])), Some(WaitReason::LimitReached));
    assert_eq!(reason_after(limits(vec![frames(0, 5), frames(1, 2)])), None);
    assert_eq!(reason_after(limits(vec![frames(0, 0)])), Some(WaitReason::LimitReached));
    assert_eq!(reason_after(limits(vec![hosts(1, 1, &["other"])])), Some(WaitReason::LimitReached));
    assert_eq!(reason_after(limits(vec![hosts(1, 1, &["host-0000"])])), None);
    assert_eq!(reason_after(limits(vec![hosts(0, 1, &[])])), None);
}

#[test]
fn a_host_takes_one_seat_for_any_number_of_frames() {
    let mut farm = Farm::new();
    farm.host(amounts(2, 8, 0, 0)).name = "alpha.example.com".to_owned();
    farm.host(amounts(2, 8, 0, 0));
    let seats = farm.limit(LimitUse::Hosts { used: 0, max: 1, holders: std::collections::BTreeSet::new() });
    let job = farm.job(0);
    farm.layer(job, 4).limits = vec![seats];
    let plan = plan(&farm.snapshot, &farm.holds, &Policy::default());
    assert_eq!(placed(&plan, 0), [(0, 2)]);
    assert_eq!(reason(&plan, 0), Some(WaitReason::LimitReached));
}

#[test]
fn seats_are_held_by_short_names_and_by_whole_ones() {
    let on = |host: &str, holder: &str| {
        let holders = [holder.to_owned()].into();
        reason_after(|farm| {
            farm.snapshot.hosts[0].name = host.to_owned();
            let seats = farm.limit(LimitUse::Hosts { used: 1, max: 1, holders });
            farm.snapshot.candidates[0].limits = vec![seats];
        })
    };
    assert_eq!(on("Alpha.example.com", "alpha"), None);
    assert_eq!(on("Alpha.example.com", "alpha.example.com"), None);
    assert_eq!(on("10.0.0.1", "10.0.0.1"), None);
    assert_eq!(on("10.0.0.1", "10.0.0.2"), Some(WaitReason::LimitReached));
}

#[test]
fn what_hosts_are() {
    assert_eq!(
        reason_after(|farm| farm.snapshot.candidates[0].tags = tags(&["unknown"])),
        Some(WaitReason::NoHostWithTags)
    );
    let elsewhere = |farm: &mut Farm| farm.snapshot.hosts[0].facility = "other".into();
    assert_eq!(reason_after(elsewhere), Some(WaitReason::NoHostWithTags));
    assert_eq!(reason_after(|farm| farm.snapshot.hosts[0].state = HostState::Locked), Some(WaitReason::NoHostOpen));
    let os = |os: Option<&str>| {
        let os = os.map(str::to_owned);
        move |farm: &mut Farm| farm.snapshot.jobs[0].os = os
    };
    assert_eq!(reason_after(os(Some("Linux"))), Some(WaitReason::OperatingSystem));
    assert_eq!(reason_after(os(None)), None);
    assert_eq!(reason_after(|farm| farm.snapshot.hosts[0].thread_mode = ThreadMode::All), Some(WaitReason::ThreadMode));
    assert_eq!(reason_after(|farm| farm.snapshot.candidates[0].memory = Kib::gib(9)), Some(WaitReason::Shape));
    assert_eq!(reason_after(|farm| farm.snapshot.hosts[0].idle = amounts(4, 0, 0, 0)), Some(WaitReason::Capacity));
    let whole = |farm: &mut Farm| {
        farm.snapshot.candidates[0].cores = CoreRequest::WholeHost;
        farm.snapshot.hosts[0].idle.cores = Cores::whole(3);
    };
    assert_eq!(reason_after(whole), Some(WaitReason::Capacity));
}

#[test]
fn the_reason_is_that_of_the_host_which_gets_furthest() {
    let mixed = |farm: &mut Farm| {
        farm.snapshot.hosts[0].state = HostState::NotUp("DOWN".to_owned());
        farm.host(amounts(4, 8, 0, 0)).os = vec!["windows".to_owned()];
    };
    assert_eq!(reason_after(mixed), Some(WaitReason::OperatingSystem));
}

#[test]
fn idle_gpus_are_kept_until_gpu_work_uses_them() {
    let gpu_host = |farm: &mut Farm| {
        farm.snapshot.hosts.clear();
        farm.host(amounts(8, 64, 1, 8));
    };
    let by_memory = |change: &dyn Fn(&mut Farm)| reason_under(GpuKeep::Cuebot, change);
    assert_eq!(by_memory(&gpu_host), Some(WaitReason::GpuReserved));
    let full = |farm: &mut Farm| {
        gpu_host(farm);
        farm.host(amounts(4, 8, 0, 0)).idle = amounts(0, 8, 0, 0);
    };
    assert_eq!(by_memory(&full), Some(WaitReason::Capacity));
    let with_gpu_work = |farm: &mut Farm| {
        gpu_host(farm);
        let job = farm.job(0);
        let layer = farm.layer(job, 1);
        layer.gpus = Gpus(1);
        layer.gpu_memory = Kib::gib(8);
    };
    assert_eq!(by_memory(&with_gpu_work), None);
    assert_eq!(reason_after(gpu_host), None, "no GPU work was seen");
}

#[test]
fn what_machines_report_of_themselves() {
    let low = |farm: &mut Farm| farm.snapshot.hosts[0].state = HostState::LowFreeMemory;
    assert_eq!(reason_after(low), Some(WaitReason::LowFreeMemory));
    // It is no reason to say that nothing is big enough.
    let beside_a_small_one = |farm: &mut Farm| {
        low(farm);
        farm.host(amounts(4, 0, 0, 0));
    };
    assert_eq!(reason_after(beside_a_small_one), Some(WaitReason::LowFreeMemory));
    let load = |load: i64| move |farm: &mut Farm| farm.snapshot.hosts[0].load.reported = Cores(load);
    assert_eq!(reason_after(load(320)), None);
    assert_eq!(reason_after(load(321)), Some(WaitReason::HostLoad));
    let beside_a_full_one = |farm: &mut Farm| {
        load(400)(farm);
        farm.host(amounts(4, 8, 0, 0)).idle = amounts(0, 8, 0, 0);
    };
    assert_eq!(reason_after(beside_a_full_one), Some(WaitReason::Capacity));
    let beside_an_idle_one = |farm: &mut Farm| {
        load(400)(farm);
        farm.host(amounts(4, 8, 0, 0));
    };
    assert_eq!(reason_after(beside_an_idle_one), None);
    // No machine is ever quite without load.
    let whole = |farm: &mut Farm| {
        load(400)(farm);
        farm.snapshot.candidates[0].cores = CoreRequest::WholeHost;
    };
    assert_eq!(reason_after(whole), None);
    let explained = |farm: &mut Farm| {
        load(400)(farm);
        farm.holds.booked_lately.insert(farm.snapshot.hosts[0].id.clone(), Cores(80));
    };
    assert_eq!(reason_after(explained), None);
    let stuck = |farm: &mut Farm| {
        load(400)(farm);
        farm.holds.load_stuck.insert(farm.snapshot.hosts[0].id.clone());
    };
    assert_eq!(reason_after(stuck), None);
}

#[test]
fn a_host_of_which_next_to_no_memory_is_idle_is_full() {
    let little = |mib: i64| {
        move |farm: &mut Farm| {
            farm.snapshot.candidates[0].memory = Kib::mib(100);
            farm.snapshot.hosts[0].idle.memory = Kib::mib(mib);
        }
    };
    assert_eq!(reason_after(little(255)), Some(WaitReason::Capacity));
    assert_eq!(reason_after(little(256)), None);
}

#[test]
fn back_off_and_a_full_pass_hold_only_what_would_fit() {
    assert_eq!(reason_after(hold_back), Some(WaitReason::BackOff));
    let no_room = |farm: &mut Farm| {
        hold_back(farm);
        farm.snapshot.hosts[0].idle = amounts(0, 0, 0, 0);
    };
    assert_eq!(reason_after(no_room), Some(WaitReason::Capacity));
    let mut farm = Farm::new();
    farm.host(amounts(4, 8, 0, 0));
    let job = farm.job(0);
    farm.layer(job, 3);
    let plan = plan(&farm.snapshot, &farm.holds, &Policy { frames_per_pass_max: 2, ..Policy::default() });
    assert_eq!((plan.placed_frames(), reason(&plan, 0)), (2, Some(WaitReason::PassFull)));
}

#[test]
fn a_host_whose_agent_keeps_launches_waiting_is_given_no_more_than_it_can_launch() {
    let plan_with = |room: &[u32]| {
        let mut farm = Farm::new();
        let job = farm.job(0);
        farm.layer(job, 9);
        for &room in room {
            farm.host(amounts(4, 8, 0, 0));
            let host = farm.snapshot.hosts.last().unwrap().id.clone();
            farm.holds.launch_room.insert(host, room);
        }
        let plan = plan(&farm.snapshot, &farm.holds, &Policy::default());
        let frames: u32 = plan.placements.iter().map(|placement| placement.frames).sum();
        (frames, plan.waiting.first().map(|waiting| (waiting.frames, waiting.reason)))
    };
    assert_eq!(plan_with(&[0]), (0, Some((9, WaitReason::LaunchesWaiting))));
    assert_eq!(plan_with(&[1]), (1, Some((8, WaitReason::LaunchesWaiting))));
    assert_eq!(plan_with(&[3, 0, 2]), (5, Some((4, WaitReason::LaunchesWaiting))));
    assert_eq!(plan_with(&[100]), (4, Some((5, WaitReason::Capacity))));
    assert_eq!(plan_with(&[2, 100, 100]), (9, None));
}

#[test]
fn a_layer_on_probation_is_told_with_all_its_waiting_frames() {
    let mut farm = Farm::new();
    farm.host(amounts(4, 8, 0, 0));
    let job = farm.job(0);
    farm.layer(job, 9);
    farm.holds.on_probation.insert(farm.snapshot.candidates[0].layer.clone());
    let plan = plan(&farm.snapshot, &farm.holds, &Policy::default());
    assert_eq!(plan.placements.iter().map(|placement| placement.frames).sum::<u32>(), 1);
    assert_eq!((plan.waiting[0].frames, plan.waiting[0].reason), (8, WaitReason::BackOff));
}
