//! One pass.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::error::PassError;
use super::hints::Hints;
use super::launcher::{Launcher, Launches};
use super::report::{self, PassReport};
use super::requests;
use super::settings::Settings;
use crate::booking::{BookOptions, BookingError, Lost, LostReason, book, chunk};
use crate::model::{
    Booked, BookingRequest, Cluster, FrameId, JobId, LayerId, LayerLaunch, LeftOutRow, Plan, Policy, ShowId, Snapshot,
    Timestamp,
};
use crate::placement::plan;
use crate::store::{SnapshotOptions, Store};
use crate::telemetry::labels::{CapTable, CheckoutOutcome};
use crate::telemetry::{Metrics, error_chain};

/// What every pass works with.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) store: Store,
    pub(super) launcher: Launcher,
    pub(super) settings: Settings,
    pub(super) hints: Hints,
    pub(super) metrics: Metrics,
}

/// What came of a plan.
#[derive(Debug, Default)]
struct Outcome {
    booked: Vec<Booked>,
    lost: Vec<Lost>,
    left_out: Vec<LeftOutRow>,
}

impl Turn {
    /// Takes one full look at the farm, books what the plan places and hands it to the launcher.
    /// Chunks that were not begun when `stop` is cancelled are left for the next start.
    pub(super) async fn run(&self, clusters: &[Cluster], stop: &CancellationToken) -> Result<PassReport, PassError> {
        let database_before = self.store.meter().reading();
        let started = Instant::now();
        let mut snapshot = self.store.load_snapshot(clusters, &self.snapshot_options()).await?;
        let snapshot_took = started.elapsed();
        self.metrics.snapshot_read(&snapshot, snapshot_took);

        let policy = self.policy();
        let planning = Instant::now();
        // Planning a big farm takes long enough to hold up launches on a small machine.
        let (mut planned, used) = tokio::task::spawn_blocking(move || (plan(&snapshot, &policy), snapshot))
            .await
            .expect("the planner does not panic, and is not cancelled");
        snapshot = used;
        let plan_took = planning.elapsed();
        self.metrics.planned(&snapshot, &planned, plan_took);

        let booking = Instant::now();
        let placed = planned.placed_frames();
        let Outcome { booked, lost, left_out } =
            if self.settings.is_dry_run { Outcome::default() } else { self.book(&snapshot, &planned, stop).await? };
        snapshot.left_out.extend(left_out);
        report::add_lost(&mut planned, &snapshot, &lost);
        self.metrics.set_waiting(&planned);
        let jobs_booked = self.count(&snapshot, &planned, &booked, &lost);
        Ok(PassReport {
            candidates: snapshot.candidates.len(),
            jobs: snapshot.jobs.len(),
            jobs_booked,
            hosts: snapshot.hosts.len(),
            planned: placed,
            booked: booked.len() as u64,
            lost: lost.iter().fold(BTreeMap::new(), |mut counts, lost| {
                *counts.entry(lost.reason).or_default() += 1;
                counts
            }),
            waiting: report::counts(&planned),
            left_out: snapshot.left_out,
            database: self.store.meter().reading() - database_before,
            snapshot_took,
            plan_took,
            booking_took: booking.elapsed(),
        })
    }

    /// Feeds the metrics that tell shows and clusters apart; returns how many jobs got something.
    fn count(&self, snapshot: &Snapshot, plan: &Plan, booked: &[Booked], lost: &[Lost]) -> usize {
        let mut layers: HashMap<&LayerId, u64> = HashMap::new();
        let mut shows: HashMap<&ShowId, (u64, HashSet<&JobId>)> = HashMap::new();
        for booked in booked {
            *layers.entry(&booked.layer).or_default() += 1;
            let (frames, jobs) = shows.entry(&booked.show).or_default();
            *frames += 1;
            jobs.insert(&booked.job);
        }
        let mut jobs_booked = 0;
        for show in &snapshot.shows {
            if let Some((frames, jobs)) = shows.get(&show.id) {
                self.metrics.frames_dispatched(&show.name, *frames);
                self.metrics.jobs_processed(&show.name, jobs.len() as u64);
                jobs_booked += jobs.len();
            }
        }
        let mut clusters: BTreeMap<usize, u64> = BTreeMap::new();
        let mut checked_out: HashSet<&LayerId> = HashSet::new();
        for placement in &plan.placements {
            let layer = &snapshot.candidates[placement.candidate].layer;
            let frames = layers.get(layer).copied().unwrap_or_default();
            if checked_out.insert(layer) {
                *clusters.entry(placement.cluster).or_default() += frames;
                let outcome = if frames > 0 { CheckoutOutcome::Booked } else { CheckoutOutcome::NoProgress };
                self.metrics.checkout(outcome);
            }
        }
        for (cluster, frames) in clusters {
            self.metrics.pass_dispatched(&snapshot.clusters[cluster], frames);
        }
        for lost in lost {
            self.metrics.booking_lost(lost.reason.as_str());
            let table = match lost.reason {
                LostReason::BurstReached => CapTable::Subscription,
                LostReason::FolderCores | LostReason::FolderGpus => CapTable::FolderResource,
                LostReason::JobCores | LostReason::JobGpus => CapTable::JobResource,
                LostReason::LimitReached => CapTable::LimitRecord,
                _ => continue,
            };
            self.metrics.cap_reached(table);
        }
        jobs_booked
    }

    fn snapshot_options(&self) -> SnapshotOptions {
        let now = Instant::now();
        SnapshotOptions {
            backing_off: self.hints.backing_off(now),
            put_aside: self.hints.put_aside(now),
            ..self.settings.snapshot_options()
        }
    }

    fn policy(&self) -> Policy {
        Policy {
            fractional_cores: self.hints.fractional_cores(self.settings.fractional_cores),
            ..self.settings.policy.clone()
        }
    }

    async fn book(&self, snapshot: &Snapshot, plan: &Plan, stop: &CancellationToken) -> Result<Outcome, PassError> {
        let wanted = requests::wanted(snapshot, plan);
        if wanted.is_empty() {
            return Ok(Outcome::default());
        }
        let layers: Vec<LayerId> = wanted.iter().map(|(layer, _)| layer.clone()).collect();
        let (frames, launches) =
            tokio::try_join!(self.store.load_waiting_frames(&wanted), self.store.load_layer_launches(&layers))?;
        let mut left_out = frames.left_out;
        left_out.extend(launches.left_out);
        let waiting_since: HashMap<FrameId, Timestamp> =
            frames.by_layer.values().flatten().map(|frame| (frame.id.clone(), frame.waiting_since)).collect();
        let requests = requests::build(snapshot, plan, frames.by_layer);
        let launches: Launches = Arc::new(launches.by_layer);
        let requests = self.launchable(requests, &launches, &mut left_out);

        let chunks = chunk(requests, self.settings.chunk_frames_max);
        let chunks = chunks.into_iter().map(|chunk| self.book_chunk(chunk, &launches, stop));
        let mut outcomes = futures::stream::iter(chunks).buffer_unordered(self.settings.chunks_in_flight_max);
        let (mut booked, mut lost, mut failed) = (Vec::new(), Vec::new(), None);
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok((bookings, losses)) => {
                    booked.extend(bookings);
                    lost.extend(losses);
                }
                Err(error) => failed = Some(error),
            }
        }
        for booking in &booked {
            if let Some(since) = waiting_since.get(&booking.frame) {
                let waited = time::OffsetDateTime::now_utc() - *since;
                self.metrics.frame_booked(waited.try_into().unwrap_or_default());
            }
        }
        match failed {
            None => Ok(Outcome { booked, lost, left_out }),
            // What other chunks booked is launched in any case; the next pass sees it.
            Some(error) => Err(error.into()),
        }
    }

    /// Without the frames that no agent could be told to run. A layer of which none is left is held
    /// back, so that its broken frames do not take a place in every plan.
    fn launchable(
        &self,
        requests: Vec<BookingRequest>,
        launches: &HashMap<LayerId, LayerLaunch>,
        left_out: &mut Vec<LeftOutRow>,
    ) -> Vec<BookingRequest> {
        let now = time::OffsetDateTime::now_utc();
        let parted = requests::part(requests, launches, &self.settings.memory_limits, now);
        left_out.extend(parted.left_out);
        for (layer, error) in &parted.broken {
            self.hints.unlaunchable(layer, error, Instant::now());
        }
        parted.launchable
    }

    async fn book_chunk(
        &self,
        requests: Vec<BookingRequest>,
        launches: &Launches,
        stop: &CancellationToken,
    ) -> Result<(Vec<Booked>, Vec<Lost>), BookingError> {
        let room = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok((Vec::new(), Vec::new())),
            room = self.launcher.room_for(requests.len()) => room,
        };
        let options = BookOptions { limit_settle_window: self.settings.limit_settle_window };
        let sent_at = Instant::now();
        match book(&self.store, &requests, &options).await {
            Ok(outcome) => {
                self.metrics.chunk_ended(sent_at.elapsed(), outcome.rolled_back);
                self.launcher.launch(outcome.booked.clone(), launches, sent_at, room);
                Ok((outcome.booked, outcome.lost))
            }
            Err(BookingError::CommitUnknown(unknown)) => {
                self.launcher.resolve(unknown, launches, sent_at);
                Ok((Vec::new(), Vec::new()))
            }
            Err(error @ BookingError::Contended { .. }) => {
                tracing::warn!(error = error_chain(&error), frames = requests.len(), "gave a chunk up for this pass");
                Ok((Vec::new(), Vec::new()))
            }
            Err(error) => Err(error),
        }
    }
}
