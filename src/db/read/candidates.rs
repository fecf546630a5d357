//! Waiting layers, and the jobs and folders they stand in.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::reading::Reading;
use crate::db::row::{Flaw, left_out};
use crate::db::{Problem, Result, Row, Source as _, Statement};
use crate::model::{
    Candidate, Cap, Cluster, ClusterIx, CoreRequest, FacilityId, FolderId, FolderIx, FolderRow, JobId, JobIx, JobRow,
    LayerId, LeftOutRow, LimitId, LimitIx, ShowId, ShowIx, ShowRow, Snapshot, Tag, Timestamp, positions,
};
use crate::units::{Cores, Gpus, Kib};

/// A layer as read; its job, clusters and limits are not looked up yet.
pub(super) struct Layer {
    candidate: Candidate,
    job: JobId,
    pub(super) limits: Vec<LimitId>,
    eligible_since: Option<Timestamp>,
}

impl Layer {
    pub(super) const fn id(&self) -> &LayerId {
        &self.candidate.layer
    }
}

impl Reading<'_> {
    pub(super) async fn load_layers(&mut self) -> Result<Vec<Layer>> {
        let features = &self.tx.features;
        let statement = Statement::new("reading waiting layers", include_str!("../sql/snapshot_candidates.sql"))
            .distinct(self.clusters.iter().map(|cluster| &cluster.show))
            .distinct(self.clusters.iter().map(|cluster| &cluster.facility))
            .bind(features.has_frame_layer_index && features.has_ts_eligible)
            .bind(self.options.refuses_licences);
        let rows = self.tx.rows(statement).await?;
        let layers = rows.or_left_out(("layer", "pk_layer"), &mut self.left_out, decode_layer);
        self.left_out.extend(layers.iter().filter_map(|layer| layer.candidate.unusable.clone()));
        Ok(layers)
    }

    /// Folders and jobs, each by name and then id; and what is wrong with rows of jobs.
    pub(super) async fn load_jobs(&mut self, layers: &[Layer], shows: &[ShowRow]) -> Result<JobsRead> {
        if layers.is_empty() {
            return Ok(JobsRead::default());
        }
        let statement = Statement::new("reading jobs and folders", include_str!("../sql/snapshot_jobs.sql"))
            .distinct(layers.iter().map(|layer| &layer.job));
        let rows = self.tx.rows(statement).await?;
        let shows: HashMap<&ShowId, ShowIx> = positions(shows.iter().map(|show| &show.id));
        let decode = |row: &Row<'_>| decode_job(row, &shows);
        let mut folders: BTreeMap<FolderId, (FolderRow, String)> = BTreeMap::new();
        let mut jobs: BTreeMap<JobId, (JobRow, FolderId)> = BTreeMap::new();
        let mut unusable = HashMap::new();
        for (job, folder, resource, flaw) in rows.or_left_out(("job", "pk_job"), &mut self.left_out, decode) {
            if let Some(flaw) = flaw.of("job", job.id.as_str()) {
                self.left_out.push(flaw.clone());
                unusable.insert(job.id.clone(), flaw);
            }
            let id = folder.id.clone();
            let (_, first) = folders.entry(id.clone()).or_insert_with(|| (folder, resource.clone()));
            if *first == resource {
                jobs.insert(job.id.clone(), (job, id));
                continue;
            }
            let problem = format!("folder {id} has a second row; delete it, the first one counts");
            let surplus = left_out("folder_resource", &resource, problem);
            if !self.left_out.contains(&surplus) {
                self.left_out.push(surplus);
            }
        }
        let (folders, jobs) = in_order(folders.into_values().map(|(folder, _)| folder).collect(), jobs.into_values());
        Ok(JobsRead { folders, jobs, unusable })
    }
}

/// The jobs of layers with the folders that they stand in.
#[derive(Default)]
pub(super) struct JobsRead {
    pub(super) folders: Vec<FolderRow>,
    pub(super) jobs: Vec<JobRow>,
    /// What is wrong with rows of jobs of which nothing can be booked.
    pub(super) unusable: HashMap<JobId, LeftOutRow>,
}

/// A row that makes no sense is kept with what is wrong, as far as it says whose it is.
fn decode_layer(row: &Row<'_>) -> Result<Layer, Problem> {
    let mut flaw = Flaw::default();
    // Cuebot writes 0 and, when told of no ceiling, -1.
    let cores_max: Cores = flaw.or_default(row.get("int_cores_max"));
    let layer: LayerId = row.get("pk_layer")?;
    let mut candidate = Candidate {
        layer_name: flaw.or_default(row.text("str_name")),
        job: JobIx(0),
        clusters: Vec::new(),
        tags: split_tags(&flaw.or_default(row.text("str_tags"))),
        cores: CoreRequest::from_column(flaw.or_default(row.get("int_cores_min"))),
        cores_max: (cores_max > Cores::ZERO).then_some(cores_max),
        memory: Kib(flaw.or_default(row.amount("int_mem_min"))),
        gpus: Gpus(flaw.or_default(row.amount("int_gpus_min"))),
        gpu_memory: Kib(flaw.or_default(row.amount("int_gpu_mem_min"))),
        is_threadable: flaw.or_default(row.get("b_threadable")),
        services: flaw.or_default(row.comma_list("str_services")),
        limits: Vec::new(),
        start_after: flaw.or_default(row.time_or_null("ts_start_after")),
        dispatch_order: flaw.or_default(row.small_number("int_dispatch_order")),
        unusable: None,
        needs_slots: row.get("needs_slots")?,
        has_refused_licences: row.get::<Option<bool>>("declares_licences")?.unwrap_or_default(),
        run_time: None,
        waiting_frames: u32::try_from(row.amount("int_waiting_count")?).unwrap_or(u32::MAX),
        waiting_since: Timestamp::UNIX_EPOCH,
        layer,
    };
    let (limits, frame_eligible) = (flaw.or_default(row.ids("limits")), row.time_or_null("frame_eligible"));
    let eligible_since = flaw.or_default(frame_eligible).or(flaw.or_default(row.time_or_null("ts_eligible")));
    candidate.unusable = flaw.of("layer", candidate.layer.as_str());
    Ok(Layer { candidate, job: row.get("pk_job")?, limits, eligible_since })
}

/// Tags are joined by ` | `, but other tools write `a|b` too: blanks never count.
pub(super) fn split_tags(text: &str) -> BTreeSet<Tag> {
    text.split('|')
        .map(|tag| tag.chars().filter(|c| !c.is_whitespace()).collect::<String>())
        .filter(|tag| !tag.is_empty())
        .map(Tag::from)
        .collect()
}

/// Sorts, and points each job at its folder.
fn in_order(
    mut folders: Vec<FolderRow>,
    jobs: impl Iterator<Item = (JobRow, FolderId)>,
) -> (Vec<FolderRow>, Vec<JobRow>) {
    folders.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let positions: HashMap<&FolderId, FolderIx> = positions(folders.iter().map(|folder| &folder.id));
    let mut jobs: Vec<JobRow> =
        jobs.filter_map(|(job, folder)| Some(JobRow { folder: *positions.get(&folder)?, ..job })).collect();
    jobs.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    (folders, jobs)
}

/// A job, its folder, the key of the row that the folder's caps come from, and what is wrong with any of it.
fn decode_job(row: &Row<'_>, shows: &HashMap<&ShowId, ShowIx>) -> Result<(JobRow, FolderRow, String, Flaw), Problem> {
    let mut flaw = Flaw::default();
    if !row.get("has_resource")? {
        flaw.0 = Some("it has no job_resource row; submit the job again".to_owned());
    }
    let folder: FolderId = row.get("pk_folder")?;
    let resource: Option<String> = row.get("pk_folder_resource")?;
    if resource.is_none() {
        flaw.0.get_or_insert(format!("its folder {folder} has no folder_resource row; insert one"));
    }
    let show = row.text("pk_show")?;
    let job = JobRow {
        id: row.get("pk_job")?,
        name: flaw.or_default(row.text("str_name")),
        show: *shows.get(&ShowId::new(&show)).ok_or_else(|| format!("its show {show} could not be read"))?,
        folder: FolderIx(0),
        facility: row.get("pk_facility")?,
        is_paused: flaw.or_default(row.get("b_paused")),
        is_auto_book: flaw.or_default(row.get("b_auto_book")),
        os: flaw.or_default(row.get::<Option<String>>("str_os")).filter(|os| !os.trim().is_empty()),
        priority: flaw.or_default(row.small_number("int_priority")),
        started_at: flaw.or(row.time("ts_started"), Timestamp::UNIX_EPOCH),
        cores: Cores(flaw.or_default(row.counter("int_cores"))),
        cores_max: flaw.or_default(row.get("int_max_cores")),
        gpus: Gpus(flaw.or_default(row.counter("int_gpus"))),
        gpus_max: flaw.or_default(row.get("int_max_gpus")),
    };
    let folder = FolderRow {
        id: folder,
        name: flaw.or_default(row.text("folder_name")),
        cores: Cores(flaw.or_default(row.counter("folder_cores"))),
        cores_max: folder_cap(flaw.or_default(row.get("folder_max_cores")), Cores),
        gpus: Gpus(flaw.or_default(row.counter("folder_gpus"))),
        gpus_max: folder_cap(flaw.or_default(row.get("folder_max_gpus")), Gpus),
    };
    Ok((job, folder, resource.unwrap_or_default(), flaw))
}

/// Exactly -1 means no cap; 0 lets nothing run, and other negatives, which Cuebot never writes, too.
fn folder_cap<T>(column: i64, unit: fn(i64) -> T) -> Cap<T> {
    if column == -1 { Cap::Unlimited } else { Cap::AtMost(unit(column)) }
}

/// Looks up what the layers refer to; what is wrong with its job is wrong with the layer. A layer whose job was
/// left out goes with it. Of a show without a cluster in the job's facility nothing is ours there.
pub(super) fn candidates(
    layers: Vec<Layer>,
    around: &Snapshot,
    unusable_jobs: &HashMap<JobId, LeftOutRow>,
    unknown_limits: &BTreeSet<LimitId>,
    left_out: &mut Vec<LeftOutRow>,
) -> Vec<Candidate> {
    let jobs: HashMap<&JobId, JobIx> = positions(around.jobs.iter().map(|job| &job.id));
    let limits: HashMap<&LimitId, LimitIx> = positions(around.limits.iter().map(|limit| &limit.id));
    let reach = reach(&around.clusters);
    let ours: HashSet<_> = around.clusters.iter().map(|cluster| (&cluster.facility, &cluster.show)).collect();
    let mut candidates = Vec::with_capacity(layers.len());
    for Layer { mut candidate, job, limits: bound, eligible_since } in layers {
        let Some(&position) = jobs.get(&job) else { continue };
        let job = &around.jobs[position.0];
        candidate.job = position;
        candidate.unusable = candidate.unusable.or_else(|| unusable_jobs.get(&job.id).cloned());
        let show = &around.shows[job.show.0].id;
        if !ours.contains(&(&job.facility, show)) {
            continue;
        }
        let reaching = candidate.tags.iter().filter_map(|tag| reach.get(&(&job.facility, show, tag))).flatten();
        candidate.clusters = reaching.copied().collect::<BTreeSet<_>>().into_iter().collect();
        candidate.waiting_since = waiting_since(eligible_since, job.started_at, candidate.start_after, around.taken_at);
        for limit in bound.iter().filter(|limit| unknown_limits.contains(*limit)) {
            let problem = format!("layer {} is bound to this limit, which does not exist; unbind it", candidate.layer);
            left_out.push(self::left_out("layer_limit", limit.as_str(), problem));
        }
        candidate.limits = bound.iter().filter_map(|limit| limits.get(limit).copied()).collect();
        candidate.limits.sort_unstable();
        candidates.push(candidate);
    }
    candidates.sort_by(|a, b| (a.job, &a.layer_name, &a.layer).cmp(&(b.job, &b.layer_name, &b.layer)));
    candidates
}

/// Work that a delay has held back is ready since the delay ended. Never in the future.
fn waiting_since(
    eligible: Option<Timestamp>,
    job_started: Timestamp,
    start_after: Option<Timestamp>,
    taken_at: Timestamp,
) -> Timestamp {
    let ready = eligible.unwrap_or(job_started);
    start_after.map_or(ready, |start| ready.max(start)).min(taken_at)
}

/// Positions of clusters by what they reach.
type Reach<'c> = HashMap<(&'c FacilityId, &'c ShowId, &'c Tag), Vec<ClusterIx>>;

fn reach(clusters: &[Cluster]) -> Reach<'_> {
    let mut reach = Reach::new();
    for (position, cluster) in ClusterIx::all(clusters).zip(clusters) {
        for tag in cluster.tags() {
            reach.entry((&cluster.facility, &cluster.show, tag)).or_default().push(position);
        }
    }
    reach
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text_of};

    fn tags(text: &str) -> Vec<String> {
        split_tags(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn fuzz_tags_are_whole_words_that_read_back() {
        let pieces = [
            "general", "|", " | ", " ", "\t", "\n", "\u{a0}", "\u{3000}", "a", ",", "a,b c", "\u{e9}", "\0",
            "\u{202e}", ".*", "(", "\\", "||",
        ];
        fuzz(60_000, |random| {
            let text = text_of(random, &pieces, 30);
            let tags = split_tags(&text);
            let words: Vec<&str> = tags.iter().map(Tag::as_str).collect();
            assert!(words.iter().map(|word| word.len()).sum::<usize>() <= text.len(), "{text:?}");
            let is_word = |word: &&str| !word.is_empty() && !word.contains(|c: char| c == '|' || c.is_whitespace());
            assert!(words.iter().all(is_word), "{text:?}");
            assert_eq!(split_tags(&words.join(" | ")), tags, "{text:?}");
        });
    }

    #[test]
    fn tags_are_split_whatever_blanks_surround_them() {
        assert_eq!(tags("general | desktop"), ["desktop", "general"]);
        assert_eq!(tags("a|b| c ||"), ["a", "b", "c"]);
        assert_eq!(tags(" | "), Vec::<String>::new());
    }

    #[test]
    fn work_is_ready_when_its_delay_has_ended_and_never_in_the_future() {
        let at = |seconds| Timestamp::UNIX_EPOCH + time::Duration::seconds(seconds);
        assert_eq!(waiting_since(None, at(10), None, at(100)), at(10));
        assert_eq!(waiting_since(Some(at(20)), at(10), None, at(100)), at(20));
        assert_eq!(waiting_since(Some(at(20)), at(10), Some(at(50)), at(100)), at(50));
        assert_eq!(waiting_since(Some(at(20)), at(10), Some(at(500)), at(100)), at(100));
    }

    #[test]
    fn only_minus_one_frees_a_folder_of_its_cap() {
        assert_eq!(folder_cap(-1, Cores), Cap::Unlimited);
        assert_eq!(folder_cap(0, Cores), Cap::AtMost(Cores::ZERO));
        assert_eq!(folder_cap(-5, Cores), Cap::AtMost(Cores(-5)));
    }
}
