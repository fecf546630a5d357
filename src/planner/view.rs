//! The farm as a plan begins with it: the facts of the snapshot with the holds laid over them.

use std::borrow::Cow;
use std::collections::HashMap;

use super::reserve::Offer;
use crate::model::{CandidateIx, Holds, Host, HostId, HostIx, HostState, LayerId, Policy, Snapshot};
use crate::units::Amounts;

/// Lists run parallel to the snapshot's.
pub(super) struct View<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) holds: &'s Holds,
    pub(super) policy: &'s Policy,
    hosts: Vec<HostView<'s>>,
    waiting: Vec<u32>,
    back_offs: Vec<BackOff>,
}

struct HostView<'s> {
    state: Cow<'s, HostState>,
    offer: Offer,
}

/// How far failures hold a layer back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BackOff {
    None,
    /// One frame may go.
    Probation,
    Full,
}

impl<'s> View<'s> {
    pub(super) fn new(snapshot: &'s Snapshot, holds: &'s Holds, policy: &'s Policy) -> Self {
        let mut assumed: HashMap<&LayerId, u32> = HashMap::new();
        let mut booked: HashMap<&HostId, Amounts> = HashMap::new();
        for booking in &holds.assumed {
            *assumed.entry(&booking.layer).or_default() += booking.frames;
            let amounts = booked.entry(&booking.host).or_default();
            (0..booking.frames).for_each(|_| *amounts += booking.reservation);
        }
        let waiting = snapshot.candidates.iter().map(|candidate| {
            let found = holds.waiting_found.get(&candidate.layer).copied().unwrap_or(u32::MAX);
            let assumed = assumed.get(&candidate.layer).copied().unwrap_or_default();
            candidate.waiting_frames.min(found).saturating_sub(assumed)
        });
        let back_offs = snapshot.candidates.iter().map(|candidate| {
            if holds.backing_off.contains(&candidate.layer) {
                BackOff::Full
            } else if holds.on_probation.contains(&candidate.layer) {
                if assumed.contains_key(&candidate.layer) { BackOff::Full } else { BackOff::Probation }
            } else {
                BackOff::None
            }
        });
        Self {
            snapshot,
            holds,
            policy,
            hosts: snapshot.hosts.iter().map(|host| host_view(host, holds, booked.get(&host.id))).collect(),
            waiting: waiting.collect(),
            back_offs: back_offs.collect(),
        }
    }

    pub(super) fn state(&self, host: HostIx) -> &HostState {
        &self.hosts[host].state
    }

    pub(super) fn offer(&self, host: HostIx) -> Offer {
        self.hosts[host].offer
    }

    /// The host with nothing on it. A ledger may claim more idle than there is; that counts.
    pub(super) fn emptied(&self, host: HostIx) -> Offer {
        let Offer { idle, .. } = self.hosts[host].offer;
        let idle = self.snapshot.hosts[host].total.max(idle);
        Offer { cores: idle.cores, idle, ..self.hosts[host].offer }
    }

    pub(super) fn waiting(&self) -> &Vec<u32> {
        &self.waiting
    }

    /// Whether failures of the past hold back all of a candidate's frames that wait now.
    pub(super) fn is_held(&self, candidate: CandidateIx, waiting: u32) -> bool {
        match self.back_offs[candidate] {
            BackOff::None => false,
            BackOff::Probation => waiting != self.waiting[candidate],
            BackOff::Full => true,
        }
    }

    /// Of so many frames that wait now, those that may go.
    pub(super) fn let_go(&self, candidate: CandidateIx, waiting: u32) -> u32 {
        match self.back_offs[candidate] {
            _ if self.is_held(candidate, waiting) => 0,
            BackOff::Probation => waiting.min(1),
            BackOff::None | BackOff::Full => waiting,
        }
    }
}

fn host_view<'s>(host: &'s Host, holds: &Holds, booked: Option<&Amounts>) -> HostView<'s> {
    let mut state = holds.state(host);
    let mut idle = host.idle;
    if let Some(booked) = booked {
        idle = (idle - *booked).max(Amounts::default());
        if state.is_open() && idle.memory < Host::IDLE_MEMORY_MIN {
            state = Cow::Owned(HostState::LowFreeMemory);
        }
    }
    if let Some(withheld) = holds.withheld.get(&host.id) {
        idle = (idle - *withheld).max(Amounts::default());
    }
    let fractions = holds.fractions.get(&host.id).copied().unwrap_or_default();
    HostView { state, offer: Offer { fractions, ..Offer::of(host, idle) } }
}
