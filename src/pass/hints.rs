//! What is remembered between passes: only to be polite, never to be right.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::fruitless::Fruitless;
use super::held_rows::HeldRows;
use crate::booking::{Blame, ChunkOutcome, LostReason};
use crate::model::{Booked, FractionalCores, FrameId, HostId, LayerId, WaitingFrame};
use crate::rqd::{BreakerSettings, Breakers, LaunchOutcome, RunFrameError};

/// Longest rest of a host whose row another session holds.
const HELD_HOST_REST_MAX: Duration = Duration::from_secs(5);
/// Longest rest of a layer of which another session holds a row.
const HELD_LAYER_REST_MAX: Duration = Duration::from_secs(2);
/// A chunk that was too large for the server is this small at least.
const CHUNK_FRAMES_MIN: usize = 10;

/// Hosts and layers that are held back for a while. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Hints {
    state: Arc<Mutex<State>>,
    /// Whether Cuebot is silent: nothing is booked or launched.
    silence: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    breakers: Breakers,
    fruitless: Fruitless,
    held_hosts: HeldRows<HostId>,
    held_layers: HeldRows<LayerId>,
    /// Frames in a chunk that the server can write within the budget, once one was too many.
    chunk_frames: Option<usize>,
    /// Nothing is booked before that: this process itself lacks something.
    paused_until: Option<Instant>,
    /// Launches without a known outcome.
    unsettled: HashMap<HostId, u32>,
    /// Frames that still run somewhere although their bookings are gone.
    withheld: HashSet<FrameId>,
    refuses_fractions: bool,
}

impl Hints {
    #[must_use]
    pub fn new(hosts: BreakerSettings, layers: BreakerSettings) -> Self {
        let back_off = layers.cool_down_max;
        let state = State {
            breakers: Breakers::new(hosts, layers),
            fruitless: Fruitless::new(back_off),
            held_hosts: HeldRows::new(HELD_HOST_REST_MAX),
            held_layers: HeldRows::new(HELD_LAYER_REST_MAX),
            chunk_frames: None,
            paused_until: None,
            unsettled: HashMap::new(),
            withheld: HashSet::new(),
            refuses_fractions: false,
        };
        Self { state: Arc::new(Mutex::new(state)), silence: watch::Sender::new(false) }
    }

    /// Hosts to leave out of the next plan, with words for an operator.
    #[must_use]
    pub fn put_aside(&self, now: Instant) -> HashMap<HostId, String> {
        let state = self.state();
        let mut aside = state.breakers.hosts_put_aside(now);
        for (host, held) in state.held_hosts.resting(now) {
            let seconds = held.as_secs();
            aside.insert(host.clone(), format!("another database session has held its row for {seconds} s"));
        }
        for (host, launches) in &state.unsettled {
            aside.insert(host.clone(), format!("{launches} launches without a known outcome"));
        }
        aside
    }

    #[must_use]
    pub fn backing_off(&self, now: Instant) -> HashSet<LayerId> {
        let state = self.state();
        let mut layers: HashSet<LayerId> = state.breakers.layers_put_aside(now).into_keys().collect();
        layers.extend(state.fruitless.layers(now).cloned());
        layers.extend(state.held_layers.resting(now).map(|(layer, _)| layer.clone()));
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

    /// When something that is held back now may be planned again: no change in the database tells of it.
    pub(super) fn next_release(&self, now: Instant) -> Option<Instant> {
        let state = self.state();
        let releases = [
            state.breakers.next_release(now),
            state.fruitless.next_release(now),
            state.held_hosts.next_release(now),
            state.held_layers.next_release(now),
        ];
        releases.into_iter().flatten().min()
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

    pub(super) fn is_put_aside(&self, host: &HostId, now: Instant) -> bool {
        self.state().breakers.is_host_put_aside(host, now)
    }

    /// Why a booking shall not even be tried now: another chunk met the row that somebody holds.
    pub(super) fn held(&self, host: &HostId, layer: &LayerId, now: Instant) -> Option<LostReason> {
        let state = self.state();
        if state.held_hosts.rests(host, now) {
            return Some(LostReason::HostLocked);
        }
        state.held_layers.rests(layer, now).then_some(LostReason::RowLocked)
    }

    /// How many frames to put into one transaction.
    pub(super) fn chunk_frames(&self, frames_max: usize) -> usize {
        self.state().chunk_frames.map_or(frames_max, |frames| frames.min(frames_max))
    }

    /// Takes what a chunk of so many frames came to: whose rows are held, who was refused, and whether
    /// the chunk was too large.
    pub(super) fn chunk_ended(&self, frames: usize, outcome: &ChunkOutcome, now: Instant) {
        let mut state = self.state();
        for booked in &outcome.booked {
            state.held_hosts.freed(&booked.host);
            state.held_layers.freed(&booked.layer);
        }
        for lost in &outcome.lost {
            match lost.reason {
                LostReason::HostLocked => state.held_hosts.found(&lost.host, now),
                LostReason::RowLocked => state.held_layers.found(&lost.layer, now),
                _ => {}
            }
        }
        for refusal in outcome.refusals.iter().filter(|refusal| refusal.blames == Blame::HostOrLayer) {
            let reason = format!("the database refuses bookings on it, {}: {}", refusal.step, refusal.message);
            state.breakers.refused(&refusal.host, &refusal.layer, &reason, now);
        }
        if outcome.halved > 0 {
            state.chunk_frames = Some((frames / 2).max(CHUNK_FRAMES_MIN));
        } else if let Some(fitting) = state.chunk_frames {
            // A tenth more each time, so that a server which was slow for a moment gets its work back.
            state.chunk_frames = Some(fitting.max(frames) + fitting / 10 + 1);
        }
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

    /// Keeps a frame from being booked: it runs for a booking that is gone.
    pub(super) fn withhold(&self, frame: &FrameId) {
        self.state().withheld.insert(frame.clone());
    }

    pub(super) fn release(&self, frame: &FrameId) {
        self.state().withheld.remove(frame);
    }

    /// Takes withheld frames out. Returns how many there were, by layer.
    pub(super) fn without_withheld(&self, frames: &mut HashMap<LayerId, Vec<WaitingFrame>>) -> HashMap<LayerId, u32> {
        let state = self.state();
        let mut withheld = HashMap::new();
        if !state.withheld.is_empty() {
            for (layer, frames) in frames {
                let before = frames.len();
                frames.retain(|frame| !state.withheld.contains(&frame.id));
                let taken_out = u32::try_from(before - frames.len()).unwrap_or(u32::MAX);
                *withheld.entry(layer.clone()).or_default() += taken_out;
            }
        }
        withheld
    }

    /// Says whether Cuebot is silent. Returns whether that is new.
    pub(super) fn set_silence(&self, is_silent: bool) -> bool {
        self.silence.send_if_modified(|was_silent| std::mem::replace(was_silent, is_silent) != is_silent)
    }

    pub(super) fn is_silence(&self) -> bool {
        *self.silence.borrow()
    }

    /// Returns when Cuebot is silent.
    pub(super) async fn silence_began(&self) {
        // The sender lives as long as we do.
        let _ = self.silence.subscribe().wait_for(|is_silent| *is_silent).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
