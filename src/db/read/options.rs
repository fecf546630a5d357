//! How a snapshot is taken.

use std::time::Duration;

use crate::model::{HOST_STALENESS, LIMIT_SETTLE_WINDOW};

/// What a snapshot is told besides the clusters.
#[derive(Clone, Debug)]
pub struct SnapshotOptions {
    /// A host whose last report is older takes nothing.
    pub staleness: Duration,
    /// Cuebot's `limit.settle_window_seconds`: how long a report of licence use may lag behind.
    pub limit_settle_window: Duration,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self { staleness: HOST_STALENESS, limit_settle_window: LIMIT_SETTLE_WINDOW }
    }
}
