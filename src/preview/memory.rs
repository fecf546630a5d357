//! Bookings that are only remembered, so that the next pass sees the farm as if they had been made.
//!
//! Invariants:
//! - nothing is written: a chunk that is verified goes through the whole booking transaction and is
//!   rolled back, any other never reaches the database;
//! - a remembered booking lasts as long as its frame is as it was: WAITING with the same version. What
//!   the live farm took, changed or removed is forgotten, and so is what stands on a host that is gone;
//! - no frame and no capacity is handed out twice: all that is remembered counts as booked. Remembered
//!   frames never end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::booking::{BookingError, ChunkOutcome, verify};
use crate::config::CuebotSilence;
use crate::db::{LayerCount, Store, StoreError};
use crate::model::{
    AssumedBooking, Booked, BookingRequest, Cluster, FrameId, Holds, HostId, JobId, LayerId, Snapshot, WaitingFrame,
};
use crate::scheduler::{Chunk, Cycle, Hints, Settings, Sink, View};
use crate::units::Cores;

/// What a preview has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MemoryReading {
    /// Frames booked so far, those forgotten since among them.
    pub(super) frames: u64,
    /// Hosts with a remembered booking.
    pub(super) hosts_used: usize,
    /// Those of them without a whole idle core.
    pub(super) hosts_filled: usize,
}

/// Cloning shares what is remembered.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    store: Store,
    hints: Hints,
    /// Each chunk goes to the database, which says what it would have taken of it.
    pub(super) is_verified: bool,
    /// Frames that wait, of layers that somebody has counted.
    pub(super) waiting_found: BTreeMap<LayerId, u32>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) booked: HashMap<FrameId, BookingRequest>,
    /// Idle cores by host, of the last snapshot.
    idle: HashMap<HostId, Cores>,
    frames: u64,
}

/// Frames that can be booked, by layer.
pub fn bookable(counts: &[LayerCount]) -> impl Iterator<Item = (LayerId, u32)> {
    counts.iter().map(|count| (count.layer.clone(), u32::try_from(count.bookable().max(0)).unwrap_or(u32::MAX)))
}

impl Memory {
    /// Heeds hints that others give too.
    pub(super) fn new(store: Store, hints: Hints) -> Self {
        Self { store, hints, is_verified: false, waiting_found: BTreeMap::new(), ledger: Arc::default() }
    }

    /// Without a service around it nothing is known of how hosts report, and nobody judges what fails there.
    pub(super) fn alone(store: Store, settings: &Settings) -> Self {
        let hints =
            Hints::new(&Settings { cuebot_silence: CuebotSilence::Off, rest_failing_hosts: false, ..settings.clone() });
        Self::new(store, hints)
    }

    /// Passes whose bookings go here.
    pub(super) fn cycle(&self, settings: Settings) -> Cycle {
        Cycle { store: self.store.clone(), settings, hints: self.hints.clone(), sink: Arc::new(self.clone()) }
    }

    /// Forgets what the live farm has overtaken. This comes before a snapshot is read: what is taken in
    /// between counts twice in that one snapshot, which hands out too little and never too much.
    async fn forget_overtaken(&self) -> Result<(), StoreError> {
        let known: Vec<FrameId> = self.ledger.lock().booked.keys().cloned().collect();
        if known.is_empty() {
            return Ok(());
        }
        let states = self.store.load_frame_states(&known).await?;
        let is_as_read = |frame: &WaitingFrame| {
            states.get(&frame.id).is_some_and(|now| now.state == "WAITING" && now.version == frame.version)
        };
        self.ledger.lock().booked.retain(|_, request| is_as_read(&request.frame));
        Ok(())
    }
}

#[async_trait]
impl Sink for Memory {
    async fn look(&self, clusters: &[Cluster], settings: &Settings) -> Result<View, StoreError> {
        self.forget_overtaken().await?;
        let snapshot = self.store.load_snapshot(clusters, &settings.snapshot_options()).await?;
        let mut waiting_found = self.waiting_found.clone();
        // Nothing came of them: perhaps only a counter knows of their frames.
        let backing_off = self.hints.backing_off(Instant::now());
        let doubted = snapshot.candidates.iter().filter(|candidate| backing_off.contains(&candidate.layer));
        let doubted: Vec<JobId> = doubted.map(|candidate| snapshot.jobs[candidate.job].id.clone()).collect();
        if !doubted.is_empty() {
            waiting_found.extend(bookable(&self.store.load_waiting_counts(&doubted).await?));
        }
        let holds = Holds { waiting_found, assumed: self.ledger.lock().assumed(&snapshot), ..Holds::default() };
        Ok(View { snapshot, holds, ..View::default() })
    }

    fn take_out_booked(&self, frames: &mut HashMap<LayerId, Vec<WaitingFrame>>) -> HashMap<LayerId, u32> {
        let ledger = self.ledger.lock();
        for frames in frames.values_mut() {
            frames.retain(|frame| !ledger.booked.contains_key(&frame.id));
        }
        // They count as booked, and so many more are asked for in any case.
        HashMap::new()
    }

    async fn book(&self, chunk: Chunk<'_>) -> Result<ChunkOutcome, BookingError> {
        let outcome = if self.is_verified {
            verify(&self.store, chunk.requests, chunk.options).await?
        } else {
            let booked = chunk.requests.iter().map(|request| Booked::of(request, request.frame.version + 1));
            ChunkOutcome { booked: booked.collect(), ..ChunkOutcome::default() }
        };
        self.ledger.lock().book(chunk.requests, &outcome.booked);
        Ok(outcome)
    }
}

impl Ledger {
    /// What counts as booked in the snapshot; forgets what stands on hosts that it does not show.
    fn assumed(&mut self, snapshot: &Snapshot) -> Vec<AssumedBooking> {
        self.idle = snapshot.hosts.iter().map(|host| (host.id.clone(), host.idle.cores)).collect();
        self.booked.retain(|_, request| self.idle.contains_key(&request.host));
        self.booked.values().map(AssumedBooking::of_request).collect()
    }

    fn book(&mut self, requests: &[BookingRequest], booked: &[Booked]) {
        let frames: HashSet<&FrameId> = booked.iter().map(|booked| &booked.frame).collect();
        for request in requests.iter().filter(|request| frames.contains(&request.frame.id)) {
            self.frames += 1;
            self.booked.insert(request.frame.id.clone(), request.clone());
        }
    }

    pub(super) fn reading(&self) -> MemoryReading {
        let mut used: HashMap<&HostId, Cores> = HashMap::new();
        for request in self.booked.values() {
            *used.entry(&request.host).or_default() += request.reservation.cores;
        }
        let is_filled =
            |(host, used): &(&&HostId, &Cores)| self.idle.get(**host).is_some_and(|idle| *idle - **used < Cores::ONE);
        MemoryReading {
            frames: self.frames,
            hosts_used: used.len(),
            hosts_filled: used.iter().filter(is_filled).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cap, Policy, Timestamp};
    use crate::planner::plan;
    use crate::planner::tests::farm::{Farm, amounts};

    /// Two hosts of 4 cores, and one layer with 12 frames of a core each.
    fn farm() -> Farm {
        let mut farm = Farm::new();
        farm.host(amounts(4, 32, 0, 0));
        farm.host(amounts(4, 32, 0, 0));
        let job = farm.job(0);
        farm.layer(job, 12);
        farm
    }

    fn request(farm: &Farm, number: i32, host: usize) -> BookingRequest {
        let (host, candidate) = (&farm.snapshot.hosts[host], &farm.snapshot.candidates[0]);
        BookingRequest {
            proc: format!("proc-{number}").into(),
            frame: WaitingFrame {
                id: format!("frame-{number}").into(),
                version: 1,
                layer: candidate.layer.clone(),
                job: farm.snapshot.jobs[0].id.clone(),
                name: String::new(),
                number,
                waiting_since: Timestamp::UNIX_EPOCH,
            },
            host: host.id.clone(),
            host_name: host.name.clone(),
            alloc: host.alloc.clone(),
            show: "show".into(),
            folder: "folder".into(),
            reservation: amounts(1, 1, 0, 0),
            limits: Vec::new(),
        }
    }

    fn booked(requests: &[BookingRequest]) -> Vec<Booked> {
        requests.iter().map(|request| Booked::of(request, 2)).collect()
    }

    /// Frames that a plan places on each host with what is remembered, and those that it leaves.
    fn planned(farm: &Farm, ledger: &mut Ledger) -> ([u32; 2], u32) {
        let holds = Holds { assumed: ledger.assumed(&farm.snapshot), ..Holds::default() };
        let plan = plan(&farm.snapshot, &holds, &Policy::default());
        let on = |host| plan.placements.iter().filter(move |placed| placed.host.0 == host).map(|placed| placed.frames);
        ([0, 1].map(|host| on(host).sum()), plan.waiting.iter().map(|waiting| waiting.frames).sum())
    }

    #[test]
    fn no_frame_and_no_capacity_is_handed_out_twice() {
        let (farm, mut ledger) = (farm(), Ledger::default());
        assert_eq!(planned(&farm, &mut ledger), ([4, 4], 4));
        let requests: Vec<BookingRequest> =
            (0..5).map(|number| request(&farm, number, usize::from(number > 3))).collect();
        ledger.book(&requests, &booked(&requests));
        assert_eq!(planned(&farm, &mut ledger), ([0, 3], 4));
        assert_eq!(ledger.reading(), MemoryReading { frames: 5, hosts_used: 2, hosts_filled: 1 });
    }

    #[test]
    fn caps_count_what_is_remembered() {
        let (mut farm, mut ledger) = (farm(), Ledger::default());
        farm.snapshot.folders[0].cores_max = Cap::AtMost(Cores::whole(6));
        let requests: Vec<BookingRequest> = (0..4).map(|number| request(&farm, number, 0)).collect();
        ledger.book(&requests, &booked(&requests));
        assert_eq!(planned(&farm, &mut ledger), ([0, 2], 6));
    }

    #[test]
    fn only_what_the_database_would_have_taken_is_remembered() {
        let (farm, mut ledger) = (farm(), Ledger::default());
        let requests = [request(&farm, 0, 0), request(&farm, 1, 0)];
        ledger.book(&requests, &booked(&requests[1..]));
        assert_eq!(ledger.booked.keys().map(FrameId::as_str).collect::<Vec<_>>(), ["frame-1"]);
    }

    #[test]
    fn what_stands_on_a_host_that_is_gone_is_forgotten_and_stays_counted() {
        let (mut farm, mut ledger) = (farm(), Ledger::default());
        let requests = [request(&farm, 0, 0), request(&farm, 1, 1)];
        ledger.book(&requests, &booked(&requests));
        farm.snapshot.hosts.remove(0);
        assert_eq!(ledger.assumed(&farm.snapshot).len(), 1);
        assert_eq!(ledger.reading(), MemoryReading { frames: 2, hosts_used: 1, hosts_filled: 0 });
    }
}
