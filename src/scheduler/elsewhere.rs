//! Frames that failed on a host go to another one.
//!
//! A host that fails whatever it gets is empty again at once, so that the next plan gives it the next frames:
//! without this they are the very ones that failed there, until they are dead. Where a frame failed, its row
//! says until it runs again; which launches a host has refused is remembered here. Frames are paired with
//! placements by it, and where all frames that wait keep off a host, the next plans are told that the layer
//! has none for that host: its other frames and the hosts lose nothing.
//!
//! A frame keeps off a host for a bounded time. Layers whose tags name a few hosts of many have little choice
//! and do not keep off any.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::requests::PlacedFrame;
use crate::db::FailedRun;
use crate::model::{CandidateIx, FrameId, HostId, HostIx, LayerId, Plan, Snapshot, WaitingFrame};

/// A layer whose tags reach at most so many hosts, and not all there are, is pinned to them.
const PINNED_HOSTS_MAX: usize = 3;
/// After so long it is looked again whether other frames wait: one that is ready since waits no longer.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Beyond this many, refused launches are no longer remembered.
const REFUSED_MAX: usize = 10_000;

/// What lives between passes.
#[derive(Clone, Debug)]
pub(super) struct Elsewhere {
    /// How long a frame keeps off a host. 0: not at all.
    time: Duration,
    /// Frames whose launch a host refused, and until when they keep off it.
    refused: HashMap<FrameId, (HostId, Instant)>,
    /// Hosts that frames of a layer keep off, when no others were found.
    closed: HashMap<(LayerId, HostId), Closed>,
}

#[derive(Clone, Copy, Debug)]
struct Closed {
    /// Frames that keep off.
    frames: u32,
    until: Instant,
}

impl Elsewhere {
    pub(super) fn new(time: Duration) -> Self {
        Self { time, refused: HashMap::new(), closed: HashMap::new() }
    }

    /// A host refused a frame's launch.
    pub(super) fn refused(&mut self, frame: &FrameId, host: &HostId, now: Instant) {
        self.refused.retain(|_, (_, until)| *until > now);
        if !self.time.is_zero() && self.refused.len() < REFUSED_MAX {
            self.refused.insert(frame.clone(), (host.clone(), now + self.time));
        }
    }

    /// Frames that keep off a host which refused them.
    pub(super) fn refused_frames(&self, host: &HostId) -> u32 {
        u32::try_from(self.refused.values().filter(|(by, _)| by == host).count()).unwrap_or(u32::MAX)
    }

    /// For how long yet a frame keeps off a host.
    fn time_left(&self, frame: &FrameId, failed: Option<&FailedRun>, host: (&HostId, &str), now: Instant) -> Duration {
        let failed = failed.filter(|failed| failed.host_name == host.1);
        let by_row = failed.map(|failed| self.time.saturating_sub(failed.ago));
        let refused = self.refused.get(frame).filter(|(by, _)| by == host.0);
        let by_launch = refused.map(|(_, until)| until.saturating_duration_since(now));
        by_row.max(by_launch).unwrap_or_default()
    }

    /// So many frames of a layer keep off a host, and no others wait.
    pub(super) fn close(&mut self, layer: &LayerId, host: &HostId, frames: u32, for_time: Duration, now: Instant) {
        let closed = Closed { frames, until: now + for_time.min(LOOK_AGAIN) };
        self.closed.insert((layer.clone(), host.clone()), closed);
    }

    /// What the next plan is to know. Of frames that are gone since, those that kept off are believed to be left.
    pub(super) fn hold(&mut self, snapshot: &Snapshot, now: Instant) -> BTreeMap<LayerId, BTreeMap<HostId, u32>> {
        self.closed.retain(|_, closed| closed.until > now);
        let mut held: BTreeMap<LayerId, BTreeMap<HostId, u32>> = BTreeMap::new();
        if self.closed.is_empty() {
            return held;
        }
        let waiting: HashMap<&LayerId, u32> =
            snapshot.candidates.iter().map(|candidate| (&candidate.layer, candidate.waiting_frames)).collect();
        self.closed.retain(|(layer, _), _| waiting.contains_key(layer));
        for ((layer, host), closed) in &mut self.closed {
            closed.frames = closed.frames.min(waiting[layer]);
            held.entry(layer.clone()).or_default().insert(host.clone(), closed.frames);
        }
        held
    }

    /// When frames may go to a host again that keep off it now.
    pub(super) fn next_release(&self, now: Instant) -> Option<Instant> {
        self.closed.values().map(|closed| closed.until).filter(|until| *until > now).min()
    }
}

/// Whether a layer's tags leave it few hosts of many.
fn is_pinned(snapshot: &Snapshot, candidate: CandidateIx) -> bool {
    let candidate = &snapshot.candidates[candidate];
    let reached = snapshot.hosts.iter().filter(|host| snapshot.reaches(candidate, host));
    let reached = reached.take(PINNED_HOSTS_MAX + 1).count();
    reached <= 1 || (reached <= PINNED_HOSTS_MAX && reached < snapshot.hosts.len())
}

/// Which frames keep off which hosts in one pass.
pub(super) struct KeepingOff<'p> {
    snapshot: &'p Snapshot,
    memory: &'p Elsewhere,
    failed: HashMap<FrameId, FailedRun>,
    pinned: HashSet<LayerId>,
    now: Instant,
}

impl<'p> KeepingOff<'p> {
    pub(super) fn new(
        (snapshot, plan): (&'p Snapshot, &Plan),
        memory: &'p Elsewhere,
        frames: &HashMap<LayerId, Vec<WaitingFrame>>,
        failed: HashMap<FrameId, FailedRun>,
        now: Instant,
    ) -> Self {
        let mut keeping_off = Self { snapshot, memory, failed, pinned: HashSet::new(), now };
        if !keeping_off.is_off() {
            let is_told = |frame: &&WaitingFrame| {
                keeping_off.failed.contains_key(&frame.id) || memory.refused.contains_key(&frame.id)
            };
            let layers: HashSet<&LayerId> =
                frames.values().flatten().filter(is_told).map(|frame| &frame.layer).collect();
            let planned: HashSet<CandidateIx> = plan.placements.iter().map(|placement| placement.candidate).collect();
            let told = planned.into_iter().filter(|&candidate| layers.contains(&snapshot.candidates[candidate].layer));
            let pinned = told.filter(|&candidate| is_pinned(snapshot, candidate));
            keeping_off.pinned = pinned.map(|candidate| snapshot.candidates[candidate].layer.clone()).collect();
        }
        keeping_off
    }

    /// Takes in what was read in addition.
    pub(super) fn learn(&mut self, failed: HashMap<FrameId, FailedRun>) {
        self.failed.extend(failed);
    }

    /// No frame keeps off any host.
    fn is_off(&self) -> bool {
        self.memory.time.is_zero() || (self.failed.is_empty() && self.memory.refused.is_empty())
    }

    /// For how long yet; zero: it may go there.
    fn time_left(&self, frame: &WaitingFrame, host: HostIx) -> Duration {
        if self.is_off() || self.pinned.contains(&frame.layer) {
            return Duration::ZERO;
        }
        let host = &self.snapshot.hosts[host];
        self.memory.time_left(&frame.id, self.failed.get(&frame.id), (&host.id, &host.name), self.now)
    }

    fn goes_to(&self, frame: &WaitingFrame, host: HostIx) -> bool {
        self.time_left(frame, host).is_zero()
    }
}

/// A placement for which too few of the frames that were read may go to its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    /// Position in the plan's placements.
    pub(crate) placement: usize,
    pub(crate) frames: u32,
}

/// Frames handed out to placements.
#[derive(Debug, Default)]
pub(super) struct Paired {
    /// In the order of the plan's placements.
    pub(super) placed: Vec<PlacedFrame>,
    pub(super) short: Vec<Short>,
    /// In dispatch order, per layer.
    left: HashMap<LayerId, VecDeque<WaitingFrame>>,
}

/// Gives the frames that were found to the placements: in dispatch order, in the order in which the plan
/// decided, and none to a host that it keeps off.
pub(super) fn pair(
    snapshot: &Snapshot,
    plan: &Plan,
    frames: HashMap<LayerId, Vec<WaitingFrame>>,
    keeping_off: &KeepingOff<'_>,
) -> Paired {
    let left = frames.into_iter().map(|(layer, frames)| (layer, frames.into())).collect();
    let mut paired = Paired { left, ..Paired::default() };
    for (position, placement) in plan.placements.iter().enumerate() {
        let Some(queue) = paired.left.get_mut(&snapshot.candidates[placement.candidate].layer) else { continue };
        let (mut wanted, mut passed) = (placement.frames, Vec::new());
        while wanted > 0
            && let Some(frame) = queue.pop_front()
        {
            if keeping_off.goes_to(&frame, placement.host) {
                paired.placed.push(PlacedFrame { placement: position, frame });
                wanted -= 1;
            } else {
                passed.push(frame);
            }
        }
        for frame in passed.into_iter().rev() {
            queue.push_front(frame);
        }
        if wanted > 0 && !queue.is_empty() {
            paired.short.push(Short { placement: position, frames: wanted });
        }
    }
    if !paired.short.is_empty() {
        paired.exchange(plan, keeping_off);
        paired.placed.sort_by_key(|placed| placed.placement);
    }
    paired
}

impl Paired {
    /// Gives placements that came short frames of others, which take the frames that keep off instead.
    fn exchange(&mut self, plan: &Plan, keeping_off: &KeepingOff<'_>) {
        for short in &mut self.short {
            let host = plan.placements[short.placement].host;
            let candidate = plan.placements[short.placement].candidate;
            let Some(queue) = self.left.get_mut(&keeping_off.snapshot.candidates[candidate].layer) else { continue };
            let mut given = Vec::new();
            for placed in &mut self.placed {
                let from = &plan.placements[placed.placement];
                if short.frames == 0 || queue.is_empty() {
                    break;
                }
                if from.candidate == candidate
                    && from.host != host
                    && keeping_off.goes_to(&placed.frame, host)
                    && let Some(at) = queue.iter().position(|frame| keeping_off.goes_to(frame, from.host))
                    && let Some(instead) = queue.remove(at)
                {
                    let frame = std::mem::replace(&mut placed.frame, instead);
                    given.push(PlacedFrame { placement: short.placement, frame });
                    short.frames -= 1;
                }
            }
            self.placed.extend(given);
        }
        self.short.retain(|short| short.frames > 0);
    }

    /// What was read already, and taken out of by nobody.
    pub(super) fn frames(&self) -> HashSet<FrameId> {
        let left = self.left.values().flatten();
        left.chain(self.placed.iter().map(|placed| &placed.frame)).map(|frame| frame.id.clone()).collect()
    }

    /// How many frames of a layer are handed out.
    pub(super) fn placed_of(&self, layer: &LayerId) -> u32 {
        let of_layer = self.placed.iter().filter(|placed| placed.frame.layer == *layer).count();
        u32::try_from(of_layer).unwrap_or(u32::MAX)
    }

    /// Hands out what was read in addition for the placements that came short.
    pub(super) fn fill(
        &mut self,
        plan: &Plan,
        more: &mut HashMap<LayerId, Vec<WaitingFrame>>,
        keeping_off: &KeepingOff<'_>,
    ) {
        let candidates = &keeping_off.snapshot.candidates;
        for short in &mut self.short {
            let placement = &plan.placements[short.placement];
            let Some(frames) = more.get_mut(&candidates[placement.candidate].layer) else { continue };
            let taken = frames.extract_if(.., |frame| {
                let is_taken = short.frames > 0 && keeping_off.goes_to(frame, placement.host);
                short.frames -= u32::from(is_taken);
                is_taken
            });
            self.placed.extend(taken.map(|frame| PlacedFrame { placement: short.placement, frame }));
        }
        self.short.retain(|short| short.frames > 0);
        self.placed.sort_by_key(|placed| placed.placement);
    }

    /// For how long yet the frames that are left of a layer keep off a host, the first of them.
    pub(super) fn first_release(&self, layer: &LayerId, host: HostIx, keeping_off: &KeepingOff<'_>) -> Duration {
        let left = self.left.get(layer).into_iter().flatten();
        let times = left.map(|frame| keeping_off.time_left(frame, host)).filter(|time| !time.is_zero());
        times.min().unwrap_or(LOOK_AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClusterIx, Placement, Timestamp};
    use crate::planner::tests::farm::{Farm, amounts, tags};
    use crate::units::Amounts;

    const MINUTE: Duration = Duration::from_mins(1);

    /// A layer, and five hosts that it may go to.
    fn farm() -> Farm {
        let mut farm = Farm::new();
        for _ in 0..5 {
            farm.host(amounts(8, 32, 0, 0));
        }
        let job = farm.job(0);
        farm.layer(job, 10);
        farm
    }

    fn frame(id: &str) -> WaitingFrame {
        WaitingFrame {
            id: id.into(),
            version: 1,
            layer: "layer-0000".into(),
            job: "job-0000".into(),
            name: String::new(),
            number: 1,
            waiting_since: Timestamp::UNIX_EPOCH,
        }
    }

    fn on(host: usize, frames: u32) -> Placement {
        let (candidate, host, cluster) = (CandidateIx(0), HostIx(host), ClusterIx(0));
        Placement { candidate, host, cluster, frames, reservation: Amounts::default() }
    }

    fn failed(frame: &str, host: usize, ago: Duration) -> (FrameId, FailedRun) {
        (frame.into(), FailedRun { host_name: format!("host-{host:04}"), ago, after: Duration::ZERO })
    }

    /// Frame and host of what is handed out, and what came short.
    fn paired(
        farm: &Farm,
        placements: &[Placement],
        frames: &[&str],
        failed: &[(FrameId, FailedRun)],
    ) -> (Vec<(String, usize)>, Vec<Short>) {
        paired_by(farm, placements, frames, failed, &Elsewhere::new(MINUTE))
    }

    fn paired_by(
        farm: &Farm,
        placements: &[Placement],
        frames: &[&str],
        failed: &[(FrameId, FailedRun)],
        memory: &Elsewhere,
    ) -> (Vec<(String, usize)>, Vec<Short>) {
        let plan = Plan { placements: placements.to_vec(), waiting: Vec::new() };
        let failed = failed.iter().cloned().collect();
        let frames = [("layer-0000".into(), frames.iter().map(|id| frame(id)).collect())].into();
        let keeping_off = KeepingOff::new((&farm.snapshot, &plan), memory, &frames, failed, Instant::now());
        let Paired { placed, short, .. } = pair(&farm.snapshot, &plan, frames, &keeping_off);
        let placed = placed.iter().map(|one| (one.frame.id.to_string(), plan.placements[one.placement].host.0));
        (placed.collect(), short)
    }

    fn at(placed: &[(&str, usize)]) -> Vec<(String, usize)> {
        placed.iter().map(|&(frame, host)| (frame.to_owned(), host)).collect()
    }

    #[test]
    fn a_frame_goes_to_any_host_but_the_one_where_it_failed() {
        let (farm, failed_on_1) = (farm(), [failed("a", 1, Duration::ZERO)]);
        let there = [on(1, 1), on(2, 1)];
        assert_eq!(paired(&farm, &there, &["a", "b"], &failed_on_1), (at(&[("b", 1), ("a", 2)]), vec![]));
        assert_eq!(paired(&farm, &there, &["a", "b"], &[]), (at(&[("a", 1), ("b", 2)]), vec![]));
        let long_ago = [failed("a", 1, MINUTE)];
        assert_eq!(paired(&farm, &there, &["a", "b"], &long_ago), (at(&[("a", 1), ("b", 2)]), vec![]));
    }

    #[test]
    fn a_frame_whose_launch_a_host_refused_goes_to_another() {
        let (farm, mut memory, now) = (farm(), Elsewhere::new(MINUTE), Instant::now());
        let there = [on(1, 1), on(2, 1)];
        memory.refused(&"a".into(), &"host-0001".into(), now);
        assert_eq!(paired_by(&farm, &there, &["a", "b"], &[], &memory).0, at(&[("b", 1), ("a", 2)]));
        memory = Elsewhere::new(Duration::ZERO);
        memory.refused(&"a".into(), &"host-0001".into(), now);
        assert_eq!(paired_by(&farm, &there, &["a", "b"], &[], &memory).0, at(&[("a", 1), ("b", 2)]));
    }

    #[test]
    fn a_frame_that_was_handed_out_makes_room_for_one_with_less_choice() {
        let (farm, failed_on_2) = (farm(), [failed("b", 2, Duration::ZERO)]);
        let there = [on(1, 1), on(2, 1)];
        assert_eq!(paired(&farm, &there, &["a", "b"], &failed_on_2), (at(&[("b", 1), ("a", 2)]), vec![]));
    }

    #[test]
    fn a_host_that_all_frames_keep_off_comes_short() {
        let farm = farm();
        let both = [failed("a", 1, Duration::ZERO), failed("b", 1, Duration::ZERO)];
        let (placed, short) = paired(&farm, &[on(1, 3)], &["a", "b"], &both);
        assert_eq!((placed, short), (vec![], vec![Short { placement: 0, frames: 3 }]));
    }

    #[test]
    fn a_layer_with_few_hosts_of_many_takes_what_there_is() {
        let mut farm = farm();
        farm.snapshot.candidates[0].tags = tags(&["desk"]);
        for host in &mut farm.snapshot.hosts[..2] {
            host.tags = tags(&["desk"]);
        }
        let kind = crate::model::ClusterKind::Tags { kind: crate::model::TagKind::Manual, tags: vec!["desk".into()] };
        let desk = farm.cluster("show", kind);
        farm.snapshot.candidates[0].clusters = vec![ClusterIx(desk)];
        let failed_on_1 = [failed("a", 1, Duration::ZERO)];
        assert_eq!(paired(&farm, &[on(1, 1)], &["a"], &failed_on_1), (at(&[("a", 1)]), vec![]));
        // Where there are no others it is no choice of the layer's.
        farm.snapshot.hosts.truncate(2);
        assert_eq!(paired(&farm, &[on(1, 1)], &["a"], &failed_on_1).0, vec![]);
    }

    #[test]
    fn a_closed_host_is_told_until_the_first_frame_may_go_there_again_and_never_for_long() {
        let (mut farm, mut memory, now) = (farm(), Elsewhere::new(MINUTE), Instant::now());
        let (layer, host) = (LayerId::from("layer-0000"), HostId::from("host-0001"));
        memory.close(&layer, &host, 12, Duration::from_secs(2), now);
        let held = |frames: u32| BTreeMap::from([(layer.clone(), BTreeMap::from([(host.clone(), frames)]))]);
        assert_eq!(memory.hold(&farm.snapshot, now), held(10), "no more than wait");
        farm.snapshot.candidates[0].waiting_frames = 7;
        assert_eq!(memory.hold(&farm.snapshot, now), held(7));
        farm.snapshot.candidates[0].waiting_frames = 9;
        assert_eq!(memory.hold(&farm.snapshot, now), held(7), "two that wait since may go there");
        assert_eq!(memory.next_release(now), Some(now + Duration::from_secs(2)));
        assert_eq!(memory.hold(&farm.snapshot, now + Duration::from_secs(2)), BTreeMap::new());
        memory.close(&layer, &host, 9, MINUTE, now);
        assert_eq!(memory.next_release(now), Some(now + LOOK_AGAIN));
    }
}
