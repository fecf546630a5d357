//! Which hosts a layer may go to at all, shared by all layers that ask for the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::eligible::Eligible;
use super::gates::{FirstShut, Layer, LayerTraits, OnHost, Trace, shape_gate};
use super::hosts::HostIndex;
use super::reserve::{Ask, Offer};
use super::view::View;
use crate::model::{
    AllocId, CandidateIx, ClusterIx, FacilityId, Host, HostIx, ShowId, Snapshot, SubscriptionIx, Tag, WaitReason,
};
use crate::units::{Amounts, Cores};

/// What layers ask for that differ only in name, job and caps.
pub(super) struct Demand<'s> {
    pub(super) ask: Ask,
    /// What a frame takes at least, on whichever of the hosts.
    pub(super) least: Amounts,
    /// The hosts that could run it if they were empty, by allocation.
    pub(super) eligible: Vec<Eligible<'s>>,
    /// Where there are none: the gate that took the last ones away.
    pub(super) furthest: WaitReason,
}

/// All demands of a snapshot.
pub(super) struct Demands<'s> {
    pub(super) list: Vec<Demand<'s>>,
    /// The demand of each candidate.
    of_candidate: Vec<usize>,
}

/// What decides which hosts are reached, and by whose right.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Reach<'s> {
    show: &'s ShowId,
    facility: &'s FacilityId,
    clusters: &'s [ClusterIx],
    tags: &'s BTreeSet<Tag>,
    traits: LayerTraits<'s>,
}

impl<'s> Demands<'s> {
    pub(super) fn of(view: &View<'s>, index: &HostIndex<'s>) -> Self {
        let snapshot = view.snapshot;
        let subscriptions = subscriptions_by_alloc(snapshot);
        let mut reaches: HashMap<Reach<'_>, Hosts> = HashMap::new();
        let mut known: HashMap<(Reach<'_>, Ask), usize> = HashMap::new();
        let mut list = Vec::new();
        let mut of_candidate = Vec::with_capacity(snapshot.candidates.len());
        for position in CandidateIx::all(&snapshot.candidates) {
            let layer = Layer::of(view, position);
            let Layer { candidate, job, .. } = layer;
            let reach = Reach {
                show: &layer.show.id,
                facility: &job.facility,
                clusters: &candidate.clusters,
                tags: &candidate.tags,
                traits: layer.traits(),
            };
            let ask = Ask::of(candidate, view.policy);
            let demand = *known.entry((reach, ask)).or_insert_with(|| {
                let hosts = reaches.entry(reach).or_insert_with(|| Hosts::reached(&layer, index));
                let subscription = |alloc| subscriptions.get(&(reach.show, alloc)).copied();
                list.push(hosts.demand(ask, view, index, subscription));
                list.len() - 1
            });
            of_candidate.push(demand);
        }
        Self { list, of_candidate }
    }

    pub(super) fn get(&self, candidate: CandidateIx) -> &Demand<'s> {
        &self.list[self.of_candidate[candidate]]
    }

    pub(super) fn get_mut(&mut self, candidate: CandidateIx) -> &mut Demand<'s> {
        &mut self.list[self.of_candidate[candidate]]
    }
}

/// Should a show subscribe twice to an allocation, the subscription with the lower id counts.
fn subscriptions_by_alloc(snapshot: &Snapshot) -> HashMap<(&ShowId, &AllocId), SubscriptionIx> {
    let rows = &snapshot.subscriptions;
    let mut by_id: Vec<SubscriptionIx> = SubscriptionIx::all(rows).collect();
    by_id.sort_by(|&a, &b| rows[b].id.cmp(&rows[a].id));
    by_id.into_iter().map(|position| ((&rows[position].show, &rows[position].alloc), position)).collect()
}

/// The hosts that tags, state, operating system and thread mode leave, each with the first cluster by name
/// that reaches it.
struct Hosts {
    groups: Vec<(usize, ClusterIx)>,
    pinned: Vec<(HostIx, ClusterIx)>,
    /// The gate that took the last ones away; of no meaning where some are left.
    furthest: WaitReason,
}

impl Hosts {
    fn reached(layer: &Layer<'_>, index: &HostIndex<'_>) -> Self {
        let Layer { view, candidate, job, .. } = *layer;
        let snapshot = view.snapshot;
        let tags: Vec<&Tag> = candidate.tags.iter().collect();
        let mut clusters = candidate.clusters.clone();
        clusters.sort_by(|&a, &b| snapshot.clusters[a].cmp(&snapshot.clusters[b]));
        let mut furthest = WaitReason::NoHostWithTags;
        // The first cluster that covers the host through one of the tags, if the host may be used.
        let mut reaching = |tags: &[&Tag], position: HostIx| {
            let host = &snapshot.hosts[position];
            let covers = |&cluster: &ClusterIx| tags.iter().any(|tag| snapshot.clusters[cluster].covers(tag, host));
            let cluster = clusters.iter().copied().find(covers).filter(|_| host.facility == job.facility)?;
            match FirstShut.gates(&OnHost::GATES, &layer.on(position)) {
                Ok(()) => Some(cluster),
                Err(reason) => {
                    furthest = furthest.max(reason);
                    None
                }
            }
        };
        let groups: BTreeSet<usize> = tags.iter().flat_map(|tag| index.groups_with(tag)).copied().collect();
        let groups = groups.into_iter().filter_map(|group| {
            // The representative may carry rare tags that the others lack.
            let is_common = |tag: &&Tag| index.groups_with(tag).contains(&group);
            let common: Vec<&Tag> = tags.iter().copied().filter(is_common).collect();
            Some((group, reaching(&common, index.representative(group))?))
        });
        let groups = groups.collect();
        let pinned: BTreeSet<HostIx> = tags.iter().flat_map(|tag| index.hosts_with_rare(tag)).copied().collect();
        let pinned = pinned.into_iter().filter_map(|host| Some((host, reaching(&tags, host)?))).collect();
        Self { groups, pinned, furthest }
    }

    /// Leaves out the hosts that are too small even when empty.
    fn demand<'s>(
        &self,
        ask: Ask,
        view: &View<'s>,
        index: &HostIndex<'s>,
        subscription: impl Fn(&'s AllocId) -> Option<SubscriptionIx>,
    ) -> Demand<'s> {
        let mut by_alloc: BTreeMap<&AllocId, Eligible<'s>> = BTreeMap::new();
        let mut exclusive_min = Cores(i64::MAX);
        let mut add = |host: HostIx,
                       emptied: &[Offer],
                       group: Option<(usize, ClusterIx)>,
                       pinned: Option<(HostIx, ClusterIx)>| {
            let fitting = emptied.iter().filter_map(|empty| shape_gate(&ask, empty, view.policy).ok());
            let Some(smallest) = fitting.map(|amounts| amounts.cores).min() else { return };
            exclusive_min = exclusive_min.min(smallest);
            let Host { alloc, alloc_name, .. } = &view.snapshot.hosts[host];
            let eligible = by_alloc.entry(alloc).or_insert_with(|| Eligible {
                alloc,
                alloc_name,
                subscription: subscription(alloc),
                groups: BTreeMap::new(),
                pinned: BTreeMap::new(),
                is_exhausted: false,
            });
            eligible.groups.extend(group);
            eligible.pinned.extend(pinned);
        };
        for &reached in &self.groups {
            add(index.representative(reached.0), index.emptied(reached.0), Some(reached), None);
        }
        for &pinned in &self.pinned {
            add(pinned.0, &[view.emptied(pinned.0)], None, Some(pinned));
        }
        let is_reached = !(self.groups.is_empty() && self.pinned.is_empty());
        let is_exclusive = ask.is_exclusive() && !by_alloc.is_empty();
        Demand {
            ask,
            least: ask.amounts(if is_exclusive { exclusive_min } else { ask.cores_min(view.policy) }),
            eligible: by_alloc.into_values().collect(),
            furthest: if is_reached { WaitReason::Shape } else { self.furthest },
        }
    }
}
