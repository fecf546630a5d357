//! Whether Cuebot is silent, judged by the host reports that it writes. Pure: every time is the
//! database's.
//!
//! Agents report at intervals of their own, from 5 to 60 seconds. A single host that is overdue gets
//! nothing new: its agent, its network or the Cuebot that it talks to is gone, and what ends there is
//! reported once and lost. When no report comes from any host, no Cuebot answers at all, and whatever
//! were launched would be launched into that.
//!
//! A silence that has ended explains why bookings give no sign of life: their completion came while
//! nobody listened. When it ended is remembered for them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::booking::SilenceEnds;
use crate::config::CuebotSilence;
use crate::model::{HostId, Timestamp};

/// Reports are late by so much now and then.
const GRACE: Duration = Duration::from_secs(5);
/// No host's interval is taken for shorter before so many of it have been seen.
const INTERVAL_UNTIL_KNOWN: Duration = Duration::from_secs(30);
const INTERVALS_KNOWN: u32 = 60;
/// Longest interval that is believed; beyond it a host counts as down.
const INTERVAL_MAX: Duration = Duration::from_mins(2);
/// Shortest silence of a farm that is one.
const SILENCE_MIN: Duration = Duration::from_secs(10);
/// A gap this many times as long as the mean one does not happen while reports arrive.
const MEAN_GAPS: u32 = 10;
/// Over this time the mean gap is taken.
const GAP_WINDOW: Duration = Duration::from_mins(5);
/// Fewer reports than this have no mean gap.
const REPORTS_MIN: u32 = 5;
/// A host that has not reported for so long is overdue, however seldom its agent reports.
pub(crate) const OVERDUE_AFTER: Duration = Duration::from_secs(65);
/// After we have not looked for so long, what lies between two reports may be several intervals.
const BLIND_AFTER: Duration = Duration::from_secs(15);
/// A host that has not reported for so long does not count among those that do.
const HOST_GONE_AFTER: Duration = Duration::from_hours(1);

/// What is known of the hosts' reports.
#[derive(Debug, Default)]
pub(super) struct Silence {
    rule: CuebotSilence,
    /// Longer than that between two looks, and what was reported in between was not seen.
    blind_after: Duration,
    hosts: HashMap<HostId, Reports>,
    looked_at: Option<Timestamp>,
    watched_since: Option<Timestamp>,
    /// New reports, by the look that found them.
    arrivals: VecDeque<(Timestamp, u32)>,
    /// Times between the farm's newest reports, by when they ended.
    gaps: VecDeque<(Timestamp, Duration)>,
    newest: Option<Timestamp>,
    /// While the farm is silent: the last report before.
    last_before: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Reports {
    last: Timestamp,
    longest: Duration,
    intervals: u32,
    /// The interval before was far longer than any: a silence, or another rhythm if this one is too.
    was_overdue: bool,
    /// The report that ended its last silence.
    ended_at: Option<Timestamp>,
}

impl Reports {
    fn interval_max(&self) -> Duration {
        if self.intervals < INTERVALS_KNOWN { self.longest.max(INTERVAL_UNTIL_KNOWN) } else { self.longest }
    }

    fn learn(&mut self, interval: Duration) {
        self.longest = self.longest.max(interval.min(INTERVAL_MAX));
        self.intervals = self.intervals.saturating_add(1);
    }
}

/// What a look at the newest report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// The farm is silent from now on.
    Began,
    Ended,
}

impl Silence {
    pub(super) fn new(rule: CuebotSilence) -> Self {
        Self { rule, blind_after: BLIND_AFTER, ..Self::default() }
    }

    /// Looks may be so far apart on a farm on which nothing changes.
    pub(super) fn looking_every(mut self, longest: Duration) -> Self {
        self.look_every(longest);
        self
    }

    /// As [`Self::looking_every`], from now on.
    pub(super) fn look_every(&mut self, longest: Duration) {
        self.blind_after = BLIND_AFTER.max(longest * 2);
    }

    /// Takes the last report of every host.
    pub(super) fn look<'a>(&mut self, now: Timestamp, reports: impl Iterator<Item = (&'a HostId, Timestamp)>) {
        let is_blind = self.looked_at.is_none_or(|looked_at| since(looked_at, now) > self.blind_after);
        self.looked_at = Some(now);
        self.watched_since.get_or_insert(now);
        let (mut arrived, mut newest) = (0, None);
        for (host, at) in reports {
            newest = newest.max(Some(at));
            let Some(known) = self.hosts.get_mut(host) else {
                let first =
                    Reports { last: at, longest: Duration::ZERO, intervals: 0, was_overdue: false, ended_at: None };
                self.hosts.insert(host.clone(), first);
                continue;
            };
            if at <= known.last {
                continue;
            }
            arrived += 1;
            let interval = since(known.last, at);
            let is_overdue = interval > known.interval_max() + GRACE;
            if is_overdue {
                known.ended_at = Some(at);
            }
            if !is_blind && (!is_overdue || known.was_overdue) {
                known.learn(interval);
            }
            known.was_overdue = is_overdue;
            known.last = at;
        }
        self.arrivals.push_back((now, arrived));
        while self.arrivals.front().is_some_and(|(at, _)| since(*at, now) > GAP_WINDOW) {
            self.arrivals.pop_front();
        }
        if let Some(newest) = newest {
            self.note_newest(newest, is_blind);
        }
    }

    /// Takes the newest report of any host, and says whether the farm fell silent or is so no longer.
    pub(super) fn newest(&mut self, now: Timestamp, newest: Option<Timestamp>) -> Change {
        let Some(newest) = newest.max(self.newest) else { return Change::None };
        self.note_newest(newest, false);
        if let Some(last_before) = self.last_before {
            // A look at all hosts may have seen it first.
            if newest <= last_before {
                return Change::None;
            }
            self.last_before = None;
            self.ended_at = Some(newest);
            return Change::Ended;
        }
        if self.limit(now).is_some_and(|limit| since(newest, now) > limit) {
            self.last_before = Some(newest);
            return Change::Began;
        }
        Change::None
    }

    /// The database was away and answers again: completions may have been lost in Cuebot too.
    pub(super) fn database_is_back(&mut self, now: Timestamp) {
        self.ended_at = Some(now);
    }

    pub(super) fn is_silent(&self) -> bool {
        self.last_before.is_some()
    }

    /// Whether a host that last reported then is overdue.
    pub(super) fn is_overdue(&self, host: &HostId, last: Timestamp, now: Timestamp) -> bool {
        let interval = self.hosts.get(host).map_or(INTERVAL_UNTIL_KNOWN, Reports::interval_max);
        self.rule != CuebotSilence::Off && since(last, now) > interval + GRACE
    }

    /// When the silences ended that ended at least `age` ago.
    pub(super) fn ends(&self, now: Timestamp, age: Duration) -> SilenceEnds {
        let is_old = |ended: &Timestamp| since(*ended, now) >= age;
        let mut hosts: Vec<(HostId, Timestamp)> = self
            .hosts
            .iter()
            .filter_map(|(host, reports)| Some((host.clone(), reports.ended_at.filter(is_old)?)))
            .collect();
        hosts.sort();
        SilenceEnds { farm: self.ended_at.filter(is_old), hosts }
    }

    /// How old the newest report may be; `None`: whatever age.
    fn limit(&self, now: Timestamp) -> Option<Duration> {
        match self.rule {
            CuebotSilence::Off => return None,
            CuebotSilence::After(limit) => return Some(limit),
            CuebotSilence::Auto => {}
        }
        // Of hosts that report all at once the gaps are as long as their intervals.
        let longest_gap = self.gaps.iter().map(|(_, gap)| *gap).max().unwrap_or_default();
        let by_gaps = self.mean_gap(now).map(|gap| (gap * MEAN_GAPS).max(longest_gap.mul_f32(1.5)));
        // A host that is gone for good says nothing of the others.
        let is_there = |reports: &&Reports| reports.intervals > 0 && since(reports.last, now) < HOST_GONE_AFTER;
        let known = self.hosts.values().filter(is_there);
        let by_intervals = known.map(Reports::interval_max).max().unwrap_or(INTERVAL_MAX) + GRACE;
        Some(by_gaps.map_or(by_intervals, |gaps| gaps.min(by_intervals)).max(SILENCE_MIN))
    }

    fn mean_gap(&self, now: Timestamp) -> Option<Duration> {
        let reports: u32 = self.arrivals.iter().map(|(_, arrived)| arrived).sum();
        let watched = since(self.watched_since?, now).min(GAP_WINDOW);
        (reports >= REPORTS_MIN).then(|| watched / reports)
    }

    fn note_newest(&mut self, newest: Timestamp, is_blind: bool) {
        if let Some(known) = self.newest
            && newest > known
            && !is_blind
            && !self.is_silent()
        {
            self.gaps.push_back((newest, since(known, newest)));
            while self.gaps.front().is_some_and(|(at, _)| since(*at, newest) > GAP_WINDOW) {
                self.gaps.pop_front();
            }
        }
        self.newest = self.newest.max(Some(newest));
    }
}

/// Nothing where `earlier` is the later.
fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later - earlier).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    /// Hosts that report, and somebody who watches them, second by second.
    struct Farm {
        silence: Silence,
        now: f64,
        /// Last report written, and when the next is due.
        hosts: Vec<(HostId, f64, f64)>,
        random: StdRng,
        began: u32,
        /// Times that a host was found overdue.
        overdue: u32,
        is_cuebot_up: bool,
    }

    fn at(second: f64) -> Timestamp {
        Timestamp::UNIX_EPOCH + time::Duration::seconds_f64(second)
    }

    impl Farm {
        /// `interval` draws the time to a host's next report.
        fn new(hosts: usize, interval: impl Fn(&mut StdRng) -> f64) -> Self {
            let mut random = StdRng::seed_from_u64(7);
            let hosts = (0..hosts)
                .map(|number| {
                    let next = interval(&mut random) * random.random::<f64>();
                    (HostId::new(format!("host{number}")), next - interval(&mut random), next)
                })
                .collect();
            let silence = Silence::new(CuebotSilence::Auto);
            Self { silence, now: 0.0, hosts, random, began: 0, overdue: 0, is_cuebot_up: true }
        }

        fn pass(&mut self, seconds: f64, interval: impl Fn(&mut StdRng) -> f64) {
            let until = self.now + seconds;
            let mut tick = 0_u32;
            while self.now < until {
                self.now += 1.0;
                tick += 1;
                for (_, last, next) in &mut self.hosts {
                    while *next <= self.now {
                        if self.is_cuebot_up {
                            *last = *next;
                        }
                        *next += interval(&mut self.random);
                    }
                }
                // Full looks are rarer than those for the newest report.
                if tick.is_multiple_of(4) {
                    let reports = self.hosts.iter().map(|(host, last, _)| (host, at(*last)));
                    self.silence.look(at(self.now), reports);
                    let now = at(self.now);
                    let is_overdue =
                        |(host, last, _): &&(HostId, f64, f64)| self.silence.is_overdue(host, at(*last), now);
                    self.overdue += u32::try_from(self.hosts.iter().filter(is_overdue).count()).unwrap();
                }
                let newest = self.hosts.iter().map(|(_, last, _)| at(*last)).max();
                if self.silence.newest(at(self.now), newest) == Change::Began {
                    self.began += 1;
                }
            }
        }

        /// Seconds from Cuebot's end until it is noticed.
        fn until_noticed(&mut self, interval: impl Fn(&mut StdRng) -> f64) -> f64 {
            self.is_cuebot_up = false;
            let died = self.now;
            while !self.silence.is_silent() {
                assert!(self.now - died < 600.0, "never noticed");
                self.pass(1.0, &interval);
            }
            self.now - died
        }
    }

    type Interval = fn(&mut StdRng) -> f64;

    fn python(random: &mut StdRng) -> f64 {
        random.random_range(5.0..30.0)
    }

    fn steady(_: &mut StdRng) -> f64 {
        60.0
    }

    /// Agents without a rhythm.
    fn either(random: &mut StdRng) -> f64 {
        if random.random() { python(random) } else { steady(random) }
    }

    #[test]
    fn a_day_of_ordinary_reports_is_no_silence_on_any_farm() {
        for (hosts, day) in [(1, 86_400.0), (2, 86_400.0), (5, 86_400.0), (60, 7_200.0), (300, 3_600.0)] {
            let intervals: [(_, Interval); 3] =
                [("5 to 30 s", python), ("60 s", steady), ("5 to 30 s or 60 s", either)];
            for (every, interval) in intervals {
                let mut farm = Farm::new(hosts, interval);
                // Until the longest intervals are known, a host may seem overdue.
                farm.pass(1_800.0, interval);
                farm.overdue = 0;
                farm.pass(day - 1_800.0, interval);
                assert_eq!((farm.began, farm.overdue), (0, 0), "{hosts} hosts that report every {every}");
            }
        }
    }

    #[test]
    fn hosts_that_report_all_at_once_are_no_silence_in_between() {
        let mut farm = Farm::new(50, steady);
        for (_, last, next) in &mut farm.hosts {
            (*last, *next) = (-20.0, 40.0);
        }
        farm.pass(7_200.0, steady);
        assert_eq!(farm.began, 0);
    }

    #[test]
    fn the_end_of_cuebot_is_noticed_the_sooner_the_more_hosts_report() {
        let noticed = |hosts| {
            let mut farm = Farm::new(hosts, python);
            farm.pass(1_800.0, python);
            farm.until_noticed(python)
        };
        let (one, five, many) = (noticed(1), noticed(5), noticed(1_000));
        assert!(one <= 36.0 + 30.0 && five <= 37.0 && many <= 12.0, "{one} {five} {many}");
        // One host's silence begins with its last report, up to an interval before.
        assert!(many >= 10.0, "{many}");
    }

    #[test]
    fn the_first_report_of_any_host_ends_it_and_its_end_is_remembered() {
        let mut farm = Farm::new(20, python);
        farm.pass(600.0, python);
        assert_eq!(farm.silence.ends(at(farm.now), Duration::ZERO), SilenceEnds::default());
        farm.until_noticed(python);
        farm.pass(50.0, python);
        farm.is_cuebot_up = true;
        farm.pass(31.0, python);
        assert!(!farm.silence.is_silent());
        let ends = farm.silence.ends(at(farm.now), Duration::ZERO);
        assert!(ends.farm.is_some_and(|ended| since(ended, at(farm.now)) < Duration::from_secs(31)));
        // The report itself, so that the host that made it need not report once more.
        assert!(farm.silence.hosts.values().any(|reports| Some(reports.last) == ends.farm));
        assert_eq!(farm.silence.ends(at(farm.now), Duration::from_secs(60)).farm, None);
        // The silence has made no host's interval longer.
        assert!(farm.silence.hosts.values().all(|reports| reports.interval_max() <= Duration::from_secs(30)));
    }

    #[test]
    fn a_report_that_a_look_at_all_hosts_saw_first_ends_it_too() {
        let mut farm = Farm::new(5, python);
        farm.pass(600.0, python);
        farm.until_noticed(python);
        let (host, now) = (farm.hosts[0].0.clone(), at(farm.now));
        farm.silence.look(now, [(&host, now)].into_iter());
        assert!(farm.silence.is_silent());
        assert_eq!(farm.silence.newest(now, Some(now)), Change::Ended);
        assert_eq!(farm.silence.newest(now, Some(now)), Change::None);
    }

    #[test]
    fn a_host_is_overdue_by_its_own_interval() {
        let mut farm = Farm::new(3, |_| 10.0);
        farm.pass(900.0, |_| 10.0);
        let (host, last, _) = farm.hosts[0].clone();
        let overdue = |farm: &Farm, seconds| farm.silence.is_overdue(&host, at(last), at(last + seconds));
        assert_eq!([14.0, 15.5].map(|seconds| overdue(&farm, seconds)), [false, true]);
        // Of a host that nobody knows yet.
        let unknown = |seconds| farm.silence.is_overdue(&"new".into(), at(0.0), at(seconds));
        assert_eq!([34.0, 36.0].map(unknown), [false, true]);
        // It comes back after a while: the end of its silence is its own.
        farm.hosts[0].2 = farm.now + 40.0;
        farm.pass(60.0, |_| 10.0);
        let ends = farm.silence.ends(at(farm.now), Duration::ZERO);
        assert_eq!((ends.farm, ends.hosts.len(), &ends.hosts[0].0), (None, 1, &host));
        assert_eq!(farm.began, 0);
    }

    #[test]
    fn the_rule_may_say_a_time_or_never() {
        for (rule, began) in [(CuebotSilence::After(Duration::from_secs(3)), Some(12)), (CuebotSilence::Off, None)] {
            let mut silence = Silence::new(rule);
            let host = HostId::new("host");
            silence.look(at(8.0), [(&host, at(8.0))].into_iter());
            let seconds = (9..60).find(|second| silence.newest(at(f64::from(*second)), Some(at(8.0))) == Change::Began);
            assert_eq!(seconds, began, "{rule:?}");
            assert_eq!(silence.is_overdue(&host, at(8.0), at(100.0)), rule != CuebotSilence::Off);
        }
    }
}
