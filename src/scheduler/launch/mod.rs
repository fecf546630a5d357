//! From a committed booking to a running frame, or back to a waiting one.
//!
//! `send` tells hosts to launch, `last_look` asks the rows right before and right after, `settle` asks
//! hosts about what is not certain, `recover` finds by their rows the bookings that nobody vouches for,
//! and `take_back` gives back what shall not or does not run.

mod last_look;
mod recover;
mod send;
mod settle;
mod take_back;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::hints::Hints;
use super::settings::Settings;
use super::totals::Totals;
use crate::booking::{self, CommitOutcome, UnbookCause, UnknownCommit};
use crate::db::Store;
use crate::model::{Booked, FrameId, LayerId, LayerLaunch, ProcId, WaitingFrame};
use crate::rqd::Agents;
use crate::telemetry::labels::LaunchResult;
use crate::telemetry::{Metrics, error_chain};

use last_look::{LastLook, Looks};
pub(super) use recover::{FOUND_AGE_MIN, Recovery};
pub(super) use send::OWN_LACK_PAUSE;
use settle::Unsettled;
use take_back::TakeBack;

/// Hosts asked at once about unknown launches.
const SETTLE_HOSTS_MAX: usize = 32;
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Cuebot takes a proc that nobody reports for lost after 300 seconds.
const LAUNCHED_KEPT: Duration = Duration::from_secs(330);

/// Where launches go.
#[derive(Clone, Debug)]
pub enum LaunchTargets {
    Agents(Agents),
    /// Nowhere: bookings stand as if launched. For measuring what booking alone costs.
    Nowhere,
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
    store: Store,
    targets: LaunchTargets,
    settings: Settings,
    hints: Hints,
    metrics: Metrics,
    totals: Totals,
    /// One permit per booking that is neither launched nor given up.
    waiting: Arc<Semaphore>,
    /// One permit per host that is asked about launches without a known outcome.
    settling: Arc<Semaphore>,
    launches: TaskTracker,
    /// No launch is sent any more; what was not sent is taken back.
    closing: CancellationToken,
    looks_before: LastLook,
    looks_after: LastLook,
    take_backs: mpsc::UnboundedSender<TakeBack>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bookings whose fate is being worked on, with their frames. Recovery leaves them alone, and whatever
    /// becomes of their rows, their frames are not booked again meanwhile: they may be starting.
    in_hand: HashMap<ProcId, FrameId>,
    /// Bookings that this process knows to have been launched, oldest first: not reported yet, or ended
    /// with the report on its way. Cuebot's own sweep looks after what never reports.
    launched: Launched,
    unsettled: HashMap<ProcId, Unsettled>,
}

/// Known launches, remembered until Cuebot's sweep takes over.
#[derive(Debug, Default)]
struct Launched {
    in_order: VecDeque<(Instant, ProcId)>,
    procs: HashSet<ProcId>,
}

impl Launched {
    fn add(&mut self, proc: &ProcId, now: Instant) {
        while let Some((at, oldest)) = self.in_order.front()
            && now.duration_since(*at) > LAUNCHED_KEPT
        {
            self.procs.remove(oldest);
            self.in_order.pop_front();
        }
        if self.procs.insert(proc.clone()) {
            self.in_order.push_back((now, proc.clone()));
        }
    }
}

/// What the tasks of a launcher receive.
#[derive(Debug)]
pub(super) struct Inbox {
    take_backs: mpsc::UnboundedReceiver<TakeBack>,
    looks: [Looks; 2],
}

impl Launcher {
    pub(super) fn new(
        store: Store,
        targets: LaunchTargets,
        settings: Settings,
        hints: Hints,
        metrics: Metrics,
        totals: Totals,
    ) -> (Self, Inbox) {
        // Both are bounded by `waiting`: nothing is in here that did not hold a permit or a place in
        // `in_hand`.
        let (take_backs, taken_back) = mpsc::unbounded_channel();
        let (looks_before, asked_before) = LastLook::before();
        let (looks_after, asked_after) = LastLook::after();
        let waiting = Arc::new(Semaphore::new(settings.launches_waiting_max));
        let shared = Shared {
            store,
            targets,
            settings,
            hints,
            metrics,
            totals,
            waiting,
            settling: Arc::new(Semaphore::new(SETTLE_HOSTS_MAX)),
            launches: TaskTracker::new(),
            closing: CancellationToken::new(),
            looks_before,
            looks_after,
            take_backs,
            state: Mutex::default(),
        };
        (Self { shared: Arc::new(shared) }, Inbox { take_backs: taken_back, looks: [asked_before, asked_after] })
    }

    /// Runs until the last launcher is gone or `stop` is cancelled, and nothing is left to take back.
    pub(super) async fn run(self, inbox: Inbox, stop: CancellationToken) {
        let Inbox { take_backs, looks: [before, after] } = inbox;
        tokio::join!(
            self.clone().run_take_back(take_backs, stop.clone()),
            before.run(self.shared.store.clone(), stop.clone()),
            after.run(self.shared.store.clone(), stop.clone()),
            self.run_settle(stop),
        );
    }

    /// Waits until so many bookings may be made: launches must not fall behind.
    pub(super) async fn room_for(&self, frames: usize) -> Option<OwnedSemaphorePermit> {
        let frames = frames.min(self.shared.settings.launches_waiting_max);
        let frames = u32::try_from(frames).unwrap_or(u32::MAX);
        Arc::clone(&self.shared.waiting).acquire_many_owned(frames).await.ok()
    }

    /// Launches what was committed at `committed_at`. Returns at once.
    pub(super) fn launch(
        &self,
        bookings: Vec<Booked>,
        launches: &Launches,
        committed_at: Instant,
        mut room: Option<OwnedSemaphorePermit>,
    ) {
        self.take_in_hand(&bookings);
        self.shared.totals.booked(bookings.len());
        for booked in bookings {
            let permit = room.as_mut().and_then(|room| room.split(1));
            let (launcher, launches) = (self.clone(), Arc::clone(launches));
            self.shared.launches.spawn(async move {
                launcher.launch_one(booked, &launches, committed_at).await;
                drop(permit);
            });
        }
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
        self.shared.launches.spawn(async move {
            let mut pause = Duration::from_millis(100);
            let found = loop {
                match booking::resolve_commit(&launcher.shared.store, &unknown).await {
                    Ok(CommitOutcome::Settled(found)) => break found,
                    Ok(CommitOutcome::Undecided) => {}
                    Err(error) => tracing::debug!(error = error_chain(&error), "cannot ask for a transaction yet"),
                }
                if launcher.shared.closing.is_cancelled() {
                    // The next start finds what was booked by its rows.
                    break Vec::new();
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_PAUSE_MAX);
            };
            let kept: HashSet<&ProcId> = found.iter().map(|booked| &booked.proc).collect();
            let gone = unknown.bookings.iter().map(|booked| &booked.proc).filter(|proc| !kept.contains(proc));
            launcher.forget(gone);
            launcher.launch(found, &launches, sent_at, None);
        });
    }

    /// Sends no further launch, waits at most `limit` for those under way and for what must be taken
    /// back, and says how many are left: the next start settles them.
    pub(super) async fn close(&self, limit: Duration) -> usize {
        let until = Instant::now() + limit;
        self.shared.launches.close();
        // Half of the time for what is already queued; the rest is taken back unsent.
        if tokio::time::timeout(limit / 2, self.shared.launches.wait()).await.is_err() {
            self.shared.closing.cancel();
        }
        let _ = tokio::time::timeout_at(tokio::time::Instant::from_std(until), self.shared.launches.wait()).await;
        self.shared.closing.cancel();
        let only_unsettled = || {
            let state = self.state();
            state.in_hand.len() == state.unsettled.len()
        };
        while !only_unsettled() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.state().in_hand.len()
    }

    /// Takes frames out that may be starting or running for a booking of ours, whatever their rows say.
    /// Returns how many there were, by layer.
    pub(super) fn without_in_hand(&self, frames: &mut HashMap<LayerId, Vec<WaitingFrame>>) -> HashMap<LayerId, u32> {
        let in_hand: HashSet<FrameId> = self.state().in_hand.values().cloned().collect();
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
        self.state().in_hand.extend(bookings.iter().map(|booked| (booked.proc.clone(), booked.frame.clone())));
    }

    /// Bookings whose launch is neither known to run nor known not to.
    pub(super) fn unsettled(&self) -> usize {
        self.state().unsettled.len()
    }

    fn take_back(&self, booked: Booked, cause: UnbookCause) {
        self.send_back(TakeBack { booked, cause, fence: booking::Fence::Version });
    }

    fn send_back(&self, take_back: TakeBack) {
        // The receiver outlives all launches; if it is gone the process ends and the next start settles.
        let _ = self.shared.take_backs.send(take_back);
    }

    fn forget<'a>(&self, procs: impl IntoIterator<Item = &'a ProcId>) {
        let mut state = self.state();
        for proc in procs {
            state.in_hand.remove(proc);
        }
    }

    fn label(&self, label: LaunchResult) {
        self.shared.metrics.launch_ended(label);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
