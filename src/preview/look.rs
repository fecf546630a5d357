//! What the next pass of `run` would do, without doing it.

use super::memory::{Memory, bookable};
use crate::db::{LayerCount, Store};
use crate::model::{Cluster, Holds, JobId, LeftOutRow, Plan, Snapshot};
use crate::scheduler::{PassError, PlacedFrame, Planned, Settings};

/// What one pass finds and plans. It knows no hosts and layers that a running scheduler holds back for a
/// while after failures.
#[derive(Debug)]
pub struct Look {
    pub snapshot: Snapshot,
    /// The frames that were found where the counters promised others.
    pub holds: Holds,
    pub plan: Plan,
    /// The frames that would be booked, in the order of the plan's placements.
    pub(super) frames: Vec<PlacedFrame>,
    /// Rows that could not be used, those of the snapshot among them.
    pub left_out: Vec<LeftOutRow>,
    /// Counters that promise waiting frames that are not there; looked for only where the plan missed some.
    pub wrong_counts: Vec<LayerCount>,
    /// Whether all frames were there that the plan asked for.
    has_all: bool,
}

/// Looks at most; each but the last knows more than the one before of what cannot be launched.
const LOOKS_MAX: usize = 4;

/// Takes the steps of a pass until it would book, with frames that can be launched. Where not all frames are
/// there that its plan asks for, be it that others took them since, that a counter is wrong, or that no agent
/// could be told to run them, it begins again and knows what was found. Nothing is written.
///
/// # Errors
/// When the database cannot be read.
pub async fn look(store: &Store, clusters: &[Cluster], settings: &Settings) -> Result<Look, PassError> {
    let mut looking = Looking { memory: Memory::alone(store.clone(), settings), clusters, settings };
    let first = looking.look().await?;
    if first.has_all {
        return Ok(first);
    }
    let jobs: Vec<JobId> = first.snapshot.jobs.iter().map(|job| job.id.clone()).collect();
    let counts = store.load_waiting_counts(&jobs).await?;
    looking.memory.waiting_found = bookable(&counts).collect();
    let mut look = looking.look().await?;
    look.wrong_counts = counts.into_iter().filter(|count| count.count > count.frames).collect();
    // What only the first came upon is named all the same.
    add_others(&mut look, first.left_out);
    Ok(look)
}

struct Looking<'l> {
    /// What one look finds the next one knows.
    memory: Memory,
    clusters: &'l [Cluster],
    settings: &'l Settings,
}

impl Looking<'_> {
    async fn look(&self) -> Result<Look, PassError> {
        let (mut look, mut has_unlaunchable) = self.once().await?;
        for _ in 1..LOOKS_MAX {
            if !has_unlaunchable {
                break;
            }
            let left_out = look.left_out;
            (look, has_unlaunchable) = self.once().await?;
            add_others(&mut look, left_out);
        }
        Ok(look)
    }

    async fn once(&self) -> Result<(Look, bool), PassError> {
        let cycle = self.memory.cycle(self.settings.clone());
        let planned = cycle.plan(self.clusters).await?;
        let found = cycle.find_frames(&planned).await?;
        // Where frames keep off their host another look is worth it: its plan knows of them.
        let has_all = found.frames.len() as u64 == planned.plan.placed_frames();
        let planned = found.without_short(planned);
        let (planned, found) = cycle.without_unlaunchable(planned, found).await;
        let Planned { snapshot, holds, plan, .. } = planned;
        let left_out = [&snapshot.left_out[..], &found.left_out].concat();
        let wrong_counts = Vec::new();
        let look = Look { snapshot, holds, plan, frames: found.frames, left_out, wrong_counts, has_all };
        Ok((look, found.has_unlaunchable))
    }
}

fn add_others(look: &mut Look, left_out: Vec<LeftOutRow>) {
    for row in left_out {
        if !look.left_out.contains(&row) {
            look.left_out.push(row);
        }
    }
}
