//! How long to wait before what failed is tried again.

use std::time::Duration;

/// A wait that doubles each time, up to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    times: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, times: 0 }
    }

    /// The next wait.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.first.saturating_mul(2u32.saturating_pow(self.times)).min(self.max);
        self.times = self.times.saturating_add(1);
        wait
    }

    /// How many waits there were in a row.
    pub(crate) const fn times(&self) -> u32 {
        self.times
    }

    pub(crate) const fn reset(&mut self) {
        self.times = 0;
    }
}
