//! The order in which hosts of a group are tried, and how a search passes over those that cannot do.

use std::collections::BTreeSet;

use super::reserve::{Ask, Bundle, GPU_MEMORY_KEPT, KEPT_FOR_GPU_WORK, Kept, Offer, Width};
use crate::model::{HostStrategy, ThreadMode};
use crate::units::{Amounts, Cores, Gpus, Kib};

/// What a host has idle beside its load, in the order in which the strategy takes hosts, whichever layer asks. Compared field
/// by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size {
    /// Idle ones, negated where the strategy wants the largest first.
    cores: i64,
    /// Idle memory in whole GiB, likewise: machines that were bought alike differ by some KiB.
    gib: i64,
}

impl Size {
    pub(super) const fn of(idle: &Amounts, strategy: HostStrategy) -> Self {
        let (cores, gib) = (idle.cores.get(), gib(idle.memory));
        Self {
            cores: if strategy.core_saturation { cores } else { -cores },
            gib: if strategy.memory_saturation { gib } else { -gib },
        }
    }
}

/// How well a host suits a layer; the lowest goes first. Compared field by field, the most important one first.
///
/// Searches go through buckets by size, so that they need not look at all hosts. What else depends on the
/// layer stands between size and rank, and decides between the hosts of one size that a search ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Score {
    pub(super) size: Size,
    /// It runs no frame of the layer yet.
    pub(super) is_cold: bool,
    /// Of its id, so that no two hosts are equal.
    pub(super) rank: u32,
}

/// Hosts of a group, by size and the rank of their ids.
pub(super) type Bucket = BTreeSet<(Size, u32)>;

/// Hosts of a group are in different buckets by what decides whether an ask can fit at all, so that no
/// search goes through hosts that are out of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BucketKind {
    gpu_memory: GpuMemory,
    has_gpus: bool,
    is_fully_idle: bool,
    beside_gpu_work: Others,
}

/// Who is offered a host besides GPU work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Others {
    /// Whatever fits.
    All,
    /// What fits beside what Cuebot's rule keeps.
    BesideKept,
    /// What fits beside bundles that come to so much, or may borrow them.
    BesideBundles {
        cores: Cores,
        memory: Kib,
        are_lent: bool,
    },
    /// Only what may borrow them, or asks for no memory: all that is idle is kept.
    Borrowers,
    Nobody,
}

/// Idle GPU memory of a host, as far as it decides which GPU work is offered the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum GpuMemory {
    Nothing,
    /// So little that Cuebot's rule lets other work in beside it.
    Little,
    Plenty,
}

impl BucketKind {
    pub(super) fn of(offer: &Offer, total_cores: Cores) -> Self {
        let idle = &offer.idle;
        let gpu_memory = match idle.gpu_memory {
            memory if memory <= Kib::ZERO => GpuMemory::Nothing,
            memory if memory <= GPU_MEMORY_KEPT => GpuMemory::Little,
            _ => GpuMemory::Plenty,
        };
        Self {
            gpu_memory,
            beside_gpu_work: match (offer.kept, gpu_memory) {
                (Kept::ByGpuMemory, GpuMemory::Nothing) => Others::All,
                (Kept::ByGpuMemory, GpuMemory::Little) => Others::BesideKept,
                (Kept::ByGpuMemory, GpuMemory::Plenty) => Others::Nobody,
                (Kept::Bundle(bundle), _) => Others::bundles(bundle, idle),
            },
            has_gpus: idle.gpus > Gpus::ZERO,
            is_fully_idle: idle.cores == total_cores,
        }
    }

    /// Whether the ask can fit on such hosts.
    pub(super) fn may_fit(self, ask: &Ask) -> bool {
        let has_gpu_memory = match self.gpu_memory {
            GpuMemory::Nothing => ask.gpu_memory <= Kib::ZERO,
            GpuMemory::Little => ask.gpu_memory <= GPU_MEMORY_KEPT,
            GpuMemory::Plenty => true,
        };
        let is_let_in = match self.beside_gpu_work {
            _ if ask.is_gpu_work() => true,
            Others::All | Others::BesideKept | Others::BesideBundles { .. } => true,
            Others::Borrowers => ask.is_short || ask.memory <= Kib::ZERO,
            Others::Nobody => false,
        };
        is_let_in
            && has_gpu_memory
            && (self.has_gpus || ask.gpus <= Gpus::ZERO)
            && (self.is_fully_idle || !ask.is_exclusive())
    }
}

impl Others {
    fn bundles(bundle: Bundle, idle: &Amounts) -> Self {
        let kept = bundle.times(idle.gpus.max(Gpus::ZERO));
        let (has_cores, has_memory) = (kept.cores < idle.cores, kept.memory < idle.memory);
        match (kept.has_some(), bundle.is_lent) {
            (false, _) => Self::All,
            (true, are_lent) if has_cores && has_memory => {
                Self::BesideBundles { cores: kept.cores, memory: kept.memory, are_lent }
            }
            (true, false) if !has_cores => Self::Nobody,
            (true, _) => Self::Borrowers,
        }
    }
}

/// What a host must have idle at least; necessary, not sufficient.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    cores_min: i64,
    gib_min: i64,
    /// Where a frame gets wider than the caps allow unless there is so much memory.
    width: Option<Width>,
}

impl Bounds {
    pub(super) fn new(ask: &Ask, mode: ThreadMode, kind: BucketKind, width: Option<Width>) -> Self {
        // Beside bundles frames are offered less than the host has idle, so that nothing follows from that.
        let is_beside_bundles = matches!(kind.beside_gpu_work, Others::BesideBundles { .. } | Others::Borrowers);
        let width = width.filter(|_| !is_beside_bundles || ask.is_gpu_work());
        let beside = match kind.beside_gpu_work {
            Others::BesideKept if ask.gpu_memory <= Kib::ZERO => KEPT_FOR_GPU_WORK,
            Others::BesideBundles { cores, memory, are_lent } if !(ask.is_gpu_work() || (are_lent && ask.is_short)) => {
                Amounts { cores, memory, ..Amounts::default() }
            }
            _ => Amounts::default(),
        };
        // Nothing kept is too much for an ask of nothing.
        let kept = |asked: i64, kept: i64| if asked > 0 { asked.saturating_add(kept) } else { asked };
        Self {
            cores_min: kept(ask.idle_cores_min(mode).get(), beside.cores.get()),
            gib_min: gib(Kib(kept(ask.memory.get(), beside.memory.get()))),
            // A frame does not get wide by cores that are kept from it.
            width: width.map(|width| Width { idle_cores: width.idle_cores + beside.cores, ..width }),
        }
    }

    /// With so many idle cores.
    fn gib_min_at(&self, cores: i64) -> i64 {
        match self.width {
            Some(width) if cores >= width.idle_cores.get() => self.gib_min.max(gib(width.idle_memory)),
            _ => self.gib_min,
        }
    }
}

/// The hosts of a bucket that are within bounds, best first.
pub(super) struct Within<'i> {
    pub(super) bucket: &'i Bucket,
    pub(super) bounds: Bounds,
    pub(super) strategy: HostStrategy,
    /// Hosts that would only be too wide for the caps were passed over.
    pub(super) has_skipped: bool,
}

impl Within<'_> {
    /// What `tries` makes of the first host, before `end`, that it takes.
    pub(super) fn first<T>(&mut self, end: Option<Score>, mut tries: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let HostStrategy { core_saturation, memory_saturation } = self.strategy;
        let mut from = Size { cores: if core_saturation { self.bounds.cores_min } else { i64::MIN }, gib: i64::MIN };
        'skip: loop {
            for &(size, rank) in self.bucket.range((from, 0)..) {
                let cores = if core_saturation { size.cores } else { -size.cores };
                let gib = if memory_saturation { size.gib } else { -size.gib };
                if cores < self.bounds.cores_min || end.is_some_and(|end| Score { size, is_cold: true, rank } >= end) {
                    return None;
                }
                let gib_min = self.bounds.gib_min_at(cores);
                if gib < gib_min {
                    self.has_skipped |= gib_min > self.bounds.gib_min;
                    // Of hosts with so many idle cores, straight to the first with enough memory.
                    from = if memory_saturation {
                        Size { gib: gib_min, ..size }
                    } else {
                        Size { cores: size.cores + 1, gib: i64::MIN }
                    };
                    continue 'skip;
                }
                if let Some(taken) = tries(rank) {
                    return Some(taken);
                }
            }
            return None;
        }
    }
}

/// Whole GiB, rounded down.
const fn gib(memory: Kib) -> i64 {
    memory.get().div_euclid(Kib::gib(1).get())
}
