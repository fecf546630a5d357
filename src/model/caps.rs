//! What may not be exceeded, whoever is waiting.

use super::{AllocId, LimitId, ShowId, SubscriptionId};
use crate::units::Cores;

/// A ceiling, decoded once from the sentinels of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Cap<T> {
    Unlimited,
    /// Use after booking may be at most this.
    AtMost(T),
}

impl<T: PartialOrd + Copy> Cap<T> {
    pub fn allows(self, used_after: T) -> bool {
        self.max().is_none_or(|max| used_after <= max)
    }

    #[must_use]
    pub fn max(self) -> Option<T> {
        match self {
            Self::Unlimited => None,
            Self::AtMost(max) => Some(max),
        }
    }
}

/// The right of one show to use one allocation. A burst of 0 or less is frozen: nothing books.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Subscription {
    pub id: SubscriptionId,
    pub show: ShowId,
    pub alloc: AllocId,
    pub size: Cores,
    pub burst: Cores,
    /// In use, as the counter row says.
    pub cores: Cores,
}

impl Subscription {
    /// Order of shows on one allocation, lowest first; Cuebot's function `tier`.
    pub fn tier(&self, cores: Cores) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "an order, not an amount")]
        let (cores, size) = (cores.get() as f64, self.size.get() as f64);
        if size == 0.0 {
            cores / 100.0 + 1.0
        } else if cores == 0.0 {
            -size
        } else {
            cores / size
        }
    }
}

/// A named cap on running work across layers of any show, with its use at the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LimitRow {
    pub id: LimitId,
    pub name: String,
    pub usage: LimitUse,
}

/// How a limit counts. Limits that never block (advisory, disabled, a stale report, no maximum on a
/// schema that says so) are not in the snapshot at all.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum LimitUse {
    /// Counts frames; a booking of one frame adds one.
    Frames { used: i64, max: i64 },
    /// Counts hosts; a host that already holds a seat takes any number of frames.
    /// `holders` are lower-case host names: cut at the first dot where a licence server reported the
    /// seat, in full where a frame runs. Either names the host.
    Hosts { used: i64, max: i64, holders: std::collections::BTreeSet<String> },
}

impl LimitUse {
    /// Whether the host of this name has a seat already. Never so for limits that count frames.
    pub fn is_held_by(&self, host_name: &str) -> bool {
        let Self::Hosts { holders, .. } = self else { return false };
        let name = host_name.to_lowercase();
        holders.contains(name.split('.').next().unwrap_or_default()) || holders.contains(&name)
    }
}
