//! Our transactions, as the service makes them: bookings with their last look and their take-backs, what is
//! given back after a silence, and repairs.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cue_scheduler::booking::{
    BookOptions, BookingError, Fence, RepairScope, Repairs, SilenceEnds, SilentBooking, Standing, UnbookCause, book,
    find_overtaken, find_silent, unbook_fenced,
};
use cue_scheduler::db::{ReleaseNotice, Releases, Store};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::Seeded;
use cue_scheduler::model::{AllocId, Booked, BookingRequest, FolderId, HostId, JobId, LayerId, ShowId};
use cue_scheduler::units::{Amounts, Cores, Gpus, Kib};
use rand::rngs::StdRng;
use rand::seq::{IteratorRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ground::Ground;

/// From commit to launch at most.
const LAUNCH_AFTER_MAX_MICROS: u64 = 30_000;
/// What a repair takes for over.
const APART: Duration = Duration::from_millis(500);
/// Between a look and what it leads to at most, so that something comes in between.
const JUDGE_AFTER_MAX_MICROS: u64 = 60_000;

/// What a layer's frames reserve, and whose they are.
#[derive(Clone)]
struct Layer {
    id: LayerId,
    job: JobId,
    show: ShowId,
    reservation: Amounts,
}

/// An open host as a plan saw it.
struct Host {
    id: HostId,
    name: String,
    alloc: AllocId,
    idle: Amounts,
}

impl Host {
    fn of(row: &PgRow) -> Self {
        Self {
            id: row.get::<String, _>(0).into(),
            name: row.get(1),
            alloc: row.get::<String, _>(2).into(),
            idle: amounts(row, 3),
        }
    }
}

/// Four columns.
fn amounts(row: &PgRow, from: usize) -> Amounts {
    Amounts {
        cores: Cores(row.get(from)),
        memory: Kib(row.get(from + 1)),
        gpus: Gpus(row.get(from + 2)),
        gpu_memory: Kib(row.get(from + 3)),
    }
}

/// One scheduler of a round.
pub(super) struct Scheduler {
    store: Store,
    ground: Arc<Ground>,
    random: StdRng,
    name: String,
    layers: Vec<Layer>,
    shows: Vec<ShowId>,
}

/// Committed and not launched yet.
struct Waiting {
    booked: Booked,
    launch_at: Instant,
}

impl Scheduler {
    pub(super) async fn new(store: &Store, ground: &Arc<Ground>, seeded: &Seeded, name: &str, number: u64) -> Self {
        let ours = our_shows(seeded);
        let sql =
            "SELECT pk_layer, j.pk_job, pk_show, int_cores_min::int8, int_mem_min, int_gpus_min::int8, int_gpu_mem_min
            FROM layer JOIN job j USING (pk_job) ORDER BY pk_layer";
        let layers = sqlx::query(sql).fetch_all(store.pool()).await.unwrap();
        let layers = layers.iter().map(|row| Layer {
            id: row.get::<String, _>(0).into(),
            job: row.get::<String, _>(1).into(),
            show: row.get::<String, _>(2).into(),
            reservation: amounts(row, 3),
        });
        Self {
            store: store.clone(),
            ground: Arc::clone(ground),
            random: StdRng::seed_from_u64(ground.seed.wrapping_mul(1_013).wrapping_add(number)),
            name: format!("{name} {number}"),
            layers: layers.filter(|layer| ours.contains(&layer.show)).collect(),
            shows: ours,
        }
    }

    /// Books and launches so many times, and then launches or takes back what is left.
    pub(super) async fn book(mut self, times: u32) {
        let mut waiting = Vec::new();
        for _ in 0..times {
            let requests = self.requests().await;
            let booked = self.book_chunk(&requests).await;
            let launch_at = |random: &mut StdRng| {
                Instant::now() + Duration::from_micros(random.random_range(0..LAUNCH_AFTER_MAX_MICROS))
            };
            waiting.extend(booked.into_iter().map(|booked| Waiting { booked, launch_at: launch_at(&mut self.random) }));
            let now = Instant::now();
            let due: Vec<Waiting> = waiting.extract_if(.., |waiting| waiting.launch_at <= now).collect();
            self.launch(due).await;
            tokio::time::sleep(Duration::from_micros(self.random.random_range(0..8_000))).await;
        }
        self.launch(waiting).await;
    }

    /// A chunk as a plan asks for it: by what was free and open a while ago. Now and then it is wrong.
    async fn requests(&mut self) -> Vec<BookingRequest> {
        let hosts = "SELECT pk_host, str_name, pk_alloc, int_cores_idle::int8, int_mem_idle, int_gpus_idle::int8, int_gpu_mem_idle
            FROM host WHERE str_lock_state = 'OPEN' ORDER BY pk_host";
        let hosts = sqlx::query(hosts).fetch_all(self.store.pool()).await.unwrap();
        let mut hosts: Vec<Host> = hosts.iter().map(Host::of).collect();
        let open = "SELECT pk_job FROM job WHERE str_state = 'PENDING' AND NOT b_paused AND b_auto_book";
        let open: Vec<String> = sqlx::query_scalar(open).fetch_all(self.store.pool()).await.unwrap();
        tokio::time::sleep(Duration::from_micros(self.random.random_range(0..4_000))).await;
        let many = self.random.random_range(1..=6);
        let layers = self.layers.iter().filter(|layer| open.iter().any(|job| *job == layer.job.as_str()));
        let layers: Vec<Layer> = layers.sample(&mut self.random, many).into_iter().cloned().collect();
        let wanted: Vec<(LayerId, u32)> =
            layers.iter().map(|layer| (layer.id.clone(), self.random.random_range(1..=5))).collect();
        let waiting = self.store.load_waiting_frames(&wanted).await.unwrap();
        let mut frames: Vec<_> = waiting.by_layer.into_values().flatten().collect();
        frames.sort_by(|a, b| a.id.cmp(&b.id));
        frames.shuffle(&mut self.random);
        let mut requests = Vec::new();
        for frame in frames {
            let Some(layer) = layers.iter().find(|layer| layer.id == frame.layer) else { continue };
            let is_wrong = self.random.random_bool(0.1);
            let fitting = hosts.iter_mut().filter(|host| is_wrong || layer.reservation.fits_in(&host.idle));
            let Some(host) = fitting.choose(&mut self.random) else { continue };
            host.idle -= layer.reservation;
            requests.push(BookingRequest {
                proc: Uuid::from_u128(self.random.random()).to_string().into(),
                host: host.id.clone(),
                host_name: host.name.clone(),
                alloc: host.alloc.clone(),
                show: layer.show.clone(),
                // Where a job belongs is looked up when it is written.
                folder: FolderId::new(""),
                reservation: layer.reservation,
                limits: Vec::new(),
                frame,
            });
        }
        requests
    }

    async fn book_chunk(&mut self, requests: &[BookingRequest]) -> Vec<Booked> {
        match book(&self.store, requests, &BookOptions::default()).await {
            Ok(outcome) => {
                let reasons = outcome.lost.iter().fold(BTreeMap::new(), |mut reasons, lost| {
                    *reasons.entry(lost.reason.as_str()).or_insert(0) += 1;
                    reasons
                });
                for refusal in &outcome.refusals {
                    self.ground.fault(format!("the database refused a booking of ours: {refusal:?}"));
                }
                for booked in &outcome.booked {
                    let request = requests.iter().find(|request| request.proc == booked.proc).unwrap();
                    if booked.version != request.frame.version + 1 {
                        self.ground.fault(format!("a frame was booked that had changed: {request:?}, {booked:?}"));
                    }
                }
                if let Some(error) = &outcome.cut_short_by {
                    self.trouble(error);
                }
                let came = format!(
                    "{} of {}, lost {reasons:?}, halved {}: {}",
                    outcome.booked.len(),
                    requests.len(),
                    outcome.halved,
                    named(outcome.booked.iter())
                );
                self.ground.acted(&self.name, "our-booking", &came);
                self.ground.tally(|tally| {
                    tally.bookings += outcome.booked.len() as u64;
                    for lost in &outcome.lost {
                        *tally.not_booked.entry(lost.reason.as_str()).or_default() += 1;
                    }
                });
                outcome.booked
            }
            Err(error) => {
                self.trouble(&error);
                Vec::new()
            }
        }
    }

    /// Waiting too long is no fault, everything else is.
    fn trouble(&self, error: &BookingError) {
        if matches!(error, BookingError::Contended { .. }) {
            self.ground.note(&self.name, &format!("{error}"));
        } else {
            self.ground.fault(format!("{}: {error}: {:?}", self.name, std::error::Error::source(error)));
        }
    }

    /// The last look, and what it leads to. Some hosts refuse.
    async fn launch(&mut self, waiting: Vec<Waiting>) {
        if waiting.is_empty() {
            return;
        }
        let bookings: Vec<&Booked> = waiting.iter().map(|waiting| &waiting.booked).collect();
        let gone = self.gone(&bookings).await;
        let overtaken = find_overtaken(&self.store, &bookings).await.unwrap();
        let (mut refused, mut may_not_start) = (Vec::new(), Vec::new());
        for Waiting { booked, .. } in waiting {
            match overtaken.get(&booked.proc).copied().unwrap_or(Standing::Stands) {
                Standing::Gone | Standing::Succeeded => {}
                Standing::MayNotStart => may_not_start.push(booked),
                Standing::Stands if gone.contains(booked.proc.as_str()) => {
                    self.ground.fault(format!("what was gone before was about to be launched: {booked:?}"));
                }
                Standing::Stands if self.random.random_bool(0.25) => refused.push(booked),
                Standing::Stands => self.ground.tally(|tally| tally.launches += 1),
            }
        }
        for (bookings, cause) in [(refused, UnbookCause::LaunchRefused), (may_not_start, UnbookCause::MayNotStart)] {
            self.take_back(bookings.into_iter().map(|booked| (booked, Fence::Version)).collect(), cause).await;
        }
    }

    /// Bookings that have ended for good: nothing brings back a version of a frame, nor a job.
    async fn gone(&self, bookings: &[&Booked]) -> HashSet<String> {
        let sql = "SELECT asked.proc FROM unnest($1::text[], $2::text[], $3::int4[]) AS asked (proc, frame, version)
            WHERE NOT EXISTS (
                SELECT FROM proc JOIN frame USING (pk_frame) JOIN job ON job.pk_job = frame.pk_job
                WHERE pk_proc = asked.proc AND pk_frame = asked.frame AND int_version = asked.version
                    AND job.str_state = 'PENDING')";
        let gone: Vec<String> = sqlx::query_scalar(sql)
            .bind(bookings.iter().map(|booked| booked.proc.as_str()).collect::<Vec<_>>())
            .bind(bookings.iter().map(|booked| booked.frame.as_str()).collect::<Vec<_>>())
            .bind(bookings.iter().map(|booked| booked.version).collect::<Vec<_>>())
            .fetch_all(self.store.pool())
            .await
            .unwrap();
        gone.into_iter().collect()
    }

    /// Until nothing of it is left to be taken back.
    async fn take_back(&self, mut bookings: Vec<(Booked, Fence)>, cause: UnbookCause) {
        while !bookings.is_empty() {
            let fenced: Vec<(&Booked, Fence)> = bookings.iter().map(|(booked, fence)| (booked, *fence)).collect();
            match unbook_fenced(&self.store, &fenced, cause).await {
                Ok(outcome) => {
                    if !outcome.refused.is_empty() {
                        self.ground.fault(format!("the database refused a take-back of ours: {:?}", outcome.refused));
                    }
                    let (unbooked, asked) = (outcome.unbooked.len(), bookings.len());
                    let came = format!(
                        "{unbooked} of {asked} ({}), held {}: {}",
                        cause.as_str(),
                        outcome.locked.len(),
                        named(bookings.iter().map(|(booked, _)| booked))
                    );
                    self.ground.acted(&self.name, "our-take-back", &came);
                    self.ground.tally(|tally| tally.take_backs += unbooked as u64);
                    bookings.retain(|(booked, _)| outcome.locked.contains(&booked.proc));
                }
                Err(error) => self.trouble(&error),
            }
        }
    }

    /// Bookings of which nobody has heard for long, whoever made them, go back.
    pub(super) async fn give_back_silent(mut self, stop: CancellationToken) {
        loop {
            let pause = Duration::from_micros(self.random.random_range(5_000..60_000));
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            let silences = if self.random.random_bool(0.2) {
                SilenceEnds {
                    farm: Some(OffsetDateTime::now_utc() - time::Duration::milliseconds(20)),
                    hosts: Vec::new(),
                }
            } else {
                SilenceEnds::default()
            };
            let mut silent = find_silent(&self.store, &self.shows, &silences).await.unwrap();
            silent.shuffle(&mut self.random);
            silent.truncate(3);
            tokio::time::sleep(Duration::from_micros(self.random.random_range(0..5_000))).await;
            let fenced = silent.into_iter().map(|SilentBooking { booked, last_sign, has_frame }| {
                let fence = if has_frame { Fence::Unmoved(last_sign) } else { Fence::Frameless(last_sign) };
                (booked, fence)
            });
            self.take_back(fenced.collect(), UnbookCause::Lost).await;
        }
    }
}

/// Frames with their versions and procs, for the log.
fn named<'a>(bookings: impl Iterator<Item = &'a Booked>) -> String {
    let names = bookings.map(|booked| format!("{} v{} by {}", booked.frame, booked.version, booked.proc));
    names.collect::<Vec<_>>().join(", ")
}

fn our_shows(seeded: &Seeded) -> Vec<ShowId> {
    seeded.shows.iter().filter(|show| show.name != "legacy").map(|show| show.id.clone()).collect()
}

/// Repairs as the service makes them, only more often.
pub(super) struct Repairer {
    store: Store,
    ground: Arc<Ground>,
    scope: RepairScope,
    repairs: Repairs,
    releases: Option<Releases>,
    random: StdRng,
}

impl Repairer {
    pub(super) async fn new(store: &Store, ground: &Arc<Ground>, seeded: &Seeded) -> Self {
        let hears = ground.generation >= Generation::G2;
        let releases = if hears { Some(store.listen_for_releases().await.unwrap()) } else { None };
        Self {
            store: store.clone(),
            ground: Arc::clone(ground),
            scope: RepairScope { shows: our_shows(seeded), facilities: vec![seeded.facility.clone()] },
            repairs: Repairs::new(APART),
            releases,
            random: StdRng::seed_from_u64(ground.seed),
        }
    }

    pub(super) async fn repair(mut self, stop: CancellationToken) -> Self {
        while stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(25))).await.is_some() {
            self.look().await;
        }
        self
    }

    /// Once.
    pub(super) async fn look(&mut self) {
        self.hear().await;
        let accounted = self.repairs.account(&self.store, &self.scope.shows).await;
        self.record(accounted);
        let began = Instant::now();
        match self.repairs.observe(&self.store, &self.scope).await {
            // However slow the machine is, nothing counts as over that is not.
            Ok(_) if self.ground.oldest_loss_since(began).is_some_and(|loss| loss.elapsed() >= APART) => {}
            Ok(observation) => {
                tokio::time::sleep(Duration::from_micros(self.random.random_range(0..JUDGE_AFTER_MAX_MICROS))).await;
                self.hear().await;
                let done = self.repairs.correct(&self.store, observation).await;
                self.record(done);
            }
            Err(error) => self.record(Err(error)),
        }
    }

    async fn hear(&mut self) {
        let Some(releases) = &mut self.releases else { return };
        for notice in releases.arrived().await.unwrap() {
            match notice {
                ReleaseNotice::Release(release) => self.repairs.announce(release),
                ReleaseNotice::Unreadable => self.ground.fault("a notification could not be read".to_owned()),
            }
        }
    }

    fn record(&self, done: Result<cue_scheduler::booking::RepairsDone, BookingError>) {
        match done {
            Ok(done) => {
                for (what, repaired) in [("drift", &done.drift), ("release", &done.releases)] {
                    for one in repaired {
                        let line = format!("{} {} said {:?} too much", one.table.as_str(), one.row, one.too_much);
                        self.ground.acted(
                            "repairer",
                            if what == "drift" { "our-repair" } else { "our-account" },
                            &line,
                        );
                    }
                }
                let repaired = done.drift.len() + done.releases.len();
                self.ground.tally(|tally| tally.repairs += repaired as u64);
            }
            Err(BookingError::Contended { .. }) => {}
            Err(error) => self.ground.fault(format!("a repair of ours failed: {error}")),
        }
    }
}
