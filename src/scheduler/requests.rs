//! Placements and frames to bookings; pure but for fresh keys.

use std::collections::{HashMap, VecDeque};

use crate::db::new_proc_id;
use crate::model::{
    Booked, BookingRequest, CandidateIx, Holds, LayerId, LayerLaunch, LeftOutRow, Plan, Snapshot, Timestamp,
    WaitingFrame,
};
use crate::rqd::{MemoryLimitFactors, RunFrameError, build_run_frame};
use crate::telemetry::error_chain;

/// How many frames of which layers a plan asks for, in the order of its placements.
#[must_use]
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
#[must_use]
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
pub struct PlacedFrame {
    /// Position in the plan's placements.
    pub placement: usize,
    pub frame: WaitingFrame,
}

/// Gives the frames that were found to the placements: in dispatch order, in the order in which the plan
/// decided.
#[must_use]
pub(super) fn hand_out(
    snapshot: &Snapshot,
    plan: &Plan,
    frames: HashMap<LayerId, Vec<WaitingFrame>>,
) -> Vec<PlacedFrame> {
    let mut frames: HashMap<LayerId, VecDeque<WaitingFrame>> =
        frames.into_iter().map(|(layer, frames)| (layer, frames.into())).collect();
    let mut handed_out = Vec::new();
    for (position, placement) in plan.placements.iter().enumerate() {
        let Some(queue) = frames.get_mut(&snapshot.candidates[placement.candidate].layer) else { continue };
        let count = queue.len().min(placement.frames as usize);
        handed_out.extend(queue.drain(..count).map(|frame| PlacedFrame { placement: position, frame }));
    }
    handed_out
}

pub(super) fn request(snapshot: &Snapshot, plan: &Plan, placed: &PlacedFrame) -> BookingRequest {
    let placement = &plan.placements[placed.placement];
    let candidate = &snapshot.candidates[placement.candidate];
    let job = &snapshot.jobs[candidate.job];
    let host = &snapshot.hosts[placement.host];
    BookingRequest {
        proc: new_proc_id(),
        frame: placed.frame.clone(),
        host: host.id.clone(),
        host_name: host.name.clone(),
        alloc: host.alloc.clone(),
        show: snapshot.shows[job.show].id.clone(),
        folder: snapshot.folders[job.folder].id.clone(),
        reservation: placement.reservation,
        limits: candidate.limits.iter().map(|&limit| snapshot.limits[limit].id.clone()).collect(),
    }
}

/// Requests parted by whether an agent could be told to run them.
#[derive(Debug, Default)]
pub(super) struct Parted {
    pub(super) launchable: Vec<BookingRequest>,
    pub(super) unlaunchable: Vec<WaitingFrame>,
    pub(super) left_out: Vec<LeftOutRow>,
    /// Layers of which no frame is launchable.
    pub(super) broken: HashMap<LayerId, RunFrameError>,
}

/// Frames of layers that could not be read are in neither part: those layers are named already.
#[must_use]
pub(super) fn part(
    requests: Vec<BookingRequest>,
    launches: &HashMap<LayerId, LayerLaunch>,
    memory_limits: &MemoryLimitFactors,
    now: Timestamp,
) -> Parted {
    let mut parted = Parted::default();
    for request in requests {
        let Some(launch) = launches.get(&request.frame.layer) else { continue };
        match build_run_frame(launch, &Booked::of(&request, 0), now, memory_limits) {
            Ok(_) => parted.launchable.push(request),
            Err(error) => {
                let problem = error_chain(&error);
                parted.left_out.push(LeftOutRow { table: "frame".into(), id: request.frame.id.to_string(), problem });
                parted.broken.insert(request.frame.layer.clone(), error);
                parted.unlaunchable.push(request.frame);
            }
        }
    }
    for request in &parted.launchable {
        parted.broken.remove(&request.frame.layer);
    }
    parted
}
