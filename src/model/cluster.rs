//! Clusters: the units in which work is selected.

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::{AllocId, FacilityId, Host, ShowId, Tag};

/// The name of the kind of allocation clusters.
const ALLOCATION: &str = "alloc";

/// Work of one show in one facility that one tag, or one chunk of tags, reaches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cluster {
    /// Unique among the clusters of a build, stable across builds: `facility/show/tag` for an
    /// allocation cluster, `facility/show/manual-1` and so on for a chunk of tags.
    pub name: String,
    pub facility: FacilityId,
    pub facility_name: String,
    pub show: ShowId,
    pub show_name: String,
    pub kind: ClusterKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ClusterKind {
    /// Hosts of the allocations of the facility that carry the tag and that the show subscribes to.
    /// `allocs` pairs id and name; a tag is not unique, so there may be several.
    Allocation { tag: Tag, allocs: Vec<(AllocId, String)> },
    /// Hosts of the facility that carry one of the tags.
    Tags { kind: TagKind, tags: Vec<Tag> },
}

/// `host_tag.str_tag_type` of a tag cluster's tags.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, IntoStaticStr, VariantNames,
)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum TagKind {
    Manual,
    Hostname,
    Hardware,
}

impl Cluster {
    /// The value of the metrics' `cluster_type` label, one of [`Self::kind_names`].
    pub const fn kind_name(&self) -> &'static str {
        match &self.kind {
            ClusterKind::Allocation { .. } => ALLOCATION,
            ClusterKind::Tags { kind, .. } => kind.into_str(),
        }
    }

    /// alloc, and the kinds of tags.
    pub fn kind_names() -> impl Iterator<Item = &'static str> {
        std::iter::once(ALLOCATION).chain(TagKind::VARIANTS.iter().copied())
    }

    pub fn tags(&self) -> &[Tag] {
        match &self.kind {
            ClusterKind::Allocation { tag, .. } => std::slice::from_ref(tag),
            ClusterKind::Tags { tags, .. } => tags,
        }
    }

    /// Whether it is the other one, perhaps with other allocations by now.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let is_same_place = self.facility == other.facility && self.show == other.show;
        is_same_place && self.kind_name() == other.kind_name() && self.tags() == other.tags()
    }

    /// Whether work of this cluster that asks for `tag` may go to `host`.
    pub fn covers(&self, tag: &Tag, host: &Host) -> bool {
        host.facility == self.facility
            && host.tags.contains(tag)
            && match &self.kind {
                ClusterKind::Allocation { tag: own, allocs } => {
                    own == tag && allocs.iter().any(|(alloc, _)| *alloc == host.alloc)
                }
                ClusterKind::Tags { tags, .. } => tags.contains(tag),
            }
    }
}
