//! Rows to clusters; pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::error::{Ambiguous, SelectionError, UnknownName};
use crate::db::{AllocTags, ClusterRows, ShowSubscriptions};
use crate::model::{AllocId, AllocTag, Cluster, ClusterKind, FacilityId, Selection, Tag, TagChunkSizes, TagKind};
use crate::text::Known;

/// The selected clusters, by name; names are unique.
///
/// # Errors
/// When facilities, shows or tags that the selection names do not exist, with all of them, or when one leads
/// to several facilities. A tag to ignore may be gone: nothing is lost then.
pub fn build(
    rows: &ClusterRows,
    selection: &Selection,
    chunk_sizes: TagChunkSizes,
) -> Result<Vec<Cluster>, SelectionError> {
    let (clusters, unknown) = build_known(rows, selection, chunk_sizes);
    if !unknown.is_empty() {
        return Err(SelectionError::Unknown(unknown));
    }
    match ambiguous(&clusters, selection).into_iter().next() {
        Some(ambiguous) => Err(SelectionError::Ambiguous(ambiguous)),
        None => Ok(clusters),
    }
}

/// The clusters of all that exists, and what the selection names beside it.
pub(super) fn build_known(
    rows: &ClusterRows,
    selection: &Selection,
    chunk_sizes: TagChunkSizes,
) -> (Vec<Cluster>, Vec<UnknownName>) {
    let farm = Farm::of(rows, selection);
    let unknown = farm.unknown_names(rows, selection);
    let mut clusters = Vec::new();
    // Without its facility nothing of the selection is there.
    if selection.facility.is_some() && farm.facility.is_none() {
        return (clusters, unknown);
    }
    if selection.is_everything() {
        for show in rows.shows.iter().filter(|show| is_ours(show) && may_have_work(show)) {
            for facility in &farm.facilities {
                clusters.extend(facility.alloc_clusters(show, &farm.ignored, |_| true));
                clusters.extend(facility.tag_clusters(show, &farm.ignored, chunk_sizes));
            }
        }
    } else {
        clusters.extend(farm.named_alloc_clusters(rows, selection));
        clusters.extend(farm.named_tag_clusters(rows, selection));
    }
    (with_unique_names(clusters), unknown)
}

/// A named allocation tag may go without its facility as long as only one has it.
pub(super) fn ambiguous(clusters: &[Cluster], selection: &Selection) -> Vec<Ambiguous> {
    if selection.facility.is_some() || selection.alloc_tags.is_empty() {
        return Vec::new();
    }
    let mut facilities: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for cluster in clusters {
        if let ClusterKind::Allocation { tag, .. } = &cluster.kind {
            facilities.entry((&cluster.show_name, tag.as_str())).or_default().insert(&cluster.facility_name);
        }
    }
    facilities.retain(|_, facilities| facilities.len() > 1);
    let ambiguous = facilities.into_iter().map(|((show, tag), facilities)| Ambiguous {
        show: show.to_owned(),
        tag: tag.to_owned(),
        facilities: facilities.into_iter().map(str::to_owned).collect(),
    });
    ambiguous.collect()
}

/// Flagged for a scheduler, or of a schema without the flag: then all are.
fn is_ours(show: &ShowSubscriptions) -> bool {
    show.is_scheduler_managed.unwrap_or(true)
}

pub(super) fn may_have_work(show: &ShowSubscriptions) -> bool {
    show.is_active || show.has_pending_jobs
}

/// What the selection leaves of the farm.
struct Farm<'r> {
    /// The name that narrowed it, for messages; `None` also where no facility has the name: then what
    /// else is wrong is looked for in all of them.
    facility: Option<&'r str>,
    facilities: Vec<Facility<'r>>,
    ignored: HashSet<&'r str>,
}

struct Facility<'r> {
    id: &'r FacilityId,
    name: &'r str,
    allocs: Vec<(&'r AllocId, &'r str, &'r AllocTags)>,
}

impl<'r> Farm<'r> {
    fn of(rows: &'r ClusterRows, selection: &'r Selection) -> Self {
        let mut facilities: BTreeMap<(&str, &FacilityId), Facility<'_>> = BTreeMap::new();
        for row in &rows.allocs {
            let facility = facilities.entry((&row.facility_name, &row.facility)).or_insert_with(|| Facility {
                id: &row.facility,
                name: &row.facility_name,
                allocs: Vec::new(),
            });
            facility.allocs.extend(row.alloc.as_ref().map(|(id, name)| (id, name.as_str(), row)));
        }
        let mut facilities: Vec<_> = facilities.into_values().collect();
        let facility = selection.facility.as_deref();
        let facility = facility.filter(|wanted| facilities.iter().any(|facility| facility.name == *wanted));
        facilities.retain(|known| facility.is_none_or(|wanted| known.name == wanted));
        Self { facility, facilities, ignored: selection.ignore_tags.iter().map(String::as_str).collect() }
    }

    /// Every name of the selection that does not exist, each once.
    fn unknown_names(&self, rows: &ClusterRows, selection: &Selection) -> Vec<UnknownName> {
        let mut unknown = Vec::new();
        let mut note = |name: &str, problem: String, known: &[&str]| {
            let name = UnknownName { problem, known: Known::like(name, known) };
            if !unknown.contains(&name) {
                unknown.push(name);
            }
        };
        let within = self.facility.map(|name| format!(" in facility \"{name}\"")).unwrap_or_default();
        if let Some(name) = selection.facility.as_deref().filter(|_| self.facility.is_none()) {
            let known: Vec<&str> = self.facilities.iter().map(|facility| facility.name).collect();
            note(name, format!("no facility is named \"{name}\""), &known);
        }
        for AllocTag { show: name, tag } in selection.alloc_tags.iter().collect::<BTreeSet<_>>() {
            let shows = shows_named(rows, name);
            if shows.is_empty() {
                let known: Vec<&str> = rows.shows.iter().map(|show| show.name.as_str()).collect();
                note(name, format!("no show is named \"{name}\""), &known);
            }
            let tags: Vec<&str> = self.allocs().flat_map(|(_, _, row)| &row.alloc_tags).map(Tag::as_str).collect();
            if !tags.contains(&tag.as_str()) {
                note(tag, format!("no allocation has the tag \"{tag}\"{within}"), &tags);
                continue;
            }
            let subscribed = self.allocs().filter(|(id, ..)| shows.iter().any(|show| show.allocs.contains(*id)));
            let tags: Vec<&str> = subscribed.flat_map(|(_, _, row)| &row.alloc_tags).map(Tag::as_str).collect();
            if !shows.is_empty() && !tags.contains(&tag.as_str()) {
                let problem = format!("show \"{name}\" subscribes to no allocation with the tag \"{tag}\"{within}");
                note(tag, problem, &tags);
            }
        }
        let tags: Vec<&str> = self.allocs().flat_map(|(_, _, row)| host_tags(row)).map(Tag::as_str).collect();
        for tag in selection.manual_tags.iter().filter(|tag| !tags.contains(&tag.as_str())).collect::<BTreeSet<_>>() {
            note(tag, format!("no host carries the tag \"{tag}\"{within}"), &tags);
        }
        unknown
    }

    fn named_alloc_clusters(&self, rows: &ClusterRows, selection: &Selection) -> Vec<Cluster> {
        let mut clusters = Vec::new();
        for wanted in selection.alloc_tags.iter().collect::<BTreeSet<_>>() {
            for show in shows_named(rows, &wanted.show) {
                for facility in &self.facilities {
                    clusters.extend(facility.alloc_clusters(show, &self.ignored, |tag| tag.as_str() == wanted.tag));
                }
            }
        }
        clusters
    }

    /// The named tags in one cluster per show and facility. The shows are those that are ours anyway
    /// and those that the selection names.
    fn named_tag_clusters(&self, rows: &ClusterRows, selection: &Selection) -> Vec<Cluster> {
        let named = |show: &ShowSubscriptions| selection.alloc_tags.iter().any(|wanted| wanted.show == show.name);
        let wanted: BTreeSet<&str> = selection.manual_tags.iter().map(String::as_str).collect();
        let mut clusters = Vec::new();
        for show in rows.shows.iter().filter(|show| named(show) || (is_ours(show) && may_have_work(show))) {
            for facility in &self.facilities {
                let tags = facility.subscribed(show).flat_map(|(_, _, row)| host_tags(row));
                let tags = tags.filter(|tag| wanted.contains(tag.as_str()) && !self.ignored.contains(tag.as_str()));
                clusters.extend(facility.tag_chunks(show, TagKind::Manual, tags, usize::MAX));
            }
        }
        clusters
    }

    fn allocs(&self) -> impl Iterator<Item = (&'r AllocId, &'r str, &'r AllocTags)> {
        self.facilities.iter().flat_map(|facility| facility.allocs.iter().copied())
    }
}

/// Names of shows are not unique.
fn shows_named<'r>(rows: &'r ClusterRows, name: &str) -> Vec<&'r ShowSubscriptions> {
    rows.shows.iter().filter(|show| show.name == name).collect()
}

fn host_tags(row: &AllocTags) -> impl Iterator<Item = &Tag> {
    row.manual_tags.iter().chain(&row.hostname_tags).chain(&row.hardware_tags).chain(&row.alloc_tags)
}

impl<'r> Facility<'r> {
    fn subscribed(&self, show: &ShowSubscriptions) -> impl Iterator<Item = (&'r AllocId, &'r str, &'r AllocTags)> {
        self.allocs.iter().copied().filter(|(id, ..)| show.allocs.contains(*id))
    }

    /// One per wanted tag of the allocations that the show subscribes to.
    fn alloc_clusters(
        &self,
        show: &ShowSubscriptions,
        ignored: &HashSet<&str>,
        wanted: impl Fn(&Tag) -> bool,
    ) -> Vec<Cluster> {
        let mut by_tag: BTreeMap<&Tag, Vec<(AllocId, String)>> = BTreeMap::new();
        for (id, name, row) in self.subscribed(show) {
            for tag in row.alloc_tags.iter().filter(|tag| wanted(tag) && !ignored.contains(tag.as_str())) {
                by_tag.entry(tag).or_default().push((id.clone(), name.to_owned()));
            }
        }
        let clusters = by_tag.into_iter().map(|(tag, mut allocs)| {
            allocs.sort();
            self.cluster(show, tag.as_str(), ClusterKind::Allocation { tag: tag.clone(), allocs })
        });
        clusters.collect()
    }

    /// Chunks of all manual, hostname and hardware tags where the show may run.
    fn tag_clusters(
        &self,
        show: &ShowSubscriptions,
        ignored: &HashSet<&str>,
        chunk_sizes: TagChunkSizes,
    ) -> Vec<Cluster> {
        type TagsOf = fn(&AllocTags) -> &BTreeSet<Tag>;
        let kinds: [(TagKind, TagsOf, usize); 3] = [
            (TagKind::Manual, |row| &row.manual_tags, chunk_sizes.manual),
            (TagKind::Hostname, |row| &row.hostname_tags, chunk_sizes.hostname),
            (TagKind::Hardware, |row| &row.hardware_tags, chunk_sizes.manual),
        ];
        let chunks = kinds.into_iter().flat_map(|(kind, tags_of, size)| {
            let tags = self.subscribed(show).flat_map(|(_, _, row)| tags_of(row));
            self.tag_chunks(show, kind, tags.filter(|tag| !ignored.contains(tag.as_str())), size)
        });
        chunks.collect()
    }

    fn tag_chunks<'t>(
        &self,
        show: &ShowSubscriptions,
        kind: TagKind,
        tags: impl Iterator<Item = &'t Tag>,
        size: usize,
    ) -> Vec<Cluster> {
        let tags: Vec<Tag> = tags.cloned().collect::<BTreeSet<_>>().into_iter().collect();
        tags.chunks(size.max(1))
            .enumerate()
            .map(|(at, chunk)| {
                let name = format!("{}-{}", kind.into_str(), at + 1);
                self.cluster(show, &name, ClusterKind::Tags { kind, tags: chunk.to_vec() })
            })
            .collect()
    }

    fn cluster(&self, show: &ShowSubscriptions, name: &str, kind: ClusterKind) -> Cluster {
        Cluster {
            name: format!("{}/{}/{name}", self.name, show.name),
            facility: self.id.clone(),
            facility_name: self.name.to_owned(),
            show: show.id.clone(),
            show_name: show.name.clone(),
            kind,
        }
    }
}

/// Names of shows and facilities are not unique in the database, and a tag may read like a chunk:
/// the second and later of a name are numbered, in the order of their ids.
fn with_unique_names(mut clusters: Vec<Cluster>) -> Vec<Cluster> {
    clusters.sort();
    let mut taken = HashSet::new();
    for cluster in &mut clusters {
        let mut name = cluster.name.clone();
        let mut number = 1;
        while !taken.insert(name.clone()) {
            number += 1;
            name = format!("{}~{number}", cluster.name);
        }
        cluster.name = name;
    }
    clusters.sort();
    clusters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ShowId;

    fn set<T: Ord + From<String>>(items: &[&str]) -> BTreeSet<T> {
        items.iter().map(|item| T::from((*item).to_owned())).collect()
    }

    fn show(name: &str, allocs: &[&str]) -> ShowSubscriptions {
        ShowSubscriptions {
            id: ShowId::new(name),
            name: name.to_owned(),
            is_active: true,
            is_scheduler_managed: None,
            has_pending_jobs: false,
            allocs: set(allocs),
        }
    }

    /// An allocation of id `facility.name`, its own tag and manual tags on its hosts.
    fn alloc(facility: &str, name: &str, tag: &str, manual: &[&str]) -> AllocTags {
        let full = format!("{facility}.{name}");
        AllocTags {
            facility: FacilityId::new(facility),
            facility_name: facility.to_owned(),
            alloc: Some((AllocId::new(&full), full)),
            has_hosts: true,
            alloc_tags: set(&[tag]),
            manual_tags: set(manual),
            hostname_tags: BTreeSet::new(),
            hardware_tags: BTreeSet::new(),
        }
    }

    /// Show a everywhere, show b in the cloud only; both facilities use the tag `general`.
    fn rows() -> ClusterRows {
        ClusterRows {
            shows: vec![show("a", &["local.farm", "local.desk", "cloud.farm"]), show("b", &["cloud.farm"])],
            allocs: vec![
                alloc("local", "farm", "general", &["urgent", "slow"]),
                alloc("local", "desk", "desktop", &["urgent"]),
                alloc("cloud", "farm", "general", &["spot"]),
            ],
            left_out: Vec::new(),
        }
    }

    fn names(rows: &ClusterRows, selection: &Selection) -> Vec<String> {
        let clusters = build(rows, selection, TagChunkSizes { manual: 1, hostname: 1 }).expect("the names exist");
        clusters.into_iter().map(|cluster| cluster.name).collect()
    }

    fn refusal(selection: &Selection) -> String {
        build(&rows(), selection, TagChunkSizes::default()).expect_err("something named is missing").to_string()
    }

    fn alloc_tag(show: &str, tag: &str) -> Vec<AllocTag> {
        vec![AllocTag { show: show.to_owned(), tag: tag.to_owned() }]
    }

    #[test]
    fn nothing_named_takes_everything() {
        let all = names(&rows(), &Selection::default());
        assert_eq!(
            all,
            [
                "cloud/a/general",
                "cloud/a/manual-1",
                "cloud/b/general",
                "cloud/b/manual-1",
                "local/a/desktop",
                "local/a/general",
                "local/a/manual-1",
                "local/a/manual-2",
            ]
        );
        let local = Selection { facility: Some("local".to_owned()), ..Selection::default() };
        assert_eq!(
            names(&rows(), &local),
            all.into_iter().filter(|name| name.starts_with("local/")).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_order_of_rows_does_not_matter() {
        let mut shuffled = rows();
        shuffled.shows.reverse();
        shuffled.allocs.reverse();
        let sizes = TagChunkSizes::default();
        let build = |rows: &ClusterRows| build(rows, &Selection::default(), sizes).expect("nothing is named");
        assert_eq!(build(&shuffled), build(&rows()));
    }

    #[test]
    fn where_shows_are_flagged_only_these_are_taken() {
        let mut rows = rows();
        rows.shows[0].is_scheduler_managed = Some(false);
        rows.shows[1].is_scheduler_managed = Some(true);
        assert_eq!(names(&rows, &Selection::default()), ["cloud/b/general", "cloud/b/manual-1"]);
        // Naming a show is handing it over, flag or not.
        let named = Selection { alloc_tags: alloc_tag("a", "desktop"), ..Selection::default() };
        assert_eq!(names(&rows, &named), ["local/a/desktop"]);
    }

    #[test]
    fn an_inactive_show_counts_only_while_jobs_are_pending() {
        let mut rows = rows();
        rows.shows[1].is_active = false;
        assert!(!names(&rows, &Selection::default()).iter().any(|name| name.contains("/b/")));
        rows.shows[1].has_pending_jobs = true;
        assert!(names(&rows, &Selection::default()).contains(&"cloud/b/general".to_owned()));
    }

    #[test]
    fn a_named_list_turns_everything_off() {
        let facility = Some("cloud".to_owned());
        let selection = Selection { facility, alloc_tags: alloc_tag("a", "general"), ..Selection::default() };
        assert_eq!(names(&rows(), &selection), ["cloud/a/general"]);
        let selection = Selection { manual_tags: vec!["urgent".into(), "spot".into()], ..Selection::default() };
        assert_eq!(names(&rows(), &selection), ["cloud/a/manual-1", "cloud/b/manual-1", "local/a/manual-1"]);
    }

    #[test]
    fn ignored_tags_are_dropped_from_named_and_unnamed_clusters() {
        let ignore = vec!["general".to_owned(), "spot".to_owned(), "gone".to_owned()];
        let selection = Selection { ignore_tags: ignore.clone(), ..Selection::default() };
        assert_eq!(names(&rows(), &selection), ["local/a/desktop", "local/a/manual-1", "local/a/manual-2"]);
        let alloc_tags = alloc_tag("a", "general");
        let selection = Selection { ignore_tags: ignore, alloc_tags, ..Selection::default() };
        assert!(names(&rows(), &selection).is_empty());
    }

    #[test]
    fn tags_are_cut_into_chunks_that_stay() {
        let clusters = build(&rows(), &Selection::default(), TagChunkSizes { manual: 2, hostname: 1 });
        let chunk = clusters.expect("nothing is named").into_iter().find(|cluster| cluster.name == "local/a/manual-1");
        assert_eq!(chunk.expect("it has two tags").tags(), [Tag::new("slow"), Tag::new("urgent")]);
    }

    #[test]
    fn names_shared_by_two_shows_are_told_apart() {
        let mut rows = rows();
        rows.shows =
            vec![show("a", &["local.desk"]), ShowSubscriptions { id: ShowId::new("A2"), ..show("a", &["local.desk"]) }];
        let selection = Selection { alloc_tags: alloc_tag("a", "desktop"), ..Selection::default() };
        assert_eq!(names(&rows, &selection), ["local/a/desktop", "local/a/desktop~2"]);
    }

    #[test]
    fn what_does_not_exist_is_named_with_what_does() {
        let facility = Selection { facility: Some("loacl".to_owned()), ..Selection::default() };
        assert_eq!(
            refusal(&facility),
            "no facility is named \"loacl\"; did you mean \"local\"? there are: local, cloud"
        );
        let show = Selection { alloc_tags: alloc_tag("z", "general"), ..Selection::default() };
        assert_eq!(refusal(&show), "no show is named \"z\"; there are: a, b");
        let tag = Selection { alloc_tags: alloc_tag("a", "genral"), ..Selection::default() };
        assert!(refusal(&tag).starts_with("no allocation has the tag \"genral\"; did you mean \"general\"?"));
        let subscription = Selection { alloc_tags: alloc_tag("b", "desktop"), ..Selection::default() };
        assert_eq!(
            refusal(&subscription),
            "show \"b\" subscribes to no allocation with the tag \"desktop\"; there are: general"
        );
        let facility = Some("cloud".to_owned());
        let manual = Selection { manual_tags: vec!["urgent".to_owned()], facility, ..Selection::default() };
        assert!(refusal(&manual).starts_with("no host carries the tag \"urgent\" in facility \"cloud\";"));
    }

    #[test]
    fn all_that_does_not_exist_is_named_once() {
        let both = |show: &str, tag: &str| AllocTag { show: show.to_owned(), tag: tag.to_owned() };
        let selection = Selection {
            facility: Some("loacl".to_owned()),
            alloc_tags: vec![both("z", "general"), both("z", "genral"), both("b", "desktop"), both("a", "general")],
            manual_tags: vec!["urgent".to_owned(), "nothing".to_owned(), "nothing".to_owned()],
            ..Selection::default()
        };
        let refusal = refusal(&selection);
        let told: Vec<&str> =
            refusal.split("; ").filter(|part| part.starts_with("no ") || part.starts_with("show ")).collect();
        assert_eq!(
            told,
            [
                "no facility is named \"loacl\"",
                "show \"b\" subscribes to no allocation with the tag \"desktop\"",
                "no show is named \"z\"",
                "no allocation has the tag \"genral\"",
                "no host carries the tag \"nothing\"",
            ],
            "{refusal}"
        );
    }

    #[test]
    fn a_tag_of_two_facilities_needs_one() {
        let cluster = |facility: &str, tag: &str| Cluster {
            name: format!("{facility}/s/{tag}"),
            facility: FacilityId::new(facility),
            facility_name: facility.to_owned(),
            show: "s".into(),
            show_name: "s".to_owned(),
            kind: ClusterKind::Allocation { tag: Tag::new(tag), allocs: Vec::new() },
        };
        let alloc_tags = vec![AllocTag { show: "s".to_owned(), tag: "general".to_owned() }];
        let mut selection = Selection { alloc_tags, ..Selection::default() };
        let mut clusters = vec![cluster("spi", "general"), cluster("spi", "desktop")];
        assert_eq!(ambiguous(&clusters, &selection), []);
        clusters.push(cluster("la", "general"));
        let told: Vec<String> = ambiguous(&clusters, &selection).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["Alloc tag requires a valid facility: s:general is in the facilities la, spi"]);
        selection.facility = Some("spi".to_owned());
        assert_eq!(ambiguous(&clusters, &selection), []);
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let known = Known::like("x", (0..30).map(|n| format!("show{n:02}")));
        assert!(known.to_string().ends_with("and 10 more"), "{known}");
    }
}
