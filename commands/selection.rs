//! The clusters that the settings select.

use anyhow::Context as _;
use cue_scheduler::clusters::{self, Loaded};
use cue_scheduler::config::Config;
use cue_scheduler::db::{ClusterRows, Store};
use cue_scheduler::model::Cluster;

/// Reads and selects.
pub(crate) async fn load(store: &Store, config: &Config) -> anyhow::Result<Loaded> {
    clusters::load(store, &config.selection(), config.chunk_sizes()).await.context(LOADING)
}

pub(crate) async fn load_rows(store: &Store) -> anyhow::Result<ClusterRows> {
    store.load_cluster_rows().await.context(LOADING)
}

pub(crate) fn select(rows: &ClusterRows, config: &Config) -> anyhow::Result<Vec<Cluster>> {
    clusters::build(rows, &config.selection(), config.chunk_sizes()).context(LOADING)
}

const LOADING: &str = "Failed to load the clusters";
