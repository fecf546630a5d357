//! Sums of what a batch takes or gives back, one per row that counts it.

use std::collections::BTreeMap;

use crate::model::{AllocId, HostId, JobId, LayerId, ShowId};
use crate::units::Amounts;

/// Per host, layer, job, and show on allocation. The last is keyed by host until the hosts are
/// written, as only then it is certain which allocation each is in.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) hosts: BTreeMap<HostId, Amounts>,
    pub(super) layers: BTreeMap<LayerId, Amounts>,
    pub(super) jobs: BTreeMap<JobId, Amounts>,
    pub(super) shows: BTreeMap<(ShowId, HostId), Amounts>,
}

impl Totals {
    pub(super) fn add(&mut self, host: &HostId, show: &ShowId, job: &JobId, layer: &LayerId, amounts: Amounts) {
        *self.hosts.entry(host.clone()).or_default() += amounts;
        *self.layers.entry(layer.clone()).or_default() += amounts;
        *self.jobs.entry(job.clone()).or_default() += amounts;
        *self.shows.entry((show.clone(), host.clone())).or_default() += amounts;
    }

    /// Sums per show and allocation.
    pub(super) fn subscriptions(&self, allocs: &BTreeMap<HostId, AllocId>) -> BTreeMap<(ShowId, AllocId), Amounts> {
        let mut sums = BTreeMap::new();
        for ((show, host), amounts) in &self.shows {
            if let Some(alloc) = allocs.get(host) {
                *sums.entry((show.clone(), alloc.clone())).or_insert_with(Amounts::default) += *amounts;
            }
        }
        sums
    }
}
