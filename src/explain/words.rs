//! The words for what the planner found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use time::format_description::well_known::Rfc3339;

use super::nobody::{GivenBackBy, HeldByNobody, Holdings};
use super::{LayerStory, reached};
use crate::db::{
    FoundFrame, FoundJob, FoundProc, FrameCounts, FramelessProc, HeldProc, HostLedger, OrderedRedirect, WaitingCount,
};
use crate::model::{Candidate, Cluster, Holds, Host, JobRow, Snapshot, Tag, ThreadMode, WaitReason};
use crate::planner::{CapReport, Explanation, HostExplanation, Miss, NearMiss, Quantity, Unfit};
use crate::scheduler::OVERDUE_AFTER;
use crate::units::{Amounts, Cores, Gpus, Kib};

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

/// Frames that a sentence names.
const NAMED_MAX: usize = 8;

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
        let why = format!("{} ({})", reason.sentence(), reason.as_str());
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

/// `is_served`: by a scheduler with these settings.
pub(super) fn frame_summary(found: &FoundFrame, is_served: bool) -> String {
    let host = found.host.as_deref().unwrap_or("an unknown host");
    let over = (found.job_state != "PENDING").then(|| format!("the job is {}", found.job_state));
    let runs = found.proc.as_ref().filter(|_| found.state == "RUNNING");
    if let Some(running) = runs.map(|proc| running(host, proc, is_served)) {
        // Its end may be lost although its job is over.
        return over.into_iter().chain([running]).collect::<Vec<_>>().join("; ");
    }
    let is_over = over.is_some();
    let summary = match found.state.as_str() {
        _ if is_over => over.unwrap_or_default(),
        "RUNNING" => format!(
            "its row says RUNNING on {host}, but it has no proc: nothing is booked for it; Cuebot's maintenance puts \
             it back to WAITING, after 5 min or more"
        ),
        "WAITING" => "it waits for a host".to_owned(),
        "DEPEND" => format!("it waits for {} that it depends on", count(found.depend_count, "thing")),
        "DEAD" => format!(
            "it died on {host} with exit status {} after {}; retry or eat it",
            found.exit_status,
            count(found.retries, "retry").replace("retrys", "retries")
        ),
        "SUCCEEDED" => format!("it is done, on {host}"),
        "EATEN" => "somebody has eaten it: it counts as done".to_owned(),
        "CHECKPOINT" => format!("it has stopped at a checkpoint on {host}"),
        "SETUP" => "Cuebot is still submitting its job".to_owned(),
        other => format!("it is {other}"),
    };
    let Some(FoundProc { id, reserved, .. }) = &found.proc else { return summary };
    let then = if found.state == "WAITING" && !is_over { format!(": {LEFT_OUT}") } else { String::new() };
    format!("{summary}, and proc {id} on {host} holds {} for it and may run it still{then}", some_of(reserved))
}

/// A waiting frame that a proc holds.
const LEFT_OUT: &str = "nobody books it until Cuebot has released the proc, or somebody unbooks it";

fn running(host: &str, proc: &FoundProc, is_served: bool) -> String {
    let FoundProc { reserved, sign_seconds, is_reported, is_silent, report_seconds, .. } = proc;
    let (holds, sign) = (some_of(reserved), age(*sign_seconds));
    match report_seconds {
        Some(report) if *is_silent => format!(
            "its rows say RUNNING on {host}, but nothing was heard of it for {sign} although the host reported {} ago: \
             nobody's work holds {holds}; {}",
            age(*report),
            GivenBackBy::show(is_served).gives_back()
        ),
        Some(report) if !is_overdue(*report) => {
            if *is_reported {
                format!("it runs on {host} with {holds}, last heard of {sign} ago")
            } else {
                format!("it was booked on {host} with {holds} {sign} ago, and no report has named it yet")
            }
        }
        report => {
            let report = report.map_or_else(
                || "has never reported".to_owned(),
                |report| format!("itself has not reported for {}", age(report)),
            );
            format!("its rows say RUNNING on {host} with {holds}, but the host {report}: nobody knows whether it runs")
        }
    }
}

/// What is wrong with the rows of a layer.
pub(super) fn layer_books(
    count: Option<&WaitingCount>,
    deleted_limits: &[&str],
    silent: Option<&HeldByNobody>,
) -> Vec<String> {
    let mut books = Vec::new();
    if let Some(WaitingCount { count: said, frames, held, .. }) = count {
        books.extend(wrong_count("its count", *said, *frames));
        if *held > 0 {
            let (number, are) = if *held == 1 { ("1".to_owned(), "is") } else { (held.to_string(), "are") };
            books.push(format!("{number} of its waiting frames {are} held by procs and may run still: {LEFT_OUT}"));
        }
    }
    for limit in deleted_limits {
        books.push(format!("it is bound to the limit {limit}, which was deleted: that limit holds nothing back"));
    }
    books.extend(silent.map(HeldByNobody::of_frames));
    books
}

/// A counter of waiting frames that is wrong, and what comes of it.
pub(super) fn wrong_count(whose: &str, said: i64, frames: i64) -> Option<String> {
    let there = match frames {
        0 => "there is none".to_owned(),
        1 => "there is 1".to_owned(),
        frames => format!("there are {frames}"),
    };
    let then = match said {
        said if said == frames => return None,
        said if said > frames => "hosts are planned for nothing",
        ..=0 if frames > 0 => "nothing is booked of them",
        ..=0 => "it hides the next ones",
        _ => "the rest is not booked",
    };
    Some(format!("{whose} says {}, {there}: {then}", count(said, "waiting frame")))
}

/// What makes counters and links right again.
pub(super) fn books_remedies(count: Option<&WaitingCount>, deleted_limits: &[&str]) -> Vec<String> {
    let mut remedies = Vec::new();
    if count.is_some_and(|count| !count.is_right()) {
        remedies.push("set its count right: `cue-scheduler check-db` prints how (waiting-counts)".to_owned());
    }
    if !deleted_limits.is_empty() {
        remedies.push("unbind it from the deleted limit: `cue-scheduler check-db` prints how (limits)".to_owned());
    }
    remedies
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

/// What is wrong with a host's books.
pub(super) fn books(ledger: &HostLedger, frameless: &[FramelessProc]) -> Vec<String> {
    let mut books = Vec::new();
    // Its owner's work draws on other rows as well.
    if !ledger.has_local_work {
        let (nobody, twice) = (ledger.held_by_nobody(), ledger.idle_by_the_row_alone());
        if nobody.has_some() {
            books.push(format!(
                "nobody holds {}, which its row says are taken; a running scheduler gives them back",
                some_of(&nobody)
            ));
        }
        if twice.has_some() {
            books.push(format!(
                "procs hold {}, which its row says are idle; a running scheduler takes them off",
                some_of(&twice)
            ));
        }
    }
    let overbooked = ledger.overbooked();
    if overbooked.has_some() {
        books.push(format!(
            "it is overbooked: procs hold {} more than it has; nothing of that is booked until enough of them end",
            some_of(&overbooked)
        ));
    }
    for proc in frameless {
        books.push(format!(
            "nobody's work holds {}: proc {} runs nothing, last heard of {} ago; Cuebot's maintenance or a running \
             scheduler gives it up",
            some_of(&proc.reserved),
            proc.proc,
            age(proc.silent_seconds)
        ));
    }
    books
}

/// Procs of a host that run their frames no more, or should not; `report`: seconds since its last report.
pub(super) fn other_procs(procs: &[HeldProc], report: i64, holdings: &Holdings<'_>) -> Vec<String> {
    let mut books = Vec::new();
    let (silent, strays): (Vec<&HeldProc>, Vec<&HeldProc>) =
        procs.iter().partition(|proc| proc.frame_state == "RUNNING");
    for is_served in [true, false] {
        let served = |proc: &&&HeldProc| proc.show_id.as_ref().is_some_and(|show| holdings.serves(show)) == is_served;
        let silent: Vec<&&HeldProc> = silent.iter().filter(served).collect();
        let Some(longest) = silent.iter().map(|proc| proc.silent_seconds).max() else { continue };
        let amounts: Amounts = silent.iter().map(|proc| proc.reserved).sum();
        let mut names: Vec<String> =
            silent.iter().take(NAMED_MAX).map(|proc| format!("{}/{}", proc.job, proc.frame)).collect();
        if silent.len() > NAMED_MAX {
            names.push(format!("{} more", silent.len() - NAMED_MAX));
        }
        books.push(format!(
            "nobody's work holds {}: nothing was heard of {} for {} although the host reported {} ago; {}",
            some_of(&amounts),
            names.join(", "),
            age(longest),
            age(report),
            GivenBackBy::show(is_served).gives_back()
        ));
    }
    for proc in strays {
        books.push(format!(
            "proc {} holds {} for {}/{}, which is {} and may run still: {LEFT_OUT}",
            proc.proc,
            some_of(&proc.reserved),
            proc.job,
            proc.frame,
            proc.frame_state
        ));
    }
    books
}

/// Whether a host that reported so many seconds ago should have done so again since.
fn is_overdue(report: i64) -> bool {
    report > OVERDUE_AFTER.as_secs().cast_signed()
}

/// Said of what runs on a host that does not report, `report` being seconds since it last did.
pub(super) fn unheard(report: i64) -> Option<String> {
    is_overdue(report).then(|| {
        format!("the host has not reported for {}: nobody knows whether what runs here still runs", age(report))
    })
}

/// What an operator has ordered a proc to do.
pub(super) fn redirect(order: &OrderedRedirect) -> String {
    let OrderedRedirect { proc, destination, is_group, held, job, frame, ordered_seconds } = order;
    let holds = match (job, frame) {
        (Some(job), Some(frame)) => format!("{job}/{frame}"),
        _ => format!("proc {proc}"),
    };
    let kind = if *is_group { "group" } else { "job" };
    format!(
        "{} that {holds} holds go to {kind} {destination} when it ends, ordered by an operator {} ago; a running \
         scheduler keeps them for it until some seconds after",
        some_of(held),
        age(*ordered_seconds)
    )
}

/// `40 s`, `7 min`, `3 h`: as exactly as anybody asks.
pub(super) fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

/// `2 cores, 4 GiB`: the kinds of which there is something.
pub(super) fn some_of(amounts: &Amounts) -> String {
    let Amounts { cores, memory, gpus, gpu_memory } = amounts;
    let mut parts = Vec::new();
    if *cores > Cores::ZERO {
        parts.push(if *cores == Cores::ONE { "1 core".to_owned() } else { format!("{cores} cores") });
    }
    if *memory > Kib::ZERO {
        parts.push(memory.to_string());
    }
    if *gpus > Gpus::ZERO {
        parts.push(count(gpus, "GPU"));
    }
    if *gpu_memory > Kib::ZERO {
        parts.push(format!("{gpu_memory} of GPU memory"));
    }
    or_none(&parts)
}

fn or_none<T: AsRef<str>>(parts: &[T]) -> String {
    if parts.is_empty() {
        return "none".to_owned();
    }
    parts.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}

pub(super) fn count(number: impl Display, thing: &str) -> String {
    let number = grouped(&number.to_string());
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

fn thousands(number: usize) -> String {
    grouped(&number.to_string())
}

/// `1,553`
fn grouped(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) && digit.is_ascii_digit() {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(
            [grouped("7"), grouped("553"), grouped("1553"), grouped("1234567")],
            ["7", "553", "1,553", "1,234,567"]
        );
        assert_eq!([count(1, "host"), count(1_000, "host")], ["1 host", "1,000 hosts"]);
    }
}
