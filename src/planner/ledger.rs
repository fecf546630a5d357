//! The running account of everything that has a cap: the snapshot's use, plus what the plan adds.

use std::collections::{HashMap, HashSet};

use super::view::View;
use crate::model::{CandidateIx, FolderIx, HostIx, JobIx, LimitIx, LimitUse, Snapshot, SubscriptionIx, positions};
use crate::units::{Amounts, Gpus};

/// Each list runs parallel to the snapshot's.
#[derive(Clone)]
pub(super) struct Ledger<'s> {
    snapshot: &'s Snapshot,
    /// Only amounts that somebody caps are told by the snapshot; the others count from nothing.
    pub(super) subscriptions: Vec<Amounts>,
    pub(super) folders: Vec<Amounts>,
    pub(super) jobs: Vec<Amounts>,
    pub(super) limits: Vec<LimitAccount>,
}

#[derive(Clone)]
pub(super) struct LimitAccount {
    pub(super) used: i64,
    pub(super) max: i64,
    /// Positions of the hosts that hold a seat, and may run any number of frames; `None` for limits that
    /// count frames.
    pub(super) holders: Option<HashSet<HostIx>>,
}

impl LimitAccount {
    /// A host that takes a seat in this plan holds it as itself and not by name, since hosts that are named
    /// by address share the name before the first dot.
    fn of(usage: &LimitUse, snapshot: &Snapshot) -> Self {
        match usage {
            LimitUse::Frames { used, max } => Self { used: *used, max: *max, holders: None },
            LimitUse::Hosts { used, max, .. } => {
                let holding = HostIx::all(&snapshot.hosts).filter(|&host| usage.is_held_by(&snapshot.hosts[host].name));
                Self { used: *used, max: *max, holders: Some(holding.collect()) }
            }
        }
    }

    /// One more frame may run, whatever its host.
    pub(super) const fn has_room(&self) -> bool {
        self.used < self.max
    }

    fn take(&mut self, host: HostIx) {
        let is_new = self.holders.as_mut().is_none_or(|holders| holders.insert(host));
        self.used += i64::from(is_new);
    }
}

impl<'s> Ledger<'s> {
    pub(super) fn new(view: &View<'s>) -> Self {
        let snapshot = view.snapshot;
        let used = |cores, gpus| Amounts { cores, gpus, ..Amounts::default() };
        let mut ledger = Self {
            snapshot,
            subscriptions: snapshot.subscriptions.iter().map(|row| used(row.cores, Gpus::ZERO)).collect(),
            folders: snapshot.folders.iter().map(|row| used(row.cores, row.gpus)).collect(),
            jobs: snapshot.jobs.iter().map(|row| used(row.cores, row.gpus)).collect(),
            limits: snapshot.limits.iter().map(|limit| LimitAccount::of(&limit.usage, snapshot)).collect(),
        };
        if !view.assumed.is_empty() {
            ledger.assume(view);
        }
        ledger
    }

    /// Counts bookings that the snapshot does not show.
    fn assume(&mut self, view: &View<'s>) {
        let snapshot = self.snapshot;
        let subscriptions: HashMap<_, SubscriptionIx> =
            positions(snapshot.subscriptions.iter().map(|row| (&row.show, &row.alloc)));
        let folders: HashMap<_, FolderIx> = positions(snapshot.folders.iter().map(|row| &row.id));
        let jobs: HashMap<_, JobIx> = positions(snapshot.jobs.iter().map(|row| &row.id));
        let limits: HashMap<_, LimitIx> = positions(snapshot.limits.iter().map(|row| &row.id));
        let mut unknown_holders = HashSet::new();
        for &(booking, host) in &view.assumed {
            for _ in 0..booking.frames {
                if let Some(&subscription) = subscriptions.get(&(&booking.show, &booking.alloc)) {
                    self.subscriptions[subscription] += booking.reservation;
                }
                if let Some(&folder) = folders.get(&booking.folder) {
                    self.folders[folder] += booking.reservation;
                }
                if let Some(&job) = jobs.get(&booking.job) {
                    self.jobs[job] += booking.reservation;
                }
            }
            for &limit in booking.limits.iter().filter_map(|limit| limits.get(limit)) {
                match host {
                    Some(host) => (0..booking.frames).for_each(|_| self.limits[limit].take(host)),
                    // A seat of a host that this plan does not know, once for all frames that it may hold it for.
                    None if self.limits[limit].holders.is_some() => {
                        let is_new = unknown_holders.insert((limit, &booking.host));
                        self.limits[limit].used += i64::from(is_new);
                    }
                    None => self.limits[limit].used += i64::from(booking.frames),
                }
            }
        }
    }

    /// Adds one frame of a candidate on a host to everything that counts it.
    pub(super) fn take(
        &mut self,
        candidate: CandidateIx,
        host: HostIx,
        subscription: SubscriptionIx,
        amounts: &Amounts,
    ) {
        let candidate = &self.snapshot.candidates[candidate];
        self.subscriptions[subscription] += *amounts;
        self.folders[self.snapshot.jobs[candidate.job].folder] += *amounts;
        self.jobs[candidate.job] += *amounts;
        for &limit in &candidate.limits {
            self.limits[limit].take(host);
        }
    }
}
