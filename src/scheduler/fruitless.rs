//! What does not come to anything, remembered so that it does not take the place of what would.
//!
//! A layer whose count says that frames wait, and that has none, or only frames that cannot be read,
//! launched or written, would be given hosts in every plan. Such frames are passed over for a while and
//! the ones behind them asked for instead; a layer of which nothing could be booked is held back, for
//! longer each time.
//!
//! Frames and layers whose rows another session holds are left alone for a moment only, since the lock may
//! go at any time.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::booking::{Blame, ChunkOutcome, LostReason};
use crate::model::{FrameId, LayerId, WaitingFrame};
use crate::tasks::Backoff;

const HELD_BACK_FIRST: Duration = Duration::from_secs(1);
/// How long a frame is passed over whose row another session holds.
const LOCKED_FRAME_REST: Duration = Duration::from_millis(1_500);
/// How long a layer rests of which nothing else was found. Shorter, so that several looks pass over all that
/// is held before the first of it is tried again.
const LOCKED_LAYER_REST: Duration = Duration::from_millis(200);
/// A frame that could not be claimed so often, unchanged, is held by a row that nobody looks after.
const STRIKES_MAX: u32 = 3;
/// Beyond this many, frames are no longer remembered one by one; their layers still are.
const FRAMES_MAX: usize = 10_000;
/// Frames that are read in addition, to come past those that are passed over.
const ADDITIONAL_MAX: u32 = 1_000;

#[derive(Debug)]
pub(super) struct Fruitless {
    back_off: Duration,
    layers: HashMap<LayerId, HeldBack>,
    frames: HashMap<FrameId, Strikes>,
    additional: HashMap<LayerId, u32>,
}

#[derive(Debug)]
struct HeldBack {
    wait: Backoff,
    until: Instant,
}

#[derive(Debug)]
struct Strikes {
    version: i32,
    in_a_row: u32,
    /// They are remembered until then.
    until: Instant,
    /// Another session held the row a moment ago.
    locked_until: Instant,
}

impl Strikes {
    fn passes_over(&self, frame: &WaitingFrame, now: Instant) -> bool {
        self.version == frame.version && (self.in_a_row >= STRIKES_MAX || self.locked_until > now)
    }
}

/// What a pass has tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried<'t> {
    /// Layers that were given hosts.
    pub(super) layers: &'t [LayerId],
    /// Of the frames.
    pub(super) versions: &'t HashMap<FrameId, i32>,
    /// Layers of which another session held frames a moment ago.
    pub(super) locked: &'t HashSet<LayerId>,
    /// Layers of which frames keep off the hosts that they were given.
    pub(super) elsewhere: &'t HashSet<LayerId>,
}

/// What became of one layer that was given hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Booked,
    /// Nothing was booked, for a reason that passes by itself.
    Excused,
    /// Nothing was booked, as another session holds rows of it.
    Locked,
    Nothing,
}

impl Fruitless {
    /// `back_off`: the longest that anything is held back.
    pub(super) fn new(back_off: Duration) -> Self {
        Self { back_off, layers: HashMap::new(), frames: HashMap::new(), additional: HashMap::new() }
    }

    /// The longest that anything is held back from now on.
    pub(super) fn hold_for(&mut self, back_off: Duration) {
        self.back_off = back_off;
    }

    pub(super) fn layers(&self, now: Instant) -> impl Iterator<Item = &LayerId> {
        self.layers.iter().filter(move |(_, held)| held.until > now).map(|(layer, _)| layer)
    }

    /// When the next layer may be planned again.
    pub(super) fn next_release(&self, now: Instant) -> Option<Instant> {
        self.layers.values().map(|held| held.until).filter(|until| *until > now).min()
    }

    /// How many frames to read of a layer besides those that are wanted.
    pub(super) fn additional(&self, layer: &LayerId) -> u32 {
        self.additional.get(layer).copied().unwrap_or_default()
    }

    /// Takes out frames that are passed over now, and remembers how many there were, those that could
    /// not be read among them. Returns the layers of which another session holds frames.
    pub(super) fn pass_over(
        &mut self,
        frames: &mut HashMap<LayerId, Vec<WaitingFrame>>,
        unreadable: &HashMap<LayerId, u32>,
        now: Instant,
    ) -> HashSet<LayerId> {
        self.frames.retain(|_, strikes| strikes.until > now);
        let mut additional: HashMap<LayerId, u32> = unreadable.clone();
        let mut locked = HashSet::new();
        for (layer, frames) in frames.iter_mut() {
            let before = frames.len();
            frames.retain(|frame| {
                let known = self.frames.get(&frame.id).filter(|known| known.passes_over(frame, now));
                if known.is_some_and(|known| known.locked_until > now) {
                    locked.insert(layer.clone());
                }
                known.is_none()
            });
            *additional.entry(layer.clone()).or_default() += u32::try_from(before - frames.len()).unwrap_or(u32::MAX);
        }
        for (layer, frames) in additional {
            match frames.min(ADDITIONAL_MAX) {
                0 => _ = self.additional.remove(&layer),
                frames => _ = self.additional.insert(layer, frames),
            }
        }
        locked
    }

    /// Whether a frame is passed over now.
    pub(super) fn is_passed_over(&self, frame: &WaitingFrame, now: Instant) -> bool {
        self.frames.get(&frame.id).is_some_and(|known| known.until > now && known.passes_over(frame, now))
    }

    /// The frame can never be booked as it is.
    pub(super) fn hopeless(&mut self, frame: &FrameId, version: i32, now: Instant) {
        self.strike(frame, version, STRIKES_MAX, now);
    }

    /// Takes what came of a pass. The reason decides what a loss counts against: a lock against nothing, a
    /// host's refusal not against the frame.
    pub(super) fn judge(&mut self, tried: &Tried<'_>, outcome: &ChunkOutcome, now: Instant) {
        let blames: HashMap<&FrameId, Blame> =
            outcome.refusals.iter().map(|refusal| (&refusal.frame, refusal.blames)).collect();
        let fate = |layer| match layer {
            layer if tried.locked.contains(layer) => Fate::Locked,
            layer if tried.elsewhere.contains(layer) => Fate::Excused,
            _ => Fate::Nothing,
        };
        let mut fates: HashMap<&LayerId, Fate> = tried.layers.iter().map(|layer| (layer, fate(layer))).collect();
        for lost in &outcome.lost {
            let Some(&version) = tried.versions.get(&lost.frame) else { continue };
            match (lost.reason, blames.get(&lost.frame)) {
                (LostReason::NothingReserved, _) | (LostReason::Refused, Some(Blame::Frame)) => {
                    self.hopeless(&lost.frame, version, now);
                }
                // Now and then somebody else has the frame.
                (LostReason::FrameTaken, _) => self.strike(&lost.frame, version, 1, now),
                (LostReason::FrameLocked, _) => {
                    self.locked(&lost.frame, version, now);
                    fates.insert(&lost.layer, Fate::Locked);
                }
                (LostReason::Refused, Some(Blame::Layer)) => self.relieve(&lost.frame),
                // Somebody else was faster, or holds a row; the next snapshot knows.
                _ => {
                    self.relieve(&lost.frame);
                    fates.insert(&lost.layer, Fate::Excused);
                }
            }
        }
        for booked in &outcome.booked {
            fates.insert(&booked.layer, Fate::Booked);
        }
        self.judge_layers(fates.into_iter(), now);
    }

    /// Another session holds the frame's row: those behind it go first for a moment.
    fn locked(&mut self, frame: &FrameId, version: i32, now: Instant) {
        if let Some(known) = self.remember(frame, version, now) {
            known.in_a_row = 0;
            known.locked_until = now + LOCKED_FRAME_REST;
        }
    }

    /// The frame was lost for a reason that is not its own: strikes count only in a row.
    fn relieve(&mut self, frame: &FrameId) {
        self.frames.remove(frame);
    }

    fn strike(&mut self, frame: &FrameId, version: i32, strikes: u32, now: Instant) {
        if let Some(known) = self.remember(frame, version, now) {
            known.in_a_row = known.in_a_row.saturating_add(strikes);
        }
    }

    /// `None` when too much is remembered already.
    fn remember(&mut self, frame: &FrameId, version: i32, now: Instant) -> Option<&mut Strikes> {
        if self.frames.len() >= FRAMES_MAX && !self.frames.contains_key(frame) {
            return None;
        }
        let until = now + self.back_off;
        let fresh = || Strikes { version, in_a_row: 0, until, locked_until: now };
        let known = self.frames.entry(frame.clone()).or_insert_with(fresh);
        if known.version != version {
            *known = fresh();
        }
        known.until = until;
        Some(known)
    }

    /// A layer of which all frames were passed over, since another session held them a moment ago, rests
    /// only as one with locked rows.
    fn judge_layers<'a>(&mut self, fates: impl Iterator<Item = (&'a LayerId, Fate)>, now: Instant) {
        let longest = self.back_off;
        for (layer, fate) in fates {
            let fresh = || HeldBack { wait: Backoff::new(HELD_BACK_FIRST, longest), until: now };
            match fate {
                Fate::Booked => _ = self.layers.remove(layer),
                Fate::Excused => {}
                Fate::Locked => {
                    let held = self.layers.entry(layer.clone()).or_insert_with(fresh);
                    held.until = held.until.max(now + LOCKED_LAYER_REST);
                }
                Fate::Nothing => {
                    let held = self.layers.entry(layer.clone()).or_insert_with(fresh);
                    held.until = now + held.wait.next_pause();
                }
            }
        }
        self.layers.retain(|_, held| held.until + longest > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn frame(id: &str) -> WaitingFrame {
        WaitingFrame {
            id: id.into(),
            version: 1,
            layer: "layer".into(),
            job: "job".into(),
            name: String::new(),
            number: 1,
            waiting_since: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_hopeless_frame_is_passed_over_and_the_next_one_asked_for() {
        let (mut fruitless, now) = (Fruitless::new(Duration::from_secs(300)), Instant::now());
        fruitless.hopeless(&"bad".into(), 1, now);
        let mut frames = HashMap::from([("layer".into(), vec![frame("bad"), frame("good")])]);
        fruitless.pass_over(&mut frames, &HashMap::from([("layer".into(), 2)]), now);
        assert_eq!(frames[&LayerId::from("layer")], [frame("good")]);
        assert_eq!(fruitless.additional(&"layer".into()), 3);
        // Once it has changed it has a new chance.
        let mut changed = HashMap::from([("layer".into(), vec![WaitingFrame { version: 2, ..frame("bad") }])]);
        fruitless.pass_over(&mut changed, &HashMap::new(), now);
        assert_eq!(changed[&LayerId::from("layer")].len(), 1);
        assert_eq!(fruitless.additional(&"layer".into()), 0);
    }

    #[test]
    fn a_frame_must_be_lost_three_times_unchanged() {
        let (mut fruitless, now) = (Fruitless::new(Duration::from_secs(300)), Instant::now());
        let is_kept = |fruitless: &mut Fruitless| {
            let mut frames = HashMap::from([("layer".into(), vec![frame("f")])]);
            fruitless.pass_over(&mut frames, &HashMap::new(), now);
            !frames[&LayerId::from("layer")].is_empty()
        };
        for _ in 0..2 {
            fruitless.strike(&"f".into(), 1, 1, now);
            assert!(is_kept(&mut fruitless));
        }
        fruitless.strike(&"f".into(), 1, 1, now);
        assert!(!is_kept(&mut fruitless));
    }

    #[test]
    fn strikes_count_only_in_a_row() {
        let (mut fruitless, now) = (Fruitless::new(Duration::from_secs(300)), Instant::now());
        for _ in 0..3 {
            fruitless.strike(&"f".into(), 1, 1, now);
            fruitless.strike(&"f".into(), 1, 1, now);
            fruitless.relieve(&"f".into());
        }
        let mut frames = HashMap::from([("layer".into(), vec![frame("f")])]);
        fruitless.pass_over(&mut frames, &HashMap::new(), now);
        assert_eq!(frames[&LayerId::from("layer")].len(), 1);
    }

    #[test]
    fn a_locked_frame_lets_those_behind_it_go_first_for_a_moment_and_is_never_hopeless() {
        let (mut fruitless, start) = (Fruitless::new(Duration::from_secs(300)), Instant::now());
        let left = |fruitless: &mut Fruitless, now: Instant| {
            let mut frames = HashMap::from([("layer".into(), vec![frame("held"), frame("free")])]);
            let locked = fruitless.pass_over(&mut frames, &HashMap::new(), now);
            (frames[&LayerId::from("layer")].len(), locked.len())
        };
        for second in 0..20 {
            let now = start + Duration::from_secs(second * 2);
            assert_eq!(left(&mut fruitless, now), (2, 0));
            fruitless.locked(&"held".into(), 1, now);
            assert_eq!(left(&mut fruitless, now), (1, 1));
            assert_eq!(fruitless.additional(&"layer".into()), 1);
        }
    }

    #[test]
    fn a_layer_with_locked_rows_rests_for_a_moment_and_no_longer_each_time() {
        let (mut fruitless, start) = (Fruitless::new(Duration::from_secs(8)), Instant::now());
        let layer = LayerId::from("layer");
        for _ in 0..5 {
            fruitless.judge_layers([(&layer, Fate::Locked)].into_iter(), start);
            assert!(fruitless.layers(start).next().is_some());
            assert!(fruitless.layers(start + LOCKED_LAYER_REST).next().is_none());
        }
    }

    #[test]
    fn a_layer_that_gives_nothing_is_held_back_longer_each_time_and_forgiven_at_once() {
        let (mut fruitless, start) = (Fruitless::new(Duration::from_secs(8)), Instant::now());
        let layer = LayerId::from("layer");
        let mut waits = Vec::new();
        for _ in 0..5 {
            fruitless.judge_layers([(&layer, Fate::Nothing)].into_iter(), start);
            let held = |second: &u64| fruitless.layers(start + Duration::from_secs(*second)).next().is_some();
            waits.push((0..20).find(|second| !held(second)));
        }
        assert_eq!(waits, [Some(1), Some(2), Some(4), Some(8), Some(8)]);
        fruitless.judge_layers([(&layer, Fate::Booked)].into_iter(), start);
        assert!(fruitless.layers(start).next().is_none());
    }
}
