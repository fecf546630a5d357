//! From a committed booking to a running frame, or back to a waiting one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::hints::Hints;
use super::settings::Settings;
use super::totals::Totals;
use crate::booking::{self, BookingError, CommitOutcome, UnbookCause, UnknownCommit};
use crate::model::{Booked, HostId, LayerId, LayerLaunch, ProcId, ShowId};
use crate::rqd::{self, AgentReport, Agents, ConfirmAnswer, Confirmation, LaunchOutcome, Verdict};
use crate::store::Store;
use crate::telemetry::labels::LaunchResult;
use crate::telemetry::{Metrics, error_chain};

/// Bookings to take back are gathered for this long, so that a host that refuses a hundred frames
/// costs one transaction.
const UNBOOK_GATHER: Duration = Duration::from_millis(50);
const UNBOOK_BATCH_MAX: usize = 200;
/// Between two rounds of questions about unknown launches.
const SETTLE_TICK: Duration = Duration::from_millis(250);
/// Hosts asked at once about unknown launches.
const SETTLE_HOSTS_MAX: usize = 32;
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Cuebot takes a proc that nobody reports for lost after 300 seconds.
const LAUNCHED_KEPT: Duration = Duration::from_secs(330);
/// How long nothing is booked when this process has no file descriptor left for a connection.
pub(super) const OWN_LACK_PAUSE: Duration = Duration::from_secs(5);
/// Between two looks at whether the host of a waiting launch was put aside meanwhile.
const PUT_ASIDE_TICK: Duration = Duration::from_millis(500);
/// A host that is being asked is not asked a second time before that.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

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
pub struct Launcher {
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
    settling: Semaphore,
    launches: TaskTracker,
    /// No launch is sent any more; what was not sent is taken back.
    closing: CancellationToken,
    unbooks: mpsc::UnboundedSender<(Booked, UnbookCause)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bookings of ours whose fate is being worked on; recovery leaves them alone.
    ours: HashSet<ProcId>,
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

#[derive(Clone, Debug)]
struct Unsettled {
    booked: Booked,
    confirmation: Confirmation,
    ask_at: Instant,
    /// We sent the launch: its host is withheld meanwhile. Not for bookings found by their rows, most
    /// of which run and were only not reported yet.
    is_sent: bool,
}

/// The receiving end for the task that takes bookings back.
pub(super) type Unbooks = mpsc::UnboundedReceiver<(Booked, UnbookCause)>;

impl Launcher {
    pub(super) fn new(
        store: Store,
        targets: LaunchTargets,
        settings: Settings,
        hints: Hints,
        metrics: Metrics,
        totals: Totals,
    ) -> (Self, Unbooks) {
        // Bounded by `waiting`: nothing is in here that did not hold a permit or a place in `ours`.
        let (unbooks, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(Semaphore::new(settings.launches_waiting_max));
        let shared = Shared {
            store,
            targets,
            settings,
            hints,
            metrics,
            totals,
            waiting,
            settling: Semaphore::new(SETTLE_HOSTS_MAX),
            launches: TaskTracker::new(),
            closing: CancellationToken::new(),
            unbooks,
            state: Mutex::default(),
        };
        (Self { shared: Arc::new(shared) }, receiver)
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
        self.state().ours.extend(bookings.iter().map(|booked| booked.proc.clone()));
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
        self.state().ours.extend(unknown.bookings.iter().map(|booked| booked.proc.clone()));
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

    /// Takes over bookings that nobody vouches for: their hosts are asked, nothing is launched.
    pub(super) fn take_over(&self, bookings: Vec<Booked>) {
        let now = Instant::now();
        for booked in bookings {
            if self.state().ours.insert(booked.proc.clone()) {
                tracing::debug!(frame = %booked.frame, host = %booked.host_name, proc = %booked.proc,
                    "found a booking that no agent has reported; asking its host");
                self.unsettle(booked, false, now);
            }
        }
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
            state.ours.len() == state.unsettled.len()
        };
        while !only_unsettled() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.state().ours.len()
    }

    /// Bookings whose launch is neither known to run nor known not to.
    pub(super) fn unsettled(&self) -> usize {
        self.state().unsettled.len()
    }

    async fn launch_one(&self, booked: Booked, launches: &HashMap<LayerId, LayerLaunch>, committed_at: Instant) {
        let LaunchTargets::Agents(agents) = &self.shared.targets else {
            self.succeeded(&booked);
            return;
        };
        if !self.shared.hints.admits(&booked, Instant::now()) {
            // Planned before the host was put aside, or together with the launch that probes it.
            self.unbook(booked, UnbookCause::LaunchRefused);
            return;
        }
        let factors = &self.shared.settings.memory_limits;
        let launch = launches.get(&booked.layer);
        let is_threadable = launch.is_some_and(|launch| launch.is_threadable);
        let frame =
            launch.map(|launch| rqd::build_run_frame(launch, &booked, time::OffsetDateTime::now_utc(), factors));
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                // Also looked at before the booking, but bookings that were found by their rows were not.
                tracing::error!(frame = %booked.frame, error = error_chain(&error), "a booked frame cannot be launched");
                self.shared.hints.unlaunchable(&booked.layer, &error, Instant::now());
                self.unbook(booked, UnbookCause::LaunchRefused);
                return;
            }
            None => {
                self.unbook(booked, UnbookCause::LaunchRefused);
                return;
            }
        };
        let deadline = tokio::time::Instant::from_std(committed_at + self.shared.settings.launch_deadline);
        let given_up = async {
            tokio::select! {
                () = self.shared.closing.cancelled() => {}
                () = tokio::time::sleep_until(deadline) => {}
                // A host that swallows everything must not hold the places of all launches.
                () = self.put_aside(&booked.host) => {}
            }
        };
        let sent_at = Instant::now();
        let in_flight = self.shared.metrics.launch_sent();
        let outcome = agents.launch_unless(&booked.host_name, frame, given_up).await;
        drop(in_flight);
        match outcome {
            None => {
                tracing::info!(frame = %booked.frame, host = %booked.host_name, "a launch was not sent in time");
                self.label(LaunchResult::TooLate);
                self.unbook(booked, UnbookCause::LaunchTooLate);
            }
            Some(outcome) => {
                self.shared.metrics.launch_answered(sent_at.elapsed());
                self.shared.hints.launch_ended(&booked, &outcome, Instant::now());
                self.settle_launch(agents, booked, is_threadable, outcome).await;
            }
        }
    }

    async fn settle_launch(&self, agents: &Agents, booked: Booked, is_threadable: bool, outcome: LaunchOutcome) {
        let (frame, host) = (booked.frame.clone(), booked.host_name.clone());
        match outcome {
            LaunchOutcome::Launched => {
                self.label(LaunchResult::Launched);
                self.succeeded(&booked);
            }
            LaunchOutcome::Refused { code, message } => {
                tracing::info!(%frame, host, ?code, message, "a host refused a launch");
                if rqd::refuses_fractions(booked.reservation.cores, is_threadable, code) {
                    self.shared.hints.fraction_refused();
                }
                self.label(LaunchResult::Refused);
                self.failed(booked);
            }
            LaunchOutcome::Occupied { by, message, .. } => {
                tracing::warn!(%frame, host, earlier = %by, message, "the host still runs this frame for an earlier booking; killing that run");
                self.end_earlier_run(agents, &booked, &by).await;
                self.label(LaunchResult::Unknown);
                self.shared.totals.unknown();
                self.unsettle(booked, true, Instant::now());
            }
            LaunchOutcome::NotSent(error) => {
                if !error.blames_host() {
                    self.shared.hints.pause(OWN_LACK_PAUSE, Instant::now());
                }
                tracing::info!(%frame, host, error = error_chain(&error), "a launch could not be sent");
                self.label(LaunchResult::NotSent);
                self.failed(booked);
            }
            LaunchOutcome::Unknown(error) => {
                tracing::warn!(%frame, host, error = error_chain(&error),
                    "a launch has no known outcome; it stays booked until its host says that it does not run");
                self.label(LaunchResult::Unknown);
                self.shared.totals.unknown();
                self.unsettle(booked, true, Instant::now());
            }
        }
    }

    async fn put_aside(&self, host: &HostId) {
        while !self.shared.hints.is_put_aside(host, Instant::now()) {
            tokio::time::sleep(PUT_ASIDE_TICK).await;
        }
    }

    fn succeeded(&self, booked: &Booked) {
        self.state().launched.add(&booked.proc, Instant::now());
        self.shared.totals.launched();
        self.forget([&booked.proc]);
    }

    fn failed(&self, booked: Booked) {
        self.shared.totals.refused();
        self.unbook(booked, UnbookCause::LaunchRefused);
    }

    fn unsettle(&self, booked: Booked, is_sent: bool, now: Instant) {
        if is_sent {
            self.shared.hints.unsettled(&booked.host);
        }
        let confirmation = Confirmation::new(self.shared.settings.confirm);
        let unsettled = Unsettled { booked, confirmation, ask_at: now, is_sent };
        self.state().unsettled.insert(unsettled.booked.proc.clone(), unsettled);
    }

    fn unbook(&self, booked: Booked, cause: UnbookCause) {
        // The receiver outlives all launches; if it is gone the process ends and the next start settles.
        let _ = self.shared.unbooks.send((booked, cause));
    }

    fn forget<'a>(&self, procs: impl IntoIterator<Item = &'a ProcId>) {
        let mut state = self.state();
        for proc in procs {
            state.ours.remove(proc);
        }
    }

    fn label(&self, label: LaunchResult) {
        self.shared.metrics.launch_ended(label);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// The loops.
impl Launcher {
    /// Takes bookings back in batches, until the last launcher is gone or `stop` is cancelled and
    /// nothing is left to take back.
    pub(super) async fn run_unbook(self, mut unbooks: Unbooks, stop: CancellationToken) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                received = unbooks.recv_many(&mut batch, UNBOOK_BATCH_MAX) => if received == 0 { return },
                () = stop.cancelled() => if unbooks.is_empty() { return } else { continue },
            }
            if !stop.is_cancelled() {
                tokio::time::sleep(UNBOOK_GATHER).await;
            }
            while batch.len() < UNBOOK_BATCH_MAX {
                match unbooks.try_recv() {
                    Ok(more) => batch.push(more),
                    Err(_) => break,
                }
            }
            let mut by_cause: HashMap<UnbookCause, Vec<Booked>> = HashMap::new();
            for (booked, cause) in batch {
                by_cause.entry(cause).or_default().push(booked);
            }
            for (cause, bookings) in by_cause {
                self.unbook_until_done(&bookings, cause, &stop).await;
            }
        }
    }

    async fn unbook_until_done(&self, bookings: &[Booked], cause: UnbookCause, stop: &CancellationToken) {
        let mut pause = Duration::from_millis(100);
        loop {
            match booking::unbook(&self.shared.store, bookings, cause).await {
                Ok(outcome) => {
                    self.shared.totals.unbooked(outcome.unbooked.len());
                    self.shared.metrics.unbooked(cause.as_str(), outcome.unbooked.len() as u64);
                    self.forget(bookings.iter().map(|booked| &booked.proc));
                    return;
                }
                Err(error) => {
                    tracing::warn!(
                        error = error_chain(&error),
                        bookings = bookings.len(),
                        "cannot take bookings back yet; trying again"
                    );
                    if matches!(error, BookingError::Database { .. }) {
                        // Not a matter of waiting: left to the recovery, which asks the hosts first.
                        self.forget(bookings.iter().map(|booked| &booked.proc));
                        return;
                    }
                }
            }
            if stop.is_cancelled() && pause >= RETRY_PAUSE_MAX {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// Asks hosts about launches without a known outcome until each is settled.
    pub(super) async fn run_settle(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SETTLE_TICK) => {}
            }
            self.settle_once().await;
        }
    }

    /// One round of questions, to the hosts of which an answer is due.
    async fn settle_once(&self) {
        let LaunchTargets::Agents(agents) = &self.shared.targets else { return };
        let now = Instant::now();
        let mut due: HashMap<HostId, Vec<Unsettled>> = HashMap::new();
        let mut may_ask: HashMap<HostId, Result<(), Instant>> = HashMap::new();
        for unsettled in self.state().unsettled.values_mut().filter(|unsettled| unsettled.ask_at <= now) {
            let host = &unsettled.booked.host;
            let may_ask = may_ask.entry(host.clone()).or_insert_with(|| self.shared.hints.begin_question(host, now));
            if let Err(at) = may_ask {
                unsettled.ask_at = *at;
                continue;
            }
            due.entry(unsettled.booked.host.clone()).or_default().push(unsettled.clone());
            unsettled.ask_at = now + ANSWER_LIMIT;
        }
        if due.is_empty() {
            return;
        }
        self.drop_ended(&due).await;
        // Each host on its own, so that those that answer do not wait for those that do not.
        for unsettled in due.into_values() {
            let (launcher, agents) = (self.clone(), agents.clone());
            tokio::spawn(async move {
                let _turn = launcher.shared.settling.acquire().await;
                launcher.ask(&agents, unsettled).await;
            });
        }
    }

    /// What completed, or was taken from us, needs no answer any more.
    async fn drop_ended(&self, due: &HashMap<HostId, Vec<Unsettled>>) {
        let procs: Vec<ProcId> = due.values().flatten().map(|unsettled| unsettled.booked.proc.clone()).collect();
        let Ok(found) = booking::find_booked(&self.shared.store, &procs).await else { return };
        let still: HashMap<&ProcId, i32> = found.iter().map(|booked| (&booked.proc, booked.version)).collect();
        for unsettled in due.values().flatten() {
            if still.get(&unsettled.booked.proc) != Some(&unsettled.booked.version) {
                self.end(&unsettled.booked);
            }
        }
    }

    async fn ask(&self, agents: &Agents, unsettled: Vec<Unsettled>) {
        let Some(first) = unsettled.first() else { return };
        let host = first.booked.host_name.clone();
        let asked_at = Instant::now();
        let report = agents.report(&host).await;
        self.shared.hints.end_question(&first.booked.host, report.as_ref().err(), Instant::now());
        for Unsettled { booked, is_sent, .. } in unsettled {
            let answer = match &report {
                Ok(report) => self.answer(agents, report, &booked).await,
                Err(_) => ConfirmAnswer::Unanswered,
            };
            if answer == ConfirmAnswer::NotRunning && !is_sent && self.is_foreign_planner_active().await {
                // It may be that planner's, which launches later than we do.
                self.end(&booked);
                continue;
            }
            let verdict = {
                let mut state = self.state();
                let Some(unsettled) = state.unsettled.get_mut(&booked.proc) else { continue };
                let verdict = unsettled.confirmation.take(answer, asked_at);
                if let Verdict::AskAgain { at } = verdict {
                    unsettled.ask_at = at;
                }
                verdict
            };
            match verdict {
                Verdict::AskAgain { .. } => {}
                Verdict::Running => {
                    self.end(&booked);
                    if is_sent {
                        self.label(LaunchResult::ConfirmedRunning);
                        self.shared.hints.launch_ended(&booked, &LaunchOutcome::Launched, Instant::now());
                        self.shared.totals.launched();
                    }
                }
                Verdict::NotRunning => {
                    tracing::info!(frame = %booked.frame, host = %booked.host_name,
                        "the host does not run the frame; taking the booking back");
                    self.label(LaunchResult::ConfirmedNotRunning);
                    self.unlist(&booked);
                    self.unbook(booked, UnbookCause::NotRunning);
                }
            }
        }
    }

    /// What a host's report says of a booking. A run of the same frame for an earlier booking is ended
    /// first: given free before that, the frame would run twice.
    async fn answer(&self, agents: &Agents, report: &AgentReport, booked: &Booked) -> ConfirmAnswer {
        if report.running.iter().any(|running| running.proc == booked.proc) {
            return ConfirmAnswer::Running;
        }
        let Some(occupant) = report.running.iter().find(|running| running.frame == booked.frame) else {
            return ConfirmAnswer::NotRunning;
        };
        self.end_earlier_run(agents, booked, &occupant.proc).await;
        ConfirmAnswer::Unanswered
    }

    /// Ends a run of a booking's frame for another proc, unless that proc exists: then the frame is its
    /// own and ours is no more, which the next look at the rows shows.
    async fn end_earlier_run(&self, agents: &Agents, booked: &Booked, occupant: &ProcId) {
        let (frame, host) = (&booked.frame, &booked.host_name);
        match booking::find_booked(&self.shared.store, std::slice::from_ref(occupant)).await {
            Ok(found) if found.is_empty() => {}
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(%frame, host, error = error_chain(&error), "cannot look for the proc of a run now");
                return;
            }
        }
        tracing::warn!(%frame, host, earlier = %occupant, "a host runs a frame for a booking that is gone; ending it");
        if let Err(error) = agents.kill(host, frame, "superseded by a newer booking").await {
            tracing::warn!(%frame, host, error = error_chain(&error), "cannot end an earlier run yet");
        }
    }

    async fn is_foreign_planner_active(&self) -> bool {
        // When in doubt, nothing is taken back.
        self.shared.store.foreign_planner_active().await.unwrap_or(true)
    }

    /// Settled without anything to write.
    fn end(&self, booked: &Booked) {
        self.unlist(booked);
        self.forget([&booked.proc]);
    }

    fn unlist(&self, booked: &Booked) {
        let removed = self.state().unsettled.remove(&booked.proc);
        if removed.is_some_and(|unsettled| unsettled.is_sent) {
            self.shared.hints.settled(&booked.host);
        }
    }

    /// Looks for bookings of `shows` that nobody vouches for and that are too old for any instance to
    /// launch them still.
    pub(super) async fn recover(&self, shows: &[ShowId]) -> Result<usize, BookingError> {
        if matches!(self.shared.targets, LaunchTargets::Nowhere) {
            return Ok(0);
        }
        let found = booking::find_unsettled(&self.shared.store, shows, self.shared.settings.recovery_age()).await?;
        let found: Vec<Booked> = {
            let state = self.state();
            let is_known = |proc: &ProcId| state.ours.contains(proc) || state.launched.procs.contains(proc);
            found.into_iter().filter(|booked| !is_known(&booked.proc)).collect()
        };
        let count = found.len();
        self.take_over(found);
        Ok(count)
    }
}
