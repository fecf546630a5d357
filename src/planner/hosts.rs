//! The open hosts, indexed so that the best one for a layer is found without looking at all.
//!
//! Hosts that differ for candidates in hardly anything but their amounts form a *group*: same allocation,
//! same traits (what gates ask of a host), same tags as far as anybody asks for them. Inside a group they
//! are kept in buckets, sorted by the host strategy's order, and sorted anew when the plan takes from them.
//! Tags that few hosts carry, as a host's own name, make no groups, since on a farm whose hosts are asked
//! for by name every group would be of one host: hosts with such tags are listed.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::buckets::{Bounds, Bucket, BucketKind, Score, Size, Within};
use super::eligible::{Eligible, Spot};
use super::gates::HostTraits;
use super::reserve::{Ask, Offer, reserve, width_under};
use super::view::View;
use crate::model::{AllocId, ClusterIx, FacilityId, Host, HostIx, Policy, Tag};
use crate::units::{Amounts, Cores};

/// A tag on at most so many hosts is looked up host by host. Tests have small farms and want both.
const PINNED_HOSTS_MAX: usize = if cfg!(test) { 3 } else { 16 };

pub(super) struct HostIndex<'s> {
    hosts: &'s Vec<Host>,
    policy: &'s Policy,
    /// With what the plan has left of them.
    offers: Vec<Offer>,
    /// How many frames each may still be given.
    launch_rooms: Vec<u32>,
    /// Order of ids, so that ties do not depend on the order of rows.
    rank: Vec<u32>,
    by_rank: Vec<HostIx>,
    group_of: Vec<usize>,
    groups: Vec<Group>,
    groups_by_tag: HashMap<&'s Tag, Vec<usize>>,
    /// For tags that make no groups.
    hosts_by_tag: HashMap<&'s Tag, Vec<HostIx>>,
    opened: Opened,
}

struct Group {
    hosts: Vec<HostIx>,
    emptied: Vec<Offer>,
    /// Cores of the smallest of them.
    cores_min: Cores,
    buckets: BTreeMap<BucketKind, Bucket>,
}

/// Hosts with fewer idle GPUs, or less idle GPU memory, than before, so that they may take other work now, and their groups.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) hosts: HashSet<HostIx>,
    pub(super) groups: HashSet<usize>,
}

/// One question for a host.
pub(super) struct Search<'a> {
    pub(super) eligible: &'a Eligible<'a>,
    pub(super) ask: &'a Ask,
    /// What the caps leave for one frame; hosts where it would take more are passed over.
    pub(super) cores_max: Cores,
    /// Hosts to prefer among those of one size, in order.
    pub(super) warm: &'a [HostIx],
}

/// What a search found, and whether hosts with room were passed over because the caller did not
/// accept them: then the room may still do for another candidate.
pub(super) struct Found {
    pub(super) spot: Option<Spot>,
    pub(super) has_skipped: bool,
}

impl<'s> HostIndex<'s> {
    /// `asked` are the tags that some candidate asks for; no other tag matters.
    pub(super) fn new(view: &View<'s>, asked: &HashSet<&'s Tag>) -> Self {
        let hosts = &view.snapshot.hosts;
        let mut by_rank: Vec<HostIx> = HostIx::all(hosts).collect();
        by_rank.sort_by(|&a, &b| hosts[a].id.cmp(&hosts[b].id));
        let mut rank = vec![0; hosts.len()];
        for (position, &host) in (0_u32..).zip(&by_rank) {
            rank[host] = position;
        }
        let mut index = Self {
            hosts,
            policy: view.policy,
            offers: HostIx::all(hosts).map(|host| view.offer(host)).collect(),
            launch_rooms: HostIx::all(hosts).map(|host| view.launch_room(host)).collect(),
            rank,
            by_rank,
            group_of: Vec::with_capacity(hosts.len()),
            groups: Vec::new(),
            groups_by_tag: HashMap::new(),
            hosts_by_tag: HashMap::new(),
            opened: Opened::default(),
        };
        for (position, host) in HostIx::all(hosts).zip(hosts) {
            for tag in host.tags.iter().filter(|tag| asked.contains(tag)) {
                index.hosts_by_tag.entry(tag).or_default().push(position);
            }
        }
        let is_common = |tagged: &mut Vec<HostIx>| tagged.len() > PINNED_HOSTS_MAX;
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
            traits: HostTraits<'s>,
        }
        let mut groups: HashMap<Alike<'s>, usize> = HashMap::new();
        for (position, host) in HostIx::all(self.hosts).zip(self.hosts) {
            let alike = Alike {
                facility: &host.facility,
                alloc: &host.alloc,
                tags: host.tags.iter().filter(|tag| common.contains(tag)).collect(),
                traits: HostTraits::of(view, position),
            };
            let at = *groups.entry(alike).or_insert_with_key(|alike| {
                for &tag in &alike.tags {
                    self.groups_by_tag.entry(tag).or_default().push(self.groups.len());
                }
                let (emptied, hosts, buckets) = (Vec::new(), Vec::new(), BTreeMap::new());
                self.groups.push(Group { hosts, emptied, cores_min: host.total.cores, buckets });
                self.groups.len() - 1
            });
            self.group_of.push(at);
            let group = &mut self.groups[at];
            group.hosts.push(position);
            group.cores_min = group.cores_min.min(host.total.cores);
            let emptied = view.emptied(position);
            if !group.emptied.contains(&emptied) {
                group.emptied.push(emptied);
            }
            if view.state(position).is_open() {
                self.put(position);
            }
        }
    }

    /// The different amounts and modes that the hosts of a group have when empty.
    pub(super) fn emptied(&self, group: usize) -> &[Offer] {
        &self.groups[group].emptied
    }

    /// Any host of a group: for gates they differ in amounts and rare tags only.
    pub(super) fn representative(&self, group: usize) -> HostIx {
        self.groups[group].hosts[0]
    }

    /// All hosts of an allocation that are eligible; one that is reached both ways comes twice.
    pub(super) fn hosts_of(&self, eligible: &Eligible<'_>) -> impl Iterator<Item = HostIx> {
        let grouped = eligible.groups.keys().flat_map(|&group| &self.groups[group].hosts);
        grouped.copied().chain(eligible.pinned.keys().copied())
    }

    /// The cluster through which it reaches a host, if it does.
    pub(super) fn cluster_in(&self, eligible: &Eligible<'_>, host: HostIx) -> Option<ClusterIx> {
        eligible.cluster_of(host, self.group_of[host])
    }

    /// Groups, in whatever state, whose hosts carry the tag.
    pub(super) fn groups_with(&self, tag: &Tag) -> &[usize] {
        self.groups_by_tag.get(tag).map_or(&[], Vec::as_slice)
    }

    /// Hosts, in whatever state, that carry the tag, if it is one of the rare ones.
    pub(super) fn hosts_with_rare(&self, tag: &Tag) -> &[HostIx] {
        self.hosts_by_tag.get(tag).map_or(&[], Vec::as_slice)
    }

    /// The host with what the plan has left of it.
    pub(super) fn offer(&self, host: HostIx) -> Offer {
        self.offers[host]
    }

    /// How many frames the host may still be given, whatever room it has.
    pub(super) fn launch_room(&self, host: HostIx) -> u32 {
        self.launch_rooms[host]
    }

    /// What GPU work has opened for other work since the last call.
    pub(super) fn take_opened(&mut self) -> Opened {
        std::mem::take(&mut self.opened)
    }

    /// Sets what so many frames have left of an open host; never more than before.
    pub(super) fn set_idle(&mut self, host: HostIx, idle: Amounts, frames: u32) {
        let group = self.group_of[host];
        let (kind, entry) = self.place_of(host);
        self.groups[group].buckets.entry(kind).or_default().remove(&entry);
        let before = self.offers[host].idle;
        if idle.gpu_memory < before.gpu_memory || idle.gpus < before.gpus {
            self.opened.hosts.insert(host);
            self.opened.groups.insert(group);
        }
        self.offers[host].idle = idle;
        if self.launch_rooms[host] != u32::MAX {
            self.launch_rooms[host] -= frames;
        }
        self.put(host);
    }

    /// Unless it may be given nothing.
    fn put(&mut self, host: HostIx) {
        if self.launch_rooms[host] == 0 {
            return;
        }
        let (kind, entry) = self.place_of(host);
        self.groups[self.group_of[host]].buckets.entry(kind).or_default().insert(entry);
    }

    fn place_of(&self, host: HostIx) -> (BucketKind, (Size, u32)) {
        let kind = BucketKind::of(&self.offers[host], self.hosts[host].total.cores);
        (kind, (self.size(host), self.rank[host]))
    }

    fn size(&self, host: HostIx) -> Size {
        Size::of(&self.offers[host].beside_load(), self.policy.host_strategy)
    }

    /// How well a host suits the layer that searches.
    fn score(&self, host: HostIx, search: &Search<'_>) -> Score {
        let is_cold = search.warm.binary_search(&host).is_err();
        Score { size: self.size(host), is_cold, rank: self.rank[host] }
    }

    /// The best host for the layer among those of those eligible that fit and are accepted.
    pub(super) fn find(&self, search: &Search<'_>, mut accepts: impl FnMut(HostIx, &Amounts) -> bool) -> Found {
        let mut has_skipped = false;
        let mut is_refused = false;
        let mut watched = |host, amounts: &Amounts| {
            let is_accepted = accepts(host, amounts);
            is_refused |= !is_accepted;
            is_accepted
        };
        let pinned = search.eligible.pinned.keys().copied();
        let mut best = self.best_of(pinned, search, &mut watched);
        for &group in search.eligible.groups.keys() {
            let end = best.map(|(score, _)| score);
            best = self.first_in(group, search, end, &mut has_skipped, &mut watched).or(best);
        }
        // Groups tell the first host by size; of hosts of that size, the layer prefers some.
        if let Some((first, _)) = best {
            let alike = search.warm.iter().copied().filter(|&host| self.size(host) == first.size);
            let preferred = self.best_of(alike, search, &mut watched);
            best = preferred.filter(|&(score, _)| score < first).or(best);
        }
        Found { spot: best.map(|(_, spot)| spot), has_skipped: is_refused || has_skipped }
    }

    /// The best of some hosts, as far as they belong to the eligible.
    pub(super) fn best_of(
        &self,
        hosts: impl Iterator<Item = HostIx>,
        search: &Search<'_>,
        mut accepts: impl FnMut(HostIx, &Amounts) -> bool,
    ) -> Option<(Score, Spot)> {
        hosts.filter_map(|host| self.try_on(host, search, &mut accepts)).min_by_key(|&(score, _)| score)
    }

    /// The first host of a group, if it is better than `end`.
    fn first_in(
        &self,
        group: usize,
        search: &Search<'_>,
        mut end: Option<Score>,
        has_skipped: &mut bool,
        mut accepts: impl FnMut(HostIx, &Amounts) -> bool,
    ) -> Option<(Score, Spot)> {
        let mode = self.hosts[self.representative(group)].thread_mode;
        let group = &self.groups[group];
        let width = width_under(search.ask, mode, search.cores_max, group.cores_min, self.policy);
        let mut best = None;
        for (&kind, bucket) in group.buckets.iter().filter(|(kind, _)| kind.may_fit(search.ask)) {
            let bounds = Bounds::new(search.ask, mode, kind, width);
            let mut within = Within { bucket, bounds, strategy: self.policy.host_strategy, has_skipped: false };
            let first = within.first(end, |rank| self.try_on(self.by_rank[rank as usize], search, &mut accepts));
            *has_skipped |= within.has_skipped;
            end = first.map(|(score, _)| score).or(end);
            best = first.or(best);
        }
        best
    }

    fn try_on(
        &self,
        host: HostIx,
        search: &Search<'_>,
        mut accepts: impl FnMut(HostIx, &Amounts) -> bool,
    ) -> Option<(Score, Spot)> {
        let cluster = self.cluster_in(search.eligible, host)?;
        if self.launch_rooms[host] == 0 {
            return None;
        }
        let amounts = reserve(search.ask, &self.offer(host), self.policy).ok()?;
        accepts(host, &amounts).then(|| (self.score(host, search), Spot { host, cluster, amounts }))
    }
}
