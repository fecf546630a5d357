//! Circuit breakers with a half-open state, one for each thing of a kind.
//!
//! A few failures in a row open a circuit for a cool-down. After it the circuit is half-open: one attempt
//! probes. Its success closes the circuit, its failure opens it for twice as long.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::tasks::Backoff;

/// What failed is remembered without its ever succeeding again: hosts are taken away, layers end.
/// Beyond this many, the long quiet ones are forgotten.
pub(super) const REMEMBERED_MAX: usize = 10_000;
/// Witnesses that are kept, or as many as open a circuit; more change nothing.
const WITNESSES_KEPT: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that put aside; 0 = never.
    pub failures: u32,
    /// After a failure that is not yet one too many, doubled after each further one; zero = none.
    pub pause: Duration,
    pub cool_down_first: Duration,
    pub cool_down_max: Duration,
}

/// The circuits of one kind of thing. `Witness`: who else may be at fault for a failure.
#[derive(Clone, Debug)]
pub(super) struct Circuits<Key, Witness> {
    settings: BreakerSettings,
    /// A probe of which so long nothing is heard is lost.
    probe_limit: Duration,
    /// Only what failed, or is being probed, and has not succeeded since.
    failing: HashMap<Key, Circuit<Witness>>,
}

#[derive(Clone, Debug)]
struct Circuit<Witness> {
    /// Who spoke against it, once for each failure in a row that counted; `None` is silence.
    witnesses: Vec<Option<Witness>>,
    pauses: Backoff,
    cool_downs: Backoff,
    until: Instant,
    probe: Probe,
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// Pauses only: when the pause is over everything is as before.
    NotNeeded,
    Needed,
    /// Under way since then.
    Sent(Instant),
}

impl<Key: Clone + Eq + Hash, Witness: Clone + Eq> Circuits<Key, Witness> {
    pub(super) fn new(settings: BreakerSettings, probe_limit: Duration) -> Self {
        Self { settings, probe_limit, failing: HashMap::new() }
    }

    /// What fails from now on is judged by these settings.
    pub(super) fn go_by(&mut self, settings: BreakerSettings) {
        self.settings = settings;
    }

    pub(super) fn succeeded(&mut self, key: &Key) {
        self.failing.remove(key);
    }

    pub(super) fn failed(&mut self, key: &Key, witness: Option<&Witness>, reason: &str, now: Instant) {
        let failures = self.settings.failures;
        if failures == 0 {
            return;
        }
        let Some(circuit) = self.noted(key, reason, now) else { return };
        let is_new = witness.is_none() || circuit.witnesses.last().is_none_or(|last| last.as_ref() != witness);
        if is_new && circuit.in_a_row() < failures.max(WITNESSES_KEPT) {
            circuit.witnesses.push(witness.cloned());
        }
        if circuit.probe == Probe::NotNeeded && circuit.in_a_row() < failures {
            // What was on the way when the pause began tells nothing new.
            if now >= circuit.until {
                circuit.until = now + circuit.pauses.next_pause();
            }
        } else {
            circuit.open(now);
        }
    }

    /// Starts a cool-down whatever was before.
    pub(super) fn open(&mut self, key: &Key, reason: &str, now: Instant) {
        if let Some(circuit) = self.noted(key, reason, now) {
            circuit.open(now);
        }
    }

    /// The circuit of what failed; `None` if that was on the way when it was opened and tells nothing new.
    fn noted(&mut self, key: &Key, reason: &str, now: Instant) -> Option<&mut Circuit<Witness>> {
        let circuit = self.circuit(key, Probe::NotNeeded, now);
        reason.clone_into(&mut circuit.reason);
        (circuit.probe != Probe::Needed || now >= circuit.until).then_some(circuit)
    }

    fn circuit(&mut self, key: &Key, probe: Probe, now: Instant) -> &mut Circuit<Witness> {
        let BreakerSettings { pause, cool_down_first, cool_down_max, .. } = self.settings;
        if self.failing.len() >= REMEMBERED_MAX && !self.failing.contains_key(key) {
            self.failing.retain(|_, circuit| now < circuit.until + cool_down_max);
        }
        self.failing.entry(key.clone()).or_insert_with(|| Circuit {
            witnesses: Vec::new(),
            pauses: Backoff::new(pause, cool_down_max),
            cool_downs: Backoff::new(cool_down_first, cool_down_max),
            until: now,
            probe,
            reason: String::new(),
        })
    }

    /// Whether an attempt may be made now. After a cool-down only the first may, until its end is recorded;
    /// the others would fail as it does.
    ///
    /// # Errors
    /// When to try again; now, if that depends on the probe.
    pub(super) fn admit(&mut self, key: &Key, now: Instant) -> Result<(), Instant> {
        let limit = self.probe_limit;
        let Some(circuit) = self.failing.get_mut(key) else { return Ok(()) };
        if now < circuit.until {
            return Err(circuit.until);
        }
        if circuit.is_probed(limit, now) {
            return Err(now);
        }
        if circuit.probe != Probe::NotNeeded {
            circuit.probe = Probe::Sent(now);
        }
        Ok(())
    }

    /// As [`Self::admit`], of things that take one attempt at a time also when all is well.
    pub(super) fn admit_one(&mut self, key: &Key, now: Instant) -> Result<(), Instant> {
        self.circuit(key, Probe::Needed, now);
        self.admit(key, now)
    }

    /// Takes the end of a probe that tells neither for nor against it.
    pub(super) fn undecided(&mut self, key: &Key) {
        let Some(circuit) = self.failing.get_mut(key) else { return };
        circuit.probe = Probe::Needed;
        if !circuit.cool_downs.has_begun() {
            self.failing.remove(key);
        }
    }

    /// Lifts what witnesses have brought about that turn out to be at fault themselves, where nobody else
    /// has spoken.
    pub(super) fn acquit(&mut self, is_at_fault: impl Fn(&Witness) -> bool) {
        self.failing.retain(|_, circuit| {
            let before = circuit.witnesses.len();
            circuit.witnesses.retain(|witness| !witness.as_ref().is_some_and(&is_at_fault));
            circuit.witnesses.len() == before || !circuit.witnesses.is_empty()
        });
    }

    /// Failures that counted since the last success.
    pub(super) fn in_a_row(&self, key: &Key) -> u32 {
        self.failing.get(key).map_or(0, Circuit::in_a_row)
    }

    /// What has failed and not succeeded since.
    pub(super) fn failing(&self) -> impl Iterator<Item = &Key> {
        self.failing.iter().filter(|(_, circuit)| !circuit.witnesses.is_empty()).map(|(key, _)| key)
    }

    /// Whether it cools down.
    pub(super) fn is_open(&self, key: &Key, now: Instant) -> bool {
        self.failing.get(key).is_some_and(|circuit| now < circuit.until)
    }

    /// What cools down or is being probed, and why.
    pub(super) fn put_aside(&self, now: Instant) -> HashMap<Key, String> {
        self.failing
            .iter()
            .filter(|(_, circuit)| now < circuit.until || circuit.is_probed(self.probe_limit, now))
            .map(|(key, circuit)| (key.clone(), circuit.reason.clone()))
            .collect()
    }

    /// What has cooled down and must show that it works again.
    pub(super) fn half_open(&self, now: Instant) -> impl Iterator<Item = &Key> {
        let is_half_open = move |circuit: &Circuit<Witness>| circuit.probe != Probe::NotNeeded && now >= circuit.until;
        self.failing.iter().filter(move |(_, circuit)| is_half_open(circuit)).map(|(key, _)| key)
    }

    /// When the next cool-down or pause ends.
    pub(super) fn next_release(&self, now: Instant) -> Option<Instant> {
        self.failing.values().map(|circuit| circuit.until).filter(|until| *until > now).min()
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.failing.len()
    }
}

impl<Witness> Circuit<Witness> {
    fn in_a_row(&self) -> u32 {
        u32::try_from(self.witnesses.len()).unwrap_or(u32::MAX)
    }

    fn open(&mut self, now: Instant) {
        self.until = self.until.max(now + self.cool_downs.next_pause());
        self.probe = Probe::Needed;
    }

    fn is_probed(&self, limit: Duration, now: Instant) -> bool {
        matches!(self.probe, Probe::Sent(at) if now < at + limit)
    }
}
