//! What hosts report and what was booked on them over the last minutes: by it a load is judged, and a report
//! whose date cannot be believed. Every time is the database's.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::model::{Booked, Holds, Host, HostId, LoadRule, Snapshot, Timestamp};
use crate::units::Cores;

/// What ended longer ago has left the average of a minute.
pub(crate) const LATELY: Duration = Duration::from_mins(2);
/// Averages of a machine at work are never the same in so many reports.
const SAME_LOADS: u32 = 10;

#[derive(Debug)]
pub(super) struct Loads {
    rule: LoadRule,
    hosts: HashMap<HostId, Seen>,
    watched_since: Option<Timestamp>,
    /// When the last snapshot was taken, by either clock.
    looked: Option<(Timestamp, Instant)>,
}

#[derive(Debug)]
struct Seen {
    /// Date of its last report, and of the look that found it.
    report: Timestamp,
    found: Timestamp,
    load: Cores,
    /// Reports in a row with that load.
    same: u32,
    /// Cores that were booked there, each from its time on until the next.
    booked: VecDeque<(Timestamp, Cores)>,
}

impl Seen {
    /// `is_new`: it was not there before, so that nothing was booked on it.
    fn first(host: &Host, taken_at: Timestamp, is_new: bool) -> Self {
        let Host { reported_at: report, load, .. } = host;
        let mut seen = Self { report: *report, found: taken_at, load: load.reported, same: 1, booked: VecDeque::new() };
        if is_new {
            seen.booked.push_back((seen.start(), Cores::ZERO));
        }
        seen
    }

    fn look(&mut self, host: &Host, taken_at: Timestamp) {
        let (report, load) = (host.reported_at, host.load.reported);
        if report != self.report {
            self.same = if load == self.load { self.same.saturating_add(1) } else { 1 };
            (self.report, self.found, self.load) = (report, taken_at, load);
        }
    }

    /// A report that was dated ahead is as old as the time for which it is known.
    fn reported_at(&self) -> Timestamp {
        self.report.min(self.found)
    }

    /// Frames that run on and on do bring an average to their cores exactly.
    fn is_stuck(&self) -> bool {
        self.same >= SAME_LOADS && self.load > self.most()
    }

    fn note(&mut self, at: Timestamp, cores: Cores) {
        match self.booked.back() {
            Some((_, before)) if *before == cores => {}
            // Two clocks told the times.
            Some((before, _)) => self.booked.push_back((at.max(*before), cores)),
            None => self.booked.push_back((at, cores)),
        }
        let start = self.start();
        while self.booked.get(1).is_some_and(|(at, _)| *at <= start) {
            self.booked.pop_front();
        }
    }

    /// Of the time before the last report that counts.
    fn start(&self) -> Timestamp {
        self.reported_at() - LATELY
    }

    fn is_known(&self) -> bool {
        self.booked.front().is_some_and(|(at, _)| *at <= self.start())
    }

    /// The most that was booked at once, as far as it is known.
    fn most(&self) -> Cores {
        let end = self.reported_at();
        self.booked.iter().take_while(|(at, _)| *at <= end).map(|(_, cores)| *cores).max().unwrap_or_default()
    }
}

impl Loads {
    pub(super) fn new(rule: LoadRule) -> Self {
        Self { rule, hosts: HashMap::new(), watched_since: None, looked: None }
    }

    /// Judges loads by this rule from now on.
    pub(super) fn go_by(&mut self, rule: LoadRule) {
        self.rule = rule;
    }

    pub(super) fn look(&mut self, snapshot: &Snapshot, now: Instant) {
        let taken_at = snapshot.taken_at;
        self.looked = Some((taken_at, now));
        // Of hosts that were away, or not served, the most that can be wrong is over in two minutes.
        let are_new = *self.watched_since.get_or_insert(taken_at) + LATELY <= taken_at;
        for host in &snapshot.hosts {
            if let Some(seen) = self.hosts.get_mut(&host.id) {
                seen.look(host, taken_at);
            } else {
                self.hosts.insert(host.id.clone(), Seen::first(host, taken_at, are_new));
            }
            if let Some(seen) = self.hosts.get_mut(&host.id) {
                seen.note(taken_at, host.load.booked);
            }
        }
        if self.hosts.len() > snapshot.hosts.len() {
            let there: BTreeSet<&HostId> = snapshot.hosts.iter().map(|host| &host.id).collect();
            self.hosts.retain(|host, _| there.contains(host));
        }
    }

    /// Bookings that were made since the last look; they may be over before the next.
    pub(super) fn booked(&mut self, booked: &[Booked]) {
        let Some((taken_at, looked)) = self.looked else { return };
        let now = taken_at + looked.elapsed();
        for booked in booked {
            if let Some(seen) = self.hosts.get_mut(&booked.host) {
                let before = seen.booked.back().map_or(Cores::ZERO, |(_, cores)| *cores);
                seen.note(now, before + booked.reservation.cores);
            }
        }
    }

    /// When a host reported last, which is never in the future.
    pub(super) fn reported_at(&self, host: &Host) -> Timestamp {
        self.hosts.get(&host.id).map_or(host.reported_at, Seen::reported_at)
    }

    pub(super) fn stuck(&self) -> BTreeSet<HostId> {
        self.hosts.iter().filter(|(_, seen)| seen.is_stuck()).map(|(host, _)| host.clone()).collect()
    }

    /// The most that was booked lately on hosts where it decides anything.
    pub(super) fn booked_lately(&self, snapshot: &Snapshot) -> BTreeMap<HostId, Cores> {
        let matters = |host: &&Host| self.rule == LoadRule::Foreign && host.busy(self.rule, Cores::ZERO) > Cores::ZERO;
        let most = |host: &Host| Some((host.id.clone(), self.hosts.get(&host.id)?.most()));
        snapshot.hosts.iter().filter(matters).filter_map(most).collect()
    }

    /// Where a host looks busy with other work, and too little is known of it for that, all hosts of which that is
    /// so: to be asked about them is expensive, and is the same for one as for all.
    pub(super) fn unknown(&self, snapshot: &Snapshot, holds: &Holds) -> Vec<HostId> {
        let is_unknown = |host: &&Host| {
            self.rule == LoadRule::Foreign
                && !holds.state(host).is_closed()
                && self.hosts.get(&host.id).is_some_and(|seen| !seen.is_known())
        };
        let unknown: Vec<&Host> = snapshot.hosts.iter().filter(is_unknown).collect();
        if unknown.iter().all(|host| holds.busy(host, self.rule) == Cores::ZERO) {
            return Vec::new();
        }
        unknown.into_iter().map(|host| host.id.clone()).collect()
    }

    /// What the rows say of hosts of which too little was known.
    pub(super) fn learn(&mut self, hosts: &[HostId], most: &HashMap<HostId, Cores>) {
        for host in hosts {
            if let Some(seen) = self.hosts.get_mut(host) {
                seen.booked.push_front((seen.start(), most.get(host).copied().unwrap_or_default()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::tests::farm::{Farm, amounts};

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + time::Duration::seconds(second)
    }

    /// A host of 8 cores, looked at again and again.
    struct Watched {
        farm: Farm,
        loads: Loads,
    }

    impl Watched {
        fn new(rule: LoadRule) -> Self {
            let mut farm = Farm::new();
            farm.host(amounts(8, 32, 0, 0));
            Self { farm, loads: Loads::new(rule) }
        }

        fn host(&mut self) -> &mut Host {
            &mut self.farm.snapshot.hosts[0]
        }

        fn look(&mut self, second: i64, booked: i64) {
            self.farm.snapshot.taken_at = at(second);
            let host = self.host();
            host.load.booked = Cores::whole(booked);
            host.idle.cores = host.total.cores - host.load.booked;
            self.loads.look(&self.farm.snapshot, Instant::now());
        }

        fn report(&mut self, second: i64, load: i64) {
            let host = self.host();
            host.reported_at = at(second);
            host.load.reported = Cores(load);
            host.load.booked_at_report = host.load.booked;
        }

        /// Cores that a plan may use.
        fn usable(&mut self) -> Cores {
            self.farm.holds.booked_lately = self.loads.booked_lately(&self.farm.snapshot);
            self.farm.holds.load_stuck = self.loads.stuck();
            let (holds, host) = (&self.farm.holds, &self.farm.snapshot.hosts[0]);
            host.idle.cores - holds.busy(host, self.loads.rule)
        }
    }

    #[test]
    fn what_ended_within_two_minutes_before_a_report_is_no_other_work() {
        let mut host = Watched::new(LoadRule::Foreign);
        host.look(0, 0);
        host.look(200, 8);
        host.look(230, 0);
        host.report(235, 640);
        host.look(236, 0);
        assert_eq!(host.usable(), Cores::whole(8));
        // Of the same load nothing is ours when it is told of so much later.
        host.report(355, 640);
        host.look(356, 0);
        assert_eq!(host.usable(), Cores(200));
    }

    #[test]
    fn bookings_between_two_looks_count_too() {
        let mut host = Watched::new(LoadRule::Foreign);
        host.look(0, 0);
        host.look(200, 2);
        let booked = Booked {
            proc: "proc".into(),
            frame: "frame".into(),
            frame_name: String::new(),
            frame_number: 1,
            version: 1,
            layer: "layer".into(),
            job: "job".into(),
            show: "show".into(),
            host: host.host().id.clone(),
            host_name: String::new(),
            reservation: amounts(4, 1, 0, 0),
        };
        host.loads.booked(&[booked]);
        host.look(210, 0);
        host.report(220, 600);
        host.look(221, 0);
        assert_eq!(host.usable(), Cores::whole(8));
    }

    #[test]
    fn a_host_of_which_too_little_is_known_is_asked_about_once() {
        let mut host = Watched::new(LoadRule::Foreign);
        host.report(100, 800);
        host.look(101, 0);
        let unknown = host.loads.unknown(&host.farm.snapshot, &host.farm.holds);
        assert_eq!(unknown.len(), 1);
        host.loads.learn(&unknown, &HashMap::from([(unknown[0].clone(), Cores::whole(6))]));
        assert_eq!(host.usable(), Cores(640));
        host.look(102, 0);
        assert_eq!(host.loads.unknown(&host.farm.snapshot, &host.farm.holds), []);
    }

    #[test]
    fn nobody_is_asked_about_a_host_that_comes_after_two_minutes_of_watching() {
        let mut host = Watched::new(LoadRule::Foreign);
        let hosts = std::mem::take(&mut host.farm.snapshot.hosts);
        for second in [0, 100] {
            host.farm.snapshot.taken_at = at(second);
            host.loads.look(&host.farm.snapshot, Instant::now());
        }
        host.farm.snapshot.hosts = hosts;
        host.report(119, 400);
        let mut early = Watched::new(LoadRule::Foreign);
        early.report(119, 400);
        early.look(119, 0);
        assert_eq!(early.loads.unknown(&early.farm.snapshot, &early.farm.holds).len(), 1);
        host.look(120, 0);
        assert_eq!(host.loads.unknown(&host.farm.snapshot, &host.farm.holds), []);
        assert_eq!(host.usable(), Cores(440));
    }

    #[test]
    fn the_same_load_in_ten_reports_is_not_believed_and_no_load_is() {
        for (load, usable) in [(700, Cores::whole(8)), (0, Cores::whole(8))] {
            let mut host = Watched::new(LoadRule::Cuebot);
            for report in 1..10 {
                host.report(report * 10, load);
                host.look(report * 10, 0);
                // A second look at one report is no second report.
                host.look(report * 10 + 1, 0);
            }
            assert_eq!(host.loads.stuck().len(), 0);
            host.report(100, load);
            host.look(100, 0);
            assert_eq!(host.loads.stuck().len(), usize::from(load > 0));
            assert_eq!(host.usable(), usable);
            host.report(110, 701);
            host.look(110, 0);
            assert_eq!(host.usable(), Cores(139));
        }
    }

    #[test]
    fn a_load_that_our_own_frames_make_may_stay_the_same() {
        for rule in [LoadRule::Foreign, LoadRule::Cuebot, LoadRule::Off] {
            let mut host = Watched::new(rule);
            for report in 1..20 {
                host.look(report * 10 - 1, 8);
                host.report(report * 10, 800);
                host.look(report * 10, 8);
            }
            assert_eq!(host.loads.stuck().len(), 0, "{rule:?}");
            // Another rule finds all that it needs.
            host.loads.go_by(LoadRule::Foreign);
            assert_eq!(host.loads.unknown(&host.farm.snapshot, &host.farm.holds), []);
        }
    }

    #[test]
    fn a_report_from_the_future_is_as_old_as_it_is_known() {
        let mut host = Watched::new(LoadRule::Off);
        host.report(500, 0);
        for second in [100, 150, 600] {
            host.look(second, 0);
            assert_eq!(host.loads.reported_at(&host.farm.snapshot.hosts[0]), at(100));
        }
        host.report(590, 0);
        host.look(601, 0);
        assert_eq!(host.loads.reported_at(&host.farm.snapshot.hosts[0]), at(590));
    }
}
