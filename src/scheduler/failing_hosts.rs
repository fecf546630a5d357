//! Hosts that rest because whatever runs there fails at once. Pure.
//!
//! Such a host is idle again a moment after it got a frame, so that it gets the next ones, of whichever job.
//! It rests when frames of several jobs failed on it within seconds while layers of these jobs run or succeed on
//! other hosts, and none has just succeeded on it; each time longer. Where that would be true of more hosts than
//! can be broken at once, the work is at fault and none rests.
//!
//! A frame's row tells of its last run only, and the next one overwrites it: what the rows say is taken in
//! whenever waiting frames are read, and of frames that were booked here and do not wait again by a look at
//! their rows. Nothing is read of the history, which lags behind.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::db::{AT_ONCE, FailedRun};
use crate::model::{AllocId, Booked, HostId, JobId, LayerId, Snapshot};
use crate::tasks::Backoff;

/// So long failures count.
const REMEMBERED: Duration = Duration::from_mins(5);
/// So many jobs fail on a host before it can be the host's fault.
const JOBS_MIN: usize = 3;
/// At most one host of so many is believed to be broken, and one in any case.
const ONE_OF: usize = 20;
const REST_FIRST: Duration = Duration::from_mins(2);
const REST_MAX: Duration = Duration::from_mins(30);
/// A host that has failed nothing for so long after a rest begins anew.
const FORGIVEN_AFTER: Duration = Duration::from_mins(30);
/// Frames whose rows one look reads.
const LOOKED_AT_MAX: usize = 500;
/// Pairs of a host and a layer that one look asks about.
const ASKED_MAX: usize = 60;
/// Frames that wait for a look.
const WATCHED_MAX: usize = 2_000;
/// Hosts and jobs that are remembered; beyond, what fails is not taken in.
const HOSTS_MAX: usize = 10_000;
const JOBS_MAX: usize = 20;

#[derive(Debug)]
pub(super) struct FailingHosts {
    is_on: bool,
    /// By name of the host and job: the layer that failed last, and when.
    failed: HashMap<String, BTreeMap<JobId, (LayerId, Instant)>>,
    /// Booked here, in the order of their bookings.
    watched: VecDeque<(Instant, Booked)>,
    rests: BTreeMap<HostId, Rest>,
    /// Hosts by name, and how many an allocation has.
    hosts: HashMap<String, (HostId, AllocId)>,
    hosts_of: HashMap<AllocId, usize>,
    /// Allocations of which so many hosts seem to fail that the work is at fault, and until when it is.
    blamed_work: BTreeMap<AllocId, (BTreeSet<String>, Instant)>,
    /// The last suspect by name that was asked about.
    asked_to: String,
}

#[derive(Clone, Debug)]
struct Rest {
    name: String,
    wait: Backoff,
    until: Instant,
    reason: String,
}

/// A host that fails frames of several jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suspect {
    pub(super) host_name: String,
    pub(super) layers: BTreeMap<LayerId, JobId>,
}

/// What a look came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Hosts that rest from now on, with the reason.
    pub(super) rest: Vec<(String, String)>,
    /// Hosts of an allocation that do not rest, since they are too many.
    pub(super) work_at_fault: Vec<BTreeSet<String>>,
}

impl FailingHosts {
    pub(super) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            failed: HashMap::new(),
            watched: VecDeque::new(),
            rests: BTreeMap::new(),
            hosts: HashMap::new(),
            hosts_of: HashMap::new(),
            blamed_work: BTreeMap::new(),
            asked_to: String::new(),
        }
    }

    /// A run failed by the frame's own doing.
    pub(super) fn failed(&mut self, job: &JobId, layer: &LayerId, run: &FailedRun, now: Instant) {
        let Some(at) = now.checked_sub(run.ago).filter(|_| self.is_on && run.after < AT_ONCE) else { return };
        if at + REMEMBERED <= now || (self.failed.len() >= HOSTS_MAX && !self.failed.contains_key(&run.host_name)) {
            return;
        }
        // What brought a rest about does not lengthen it.
        let is_before = |rest: &Rest| rest.name == run.host_name && at < rest.until;
        if self.rests.values().any(is_before) {
            return;
        }
        let jobs = self.failed.entry(run.host_name.clone()).or_default();
        if jobs.len() < JOBS_MAX || jobs.contains_key(job) {
            jobs.insert(job.clone(), (layer.clone(), at));
        }
    }

    /// Bookings were made, whose frames are looked at once they could have failed at once.
    pub(super) fn booked(&mut self, booked: &[Booked], now: Instant) {
        let room = if self.is_on { WATCHED_MAX.saturating_sub(self.watched.len()) } else { 0 };
        self.watched.extend(booked.iter().take(room).map(|booked| (now, booked.clone())));
    }

    /// Bookings to look at now, each once.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Booked> {
        let is_due = |(at, _): &(Instant, Booked)| *at + AT_ONCE <= now;
        let due = self.watched.iter().take(LOOKED_AT_MAX).take_while(|watched| is_due(watched)).count();
        self.watched.drain(..due).map(|(_, booked)| booked).collect()
    }

    /// Takes in which hosts there are, while anything is known of one.
    pub(super) fn know(&mut self, snapshot: &Snapshot) {
        if self.failed.is_empty() && self.rests.is_empty() {
            return;
        }
        let hosts = snapshot.hosts.iter();
        self.hosts = hosts.map(|host| (host.name.clone(), (host.id.clone(), host.alloc.clone()))).collect();
        self.hosts_of.clear();
        for host in &snapshot.hosts {
            *self.hosts_of.entry(host.alloc.clone()).or_default() += 1;
        }
    }

    /// Hosts on which frames of several jobs failed at once.
    pub(super) fn suspects(&mut self, now: Instant) -> Vec<Suspect> {
        self.failed.retain(|_, jobs| {
            jobs.retain(|_, (_, at)| *at + REMEMBERED > now);
            !jobs.is_empty()
        });
        self.rests.retain(|_, rest| rest.until + FORGIVEN_AFTER > now);
        let several = self.failed.iter().filter(|(_, jobs)| jobs.len() >= JOBS_MIN);
        let suspects = several.map(|(host_name, jobs)| Suspect {
            host_name: host_name.clone(),
            layers: jobs.iter().map(|(job, (layer, _))| (layer.clone(), job.clone())).collect(),
        });
        suspects.collect()
    }

    /// Those of the suspects that one look asks about, whole, and others the next time.
    pub(super) fn in_turn(&mut self, mut suspects: Vec<Suspect>) -> Vec<Suspect> {
        suspects.sort_unstable_by(|one, other| one.host_name.cmp(&other.host_name));
        let next = suspects.partition_point(|suspect| suspect.host_name <= self.asked_to);
        suspects.rotate_left(next);
        let mut pairs = 0;
        let count = suspects.iter().take_while(|suspect| {
            pairs += suspect.layers.len();
            pairs <= ASKED_MAX
        });
        suspects.truncate(count.count());
        self.asked_to = suspects.last().map(|suspect| suspect.host_name.clone()).unwrap_or_default();
        suspects
    }

    /// Judges the suspects; `runs` are layers that run or succeed on other hosts than the one named.
    pub(super) fn judge(&mut self, suspects: &[Suspect], runs: &HashSet<(String, LayerId)>, now: Instant) -> Found {
        let mut culprits: BTreeMap<AllocId, Vec<(&Suspect, Vec<&JobId>)>> = BTreeMap::new();
        for suspect in suspects {
            let runs_elsewhere = |layer: &LayerId| runs.contains(&(suspect.host_name.clone(), layer.clone()));
            let jobs = suspect.layers.iter().filter(|(layer, _)| runs_elsewhere(layer)).map(|(_, job)| job);
            let jobs: Vec<&JobId> = jobs.collect();
            if let Some((_, alloc)) = self.hosts.get(&suspect.host_name).filter(|_| jobs.len() >= JOBS_MIN) {
                culprits.entry(alloc.clone()).or_default().push((suspect, jobs));
            }
        }
        let mut found = Found::default();
        self.blamed_work.retain(|_, (_, until)| *until > now);
        for (alloc, culprits) in culprits {
            let alloc_of = |rest: &Rest| self.hosts.get(&rest.name).map(|(_, alloc)| alloc);
            let resting = self.rests.values().filter(|rest| rest.until > now && alloc_of(rest) == Some(&alloc));
            let mut names: BTreeSet<String> = resting.map(|rest| rest.name.clone()).collect();
            names.extend(culprits.iter().map(|(suspect, _)| suspect.host_name.clone()));
            names.extend(self.blamed_work.get(&alloc).into_iter().flat_map(|(names, _)| names.clone()));
            let all = self.hosts_of.get(&alloc).copied().unwrap_or_default();
            if names.len() > (all / ONE_OF).max(1) {
                for rest in self.rests.values_mut().filter(|rest| names.contains(&rest.name)) {
                    rest.until = rest.until.min(now);
                }
                if self.blamed_work.insert(alloc, (names.clone(), now + REMEMBERED)).is_none() {
                    found.work_at_fault.push(names);
                }
                continue;
            }
            for (suspect, jobs) in culprits {
                found.rest.extend(self.rest(&suspect.host_name, jobs.len(), now));
            }
        }
        found
    }

    fn rest(&mut self, host_name: &str, jobs: usize, now: Instant) -> Option<(String, String)> {
        let (host, _) = self.hosts.get(host_name)?;
        self.failed.remove(host_name);
        let fresh = || Rest {
            name: host_name.to_owned(),
            wait: Backoff::new(REST_FIRST, REST_MAX),
            until: now,
            reason: String::new(),
        };
        let rest = self.rests.entry(host.clone()).or_insert_with(fresh);
        let pause = rest.wait.next_pause();
        rest.until = now + pause;
        rest.reason = format!(
            "frames of {jobs} jobs failed on it within seconds, and their layers run on other hosts; it rests for {} min",
            pause.as_secs() / 60
        );
        Some((host_name.to_owned(), rest.reason.clone()))
    }

    /// Hosts that rest now, and why.
    pub(super) fn resting(&self, now: Instant) -> impl Iterator<Item = (&HostId, &str)> {
        let resting = self.rests.iter().filter(move |(_, rest)| rest.until > now);
        resting.map(|(host, rest)| (host, rest.reason.as_str()))
    }

    /// Their names, and those of hosts that would rest if they were not too many.
    pub(super) fn names(&self, now: Instant) -> (Vec<String>, usize) {
        let resting = self.rests.values().filter(|rest| rest.until > now).map(|rest| rest.name.clone());
        (resting.collect(), self.blamed_work.values().map(|(names, _)| names.len()).sum())
    }

    pub(super) fn next_release(&self, now: Instant) -> Option<Instant> {
        self.rests.values().map(|rest| rest.until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        hosts: FailingHosts,
        now: Instant,
    }

    impl Case {
        /// With hosts `h0` and on, of one allocation.
        fn new(hosts: usize) -> Self {
            let mut failing = FailingHosts::new(true);
            let all = (0..hosts).map(|n| (format!("h{n}"), (HostId::new(format!("id{n}")), AllocId::from("alloc"))));
            failing.hosts = all.collect();
            failing.hosts_of = [(AllocId::from("alloc"), hosts)].into();
            Self { hosts: failing, now: Instant::now() + REMEMBERED }
        }

        fn fail(&mut self, host: &str, jobs: usize) {
            for job in 0..jobs {
                self.fail_after(host, job, Duration::from_secs(1));
            }
        }

        fn fail_after(&mut self, host: &str, job: usize, after: Duration) {
            let run = FailedRun { host_name: host.to_owned(), ago: Duration::ZERO, after };
            self.hosts.failed(&format!("job{job}").into(), &format!("layer{job}").into(), &run, self.now);
        }

        /// With layers of so many jobs that run on other hosts.
        fn judge(&mut self, running: usize) -> Found {
            let suspects = self.hosts.suspects(self.now);
            let of = |suspect: &Suspect| {
                let name = suspect.host_name.clone();
                (0..running).map(move |job| (name.clone(), LayerId::new(format!("layer{job}")))).collect::<Vec<_>>()
            };
            let runs = suspects.iter().flat_map(of).collect();
            self.hosts.judge(&suspects, &runs, self.now)
        }

        fn resting(&self) -> Vec<&str> {
            self.hosts.resting(self.now).map(|(host, _)| host.as_str()).collect()
        }
    }

    #[test]
    fn a_host_rests_when_three_jobs_fail_there_and_run_elsewhere() {
        let mut case = Case::new(20);
        case.fail("h1", 2);
        assert_eq!(case.judge(2), Found::default());
        case.fail_after("h1", 2, AT_ONCE);
        assert_eq!(case.judge(3), Found::default(), "one of them ran for a while");
        case.fail("h1", 3);
        assert_eq!(case.judge(2), Found::default(), "one of them runs nowhere");
        assert_eq!(case.judge(3).rest.len(), 1);
        assert_eq!(case.resting(), ["id1"]);
    }

    #[test]
    fn rests_grow_and_failures_of_before_do_not_count_again() {
        let mut case = Case::new(20);
        let mut rests = Vec::new();
        for _ in 0..6 {
            case.fail("h1", 3);
            assert_eq!(case.judge(3).rest.len(), 1);
            case.fail("h1", 3);
            assert_eq!(case.judge(3), Found::default());
            let until = case.hosts.next_release(case.now).unwrap();
            rests.push((until - case.now).as_secs() / 60);
            case.now = until;
            assert_eq!(case.resting(), [""; 0]);
            assert_eq!(case.judge(3), Found::default());
        }
        assert_eq!(rests, [2, 4, 8, 16, 30, 30]);
        case.now += FORGIVEN_AFTER;
        case.fail("h1", 3);
        case.judge(3);
        assert_eq!(case.hosts.next_release(case.now).unwrap() - case.now, REST_FIRST);
    }

    #[test]
    fn more_hosts_than_can_be_broken_are_the_works_fault() {
        let mut case = Case::new(40);
        case.fail("h1", 3);
        case.fail("h2", 3);
        assert_eq!(case.judge(3).rest.len(), 2, "one of twenty");
        case.fail("h3", 4);
        let found = case.judge(4);
        assert_eq!((found.rest.len(), found.work_at_fault.len()), (0, 1));
        assert_eq!(case.resting(), [""; 0]);
        assert_eq!(case.judge(4), Found::default(), "it is said once");
        case.now += REMEMBERED;
        assert_eq!(case.judge(4), Found::default());
        case.fail("h3", 4);
        assert_eq!(case.judge(4).rest.len(), 1);
    }

    #[test]
    fn all_suspects_are_asked_about_in_turn_each_whole() {
        let mut case = Case::new(40);
        for host in 0..5 {
            case.fail(&format!("h{host}"), JOBS_MAX);
        }
        let mut asked = || {
            let suspects = case.hosts.suspects(case.now);
            let asked = case.hosts.in_turn(suspects);
            assert!(asked.iter().all(|suspect| suspect.layers.len() == JOBS_MAX));
            asked.into_iter().map(|suspect| suspect.host_name).collect::<Vec<_>>()
        };
        assert_eq!(asked(), ["h0", "h1", "h2"]);
        assert_eq!(asked(), ["h3", "h4", "h0"]);
    }

    #[test]
    fn failures_are_forgotten_and_a_farm_that_wants_no_rests_remembers_none() {
        let mut case = Case::new(1);
        case.fail("h0", 2);
        case.now += REMEMBERED;
        case.fail("h0", 1);
        assert_eq!(case.judge(3), Found::default());
        case.hosts = FailingHosts::new(false);
        case.fail("h0", 3);
        assert!(case.hosts.suspects(case.now).is_empty());
    }
}
