//! What hosts with idle GPUs keep for GPU work: for each idle GPU a bundle of cores and memory.
//!
//! The bundle is that of the largest GPU layer which waits for the allocation, or ran there in the last day,
//! and fits the host. It is kept while such work waits, or ran lately; after that, short frames may borrow it.
//! Where no such work was seen, nothing is kept.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::gates::{FirstShut, Layer, LayerTraits, OnHost, Trace};
use super::reserve::{Bundle, Kept};
use super::view::View;
use crate::model::{
    AllocId, Candidate, CandidateIx, ClusterIx, CoreRequest, FacilityId, GpuAsk, GpuKeep, Host, HostIx, ShowId,
    Snapshot, Tag, Timestamp,
};
use crate::units::{Amounts, Cores, Gpus, Kib};

/// The GPU work of each allocation.
#[derive(Debug, Default)]
pub(super) struct Bundles<'s> {
    by_alloc: BTreeMap<&'s AllocId, OfAlloc>,
}

#[derive(Debug, Default)]
struct OfAlloc {
    asks: BTreeSet<GpuAsk>,
    is_awaited: bool,
    last_seen: Option<Timestamp>,
}

/// What a host keeps of its idle amounts, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct KeptForGpus {
    /// Idle ones.
    pub gpus: Gpus,
    /// For each of them.
    pub cores: Cores,
    #[serde(rename = "memory_kib")]
    pub memory: Kib,
    /// Such work waits; then nothing of it is lent.
    pub is_awaited: bool,
    /// When it last ran on the allocation, and from when on short frames may borrow what is kept.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_seen: Option<Timestamp>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub lent_from: Option<Timestamp>,
}

/// What decides which hosts waiting work reaches.
type Reach<'s> = (&'s FacilityId, &'s [ClusterIx], &'s BTreeSet<Tag>, LayerTraits<'s>, &'s ShowId, GpuAsk);

impl<'s> Bundles<'s> {
    /// Of what was seen, and of what waits and can run there.
    pub(super) fn of(view: &View<'s>) -> Self {
        let snapshot = view.snapshot;
        let mut bundles = Self::default();
        if view.policy.gpu_keep == GpuKeep::Cuebot {
            return bundles;
        }
        for seen in &snapshot.gpu_work {
            let work = bundles.by_alloc.entry(&seen.alloc).or_default();
            work.asks.insert(seen.ask);
            work.last_seen = work.last_seen.max(Some(seen.last_seen));
        }
        let subscriptions = snapshot.subscriptions.iter().filter(|subscription| subscription.burst > Cores::ZERO);
        let usable = subscriptions.map(|subscription| (&subscription.show, &subscription.alloc)).collect();
        let mut reached: HashMap<Reach<'_>, BTreeSet<&AllocId>> = HashMap::new();
        for position in CandidateIx::all(&snapshot.candidates) {
            let layer = Layer::of(view, position);
            let candidate = layer.candidate;
            let is_gpu_work = candidate.gpus > Gpus::ZERO || candidate.gpu_memory > Kib::ZERO;
            if !is_gpu_work || !may_ever_go(&layer, position) {
                continue;
            }
            let (job, ask) = (layer.job, GpuAsk::of(candidate));
            let reach: Reach<'_> =
                (&job.facility, &candidate.clusters, &candidate.tags, layer.traits(), &layer.show.id, ask);
            for &alloc in
                reached.entry(reach).or_insert_with(|| allocs_with_gpus(snapshot, &layer, &ask, &usable)).iter()
            {
                let work = bundles.by_alloc.entry(alloc).or_default();
                work.asks.insert(ask);
                work.is_awaited = true;
            }
        }
        bundles
    }

    pub(super) fn kept_on(&self, host: &Host, view: &View<'_>) -> Kept {
        let GpuKeep::For(keep) = view.policy.gpu_keep else { return Kept::ByGpuMemory };
        let Some(work) = self.by_alloc.get(&host.alloc).filter(|_| host.total.gpus > Gpus::ZERO) else {
            return Kept::Bundle(Bundle::default());
        };
        let each = work.asks.iter().filter_map(|ask| for_each_gpu(ask, &host.total));
        let (cores, memory) = each.fold((Cores::ZERO, Kib::ZERO), |most, one| (most.0.max(one.0), most.1.max(one.1)));
        let is_lent = work.lent_from(keep).is_some_and(|from| from <= view.snapshot.taken_at);
        Kept::Bundle(Bundle { cores, memory, is_lent })
    }

    /// `None` where nothing is kept.
    pub(super) fn told(&self, host: &Host, idle: &Amounts, view: &View<'_>) -> Option<KeptForGpus> {
        let GpuKeep::For(keep) = view.policy.gpu_keep else { return None };
        let Kept::Bundle(bundle) = self.kept_on(host, view) else { return None };
        let Bundle { cores, memory, .. } = bundle;
        let work = self.by_alloc.get(&host.alloc).filter(|_| bundle.times(idle.gpus).has_some())?;
        Some(KeptForGpus {
            gpus: idle.gpus,
            cores,
            memory,
            is_awaited: work.is_awaited,
            last_seen: work.last_seen,
            lent_from: work.lent_from(keep),
        })
    }
}

impl OfAlloc {
    /// `None` while such work waits.
    fn lent_from(&self, keep: Duration) -> Option<Timestamp> {
        self.last_seen.filter(|_| !self.is_awaited).map(|last| last + keep)
    }
}

impl GpuAsk {
    const fn of(candidate: &Candidate) -> Self {
        let &Candidate { cores, memory, gpus, gpu_memory, .. } = candidate;
        Self { cores, memory, gpus, gpu_memory }
    }
}

/// Whether anything of a layer waits that is not held back, and that its job may run. Nothing is kept for others.
fn may_ever_go(layer: &Layer<'_>, position: CandidateIx) -> bool {
    let (view, job) = (layer.view, layer.job);
    let is_without_gpus = job.gpus_max == Gpus::ZERO && layer.candidate.gpus <= Gpus::ZERO;
    view.let_go(position, view.waiting[position]) > 0
        && job.cores_max > Cores::ZERO
        && (job.gpus_max > Gpus::ZERO || is_without_gpus)
        && FirstShut.gates(&Layer::GATES, layer).is_ok()
}

/// Allocations that its show may use, where waiting work reaches hosts with GPUs which could run it.
fn allocs_with_gpus<'s>(
    snapshot: &'s Snapshot,
    layer: &Layer<'_>,
    ask: &GpuAsk,
    usable: &HashSet<(&ShowId, &AllocId)>,
) -> BTreeSet<&'s AllocId> {
    let mut allocs = BTreeSet::new();
    for (position, host) in HostIx::all(&snapshot.hosts).zip(&snapshot.hosts) {
        if host.total.gpus > Gpus::ZERO
            && !allocs.contains(&host.alloc)
            && usable.contains(&(&layer.show.id, &host.alloc))
            && layer.reaches(position)
            && FirstShut.gates(&OnHost::GATES, &layer.on(position)).is_ok()
            && for_each_gpu(ask, &host.total).is_some()
        {
            allocs.insert(&host.alloc);
        }
    }
    allocs
}

/// Cores and memory that go with one GPU of a frame; `None` where the host is too small for it.
fn for_each_gpu(ask: &GpuAsk, total: &Amounts) -> Option<(Cores, Kib)> {
    let cores = match ask.cores {
        CoreRequest::AtLeast(cores) => cores,
        CoreRequest::WholeHost => total.cores,
        CoreRequest::AllBut(cores) => total.cores - cores,
    };
    let whole = Amounts { cores, memory: ask.memory, gpus: ask.gpus, gpu_memory: ask.gpu_memory };
    let share = |amount: i64| {
        let gpus = ask.gpus.get().max(1);
        amount.saturating_add(gpus - 1) / gpus
    };
    whole.fits_in(total).then(|| (Cores(share(cores.get())), Kib(share(ask.memory.get()))))
}
