//! The walk over the gates, recorded: what each gate said, and how many hosts each left.

use std::collections::BTreeMap;

use strum::IntoEnumIterator as _;

use super::caps::Capped;
use super::eligible::Spot;
use super::gates::{FirstShut, Trace};
use super::report::{GateReport, GateVerdict, HostCount, Miss, NearMiss};
use super::reserve::{Offer, needed, reserve, reserve_unprotected};
use super::state::State;
use crate::model::{CandidateIx, HostIx, WaitReason};
use crate::units::Amounts;

/// All gates about one more frame of a candidate, on the farm as the plan leaves it.
pub(super) struct Recorded<'p, 's> {
    state: &'p State<'s>,
    candidate: CandidateIx,
    once: Once,
    counts: BTreeMap<WaitReason, HostCount>,
    /// All hosts by name, each with the gate that stops it.
    stops: Vec<(HostIx, Option<WaitReason>)>,
}

/// What gates say that are asked once.
#[derive(Default)]
struct Once {
    is_open: BTreeMap<WaitReason, bool>,
    too_wide: Option<(WaitReason, Spot)>,
}

impl Trace for Once {
    fn gate(&mut self, reason: WaitReason, is_open: bool) -> Result<(), WaitReason> {
        self.is_open.insert(reason, is_open);
        Ok(())
    }

    /// They are counted one by one.
    fn hosts(&mut self, _furthest: WaitReason) -> Result<(), WaitReason> {
        Ok(())
    }

    fn too_wide(&mut self, cap: WaitReason, best: Spot) -> Result<(), WaitReason> {
        self.too_wide = Some((cap, best));
        Ok(())
    }
}

/// Counts hosts at gates that they pass one by one.
impl Trace for BTreeMap<WaitReason, HostCount> {
    fn gate(&mut self, reason: WaitReason, is_open: bool) -> Result<(), WaitReason> {
        let count = self.entry(reason).or_default();
        count.asked += 1;
        count.passed += usize::from(is_open);
        FirstShut.gate(reason, is_open)
    }
}

impl<'p, 's> Recorded<'p, 's> {
    pub(super) fn of(state: &'p State<'s>, candidate: CandidateIx) -> Self {
        let mut once = Once::default();
        // It goes on behind shut gates to the end.
        let _ = state.evaluate(candidate, &mut once);
        let rows = &state.view.snapshot.hosts;
        let mut hosts: Vec<HostIx> = HostIx::all(rows).collect();
        hosts.sort_by_key(|&host| &rows[host].name);
        let mut counts = BTreeMap::new();
        let mut walk = |host| {
            state.host_gates(candidate, host, &mut counts)?;
            state.offer_gates(candidate, host, &mut counts)
        };
        let stops = hosts.into_iter().map(|host| (host, walk(host).err())).collect();
        Self { state, candidate, once, counts, stops }
    }

    /// In the order of the reasons.
    pub(super) fn gates(&self) -> Vec<GateReport> {
        // Only the database tells who lost a race.
        let reasons = WaitReason::iter().filter(|&reason| reason != WaitReason::LostRace);
        reasons.map(|reason| self.gate(reason)).collect()
    }

    fn gate(&self, reason: WaitReason) -> GateReport {
        let is_open = self.once.is_open.get(&reason).copied();
        let hosts = is_open.is_none().then(|| self.counts.get(&reason).copied().unwrap_or_default());
        let is_too_wide = self.once.too_wide.is_some_and(|(cap, _)| cap == reason);
        let verdict = match hosts {
            Some(HostCount { asked: 0, .. }) if reason != WaitReason::NoHostWithTags => GateVerdict::NotAsked,
            Some(HostCount { passed: 0, .. }) => GateVerdict::Shut,
            _ if is_too_wide || is_open == Some(false) => GateVerdict::Shut,
            _ => GateVerdict::Passed,
        };
        GateReport { reason, verdict, hosts }
    }

    pub(super) fn stopped_at(&self, reason: WaitReason) -> Vec<HostIx> {
        self.stopped(|stop| stop == Some(reason))
    }

    fn stopped(&self, is_meant: impl Fn(Option<WaitReason>) -> bool) -> Vec<HostIx> {
        self.stops.iter().filter(|&&(_, stop)| is_meant(stop)).map(|&(host, _)| host).collect()
    }

    /// The host that comes nearest to taking a frame, where none takes one.
    pub(super) fn nearest(&self) -> Option<NearMiss> {
        let is_shut = |reason| self.once.is_open.get(&reason) == Some(&false);
        if is_shut(WaitReason::BackOff) || is_shut(WaitReason::PassFull) {
            return None;
        }
        if let Some((reason, spot)) = self.once.too_wide {
            let miss = match reason {
                WaitReason::LimitReached => Miss::NoSeat,
                WaitReason::RetryElsewhere => Miss::FailedThere,
                _ => Miss::TooWide(spot.amounts),
            };
            return Some(self.near_miss(spot.host, reason, miss));
        }
        let is_subscription = |stop: WaitReason| Capped::OF_SHOW.iter().any(|(reason, _)| *reason == stop);
        let able = self.stopped(|stop| stop.is_none_or(|stop| stop > WaitReason::Shape || is_subscription(stop)));
        if !able.is_empty() {
            let usable = self.stopped(|stop| stop.is_none_or(|stop| stop > WaitReason::Shape));
            return self.nearest_by_offer(&usable, |host| self.state.index.offer(host));
        }
        let too_small = self.stopped_at(WaitReason::Shape);
        if !too_small.is_empty() {
            return self.nearest_by_offer(&too_small, |host| self.state.view.emptied(host));
        }
        let furthest = self.stops.iter().filter_map(|&(_, stop)| stop).max()?;
        self.nearest_by_constraint(*self.stopped_at(furthest).first()?, furthest)
    }

    fn nearest_by_constraint(&self, host: HostIx, reason: WaitReason) -> Option<NearMiss> {
        let miss = match reason {
            WaitReason::NoHostOpen => Miss::State(self.state.view.state(host).sentence()),
            WaitReason::OperatingSystem => Miss::OperatingSystem {
                wanted: self.state.layer(self.candidate).job.os.clone().unwrap_or_default(),
                offered: self.state.view.snapshot.hosts[host].os.clone(),
            },
            WaitReason::ThreadMode => Miss::ThreadMode,
            // Hosts without its tags come near in nothing; what an offer lacks is told elsewhere; the rest is no
            // matter of what a host is.
            WaitReason::NoHostWithTags
            | WaitReason::Shape
            | WaitReason::LaunchesWaiting
            | WaitReason::LowFreeMemory
            | WaitReason::HostLoad
            | WaitReason::GpuReserved
            | WaitReason::Capacity
            | WaitReason::RowUnusable
            | WaitReason::JobPaused
            | WaitReason::AutoBookOff
            | WaitReason::ShowInactive
            | WaitReason::ShowTakenBack
            | WaitReason::StartAfter
            | WaitReason::SlotsRequired
            | WaitReason::LicencesDeclared
            | WaitReason::Unlaunchable
            | WaitReason::NotSelected
            | WaitReason::NoSubscription
            | WaitReason::SubscriptionFrozen
            | WaitReason::SubscriptionBurst
            | WaitReason::FolderCores
            | WaitReason::FolderGpus
            | WaitReason::JobCapNotPositive
            | WaitReason::JobCores
            | WaitReason::JobGpus
            | WaitReason::LimitReached
            | WaitReason::RetryElsewhere
            | WaitReason::LostRace
            | WaitReason::BackOff
            | WaitReason::PassFull => return None,
        };
        Some(self.near_miss(host, reason, miss))
    }

    /// The one that lacks the fewest kinds of amounts, and of those the least.
    fn nearest_by_offer(&self, hosts: &[HostIx], offer: impl Fn(HostIx) -> Offer) -> Option<NearMiss> {
        let (ask, policy) = (&self.state.demand(self.candidate).ask, self.state.view.policy);
        let nearest = hosts.iter().copied().min_by_key(|&host| {
            let offer = offer(host);
            shortage(&offer.usable_by(ask).idle, &needed(ask, &offer))
        })?;
        let offer = offer(nearest);
        let reason = self.stops.iter().find(|&&(host, _)| host == nearest).and_then(|&(_, stop)| stop)?;
        let refusal = match reason {
            WaitReason::Shape => reserve_unprotected(ask, &offer, policy),
            _ => reserve(ask, &offer, policy),
        };
        let (has, needed) = (offer.usable_by(ask).idle, needed(ask, &offer));
        let miss = Miss::Room { refusal: refusal.err()?, has, needed };
        Some(self.near_miss(nearest, reason, miss))
    }

    fn near_miss(&self, host: HostIx, reason: WaitReason, miss: Miss) -> NearMiss {
        let (view, idle) = (&self.state.view, self.state.index.offer(host).idle);
        let row = &view.snapshot.hosts[host];
        NearMiss { host: row.name.clone(), reason, miss, kept_for_gpus: self.state.bundles.told(row, &idle, view) }
    }
}

/// Kinds of amounts that are short, and the worst shortage in thousandths of what is needed.
fn shortage(has: &Amounts, needed: &Amounts) -> (usize, i64) {
    let kinds = [
        (has.cores.get(), needed.cores.get()),
        (has.memory.get(), needed.memory.get()),
        (has.gpus.get(), needed.gpus.get()),
        (has.gpu_memory.get(), needed.gpu_memory.get()),
    ];
    let short = kinds.into_iter().filter(|(has, needed)| has < needed);
    let worst = short.clone().map(|(has, needed)| (needed - has).saturating_mul(1_000) / needed.max(1)).max();
    // Short of nothing and refused all the same: kept for GPU work, whatever it has.
    worst.map_or((1, 1_000), |worst| (short.count(), worst))
}
