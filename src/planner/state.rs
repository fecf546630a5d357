//! What a plan knows while it grows: what hosts have left, what is used under each cap, what still waits.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::demand::{Demand, Demands};
use super::hosts::HostIndex;
use super::ledger::Ledger;
use super::view::View;
use crate::model::{AllocId, CandidateIx, HostId, HostIx, LayerId, ShowId, Snapshot, SubscriptionIx, Tag};

pub(super) struct State<'s> {
    pub(super) view: View<'s>,
    pub(super) index: HostIndex<'s>,
    pub(super) ledger: Ledger<'s>,
    pub(super) demands: Demands,
    /// Rank of each allocation's id.
    allocs: HashMap<&'s AllocId, usize>,
    /// Position of each subscription, by show and rank of the allocation.
    subscriptions: HashMap<(&'s ShowId, usize), SubscriptionIx>,
    /// Hosts that run frames of the layer already, per candidate.
    pub(super) warm: Vec<Vec<HostIx>>,
    /// Frames still waiting, per candidate.
    pub(super) waiting: Vec<u32>,
}

impl<'s> State<'s> {
    pub(super) fn new(view: View<'s>) -> Self {
        let View { snapshot, .. } = view;
        let asked: HashSet<&Tag> = snapshot.candidates.iter().flat_map(|candidate| &candidate.tags).collect();
        let index = HostIndex::new(&view, &asked);
        let allocs = alloc_ranks(snapshot);
        Self {
            ledger: Ledger::new(&view),
            demands: Demands::of(&view, &index, &allocs),
            index,
            subscriptions: subscriptions_by_alloc(snapshot, &allocs),
            allocs,
            warm: warm_hosts(&view),
            waiting: view.waiting().clone(),
            view,
        }
    }

    pub(super) fn demand(&self, candidate: CandidateIx) -> &Demand {
        self.demands.get(candidate)
    }

    /// Frames of a candidate that may go now.
    pub(super) fn let_go(&self, candidate: CandidateIx) -> u32 {
        self.view.let_go(candidate, self.waiting[candidate])
    }

    /// The subscription that pays for a candidate on a host.
    pub(super) fn subscription_on(&self, candidate: CandidateIx, host: HostIx) -> Option<SubscriptionIx> {
        self.subscription(self.show_of(candidate), *self.allocs.get(&self.view.snapshot.hosts[host].alloc)?)
    }

    pub(super) fn subscription(&self, show: &ShowId, alloc: usize) -> Option<SubscriptionIx> {
        self.subscriptions.get(&(show, alloc)).copied()
    }

    pub(super) fn show_of(&self, candidate: CandidateIx) -> &'s ShowId {
        let snapshot = self.view.snapshot;
        &snapshot.shows[snapshot.jobs[snapshot.candidates[candidate].job].show].id
    }
}

/// Allocations by their ids.
fn alloc_ranks(snapshot: &Snapshot) -> HashMap<&AllocId, usize> {
    let of_hosts = snapshot.hosts.iter().map(|host| &host.alloc);
    let all: BTreeSet<&AllocId> = of_hosts.chain(snapshot.subscriptions.iter().map(|row| &row.alloc)).collect();
    all.into_iter().zip(0..).collect()
}

/// Should a show subscribe twice to an allocation, the subscription with the lower id counts.
fn subscriptions_by_alloc<'s>(
    snapshot: &'s Snapshot,
    allocs: &HashMap<&AllocId, usize>,
) -> HashMap<(&'s ShowId, usize), SubscriptionIx> {
    let mut found: HashMap<(&ShowId, usize), SubscriptionIx> = HashMap::new();
    for (position, row) in SubscriptionIx::all(&snapshot.subscriptions).zip(&snapshot.subscriptions) {
        let first = found.entry((&row.show, allocs[&row.alloc])).or_insert(position);
        if row.id < snapshot.subscriptions[*first].id {
            *first = position;
        }
    }
    found
}

fn warm_hosts(view: &View<'_>) -> Vec<Vec<HostIx>> {
    let View { snapshot, holds, .. } = *view;
    let candidates: HashMap<&LayerId, CandidateIx> = snapshot
        .candidates
        .iter()
        .map(|candidate| &candidate.layer)
        .zip(CandidateIx::all(&snapshot.candidates))
        .collect();
    let mut warm = vec![Vec::new(); snapshot.candidates.len()];
    for (host, row) in HostIx::all(&snapshot.hosts).zip(&snapshot.hosts) {
        for candidate in row.running_layers.iter().filter_map(|layer| candidates.get(layer)) {
            warm[*candidate].push(host);
        }
    }
    if !holds.assumed.is_empty() {
        let hosts: HashMap<&HostId, HostIx> =
            snapshot.hosts.iter().map(|host| &host.id).zip(HostIx::all(&snapshot.hosts)).collect();
        for booking in &holds.assumed {
            if let (Some(&candidate), Some(&host)) = (candidates.get(&booking.layer), hosts.get(&booking.host)) {
                warm[candidate].push(host);
            }
        }
    }
    warm
}
