//! Every gate that a waiting layer must pass, each defined here and nowhere else.
//!
//! A gate answers with the one reason it stands for. The order of [`WaitReason`] is the order in
//! which they are asked, except that the nature of the hosts (tags to shape) is looked at before the
//! subscriptions, because only hosts that could run a layer decide which subscriptions matter.

use super::caps::Ledger;
use super::fit::{Ask, Refusal, Room, reserve, reserve_unprotected};
use crate::model::{Candidate, Cap, Host, JobRow, Policy, Snapshot, Subscription, ThreadMode, WaitReason};
use crate::units::{Amounts, Cores, Gpus};

/// What the job, its show and the selection say, whatever the farm looks like.
pub(super) fn candidate_gate(snapshot: &Snapshot, candidate: &Candidate) -> Result<(), WaitReason> {
    let job = &snapshot.jobs[candidate.job];
    if job.is_paused {
        return Err(WaitReason::JobPaused);
    }
    if !job.is_auto_book {
        return Err(WaitReason::AutoBookOff);
    }
    if !snapshot.shows[job.show].is_active {
        return Err(WaitReason::ShowInactive);
    }
    if candidate.start_after.is_some_and(|start_after| start_after > snapshot.taken_at) {
        return Err(WaitReason::StartAfter);
    }
    if candidate.clusters.is_empty() { Err(WaitReason::NotSelected) } else { Ok(()) }
}

/// What a host is, whatever it is doing. Its tags were matched before, by a cluster.
pub(super) fn nature_gate(job: &JobRow, candidate: &Candidate, host: &Host) -> Result<(), WaitReason> {
    if !host.state.is_open() {
        return Err(WaitReason::NoHostOpen);
    }
    if job.os.as_ref().is_some_and(|os| !host.os.contains(os)) {
        return Err(WaitReason::OperatingSystem);
    }
    if host.thread_mode == ThreadMode::All && !candidate.is_threadable {
        return Err(WaitReason::ThreadMode);
    }
    Ok(())
}

/// Whether the host would do if it were empty and kept nothing for GPU work; then what is reserved.
pub(super) fn shape_gate(ask: &Ask, emptied: &Room, policy: &Policy) -> Result<Amounts, WaitReason> {
    reserve_unprotected(ask, emptied, policy).map_err(|_| WaitReason::Shape)
}

/// Whether the show may use `cores` more of an allocation; `used` counts what the plan has added.
pub(super) fn subscription_gate(
    subscription: Option<&Subscription>,
    used: Cores,
    cores: Cores,
) -> Result<(), WaitReason> {
    match subscription {
        None => Err(WaitReason::NoSubscription),
        Some(subscription) if subscription.burst <= Cores::ZERO => Err(WaitReason::SubscriptionFrozen),
        Some(subscription) if used + cores > subscription.burst => Err(WaitReason::SubscriptionBurst),
        Some(_) => Ok(()),
    }
}

/// Whether the folder and the job may use `amounts` more.
pub(super) fn cap_gate(
    snapshot: &Snapshot,
    ledger: &Ledger<'_>,
    candidate: &Candidate,
    amounts: &Amounts,
) -> Result<(), WaitReason> {
    let job = &snapshot.jobs[candidate.job];
    let folder = &snapshot.folders[job.folder];
    let in_folder = ledger.folder(job.folder).with(amounts);
    if !folder.cores_max.allows(in_folder.cores) {
        return Err(WaitReason::FolderCores);
    }
    // A folder's GPU cap does not concern work without GPUs.
    if amounts.gpus > Gpus::ZERO && !folder.gpus_max.allows(in_folder.gpus) {
        return Err(WaitReason::FolderGpus);
    }
    if is_not_positive(job, candidate) {
        return Err(WaitReason::JobCapNotPositive);
    }
    let in_job = ledger.job(candidate.job).with(amounts);
    if !Cap::AtMost(job.cores_max).allows(in_job.cores) {
        return Err(WaitReason::JobCores);
    }
    // A job over its GPU cap takes no cores either: the trigger tests both when one grows.
    if !Cap::AtMost(job.gpus_max).allows(in_job.gpus) {
        return Err(WaitReason::JobGpus);
    }
    Ok(())
}

/// A maximum of -1 GPUs refuses even work without any, since 0 in use is more; one of 0 does not.
fn is_not_positive(job: &JobRow, candidate: &Candidate) -> bool {
    job.cores_max <= Cores::ZERO
        || job.gpus_max < Gpus::ZERO
        || (job.gpus_max == Gpus::ZERO && candidate.gpus > Gpus::ZERO)
}

/// What subscription, folder and job leave in cores.
pub(super) fn cores_left(
    snapshot: &Snapshot,
    ledger: &Ledger<'_>,
    candidate: &Candidate,
    subscription: usize,
) -> Cores {
    let job = &snapshot.jobs[candidate.job];
    let of_show = snapshot.subscriptions[subscription].burst - ledger.subscription(subscription);
    let of_job = job.cores_max - ledger.job(candidate.job).cores;
    match snapshot.folders[job.folder].cores_max {
        Cap::Unlimited => of_show.min(of_job),
        Cap::AtMost(max) => of_show.min(of_job).min(max - ledger.folder(job.folder).cores),
    }
}

/// Whether all limits of the layer have room for one more frame on the host.
pub(super) fn limit_gate(ledger: &Ledger<'_>, candidate: &Candidate, host: usize) -> Result<(), WaitReason> {
    if candidate.limits.iter().all(|&limit| ledger.limit(limit).allows(host)) {
        Ok(())
    } else {
        Err(WaitReason::LimitReached)
    }
}

/// What one frame takes on the host as it is now.
pub(super) fn room_gate(ask: &Ask, room: &Room, policy: &Policy) -> Result<Amounts, WaitReason> {
    reserve(ask, room, policy).map_err(|refusal| match refusal {
        Refusal::GpuKept => WaitReason::GpuReserved,
        _ => WaitReason::Capacity,
    })
}
