//! Named background tasks under one stop signal, so that stopping can wait for all of them and say
//! which did not end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A set of tasks that stop together. Cloning shares the set.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    alive: Arc<Mutex<BTreeMap<u64, &'static str>>>,
}

impl Tasks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the set is told to stop; every loop selects on it first.
    pub fn stop_signal(&self) -> CancellationToken {
        self.stop.clone()
    }

    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let entry = Entry::new(&self.alive, name);
        self.tracker.spawn(async move {
            let _entry = entry;
            work.await;
        });
    }

    /// Announces the stop and waits for the tasks, at most `limit`.
    /// Returns the names of those still running then; empty when all ended.
    pub async fn stop(&self, limit: Duration) -> Vec<&'static str> {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_ok() {
            return Vec::new();
        }
        self.alive.lock().values().copied().collect()
    }
}

/// Keeps a task's name listed until it ends, by panic too.
struct Entry {
    alive: Arc<Mutex<BTreeMap<u64, &'static str>>>,
    number: u64,
}

impl Entry {
    fn new(alive: &Arc<Mutex<BTreeMap<u64, &'static str>>>, name: &'static str) -> Self {
        let mut names = alive.lock();
        let number = names.last_key_value().map_or(0, |(last, _)| last + 1);
        names.insert(number, name);
        Self { alive: Arc::clone(alive), number }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.alive.lock().remove(&self.number);
    }
}

/// Waits. False when told to stop meanwhile.
pub(crate) async fn sleep_or_stop(time: Duration, stop: &CancellationToken) -> bool {
    stop.run_until_cancelled(tokio::time::sleep(time)).await.is_some()
}

/// Pauses that double, from the first up to a longest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    pauses: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, pauses: 0 }
    }

    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.first.saturating_mul(2u32.saturating_pow(self.pauses)).min(self.longest);
        self.pauses = self.pauses.saturating_add(1);
        pause
    }

    pub(crate) const fn has_begun(&self) -> bool {
        self.pauses > 0
    }

    /// The next pause is the first one again.
    pub(crate) const fn reset(&mut self) {
        self.pauses = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let seconds: Vec<u64> = (0..5).map(|_| backoff.next_pause().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.next_pause(), Duration::from_secs(1));
        // The first may be longer than the longest.
        assert_eq!(Backoff::new(Duration::from_secs(9), Duration::from_secs(2)).next_pause(), Duration::from_secs(2));
    }

    #[tokio::test]
    async fn a_stop_names_what_did_not_end() {
        let tasks = Tasks::new();
        let stop = tasks.stop_signal();
        tasks.spawn("polite", async move { stop.cancelled().await });
        tasks.spawn("stubborn", std::future::pending());
        assert_eq!(tasks.stop(Duration::from_millis(50)).await, ["stubborn"]);
    }
}
