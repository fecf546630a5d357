//! GPU work that was seen, and how hosts keep themselves for more of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AllocId, CoreRequest, Timestamp};
use crate::units::{Gpus, Kib};

/// What the frames of some GPU layers ask for that ran on an allocation in the last day, of whatever show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuWork {
    pub alloc: AllocId,
    pub ask: GpuAsk,
    /// When one of them last ran.
    pub last_seen: Timestamp,
}

/// What a frame of GPU work takes at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GpuAsk {
    pub cores: CoreRequest,
    pub memory: Kib,
    pub gpus: Gpus,
    pub gpu_memory: Kib,
}

/// What hosts with idle GPUs keep from other work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GpuKeep {
    /// Cuebot's rule: the host is kept by its idle GPU memory, whatever waits.
    Cuebot,
    /// For each idle GPU the cores and the memory that go with it, until GPU work has been away for so long.
    For(Duration),
}

impl Default for GpuKeep {
    fn default() -> Self {
        Self::For(Duration::from_hours(1))
    }
}
