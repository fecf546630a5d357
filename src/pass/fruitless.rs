//! What does not come to anything, remembered so that it does not take the place of what would.
//!
//! A layer whose count says that frames wait, and that has none, or only frames that cannot be read,
//! launched or written, would be given hosts in every plan. Such frames are passed over for a while and
//! the ones behind them asked for instead; a layer of which nothing could be booked is held back, for
//! longer each time.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::model::{FrameId, LayerId, WaitingFrame};

const HELD_BACK_FIRST: Duration = Duration::from_secs(1);
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
    times: u32,
    until: Instant,
}

#[derive(Debug)]
struct Strikes {
    version: i32,
    strikes: u32,
    until: Instant,
}

impl Fruitless {
    /// `back_off`: the longest that anything is held back.
    pub(super) fn new(back_off: Duration) -> Self {
        Self { back_off, layers: HashMap::new(), frames: HashMap::new(), additional: HashMap::new() }
    }

    pub(super) fn layers(&self, now: Instant) -> impl Iterator<Item = &LayerId> {
        self.layers.iter().filter(move |(_, held)| held.until > now).map(|(layer, _)| layer)
    }

    /// How many frames to read of a layer besides those that are wanted.
    pub(super) fn additional(&self, layer: &LayerId) -> u32 {
        self.additional.get(layer).copied().unwrap_or_default()
    }

    /// Takes out frames that are passed over now, and remembers how many there were, those that could
    /// not be read among them.
    pub(super) fn pass_over(
        &mut self,
        frames: &mut HashMap<LayerId, Vec<WaitingFrame>>,
        unreadable: &HashMap<LayerId, u32>,
        now: Instant,
    ) {
        self.frames.retain(|_, strikes| strikes.until > now);
        let mut additional: HashMap<LayerId, u32> = unreadable.clone();
        for (layer, frames) in frames.iter_mut() {
            let before = frames.len();
            frames.retain(|frame| {
                self.frames
                    .get(&frame.id)
                    .is_none_or(|known| known.version != frame.version || known.strikes < STRIKES_MAX)
            });
            *additional.entry(layer.clone()).or_default() += u32::try_from(before - frames.len()).unwrap_or(u32::MAX);
        }
        for (layer, frames) in additional {
            match frames.min(ADDITIONAL_MAX) {
                0 => _ = self.additional.remove(&layer),
                frames => _ = self.additional.insert(layer, frames),
            }
        }
    }

    /// The frame can never be booked as it is.
    pub(super) fn hopeless(&mut self, frame: &FrameId, version: i32, now: Instant) {
        self.strike(frame, version, STRIKES_MAX, now);
    }

    /// Somebody else had the frame. Now and then that is so.
    pub(super) fn taken(&mut self, frame: &FrameId, version: i32, now: Instant) {
        self.strike(frame, version, 1, now);
    }

    fn strike(&mut self, frame: &FrameId, version: i32, strikes: u32, now: Instant) {
        if self.frames.len() >= FRAMES_MAX && !self.frames.contains_key(frame) {
            return;
        }
        let until = now + self.back_off;
        let known = self.frames.entry(frame.clone()).or_insert(Strikes { version, strikes: 0, until });
        if known.version != version {
            *known = Strikes { version, strikes: 0, until };
        }
        known.strikes = known.strikes.saturating_add(strikes);
        known.until = until;
    }

    /// What became of layers that were given hosts: `booked` something, or nothing for no reason that
    /// passes by itself.
    pub(super) fn judge<'a>(
        &mut self,
        planned: impl Iterator<Item = &'a LayerId>,
        booked: &HashSet<&LayerId>,
        excused: &HashSet<&LayerId>,
        now: Instant,
    ) {
        for layer in planned {
            if booked.contains(layer) {
                self.layers.remove(layer);
            } else if !excused.contains(layer) {
                let held = self.layers.entry(layer.clone()).or_insert(HeldBack { times: 0, until: now });
                let wait = HELD_BACK_FIRST.saturating_mul(2u32.saturating_pow(held.times)).min(self.back_off);
                held.times = held.times.saturating_add(1);
                held.until = now + wait;
            }
        }
        let quiet = self.back_off;
        self.layers.retain(|_, held| held.until + quiet > now);
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
            fruitless.taken(&"f".into(), 1, now);
            assert!(is_kept(&mut fruitless));
        }
        fruitless.taken(&"f".into(), 1, now);
        assert!(!is_kept(&mut fruitless));
    }

    #[test]
    fn a_layer_that_gives_nothing_is_held_back_longer_each_time_and_forgiven_at_once() {
        let (mut fruitless, start) = (Fruitless::new(Duration::from_secs(8)), Instant::now());
        let layer = LayerId::from("layer");
        let none = HashSet::new();
        let mut waits = Vec::new();
        for _ in 0..5 {
            fruitless.judge([&layer].into_iter(), &none, &none, start);
            let held = |second: &u64| fruitless.layers(start + Duration::from_secs(*second)).next().is_some();
            waits.push((0..20).find(|second| !held(second)));
        }
        assert_eq!(waits, [Some(1), Some(2), Some(4), Some(8), Some(8)]);
        fruitless.judge([&layer].into_iter(), &HashSet::from([&layer]), &none, start);
        assert!(fruitless.layers(start).next().is_none());
    }
}
