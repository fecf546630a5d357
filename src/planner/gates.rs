//! Every gate that a waiting layer must pass, each defined here or, when it is a cap, in `caps`.
//!
//! A gate answers for the one reason it is listed with, and [`WaitReason`] orders them. Whoever asks gates
//! goes through a list with a [`Trace`], which decides whether a shut gate ends the walk and what is kept of
//! the answers. So a gate that is added to a list is planned by, counted and explained.

use super::eligible::Spot;
use super::reserve::{Ask, Offer, Unfit, reserve, reserve_unprotected};
use super::view::View;
use crate::model::{Candidate, CandidateIx, HostIx, JobRow, Policy, ShowRow, ThreadMode, WaitReason};
use crate::units::Amounts;

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
    /// Some host carries one of its tags.
    is_carried: bool,
    pub(super) job: &'a JobRow,
    pub(super) show: &'a ShowRow,
}

impl<'a> Layer<'a> {
    pub(super) fn of(view: &'a View<'_>, candidate: CandidateIx) -> Self {
        let is_carried = view.is_carried[candidate];
        let candidate = &view.snapshot.candidates[candidate];
        let job = &view.snapshot.jobs[candidate.job];
        Self { view, candidate, is_carried, job, show: &view.snapshot.shows[job.show] }
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
    pub(super) const GATES: [Gate<Self>; 10] = [
        (WaitReason::RowUnusable, |layer| layer.candidate.unusable.is_none()),
        (WaitReason::JobPaused, |layer| !layer.job.is_paused),
        (WaitReason::AutoBookOff, |layer| layer.job.is_auto_book),
        (WaitReason::ShowInactive, |layer| layer.show.is_active),
        (WaitReason::ShowTakenBack, |layer| !layer.view.holds.taken_back.contains(&layer.show.id)),
        (WaitReason::StartAfter, |layer| {
            layer.candidate.start_after.is_none_or(|start| start <= layer.view.snapshot.taken_at)
        }),
        (WaitReason::Unlaunchable, |layer| !layer.view.holds.unlaunchable.contains_key(&layer.candidate.layer)),
        (WaitReason::SlotsRequired, |layer| !layer.candidate.needs_slots),
        (WaitReason::LicencesDeclared, |layer| !layer.candidate.has_refused_licences),
        // Tags that no host carries are another matter.
        (WaitReason::NotSelected, |layer| !layer.candidate.clusters.is_empty() || !layer.is_carried),
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
    is_closed: bool,
    os: &'a [String],
    thread_mode: ThreadMode,
}

impl<'a> HostTraits<'a> {
    pub(super) fn of(view: &View<'a>, host: HostIx) -> Self {
        let row = &view.snapshot.hosts[host];
        Self { is_closed: view.state(host).is_closed(), os: &row.os, thread_mode: row.thread_mode }
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
        (WaitReason::NoHostOpen, |on| !on.host.is_closed),
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
    trace.gate(WaitReason::LowFreeMemory, reserved != Err(Unfit::LowFreeMemory))?;
    trace.gate(WaitReason::HostLoad, reserved != Err(Unfit::HostLoad))?;
    trace.gate(WaitReason::GpuReserved, reserved != Err(Unfit::GpuKept))?;
    trace.gate(WaitReason::Capacity, reserved.is_ok())?;
    reserved.map_err(|_| WaitReason::Capacity)
}
