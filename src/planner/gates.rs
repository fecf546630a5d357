//! Every gate that a waiting layer must pass, each defined here and nowhere else.
//!
//! A gate answers with the one reason it stands for, and [`WaitReason`] orders them. The nature of the
//! hosts (tags to shape) is looked at before the subscriptions, though it comes later in that order:
//! only hosts that could run a layer decide which subscriptions matter to it.

use super::caps::Ledger;
use super::fit::{Ask, Refusal, Room, reserve, reserve_unprotected};
use super::view::View;
use crate::model::{Candidate, Cap, FolderRow, Host, JobRow, Policy, Subscription, ThreadMode, WaitReason};
use crate::units::{Amounts, Cores, Gpus};

/// A reason, and whether what it is asked about may pass.
pub(super) type Gate<T> = (WaitReason, fn(&T) -> bool);

/// A candidate, whatever the farm looks like.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) candidate: &'a Candidate,
}

impl<'a> Work<'a> {
    pub(super) fn job(&self) -> &'a JobRow {
        &self.view.snapshot.jobs[self.candidate.job]
    }

    pub(super) fn folder(&self) -> &'a FolderRow {
        &self.view.snapshot.folders[self.job().folder]
    }
}

impl Work<'_> {
    pub(super) const GATES: [Gate<Self>; 6] = [
        (WaitReason::JobPaused, |work| !work.job().is_paused),
        (WaitReason::AutoBookOff, |work| work.job().is_auto_book),
        (WaitReason::ShowInactive, |work| work.view.snapshot.shows[work.job().show].is_active),
        (WaitReason::ShowTakenBack, |work| {
            !work.view.holds.taken_back.contains(&work.view.snapshot.shows[work.job().show].id)
        }),
        (WaitReason::StartAfter, |work| {
            work.candidate.start_after.is_none_or(|start| start <= work.view.snapshot.taken_at)
        }),
        (WaitReason::NotSelected, |work| !work.candidate.clusters.is_empty()),
    ];

    pub(super) fn pass(&self) -> Result<(), WaitReason> {
        pass(&Self::GATES, self)
    }
}

/// Whether a cluster of the layer's covers the host through one of its tags. Searches find such hosts
/// through the index instead.
pub(super) fn reach_gate(work: &Work<'_>, host: &Host) -> Result<(), WaitReason> {
    let Work { view: View { snapshot, .. }, candidate } = work;
    let is_covered = |&cluster: &usize| candidate.tags.iter().any(|tag| snapshot.clusters[cluster].covers(tag, host));
    let is_reached = host.facility == work.job().facility && candidate.clusters.iter().any(is_covered);
    if is_reached { Ok(()) } else { Err(WaitReason::NoHostWithTags) }
}

/// A host of the facility with one of the tags, whatever it is doing.
pub(super) struct Nature<'a> {
    pub(super) job: &'a JobRow,
    pub(super) candidate: &'a Candidate,
    pub(super) host: &'a Host,
    pub(super) is_open: bool,
}

impl Nature<'_> {
    pub(super) const GATES: [Gate<Self>; 3] = [
        (WaitReason::NoHostOpen, |nature| nature.is_open),
        (WaitReason::OperatingSystem, |nature| nature.job.os.as_ref().is_none_or(|os| nature.host.os.contains(os))),
        (WaitReason::ThreadMode, |nature| nature.host.thread_mode != ThreadMode::All || nature.candidate.is_threadable),
    ];

    pub(super) fn pass(&self) -> Result<(), WaitReason> {
        pass(&Self::GATES, self)
    }
}

/// Whether the host would do if it were empty and kept nothing for GPU work; then what is reserved.
pub(super) fn shape_gate(ask: &Ask, emptied: &Room, policy: &Policy) -> Result<Amounts, WaitReason> {
    reserve_unprotected(ask, emptied, policy).map_err(|_| WaitReason::Shape)
}

/// A show that wants more cores of an allocation.
pub(super) struct Subscribed<'a> {
    pub(super) subscription: Option<&'a Subscription>,
    pub(super) used: Cores,
    pub(super) wanted: Cores,
}

impl Subscribed<'_> {
    pub(super) const GATES: [Gate<Self>; 3] = [
        (WaitReason::NoSubscription, |show| show.subscription.is_some()),
        (WaitReason::SubscriptionFrozen, |show| show.subscription.is_some_and(|row| row.burst > Cores::ZERO)),
        (WaitReason::SubscriptionBurst, |show| {
            show.subscription.is_some_and(|row| Cap::AtMost(row.burst).allows(show.used + show.wanted))
        }),
    ];

    pub(super) fn pass(&self) -> Result<(), WaitReason> {
        pass(&Self::GATES, self)
    }
}

/// Work that wants more of what its folder and job may use.
pub(super) struct Capped<'a> {
    pub(super) work: Work<'a>,
    pub(super) ledger: &'a Ledger<'a>,
    pub(super) wanted: &'a Amounts,
}

impl Capped<'_> {
    pub(super) const GATES: [Gate<Self>; 5] = [
        (WaitReason::FolderCores, |capped| {
            let after = capped.ledger.folder(capped.work.job().folder).with(capped.wanted);
            capped.work.folder().cores_max.allows(after.cores)
        }),
        // A folder's GPU cap does not concern work without GPUs.
        (WaitReason::FolderGpus, |capped| {
            let after = capped.ledger.folder(capped.work.job().folder).with(capped.wanted);
            capped.wanted.gpus <= Gpus::ZERO || capped.work.folder().gpus_max.allows(after.gpus)
        }),
        // A maximum of -1 GPUs refuses even work without any, since 0 in use is more; one of 0 does not.
        (WaitReason::JobCapNotPositive, |capped| {
            let job = capped.work.job();
            let is_without_gpus = job.gpus_max == Gpus::ZERO && capped.wanted.gpus <= Gpus::ZERO;
            job.cores_max > Cores::ZERO && (job.gpus_max > Gpus::ZERO || is_without_gpus)
        }),
        (WaitReason::JobCores, |capped| {
            let after = capped.ledger.job(capped.work.candidate.job).with(capped.wanted);
            Cap::AtMost(capped.work.job().cores_max).allows(after.cores)
        }),
        // A job over its GPU cap takes no cores either: the trigger tests both when one grows.
        (WaitReason::JobGpus, |capped| {
            let after = capped.ledger.job(capped.work.candidate.job).with(capped.wanted);
            Cap::AtMost(capped.work.job().gpus_max).allows(after.gpus)
        }),
    ];

    pub(super) fn pass(&self) -> Result<(), WaitReason> {
        pass(&Self::GATES, self)
    }
}

/// What subscription, folder and job leave in cores.
pub(super) fn cores_left(work: &Work<'_>, ledger: &Ledger<'_>, subscription: usize) -> Cores {
    let job = work.job();
    let of_show = work.view.snapshot.subscriptions[subscription].burst - ledger.subscription(subscription);
    let of_job = job.cores_max - ledger.job(work.candidate.job).cores;
    match work.folder().cores_max {
        Cap::Unlimited => of_show.min(of_job),
        Cap::AtMost(max) => of_show.min(of_job).min(max - ledger.folder(job.folder).cores),
    }
}

/// Whether all limits of the layer have room for one more frame on the host.
pub(super) fn limit_gate(ledger: &Ledger<'_>, candidate: &Candidate, host: usize) -> Result<(), WaitReason> {
    let has_room = candidate.limits.iter().all(|&limit| ledger.limit(limit).allows(host));
    if has_room { Ok(()) } else { Err(WaitReason::LimitReached) }
}

/// What one frame takes on the host as it is now.
pub(super) fn room_gate(ask: &Ask, room: &Room, policy: &Policy) -> Result<Amounts, WaitReason> {
    reserve(ask, room, policy).map_err(|refusal| match refusal {
        Refusal::GpuKept => WaitReason::GpuReserved,
        _ => WaitReason::Capacity,
    })
}

fn pass<T>(gates: &[Gate<T>], case: &T) -> Result<(), WaitReason> {
    match gates.iter().find(|(_, is_open)| !is_open(case)) {
        Some(&(reason, _)) => Err(reason),
        None => Ok(()),
    }
}
