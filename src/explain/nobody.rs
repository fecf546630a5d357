//! What nobody's work holds, and who gives it back.

use std::collections::{HashMap, HashSet};

use super::numbers::{age, count, like_kind, some_of};
use crate::db::{Held, Holder};
use crate::model::{Candidate, HostId, ShowId, Snapshot, WaitReason};
use crate::planner::{CapReport, Quantity};
use crate::units::Amounts;

/// What is held by procs that run nothing, or by no proc at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct HeldByNobody {
    pub hosts: usize,
    #[serde(flatten)]
    pub amounts: Amounts,
    /// Procs of which nothing was heard although their hosts reported.
    pub silent_procs: i64,
    /// Since the oldest last sign of life of these.
    pub silent_seconds: i64,
    /// Procs that have run nothing for minutes.
    pub frameless_procs: i64,
    /// What hosts' rows alone say is taken.
    pub no_proc: Amounts,
    #[serde(skip)]
    by: GivenBackBy,
}

/// Who finds out that nobody's work holds something, and gives it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GivenBackBy {
    /// A scheduler with these settings.
    pub(super) us: bool,
    /// Cuebot alone: the shows are not served here.
    pub(super) cuebot: bool,
}

impl HeldByNobody {
    /// `None` when there is nothing.
    fn of<'h>(rows: impl Iterator<Item = &'h Held>, served: &HashSet<&ShowId>) -> Option<Self> {
        let mut all = Self::default();
        let mut hosts: HashSet<&HostId> = HashSet::new();
        for row in rows {
            match row.holder {
                Holder::Running => continue,
                Holder::Silent => {
                    all.silent_procs += row.procs;
                    all.silent_seconds = all.silent_seconds.max(row.silent_seconds);
                }
                Holder::Frameless => all.frameless_procs += row.procs,
                Holder::NoProc => all.no_proc += row.amounts,
            }
            let is_ours = row.holder == Holder::NoProc || row.show.as_ref().is_some_and(|show| served.contains(show));
            if is_ours {
                all.by.us = true;
            } else {
                all.by.cuebot = true;
            }
            all.amounts += row.amounts;
            hosts.insert(&row.host);
        }
        all.hosts = hosts.len();
        (all.hosts > 0).then_some(all)
    }

    /// `2 procs not heard of for 7 min although their hosts report, 1 proc without a frame`
    fn holders(&self) -> String {
        let mut holders = Vec::new();
        if self.silent_procs > 0 {
            let procs = count(self.silent_procs, "proc");
            holders.push(format!("{procs} not heard of {}", self.silence()));
        }
        if self.frameless_procs > 0 {
            holders.push(format!("{} without a frame", count(self.frameless_procs, "proc")));
        }
        if holders.is_empty() {
            return "by no proc at all".to_owned();
        }
        if self.no_proc.has_some() {
            holders.push(format!("{} by no proc at all", some_of(&self.no_proc)));
        }
        holders.join(", ")
    }

    pub(super) fn remedy(&self) -> String {
        let (held, hosts, holders) = (some_of(&self.amounts), count(self.hosts, "host"), self.holders());
        format!("wait until {} given back what nobody's work holds: {held} on {hosts} ({holders})", self.by.has())
    }

    /// Said of the frames of a layer or job.
    pub(super) fn of_frames(&self) -> String {
        let frames = count(self.silent_procs, "running frame");
        let (silence, held, then) = (self.silence(), some_of(&self.amounts), self.by.gives_back());
        format!("nothing was heard of {frames} {silence}: nobody's work holds {held}; {then}")
    }

    fn silence(&self) -> String {
        let hosts_report = if self.hosts == 1 { "the host reports" } else { "their hosts report" };
        format!("for {} although {hosts_report}", age(self.silent_seconds))
    }
}

impl GivenBackBy {
    pub(super) const fn show(is_served: bool) -> Self {
        Self { us: is_served, cuebot: !is_served }
    }

    const fn has(self) -> &'static str {
        match (self.us, self.cuebot) {
            (true, true) => "a running scheduler and Cuebot's own sweep have",
            (false, true) => "Cuebot's own sweep has",
            _ => "a running scheduler has",
        }
    }

    /// When: what it saw of an outage explains the silence of a frame, else Cuebot goes first.
    pub(super) const fn gives_back(self) -> &'static str {
        match (self.us, self.cuebot) {
            (false, true) => "Cuebot's own sweep gives it back, after 5 min or more",
            _ => {
                "a running scheduler asks the host and gives it back, soon after an outage that it saw, else behind \
                 Cuebot's own sweep (after 5 min or more)"
            }
        }
    }
}

/// What is held on the farm, looked at from one snapshot.
pub(super) struct Holdings<'s> {
    rows: &'s [Held],
    served: HashSet<&'s ShowId>,
    /// Names of the hosts' allocations, as caps have them.
    allocs: HashMap<&'s HostId, &'s str>,
}

impl<'s> Holdings<'s> {
    pub(super) fn new(snapshot: &'s Snapshot, rows: &'s [Held]) -> Self {
        Self {
            rows,
            served: snapshot.clusters.iter().map(|cluster| &cluster.show).collect(),
            allocs: snapshot.hosts.iter().map(|host| (&host.id, host.alloc_name.as_str())).collect(),
        }
    }

    pub(super) fn serves(&self, show: &ShowId) -> bool {
        self.served.contains(show)
    }

    /// Of some hosts, and whether anything runs there.
    pub(super) fn on(&self, hosts: &HashSet<&HostId>) -> (Option<HeldByNobody>, bool) {
        let rows = || self.rows.iter().filter(|row| hosts.contains(&row.host));
        (HeldByNobody::of(rows(), &self.served), rows().any(|row| row.holder == Holder::Running))
    }

    /// Of silent procs that are chosen.
    pub(super) fn silent(&self, is_chosen: impl Fn(&Held) -> bool) -> Option<HeldByNobody> {
        let rows = self.rows.iter().filter(|row| row.holder == Holder::Silent && is_chosen(row));
        HeldByNobody::of(rows, &self.served)
    }

    /// Of what a cap counts, and who gives it back. What a limit counts by host is not told apart.
    pub(super) fn under(
        &self,
        cap: &CapReport,
        snapshot: &Snapshot,
        candidate: &Candidate,
    ) -> Option<(Quantity, &'static str)> {
        let job = &snapshot.jobs[candidate.job];
        let (show, folder) = (&snapshot.shows[job.show].id, &snapshot.folders[job.folder].id);
        let limits = candidate.limits.iter().map(|&limit| &snapshot.limits[limit]);
        let limits: HashSet<_> = limits.filter(|limit| limit.name == cap.name).map(|limit| &limit.id).collect();
        let counts = |row: &&Held| match cap.reason {
            WaitReason::FolderCores | WaitReason::FolderGpus => row.folder.as_ref() == Some(folder),
            WaitReason::JobCores | WaitReason::JobGpus => row.job.as_ref() == Some(&job.id),
            WaitReason::LimitReached => {
                row.holder == Holder::Silent && row.limits.iter().any(|limit| limits.contains(limit))
            }
            WaitReason::SubscriptionBurst => {
                row.show.as_ref() == Some(show) && self.allocs.get(&row.host).is_some_and(|name| *name == cap.name)
            }
            _ => false,
        };
        let held = HeldByNobody::of(self.rows.iter().filter(counts), &self.served)?;
        let quantity = like_kind(cap.after, &held.amounts, held.silent_procs);
        let is_told_apart = !matches!(quantity, Quantity::Hosts(_));
        (is_told_apart && quantity.get() != 0).then_some((quantity, held.by.has()))
    }
}
