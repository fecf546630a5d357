//! Circuit breakers: leaving alone what keeps failing.
//!
//! One failure gives a host a short pause, which grows where others follow that do not count as more. Several
//! in a row put it aside for a cool-down, after which one launch probes: its success forgets everything, its
//! failure doubles the cool-down. Until it succeeds a host is given one launch at a time.
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
use std::time::{Duration, Instant};

use super::circuit::{BreakerSettings, Circuits, REMEMBERED_MAX};
use super::client::LaunchOutcome;
use super::error::AgentError;
use super::run_frame::RunFrameError;
use crate::config::Rqd;
use crate::model::{Booked, HostId, LayerId};
use crate::telemetry::error_chain;

/// Different hosts in a row from which a layer's refusals are the layer's own.
const FOLLOWED_AFTER: u32 = 2;
/// After an answer that no sound agent gives; doubled after each further one.
const QUESTIONS: BreakerSettings = BreakerSettings {
    failures: 1,
    pause: Duration::ZERO,
    cool_down_first: Duration::from_secs(1),
    cool_down_max: Duration::from_secs(30),
};
/// A question that so long has no end has none.
const QUESTION_LOST: Duration = Duration::from_mins(1);

/// The first failure of a host is followed by so long a pause at most.
const PAUSE_MAX: Duration = Duration::from_secs(5);

impl BreakerSettings {
    pub(crate) fn of_hosts(rqd: &Rqd) -> Self {
        Self {
            failures: rqd.breaker_failures,
            pause: (rqd.breaker_cool_down / 12).min(PAUSE_MAX),
            cool_down_first: rqd.breaker_cool_down,
            cool_down_max: rqd.breaker_cool_down * 15,
        }
    }
}

/// The breakers of all hosts and layers.
#[derive(Clone, Debug)]
pub(crate) struct Breakers {
    hosts: Circuits<HostId, Runs>,
    layers: Circuits<LayerId, HostId>,
    /// Launches that succeeded since, of layers that were refused once.
    launched: HashMap<LayerId, u64>,
    /// Questions to hosts what they run. An answer that is no agent's is a failure.
    questions: Circuits<HostId, ()>,
}

/// A layer, and how often it was launched with success. The same layer speaks against a host a second
/// time once it has run elsewhere.
type Runs = (LayerId, u64);

impl Breakers {
    pub(crate) fn new(hosts: BreakerSettings, layers: BreakerSettings) -> Self {
        Self {
            hosts: Circuits::new(hosts, hosts.cool_down_first),
            layers: Circuits::new(layers, layers.cool_down_first),
            launched: HashMap::new(),
            questions: Circuits::new(QUESTIONS, QUESTION_LOST),
        }
    }

    /// Layers whose launches fail from now on are held back by these settings.
    pub(crate) fn hold_layers_by(&mut self, layers: BreakerSettings) {
        self.layers.go_by(layers);
    }

    /// Whether a host may be asked now what it runs: one question at a time, and after answers that were
    /// no agent's a rest.
    ///
    /// # Errors
    /// When to try again.
    pub(crate) fn begin_question(&mut self, host: &HostId, now: Instant) -> Result<(), Instant> {
        self.questions.admit_one(host, now)
    }

    /// Takes a question's end. Returns whether it is the first answer in a row that was no agent's.
    pub(crate) fn end_question(&mut self, host: &HostId, error: Option<&AgentError>, now: Instant) -> bool {
        match error {
            None => self.questions.succeeded(host),
            Some(error) if error.is_unfit() => {
                let reason = error_chain(error);
                self.questions.failed(host, None, &reason, now);
                self.hosts.failed(host, None, &reason, now);
                return self.questions.in_a_row(host) == 1;
            }
            Some(_) => self.questions.undecided(host),
        }
        false
    }

    /// Takes a launch's end.
    pub(crate) fn record(&mut self, booked: &Booked, outcome: &LaunchOutcome, now: Instant) {
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
    pub(crate) fn refused(&mut self, host: &HostId, layer: &LayerId, reason: &str, now: Instant) {
        self.layers.failed(layer, Some(host), reason, now);
        if self.layers.in_a_row(layer) >= FOLLOWED_AFTER {
            self.hosts.acquit(|(witness, _)| witness == layer);
        } else {
            let runs = self.runs(layer);
            self.hosts.failed(host, Some(&runs), reason, now);
        }
    }

    /// Takes that a launch could not be sent in time, as the host kept those before it waiting. Many wait for
    /// one host, and come here together.
    pub(crate) fn too_late(&mut self, host: &HostId, limit: Duration, now: Instant) {
        if !self.hosts.is_open(host, now) {
            let reason = format!("launches waited for {limit:?} for those before them, and were not sent");
            self.hosts.failed(host, None, &reason, now);
        }
    }

    /// Hosts whose last launch failed.
    pub(crate) fn hosts_on_probation(&self) -> impl Iterator<Item = &HostId> {
        self.hosts.failing()
    }

    fn runs(&mut self, layer: &LayerId) -> Runs {
        if self.launched.len() >= REMEMBERED_MAX {
            self.launched.clear();
        }
        (layer.clone(), *self.launched.entry(layer.clone()).or_default())
    }

    /// Puts a layer aside at once: a launch of it cannot even be built.
    pub(crate) fn record_unbuildable(&mut self, layer: &LayerId, error: &RunFrameError, now: Instant) {
        self.layers.open(layer, &error_chain(error), now);
    }

    /// Whether a launch may go out now. After a host's cool-down only the first may, until its end
    /// is recorded.
    pub(crate) fn admit(&mut self, booked: &Booked, now: Instant) -> bool {
        self.hosts.admit(&booked.host, now).is_ok()
    }

    /// Hosts to leave out of the next plan, and why.
    pub(crate) fn hosts_put_aside(&self, now: Instant) -> HashMap<HostId, String> {
        self.hosts.put_aside(now)
    }

    /// Whether the host is left out now.
    pub(crate) fn is_host_put_aside(&self, host: &HostId, now: Instant) -> bool {
        self.hosts.is_open(host, now)
    }

    /// Layers whose cool-down is over and that have not been launched since: one frame shall show
    /// whether the others would fail too.
    pub(crate) fn layers_on_probation(&self, now: Instant) -> HashSet<LayerId> {
        self.layers.half_open(now).cloned().collect()
    }

    /// When the next host or layer may be tried again.
    pub(crate) fn next_release(&self, now: Instant) -> Option<Instant> {
        [self.hosts.next_release(now), self.layers.next_release(now)].into_iter().flatten().min()
    }

    /// Layers to hold back in the next plan, and why.
    pub(crate) fn layers_put_aside(&self, now: Instant) -> HashMap<LayerId, String> {
        self.layers.put_aside(now)
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
            let hosts = BreakerSettings::of_hosts(&Rqd::default());
            // Slower than for hosts: on a farm in trouble, a few hosts in a row refuse anything.
            let layers = BreakerSettings { failures: 5, pause: Duration::ZERO, ..hosts };
            Self { breakers: Breakers::new(hosts, layers), now: Instant::now() }
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
        // As long as it runs nowhere, each further one makes the rest longer.
        let mut rests = Vec::new();
        for _ in 0..9 {
            let rest = case.host_waits("broken").unwrap();
            rests.push(rest);
            case.pass(rest);
            assert_eq!((case.host_waits("broken"), case.breakers.hosts_on_probation().count()), (Some(0), 1));
            case.record("broken", "l", &refused());
            case.record("broken", "l", &refused());
        }
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 320, 640, 900]);
        let rest = case.host_waits("broken").unwrap();
        case.pass(rest);
        case.record("sound", "l", &LaunchOutcome::Launched);
        case.record("broken", "l", &refused());
        assert_eq!((case.host_waits("broken"), case.layer_waits("l")), (Some(60), Some(0)));
    }

    #[test]
    fn launches_that_are_too_late_for_one_host_count_once_together() {
        let mut case = Case::new();
        let late = |case: &mut Case| {
            for _ in 0..50 {
                case.breakers.too_late(&"slow".into(), SECOND * 20, case.now);
            }
            case.host_waits("slow")
        };
        assert_eq!(late(&mut case), Some(5));
        case.pass(5);
        assert_eq!(late(&mut case), Some(60));
        case.pass(60);
        assert!(case.breakers.admit(&booked("slow", "l"), case.now));
        case.record("slow", "l", &LaunchOutcome::Launched);
        assert_eq!(late(&mut case), Some(5));
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
        let problem = Box::new(crate::rqd::run_frame::RunFrameProblem::Uid { uid: 0 });
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
        let source = std::sync::Arc::new(std::io::Error::other("too many open files"));
        let ours = LaunchOutcome::NotSent(AgentError::OutOfSockets { host: "h".to_owned(), source });
        case.record("h", "l", &ours);
        case.record("h", "l", &ours);
        assert_eq!(case.host_waits("h"), Some(0));
        let off = BreakerSettings { failures: 0, ..BreakerSettings::of_hosts(&Rqd::default()) };
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
        assert_eq!(case.breakers.hosts.len(), 1);
    }
}
