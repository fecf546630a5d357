//! The state machine in made-up time: what each answer means, and what never happens in any order of events.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::machine::{Call, Due, Effect, Event, InHand, Others, Runs, Why};
use super::send::given_up;
use crate::booking::{Fence, Standing, UnbookCause};
use crate::model::{Booked, HostId, ProcId};
use crate::rqd::{AgentError, AnswerFault, Code, ConfirmSettings, LaunchOutcome};
use crate::scheduler::{Hints, Settings};
use crate::telemetry::labels::LaunchResult;
use crate::units::Amounts;

const SECOND: Duration = Duration::from_secs(1);
const APART: Duration = Duration::from_secs(7);
/// As in the settings of an instance that died.
const OLD_ENOUGH: Duration = Duration::from_secs(31);

fn booked(number: usize) -> Booked {
    Booked {
        proc: format!("proc-{number}").into(),
        frame: format!("frame-{number}").into(),
        frame_name: String::new(),
        frame_number: 1,
        version: 1,
        layer: "layer".into(),
        job: "job".into(),
        show: "show".into(),
        host: format!("host-{}", number % 2).into(),
        host_name: String::new(),
        reservation: Amounts::default(),
    }
}

fn no_answer() -> AgentError {
    AgentError::NoAnswer { host: "host".to_owned(), limit: SECOND }
}

fn earlier() -> ProcId {
    "proc-before".into()
}

fn outcomes() -> [LaunchOutcome; 5] {
    let message = String::new;
    [
        LaunchOutcome::Launched,
        LaunchOutcome::Refused { code: Code::Aborted, message: message() },
        LaunchOutcome::NotSent(no_answer()),
        LaunchOutcome::Unknown(no_answer()),
        LaunchOutcome::Occupied { by: earlier(), code: Code::Aborted, message: message() },
    ]
}

/// One booking and a clock.
struct Case {
    in_hand: InHand,
    start: Instant,
    now: Instant,
}

impl Case {
    fn new() -> Self {
        let now = Instant::now();
        Self { in_hand: InHand::new(ConfirmSettings { apart: APART, ..ConfirmSettings::default() }), start: now, now }
    }

    fn begun() -> Self {
        let mut case = Self::new();
        case.in_hand.begin(&booked(1));
        case
    }

    fn sent(outcome: usize) -> Self {
        let mut case = Self::begun();
        assert_eq!(case.take(Event::Rows(Standing::Stands)), [Effect::Call(Call::Launch)]);
        case.take(Event::LaunchEnded(&outcomes()[outcome]));
        case
    }

    fn found(why: impl FnOnce(&Self) -> Why) -> Self {
        let mut case = Self::new();
        let why = why(&case);
        assert_eq!(case.in_hand.find(vec![booked(1)], &why, case.now).len(), 1);
        case
    }

    fn take(&mut self, event: Event<'_>) -> Vec<Effect> {
        self.in_hand.take(&booked(1).proc, event, self.now)
    }

    /// An answer that arrives in this second, at once.
    fn answer(&mut self, second: u32, runs: Runs) -> Vec<Effect> {
        self.answer_beside(second, runs, Others::Nobody)
    }

    fn answer_beside(&mut self, second: u32, runs: Runs, others: Others) -> Vec<Effect> {
        self.now = self.start + SECOND * second;
        self.take(Event::Answered { runs, asked_at: self.now, others })
    }

    fn is_over(&self) -> bool {
        self.in_hand.len() == 0
    }
}

fn taken_back(cause: UnbookCause) -> Effect {
    Effect::TakeBack { cause, fence: Fence::Version }
}

#[test]
fn a_launch_goes_out_only_while_its_rows_stand() {
    let overtaken = Effect::Count(LaunchResult::Overtaken);
    for standing in [Standing::Gone, Standing::Succeeded] {
        let mut case = Case::begun();
        assert_eq!(case.take(Event::Rows(standing)), std::slice::from_ref(&overtaken));
        assert!(case.is_over());
    }
    let mut case = Case::begun();
    assert_eq!(case.take(Event::Rows(Standing::MayNotStart)), [overtaken, taken_back(UnbookCause::MayNotStart)]);
    assert!(!case.is_over(), "its frame could be booked again before it was given back");
    let due = case.in_hand.due_to_take_back(case.now);
    assert_eq!(due[&UnbookCause::MayNotStart], [(booked(1), Fence::Version)]);
    assert_eq!(case.take(Event::RowsHeld), []);
    assert!(case.in_hand.due_to_take_back(case.now).is_empty());
    assert_eq!(case.in_hand.due_to_take_back(case.now + SECOND), due);
    case.take(Event::Released);
    assert!(case.is_over());
}

#[test]
fn bookings_wait_for_their_host_until_it_has_answered() {
    let mut case = Case::new();
    for number in 1..=3 {
        case.in_hand.begin(&booked(number));
    }
    let waiting = |case: &Case| {
        let waiting = case.in_hand.waiting();
        ["host-0", "host-1"].map(|host| waiting.get(&HostId::from(host)).map_or(0, |(_, count)| *count))
    };
    assert_eq!(waiting(&case), [1, 2]);
    case.take(Event::Rows(Standing::Stands));
    assert_eq!(waiting(&case), [1, 2], "it is being sent");
    case.take(Event::LaunchEnded(&outcomes()[3]));
    assert_eq!(waiting(&case), [1, 1], "its host is asked");
    case.in_hand.take(&booked(2).proc, Event::GivenUp(UnbookCause::LaunchTooLate), case.now);
    assert_eq!(waiting(&case), [0, 1]);
}

#[test]
fn what_was_found_before_its_commit_was_answered_is_launched_unless_it_is_taken_back() {
    let why = |case: &Case| Why::Found { judged_from: case.now, only_while_alone: false };
    let mut case = Case::found(why);
    case.in_hand.begin(&booked(1));
    assert_eq!(case.answer(1, Runs::Nothing), [], "a question that was under way");
    assert_eq!(case.answer(9, Runs::Nothing), []);
    assert_eq!(case.take(Event::Rows(Standing::Stands)), [Effect::Call(Call::Launch)]);

    let mut case = Case::found(why);
    case.answer(1, Runs::Nothing);
    case.answer(9, Runs::Nothing);
    case.in_hand.begin(&booked(1));
    assert_eq!(case.take(Event::Rows(Standing::Stands)), [], "it is being taken back");
    assert_eq!(case.in_hand.due_to_take_back(case.now).len(), 1);
}

#[test]
fn a_refusal_gives_the_booking_back_and_silence_does_not() {
    for (outcome, result) in [(1, LaunchResult::Refused), (2, LaunchResult::NotSent)] {
        let mut case = Case::begun();
        case.take(Event::Rows(Standing::Stands));
        let effects = case.take(Event::LaunchEnded(&outcomes()[outcome]));
        assert_eq!(effects, [Effect::Count(result), taken_back(UnbookCause::LaunchRefused)]);
    }
    let mut case = Case::begun();
    case.take(Event::Rows(Standing::Stands));
    let effects = case.take(Event::LaunchEnded(&outcomes()[3]));
    assert_eq!(effects, [Effect::Count(LaunchResult::Unknown), Effect::HoldHost]);
    assert_eq!(case.answer(0, Runs::Nothing), []);
    assert_eq!(case.answer(6, Runs::Nothing), []);
    let effects = [Effect::Count(LaunchResult::ConfirmedNotRunning), taken_back(UnbookCause::NotRunning)];
    assert_eq!(case.answer(7, Runs::Nothing), [&effects[..], &[Effect::FreeHost]].concat());
}

#[test]
fn a_launch_that_is_confirmed_is_looked_at_once_more_and_vouched_for() {
    let mut case = Case::sent(3);
    let effects = [Effect::Count(LaunchResult::ConfirmedRunning), Effect::HostWorks, Effect::FreeHost];
    assert_eq!(case.answer(0, Runs::Ours), effects);
    assert_eq!(case.in_hand.due(case.now, |_, _| Ok(())).rows, [booked(1)]);
    assert_eq!(case.take(Event::Rows(Standing::Stands)), []);
    assert!(case.is_over());
    let why = Why::Found { judged_from: case.now, only_while_alone: false };
    assert_eq!(case.in_hand.find(vec![booked(1)], &why, case.now), []);
    case.in_hand.forget_launched(case.now + SECOND * 331);
    assert_eq!(case.in_hand.find(vec![booked(1)], &why, case.now), [booked(1)]);
    assert_eq!(case.in_hand.find(vec![booked(1)], &why, case.now), [], "it is in hand");
}

#[test]
fn a_frame_whose_rows_vanished_is_killed_where_it_runs_and_withheld_until_it_has_ended() {
    let mut case = Case::sent(0);
    let effects = [Effect::Count(LaunchResult::Overtaken), Effect::WithholdFrame];
    assert_eq!(case.take(Event::Rows(Standing::Gone)), effects);
    assert_eq!(case.answer(1, Runs::Ours), [], "its process may not live yet");
    assert_eq!(case.answer(2, Runs::Ours), [Effect::Call(Call::Kill)]);
    assert_eq!(case.take(Event::KillEnded { is_killed: false }), []);
    assert_eq!(case.answer(4, Runs::Ours), [Effect::Call(Call::Kill)]);
    assert_eq!(case.take(Event::KillEnded { is_killed: true }), [Effect::Count(LaunchResult::OvertakenKilled)]);
    assert_eq!(case.answer(6, Runs::Ours), []);
    assert_eq!(case.answer(8, Runs::Unsaid), []);
    assert_eq!(case.answer(10, Runs::Nothing), [Effect::FreeFrame]);
    assert!(case.is_over());
}

#[test]
fn a_withheld_frame_that_was_never_seen_takes_two_answers_apart_or_the_end_of_its_host() {
    let withheld = || {
        let mut case = Case::sent(0);
        case.take(Event::Rows(Standing::Gone));
        case
    };
    let mut case = withheld();
    let answers = [0, 1, 2, 8, 9].map(|second| case.answer(second, Runs::Nothing));
    assert_eq!(answers, [vec![], vec![], vec![], vec![], vec![Effect::FreeFrame]]);
    let mut case = withheld();
    assert_eq!(case.take(Event::HostGone), [Effect::FreeFrame]);
}

#[test]
fn a_booking_that_was_found_is_judged_once_nobody_can_launch_it() {
    let found =
        |only_while_alone| Case::found(|case| Why::Found { judged_from: case.now + OLD_ENOUGH, only_while_alone });
    let given_back = [Effect::Count(LaunchResult::ConfirmedNotRunning), taken_back(UnbookCause::NotRunning)];
    let mut case = found(true);
    assert_eq!(case.answer(0, Runs::Nothing), []);
    assert_eq!(case.answer(7, Runs::Nothing), given_back);
    for (only_while_alone, others) in [(true, Others::Schedulers), (false, Others::Nobody)] {
        let mut case = found(only_while_alone);
        let answers = [0, 7, 31].map(|second| case.answer_beside(second, Runs::Nothing, others));
        assert_eq!(answers, [vec![], vec![], vec![]]);
        assert_eq!(case.answer_beside(38, Runs::Nothing, others), given_back);
    }
    let mut case = found(false);
    assert_eq!(case.answer_beside(60, Runs::Nothing, Others::Planner), []);
    assert!(case.is_over(), "it may be that planner's");
}

#[test]
fn a_run_for_another_booking_is_ended_first_but_not_after_a_silence() {
    let mut case = Case::sent(3);
    assert_eq!(case.answer(0, Runs::Other(earlier())), [Effect::Call(Call::KillEarlier(earlier()))]);
    assert_eq!(case.take(Event::KillEnded { is_killed: false }), []);
    let fence = Fence::Unmoved(time::OffsetDateTime::UNIX_EPOCH);
    let mut case = Case::found(|_| Why::Silent(fence));
    assert_eq!(case.answer(0, Runs::Other(earlier())), []);
    case.answer(1, Runs::Nothing);
    assert_eq!(case.answer(8, Runs::Nothing), [Effect::TakeBack { cause: UnbookCause::Lost, fence }]);
}

#[test]
fn a_host_is_asked_when_it_may_be_and_once_at_a_time() {
    let mut case = Case::sent(3);
    let later = case.now + SECOND * 3;
    assert!(case.in_hand.due(case.now, |_, _| Err(later)).questions.is_empty());
    assert!(case.in_hand.due(case.now, |_, _| Ok(())).questions.is_empty());
    let Due { rows, questions, .. } = case.in_hand.due(later, |_, _| Ok(()));
    assert_eq!((rows, &questions[&booked(1).host]), (vec![booked(1)], &vec![booked(1)]));
    assert!(case.in_hand.due(later + SECOND * 59, |_, _| Ok(())).questions.is_empty());
    assert_eq!(case.in_hand.due(later + SECOND * 60, |_, _| Ok(())).questions.len(), 1);
}

/// What is seen of one booking from outside.
#[derive(Debug, Default)]
struct Seen {
    launches: u32,
    take_backs: u32,
    holds_host: bool,
    is_withheld: bool,
    is_killing: bool,
    /// When "not running" arrived.
    not_running: Vec<Instant>,
}

impl Seen {
    /// Asserts of each effect that this event allows it.
    fn take(&mut self, event: &Event<'_>, effects: &[Effect], now: Instant) {
        let two_apart = |asked_at: &Instant| self.not_running.iter().any(|arrived| *asked_at >= *arrived + APART);
        for effect in effects {
            match (effect, event) {
                (Effect::Call(Call::Launch), Event::Rows(Standing::Stands)) => self.launches += 1,
                (Effect::Call(Call::Kill), Event::Answered { runs: Runs::Ours, .. }) => self.is_killing = true,
                (
                    Effect::Call(Call::KillEarlier(by)),
                    Event::Answered { runs: Runs::Other(seen), .. }
                    | Event::LaunchEnded(LaunchOutcome::Occupied { by: seen, .. }),
                ) => {
                    assert_eq!(by, seen);
                    self.is_killing = true;
                }
                (Effect::Call(call), event) => panic!("{call:?} after {event:?}"),
                (Effect::TakeBack { cause: UnbookCause::NotRunning | UnbookCause::Lost, .. }, event) => {
                    let Event::Answered { runs: Runs::Nothing, asked_at, .. } = event else { panic!("{event:?}") };
                    assert!(two_apart(asked_at), "taken back before its host said twice that it does not run it");
                    self.take_backs += 1;
                }
                (Effect::TakeBack { .. }, event) => {
                    let outcome = if let Event::LaunchEnded(outcome) = event { Some(outcome) } else { None };
                    let is_refused = matches!(outcome, Some(LaunchOutcome::Refused { .. } | LaunchOutcome::NotSent(_)));
                    assert!(self.launches == 0 || is_refused, "taken back after {event:?}");
                    self.take_backs += 1;
                }
                (Effect::HoldHost, _) => assert!(!std::mem::replace(&mut self.holds_host, true)),
                (Effect::FreeHost, _) => assert!(std::mem::replace(&mut self.holds_host, false)),
                (Effect::WithholdFrame, _) => assert!(!std::mem::replace(&mut self.is_withheld, true)),
                (Effect::FreeFrame, Event::HostGone | Event::Answered { runs: Runs::Nothing | Runs::Other(_), .. }) => {
                    assert!(std::mem::replace(&mut self.is_withheld, false));
                }
                (Effect::FreeFrame, event) => panic!("a frame is free after {event:?}"),
                (Effect::Count(_) | Effect::HostWorks, _) => {}
            }
        }
        if let Event::Answered { runs: Runs::Nothing, .. } = event {
            self.not_running.push(now);
        }
        assert!(self.launches <= 1 && self.take_backs <= 1, "{self:?}");
    }
}

/// Bookings of several kinds, some on one host.
struct Farm {
    in_hand: InHand,
    now: Instant,
    seen: HashMap<ProcId, Seen>,
}

const BOOKINGS: usize = 5;

impl Farm {
    fn new() -> Self {
        let Case { mut in_hand, now, .. } = Case::new();
        let judged_from = now + OLD_ENOUGH;
        for number in 0..2 {
            in_hand.begin(&booked(number));
        }
        let found = [
            Why::Found { judged_from, only_while_alone: true },
            Why::Silent(Fence::Unmoved(time::OffsetDateTime::UNIX_EPOCH)),
            Why::Silent(Fence::Frameless(time::OffsetDateTime::UNIX_EPOCH)),
        ];
        for (why, number) in found.iter().zip(2..) {
            assert_eq!(in_hand.find(vec![booked(number)], why, now).len(), 1);
        }
        let seen = (0..BOOKINGS).map(|number| (booked(number).proc, Seen::default())).collect();
        Self { in_hand, now, seen }
    }

    fn take(&mut self, booked: &Booked, event: &Event<'_>) {
        let seen = self.seen.get_mut(&booked.proc).unwrap();
        // Nobody else gives a booking up, and what is not begun does not end.
        match event {
            Event::Released if seen.take_backs == 0 => return,
            Event::KillEnded { .. } if !std::mem::take(&mut seen.is_killing) => return,
            _ => {}
        }
        let effects = self.in_hand.take(&booked.proc, event.clone(), self.now);
        seen.take(event, &effects, self.now);
        if seen.is_withheld {
            assert!(self.in_hand.frames().contains(&booked.frame), "it could be booked again");
        }
        let held = self.seen.values().filter(|seen| seen.holds_host).count();
        assert!(held <= self.in_hand.unsettled() && self.in_hand.unsettled() <= self.in_hand.len());
    }

    /// Answers whatever is asked, as hosts do that run nothing.
    fn answer(&mut self) {
        for number in 0..BOOKINGS {
            let booked = booked(number);
            self.take(&booked, &Event::GivenUp(UnbookCause::LaunchTooLate));
            self.take(&booked, &Event::LaunchEnded(&LaunchOutcome::Launched));
            self.take(&booked, &Event::KillEnded { is_killed: true });
            self.take(&booked, &Event::Released);
        }
        let Due { rows, questions, .. } = self.in_hand.due(self.now, |_: &HostId, _: &str| Ok(()));
        for booked in &rows {
            self.take(booked, &Event::Rows(Standing::Stands));
        }
        let answer = Event::Answered { runs: Runs::Nothing, asked_at: self.now, others: Others::Nobody };
        for booked in questions.values().flatten() {
            self.take(booked, &answer);
        }
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Passed(u64),
    Rows(Standing),
    GivenUp(UnbookCause),
    Ended(usize),
    Answered { runs: Runs, seconds_ago: u64, others: Others },
    KillEnded(bool),
    HostGone,
    RowsHeld,
    Released,
    Asked,
}

fn happening() -> impl Strategy<Value = Happening> {
    let standing = [Standing::Stands, Standing::Gone, Standing::Succeeded, Standing::MayNotStart];
    let cause = [UnbookCause::LaunchRefused, UnbookCause::LaunchTooLate, UnbookCause::CuebotSilent];
    let runs = vec![Runs::Ours, Runs::Other(earlier()), Runs::Nothing, Runs::Nothing, Runs::Unsaid];
    let others = [Others::Nobody, Others::Schedulers, Others::Planner];
    let answered = (prop::sample::select(runs), 0..12_u64, prop::sample::select(others.to_vec()));
    prop_oneof![
        2 => (0..20_u64).prop_map(Happening::Passed),
        3 => prop::sample::select(standing.to_vec()).prop_map(Happening::Rows),
        1 => prop::sample::select(cause.to_vec()).prop_map(Happening::GivenUp),
        2 => (0..outcomes().len()).prop_map(Happening::Ended),
        6 => answered.prop_map(|(runs, seconds_ago, others)| Happening::Answered { runs, seconds_ago, others }),
        1 => any::<bool>().prop_map(Happening::KillEnded),
        1 => Just(Happening::HostGone),
        1 => Just(Happening::RowsHeld),
        1 => Just(Happening::Released),
        1 => Just(Happening::Asked),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_any_order_of_events_nothing_runs_twice_and_everything_ends(
        happenings in prop::collection::vec((0..BOOKINGS, happening()), 0..120),
    ) {
        let mut farm = Farm::new();
        let outcomes = outcomes();
        for (number, happening) in happenings {
            let event = match happening {
                Happening::Passed(seconds) => {
                    farm.now += Duration::from_secs(seconds);
                    continue;
                }
                Happening::Asked => {
                    farm.in_hand.due(farm.now, |_, _| Ok(()));
                    continue;
                }
                Happening::Rows(standing) => Event::Rows(standing),
                Happening::GivenUp(cause) => Event::GivenUp(cause),
                Happening::Ended(outcome) => Event::LaunchEnded(&outcomes[outcome]),
                Happening::Answered { runs, seconds_ago, others } => {
                    Event::Answered { runs, asked_at: farm.now.checked_sub(Duration::from_secs(seconds_ago)).unwrap(), others }
                }
                Happening::KillEnded(is_killed) => Event::KillEnded { is_killed },
                Happening::HostGone => Event::HostGone,
                Happening::RowsHeld => Event::RowsHeld,
                Happening::Released => Event::Released,
            };
            farm.take(&booked(number), &event);
        }
        // No longer than any host is left alone.
        for _ in 0..6 {
            farm.now += SECOND * 61;
            farm.answer();
        }
        prop_assert_eq!((farm.in_hand.len(), farm.in_hand.unsettled()), (0, 0));
        prop_assert!(farm.in_hand.frames().is_empty());
        prop_assert!(farm.seen.values().all(|seen| !seen.holds_host && !seen.is_withheld));
    }
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_waits_is_given_up_for_its_time_its_host_a_silence_or_the_end() {
    let began = tokio::time::Instant::now();
    let deadline = began + SECOND * 20;
    let (hints, closing) = (Hints::new(&Settings::default()), CancellationToken::new());
    let host = HostId::from("host");
    assert_eq!(given_up(&closing, &hints, &host, deadline).await, UnbookCause::LaunchTooLate);
    assert_eq!(began.elapsed(), SECOND * 20);

    let deadline = tokio::time::Instant::now() + SECOND * 20;
    let (waits, ends) = tokio::join!(given_up(&closing, &hints, &host, deadline), async {
        tokio::time::sleep(SECOND).await;
        hints.set_silence(true)
    });
    assert_eq!((waits, ends), (UnbookCause::CuebotSilent, true));
    hints.set_silence(false);

    let unfit = AgentError::Unfit { host: "host".to_owned(), fault: AnswerFault::Endless };
    assert_eq!(hints.breakers(|breakers| breakers.begin_question(&host, Instant::now())), Ok(()));
    hints.end_question(&host, Some(&unfit), Instant::now());
    assert_eq!(given_up(&closing, &hints, &host, deadline).await, UnbookCause::LaunchTooLate);
    closing.cancel();
    assert_eq!(given_up(&closing, &hints, &"another".into(), deadline).await, UnbookCause::LaunchTooLate);
    assert_eq!(began.elapsed(), SECOND * 21);
}
