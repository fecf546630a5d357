//! Every cap on what a frame takes, each defined here and nowhere else.

use super::eligible::Eligible;
use super::gates::{FirstShut, Trace};
use super::ledger::Ledger;
use super::report::Quantity;
use super::state::State;
use crate::model::{Candidate, CandidateIx, Cap, HostIx, LimitIx, LimitUse, WaitReason};
use crate::units::{Amounts, Cores, Gpus};

/// A frame that wants its share of what its show, folder and job may use, and a seat of its limits.
pub(super) struct Capped<'a, 's> {
    pub(super) state: &'a State<'s>,
    pub(super) ledger: &'a Ledger<'s>,
    pub(super) candidate: CandidateIx,
    /// The hosts of an allocation that it goes to; `None` where there are none, or only the work's own caps
    /// are asked.
    pub(super) eligible: Option<&'a Eligible<'s>>,
    /// The one it goes to; `None` = any that is eligible.
    pub(super) host: Option<HostIx>,
    pub(super) wanted: &'a Amounts,
}

/// A ceiling, and what stands under it.
pub(super) struct Ceiling<'a> {
    /// Whose it is.
    pub(super) name: &'a str,
    pub(super) used: Quantity,
    /// `None` = no cap.
    pub(super) max: Option<Quantity>,
    pub(super) wanted: Quantity,
}

/// What keeps a frame from using more.
pub(super) enum CapGate {
    Rule(for<'c> fn(&Capped<'c, '_>) -> bool),
    Ceiling(for<'c> fn(&Capped<'c, '_>) -> Ceiling<'c>),
    /// One that does not concern work which adds nothing.
    CeilingOnMore(for<'c> fn(&Capped<'c, '_>) -> Ceiling<'c>),
    /// All limits of the layer; hosts that hold a seat need no other.
    Limits,
}

impl<'a> Capped<'a, '_> {
    /// Of the show on an allocation.
    pub(super) const OF_SHOW: [(WaitReason, CapGate); 3] = [
        (
            WaitReason::NoSubscription,
            CapGate::Rule(|capped| capped.eligible.is_some_and(|eligible| eligible.subscription.is_some())),
        ),
        (WaitReason::SubscriptionFrozen, CapGate::Rule(|capped| capped.show().cores_max.max() > Some(Cores::ZERO))),
        (WaitReason::SubscriptionBurst, CapGate::Ceiling(|capped| capped.show().cores(capped.wanted))),
    ];

    /// Of the work itself, on whichever allocation.
    pub(super) const OF_WORK: [(WaitReason, CapGate); 6] = [
        (WaitReason::FolderCores, CapGate::Ceiling(|capped| capped.folder().cores(capped.wanted))),
        (WaitReason::FolderGpus, CapGate::CeilingOnMore(|capped| capped.folder().gpus(capped.wanted))),
        // A maximum of -1 GPUs refuses even work without any, since 0 in use is more; one of 0 does not.
        (
            WaitReason::JobCapNotPositive,
            CapGate::Rule(|capped| {
                let job = capped.state.layer(capped.candidate).job;
                let is_without_gpus = job.gpus_max == Gpus::ZERO && capped.wanted.gpus <= Gpus::ZERO;
                job.cores_max > Cores::ZERO && (job.gpus_max > Gpus::ZERO || is_without_gpus)
            }),
        ),
        (WaitReason::JobCores, CapGate::Ceiling(|capped| capped.job().cores(capped.wanted))),
        // A job over its GPU cap takes no cores either: the trigger tests both when one grows.
        (WaitReason::JobGpus, CapGate::Ceiling(|capped| capped.job().gpus(capped.wanted))),
        (WaitReason::LimitReached, CapGate::Limits),
    ];

    pub(super) fn pass(&self, gates: &[(WaitReason, CapGate)], trace: &mut impl Trace) -> Result<(), WaitReason> {
        gates.iter().try_for_each(|(reason, gate)| trace.gate(*reason, self.is_open(gate)))
    }

    /// All of them, of which the first that is shut tells.
    pub(super) fn pass_all(&self) -> Result<(), WaitReason> {
        self.pass(&Self::OF_SHOW, &mut FirstShut)?;
        self.pass(&Self::OF_WORK, &mut FirstShut)
    }

    /// Every ceiling of the gates, in their order.
    pub(super) fn ceilings(&self, gates: &[(WaitReason, CapGate)], mut each: impl FnMut(WaitReason, Ceiling<'a>)) {
        for (reason, gate) in gates {
            match gate {
                CapGate::Rule(_) => {}
                CapGate::Ceiling(ceiling) | CapGate::CeilingOnMore(ceiling) => each(*reason, ceiling(self)),
                CapGate::Limits => self.candidate().limits.iter().for_each(|&limit| each(*reason, self.limit(limit))),
            }
        }
    }

    fn is_open(&self, gate: &CapGate) -> bool {
        match gate {
            CapGate::Rule(is_open) => is_open(self),
            CapGate::Ceiling(ceiling) => ceiling(self).allows(),
            CapGate::CeilingOnMore(ceiling) => {
                let ceiling = ceiling(self);
                ceiling.wanted.get() <= 0 || ceiling.allows()
            }
            CapGate::Limits => {
                let limits = &self.candidate().limits;
                limits.iter().all(|&limit| self.limit(limit).allows() || self.has_seat(limit))
            }
        }
    }

    fn candidate(&self) -> &'a Candidate {
        &self.state.view.snapshot.candidates[self.candidate]
    }

    /// Without a subscription it may use nothing.
    fn show(&self) -> Account<'a> {
        let name = self.eligible.map_or("", |eligible| eligible.alloc_name);
        let subscription = self.eligible.and_then(|eligible| eligible.subscription);
        let used = subscription.map(|position| self.ledger.subscriptions[position]).unwrap_or_default();
        let burst = subscription.map(|position| self.state.view.snapshot.subscriptions[position].burst);
        Account { name, used, cores_max: Cap::AtMost(burst.unwrap_or_default()), gpus_max: Cap::Unlimited }
    }

    fn folder(&self) -> Account<'a> {
        let position = self.state.layer(self.candidate).job.folder;
        let row = &self.state.view.snapshot.folders[position];
        let (cores_max, gpus_max) = (row.cores_max, row.gpus_max);
        Account { name: &row.name, used: self.ledger.folders[position], cores_max, gpus_max }
    }

    fn job(&self) -> Account<'a> {
        let position = self.candidate().job;
        let row = &self.state.view.snapshot.jobs[position];
        let (cores_max, gpus_max) = (Cap::AtMost(row.cores_max), Cap::AtMost(row.gpus_max));
        Account { name: &row.name, used: self.ledger.jobs[position], cores_max, gpus_max }
    }

    fn limit(&self, limit: LimitIx) -> Ceiling<'a> {
        let row = &self.state.view.snapshot.limits[limit];
        let account = &self.ledger.limits[limit];
        let quantity = match row.usage {
            LimitUse::Frames { .. } => Quantity::Frames,
            LimitUse::Hosts { .. } => Quantity::Hosts,
        };
        let max = Some(quantity(account.max));
        Ceiling { name: &row.name, used: quantity(account.used), max, wanted: quantity(1) }
    }

    fn has_seat(&self, limit: LimitIx) -> bool {
        self.ledger.limits[limit].holders.as_ref().is_some_and(|holders| match self.host {
            Some(host) => holders.contains(&host),
            None => holders.iter().any(|&host| self.state.eligible_with(self.candidate, host).is_some()),
        })
    }
}

/// What somebody uses and may use.
struct Account<'a> {
    name: &'a str,
    used: Amounts,
    cores_max: Cap<Cores>,
    gpus_max: Cap<Gpus>,
}

impl<'a> Account<'a> {
    fn cores(self, wanted: &Amounts) -> Ceiling<'a> {
        let max = self.cores_max.max().map(Quantity::Cores);
        Ceiling { name: self.name, used: Quantity::Cores(self.used.cores), max, wanted: Quantity::Cores(wanted.cores) }
    }

    fn gpus(self, wanted: &Amounts) -> Ceiling<'a> {
        let max = self.gpus_max.max().map(Quantity::Gpus);
        Ceiling { name: self.name, used: Quantity::Gpus(self.used.gpus), max, wanted: Quantity::Gpus(wanted.gpus) }
    }
}

impl Ceiling<'_> {
    fn allows(&self) -> bool {
        self.max.is_none_or(|max| self.used.get().saturating_add(self.wanted.get()) <= max.get())
    }

    /// `None` where it caps no cores.
    pub(super) fn cores_left(&self) -> Option<Cores> {
        match (self.used, self.max?) {
            (Quantity::Cores(used), Quantity::Cores(max)) => Some(max - used),
            _ => None,
        }
    }
}
