//! What Cuebot was told beside what we serve.

use std::collections::BTreeSet;

use serde::Serialize;
use strum::IntoStaticStr;

use super::coverage::{Coverage, Gap, carries, may_reach};
use super::flags::{ShowFlags, may_have_work};
use super::list::{ExclusionList, pair};
use crate::db::{AllocTags, ShowSubscriptions};
use crate::model::{Cluster, ClusterKind, ShowId, Tag};

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

/// What decides which work Cuebot leaves alone.
#[derive(Clone, Debug)]
pub enum Told {
    /// Cuebot's own planner books whatever the list and the flags say.
    Planner,
    /// This Cuebot books no host at all.
    BookingOff,
    List(ExclusionList),
    /// The shows' scheduler flags.
    Flags,
}

/// Compares what Cuebot was told with the clusters. Work that is not there, and may not come as long as
/// neither hosts nor jobs do, is nobody's harm.
pub fn check(told: &Told, coverage: &Coverage) -> Vec<Finding> {
    match told {
        Told::Planner => {
            let ours: BTreeSet<&ShowId> = coverage.clusters.iter().map(|cluster| &cluster.show).collect();
            let shows = coverage.rows.shows.iter().filter(|show| ours.contains(&show.id) && may_have_work(show));
            shows.map(|show| whole(Booker::Both, show, "Cuebot's own planner books it too")).collect()
        }
        Told::BookingOff => coverage.gaps(|show| show.has_pending_jobs).into_iter().map(neither).collect(),
        Told::List(list) => check_list(list, coverage),
        Told::Flags => check_flags(coverage),
    }
}

fn check_list(list: &ExclusionList, coverage: &Coverage) -> Vec<Finding> {
    let one = |(show, name, alloc): (&ShowSubscriptions, &str, &AllocTags)| {
        if !may_have_work(show) {
            return None;
        }
        if list.excludes(&show.name, name) {
            return coverage.gap(show, name, alloc).map(neither);
        }
        let why = booked_twice(coverage, (show, name, alloc))?;
        let (show, allocation) = (show.name.clone(), Some(name.to_owned()));
        Some(Finding { booked_by: Booker::Both, show, allocation, why })
    };
    coverage.pairs().filter_map(one).collect()
}

/// Why work of a pair that Cuebot books is ours too, if it is.
fn booked_twice(coverage: &Coverage, (show, name, alloc): (&ShowSubscriptions, &str, &AllocTags)) -> Option<String> {
    let not_listed = if ExclusionList::can_name(&show.name, name) {
        "the list does not exclude it"
    } else {
        "the list cannot name it"
    };
    if coverage.has_cluster_of(show, alloc) {
        return coverage.may_book(show, alloc).then(|| format!("a cluster serves it and {not_listed}"));
    }
    let (mut tags, mut layers) = (BTreeSet::new(), 0);
    for asked in coverage.asked_of(show, alloc) {
        let served: Vec<&Tag> = asked.tags.iter().filter(|tag| coverage.serves(show, alloc, tag)).collect();
        layers += if served.is_empty() { 0 } else { asked.layers };
        tags.extend(served.into_iter().map(Tag::as_str));
    }
    let ask = if layers == 1 {
        "1 layer of pending jobs asks".to_owned()
    } else {
        format!("{layers} layers of pending jobs ask")
    };
    let tags = tags.into_iter().collect::<Vec<_>>().join(", ");
    (layers > 0).then(|| format!("{ask} for {tags}, which a cluster serves, and {not_listed}"))
}

fn check_flags(coverage: &Coverage) -> Vec<Finding> {
    let flags = ShowFlags::of(coverage);
    let of = |shows: &[String], booked_by, why| {
        let is_one = |show: &&ShowSubscriptions| shows.contains(&show.name) && coverage.has_something(show);
        let shows = coverage.rows.shows.iter().filter(is_one);
        shows.map(|show| whole(booked_by, show, why)).collect::<Vec<_>>()
    };
    let both = of(&flags.to_flag, Booker::Both, "a cluster serves it and it is not flagged");
    let stranded = of(&flags.stranded, Booker::Neither, "it is flagged and no cluster serves it");
    let gaps = coverage.gaps(|show| flags.served.contains(&show.name) && may_have_work(show)).into_iter().map(neither);
    both.into_iter().chain(stranded).chain(gaps).collect()
}

/// A finding of a show everywhere.
fn whole(booked_by: Booker, show: &ShowSubscriptions, why: &str) -> Finding {
    Finding { booked_by, show: show.name.clone(), allocation: None, why: why.to_owned() }
}

fn neither(gap: Gap) -> Finding {
    let why = gap.to_string();
    Finding { booked_by: Booker::Neither, show: gap.show, allocation: Some(gap.allocation), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clusters::build;
    use crate::db::{AskedTags, ClusterRows};
    use crate::model::{AllocId, AllocTag, FacilityId, Selection, TagChunkSizes};

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
            has_hosts: true,
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

    fn listed(list: &str) -> Told {
        Told::List(ExclusionList::parse(list))
    }

    fn lines(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|f| format!("{} {}: {}", f.booked_by.into_str(), f.name(), f.why)).collect()
    }

    #[test]
    fn both_kinds_of_harm_are_named() {
        let rows = rows([None, None]);
        let clusters = clusters(&rows, &[("a", "general"), ("a", "desktop")]);
        let coverage = Coverage { clusters, rows, asked: Vec::new() };
        let check = |list: &str| lines(check(&listed(list), &coverage));
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
        let findings = lines(check(&listed("a:local.farm"), &coverage));
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

    /// A tag that is served takes work of every show that asks for it.
    #[test]
    fn work_for_a_served_tag_is_booked_twice_where_its_pair_is_not_excluded() {
        let rows = rows([None, None]);
        let selection = Selection { manual_tags: vec!["urgent".to_owned()], ..Selection::default() };
        let clusters = build(&rows, &selection, TagChunkSizes::default()).expect("the tag exists");
        let asked = [asked("b", &["general", "urgent"], 2), asked("b", &["general"], 9), asked("a", &["urgent"], 1)];
        let coverage = Coverage { clusters, rows, asked: asked.into() };
        let findings = lines(check(&listed("a:local.farm"), &coverage));
        let harm = [
            "neither a:local.farm: no cluster serves it",
            "both b:local.farm: 2 layers of pending jobs ask for urgent, which a cluster serves, and the list does not \
             exclude it",
        ];
        assert_eq!(findings, harm);
        let quiet = Coverage { asked: Vec::new(), ..coverage };
        assert_eq!(lines(check(&listed(""), &quiet)), [""; 0], "nothing is booked where nothing asks");
    }

    #[test]
    fn where_neither_a_host_nor_work_is_nothing_is_harmed() {
        let mut rows = rows([None, None]);
        rows.allocs[1].has_hosts = false;
        let served = clusters(&rows, &[("a", "general"), ("a", "desktop")]);
        let one = clusters(&rows, &[("a", "general")]);
        let farm = |clusters: &[Cluster], asked: Vec<AskedTags>| Coverage {
            clusters: clusters.to_vec(),
            rows: rows.clone(),
            asked,
        };
        assert_eq!(lines(check(&listed("a"), &farm(&one, Vec::new()))), [""; 0]);
        assert_eq!(lines(check(&listed("a:local.farm"), &farm(&served, Vec::new()))), [""; 0]);
        let work = || vec![asked("a", &["desktop"], 1)];
        let findings = lines(check(&listed("a"), &farm(&one, work())));
        let waits = "1 layer of pending jobs asks for desktop, served by no cluster";
        assert_eq!(findings, [format!("neither a:local.desk: no cluster serves it; {waits}")]);
        let findings = lines(check(&listed("a:local.farm"), &farm(&served, work())));
        assert_eq!(findings, ["both a:local.desk: a cluster serves it and the list does not exclude it"]);
    }

    #[test]
    fn a_pair_that_no_entry_can_name_is_booked_by_both() {
        let mut rows = rows([None, None]);
        rows.allocs[1].alloc = Some((AllocId::new("local.desk"), "local.d,esk".to_owned()));
        let clusters = clusters(&rows, &[("a", "desktop")]);
        let coverage = Coverage { clusters, rows, asked: Vec::new() };
        let findings = lines(check(&listed("a:local.d,esk"), &coverage));
        assert_eq!(findings, ["both a:local.d,esk: a cluster serves it and the list cannot name it"]);
    }

    #[test]
    fn cuebots_own_planner_books_all_that_is_ours() {
        let rows = rows([Some(true), Some(true)]);
        let coverage = Coverage { clusters: clusters(&rows, &[("a", "general")]), rows, asked: Vec::new() };
        assert_eq!(lines(check(&Told::Planner, &coverage)), ["both a: Cuebot's own planner books it too"]);
    }

    #[test]
    fn a_cuebot_without_booking_leaves_all_that_we_do_not_serve() {
        let rows = rows([None, None]);
        let clusters = clusters(&rows, &[("a", "general")]);
        let asked = [asked("b", &["general"], 1)];
        let coverage = Coverage { clusters, rows, asked: asked.into() };
        let findings = lines(check(&Told::BookingOff, &coverage));
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
            (flags.commands(), lines(super::check(&Told::Flags, &coverage)))
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
