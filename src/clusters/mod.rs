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
pub(crate) use error::{Ambiguous, UnknownName};
pub use named::{NameError, named};
pub use overview::{AllocationOverview, ClusterOverview, SubscriptionOverview, overview};

use std::collections::HashSet;
use std::hash::BuildHasher;

use crate::db::{ShowSubscriptions, Store, StoreError};
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
    let rows = store.load_cluster_rows().await?;
    let clusters = build(&rows, selection, chunk_sizes)?;
    Ok(Loaded { clusters, left_out: rows.left_out })
}

/// What a service goes on with, whatever is wrong with what the settings name.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) left_out: Vec<LeftOutRow>,
    /// Named, and not there.
    pub(crate) missing: Vec<UnknownName>,
    /// Named, and in several facilities.
    pub(crate) ambiguous: Vec<Ambiguous>,
    /// Shows that are flagged for a scheduler, may have work, and are in none of the clusters.
    pub(crate) unserved: Vec<ShowId>,
}

/// As [`load`], of all that exists. Shows in `kept` count as flagged for a scheduler whatever their flag says. Of
/// what is in several facilities only those are served that are among the `known` clusters.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn load_served(
    store: &Store,
    selection: &Selection,
    chunk_sizes: TagChunkSizes,
    kept: &HashSet<ShowId, impl BuildHasher>,
    known: &[Cluster],
) -> Result<Served, StoreError> {
    let mut rows = store.load_cluster_rows().await?;
    for show in rows.shows.iter_mut().filter(|show| kept.contains(&show.id)) {
        show.is_scheduler_managed = Some(true);
    }
    let (mut clusters, missing) = build::build_known(&rows, selection, chunk_sizes);
    let ambiguous = build::ambiguous(&clusters, selection);
    clusters.retain(|cluster| {
        let is_ambiguous = ambiguous.iter().any(|ambiguous| ambiguous.covers(cluster));
        !is_ambiguous || known.iter().any(|known| known.is_same_as(cluster))
    });
    let served: HashSet<&ShowId> = clusters.iter().map(|cluster| &cluster.show).collect();
    let is_unserved = |show: &&ShowSubscriptions| {
        show.is_scheduler_managed == Some(true) && build::may_have_work(show) && !served.contains(&show.id)
    };
    let unserved = rows.shows.iter().filter(is_unserved).map(|show| show.id.clone()).collect();
    Ok(Served { clusters, left_out: rows.left_out, missing, ambiguous, unserved })
}
