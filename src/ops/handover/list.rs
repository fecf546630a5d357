//! The exclusion list as a value.

use std::collections::BTreeSet;

use crate::model::{Cluster, ClusterKind};

/// Pairs of show and allocation that Cuebot leaves alone, each as the text `show:facility.allocation`
/// that Cuebot compares. A show alone stands for all allocations.
///
/// Displayed it is the property's value.
#[derive(Clone, Debug, Default, derive_more::Display, PartialEq, Eq)]
#[display("{}", self.entries().collect::<Vec<_>>().join(","))]
pub struct ExclusionList {
    entries: BTreeSet<String>,
}

impl ExclusionList {
    /// The pairs of the allocation clusters, but for those that no entry can name.
    pub fn of(clusters: &[Cluster]) -> Self {
        let pairs = clusters.iter().flat_map(|cluster| match &cluster.kind {
            ClusterKind::Tags { .. } => Vec::new(),
            ClusterKind::Allocation { allocs, .. } => {
                allocs.iter().map(|(_, alloc)| pair(&cluster.show_name, alloc)).collect()
            }
        });
        Self { entries: pairs.filter(|pair| is_one_entry(pair)).collect() }
    }

    pub(super) fn can_name(show: &str, alloc: &str) -> bool {
        is_one_entry(&pair(show, alloc))
    }

    /// As Cuebot reads the property: parted at commas, blanks around the entries dropped.
    pub fn parse(value: &str) -> Self {
        let entries = value.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned);
        Self { entries: entries.collect() }
    }

    /// Sorted.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(String::as_str)
    }

    /// Whether Cuebot leaves the show alone on hosts of the allocation. `alloc` is its full name.
    pub fn excludes(&self, show: &str, alloc: &str) -> bool {
        self.entries.contains(show) || self.entries.contains(&pair(show, alloc))
    }
}

/// A comma would part it, and blanks at its ends would be dropped.
fn is_one_entry(pair: &str) -> bool {
    !pair.contains(',') && pair.trim() == pair
}

pub(super) fn pair(show: &str, alloc: &str) -> String {
    format!("{show}:{alloc}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AllocId, FacilityId, ShowId, Tag, TagKind};

    fn cluster(show: &str, kind: ClusterKind) -> Cluster {
        Cluster {
            name: format!("local/{show}/x"),
            facility: FacilityId::new("local"),
            facility_name: "local".to_owned(),
            show: ShowId::new(show),
            show_name: show.to_owned(),
            kind,
        }
    }

    fn allocation(show: &str, allocs: &[&str]) -> Cluster {
        let allocs = allocs.iter().map(|name| (AllocId::new(name), (*name).to_owned())).collect();
        cluster(show, ClusterKind::Allocation { tag: Tag::new("x"), allocs })
    }

    #[test]
    fn a_list_is_sorted_and_names_each_pair_once() {
        let tags = cluster("c", ClusterKind::Tags { kind: TagKind::Manual, tags: vec![Tag::new("urgent")] });
        let clusters = [
            allocation("b", &["local.farm", "local.desk"]),
            tags,
            allocation("a", &["la.x"]),
            allocation("b", &["local.desk"]),
        ];
        let list = ExclusionList::of(&clusters);
        assert_eq!(list.to_string(), "a:la.x,b:local.desk,b:local.farm");
        assert_eq!(ExclusionList::parse(&list.to_string()), list);
    }

    #[test]
    fn a_name_that_would_part_the_list_stays_out() {
        let list = ExclusionList::of(&[allocation("a,b", &["local.x"]), allocation("c", &["local.y", "local.z "])]);
        assert_eq!(list.to_string(), "c:local.y");
    }

    #[test]
    fn entries_are_trimmed_and_compared_exactly() {
        let list = ExclusionList::parse(" a:local.x , ,b,\tC:local.x");
        assert!(list.excludes("a", "local.x") && !list.excludes("a", "local.y") && !list.excludes("A", "local.x"));
        assert!(list.excludes("b", "local.x") && list.excludes("b", "la.y"));
        assert!(!list.excludes("c", "local.x"));
        assert_eq!(ExclusionList::parse(" , ").entries().next(), None);
    }
}
