//! Which hosts a layer may go to at all, shared by all layers that ask for the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::fit::Ask;
use super::gates::{nature_gate, shape_gate};
use super::hosts::HostIndex;
use crate::model::{AllocId, Candidate, JobRow, Policy, Snapshot, Tag, WaitReason};
use crate::units::{Amounts, Cores};

/// What layers ask for that differ only in name, job and caps.
pub(super) struct Demand {
    pub(super) ask: Ask,
    /// What a frame takes at least, on whichever of the hosts.
    pub(super) least: Amounts,
    /// The hosts that could run it if they were empty, by allocation.
    pub(super) lanes: Vec<Lane>,
    /// Where there are none: the gate that took the last ones away.
    pub(super) furthest: WaitReason,
}

/// The hosts of one allocation that a demand may go to.
pub(super) struct Lane {
    /// Rank of the allocation's id.
    pub(super) alloc: usize,
    /// By group.
    pub(super) groups: Vec<Reached>,
    /// No host has room for the demand, and none will have in this plan.
    pub(super) is_exhausted: bool,
}

/// A group of hosts, and the first cluster by name that reaches it.
#[derive(Clone, Copy)]
pub(super) struct Reached {
    pub(super) group: usize,
    pub(super) cluster: usize,
}

impl Lane {
    pub(super) fn cluster_of(&self, group: usize) -> Option<usize> {
        let at = self.groups.binary_search_by_key(&group, |reached| reached.group).ok()?;
        Some(self.groups[at].cluster)
    }
}

/// All demands of a snapshot.
pub(super) struct Demands {
    pub(super) list: Vec<Demand>,
    /// The demand of each candidate.
    pub(super) of_candidate: Vec<usize>,
}

/// What decides which hosts are reached.
type Reach<'s> = (&'s [usize], &'s BTreeSet<Tag>, Option<&'s str>, bool);

impl Demands {
    pub(super) fn of(
        snapshot: &Snapshot,
        policy: &Policy,
        index: &HostIndex<'_>,
        allocs: &HashMap<&AllocId, usize>,
    ) -> Self {
        let clusters_by_name = clusters_by_name(snapshot);
        let mut reaches: HashMap<Reach<'_>, Hosts> = HashMap::new();
        let mut known: HashMap<(Reach<'_>, Ask), usize> = HashMap::new();
        let mut list = Vec::new();
        let mut of_candidate = Vec::with_capacity(snapshot.candidates.len());
        for candidate in &snapshot.candidates {
            let job = &snapshot.jobs[candidate.job];
            let reach = (candidate.clusters.as_slice(), &candidate.tags, job.os.as_deref(), candidate.is_threadable);
            let ask = Ask::of(candidate, policy);
            let demand = *known.entry((reach, ask)).or_insert_with(|| {
                let hosts = reaches
                    .entry(reach)
                    .or_insert_with(|| Hosts::reached(snapshot, candidate, job, index, &clusters_by_name));
                list.push(hosts.demand(ask, policy, index, allocs));
                list.len() - 1
            });
            of_candidate.push(demand);
        }
        Self { list, of_candidate }
    }

    pub(super) fn get(&self, candidate: usize) -> &Demand {
        &self.list[self.of_candidate[candidate]]
    }

    pub(super) fn get_mut(&mut self, candidate: usize) -> &mut Demand {
        &mut self.list[self.of_candidate[candidate]]
    }
}

/// Rank of each cluster's name.
fn clusters_by_name(snapshot: &Snapshot) -> Vec<usize> {
    let mut order: Vec<usize> = (0..snapshot.clusters.len()).collect();
    order.sort_by(|&a, &b| snapshot.clusters[a].cmp(&snapshot.clusters[b]));
    let mut ranks = vec![0; order.len()];
    for (rank, cluster) in order.into_iter().enumerate() {
        ranks[cluster] = rank;
    }
    ranks
}

/// The groups that tags, state, operating system and thread mode leave.
struct Hosts {
    groups: Vec<Reached>,
    /// The gate that took the last ones away, or, where some are left, the one that comes next.
    furthest: WaitReason,
}

impl Hosts {
    fn reached(
        snapshot: &Snapshot,
        candidate: &Candidate,
        job: &JobRow,
        index: &HostIndex<'_>,
        clusters_by_name: &[usize],
    ) -> Self {
        let mut clusters = candidate.clusters.clone();
        clusters.sort_unstable_by_key(|&cluster| clusters_by_name[cluster]);
        let mut reached: BTreeMap<usize, usize> = BTreeMap::new();
        for tag in &candidate.tags {
            for &group in index.groups_with(tag) {
                let host = index.representative(group);
                if host.facility != job.facility {
                    continue;
                }
                let covering = clusters.iter().copied().find(|&cluster| snapshot.clusters[cluster].covers(tag, host));
                if let Some(cluster) = covering {
                    let first = reached.entry(group).or_insert(cluster);
                    if clusters_by_name[cluster] < clusters_by_name[*first] {
                        *first = cluster;
                    }
                }
            }
        }
        let mut furthest = WaitReason::NoHostWithTags;
        let mut groups = Vec::new();
        for (group, cluster) in reached {
            match nature_gate(job, candidate, index.representative(group)) {
                Ok(()) => groups.push(Reached { group, cluster }),
                Err(reason) => furthest = furthest.max(reason),
            }
        }
        Self { groups, furthest }
    }

    fn demand(&self, ask: Ask, policy: &Policy, index: &HostIndex<'_>, allocs: &HashMap<&AllocId, usize>) -> Demand {
        let mut lanes: BTreeMap<usize, Vec<Reached>> = BTreeMap::new();
        let mut exclusive_min = Cores(i64::MAX);
        for &reached in &self.groups {
            let fitting =
                index.group(reached.group).emptied.iter().filter_map(|empty| shape_gate(&ask, empty, policy).ok());
            let Some(smallest) = fitting.map(|amounts| amounts.cores).min() else { continue };
            exclusive_min = exclusive_min.min(smallest);
            let alloc = allocs[&index.representative(reached.group).alloc];
            lanes.entry(alloc).or_default().push(reached);
        }
        let cores = if ask.is_exclusive() { exclusive_min } else { ask.cores_min(policy) };
        let furthest = if self.groups.is_empty() { self.furthest } else { WaitReason::Shape };
        Demand {
            ask,
            least: Amounts { cores, memory: ask.memory, gpus: ask.gpus, gpu_memory: ask.gpu_memory },
            lanes: lanes.into_iter().map(|(alloc, groups)| Lane { alloc, groups, is_exhausted: false }).collect(),
            furthest,
        }
    }
}
