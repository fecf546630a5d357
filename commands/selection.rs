//! The clusters that the settings select.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use cue_scheduler::clusters::{self, Loaded};
use cue_scheduler::config::Config;
use cue_scheduler::db::{ClusterRows, Store};
use cue_scheduler::model::{Cluster, ClusterKind, Selection};

use crate::failure::UsageError;

/// Reads and selects.
pub(crate) async fn load(store: &Store, config: &Config) -> anyhow::Result<Loaded> {
    let rows = load_rows(store).await?;
    Ok(Loaded { clusters: select(&rows, config)?, left_out: rows.left_out })
}

pub(crate) async fn load_rows(store: &Store) -> anyhow::Result<ClusterRows> {
    store.load_cluster_rows().await.context(LOADING)
}

pub(crate) fn select(rows: &ClusterRows, config: &Config) -> anyhow::Result<Vec<Cluster>> {
    let selection = config.selection();
    let clusters = clusters::build(rows, &selection, config.chunk_sizes()).context(LOADING)?;
    check_facility(&selection, &clusters)?;
    Ok(clusters)
}

const LOADING: &str = "Failed to load the clusters";

/// A named allocation tag may go without its facility as long as only one has it.
fn check_facility(selection: &Selection, clusters: &[Cluster]) -> Result<(), UsageError> {
    if selection.facility.is_some() || selection.alloc_tags.is_empty() {
        return Ok(());
    }
    let mut facilities: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for cluster in clusters {
        if let ClusterKind::Allocation { tag, .. } = &cluster.kind {
            facilities.entry((&cluster.show_name, tag.as_str())).or_default().insert(&cluster.facility_name);
        }
    }
    match facilities.into_iter().find(|(_, facilities)| facilities.len() > 1) {
        None => Ok(()),
        Some(((show, tag), facilities)) => Err(UsageError::FacilityNeeded {
            show: show.to_owned(),
            tag: tag.to_owned(),
            facilities: facilities.into_iter().map(str::to_owned).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use cue_scheduler::model::{AllocTag, FacilityId, ShowId, Tag};

    use super::*;

    fn cluster(facility: &str, show: &str, tag: &str) -> Cluster {
        Cluster {
            name: format!("{facility}/{show}/{tag}"),
            facility: FacilityId::new(facility),
            facility_name: facility.to_owned(),
            show: ShowId::new(show),
            show_name: show.to_owned(),
            kind: ClusterKind::Allocation { tag: Tag::new(tag), allocs: Vec::new() },
        }
    }

    #[test]
    fn a_tag_of_two_facilities_needs_one() {
        let alloc_tags = vec![AllocTag { show: "s".to_owned(), tag: "general".to_owned() }];
        let mut selection = Selection { alloc_tags, ..Selection::default() };
        let mut clusters = vec![cluster("spi", "s", "general"), cluster("spi", "s", "desktop")];
        assert!(check_facility(&selection, &clusters).is_ok());
        clusters.push(cluster("la", "s", "general"));
        let error = check_facility(&selection, &clusters).expect_err("two facilities");
        assert_eq!(error.to_string(), "Alloc tag requires a valid facility: s:general is in the facilities la, spi");
        selection.facility = Some("spi".to_owned());
        assert!(check_facility(&selection, &clusters).is_ok());
    }
}
