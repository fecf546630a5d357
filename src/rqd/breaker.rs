//! Leaving alone what keeps failing.
//!
//! One failure gives a host a short pause. Several in a row put it aside for a cool-down, after
//! which one launch probes: its success forgets everything, its failure doubles the cool-down.
//!
//! A layer that every agent refuses must not put the farm aside, nor a broken host all layers.
//! So each refusal is held against both, and counts only if the one before came from somebody
//! else: for a host from another layer, or from one that ran elsewhere meanwhile; for a layer from
//! another host. A refusal that follows the layer from host to host is the layer's: what it has brought
//! upon hosts is lifted. Silence is held against the host alone, each time.
//!
//! What the database refuses to write for a host counts in the same way.
//!
//! A host is also asked about launches without a known outcome. What answers as no sound agent does is
//! held against it as silence is, and it is asked less and less: each such answer costs more than none.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::client::LaunchOutcome;
use super::error::AgentError;
use super::run_frame::RunFrameError;
use crate::model::{Booked, HostId, LayerId};
use crate::tasks::Backoff;
use crate::telemetry::error_chain;

/// What failed is remembered without its ever succeeding again: hosts are taken away, layers end.
/// Beyond this many, the long quiet ones are forgotten.
const REMEMBERED_MAX: usize = 10_000;
/// Different hosts in a row from which a layer's refusals are the layer's own.
const FOLLOWED_AFTER: u32 = 2;
/// Witnesses that are kept; more change nothing.
const WITNESSES_MAX: usize = 16;
/// After an answer that no sound agent gives; doubled after each further one.
const QUESTION_REST_FIRST: Duration = Duration::from_secs(1);
const QUESTION_REST_MAX: Duration = Duration::from_secs(30);
/// A question that so long has no end has none.
const QUESTION_LOST: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that put aside; 0 = never.
    pub failures: u32,
    /// After a failure that is not yet one too many; zero = none.
    pub pause: Duration,
    pub cool_down_first: Duration,
    pub cool_down_max: Duration,
}

impl BreakerSettings {
    #[must_use]
    pub const fn hosts() -> Self {
        Self {
            failures: 2,
            pause: Duration::from_secs(5),
            cool_down_first: Duration::from_mins(1),
            cool_down_max: Duration::from_mins(15),
        }
    }

    /// Slower than for hosts: on a farm in trouble, a few hosts in a row refuse anything.
    #[must_use]
    pub const fn layers() -> Self {
        Self { failures: 5, pause: Duration::ZERO, ..Self::hosts() }
    }
}

/// The breakers of all hosts and layers.
#[derive(Clone, Debug)]
pub struct Breakers {
    hosts: Breaker<HostId, Runs>,
    layers: Breaker<LayerId, HostId>,
    /// Launches that succeeded since, of layers that were refused once.
    launched: HashMap<LayerId, u64>,
    /// Hosts that are being asked, or whose answers were no agent's.
    questions: HashMap<HostId, Questions>,
}

#[derive(Clone, Debug)]
struct Questions {
    asked_at: Option<Instant>,
    /// After answers in a row that were no agent's.
    rest: Backoff,
    rest_until: Option<Instant>,
}

impl Questions {
    const NONE: Self =
        Self { asked_at: None, rest: Backoff::new(QUESTION_REST_FIRST, QUESTION_REST_MAX), rest_until: None };

    /// Whether anything of it still holds.
    fn is_needed(&self, now: Instant) -> bool {
        self.asked_at.is_some() || self.rest_until.is_some_and(|until| now < until)
    }
}

/// A layer, and how often it was launched with success. The same layer speaks against a host a second
/// time once it has run elsewhere.
type Runs = (LayerId, u64);

impl Breakers {
    #[must_use]
    pub fn new(hosts: BreakerSettings, layers: BreakerSettings) -> Self {
        Self {
            hosts: Breaker::new(hosts),
            layers: Breaker::new(layers),
            launched: HashMap::new(),
            questions: HashMap::new(),
        }
    }

    /// Whether a host may be asked now what it runs: one question at a time, and after answers that were
    /// no agent's a rest.
    ///
    /// # Errors
    /// When to try again.
    pub fn begin_question(&mut self, host: &HostId, now: Instant) -> Result<(), Instant> {
        if self.questions.len() >= REMEMBERED_MAX && !self.questions.contains_key(host) {
            self.questions.retain(|_, questions| questions.is_needed(now));
        }
        let questions = self.questions.entry(host.clone()).or_insert(Questions::NONE);
        if questions.asked_at.is_some_and(|at| now < at + QUESTION_LOST) {
            return Err(now);
        }
        if let Some(until) = questions.rest_until.filter(|until| now < *until) {
            return Err(until);
        }
        questions.asked_at = Some(now);
        Ok(())
    }

    /// Takes a question's end. Returns whether it is the first answer in a row that was no agent's.
    pub fn end_question(&mut self, host: &HostId, error: Option<&AgentError>, now: Instant) -> bool {
        let Some(error) = error else {
            self.questions.remove(host);
            return false;
        };
        let questions = self.questions.entry(host.clone()).or_insert(Questions::NONE);
        questions.asked_at = None;
        if !error.is_unfit() {
            if questions.rest_until.is_none() {
                self.questions.remove(host);
            }
            return false;
        }
        let is_first = questions.rest_until.replace(now + questions.rest.next_pause()).is_none();
        self.hosts.failed(host, None, &error_chain(error), now);
        is_first
    }

    /// Takes a launch's end.
    pub fn record(&mut self, booked: &Booked, outcome: &LaunchOutcome, now: Instant) {
        let (host, layer) = (&booked.host, &booked.layer);
        match outcome {
            LaunchOutcome::Launched => {
                self.hosts.succeeded(host);
                self.layers.succeeded(layer);
                if let Some(launched) = self.launched.get_mut(layer) {
                    *launched += 1;
                }
            }
            LaunchOutcome::Refused { code, message } => {
                self.refused(host, layer, &format!("launch refused with {code:?}: {message}"), now);
            }
            LaunchOutcome::Occupied { by, .. } => {
                let runs = self.runs(layer);
                self.hosts.failed(host, Some(&runs), &format!("a frame still runs there under proc {by}"), now);
            }
            LaunchOutcome::NotSent(error) | LaunchOutcome::Unknown(error) => {
                if error.blames_host() {
                    self.hosts.failed(host, None, &error_chain(error), now);
                }
            }
        }
    }

    /// Takes a refusal, of the agent or of the database, that may be the host's fault or the layer's.
    pub fn refused(&mut self, host: &HostId, layer: &LayerId, reason: &str, now: Instant) {
        self.layers.failed(layer, Some(host), reason, now);
        if self.layers.in_a_row(layer) >= FOLLOWED_AFTER {
            self.hosts.acquit(|(witness, _)| witness == layer);
        } else {
            let runs = self.runs(layer);
            self.hosts.failed(host, Some(&runs), reason, now);
        }
    }

    fn runs(&mut self, layer: &LayerId) -> Runs {
        if self.launched.len() >= REMEMBERED_MAX {
            self.launched.clear();
        }
        (layer.clone(), *self.launched.entry(layer.clone()).or_default())
    }

    /// Puts a layer aside at once: a launch of it cannot even be built.
    pub fn record_unbuildable(&mut self, layer: &LayerId, error: &RunFrameError, now: Instant) {
        self.layers.put_aside_now(layer, &error_chain(error), now);
    }

    /// Whether a launch may go out now. After a host's cool-down only the first may, until its end
    /// is recorded; the others would meet the same fate together.
    pub fn admit(&mut self, booked: &Booked, now: Instant) -> bool {
        self.hosts.admit(&booked.host, now)
    }

    /// Hosts to leave out of the next plan, and why.
    pub fn hosts_put_aside(&self, now: Instant) -> HashMap<HostId, String> {
        self.hosts.put_aside(now)
    }

    /// Whether the host is left out now.
    pub fn is_host_put_aside(&self, host: &HostId, now: Instant) -> bool {
        self.hosts.failing.get(host).is_some_and(|entry| now < entry.until)
    }

    /// Layers whose cool-down is over and that have not been launched since: one frame shall show
    /// whether the others would meet the same fate.
    pub fn layers_on_probation(&self, now: Instant) -> HashSet<LayerId> {
        let is_on_probation = |entry: &Failing<HostId>| entry.probe != Probe::NotNeeded && now >= entry.until;
        self.layers.failing.iter().filter(|(_, entry)| is_on_probation(entry)).map(|(layer, _)| layer.clone()).collect()
    }

    /// When the next host or layer may be tried again.
    pub fn next_release(&self, now: Instant) -> Option<Instant> {
        let hosts = self.hosts.failing.values().map(|entry| entry.until);
        let layers = self.layers.failing.values().map(|entry| entry.until);
        hosts.chain(layers).filter(|until| *until > now).min()
    }

    /// Layers to hold back in the next plan, and why.
    pub fn layers_put_aside(&self, now: Instant) -> HashMap<LayerId, String> {
        self.layers.put_aside(now)
    }
}

impl Default for Breakers {
    fn default() -> Self {
        Self::new(BreakerSettings::hosts(), BreakerSettings::layers())
    }
}

/// One kind of thing that may fail.
#[derive(Clone, Debug)]
struct Breaker<Key, Witness> {
    settings: BreakerSettings,
    /// Only what failed and has not succeeded since.
    failing: HashMap<Key, Failing<Witness>>,
}

#[derive(Clone, Debug)]
struct Failing<Witness> {
    in_a_row: u32,
    /// Who spoke against it, once for each failure that counted; `None` is silence.
    witnesses: Vec<Option<Witness>>,
    /// Longer each time in a row that it is put aside.
    cool_down: Backoff,
    until: Instant,
    probe: Probe,
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// Pauses only: when the pause is over everything is as before.
    NotNeeded,
    Needed,
    /// Being launched; lost if nothing is heard of it for a cool-down.
    Sent(Instant),
}

impl<Key: Clone + Eq + Hash, Witness: Clone + Eq> Breaker<Key, Witness> {
    fn new(settings: BreakerSettings) -> Self {
        Self { settings, failing: HashMap::new() }
    }

    fn succeeded(&mut self, key: &Key) {
        self.failing.remove(key);
    }

    /// `witness`: who else may be at fault.
    fn failed(&mut self, key: &Key, witness: Option<&Witness>, reason: &str, now: Instant) {
        if self.settings.failures == 0 {
            return;
        }
        let settings = self.settings;
        let entry = self.entry(key, now);
        reason.clone_into(&mut entry.reason);
        // Launches that were on the way when it was put aside tell nothing new.
        if entry.probe == Probe::Needed && now < entry.until {
            return;
        }
        if witness.is_none() || entry.witnesses.last().is_none_or(|last| last.as_ref() != witness) {
            entry.in_a_row = entry.in_a_row.saturating_add(1);
            if entry.witnesses.len() < WITNESSES_MAX {
                entry.witnesses.push(witness.cloned());
            }
        }
        if entry.probe == Probe::NotNeeded && entry.in_a_row < settings.failures {
            entry.until = entry.until.max(now + settings.pause);
        } else {
            entry.put_aside(now);
        }
    }

    /// Failures that counted since the last success.
    fn in_a_row(&self, key: &Key) -> u32 {
        self.failing.get(key).map_or(0, |entry| entry.in_a_row)
    }

    /// Lifts what witnesses have brought about that turn out to be at fault themselves, where nobody else
    /// has spoken.
    fn acquit(&mut self, is_at_fault: impl Fn(&Witness) -> bool) {
        self.failing.retain(|_, entry| {
            let before = entry.witnesses.len();
            entry.witnesses.retain(|witness| !witness.as_ref().is_some_and(&is_at_fault));
            if entry.witnesses.len() < before {
                entry.in_a_row = u32::try_from(entry.witnesses.len()).unwrap_or(u32::MAX);
            }
            entry.witnesses.len() == before || entry.in_a_row > 0
        });
    }

    /// Starts a cool-down whatever was before.
    fn put_aside_now(&mut self, key: &Key, reason: &str, now: Instant) {
        let entry = self.entry(key, now);
        reason.clone_into(&mut entry.reason);
        if entry.probe != Probe::Needed || now >= entry.until {
            entry.put_aside(now);
        }
    }

    fn entry(&mut self, key: &Key, now: Instant) -> &mut Failing<Witness> {
        if self.failing.len() >= REMEMBERED_MAX && !self.failing.contains_key(key) {
            let quiet = self.settings.cool_down_max;
            self.failing.retain(|_, entry| now < entry.until + quiet);
        }
        let settings = self.settings;
        self.failing.entry(key.clone()).or_insert_with(|| Failing {
            in_a_row: 0,
            witnesses: Vec::new(),
            cool_down: Backoff::new(settings.cool_down_first, settings.cool_down_max),
            until: now,
            probe: Probe::NotNeeded,
            reason: String::new(),
        })
    }

    /// Whether a launch may go out now. After a cool-down only the first may, until its end is
    /// recorded; the others would meet the same fate together.
    fn admit(&mut self, key: &Key, now: Instant) -> bool {
        let cool_down = self.settings.cool_down_first;
        let Some(entry) = self.failing.get_mut(key) else { return true };
        match entry.probe {
            _ if now < entry.until => false,
            Probe::NotNeeded => true,
            Probe::Sent(at) if now < at + cool_down => false,
            Probe::Needed | Probe::Sent(_) => {
                entry.probe = Probe::Sent(now);
                true
            }
        }
    }

    /// What to leave out of the next plan, and why.
    fn put_aside(&self, now: Instant) -> HashMap<Key, String> {
        let cool_down = self.settings.cool_down_first;
        self.failing
            .iter()
            .filter(|(_, entry)| now < entry.until || matches!(entry.probe, Probe::Sent(at) if now < at + cool_down))
            .map(|(key, entry)| (key.clone(), entry.reason.clone()))
            .collect()
    }
}

impl<Witness> Failing<Witness> {
    fn put_aside(&mut self, now: Instant) {
        self.until = self.until.max(now + self.cool_down.next_pause());
        self.probe = Probe::Needed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rqd::{AnswerFault, Code};
    use crate::units::Amounts;

    const SECOND: Duration = Duration::from_secs(1);

    fn refused() -> LaunchOutcome {
        LaunchOutcome::Refused { code: Code::Aborted, message: "no".to_owned() }
    }

    fn unknown() -> LaunchOutcome {
        LaunchOutcome::Unknown(AgentError::NoAnswer { host: "h".to_owned(), limit: SECOND })
    }

    struct Case {
        breakers: Breakers,
        now: Instant,
    }

    impl Case {
        fn new() -> Self {
            Self { breakers: Breakers::default(), now: Instant::now() }
        }

        fn record(&mut self, host: &str, layer: &str, outcome: &LaunchOutcome) {
            self.breakers.record(&booked(host, layer), outcome, self.now);
        }

        fn pass(&mut self, seconds: u32) {
            self.now += SECOND * seconds;
        }

        /// Seconds until the host is offered again.
        fn host_waits(&self, host: &str) -> Option<u32> {
            (0..2_000).find(|second| !self.breakers.hosts_put_aside(self.now + SECOND * *second).contains_key(host))
        }

        fn layer_waits(&self, layer: &str) -> Option<u32> {
            (0..2_000).find(|second| !self.breakers.layers_put_aside(self.now + SECOND * *second).contains_key(layer))
        }

        fn admit(&mut self) -> bool {
            self.breakers.admit(&booked("h", "l"), self.now)
        }
    }

    fn booked(host: &str, layer: &str) -> Booked {
        Booked {
            proc: "proc".into(),
            frame: "frame".into(),
            frame_name: String::new(),
            frame_number: 1,
            version: 1,
            layer: layer.into(),
            job: "job".into(),
            show: "show".into(),
            host: host.into(),
            host_name: host.to_owned(),
            reservation: Amounts::default(),
        }
    }

    #[test]
    fn one_failure_pauses_and_two_put_aside() {
        let mut case = Case::new();
        case.record("h", "l", &unknown());
        assert_eq!(case.host_waits("h"), Some(5));
        case.pass(10);
        case.record("h", "l", &unknown());
        assert_eq!(case.host_waits("h"), Some(60));
        assert_eq!(case.breakers.hosts_put_aside(case.now)["h"], "no answer from the agent of h within 1s");
        assert_eq!((case.host_waits("other"), case.layer_waits("l")), (Some(0), Some(0)));
    }

    #[test]
    fn a_success_in_between_forgets() {
        let mut case = Case::new();
        case.record("h", "l", &unknown());
        case.record("h", "l", &LaunchOutcome::Launched);
        assert_eq!(case.host_waits("h"), Some(0));
        case.record("h", "l", &unknown());
        assert_eq!(case.host_waits("h"), Some(5));
    }

    #[test]
    fn after_the_cool_down_one_probe_goes_out() {
        let mut case = Case::new();
        case.record("h", "l", &unknown());
        case.record("h", "l", &unknown());
        case.pass(59);
        assert!(!case.admit());
        case.pass(1);
        assert!(case.admit());
        assert!(!case.admit());
        assert_ne!(case.host_waits("h"), Some(0));
        case.record("h", "l", &LaunchOutcome::Launched);
        assert!(case.admit() && case.admit());
    }

    #[test]
    fn a_failed_probe_doubles_the_cool_down_up_to_a_bound() {
        let mut case = Case::new();
        case.record("h", "l", &unknown());
        case.record("h", "l", &unknown());
        let mut waits = Vec::new();
        for _ in 0..7 {
            let wait = case.host_waits("h").unwrap();
            waits.push(wait);
            case.pass(wait);
            assert!(case.admit());
            case.record("h", "l", &unknown());
        }
        assert_eq!(waits, [60, 120, 240, 480, 900, 900, 900]);
    }

    #[test]
    fn a_probe_that_is_never_heard_of_is_replaced() {
        let mut case = Case::new();
        case.record("h", "l", &unknown());
        case.record("h", "l", &unknown());
        case.pass(60);
        assert!(case.admit());
        case.pass(59);
        assert!(!case.admit());
        case.pass(1);
        assert!(case.admit());
    }

    #[test]
    fn launches_already_on_the_way_do_not_lengthen_a_cool_down() {
        let mut case = Case::new();
        for _ in 0..20 {
            case.record("h", "l", &unknown());
        }
        assert_eq!(case.host_waits("h"), Some(60));
    }

    #[test]
    fn a_layer_that_is_refused_everywhere_is_held_back_and_no_host_is() {
        let mut case = Case::new();
        for _ in 0..3 {
            for host in ["a", "b", "c", "d", "e", "f"] {
                case.record(host, "bad", &refused());
            }
        }
        assert_eq!(case.layer_waits("bad"), Some(60));
        assert!(["a", "b", "c", "d", "e", "f"].iter().all(|host| case.host_waits(host) == Some(0)));
        // What another layer says of a host still counts.
        case.record("a", "good", &refused());
        assert_eq!((case.layer_waits("good"), case.host_waits("a")), (Some(0), Some(5)));
    }

    #[test]
    fn a_refusal_that_follows_the_layer_lifts_what_it_brought_and_nothing_else() {
        let mut case = Case::new();
        case.record("broken", "good", &refused());
        case.record("broken", "bad", &refused());
        assert_eq!(case.host_waits("broken"), Some(60));
        case.record("sound", "bad", &refused());
        assert_eq!(case.host_waits("sound"), Some(0));
        // Found out by another layer too, it stays put aside.
        assert_eq!(case.host_waits("broken"), Some(60));
        assert_eq!(case.breakers.hosts.in_a_row(&"broken".into()), 1);
    }

    #[test]
    fn a_host_that_refuses_the_only_layer_there_is_is_put_aside_once_the_layer_runs_elsewhere() {
        let mut case = Case::new();
        for _ in 0..5 {
            case.record("broken", "l", &refused());
        }
        assert_eq!(case.host_waits("broken"), Some(5));
        case.record("sound", "l", &LaunchOutcome::Launched);
        case.record("broken", "l", &refused());
        assert_eq!((case.host_waits("broken"), case.layer_waits("l")), (Some(60), Some(0)));
    }

    #[test]
    fn a_host_that_refuses_everything_holds_back_no_layer() {
        let mut case = Case::new();
        for _ in 0..20 {
            case.record("bad", "l", &refused());
        }
        assert_eq!(case.layer_waits("l"), Some(0));
    }

    #[test]
    fn a_layer_without_a_launch_is_held_back_at_once_and_longer_each_time() {
        let mut case = Case::new();
        let problem = Box::new(crate::rqd::RunFrameProblem::Uid { uid: 0 });
        let error = RunFrameError { job: "job".to_owned(), frame: "0001-l".to_owned(), problem };
        case.breakers.record_unbuildable(&"l".into(), &error, case.now);
        case.breakers.record_unbuildable(&"l".into(), &error, case.now);
        assert_eq!(case.layer_waits("l"), Some(60));
        case.pass(60);
        case.breakers.record_unbuildable(&"l".into(), &error, case.now);
        assert_eq!(case.layer_waits("l"), Some(120));
    }

    #[test]
    fn our_own_lack_of_sockets_and_a_breaker_turned_off_put_nothing_aside() {
        let mut case = Case::new();
        let source = std::sync::Arc::new(tonic::transport::Endpoint::from_shared("no uri").unwrap_err());
        let ours = LaunchOutcome::NotSent(AgentError::OutOfSockets { host: "h".to_owned(), source });
        case.record("h", "l", &ours);
        case.record("h", "l", &ours);
        assert_eq!(case.host_waits("h"), Some(0));
        let off = BreakerSettings { failures: 0, ..BreakerSettings::hosts() };
        case.breakers = Breakers::new(off, off);
        case.record("h", "l", &unknown());
        case.record("h", "l", &unknown());
        assert!(case.host_waits("h") == Some(0) && case.admit());
    }

    #[test]
    fn a_host_that_answers_as_no_agent_does_is_put_aside_and_asked_less_and_less() {
        let mut case = Case::new();
        let host = HostId::from("h");
        let unfit = AgentError::Unfit { host: "h".to_owned(), fault: AnswerFault::TooManyFrames { frames: 100_000 } };
        let mut rests = Vec::new();
        for _ in 0..8 {
            assert_eq!(case.breakers.begin_question(&host, case.now), Ok(()));
            assert_eq!(case.breakers.begin_question(&host, case.now), Err(case.now), "it is being asked");
            assert_eq!(case.breakers.end_question(&host, Some(&unfit), case.now), rests.is_empty());
            let until = case.breakers.begin_question(&host, case.now).unwrap_err();
            rests.push((until - case.now).as_secs());
            case.now = until;
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 30, 30, 30]);
        let reason = &case.breakers.hosts_put_aside(case.now)["h"];
        assert!(reason.starts_with("what answers as the agent of h is none, or out of order"), "{reason}");
        assert!(reason.ends_with("it says that it runs 100000 frames, and 10000 at most are believed"), "{reason}");

        // Silence is counted elsewhere, and only an answer of an agent ends this.
        let silent = AgentError::NoAnswer { host: "h".to_owned(), limit: SECOND };
        for (error, rest) in [(Some(silent), 30), (None, 1)] {
            assert_eq!(case.breakers.begin_question(&host, case.now), Ok(()));
            assert!(!case.breakers.end_question(&host, error.as_ref(), case.now));
            assert_eq!(case.breakers.begin_question(&host, case.now), Ok(()));
            case.breakers.end_question(&host, Some(&unfit), case.now);
            case.now += SECOND * rest;
        }
        assert_eq!(case.breakers.begin_question(&host, case.now), Ok(()));
        assert_eq!(case.breakers.begin_question(&"other".into(), case.now), Ok(()));
        // Nobody came back with an answer.
        case.pass(60);
        assert_eq!(case.breakers.begin_question(&host, case.now), Ok(()));
    }

    #[test]
    fn the_long_quiet_are_forgotten() {
        let mut case = Case::new();
        for number in 0..REMEMBERED_MAX {
            case.record(&format!("old-{number}"), "l", &unknown());
        }
        case.pass(5 + 15 * 60);
        case.record("new", "l", &unknown());
        assert_eq!(case.breakers.hosts.failing.len(), 1);
    }
}
