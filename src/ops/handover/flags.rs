//! The per-show scheduler flag beside our clusters.

use std::collections::BTreeSet;

use serde::Serialize;

use super::coverage::Coverage;
use crate::db::{ClusterRows, ShowSubscriptions};
use crate::model::{Cluster, ShowId};
use crate::text::shell_word;

/// Shows by name, as the flag and our clusters have them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShowFlags {
    /// Ours and not flagged: Cuebot books them too.
    pub to_flag: Vec<String>,
    /// Flagged, with work or open for it, and served by no cluster of ours: nobody books them.
    pub stranded: Vec<String>,
    /// Flagged and ours.
    pub served: Vec<String>,
}

impl ShowFlags {
    pub fn of(Coverage { clusters, rows, .. }: &Coverage) -> Self {
        let name = |show: &ShowSubscriptions| show.name.clone();
        Self {
            to_flag: shows(clusters, rows, true, false).map(name).collect(),
            stranded: shows(clusters, rows, false, true).filter(|show| may_have_work(show)).map(name).collect(),
            served: shows(clusters, rows, true, true).map(name).collect(),
        }
    }

    /// What an operator runs so that Cuebot leaves our shows alone.
    pub fn commands(&self) -> Vec<String> {
        self.to_flag.iter().map(|show| format!("cueadmin -scheduler-managed {} on", shell_word(show))).collect()
    }
}

/// Shows that are ours or not, and flagged or not.
pub(in crate::ops) fn shows<'r>(
    clusters: &'r [Cluster],
    rows: &'r ClusterRows,
    is_ours: bool,
    is_flagged: bool,
) -> impl Iterator<Item = &'r ShowSubscriptions> {
    let ours: BTreeSet<&ShowId> = clusters.iter().map(|cluster| &cluster.show).collect();
    let with_flag = rows.shows.iter().filter(move |show| show.is_scheduler_managed.unwrap_or(false) == is_flagged);
    with_flag.filter(move |show| ours.contains(&show.id) == is_ours)
}

/// An inactive show without pending jobs has nothing to book.
pub(in crate::ops) const fn may_have_work(show: &ShowSubscriptions) -> bool {
    show.is_active || show.has_pending_jobs
}
