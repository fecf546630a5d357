//! From reported ends to released procs: two workers in a row, so that the stops of one batch run
//! beside the releases of the one before. Batches are as large as what has arrived meanwhile.

use std::collections::HashSet;
use std::iter::once;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::next_frames::go_on;
use super::redirects::{carry_out, take_orders};
use super::release::{lose, release};
use super::shared::Shared;
use super::stop::{Ended, Stopped, stop_reported};
use super::totals::{add_usage, finish_jobs};

/// A report and who waits for its answer.
pub(super) struct Call<T> {
    pub(super) report: T,
    pub(super) answer: oneshot::Sender<Result<(), Status>>,
}

/// A batch between the two workers.
pub(super) struct Batch {
    stopped: Stopped,
    answers: Vec<oneshot::Sender<Result<(), Status>>>,
}

/// Ends when nobody can report any more.
pub(super) async fn stop_runs(
    shared: Arc<Shared>,
    mut arriving: mpsc::Receiver<Call<Ended>>,
    stopped: mpsc::Sender<Batch>,
) {
    let mut waiting = Vec::new();
    while !waiting.is_empty() || arriving.recv_many(&mut waiting, shared.options.batch_max).await > 0 {
        let (calls, again) = one_per_frame(waiting);
        waiting = again;
        let (reports, answers): (Vec<Ended>, Vec<_>) = calls.into_iter().map(|call| (call.report, call.answer)).unzip();
        shared.count(|counts| counts.completions += reports.len());
        let batch = Batch { stopped: stop_batch(&shared, &reports).await, answers };
        if stopped.send(batch).await.is_err() {
            return;
        }
    }
}

/// Ends when the first worker has.
pub(super) async fn release_procs(shared: Arc<Shared>, mut stopped: mpsc::Receiver<Batch>) {
    while let Some(mut batch) = stopped.recv().await {
        let orders = take_orders(&shared, &mut batch.stopped).await;
        go_on(&shared, &mut batch.stopped).await;
        finish(&shared, batch.stopped).await;
        carry_out(&shared, orders);
        let is_stopping = shared.tasks.stop_signal().is_cancelled();
        for answer in batch.answers {
            // Whoever hung up does not need the answer.
            let _ = answer.send(if is_stopping { Err(Status::unavailable("stopping")) } else { Ok(()) });
        }
    }
}

/// All that follows from runs that have left RUNNING.
pub(super) async fn finish(shared: &Shared, stopped: Stopped) {
    count_states(shared, &stopped);
    release_batch(shared, &stopped.procs).await;
    conclude(shared, stopped).await;
}

/// As [`finish`], of runs that were lost.
pub(super) async fn finish_lost(shared: &Shared, stopped: Stopped) {
    count_states(shared, &stopped);
    for proc in &stopped.procs {
        let mut patience = shared.patience();
        loop {
            match lose(&shared.pool, shared.generation, proc, shared.options.loss_steps.as_deref()).await {
                Ok(released) => break shared.count(|counts| counts.procs_released += released),
                Err(error) if patience.after("giving up a proc", &error).await => {}
                Err(error) => break shared.refuse("giving up a proc", &error),
            }
        }
    }
    conclude(shared, stopped).await;
}

fn count_states(shared: &Shared, stopped: &Stopped) {
    shared.count(|counts| {
        counts.superseded += stopped.superseded;
        for run in &stopped.runs {
            match run.state.as_str() {
                "SUCCEEDED" => counts.frames_succeeded += 1,
                "DEAD" => counts.frames_dead += 1,
                "WAITING" => counts.frames_waiting += 1,
                _ => counts.frames_other += 1,
            }
        }
    });
}

async fn conclude(shared: &Shared, stopped: Stopped) {
    let mut patience = shared.patience();
    while let Err(error) = add_usage(&shared.pool, &stopped.runs).await {
        if !patience.after("adding usage", &error).await {
            shared.refuse("adding usage", &error);
            break;
        }
    }
    if shared.options.finish_jobs {
        finish_done(shared, &stopped).await;
    }
}

async fn finish_done(shared: &Shared, stopped: &Stopped) {
    let mut patience = shared.patience();
    loop {
        match finish_jobs(&shared.pool, &stopped.runs).await {
            Ok(finished) => return shared.count(|counts| counts.jobs_finished += finished),
            Err(error) if patience.after("finishing jobs", &error).await => {}
            Err(error) => return shared.refuse("finishing jobs", &error),
        }
    }
}

/// The first report of every frame, and the rest, which must see what the first one changed.
fn one_per_frame(calls: Vec<Call<Ended>>) -> (Vec<Call<Ended>>, Vec<Call<Ended>>) {
    let mut seen = HashSet::new();
    calls.into_iter().partition(|call| seen.insert(call.report.frame.clone()))
}

/// Stops what can be stopped: what the database refuses is found by halves and left out.
async fn stop_batch(shared: &Shared, reports: &[Ended]) -> Stopped {
    let mut all = Stopped::default();
    let mut parts: Vec<Range<usize>> = once(0..reports.len()).collect();
    while let Some(part) = parts.pop() {
        let batch: Vec<&Ended> = reports[part.clone()].iter().collect();
        let mut patience = shared.patience();
        loop {
            match stop_reported(&shared.pool, shared.run_limit(), &batch).await {
                Ok(stopped) => {
                    all.runs.extend(stopped.runs);
                    all.procs.extend(stopped.procs);
                    all.may_go_on.extend(stopped.may_go_on);
                    all.superseded += stopped.superseded;
                    break;
                }
                Err(error) if patience.after("stopping frames", &error).await => {}
                Err(error) => {
                    parts.extend(shared.halve("stopping frames", part, &error));
                    break;
                }
            }
        }
    }
    all
}

async fn release_batch(shared: &Shared, procs: &[String]) {
    let mut parts: Vec<Range<usize>> = once(0..procs.len()).collect();
    while let Some(part) = parts.pop() {
        let mut patience = shared.patience();
        loop {
            match release(&shared.pool, shared.generation, &procs[part.clone()]).await {
                Ok(released) => break shared.count(|counts| counts.procs_released += released),
                Err(error) if patience.after("releasing procs", &error).await => {}
                Err(error) => break parts.extend(shared.halve("releasing procs", part.clone(), &error)),
            }
        }
    }
}
