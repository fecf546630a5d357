//! Which hosts a layer may go to at all, shared by all layers that ask for the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::eligible::{Eligible, Pinned, Reached};
use super::gates::{FirstShut, Layer, OnHost, Trace, shape_gate};
use super::hosts::HostIndex;
use super::reserve::Ask;
use super::view::View;
use crate::model::{AllocId, CandidateIx, ClusterIx, FacilityId, Host, HostIx, Snapshot, Tag, WaitReason};
use crate::units::{Amounts, Cores};

/// What layers ask for that differ only in name, job and caps.
pub(super) struct Demand {
    pub(super) ask: Ask,
    /// What a frame takes at least, on whichever of the hosts.
    pub(super) least: Amounts,
    /// The hosts that could run it if they were empty, by allocation.
    pub(super) eligible: Vec<Eligible>,
    /// Where there are none: the gate that took the last ones away.
    pub(super) furthest: WaitReason,
}

/// All demands of a snapshot.
pub(super) struct Demands {
    pub(super) list: Vec<Demand>,
    /// The demand of each candidate.
    pub(super) of_candidate: Vec<usize>,
}

/// What decides which hosts are reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Reach<'s> {
    facility: &'s FacilityId,
    clusters: &'s [ClusterIx],
    tags: &'s BTreeSet<Tag>,
    os: Option<&'s str>,
    is_threadable: bool,
}

impl Demands {
    pub(super) fn of(view: &View<'_>, index: &HostIndex<'_>, allocs: &HashMap<&AllocId, usize>) -> Self {
        let snapshot = view.snapshot;
        let clusters_by_name = clusters_by_name(snapshot);
        let mut reaches: HashMap<Reach<'_>, Hosts> = HashMap::new();
        let mut known: HashMap<(Reach<'_>, Ask), usize> = HashMap::new();
        let mut list = Vec::new();
        let mut of_candidate = Vec::with_capacity(snapshot.candidates.len());
        for position in CandidateIx::all(&snapshot.candidates) {
            let layer = Layer::of(view, position);
            let Layer { candidate, job, .. } = layer;
            let reach = Reach {
                facility: &job.facility,
                clusters: &candidate.clusters,
                tags: &candidate.tags,
                os: job.os.as_deref(),
                is_threadable: candidate.is_threadable,
            };
            let ask = Ask::of(candidate, view.policy);
            let demand = *known.entry((reach, ask)).or_insert_with(|| {
                let hosts = reaches.entry(reach).or_insert_with(|| Hosts::reached(&layer, index, &clusters_by_name));
                list.push(hosts.demand(ask, view, index, allocs));
                list.len() - 1
            });
            of_candidate.push(demand);
        }
        Self { list, of_candidate }
    }

    pub(super) fn get(&self, candidate: CandidateIx) -> &Demand {
        &self.list[self.of_candidate[candidate]]
    }

    pub(super) fn get_mut(&mut self, candidate: CandidateIx) -> &mut Demand {
        &mut self.list[self.of_candidate[candidate]]
    }
}

/// Rank of each cluster's name.
fn clusters_by_name(snapshot: &Snapshot) -> Vec<usize> {
    let mut order: Vec<ClusterIx> = ClusterIx::all(&snapshot.clusters).collect();
    order.sort_by(|&a, &b| snapshot.clusters[a].cmp(&snapshot.clusters[b]));
    let mut ranks = vec![0; order.len()];
    for (rank, cluster) in order.into_iter().enumerate() {
        ranks[cluster] = rank;
    }
    ranks
}

/// The hosts that tags, state, operating system and thread mode leave.
struct Hosts {
    groups: Vec<Reached>,
    pinned: Vec<Pinned>,
    /// The gate that took the last ones away; of no meaning where some are left.
    furthest: WaitReason,
}

impl Hosts {
    fn reached(layer: &Layer<'_>, index: &HostIndex<'_>, clusters_by_name: &[usize]) -> Self {
        let Layer { view, candidate, job, .. } = *layer;
        let snapshot = view.snapshot;
        let mut clusters = candidate.clusters.clone();
        clusters.sort_unstable_by_key(|&cluster| clusters_by_name[cluster.0]);
        // The first cluster that covers the host through one of the tags.
        let reaching = |tags: &mut dyn Iterator<Item = &Tag>, host: &Host| {
            let covering = |tag| clusters.iter().copied().find(|&cluster| snapshot.clusters[cluster].covers(tag, host));
            tags.filter_map(covering).min_by_key(|&cluster| clusters_by_name[cluster.0])
        };
        let of_facility = |host: &Host| host.facility == job.facility;
        let groups: BTreeSet<usize> = candidate.tags.iter().flat_map(|tag| index.groups_with(tag)).copied().collect();
        let groups = groups.into_iter().filter_map(|group| {
            let position = index.representative(group);
            let host = Some(&snapshot.hosts[position]).filter(|host| of_facility(host))?;
            // The representative may carry rare tags that the others lack.
            let mut common = candidate.tags.iter().filter(|tag| index.groups_with(tag).contains(&group));
            Some((Reached { group, cluster: reaching(&mut common, host)? }, position))
        });
        let pinned: BTreeSet<HostIx> =
            candidate.tags.iter().flat_map(|tag| index.hosts_with_rare(tag)).copied().collect();
        let pinned = pinned.into_iter().filter_map(|position| {
            let host = Some(&snapshot.hosts[position]).filter(|host| of_facility(host))?;
            Some(Pinned { host: position, cluster: reaching(&mut candidate.tags.iter(), host)? })
        });

        let mut furthest = WaitReason::NoHostWithTags;
        let mut passes = |host| match FirstShut.gates(&OnHost::GATES, &layer.on(host)) {
            Ok(()) => true,
            Err(reason) => {
                furthest = furthest.max(reason);
                false
            }
        };
        let groups = groups.filter(|&(_, host)| passes(host)).map(|(reached, _)| reached).collect();
        let pinned = pinned.filter(|pinned| passes(pinned.host)).collect();
        Self { groups, pinned, furthest }
    }

    /// Leaves out the hosts that are too small even when empty.
    fn demand(&self, ask: Ask, view: &View<'_>, index: &HostIndex<'_>, allocs: &HashMap<&AllocId, usize>) -> Demand {
        let mut eligible: BTreeMap<usize, Eligible> = BTreeMap::new();
        let mut exclusive_min = Cores(i64::MAX);
        for &reached in &self.groups {
            let emptied = &index.group(reached.group).emptied;
            let fitting = emptied.iter().filter_map(|empty| shape_gate(&ask, empty, view.policy).ok());
            let Some(smallest) = fitting.map(|amounts| amounts.cores).min() else { continue };
            exclusive_min = exclusive_min.min(smallest);
            let alloc = allocs[&view.snapshot.hosts[index.representative(reached.group)].alloc];
            eligible.entry(alloc).or_insert_with(|| Eligible::new(alloc)).groups.push(reached);
        }
        for &pinned in &self.pinned {
            let Ok(amounts) = shape_gate(&ask, &view.emptied(pinned.host), view.policy) else { continue };
            exclusive_min = exclusive_min.min(amounts.cores);
            let alloc = allocs[&view.snapshot.hosts[pinned.host].alloc];
            eligible.entry(alloc).or_insert_with(|| Eligible::new(alloc)).pinned.push(pinned);
        }
        let is_reached = !(self.groups.is_empty() && self.pinned.is_empty());
        let cores = if ask.is_exclusive() && !eligible.is_empty() { exclusive_min } else { ask.cores_min(view.policy) };
        Demand {
            ask,
            least: Amounts { cores, memory: ask.memory, gpus: ask.gpus, gpu_memory: ask.gpu_memory },
            eligible: eligible.into_values().collect(),
            furthest: if is_reached { WaitReason::Shape } else { self.furthest },
        }
    }
}
