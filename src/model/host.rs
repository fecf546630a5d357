//! A machine of the farm as the last snapshot saw it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::{AllocId, FacilityId, HostId, LayerId, Tag, Timestamp};
use crate::units::{Amounts, Kib};

/// One host. `idle` is what may be promised: the ledger's idle amounts, or what procs leave of the total
/// where that is less, with memory and GPU memory lowered to what the machine measured as free where that
/// is less still.
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
    pub state: HostState,
    /// When Cuebot last heard of it.
    pub reported_at: Timestamp,
    /// Layers with a proc on this host now: warm for more of the same.
    pub running_layers: BTreeSet<LayerId>,
}

impl Host {
    /// Cuebot books no host with less idle memory than this.
    pub const IDLE_MEMORY_MIN: Kib = Kib::mib(256);
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
    /// `host_local` rows exist: its owner renders locally.
    LocalWork,
    /// The machine measures less free memory than Cuebot demands of a bookable host.
    LowFreeMemory,
    /// Withheld by this scheduler: launches unsettled or refused, name not resolvable, or frames that fail at once.
    PutAside(String),
}

impl HostState {
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// `open`, or why a host takes nothing.
    pub fn sentence(&self) -> String {
        match self {
            Self::Open => "open".to_owned(),
            Self::NotUp(reported) => format!("not up: {reported}"),
            Self::Locked => "locked".to_owned(),
            Self::NimbyLocked => "locked: a person is at the desk".to_owned(),
            Self::Stale { seconds } => format!("no report for {seconds} s"),
            Self::LocalWork => "renders for its owner".to_owned(),
            Self::LowFreeMemory => "too little free memory".to_owned(),
            Self::PutAside(reason) => format!("put aside: {reason}"),
        }
    }
}
