//! Placements and frames to bookings; pure but for fresh keys.

use std::collections::{HashMap, VecDeque};

use crate::model::{BookingRequest, LayerId, Plan, ProcId, Snapshot, WaitingFrame};

/// How many frames of which layers a plan asks for, in the order of its placements.
#[must_use]
pub(super) fn wanted(snapshot: &Snapshot, plan: &Plan) -> Vec<(LayerId, u32)> {
    let mut position: HashMap<usize, usize> = HashMap::new();
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

/// One request per placed frame that was found, with its placement's position. Frames are handed out
/// in dispatch order, in the order in which the plan decided.
#[must_use]
pub(super) fn build(
    snapshot: &Snapshot,
    plan: &Plan,
    frames: HashMap<LayerId, Vec<WaitingFrame>>,
) -> Vec<BookingRequest> {
    let mut frames: HashMap<LayerId, VecDeque<WaitingFrame>> =
        frames.into_iter().map(|(layer, frames)| (layer, frames.into())).collect();
    let mut requests = Vec::new();
    for placement in &plan.placements {
        let candidate = &snapshot.candidates[placement.candidate];
        let Some(queue) = frames.get_mut(&candidate.layer) else { continue };
        let job = &snapshot.jobs[candidate.job];
        let host = &snapshot.hosts[placement.host];
        for frame in queue.drain(..queue.len().min(placement.frames as usize)) {
            requests.push(BookingRequest {
                proc: ProcId::new(uuid::Uuid::new_v4().to_string()),
                frame,
                host: host.id.clone(),
                host_name: host.name.clone(),
                alloc: host.alloc.clone(),
                show: snapshot.shows[job.show].id.clone(),
                folder: snapshot.folders[job.folder].id.clone(),
                dept: job.dept.clone(),
                reservation: placement.reservation,
                limits: candidate.limits.iter().map(|&limit| snapshot.limits[limit].id.clone()).collect(),
            });
        }
    }
    requests
}
