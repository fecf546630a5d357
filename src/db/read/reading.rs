//! What the reading of a snapshot is told, and what its parts share.

use std::time::Duration;

use smart_default::SmartDefault;

use crate::db::Tx;
use crate::model::{Cluster, GpuKeep, HOST_STALENESS, LIMIT_SETTLE_WINDOW, LeftOutRow};

/// What a snapshot is told besides the clusters.
#[derive(Clone, Debug, SmartDefault)]
pub struct SnapshotOptions {
    /// A host whose last report is older takes nothing.
    #[default(HOST_STALENESS)]
    pub staleness: Duration,
    /// Cuebot's `limit.settle_window_seconds`: how long a report of licence use may lag behind.
    #[default(LIMIT_SETTLE_WINDOW)]
    pub limit_settle_window: Duration,
    pub gpu_keep: GpuKeep,
    /// Whether work whose environment declares licences is to be left out.
    pub refuses_licences: bool,
}

/// A snapshot that is being read.
pub(super) struct Reading<'r> {
    pub(super) tx: Tx<'static>,
    pub(super) clusters: &'r [Cluster],
    pub(super) options: &'r SnapshotOptions,
    pub(super) left_out: Vec<LeftOutRow>,
}
