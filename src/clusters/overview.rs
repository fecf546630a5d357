//! The hosts of each cluster, and what waits in it; pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;

use crate::model::{
    AllocId, CandidateIx, Cluster, ClusterKind, Host, HostId, HostState, Plan, ShowId, Snapshot, Subscription, Tag,
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
    /// By state: open, locked, `nimby_locked`, stale, `future_report`, `local_work`, `low_free_memory`, `put_aside`, and as
    /// Cuebot spells it for hosts that are not up (down, repair, ...).
    pub hosts_by_state: BTreeMap<String, u64>,
    /// Hosts that report: locked ones too, stale ones not.
    pub hosts_up: u64,
    /// On open hosts, by the ledger: what a plan may use where no other work is.
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
pub fn overview(
    snapshot: &Snapshot,
    plan: &Plan,
    last_dispatches: &BTreeMap<(ShowId, HostId), Timestamp>,
) -> Vec<ClusterOverview> {
    let mut by_tag: HashMap<&Tag, Vec<&Host>> = HashMap::new();
    for host in &snapshot.hosts {
        host.tags.iter().for_each(|tag| by_tag.entry(tag).or_default().push(host));
    }
    let standing = |cluster| standing(snapshot, cluster, &hosts_of(cluster, &by_tag), last_dispatches);
    let mut clusters: Vec<ClusterOverview> = snapshot.clusters.iter().map(standing).collect();
    let mut placed = vec![0; snapshot.candidates.len()];
    for placement in &plan.placements {
        placed[placement.candidate] += u64::from(placement.frames);
    }
    let mut left = vec![None; snapshot.candidates.len()];
    for waiting in &plan.waiting {
        left[waiting.candidate] = Some((waiting.reason, u64::from(waiting.frames)));
    }
    for (position, candidate) in CandidateIx::all(&snapshot.candidates).zip(&snapshot.candidates) {
        let frames = placed[position] + left[position].map_or(0, |(_, frames)| frames);
        for &at in candidate.clusters.iter().filter(|_| frames > 0) {
            let cluster = &mut clusters[at];
            cluster.waiting_layers += 1;
            cluster.waiting_frames += frames;
            cluster.placeable_frames += placed[position];
            if let Some((reason, frames)) = left[position] {
                add_reason(&mut cluster.waiting_by_reason, reason, frames);
            }
        }
    }
    for cluster in &mut clusters {
        cluster.waiting_by_reason.sort_by_key(|row| (Reverse(row.frames), row.reason));
    }
    clusters
}

/// Each host once, whichever of the cluster's tags it carries.
fn hosts_of<'s>(cluster: &Cluster, by_tag: &HashMap<&Tag, Vec<&'s Host>>) -> Vec<&'s Host> {
    let mut found: BTreeMap<&HostId, &Host> = BTreeMap::new();
    for tag in cluster.tags() {
        let carrying = by_tag.get(tag).into_iter().flatten();
        found.extend(carrying.filter(|host| cluster.covers(tag, host)).map(|&host| (&host.id, host)));
    }
    found.into_values().collect()
}

/// The cluster with its hosts, before anything waits.
fn standing(
    snapshot: &Snapshot,
    cluster: &Cluster,
    hosts: &[&Host],
    last_dispatches: &BTreeMap<(ShowId, HostId), Timestamp>,
) -> ClusterOverview {
    let last = hosts.iter().filter_map(|host| last_dispatches.get(&(cluster.show.clone(), host.id.clone())));
    let mut overview = ClusterOverview {
        name: cluster.name.clone(),
        facility: cluster.facility_name.clone(),
        facility_id: cluster.facility.to_string(),
        show: cluster.show_name.clone(),
        show_id: cluster.show.to_string(),
        kind: cluster.kind_name(),
        tags: cluster.tags().iter().map(ToString::to_string).collect(),
        allocations: allocations(snapshot, cluster, hosts),
        last_activity: last.max().copied(),
        ..ClusterOverview::default()
    };
    add_hosts(&mut overview, hosts);
    overview
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
            size_cores: row.size.into(),
            burst_cores: row.burst.into(),
            used_cores: row.cores.into(),
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
        let is_silent =
            matches!(host.state, HostState::NotUp(_) | HostState::Stale { .. } | HostState::FutureReport { .. });
        cluster.hosts_up += u64::from(!is_silent);
        total += host.total.cores;
        cluster.total_gpus += host.total.gpus.get();
        if host.state.is_open() {
            idle += host.idle.cores;
            cluster.idle_gpus += host.idle.gpus.get();
        }
    }
    (cluster.idle_cores, cluster.total_cores) = (idle.into(), total.into());
}

/// The state's word, or Cuebot's own where the host is not up.
fn state_name(state: &HostState) -> String {
    match state {
        HostState::NotUp(reported) => reported.to_lowercase(),
        state => state.into_str().to_owned(),
    }
}

fn add_reason(rows: &mut Vec<WaitingByReason>, reason: WaitReason, frames: u64) {
    match rows.iter_mut().find(|row| row.reason == reason) {
        Some(row) => {
            row.layers += 1;
            row.frames += frames;
        }
        None => rows.push(WaitingByReason { reason, sentence: reason.sentence(), layers: 1, frames }),
    }
}
