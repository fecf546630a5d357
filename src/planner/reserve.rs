//! What one frame of a layer reserves on one host: Cuebot's rule, in centicores.
//!
//! The rule is the same in every case, because Cuebot goes on booking the same farm by it: a layer must
//! not get other amounts when its show goes from one scheduler to the other.

use std::time::Duration;

use crate::model::{Candidate, CoreRequest, FractionalCores, Fractions, Host, Policy, ThreadMode};
use crate::units::{Amounts, Cores, Gpus, Kib};

/// What a host with idle GPU memory keeps back from layers that ask for none, by Cuebot's rule.
pub(super) const KEPT_FOR_GPU_WORK: Amounts =
    Amounts { cores: Cores::ONE, memory: Kib::gib(4), gpus: Gpus(1), gpu_memory: Kib::gib(4) };

/// Up to this much idle GPU memory can be kept back; a host with more takes no other work at all.
pub(super) const GPU_MEMORY_KEPT: Kib = KEPT_FOR_GPU_WORK.gpu_memory;

/// Frames that take less may borrow what is kept, once GPU work has been away for a while.
const SHORT: Duration = Duration::from_mins(15);

/// How a host keeps itself for GPU work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Kept {
    /// Cuebot's rule: as long as GPU memory is idle.
    #[default]
    ByGpuMemory,
    /// For each idle GPU.
    Bundle(Bundle),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Bundle {
    pub(super) cores: Cores,
    pub(super) memory: Kib,
    /// To short frames.
    pub(super) is_lent: bool,
}

impl Bundle {
    /// For so many idle GPUs.
    pub(super) const fn times(&self, gpus: Gpus) -> Amounts {
        Amounts {
            cores: Cores(self.cores.get().saturating_mul(gpus.get())),
            memory: Kib(self.memory.get().saturating_mul(gpus.get())),
            gpus: Gpus::ZERO,
            gpu_memory: Kib::ZERO,
        }
    }
}

/// Whether frames take so little time that they may borrow what is kept.
fn is_short(candidate: &Candidate) -> bool {
    candidate.run_time.is_some_and(|time| time < SHORT)
}

/// All that the rule knows of a layer. Layers with equal asks fit equal hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ask {
    pub(super) cores: CoreRequest,
    /// `None` = no ceiling.
    pub(super) cores_max: Option<Cores>,
    pub(super) memory: Kib,
    pub(super) gpus: Gpus,
    pub(super) gpu_memory: Kib,
    pub(super) is_threadable: bool,
    /// One of its services takes all whole idle cores.
    pub(super) is_selfish: bool,
    /// Its frames take so little time that they may borrow what is kept for GPU work.
    pub(super) is_short: bool,
}

impl Ask {
    pub(super) fn of(candidate: &Candidate, policy: &Policy) -> Self {
        Self {
            cores: candidate.cores,
            cores_max: candidate.cores_max,
            memory: candidate.memory,
            gpus: candidate.gpus,
            gpu_memory: candidate.gpu_memory,
            is_threadable: candidate.is_threadable,
            is_selfish: candidate.services.iter().any(|service| policy.selfish_services.contains(service)),
            is_short: is_short(candidate),
        }
    }

    /// What a frame takes that is given so many cores.
    pub(super) const fn amounts(&self, cores: Cores) -> Amounts {
        Amounts { cores, memory: self.memory, gpus: self.gpus, gpu_memory: self.gpu_memory }
    }

    pub(super) fn is_gpu_work(&self) -> bool {
        self.gpus > Gpus::ZERO || self.gpu_memory > Kib::ZERO
    }

    /// What of the host's idle amounts is kept from it for GPU work.
    pub(super) fn kept(&self, offer: &Offer) -> Amounts {
        match offer.kept {
            Kept::ByGpuMemory if self.gpu_memory > Kib::ZERO || offer.idle.gpu_memory <= Kib::ZERO => {
                Amounts::default()
            }
            Kept::ByGpuMemory => KEPT_FOR_GPU_WORK.min(offer.idle),
            Kept::Bundle(Bundle { is_lent, .. }) if self.is_gpu_work() || (is_lent && self.is_short) => {
                Amounts::default()
            }
            Kept::Bundle(bundle) => bundle.times(offer.idle.gpus.max(Gpus::ZERO)).min(offer.idle),
        }
    }

    /// Asks for a host with nothing on it.
    pub(super) const fn is_exclusive(&self) -> bool {
        !matches!(self.cores, CoreRequest::AtLeast(_))
    }

    /// Idle cores below which the rule refuses on every host of the mode; 0 for exclusive asks.
    pub(super) fn idle_cores_min(&self, mode: ThreadMode) -> Cores {
        match self.cores {
            CoreRequest::AtLeast(cores) => {
                let needs_two = cores >= Cores::ONE && mode == ThreadMode::Variable && self.is_threadable;
                if needs_two { cores.max(Cores::whole(2)) } else { cores }
            }
            CoreRequest::WholeHost | CoreRequest::AllBut(_) => Cores::ZERO,
        }
    }

    /// Cores that a frame takes at least, whatever the host; 0 for exclusive asks, which depend on it.
    pub(super) fn cores_min(&self, policy: &Policy) -> Cores {
        let CoreRequest::AtLeast(cores) = self.cores else { return Cores::ZERO };
        let least = if cores < Cores::ONE {
            cores
        } else {
            let whole = if self.is_threadable { Cores::whole(cores.whole_cores()) } else { Cores::ONE };
            self.cores_max.map_or(whole, |max| max.min(whole))
        };
        match policy.fractional_cores {
            FractionalCores::Keep => least,
            FractionalCores::RoundUp => least.max(Cores::ONE),
        }
    }
}

/// What the rule knows of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Offer {
    pub(super) thread_mode: ThreadMode,
    /// All cores of the host, idle or not.
    pub(super) cores: Cores,
    /// By the ledger.
    pub(super) idle: Amounts,
    /// Of the idle cores, those that other work on the machine takes.
    pub(super) busy: Cores,
    /// The machine measures so little that nothing is given to it.
    pub(super) lacks_free_memory: bool,
    pub(super) fractions: Fractions,
    pub(super) kept: Kept,
}

impl Offer {
    /// Of a host without other work, whose agent takes all fractions, under Cuebot's rule for GPUs.
    pub(super) fn of(host: &Host, idle: Amounts) -> Self {
        Self {
            thread_mode: host.thread_mode,
            cores: host.total.cores,
            idle,
            busy: Cores::ZERO,
            lacks_free_memory: false,
            fractions: Fractions::Any,
            kept: Kept::ByGpuMemory,
        }
    }

    /// What is idle, less what other work takes of it.
    pub(super) fn beside_load(&self) -> Amounts {
        Amounts { cores: (self.idle.cores - self.busy).max(Cores::ZERO), ..self.idle }
    }

    /// What the rule may take for the ask. Whether a host has nothing on it is for the ledger to say: a machine
    /// is never quite without load.
    pub(super) fn usable_by(&self, ask: &Ask) -> Self {
        let idle = if ask.is_exclusive() { self.idle } else { self.beside_load() };
        Self { idle, busy: Cores::ZERO, ..*self }
    }
}

/// Why a frame may not be reserved on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfit {
    /// The host takes threadable layers only.
    ThreadModeAll,
    /// The machine measures less free memory than a host must have to be given anything.
    LowFreeMemory,
    /// Other work on the machine takes the cores that are idle.
    HostLoad,
    /// The host has idle GPUs and keeps them, with cores and memory, for GPU work.
    GpuKept,
    /// The layer asks for a host with nothing on it.
    HostNotFullyIdle,
    /// Less than one core is idle.
    NoWholeCore,
    /// The host's mode gives threadable frames two cores and fewer are idle.
    VariableNeedsTwo,
    CoresShort,
    MemoryShort,
    GpusShort,
    GpuMemoryShort,
    /// "The whole host but n" on a host of n cores or fewer.
    ReservesNothing,
}

/// What one frame reserves on the host as it is now.
pub(super) fn reserve(ask: &Ask, offer: &Offer, policy: &Policy) -> Result<Amounts, Unfit> {
    if offer.lacks_free_memory {
        return Err(Unfit::LowFreeMemory);
    }
    let usable = offer.usable_by(ask);
    let reserved = reserve_of(ask, &usable, policy);
    if reserved.is_err() && usable.idle != offer.idle && reserve_of(ask, offer, policy).is_ok() {
        return Err(Unfit::HostLoad);
    }
    reserved
}

/// Whatever load and free memory the machine reports.
fn reserve_of(ask: &Ask, offer: &Offer, policy: &Policy) -> Result<Amounts, Unfit> {
    if offer.thread_mode == ThreadMode::All && !ask.is_threadable {
        return Err(Unfit::ThreadModeAll);
    }
    let kept = ask.kept(offer);
    if !kept.has_some() {
        return reserve_unprotected(ask, offer, policy);
    }
    let beside = Offer { idle: offer.idle - kept, ..*offer };
    if offer.kept == Kept::ByGpuMemory && beside.idle.gpu_memory > Kib::ZERO {
        return Err(Unfit::GpuKept);
    }
    reserve_unprotected(ask, &beside, policy)
        .map_err(|short| reserve_unprotected(ask, offer, policy).map_or(short, |_| Unfit::GpuKept))
}

/// What a host must have idle for one frame, as far as that can be told from a few amounts.
pub(super) fn needed(ask: &Ask, offer: &Offer) -> Amounts {
    let cores = if ask.is_exclusive() { offer.cores } else { ask.idle_cores_min(offer.thread_mode) };
    let asked = Amounts { memory: ask.memory.max(Host::IDLE_MEMORY_MIN), ..ask.amounts(cores) };
    asked + ask.kept(offer)
}

/// The rule without the protection of idle GPUs.
pub(super) fn reserve_unprotected(ask: &Ask, offer: &Offer, policy: &Policy) -> Result<Amounts, Unfit> {
    let idle = offer.idle;
    let cores = cores_reserved(ask, offer, Cores::ZERO, policy)?;
    match ask.cores {
        CoreRequest::AtLeast(least) if idle.cores < least => return Err(Unfit::CoresShort),
        CoreRequest::WholeHost | CoreRequest::AllBut(_) if idle.cores != offer.cores => {
            return Err(Unfit::HostNotFullyIdle);
        }
        CoreRequest::AtLeast(_) | CoreRequest::WholeHost | CoreRequest::AllBut(_) => {}
    }
    if cores <= Cores::ZERO {
        return Err(Unfit::ReservesNothing);
    }
    let shortages = [
        (Unfit::CoresShort, cores > idle.cores),
        (Unfit::MemoryShort, ask.memory.max(Host::IDLE_MEMORY_MIN) > idle.memory),
        (Unfit::GpusShort, ask.gpus > idle.gpus),
        (Unfit::GpuMemoryShort, ask.gpu_memory > idle.gpu_memory),
    ];
    if let Some((unfit, _)) = shortages.into_iter().find(|&(_, is_short)| is_short) {
        return Err(unfit);
    }
    let keeps_fractions =
        policy.fractional_cores == FractionalCores::Keep && offer.fractions.are_taken(ask.is_threadable);
    let cores = if keeps_fractions { cores } else { rounded_up(ask, cores, idle.cores)? };
    Ok(ask.amounts(cores))
}

/// The cores of the rule, before anybody asks whether so many are idle.
///
/// `stranded` are idle cores that a finished frame of the job left on a host without memory for
/// anything else. Nothing records them, so it is zero; the published rule has it.
pub(super) fn cores_reserved(ask: &Ask, offer: &Offer, stranded: Cores, policy: &Policy) -> Result<Cores, Unfit> {
    let asked = stranded
        + match ask.cores {
            CoreRequest::AtLeast(cores) => cores,
            CoreRequest::WholeHost => Cores::ZERO,
            CoreRequest::AllBut(cores) => -cores,
        };
    let cores = if asked == Cores::ZERO {
        offer.cores
    } else if asked < Cores::ZERO {
        offer.cores + asked
    } else if asked < Cores::ONE {
        asked
    } else {
        whole_cores_reserved(ask, offer, asked, policy)?
    };
    Ok(if ask.is_threadable { cores } else { cores.min(Cores::ONE) })
}

/// For asks of a core or more.
fn whole_cores_reserved(ask: &Ask, offer: &Offer, asked: Cores, policy: &Policy) -> Result<Cores, Unfit> {
    let idle_whole = Cores::whole(offer.idle.cores.whole_cores());
    if idle_whole <= Cores::ZERO {
        return Err(Unfit::NoWholeCore);
    }
    let is_variable = offer.thread_mode == ThreadMode::Variable && ask.is_threadable;
    let mut cores = if offer.thread_mode == ThreadMode::All {
        idle_whole
    } else if !ask.is_threadable {
        asked
    } else if ask.is_selfish || offer.idle.memory - ask.memory <= policy.memory_stranded_threshold {
        idle_whole
    } else {
        memory_span(ask, offer)
    };
    if is_variable && cores <= Cores::whole(2) {
        cores = Cores::whole(2);
        if cores > offer.idle.cores {
            return Err(Unfit::VariableNeedsTwo);
        }
    }
    cores = cores.max(Cores::ONE).max(asked);
    if let Some(max) = ask.cores_max {
        cores = cores.min(max);
    }
    if cores > offer.idle.cores {
        if is_variable && idle_whole == Cores::ONE {
            return Err(Unfit::VariableNeedsTwo);
        }
        cores = idle_whole;
    }
    Ok(cores)
}

/// Cores in proportion to the share of the idle memory that the frame takes, over all cores of the
/// host: on a half-used host frames get wider, which is Cuebot's way.
fn memory_span(ask: &Ask, offer: &Offer) -> Cores {
    let memory_per_core = offer.idle.memory.get() / offer.cores.whole_cores().max(1);
    if memory_per_core <= 0 {
        return Cores::ONE;
    }
    // Half a core rounds up.
    let span = ask.memory.get().saturating_mul(2).saturating_add(memory_per_core) / memory_per_core.saturating_mul(2);
    let span = Cores::whole(span);
    ask.cores_max.map_or(span, |max| span.min(max))
}

/// On hosts with at least so many idle cores a frame takes more than the caps leave, unless at least
/// so much memory is idle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Width {
    pub(super) idle_cores: Cores,
    pub(super) idle_memory: Kib,
}

/// Where frames get wider than `cores_max` among hosts of one mode with `host_cores_min` cores or
/// more; `None` = nowhere. Certain, but not complete: other hosts may turn out too wide as well.
pub(super) fn width_under(
    ask: &Ask,
    mode: ThreadMode,
    cores_max: Cores,
    host_cores_min: Cores,
    policy: &Policy,
) -> Option<Width> {
    if !ask.is_threadable {
        return None;
    }
    // The first whole number of cores that is too many.
    let too_many = cores_max.whole_cores().saturating_add(1);
    let never = Kib(i64::MAX);
    let (spared, idle_memory) = match ask.cores {
        CoreRequest::AtLeast(cores) if cores < Cores::ONE => return None,
        CoreRequest::AtLeast(_) if ask.cores_max.is_some_and(|max| max <= cores_max) => return None,
        CoreRequest::AtLeast(_) if ask.is_selfish || mode == ThreadMode::All => (Cores::ZERO, never),
        CoreRequest::AtLeast(_) => {
            // Solves `memory_span` for the idle memory.
            let per_core = ask.memory.get().saturating_mul(2) / too_many.saturating_mul(2).saturating_sub(1).max(1);
            let spanned = Kib(per_core.saturating_add(1).saturating_mul(host_cores_min.whole_cores().max(1)));
            (Cores::ZERO, spanned.max(ask.memory + policy.memory_stranded_threshold))
        }
        CoreRequest::WholeHost => (Cores::ZERO, never),
        CoreRequest::AllBut(cores) => (cores, never),
    };
    Some(Width { idle_cores: Cores::whole(too_many) + spared, idle_memory })
}

/// Whole cores for agents that refuse fractions. Where a host has not so many idle, its whole idle
/// cores do, unless that is less than the layer asks for.
fn rounded_up(ask: &Ask, cores: Cores, idle: Cores) -> Result<Cores, Unfit> {
    if !cores.is_fractional() {
        return Ok(cores);
    }
    let up = Cores::whole(cores.whole_cores().saturating_add(1));
    if up <= idle {
        return Ok(up);
    }
    let idle_whole = Cores::whole(idle.whole_cores());
    match ask.cores {
        CoreRequest::AtLeast(least) if idle_whole >= least && idle_whole > Cores::ZERO => Ok(idle_whole),
        CoreRequest::WholeHost | CoreRequest::AllBut(_) if idle_whole > Cores::ZERO => Ok(idle_whole),
        _ => Err(Unfit::CoresShort),
    }
}
