//! Why work waits and what a host could take, told about one job, layer, frame or host.
//!
//! The judgement is the planner's ([`PlannedFarm`]): one snapshot and one plan, as a pass makes them.
//! This room adds what the planner does not know (work that does not wait, other states of frames) and
//! the words.

mod books;
mod nobody;
mod numbers;
mod words;

use std::collections::{BTreeMap, HashSet};

use crate::db::{
    DeletedLimit, FoundFrame, FoundJob, FoundLayer, FrameCounts, FramelessProc, Held, HeldProc, HostLedger, HostProcs,
    OrderedRedirect, RunningOn, WaitingCount,
};
use crate::model::{
    Candidate, CandidateIx, FrameId, Holds, Host, HostId, HostIx, JobId, LayerId, LeftOutRow, Policy, ProcId, Snapshot,
    WaitReason,
};
use crate::planner::{Explanation, HostExplanation, PlannedFarm, Unfit};
use crate::units::Amounts;
pub use nobody::HeldByNobody;
use nobody::Holdings;
use words::FullHosts;

/// Tells the stories of one snapshot.
pub struct Stories<'s> {
    snapshot: &'s Snapshot,
    holds: &'s Holds,
    farm: PlannedFarm<'s>,
    books: &'s WorkBooks,
    holdings: Holdings<'s>,
}

/// What the database says of the farm and of the work in question beside the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkBooks {
    /// Of the job in question.
    pub counts: Vec<WaitingCount>,
    /// Of the job in question.
    pub deleted_limits: Vec<DeletedLimit>,
    pub held: Vec<Held>,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct LayerStory {
    pub layer: String,
    pub layer_id: LayerId,
    pub job: String,
    pub job_id: JobId,
    pub show: String,
    pub frames: FrameCounts,
    /// Frames that were seen WAITING, whatever the counter says; `None` when nobody looked.
    pub waiting_seen: Option<i64>,
    /// Why frames are left waiting; `None` when none is.
    pub reason: Option<WaitReason>,
    /// One sentence.
    pub summary: String,
    /// How many hosts each gate takes away, in one sentence.
    pub hosts: Option<String>,
    /// The host that comes nearest, in one sentence.
    pub nearest: Option<String>,
    /// Hosts with its tags that take nothing now, by state.
    pub closed_hosts: BTreeMap<&'static str, usize>,
    /// What is wrong with its rows, a sentence each; empty as a rule.
    pub books: Vec<String>,
    /// On hosts that lack nothing but room for it.
    pub held_by_nobody: Option<HeldByNobody>,
    /// What would make it run, the easiest first.
    pub remedies: Vec<String>,
    /// The planner's own account; absent when nothing waits.
    pub explanation: Option<Explanation>,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct JobStory {
    pub job: String,
    pub job_id: JobId,
    pub show: String,
    /// As Cuebot names it.
    pub state: String,
    pub frames: FrameCounts,
    pub summary: String,
    /// What is wrong with its own rows, a sentence each; empty as a rule.
    pub books: Vec<String>,
    pub layers: Vec<LayerStory>,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct FrameStory {
    pub frame: String,
    pub frame_id: FrameId,
    pub number: i32,
    /// As Cuebot names it.
    pub state: String,
    pub layer: String,
    pub layer_id: LayerId,
    pub job: String,
    pub job_id: JobId,
    pub show: String,
    /// Where it runs, or ran last.
    pub host: Option<String>,
    /// What holds something for it; as a rule only while it runs.
    pub proc: Option<ProcId>,
    pub reserved: Option<Amounts>,
    /// Since the proc's last sign of life, and since its host's last report.
    pub last_sign_seconds: Option<i64>,
    pub host_report_seconds: Option<i64>,
    /// Its host's report should have named it long since: nobody's work holds what is reserved.
    pub is_silent: bool,
    pub summary: String,
    /// Of a waiting frame.
    pub layer_story: Option<LayerStory>,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct HostStory {
    pub host_id: HostId,
    pub tags: Vec<String>,
    pub os: Vec<String>,
    pub thread_mode: &'static str,
    /// What runs there now.
    pub running: Vec<RunningOn>,
    /// What is wrong with its books, a sentence each; empty as a rule.
    pub books: Vec<String>,
    /// What its row says is taken and no proc holds.
    pub held_by_nobody: Amounts,
    /// What procs hold beyond what there is.
    pub overbooked: Amounts,
    /// Procs whose frames run no more, or should not.
    pub other_procs: Vec<HeldProc>,
    /// Procs that hold something and have run nothing for minutes.
    pub frameless: Vec<FramelessProc>,
    /// Since its last report.
    pub report_seconds: i64,
    /// What of it operators have ordered elsewhere, a sentence each.
    pub redirects: Vec<String>,
    /// One sentence.
    pub summary: String,
    #[serde(flatten)]
    pub explanation: HostExplanation,
    /// Waiting layers whose tags reach it and that it could not take, by what stops them first.
    pub refused: Vec<RefusedBy>,
}

/// What the database says of one host beside the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostBooks {
    pub procs: HostProcs,
    pub ledger: HostLedger,
    pub frameless: Vec<FramelessProc>,
    pub redirects: Vec<OrderedRedirect>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RefusedBy {
    pub reason: WaitReason,
    /// What exactly is short, where it is a matter of the host's room.
    pub refusal: Option<Unfit>,
    pub layers: u64,
    pub frames: u64,
}

impl<'s> Stories<'s> {
    /// Makes the plan that the stories are about.
    #[must_use]
    pub fn new(snapshot: &'s Snapshot, holds: &'s Holds, policy: &'s Policy, books: &'s WorkBooks) -> Self {
        let (farm, holdings) = (PlannedFarm::new(snapshot, holds, policy), Holdings::new(snapshot, &books.held));
        Self { snapshot, holds, farm, books, holdings }
    }

    #[must_use]
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
            story.remedies.extend(books::books_remedies(count, &deleted));
        }
        story
    }

    fn count(&self, layer: &LayerId) -> Option<&WaitingCount> {
        self.books.counts.iter().find(|count| count.layer == *layer)
    }

    /// `layers` are all layers of the job.
    #[must_use]
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
    #[must_use]
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
            summary: books::frame_summary(found, self.serves(&found.show)),
            layer_story: is_waiting.then(|| self.layer(layer)),
        }
    }

    /// `None` when the host is in no facility of the selected clusters.
    #[must_use]
    pub fn host(&self, id: &HostId, books: HostBooks) -> Option<HostStory> {
        let position = HostIx::all(&self.snapshot.hosts).find(|&host| self.snapshot.hosts[host].id == *id)?;
        let host = &self.snapshot.hosts[position];
        let explanation = self.farm.explain_host(position);
        let report_seconds = (self.snapshot.taken_at - host.reported_at).whole_seconds().max(0);
        let mut wrong = books::host_books(&books.ledger, &books.frameless);
        wrong.extend(books::other_procs(&books.procs.others, report_seconds, &self.holdings));
        if !books.procs.running.is_empty() {
            wrong.extend(books::unheard(report_seconds));
        }
        Some(HostStory {
            host_id: host.id.clone(),
            tags: host.tags.iter().map(ToString::to_string).collect(),
            os: host.os.clone(),
            thread_mode: words::thread_mode(host.thread_mode),
            books: wrong,
            held_by_nobody: books.ledger.held_by_nobody(),
            overbooked: books.ledger.overbooked(),
            running: books.procs.running,
            other_procs: books.procs.others,
            frameless: books.frameless,
            report_seconds,
            redirects: books.redirects.iter().map(books::redirect).collect(),
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
        if found.job_state != "PENDING" {
            return LayerStory { summary: format!("the job is {}", found.job_state), ..row };
        }
        let count = self.count(&found.id);
        if count.map_or(found.frames.waiting, WaitingCount::bookable) <= 0 {
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
        LayerStory {
            reason: Some(WaitReason::NotSelected),
            summary: format!("no selected cluster serves the show {} in the job's facility", found.show),
            remedies: vec![
                "select the show's clusters: scheduler.alloc_tags, scheduler.manual_tags, --facility".to_owned(),
            ],
            ..row
        }
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

/// Hosts that a cluster of the layer reaches, whatever they are doing.
fn reached<'s>(snapshot: &'s Snapshot, candidate: &'s Candidate) -> impl Iterator<Item = &'s Host> {
    snapshot.hosts.iter().filter(move |host| snapshot.reaches(candidate, host))
}

fn closed_hosts(snapshot: &Snapshot, holds: &Holds, candidate: &Candidate) -> BTreeMap<&'static str, usize> {
    let mut closed = BTreeMap::new();
    for host in reached(snapshot, candidate).filter(|host| !holds.state(host).is_open()) {
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
