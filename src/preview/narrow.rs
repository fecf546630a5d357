//! Showing a part of a plan.

use super::{PlacementRow, PlanDocument, WaitingRow, WrongCountRow};

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
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.clusters.is_empty() && self.shows.is_empty() && self.jobs.is_empty() && self.hosts.is_empty()
    }

    fn shows_placement(&self, row: &PlacementRow) -> bool {
        is_one(&self.clusters, &[&row.cluster])
            && is_one(&self.shows, &[&row.show])
            && is_one(&self.jobs, &[&row.job, row.job_id.as_str()])
            && is_one(&self.hosts, &[&row.host, row.host_id.as_str()])
    }

    fn shows_waiting(&self, row: &WaitingRow) -> bool {
        let clusters: Vec<&str> = row.clusters.iter().map(String::as_str).collect();
        self.hosts.is_empty()
            && is_one(&self.clusters, &clusters)
            && is_one(&self.shows, &[&row.show])
            && is_one(&self.jobs, &[&row.job, row.job_id.as_str()])
    }

    fn shows_wrong_count(&self, row: &WrongCountRow) -> bool {
        self.clusters.is_empty()
            && self.hosts.is_empty()
            && is_one(&self.shows, &[&row.show])
            && is_one(&self.jobs, &[&row.job, row.job_id.as_str()])
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
        placements.retain(|row| to.shows_placement(row));
        waiting.retain(|row| to.shows_waiting(row));
        wrong_counts.retain(|row| to.shows_wrong_count(row));
        Self::with(taken_at, placements, waiting, wrong_counts)
    }
}
