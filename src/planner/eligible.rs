//! The hosts that a layer may go to at all.

use crate::model::{AllocId, ClusterIx, HostIx, SubscriptionIx};

/// Those of one allocation.
pub(super) struct Eligible<'s> {
    pub(super) alloc: &'s AllocId,
    pub(super) alloc_name: &'s str,
    /// Of the layer's show, to the allocation.
    pub(super) subscription: Option<SubscriptionIx>,
    /// By group.
    pub(super) groups: Vec<Reached>,
    /// Hosts reached by a tag that few carry, by position; some may be in the groups too.
    pub(super) pinned: Vec<Pinned>,
    /// No host has room for the demand, and none will have in this plan.
    pub(super) is_exhausted: bool,
}

/// A group of hosts, and the first cluster by name that reaches it.
#[derive(Clone, Copy)]
pub(super) struct Reached {
    pub(super) group: usize,
    pub(super) cluster: ClusterIx,
}

/// A single host, and the first cluster by name that reaches it.
#[derive(Clone, Copy)]
pub(super) struct Pinned {
    pub(super) host: HostIx,
    pub(super) cluster: ClusterIx,
}

impl Eligible<'_> {
    /// The cluster through which a host, of this group, is reached.
    pub(super) fn cluster_of(&self, host: HostIx, group: usize) -> Option<ClusterIx> {
        let pinned = self.pinned.binary_search_by_key(&host, |pinned| pinned.host).map(|at| self.pinned[at].cluster);
        pinned.or_else(|_| self.find_group(group).map(|at| self.groups[at].cluster)).ok()
    }

    pub(super) fn reaches_group(&self, group: usize) -> bool {
        self.find_group(group).is_ok()
    }

    fn find_group(&self, group: usize) -> Result<usize, usize> {
        self.groups.binary_search_by_key(&group, |reached| reached.group)
    }
}
