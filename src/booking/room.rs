//! Which requests still fit under what is left.

use std::collections::{HashMap, HashSet};

use sqlx::query;

use super::error::StepError;
use super::outcome::{Lost, LostReason};
use super::tx::{column_of, id, rows};
use crate::db::Store;
use crate::model::{AllocId, BookingRequest, FolderId, FrameId, HostId, JobId, ShowId};
use crate::units::{Amounts, Cores, Gpus, Kib};

/// What is left under the caps that a chunk touches.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Open hosts only.
    pub(super) hosts: HashMap<HostId, HostRoom>,
    pub(super) subscriptions: HashMap<(ShowId, AllocId), Cores>,
    pub(super) jobs: HashMap<JobId, JobRoom>,
    pub(super) folders: HashMap<FolderId, FolderRoom>,
}

#[derive(Debug)]
pub(super) struct HostRoom {
    pub(super) alloc: AllocId,
    pub(super) idle: Amounts,
}

#[derive(Debug)]
pub(super) struct JobRoom {
    pub(super) folder: FolderId,
    pub(super) cores: Cores,
    pub(super) gpus: Gpus,
}

/// `None` = no cap.
#[derive(Debug)]
pub(super) struct FolderRoom {
    pub(super) cores: Option<Cores>,
    pub(super) gpus: Option<Gpus>,
}

impl Room {
    /// Takes a request's amounts out of everything it touches, or takes nothing and says what lacks.
    pub(super) fn take(&mut self, request: &BookingRequest) -> Result<(), LostReason> {
        let wanted = request.reservation;
        let host = self.hosts.get_mut(&request.host).ok_or(LostReason::HostNotOpen)?;
        let subscription = self
            .subscriptions
            .get_mut(&(request.show.clone(), host.alloc.clone()))
            .ok_or(LostReason::NoSubscription)?;
        let job = self.jobs.get_mut(&request.frame.job).ok_or(LostReason::CounterMissing)?;
        let folder = self.folders.get_mut(&job.folder).ok_or(LostReason::CounterMissing)?;
        if !wanted.fits_in(&host.idle) {
            return Err(LostReason::HostLacksRoom);
        }
        if wanted.cores > *subscription {
            return Err(LostReason::BurstReached);
        }
        if wanted.cores > job.cores {
            return Err(LostReason::JobCores);
        }
        // Without GPUs too: a job over its GPU cap takes no cores, the trigger sees to that.
        if wanted.gpus > job.gpus {
            return Err(LostReason::JobGpus);
        }
        if folder.cores.is_some_and(|cores| wanted.cores > cores) {
            return Err(LostReason::FolderCores);
        }
        if wanted.gpus > Gpus::ZERO && folder.gpus.is_some_and(|gpus| wanted.gpus > gpus) {
            return Err(LostReason::FolderGpus);
        }
        host.idle -= wanted;
        *subscription -= wanted.cores;
        job.cores -= wanted.cores;
        job.gpus -= wanted.gpus;
        if let Some(cores) = &mut folder.cores {
            *cores -= wanted.cores;
        }
        if let Some(gpus) = &mut folder.gpus {
            *gpus -= wanted.gpus;
        }
        Ok(())
    }
}

/// What is left now, as far as anybody has committed.
pub(super) async fn load_room(store: &Store, requests: &[&BookingRequest]) -> Result<Room, StepError> {
    let hosts: HashSet<&str> = requests.iter().map(|request| request.host.as_str()).collect();
    let jobs: HashSet<&str> = requests.iter().map(|request| request.frame.job.as_str()).collect();
    let statement = query(include_str!("../db/sql/book_room.sql"))
        .bind(hosts.into_iter().collect::<Vec<_>>())
        .bind(jobs.into_iter().collect::<Vec<_>>());
    let mut room = Room::default();
    for row in &rows(store, "reading what is left", statement).await? {
        let cores: Option<i64> = column_of(row, "cores")?;
        let gpus: Option<i64> = column_of(row, "gpus")?;
        let (cores, gpus) = (cores.map(Cores), gpus.map(Gpus));
        // Only a folder's amounts can be absent.
        let (some_cores, some_gpus) = (cores.unwrap_or_default(), gpus.unwrap_or_default());
        match column_of::<&str>(row, "kind")? {
            "host" => {
                let memory = Kib(column_of(row, "memory")?);
                let gpu_memory = Kib(column_of(row, "gpu_memory")?);
                let idle = Amounts { cores: some_cores, memory, gpus: some_gpus, gpu_memory };
                room.hosts.insert(id(row, "id")?, HostRoom { alloc: id(row, "within")?, idle });
            }
            "subscription" => {
                room.subscriptions.insert((id(row, "id")?, id(row, "within")?), some_cores);
            }
            "job" => {
                let job = JobRoom { folder: id(row, "within")?, cores: some_cores, gpus: some_gpus };
                room.jobs.insert(id(row, "id")?, job);
            }
            _ => {
                room.folders.insert(id(row, "id")?, FolderRoom { cores, gpus });
            }
        }
    }
    Ok(room)
}

/// Splits requests, in their order, into those that `take` accepts and those lost for its reason.
pub(super) fn split<'r>(
    requests: &[&'r BookingRequest],
    mut take: impl FnMut(&BookingRequest) -> Result<(), LostReason>,
) -> (Vec<&'r BookingRequest>, Vec<Lost>) {
    let mut kept = Vec::with_capacity(requests.len());
    let mut lost = Vec::new();
    for &request in requests {
        match take(request) {
            Ok(()) => kept.push(request),
            Err(reason) => lost.push(Lost::new(request, reason)),
        }
    }
    (kept, lost)
}

/// The requests without those of `frames`, which are lost for `reason`.
pub(super) fn without<'r>(
    requests: &[&'r BookingRequest],
    frames: &HashSet<FrameId>,
    reason: LostReason,
) -> (Vec<&'r BookingRequest>, Vec<Lost>) {
    split(requests, |request| if frames.contains(&request.frame.id) { Err(reason) } else { Ok(()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::booking::testing::request;

    /// One host, one job in one folder, one subscription, all wide open.
    fn open_room() -> Room {
        let plenty = Amounts { cores: Cores(9_000), memory: Kib(9_000), gpus: Gpus(9), gpu_memory: Kib(9_000) };
        Room {
            hosts: HashMap::from([("host".into(), HostRoom { alloc: "alloc".into(), idle: plenty })]),
            subscriptions: HashMap::from([(("show".into(), "alloc".into()), Cores(9_000))]),
            jobs: HashMap::from([(
                "job".into(),
                JobRoom { folder: "folder".into(), cores: Cores(9_000), gpus: Gpus(9) },
            )]),
            folders: HashMap::from([("folder".into(), FolderRoom { cores: None, gpus: None })]),
        }
    }

    fn wanted(cores: i64, gpus: i64) -> BookingRequest {
        let amounts = Amounts { cores: Cores(cores), memory: Kib(100), gpus: Gpus(gpus), gpu_memory: Kib(0) };
        BookingRequest { reservation: amounts, ..request(1, "host", "job") }
    }

    #[test]
    fn the_first_that_fit_stay_and_smaller_ones_after_them() {
        let mut room = open_room();
        room.subscriptions.insert(("show".into(), "alloc".into()), Cores(500));
        let requests = [wanted(300, 0), wanted(300, 0), wanted(200, 0), wanted(100, 0)];
        let requests: Vec<&BookingRequest> = requests.iter().collect();
        let (kept, lost) = split(&requests, |request| room.take(request));
        assert_eq!(kept.iter().map(|r| r.reservation.cores.get()).collect::<Vec<_>>(), [300, 200]);
        assert_eq!(lost.iter().map(|l| l.reason).collect::<Vec<_>>(), [LostReason::BurstReached; 2]);
    }

    #[test]
    fn each_cap_is_named() {
        let reason = |narrow: fn(&mut Room), request: BookingRequest| {
            let mut room = open_room();
            narrow(&mut room);
            room.take(&request).expect_err("the room is too narrow")
        };
        assert_eq!(reason(|r| r.hosts.clear(), wanted(1, 0)), LostReason::HostNotOpen);
        assert_eq!(reason(|r| r.subscriptions.clear(), wanted(1, 0)), LostReason::NoSubscription);
        assert_eq!(reason(|r| r.jobs.clear(), wanted(1, 0)), LostReason::CounterMissing);
        assert_eq!(reason(|r| r.folders.clear(), wanted(1, 0)), LostReason::CounterMissing);
        assert_eq!(reason(|_| {}, wanted(9_100, 0)), LostReason::HostLacksRoom);
        let cap_job = |r: &mut Room| r.jobs.values_mut().for_each(|job| job.cores = Cores(99));
        assert_eq!(reason(cap_job, wanted(100, 0)), LostReason::JobCores);
        let cap_folder = |r: &mut Room| r.folders.values_mut().for_each(|folder| folder.cores = Some(Cores(99)));
        assert_eq!(reason(cap_folder, wanted(100, 0)), LostReason::FolderCores);
    }

    #[test]
    fn a_job_over_its_gpu_cap_takes_no_cores_and_a_folder_does() {
        let mut room = open_room();
        room.jobs.values_mut().for_each(|job| job.gpus = Gpus(-1));
        assert_eq!(room.take(&wanted(100, 0)), Err(LostReason::JobGpus));
        let mut room = open_room();
        room.folders.values_mut().for_each(|folder| folder.gpus = Some(Gpus(-1)));
        assert_eq!(room.take(&wanted(100, 1)), Err(LostReason::FolderGpus));
        assert_eq!(room.take(&wanted(100, 0)), Ok(()));
    }

    #[test]
    fn what_is_refused_takes_nothing() {
        let mut room = open_room();
        room.jobs.values_mut().for_each(|job| job.cores = Cores(100));
        assert_eq!(room.take(&wanted(200, 0)), Err(LostReason::JobCores));
        assert_eq!(room.hosts["host"].idle.cores, Cores(9_000));
        assert_eq!(room.take(&wanted(100, 0)), Ok(()));
        assert_eq!(room.hosts["host"].idle.cores, Cores(8_900));
    }
}
