//! What becomes of a booking from its commit on: a state machine for each, and all of them together.
//!
//! Events go in, effects come out. Time is an argument, and nothing is asked, told or written here; the
//! tasks of this room perform the effects and bring the events.
//!
//! ```text
//! Waiting ─► Sending ─► Accepted ─► launched
//!    │          │ │         │
//!    │          │ └─► Asking ◄─ found by its rows
//!    ▼          ▼        │
//!   TakingBack ◄─────────┘
//! ```
//!
//! Invariants:
//! - a booking is launched at most once, and only right after its rows were seen to stand;
//! - once its launch may have arrived it is taken back only after its host refused it, or has said twice,
//!   apart, that it does not run it;
//! - what a host runs is killed only if its report just showed it, and no rows say that it is its proc's own;
//! - a frame whose rows vanished while its launch was on the way is withheld until its host has said that
//!   it has ended, or is down or gone.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::booking::{Fence, Standing, UnbookCause};
use crate::model::{Booked, FrameId, HostId, ProcId};
use crate::rqd::{ConfirmSettings, Confirmation, LaunchOutcome};
use crate::telemetry::labels::LaunchResult;

/// A host that is being asked, or told to kill, is not asked before that.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// A frame is killed no sooner than this after its launch was accepted: an agent that is told to kill a
/// frame whose process does not live yet can end itself. Nor is "not running" believed before.
const KILL_AFTER: Duration = Duration::from_secs(2);
/// Between two questions whether a frame has ended, or a run that was killed.
const KILL_PAUSE: Duration = Duration::from_secs(2);
/// Until a booking of which another session holds a row is tried again.
const HELD_PAUSE: Duration = Duration::from_secs(1);
/// Cuebot takes a proc that nobody reports for lost after 300 seconds.
const LAUNCHED_KEPT: Duration = Duration::from_secs(330);

/// What a machine is told.
#[derive(Clone, Debug)]
pub(super) enum Event<'a> {
    /// What the rows say: right before the launch, after it, or before its host is asked.
    Rows(Standing),
    /// The launch is not to be sent any more.
    GivenUp(UnbookCause),
    LaunchEnded(&'a LaunchOutcome),
    /// What the host runs of it, asked at that time. `others`: who else might launch it, if it was found.
    Answered {
        runs: Runs,
        asked_at: Instant,
        others: Others,
    },
    /// An attempt to end a run has ended; whether our own run was killed.
    KillEnded {
        is_killed: bool,
    },
    /// The host is down as Cuebot has it, or is no more.
    HostGone,
    /// Another session holds a row that taking it back needs.
    RowsHeld,
    /// It was taken back, or never booked, or others look after it.
    Released,
}

/// What a host runs of a booking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    Ours,
    /// The same frame for another proc.
    Other(ProcId),
    Nothing,
    /// It did not say, or not credibly.
    Unsaid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    Nobody,
    Schedulers,
    /// Cuebot's own planner, which launches later than schedulers do.
    Planner,
}

/// What shall be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Call(Call),
    Count(LaunchResult),
    TakeBack {
        cause: UnbookCause,
        fence: Fence,
    },
    /// The host takes no further frames, until it is known what became of the launch.
    HoldHost,
    FreeHost,
    /// The host has proven to work.
    HostWorks,
    /// The frame is not booked again, whatever its rows say.
    WithholdFrame,
    FreeFrame,
}

/// A call to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Launch,
    Kill,
    /// Ends the run of the same frame for this proc, if that is gone. Taken back before that, the frame
    /// would run twice.
    KillEarlier(ProcId),
}

/// Why a host is asked.
#[derive(Clone, Debug)]
pub(super) enum Why {
    /// We sent the launch and have no certain answer.
    Sent,
    /// Found by its rows: nobody has reported it. From `judged_from` on nobody can launch it any more;
    /// `only_while_alone`: or before, as long as no other scheduler is connected.
    Found { judged_from: Instant, only_while_alone: bool },
    /// A launch that was sent, and whose rows are gone. Answers to earlier questions say nothing.
    Withheld { credible_from: Instant, was_running: bool, is_killed: bool },
    /// No sign of life for too long, although its host has reported.
    Silent(Fence),
}

#[derive(Clone, Debug)]
enum State {
    /// Committed, or perhaps, if the answer to the commit was lost.
    Waiting,
    Sending,
    /// Its rows may have vanished during the call, and are looked at once more.
    Accepted,
    Asking(Inquiry),
    TakingBack {
        cause: UnbookCause,
        fence: Fence,
        try_at: Instant,
    },
    /// Ended well. Cuebot's own sweep looks after what never reports.
    Launched,
    Over,
}

#[derive(Clone, Debug)]
struct Inquiry {
    why: Why,
    ask_at: Instant,
    confirmation: Confirmation,
}

/// One step of a machine: what it may know, and what follows.
struct Step {
    now: Instant,
    confirm: ConfirmSettings,
    effects: Vec<Effect>,
}

impl Step {
    fn count(&mut self, result: LaunchResult) {
        self.effects.push(Effect::Count(result));
    }

    fn take_back(&mut self, cause: UnbookCause, fence: Fence) -> State {
        self.effects.push(Effect::TakeBack { cause, fence });
        State::TakingBack { cause, fence, try_at: self.now }
    }

    fn ask(&self, why: Why, ask_at: Instant) -> State {
        State::Asking(Inquiry { why, ask_at, confirmation: Confirmation::new(self.confirm) })
    }

    /// Its frame runs for nobody, or is about to.
    fn withhold(&mut self) -> State {
        self.count(LaunchResult::Overtaken);
        self.effects.push(Effect::WithholdFrame);
        let credible_from = self.now + KILL_AFTER;
        self.ask(Why::Withheld { credible_from, was_running: false, is_killed: false }, credible_from)
    }

    fn launch_ended(&mut self, outcome: &LaunchOutcome) -> State {
        match outcome {
            LaunchOutcome::Launched => {
                self.count(LaunchResult::Launched);
                return State::Accepted;
            }
            LaunchOutcome::Refused { .. } => self.count(LaunchResult::Refused),
            LaunchOutcome::NotSent(_) => self.count(LaunchResult::NotSent),
            LaunchOutcome::Occupied { by, .. } => {
                self.count(LaunchResult::Unknown);
                self.effects.push(Effect::Call(Call::KillEarlier(by.clone())));
                return self.ask(Why::Sent, self.now + ANSWER_LIMIT);
            }
            LaunchOutcome::Unknown(_) => {
                self.count(LaunchResult::Unknown);
                return self.ask(Why::Sent, self.now);
            }
        }
        self.take_back(UnbookCause::LaunchRefused, Fence::Version)
    }
}

impl State {
    fn next(self, event: Event<'_>, step: &mut Step) -> Self {
        match (self, event) {
            (_, Event::Released) => Self::Over,
            (Self::Waiting, Event::Rows(Standing::Stands)) => {
                step.effects.push(Effect::Call(Call::Launch));
                Self::Sending
            }
            (Self::Waiting, Event::Rows(standing)) => {
                step.count(LaunchResult::Overtaken);
                let is_still_booked = standing == Standing::MayNotStart;
                if is_still_booked { step.take_back(UnbookCause::MayNotStart, Fence::Version) } else { Self::Over }
            }
            (Self::Waiting, Event::GivenUp(cause)) => {
                if cause == UnbookCause::LaunchTooLate {
                    step.count(LaunchResult::TooLate);
                }
                step.take_back(cause, Fence::Version)
            }
            (Self::Waiting | Self::Sending, Event::LaunchEnded(outcome)) => step.launch_ended(outcome),
            (Self::Accepted, Event::Rows(Standing::Gone)) => step.withhold(),
            (Self::Accepted, Event::Rows(_)) => Self::Launched,
            (Self::Asking(inquiry), event) => inquiry.next(event, step),
            (Self::TakingBack { cause, fence, .. }, Event::RowsHeld) => {
                Self::TakingBack { cause, fence, try_at: step.now + HELD_PAUSE }
            }
            (state, _) => state,
        }
    }

    const fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting | Self::Sending)
    }

    const fn holds_host(&self) -> bool {
        matches!(self, Self::Asking(Inquiry { why: Why::Sent, .. }))
    }
}

impl Inquiry {
    fn next(mut self, event: Event<'_>, step: &mut Step) -> State {
        match (event, &mut self.why) {
            (Event::Rows(Standing::Gone), Why::Sent) => return step.withhold(),
            // Completed, or taken from us: no answer is needed any more.
            (Event::Rows(Standing::Gone | Standing::Succeeded), why) if why.has_rows() => return State::Over,
            (Event::HostGone, Why::Withheld { .. }) => {
                step.effects.push(Effect::FreeFrame);
                return State::Over;
            }
            (Event::Answered { runs, asked_at, others }, _) => return self.answered(runs, asked_at, others, step),
            (Event::KillEnded { is_killed }, Why::Withheld { is_killed: was_killed, .. }) => {
                self.ask_at = step.now + KILL_PAUSE;
                if is_killed {
                    *was_killed = true;
                    step.count(LaunchResult::OvertakenKilled);
                }
            }
            // An agent that does not end it is asked less and less.
            (Event::KillEnded { .. }, _) => {
                self.ask_at = self.confirmation.unanswered(step.now).max(step.now + KILL_PAUSE);
            }
            _ => {}
        }
        State::Asking(self)
    }

    fn answered(mut self, runs: Runs, asked_at: Instant, others: Others, step: &mut Step) -> State {
        let now = step.now;
        let mut kill = |call| {
            step.effects.push(Effect::Call(call));
            Err(now + ANSWER_LIMIT)
        };
        // Whether the frame does not run for certain, or when to ask again.
        let certain = match (&mut self.why, runs) {
            (Why::Withheld { credible_from, .. }, _) if asked_at < *credible_from => Err(*credible_from),
            (Why::Withheld { was_running, is_killed, .. }, Runs::Ours) => {
                *was_running = true;
                if *is_killed { Err(now + KILL_PAUSE) } else { kill(Call::Kill) }
            }
            // It was seen to run, so that one "not running" tells that it has ended. One that never was may be
            // starting late, and takes two, apart.
            (Why::Withheld { was_running: true, .. }, Runs::Nothing | Runs::Other(_)) => Ok(()),
            (Why::Withheld { .. }, Runs::Unsaid) => Err(now + KILL_PAUSE),
            (Why::Sent, Runs::Ours) => {
                step.count(LaunchResult::ConfirmedRunning);
                step.effects.push(Effect::HostWorks);
                return State::Accepted;
            }
            (_, Runs::Ours) => return State::Over,
            // It may be that planner's.
            (Why::Found { .. }, Runs::Nothing) if others == Others::Planner => return State::Over,
            // Somebody may launch it still.
            (Why::Found { judged_from, only_while_alone }, Runs::Nothing)
                if asked_at < *judged_from && !(*only_while_alone && others == Others::Nobody) =>
            {
                Err(*judged_from)
            }
            (Why::Withheld { .. }, Runs::Other(_)) | (_, Runs::Nothing) => self.confirmation.not_running(asked_at, now),
            // After a silence nothing is ended: what runs may be what the rows will say in a moment.
            (Why::Silent(_), Runs::Other(_)) | (_, Runs::Unsaid) => Err(self.confirmation.unanswered(asked_at)),
            (_, Runs::Other(by)) => kill(Call::KillEarlier(by)),
        };
        match (certain, &self.why) {
            (Err(ask_at), _) => State::Asking(Self { ask_at, ..self }),
            (Ok(()), Why::Withheld { .. }) => {
                step.effects.push(Effect::FreeFrame);
                State::Over
            }
            (Ok(()), Why::Silent(fence)) => step.take_back(UnbookCause::Lost, *fence),
            (Ok(()), Why::Sent | Why::Found { .. }) => {
                step.count(LaunchResult::ConfirmedNotRunning);
                step.take_back(UnbookCause::NotRunning, Fence::Version)
            }
        }
    }
}

impl Why {
    /// Whether its rows tell anything about it.
    const fn has_rows(&self) -> bool {
        !matches!(self, Self::Withheld { .. } | Self::Silent(Fence::Frameless(_)))
    }
}

/// All bookings whose fate is being worked on. Recovery leaves them alone, and whatever becomes of their
/// rows, their frames are not booked again meanwhile: they may be starting.
#[derive(Debug)]
pub(super) struct InHand {
    confirm: ConfirmSettings,
    machines: HashMap<ProcId, Machine>,
    /// How many of them wait for their launch to be answered, by host, with its name.
    waiting: HashMap<HostId, (String, u32)>,
    /// Bookings that this process knows to have been launched, and since when: not reported yet, or ended
    /// with the report on its way.
    launched: HashMap<ProcId, Instant>,
}

#[derive(Clone, Debug)]
struct Machine {
    booked: Booked,
    state: State,
}

/// What is due.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Their rows are to be looked at.
    pub(super) rows: Vec<Booked>,
    /// Withheld; their hosts may be down or gone.
    pub(super) withheld: Vec<Booked>,
    /// Their hosts are to be asked what they run.
    pub(super) questions: HashMap<HostId, Vec<Booked>>,
}

impl InHand {
    pub(super) fn new(confirm: ConfirmSettings) -> Self {
        Self { confirm, machines: HashMap::new(), waiting: HashMap::new(), launched: HashMap::new() }
    }

    /// What becomes uncertain from now on is asked about in this way.
    pub(super) fn confirm_by(&mut self, confirm: ConfirmSettings) {
        self.confirm = confirm;
    }

    /// Takes a booking in hand that is to be launched. One that was found by its rows before its COMMIT was
    /// answered is asked about no more.
    pub(super) fn begin(&mut self, booked: &Booked) {
        let waiting = Machine { booked: booked.clone(), state: State::Waiting };
        let known = self.machines.get(&booked.proc).map(|machine| &machine.state);
        if known.is_none_or(|state| matches!(state, State::Asking(Inquiry { why: Why::Found { .. }, .. }))) {
            self.machines.insert(booked.proc.clone(), waiting);
            self.count_waiting(booked, false, true);
        }
    }

    /// Forgets launches that Cuebot's sweep looks after by now.
    pub(super) fn forget_launched(&mut self, now: Instant) {
        self.launched.retain(|_, at| now.duration_since(*at) <= LAUNCHED_KEPT);
    }

    /// Takes bookings in hand that were found by their rows. Returns those that nobody vouches for.
    pub(super) fn find(&mut self, mut found: Vec<Booked>, why: &Why, now: Instant) -> Vec<Booked> {
        found.retain(|booked| {
            let is_launched = self.launched.contains_key(&booked.proc) && !matches!(why, Why::Silent(_));
            !is_launched && !self.machines.contains_key(&booked.proc)
        });
        let step = self.step(now);
        for booked in &found {
            let machine = Machine { booked: booked.clone(), state: step.ask(why.clone(), now) };
            self.machines.insert(booked.proc.clone(), machine);
        }
        found
    }

    /// Takes what happened to a booking, and says what follows. Nothing follows for one that has ended.
    pub(super) fn take(&mut self, proc: &ProcId, event: Event<'_>, now: Instant) -> Vec<Effect> {
        let mut step = self.step(now);
        let Some(Machine { booked, state }) = self.machines.remove(proc) else { return step.effects };
        let (held_host, was_waiting) = (state.holds_host(), state.is_waiting());
        let state = state.next(event, &mut step);
        self.count_waiting(&booked, was_waiting, state.is_waiting());
        match (held_host, state.holds_host()) {
            (false, true) => step.effects.push(Effect::HoldHost),
            (true, false) => step.effects.push(Effect::FreeHost),
            _ => {}
        }
        match state {
            State::Launched => _ = self.launched.insert(booked.proc, now),
            State::Over => {}
            state => _ = self.machines.insert(proc.clone(), Machine { booked, state }),
        }
        step.effects
    }

    fn count_waiting(&mut self, booked: &Booked, was_waiting: bool, is_waiting: bool) {
        match (was_waiting, is_waiting) {
            (false, true) => {
                let fresh = || (booked.host_name.clone(), 0);
                self.waiting.entry(booked.host.clone()).or_insert_with(fresh).1 += 1;
            }
            (true, false) => {
                if let Some((_, waiting)) = self.waiting.get_mut(&booked.host) {
                    *waiting -= 1;
                    if *waiting == 0 {
                        self.waiting.remove(&booked.host);
                    }
                }
            }
            _ => {}
        }
    }

    const fn step(&self, now: Instant) -> Step {
        Step { now, confirm: self.confirm, effects: Vec::new() }
    }

    /// What is to be looked at and asked by now. `may_ask`: whether a host may be asked, or when.
    pub(super) fn due(&mut self, now: Instant, mut may_ask: impl FnMut(&HostId, &str) -> Result<(), Instant>) -> Due {
        let mut due = Due::default();
        let mut asked: HashMap<HostId, Result<(), Instant>> = HashMap::new();
        for Machine { booked, state } in self.machines.values_mut() {
            match state {
                State::Accepted => due.rows.push(booked.clone()),
                State::Asking(inquiry) if inquiry.ask_at <= now => {
                    let may_ask =
                        *asked.entry(booked.host.clone()).or_insert_with(|| may_ask(&booked.host, &booked.host_name));
                    inquiry.ask_at = may_ask.err().unwrap_or(now + ANSWER_LIMIT);
                    if may_ask.is_ok() {
                        due.questions.entry(booked.host.clone()).or_default().push(booked.clone());
                        match inquiry.why {
                            Why::Withheld { .. } => due.withheld.push(booked.clone()),
                            Why::Silent(Fence::Frameless(_)) => {}
                            _ => due.rows.push(booked.clone()),
                        }
                    }
                }
                _ => {}
            }
        }
        due
    }

    /// What is to be taken back by now, and what must still hold for that.
    pub(super) fn due_to_take_back(&self, now: Instant) -> HashMap<UnbookCause, Vec<(Booked, Fence)>> {
        let mut due: HashMap<UnbookCause, Vec<(Booked, Fence)>> = HashMap::new();
        for Machine { booked, state } in self.machines.values() {
            if let State::TakingBack { cause, fence, try_at } = state
                && *try_at <= now
            {
                due.entry(*cause).or_default().push((booked.clone(), *fence));
            }
        }
        due
    }

    /// Whether it matters who else might launch one of these.
    pub(super) fn depends_on_others(&self, bookings: &[Booked]) -> bool {
        let was_found =
            |machine: &Machine| matches!(machine.state, State::Asking(Inquiry { why: Why::Found { .. }, .. }));
        bookings.iter().any(|booked| self.machines.get(&booked.proc).is_some_and(was_found))
    }

    pub(super) fn frames(&self) -> HashSet<&FrameId> {
        self.machines.values().map(|machine| &machine.booked.frame).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.machines.len()
    }

    /// Bookings whose launch was not answered yet, by host, with its name.
    pub(super) const fn waiting(&self) -> &HashMap<HostId, (String, u32)> {
        &self.waiting
    }

    /// Bookings whose hosts are asked.
    pub(super) fn unsettled(&self) -> usize {
        self.machines.values().filter(|machine| matches!(machine.state, State::Asking(_))).count()
    }

    /// Whether there is nothing but to wait for answers of hosts.
    pub(super) fn is_unsettled_only(&self) -> bool {
        self.unsettled() == self.len()
    }
}
