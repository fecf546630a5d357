//! What is remembered between passes: only to be polite, never to be right.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::elsewhere::Elsewhere;
use super::failing_hosts::FailingHosts;
use super::flags::{Flags, FlagsSeen};
use super::fruitless::Fruitless;
use super::held_rows::HeldRows;
use super::loads::Loads;
use super::settings::Settings;
use super::silence::Silence;
use crate::booking::{Blame, ChunkOutcome, LostReason};
use crate::config::FlagOff;
use crate::model::{Fractions, Holds, Host, HostId, LayerId, ShowId, Snapshot, Timestamp};
use crate::rqd::{AgentError, Breakers};
use crate::telemetry::error_chain;

/// How long after a pause for want of file descriptors the want is told on.
const SHORTAGE_TOLD: Duration = Duration::from_secs(15);

/// Longest rest of a host whose row another session holds.
const HELD_HOST_REST_MAX: Duration = Duration::from_secs(5);
/// So long after a host's row was found held, chunks are preceded by a look for such hosts.
const HELD_HOSTS_SOUGHT: Duration = Duration::from_secs(30);
/// Longest rest of a layer of which another session holds a row.
const HELD_LAYER_REST_MAX: Duration = Duration::from_secs(2);
/// Frames in a chunk while nothing is known of how fast the server writes.
const CHUNK_FRAMES_FIRST: usize = 60;
/// And in any chunk at least, however slow it is.
const CHUNK_FRAMES_MIN: usize = 20;
/// A chunk of fewer frames says little of how fast the server writes.
const TELLING_FRAMES_MIN: usize = 10;

/// Hosts and layers that are held back for a while. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct Hints {
    state: Arc<Mutex<State>>,
    /// Whether Cuebot is silent: nothing is booked or launched.
    silence: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    breakers: Breakers,
    fruitless: Fruitless,
    elsewhere: Elsewhere,
    failing_hosts: FailingHosts,
    /// Layers of which frames could not be launched as their rows are, and what was wrong.
    unlaunchable: BTreeMap<LayerId, String>,
    held_hosts: HeldRows<HostId>,
    /// When a host's row was last found held.
    host_found_held: Option<Instant>,
    held_layers: HeldRows<LayerId>,
    /// Frames that a chunk writes in a second, as the last ones have shown.
    frames_per_second: Option<f64>,
    /// The database's clock, and when it was read.
    database_clock: Option<(Timestamp, Instant)>,
    /// Nothing is booked before that: this process has no file descriptor left.
    paused_until: Option<Instant>,
    /// Launches without a known outcome.
    unsettled: HashMap<HostId, u32>,
    flags: Flags,
    /// Of hosts that do not take all.
    fractions: BTreeMap<HostId, Fractions>,
    reports: Silence,
    loads: Loads,
    /// A host whose last report is older takes nothing.
    staleness: Duration,
}

impl State {
    /// Hosts to leave out of the next plan, with words for an operator.
    fn put_aside(&self, now: Instant) -> BTreeMap<HostId, String> {
        let mut aside: BTreeMap<HostId, String> = self.breakers.hosts_put_aside(now).into_iter().collect();
        for (host, held) in self.held_hosts.resting(now) {
            let seconds = held.as_secs();
            aside.insert(host.clone(), format!("another database session has held its row for {seconds} s"));
        }
        for (host, reason) in self.failing_hosts.resting(now) {
            aside.insert(host.clone(), reason.to_owned());
        }
        for (host, launches) in &self.unsettled {
            let reason = aside.get(host).map(|reason| format!("; {reason}")).unwrap_or_default();
            aside.insert(host.clone(), format!("{launches} launches without a known outcome{reason}"));
        }
        aside
    }

    fn backing_off(&self, now: Instant) -> BTreeSet<LayerId> {
        let mut layers: BTreeSet<LayerId> = self.breakers.layers_put_aside(now).into_keys().collect();
        layers.extend(self.fruitless.layers(now).cloned());
        layers.extend(self.held_layers.resting(now).map(|(layer, _)| layer.clone()));
        layers
    }

    /// Those of the layers that are held back of which no frame can be launched. What does not wait any more is
    /// forgotten.
    fn unlaunchable(&mut self, held: &BTreeSet<LayerId>, snapshot: &Snapshot) -> BTreeMap<LayerId, String> {
        if !self.unlaunchable.is_empty() {
            let waiting: HashSet<&LayerId> = snapshot.candidates.iter().map(|candidate| &candidate.layer).collect();
            self.unlaunchable.retain(|layer, _| waiting.contains(layer));
        }
        let known = self.unlaunchable.iter().filter(|(layer, _)| held.contains(*layer));
        known.map(|(layer, problem)| (layer.clone(), problem.clone())).collect()
    }

    /// Hosts whose reports are overdue, and since how many seconds there was none.
    fn overdue(&mut self, snapshot: &Snapshot) -> BTreeMap<HostId, i64> {
        let (now, loads) = (snapshot.taken_at, &self.loads);
        let reported_at = |host: &Host| loads.reported_at(host);
        self.reports.look(now, snapshot.hosts.iter().map(|host| (&host.id, reported_at(host))));
        let overdue = snapshot.hosts.iter().filter(|host| {
            let reported_at = reported_at(host);
            self.reports.is_overdue(&host.id, reported_at, now) || now - reported_at > self.staleness
        });
        overdue.map(|host| (host.id.clone(), (now - reported_at(host)).whole_seconds())).collect()
    }
}

impl Hints {
    pub(crate) fn new(settings: &Settings) -> Self {
        let state = State {
            breakers: Breakers::new(settings.host_breaker, settings.layer_breaker()),
            fruitless: Fruitless::new(settings.job_back_off_duration),
            elsewhere: Elsewhere::new(settings.retry_elsewhere),
            failing_hosts: FailingHosts::new(settings.rest_failing_hosts),
            unlaunchable: BTreeMap::new(),
            held_hosts: HeldRows::new(HELD_HOST_REST_MAX),
            host_found_held: None,
            held_layers: HeldRows::new(HELD_LAYER_REST_MAX),
            frames_per_second: None,
            database_clock: None,
            paused_until: None,
            unsettled: HashMap::new(),
            flags: Flags::new(left_after(settings)),
            fractions: BTreeMap::new(),
            reports: Silence::new(settings.cuebot_silence).looking_every(settings.monitor_interval),
            loads: Loads::new(settings.policy.host_load),
            staleness: settings.host_staleness_threshold,
        };
        Self { state: Arc::new(Mutex::new(state)), silence: watch::Sender::new(false) }
    }

    /// Goes by these settings from now on, as far as they may change while the service runs.
    pub(super) fn adopt(&self, settings: &Settings) {
        let mut state = self.state.lock();
        state.breakers.hold_layers_by(settings.layer_breaker());
        state.fruitless.hold_for(settings.job_back_off_duration);
        state.flags.leave_after(left_after(settings));
        state.reports.look_every(settings.monitor_interval);
        state.loads.go_by(settings.policy.host_load);
        state.staleness = settings.host_staleness_threshold;
    }

    /// Adds to the holds what is remembered that concerns the snapshot, and takes in what the snapshot shows.
    pub(super) fn hold(&self, holds: &mut Holds, snapshot: &Snapshot, now: Instant) -> FlagsSeen {
        let mut state = self.state.lock();
        state.database_clock = Some((snapshot.taken_at, now));
        let flags = state.flags.look(&snapshot.shows, now);
        state.loads.look(snapshot, now);
        state.failing_hosts.know(snapshot);
        holds.put_aside = state.put_aside(now);
        holds.overdue = state.overdue(snapshot);
        holds.load_stuck = state.loads.stuck();
        holds.booked_lately = state.loads.booked_lately(snapshot);
        holds.fractions = state.fractions.clone();
        holds.backing_off = state.backing_off(now);
        holds.unlaunchable = state.unlaunchable(&holds.backing_off, snapshot);
        holds.on_probation = state.breakers.layers_on_probation(now).into_iter().collect();
        holds.elsewhere = state.elsewhere.hold(snapshot, now);
        holds.taken_back = flags.taken_back.iter().cloned().collect();
        flags
    }

    /// The time by the database's clock, as the last snapshot has shown it. Before the first one nothing is
    /// booked or launched.
    pub(super) fn database_now(&self) -> Timestamp {
        let clock = self.state.lock().database_clock;
        clock.map_or(Timestamp::UNIX_EPOCH, |(time, read_at)| time + read_at.elapsed())
    }

    /// Layers that are held back for a while.
    pub(crate) fn backing_off(&self, now: Instant) -> BTreeSet<LayerId> {
        self.state.lock().backing_off(now)
    }

    /// As [`Flags::kept`].
    pub(super) fn shows_kept(&self, now: Instant) -> HashSet<ShowId> {
        self.state.lock().flags.kept(now)
    }

    /// Gives `act` what is known of the hosts' reports.
    pub(super) fn reports<T>(&self, act: impl FnOnce(&mut Silence) -> T) -> T {
        act(&mut self.state.lock().reports)
    }

    /// Gives `act` what is known of the hosts' loads.
    pub(super) fn loads<T>(&self, act: impl FnOnce(&mut Loads) -> T) -> T {
        act(&mut self.state.lock().loads)
    }

    /// When something that is held back now may be planned again: no change in the database tells of it.
    pub(super) fn next_release(&self, now: Instant) -> Option<Instant> {
        let state = self.state.lock();
        let releases = [
            state.breakers.next_release(now),
            state.fruitless.next_release(now),
            state.elsewhere.next_release(now),
            state.failing_hosts.next_release(now),
            state.held_hosts.next_release(now),
            state.held_layers.next_release(now),
        ];
        releases.into_iter().flatten().min()
    }

    /// Whether nothing shall be booked for a moment.
    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.state.lock().paused_until.is_some_and(|until| until > now)
    }

    pub(super) fn pause(&self, time: Duration, now: Instant) {
        self.state.lock().paused_until = Some(now + time);
    }

    /// Whether this process had no file descriptor left a moment ago. It is told for longer than nothing
    /// is booked: whether the shortage is over shows only when work is tried again.
    pub(super) fn lacks_descriptors(&self, now: Instant) -> bool {
        self.state.lock().paused_until.is_some_and(|until| until + SHORTAGE_TOLD > now)
    }

    /// Why a booking shall not even be tried now: another chunk met the row that somebody holds.
    pub(super) fn held(&self, host: &HostId, layer: &LayerId, now: Instant) -> Option<LostReason> {
        let state = self.state.lock();
        if state.held_hosts.rests(host, now) {
            return Some(LostReason::HostLocked);
        }
        state.held_layers.rests(layer, now).then_some(LostReason::RowLocked)
    }

    /// Whether somebody held a host's row not long ago.
    pub(super) fn has_met_held_hosts(&self, now: Instant) -> bool {
        self.state.lock().host_found_held.is_some_and(|found| now < found + HELD_HOSTS_SOUGHT)
    }

    /// How many frames to put into one transaction, so that it takes about `time`.
    pub(super) fn chunk_frames(&self, frames_max: usize, time: Duration) -> usize {
        let Some(rate) = self.state.lock().frames_per_second else { return CHUNK_FRAMES_FIRST.min(frames_max) };
        let frames = rate * time.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
        let frames = frames as usize;
        frames.max(CHUNK_FRAMES_MIN).min(frames_max)
    }

    /// Takes what a chunk came to that took so long: whose rows are held, who was refused, and how fast
    /// the server writes.
    pub(super) fn chunk_ended(&self, outcome: &ChunkOutcome, took: Duration, now: Instant) {
        let mut state = self.state.lock();
        state.loads.booked(&outcome.booked);
        for booked in &outcome.booked {
            state.held_hosts.freed(&booked.host);
            state.held_layers.freed(&booked.layer);
        }
        for lost in &outcome.lost {
            match lost.reason {
                LostReason::HostLocked => {
                    state.held_hosts.found(&lost.host, now);
                    state.host_found_held = Some(now);
                }
                LostReason::RowLocked => state.held_layers.found(&lost.layer, now),
                _ => {}
            }
        }
        for refusal in outcome.refusals.iter().filter(|refusal| refusal.blames == Blame::HostOrLayer) {
            let reason = format!("the database refuses bookings on it, {}: {}", refusal.step, refusal.message);
            state.breakers.refused(&refusal.host, &refusal.layer, &reason, now);
        }
        let frames = outcome.booked.len();
        if outcome.halved > 0 || (outcome.rolled_back == 0 && frames >= TELLING_FRAMES_MIN) {
            // What it waited for before it held anything is not the server's writing.
            let time = if outcome.halved > 0 { took } else { outcome.held };
            #[expect(clippy::cast_precision_loss, reason = "a chunk's frames")]
            let seen = frames as f64 / time.as_secs_f64().max(0.001);
            // What ran out of time is believed at once, all else by and by: a short wait is not the server's pace.
            let rate = match state.frames_per_second {
                Some(before) if outcome.halved > 0 => before.min(seen),
                Some(before) => before.midpoint(seen),
                None => seen,
            };
            state.frames_per_second = Some(rate);
        }
    }

    /// Gives `act` what is remembered of work that comes to nothing.
    pub(super) fn fruitless<T>(&self, act: impl FnOnce(&mut Fruitless) -> T) -> T {
        act(&mut self.state.lock().fruitless)
    }

    /// Gives `act` what is remembered of frames that go to another host.
    pub(super) fn elsewhere<T>(&self, act: impl FnOnce(&mut Elsewhere) -> T) -> T {
        act(&mut self.state.lock().elsewhere)
    }

    /// Gives `act` what is remembered of hosts that fail whatever they get.
    pub(super) fn failing_hosts<T>(&self, act: impl FnOnce(&mut FailingHosts) -> T) -> T {
        act(&mut self.state.lock().failing_hosts)
    }

    /// Gives `act` what is remembered of hosts and layers whose launches fail.
    pub(super) fn breakers<T>(&self, act: impl FnOnce(&mut Breakers) -> T) -> T {
        act(&mut self.state.lock().breakers)
    }

    /// Takes what a pass found of frames that cannot be launched, by layer, and of which layers it found others.
    /// Returns the layers that were not known for it.
    pub(super) fn seen_unlaunchable<'l>(
        &self,
        problems: BTreeMap<LayerId, String>,
        launchable: impl Iterator<Item = &'l LayerId>,
    ) -> BTreeMap<LayerId, String> {
        let state = &mut *self.state.lock();
        if !state.unlaunchable.is_empty() {
            // Where frames are passed over the broken ones may be among them.
            for layer in launchable.filter(|layer| state.fruitless.additional(layer) == 0) {
                state.unlaunchable.remove(layer);
            }
        }
        let new = problems
            .into_iter()
            .filter(|(layer, problem)| state.unlaunchable.insert(layer.clone(), problem.clone()).is_none());
        new.collect()
    }

    pub(super) fn end_question(&self, host: &HostId, error: Option<&AgentError>, now: Instant) {
        let is_new = self.state.lock().breakers.end_question(host, error, now);
        if let Some(error) = error.filter(|_| is_new) {
            tracing::warn!(error = error_chain(error), "a host is put aside, and asked less and less");
        }
    }

    /// The agent of a host does not take such fractions.
    pub(super) fn fractions_refused(&self, host: &HostId, host_name: &str, fractions: Fractions) {
        let mut state = self.state.lock();
        let known = state.fractions.entry(host.clone()).or_default();
        if *known < fractions {
            *known = fractions;
            let of = if fractions == Fractions::None { "all" } else { "threadable" };
            tracing::info!(
                host = host_name,
                of,
                "an agent refuses fractions of a core; from now on they are rounded up when planned on this host"
            );
        }
    }

    /// Withholds a host while a launch on it has no known outcome.
    pub(super) fn unsettled(&self, host: &HostId) {
        *self.state.lock().unsettled.entry(host.clone()).or_default() += 1;
    }

    pub(super) fn settled(&self, host: &HostId) {
        let mut state = self.state.lock();
        if let Some(launches) = state.unsettled.get_mut(host) {
            *launches -= 1;
            if *launches == 0 {
                state.unsettled.remove(host);
            }
        }
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

    /// Returns when Cuebot is not silent.
    pub(super) async fn silence_ended(&self) {
        let _ = self.silence.subscribe().wait_for(|is_silent| !*is_silent).await;
    }
}

/// So long after its flag went off a show is left to Cuebot, if ever.
fn left_after(settings: &Settings) -> Option<Duration> {
    (settings.flag_off == FlagOff::Stop).then_some(settings.flag_off_after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rqd::AnswerFault;

    #[test]
    fn a_host_is_put_aside_with_all_that_is_known_of_it() {
        let (hints, host, now) = (Hints::new(&Settings::default()), "h".into(), Instant::now());
        hints.unsettled(&host);
        assert_eq!(hints.state.lock().put_aside(now)[&host], "1 launches without a known outcome");
        let unfit = AgentError::Unfit { host: "node-1".to_owned(), fault: AnswerFault::Endless };
        assert_eq!(hints.breakers(|breakers| breakers.begin_question(&host, now)), Ok(()));
        hints.end_question(&host, Some(&unfit), now);
        let reason = &hints.state.lock().put_aside(now)[&host];
        assert!(
            reason.starts_with("1 launches without a known outcome; what answers as the agent of node-1 is"),
            "{reason}"
        );
        hints.settled(&host);
        assert!(hints.state.lock().put_aside(now)[&host].ends_with("it goes on sending after its answer"));
    }

    #[test]
    fn a_shortage_of_descriptors_is_told_for_longer_than_it_pauses() {
        let (hints, now) = (Hints::new(&Settings::default()), Instant::now());
        assert!(!hints.lacks_descriptors(now));
        let pause = Duration::from_secs(5);
        hints.pause(pause, now);
        assert!(hints.is_paused(now) && hints.lacks_descriptors(now));
        assert!(!hints.is_paused(now + pause) && hints.lacks_descriptors(now + pause));
        assert!(!hints.lacks_descriptors(now + pause + SHORTAGE_TOLD));
    }
}
