//! Booking requests without a planner: waiting frames in dispatch order, hosts in turn.

use cue_scheduler::booking::{BookOptions, ChunkOutcome, book};
use cue_scheduler::db::Store;
use cue_scheduler::farm::launch::Launch;
use cue_scheduler::farm::seed::Seeded;
use cue_scheduler::model::{Booked, BookingRequest};
use cue_scheduler::units::{Amounts, Cores, Kib};
use tokio::time::Instant;

/// What a request of [`requests`] reserves: one core and 1 GiB.
pub(crate) fn one_core() -> Amounts {
    Amounts { cores: Cores::ONE, memory: Kib::gib(1), ..Amounts::default() }
}

/// One request for each of the next `frames` waiting frames of every layer; frame after frame on the
/// next host.
pub(crate) async fn requests(store: &Store, farm: &Seeded, frames: u32) -> Vec<BookingRequest> {
    let wanted: Vec<_> = farm.layers.iter().map(|layer| (layer.id.clone(), frames)).collect();
    let mut waiting = store.load_waiting_frames(&wanted).await.unwrap();
    assert_eq!(waiting.left_out, []);
    let mut hosts = farm.hosts.iter().cycle();
    let mut requests = Vec::new();
    for layer in &farm.layers {
        let job = farm.jobs.iter().find(|job| job.id == layer.job).unwrap();
        for frame in waiting.by_layer.remove(&layer.id).unwrap_or_default() {
            let host = hosts.next().unwrap();
            requests.push(BookingRequest {
                proc: uuid::Uuid::new_v4().to_string().into(),
                frame,
                host: host.id.clone(),
                host_name: host.name.clone(),
                alloc: host.alloc.clone(),
                show: job.show.clone(),
                folder: job.folder.clone(),
                reservation: one_core(),
                limits: Vec::new(),
            });
        }
    }
    requests
}

pub(crate) async fn book_all(store: &Store, requests: &[BookingRequest]) -> ChunkOutcome {
    book(store, requests, &BookOptions::default()).await.unwrap()
}

/// The launches of bookings, all running.
pub(crate) fn launches(booked: &[Booked]) -> Vec<Launch> {
    let launch = |booked: &Booked| Launch {
        frame: booked.frame.clone(),
        resource: booked.proc.clone(),
        host: booked.host_name.clone(),
        started_at: Instant::now(),
        ended_at: None,
    };
    booked.iter().map(launch).collect()
}
