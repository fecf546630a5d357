//! Clusters: which work is ours.
//!
//! Built from the database's shows, subscriptions, allocations and host tags, narrowed by what the
//! operator named. Building is pure; equal rows give equal clusters with equal names, whatever order
//! the rows come in.
//!
//! - An allocation cluster is facility + show + tag: the hosts of the allocations that the show
//!   subscribes to and that have the tag.
//! - A tag cluster is facility + show + a chunk of manual, hostname or hardware tags found on hosts
//!   of the allocations that the show subscribes to.
//!
//! With nothing named, all of it is taken: where the schema flags shows for a scheduler, of the
//! flagged shows only. An inactive show takes part while jobs of it are pending, so that their
//! waiting is explained.

mod build;
mod error;
mod named;
mod overview;

pub use build::build;
pub use error::SelectionError;
pub use named::{NameError, named};
pub use overview::{AllocationOverview, ClusterOverview, SubscriptionOverview, overview};

use std::collections::HashSet;
use std::hash::BuildHasher;

use crate::db::Store;
use crate::model::{Cluster, LeftOutRow, Selection, ShowId, TagChunkSizes};

/// The clusters, and what could not be read on the way to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub clusters: Vec<Cluster>,
    pub left_out: Vec<LeftOutRow>,
}

/// Reads the rows and builds the clusters.
///
/// # Errors
/// As [`build()`], and when the database cannot be read.
pub async fn load(store: &Store, selection: &Selection, chunk_sizes: TagChunkSizes) -> Result<Loaded, SelectionError> {
    load_keeping(store, selection, chunk_sizes, &HashSet::new()).await
}

/// As [`load`], with shows that count as flagged for a scheduler whatever their flag says.
///
/// # Errors
/// As those of [`load`].
pub(crate) async fn load_keeping(
    store: &Store,
    selection: &Selection,
    chunk_sizes: TagChunkSizes,
    kept: &HashSet<ShowId, impl BuildHasher>,
) -> Result<Loaded, SelectionError> {
    let mut rows = store.load_cluster_rows().await?;
    for show in rows.shows.iter_mut().filter(|show| kept.contains(&show.id)) {
        show.is_scheduler_managed = Some(true);
    }
    let clusters = build(&rows, selection, chunk_sizes)?;
    Ok(Loaded { clusters, left_out: rows.left_out })
}
