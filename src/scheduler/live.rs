//! Bookings that go into the database, and from there to the hosts.

use std::collections::HashMap;
use std::time::Instant;

use async_trait::async_trait;

use super::context::Context;
use super::cycle::{Chunk, Sink, View};
use super::launch::Launcher;
use super::redirects::RedirectWatch;
use super::settings::Settings;
use crate::booking::{self, BookingError, ChunkOutcome, LostReason};
use crate::db::{SnapshotOptions, StoreError};
use crate::model::{Cluster, Holds, LayerId, WaitingFrame};

#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) context: Context,
    pub(super) launcher: Launcher,
    pub(super) redirects: RedirectWatch,
}

#[async_trait]
impl Sink for Live {
    async fn look(&self, clusters: &[Cluster], settings: &Settings) -> Result<View, StoreError> {
        let Context { store, metrics, .. } = &self.context;
        let began = Instant::now();
        // Which hosts are overdue is known better here, host by host.
        let options = SnapshotOptions { staleness: settings.host_staleness_threshold, ..settings.snapshot_options() };
        let snapshot = store.load_snapshot(clusters, &options).await?;
        self.redirects.hasten_for(&snapshot);
        // After the snapshot: they tell of all that it shows as freed.
        let kept = self.redirects.look(store, metrics, began).await?;
        let holds = Holds { launch_room: self.launcher.rooms(&snapshot), ..Holds::default() };
        Ok(View { snapshot, holds, kept })
    }

    fn take_out_booked(&self, frames: &mut HashMap<LayerId, Vec<WaitingFrame>>) -> HashMap<LayerId, u32> {
        self.launcher.without_in_hand(frames)
    }

    async fn book(&self, chunk: Chunk<'_>) -> Result<ChunkOutcome, BookingError> {
        let Chunk { requests, options, launches } = chunk;
        if !self.launcher.has_room() {
            return Ok(ChunkOutcome::left(requests, LostReason::LaunchesWaiting));
        }
        let sent_at = Instant::now();
        let mut outcome = match booking::book(&self.context.store, requests, options).await {
            Ok(outcome) => outcome,
            Err(BookingError::CommitUnknown(unknown)) => {
                self.launcher.resolve(unknown, launches, sent_at);
                return Ok(ChunkOutcome::default());
            }
            Err(error) => return Err(error),
        };
        let took = sent_at.elapsed();
        self.context.hints.chunk_ended(&outcome, took, Instant::now());
        self.context.hints.failing_hosts(|hosts| hosts.booked(&outcome.booked, Instant::now()));
        self.launcher.launch(outcome.booked.clone(), launches, sent_at);
        self.context.metrics.chunk_ended(took, outcome.rolled_back);
        self.count_waits(chunk, &outcome);
        let is_unknown = |error: &mut BookingError| matches!(error, BookingError::CommitUnknown(_));
        if let Some(BookingError::CommitUnknown(unknown)) = outcome.cut_short_by.take_if(is_unknown) {
            self.launcher.resolve(unknown, launches, sent_at);
        }
        Ok(outcome)
    }
}

impl Live {
    /// How long the frames had waited that were booked.
    fn count_waits(&self, chunk: Chunk<'_>, outcome: &ChunkOutcome) {
        let now = self.context.hints.database_now();
        let requests = chunk.requests.iter().map(|request| (&request.frame.id, request.frame.waiting_since));
        let waiting_since: HashMap<_, _> = requests.collect();
        for booked in &outcome.booked {
            let (Some(since), Some(launch)) = (waiting_since.get(&booked.frame), chunk.launches.get(&booked.layer))
            else {
                continue;
            };
            self.context.metrics.frame_booked(&launch.show, (now - *since).try_into().unwrap_or_default());
        }
    }
}
