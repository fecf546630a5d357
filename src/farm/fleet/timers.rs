//! One queue of everything that is due later, for the whole fleet: a thousand hosts with thousands of
//! frames need one task, not one each.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// The run behind a launch is over by itself. Numbers count hosts and launches of the fleet.
    FrameEnds {
        host: usize,
        launch: usize,
    },
    Report {
        host: usize,
    },
    Die {
        host: usize,
    },
    Revive {
        host: usize,
    },
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    due: Mutex<BinaryHeap<Reverse<(Instant, Event)>>>,
    earlier: Notify,
}

impl Timers {
    pub(super) fn at(&self, instant: Instant, event: Event) {
        let mut due = self.due.lock();
        let is_earliest = due.peek().is_none_or(|Reverse((first, _))| instant < *first);
        due.push(Reverse((instant, event)));
        drop(due);
        if is_earliest {
            self.earlier.notify_one();
        }
    }

    /// Waits until something is due and takes all that is, earliest first.
    pub(super) async fn next(&self) -> Vec<Event> {
        loop {
            let first = match self.take(Instant::now()) {
                Ok(events) => return events,
                Err(first) => first,
            };
            tokio::select! {
                () = self.earlier.notified() => {}
                () = sleep_until(first) => {}
            }
        }
    }

    /// What is due, or when the first will be.
    fn take(&self, now: Instant) -> Result<Vec<Event>, Option<Instant>> {
        let mut due = self.due.lock();
        let mut events = Vec::new();
        while let Some(Reverse((instant, event))) = due.peek().copied() {
            if instant > now {
                return if events.is_empty() { Err(Some(instant)) } else { Ok(events) };
            }
            due.pop();
            events.push(event);
        }
        if events.is_empty() { Err(None) } else { Ok(events) }
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_due_first_comes_first() {
        let timers = Timers::default();
        let now = Instant::now();
        timers.at(now + Duration::from_millis(20), Event::Report { host: 2 });
        timers.at(now + Duration::from_millis(10), Event::Report { host: 1 });
        assert_eq!(timers.next().await, [Event::Report { host: 1 }]);
        timers.at(now, Event::Die { host: 0 });
        assert_eq!(timers.next().await, [Event::Die { host: 0 }]);
        assert_eq!(timers.next().await, [Event::Report { host: 2 }]);
        assert!(now.elapsed() >= Duration::from_millis(20));
    }
}
