//! Why work waits and what a host could take, told about one job, layer, frame or host.
//!
//! The judgement is the planner's (`PlannedFarm`): one snapshot and one plan, as a pass makes them.
//! This room adds what the planner does not know (work that does not wait, other states of frames) and
//! the words.

mod books;
mod gates;
mod nobody;
mod numbers;
mod stories;
mod words;

use std::collections::{BTreeMap, HashSet};

use crate::db::{FoundFrame, FoundJob, FoundLayer, LayerCount};
use crate::model::{Candidate, CandidateIx, Holds, HostId, HostIx, LayerId, LeftOutRow, Policy, Snapshot, WaitReason};
use crate::planner::{HostExplanation, PlannedFarm, Unfit};
use nobody::Holdings;
pub use stories::{FrameStory, HostStory, JobStory, LayerStory, WorkBooks};
use stories::{RefusedBy, reached};
use words::FullHosts;

/// Tells the stories of one snapshot.
pub struct Stories<'s> {
    snapshot: &'s Snapshot,
    holds: &'s Holds,
    farm: PlannedFarm<'s>,
    books: &'s WorkBooks,
    holdings: Holdings<'s>,
}

impl<'s> Stories<'s> {
    /// Makes the plan that the stories are about.
    pub fn new(snapshot: &'s Snapshot, holds: &'s Holds, policy: &'s Policy, books: &'s WorkBooks) -> Self {
        let (farm, holdings) = (PlannedFarm::new(snapshot, holds, policy), Holdings::new(snapshot, &books.held));
        Self { snapshot, holds, farm, books, holdings }
    }

    pub fn layer(&self, found: &FoundLayer) -> LayerStory {
        let waits = |candidate: &Candidate| {
            let seen = self.holds.waiting_found.get(&candidate.layer).copied().unwrap_or(u32::MAX);
            candidate.layer == found.id && candidate.waiting_frames.min(seen) > 0
        };
        let candidates = &self.snapshot.candidates;
        let position = CandidateIx::all(candidates).find(|&candidate| waits(&candidates[candidate]));
        let mut story = match position {
            Some(candidate) => self.waiting_layer(found, candidate),
            None => self.other_layer(found),
        };
        if found.job_state == "PENDING" {
            let of_layer = self.books.deleted_limits.iter().filter(|bound| bound.layer == found.id);
            let deleted: Vec<&str> = of_layer.map(|bound| bound.limit.as_str()).collect();
            let silent = self.holdings.silent(|held| held.layer.as_ref() == Some(&found.id));
            let count = self.count(&found.id);
            story.waiting_seen = count.map(|count| count.frames);
            story.books = books::layer_books(count, &deleted, silent.as_ref());
            story.books.extend(
                self.books.chunks.iter().filter(|chunks| chunks.layer == found.id).filter_map(books::unrendered),
            );
            story.remedies.extend(books::books_remedies(count, &deleted));
        }
        story
    }

    fn count(&self, layer: &LayerId) -> Option<&LayerCount> {
        self.books.counts.iter().find(|count| count.layer == *layer)
    }

    /// `layers` are all layers of the job.
    pub fn job(&self, found: &FoundJob, layers: &[FoundLayer]) -> JobStory {
        let layers: Vec<LayerStory> = layers.iter().map(|layer| self.layer(layer)).collect();
        JobStory {
            job: found.name.clone(),
            job_id: found.id.clone(),
            show: found.show.clone(),
            state: found.state.clone(),
            frames: found.frames,
            summary: words::job_summary(found, &layers),
            books: self.job_books(found),
            layers,
        }
    }

    fn job_books(&self, found: &FoundJob) -> Vec<String> {
        let count = self.books.counts.iter().find(|count| count.job == found.id);
        let said = count.filter(|_| found.state == "PENDING");
        said.and_then(|count| books::wrong_count("its own count", count.job_count, count.job_frames))
            .into_iter()
            .collect()
    }

    /// `layer` is the frame's.
    pub fn frame(&self, found: &FoundFrame, layer: &FoundLayer) -> FrameStory {
        let is_waiting = found.state == "WAITING" && found.job_state == "PENDING";
        FrameStory {
            frame: found.name.clone(),
            frame_id: found.id.clone(),
            number: found.number,
            state: found.state.clone(),
            layer: found.layer_name.clone(),
            layer_id: found.layer.clone(),
            job: found.job_name.clone(),
            job_id: found.job.clone(),
            show: found.show.clone(),
            host: found.host.clone(),
            proc: found.proc.as_ref().map(|proc| proc.id.clone()),
            reserved: found.proc.as_ref().map(|proc| proc.reserved),
            last_sign_seconds: found.proc.as_ref().map(|proc| proc.sign_seconds),
            host_report_seconds: found.proc.as_ref().and_then(|proc| proc.report_seconds),
            is_silent: found.proc.as_ref().is_some_and(|proc| proc.is_silent),
            summary: books::frame_summary(found, self.serves(&found.show), self.books.depends.as_deref()),
            layer_story: is_waiting.then(|| self.layer(layer)),
        }
    }

    /// `None` when the host is in no facility of the selected clusters.
    pub fn host(&self, id: &HostId) -> Option<HostStory> {
        let books = self.books;
        let position = HostIx::all(&self.snapshot.hosts).find(|&host| self.snapshot.hosts[host].id == *id)?;
        let host = &self.snapshot.hosts[position];
        let explanation = self.farm.explain_host(position);
        let report_seconds = (self.snapshot.taken_at - host.reported_at).whole_seconds().max(0);
        let mut wrong = books::host_books(&books.ledger, &books.frameless);
        wrong.extend(books::other_procs(&books.procs.others, report_seconds, &self.holdings));
        wrong.extend(books::failures(books.failing_jobs.as_deref()));
        if !books.procs.running.is_empty() {
            wrong.extend(books::unheard(report_seconds));
        }
        let oddities = self.holds.oddities(host, self.snapshot.taken_at);
        wrong.extend(oddities.map(|oddity| oddity.sentence().to_owned()));
        Some(HostStory {
            host_id: host.id.clone(),
            tags: host.tags.iter().map(ToString::to_string).collect(),
            os: host.os.clone(),
            thread_mode: words::thread_mode(host.thread_mode),
            load: books::load(host, explanation.busy),
            books: wrong,
            held_by_nobody: books.ledger.held_by_nobody(),
            overbooked: books.ledger.overbooked(),
            running: books.procs.running.clone(),
            other_procs: books.procs.others.clone(),
            frameless: books.frameless.clone(),
            report_seconds,
            redirects: books.redirects.iter().map(books::redirect).collect(),
            kept: explanation.kept_for_gpus.as_ref().map(words::kept_for_gpus),
            summary: words::host_summary(&explanation),
            refused: refused(&explanation),
            explanation,
        })
    }

    fn waiting_layer(&self, found: &FoundLayer, position: CandidateIx) -> LayerStory {
        let candidate = &self.snapshot.candidates[position];
        let explanation = self.farm.explain(position);
        let full = match explanation.reason {
            Some(WaitReason::Capacity) => self.full_hosts(position),
            _ => FullHosts::default(),
        };
        let case = words::Case {
            snapshot: self.snapshot,
            holds: self.holds,
            candidate,
            stored_tags: &found.tags,
            near_tags: self.near_tags(&found.id),
            told: &explanation,
            closed: closed_hosts(self.snapshot, self.holds, candidate),
            holdings: &self.holdings,
            full: &full,
        };
        LayerStory {
            reason: explanation.reason,
            summary: case.summary(),
            hosts: Some(case.hosts()),
            nearest: case.nearest(),
            remedies: case.remedies(),
            closed_hosts: case.closed.clone(),
            held_by_nobody: full.held_by_nobody,
            explanation: Some(explanation),
            ..layer_row(found)
        }
    }

    fn near_tags(&self, layer: &LayerId) -> &[String] {
        self.books.loose_tags.iter().find(|loose| loose.layer == *layer).map_or(&[], |loose| &loose.near)
    }

    fn full_hosts(&self, candidate: CandidateIx) -> FullHosts {
        let full = self.farm.full_hosts(candidate);
        let hosts: HashSet<&HostId> = full.iter().map(|full| &self.snapshot.hosts[full.host].id).collect();
        let (held_by_nobody, is_anything_running) = self.holdings.on(&hosts);
        FullHosts { have_work: is_anything_running || full.iter().any(|full| full.is_given_work), held_by_nobody }
    }

    fn serves(&self, show: &str) -> bool {
        self.snapshot.clusters.iter().any(|cluster| cluster.show_name == show)
    }

    /// A layer that is no candidate: nothing of it waits, or it is not ours, or its row is unusable.
    fn other_layer(&self, found: &FoundLayer) -> LayerStory {
        let row = layer_row(found);
        if let Some(summary) = words::over(&found.job_state) {
            return LayerStory { summary, ..row };
        }
        let count = self.count(&found.id);
        if count.map_or(found.frames.waiting, LayerCount::bookable) <= 0 {
            return LayerStory { summary: words::nothing_waits(&found.frames), ..row };
        }
        if let Some(hidden) = count.filter(|count| count.count <= 0) {
            return LayerStory { summary: words::hidden_frames(hidden.bookable()), ..row };
        }
        let names_it = |row: &&LeftOutRow| row.id == found.id.as_str() || row.id == found.job.as_str();
        if let Some(LeftOutRow { table, problem, .. }) = self.snapshot.left_out.iter().find(names_it) {
            return LayerStory {
                summary: format!("the row in {table} cannot be used: {problem}"),
                remedies: vec!["repair that row".to_owned()],
                ..row
            };
        }
        let (summary, remedy) = words::not_ours(&found.show, self.books.is_flagged);
        LayerStory { is_ours: false, summary, remedies: vec![remedy], ..row }
    }
}

impl LayerStory {
    /// Frames that wait although its counter says that none does.
    fn hidden(&self) -> Option<i64> {
        self.waiting_seen.filter(|_| self.frames.waiting == 0)
    }
}

fn layer_row(found: &FoundLayer) -> LayerStory {
    LayerStory {
        layer: found.name.clone(),
        layer_id: found.id.clone(),
        job: found.job_name.clone(),
        job_id: found.job.clone(),
        show: found.show.clone(),
        frames: found.frames,
        waiting_seen: None,
        is_ours: true,
        reason: None,
        summary: String::new(),
        hosts: None,
        nearest: None,
        closed_hosts: BTreeMap::new(),
        books: Vec::new(),
        held_by_nobody: None,
        remedies: Vec::new(),
        explanation: None,
    }
}

fn closed_hosts(snapshot: &Snapshot, holds: &Holds, candidate: &Candidate) -> BTreeMap<&'static str, usize> {
    let mut closed = BTreeMap::new();
    for host in reached(snapshot, candidate).filter(|host| holds.state(host).is_closed()) {
        *closed.entry(holds.state(host).into_str()).or_default() += 1;
    }
    closed
}

fn refused(told: &HostExplanation) -> Vec<RefusedBy> {
    let mut counts: BTreeMap<(WaitReason, Option<Unfit>), (u64, u64)> = BTreeMap::new();
    for layer in told.candidates.iter().filter(|layer| layer.could_take == 0) {
        let Some(reason) = layer.then else { continue };
        let (layers, frames) = counts.entry((reason, layer.refusal)).or_default();
        *layers += 1;
        *frames += u64::from(layer.waiting_frames);
    }
    let row = |((reason, refusal), (layers, frames))| RefusedBy { reason, refusal, layers, frames };
    counts.into_iter().map(row).collect()
}
