//! What the next pass of `run` would do, without doing it.

use tokio_util::sync::CancellationToken;

use super::memory::{Memory, bookable};
use crate::db::{LayerCount, Store};
use crate::model::{Cluster, Holds, JobId, LeftOutRow, Plan, Snapshot};
use crate::scheduler::{Pass, PassError, PlacedFrame, Settings};

/// What one pass found and planned. It knows no hosts and layers that a running scheduler holds back
/// for a while after failures.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub snapshot: Snapshot,
    /// The frames that were found where the counters promised others.
    pub holds: Holds,
    pub plan: Plan,
    /// The frames that would be booked, in the order of the plan's placements.
    pub frames: Vec<PlacedFrame>,
    /// Rows that could not be used, those of the snapshot among them.
    pub left_out: Vec<LeftOutRow>,
    /// Counters that promise waiting frames that are not there; looked for only where the plan missed some.
    pub wrong_counts: Vec<LayerCount>,
}

/// Makes a pass whose bookings are forgotten. Where not all frames are there that its plan asks for, be it that
/// others took them since or that a counter is wrong, another follows that knows what the frames themselves
/// say. Nothing is written.
///
/// # Errors
/// When the database cannot be read.
pub async fn look(store: &Store, clusters: &[Cluster], settings: &Settings) -> Result<Look, PassError> {
    let first = pass(store, clusters, settings, &[]).await?;
    if first.has_all {
        return Ok(Look::of(first));
    }
    let jobs: Vec<JobId> = first.snapshot.jobs.iter().map(|job| job.id.clone()).collect();
    let counts = store.load_waiting_counts(&jobs).await?;
    let mut look = Look::of(pass(store, clusters, settings, &counts).await?);
    look.wrong_counts = counts.into_iter().filter(|count| count.count > count.frames).collect();
    // What only the first pass came upon is named all the same.
    let others = first.report.left_out.into_iter().filter(|row| !look.left_out.contains(row)).collect::<Vec<_>>();
    look.left_out.extend(others);
    Ok(look)
}

async fn pass(
    store: &Store,
    clusters: &[Cluster],
    settings: &Settings,
    counts: &[LayerCount],
) -> Result<Pass, PassError> {
    let mut memory = Memory::alone(store.clone(), settings);
    memory.is_once = true;
    memory.waiting_found = bookable(counts).collect();
    memory.cycle(settings.clone()).pass(clusters, &CancellationToken::new(), |_| {}).await
}

impl Look {
    fn of(pass: Pass) -> Self {
        let Pass { snapshot, holds, plan, frames, report, .. } = pass;
        Self { snapshot, holds, plan, frames, left_out: report.left_out, wrong_counts: Vec::new() }
    }
}
