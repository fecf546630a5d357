//! What is told, field by field.

use std::collections::BTreeMap;

use super::nobody::HeldByNobody;
use crate::db::{
    DeletedLimit, FrameCounts, FramelessProc, Held, HeldProc, HostLedger, HostProcs, LayerChunks, LayerCount,
    LooseTags, OrderedRedirect, RunningOn,
};
use crate::model::{Candidate, FrameId, Host, HostId, JobId, LayerId, ProcId, Snapshot, WaitReason};
use crate::planner::{Explanation, HostExplanation, Unfit};
use crate::units::Amounts;

/// What the database says of the farm and of the work in question beside the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkBooks {
    /// Whether the show in question is flagged for a scheduler; `None` where the schema has no such flag.
    pub is_flagged: Option<bool>,
    /// What the frame in question depends on and is not met; `None` where nobody looked or may look.
    pub depends: Option<Vec<String>>,
    /// Of the job in question.
    pub counts: Vec<LayerCount>,
    /// Of the job in question.
    pub deleted_limits: Vec<DeletedLimit>,
    /// Of the job in question: layers whose tags only Cuebot's own reading finds on hosts.
    pub loose_tags: Vec<LooseTags>,
    /// Of the job in question: layers that render several numbers in a frame.
    pub chunks: Vec<LayerChunks>,
    pub held: Vec<Held>,
    /// Of the host in question, and so are the others below.
    pub procs: HostProcs,
    pub ledger: HostLedger,
    pub frameless: Vec<FramelessProc>,
    pub redirects: Vec<OrderedRedirect>,
    /// Names of jobs of which frames failed on it at once a few minutes ago. `None` = not known.
    pub failing_jobs: Option<Vec<String>>,
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
    /// A cluster of this scheduler serves its show where it is to run; told only of work that waits.
    pub is_ours: bool,
    /// Why frames are left waiting; `None` when none is, and where it is not ours.
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
    /// What it reports of its load, and what comes of that, in one sentence; `None` when there is none.
    pub load: Option<String>,
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
    /// What of it is kept for GPU work, and until when, in one sentence.
    pub kept: Option<String>,
    /// What of it operators have ordered elsewhere, a sentence each.
    pub redirects: Vec<String>,
    /// One sentence.
    pub summary: String,
    #[serde(flatten)]
    pub explanation: HostExplanation,
    /// Waiting layers whose tags reach it and that it could not take, by what stops them first.
    pub refused: Vec<RefusedBy>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RefusedBy {
    pub reason: WaitReason,
    /// What exactly is short, where it is a matter of the host's room.
    pub refusal: Option<Unfit>,
    pub layers: u64,
    pub frames: u64,
}

/// Hosts that a cluster of the layer reaches, whatever they are doing.
pub(super) fn reached<'s>(snapshot: &'s Snapshot, candidate: &'s Candidate) -> impl Iterator<Item = &'s Host> {
    snapshot.hosts.iter().filter(move |host| snapshot.reaches(candidate, host))
}
