//! Passes for a while, of which nothing is written and nothing launched.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::PassError;
use super::hints::Hints;
use super::redirects::RedirectWatch;
use super::remembered::Remembered;
use super::report::PassReport;
use super::service::FRUITLESS_PASSES_MAX;
use super::settings::Settings;
use super::silence::Silence;
use super::turn::{Sink, Turn};
use crate::booking::{LostReason, Refusal};
use crate::clusters;
use crate::config::CuebotSilence;
use crate::db::{ChangeProbe, Store};
use crate::model::{BookingRequest, Cluster, FrameId};
use crate::preview::ReasonRow;
use crate::telemetry::Metrics;

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
#[derive(Clone, Debug, serde::Serialize)]
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

/// A dry run. Cycles follow each other as the service's do.
#[derive(Debug)]
pub struct DryRun {
    turn: Turn,
    preview: Remembered,
    is_verified: bool,
    clusters: Vec<Cluster>,
    clusters_built: Instant,
    last: PassReport,
    cycles: u32,
    planned: u64,
    lost: BTreeMap<LostReason, u64>,
    refused: BTreeMap<FrameId, Refusal>,
    busy: Duration,
    began: Option<Instant>,
    end: Option<DryRunEnd>,
}

impl DryRun {
    /// With `is_verified` each booking transaction goes to the database, and is rolled back.
    #[must_use]
    pub fn new(store: Store, clusters: Vec<Cluster>, settings: Settings, metrics: Metrics, is_verified: bool) -> Self {
        let preview = Remembered::new(is_verified);
        let hints = Hints::new(settings.host_breaker, settings.layer_breaker());
        Self {
            turn: Turn {
                store,
                sink: Sink::Preview(preview.clone()),
                settings,
                hints,
                metrics,
                // It knows nothing of how the hosts report, as the other previews.
                silence: Arc::new(Mutex::new(Silence::new(CuebotSilence::Off))),
                redirects: RedirectWatch::default(),
            },
            preview,
            is_verified,
            clusters,
            clusters_built: Instant::now(),
            last: PassReport::default(),
            cycles: 0,
            planned: 0,
            lost: BTreeMap::new(),
            refused: BTreeMap::new(),
            busy: Duration::ZERO,
            began: None,
            end: None,
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
        self.end = Some(end);
        Ok(end)
    }

    async fn go_on(
        &mut self,
        limits: DryRunLimits,
        stop: &CancellationToken,
        mut on_cycle: impl FnMut(u32, &PassReport),
    ) -> Result<DryRunEnd, PassError> {
        let until = limits.time_max.map(|time| Instant::now() + time);
        let cycles_before = self.cycles;
        let mut fruitless = 0;
        loop {
            // Taken before the snapshot, so that what changes during the cycle shows as a change.
            let before = self.turn.store.probe_change(&self.clusters).await?;
            let began = Instant::now();
            self.cycle(stop).await?;
            on_cycle(self.cycles, &self.last);
            if stop.is_cancelled() {
                return Ok(DryRunEnd::Stopped);
            }
            if limits.cycles_max.is_some_and(|max| self.cycles - cycles_before >= max) {
                return Ok(DryRunEnd::CyclesDone);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(DryRunEnd::TimeUp);
            }
            // Frames that were not found are held back by now, and others have their turn; what was found and
            // lost stays lost.
            let found_none = self.last.came_to_nothing() && self.last.lost.is_empty();
            fruitless = if found_none { fruitless + 1 } else { 0 };
            if self.last.did_something() || (1..FRUITLESS_PASSES_MAX).contains(&fruitless) {
                continue;
            }
            if limits.cycles_max.is_none() && limits.time_max.is_none() {
                return Ok(DryRunEnd::NothingToBook);
            }
            if let Some(end) = self.rest(before, began, until, stop).await? {
                return Ok(end);
            }
        }
    }

    async fn cycle(&mut self, stop: &CancellationToken) -> Result<(), PassError> {
        let began = Instant::now();
        self.began.get_or_insert(began);
        if self.clusters_built.elapsed() >= self.turn.settings.cluster_reload_interval {
            let settings = &self.turn.settings;
            self.clusters = clusters::load(&self.turn.store, &settings.selection, settings.chunk_sizes).await?.clusters;
            self.clusters_built = Instant::now();
        }
        self.last = self.turn.run(&self.clusters, stop).await?;
        self.cycles += 1;
        self.planned += self.last.planned;
        self.busy += began.elapsed();
        for (reason, frames) in &self.last.lost {
            *self.lost.entry(*reason).or_default() += frames;
        }
        for refusal in &self.last.refusals {
            self.refused.insert(refusal.frame.clone(), refusal.clone());
        }
        Ok(())
    }

    /// After a cycle that booked nothing: until something changes, or the longest interval has passed.
    async fn rest(
        &self,
        before: ChangeProbe,
        began: Instant,
        until: Option<Instant>,
        stop: &CancellationToken,
    ) -> Result<Option<DryRunEnd>, PassError> {
        let settings = &self.turn.settings;
        let gap = settings.active_scan_interval.max(settings.cluster_saturated_sleep).max(began.elapsed());
        while began.elapsed() < settings.monitor_interval {
            let time_left = until.map_or(gap, |until| until.saturating_duration_since(Instant::now()));
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Some(DryRunEnd::Stopped)),
                () = tokio::time::sleep(gap.min(time_left)) => {}
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(Some(DryRunEnd::TimeUp));
            }
            if self.turn.store.probe_change(&self.clusters).await? != before {
                break;
            }
        }
        Ok(None)
    }

    /// What would be booked now, in no particular order.
    #[must_use]
    pub fn booked(&self) -> Vec<BookingRequest> {
        self.preview.booked()
    }

    /// The last cycle.
    #[must_use]
    pub const fn last(&self) -> &PassReport {
        &self.last
    }

    #[must_use]
    pub fn summary(&self) -> DryRunSummary {
        let reading = self.preview.reading();
        let busy = self.busy.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for reading")]
        let frames = reading.frames as f64;
        DryRunSummary {
            cycles: self.cycles,
            seconds: self.began.map_or(0.0, |began| began.elapsed().as_secs_f64()),
            busy_seconds: busy,
            is_verified: self.is_verified,
            frames_planned: self.planned,
            frames_booked: reading.frames,
            frames_per_second: if busy > 0.0 { frames / busy } else { 0.0 },
            hosts: self.last.hosts,
            hosts_used: reading.hosts_used,
            hosts_filled: reading.hosts_filled,
            waiting: self
                .last
                .waiting
                .iter()
                .map(|(&reason, count)| ReasonRow { reason, layers: count.layers, frames: count.frames })
                .collect(),
            lost: self.lost.iter().map(|(&reason, &frames)| LostRow { reason, frames }).collect(),
            refused: self.refused.values().cloned().collect(),
            rows_left_out: self.last.left_out.len(),
            end: self.end,
        }
    }
}
