//! What the loops of a service share.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::hints::Hints;
use super::settings::{Settings, SharedSettings};
use crate::config::BesideMaestro;
use crate::db::{Store, StoreError};
use crate::model::Cluster;
use crate::telemetry::{Health, Metrics};

/// Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) store: Store,
    pub(super) settings: SharedSettings,
    pub(super) hints: Hints,
    pub(super) metrics: Metrics,
    pub(super) health: Health,
    pub(super) clusters: watch::Receiver<Arc<[Cluster]>>,
}

impl Context {
    /// The clusters as they were built last.
    pub(super) fn clusters(&self) -> Arc<[Cluster]> {
        Arc::clone(&self.clusters.borrow())
    }

    /// The settings that hold now; they may be replaced while a round is under way.
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.now()
    }

    /// Whether Cuebot's own planner is active, and nothing shall be booked beside it.
    pub(super) async fn foreign_planner_blocks(&self) -> Result<bool, StoreError> {
        Ok(self.settings().beside_maestro == BesideMaestro::Refuse && self.store.foreign_planner_active().await?)
    }
}

/// Each once.
pub(super) fn sorted<'i, T: Clone + Ord + 'i>(items: impl Iterator<Item = &'i T>) -> Vec<T> {
    items.collect::<BTreeSet<_>>().into_iter().cloned().collect()
}
