//! The farm as a plan begins with it: the facts of the snapshot with the holds laid over them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::reserve::{Kept, Offer};
use crate::model::{
    AssumedBooking, Candidate, CandidateIx, FacilityId, Holds, Host, HostIx, HostState, LayerId, Policy, Snapshot, Tag,
    positions,
};
use crate::units::Amounts;

/// Lists run parallel to the snapshot's.
pub(super) struct View<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) holds: &'s Holds,
    pub(super) policy: &'s Policy,
    hosts: Vec<HostView<'s>>,
    /// Frames that wait, per candidate.
    pub(super) waiting: Vec<u32>,
    back_offs: Vec<BackOff>,
    /// Hosts that some frames of a candidate keep off, and how many may go there in all.
    pub(super) beside: HashMap<(CandidateIx, HostIx), u32>,
    /// Hosts that run frames of the layer already, per candidate, in their order.
    pub(super) warm: Vec<Vec<HostIx>>,
    /// Bookings that the snapshot does not show, with the host where it has that.
    pub(super) assumed: Vec<(&'s AssumedBooking, Option<HostIx>)>,
    /// Whether hosts carry the tags that a candidate asks for, per candidate.
    pub(super) is_carried: Vec<bool>,
}

struct HostView<'s> {
    state: Cow<'s, HostState>,
    offer: Offer,
    launch_room: u32,
}

/// Whether some host of its facility carries one of its tags, per candidate. Work that clusters reach need not
/// ask.
fn carried(snapshot: &Snapshot) -> Vec<bool> {
    let is_reached = |row: &Candidate| !row.clusters.is_empty();
    let mut tags: HashSet<(&FacilityId, &Tag)> = HashSet::new();
    if !snapshot.candidates.iter().all(is_reached) {
        tags.extend(snapshot.hosts.iter().flat_map(|host| host.tags.iter().map(|tag| (&host.facility, tag))));
    }
    let is_carried = |row: &Candidate| {
        let facility = &snapshot.jobs[row.job].facility;
        is_reached(row) || row.tags.iter().any(|tag| tags.contains(&(facility, tag)))
    };
    snapshot.candidates.iter().map(is_carried).collect()
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
        let candidates: HashMap<_, CandidateIx> = positions(snapshot.candidates.iter().map(|row| &row.layer));
        let waiting = snapshot.candidates.iter().map(|row| {
            let found = holds.waiting_found.get(&row.layer).copied().unwrap_or(u32::MAX);
            row.waiting_frames.min(found)
        });
        let mut view = Self {
            snapshot,
            holds,
            policy,
            hosts: snapshot.hosts.iter().map(|host| HostView::of(host, holds, policy)).collect(),
            waiting: waiting.collect(),
            back_offs: snapshot.candidates.iter().map(|row| BackOff::of(&row.layer, holds)).collect(),
            warm: vec![Vec::new(); snapshot.candidates.len()],
            assumed: Vec::new(),
            beside: HashMap::new(),
            is_carried: carried(snapshot),
        };
        for (host, row) in HostIx::all(&snapshot.hosts).zip(&snapshot.hosts) {
            for &candidate in row.running_layers.iter().filter_map(|layer| candidates.get(layer)) {
                view.warm[candidate].push(host);
            }
        }
        if !holds.assumed.is_empty() {
            view.assume(&candidates);
        }
        if !holds.elsewhere.is_empty() {
            view.keep_off(&candidates);
        }
        for (view, row) in view.hosts.iter_mut().zip(&snapshot.hosts) {
            if let Some(withheld) = holds.withheld.get(&row.id) {
                view.offer.idle = (view.offer.idle - *withheld).max(Amounts::default());
            }
        }
        view
    }

    /// Says how hosts keep themselves for GPU work.
    pub(super) fn keep(&mut self, kept: Vec<Kept>) {
        self.hosts.iter_mut().zip(kept).for_each(|(host, kept)| host.offer.kept = kept);
    }

    /// What a host may get of the layers of which frames keep off it: the others that wait.
    fn keep_off(&mut self, candidates: &HashMap<&LayerId, CandidateIx>) {
        let hosts: HashMap<_, HostIx> = positions(self.snapshot.hosts.iter().map(|row| &row.id));
        for (layer, keeping_off) in &self.holds.elsewhere {
            let Some(&candidate) = candidates.get(layer) else { continue };
            for (host, frames) in keeping_off {
                if let Some(&host) = hosts.get(host) {
                    self.beside.insert((candidate, host), self.waiting[candidate].saturating_sub(*frames));
                }
            }
        }
    }

    /// Counts bookings that the snapshot does not show.
    fn assume(&mut self, candidates: &HashMap<&LayerId, CandidateIx>) {
        let hosts: HashMap<_, HostIx> = positions(self.snapshot.hosts.iter().map(|row| &row.id));
        for booking in &self.holds.assumed {
            let host = hosts.get(&booking.host).copied();
            if let Some(&candidate) = candidates.get(&booking.layer) {
                self.waiting[candidate] = self.waiting[candidate].saturating_sub(booking.frames);
                if self.back_offs[candidate] == BackOff::Probation {
                    self.back_offs[candidate] = BackOff::Full;
                }
                self.warm[candidate].extend(host);
            }
            if let Some(host) = host {
                self.hosts[host].take(booking);
            }
            self.assumed.push((booking, host));
        }
        self.warm.iter_mut().for_each(|hosts| hosts.sort_unstable());
    }

    pub(super) fn state(&self, host: HostIx) -> &HostState {
        &self.hosts[host].state
    }

    pub(super) fn offer(&self, host: HostIx) -> Offer {
        self.hosts[host].offer
    }

    /// How many frames it may be given.
    pub(super) fn launch_room(&self, host: HostIx) -> u32 {
        self.hosts[host].launch_room
    }

    /// The host with nothing on it. A ledger may claim more idle than there is; that counts.
    pub(super) fn emptied(&self, host: HostIx) -> Offer {
        let Offer { idle, .. } = self.hosts[host].offer;
        let idle = self.snapshot.hosts[host].total.max(idle);
        Offer {
            cores: idle.cores,
            idle,
            fractions: self.hosts[host].offer.fractions,
            ..Offer::of(&self.snapshot.hosts[host], idle)
        }
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

impl<'s> HostView<'s> {
    fn of(host: &'s Host, holds: &Holds, policy: &Policy) -> Self {
        let state = holds.state(host);
        let offer = Offer {
            fractions: holds.fractions.get(&host.id).copied().unwrap_or_default(),
            busy: holds.busy(host, policy.host_load),
            lacks_free_memory: *state == HostState::LowFreeMemory,
            ..Offer::of(host, host.idle)
        };
        let launch_room = holds.launch_room.get(&host.id).copied().unwrap_or(u32::MAX);
        Self { state, offer, launch_room }
    }

    fn take(&mut self, booking: &AssumedBooking) {
        if self.launch_room != u32::MAX {
            self.launch_room = self.launch_room.saturating_sub(booking.frames);
        }
        let idle = &mut self.offer.idle;
        (0..booking.frames).for_each(|_| *idle -= booking.reservation);
        *idle = idle.max(Amounts::default());
    }
}

impl BackOff {
    fn of(layer: &LayerId, holds: &Holds) -> Self {
        if holds.backing_off.contains(layer) {
            Self::Full
        } else if holds.on_probation.contains(layer) {
            Self::Probation
        } else {
            Self::None
        }
    }
}
