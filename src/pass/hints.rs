//! What is remembered between passes: only to be polite, never to be right.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::fruitless::Fruitless;
use crate::model::{Booked, FractionalCores, HostId, LayerId};
use crate::rqd::{AgentError, BreakerSettings, Breakers, LaunchOutcome, RunFrameError};
use crate::telemetry::error_chain;

/// How long after a pause for want of file descriptors the want is told on.
const SHORTAGE_TOLD: Duration = Duration::from_secs(15);

/// Hosts and layers that are held back for a while. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Hints {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    breakers: Breakers,
    fruitless: Fruitless,
    /// Nothing is booked before that: this process has no file descriptor left.
    paused_until: Option<Instant>,
    /// Launches without a known outcome.
    unsettled: HashMap<HostId, u32>,
    refuses_fractions: bool,
}

impl Hints {
    #[must_use]
    pub fn new(hosts: BreakerSettings, layers: BreakerSettings) -> Self {
        let back_off = layers.cool_down_max;
        let state = State {
            breakers: Breakers::new(hosts, layers),
            fruitless: Fruitless::new(back_off),
            paused_until: None,
            unsettled: HashMap::new(),
            refuses_fractions: false,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Hosts to leave out of the next plan, with words for an operator.
    #[must_use]
    pub fn put_aside(&self, now: Instant) -> HashMap<HostId, String> {
        let state = self.state();
        let mut aside = state.breakers.hosts_put_aside(now);
        for (host, launches) in &state.unsettled {
            let reason = aside.get(host).map(|reason| format!("; {reason}")).unwrap_or_default();
            aside.insert(host.clone(), format!("{launches} launches without a known outcome{reason}"));
        }
        aside
    }

    #[must_use]
    pub fn backing_off(&self, now: Instant) -> HashSet<LayerId> {
        let state = self.state();
        let mut layers: HashSet<LayerId> = state.breakers.layers_put_aside(now).into_keys().collect();
        layers.extend(state.fruitless.layers(now).cloned());
        layers
    }

    /// `configured`, unless it was left open and an agent has refused a fraction.
    #[must_use]
    pub fn fractional_cores(&self, configured: Option<FractionalCores>) -> FractionalCores {
        configured.unwrap_or(if self.state().refuses_fractions {
            FractionalCores::RoundUp
        } else {
            FractionalCores::Keep
        })
    }

    /// Layers that were held back after failures and of which one launch shall show whether they work.
    #[must_use]
    pub fn on_probation(&self, now: Instant) -> HashSet<LayerId> {
        self.state().breakers.layers_on_probation(now)
    }

    /// Whether nothing shall be booked for a moment.
    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.state().paused_until.is_some_and(|until| until > now)
    }

    pub(super) fn pause(&self, time: Duration, now: Instant) {
        self.state().paused_until = Some(now + time);
    }

    /// Whether this process had no file descriptor left a moment ago. It is told for longer than nothing
    /// is booked: whether the shortage is over shows only when work is tried again.
    pub(super) fn lacks_descriptors(&self, now: Instant) -> bool {
        self.state().paused_until.is_some_and(|until| until + SHORTAGE_TOLD > now)
    }

    pub(super) fn is_put_aside(&self, host: &HostId, now: Instant) -> bool {
        self.state().breakers.is_host_put_aside(host, now)
    }

    /// Gives `act` what is remembered of work that comes to nothing.
    pub(super) fn fruitless<T>(&self, act: impl FnOnce(&mut Fruitless) -> T) -> T {
        act(&mut self.state().fruitless)
    }

    /// Whether the launch may go out: a host that was put aside is probed with one first.
    pub(super) fn admits(&self, booked: &Booked, now: Instant) -> bool {
        self.state().breakers.admit(booked, now)
    }

    pub(super) fn launch_ended(&self, booked: &Booked, outcome: &LaunchOutcome, now: Instant) {
        self.state().breakers.record(booked, outcome, now);
    }

    /// Whether a host may be asked now what it runs; when it may be otherwise.
    pub(super) fn begin_question(&self, host: &HostId, now: Instant) -> Result<(), Instant> {
        self.state().breakers.begin_question(host, now)
    }

    pub(super) fn end_question(&self, host: &HostId, error: Option<&AgentError>, now: Instant) {
        let is_new = self.state().breakers.end_question(host, error, now);
        if let Some(error) = error.filter(|_| is_new) {
            tracing::warn!(error = error_chain(error), "a host is put aside, and asked less and less");
        }
    }

    /// Holds a layer back at once: nothing of it can be launched.
    pub(super) fn unlaunchable(&self, layer: &LayerId, error: &RunFrameError, now: Instant) {
        self.state().breakers.record_unbuildable(layer, error, now);
    }

    pub(super) fn fraction_refused(&self) {
        let mut state = self.state();
        if !state.refuses_fractions {
            state.refuses_fractions = true;
            tracing::warn!("an agent refuses fractions of a core; from now on they are rounded up when planned");
        }
    }

    /// Withholds a host while a launch on it has no known outcome.
    pub(super) fn unsettled(&self, host: &HostId) {
        *self.state().unsettled.entry(host.clone()).or_default() += 1;
    }

    pub(super) fn settled(&self, host: &HostId) {
        let mut state = self.state();
        if let Some(launches) = state.unsettled.get_mut(host) {
            *launches -= 1;
            if *launches == 0 {
                state.unsettled.remove(host);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rqd::AnswerFault;

    #[test]
    fn a_host_is_put_aside_with_all_that_is_known_of_it() {
        let (hints, host, now) =
            (Hints::new(BreakerSettings::hosts(), BreakerSettings::layers()), "h".into(), Instant::now());
        hints.unsettled(&host);
        assert_eq!(hints.put_aside(now)[&host], "1 launches without a known outcome");
        let unfit = AgentError::Unfit { host: "node-1".to_owned(), fault: AnswerFault::Endless };
        assert_eq!(hints.begin_question(&host, now), Ok(()));
        hints.end_question(&host, Some(&unfit), now);
        let reason = &hints.put_aside(now)[&host];
        assert!(
            reason.starts_with("1 launches without a known outcome; what answers as the agent of node-1 is"),
            "{reason}"
        );
        hints.settled(&host);
        assert!(hints.put_aside(now)[&host].ends_with("it goes on sending after its answer"));
    }

    #[test]
    fn a_shortage_of_descriptors_is_told_for_longer_than_it_pauses() {
        let (hints, now) = (Hints::new(BreakerSettings::hosts(), BreakerSettings::layers()), Instant::now());
        assert!(!hints.lacks_descriptors(now));
        let pause = Duration::from_secs(5);
        hints.pause(pause, now);
        assert!(hints.is_paused(now) && hints.lacks_descriptors(now));
        assert!(!hints.is_paused(now + pause) && hints.lacks_descriptors(now + pause));
        assert!(!hints.lacks_descriptors(now + pause + SHORTAGE_TOLD));
    }
}
