//! One pass.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::error::PassError;
use super::fruitless::Fate;
use super::hints::Hints;
use super::launch::{Launcher, Launches};
use super::look::correct_counts;
use super::redirects::{self, RedirectWatch};
use super::remembered::Remembered;
use super::report::{self, PassReport};
use super::requests;
use super::settings::Settings;
use super::silence::Silence;
use crate::booking::{Blame, BookOptions, BookingError, ChunkOutcome, Chunks, Lost, LostReason, Refusal, book};
use crate::config::FlagOff;
use crate::db::{SnapshotOptions, Store};
use crate::model::{
    Booked, BookingRequest, Cluster, ClusterIx, FrameId, Holds, HostId, JobId, LayerId, LeftOutRow, Plan, ShowId,
    Snapshot, Timestamp,
};
use crate::planner::plan;
use crate::telemetry::labels::{CapTable, CheckoutOutcome};
use crate::telemetry::{Metrics, error_chain};

/// What every pass works with.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) store: Store,
    pub(super) sink: Sink,
    pub(super) settings: Settings,
    pub(super) hints: Hints,
    pub(super) metrics: Metrics,
    pub(super) silence: Arc<Mutex<Silence>>,
    pub(super) redirects: RedirectWatch,
}

/// Where the bookings of a pass go. All before that is the same.
#[derive(Clone, Debug)]
pub(super) enum Sink {
    /// Into the database, and from there to the hosts.
    Booking(Launcher),
    /// Into memory.
    Preview(Remembered),
}

/// What came of a plan.
#[derive(Debug, Default)]
struct Outcome {
    booked: Vec<Booked>,
    lost: Vec<Lost>,
    refusals: Vec<Refusal>,
    left_out: Vec<LeftOutRow>,
}

impl Turn {
    /// Takes one full look at the farm and hands what the plan places to the sink.
    /// Chunks that were not begun when `stop` is cancelled are left for the next start.
    pub(super) async fn run(&self, clusters: &[Cluster], stop: &CancellationToken) -> Result<PassReport, PassError> {
        let database_before = self.store.meter().reading();
        let started = Instant::now();
        let mut holds = self.held(started);
        let mut snapshot = self.look(clusters, &holds).await?;
        holds.overdue = self.overdue(&snapshot);
        let (shows_off, taken_back) = self.look_at_flags(&snapshot);
        holds.taken_back = taken_back;
        let kept = match self.sink {
            // After the snapshot: they tell of all that it shows as freed.
            Sink::Booking(_) => self.redirects.look(&self.store, &self.metrics, started).await?,
            Sink::Preview(_) => Vec::new(),
        };
        self.redirects.set_something_waits(!snapshot.candidates.is_empty());
        let snapshot_took = started.elapsed();
        self.metrics.snapshot_read(&snapshot, &holds, snapshot_took);

        let policy = self.settings.policy.clone();
        let planning = Instant::now();
        // Planning a big farm takes long enough to hold up launches on a small machine.
        let plan = move || {
            let mut redirected = redirects::place(&mut snapshot, &kept, &holds, &policy);
            let mut planned = plan(&snapshot, &holds, &policy);
            redirected.append(&mut planned.placements);
            planned.placements = redirected;
            (planned, snapshot)
        };
        let (mut planned, mut snapshot) =
            tokio::task::spawn_blocking(plan).await.expect("the planner does not panic, and is not cancelled");
        let plan_took = planning.elapsed();
        self.metrics.planned(&snapshot, &planned, plan_took);

        let booking = Instant::now();
        let placed = planned.placed_frames();
        let Outcome { booked, lost, refusals, left_out } = self.book(&snapshot, &planned, stop).await?;
        snapshot.left_out.extend(left_out);
        report::add_lost(&mut planned, &snapshot, &lost);
        self.metrics.set_waiting(&planned);
        if let Sink::Booking(_) = self.sink {
            self.count(&snapshot, &planned, &booked, &lost);
        }
        Ok(PassReport {
            candidates: snapshot.candidates.len(),
            jobs: snapshot.jobs.len(),
            jobs_booked: booked.iter().map(|booked| &booked.job).collect::<HashSet<_>>().len(),
            hosts: snapshot.hosts.len(),
            planned: placed,
            booked: booked.len() as u64,
            lost: lost.iter().fold(BTreeMap::new(), |mut counts, lost| {
                *counts.entry(lost.reason).or_default() += 1;
                counts
            }),
            refusals,
            waiting: report::counts(&planned),
            left_out: snapshot.left_out,
            database: self.store.meter().reading() - database_before,
            snapshot_took,
            plan_took,
            booking_took: booking.elapsed(),
            shows_off,
        })
    }

    /// What is remembered of failures and refusals.
    fn held(&self, now: Instant) -> Holds {
        Holds {
            put_aside: self.hints.put_aside(now),
            fractions: if self.settings.learns_fractions { self.hints.fractions() } else { BTreeMap::new() },
            backing_off: self.hints.backing_off(now),
            on_probation: self.hints.on_probation(now),
            ..Holds::default()
        }
    }

    /// The farm as it is, or as a preview would have left it.
    async fn look(&self, clusters: &[Cluster], holds: &Holds) -> Result<Snapshot, PassError> {
        let options = self.snapshot_options();
        let Sink::Preview(preview) = &self.sink else {
            return Ok(self.store.load_snapshot(clusters, &options).await?);
        };
        preview.forget_overtaken(&self.store).await?;
        let mut snapshot = self.store.load_snapshot(clusters, &options).await?;
        // Nothing came of them: perhaps only a counter knows of their frames.
        let doubted = snapshot.candidates.iter().filter(|candidate| holds.backing_off.contains(&candidate.layer));
        let doubted: Vec<JobId> = doubted.map(|candidate| snapshot.jobs[candidate.job].id.clone()).collect();
        if !doubted.is_empty() {
            correct_counts(&mut snapshot, &self.store.load_waiting_counts(&doubted).await?);
        }
        preview.lay_over(&mut snapshot);
        Ok(snapshot)
    }

    /// Names of shows whose flag was switched off while we run, and those that every Cuebot knows of by now:
    /// they are not ours any more.
    fn look_at_flags(&self, snapshot: &Snapshot) -> (Vec<String>, BTreeSet<ShowId>) {
        let left_after = self.settings.flag_off_after;
        let seen = self.hints.flags(&snapshot.shows, left_after, Instant::now());
        for show in &seen.switched_off {
            self.metrics.flag_switched_off(show);
            let then = match self.settings.flag_off {
                FlagOff::Stop => format!("it is booked for {left_after:?} more, until every Cuebot knows"),
                FlagOff::Keep => "it is booked all the same (scheduler.flag_off)".to_owned(),
            };
            tracing::error!(target: "scheduler", show, "the scheduler flag of a show was switched off: Cuebot books it too; {then}");
        }
        for show in &seen.switched_on {
            tracing::info!(target: "scheduler", show, "the scheduler flag of a show is on again");
        }
        let taken_back = match self.settings.flag_off {
            FlagOff::Stop => seen.taken_back.into_iter().collect(),
            FlagOff::Keep => BTreeSet::new(),
        };
        (seen.off, taken_back)
    }

    /// Hosts whose reports are overdue.
    fn overdue(&self, snapshot: &Snapshot) -> BTreeMap<HostId, i64> {
        let now = snapshot.taken_at;
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        silence.look(now, snapshot.hosts.iter().map(|host| (&host.id, host.reported_at)));
        let overdue = snapshot.hosts.iter().filter(|host| silence.is_overdue(&host.id, host.reported_at, now));
        overdue.map(|host| (host.id.clone(), (now - host.reported_at).whole_seconds())).collect()
    }

    /// Feeds the metrics that tell shows and clusters apart.
    fn count(&self, snapshot: &Snapshot, plan: &Plan, booked: &[Booked], lost: &[Lost]) {
        let mut layers: HashMap<&LayerId, u64> = HashMap::new();
        let mut shows: HashMap<&ShowId, (u64, HashSet<&JobId>)> = HashMap::new();
        for booked in booked {
            *layers.entry(&booked.layer).or_default() += 1;
            let (frames, jobs) = shows.entry(&booked.show).or_default();
            *frames += 1;
            jobs.insert(&booked.job);
        }
        for show in &snapshot.shows {
            if let Some((frames, jobs)) = shows.get(&show.id) {
                self.metrics.frames_dispatched(&show.name, *frames);
                self.metrics.jobs_processed(&show.name, jobs.len() as u64);
            }
        }
        let mut clusters: BTreeMap<ClusterIx, u64> = BTreeMap::new();
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
    }

    fn snapshot_options(&self) -> SnapshotOptions {
        let mut options = self.settings.snapshot_options();
        if let Sink::Booking(_) = self.sink {
            // What is overdue is known better here, host by host.
            options.staleness = self.settings.host_staleness;
        }
        options
    }

    async fn book(&self, snapshot: &Snapshot, plan: &Plan, stop: &CancellationToken) -> Result<Outcome, PassError> {
        let mut wanted = requests::wanted(snapshot, plan);
        if wanted.is_empty() {
            return Ok(Outcome::default());
        }
        let layers: Vec<LayerId> = wanted.iter().map(|(layer, _)| layer.clone()).collect();
        if let Sink::Preview(preview) = &self.sink {
            preview.widen(&mut wanted);
        }
        self.hints.fruitless(|fruitless| {
            for (layer, frames) in &mut wanted {
                *frames = frames.saturating_add(fruitless.additional(layer));
            }
        });
        let (mut frames, launches) =
            tokio::try_join!(self.store.load_waiting_frames(&wanted), self.store.load_layer_launches(&layers))?;
        if let Sink::Preview(preview) = &self.sink {
            preview.drop_booked(&mut frames.by_layer);
        }
        if let Sink::Booking(launcher) = &self.sink {
            for (layer, in_hand) in launcher.without_in_hand(&mut frames.by_layer) {
                *frames.left_out_of_layer.entry(layer).or_default() += in_hand;
            }
        }
        let now = Instant::now();
        let locked =
            self.hints.fruitless(|fruitless| fruitless.pass_over(&mut frames.by_layer, &frames.left_out_of_layer, now));
        let mut left_out = frames.left_out;
        left_out.extend(launches.left_out);
        let asked: HashMap<FrameId, (i32, Timestamp)> = (frames.by_layer.values().flatten())
            .map(|frame| (frame.id.clone(), (frame.version, frame.waiting_since)))
            .collect();
        let requests = requests::build(snapshot, plan, frames.by_layer);
        let launches: Launches = Arc::new(launches.by_layer);
        let requests = self.launchable(requests, &launches, &asked, &mut left_out).await;

        let mut chunks = Chunks::of(requests);
        let chunks = std::iter::from_fn(|| {
            // Not all that a transaction may take: what it waits for is not ours to know.
            let time = self.store.lock_budget() * 5 / 8;
            chunks.next(self.hints.chunk_frames(self.settings.chunk_frames_max, time))
        });
        let chunks = chunks.map(|chunk| self.book_chunk(chunk, &launches, stop));
        let mut outcomes = futures::stream::iter(chunks).buffer_unordered(self.settings.chunks_in_flight_max);
        let (mut all, mut failed) = (Outcome { left_out, ..Outcome::default() }, None);
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(chunk) => {
                    all.booked.extend(chunk.booked);
                    all.lost.extend(chunk.lost);
                    all.refusals.extend(chunk.refusals);
                    failed = chunk.cut_short_by.or(failed);
                }
                Err(error) => failed = Some(error),
            }
        }
        let committed = if let Sink::Booking(_) = self.sink { &all.booked[..] } else { &[] };
        for booking in committed {
            if let Some((_, since)) = asked.get(&booking.frame) {
                let waited = time::OffsetDateTime::now_utc() - *since;
                self.metrics.frame_booked(waited.try_into().unwrap_or_default());
            }
        }
        if failed.is_none() && !stop.is_cancelled() {
            self.judge(&layers, &all, &asked, &locked);
        }
        match failed {
            None => Ok(all),
            // What other chunks booked is launched in any case; the next pass sees it.
            Some(error) => Err(error.into()),
        }
    }

    /// Without the frames that no agent could be told to run. A layer of which none is left is held
    /// back, so that its broken frames do not take a place in every plan.
    async fn launchable(
        &self,
        requests: Vec<BookingRequest>,
        launches: &Launches,
        asked: &HashMap<FrameId, (i32, Timestamp)>,
        left_out: &mut Vec<LeftOutRow>,
    ) -> Vec<BookingRequest> {
        let (launches, factors) = (Arc::clone(launches), self.settings.memory_limits);
        let part = move || requests::part(requests, &launches, &factors, time::OffsetDateTime::now_utc());
        // Twenty thousand messages with long ranges take a while.
        let parted = tokio::task::spawn_blocking(part).await.expect("it does not panic, and is not cancelled");
        let now = Instant::now();
        self.hints.fruitless(|fruitless| {
            for row in &parted.left_out {
                let frame = FrameId::from(row.id.as_str());
                if let Some((version, _)) = asked.get(&frame) {
                    fruitless.hopeless(&frame, *version, now);
                }
            }
        });
        left_out.extend(parted.left_out);
        for (layer, error) in &parted.broken {
            self.hints.unlaunchable(layer, error, now);
        }
        parted.launchable
    }

    /// Remembers what came to nothing: frames that nobody can book, layers of which nothing was booked.
    /// The reason decides whose it is: a lock is nobody's fault, a host's refusal is not the frame's.
    fn judge(
        &self,
        layers: &[LayerId],
        outcome: &Outcome,
        asked: &HashMap<FrameId, (i32, Timestamp)>,
        locked: &HashSet<LayerId>,
    ) {
        let now = Instant::now();
        let of_frame: HashMap<&FrameId, Blame> =
            outcome.refusals.iter().map(|refusal| (&refusal.frame, refusal.blames)).collect();
        let mut fates: HashMap<&LayerId, Fate> = layers
            .iter()
            .map(|layer| (layer, if locked.contains(layer) { Fate::Locked } else { Fate::Nothing }))
            .collect();
        self.hints.fruitless(|fruitless| {
            for lost in &outcome.lost {
                let Some((version, _)) = asked.get(&lost.frame) else { continue };
                match lost.reason {
                    LostReason::Refused if of_frame.get(&lost.frame) == Some(&Blame::Frame) => {
                        fruitless.hopeless(&lost.frame, *version, now);
                    }
                    LostReason::NothingReserved => fruitless.hopeless(&lost.frame, *version, now),
                    LostReason::FrameTaken => fruitless.taken(&lost.frame, *version, now),
                    LostReason::FrameLocked => {
                        fruitless.locked(&lost.frame, *version, now);
                        fates.insert(&lost.layer, Fate::Locked);
                    }
                    LostReason::Refused if of_frame.get(&lost.frame) == Some(&Blame::Layer) => {
                        fruitless.relieve(&lost.frame);
                    }
                    // Somebody else was faster, or holds a row; the next snapshot knows.
                    _ => {
                        fruitless.relieve(&lost.frame);
                        fates.insert(&lost.layer, Fate::Excused);
                    }
                }
            }
            for booked in &outcome.booked {
                fates.insert(&booked.layer, Fate::Booked);
            }
            fruitless.judge(fates.into_iter(), now);
        });
    }

    async fn book_chunk(
        &self,
        requests: Vec<BookingRequest>,
        launches: &Launches,
        stop: &CancellationToken,
    ) -> Result<ChunkOutcome, BookingError> {
        if stop.is_cancelled() {
            return Ok(ChunkOutcome::default());
        }
        if self.hints.is_silence() {
            // Cuebot fell silent during the pass: what is booked now would be taken back unsent.
            return Ok(ChunkOutcome::not_tried(&requests));
        }
        let began = Instant::now();
        let mut held = Vec::new();
        let mut is_free = |request: &BookingRequest| {
            let reason = self.hints.held(&request.host, &request.frame.layer, began);
            held.extend(reason.map(|reason| Lost::new(request, reason)));
            reason.is_none()
        };
        let requests: Vec<BookingRequest> = requests.into_iter().filter(&mut is_free).collect();
        let frames = requests.len();
        let contended = ChunkOutcome::not_tried(&requests);
        let options = BookOptions {
            limit_settle_window: self.settings.limit_settle_window,
            look_for_held_hosts: self.hints.has_met_held_hosts(began),
        };
        let booked = match &self.sink {
            Sink::Booking(launcher) => self.book_and_launch(launcher, &requests, &options, launches, stop).await,
            Sink::Preview(preview) => preview.book(&self.store, requests, &options).await,
        };
        match booked {
            Err(error @ BookingError::Contended { .. }) => {
                tracing::warn!(error = error_chain(&error), frames, "gave a chunk up for this pass");
                Ok(contended)
            }
            Ok(mut outcome) => {
                outcome.lost.extend(held);
                Ok(outcome)
            }
            Err(error) => Err(error),
        }
    }

    async fn book_and_launch(
        &self,
        launcher: &Launcher,
        requests: &[BookingRequest],
        options: &BookOptions,
        launches: &Launches,
        stop: &CancellationToken,
    ) -> Result<ChunkOutcome, BookingError> {
        let room = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(ChunkOutcome::default()),
            room = launcher.room_for(requests.len()) => room,
        };
        let sent_at = Instant::now();
        match book(&self.store, requests, options).await {
            Ok(mut outcome) => {
                let took = sent_at.elapsed();
                self.metrics.chunk_ended(took, outcome.rolled_back);
                self.hints.chunk_ended(&outcome, took, Instant::now());
                launcher.launch(outcome.booked.clone(), launches, sent_at, room);
                if let Some(BookingError::CommitUnknown(unknown)) =
                    outcome.cut_short_by.take_if(|error| matches!(error, BookingError::CommitUnknown(_)))
                {
                    launcher.resolve(unknown, launches, sent_at);
                }
                Ok(outcome)
            }
            Err(BookingError::CommitUnknown(unknown)) => {
                launcher.resolve(unknown, launches, sent_at);
                Ok(ChunkOutcome::default())
            }
            Err(error) => Err(error),
        }
    }
}
