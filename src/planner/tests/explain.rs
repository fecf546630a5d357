//! What explanations say.

use super::farm::{Farm, amounts};
use crate::model::{CandidateIx, Cap, HostIx, HostState, LimitUse, Policy, WaitReason};
use crate::planner::report::HostCount;
use crate::planner::{Explanation, GateVerdict, Miss, PlannedFarm, Precedence, Quantity, Unfit};
use crate::units::{Cores, Gpus, Kib};

fn explain(farm: &Farm, candidate: usize) -> Explanation {
    PlannedFarm::new(&farm.snapshot, &farm.holds, &Policy::default()).explain(CandidateIx(candidate))
}

/// One layer of four frames and hosts of 4 cores and 8 GiB.
fn farm(hosts: usize) -> Farm {
    let mut farm = Farm::new();
    for _ in 0..hosts {
        farm.host(amounts(4, 8, 0, 0));
    }
    let job = farm.job(0);
    farm.layer(job, 4);
    farm
}

fn hosts_at(told: &Explanation, reason: WaitReason) -> Option<(GateVerdict, usize, usize)> {
    let gate = told.gates.iter().find(|gate| gate.reason == reason)?;
    let HostCount { asked, passed } = gate.hosts?;
    Some((gate.verdict, asked, passed))
}

#[test]
fn what_is_placed_has_no_reason_to_wait() {
    let told = explain(&farm(1), 0);
    assert_eq!((told.reason, told.waiting_frames, told.placed.len()), (None, 0, 1));
    assert_eq!((told.placed[0].host.as_str(), told.placed[0].frames), ("host-0000", 4));
}

#[test]
fn gates_count_the_hosts_that_they_take_away() {
    let mut farm = farm(5);
    farm.snapshot.hosts[0].tags.clear();
    farm.snapshot.hosts[1].state = HostState::Locked;
    farm.snapshot.hosts[2].os = vec!["windows".to_owned()];
    farm.snapshot.candidates[0].memory = Kib::gib(7);
    farm.snapshot.hosts[3].total.memory = Kib::gib(6);
    farm.snapshot.hosts[3].idle.memory = Kib::gib(6);
    farm.snapshot.hosts[4].idle.memory = Kib::gib(5);
    let told = explain(&farm, 0);
    assert_eq!(told.reason, Some(WaitReason::Capacity));
    assert_eq!(hosts_at(&told, WaitReason::NoHostWithTags), Some((GateVerdict::Passed, 5, 4)));
    assert_eq!(hosts_at(&told, WaitReason::NoHostOpen), Some((GateVerdict::Passed, 4, 3)));
    assert_eq!(hosts_at(&told, WaitReason::OperatingSystem), Some((GateVerdict::Passed, 3, 2)));
    assert_eq!(hosts_at(&told, WaitReason::Shape), Some((GateVerdict::Passed, 2, 1)));
    assert_eq!(hosts_at(&told, WaitReason::Capacity), Some((GateVerdict::Shut, 1, 0)));
    let nearest = told.nearest.expect("one host would do if it were empty");
    assert_eq!((nearest.host.as_str(), nearest.reason), ("host-0004", WaitReason::Capacity));
    let needed = crate::units::Amounts { memory: Kib::gib(7), ..amounts(1, 0, 0, 0) };
    assert_eq!(nearest.miss, Miss::Room { refusal: Unfit::MemoryShort, has: amounts(4, 5, 0, 0), needed });
}

#[test]
fn the_nearest_host_lacks_the_fewest_kinds_and_the_least() {
    let mut farm = farm(3);
    farm.snapshot.hosts[0].idle = amounts(0, 0, 0, 0);
    farm.snapshot.hosts[1].idle = crate::units::Amounts { cores: Cores(80), ..amounts(0, 8, 0, 0) };
    farm.snapshot.hosts[2].idle = crate::units::Amounts { cores: Cores(90), ..amounts(0, 8, 0, 0) };
    let nearest = explain(&farm, 0).nearest.expect("all are short");
    assert_eq!(nearest.host, "host-0002");
}

#[test]
fn a_host_that_is_ruled_out_says_by_what() {
    let mut farm = farm(1);
    farm.snapshot.hosts[0].state = HostState::Stale { seconds: 130 };
    let nearest = explain(&farm, 0).nearest.expect("there is one host");
    assert_eq!(nearest.miss, Miss::State("no report for 130 s".to_owned()));
    farm.snapshot.hosts[0].state = HostState::Open;
    farm.snapshot.jobs[0].os = Some("windows".to_owned());
    let nearest = explain(&farm, 0).nearest.expect("there is one host");
    assert_eq!(nearest.miss, Miss::OperatingSystem { wanted: "windows".to_owned(), offered: vec!["linux".to_owned()] });
}

#[test]
fn caps_stand_with_their_use_before_and_after() {
    let mut farm = farm(1);
    farm.snapshot.folders[0].cores_max = Cap::AtMost(Cores::whole(3));
    farm.snapshot.folders[0].cores = Cores::whole(1);
    let limit = farm.limit(LimitUse::Frames { used: 2, max: 9 });
    farm.snapshot.candidates[0].limits = vec![limit];
    let told = explain(&farm, 0);
    assert_eq!((told.reason, told.waiting_frames), (Some(WaitReason::FolderCores), 2));
    let cap = |reason| told.caps.iter().find(|cap| cap.reason == reason).expect("every cap is listed");
    let folder = cap(WaitReason::FolderCores);
    let cores = |cores| Quantity::Cores(Cores::whole(cores));
    assert_eq!(
        (folder.before, folder.after, folder.max, folder.wanted),
        (cores(1), cores(3), Some(cores(3)), cores(1))
    );
    let limit = cap(WaitReason::LimitReached);
    assert_eq!((limit.before, limit.after), (Quantity::Frames(2), Quantity::Frames(4)));
    assert_eq!(cap(WaitReason::FolderGpus).max, None);
    assert_eq!(cap(WaitReason::JobGpus).max, Some(Quantity::Gpus(Gpus(100))));
}

#[test]
fn a_frame_that_is_too_wide_for_a_cap_says_where_it_would_go() {
    let mut farm = farm(1);
    farm.snapshot.candidates[0].is_threadable = true;
    farm.snapshot.candidates[0].memory = Kib::gib(7);
    farm.snapshot.jobs[0].cores_max = Cores::whole(3);
    let told = explain(&farm, 0);
    assert_eq!(told.reason, Some(WaitReason::JobCores));
    let nearest = told.nearest.expect("the host has room");
    assert_eq!((nearest.reason, nearest.miss), (WaitReason::JobCores, Miss::TooWide(amounts(4, 7, 0, 0))));
}

#[test]
fn the_order_names_what_goes_before_and_why() {
    let mut farm = farm(1);
    let urgent = farm.job(0);
    farm.snapshot.jobs[urgent].priority = 200;
    farm.layer(urgent, 3);
    farm.layer(0, 5).dispatch_order = -1;
    let order = explain(&farm, 0).order;
    assert_eq!((order.position, order.of), (3, 3));
    let ahead: Vec<_> =
        order.ahead.iter().map(|a| (a.layer_name.as_str(), a.by, a.takes_turns, a.placed_frames)).collect();
    assert_eq!(
        ahead,
        [("layer-0001", Precedence::Priority, false, 3), ("layer-0002", Precedence::DispatchOrder, true, 1)]
    );
    let shows: Vec<_> = order.shows.iter().map(|tier| (tier.show.as_str(), tier.before, tier.after)).collect();
    assert_eq!(shows, [("show", -10_000.0, 0.04)]);
}

#[test]
fn a_host_tells_what_each_layer_could_take_and_what_stops_it() {
    let mut farm = farm(1);
    let job = farm.job(0);
    farm.layer(job, 9);
    farm.layer(job, 1).tags = super::farm::tags(&["elsewhere"]);
    let held = farm.layer(job, 1).layer.clone();
    farm.holds.backing_off.insert(held);
    let policy = Policy::default();
    let planned = PlannedFarm::new(&farm.snapshot, &farm.holds, &policy);
    let told = planned.explain_host(HostIx(0));
    assert_eq!((told.state.as_str(), told.idle_after, told.unreached), ("open", amounts(0, 4, 0, 0), 1));
    let seen: Vec<_> =
        told.candidates.iter().map(|on| (on.could_take, on.then, on.refusal, on.placed_frames)).collect();
    assert_eq!(
        seen,
        [
            (4, None, None, 4),
            (4, Some(WaitReason::Capacity), Some(Unfit::NoWholeCore), 0),
            (1, Some(WaitReason::BackOff), None, 0),
        ]
    );
}

#[test]
fn an_explanation_is_data() {
    let json = serde_json::to_value(explain(&farm(0), 0)).expect("it is data");
    assert_eq!(json["reason"], "no_host_with_tags");
    assert_eq!(json["gates"][0], serde_json::json!({ "reason": "row_unusable", "verdict": "passed", "hosts": null }));
    assert_eq!(json["caps"][0]["max"], serde_json::Value::Null);
}
