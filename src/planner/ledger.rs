//! The running account of everything that has a cap: the snapshot's use, plus what the plan adds.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::view::View;
use crate::model::{AssumedBooking, CandidateIx, FolderIx, HostIx, JobIx, LimitIx, LimitUse, Snapshot, SubscriptionIx};
use crate::units::{Amounts, Cores, Gpus};

/// Cores and GPUs in use under one cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) cores: Cores,
    pub(super) gpus: Gpus,
}

impl Used {
    /// The use after one more booking.
    pub(super) fn with(self, amounts: &Amounts) -> Self {
        Self { cores: self.cores + amounts.cores, gpus: self.gpus + amounts.gpus }
    }
}

/// Each list runs parallel to the snapshot's.
#[derive(Clone)]
pub(super) struct Ledger<'s> {
    snapshot: &'s Snapshot,
    subscriptions: Vec<Cores>,
    folders: Vec<Used>,
    jobs: Vec<Used>,
    limits: Vec<LimitAccount>,
}

#[derive(Clone)]
pub(super) struct LimitAccount {
    used: i64,
    max: i64,
    /// Positions of the hosts that hold a seat; `None` for limits that count frames.
    holders: Option<HashSet<HostIx>>,
}

impl LimitAccount {
    pub(super) const fn used(&self) -> i64 {
        self.used
    }

    pub(super) const fn max(&self) -> i64 {
        self.max
    }

    /// One more frame may run, whatever its host.
    pub(super) const fn has_room(&self) -> bool {
        self.used < self.max
    }

    /// Hosts that take any number of frames; none for limits that count frames.
    pub(super) const fn holders(&self) -> Option<&HashSet<HostIx>> {
        self.holders.as_ref()
    }

    pub(super) fn allows(&self, host: HostIx) -> bool {
        self.has_room() || self.holders.as_ref().is_some_and(|holders| holders.contains(&host))
    }

    fn take(&mut self, host: HostIx) {
        let is_new = self.holders.as_mut().is_none_or(|holders| holders.insert(host));
        if is_new {
            self.used += 1;
        }
    }
}

impl<'s> Ledger<'s> {
    pub(super) fn new(view: &View<'s>) -> Self {
        let snapshot = view.snapshot;
        let mut ledger = Self {
            snapshot,
            subscriptions: snapshot.subscriptions.iter().map(|subscription| subscription.cores).collect(),
            folders: snapshot.folders.iter().map(|row| Used { cores: row.cores, gpus: row.gpus }).collect(),
            jobs: snapshot.jobs.iter().map(|row| Used { cores: row.cores, gpus: row.gpus }).collect(),
            limits: snapshot.limits.iter().map(|limit| account(&limit.usage, snapshot)).collect(),
        };
        ledger.assume(&view.holds.assumed);
        ledger
    }

    /// Counts bookings that the snapshot does not show.
    fn assume(&mut self, bookings: &[AssumedBooking]) {
        if bookings.is_empty() {
            return;
        }
        let snapshot = self.snapshot;
        let hosts: HashMap<_, HostIx> = positions(snapshot.hosts.iter().map(|row| &row.id));
        let subscriptions: HashMap<_, SubscriptionIx> =
            positions(snapshot.subscriptions.iter().map(|row| (&row.show, &row.alloc)));
        let folders: HashMap<_, FolderIx> = positions(snapshot.folders.iter().map(|row| &row.id));
        let jobs: HashMap<_, JobIx> = positions(snapshot.jobs.iter().map(|row| &row.id));
        let limits: HashMap<_, LimitIx> = positions(snapshot.limits.iter().map(|row| &row.id));
        let mut unknown_holders = HashSet::new();
        for booking in bookings {
            for _ in 0..booking.frames {
                if let Some(&subscription) = subscriptions.get(&(&booking.show, &booking.alloc)) {
                    self.subscriptions[subscription] += booking.reservation.cores;
                }
                if let Some(&folder) = folders.get(&booking.folder) {
                    self.folders[folder] = self.folders[folder].with(&booking.reservation);
                }
                if let Some(&job) = jobs.get(&booking.job) {
                    self.jobs[job] = self.jobs[job].with(&booking.reservation);
                }
            }
            let host = hosts.get(&booking.host).copied();
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

    pub(super) fn subscription(&self, subscription: SubscriptionIx) -> Cores {
        self.subscriptions[subscription]
    }

    pub(super) fn folder(&self, folder: FolderIx) -> Used {
        self.folders[folder]
    }

    pub(super) fn job(&self, job: JobIx) -> Used {
        self.jobs[job]
    }

    pub(super) fn limit(&self, limit: LimitIx) -> &LimitAccount {
        &self.limits[limit]
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
        let folder = self.snapshot.jobs[candidate.job].folder;
        self.subscriptions[subscription] += amounts.cores;
        self.folders[folder] = self.folders[folder].with(amounts);
        self.jobs[candidate.job] = self.jobs[candidate.job].with(amounts);
        for &limit in &candidate.limits {
            self.limits[limit].take(host);
        }
    }
}

/// Of equal keys, the first one's.
fn positions<K: Eq + Hash, Ix: From<usize>>(
    keys: impl DoubleEndedIterator<Item = K> + ExactSizeIterator,
) -> HashMap<K, Ix> {
    keys.enumerate().rev().map(|(position, key)| (key, position.into())).collect()
}

/// A host that takes a seat in this plan holds it as itself and not by name, since hosts that are named
/// by address share the name before the first dot.
fn account(usage: &LimitUse, snapshot: &Snapshot) -> LimitAccount {
    match usage {
        LimitUse::Frames { used, max } => LimitAccount { used: *used, max: *max, holders: None },
        LimitUse::Hosts { used, max, .. } => {
            let holding = HostIx::all(&snapshot.hosts).filter(|&host| usage.is_held_by(&snapshot.hosts[host].name));
            LimitAccount { used: *used, max: *max, holders: Some(holding.collect()) }
        }
    }
}
