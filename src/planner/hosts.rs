//! The open hosts, indexed so that the best one for a layer is found without looking at all.
//!
//! Hosts that candidates can hardly tell apart by anything but their amounts form a *group*: same
//! allocation, same operating systems, same thread mode, same tags as far as anybody asks for them.
//! Inside a group they stand on shelves, sorted by the host strategy's order, and move along as the
//! plan takes from them. Tags that few hosts carry, as a host's own name, make no groups, or a farm
//! whose hosts are asked for by name would fall apart into groups of one: such hosts are listed.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::demand::Lane;
use super::fit::{Ask, Room, reserve, width_under};
use super::shelves::{Bounds, Key, SHELVES, ShelfKind, Within, key};
use super::view::View;
use crate::model::{AllocId, FacilityId, Host, Policy, Tag, ThreadMode};
use crate::units::{Amounts, Cores};

/// A tag on at most so many hosts is looked up host by host. Tests have small farms and want both.
const PINNED_HOSTS_MAX: usize = if cfg!(test) { 3 } else { 16 };

pub(super) struct HostIndex<'s> {
    hosts: &'s [Host],
    policy: &'s Policy,
    /// With what the plan has left of them.
    rooms: Vec<Room>,
    /// Order of ids, so that ties do not depend on the order of rows.
    rank: Vec<u32>,
    by_rank: Vec<usize>,
    group_of: Vec<usize>,
    groups: Vec<Group>,
    groups_by_tag: HashMap<&'s Tag, Vec<usize>>,
    /// For tags that make no groups.
    hosts_by_tag: HashMap<&'s Tag, Vec<usize>>,
    opened: Opened,
}

pub(super) struct Group {
    /// Any of its hosts: they answer alike to all but questions about amounts and rare tags.
    representative: usize,
    /// The different hosts there are when empty.
    pub(super) emptied: Vec<Room>,
    /// Cores of the smallest of them.
    cores_min: Cores,
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

/// Hosts with less idle GPU memory than before, so that they may take other work now, and their groups.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) hosts: HashSet<usize>,
    pub(super) groups: HashSet<usize>,
}

/// One question for a host.
pub(super) struct Search<'a> {
    pub(super) lane: &'a Lane,
    pub(super) ask: &'a Ask,
    /// What the caps leave for one frame; hosts where it would take more are passed over.
    pub(super) cores_max: Cores,
    /// Hosts to prefer among equals.
    pub(super) warm: &'a [usize],
}

/// What a search found, and whether hosts with room were passed over because the caller did not
/// accept them: then the room may still do for another candidate.
pub(super) struct Found {
    pub(super) spot: Option<Spot>,
    pub(super) has_passed_over: bool,
}

impl<'s> HostIndex<'s> {
    /// `asked` are the tags that some candidate asks for; no other tag matters.
    pub(super) fn new(view: &View<'s>, asked: &HashSet<&'s Tag>) -> Self {
        let hosts = &view.snapshot.hosts;
        let mut by_rank: Vec<usize> = (0..hosts.len()).collect();
        by_rank.sort_by(|&a, &b| hosts[a].id.cmp(&hosts[b].id));
        let mut rank = vec![0; hosts.len()];
        for (position, &host) in (0_u32..).zip(&by_rank) {
            rank[host] = position;
        }
        let mut index = Self {
            hosts,
            policy: view.policy,
            rooms: (0..hosts.len()).map(|host| view.room(host)).collect(),
            rank,
            by_rank,
            group_of: Vec::with_capacity(hosts.len()),
            groups: Vec::new(),
            groups_by_tag: HashMap::new(),
            hosts_by_tag: HashMap::new(),
            opened: Opened::default(),
        };
        for (position, host) in hosts.iter().enumerate() {
            for tag in host.tags.iter().filter(|tag| asked.contains(tag)) {
                index.hosts_by_tag.entry(tag).or_default().push(position);
            }
        }
        let is_common = |tagged: &mut Vec<usize>| tagged.len() > PINNED_HOSTS_MAX;
        let common = index.hosts_by_tag.extract_if(|_, tagged| is_common(tagged)).map(|(tag, _)| tag).collect();
        index.build_groups(&common, view);
        index
    }

    fn build_groups(&mut self, common: &HashSet<&'s Tag>, view: &View<'s>) {
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
                is_open: view.state(position).is_open(),
            };
            let group = *groups.entry(alike).or_insert_with_key(|alike| {
                let group = self.groups.len();
                for &tag in &alike.tags {
                    self.groups_by_tag.entry(tag).or_default().push(group);
                }
                let shelves = std::array::from_fn(|_| BTreeSet::new());
                self.groups.push(Group {
                    representative: position,
                    emptied: Vec::new(),
                    cores_min: Cores(i64::MAX),
                    hosts: Vec::new(),
                    shelves,
                });
                group
            });
            self.group_of.push(group);
            self.groups[group].hosts.push(position);
            let emptied = view.emptied(position);
            self.groups[group].cores_min = self.groups[group].cores_min.min(host.total.cores);
            if !self.groups[group].emptied.contains(&emptied) {
                self.groups[group].emptied.push(emptied);
            }
            if view.state(position).is_open() {
                self.shelve(position);
            }
        }
    }

    pub(super) fn group(&self, group: usize) -> &Group {
        &self.groups[group]
    }

    pub(super) fn representative(&self, group: usize) -> usize {
        self.groups[group].representative
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
        self.rooms[host]
    }

    /// What GPU work has opened for other work since the last call.
    pub(super) fn take_opened(&mut self) -> Opened {
        std::mem::take(&mut self.opened)
    }

    /// Sets what is left of an open host; never more than before.
    pub(super) fn set_idle(&mut self, host: usize, idle: Amounts) {
        let (shelf, key) = self.place_of(host);
        self.groups[self.group_of[host]].shelves[shelf].remove(&key);
        if idle.gpu_memory < self.rooms[host].idle.gpu_memory {
            self.opened.hosts.insert(host);
            self.opened.groups.insert(self.group_of[host]);
        }
        self.rooms[host].idle = idle;
        self.shelve(host);
    }

    fn shelve(&mut self, host: usize) {
        let (shelf, key) = self.place_of(host);
        self.groups[self.group_of[host]].shelves[shelf].insert(key);
    }

    fn place_of(&self, host: usize) -> (usize, Key) {
        let idle = &self.rooms[host].idle;
        let kind = ShelfKind::of(idle, self.hosts[host].total.cores);
        (kind.index(), key(idle, self.rank[host], self.policy.host_strategy))
    }

    /// The host that the strategy takes first among those of the lane that fit and are accepted.
    pub(super) fn find(&self, search: &Search<'_>, mut accepts: impl FnMut(usize, &Amounts) -> bool) -> Found {
        let mut has_passed_over = false;
        let mut watched = |host, amounts: &Amounts| {
            let is_accepted = accepts(host, amounts);
            has_passed_over |= !is_accepted;
            is_accepted
        };
        let pinned = search.lane.pinned.iter().map(|pinned| pinned.host);
        let mut best = self.first_of(pinned, search, &mut watched);
        let mut has_skipped = false;
        for reached in &search.lane.groups {
            let first = self.first_in(reached.group, search, best.map(|(key, _)| key), &mut has_skipped, &mut watched);
            best = first.or(best);
        }
        let spot = best.map(|(best, cold)| {
            let is_equal = |host: &usize| {
                let (_, key) = self.place_of(*host);
                (key.0, key.1) == (best.0, best.1)
            };
            let equal = search.warm.iter().copied().filter(is_equal);
            self.first_of(equal, search, &mut accepts).map_or(cold, |(_, warm)| warm)
        });
        Found { spot, has_passed_over: has_passed_over || has_skipped }
    }

    /// The best of some hosts, as far as they belong to the lane.
    pub(super) fn find_among(
        &self,
        hosts: impl Iterator<Item = usize>,
        search: &Search<'_>,
        accepts: impl FnMut(usize, &Amounts) -> bool,
    ) -> Option<Spot> {
        self.first_of(hosts, search, accepts).map(|(_, spot)| spot)
    }

    fn first_of(
        &self,
        hosts: impl Iterator<Item = usize>,
        search: &Search<'_>,
        mut accepts: impl FnMut(usize, &Amounts) -> bool,
    ) -> Option<(Key, Spot)> {
        let spots = hosts.filter_map(|host| Some((self.place_of(host).1, self.spot(host, search, &mut accepts)?)));
        spots.min_by_key(|&(key, _)| key)
    }

    /// The best host of a group, if it is better than `end`.
    fn first_in(
        &self,
        group: usize,
        search: &Search<'_>,
        mut end: Option<Key>,
        has_skipped: &mut bool,
        mut accepts: impl FnMut(usize, &Amounts) -> bool,
    ) -> Option<(Key, Spot)> {
        let group = &self.groups[group];
        let mode = self.hosts[group.representative].thread_mode;
        let width = width_under(search.ask, mode, search.cores_max, group.cores_min, self.policy);
        let mut best = None;
        for kind in ShelfKind::for_ask(search.ask) {
            let mut within = Within {
                shelf: &group.shelves[kind.index()],
                bounds: Bounds::new(search.ask, mode, kind, width),
                strategy: self.policy.host_strategy,
                has_passed_over: false,
            };
            let first = within.first(end, |rank| self.spot(self.by_rank[rank as usize], search, &mut accepts));
            *has_skipped |= within.has_passed_over;
            if let Some((key, spot)) = first {
                end = Some(key);
                best = Some((key, spot));
            }
        }
        best
    }

    fn spot(&self, host: usize, search: &Search<'_>, mut accepts: impl FnMut(usize, &Amounts) -> bool) -> Option<Spot> {
        let cluster = self.cluster_in(search.lane, host)?;
        let amounts = reserve(search.ask, &self.room(host), self.policy).ok()?;
        accepts(host, &amounts).then_some(Spot { host, cluster, amounts })
    }
}
