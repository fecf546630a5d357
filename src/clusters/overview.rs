//! What stands and waits in each cluster; pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;

use crate::model::{
    AllocId, CandidateIx, Cluster, ClusterKind, Host, HostId, HostState, Plan, ShowId, Snapshot, Subscription,
    Timestamp, WaitReason,
};
use crate::units::Cores;

/// One cluster of a snapshot. A host or layer that several clusters reach counts in each of them.
/// Cores are whole cores with their fractions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClusterOverview {
    pub name: String,
    pub facility: String,
    pub facility_id: String,
    pub show: String,
    pub show_id: String,
    /// alloc, manual, hostname or hardware.
    pub kind: &'static str,
    pub tags: Vec<String>,
    /// Those of an allocation cluster; of a tag cluster, where the show's hosts with the tags stand.
    pub allocations: Vec<AllocationOverview>,
    pub hosts: u64,
    /// By state: open, locked, `nimby_locked`, stale, `local_work`, `low_free_memory`, `put_aside`, and as
    /// Cuebot spells it for hosts that are not up (down, repair, ...).
    pub hosts_by_state: BTreeMap<String, u64>,
    /// Hosts that report: locked ones too, stale ones not.
    pub hosts_up: u64,
    /// On open hosts: what a plan may use.
    pub idle_cores: f64,
    /// On all hosts.
    pub total_cores: f64,
    pub idle_gpus: i64,
    pub total_gpus: i64,
    pub waiting_layers: u64,
    pub waiting_frames: u64,
    /// What a plan would place now, of the layers that wait.
    pub placeable_frames: u64,
    /// What it would leave, by the one reason that holds for each layer; most frames first.
    pub waiting_by_reason: Vec<WaitingByReason>,
    /// When the show last got a frame on one of the hosts, as far as that still holds its proc.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_activity: Option<Timestamp>,
}

/// An allocation and the show's right to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AllocationOverview {
    /// The full name.
    pub name: String,
    pub id: String,
    /// `None`: the show does not subscribe to it.
    pub subscription: Option<SubscriptionOverview>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SubscriptionOverview {
    pub id: String,
    pub size_cores: f64,
    pub burst_cores: f64,
    pub used_cores: f64,
    /// Of several shows on an allocation the lowest comes first.
    pub tier: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitingByReason {
    pub reason: WaitReason,
    /// One line for a person.
    pub sentence: &'static str,
    pub layers: u64,
    pub frames: u64,
}

/// The clusters of the snapshot, in its order.
#[must_use]
pub fn overview(
    snapshot: &Snapshot,
    plan: &Plan,
    last_dispatches: &BTreeMap<(ShowId, HostId), Timestamp>,
) -> Vec<ClusterOverview> {
    let waiting: HashMap<CandidateIx, (u32, WaitReason)> =
        plan.waiting.iter().map(|waiting| (waiting.candidate, (waiting.frames, waiting.reason))).collect();
    let by_tag = HostsByTag::of(snapshot);
    let mut clusters: Vec<ClusterOverview> = snapshot
        .clusters
        .iter()
        .map(|cluster| {
            let hosts = by_tag.of_cluster(cluster);
            let mut one = empty(cluster);
            one.allocations = allocations(snapshot, cluster, &hosts);
            add_hosts(&mut one, &hosts);
            let last = hosts.iter().filter_map(|host| last_dispatches.get(&(cluster.show.clone(), host.id.clone())));
            one.last_activity = last.max().copied();
            one
        })
        .collect();
    let mut placed: HashMap<CandidateIx, u64> = HashMap::new();
    for placement in &plan.placements {
        *placed.entry(placement.candidate).or_default() += u64::from(placement.frames);
    }
    for (position, candidate) in CandidateIx::all(&snapshot.candidates).zip(&snapshot.candidates) {
        let left = waiting.get(&position).copied();
        let placed = placed.get(&position).copied().unwrap_or_default();
        let frames = placed + left.map_or(0, |(frames, _)| u64::from(frames));
        for &at in candidate.clusters.iter().filter(|_| frames > 0) {
            let Some(cluster) = clusters.get_mut(at.0) else { continue };
            cluster.waiting_layers += 1;
            cluster.waiting_frames += frames;
            cluster.placeable_frames += placed;
            if let Some((frames, reason)) = left {
                add_reason(&mut cluster.waiting_by_reason, reason, frames);
            }
        }
    }
    for cluster in &mut clusters {
        cluster.waiting_by_reason.sort_by_key(|row| (std::cmp::Reverse(row.frames), row.reason));
    }
    clusters
}

/// So that a farm of many tags is not gone through once for each cluster.
struct HostsByTag<'s> {
    hosts: &'s [Host],
    positions: HashMap<&'s str, Vec<usize>>,
}

impl<'s> HostsByTag<'s> {
    fn of(snapshot: &'s Snapshot) -> Self {
        let mut positions: HashMap<&str, Vec<usize>> = HashMap::new();
        for (position, host) in snapshot.hosts.iter().enumerate() {
            for tag in &host.tags {
                positions.entry(tag.as_str()).or_default().push(position);
            }
        }
        Self { hosts: &snapshot.hosts, positions }
    }

    fn of_cluster(&self, cluster: &Cluster) -> Vec<&'s Host> {
        let mut found = BTreeSet::new();
        for tag in cluster.tags() {
            let positions = self.positions.get(tag.as_str()).into_iter().flatten();
            found.extend(positions.copied().filter(|&position| cluster.covers(tag, &self.hosts[position])));
        }
        found.into_iter().map(|position| &self.hosts[position]).collect()
    }
}

fn empty(cluster: &Cluster) -> ClusterOverview {
    ClusterOverview {
        name: cluster.name.clone(),
        facility: cluster.facility_name.clone(),
        facility_id: cluster.facility.to_string(),
        show: cluster.show_name.clone(),
        show_id: cluster.show.to_string(),
        kind: cluster.kind_name(),
        tags: cluster.tags().iter().map(ToString::to_string).collect(),
        ..ClusterOverview::default()
    }
}

fn allocations(snapshot: &Snapshot, cluster: &Cluster, hosts: &[&Host]) -> Vec<AllocationOverview> {
    let own: BTreeSet<(&str, &AllocId)> = match &cluster.kind {
        ClusterKind::Allocation { allocs, .. } => allocs.iter().map(|(id, name)| (name.as_str(), id)).collect(),
        ClusterKind::Tags { .. } => {
            let subscribed: HashSet<&AllocId> = subscriptions(snapshot, cluster).map(|row| &row.alloc).collect();
            let hosts = hosts.iter().filter(|host| subscribed.contains(&host.alloc));
            hosts.map(|host| (host.alloc_name.as_str(), &host.alloc)).collect()
        }
    };
    let subscription = |alloc: &AllocId| {
        let row = subscriptions(snapshot, cluster).find(|row| row.alloc == *alloc)?;
        Some(SubscriptionOverview {
            id: row.id.to_string(),
            size_cores: in_cores(row.size),
            burst_cores: in_cores(row.burst),
            used_cores: in_cores(row.cores),
            tier: row.tier(row.cores),
        })
    };
    let allocation = |(name, id): (&str, &AllocId)| AllocationOverview {
        name: name.to_owned(),
        id: id.to_string(),
        subscription: subscription(id),
    };
    own.into_iter().map(allocation).collect()
}

fn subscriptions<'s>(snapshot: &'s Snapshot, cluster: &'s Cluster) -> impl Iterator<Item = &'s Subscription> {
    snapshot.subscriptions.iter().filter(|row| row.show == cluster.show)
}

fn add_hosts(cluster: &mut ClusterOverview, hosts: &[&Host]) {
    let (mut idle, mut total) = (Cores::ZERO, Cores::ZERO);
    for host in hosts {
        cluster.hosts += 1;
        *cluster.hosts_by_state.entry(state_name(&host.state)).or_default() += 1;
        cluster.hosts_up += u64::from(!matches!(host.state, HostState::NotUp(_) | HostState::Stale { .. }));
        total += host.total.cores;
        cluster.total_gpus += host.total.gpus.get();
        if host.state.is_open() {
            idle += host.idle.cores;
            cluster.idle_gpus += host.idle.gpus.get();
        }
    }
    (cluster.idle_cores, cluster.total_cores) = (in_cores(idle), in_cores(total));
}

/// The state's word, or Cuebot's own where the host is not up.
fn state_name(state: &HostState) -> String {
    match state {
        HostState::NotUp(reported) => reported.to_lowercase(),
        state => state.into_str().to_owned(),
    }
}

fn add_reason(rows: &mut Vec<WaitingByReason>, reason: WaitReason, frames: u32) {
    let frames = u64::from(frames);
    match rows.iter_mut().find(|row| row.reason == reason) {
        Some(row) => {
            row.layers += 1;
            row.frames += frames;
        }
        None => rows.push(WaitingByReason { reason, sentence: reason.sentence(), layers: 1, frames }),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for showing")]
fn in_cores(cores: Cores) -> f64 {
    cores.get() as f64 / 100.0
}
