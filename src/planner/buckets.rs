//! The order in which hosts of a group are tried, and how a search passes over those that cannot do.

use std::collections::BTreeSet;

use super::reserve::{Ask, GPU_MEMORY_KEPT, KEPT_FOR_GPU_WORK, Width};
use crate::model::{HostStrategy, ThreadMode};
use crate::units::{Amounts, Cores, Gpus, Kib};

/// How well a host suits a layer; the lowest goes first. Compared field by field, the most important one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Score {
    /// Idle ones, negated where the strategy wants the largest first.
    cores: i64,
    /// Idle memory in whole GiB, likewise: measured memory is never equal to the KiB.
    gib: i64,
    /// It runs no frame of the layer yet. In buckets, which serve all layers, every host is cold.
    is_cold: bool,
    /// Of its id, so that no two hosts are equal.
    rank: u32,
}

impl Score {
    pub(super) const fn cold(idle: &Amounts, rank: u32, strategy: HostStrategy) -> Self {
        let (cores, gib) = (idle.cores.get(), gib(idle.memory));
        Self {
            cores: if strategy.core_saturation { cores } else { -cores },
            gib: if strategy.memory_saturation { gib } else { -gib },
            is_cold: true,
            rank,
        }
    }

    pub(super) const fn warm(self) -> Self {
        Self { is_cold: false, ..self }
    }

    /// Equal for the strategy.
    pub(super) const fn is_like(&self, other: &Self) -> bool {
        self.cores == other.cores && self.gib == other.gib
    }

    /// Before all hosts of so many cores and so much memory.
    const fn before(cores: i64, gib: i64) -> Self {
        Self { cores, gib, is_cold: false, rank: 0 }
    }
}

/// Hosts of a group are in different buckets by what decides whether an ask can fit at all, so that no
/// search goes through hosts that are out of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BucketKind {
    gpu_memory: GpuMemory,
    has_gpus: bool,
    is_fully_idle: bool,
}

pub(super) const BUCKETS: usize = 12;

/// Idle GPU memory of a host, as far as it decides who is offered the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GpuMemory {
    Nothing,
    /// So little that other work is let in beside it.
    Little,
    Plenty,
}

impl BucketKind {
    pub(super) fn of(idle: &Amounts, total_cores: Cores) -> Self {
        Self {
            gpu_memory: match idle.gpu_memory {
                memory if memory <= Kib::ZERO => GpuMemory::Nothing,
                memory if memory <= GPU_MEMORY_KEPT => GpuMemory::Little,
                _ => GpuMemory::Plenty,
            },
            has_gpus: idle.gpus > Gpus::ZERO,
            is_fully_idle: idle.cores == total_cores,
        }
    }

    pub(super) const fn index(self) -> usize {
        (self.gpu_memory as usize * 2 + self.has_gpus as usize) * 2 + self.is_fully_idle as usize
    }

    fn all() -> impl Iterator<Item = Self> {
        [GpuMemory::Nothing, GpuMemory::Little, GpuMemory::Plenty].into_iter().flat_map(|gpu_memory| {
            [(false, false), (false, true), (true, false), (true, true)].map(|(has_gpus, is_fully_idle)| Self {
                gpu_memory,
                has_gpus,
                is_fully_idle,
            })
        })
    }

    /// Those on which an ask can fit.
    pub(super) fn for_ask(ask: &Ask) -> impl Iterator<Item = Self> {
        Self::all().filter(|kind| {
            let has_gpu_memory = match kind.gpu_memory {
                GpuMemory::Nothing => ask.gpu_memory <= Kib::ZERO,
                GpuMemory::Little => ask.gpu_memory <= GPU_MEMORY_KEPT,
                GpuMemory::Plenty => ask.gpu_memory > Kib::ZERO,
            };
            has_gpu_memory && (kind.has_gpus || ask.gpus <= Gpus::ZERO) && (kind.is_fully_idle || !ask.is_exclusive())
        })
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
        let is_beside_gpus = kind.gpu_memory == GpuMemory::Little && ask.gpu_memory <= Kib::ZERO;
        let beside = if is_beside_gpus { KEPT_FOR_GPU_WORK } else { Amounts::default() };
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
    pub(super) bucket: &'i BTreeSet<Score>,
    pub(super) bounds: Bounds,
    pub(super) strategy: HostStrategy,
    /// Hosts that would only be too wide for the caps were passed over.
    pub(super) has_skipped: bool,
}

impl Within<'_> {
    /// The first host, before `end`, that `tries` takes.
    pub(super) fn first<T>(
        &mut self,
        end: Option<Score>,
        mut tries: impl FnMut(u32) -> Option<T>,
    ) -> Option<(Score, T)> {
        let HostStrategy { core_saturation, memory_saturation } = self.strategy;
        let mut from = Score::before(if core_saturation { self.bounds.cores_min } else { i64::MIN }, i64::MIN);
        'skip: loop {
            for &score in self.bucket.range(from..) {
                let cores = if core_saturation { score.cores } else { -score.cores };
                let gib = if memory_saturation { score.gib } else { -score.gib };
                if cores < self.bounds.cores_min || end.is_some_and(|end| score >= end) {
                    return None;
                }
                let gib_min = self.bounds.gib_min_at(cores);
                if gib < gib_min {
                    self.has_skipped |= gib_min > self.bounds.gib_min;
                    // Of hosts with so many idle cores, straight to the first with enough memory.
                    from = if memory_saturation {
                        Score::before(score.cores, gib_min)
                    } else {
                        Score::before(score.cores + 1, i64::MIN)
                    };
                    continue 'skip;
                }
                if let Some(taken) = tries(score.rank) {
                    return Some((score, taken));
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
