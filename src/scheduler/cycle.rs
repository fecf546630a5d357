//! One pass: read the farm, plan, read the frames that the plan asks for, and book them in chunks.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::elsewhere::{self, KeepingOff, Paired, Short};
use super::error::PassError;
use super::flags::FlagsSeen;
use super::fruitless::Tried;
use super::hints::Hints;
use super::launch::Launches;
use super::loads::LATELY;
use super::redirects::{self, Kept};
use super::report::{self, PassReport, ReasonRow};
use super::requests::{self, PlacedFrame};
use super::settings::Settings;
use crate::booking::{BookOptions, BookingError, ChunkOutcome, Chunks, Lost};
use crate::db::{Store, StoreError, WantedFrames};
use crate::model::{Booked, BookingRequest, Cluster, Holds, LayerId, LeftOutRow, Plan, Snapshot, WaitingFrame};
use crate::planner::plan;
use crate::telemetry::error_chain;

/// Placements that came short for which one pass reads on.
const SHORTS_MAX: usize = 50;

/// Where the bookings of a pass go. All else is the same in every pass.
#[async_trait]
pub(crate) trait Sink: Debug + Send + Sync {
    /// Reads the farm, and what is promised of it that the rows do not show.
    async fn look(&self, clusters: &[Cluster], settings: &Settings) -> Result<View, StoreError>;

    /// Takes out frames that have gone here already, whatever their rows say. Returns of which layers so
    /// many more are to be asked for another time.
    fn take_out_booked(&self, frames: &mut HashMap<LayerId, Vec<WaitingFrame>>) -> HashMap<LayerId, u32>;

    async fn book(&self, chunk: Chunk<'_>) -> Result<ChunkOutcome, BookingError>;
}

/// The farm as a pass finds it.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) snapshot: Snapshot,
    /// Without the hints, which every pass heeds.
    pub(crate) holds: Holds,
    /// For the destinations of redirects, before anything else is planned.
    pub(crate) kept: Vec<Kept>,
}

/// Requests that are booked in one transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk<'c> {
    pub(crate) requests: &'c [BookingRequest],
    pub(crate) options: &'c BookOptions,
    pub(super) launches: &'c Launches,
}

/// What every pass works with.
#[derive(Clone, Debug)]
pub(crate) struct Cycle {
    pub(crate) store: Store,
    pub(crate) settings: Settings,
    pub(crate) hints: Hints,
    pub(crate) sink: Arc<dyn Sink>,
}

/// A plan, and what it was made of.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) snapshot: Snapshot,
    pub(crate) holds: Holds,
    pub(crate) plan: Plan,
    pub(super) flags: FlagsSeen,
    pub(super) snapshot_took: Duration,
    pub(super) plan_took: Duration,
}

/// What a pass found and planned, and what came of it.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(super) snapshot: Snapshot,
    /// Frames that were lost when they were booked wait in it again.
    pub(super) plan: Plan,
    pub(super) booked: Vec<Booked>,
    pub(super) lost: Vec<Lost>,
    /// Work waits, and some host takes nothing before earlier launches are answered.
    pub(super) waits_for_agents: bool,
    pub(crate) report: PassReport,
}

/// The frames that a plan asks for, as far as they are there.
#[derive(Debug)]
pub(crate) struct Found {
    layers: Vec<LayerId>,
    /// In the order of the plan's placements.
    pub(crate) frames: Vec<PlacedFrame>,
    /// Placements for which too few frames go to their host.
    short: Vec<Short>,
    launches: Launches,
    /// Layers of which another session holds frames.
    locked: HashSet<LayerId>,
    pub(crate) left_out: Vec<LeftOutRow>,
    /// Whether frames were taken out that no agent could be told to run.
    pub(crate) has_unlaunchable: bool,
}

impl Found {
    /// The plan without the frames that keep off the hosts which they were given.
    pub(crate) fn without_short(&self, mut planned: Planned) -> Planned {
        report::add_elsewhere(&mut planned.plan, &planned.snapshot, &self.short);
        planned
    }
}

impl Cycle {
    /// Takes one full look at the farm and hands what the plan places to the sink; `tell` hears of the plan
    /// before that. Chunks that were not begun when `stop` is cancelled are left for the next start.
    pub(crate) async fn pass(
        &self,
        clusters: &[Cluster],
        stop: &CancellationToken,
        tell: impl FnOnce(&Planned),
    ) -> Result<Pass, PassError> {
        let database = self.store.meter().reading();
        let planned = self.plan(clusters).await?;
        tell(&planned);
        let booking = Instant::now();
        let found = self.find_frames(&planned).await?;
        let (planned, found) = self.without_unlaunchable(planned, found).await;
        let Planned { snapshot, holds, mut plan, flags, snapshot_took, plan_took } = planned;
        let Found { layers, frames, short, launches, locked, left_out, .. } = found;
        let elsewhere = report::add_elsewhere(&mut plan, &snapshot, &short);
        let versions = frames.iter().map(|placed| (placed.frame.id.clone(), placed.frame.version)).collect();
        let requests = frames.into_iter().map(|placed| requests::request(&snapshot, &plan, placed)).collect();
        let outcome = self.book(requests, &launches, stop).await;
        if outcome.cut_short_by.is_none() && !stop.is_cancelled() {
            let tried = Tried { layers: &layers, versions: &versions, locked: &locked, elsewhere: &elsewhere };
            self.hints.fruitless(|fruitless| fruitless.judge(&tried, &outcome, Instant::now()));
        }
        let ChunkOutcome { booked, lost, refusals, cut_short_by, .. } = outcome;
        if let Some(error) = cut_short_by {
            // What other chunks booked is launched in any case; the next pass sees it.
            return Err(error.into());
        }
        let (candidates, planned) = (report::candidates(&plan), plan.placed_frames());
        report::add_lost(&mut plan, &snapshot, &lost);
        let waits_for_agents = !plan.waiting.is_empty() && holds.launch_room.values().any(|room| *room == 0);
        let report = PassReport {
            candidates,
            hosts: snapshot.hosts.len(),
            planned,
            booked: booked.len() as u64,
            lost: report::lost_by_reason(&lost),
            refusals,
            waiting: ReasonRow::count(plan.waiting.iter().map(|waiting| (waiting.reason, waiting.frames))),
            left_out: [&snapshot.left_out[..], &left_out].concat(),
            odd_hosts: report::odd_hosts(&snapshot, &holds),
            database: self.store.meter().reading() - database,
            snapshot_took,
            plan_took,
            booking_took: booking.elapsed(),
            shows_off: flags.off,
        };
        Ok(Pass { snapshot, plan, booked, lost, waits_for_agents, report })
    }

    /// Reads the farm, and plans under what is remembered.
    pub(crate) async fn plan(&self, clusters: &[Cluster]) -> Result<Planned, PassError> {
        let started = Instant::now();
        let View { snapshot, mut holds, kept } = self.sink.look(clusters, &self.settings).await?;
        let flags = self.hints.hold(&mut holds, &snapshot, started);
        self.look_at_busy_hosts(&mut holds, &snapshot).await;
        let snapshot_took = started.elapsed();
        let policy = self.settings.policy.clone();
        let planning = Instant::now();
        // Planning a big farm takes long enough to hold up launches on a small machine.
        let decide = move || {
            let (mut placements, laid) = redirects::place(&snapshot, &holds, &kept, &policy);
            let mut plan = plan(&snapshot, &laid, &policy);
            placements.append(&mut plan.placements);
            drop(laid);
            (snapshot, holds, Plan { placements, ..plan })
        };
        let (snapshot, holds, plan) =
            tokio::task::spawn_blocking(decide).await.expect("the planner does not panic, and is not cancelled");
        Ok(Planned { snapshot, holds, plan, flags, snapshot_took, plan_took: planning.elapsed() })
    }

    /// Whether a load is other work depends on what was booked before it was reported. Where that was not watched,
    /// the rows say it; where they cannot be asked, the load counts.
    async fn look_at_busy_hosts(&self, holds: &mut Holds, snapshot: &Snapshot) {
        let unknown = self.hints.loads(|loads| loads.unknown(snapshot, holds));
        if unknown.is_empty() {
            return;
        }
        let booked = self.store.booked_lately(&unknown, LATELY).await.unwrap_or_else(|error| {
            let (hosts, error) = (unknown.len(), error_chain(&error));
            tracing::warn!(target: "scheduler", hosts, error, "could not read what was booked on busy hosts lately");
            HashMap::new()
        });
        self.hints.loads(|loads| {
            loads.learn(&unknown, &booked);
            holds.booked_lately = loads.booked_lately(snapshot);
        });
    }

    /// Reads the frames that a plan asks for, and what it takes to launch them.
    pub(crate) async fn find_frames(&self, planned: &Planned) -> Result<Found, StoreError> {
        let Planned { snapshot, holds, plan, .. } = planned;
        let mut wanted = requests::wanted(snapshot, plan);
        let layers: Vec<LayerId> = wanted.iter().map(|(layer, _)| layer.clone()).collect();
        let assumed = requests::assumed(holds);
        self.hints.fruitless(|fruitless| {
            for (layer, frames) in &mut wanted {
                let others = assumed.get(layer).copied().unwrap_or_default();
                *frames = frames.saturating_add(others).saturating_add(fruitless.additional(layer));
            }
        });
        let wanted = wanted.into_iter().map(|(layer, frames)| WantedFrames { layer, frames, host_name: None });
        let wanted: Vec<WantedFrames> = wanted.collect();
        let failures = self.settings.own_failures();
        let (mut frames, launches) = tokio::try_join!(
            self.store.load_wanted_frames(&wanted, &failures),
            self.store.load_layer_launches(&layers)
        )?;
        let failed = frames.by_layer.values().flatten();
        let failed = failed.filter_map(|frame| Some((frame, frames.failed.get(&frame.id)?)));
        self.hints.failing_hosts(|hosts| {
            failed.for_each(|(frame, run)| hosts.failed(&frame.job, &frame.layer, run, Instant::now()));
        });
        for (layer, booked) in self.sink.take_out_booked(&mut frames.by_layer) {
            *frames.left_out_of_layer.entry(layer).or_default() += booked;
        }
        let now = Instant::now();
        let locked =
            self.hints.fruitless(|fruitless| fruitless.pass_over(&mut frames.by_layer, &frames.left_out_of_layer, now));
        let memory = self.hints.elsewhere(|elsewhere| elsewhere.clone());
        let mut keeping_off = KeepingOff::new((snapshot, plan), &memory, &frames.by_layer, frames.failed, now);
        let mut paired = elsewhere::pair(snapshot, plan, frames.by_layer, &keeping_off);
        if !paired.short.is_empty() {
            self.find_others(planned, &mut paired, &mut keeping_off).await?;
        }
        Ok(Found {
            layers,
            frames: paired.placed,
            short: paired.short,
            launches: Arc::new(launches.by_layer),
            locked,
            left_out: [frames.left_out, launches.left_out].concat(),
            has_unlaunchable: false,
        })
    }

    /// Reads on behind the frames that keep off the hosts which their layer was given. Where no others wait,
    /// the next plans are told.
    async fn find_others(
        &self,
        planned: &Planned,
        paired: &mut Paired,
        keeping_off: &mut KeepingOff<'_>,
    ) -> Result<(), StoreError> {
        let Planned { snapshot, holds, plan, .. } = planned;
        let assumed = requests::assumed(holds);
        let assumed = |layer: &LayerId| assumed.get(layer).copied().unwrap_or_default();
        // The next passes come to the others.
        let asked: Vec<Short> = paired.short.iter().take(SHORTS_MAX).copied().collect();
        let wanted = |short: &Short| {
            let placement = &plan.placements[short.placement];
            let layer = snapshot.candidates[placement.candidate].layer.clone();
            // Frames that are handed out already, or cannot be, come again.
            let others = self.hints.fruitless(|fruitless| fruitless.additional(&layer));
            let host = &snapshot.hosts[placement.host];
            let refused = self.hints.elsewhere(|memory| memory.refused_frames(&host.id));
            let others =
                [paired.placed_of(&layer), assumed(&layer), refused].into_iter().fold(others, u32::saturating_add);
            let host_name = Some(host.name.clone());
            WantedFrames { layer, frames: short.frames.saturating_add(others), host_name }
        };
        let wanted: Vec<WantedFrames> = asked.iter().map(wanted).collect();
        let mut more = self.store.load_wanted_frames(&wanted, &self.settings.own_failures()).await?;
        let now = Instant::now();
        self.sink.take_out_booked(&mut more.by_layer);
        let mut known = paired.frames();
        self.hints.fruitless(|fruitless| {
            for frames in more.by_layer.values_mut() {
                frames.retain(|frame| !fruitless.is_passed_over(frame, now) && known.insert(frame.id.clone()));
            }
        });
        keeping_off.learn(more.failed);
        paired.fill(plan, &mut more.by_layer, keeping_off);
        self.hints.elsewhere(|memory| {
            let was_asked = |short: &&Short| asked.iter().any(|asked| asked.placement == short.placement);
            for short in paired.short.iter().filter(was_asked) {
                let placement = &plan.placements[short.placement];
                let candidate = &snapshot.candidates[placement.candidate];
                let layer = &candidate.layer;
                let left = candidate.waiting_frames.saturating_sub(assumed(layer));
                let left = left.saturating_sub(paired.placed_of(layer));
                let for_time = paired.first_release(layer, placement.host, keeping_off);
                memory.close(layer, &snapshot.hosts[placement.host].id, left, for_time, now);
            }
        });
        Ok(())
    }

    /// Takes out the frames that no agent could be told to run. A layer of which none is left is held back,
    /// so that its broken frames do not take a place in every plan; it is named the first time.
    pub(crate) async fn without_unlaunchable(&self, planned: Planned, mut found: Found) -> (Planned, Found) {
        let factors = self.settings.memory_limits;
        let take_out = move || {
            let (Planned { snapshot, plan, .. }, Found { frames, launches, .. }) = (&planned, &mut found);
            let unlaunchable = requests::take_out_unlaunchable(snapshot, plan, frames, launches, &factors);
            (planned, found, unlaunchable)
        };
        // Twenty thousand messages with long ranges take a while.
        let taken_out = tokio::task::spawn_blocking(take_out).await;
        let (planned, mut found, unlaunchable) = taken_out.expect("it does not panic, and is not cancelled");
        let now = Instant::now();
        self.hints.fruitless(|fruitless| {
            for frame in &unlaunchable.frames {
                fruitless.hopeless(&frame.id, frame.version, now);
            }
        });
        for (layer, error) in &unlaunchable.layers {
            self.hints.breakers(|breakers| breakers.record_unbuildable(layer, error, now));
        }
        found.has_unlaunchable = !unlaunchable.frames.is_empty();
        let launchable = found.frames.iter().map(|placed| &placed.frame.layer);
        let launchable = launchable.filter(|layer| !unlaunchable.problems.contains_key(*layer)).collect::<HashSet<_>>();
        let new = self.hints.seen_unlaunchable(unlaunchable.problems.clone(), launchable.into_iter());
        let row =
            |(layer, problem): (LayerId, String)| LeftOutRow { table: "layer".into(), id: layer.to_string(), problem };
        found.left_out.extend(new.into_iter().map(row));
        (planned, found)
    }

    /// Books in chunks, some at once. An error of one chunk does not keep the others from being booked.
    async fn book(&self, requests: Vec<BookingRequest>, launches: &Launches, stop: &CancellationToken) -> ChunkOutcome {
        let mut chunks = Chunks::of(requests);
        let chunks = std::iter::from_fn(|| {
            // Not all that a transaction may take: what it waits for is not ours to know.
            let time = self.store.lock_budget() * 5 / 8;
            chunks.next(self.hints.chunk_frames(self.settings.booking_chunk_size, time))
        });
        let chunks = chunks.map(|requests| self.book_chunk(requests, launches, stop));
        let mut outcomes = futures::stream::iter(chunks).buffer_unordered(self.settings.booking_chunks_in_flight);
        let mut all = ChunkOutcome::default();
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(chunk) => {
                    all.booked.extend(chunk.booked);
                    all.lost.extend(chunk.lost);
                    all.refusals.extend(chunk.refusals);
                    all.cut_short_by = chunk.cut_short_by.or(all.cut_short_by);
                }
                Err(error) => all.cut_short_by = Some(error),
            }
        }
        all
    }

    async fn book_chunk(
        &self,
        mut requests: Vec<BookingRequest>,
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
        requests.retain(|request| {
            let reason = self.hints.held(&request.host, &request.frame.layer, began);
            held.extend(reason.map(|reason| Lost::new(request, reason)));
            reason.is_none()
        });
        let options = BookOptions {
            limit_settle_window: self.settings.limit_settle_window,
            look_for_held_hosts: self.hints.has_met_held_hosts(began),
            excused_statuses: self.settings.excused_statuses.clone(),
        };
        match self.sink.book(Chunk { requests: &requests, options: &options, launches }).await {
            Err(error @ BookingError::Contended { .. }) => {
                tracing::warn!(error = error_chain(&error), frames = requests.len(), "gave a chunk up for this pass");
                Ok(ChunkOutcome::not_tried(&requests))
            }
            Ok(mut outcome) => {
                outcome.lost.extend(held);
                Ok(outcome)
            }
            Err(error) => Err(error),
        }
    }
}
