//! The words for what the planner found.

use std::collections::{BTreeMap, BTreeSet};

use time::format_description::well_known::Rfc3339;

use super::nobody::{HeldByNobody, Holdings};
use super::numbers::{count, or_none};
use super::stories::LayerStory;
use crate::db::{FoundJob, FrameCounts};
use crate::model::{Candidate, Holds, Host, JobRow, LeftOutRow, Snapshot, Tag, ThreadMode, Timestamp, WaitReason};
use crate::planner::{Explanation, HostExplanation, KeptForGpus, Miss, NearMiss, PlacedOn, Unfit};
use crate::text::shell_word;
use crate::units::Amounts;

/// A waiting layer with what was found about it.
pub(super) struct Case<'c> {
    pub(super) snapshot: &'c Snapshot,
    pub(super) holds: &'c Holds,
    pub(super) candidate: &'c Candidate,
    /// `layer.str_tags` as it is stored.
    pub(super) stored_tags: &'c str,
    /// Tags of hosts that only Cuebot's own reading of that finds.
    pub(super) near_tags: &'c [String],
    pub(super) told: &'c Explanation,
    pub(super) closed: BTreeMap<&'static str, usize>,
    pub(super) holdings: &'c Holdings<'c>,
    pub(super) full: &'c FullHosts,
}

/// Hosts on which it lacks nothing but room.
#[derive(Debug, Default)]
pub(super) struct FullHosts {
    /// Something runs there, or goes there by this plan, and will end.
    pub(super) have_work: bool,
    pub(super) held_by_nobody: Option<HeldByNobody>,
}

impl Case<'_> {
    pub(super) fn job(&self) -> &JobRow {
        &self.snapshot.jobs[self.candidate.job]
    }

    pub(super) fn show(&self) -> &str {
        &self.snapshot.shows[self.job().show].name
    }

    /// As they are stored, where that is how they are read.
    pub(super) fn tags(&self) -> String {
        let is_stored = |tag: &Tag| self.stored_tags.split('|').any(|stored| stored.trim() == tag.as_str());
        if self.candidate.tags.is_empty() || !self.candidate.tags.iter().all(is_stored) {
            return quoted(self.stored_tags);
        }
        let tags: Vec<String> = self.candidate.tags.iter().map(|tag| quoted(tag.as_str())).collect();
        tags.join(", ")
    }

    pub(super) fn summary(&self) -> String {
        let (placed, waiting) = (frames_of(&self.told.placed), self.told.waiting_frames);
        let Some(reason) = self.told.reason else { return places(placed) };
        let why = match &self.candidate.unusable {
            Some(LeftOutRow { table, problem, .. }) if reason == WaitReason::RowUnusable => {
                format!("the row in {table} cannot be used: {problem} ({})", reason.into_str())
            }
            _ => format!("{} ({})", reason.sentence(), reason.into_str()),
        };
        if placed == 0 {
            format!("{}: {why}", waits(waiting.into()))
        } else {
            format!("{}, {waiting} more wait: {why}", places(placed))
        }
    }

    pub(super) fn nearest(&self) -> Option<String> {
        let NearMiss { host, reason, miss, kept_for_gpus } = self.told.nearest.as_ref()?;
        Some(match miss {
            Miss::State(state) => format!("host {host} is {state}"),
            Miss::OperatingSystem { wanted, offered } => {
                let offered: Vec<String> = offered.iter().map(|os| quoted(os)).collect();
                format!("host {host} runs {}, the job wants {}", or_none(&offered), quoted(wanted))
            }
            Miss::ThreadMode => format!("host {host} takes threadable layers only"),
            Miss::Room { refusal, has, needed } => {
                if let (Unfit::GpuKept, Some(kept)) = (refusal, kept_for_gpus) {
                    return Some(format!("host {host} keeps {}", self::kept_for_gpus(kept)));
                }
                let when = if *reason == WaitReason::Shape { "in all" } else { "idle" };
                format!("host {host} {}", room_words(*refusal, has, needed, when))
            }
            Miss::TooWide(amounts) => {
                format!("host {host} has room, but a frame takes {} cores there", amounts.cores)
            }
            Miss::NoSeat => format!("host {host} has room, but no seat of the limit"),
            Miss::FailedThere => format!("host {host} has room, but the frames failed there a moment ago"),
        })
    }
}

fn room_words(refusal: Unfit, has: &Amounts, needed: &Amounts, when: &str) -> String {
    match refusal {
        Unfit::MemoryShort => format!("has {} {when}, a frame needs {}", has.memory, needed.memory),
        Unfit::GpusShort => format!("has {} GPUs {when}, a frame needs {}", has.gpus, needed.gpus),
        Unfit::GpuMemoryShort => {
            format!("has {} of GPU memory {when}, a frame needs {}", has.gpu_memory, needed.gpu_memory)
        }
        Unfit::GpuKept => "keeps its idle GPUs for work that asks for GPU memory".to_owned(),
        Unfit::LowFreeMemory => format!("measures less than {} of free memory", Host::FREE_MEMORY_MIN),
        Unfit::HostLoad => {
            let cores = has.cores;
            format!("has {cores} cores idle beside the other work of its load, a frame needs {}", needed.cores)
        }
        Unfit::ThreadModeAll => "takes threadable layers only".to_owned(),
        Unfit::ReservesNothing => format!("has {} cores {when}, of which the layer leaves none to itself", has.cores),
        Unfit::HostNotFullyIdle | Unfit::NoWholeCore | Unfit::VariableNeedsTwo | Unfit::CoresShort => {
            format!("has {} cores {when}, a frame needs {}", has.cores, needed.cores)
        }
    }
}

/// What a host keeps for GPU work, and for how long.
pub(super) fn kept_for_gpus(kept: &KeptForGpus) -> String {
    let KeptForGpus { gpus, cores, memory, is_awaited, last_seen, lent_from } = kept;
    let each = format!("{cores} cores and {memory} for each of {} idle", count(gpus, "GPU"));
    let time = |moment: &Option<Timestamp>| moment.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
    if *is_awaited {
        return format!("{each}: GPU work waits for its allocation");
    }
    format!(
        "{each}: GPU work ran on its allocation at {}; short frames may borrow it from {}",
        time(last_seen),
        time(lent_from)
    )
}

/// Text of the database, so that blanks in it are seen.
pub(super) fn quoted(text: &str) -> String {
    format!("`{text}`")
}

pub(super) const fn thread_mode(mode: ThreadMode) -> &'static str {
    match mode {
        ThreadMode::Auto => "auto",
        ThreadMode::All => "all",
        ThreadMode::Variable => "variable",
    }
}

pub(super) fn job_summary(found: &FoundJob, layers: &[LayerStory]) -> String {
    if let Some(over) = over(&found.state) {
        return over;
    }
    if let Some(layer) = layers.iter().find(|layer| !layer.is_ours) {
        return layer.summary.clone();
    }
    let reasons: BTreeSet<WaitReason> = layers.iter().filter_map(|layer| layer.reason).collect();
    let words: Vec<&str> = reasons.into_iter().map(WaitReason::sentence).collect();
    let placed = layers.iter().filter_map(|layer| layer.explanation.as_ref());
    let placed = frames_of(placed.flat_map(|told| &told.placed));
    let hidden: i64 = layers.iter().filter_map(LayerStory::hidden).sum();
    match (placed, words.is_empty()) {
        (0, true) if hidden > 0 => hidden_frames(hidden),
        (0, true) => nothing_waits(&found.frames),
        (0, false) => words.join("; "),
        (placed, true) => places(placed),
        (placed, false) => format!("{}; what is left waits: {}", places(placed), words.join("; ")),
    }
}

/// Who dispatches work of a show that no cluster serves, and what would make it ours.
pub(super) fn not_ours(show: &str, is_flagged: Option<bool>) -> (String, String) {
    let unserved = format!("no cluster of this scheduler serves the show {show} in the job's facility");
    let select = "select the show's clusters: scheduler.alloc_tags, scheduler.manual_tags, --facility";
    match is_flagged {
        Some(true) => {
            (format!("{unserved}, and Cuebot leaves it to the scheduler that it is flagged for"), select.into())
        }
        Some(false) => (
            format!("Cuebot dispatches show {show}: it is not flagged for a scheduler"),
            format!("nothing here; to hand the show over: cueadmin -scheduler-managed {} on", shell_word(show)),
        ),
        None => {
            (format!("Cuebot dispatches show {show}: {unserved}"), format!("nothing here; to take it over {select}"))
        }
    }
}

/// Said of a job that is not pending.
pub(super) fn over(job_state: &str) -> Option<String> {
    (job_state != "PENDING").then(|| format!("the job is {job_state}"))
}

fn frames_of<'p>(placed: impl IntoIterator<Item = &'p PlacedOn>) -> u32 {
    placed.into_iter().map(|on| on.frames).sum()
}

fn places(frames: u32) -> String {
    format!("the next pass places {}", count(frames, "frame"))
}

fn waits(frames: i64) -> String {
    format!("{} {}", count(frames, "frame"), if frames == 1 { "waits" } else { "wait" })
}

/// Frames that wait in layers whose counters say that none does.
pub(super) fn hidden_frames(frames: i64) -> String {
    format!("{} and no count shows it: nothing is booked", waits(frames))
}

pub(super) fn nothing_waits(frames: &FrameCounts) -> String {
    let states = [
        (frames.running, "running"),
        (frames.depend, "waiting for other work"),
        (frames.dead, "dead"),
        (frames.eaten, "eaten"),
        (frames.succeeded, "done"),
    ];
    let states = states.into_iter().filter(|(number, _)| *number > 0);
    let states: Vec<String> = states.map(|(number, state)| format!("{number} {state}")).collect();
    format!("no frame waits for a host: {}", or_none(&states))
}

pub(super) fn host_summary(told: &HostExplanation) -> String {
    if told.state != "open" {
        return format!("it takes nothing: {}", told.state);
    }
    let placed: u32 = told.candidates.iter().map(|layer| layer.placed_frames).sum();
    let able = told.candidates.iter().filter(|layer| layer.could_take > 0).count();
    let planned = if placed == 0 { "the next pass places nothing".to_owned() } else { places(placed) };
    let waiting = count(told.candidates.len() + told.unreached, "waiting layer");
    format!("{planned} on it; of {waiting} it could take frames of {able}")
}
