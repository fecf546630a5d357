//! Every gate that a waiting layer must pass, each defined here and nowhere else.
//!
//! A gate answers for the one reason it is listed with, and [`WaitReason`] orders them. Whoever asks gates
//! goes through a list with a [`Trace`], which decides whether a shut gate ends the walk and what is kept of
//! the answers. So a gate that is added to a list is planned by, counted and explained.

use super::ledger::{Ledger, Used};
use super::report::Quantity;
use super::reserve::{Ask, Offer, Unfit, reserve, reserve_unprotected};
use super::view::View;
use crate::model::{
    Candidate, CandidateIx, Cap, Host, HostIx, JobRow, Policy, ShowRow, Subscription, ThreadMode, WaitReason,
};
use crate::units::{Amounts, Cores, Gpus};

/// A reason, and whether what it is asked about may pass.
pub(super) type Gate<T> = (WaitReason, fn(&T) -> bool);

/// Takes the answers of gates.
pub(super) trait Trace {
    /// An error ends the walk.
    fn gate(&mut self, reason: WaitReason, is_open: bool) -> Result<(), WaitReason>;

    fn gates<T>(&mut self, gates: &[Gate<T>], case: &T) -> Result<(), WaitReason> {
        gates.iter().try_for_each(|(reason, is_open)| self.gate(*reason, is_open(case)))
    }
}

/// Ends the walk at the first gate that is shut, and keeps nothing.
pub(super) struct FirstShut;

impl Trace for FirstShut {
    fn gate(&mut self, reason: WaitReason, is_open: bool) -> Result<(), WaitReason> {
        if is_open { Ok(()) } else { Err(reason) }
    }
}

/// A candidate, whatever the hosts are like.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) candidate: &'a Candidate,
    pub(super) job: &'a JobRow,
    pub(super) show: &'a ShowRow,
}

impl<'a> Layer<'a> {
    pub(super) fn of(view: &'a View<'_>, candidate: CandidateIx) -> Self {
        let candidate = &view.snapshot.candidates[candidate];
        let job = &view.snapshot.jobs[candidate.job];
        Self { view, candidate, job, show: &view.snapshot.shows[job.show] }
    }

    pub(super) fn on(&self, host: HostIx) -> OnHost<'a> {
        OnHost { layer: *self, host: &self.view.snapshot.hosts[host], is_open: self.view.state(host).is_open() }
    }

    /// Searches find such hosts through the index instead.
    pub(super) fn reaches(&self, host: HostIx) -> bool {
        let snapshot = self.view.snapshot;
        snapshot.reaches(self.candidate, &snapshot.hosts[host])
    }
}

impl Layer<'_> {
    pub(super) const GATES: [Gate<Self>; 6] = [
        (WaitReason::JobPaused, |layer| !layer.job.is_paused),
        (WaitReason::AutoBookOff, |layer| layer.job.is_auto_book),
        (WaitReason::ShowInactive, |layer| layer.show.is_active),
        (WaitReason::ShowTakenBack, |layer| !layer.view.holds.taken_back.contains(&layer.show.id)),
        (WaitReason::StartAfter, |layer| {
            layer.candidate.start_after.is_none_or(|start| start <= layer.view.snapshot.taken_at)
        }),
        (WaitReason::NotSelected, |layer| !layer.candidate.clusters.is_empty()),
    ];
}

/// A host that the layer's tags reach, whatever it is doing.
pub(super) struct OnHost<'a> {
    layer: Layer<'a>,
    pub(super) host: &'a Host,
    is_open: bool,
}

impl OnHost<'_> {
    /// Constraints that hosts meet or not, whatever they have idle.
    pub(super) const GATES: [Gate<Self>; 3] = [
        (WaitReason::NoHostOpen, |on| on.is_open),
        (WaitReason::OperatingSystem, |on| on.layer.job.os.as_ref().is_none_or(|os| on.host.os.contains(os))),
        (WaitReason::ThreadMode, |on| on.host.thread_mode != ThreadMode::All || on.layer.candidate.is_threadable),
    ];
}

/// What is reserved on a host that is empty and keeps nothing for GPU work, if it would do.
pub(super) fn shape_gate(ask: &Ask, emptied: &Offer, policy: &Policy) -> Result<Amounts, WaitReason> {
    reserve_unprotected(ask, emptied, policy).map_err(|_| WaitReason::Shape)
}

/// What one frame takes on the host as it is now.
pub(super) fn room_gates(
    ask: &Ask,
    offer: &Offer,
    policy: &Policy,
    trace: &mut impl Trace,
) -> Result<Amounts, WaitReason> {
    let reserved = reserve(ask, offer, policy);
    trace.gate(WaitReason::GpuReserved, reserved != Err(Unfit::GpuKept))?;
    trace.gate(WaitReason::Capacity, reserved.is_ok())?;
    reserved.map_err(|_| WaitReason::Capacity)
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
}

/// Work that wants more of what its folder and job may use.
pub(super) struct Capped<'a> {
    pub(super) layer: Layer<'a>,
    pub(super) ledger: &'a Ledger<'a>,
    pub(super) wanted: &'a Amounts,
}

/// A ceiling, and what stands under it.
pub(super) struct Ceiling<'a> {
    /// Whose it is.
    pub(super) name: &'a str,
    pub(super) used: Quantity,
    /// `None` = no cap.
    pub(super) max: Option<Quantity>,
    pub(super) wanted: Quantity,
}

/// What keeps a folder or a job from using more.
pub(super) enum CapGate {
    Rule(fn(&Capped<'_>) -> bool),
    Ceiling(for<'a> fn(&Capped<'a>) -> Ceiling<'a>),
    /// One that does not concern work which adds nothing.
    CeilingOnMore(for<'a> fn(&Capped<'a>) -> Ceiling<'a>),
}

impl CapGate {
    fn is_open(&self, capped: &Capped<'_>) -> bool {
        match self {
            Self::Rule(is_open) => is_open(capped),
            Self::Ceiling(ceiling) => ceiling(capped).allows(),
            Self::CeilingOnMore(ceiling) => {
                let ceiling = ceiling(capped);
                ceiling.wanted.get() <= 0 || ceiling.allows()
            }
        }
    }
}

impl<'a> Capped<'a> {
    const GATES: [(WaitReason, CapGate); 5] = [
        (WaitReason::FolderCores, CapGate::Ceiling(|capped| capped.folder().cores(capped.wanted))),
        (WaitReason::FolderGpus, CapGate::CeilingOnMore(|capped| capped.folder().gpus(capped.wanted))),
        // A maximum of -1 GPUs refuses even work without any, since 0 in use is more; one of 0 does not.
        (
            WaitReason::JobCapNotPositive,
            CapGate::Rule(|capped| {
                let job = capped.layer.job;
                let is_without_gpus = job.gpus_max == Gpus::ZERO && capped.wanted.gpus <= Gpus::ZERO;
                job.cores_max > Cores::ZERO && (job.gpus_max > Gpus::ZERO || is_without_gpus)
            }),
        ),
        (WaitReason::JobCores, CapGate::Ceiling(|capped| capped.job().cores(capped.wanted))),
        // A job over its GPU cap takes no cores either: the trigger tests both when one grows.
        (WaitReason::JobGpus, CapGate::Ceiling(|capped| capped.job().gpus(capped.wanted))),
    ];

    pub(super) fn pass(&self, trace: &mut impl Trace) -> Result<(), WaitReason> {
        Self::GATES.iter().try_for_each(|(reason, gate)| trace.gate(*reason, gate.is_open(self)))
    }

    pub(super) fn ceilings(&self) -> impl Iterator<Item = (WaitReason, Ceiling<'a>)> {
        Self::GATES.iter().filter_map(|(reason, gate)| match gate {
            CapGate::Rule(_) => None,
            CapGate::Ceiling(ceiling) | CapGate::CeilingOnMore(ceiling) => Some((*reason, ceiling(self))),
        })
    }

    fn folder(&self) -> Account<'a> {
        let row = &self.layer.view.snapshot.folders[self.layer.job.folder];
        let used = self.ledger.folder(self.layer.job.folder);
        Account { name: &row.name, used, cores_max: row.cores_max, gpus_max: row.gpus_max }
    }

    fn job(&self) -> Account<'a> {
        let row = self.layer.job;
        let used = self.ledger.job(self.layer.candidate.job);
        Account { name: &row.name, used, cores_max: Cap::AtMost(row.cores_max), gpus_max: Cap::AtMost(row.gpus_max) }
    }
}

/// What somebody uses and may use.
struct Account<'a> {
    name: &'a str,
    used: Used,
    cores_max: Cap<Cores>,
    gpus_max: Cap<Gpus>,
}

impl<'a> Account<'a> {
    fn cores(self, wanted: &Amounts) -> Ceiling<'a> {
        let max = self.cores_max.max().map(Quantity::Cores);
        Ceiling { name: self.name, used: Quantity::Cores(self.used.cores), max, wanted: Quantity::Cores(wanted.cores) }
    }

    fn gpus(self, wanted: &Amounts) -> Ceiling<'a> {
        let max = self.gpus_max.max().map(Quantity::Gpus);
        Ceiling { name: self.name, used: Quantity::Gpus(self.used.gpus), max, wanted: Quantity::Gpus(wanted.gpus) }
    }
}

impl Ceiling<'_> {
    fn allows(&self) -> bool {
        self.max.is_none_or(|max| self.used.get().saturating_add(self.wanted.get()) <= max.get())
    }

    /// `None` where it caps no cores.
    pub(super) fn cores_left(&self) -> Option<Cores> {
        match (self.used, self.max?) {
            (Quantity::Cores(used), Quantity::Cores(max)) => Some(max - used),
            _ => None,
        }
    }
}
