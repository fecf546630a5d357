//! Which placements of a kept plan the live farm has overtaken.

use std::collections::HashMap;

use super::document::{Overtaken, OvertakenCause, PlacementRow, PlanDocument};
use crate::db::{FrameState, Store};
use crate::model::{Candidate, Cluster, FrameId, Host, HostId, HostState, LayerId, Snapshot};
use crate::scheduler::{PassError, Settings};
use crate::units::Amounts;

impl PlanDocument {
    /// Compares every placement with the farm as it is now, and notes what is against it. Nothing is
    /// written. Placements are taken in order, so that each finds what those before it leave of a host.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn compare(&mut self, store: &Store, clusters: &[Cluster], settings: &Settings) -> Result<(), PassError> {
        let snapshot = store.load_snapshot(clusters, &settings.snapshot_options()).await?;
        let planned = self.placements.iter().flat_map(|row| &row.frames).map(|frame| frame.id.clone());
        let states = store.load_frame_states(&planned.collect::<Vec<_>>()).await?;
        let mut live = Live::of(&snapshot, &states);
        for row in &mut self.placements {
            row.overtaken = live.against(row);
        }
        Ok(())
    }
}

/// The farm now, less what the placements so far take.
struct Live<'s> {
    hosts: HashMap<&'s HostId, (&'s Host, Amounts)>,
    /// Waiting layers, and whether their jobs are paused.
    layers: HashMap<&'s LayerId, bool>,
    frames: &'s HashMap<FrameId, FrameState>,
}

impl<'s> Live<'s> {
    fn of(snapshot: &'s Snapshot, frames: &'s HashMap<FrameId, FrameState>) -> Self {
        let layer = |candidate: &'s Candidate| (&candidate.layer, snapshot.jobs[candidate.job].is_paused);
        Self {
            hosts: snapshot.hosts.iter().map(|host| (&host.id, (host, host.idle))).collect(),
            layers: snapshot.candidates.iter().map(layer).collect(),
            frames,
        }
    }

    fn against(&mut self, row: &PlacementRow) -> Vec<Overtaken> {
        let mut found = Vec::new();
        match self.layers.get(&row.work.layer_id) {
            None => found.push(overtaken(OvertakenCause::LayerGone, "the layer waits no more")),
            Some(true) => found.push(overtaken(OvertakenCause::JobPaused, "the job is paused")),
            Some(false) => {}
        }
        found.extend(self.frames_taken(row));
        found.extend(self.host_against(row, found.is_empty()));
        found
    }

    fn frames_taken(&self, row: &PlacementRow) -> Option<Overtaken> {
        let taken = row.frames.iter().filter_map(|frame| match self.frames.get(&frame.id) {
            None => Some(format!("{} is gone", frame.name)),
            Some(now) if now.state != "WAITING" => Some(format!("{} is {}", frame.name, now.state)),
            Some(now) if now.version != frame.version => Some(format!("{} was changed", frame.name)),
            Some(_) => None,
        });
        let taken: Vec<String> = taken.collect();
        let first = taken.first()?;
        let detail = match taken.len() {
            1 => first.clone(),
            more => format!("{first}, and {} more of {} frames", more - 1, row.frames.len()),
        };
        Some(Overtaken { cause: OvertakenCause::FramesTaken, detail })
    }

    fn host_against(&mut self, row: &PlacementRow, is_still_wanted: bool) -> Option<Overtaken> {
        let Some((host, idle)) = self.hosts.get_mut(&row.host_id) else {
            return Some(overtaken(OvertakenCause::HostGone, "the host is gone"));
        };
        if host.state != HostState::Open {
            return Some(Overtaken { cause: OvertakenCause::HostNotOpen, detail: host.state.sentence() });
        }
        let one = row.reserved;
        let before = *idle;
        let fitting = row.frames.iter().take_while(|_| {
            let fits = one.fits_in(idle);
            if fits && is_still_wanted {
                *idle -= one;
            }
            fits
        });
        let fitting = fitting.count();
        (fitting < row.frames.len()).then(|| {
            let Amounts { cores, memory, gpus, .. } = before;
            let detail =
                format!("room for {fitting} of {} frames: {cores} cores, {memory}, {gpus} GPUs idle", row.frames.len());
            Overtaken { cause: OvertakenCause::HostFull, detail }
        })
    }
}

fn overtaken(cause: OvertakenCause, detail: &str) -> Overtaken {
    Overtaken { cause, detail: detail.to_owned() }
}
