//! A small farm with working defaults, so that a test names only what matters to it.

use std::collections::BTreeSet;

use crate::model::{
    Candidate, Cap, Cluster, ClusterIx, ClusterKind, CoreRequest, FolderIx, FolderRow, Holds, Host, HostIx, HostLoad,
    HostState, JobIx, JobRow, LeftOutRow, LimitIx, LimitRow, LimitUse, Placement, Plan, Policy, ShowIx, ShowRow,
    Snapshot, Subscription, Tag, ThreadMode, Timestamp, WaitReason,
};
use crate::planner::reserve::Kept;
use crate::planner::state::State;
use crate::planner::view::View;
use crate::units::{Amounts, Cores, Gpus, Kib};

/// Starts with one show that may use 100 cores of the one allocation, one folder without caps, and
/// the cluster of the tag `general`.
#[derive(Clone, Debug)]
pub(crate) struct Farm {
    pub(crate) snapshot: Snapshot,
    pub(crate) holds: Holds,
}

pub(crate) fn tags(tags: &[&str]) -> BTreeSet<Tag> {
    tags.iter().map(Tag::new).collect()
}

pub(crate) fn amounts(cores: i64, gib: i64, gpus: i64, gpu_gib: i64) -> Amounts {
    Amounts { cores: Cores::whole(cores), memory: Kib::gib(gib), gpus: Gpus(gpus), gpu_memory: Kib::gib(gpu_gib) }
}

/// What is wrong with a layer's row.
pub(super) fn unusable() -> LeftOutRow {
    LeftOutRow { table: "layer".into(), id: "layer".to_owned(), problem: "int_gpus_min is -1".to_owned() }
}

/// How each host keeps itself for GPU work.
pub(super) fn kept(snapshot: &Snapshot, holds: &Holds, policy: &Policy) -> Vec<Kept> {
    let state = State::new(View::new(snapshot, holds, policy));
    HostIx::all(&snapshot.hosts).map(|host| state.view.offer(host).kept).collect()
}

impl Farm {
    pub(crate) fn new() -> Self {
        let mut farm = Self { snapshot: Snapshot::default(), holds: Holds::default() };
        farm.snapshot.folders.push(FolderRow {
            id: "folder".into(),
            name: "folder".to_owned(),
            cores: Cores::ZERO,
            cores_max: Cap::Unlimited,
            gpus: Gpus::ZERO,
            gpus_max: Cap::Unlimited,
        });
        farm.show("show", 100, 100);
        farm
    }

    /// A show with a subscription in whole cores to `alloc` and a cluster for `general` there.
    pub(crate) fn show(&mut self, name: &str, size: i64, burst: i64) -> usize {
        self.snapshot.shows.push(ShowRow {
            id: name.into(),
            name: name.to_owned(),
            is_active: true,
            is_scheduler_managed: None,
        });
        self.subscribe(name, "alloc", size, burst);
        let allocs = vec![("alloc".into(), "alloc".to_owned())];
        self.cluster(name, ClusterKind::Allocation { tag: "general".into(), allocs });
        self.snapshot.shows.len() - 1
    }

    pub(crate) fn subscribe(&mut self, show: &str, alloc: &str, size: i64, burst: i64) {
        self.snapshot.subscriptions.push(Subscription {
            id: format!("{show}-{alloc}").into(),
            show: show.into(),
            alloc: alloc.into(),
            size: Cores::whole(size),
            burst: Cores::whole(burst),
            cores: Cores::ZERO,
        });
    }

    pub(crate) fn cluster(&mut self, show: &str, kind: ClusterKind) -> usize {
        self.snapshot.clusters.push(Cluster {
            name: format!("{show}-{}", self.snapshot.clusters.len()),
            facility: "facility".into(),
            facility_name: "facility".to_owned(),
            show: show.into(),
            show_name: show.to_owned(),
            kind,
        });
        self.snapshot.clusters.len() - 1
    }

    /// An empty open host with the tag `general`.
    pub(crate) fn host(&mut self, total: Amounts) -> &mut Host {
        let name = format!("host-{:04}", self.snapshot.hosts.len());
        self.snapshot.hosts.push(Host {
            id: name.as_str().into(),
            name,
            facility: "facility".into(),
            alloc: "alloc".into(),
            alloc_name: "facility.alloc".to_owned(),
            tags: tags(&["general"]),
            os: vec!["linux".to_owned()],
            thread_mode: ThreadMode::Auto,
            total,
            idle: total,
            load: HostLoad::default(),
            state: HostState::Open,
            reported_at: Timestamp::UNIX_EPOCH,
            running_layers: BTreeSet::new(),
        });
        self.snapshot.hosts.last_mut().expect("just pushed")
    }

    /// A job of a show, priority 100, all of whose caps are wide.
    pub(crate) fn job(&mut self, show: usize) -> usize {
        let name = format!("job-{:04}", self.snapshot.jobs.len());
        self.snapshot.jobs.push(JobRow {
            id: name.as_str().into(),
            name,
            show: ShowIx(show),
            folder: FolderIx(0),
            facility: "facility".into(),
            is_paused: false,
            is_auto_book: true,
            os: Some("linux".to_owned()),
            priority: 100,
            started_at: Timestamp::UNIX_EPOCH,
            cores: Cores::ZERO,
            cores_max: Cores::whole(10_000),
            gpus: Gpus::ZERO,
            gpus_max: Gpus(100),
        });
        self.snapshot.jobs.len() - 1
    }

    /// A layer of one-core, one-GiB frames that are not threadable and go to `general`.
    pub(crate) fn layer(&mut self, job: usize, frames: u32) -> &mut Candidate {
        let show = self.snapshot.shows[self.snapshot.jobs[job].show].id.clone();
        let clusters = ClusterIx::all(&self.snapshot.clusters)
            .filter(|&cluster| self.snapshot.clusters[cluster].show == show)
            .collect();
        let name = format!("layer-{:04}", self.snapshot.candidates.len());
        self.snapshot.candidates.push(Candidate {
            layer: name.as_str().into(),
            layer_name: name,
            job: JobIx(job),
            clusters,
            tags: tags(&["general"]),
            cores: CoreRequest::AtLeast(Cores::ONE),
            cores_max: None,
            memory: Kib::gib(1),
            gpus: Gpus::ZERO,
            gpu_memory: Kib::ZERO,
            is_threadable: false,
            services: Vec::new(),
            limits: Vec::new(),
            start_after: None,
            dispatch_order: 0,
            unusable: None,
            needs_slots: false,
            has_refused_licences: false,
            run_time: None,
            waiting_frames: frames,
            waiting_since: Timestamp::UNIX_EPOCH,
        });
        self.snapshot.candidates.last_mut().expect("just pushed")
    }

    /// What a booking of the placement makes of the farm, as the next snapshot would show it.
    pub(crate) fn book(&mut self, placement: &Placement) {
        let Placement { candidate, host, frames, reservation, .. } = *placement;
        let snapshot = &mut self.snapshot;
        let candidate = &mut snapshot.candidates[candidate];
        let (job, host) = (&mut snapshot.jobs[candidate.job], &mut snapshot.hosts[host]);
        let (show, folder) = (&snapshot.shows[job.show].id, &mut snapshot.folders[job.folder]);
        let in_use = |subscription: &&mut Subscription| subscription.show == *show && subscription.alloc == host.alloc;
        let mut subscription = snapshot.subscriptions.iter_mut().find(in_use);
        for _ in 0..frames {
            host.idle = (host.idle - reservation).max(Amounts::default());
            host.load.booked += reservation.cores;
            host.running_layers.insert(candidate.layer.clone());
            if let Some(subscription) = &mut subscription {
                subscription.cores += reservation.cores;
            }
            folder.cores += reservation.cores;
            folder.gpus += reservation.gpus;
            job.cores += reservation.cores;
            job.gpus += reservation.gpus;
            for &limit in &candidate.limits {
                let is_held = snapshot.limits[limit].usage.is_held_by(&host.name);
                match &mut snapshot.limits[limit].usage {
                    LimitUse::Frames { used, .. } => *used += 1,
                    LimitUse::Hosts { used, holders, .. } => {
                        *used += i64::from(!is_held);
                        holders.insert(host.name.to_lowercase());
                    }
                }
            }
        }
        candidate.waiting_frames = candidate.waiting_frames.saturating_sub(frames);
    }

    /// A limit; bind it by its position.
    pub(crate) fn limit(&mut self, usage: LimitUse) -> LimitIx {
        let name = format!("limit-{}", self.snapshot.limits.len());
        self.snapshot.limits.push(LimitRow { id: name.as_str().into(), name, usage });
        LimitIx(self.snapshot.limits.len() - 1)
    }
}

/// Host and frames of every placement of a candidate, by host.
pub(crate) fn placed(plan: &Plan, candidate: usize) -> Vec<(usize, u32)> {
    let mut placed: Vec<(usize, u32)> = plan
        .placements
        .iter()
        .filter(|placement| placement.candidate.0 == candidate)
        .map(|placement| (placement.host.0, placement.frames))
        .collect();
    placed.sort_unstable();
    placed
}

pub(crate) fn reason(plan: &Plan, candidate: usize) -> Option<WaitReason> {
    plan.waiting.iter().find(|waiting| waiting.candidate.0 == candidate).map(|waiting| waiting.reason)
}
