//! What Cuebot was told beside what we serve.

use serde::Serialize;
use strum::IntoStaticStr;

use super::coverage::{Coverage, Gap, carries, may_reach};
use super::flags::{ShowFlags, may_have_work};
use super::list::{ExclusionList, pair};
use crate::model::{Cluster, ClusterKind};

/// Who books work that has not exactly one booker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Booker {
    Both,
    Neither,
}

/// Harm: work with two bookers or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub booked_by: Booker,
    pub show: String,
    /// The full name; `None` = the show everywhere.
    pub allocation: Option<String>,
    pub why: String,
}

impl Finding {
    /// As the exclusion list would name it.
    pub fn name(&self) -> String {
        self.allocation.as_ref().map_or_else(|| self.show.clone(), |alloc| pair(&self.show, alloc))
    }
}

/// A cluster that no entry of the list names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotExpressed {
    pub cluster: String,
    pub kind: &'static str,
    /// Full names of the allocations on which Cuebot goes on booking its work.
    pub still_booked_on: Vec<String>,
}

/// Clusters of tags, and those with names that the list cannot carry. Cuebot leaves their work alone
/// only where the list excludes the show for the sake of other clusters.
pub fn not_expressed(list: &ExclusionList, coverage: &Coverage) -> Vec<NotExpressed> {
    let one = |cluster: &Cluster| {
        let reached = coverage.pairs().filter(|(show, _, row)| {
            let carries_one = match &cluster.kind {
                ClusterKind::Tags { tags, .. } => tags.iter().any(|tag| carries(row, tag)),
                ClusterKind::Allocation { .. } => true,
            };
            show.id == cluster.show && may_reach(cluster, row) && carries_one
        });
        let still_booked_on: Vec<String> = reached
            .filter(|(_, name, _)| !list.excludes(&cluster.show_name, name))
            .map(|(_, name, _)| name.to_owned())
            .collect();
        let is_told = matches!(cluster.kind, ClusterKind::Tags { .. }) || !still_booked_on.is_empty();
        is_told.then(|| NotExpressed { cluster: cluster.name.clone(), kind: cluster.kind_name(), still_booked_on })
    };
    coverage.clusters.iter().filter_map(one).collect()
}

/// Compares an exclusion list with the clusters. `is_booking_off`: the Cuebot books no host at all.
pub fn check_list(list: &ExclusionList, is_booking_off: bool, coverage: &Coverage) -> Vec<Finding> {
    if is_booking_off {
        return coverage.gaps(|show| show.has_pending_jobs).into_iter().map(neither).collect();
    }
    let both = ExclusionList::of(&coverage.clusters);
    let mut findings = Vec::new();
    for (show, name, alloc) in coverage.pairs() {
        let is_excluded = list.excludes(&show.name, name);
        if !is_excluded && both.excludes(&show.name, name) {
            findings.push(Finding {
                booked_by: Booker::Both,
                show: show.name.clone(),
                allocation: Some(name.to_owned()),
                why: "a cluster serves it and the list does not exclude it".to_owned(),
            });
        } else if is_excluded && may_have_work(show) {
            findings.extend(coverage.gap(show, name, alloc).map(neither));
        }
    }
    findings
}

/// Compares the shows' flags with the clusters.
pub fn check_flags(flags: &ShowFlags, coverage: &Coverage) -> Vec<Finding> {
    let of_shows = |shows: &[String], booked_by, why: &str| -> Vec<Finding> {
        let of = |show: &String| Finding { booked_by, show: show.clone(), allocation: None, why: why.to_owned() };
        shows.iter().map(of).collect()
    };
    let both = of_shows(&flags.to_flag, Booker::Both, "a cluster serves it and it is not flagged");
    let stranded = of_shows(&flags.stranded, Booker::Neither, "it is flagged and no cluster serves it");
    let gaps = coverage.gaps(|show| flags.served.contains(&show.name) && may_have_work(show)).into_iter().map(neither);
    both.into_iter().chain(stranded).chain(gaps).collect()
}

fn neither(gap: Gap) -> Finding {
    let why = gap.to_string();
    Finding { booked_by: Booker::Neither, show: gap.show, allocation: Some(gap.allocation), why }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::clusters::build;
    use crate::db::{AllocTags, AskedTags, ClusterRows, ShowSubscriptions};
    use crate::model::{AllocId, AllocTag, FacilityId, Selection, ShowId, TagChunkSizes};

    fn set<T: Ord + From<String>>(items: &[&str]) -> BTreeSet<T> {
        items.iter().map(|item| T::from((*item).to_owned())).collect()
    }

    fn show(name: &str, allocs: &[&str], flag: Option<bool>) -> ShowSubscriptions {
        ShowSubscriptions {
            id: ShowId::new(name),
            name: name.to_owned(),
            is_active: true,
            is_scheduler_managed: flag,
            has_pending_jobs: true,
            allocs: set(allocs),
        }
    }

    fn alloc(name: &str, tag: &str, manual: &[&str]) -> AllocTags {
        let full = format!("local.{name}");
        AllocTags {
            facility: FacilityId::new("local"),
            facility_name: "local".to_owned(),
            alloc: Some((AllocId::new(&full), full)),
            alloc_tags: set(&[tag]),
            manual_tags: set(manual),
            hostname_tags: BTreeSet::new(),
            hardware_tags: BTreeSet::new(),
        }
    }

    fn rows(flags: [Option<bool>; 2]) -> ClusterRows {
        ClusterRows {
            shows: vec![show("a", &["local.farm", "local.desk"], flags[0]), show("b", &["local.farm"], flags[1])],
            allocs: vec![alloc("farm", "general", &["urgent"]), alloc("desk", "desktop", &[])],
            left_out: Vec::new(),
        }
    }

    fn asked(show: &str, tags: &[&str], layers: u64) -> AskedTags {
        AskedTags { show: ShowId::new(show), facility: FacilityId::new("local"), tags: set(tags), layers }
    }

    fn clusters(rows: &ClusterRows, named: &[(&str, &str)]) -> Vec<Cluster> {
        let tag = |(show, tag): &(&str, &str)| AllocTag { show: (*show).to_owned(), tag: (*tag).to_owned() };
        let selection = Selection { alloc_tags: named.iter().map(tag).collect(), ..Selection::default() };
        build(rows, &selection, TagChunkSizes::default()).expect("the names exist")
    }

    fn lines(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|f| format!("{} {}: {}", f.booked_by.into_str(), f.name(), f.why)).collect()
    }

    #[test]
    fn both_kinds_of_harm_are_named() {
        let rows = rows([None, None]);
        let clusters = clusters(&rows, &[("a", "general"), ("a", "desktop")]);
        let coverage = Coverage { clusters, rows, asked: Vec::new() };
        let check = |list: &str| lines(check_list(&ExclusionList::parse(list), false, &coverage));
        assert_eq!(check("a:local.farm,a:local.desk"), [""; 0]);
        assert_eq!(check("a"), [""; 0], "a bare show is all its allocations");
        let harm = [
            "both a:local.desk: a cluster serves it and the list does not exclude it",
            "neither b:local.farm: no cluster serves it",
        ];
        assert_eq!(check("a:local.farm,b:local.farm,gone:local.farm,b:local.desk"), harm);
    }

    #[test]
    fn work_that_asks_for_tags_nobody_serves_strands_where_the_pair_is_excluded() {
        let rows = rows([None, None]);
        let clusters = clusters(&rows, &[("a", "general")]);
        // Any one tag that is served is enough, and tags that no host there carries do not count.
        let asked = [asked("a", &["urgent"], 3), asked("a", &["urgent", "general"], 5), asked("a", &["gone"], 7)];
        let coverage = Coverage { clusters, rows, asked: asked.into() };
        let findings = lines(check_list(&ExclusionList::parse("a:local.farm"), false, &coverage));
        assert_eq!(findings, ["neither a:local.farm: 3 layers of pending jobs ask for urgent, served by no cluster"]);
    }

    #[test]
    fn clusters_of_tags_are_told_with_where_cuebot_goes_on() {
        let rows = rows([None, None]);
        let selection = Selection { manual_tags: vec!["urgent".to_owned()], ..Selection::default() };
        let clusters = build(&rows, &selection, TagChunkSizes::default()).expect("the tag exists");
        let coverage = Coverage { clusters, rows, asked: Vec::new() };
        let told: Vec<String> = not_expressed(&ExclusionList::parse("a:local.farm"), &coverage)
            .into_iter()
            .map(|row| format!("{} {}: {}", row.kind, row.cluster, row.still_booked_on.join(",")))
            .collect();
        assert_eq!(told, ["manual local/a/manual-1: ", "manual local/b/manual-1: local.farm"]);
    }

    #[test]
    fn a_cuebot_without_booking_leaves_all_that_we_do_not_serve() {
        let rows = rows([None, None]);
        let clusters = clusters(&rows, &[("a", "general")]);
        let asked = [asked("b", &["general"], 1)];
        let coverage = Coverage { clusters, rows, asked: asked.into() };
        let findings = lines(check_list(&ExclusionList::default(), true, &coverage));
        let harm = [
            "neither a:local.desk: no cluster serves it",
            "neither b:local.farm: no cluster serves it; 1 layer of pending jobs asks for general, served by no cluster",
        ];
        assert_eq!(findings, harm);
    }

    #[test]
    fn flags_are_for_whole_shows() {
        let rows = rows([Some(true), Some(false)]);
        let check = |named: &[(&str, &str)]| {
            let coverage = Coverage { clusters: clusters(&rows, named), rows: rows.clone(), asked: Vec::new() };
            let flags = ShowFlags::of(&coverage);
            (flags.commands(), lines(check_flags(&flags, &coverage)))
        };
        assert_eq!(check(&[]), (vec![], vec![]));
        let (commands, findings) = check(&[("b", "general")]);
        assert_eq!(commands, ["cueadmin -scheduler-managed b on"]);
        let harm =
            ["both b: a cluster serves it and it is not flagged", "neither a: it is flagged and no cluster serves it"];
        assert_eq!(findings, harm);
        let (_, findings) = check(&[("a", "general")]);
        assert_eq!(findings, ["neither a:local.desk: no cluster serves it"]);
    }
}
