//! Passes for a while, of which nothing is written and nothing launched.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::memory::Memory;
use crate::booking::{LostReason, Refusal};
use crate::clusters;
use crate::db::Store;
use crate::model::{BookingRequest, Cluster, FrameId};
use crate::scheduler::{Cycle, End, Event, Pacing, PassError, PassReport, Passed, ReasonRow, Settings, Step};
use crate::tasks::sleep_or_stop;

/// How long a dry run goes on. Without either bound it ends when a cycle books nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct DryRunLimits {
    pub cycles_max: Option<u32>,
    pub time_max: Option<Duration>,
}

/// Why a dry run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DryRunEnd {
    /// There was nothing more to book, and no bound to go on to.
    NothingToBook,
    CyclesDone,
    TimeUp,
    /// It was told to stop.
    Stopped,
}

/// What a dry run came to.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct DryRunSummary {
    pub cycles: u32,
    /// From the first look to the last, rests between cycles included.
    pub seconds: f64,
    /// The cycles alone.
    pub busy_seconds: f64,
    pub is_verified: bool,
    pub frames_planned: u64,
    /// Frames that would have been booked.
    pub frames_booked: u64,
    /// Frames booked per second of the cycles.
    pub frames_per_second: f64,
    /// Of the clusters' facilities, in whatever state.
    pub hosts: usize,
    /// Hosts that would have got frames.
    pub hosts_used: usize,
    /// Those of them without a whole idle core left.
    pub hosts_filled: usize,
    /// What the last cycle left waiting, by reason.
    pub waiting: Vec<ReasonRow>,
    /// Bookings that the database would not have taken, of all cycles, by reason; a frame that is lost
    /// again counts again. Empty unless bookings are verified.
    pub lost: Vec<LostRow>,
    /// Frames that the database refuses to write, each with its last refusal.
    pub refused: Vec<Refusal>,
    /// Rows that the last cycle could not use.
    pub rows_left_out: usize,
    /// Nothing when it broke off.
    pub end: Option<DryRunEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LostRow {
    pub reason: LostReason,
    pub frames: u64,
}

/// A dry run. Cycles follow each other as the service's passes do, without a rest after one that booked.
#[derive(Debug)]
pub struct DryRun {
    cycle: Cycle,
    memory: Memory,
    clusters: Vec<Cluster>,
    clusters_built: Instant,
    last: PassReport,
    lost: BTreeMap<LostReason, u64>,
    refused: BTreeMap<FrameId, Refusal>,
    busy: Duration,
    began: Option<Instant>,
    /// What is simply counted; the rest is filled in when it is asked for.
    summary: DryRunSummary,
}

impl DryRun {
    /// With `is_verified` each booking transaction goes to the database, and is rolled back.
    pub fn new(store: Store, clusters: Vec<Cluster>, settings: Settings, is_verified: bool) -> Self {
        let mut memory = Memory::alone(store, &settings);
        memory.is_verified = is_verified;
        let settings = Settings { empty_job_cycles_before_quiting: None, ..settings };
        Self {
            cycle: memory.cycle(settings),
            memory,
            clusters,
            clusters_built: Instant::now(),
            last: PassReport::default(),
            lost: BTreeMap::new(),
            refused: BTreeMap::new(),
            busy: Duration::ZERO,
            began: None,
            summary: DryRunSummary { is_verified, ..DryRunSummary::default() },
        }
    }

    /// Goes on until a bound is reached or `stop` is cancelled; `on_cycle` hears of every cycle. Called
    /// again it goes on where it was.
    ///
    /// # Errors
    /// When the database cannot be read or, for verified bookings, not be written to. What was done
    /// before is in the summary all the same.
    pub async fn run(
        &mut self,
        limits: DryRunLimits,
        stop: &CancellationToken,
        on_cycle: impl FnMut(u32, &PassReport),
    ) -> Result<DryRunEnd, PassError> {
        let end = self.go_on(limits, stop, on_cycle).await?;
        self.summary.end = Some(end);
        Ok(end)
    }

    async fn go_on(
        &mut self,
        limits: DryRunLimits,
        stop: &CancellationToken,
        mut on_cycle: impl FnMut(u32, &PassReport),
    ) -> Result<DryRunEnd, PassError> {
        let until = limits.time_max.map(|time| Instant::now() + time);
        let is_over = || until.is_some_and(|until| Instant::now() >= until);
        let cycles_before = self.summary.cycles;
        let mut pacing = Pacing::new(&self.cycle.settings, Instant::now());
        loop {
            // Taken before the snapshot, so that what changes during the cycle shows as a change.
            let before = self.cycle.store.probe_change(&self.clusters).await?;
            let event = self.pass(stop).await?;
            on_cycle(self.summary.cycles, &self.last);
            if stop.is_cancelled() {
                return Ok(DryRunEnd::Stopped);
            }
            if limits.cycles_max.is_some_and(|max| self.summary.cycles - cycles_before >= max) {
                return Ok(DryRunEnd::CyclesDone);
            }
            if is_over() {
                return Ok(DryRunEnd::TimeUp);
            }
            let mut step = pacing.next(event, Instant::now());
            while let Step::Pass(rest) | Step::Probe(rest) = step
                && self.last.booked == 0
                && rest > Duration::ZERO
            {
                if limits.cycles_max.is_none() && until.is_none() {
                    return Ok(DryRunEnd::NothingToBook);
                }
                let time_left = until.map_or(rest, |until| until.saturating_duration_since(Instant::now()));
                if !sleep_or_stop(rest.min(time_left), stop).await {
                    return Ok(DryRunEnd::Stopped);
                }
                if is_over() {
                    return Ok(DryRunEnd::TimeUp);
                }
                let Step::Probe(_) = step else { break };
                let has_changed = self.cycle.store.probe_change(&self.clusters).await? != before;
                step = pacing.next(Event::Probed { has_changed }, Instant::now());
            }
        }
    }

    async fn pass(&mut self, stop: &CancellationToken) -> Result<Event, PassError> {
        let began = Instant::now();
        self.began.get_or_insert(began);
        let Cycle { store, settings, .. } = &self.cycle;
        if self.clusters_built.elapsed() >= settings.cluster_reload_interval {
            self.clusters = clusters::load(store, &settings.selection, settings.chunk_sizes).await?.clusters;
            self.clusters_built = Instant::now();
        }
        self.last = self.cycle.pass(&self.clusters, stop, |_| {}).await?.report;
        self.summary.cycles += 1;
        self.summary.frames_planned += self.last.planned;
        self.busy += began.elapsed();
        for (reason, frames) in &self.last.lost {
            *self.lost.entry(*reason).or_default() += frames;
        }
        self.refused.extend(self.last.refusals.iter().map(|refusal| (refusal.frame.clone(), refusal.clone())));
        // Frames that were not found are held back by now, and others are asked for; what was found and lost
        // stays lost.
        let end = match End::of(&self.last) {
            End::Fruitless if !self.last.lost.is_empty() => End::Saturated,
            end => end,
        };
        Ok(Event::Passed(Passed { began, end, released_at: None, is_probed: true }))
    }

    /// What would be booked now, in no particular order.
    pub fn booked(&self) -> Vec<BookingRequest> {
        self.memory.ledger.lock().booked.values().cloned().collect()
    }

    /// The last cycle.
    pub const fn last(&self) -> &PassReport {
        &self.last
    }

    pub fn summary(&self) -> DryRunSummary {
        let reading = self.memory.ledger.lock().reading();
        let busy = self.busy.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for reading")]
        let frames = reading.frames as f64;
        DryRunSummary {
            seconds: self.began.map_or(0.0, |began| began.elapsed().as_secs_f64()),
            busy_seconds: busy,
            frames_booked: reading.frames,
            frames_per_second: if busy > 0.0 { frames / busy } else { 0.0 },
            hosts: self.last.hosts,
            hosts_used: reading.hosts_used,
            hosts_filled: reading.hosts_filled,
            waiting: self.last.waiting.values().copied().collect(),
            lost: self.lost.iter().map(|(&reason, &frames)| LostRow { reason, frames }).collect(),
            refused: self.refused.values().cloned().collect(),
            rows_left_out: self.last.left_out.len(),
            ..self.summary.clone()
        }
    }
}
