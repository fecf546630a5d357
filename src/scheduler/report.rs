//! What one pass came to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::elsewhere::Short;
use crate::booking::{Lost, LostReason, Refusal};
use crate::db::MeterReading;
use crate::model::{CandidateIx, Holds, HostOddity, LayerId, LeftOutRow, Plan, Snapshot, WaitReason, Waiting};

/// Figures of one pass.
#[derive(Clone, Debug, Default)]
pub struct PassReport {
    /// Layers with waiting frames.
    pub candidates: usize,
    pub hosts: usize,
    /// Frames that the plan placed.
    pub planned: u64,
    pub booked: u64,
    pub lost: BTreeMap<LostReason, u64>,
    /// What the database said to the lost that it refuses to write.
    pub refusals: Vec<Refusal>,
    /// What still waits after the pass. Every waiting layer is under one reason.
    pub waiting: BTreeMap<WaitReason, ReasonRow>,
    pub left_out: Vec<LeftOutRow>,
    /// Hosts that report what cannot be.
    pub odd_hosts: Vec<(String, HostOddity)>,
    /// What the pass asked of the database; launches and repairs that ran meanwhile are in it.
    pub database: MeterReading,
    pub snapshot_took: Duration,
    pub plan_took: Duration,
    pub booking_took: Duration,
    /// Names of shows whose scheduler flag was switched off while the service runs.
    pub shows_off: Vec<String>,
}

/// What waits for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReasonRow {
    pub reason: WaitReason,
    pub layers: u64,
    pub frames: u64,
}

impl ReasonRow {
    /// Of layers, each with its waiting frames.
    pub(crate) fn count(layers: impl Iterator<Item = (WaitReason, u32)>) -> BTreeMap<WaitReason, Self> {
        let mut rows = BTreeMap::new();
        for (reason, frames) in layers {
            let row = rows.entry(reason).or_insert(Self { reason, layers: 0, frames: 0 });
            row.layers += 1;
            row.frames += u64::from(frames);
        }
        rows
    }
}

/// Adds to what a plan leaves waiting the frames that it placed and that were lost when they were
/// booked: under the layer's own reason if it has one, else under [`WaitReason::LaunchesWaiting`] where some were not
/// even tried for that, and [`WaitReason::LostRace`] where not.
pub(super) fn add_lost(plan: &mut Plan, snapshot: &Snapshot, lost: &[Lost]) {
    let mut lost_of_layer: HashMap<&LayerId, (u32, WaitReason)> = HashMap::new();
    for lost in lost {
        let (frames, reason) = lost_of_layer.entry(&lost.layer).or_insert((0, WaitReason::LostRace));
        *frames += 1;
        if lost.reason == LostReason::LaunchesWaiting {
            *reason = WaitReason::LaunchesWaiting;
        }
    }
    if lost_of_layer.is_empty() {
        return;
    }
    for waiting in &mut plan.waiting {
        let frames = lost_of_layer.remove(&snapshot.candidates[waiting.candidate].layer);
        waiting.frames = waiting.frames.saturating_add(frames.map_or(0, |(frames, _)| frames));
    }
    for (candidate, row) in CandidateIx::all(&snapshot.candidates).zip(&snapshot.candidates) {
        if let Some((frames, reason)) = lost_of_layer.remove(&row.layer) {
            plan.waiting.push(Waiting { candidate, frames, reason });
        }
    }
}

/// Takes out of a plan the frames that keep off the hosts which they were given: they wait for another,
/// under the layer's own reason if it has one. Returns the layers.
pub(super) fn add_elsewhere(plan: &mut Plan, snapshot: &Snapshot, short: &[Short]) -> HashSet<LayerId> {
    let mut layers = HashSet::new();
    for &Short { placement, frames } in short {
        let placement = &mut plan.placements[placement];
        placement.frames = placement.frames.saturating_sub(frames);
        let candidate = placement.candidate;
        match plan.waiting.iter_mut().find(|waiting| waiting.candidate == candidate) {
            Some(waiting) => waiting.frames = waiting.frames.saturating_add(frames),
            None => plan.waiting.push(Waiting { candidate, frames, reason: WaitReason::RetryElsewhere }),
        }
        layers.insert(snapshot.candidates[candidate].layer.clone());
    }
    layers
}

/// Layers with waiting frames, as the plan has them: those that it places and those that it leaves.
pub(super) fn candidates(plan: &Plan) -> usize {
    let placed = plan.placements.iter().map(|placement| placement.candidate);
    placed.chain(plan.waiting.iter().map(|waiting| waiting.candidate)).collect::<HashSet<_>>().len()
}

pub(super) fn odd_hosts(snapshot: &Snapshot, holds: &Holds) -> Vec<(String, HostOddity)> {
    let of = |host| holds.oddities(host, snapshot.taken_at).map(|oddity| (host.name.clone(), oddity));
    snapshot.hosts.iter().flat_map(of).collect()
}

pub(super) fn lost_by_reason(lost: &[Lost]) -> BTreeMap<LostReason, u64> {
    let mut counts = BTreeMap::new();
    for lost in lost {
        *counts.entry(lost.reason).or_default() += 1;
    }
    counts
}
