//! A host's share of calls, and the places that calls take beside those to other hosts.
//!
//! Calls to hosts that answer have places of their own, and so have calls to hosts that have not answered
//! lately. Whatever is not answered soon leaves its place to the next: what waits for an answer costs a
//! connection, and no other host's turn.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::pace::{End, Pace};
use crate::config::AgentSettings;

/// The calls of one host.
pub(super) struct Share {
    turns: Semaphore,
    state: Mutex<State>,
}

struct State {
    pace: Pace,
    /// Turns that there are, taken or not.
    width: usize,
}

impl Share {
    pub(super) fn new(calls_max: usize) -> Self {
        Self { turns: Semaphore::new(1), state: Mutex::new(State { pace: Pace::new(calls_max), width: 1 }) }
    }

    /// Waits for the host's turn.
    pub(super) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        {
            let mut state = self.state.lock();
            let excess = state.width.saturating_sub(state.pace.width(Instant::now()));
            state.width -= self.turns.forget_permits(excess);
        }
        self.turns.acquire().await.ok()
    }

    /// Gives a turn back, and as many more or fewer as the host deserves now.
    fn leave(&self, permit: SemaphorePermit<'_>, began: Instant, end: End) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.pace.end(began, end, now);
        let width = state.pace.width(now);
        if state.width > width {
            state.width -= 1;
            permit.forget();
        } else {
            self.turns.add_permits(width - state.width);
            state.width = width;
        }
    }

    /// Gives `look` how the host takes calls.
    pub(super) fn pace<T>(&self, look: impl FnOnce(&Pace) -> T) -> T {
        look(&self.state.lock().pace)
    }

    /// Whether no call is under way or waits.
    pub(super) fn is_resting(&self) -> bool {
        self.turns.available_permits() == self.state.lock().width
    }
}

/// The places of calls to all hosts.
pub(super) struct Places {
    answering: Semaphore,
    unproven: Semaphore,
    /// Of calls that are not answered soon; as many as there may be connections.
    late: Semaphore,
    late_after: Duration,
}

impl Places {
    pub(super) fn new(settings: &AgentSettings, connections_max: usize) -> Self {
        let calls_max = settings.calls_in_flight_max.max(1);
        Self {
            answering: Semaphore::new(calls_max),
            unproven: Semaphore::new(calls_max),
            late: Semaphore::new(connections_max),
            late_after: settings.late_after,
        }
    }

    /// Waits until a call may be made to a host whose turn it is.
    pub(super) async fn turn<'p>(&'p self, share: &'p Share, own: Option<SemaphorePermit<'p>>) -> Turn<'p> {
        let answers = share.pace(|pace| pace.has_answered_lately(Instant::now()));
        let places = if answers { &self.answering } else { &self.unproven };
        let place = places.acquire().await.ok();
        let began = Instant::now();
        share.state.lock().pace.begin(began);
        Turn { places: self, share, own, place, is_late: false, began, end: End::Undecided }
    }

    pub(super) const fn late_after(&self) -> Duration {
        self.late_after
    }
}

/// A call that may be made.
pub(super) struct Turn<'p> {
    places: &'p Places,
    share: &'p Share,
    own: Option<SemaphorePermit<'p>>,
    place: Option<SemaphorePermit<'p>>,
    is_late: bool,
    began: Instant,
    end: End,
}

impl Turn<'_> {
    /// Waits for what the host does, and leaves the place to others when that takes long.
    pub(super) async fn wait<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if !self.is_late {
            if let Ok(done) = tokio::time::timeout(self.places.late_after, work.as_mut()).await {
                return done;
            }
            if let Ok(late) = self.places.late.try_acquire() {
                self.place = Some(late);
                self.is_late = true;
            }
        }
        work.await
    }

    /// Waits for what is not the host's doing.
    pub(super) async fn wait_for_others<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.share.state.lock().pace.end(self.began, End::Undecided, self.began);
        let done = work.await;
        self.began = Instant::now();
        self.share.state.lock().pace.begin(self.began);
        done
    }

    /// What the host has shown by the call.
    pub(super) const fn ends(&mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(own) = self.own.take() {
            self.share.leave(own, self.began, self.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns that may be taken now.
    async fn turns(share: &Share) -> usize {
        drop(share.enter().await);
        share.turns.available_permits()
    }

    async fn call(places: &Places, share: &Share, end: End) {
        let own_turn = share.enter().await;
        places.turn(share, own_turn).await.ends(end);
    }

    #[tokio::test]
    async fn a_host_has_its_share_of_turns_while_it_answers_and_one_while_it_does_not() {
        let places = Places::new(&AgentSettings::default(), 1);
        let share = Share::new(4);
        assert_eq!(turns(&share).await, 1);
        for (end, expected) in [(End::Undecided, 1), (End::Answered, 4), (End::Undecided, 4), (End::Unanswered, 3)] {
            call(&places, &share, end).await;
            assert_eq!(share.turns.available_permits(), expected, "{end:?}");
        }
        // The turns that nobody has are taken away when the next one comes.
        assert_eq!(turns(&share).await, 1);
        assert!(share.is_resting());
    }

    #[tokio::test]
    async fn turns_that_are_taken_are_not_given_again_to_a_host_that_has_stopped_answering() {
        let places = Places::new(&AgentSettings::default(), 1);
        let share = Share::new(2);
        call(&places, &share, End::Answered).await;
        let mut first = places.turn(&share, share.enter().await).await;
        let mut second = places.turn(&share, share.enter().await).await;
        first.ends(End::Unanswered);
        second.ends(End::Unanswered);
        drop(first);
        assert_eq!(share.turns.available_permits(), 0);
        drop(second);
        assert_eq!(share.turns.available_permits(), 1);
        call(&places, &share, End::Answered).await;
        assert_eq!(share.turns.available_permits(), 2);
    }

    #[tokio::test]
    async fn what_is_late_leaves_its_place_to_others_as_long_as_there_are_places_for_it() {
        let settings =
            AgentSettings { calls_in_flight_max: 1, late_after: Duration::from_millis(1), ..AgentSettings::default() };
        let places = Places::new(&settings, 1);
        let [one, other] = [Share::new(1), Share::new(1)];
        let late = |share| {
            let places = &places;
            async move {
                let mut turn = places.turn(share, Share::enter(share).await).await;
                turn.wait(tokio::time::sleep(Duration::from_millis(20))).await;
                turn
            }
        };
        let first = late(&one).await;
        assert_eq!((places.unproven.available_permits(), places.late.available_permits()), (1, 0));
        let second = late(&other).await;
        assert_eq!((places.unproven.available_permits(), places.late.available_permits()), (0, 0));
        drop((first, second));
        assert_eq!((places.unproven.available_permits(), places.late.available_permits()), (1, 1));
    }
}
