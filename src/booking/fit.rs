//! Which requests still fit under what is left, and which need a row that is held.

use super::outcome::{Lost, LostReason};
use crate::db::book::LockedRows;
use crate::db::book::remaining::Remaining;
use crate::model::{Booked, BookingRequest};
use crate::units::Gpus;

impl Remaining {
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

impl LockedRows {
    /// Why a request cannot be booked now, or `Ok`.
    pub(super) fn admits(&self, request: &BookingRequest) -> Result<(), LostReason> {
        if self.hosts.contains(&request.host) {
            return Err(LostReason::HostLocked);
        }
        let needs_held_row = self.layers.contains(&request.frame.layer)
            || self.jobs.contains(&request.frame.job)
            || self.subscriptions.contains(&(request.show.clone(), request.alloc.clone()));
        if needs_held_row { Err(LostReason::RowLocked) } else { Ok(()) }
    }

    /// Whether nothing of a booking is held. Its host may have changed its allocation since, so every
    /// subscription of the show counts.
    pub(super) fn leaves_free(&self, booked: &Booked) -> bool {
        !(self.hosts.contains(&booked.host)
            || self.layers.contains(&booked.layer)
            || self.jobs.contains(&booked.job)
            || self.subscriptions.iter().any(|(show, _)| *show == booked.show))
    }
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::booking::testing::request;
    use crate::db::book::remaining::{FolderRemaining, HostRemaining, JobRemaining};
    use crate::units::{Amounts, Cores, Kib};

    /// One host, one job in one folder, one subscription, all wide open.
    fn all_open() -> Remaining {
        let plenty = Amounts { cores: Cores(9_000), memory: Kib(9_000), gpus: Gpus(9), gpu_memory: Kib(9_000) };
        Remaining {
            hosts: HashMap::from([("host".into(), HostRemaining { alloc: "alloc".into(), idle: plenty })]),
            subscriptions: HashMap::from([(("show".into(), "alloc".into()), Cores(9_000))]),
            jobs: HashMap::from([(
                "job".into(),
                JobRemaining { folder: "folder".into(), cores: Cores(9_000), gpus: Gpus(9) },
            )]),
            folders: HashMap::from([("folder".into(), FolderRemaining { cores: None, gpus: None })]),
        }
    }

    fn wanted(cores: i64, gpus: i64) -> BookingRequest {
        let amounts = Amounts { cores: Cores(cores), memory: Kib(100), gpus: Gpus(gpus), gpu_memory: Kib(0) };
        BookingRequest { reservation: amounts, ..request(1, "host", "job") }
    }

    #[test]
    fn the_first_that_fit_stay_and_smaller_ones_after_them() {
        let mut remaining = all_open();
        remaining.subscriptions.insert(("show".into(), "alloc".into()), Cores(500));
        let requests = [wanted(300, 0), wanted(300, 0), wanted(200, 0), wanted(100, 0)];
        let requests: Vec<&BookingRequest> = requests.iter().collect();
        let (kept, lost) = split(&requests, |request| remaining.take(request));
        assert_eq!(kept.iter().map(|r| r.reservation.cores.get()).collect::<Vec<_>>(), [300, 200]);
        assert_eq!(lost.iter().map(|l| l.reason).collect::<Vec<_>>(), [LostReason::BurstReached; 2]);
    }

    #[test]
    fn each_cap_is_named() {
        let reason = |narrow: fn(&mut Remaining), request: BookingRequest| {
            let mut remaining = all_open();
            narrow(&mut remaining);
            remaining.take(&request).expect_err("the room is too narrow")
        };
        assert_eq!(reason(|r| r.hosts.clear(), wanted(1, 0)), LostReason::HostNotOpen);
        assert_eq!(reason(|r| r.subscriptions.clear(), wanted(1, 0)), LostReason::NoSubscription);
        assert_eq!(reason(|r| r.jobs.clear(), wanted(1, 0)), LostReason::CounterMissing);
        assert_eq!(reason(|r| r.folders.clear(), wanted(1, 0)), LostReason::CounterMissing);
        assert_eq!(reason(|_| {}, wanted(9_100, 0)), LostReason::HostLacksRoom);
        let cap_job = |r: &mut Remaining| r.jobs.values_mut().for_each(|job| job.cores = Cores(99));
        assert_eq!(reason(cap_job, wanted(100, 0)), LostReason::JobCores);
        let cap_folder = |r: &mut Remaining| r.folders.values_mut().for_each(|folder| folder.cores = Some(Cores(99)));
        assert_eq!(reason(cap_folder, wanted(100, 0)), LostReason::FolderCores);
    }

    #[test]
    fn a_job_over_its_gpu_cap_takes_no_cores_and_a_folder_does() {
        let mut remaining = all_open();
        remaining.jobs.values_mut().for_each(|job| job.gpus = Gpus(-1));
        assert_eq!(remaining.take(&wanted(100, 0)), Err(LostReason::JobGpus));
        let mut remaining = all_open();
        remaining.folders.values_mut().for_each(|folder| folder.gpus = Some(Gpus(-1)));
        assert_eq!(remaining.take(&wanted(100, 1)), Err(LostReason::FolderGpus));
        assert_eq!(remaining.take(&wanted(100, 0)), Ok(()));
    }

    #[test]
    fn what_is_refused_takes_nothing() {
        let mut remaining = all_open();
        remaining.jobs.values_mut().for_each(|job| job.cores = Cores(100));
        assert_eq!(remaining.take(&wanted(200, 0)), Err(LostReason::JobCores));
        assert_eq!(remaining.hosts["host"].idle.cores, Cores(9_000));
        assert_eq!(remaining.take(&wanted(100, 0)), Ok(()));
        assert_eq!(remaining.hosts["host"].idle.cores, Cores(8_900));
    }
}
