//! What operators redirect: the cores that a proc frees go to the job or group that it was ordered to.
//!
//! When the frame of such a proc ends, Cuebot takes the order's row away first, then the proc, and books
//! the destination from a queue some tenths of a second later. A scheduler that knows of no orders has
//! taken the cores by then. So orders are read all the time, as one may live for less than a tenth of a
//! second; from the moment on when one that was seen is gone, until some seconds after its proc is gone
//! too, what the proc held is kept on that host for the destination. The newest Cuebots do not book shows
//! of ours even then: a destination of ours gets its frames by our own plan, before anybody else does.
//!
//! Read after a snapshot, the orders tell of everything that the snapshot shows as freed. What such a look
//! finds to have reached its destination may not be in the snapshot yet: for that one it is still kept.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::db::{Destination, FollowedProc, Redirect, Redirects, Store, StoreError};
use crate::model::{
    AssumedBooking, CandidateIx, Holds, Host, HostId, HostIx, Placement, Policy, ProcId, Snapshot, WaitReason,
};
use crate::planner::plan;
use crate::tasks::sleep_or_stop;
use crate::telemetry::labels::RedirectEnd;
use crate::telemetry::{Metrics, error_chain};
use crate::units::Amounts;

/// How long what a proc held is kept for the destination once the proc is gone.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// An order that is gone so long before its proc was withdrawn.
const WITHDRAWN_AFTER: Duration = Duration::from_secs(30);
/// Between two looks while something waits.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// Operators redirect many procs one after the other.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
const BUSY_FOR: Duration = Duration::from_mins(1);
/// Between two looks while nothing waits that could take the cores, or no proc runs whose cores they would be,
/// as far as the last pass knows. Most orders stand for longer, and every pass looks itself before it plans:
/// what could go unseen is an order for a proc that was booked since, and whose frame is killed at once.
const IDLE_PAUSE: Duration = Duration::from_millis(100);

/// The orders that stand and those that are being carried out. Cloning shares them.
#[derive(Clone, Debug)]
pub(super) struct RedirectWatch {
    /// Held while the database is asked, so that an older answer never comes after a newer one.
    known: Arc<Mutex<Known>>,
    is_urgent: Arc<AtomicBool>,
}

impl Default for RedirectWatch {
    /// Until a pass has looked, a proc may be redirected and something wait for its cores.
    fn default() -> Self {
        Self { known: Arc::default(), is_urgent: Arc::new(AtomicBool::new(true)) }
    }
}

impl RedirectWatch {
    /// Looks at the orders once more. Returns what is to be kept for whom in a snapshot whose reading began
    /// at `since`.
    pub(super) async fn look(&self, store: &Store, metrics: &Metrics, since: Instant) -> Result<Vec<Kept>, StoreError> {
        let mut known = self.known.lock().await;
        let found = store.load_redirects(&known.seen()).await?;
        known.take(found, Instant::now());
        let leaving = known.leaving();
        if !leaving.is_empty() {
            let followed = store.follow_redirects(&leaving).await?;
            for (order, end) in known.follow(&followed, Instant::now()) {
                let Redirect { proc, host_name: host, destination_name: destination, .. } = &order;
                metrics.redirect_ended(end);
                match end {
                    RedirectEnd::Reached => {
                        tracing::info!(%proc, host, destination, "a redirect has reached its destination");
                    }
                    RedirectEnd::NotReached => tracing::warn!(%proc, host, destination,
                        "a redirect did not reach its destination in time; what was kept for it is free again"),
                    RedirectEnd::Withdrawn => tracing::debug!(%proc, host, destination, "a redirect was withdrawn"),
                }
            }
        }
        Ok(known.kept(since))
    }

    /// Orders are urgent where procs run that could be redirected, and something waits that could take what
    /// they free for others.
    pub(super) fn hasten_for(&self, snapshot: &Snapshot) {
        let can_be_redirected = snapshot.hosts.iter().any(|host| !host.running_layers.is_empty());
        self.is_urgent.store(can_be_redirected && !snapshot.candidates.is_empty(), Ordering::Relaxed);
    }

    /// Looks again and again until `stop` is cancelled.
    pub(super) async fn run(self, store: Store, metrics: Metrics, stop: CancellationToken) {
        loop {
            if let Err(error) = self.look(&store, &metrics, Instant::now()).await {
                tracing::debug!(error = error_chain(&error), "cannot read redirects now");
            }
            let known = self.known.lock().await;
            let pause = match self.is_urgent.load(Ordering::Relaxed) || !known.leaving().is_empty() {
                true if known.is_busy(Instant::now()) => BUSY_PAUSE,
                true => LOOK_PAUSE,
                false => IDLE_PAUSE,
            };
            drop(known);
            if !sleep_or_stop(pause, &stop).await {
                return;
            }
        }
    }
}

/// What is kept on a host, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    host: HostId,
    held: Amounts,
    destination: Destination,
    /// Something waits there that may run on the host, as far as the rows alone tell.
    may_run: bool,
}

#[derive(Debug, Default)]
struct Known {
    orders: HashMap<ProcId, Redirect>,
    leaving: HashMap<ProcId, Leaving>,
    /// Procs of destinations, each by which one order was carried out.
    arrived: HashMap<ProcId, Instant>,
    last_order: Option<Instant>,
}

/// An order that was seen and is gone.
#[derive(Debug)]
struct Leaving {
    order: Redirect,
    gone_at: Instant,
    proc_gone_at: Option<Instant>,
    /// Nothing is kept for it in what is read later.
    settled_at: Option<Instant>,
    may_run: bool,
}

impl Known {
    /// Procs with an order that stood at the last look.
    fn seen(&self) -> Vec<ProcId> {
        self.orders.keys().cloned().collect()
    }

    /// Takes a look at all orders.
    fn take(&mut self, Redirects { orders, without_proc }: Redirects, now: Instant) {
        if orders.iter().any(|order| !self.orders.contains_key(&order.proc)) {
            self.last_order = Some(now);
        }
        let orders = orders.into_iter().map(|order| (order.proc.clone(), order)).collect();
        let mut gone = std::mem::replace(&mut self.orders, orders);
        // A proc that ended while its order stands went another way than Cuebot goes when it carries one out.
        gone.retain(|proc, _| !without_proc.contains(proc) && !self.orders.contains_key(proc));
        let leaving = |order| Leaving { order, gone_at: now, proc_gone_at: None, settled_at: None, may_run: true };
        self.leaving.extend(gone.into_iter().map(|(proc, order)| (proc, leaving(order))));
        self.leaving.retain(|proc, _| !self.orders.contains_key(proc));
    }

    fn leaving(&self) -> Vec<&Redirect> {
        let open = self.leaving.values().filter(|leaving| leaving.settled_at.is_none());
        open.map(|leaving| &leaving.order).collect()
    }

    /// Takes what became of the orders that are gone. Returns those that are settled.
    fn follow(&mut self, followed: &[FollowedProc], now: Instant) -> Vec<(Redirect, RedirectEnd)> {
        self.arrived.retain(|_, at| now < *at + WITHDRAWN_AFTER * 2);
        let mut reached = HashSet::new();
        for FollowedProc { proc, is_held, arrived, may_run } in followed {
            let Some(leaving) = self.leaving.get_mut(proc) else { continue };
            leaving.may_run = *may_run;
            if !is_held {
                leaving.proc_gone_at.get_or_insert(now);
            }
            let is_new = |arrived: &&ProcId| !self.arrived.contains_key(*arrived);
            if leaving.proc_gone_at.is_some()
                && let Some(new) = arrived.iter().find(is_new)
            {
                self.arrived.insert(new.clone(), now);
                reached.insert(proc);
            }
        }
        self.leaving.retain(|_, leaving| leaving.settled_at.is_none_or(|at| now < at + WITHDRAWN_AFTER));
        let mut ends = Vec::new();
        for (proc, leaving) in self.leaving.iter_mut().filter(|(_, leaving)| leaving.settled_at.is_none()) {
            let end = match leaving.proc_gone_at {
                Some(_) if reached.contains(proc) => RedirectEnd::Reached,
                Some(at) if now >= at + KEPT_FOR => RedirectEnd::NotReached,
                None if now >= leaving.gone_at + WITHDRAWN_AFTER => RedirectEnd::Withdrawn,
                _ => continue,
            };
            leaving.settled_at = Some(now);
            ends.push((leaving.order.clone(), end));
        }
        ends
    }

    /// In the order in which the procs went.
    fn kept(&self, since: Instant) -> Vec<Kept> {
        let mut freed: Vec<(Instant, &Leaving)> = self
            .leaving
            .values()
            .filter(|leaving| leaving.settled_at.is_none_or(|at| since <= at))
            .filter_map(|leaving| Some((leaving.proc_gone_at?, leaving)))
            .collect();
        freed.sort_by(|(left_at, left), (right_at, right)| {
            (left_at, &left.order.proc).cmp(&(right_at, &right.order.proc))
        });
        let kept = freed.into_iter().map(|(_, Leaving { order, may_run, .. })| Kept {
            host: order.host.clone(),
            held: order.held.max(Amounts::default()),
            destination: order.destination.clone(),
            may_run: *may_run,
        });
        kept.collect()
    }

    fn is_busy(&self, now: Instant) -> bool {
        self.last_order.is_some_and(|at| now < at + BUSY_FOR)
    }
}

/// Gives destinations of ours what is kept for them, under all the gates and caps of any plan. Returns with
/// that the holds for all else: what was given counts as booked, what is kept for others is withheld, and what
/// its destination cannot use is kept for nobody. Positions are those of the snapshot.
pub(super) fn place<'h>(
    snapshot: &Snapshot,
    holds: &'h Holds,
    kept: &[Kept],
    policy: &Policy,
) -> (Vec<Placement>, Cow<'h, Holds>) {
    let (mut placements, mut laid) = (Vec::new(), Cow::Borrowed(holds));
    for Kept { host: id, held, destination, may_run } in kept {
        let Some(host) = HostIx::all(&snapshot.hosts).find(|&at| snapshot.hosts[at].id == *id) else { continue };
        let holds = laid.to_mut();
        let withheld = holds.withheld.get(id).copied().unwrap_or_default();
        let idle = idle_under(holds, &snapshot.hosts[host]);
        let room = held.min(idle);
        let candidates = candidates_of(snapshot, destination);
        let is_kept = if candidates.is_empty() {
            // Cuebot's.
            *may_run
        } else {
            holds.withheld.insert(id.clone(), withheld + idle - room);
            let planned = plan(&restricted(snapshot, host, &candidates), holds, policy);
            for placement in &planned.placements {
                let placement = Placement { candidate: candidates[placement.candidate], host, ..*placement };
                holds.assumed.push(AssumedBooking::of_placement(snapshot, &placement));
                placements.push(placement);
            }
            planned.placements.is_empty() && !planned.waiting.iter().all(|waiting| is_lasting(waiting.reason))
        };
        holds.withheld.insert(id.clone(), if is_kept { withheld + room } else { withheld });
    }
    (placements, laid)
}

/// What the holds leave idle of a host.
fn idle_under(holds: &Holds, host: &Host) -> Amounts {
    let of_host = holds.assumed.iter().filter(|booking| booking.host == host.id);
    let booked: Amounts = of_host.flat_map(|booking| (0..booking.frames).map(|_| booking.reservation)).sum();
    let withheld = holds.withheld.get(&host.id).copied().unwrap_or_default();
    (host.idle - booked - withheld).max(Amounts::default())
}

/// Positions of the waiting layers of a destination.
fn candidates_of(snapshot: &Snapshot, destination: &Destination) -> Vec<CandidateIx> {
    let is_of = |position: &CandidateIx| {
        let candidate = &snapshot.candidates[*position];
        let job = &snapshot.jobs[candidate.job];
        candidate.waiting_frames > 0
            && match destination {
                Destination::Job(id) => job.id == *id,
                Destination::Group(id) => snapshot.folders[job.folder].id == *id,
            }
    };
    CandidateIx::all(&snapshot.candidates).filter(is_of).collect()
}

/// The farm with one host and some of the waiting layers.
fn restricted(snapshot: &Snapshot, host: HostIx, candidates: &[CandidateIx]) -> Snapshot {
    Snapshot {
        taken_at: snapshot.taken_at,
        clusters: snapshot.clusters.clone(),
        hosts: vec![snapshot.hosts[host].clone()],
        shows: snapshot.shows.clone(),
        subscriptions: snapshot.subscriptions.clone(),
        folders: snapshot.folders.clone(),
        jobs: snapshot.jobs.clone(),
        candidates: candidates.iter().map(|position| snapshot.candidates[*position].clone()).collect(),
        limits: snapshot.limits.clone(),
        gpu_work: snapshot.gpu_work.clone(),
        left_out: Vec::new(),
    }
}

/// Whether it will be so for as long as anything is kept. Caps may still be lowered by the release that is
/// under way.
const fn is_lasting(reason: WaitReason) -> bool {
    use WaitReason as Reason;
    match reason {
        Reason::RowUnusable
        | Reason::JobPaused
        | Reason::AutoBookOff
        | Reason::ShowInactive
        | Reason::ShowTakenBack
        | Reason::StartAfter
        | Reason::SlotsRequired
        | Reason::LicencesDeclared
        | Reason::Unlaunchable
        | Reason::NotSelected
        | Reason::NoSubscription
        | Reason::SubscriptionFrozen
        | Reason::JobCapNotPositive
        | Reason::NoHostWithTags
        | Reason::OperatingSystem
        | Reason::ThreadMode
        | Reason::Shape
        | Reason::GpuReserved
        | Reason::Capacity => true,
        Reason::SubscriptionBurst
        | Reason::FolderCores
        | Reason::FolderGpus
        | Reason::JobCores
        | Reason::JobGpus
        | Reason::LimitReached
        | Reason::LowFreeMemory
        | Reason::HostLoad
        | Reason::RetryElsewhere
        | Reason::LaunchesWaiting
        | Reason::NoHostOpen
        | Reason::LostRace
        | Reason::BackOff
        | Reason::PassFull => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cap, FolderIx, Timestamp};
    use crate::planner::tests::farm::{Farm, amounts};
    use crate::units::Cores;

    const SECOND: Duration = Duration::from_secs(1);

    fn order(proc: &str) -> Redirect {
        Redirect {
            proc: proc.into(),
            host: "host-0000".into(),
            host_name: "host-0000".to_owned(),
            held: amounts(2, 4, 0, 0),
            destination: Destination::Job("job-0001".into()),
            destination_name: "job-0001".to_owned(),
            seen_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn standing(procs: &[&str]) -> Redirects {
        Redirects { orders: procs.iter().map(|proc| order(proc)).collect(), without_proc: Vec::new() }
    }

    fn followed(proc: &str, is_held: bool, arrived: &[&str]) -> FollowedProc {
        let arrived = arrived.iter().map(|new| ProcId::from(*new)).collect();
        FollowedProc { proc: proc.into(), is_held, arrived, may_run: true }
    }

    fn ends(ends: &[(Redirect, RedirectEnd)]) -> Vec<(&str, RedirectEnd)> {
        ends.iter().map(|(order, end)| (order.proc.as_str(), *end)).collect()
    }

    #[test]
    fn what_a_proc_held_is_kept_from_its_end_until_some_seconds_after() {
        let (mut known, start) = (Known::default(), Instant::now());
        let later = start + SECOND * 10;
        known.take(standing(&["a", "b"]), start);
        assert_eq!((known.leaving(), known.kept(later)), (vec![], vec![]));
        known.take(standing(&["b"]), start + SECOND);
        // Cuebot takes the order away first: nothing is freed yet.
        assert_eq!(ends(&known.follow(&[followed("a", true, &[])], start + SECOND)), []);
        assert_eq!(known.kept(later), []);
        assert_eq!(ends(&known.follow(&[followed("a", false, &[])], start + SECOND * 2)), []);
        assert_eq!(known.kept(later).len(), 1);
        assert_eq!(ends(&known.follow(&[followed("a", false, &[])], start + SECOND * 6)), []);
        assert_eq!(known.kept(later).len(), 1);
        let end = known.follow(&[followed("a", false, &[])], start + SECOND * 7);
        assert_eq!(ends(&end), [("a", RedirectEnd::NotReached)]);
        assert_eq!((known.leaving(), known.kept(later)), (vec![], vec![]));
        // Of what was read before it was over, it is still kept.
        assert_eq!(known.kept(start + SECOND * 7).len(), 1);
        assert_eq!(known.seen(), ["b".into()]);
    }

    #[test]
    fn an_order_ends_when_its_destination_has_got_a_proc_or_it_was_withdrawn() {
        let (mut known, start) = (Known::default(), Instant::now());
        known.take(standing(&["a", "b", "c"]), start);
        known.take(Redirects::default(), start);
        // Before its proc is gone, a new proc of the destination is another's.
        let reports = [followed("a", true, &["new"]), followed("b", false, &["new"]), followed("c", true, &[])];
        assert_eq!(ends(&known.follow(&reports, start)), [("b", RedirectEnd::Reached)]);
        // One proc carries one order out.
        let same = [followed("a", false, &["new"]), followed("c", true, &[])];
        assert_eq!(ends(&known.follow(&same, start)), []);
        let both = [followed("a", false, &["new", "newer"]), followed("c", true, &[])];
        let end = known.follow(&both, start + SECOND * 30);
        let mut end = ends(&end);
        end.sort_unstable_by_key(|(proc, _)| *proc);
        assert_eq!(end, [("a", RedirectEnd::Reached), ("c", RedirectEnd::Withdrawn)]);
    }

    #[test]
    fn an_order_whose_proc_went_another_way_keeps_nothing_and_one_that_is_given_anew_stands() {
        let (mut known, start) = (Known::default(), Instant::now());
        known.take(standing(&["a", "b"]), start);
        known.take(Redirects { without_proc: vec!["a".into()], ..standing(&[]) }, start);
        assert_eq!(known.leaving().iter().map(|order| order.proc.as_str()).collect::<Vec<_>>(), ["b"]);
        known.take(standing(&["b"]), start);
        assert_eq!((known.leaving(), known.seen()), (vec![], vec!["b".into()]));
    }

    /// One host of 8 cores of which 2 are idle, the others taken; an urgent job, and the one that is ordered.
    fn full_farm() -> Farm {
        let mut farm = Farm::new();
        let host = farm.host(amounts(8, 32, 0, 0));
        host.idle = amounts(2, 8, 0, 0);
        for (priority, frames) in [(500, 50), (1, 50)] {
            let job = farm.job(0);
            farm.snapshot.jobs[job].priority = priority;
            farm.layer(job, frames);
        }
        farm
    }

    fn kept(may_run: bool) -> Kept {
        let Redirect { host, held, destination, .. } = order("a");
        Kept { host, held, destination, may_run }
    }

    fn planned(farm: &Farm, kept: &[Kept]) -> (Vec<Placement>, Holds) {
        let (holds, policy) = (Holds::default(), Policy::default());
        let (mut placements, laid) = place(&farm.snapshot, &holds, kept, &policy);
        placements.extend(plan(&farm.snapshot, &laid, &policy).placements);
        (placements, laid.into_owned())
    }

    /// How many frames each of the two jobs gets.
    fn frames(placements: &[Placement]) -> [u32; 2] {
        let of = |candidate: usize| placements.iter().filter(move |placement| placement.candidate.0 == candidate);
        [0, 1].map(|candidate| of(candidate).map(|placement| placement.frames).sum())
    }

    #[test]
    fn a_destination_of_ours_goes_before_what_is_more_urgent_on_what_was_freed_alone() {
        let mut farm = full_farm();
        farm.snapshot.hosts[0].idle = amounts(3, 12, 0, 0);
        let (placements, holds) = planned(&farm, &[kept(true)]);
        assert_eq!(frames(&placements), [1, 2]);
        let booked: u32 = holds.assumed.iter().map(|booking| booking.frames).sum();
        assert_eq!((booked, &holds.assumed[0].job), (2, &"job-0001".into()));
        // Of no other order, the urgent job has it all.
        assert_eq!(frames(&planned(&full_farm(), &[]).0), [2, 0]);
    }

    #[test]
    fn a_group_is_any_job_in_its_folder() {
        let mut farm = full_farm();
        let folder = crate::model::FolderRow { id: "folder-2".into(), ..farm.snapshot.folders[0].clone() };
        farm.snapshot.folders.push(folder);
        farm.snapshot.jobs[1].folder = FolderIx(1);
        let kept = Kept { destination: Destination::Group("folder-2".into()), ..kept(true) };
        assert_eq!(frames(&planned(&farm, &[kept]).0), [0, 2]);
    }

    #[test]
    fn what_cuebot_books_is_left_alone_and_what_can_not_run_there_keeps_nothing() {
        let foreign = Kept { destination: Destination::Job("elsewhere".into()), ..kept(true) };
        assert_eq!(planned(&full_farm(), std::slice::from_ref(&foreign)).0, []);
        let cannot = Kept { may_run: false, ..foreign };
        assert_eq!(frames(&planned(&full_farm(), &[cannot]).0), [2, 0]);

        // A gate that lasts: the urgent job takes what was freed.
        let mut farm = full_farm();
        farm.snapshot.jobs[1].is_paused = true;
        assert_eq!(frames(&planned(&farm, &[kept(true)]).0), [2, 0]);
        // A cap that the release may be about to lower.
        let mut farm = full_farm();
        farm.snapshot.folders.push(crate::model::FolderRow {
            id: "full".into(),
            cores: Cores::whole(4),
            cores_max: Cap::AtMost(Cores::whole(4)),
            ..farm.snapshot.folders[0].clone()
        });
        farm.snapshot.jobs[1].folder = FolderIx(1);
        assert_eq!(planned(&farm, &[kept(true)]).0, []);
    }

    #[test]
    fn more_is_kept_on_a_host_than_is_idle_there_and_nothing_goes_below_zero() {
        let foreign = Kept { destination: Destination::Job("elsewhere".into()), ..kept(true) };
        let (placements, holds) = planned(&full_farm(), &[foreign.clone(), foreign.clone(), foreign]);
        assert_eq!(placements, []);
        assert_eq!(holds.withheld["host-0000"], amounts(2, 8, 0, 0));
    }
}
