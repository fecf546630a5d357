//! A machine of the farm as the last snapshot saw it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::{AllocId, FacilityId, HostId, LayerId, LoadRule, Tag, Timestamp};
use crate::units::{Amounts, Cores, Kib};

/// One host. `idle` is what may be promised: the ledger's idle amounts, or what procs leave of the total
/// where that is less. What the machine measured as free decides nothing of it, as it does not under Cuebot:
/// an empty machine has less free memory than it has, and what a frame used shows until the next report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    pub id: HostId,
    /// Also the name that the agent is dialled by and that `frame.str_host` must carry.
    pub name: String,
    pub facility: FacilityId,
    pub alloc: AllocId,
    /// `facility.alloc`, as Cuebot names it.
    pub alloc_name: String,
    pub tags: BTreeSet<Tag>,
    /// The host's comma list, split and trimmed. Empty when the host reports none.
    pub os: Vec<String>,
    pub thread_mode: ThreadMode,
    pub total: Amounts,
    pub idle: Amounts,
    pub load: HostLoad,
    pub state: HostState,
    /// When Cuebot last heard of it.
    pub reported_at: Timestamp,
    /// Layers with a proc on this host now: warm for more of the same.
    pub running_layers: BTreeSet<LayerId>,
}

impl Host {
    /// Cuebot books no host with less idle memory than this.
    pub const IDLE_MEMORY_MIN: Kib = Kib::mib(256);
    /// Cuebot books no host that reports less free memory than this.
    pub const FREE_MEMORY_MIN: Kib = Kib::mib(512);

    /// Of the idle cores, those that other work on the machine takes, as its load says. `booked_lately`: the most
    /// that was booked there in the two minutes before the last report, where more is known than procs tell.
    pub fn busy(&self, rule: LoadRule, booked_lately: Cores) -> Cores {
        let taken = match rule {
            LoadRule::Off => return Cores::ZERO,
            LoadRule::Foreign => self.load.booked + self.load.foreign(booked_lately),
            // Cuebot looks once a report; what was booked since is not in the load.
            LoadRule::Cuebot => self.load.reported + (self.load.booked - self.load.booked_at_report),
        };
        // Cuebot's tolerance.
        let allowed = Cores(self.total.cores.get().saturating_mul(105) / 100);
        self.idle.cores - self.idle.cores.min((allowed - taken).max(Cores::ZERO))
    }

    /// No machine is so busy that anybody would book it: the number itself is wrong.
    pub fn has_absurd_load(&self) -> bool {
        self.load.reported > Cores(self.total.cores.get().saturating_mul(4))
    }
}

/// What a machine reports of its load, and what procs hold there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLoad {
    /// Average of the minute before the last report.
    pub reported: Cores,
    /// By procs, now.
    pub booked: Cores,
    /// By those of them that were there before the last report.
    pub booked_at_report: Cores,
}

impl HostLoad {
    /// What is not explained by bookings. The average still holds what ended within minutes, hence the most that
    /// was booked counts.
    pub fn foreign(&self, booked_lately: Cores) -> Cores {
        (self.reported - self.booked_at_report.max(booked_lately)).max(Cores::ZERO)
    }
}

/// Fractions of a core that an agent takes. One published agent refuses them for threadable frames, the
/// other for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fractions {
    #[default]
    Any,
    /// Not for threadable frames.
    SingleThreaded,
    None,
}

impl Fractions {
    pub const fn are_taken(self, is_threadable: bool) -> bool {
        match self {
            Self::Any => true,
            Self::SingleThreaded => !is_threadable,
            Self::None => false,
        }
    }
}

/// `host.int_thread_mode`: 0, 1, 2. A row with any other number is left out of the snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ThreadMode {
    /// Cores follow the frame's share of memory.
    #[default]
    Auto,
    /// A frame takes all whole idle cores; only threadable layers are offered.
    All,
    /// At least two cores for threadable layers.
    Variable,
}

/// Whether a host takes bookings now, and if not, why; the first that holds in this order. The names of
/// the variants are the words of JSON and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, IntoStaticStr, VariantNames, Serialize, Deserialize)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum HostState {
    #[default]
    Open,
    /// `host_stat.str_state` is not UP: DOWN, REBOOTING, REBOOT_WHEN_IDLE, REPAIR.
    NotUp(String),
    /// `host.str_lock_state` LOCKED: an operator's decision.
    Locked,
    /// NIMBY_LOCKED: a person is at the desk.
    NimbyLocked,
    /// The last report is older than `host_cache.host_staleness_threshold`, or the next one overdue.
    Stale { seconds: i64 },
    /// The last report is dated so far ahead of the database's clock that it says nothing of the host.
    FutureReport { seconds: i64 },
    /// `host_local` rows exist: its owner renders locally.
    LocalWork,
    /// It has a limit on slots, which nobody here books.
    SlotLimit,
    /// Nothing but that the machine measures less free memory than Cuebot demands of a bookable host.
    LowFreeMemory,
    /// Withheld by this scheduler: launches unsettled or refused, name not resolvable, or frames that fail at once.
    PutAside(String),
}

/// What a host reports and nobody can believe. The names of the variants are the words of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum HostOddity {
    /// A load of more than four times its cores.
    LoadTooHigh,
    /// The same load again and again, and more than bookings explain.
    LoadStuck,
    /// A report that is dated ahead of the database's clock.
    ReportInFuture,
}

impl HostOddity {
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::LoadTooHigh => "its load is more than four times its cores, which is nonsense: it is ignored",
            Self::LoadStuck => "its load has been the same in ten reports, which is nonsense: it is ignored",
            Self::ReportInFuture => {
                "its last report is dated ahead of the database's clock: see that the clocks of the database's servers \
                 agree"
            }
        }
    }
}

impl HostState {
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// Whether it takes nothing, however much is free there.
    pub const fn is_closed(&self) -> bool {
        !matches!(self, Self::Open | Self::LowFreeMemory)
    }

    /// `open`, or why a host takes nothing.
    pub fn sentence(&self) -> String {
        match self {
            Self::Open => "open".to_owned(),
            Self::NotUp(reported) => format!("not up: {reported}"),
            Self::Locked => "locked".to_owned(),
            Self::NimbyLocked => "locked: a person is at the desk".to_owned(),
            Self::Stale { seconds } => format!("no report for {seconds} s"),
            Self::FutureReport { seconds } => {
                format!("its last report is dated {seconds} s ahead of the database's clock")
            }
            Self::LocalWork => "renders for its owner".to_owned(),
            Self::SlotLimit => "it counts slots, which are not booked yet".to_owned(),
            Self::LowFreeMemory => "too little free memory".to_owned(),
            Self::PutAside(reason) => format!("put aside: {reason}"),
        }
    }
}
