//! Every gate that a waiting layer must pass, each defined here and nowhere else.
//!
//! A gate answers for the one reason it is listed with, and [`WaitReason`] orders them. Whoever asks gates
//! goes through a list with a [`Trace`], which decides whether a shut gate ends the walk and what is kept of
//! the answers. So a gate that is added to a list is planned by, counted and explained.

use super::eligible::Eligible;
use super::hosts::Spot;
use super::ledger::Ledger;
use super::report::Quantity;
use super::reserve::{Ask, Offer, Unfit, reserve, reserve_unprotected};
use super::state::State;
use super::view::View;
use crate::model::{
    Candidate, CandidateIx, Cap, HostIx, JobRow, LimitIx, LimitUse, Policy, ShowRow, ThreadMode, WaitReason,
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

    /// Hosts have stopped, those that get furthest at this gate.
    fn hosts(&mut self, furthest: WaitReason) -> Result<(), WaitReason> {
        Err(furthest)
    }

    /// Hosts have room, and on the best of them the frame would break a cap.
    fn too_wide(&mut self, cap: WaitReason, _best: Spot) -> Result<(), WaitReason> {
        Err(cap)
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

    pub(super) fn traits(&self) -> LayerTraits<'a> {
        LayerTraits { os: self.job.os.as_ref(), is_threadable: self.candidate.is_threadable }
    }

    pub(super) fn on(&self, host: HostIx) -> OnHost<'a> {
        OnHost { layer: self.traits(), host: HostTraits::of(self.view, host) }
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

/// All that gates know of a layer when they ask about hosts besides amounts. Layers that are equal in it, and
/// in what they are reached by, have the same eligible hosts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LayerTraits<'a> {
    os: Option<&'a String>,
    is_threadable: bool,
}

/// All that gates know of a host besides amounts. Hosts that are equal in it, and in what reaches them, are
/// one group.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct HostTraits<'a> {
    is_open: bool,
    os: &'a [String],
    thread_mode: ThreadMode,
}

impl<'a> HostTraits<'a> {
    pub(super) fn of(view: &View<'a>, host: HostIx) -> Self {
        let row = &view.snapshot.hosts[host];
        Self { is_open: view.state(host).is_open(), os: &row.os, thread_mode: row.thread_mode }
    }
}

/// A layer on a host that its tags reach, whatever the host is doing.
pub(super) struct OnHost<'a> {
    layer: LayerTraits<'a>,
    host: HostTraits<'a>,
}

impl OnHost<'_> {
    /// Constraints that hosts meet or not, whatever they have idle.
    pub(super) const GATES: [Gate<Self>; 3] = [
        (WaitReason::NoHostOpen, |on| on.host.is_open),
        (WaitReason::OperatingSystem, |on| on.layer.os.is_none_or(|os| on.host.os.contains(os))),
        (WaitReason::ThreadMode, |on| on.host.thread_mode != ThreadMode::All || on.layer.is_threadable),
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

/// A frame that wants its share of what its show, folder and job may use, and a seat of its limits.
pub(super) struct Capped<'a, 's> {
    pub(super) state: &'a State<'s>,
    pub(super) ledger: &'a Ledger<'s>,
    pub(super) candidate: CandidateIx,
    /// The hosts of an allocation that it goes to; `None` where there are none, or only the work's own caps
    /// are asked.
    pub(super) eligible: Option<&'a Eligible<'s>>,
    /// The one it goes to; `None` = any that is eligible.
    pub(super) host: Option<HostIx>,
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

/// What keeps a frame from using more.
pub(super) enum CapGate {
    Rule(for<'c> fn(&Capped<'c, '_>) -> bool),
    Ceiling(for<'c> fn(&Capped<'c, '_>) -> Ceiling<'c>),
    /// One that does not concern work which adds nothing.
    CeilingOnMore(for<'c> fn(&Capped<'c, '_>) -> Ceiling<'c>),
    /// All limits of the layer; hosts that hold a seat need no other.
    Limits,
}

impl<'a> Capped<'a, '_> {
    /// Of the show on an allocation.
    pub(super) const OF_SHOW: [(WaitReason, CapGate); 3] = [
        (
            WaitReason::NoSubscription,
            CapGate::Rule(|capped| capped.eligible.is_some_and(|eligible| eligible.subscription.is_some())),
        ),
        (WaitReason::SubscriptionFrozen, CapGate::Rule(|capped| capped.show().cores_max.max() > Some(Cores::ZERO))),
        (WaitReason::SubscriptionBurst, CapGate::Ceiling(|capped| capped.show().cores(capped.wanted))),
    ];

    /// Of the work itself, on whichever allocation.
    pub(super) const OF_WORK: [(WaitReason, CapGate); 6] = [
        (WaitReason::FolderCores, CapGate::Ceiling(|capped| capped.folder().cores(capped.wanted))),
        (WaitReason::FolderGpus, CapGate::CeilingOnMore(|capped| capped.folder().gpus(capped.wanted))),
        // A maximum of -1 GPUs refuses even work without any, since 0 in use is more; one of 0 does not.
        (
            WaitReason::JobCapNotPositive,
            CapGate::Rule(|capped| {
                let job = capped.state.layer(capped.candidate).job;
                let is_without_gpus = job.gpus_max == Gpus::ZERO && capped.wanted.gpus <= Gpus::ZERO;
                job.cores_max > Cores::ZERO && (job.gpus_max > Gpus::ZERO || is_without_gpus)
            }),
        ),
        (WaitReason::JobCores, CapGate::Ceiling(|capped| capped.job().cores(capped.wanted))),
        // A job over its GPU cap takes no cores either: the trigger tests both when one grows.
        (WaitReason::JobGpus, CapGate::Ceiling(|capped| capped.job().gpus(capped.wanted))),
        (WaitReason::LimitReached, CapGate::Limits),
    ];

    pub(super) fn pass(&self, gates: &[(WaitReason, CapGate)], trace: &mut impl Trace) -> Result<(), WaitReason> {
        gates.iter().try_for_each(|(reason, gate)| trace.gate(*reason, self.is_open(gate)))
    }

    /// All of them, of which the first that is shut tells.
    pub(super) fn pass_all(&self) -> Result<(), WaitReason> {
        self.pass(&Self::OF_SHOW, &mut FirstShut)?;
        self.pass(&Self::OF_WORK, &mut FirstShut)
    }

    /// Every ceiling of the gates, in their order.
    pub(super) fn ceilings(&self, gates: &[(WaitReason, CapGate)], mut each: impl FnMut(WaitReason, Ceiling<'a>)) {
        for (reason, gate) in gates {
            match gate {
                CapGate::Rule(_) => {}
                CapGate::Ceiling(ceiling) | CapGate::CeilingOnMore(ceiling) => each(*reason, ceiling(self)),
                CapGate::Limits => self.candidate().limits.iter().for_each(|&limit| each(*reason, self.limit(limit))),
            }
        }
    }

    fn is_open(&self, gate: &CapGate) -> bool {
        match gate {
            CapGate::Rule(is_open) => is_open(self),
            CapGate::Ceiling(ceiling) => ceiling(self).allows(),
            CapGate::CeilingOnMore(ceiling) => {
                let ceiling = ceiling(self);
                ceiling.wanted.get() <= 0 || ceiling.allows()
            }
            CapGate::Limits => {
                let limits = &self.candidate().limits;
                limits.iter().all(|&limit| self.limit(limit).allows() || self.has_seat(limit))
            }
        }
    }

    fn candidate(&self) -> &'a Candidate {
        &self.state.view.snapshot.candidates[self.candidate]
    }

    /// Without a subscription it may use nothing.
    fn show(&self) -> Account<'a> {
        let name = self.eligible.map_or("", |eligible| eligible.alloc_name);
        let subscription = self.eligible.and_then(|eligible| eligible.subscription);
        let used = subscription.map(|position| self.ledger.subscriptions[position]).unwrap_or_default();
        let burst = subscription.map(|position| self.state.view.snapshot.subscriptions[position].burst);
        Account { name, used, cores_max: Cap::AtMost(burst.unwrap_or_default()), gpus_max: Cap::Unlimited }
    }

    fn folder(&self) -> Account<'a> {
        let position = self.state.layer(self.candidate).job.folder;
        let row = &self.state.view.snapshot.folders[position];
        let (cores_max, gpus_max) = (row.cores_max, row.gpus_max);
        Account { name: &row.name, used: self.ledger.folders[position], cores_max, gpus_max }
    }

    fn job(&self) -> Account<'a> {
        let position = self.candidate().job;
        let row = &self.state.view.snapshot.jobs[position];
        let (cores_max, gpus_max) = (Cap::AtMost(row.cores_max), Cap::AtMost(row.gpus_max));
        Account { name: &row.name, used: self.ledger.jobs[position], cores_max, gpus_max }
    }

    fn limit(&self, limit: LimitIx) -> Ceiling<'a> {
        let row = &self.state.view.snapshot.limits[limit];
        let account = &self.ledger.limits[limit];
        let quantity = match row.usage {
            LimitUse::Frames { .. } => Quantity::Frames,
            LimitUse::Hosts { .. } => Quantity::Hosts,
        };
        let max = Some(quantity(account.max));
        Ceiling { name: &row.name, used: quantity(account.used), max, wanted: quantity(1) }
    }

    fn has_seat(&self, limit: LimitIx) -> bool {
        self.ledger.limits[limit].holders.as_ref().is_some_and(|holders| match self.host {
            Some(host) => holders.contains(&host),
            None => holders.iter().any(|&host| self.state.eligible_with(self.candidate, host).is_some()),
        })
    }
}

/// What somebody uses and may use.
struct Account<'a> {
    name: &'a str,
    used: Amounts,
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
