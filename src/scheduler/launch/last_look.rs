//! What the rows say of bookings right before and right after their launch, asked for many at once.
//!
//! Between a commit and its launch seconds may pass, since agents take calls one after the other. In
//! that time an operator eats or retries the frame, pauses or kills its job.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::RETRY_PAUSE_MAX;
use crate::booking::{self, Standing};
use crate::db::Store;
use crate::model::Booked;
use crate::telemetry::error_chain;

/// Questions of launches that wait for the answer are gathered for so long.
const GATHER_BEFORE: Duration = Duration::from_millis(10);
/// And of launches that have arrived: their frames stay in hand meanwhile, and nobody waits.
const GATHER_AFTER: Duration = Duration::from_millis(100);
const BATCH_MAX: usize = 1_000;

/// Where questions go. Cloning shares the way.
#[derive(Clone, Debug)]
pub(super) struct LastLook {
    questions: mpsc::UnboundedSender<Question>,
}

#[derive(Debug)]
struct Question {
    booked: Booked,
    answer: oneshot::Sender<Standing>,
}

/// The questions of all launches, for the task that asks them.
#[derive(Debug)]
pub(super) struct Looks {
    questions: mpsc::UnboundedReceiver<Question>,
    gather: Duration,
}

impl LastLook {
    pub(super) fn before() -> (Self, Looks) {
        Self::gathering(GATHER_BEFORE)
    }

    pub(super) fn after() -> (Self, Looks) {
        Self::gathering(GATHER_AFTER)
    }

    fn gathering(gather: Duration) -> (Self, Looks) {
        let (questions, asked) = mpsc::unbounded_channel();
        (Self { questions }, Looks { questions: asked, gather })
    }

    /// Waits for as long as the database is away.
    pub(super) async fn at(&self, booked: &Booked) -> Standing {
        let (answer, answered) = oneshot::channel();
        let question = Question { booked: booked.clone(), answer };
        if self.questions.send(question).is_err() {
            // The process ends. What is not sent by then is settled by the next start.
            return std::future::pending().await;
        }
        match answered.await {
            Ok(standing) => standing,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Looks {
    pub(super) async fn run(mut self, store: Store, stop: CancellationToken) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                received = self.questions.recv_many(&mut batch, BATCH_MAX) => if received == 0 { return },
                () = stop.cancelled() => if self.questions.is_empty() { return } else { continue },
            }
            tokio::select! {
                () = tokio::time::sleep(self.gather) => {}
                () = stop.cancelled() => {}
            }
            while batch.len() < BATCH_MAX {
                match self.questions.try_recv() {
                    Ok(more) => batch.push(more),
                    Err(_) => break,
                }
            }
            answer(&store, batch, &stop).await;
        }
    }
}

async fn answer(store: &Store, mut batch: Vec<Question>, stop: &CancellationToken) {
    let mut pause = Duration::from_millis(100);
    loop {
        // Who asked may have given up meanwhile.
        batch.retain(|question| !question.answer.is_closed());
        if batch.is_empty() {
            return;
        }
        let bookings: Vec<&Booked> = batch.iter().map(|question| &question.booked).collect();
        match booking::find_overtaken(store, &bookings).await {
            Ok(overtaken) => {
                for Question { booked, answer } in batch {
                    let standing = overtaken.get(&booked.proc).copied().unwrap_or(Standing::Stands);
                    // Nobody waits for it any more.
                    let _ = answer.send(standing);
                }
                return;
            }
            Err(error) => tracing::debug!(error = error_chain(&error), "cannot look at the rows of launches now"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}
