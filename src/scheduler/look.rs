//! A pass up to the point where it would book: what `run` would do now, without doing it.

use std::collections::{HashMap, HashSet};

use super::error::PassError;
use super::requests;
use super::settings::Settings;
use crate::db::{Store, StoreError, WaitingCount, WaitingFrames};
use crate::model::{Cluster, FrameId, Holds, JobId, LayerId, LeftOutRow, Plan, Policy, Snapshot, WaitingFrame};
use crate::planner::plan;

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
    /// Counters that promise waiting frames that are not there; looked for only where the plan missed some.
    pub wrong_counts: Vec<WaitingCount>,
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
    let Seen { snapshot, plan, waiting, wrong_counts } = see(store, snapshot, &settings.policy).await?;
    let layers: Vec<LayerId> = requests::wanted(&snapshot, &plan).into_iter().map(|(layer, _)| layer).collect();
    let launches = store.load_layer_launches(&layers).await?;

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
    Ok(Look { snapshot, plan, frames, left_out, wrong_counts })
}

/// A snapshot whose waiting frames were seen, and its plan.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Corrected where the counters promised frames that are not there.
    pub snapshot: Snapshot,
    pub plan: Plan,
    /// What the plan asks for, as far as it was found.
    pub waiting: WaitingFrames,
    /// Counters that promise waiting frames that are not there.
    pub wrong_counts: Vec<WaitingCount>,
}

/// Plans, and reads the frames that the plan asks for. Where not all of them are there, be it that others
/// took them since or that a counter is wrong, it plans again with what the frames themselves say: a pass
/// whose placements come to nothing does the same.
///
/// # Errors
/// When the database cannot be read.
pub async fn see(store: &Store, snapshot: Snapshot, policy: &Policy) -> Result<Seen, PassError> {
    let (mut snapshot, mut plan, mut waiting, has_all) = planned(store, snapshot, policy).await?;
    let mut wrong_counts = Vec::new();
    if !has_all {
        let jobs: Vec<JobId> = snapshot.jobs.iter().map(|job| job.id.clone()).collect();
        let counts = store.load_waiting_counts(&jobs).await?;
        correct_counts(&mut snapshot, &counts);
        wrong_counts = counts.into_iter().filter(|count| count.count > count.frames).collect();
        let mut left_out = waiting.left_out;
        (snapshot, plan, waiting, _) = planned(store, snapshot, policy).await?;
        // What only the first reading came upon is named all the same.
        left_out.retain(|row| !waiting.left_out.contains(row));
        waiting.left_out.extend(left_out);
    }
    Ok(Seen { snapshot, plan, waiting, wrong_counts })
}

/// The plan, the frames that it asks for, and whether as many were found.
async fn planned(
    store: &Store,
    snapshot: Snapshot,
    policy: &Policy,
) -> Result<(Snapshot, Plan, WaitingFrames, bool), StoreError> {
    let policy = policy.clone();
    // Planning a big farm takes long enough to hold up others on a small machine.
    let (plan, snapshot) = tokio::task::spawn_blocking(move || (plan(&snapshot, &Holds::default(), &policy), snapshot))
        .await
        .expect("the planner does not panic, and is not cancelled");
    let wanted = requests::wanted(&snapshot, &plan);
    let waiting = store.load_waiting_frames(&wanted).await?;
    let found = |layer: &LayerId| waiting.by_layer.get(layer).map_or(0, Vec::len);
    let has_all = wanted.iter().all(|(layer, frames)| found(layer) >= *frames as usize);
    Ok((snapshot, plan, waiting, has_all))
}

/// Takes from candidates the frames that are only counted, or that a proc holds. What a counter hides is not
/// added: nobody plans it.
pub fn correct_counts(snapshot: &mut Snapshot, counts: &[WaitingCount]) {
    let bookable: HashMap<&LayerId, u32> =
        counts.iter().map(|count| (&count.layer, u32::try_from(count.bookable().max(0)).unwrap_or(u32::MAX))).collect();
    for candidate in &mut snapshot.candidates {
        if let Some(bookable) = bookable.get(&candidate.layer) {
            candidate.waiting_frames = candidate.waiting_frames.min(*bookable);
        }
    }
}
