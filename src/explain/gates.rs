//! The words of the gates. All that is said of one gate is in its arm of [`Case::gate`]: what the hosts
//! are like that it takes away, and what would open it, for the sentences of a story; the sentence of a gate
//! itself is its reason's.

use std::collections::BTreeSet;

use time::format_description::well_known::Rfc3339;

use super::nobody::HeldByNobody;
use super::numbers::{count, grouped, like, like_kind, or_none};
use super::stories::reached;
use super::words::{Case, FullHosts, quoted};
use crate::model::{AllocId, Cluster, Host, LeftOutRow, Tag, WaitReason};
use crate::planner::{CapReport, GateVerdict, KeptForGpus, Miss, NearMiss, Quantity, Unfit};
use crate::text::shell_word;

/// What is said of one gate.
struct Gate {
    /// The hosts that it takes away: `with too little idle`.
    hosts: String,
    /// What would open it, the easiest first.
    remedies: Vec<String>,
}

impl Case<'_> {
    fn gate(&self, reason: WaitReason) -> Gate {
        let job = self.job();
        let gate = |hosts: &str, remedy: String| Gate { hosts: hosts.to_owned(), remedies: vec![remedy] };
        // Of no host in particular.
        let opened = |remedy: &str| gate(reason.sentence(), remedy.to_owned());
        let capped = |hosts: &str, cap| Gate { hosts: hosts.to_owned(), remedies: self.caps_to_raise(cap) };
        match reason {
            WaitReason::RowUnusable => Gate { remedies: self.row_to_mend(), ..opened("") },
            WaitReason::JobPaused => opened("resume the job"),
            WaitReason::AutoBookOff => opened("turn the job's automatic booking on"),
            WaitReason::ShowInactive => opened(&format!("activate the show {}", self.show())),
            WaitReason::ShowTakenBack => {
                opened(&format!("switch the flag on again: cueadmin -scheduler-managed {} on", shell_word(self.show())))
            }
            WaitReason::StartAfter => {
                let start = self.candidate.start_after.and_then(|start| start.format(&Rfc3339).ok());
                opened(&format!("wait until {}", start.unwrap_or_default()))
            }
            WaitReason::SlotsRequired => opened("let Cuebot dispatch its show, or let the layer ask for no slots"),
            WaitReason::LicencesDeclared => {
                opened("set scheduler.cue_licenses to book, bind the layer to limits, or let Cuebot dispatch its show")
            }
            WaitReason::NotSelected => {
                let give = format!("give the layer one of the tags that are served: {}", or_none(&self.served_tags()));
                Gate { remedies: vec![self.cluster_to_come(), give], ..opened("") }
            }
            WaitReason::NoSubscription => {
                gate("in allocations that the show does not subscribe to", self.subscribe(&self.unsubscribed()))
            }
            WaitReason::SubscriptionFrozen => {
                capped("where the subscription's burst is 0", WaitReason::SubscriptionBurst)
            }
            WaitReason::SubscriptionBurst => capped("where the subscription is at its burst", reason),
            WaitReason::JobCapNotPositive => opened(&format!(
                "set the job's maximum cores (now {}) and GPUs (now {}) above 0",
                job.cores_max, job.gpus_max
            )),
            WaitReason::FolderCores
            | WaitReason::FolderGpus
            | WaitReason::JobCores
            | WaitReason::JobGpus
            | WaitReason::LimitReached => capped(reason.sentence(), reason),
            WaitReason::NoHostWithTags => opened(&self.tags_to_mend()),
            WaitReason::NoHostOpen => {
                opened(&format!("bring back hosts with its tags: {}", or_none(&self.closed_hosts())))
            }
            WaitReason::OperatingSystem => {
                let (os, systems) = (quoted(job.os.as_deref().unwrap_or_default()), or_none(&self.systems()));
                let remedy = format!("bring up hosts with {os}, or let the job run on {systems}");
                gate(&format!("without {os}"), remedy)
            }
            WaitReason::ThreadMode => gate(
                "for threadable layers only",
                "make the layer threadable, or give hosts another thread mode".to_owned(),
            ),
            WaitReason::Shape => gate(
                "too small even when empty",
                "ask for no more than a host has, or bring up bigger hosts".to_owned(),
            ),
            WaitReason::LaunchesWaiting => gate(
                "that keep earlier launches waiting",
                "wait until their agents have answered, or see why they are slow".to_owned(),
            ),
            WaitReason::LowFreeMemory => gate(
                "measuring too little free memory",
                format!(
                    "free memory on these machines: what measures less than {} is given nothing, as under Cuebot",
                    Host::FREE_MEMORY_MIN
                ),
            ),
            WaitReason::HostLoad => gate(
                "busy with other work",
                "wait until the load of these hosts falls, or let it not count: queue.host_load: off".to_owned(),
            ),
            WaitReason::GpuReserved => gate("keeping what goes with their idle GPUs for GPU work", self.gpus_to_come()),
            WaitReason::Capacity => Gate { hosts: self.short_of().to_owned(), remedies: self.room_to_come() },
            WaitReason::RetryElsewhere => gate(
                "on which its frames failed a moment ago",
                "wait: they go to another host that gets room, and to any after queue.retry_elsewhere; look at the \
                 host if other work fails there too"
                    .to_owned(),
            ),
            WaitReason::LostRace | WaitReason::PassFull => opened("nothing: the next pass goes on with it"),
            WaitReason::Unlaunchable => {
                let problem = self.holds.unlaunchable.get(&self.candidate.layer);
                opened(&format!("correct the rows: {}", problem.map_or("the log says what is wrong", String::as_str)))
            }
            WaitReason::BackOff => opened("nothing: it is tried again soon; see the log for its failures"),
        }
    }

    /// What would make it run: what opens each of the gates that are shut, first of those that stay shut until
    /// somebody changes something. Where there are several, each says what it is about.
    pub(super) fn remedies(&self) -> Vec<String> {
        let Some(first) = self.told.reason else { return Vec::new() };
        let shut = self.told.gates.iter().filter(|gate| gate.verdict == GateVerdict::Shut).map(|gate| gate.reason);
        let shut: BTreeSet<WaitReason> = shut.collect();
        let is_told = |reason: &WaitReason| {
            let said_by = match reason {
                WaitReason::NoHostWithTags => WaitReason::NotSelected,
                WaitReason::JobCores | WaitReason::JobGpus => WaitReason::JobCapNotPositive,
                // It is shut for whatever cannot be placed now.
                WaitReason::PassFull => return first == WaitReason::PassFull,
                _ => return true,
            };
            !shut.contains(&said_by)
        };
        let (stay, pass): (Vec<WaitReason>, Vec<WaitReason>) =
            shut.iter().copied().filter(is_told).partition(|&reason| self.stays_shut(reason));
        let is_alone = stay.len() + pass.len() <= 1;
        let of = |reason: WaitReason, never: &str| -> Vec<String> {
            let remedies = self.gate(reason).remedies.into_iter();
            let about = |remedy| format!("{remedy} ({}{never})", reason.sentence());
            if is_alone { remedies.collect() } else { remedies.map(about).collect() }
        };
        let stay = stay.into_iter().flat_map(|reason| of(reason, ", and stays so"));
        stay.chain(pass.into_iter().flat_map(|reason| of(reason, ""))).collect()
    }

    /// Until somebody changes something, however long it waits.
    fn stays_shut(&self, reason: WaitReason) -> bool {
        match reason {
            WaitReason::SubscriptionBurst
            | WaitReason::FolderCores
            | WaitReason::FolderGpus
            | WaitReason::JobCores
            | WaitReason::JobGpus
            | WaitReason::LimitReached => {
                let mut caps = self.told.caps.iter().filter(|cap| cap.reason == reason && is_full(cap));
                caps.all(|cap| cap.max.is_some_and(|max| max.get() < cap.wanted.get()))
            }
            WaitReason::StartAfter
            | WaitReason::NoHostOpen
            | WaitReason::LaunchesWaiting
            | WaitReason::LowFreeMemory
            | WaitReason::HostLoad
            | WaitReason::GpuReserved
            | WaitReason::Capacity
            | WaitReason::RetryElsewhere
            | WaitReason::LostRace
            | WaitReason::BackOff
            | WaitReason::PassFull => false,
            WaitReason::RowUnusable
            | WaitReason::JobPaused
            | WaitReason::AutoBookOff
            | WaitReason::ShowInactive
            | WaitReason::ShowTakenBack
            | WaitReason::Unlaunchable
            | WaitReason::SlotsRequired
            | WaitReason::LicencesDeclared
            | WaitReason::NotSelected
            | WaitReason::NoSubscription
            | WaitReason::SubscriptionFrozen
            | WaitReason::JobCapNotPositive
            | WaitReason::NoHostWithTags
            | WaitReason::OperatingSystem
            | WaitReason::ThreadMode
            | WaitReason::Shape => true,
        }
    }

    /// Allocations of hosts with its tags, where the show subscribes to none of them.
    fn unsubscribed(&self) -> Vec<String> {
        let (snapshot, facility) = (self.snapshot, &self.job().facility);
        let show = &snapshot.shows[self.job().show].id;
        let has_tag = |host: &&Host| host.facility == *facility && !host.tags.is_disjoint(&self.candidate.tags);
        let allocs: BTreeSet<_> =
            snapshot.hosts.iter().filter(has_tag).map(|host| (&host.alloc_name, &host.alloc)).collect();
        let is_subscribed =
            |alloc: &AllocId| snapshot.subscriptions.iter().any(|row| row.show == *show && row.alloc == *alloc);
        if allocs.iter().any(|(_, alloc)| is_subscribed(alloc)) {
            return Vec::new();
        }
        allocs.into_iter().map(|(name, _)| name.clone()).collect()
    }

    fn subscribe(&self, allocs: &[String]) -> String {
        let show = self.show();
        match allocs {
            [] => format!("subscribe the show {show} to an allocation of hosts that could run it"),
            [alloc, ..] => format!(
                "subscribe the show {show} to an allocation of hosts with its tags, {}: cueadmin -create-sub {} {} SIZE \
                 BURST, both in cores",
                or_none(allocs),
                shell_word(show),
                shell_word(alloc)
            ),
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
                match reason {
                    WaitReason::NoHostWithTags => parts.extend(self.untagged(removed)),
                    WaitReason::NoHostOpen => parts.extend(self.closed_hosts()),
                    _ => parts.push(format!("{} {}", grouped(removed), self.gate(reason).hosts)),
                }
            }
        }
        if left > 0 {
            parts.push(format!("{} with room", grouped(left)));
        }
        format!("of {}: {}", count(self.snapshot.hosts.len(), "host"), or_none(&parts))
    }

    /// Closed hosts with its tags, by state.
    fn closed_hosts(&self) -> Vec<String> {
        self.closed.iter().map(|(state, hosts)| format!("{} {}", grouped(hosts), words_of(state))).collect()
    }

    /// What the nearest of the full hosts is short of.
    fn short_of(&self) -> &'static str {
        match &self.told.nearest {
            Some(NearMiss { reason: WaitReason::Capacity, miss: Miss::Room { refusal, .. }, .. }) => match refusal {
                Unfit::MemoryShort => "with too little idle memory",
                Unfit::GpusShort => "with too few idle GPUs",
                Unfit::GpuMemoryShort => "with too little idle GPU memory",
                Unfit::HostNotFullyIdle => "not wholly idle",
                _ => "with too few idle cores",
            },
            _ => "with too little idle",
        }
    }

    /// Hosts without the tags, and hosts that have them and are in no cluster of the layer's.
    fn untagged(&self, hosts: usize) -> Vec<String> {
        let facility = &self.job().facility;
        let has_tag = |host: &&Host| host.facility == *facility && !host.tags.is_disjoint(&self.candidate.tags);
        let tagged = self.snapshot.hosts.iter().filter(has_tag).count();
        let covered = reached(self.snapshot, self.candidate).count();
        let beyond = tagged - covered;
        let lacking = hosts - beyond;
        let without = if self.candidate.tags.len() == 1 { "without tag" } else { "without any of the tags" };
        let parts = [
            (lacking, format!("{without} {}", self.tags())),
            (beyond, "with such a tag in no cluster of the show".to_owned()),
        ];
        let parts = parts.into_iter().filter(|(hosts, _)| *hosts > 0);
        parts.map(|(hosts, words)| format!("{} {words}", grouped(hosts))).collect()
    }

    /// Who will give room on the hosts that are full, and what else helps.
    fn room_to_come(&self) -> Vec<String> {
        let FullHosts { have_work, held_by_nobody } = self.full;
        let mut remedies = Vec::new();
        if *have_work {
            remedies.push("wait until running work ends".to_owned());
        }
        remedies.extend(held_by_nobody.as_ref().map(HeldByNobody::remedy));
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
            let wanted = wider.map_or(cap.wanted.get(), |amounts| like_kind(cap.wanted, &amounts, 1).get());
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
            let command = self.command(cap, needed);
            std::iter::once(format!("raise {name} from {max} to {needed} or more{command}{or_wait}")).chain(given_back)
        };
        caps.into_iter().flat_map(remedies).collect()
    }

    fn row_to_mend(&self) -> Vec<String> {
        let mend = |LeftOutRow { table, id, problem }: &LeftOutRow| format!("mend the row {id} in {table}: {problem}");
        self.candidate.unusable.iter().map(mend).collect()
    }

    /// A cluster is of hosts in allocations that the show subscribes to.
    fn cluster_to_come(&self) -> String {
        match self.unsubscribed() {
            allocs if allocs.is_empty() => {
                format!("select a cluster of the show {} with one of its tags: {}", self.show(), self.tags())
            }
            allocs => self.subscribe(&allocs),
        }
    }

    fn tags_to_mend(&self) -> String {
        let stored = quoted(self.stored_tags);
        if self.near_tags.is_empty() {
            return format!("give hosts one of its tags: {}, or the layer another tag", self.tags());
        }
        let near: Vec<String> = self.near_tags.iter().map(|tag| quoted(tag)).collect();
        format!(
            "give the layer a tag that hosts carry, such as {}, as only Cuebot's own reading of {stored}, as a regular \
             expression, finds them",
            or_none(&near)
        )
    }

    /// When work that needs no GPU gets what is kept.
    fn gpus_to_come(&self) -> String {
        let kept = self.told.nearest.as_ref().and_then(|near| near.kept_for_gpus);
        let until = match kept {
            None => "wait until GPU work has taken the GPUs, or ask for GPU memory".to_owned(),
            Some(KeptForGpus { is_awaited: true, .. }) => "wait until GPU work has taken the GPUs".to_owned(),
            Some(kept) => format!(
                "wait until {}, from when on frames that take less than 15 min may borrow it, by what finished frames \
                 of the layer or its job took",
                kept.lent_from.and_then(|from| from.format(&Rfc3339).ok()).unwrap_or_default()
            ),
        };
        format!("{until}, or ask for less (queue.gpu_keep)")
    }

    /// How to raise a cap, where there is a command whose unit is not the one that is spoken in.
    fn command(&self, cap: &CapReport, needed: Quantity) -> String {
        if cap.reason != WaitReason::SubscriptionBurst {
            return String::new();
        }
        let (show, alloc) = (shell_word(self.show()), shell_word(&cap.name));
        format!(": cueadmin -burst {show} {alloc} {} (hundredths of a core: 100 cores are 10000)", needed.get())
    }

    fn served_tags(&self) -> Vec<String> {
        let show = &self.snapshot.shows[self.job().show].id;
        let clusters = self.snapshot.clusters.iter().filter(|cluster| cluster.show == *show);
        let tags: BTreeSet<&Tag> = clusters.flat_map(Cluster::tags).collect();
        tags.into_iter().take(10).map(ToString::to_string).collect()
    }

    fn systems(&self) -> Vec<String> {
        let open = reached(self.snapshot, self.candidate).filter(|host| !self.holds.state(host).is_closed());
        let systems: BTreeSet<&String> = open.flat_map(|host| &host.os).collect();
        systems.into_iter().map(|os| quoted(os)).collect()
    }
}

/// What a cap is called.
fn cap_name(cap: &CapReport) -> String {
    let CapReport { name, .. } = cap;
    match cap.reason {
        WaitReason::FolderCores => format!("the core cap of the folder {name}"),
        WaitReason::FolderGpus => format!("the GPU cap of the folder {name}"),
        WaitReason::JobCores => "the job's core cap".to_owned(),
        WaitReason::JobGpus => "the job's GPU cap".to_owned(),
        WaitReason::LimitReached => format!("the limit {name}"),
        WaitReason::SubscriptionBurst => format!("the burst of the show's subscription to {name}"),
        other => format!("the cap {name} ({})", other.into_str()),
    }
}

fn is_full(cap: &CapReport) -> bool {
    cap.max.is_some_and(|max| cap.after.get().saturating_add(cap.wanted.get()) > max.get())
}

/// How closed hosts of a state are called.
fn words_of(state: &str) -> &str {
    match state {
        "not_up" => "not up",
        "nimby_locked" => "locked by the person at the desk",
        "stale" => "without a recent report",
        "slot_limit" => "with a limit on slots",
        "local_work" => "rendering for their owners",
        "future_report" => "with a report from the future",
        "put_aside" => "put aside",
        other => other,
    }
}
