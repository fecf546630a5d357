//! Placements and frames to bookings; pure but for fresh keys.

use std::collections::{BTreeMap, HashMap};

use crate::db::new_proc_id;
use crate::model::{Booked, BookingRequest, CandidateIx, Holds, LayerId, LayerLaunch, Plan, Snapshot, WaitingFrame};
use crate::rqd::{MemoryLimitFactors, RunFrameError, build_run_frame};
use crate::telemetry::error_chain;

/// How many frames of which layers a plan asks for, in the order of its placements.
pub(super) fn wanted(snapshot: &Snapshot, plan: &Plan) -> Vec<(LayerId, u32)> {
    let mut position: HashMap<CandidateIx, usize> = HashMap::new();
    let mut wanted: Vec<(LayerId, u32)> = Vec::new();
    for placement in &plan.placements {
        let at = *position.entry(placement.candidate).or_insert(wanted.len());
        if at == wanted.len() {
            wanted.push((snapshot.candidates[placement.candidate].layer.clone(), 0));
        }
        wanted[at].1 = wanted[at].1.saturating_add(placement.frames);
    }
    wanted
}

/// Frames of each layer that count as booked, and whose rows say that they wait.
pub(super) fn assumed(holds: &Holds) -> HashMap<&LayerId, u32> {
    let mut frames: HashMap<&LayerId, u32> = HashMap::new();
    for booking in &holds.assumed {
        let count = frames.entry(&booking.layer).or_default();
        *count = count.saturating_add(booking.frames);
    }
    frames
}

/// A frame and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlacedFrame {
    /// Position in the plan's placements.
    pub(crate) placement: usize,
    pub(crate) frame: WaitingFrame,
}

pub(super) fn request(snapshot: &Snapshot, plan: &Plan, placed: PlacedFrame) -> BookingRequest {
    let PlacedFrame { placement, frame } = placed;
    let placement = &plan.placements[placement];
    let candidate = &snapshot.candidates[placement.candidate];
    let job = &snapshot.jobs[candidate.job];
    let host = &snapshot.hosts[placement.host];
    BookingRequest {
        proc: new_proc_id(),
        frame,
        host: host.id.clone(),
        host_name: host.name.clone(),
        alloc: host.alloc.clone(),
        show: snapshot.shows[job.show].id.clone(),
        folder: snapshot.folders[job.folder].id.clone(),
        reservation: placement.reservation,
        limits: candidate.limits.iter().map(|&limit| snapshot.limits[limit].id.clone()).collect(),
    }
}

/// Frames that no agent could be told to run.
#[derive(Debug, Default)]
pub(super) struct Unlaunchable {
    pub(super) frames: Vec<WaitingFrame>,
    /// What is wrong, by layer; of several problems the first.
    pub(super) problems: BTreeMap<LayerId, String>,
    /// Layers of which no other frame was found.
    pub(super) layers: HashMap<LayerId, RunFrameError>,
}

/// Takes out what cannot be launched; also the frames of layers that could not be read, which are named
/// already.
pub(super) fn take_out_unlaunchable(
    snapshot: &Snapshot,
    plan: &Plan,
    frames: &mut Vec<PlacedFrame>,
    launches: &HashMap<LayerId, LayerLaunch>,
    memory_limits: &MemoryLimitFactors,
) -> Unlaunchable {
    let (mut unlaunchable, now) = (Unlaunchable::default(), snapshot.taken_at);
    frames.retain(|placed| {
        let Some(launch) = launches.get(&placed.frame.layer) else { return false };
        let booked = Booked::of(&request(snapshot, plan, placed.clone()), 0);
        let Err(error) = build_run_frame(launch, &booked, now, memory_limits) else { return true };
        unlaunchable.problems.entry(placed.frame.layer.clone()).or_insert_with(|| error_chain(&error));
        unlaunchable.layers.insert(placed.frame.layer.clone(), error);
        unlaunchable.frames.push(placed.frame.clone());
        false
    });
    for placed in frames {
        unlaunchable.layers.remove(&placed.frame.layer);
    }
    unlaunchable
}
