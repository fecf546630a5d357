//! The words for what the planner found.

use std::collections::{BTreeMap, BTreeSet};

use time::format_description::well_known::Rfc3339;

use super::nobody::{HeldByNobody, Holdings};
use super::numbers::{count, or_none, thousands};
use super::stories::{LayerStory, reached};
use crate::db::{FoundJob, FrameCounts};
use crate::model::{Candidate, Cluster, Holds, Host, JobRow, Snapshot, Tag, ThreadMode, WaitReason};
use crate::planner::{CapReport, Explanation, HostExplanation, Miss, NearMiss, Quantity, Unfit};
use crate::units::{Amounts, Cores, Gpus};

/// A waiting layer with what was found about it.
pub(super) struct Case<'c> {
    pub(super) snapshot: &'c Snapshot,
    pub(super) holds: &'c Holds,
    pub(super) candidate: &'c Candidate,
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
    fn job(&self) -> &JobRow {
        &self.snapshot.jobs[self.candidate.job]
    }

    fn show(&self) -> &str {
        &self.snapshot.shows[self.job().show].name
    }

    fn tags(&self) -> String {
        let tags: Vec<String> = self.candidate.tags.iter().map(|tag| format!("`{tag}`")).collect();
        tags.join(", ")
    }

    pub(super) fn summary(&self) -> String {
        let placed: u32 = self.told.placed.iter().map(|placed| placed.frames).sum();
        let waiting = self.told.waiting_frames;
        let Some(reason) = self.told.reason else {
            return format!("the next pass places {}", count(placed, "frame"));
        };
        let why = format!("{} ({})", reason.sentence(), reason.into_str());
        match placed {
            0 => format!("{} {}: {why}", count(waiting, "frame"), if waiting == 1 { "waits" } else { "wait" }),
            placed => format!("the next pass places {}, {waiting} more wait: {why}", count(placed, "frame")),
        }
    }

    /// `of 1,553 hosts: 1,200 without the tag gpu, 210 locked, 143 with too little idle`
    pub(super) fn hosts(&self) -> String {
        let mut parts = Vec::new();
        let mut left = self.snapshot.hosts.len();
        let asked = self.told.gates.iter().filter_map(|gate| Some((gate.reason, gate.hosts?)));
        let mut asked: Vec<_> = asked.collect();
        // In the order in which they were asked, each out of what the one before left.
        asked.sort_by_key(|(_, hosts)| std::cmp::Reverse((hosts.asked, hosts.passed)));
        for (reason, hosts) in asked {
            let removed = hosts.asked - hosts.passed;
            left = left.min(hosts.passed);
            if removed > 0 {
                parts.extend(self.removed(reason, removed));
            }
        }
        if left > 0 {
            parts.push(format!("{} with room", thousands(left)));
        }
        format!("of {}: {}", count(self.snapshot.hosts.len(), "host"), or_none(&parts))
    }

    fn removed(&self, reason: WaitReason, hosts: usize) -> Vec<String> {
        let words = match reason {
            WaitReason::NoHostWithTags => return self.untagged(hosts),
            WaitReason::NoHostOpen => {
                return self
                    .closed
                    .iter()
                    .map(|(state, hosts)| format!("{} {}", thousands(*hosts), words_of(state)))
                    .collect();
            }
            WaitReason::OperatingSystem => format!("without {}", self.job().os.as_deref().unwrap_or_default()),
            WaitReason::ThreadMode => "for threadable layers only".to_owned(),
            WaitReason::Shape => "too small even when empty".to_owned(),
            WaitReason::NoSubscription => "in allocations that the show does not subscribe to".to_owned(),
            WaitReason::SubscriptionFrozen => "where the subscription's burst is 0".to_owned(),
            WaitReason::SubscriptionBurst => "where the subscription is at its burst".to_owned(),
            WaitReason::GpuReserved => "keeping their idle GPUs for GPU work".to_owned(),
            WaitReason::Capacity => self.short_of(),
            other => other.sentence().to_owned(),
        };
        vec![format!("{} {words}", thousands(hosts))]
    }

    /// What the nearest of the full hosts is short of.
    fn short_of(&self) -> String {
        let what = match &self.told.nearest {
            Some(NearMiss { reason: WaitReason::Capacity, miss: Miss::Room { refusal, .. }, .. }) => match refusal {
                Unfit::MemoryShort => "with too little idle memory",
                Unfit::GpusShort => "with too few idle GPUs",
                Unfit::GpuMemoryShort => "with too little idle GPU memory",
                Unfit::HostNotFullyIdle => "not wholly idle",
                _ => "with too few idle cores",
            },
            _ => "with too little idle",
        };
        what.to_owned()
    }

    /// Hosts without the tags, and hosts that have them and are in no cluster of the layer's.
    fn untagged(&self, hosts: usize) -> Vec<String> {
        let facility = &self.job().facility;
        let has_tag = |host: &&Host| host.facility == *facility && !host.tags.is_disjoint(&self.candidate.tags);
        let tagged = self.snapshot.hosts.iter().filter(has_tag).count();
        let covered = reached(self.snapshot, self.candidate).count();
        let beyond = tagged - covered;
        let lacking = hosts - beyond;
        let tags = self.tags();
        let words = if self.candidate.tags.len() == 1 {
            format!("without tag {tags}")
        } else {
            format!("without any of the tags {tags}")
        };
        let mut parts = Vec::new();
        if lacking > 0 {
            parts.push(format!("{} {words}", thousands(lacking)));
        }
        if beyond > 0 {
            parts.push(format!("{} with such a tag in no cluster of the show", thousands(beyond)));
        }
        parts
    }

    pub(super) fn nearest(&self) -> Option<String> {
        let NearMiss { host, reason, miss } = self.told.nearest.as_ref()?;
        Some(match miss {
            Miss::State(state) => format!("host {host} is {state}"),
            Miss::OperatingSystem { wanted, offered } => {
                format!("host {host} runs {}, the job wants {wanted}", or_none(offered))
            }
            Miss::ThreadMode => format!("host {host} takes threadable layers only"),
            Miss::Room { refusal, has, needed } => {
                let when = if *reason == WaitReason::Shape { "in all" } else { "idle" };
                format!("host {host} {}", room_words(*refusal, has, needed, when))
            }
            Miss::TooWide(amounts) => {
                format!("host {host} has room, but a frame takes {} cores there", amounts.cores)
            }
            Miss::NoSeat => format!("host {host} has room, but no seat of the limit"),
        })
    }

    /// What would make it run.
    pub(super) fn remedies(&self) -> Vec<String> {
        let Some(reason) = self.told.reason else { return Vec::new() };
        let job = self.job();
        match reason {
            WaitReason::JobPaused => vec!["resume the job".to_owned()],
            WaitReason::AutoBookOff => vec!["turn the job's automatic booking on".to_owned()],
            WaitReason::ShowInactive => vec![format!("activate the show {}", self.show())],
            WaitReason::ShowTakenBack => {
                vec![format!("switch the flag on again: cueadmin -scheduler-managed {} on", self.show())]
            }
            WaitReason::StartAfter => {
                let start = self.candidate.start_after.and_then(|start| start.format(&Rfc3339).ok());
                vec![format!("wait until {}", start.unwrap_or_default())]
            }
            WaitReason::NotSelected => vec![
                format!("select a cluster of the show {} with one of its tags: {}", self.show(), self.tags()),
                format!("give the layer one of the tags that are served: {}", or_none(&self.served_tags())),
            ],
            WaitReason::NoSubscription => {
                vec![format!("subscribe the show {} to an allocation of hosts that could run it", self.show())]
            }
            WaitReason::SubscriptionFrozen => self.caps_to_raise(WaitReason::SubscriptionBurst),
            WaitReason::JobCapNotPositive => {
                vec![format!(
                    "set the job's maximum cores (now {}) and GPUs (now {}) above 0",
                    job.cores_max, job.gpus_max
                )]
            }
            WaitReason::SubscriptionBurst
            | WaitReason::FolderCores
            | WaitReason::FolderGpus
            | WaitReason::JobCores
            | WaitReason::JobGpus
            | WaitReason::LimitReached => self.caps_to_raise(reason),
            WaitReason::NoHostWithTags => {
                vec![format!("give hosts one of its tags: {}, or the layer another tag", self.tags())]
            }
            WaitReason::NoHostOpen => {
                let closed: Vec<String> = self
                    .closed
                    .iter()
                    .map(|(state, hosts)| format!("{} {}", thousands(*hosts), words_of(state)))
                    .collect();
                vec![format!("bring back hosts with its tags: {}", or_none(&closed))]
            }
            WaitReason::OperatingSystem => vec![format!(
                "bring up hosts with {}, or let the job run on {}",
                job.os.as_deref().unwrap_or_default(),
                or_none(&self.systems())
            )],
            WaitReason::ThreadMode => vec!["make the layer threadable, or give hosts another thread mode".to_owned()],
            WaitReason::Shape => vec!["ask for no more than a host has, or bring up bigger hosts".to_owned()],
            WaitReason::GpuReserved => {
                vec!["wait until GPU work has taken the GPUs, or ask for GPU memory".to_owned()]
            }
            WaitReason::Capacity => self.room_to_come(),
            WaitReason::LostRace | WaitReason::PassFull => vec!["nothing: the next pass goes on with it".to_owned()],
            WaitReason::BackOff => vec!["nothing: it is tried again soon; see the log for its failures".to_owned()],
        }
    }

    /// Who will give room on the hosts that are full, and what else helps.
    fn room_to_come(&self) -> Vec<String> {
        let FullHosts { have_work, held_by_nobody } = self.full;
        let mut remedies = Vec::new();
        if *have_work {
            remedies.push("wait until running work ends".to_owned());
        }
        remedies.extend(held_by_nobody.as_ref().map(HeldByNobody::remedy));
        if remedies.is_empty() {
            remedies.push("free memory on these hosts: nothing is booked there, and they report too little".to_owned());
        }
        remedies.push("ask for less, or let it go before others by its job's priority".to_owned());
        remedies
    }

    /// Caps of a kind that have no room for one more frame, or all of the kind.
    fn caps_to_raise(&self, reason: WaitReason) -> Vec<String> {
        let of_kind = self.told.caps.iter().filter(|cap| cap.reason == reason);
        let (full, others): (Vec<&CapReport>, Vec<&CapReport>) = of_kind.partition(|cap| is_full(cap));
        let caps = if full.is_empty() { others } else { full };
        let wider = match &self.told.nearest {
            Some(NearMiss { miss: Miss::TooWide(amounts), .. }) => Some(*amounts),
            _ => None,
        };
        let remedies = |cap: &CapReport| {
            let wanted = wider.map_or(cap.wanted.get(), |amounts| number_like(cap.wanted, &amounts));
            let max = cap.max.map_or_else(|| "no maximum".to_owned(), |max| max.to_string());
            let needed = like(cap.after, cap.after.get() + wanted);
            let name = cap_name(cap);
            let nobody = self.holdings.under(cap, self.snapshot, self.candidate);
            let by_work = cap.after.get() - nobody.map_or(0, |(held, _)| held.get());
            // Nobody waits for what does not run.
            let or_wait = if by_work > 0 {
                let needed = like(cap.after, wanted).to_string();
                format!(", or wait until {needed} of it {} free", if needed == "1" { "is" } else { "are" })
            } else {
                String::new()
            };
            let given_back = nobody.map(|(held, has)| {
                format!("wait until {has} given back the {held} of {name} that nobody's work holds")
            });
            std::iter::once(format!("raise {name} from {max} to {needed} or more{or_wait}")).chain(given_back)
        };
        caps.into_iter().flat_map(remedies).collect()
    }

    fn served_tags(&self) -> Vec<String> {
        let show = &self.snapshot.shows[self.job().show].id;
        let clusters = self.snapshot.clusters.iter().filter(|cluster| cluster.show == *show);
        let tags: BTreeSet<&Tag> = clusters.flat_map(Cluster::tags).collect();
        tags.into_iter().take(10).map(ToString::to_string).collect()
    }

    fn systems(&self) -> Vec<String> {
        let open = reached(self.snapshot, self.candidate).filter(|host| self.holds.state(host).is_open());
        let systems: BTreeSet<&String> = open.flat_map(|host| &host.os).collect();
        systems.into_iter().cloned().collect()
    }
}

/// What a cap is called.
#[must_use]
pub(super) fn cap_name(cap: &CapReport) -> String {
    let CapReport { name, .. } = cap;
    match cap.reason {
        WaitReason::FolderCores => format!("the core cap of the folder {name}"),
        WaitReason::FolderGpus => format!("the GPU cap of the folder {name}"),
        WaitReason::JobCores => "the job's core cap".to_owned(),
        WaitReason::JobGpus => "the job's GPU cap".to_owned(),
        WaitReason::LimitReached => format!("the limit {name}"),
        _ => format!("the burst of the show's subscription to {name}"),
    }
}

fn is_full(cap: &CapReport) -> bool {
    cap.max.is_some_and(|max| cap.after.get().saturating_add(cap.wanted.get()) > max.get())
}

/// What a reservation adds to a cap of this kind.
const fn number_like(kind: Quantity, amounts: &Amounts) -> i64 {
    match kind {
        Quantity::Cores(_) => amounts.cores.get(),
        Quantity::Gpus(_) => amounts.gpus.get(),
        Quantity::Frames(_) | Quantity::Hosts(_) => 1,
    }
}

const fn like(kind: Quantity, number: i64) -> Quantity {
    match kind {
        Quantity::Cores(_) => Quantity::Cores(Cores(number)),
        Quantity::Gpus(_) => Quantity::Gpus(Gpus(number)),
        Quantity::Frames(_) => Quantity::Frames(number),
        Quantity::Hosts(_) => Quantity::Hosts(number),
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
        Unfit::ThreadModeAll => "takes threadable layers only".to_owned(),
        Unfit::ReservesNothing => format!("has {} cores {when}, of which the layer leaves none to itself", has.cores),
        Unfit::HostNotFullyIdle | Unfit::NoWholeCore | Unfit::VariableNeedsTwo | Unfit::CoresShort => {
            format!("has {} cores {when}, a frame needs {}", has.cores, needed.cores)
        }
    }
}

/// How closed hosts of a state are called.
fn words_of(state: &str) -> &str {
    match state {
        "not_up" => "not up",
        "nimby_locked" => "locked by the person at the desk",
        "stale" => "without a recent report",
        "local_work" => "rendering for their owners",
        "low_free_memory" => "with too little free memory",
        "put_aside" => "put aside",
        other => other,
    }
}

pub(super) const fn thread_mode(mode: ThreadMode) -> &'static str {
    match mode {
        ThreadMode::Auto => "auto",
        ThreadMode::All => "all",
        ThreadMode::Variable => "variable",
    }
}

pub(super) fn job_summary(found: &FoundJob, layers: &[LayerStory]) -> String {
    if found.state != "PENDING" {
        return format!("the job is {}", found.state);
    }
    let mut reasons: Vec<WaitReason> = layers.iter().filter_map(|layer| layer.reason).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let placed: u32 = layers
        .iter()
        .filter_map(|layer| layer.explanation.as_ref())
        .flat_map(|told| &told.placed)
        .map(|on| on.frames)
        .sum();
    let words: Vec<&str> = reasons.into_iter().map(WaitReason::sentence).collect();
    let hidden: i64 = layers.iter().filter_map(LayerStory::hidden).sum();
    match (placed, words.is_empty()) {
        (0, true) if hidden > 0 => hidden_frames(hidden),
        (0, true) => nothing_waits(&found.frames),
        (0, false) => words.join("; "),
        (placed, true) => format!("the next pass places {}", count(placed, "frame")),
        (placed, false) => {
            format!("the next pass places {}; what is left waits: {}", count(placed, "frame"), words.join("; "))
        }
    }
}

/// Frames that wait in layers whose counters say that none does.
pub(super) fn hidden_frames(frames: i64) -> String {
    let waits = if frames == 1 { "waits" } else { "wait" };
    format!("{} {waits} and no count shows it: nothing is booked", count(frames, "frame"))
}

pub(super) fn nothing_waits(frames: &FrameCounts) -> String {
    let states = [
        (frames.running, "running"),
        (frames.depend, "waiting for other work"),
        (frames.dead, "dead"),
        (frames.eaten, "eaten"),
        (frames.succeeded, "done"),
    ];
    let states: Vec<String> = states
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, state)| format!("{number} {state}"))
        .collect();
    format!("no frame waits for a host: {}", or_none(&states))
}

pub(super) fn host_summary(told: &HostExplanation) -> String {
    if told.state != "open" {
        return format!("it takes nothing: {}", told.state);
    }
    let placed: u32 = told.candidates.iter().map(|layer| layer.placed_frames).sum();
    let able = told.candidates.iter().filter(|layer| layer.could_take > 0).count();
    let planned = match placed {
        0 => "the next pass places nothing on it".to_owned(),
        placed => format!("the next pass places {} on it", count(placed, "frame")),
    };
    format!(
        "{planned}; of {} it could take frames of {able}",
        count(told.candidates.len() + told.unreached, "waiting layer")
    )
}
