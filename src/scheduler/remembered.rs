//! Bookings that are only remembered, so that the next look sees the farm as if they had been made.
//!
//! Invariants:
//! - nothing is written: a chunk that is verified goes through the whole booking transaction and is
//!   rolled back, any other never reaches the database;
//! - a remembered booking lasts as long as its frame is as it was: WAITING with the same version. What
//!   the live farm took, changed or removed is forgotten, and so is what stands on a host that is gone;
//! - no frame and no capacity is handed out twice: each fresh snapshot is lowered by all that is
//!   remembered before anybody plans with it. Remembered frames never end.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::booking::{BookOptions, BookingError, ChunkOutcome, verify};
use crate::db::{Store, StoreError};
use crate::model::{Booked, BookingRequest, FrameId, HostId, LayerId, LimitId, Snapshot, WaitingFrame};
use crate::units::{Amounts, Cores};

/// What a preview has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RememberedReading {
    /// Frames booked so far, those forgotten since among them.
    pub(super) frames: u64,
    /// Hosts with a remembered booking.
    pub(super) hosts_used: usize,
    /// Those of them without a whole idle core.
    pub(super) hosts_filled: usize,
}

/// Cloning shares what is remembered.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered {
    is_verified: bool,
    ledger: Arc<Mutex<Ledger>>,
}

#[derive(Debug, Default)]
struct Ledger {
    booked: HashMap<FrameId, BookingRequest>,
    /// Idle cores by host: of the last snapshot, less what was booked since.
    idle: HashMap<HostId, Cores>,
    frames: u64,
}

impl Remembered {
    pub(super) fn new(is_verified: bool) -> Self {
        Self { is_verified, ledger: Arc::default() }
    }

    /// Forgets what the live farm has overtaken. To be called before a snapshot is read: what is taken
    /// in between counts twice in that one snapshot, which hands out too little and never too much.
    pub(super) async fn forget_overtaken(&self, store: &Store) -> Result<(), StoreError> {
        let known: Vec<FrameId> = self.ledger().booked.keys().cloned().collect();
        if known.is_empty() {
            return Ok(());
        }
        let states = store.load_frame_states(&known).await?;
        let is_as_read = |frame: &WaitingFrame| {
            states.get(&frame.id).is_some_and(|now| now.state == "WAITING" && now.version == frame.version)
        };
        self.ledger().booked.retain(|_, request| is_as_read(&request.frame));
        Ok(())
    }

    /// Makes the snapshot what it would be had the remembered bookings been made.
    pub(super) fn lay_over(&self, snapshot: &mut Snapshot) {
        let mut ledger = self.ledger();
        let hosts: HashSet<&HostId> = snapshot.hosts.iter().map(|host| &host.id).collect();
        ledger.booked.retain(|_, request| hosts.contains(&request.host));
        lay_over(snapshot, ledger.booked.values());
        ledger.idle = snapshot.hosts.iter().map(|host| (host.id.clone(), host.idle.cores)).collect();
    }

    /// Asks for so many more frames of each layer as are remembered, since those come first.
    pub(super) fn widen(&self, wanted: &mut [(LayerId, u32)]) {
        let ledger = self.ledger();
        let booked = counts(ledger.booked.values().map(|request| &request.frame.layer));
        for (layer, frames) in wanted {
            *frames = frames.saturating_add(booked.get(layer).copied().unwrap_or_default());
        }
    }

    /// Leaves only frames that are not booked.
    pub(super) fn drop_booked(&self, frames: &mut HashMap<LayerId, Vec<WaitingFrame>>) {
        let ledger = self.ledger();
        for frames in frames.values_mut() {
            frames.retain(|frame| !ledger.booked.contains_key(&frame.id));
        }
    }

    /// Remembers a chunk; when bookings are verified, what the database would have taken of it.
    pub(super) async fn book(
        &self,
        store: &Store,
        requests: Vec<BookingRequest>,
        options: &BookOptions,
    ) -> Result<ChunkOutcome, BookingError> {
        let outcome = if self.is_verified {
            verify(store, &requests, options).await?
        } else {
            let booked = requests.iter().map(|request| Booked::of(request, request.frame.version + 1));
            ChunkOutcome { booked: booked.collect(), ..ChunkOutcome::default() }
        };
        let frames: HashSet<&FrameId> = outcome.booked.iter().map(|booked| &booked.frame).collect();
        let mut ledger = self.ledger();
        for request in requests.into_iter().filter(|request| frames.contains(&request.frame.id)) {
            ledger.frames += 1;
            if let Some(idle) = ledger.idle.get_mut(&request.host) {
                *idle -= request.reservation.cores;
            }
            ledger.booked.insert(request.frame.id.clone(), request);
        }
        drop(ledger);
        Ok(outcome)
    }

    pub(super) fn booked(&self) -> Vec<BookingRequest> {
        self.ledger().booked.values().cloned().collect()
    }

    pub(super) fn reading(&self) -> RememberedReading {
        let ledger = self.ledger();
        let used: HashSet<&HostId> = ledger.booked.values().map(|request| &request.host).collect();
        let is_filled = |host: &&&HostId| ledger.idle.get(**host).is_some_and(|idle| *idle < Cores::ONE);
        RememberedReading {
            frames: ledger.frames,
            hosts_used: used.len(),
            hosts_filled: used.iter().filter(is_filled).count(),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lay_over<'b>(snapshot: &mut Snapshot, booked: impl Iterator<Item = &'b BookingRequest> + Clone) {
    let mut by_host: HashMap<&HostId, Vec<&BookingRequest>> = HashMap::new();
    let mut by_limit: HashMap<&LimitId, Vec<&str>> = HashMap::new();
    for request in booked.clone() {
        by_host.entry(&request.host).or_default().push(request);
        for limit in &request.limits {
            by_limit.entry(limit).or_default().push(&request.host_name);
        }
    }
    for host in &mut snapshot.hosts {
        for request in by_host.remove(&host.id).unwrap_or_default() {
            host.take(&request.frame.layer, &request.reservation);
        }
    }
    for limit in &mut snapshot.limits {
        for host_name in by_limit.remove(&limit.id).unwrap_or_default() {
            limit.usage.take(host_name);
        }
    }
    let of_shows = sums(booked.clone().map(|request| ((&request.show, &request.alloc), request.reservation)));
    for subscription in &mut snapshot.subscriptions {
        if let Some(amounts) = of_shows.get(&(&subscription.show, &subscription.alloc)) {
            subscription.cores += amounts.cores;
        }
    }
    let of_folders = sums(booked.clone().map(|request| (&request.folder, request.reservation)));
    for folder in &mut snapshot.folders {
        let amounts = of_folders.get(&folder.id).copied().unwrap_or_default();
        folder.cores += amounts.cores;
        folder.gpus += amounts.gpus;
    }
    let of_jobs = sums(booked.clone().map(|request| (&request.frame.job, request.reservation)));
    for job in &mut snapshot.jobs {
        let amounts = of_jobs.get(&job.id).copied().unwrap_or_default();
        job.cores += amounts.cores;
        job.gpus += amounts.gpus;
    }
    let of_layers = counts(booked.map(|request| &request.frame.layer));
    for candidate in &mut snapshot.candidates {
        let frames = of_layers.get(&candidate.layer).copied().unwrap_or_default();
        candidate.waiting_frames = candidate.waiting_frames.saturating_sub(frames);
    }
    snapshot.candidates.retain(|candidate| candidate.waiting_frames > 0);
}

fn sums<K: Eq + Hash>(amounts: impl Iterator<Item = (K, Amounts)>) -> HashMap<K, Amounts> {
    let mut sums = HashMap::new();
    for (key, amounts) in amounts {
        *sums.entry(key).or_insert_with(Amounts::default) += amounts;
    }
    sums
}

fn counts<K: Eq + Hash>(keys: impl Iterator<Item = K>) -> HashMap<K, u32> {
    let mut counts = HashMap::new();
    for key in keys {
        *counts.entry(key).or_insert(0) += 1;
    }
    counts
}
