//! Things whose rows other sessions hold, and how long they are left alone for it.
//!
//! On a busy farm releases hold host rows for some 15 to 130 ms, so what is found held is simply tried
//! again with the next pass. What stays held is a forgotten session's, and every look at it costs a
//! chunk: that rests, longer each time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::tasks::Backoff;

/// Held for so long, it is no release in progress.
const PATIENCE: Duration = Duration::from_secs(1);
const REST_FIRST: Duration = Duration::from_secs(1);
/// Not looked at for so long, nobody knows whether it was held all the time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(super) struct HeldRows<Key> {
    rest_max: Duration,
    held: HashMap<Key, Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    since: Instant,
    seen_at: Instant,
    rest: Backoff,
    until: Instant,
}

impl<Key: Clone + Eq + Hash> HeldRows<Key> {
    pub(super) fn new(rest_max: Duration) -> Self {
        Self { rest_max, held: HashMap::new() }
    }

    /// It was found held.
    pub(super) fn found(&mut self, key: &Key, now: Instant) {
        self.held.retain(|_, held| now < held.seen_at + FORGOTTEN_AFTER);
        let fresh = Held { since: now, seen_at: now, rest: Backoff::new(REST_FIRST, self.rest_max), until: now };
        let held = self.held.entry(key.clone()).or_insert(fresh);
        held.seen_at = now;
        // Many chunks of one pass find the same.
        if now >= held.until && now.duration_since(held.since) >= PATIENCE {
            held.until = now + held.rest.next_pause();
        }
    }

    /// It was found free.
    pub(super) fn freed(&mut self, key: &Key) {
        self.held.remove(key);
    }

    pub(super) fn rests(&self, key: &Key, now: Instant) -> bool {
        self.held.get(key).is_some_and(|held| now < held.until)
    }

    /// When the next of them is tried again.
    pub(super) fn next_release(&self, now: Instant) -> Option<Instant> {
        self.held.values().map(|held| held.until).filter(|until| *until > now).min()
    }

    /// What rests now, and for how long it has been held.
    pub(super) fn resting(&self, now: Instant) -> impl Iterator<Item = (&Key, Duration)> {
        let resting = self.held.iter().filter(move |(_, held)| now < held.until);
        resting.map(move |(key, held)| (key, now.duration_since(held.since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_release_in_progress_costs_no_rest() {
        let (mut rows, start) = (HeldRows::new(Duration::from_secs(5)), Instant::now());
        for milli in [0, 130, 400, 900] {
            rows.found(&"host", start + MILLI * milli);
            assert!(!rows.rests(&"host", start + MILLI * milli));
        }
        // Free in between: the patience begins anew.
        rows.freed(&"host");
        rows.found(&"host", start + MILLI * 1_500);
        assert!(!rows.rests(&"host", start + MILLI * 1_500));
    }

    #[test]
    fn what_stays_held_rests_longer_each_time_up_to_a_bound() {
        let (mut rows, start) = (HeldRows::new(Duration::from_secs(5)), Instant::now());
        rows.found(&"host", start);
        let mut now = start + Duration::from_secs(1);
        let mut rests = Vec::new();
        for _ in 0..5 {
            rows.found(&"host", now);
            // What other chunks of the pass find does not add to it.
            rows.found(&"host", now);
            let rest = (0..20).find(|second| !rows.rests(&"host", now + Duration::from_secs(*second))).unwrap();
            rests.push(rest);
            now += Duration::from_secs(rest);
        }
        assert_eq!(rests, [1, 2, 4, 5, 5]);
        assert_eq!(
            rows.resting(now.checked_sub(MILLI).unwrap())
                .map(|(host, held)| (*host, held.as_secs()))
                .collect::<Vec<_>>(),
            [("host", 17)]
        );
    }
}
