//! The hosts that a layer may go to at all.

use std::collections::BTreeMap;

use crate::model::{AllocId, ClusterIx, HostIx, SubscriptionIx};
use crate::units::Amounts;

/// Those of one allocation.
pub(super) struct Eligible<'s> {
    pub(super) alloc: &'s AllocId,
    pub(super) alloc_name: &'s str,
    /// Of the layer's show, to the allocation.
    pub(super) subscription: Option<SubscriptionIx>,
    /// Groups of hosts, each with the first cluster by name that reaches it.
    pub(super) groups: BTreeMap<usize, ClusterIx>,
    /// Hosts reached by a tag that few carry, likewise; some may be in the groups too.
    pub(super) pinned: BTreeMap<HostIx, ClusterIx>,
    /// No host has room for the demand, and none will have in this plan.
    pub(super) is_exhausted: bool,
}

/// A host that takes the next frame, and what the frame takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) host: HostIx,
    /// The cluster through which it was reached.
    pub(super) cluster: ClusterIx,
    pub(super) amounts: Amounts,
}

impl Eligible<'_> {
    /// The cluster through which a host, of this group, is reached.
    pub(super) fn cluster_of(&self, host: HostIx, group: usize) -> Option<ClusterIx> {
        self.pinned.get(&host).or_else(|| self.groups.get(&group)).copied()
    }
}
