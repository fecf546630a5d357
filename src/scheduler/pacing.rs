//! When the next pass follows. Pure: what happened and the time are given to it.

use std::time::{Duration, Instant};

use super::report::PassReport;
use super::settings::Settings;
use crate::booking::LostReason;
use crate::model::WaitReason;
use crate::tasks::Backoff;

/// After a pass that failed or could not be tried; doubled after each further one.
pub(super) const RETRY: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
/// Longest rest after a pass that booked, or between two looks for changes, however long a pass takes.
const REST_MAX: Duration = Duration::from_secs(1);
/// Passes that may follow each other at once although nothing came of any. Each holds back what it could
/// not book.
const FRUITLESS_PASSES_MAX: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Passed(Passed),
    /// A pass failed, or could not be tried now.
    Failed,
    /// Cuebot does not answer.
    Silent,
    /// Cuebot answers again.
    Answering,
    /// A look for changes found some, or none.
    Probed {
        has_changed: bool,
    },
}

/// A pass that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) began: Instant,
    pub(crate) end: End,
    /// When something that is held back may be planned again.
    pub(crate) released_at: Option<Instant>,
    /// Whether changes since before the pass can be told.
    pub(crate) is_probed: bool,
}

/// What a pass came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Work is left that the next pass can place.
    CutShort,
    /// Frames were booked, or wait until earlier ones are launched; reading and planning took so long.
    Booked { look_took: Duration },
    /// All that was placed came to nothing.
    Fruitless,
    /// Work waits and nothing can be placed.
    Saturated,
    /// Nothing waits.
    Empty,
}

impl End {
    pub(crate) fn of(report: &PassReport) -> Self {
        let booked = Self::Booked { look_took: report.snapshot_took + report.plan_took };
        match report {
            PassReport { candidates: 0, .. } => Self::Empty,
            // Launches are to be sent before more can be booked.
            PassReport { lost, .. } if lost.contains_key(&LostReason::LaunchesWaiting) => booked,
            PassReport { booked: 1.., waiting, .. } if waiting.contains_key(&WaitReason::PassFull) => Self::CutShort,
            PassReport { booked: 1.., .. } => booked,
            PassReport { planned: 1.., .. } => Self::Fruitless,
            _ => Self::Saturated,
        }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A pass, after so long.
    Pass(Duration),
    /// A look for changes, after so long.
    Probe(Duration),
    /// Wait until Cuebot answers.
    AwaitCuebot,
    /// Nothing waited for so many looks in a row that the configuration says to stop.
    Quit,
}

impl Step {
    pub(crate) const PASS_NOW: Self = Self::Pass(Duration::ZERO);
}

#[derive(Clone, Debug)]
pub(crate) struct Pacing {
    settings: Settings,
    retry: Backoff,
    fruitless_in_a_row: u32,
    empty_looks: u32,
    /// Between two looks for changes.
    gap: Duration,
    /// When the next pass is due, changes or not.
    due: Instant,
}

impl Pacing {
    pub(crate) fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            settings: settings.clone(),
            retry: RETRY,
            fruitless_in_a_row: 0,
            empty_looks: 0,
            gap: Duration::ZERO,
            due: now,
        }
    }

    /// Goes by these settings from the next event on.
    pub(super) fn adopt(&mut self, settings: &Settings) {
        self.settings = settings.clone();
    }

    /// What kept passes from being tried is over: should the next one fail, that is soon tried again.
    pub(crate) fn try_again_soon(&mut self) {
        self.retry.reset();
    }

    pub(crate) fn next(&mut self, event: Event, now: Instant) -> Step {
        match event {
            Event::Passed(Passed { end: End::Empty, .. }) => self.empty_looks += 1,
            Event::Probed { has_changed: false } if self.empty_looks > 0 => self.empty_looks += 1,
            Event::Probed { .. } => {}
            _ => self.empty_looks = 0,
        }
        let empty_looks_max = self.settings.empty_job_cycles_before_quiting;
        if self.empty_looks > 0 && empty_looks_max.is_some_and(|max| self.empty_looks >= max) {
            return Step::Quit;
        }
        match event {
            Event::Passed(passed) => {
                self.retry.reset();
                self.after(passed, now)
            }
            Event::Probed { has_changed: false } if self.due > now => self.wait(now),
            Event::Probed { .. } | Event::Answering => Step::PASS_NOW,
            Event::Failed => Step::Pass(self.retry.next_pause()),
            Event::Silent => Step::AwaitCuebot,
        }
    }

    fn after(&mut self, passed: Passed, now: Instant) -> Step {
        self.fruitless_in_a_row = if passed.end == End::Fruitless { self.fruitless_in_a_row + 1 } else { 0 };
        match passed.end {
            End::CutShort => Step::PASS_NOW,
            // What came to nothing is held back by now, so that other work is planned at once.
            End::Fruitless if self.fruitless_in_a_row < FRUITLESS_PASSES_MAX => Step::PASS_NOW,
            // A full farm of short frames shall not keep the database busy with full looks alone.
            End::Booked { look_took } => Step::Pass(look_took.min(REST_MAX).max(self.settings.active_scan_interval)),
            End::Fruitless | End::Saturated | End::Empty => {
                let rest =
                    if passed.end == End::Empty { Duration::ZERO } else { self.settings.cluster_saturated_sleep };
                // A pass that placed nothing is not repeated more often than half of the time.
                let took = now.duration_since(passed.began).min(REST_MAX);
                self.gap = self.settings.active_scan_interval.max(rest).max(took);
                let due = passed.began + self.settings.monitor_interval;
                self.due = passed.released_at.map_or(due, |released_at| released_at.min(due));
                if passed.is_probed { self.wait(now) } else { Step::Pass(self.gap) }
            }
        }
    }

    /// A look for changes, unless the next pass is due by then in any case.
    fn wait(&self, now: Instant) -> Step {
        if now + self.gap < self.due { Step::Probe(self.gap) } else { Step::Pass(self.gap) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// A scheduler that does what it is told, with a clock that nothing else moves.
    struct Clock {
        pacing: Pacing,
        now: Instant,
    }

    impl Clock {
        /// Probes every 250 ms, looks at least every 5 s, and rests for 300 ms on a full farm.
        fn new(empty_job_cycles_before_quiting: Option<u32>) -> Self {
            let settings = Settings {
                empty_job_cycles_before_quiting,
                cluster_saturated_sleep: MILLI * 300,
                ..Settings::default()
            };
            let now = Instant::now();
            Self { pacing: Pacing::new(&settings, now), now }
        }

        fn next(&mut self, event: Event) -> Step {
            let step = self.pacing.next(event, self.now);
            if let Step::Pass(rest) | Step::Probe(rest) = step {
                self.now += rest;
            }
            step
        }

        /// A pass that takes so many milliseconds.
        fn pass(&mut self, end: End, took: u32, released_at: Option<Instant>) -> Step {
            let began = self.now;
            self.now += MILLI * took;
            self.next(Event::Passed(Passed { began, end, released_at, is_probed: true }))
        }

        fn probe(&mut self, has_changed: bool) -> Step {
            self.next(Event::Probed { has_changed })
        }
    }

    #[test]
    fn work_that_flows_rests_as_long_as_the_look_took_within_bounds() {
        let mut clock = Clock::new(None);
        for (took, rest) in [(1, 250), (400, 400), (4_000, 1_000)] {
            assert_eq!(clock.pass(End::Booked { look_took: MILLI * took }, took, None), Step::Pass(MILLI * rest));
        }
        assert_eq!(clock.pass(End::CutShort, 400, None), Step::PASS_NOW);
    }

    #[test]
    fn a_pass_whose_bookings_wait_for_earlier_launches_rests_as_one_that_booked() {
        let report = PassReport { candidates: 1, planned: 1, plan_took: MILLI, ..PassReport::default() };
        assert_eq!(End::of(&report), End::Fruitless);
        let lost = [(LostReason::LaunchesWaiting, 1)].into();
        assert_eq!(End::of(&PassReport { lost, ..report }), End::Booked { look_took: MILLI });
    }

    #[test]
    fn passes_that_come_to_nothing_follow_at_once_only_so_often() {
        let mut clock = Clock::new(None);
        for _ in 1..FRUITLESS_PASSES_MAX {
            assert_eq!(clock.pass(End::Fruitless, 10, None), Step::PASS_NOW);
        }
        for _ in 0..2 {
            assert_eq!(clock.pass(End::Fruitless, 10, None), Step::Probe(MILLI * 300));
        }
        clock.pass(End::Saturated, 10, None);
        assert_eq!(clock.pass(End::Fruitless, 10, None), Step::PASS_NOW);
    }

    #[test]
    fn a_full_farm_is_probed_until_something_changes_or_a_look_is_due() {
        let mut clock = Clock::new(None);
        let began = clock.now;
        assert_eq!(clock.pass(End::Saturated, 10, None), Step::Probe(MILLI * 300));
        assert_eq!(clock.probe(true), Step::PASS_NOW);

        let mut step = clock.pass(End::Saturated, 10, None);
        let began = began + MILLI * 310;
        while step == Step::Probe(MILLI * 300) {
            step = clock.probe(false);
        }
        assert_eq!(step, Step::Pass(MILLI * 300));
        let waited = clock.now - began;
        assert!(waited >= MILLI * 5_000 && waited < MILLI * 5_300, "{waited:?}");
    }

    #[test]
    fn a_look_that_is_late_follows_at_once() {
        let mut clock = Clock::new(None);
        clock.pass(End::Saturated, 10, None);
        clock.now += MILLI * 5_000;
        assert_eq!(clock.probe(false), Step::PASS_NOW);
    }

    #[test]
    fn what_is_held_back_is_planned_when_it_is_released() {
        let mut clock = Clock::new(None);
        let released_at = Some(clock.now + MILLI * 700);
        assert_eq!(clock.pass(End::Saturated, 10, released_at), Step::Probe(MILLI * 300));
        assert_eq!(clock.probe(false), Step::Probe(MILLI * 300));
        assert_eq!(clock.probe(false), Step::Pass(MILLI * 300));
    }

    #[test]
    fn a_pass_that_placed_nothing_takes_at_most_half_of_the_time() {
        let mut clock = Clock::new(None);
        assert_eq!(clock.pass(End::Saturated, 600, None), Step::Probe(MILLI * 600));
        assert_eq!(clock.pass(End::Empty, 600, None), Step::Probe(MILLI * 600));
        // A pass that takes very long is rest enough for the database.
        assert_eq!(clock.pass(End::Saturated, 2_500, None), Step::Probe(MILLI * 1_000));
        // Where nothing waits there is no work to be kept from others.
        assert_eq!(clock.pass(End::Empty, 10, None), Step::Probe(MILLI * 250));
    }

    #[test]
    fn without_a_probe_before_the_pass_no_change_can_be_told() {
        let mut clock = Clock::new(None);
        let passed = Passed { began: clock.now, end: End::Saturated, released_at: None, is_probed: false };
        assert_eq!(clock.next(Event::Passed(passed)), Step::Pass(MILLI * 300));
    }

    #[test]
    fn failures_are_retried_later_each_time_until_a_pass_ends() {
        let mut clock = Clock::new(None);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pauses.push(clock.next(Event::Failed));
        }
        assert_eq!(pauses, [200, 400, 800, 1_600, 3_200, 5_000, 5_000].map(|pause| Step::Pass(MILLI * pause)));
        clock.pass(End::CutShort, 10, None);
        assert_eq!(clock.next(Event::Failed), Step::Pass(MILLI * 200));
    }

    #[test]
    fn nothing_is_tried_before_cuebot_answers() {
        let mut clock = Clock::new(None);
        assert_eq!(clock.next(Event::Silent), Step::AwaitCuebot);
        assert_eq!(clock.next(Event::Answering), Step::PASS_NOW);
    }

    #[test]
    fn it_quits_after_so_many_empty_looks_in_a_row_probes_among_them() {
        let mut clock = Clock::new(Some(3));
        clock.pass(End::Empty, 10, None);
        assert_eq!(clock.probe(false), Step::Probe(MILLI * 250));
        // Something came, and went.
        clock.probe(true);
        clock.pass(End::CutShort, 10, None);
        clock.pass(End::Empty, 10, None);
        clock.next(Event::Failed);
        clock.pass(End::Empty, 10, None);
        clock.probe(false);
        assert_eq!(clock.probe(false), Step::Quit);
        // A full farm is not empty.
        let mut clock = Clock::new(Some(1));
        clock.pass(End::Saturated, 10, None);
        assert_eq!(clock.probe(false), Step::Probe(MILLI * 300));
    }
}
