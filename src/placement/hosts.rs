//! The open hosts, indexed so that the best one for a layer is found without looking at all.
//!
//! Hosts that candidates can hardly tell apart by anything but their amounts form a *group*: same
//! allocation, same operating systems, same thread mode, same tags as far as anybody asks for them.
//! Inside a group they stand on shelves, sorted by the host strategy's order, and move along as the
//! plan takes from them. Tags that few hosts carry, as a host's own name, make no groups, or a farm
//! whose hosts are asked for by name would fall apart into groups of one: such hosts are listed.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::demand::Lane;
use super::fit::{Ask, Room, reserve};
use crate::model::{AllocId, FacilityId, Host, HostStrategy, Policy, Tag, ThreadMode};
use crate::units::{Amounts, Kib};

/// Place of a host on its shelf, smallest first: idle cores and idle GiB, each negated where the
/// strategy wants the largest first, then the rank of its id. Hosts equal in the first two are equal
/// for the strategy; measured memory is never equal to the KiB.
type Key = (i64, i64, u32);

/// Hosts that keep what GPU work needs are never offered to other work, and hosts without anything
/// on them are all that exclusive asks may take: separate shelves, so that neither search wades
/// through the wrong hosts.
const SHELVES: usize = 6;

/// A tag on at most so many hosts is looked up host by host. Tests have small farms and want both.
const PINNED_HOSTS_MAX: usize = if cfg!(test) { 3 } else { 16 };

pub(super) struct HostIndex<'s> {
    hosts: &'s [Host],
    policy: &'s Policy,
    idle: Vec<Amounts>,
    /// Order of ids, so that ties do not depend on the order of rows.
    rank: Vec<u32>,
    by_rank: Vec<usize>,
    group_of: Vec<usize>,
    groups: Vec<Group>,
    groups_by_tag: HashMap<&'s Tag, Vec<usize>>,
    /// For tags that make no groups.
    hosts_by_tag: HashMap<&'s Tag, Vec<usize>>,
    /// Hosts whose idle GPU memory shrank, so that they may take other work now.
    opened: Vec<usize>,
}

pub(super) struct Group {
    /// Any of its hosts: they answer alike to all but questions about amounts and rare tags.
    pub(super) representative: usize,
    /// The different hosts there are when empty.
    pub(super) emptied: Vec<Room>,
    hosts: Vec<usize>,
    shelves: [BTreeSet<Key>; SHELVES],
}

/// A host that takes the next frame, and what the frame takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) host: usize,
    /// The cluster through which it was reached.
    pub(super) cluster: usize,
    pub(super) amounts: Amounts,
}

/// What a search found, and whether hosts with room were passed over because the caller did not
/// accept them: then the room may still do for another candidate.
pub(super) struct Found {
    pub(super) spot: Option<Spot>,
    pub(super) has_passed_over: bool,
}

impl<'s> HostIndex<'s> {
    /// `asked` are the tags that some candidate asks for; no other tag matters.
    pub(super) fn new(hosts: &'s [Host], asked: &HashSet<&'s Tag>, policy: &'s Policy) -> Self {
        let mut by_rank: Vec<usize> = (0..hosts.len()).collect();
        by_rank.sort_by(|&a, &b| hosts[a].id.cmp(&hosts[b].id));
        let mut rank = vec![0; hosts.len()];
        for (position, &host) in (0_u32..).zip(&by_rank) {
            rank[host] = position;
        }
        let mut index = Self {
            hosts,
            policy,
            idle: hosts.iter().map(|host| host.idle).collect(),
            rank,
            by_rank,
            group_of: Vec::with_capacity(hosts.len()),
            groups: Vec::new(),
            groups_by_tag: HashMap::new(),
            hosts_by_tag: HashMap::new(),
            opened: Vec::new(),
        };
        for (position, host) in hosts.iter().enumerate() {
            for tag in host.tags.iter().filter(|tag| asked.contains(tag)) {
                index.hosts_by_tag.entry(tag).or_default().push(position);
            }
        }
        let is_common = |tagged: &mut Vec<usize>| tagged.len() > PINNED_HOSTS_MAX;
        let common = index.hosts_by_tag.extract_if(|_, tagged| is_common(tagged)).map(|(tag, _)| tag).collect();
        index.build_groups(&common);
        index
    }

    fn build_groups(&mut self, common: &HashSet<&'s Tag>) {
        #[derive(PartialEq, Eq, Hash)]
        struct Alike<'s> {
            facility: &'s FacilityId,
            alloc: &'s AllocId,
            tags: Vec<&'s Tag>,
            os: &'s [String],
            thread_mode: ThreadMode,
            is_open: bool,
        }
        let mut groups: HashMap<Alike<'s>, usize> = HashMap::new();
        for (position, host) in self.hosts.iter().enumerate() {
            let alike = Alike {
                facility: &host.facility,
                alloc: &host.alloc,
                tags: host.tags.iter().filter(|tag| common.contains(tag)).collect(),
                os: &host.os,
                thread_mode: host.thread_mode,
                is_open: host.state.is_open(),
            };
            let group = *groups.entry(alike).or_insert_with_key(|alike| {
                let group = self.groups.len();
                for &tag in &alike.tags {
                    self.groups_by_tag.entry(tag).or_default().push(group);
                }
                let shelves = std::array::from_fn(|_| BTreeSet::new());
                self.groups.push(Group { representative: position, emptied: Vec::new(), hosts: Vec::new(), shelves });
                group
            });
            self.group_of.push(group);
            self.groups[group].hosts.push(position);
            let emptied = Room::emptied(host);
            if !self.groups[group].emptied.contains(&emptied) {
                self.groups[group].emptied.push(emptied);
            }
            if host.state.is_open() {
                self.shelve(position);
            }
        }
    }

    pub(super) fn group(&self, group: usize) -> &Group {
        &self.groups[group]
    }

    pub(super) fn representative(&self, group: usize) -> &'s Host {
        &self.hosts[self.groups[group].representative]
    }

    /// All hosts of a lane; one that is reached both ways comes twice.
    pub(super) fn hosts_of(&self, lane: &Lane) -> impl Iterator<Item = usize> {
        let grouped = lane.groups.iter().flat_map(|reached| &self.groups[reached.group].hosts);
        grouped.copied().chain(lane.pinned.iter().map(|pinned| pinned.host))
    }

    /// The cluster through which a lane reaches a host, if it does.
    pub(super) fn cluster_in(&self, lane: &Lane, host: usize) -> Option<usize> {
        lane.cluster_of(host, self.group_of[host])
    }

    /// Groups, in whatever state, whose hosts carry the tag.
    pub(super) fn groups_with(&self, tag: &Tag) -> &[usize] {
        self.groups_by_tag.get(tag).map_or(&[], Vec::as_slice)
    }

    /// Hosts, in whatever state, that carry the tag, if it is one of the rare ones.
    pub(super) fn hosts_with_rare(&self, tag: &Tag) -> &[usize] {
        self.hosts_by_tag.get(tag).map_or(&[], Vec::as_slice)
    }

    /// The host with what the plan has left of it.
    pub(super) fn room(&self, host: usize) -> Room {
        Room::of(&self.hosts[host], self.idle[host])
    }

    /// Hosts that GPU work has opened for other work since the last call.
    pub(super) fn take_opened(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.opened)
    }

    /// Sets what is left of an open host; never more than before.
    pub(super) fn set_idle(&mut self, host: usize, idle: Amounts) {
        let (shelf, key) = self.place_of(host);
        self.groups[self.group_of[host]].shelves[shelf].remove(&key);
        if idle.gpu_memory < self.idle[host].gpu_memory {
            self.opened.push(host);
        }
        self.idle[host] = idle;
        self.shelve(host);
    }

    fn shelve(&mut self, host: usize) {
        let (shelf, key) = self.place_of(host);
        self.groups[self.group_of[host]].shelves[shelf].insert(key);
    }

    fn place_of(&self, host: usize) -> (usize, Key) {
        let idle = &self.idle[host];
        let HostStrategy { core_saturation, memory_saturation } = self.policy.host_strategy;
        let cores = if core_saturation { idle.cores.get() } else { -idle.cores.get() };
        let gib = if memory_saturation { gib(idle.memory) } else { -gib(idle.memory) };
        let is_fully_idle = idle.cores == self.hosts[host].total.cores;
        (shelf_of(GpuIdle::of(idle), is_fully_idle), (cores, gib, self.rank[host]))
    }

    /// The host of the lane that the strategy takes first among those that fit and are accepted;
    /// among equals one of `warm`.
    pub(super) fn find(
        &self,
        lane: &Lane,
        ask: &Ask,
        warm: &[usize],
        mut accepts: impl FnMut(usize, &Amounts) -> bool,
    ) -> Found {
        let mut has_passed_over = false;
        let mut best: Option<(Key, Spot)> = None;
        for reached in &lane.groups {
            let group = &self.groups[reached.group];
            let idle_cores_min = ask.idle_cores_min(self.hosts[group.representative].thread_mode).get();
            for shelf in shelves_for(ask) {
                let bound = best.map(|(key, _)| key);
                let first = self.first_on(&group.shelves[shelf], ask, idle_cores_min, bound, |host, amounts| {
                    let is_accepted = accepts(host, amounts);
                    has_passed_over |= !is_accepted;
                    is_accepted
                });
                if let Some((key, host, amounts)) = first {
                    let cluster = self.cluster_in(lane, host).unwrap_or(reached.cluster);
                    best = Some((key, Spot { host, cluster, amounts }));
                }
            }
        }
        let pinned = lane.pinned.iter().map(|pinned| pinned.host);
        let first = self.first_of(pinned, lane, ask, |host, amounts| {
            let is_accepted = accepts(host, amounts);
            has_passed_over |= !is_accepted;
            is_accepted
        });
        best = best.into_iter().chain(first).min_by_key(|&(key, _)| key);
        let spot = best.map(|(key, cold)| {
            let equal = warm.iter().copied().filter(|&host| {
                let (_, (cores, gib, _)) = self.place_of(host);
                (cores, gib) == (key.0, key.1)
            });
            self.find_among(equal, lane, ask, accepts).unwrap_or(cold)
        });
        Found { spot, has_passed_over }
    }

    /// The best of some hosts, as far as they belong to the lane.
    pub(super) fn find_among(
        &self,
        hosts: impl Iterator<Item = usize>,
        lane: &Lane,
        ask: &Ask,
        accepts: impl FnMut(usize, &Amounts) -> bool,
    ) -> Option<Spot> {
        self.first_of(hosts, lane, ask, accepts).map(|(_, spot)| spot)
    }

    fn first_of(
        &self,
        hosts: impl Iterator<Item = usize>,
        lane: &Lane,
        ask: &Ask,
        mut accepts: impl FnMut(usize, &Amounts) -> bool,
    ) -> Option<(Key, Spot)> {
        let spots = hosts.filter_map(|host| {
            let cluster = self.cluster_in(lane, host)?;
            let amounts = reserve(ask, &self.room(host), self.policy).ok().filter(|amounts| accepts(host, amounts))?;
            Some((self.place_of(host).1, Spot { host, cluster, amounts }))
        });
        spots.min_by_key(|&(key, _)| key)
    }

    /// The first host on a shelf, before `bound`, that fits and is accepted.
    fn first_on(
        &self,
        shelf: &BTreeSet<Key>,
        ask: &Ask,
        idle_cores_min: i64,
        bound: Option<Key>,
        mut accepts: impl FnMut(usize, &Amounts) -> bool,
    ) -> Option<(Key, usize, Amounts)> {
        let HostStrategy { core_saturation, memory_saturation } = self.policy.host_strategy;
        let gib_min = gib(ask.memory);
        let mut from = (if core_saturation { idle_cores_min } else { i64::MIN }, i64::MIN, 0);
        'skip: loop {
            for &key in shelf.range(from..) {
                let is_too_small = !core_saturation && -key.0 < idle_cores_min;
                if is_too_small || bound.is_some_and(|bound| key >= bound) {
                    return None;
                }
                // Of hosts with so many idle cores, straight to the first with enough memory.
                if memory_saturation && key.1 < gib_min {
                    from = (key.0, gib_min, 0);
                    continue 'skip;
                }
                if !memory_saturation && -key.1 < gib_min {
                    from = (key.0 + 1, i64::MIN, 0);
                    continue 'skip;
                }
                let host = self.by_rank[key.2 as usize];
                if let Ok(amounts) = reserve(ask, &self.room(host), self.policy)
                    && accepts(host, &amounts)
                {
                    return Some((key, host, amounts));
                }
            }
            return None;
        }
    }
}

/// What a host keeps for GPU work, as far as it decides who is offered the host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GpuIdle {
    Nothing,
    /// So little that other work is let in beside it.
    Little,
    Plenty,
}

impl GpuIdle {
    fn of(idle: &Amounts) -> Self {
        match idle.gpu_memory {
            memory if memory <= Kib::ZERO => Self::Nothing,
            memory if memory <= super::fit::GPU_MEMORY_KEPT => Self::Little,
            _ => Self::Plenty,
        }
    }
}

const fn shelf_of(gpus: GpuIdle, is_fully_idle: bool) -> usize {
    gpus as usize * 2 + is_fully_idle as usize
}

/// Shelves on which an ask can fit at all.
fn shelves_for(ask: &Ask) -> impl Iterator<Item = usize> {
    let gpus = if ask.gpu_memory > Kib::ZERO {
        [GpuIdle::Little, GpuIdle::Plenty]
    } else {
        [GpuIdle::Nothing, GpuIdle::Little]
    };
    let is_exclusive = ask.is_exclusive();
    gpus.into_iter().flat_map(move |gpus| {
        [true, false].into_iter().filter(move |&idle| idle || !is_exclusive).map(move |idle| shelf_of(gpus, idle))
    })
}

/// Whole GiB, rounded down.
fn gib(memory: Kib) -> i64 {
    memory.get().div_euclid(Kib::gib(1).get())
}
