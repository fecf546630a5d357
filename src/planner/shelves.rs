//! The order in which hosts of a group are tried, and how a search passes over those that cannot do.

use std::collections::BTreeSet;

use super::fit::{Ask, GPU_MEMORY_KEPT, KEPT_FOR_GPU_WORK, Width};
use crate::model::{HostStrategy, ThreadMode};
use crate::units::{Amounts, Cores, Gpus, Kib};

/// Place of a host on its shelf, smallest first: idle cores and idle GiB, each negated where the
/// strategy wants the largest first, then the rank of its id. Hosts equal in the first two are equal
/// for the strategy; measured memory is never equal to the KiB.
pub(super) type Key = (i64, i64, u32);

pub(super) const fn key(idle: &Amounts, rank: u32, strategy: HostStrategy) -> Key {
    let (cores, gib) = (idle.cores.get(), gib(idle.memory));
    (if strategy.core_saturation { cores } else { -cores }, if strategy.memory_saturation { gib } else { -gib }, rank)
}

/// Hosts of a group stand on different shelves by what decides whether an ask can fit at all, so that
/// no search wades through hosts that are out of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShelfKind {
    gpu_memory: GpuMemory,
    has_gpus: bool,
    is_fully_idle: bool,
}

pub(super) const SHELVES: usize = 12;

/// Idle GPU memory of a host, as far as it decides who is offered the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GpuMemory {
    Nothing,
    /// So little that other work is let in beside it.
    Little,
    Plenty,
}

impl ShelfKind {
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
    pub(super) fn new(ask: &Ask, mode: ThreadMode, kind: ShelfKind, width: Option<Width>) -> Self {
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

/// The hosts of a shelf that are within bounds, best first.
pub(super) struct Within<'i> {
    pub(super) shelf: &'i BTreeSet<Key>,
    pub(super) bounds: Bounds,
    pub(super) strategy: HostStrategy,
    /// Hosts that would only be too wide for the caps were passed over.
    pub(super) has_passed_over: bool,
}

impl Within<'_> {
    /// The first host, before `end`, that `tries` takes.
    pub(super) fn first<T>(&mut self, end: Option<Key>, mut tries: impl FnMut(u32) -> Option<T>) -> Option<(Key, T)> {
        let HostStrategy { core_saturation, memory_saturation } = self.strategy;
        let mut from = (if core_saturation { self.bounds.cores_min } else { i64::MIN }, i64::MIN, 0);
        'skip: loop {
            for &key in self.shelf.range(from..) {
                let cores = if core_saturation { key.0 } else { -key.0 };
                let gib = if memory_saturation { key.1 } else { -key.1 };
                if cores < self.bounds.cores_min || end.is_some_and(|end| key >= end) {
                    return None;
                }
                let gib_min = self.bounds.gib_min_at(cores);
                if gib < gib_min {
                    self.has_passed_over |= gib_min > self.bounds.gib_min;
                    // Of hosts with so many idle cores, straight to the first with enough memory.
                    from = if memory_saturation { (key.0, gib_min, 0) } else { (key.0 + 1, i64::MIN, 0) };
                    continue 'skip;
                }
                if let Some(taken) = tries(key.2) {
                    return Some((key, taken));
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
