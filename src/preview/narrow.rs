//! Showing a part of a plan.

use std::collections::BTreeSet;

use super::document::{PlanDocument, Work};

/// What to show; an empty list shows all. Whatever is named is an exact name, an id, or the beginning
/// of a name; a row has to match one entry of each list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    pub clusters: Vec<String>,
    pub shows: Vec<String>,
    pub jobs: Vec<String>,
    /// Leaves only placements: what waits goes to no host.
    pub hosts: Vec<String>,
}

impl Narrowing {
    pub const fn is_empty(&self) -> bool {
        self.clusters.is_empty() && self.shows.is_empty() && self.jobs.is_empty() && self.hosts.is_empty()
    }

    /// What is named and begins no name in the plan.
    #[must_use]
    pub fn unmatched(&self, plan: &PlanDocument) -> Self {
        let works = || plan.placements.iter().map(|row| &row.work).chain(plan.waiting.iter().map(|row| &row.work));
        let clusters: BTreeSet<&str> = (plan.placements.iter().map(|row| row.cluster.as_str()))
            .chain(plan.waiting.iter().flat_map(|row| row.clusters.iter().map(String::as_str)))
            .collect();
        let shows: BTreeSet<&str> = works().map(|work| work.show.as_str()).collect();
        let jobs: BTreeSet<&str> = works().flat_map(|work| [work.job.as_str(), work.job_id.as_str()]).collect();
        let hosts: BTreeSet<&str> =
            plan.placements.iter().flat_map(|row| [row.host.as_str(), row.host_id.as_str()]).collect();
        let left = |wanted: &[String], names: &BTreeSet<&str>| {
            let is_missing = |name: &&String| !names.iter().any(|known| known.starts_with(name.as_str()));
            wanted.iter().filter(is_missing).cloned().collect()
        };
        Self {
            clusters: left(&self.clusters, &clusters),
            shows: left(&self.shows, &shows),
            jobs: left(&self.jobs, &jobs),
            hosts: left(&self.hosts, &hosts),
        }
    }

    fn shows(&self, work: &Work, clusters: &[&str], host: &[&str]) -> bool {
        is_one(&self.clusters, clusters)
            && is_one(&self.shows, &[&work.show])
            && is_one(&self.jobs, &[&work.job, work.job_id.as_str()])
            && is_one(&self.hosts, host)
    }
}

fn is_one(wanted: &[String], names: &[&str]) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| names.iter().any(|name| name.starts_with(wanted.as_str())))
}

impl PlanDocument {
    /// The part of the plan that was asked for, with its own totals.
    #[must_use]
    pub fn narrowed(self, to: &Narrowing) -> Self {
        if to.is_empty() {
            return self;
        }
        let Self { taken_at, mut placements, mut waiting, mut wrong_counts, .. } = self;
        placements.retain(|row| to.shows(&row.work, &[&row.cluster], &[&row.host, row.host_id.as_str()]));
        waiting.retain(|row| to.shows(&row.work, &row.clusters.iter().map(String::as_str).collect::<Vec<_>>(), &[]));
        wrong_counts.retain(|row| to.shows(&row.work, &[], &[]));
        Self::with(taken_at, placements, waiting, wrong_counts)
    }
}
