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

/// Takes the steps of a pass until it would book, with frames that can be launched. Where not all frames are
/// there that its plan asks for, be it that others took them since or that a counter is wrong, it begins again
/// and knows what the frames themselves say. Nothing is written.
///
/// # Errors
/// When the database cannot be read.
pub async fn look(store: &Store, clusters: &[Cluster], settings: &Settings) -> Result<Look, PassError> {
    Looking { store, clusters, settings, looks_at_launches: true }.look().await
}

/// As [`look`], for whom it does not matter whether the frames can be launched: no message to an agent is made.
///
/// # Errors
/// As of [`look`].
pub async fn look_at_plan(store: &Store, clusters: &[Cluster], settings: &Settings) -> Result<Look, PassError> {
    Looking { store, clusters, settings, looks_at_launches: false }.look().await
}

struct Looking<'l> {
    store: &'l Store,
    clusters: &'l [Cluster],
    settings: &'l Settings,
    /// Whether frames that cannot be launched are left out.
    looks_at_launches: bool,
}

impl Looking<'_> {
    async fn look(&self) -> Result<Look, PassError> {
        let (first, memory) = self.once(&[], None).await?;
        if first.has_all {
            return Ok(first);
        }
        let jobs: Vec<JobId> = first.snapshot.jobs.iter().map(|job| job.id.clone()).collect();
        let counts = self.store.load_waiting_counts(&jobs).await?;
        let (mut look, _) = self.once(&counts, Some(&memory)).await?;
        look.wrong_counts = counts.into_iter().filter(|count| count.count > count.frames).collect();
        // What only the first came upon is named all the same.
        let others = first.left_out.into_iter().filter(|row| !look.left_out.contains(row)).collect::<Vec<_>>();
        look.left_out.extend(others);
        Ok(look)
    }

    /// After an earlier look it is known which frames keep off which hosts.
    async fn once(&self, counts: &[LayerCount], before: Option<&Memory>) -> Result<(Look, Memory), PassError> {
        let mut memory = Memory::alone(self.store.clone(), self.settings);
        if let Some(before) = before {
            memory.hints = memory.hints.with_elsewhere_of(&before.hints);
        }
        memory.waiting_found = bookable(counts).collect();
        let cycle = memory.cycle(self.settings.clone());
        let mut planned = cycle.plan(self.clusters).await?;
        let mut found = cycle.find_frames(&planned).await?;
        let has_all = found.frames.len() as u64 == planned.plan.placed_frames();
        if self.looks_at_launches {
            (planned, found) = cycle.without_unlaunchable(planned, found).await;
        }
        let Planned { snapshot, holds, plan, .. } = planned;
        let left_out = [&snapshot.left_out[..], &found.left_out].concat();
        let look = Look { snapshot, holds, plan, frames: found.frames, left_out, wrong_counts: Vec::new(), has_all };
        Ok((look, memory))
    }
}
