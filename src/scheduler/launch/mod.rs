//! From a committed booking to a running frame, or back to a waiting one.
//!
//! `machine` decides what becomes of each booking. Around it, `send` tells hosts to launch, `last_look` asks
//! the rows right before, `settle` asks rows and hosts about what is not certain, `recover` finds by their
//! rows the bookings that nobody vouches for, and `take_back` gives back what shall not or does not run.

mod known_hosts;
mod last_look;
mod machine;
mod recover;
mod send;
mod settle;
mod take_back;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::context::Context;
use super::settings::Settings;
use super::totals::Totals;
use crate::booking::{self, CommitOutcome, Standing, UnbookCause, UnknownCommit};
use crate::db::Store;
use crate::model::{Booked, Host, HostId, LayerId, LayerLaunch, ProcId, Snapshot, WaitingFrame};
use crate::rqd::{Agents, LaunchOutcome};
use crate::tasks::Backoff;
use crate::telemetry::error_chain;

use known_hosts::KnownHosts;
use machine::{Call, Effect, Event, InHand};
pub(super) use recover::{FOUND_AGE_MIN, Recovery};
pub(super) use send::OWN_LACK_PAUSE;

/// Hosts asked at once about unknown launches, and as many that have not answered lately.
const SETTLE_HOSTS_MAX: usize = 32;
/// A host that can take so many launches can take all that it has cores for.
const ROOM_TOLD_MAX: u32 = 1_000;

/// Where launches go.
#[derive(Clone, Debug)]
pub enum LaunchTargets {
    Agents(Agents),
    /// Nowhere: bookings stand as if launched. For measuring what booking alone costs.
    Nowhere,
}

impl LaunchTargets {
    fn knowing_hosts(self, store: &Store) -> Self {
        let Self::Agents(agents) = self else { return self };
        let known = Arc::new(KnownHosts::new(store.clone()));
        Self::Agents(agents.knowing_hosts(move |name| {
            let known = Arc::clone(&known);
            async move { known.called(&name).await }.boxed()
        }))
    }
}

/// What the frames of a pass need to be launched, by layer.
pub(super) type Launches = Arc<HashMap<LayerId, LayerLaunch>>;

/// Launches bookings and settles what becomes of them. Cloning shares the work.
#[derive(Clone, Debug)]
pub(super) struct Launcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    context: Context,
    targets: LaunchTargets,
    totals: Totals,
    /// One permit per host that is asked about launches without a known outcome; those that have not answered
    /// lately have permits of their own.
    settling: Arc<Semaphore>,
    settling_unproven: Arc<Semaphore>,
    /// Launches and questions. None outlives [`Launcher::close`].
    tasks: TaskTracker,
    ended: CancellationToken,
    /// No launch is sent any more; what was not sent is taken back.
    closing: CancellationToken,
    last_looks: mpsc::UnboundedSender<Question>,
    in_hand: Mutex<InHand>,
}

/// What the rows say of a booking is asked right before its launch, for many at once.
#[derive(Debug)]
struct Question {
    booked: Booked,
    answer: oneshot::Sender<Standing>,
}

/// What the tasks of a launcher receive.
#[derive(Debug)]
pub(super) struct Inbox(mpsc::UnboundedReceiver<Question>);

impl Launcher {
    pub(super) fn new(context: Context, targets: LaunchTargets, totals: Totals) -> (Self, Inbox) {
        let settings = context.settings();
        // Bounded by the bookings in hand: each asks once, and waits for the answer.
        let (last_looks, questions) = mpsc::unbounded_channel();
        let shared = Shared {
            targets: targets.knowing_hosts(&context.store),
            totals,
            settling: Arc::new(Semaphore::new(SETTLE_HOSTS_MAX)),
            settling_unproven: Arc::new(Semaphore::new(SETTLE_HOSTS_MAX)),
            tasks: TaskTracker::new(),
            ended: CancellationToken::new(),
            closing: CancellationToken::new(),
            last_looks,
            in_hand: Mutex::new(InHand::new(settings.confirm)),
            context,
        };
        (Self { shared: Arc::new(shared) }, Inbox(questions))
    }

    /// Goes by these settings from now on.
    pub(super) fn adopt(&self, settings: &Settings) {
        self.shared.in_hand.lock().confirm_by(settings.confirm);
    }

    /// Runs until `stop` is cancelled.
    pub(super) async fn run(self, inbox: Inbox, stop: CancellationToken) {
        tokio::join!(
            self.clone().run_take_back(stop.clone()),
            self.clone().run_last_looks(inbox.0, stop.clone()),
            self.run_settle(stop),
        );
    }

    /// Whether more bookings may be made: launches must not fall behind. Those on hosts that keep their calls
    /// waiting are those hosts' own affair, which take no more than they can launch.
    pub(super) fn has_room(&self) -> bool {
        let LaunchTargets::Agents(agents) = &self.shared.targets else { return true };
        let in_hand = self.shared.in_hand.lock();
        let waiting = in_hand.waiting();
        let waiting_max = self.shared.context.settings().launches_waiting_max;
        // Few wait at all in most passes, wherever they do.
        if waiting.values().map(|(_, count)| *count as usize).sum::<usize>() <= waiting_max {
            return true;
        }
        let on_prompt_hosts = waiting.values().filter(|(host, _)| !agents.is_late(host)).map(|(_, count)| *count);
        on_prompt_hosts.sum::<u32>() as usize <= waiting_max
    }

    /// Hosts that can take no more than so many launches now, if each is to go out in time: those that are slow,
    /// and those whose last launch failed, which show with one whether they work again.
    pub(super) fn rooms(&self, snapshot: &Snapshot) -> BTreeMap<HostId, u32> {
        let LaunchTargets::Agents(agents) = &self.shared.targets else { return BTreeMap::new() };
        let Context { hints, .. } = &self.shared.context;
        let settings = self.shared.context.settings();
        let failing: HashSet<HostId> = hints.breakers(|breakers| breakers.hosts_on_probation().cloned().collect());
        let in_hand = self.shared.in_hand.lock();
        let waiting = in_hand.waiting();
        let room = |host: &Host| {
            let in_time = agents.launches_within(&host.name, settings.launch_deadline / 2);
            let launches = if failing.contains(&host.id) { in_time.unwrap_or(1).min(1) } else { in_time? };
            match waiting.get(&host.id) {
                Some((_, waiting)) => Some(launches.saturating_sub(*waiting)),
                None => Some(launches.max(1)),
            }
        };
        let rooms = snapshot.hosts.iter().filter_map(|host| Some((host.id.clone(), room(host)?)));
        rooms.filter(|(_, room)| *room < ROOM_TOLD_MAX).collect()
    }

    /// Launches what was committed at `committed_at`. Returns at once.
    pub(super) fn launch(&self, bookings: Vec<Booked>, launches: &Launches, committed_at: Instant) {
        self.take_in_hand(&bookings);
        self.shared.totals.booked(bookings.len());
        for booked in bookings {
            let (launcher, launches) = (self.clone(), Arc::clone(launches));
            self.spawn(async move { launcher.launch_one(&booked, &launches, committed_at).await });
        }
    }

    /// Until the launcher is closed.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let ended = self.shared.ended.clone();
        self.shared.tasks.spawn(async move { ended.run_until_cancelled(work).await });
    }

    /// Finds out what became of a COMMIT whose answer was lost, and launches what was booked.
    pub(super) fn resolve(&self, unknown: Box<UnknownCommit>, launches: &Launches, sent_at: Instant) {
        tracing::warn!(
            transaction = unknown.transaction,
            bookings = unknown.bookings.len(),
            "the answer to a commit was lost; asking the database what became of it"
        );
        self.take_in_hand(&unknown.bookings);
        let (launcher, launches) = (self.clone(), Arc::clone(launches));
        self.spawn(async move {
            let mut pauses = retry_pauses();
            let found = loop {
                match booking::resolve_commit(&launcher.shared.context.store, &unknown).await {
                    Ok(CommitOutcome::Settled(found)) => break found,
                    Ok(CommitOutcome::Undecided) => {}
                    Err(error) => tracing::debug!(error = error_chain(&error), "cannot ask for a transaction yet"),
                }
                if launcher.shared.closing.is_cancelled() {
                    // The next start finds what was booked by its rows.
                    break Vec::new();
                }
                tokio::time::sleep(pauses.next_pause()).await;
            };
            let kept: HashSet<&ProcId> = found.iter().map(|booked| &booked.proc).collect();
            for booked in unknown.bookings.iter().filter(|booked| !kept.contains(&booked.proc)) {
                launcher.feed(booked, Event::Released);
            }
            launcher.launch(found, &launches, sent_at);
        });
    }

    /// Sends no further launch, waits at most `limit` for those under way and for what must be taken
    /// back, and says how many are left: the next start settles them.
    pub(super) async fn close(&self, limit: Duration) -> usize {
        let settled = async || {
            while !self.shared.in_hand.lock().is_unsettled_only() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Half of the time for what is already queued; the rest is taken back unsent.
        if tokio::time::timeout(limit / 2, settled()).await.is_err() {
            self.shared.closing.cancel();
            let _ = tokio::time::timeout(limit / 2, settled()).await;
        }
        self.shared.closing.cancel();
        self.shared.ended.cancel();
        self.shared.tasks.close();
        // They are not carried on, and so end at once.
        self.shared.tasks.wait().await;
        self.shared.in_hand.lock().len()
    }

    /// Takes frames out that may be starting or running for a booking of ours, whatever their rows say.
    /// Returns how many there were, by layer.
    pub(super) fn without_in_hand(&self, frames: &mut HashMap<LayerId, Vec<WaitingFrame>>) -> HashMap<LayerId, u32> {
        let in_hand = self.shared.in_hand.lock();
        let in_hand = in_hand.frames();
        let mut taken_out = HashMap::new();
        for (layer, frames) in frames {
            let before = frames.len();
            frames.retain(|frame| !in_hand.contains(&frame.id));
            if frames.len() < before {
                taken_out.insert(layer.clone(), u32::try_from(before - frames.len()).unwrap_or(u32::MAX));
            }
        }
        taken_out
    }

    fn take_in_hand(&self, bookings: &[Booked]) {
        let mut in_hand = self.shared.in_hand.lock();
        for booked in bookings {
            in_hand.begin(booked);
        }
    }

    /// Bookings whose launch is neither known to run nor known not to.
    pub(super) fn unsettled(&self) -> usize {
        self.shared.in_hand.lock().unsettled()
    }

    /// Takes what happened to a booking and does what follows, but for the call to its host, if there is one.
    fn feed(&self, booked: &Booked, event: Event<'_>) -> Option<Call> {
        let now = Instant::now();
        // Held to the end, so that effects take place in the order of their events.
        let mut in_hand = self.shared.in_hand.lock();
        let mut call = None;
        for effect in in_hand.take(&booked.proc, event, now) {
            match effect {
                Effect::Call(next) => call = Some(next),
                effect => self.perform(booked, &effect, now),
            }
        }
        call
    }

    fn perform(&self, booked: &Booked, effect: &Effect, now: Instant) {
        let Shared { context: Context { hints, metrics, .. }, totals, .. } = &*self.shared;
        let (frame, host, proc) = (&booked.frame, &booked.host_name, &booked.proc);
        match effect {
            Effect::Count(result) => {
                metrics.launch_ended(*result);
                totals.launch_ended(*result);
            }
            Effect::HoldHost => hints.unsettled(&booked.host),
            Effect::FreeHost => hints.settled(&booked.host),
            Effect::HostWorks => {
                hints.breakers(|breakers| breakers.record(booked, &LaunchOutcome::Launched, now));
            }
            Effect::WithholdFrame => tracing::warn!(%frame, host, %proc,
                "a booking vanished while its launch was on the way; its host is asked until the frame has ended"),
            Effect::FreeFrame => tracing::info!(%frame, host, "a withheld frame has ended; it may be booked again"),
            Effect::TakeBack { cause: UnbookCause::NotRunning, .. } => {
                tracing::info!(%frame, host, "the host does not run the frame; taking the booking back");
            }
            Effect::TakeBack { cause: UnbookCause::Lost, fence } => tracing::warn!(%frame, host, %proc, ?fence,
                "nobody's work holds a booking, its completion was lost; giving it back"),
            Effect::TakeBack { .. } | Effect::Call(_) => {}
        }
    }
}

/// Between attempts while the database is away.
const fn retry_pauses() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
}
