//! A pass up to the point where it would book: what `run` would do now, without doing it.

use std::collections::HashSet;

use super::error::PassError;
use super::requests;
use super::settings::Settings;
use crate::model::{Cluster, FrameId, LayerId, LeftOutRow, Plan, Snapshot, WaitingFrame};
use crate::placement::plan;
use crate::store::Store;

/// What one look found and planned. It knows no hosts and layers that a running scheduler holds back
/// for a while after failures.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub snapshot: Snapshot,
    pub plan: Plan,
    /// The frames that would be booked, in the order of the plan's placements.
    pub frames: Vec<PlacedFrame>,
    /// Rows that could not be used, those of the snapshot among them.
    pub left_out: Vec<LeftOutRow>,
}

/// A frame and where it would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedFrame {
    /// Position in the plan's placements.
    pub placement: usize,
    pub frame: WaitingFrame,
}

/// Reads the farm once, plans, and reads the frames that the plan asks for. Nothing is written.
///
/// # Errors
/// When the database cannot be read.
pub async fn look(store: &Store, clusters: &[Cluster], settings: &Settings) -> Result<Look, PassError> {
    let snapshot = store.load_snapshot(clusters, &settings.snapshot_options()).await?;
    let policy = settings.policy.clone();
    // Planning a big farm takes long enough to hold up others on a small machine.
    let (plan, snapshot) = tokio::task::spawn_blocking(move || (plan(&snapshot, &policy), snapshot))
        .await
        .expect("the planner does not panic, and is not cancelled");
    let wanted = requests::wanted(&snapshot, &plan);
    let layers: Vec<LayerId> = wanted.iter().map(|(layer, _)| layer.clone()).collect();
    let (waiting, launches) = tokio::try_join!(store.load_waiting_frames(&wanted), store.load_layer_launches(&layers))?;

    let handed_out = requests::hand_out(&snapshot, &plan, waiting.by_layer);
    let all = handed_out.iter().map(|(at, frame)| requests::request(&snapshot, &plan.placements[*at], frame.clone()));
    let parted =
        requests::part(all.collect(), &launches.by_layer, &settings.memory_limits, time::OffsetDateTime::now_utc());
    let launchable: HashSet<&FrameId> = parted.launchable.iter().map(|request| &request.frame.id).collect();
    let frames = handed_out
        .into_iter()
        .filter(|(_, frame)| launchable.contains(&frame.id))
        .map(|(placement, frame)| PlacedFrame { placement, frame });
    let frames = frames.collect();
    let left_out = [snapshot.left_out.clone(), waiting.left_out, launches.left_out, parted.left_out].concat();
    Ok(Look { snapshot, plan, frames, left_out })
}
