//! What our clusters serve of what there is, and what they leave.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::flags::may_have_work;
use crate::db::{AllocTags, AskedTags, ClusterRows, ShowSubscriptions};
use crate::model::{Cluster, ClusterKind, Tag};

/// Our clusters beside the farm that they were built from.
#[derive(Clone, Debug)]
pub struct Coverage {
    pub clusters: Vec<Cluster>,
    pub rows: ClusterRows,
    /// What layers of pending jobs ask for.
    pub asked: Vec<AskedTags>,
}

/// Work of a show on an allocation that no cluster of ours serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub show: String,
    /// The full name.
    pub allocation: String,
    /// No cluster serves the allocation's own tag.
    pub is_whole: bool,
    /// Tags that layers of pending jobs ask for and hosts of the allocation carry, none of them served
    /// there; as layers write them, `a|b`.
    pub tags: Vec<String>,
    /// Those layers.
    pub layers: u64,
}

impl fmt::Display for Gap {
    /// Why it is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole {
            f.write_str("no cluster serves it")?;
            if self.layers == 0 {
                return Ok(());
            }
            f.write_str("; ")?;
        }
        let (layers, ask) = if self.layers == 1 { ("layer", "asks") } else { ("layers", "ask") };
        write!(f, "{} {layers} of pending jobs {ask} for {}, served by no cluster", self.layers, self.tags.join(", "))
    }
}

impl Coverage {
    /// What is left of the shows that `wanted` takes, on the allocations that they subscribe to.
    pub fn gaps(&self, wanted: impl Fn(&ShowSubscriptions) -> bool) -> Vec<Gap> {
        self.pairs()
            .filter(|(show, ..)| wanted(show))
            .filter_map(|(show, name, alloc)| self.gap(show, name, alloc))
            .collect()
    }

    /// Shows and the allocations that they subscribe to, with the full names of these.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&ShowSubscriptions, &str, &AllocTags)> {
        self.rows.shows.iter().flat_map(|show| {
            self.rows.allocs.iter().filter_map(move |row| {
                let (id, name) = row.alloc.as_ref()?;
                show.allocs.contains(id).then_some((show, name.as_str(), row))
            })
        })
    }

    /// `None` also where nothing is left since there is neither a host nor work.
    pub(super) fn gap(&self, show: &ShowSubscriptions, name: &str, alloc: &AllocTags) -> Option<Gap> {
        let is_whole = !alloc.alloc_tags.iter().any(|tag| self.serves(show, alloc, tag));
        let is_left = |asked: &&AskedTags| !asked.tags.iter().any(|tag| self.serves(show, alloc, tag));
        let left: Vec<&AskedTags> = self.asked_of(show, alloc).filter(is_left).collect();
        let joined = |tags: &BTreeSet<Tag>| tags.iter().map(Tag::as_str).collect::<Vec<_>>().join("|");
        let tags: BTreeSet<String> = left.iter().map(|asked| joined(&asked.tags)).collect();
        (is_whole && alloc.has_hosts || !left.is_empty()).then(|| Gap {
            show: show.name.clone(),
            allocation: name.to_owned(),
            is_whole,
            tags: tags.into_iter().collect(),
            layers: left.iter().map(|asked| asked.layers).sum(),
        })
    }

    /// What layers of the show ask for and the allocation or a host of it carries.
    pub(super) fn asked_of(&self, show: &ShowSubscriptions, alloc: &AllocTags) -> impl Iterator<Item = &AskedTags> {
        let of_both = move |asked: &&AskedTags| asked.show == show.id && asked.facility == alloc.facility;
        self.asked.iter().filter(of_both).filter(move |asked| asked.tags.iter().any(|tag| carries(alloc, tag)))
    }

    /// Whether there is, or may be, something to book of the show on hosts of the allocation.
    pub(super) fn may_book(&self, show: &ShowSubscriptions, alloc: &AllocTags) -> bool {
        may_have_work(show) && (alloc.has_hosts || self.asked_of(show, alloc).next().is_some())
    }

    /// The same on any allocation that it subscribes to.
    pub(super) fn has_something(&self, show: &ShowSubscriptions) -> bool {
        self.pairs().any(|(of, _, alloc)| of.id == show.id && self.may_book(show, alloc))
    }

    /// Whether a cluster of the allocation itself is ours.
    pub(super) fn has_cluster_of(&self, show: &ShowSubscriptions, alloc: &AllocTags) -> bool {
        let is_of_it = |cluster: &Cluster| matches!(cluster.kind, ClusterKind::Allocation { .. });
        let mut ours = self.clusters.iter().filter(|cluster| cluster.show == show.id);
        ours.any(|cluster| is_of_it(cluster) && may_reach(cluster, alloc))
    }

    /// Whether work of the show that asks for the tag goes to hosts of the allocation by us.
    pub(super) fn serves(&self, show: &ShowSubscriptions, alloc: &AllocTags, tag: &Tag) -> bool {
        let mut ours = self.clusters.iter().filter(|cluster| cluster.show == show.id && cluster.tags().contains(tag));
        ours.any(|cluster| may_reach(cluster, alloc))
    }
}

/// Whether hosts of the allocation are among those that a cluster is for, whatever tags they carry.
pub(super) fn may_reach(cluster: &Cluster, alloc: &AllocTags) -> bool {
    cluster.facility == alloc.facility
        && match &cluster.kind {
            ClusterKind::Tags { .. } => true,
            ClusterKind::Allocation { allocs, .. } => {
                alloc.alloc.as_ref().is_some_and(|(id, _)| allocs.iter().any(|(own, _)| own == id))
            }
        }
}

pub(super) fn carries(alloc: &AllocTags, tag: &Tag) -> bool {
    [&alloc.alloc_tags, &alloc.manual_tags, &alloc.hostname_tags, &alloc.hardware_tags]
        .iter()
        .any(|tags| tags.contains(tag))
}
