//! The worker for boot and status reports.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use super::completions::Call;
use super::database::{Trouble, trouble};
use super::hosts;
use super::shared::Shared;
use crate::model::FrameId;
use crate::rqd::Agents;
use crate::rqd::proto::report::{RenderHost, RunningFrameInfo};

/// A boot report, or a status report with what runs.
pub(super) struct HostSeen {
    pub(super) host: RenderHost,
    pub(super) frames: Vec<RunningFrameInfo>,
    pub(super) is_boot: bool,
}

/// Reports that are written together.
const BATCH_MAX: usize = 256;

/// Ends when nobody can report any more.
pub(super) async fn take_reports(shared: Arc<Shared>, mut arriving: mpsc::Receiver<Call<HostSeen>>) {
    let mut calls = Vec::new();
    while arriving.recv_many(&mut calls, BATCH_MAX).await > 0 {
        let seen: Vec<&HostSeen> = calls.iter().map(|call| &call.report).collect();
        let mut patience = shared.patience();
        while let Err(error) = write(&shared, &seen).await {
            if !patience.after("writing reports", &error).await {
                shared.refuse("writing reports", &error);
                break;
            }
        }
        for call in calls.drain(..) {
            // Whoever hung up does not need the answer.
            let _ = call.answer.send(Ok(()));
        }
    }
}

/// All of it can be repeated, so that a lost answer of the database does no harm.
async fn write(shared: &Arc<Shared>, seen: &[&HostSeen]) -> Result<(), sqlx::Error> {
    let reports: Vec<&RenderHost> = seen.iter().map(|seen| &seen.host).collect();
    let mut known = hosts::write_stats(&shared.pool, &reports).await?;
    let boots: Vec<&RenderHost> = seen.iter().filter(|seen| seen.is_boot).map(|seen| &seen.host).collect();
    let new: Vec<&RenderHost> = boots.iter().copied().filter(|host| !known.contains_key(&host.name)).collect();
    let mut created = 0;
    for host in &new {
        let allocation = shared.options.default_allocation.as_deref();
        match hosts::create(&shared.pool, allocation, host).await {
            Ok(is_created) => created += usize::from(is_created),
            // One host with an impossible name does not keep the others out.
            Err(error) if trouble(&error) == Trouble::Refusal => shared.refuse("creating a host", &error),
            Err(error) => return Err(error),
        }
    }
    if !new.is_empty() {
        known.extend(hosts::write_stats(&shared.pool, &new).await?);
    }
    let sized: Vec<(&str, &RenderHost)> =
        boots.iter().filter_map(|host| Some((known.get(&host.name)?.as_str(), *host))).collect();
    if !sized.is_empty() {
        hosts::write_sizes(&shared.pool, shared.generation, &sized).await?;
    }
    take_frames(shared, seen).await?;
    shared.count(|counts| {
        counts.boots += boots.len();
        counts.hosts_created += created;
        counts.status_reports += seen.len() - boots.len();
        counts.reports_unknown_host += reports.iter().filter(|host| !known.contains_key(&host.name)).count();
    });
    Ok(())
}

async fn take_frames(shared: &Arc<Shared>, seen: &[&HostSeen]) -> Result<(), sqlx::Error> {
    let frames: Vec<&RunningFrameInfo> = seen.iter().flat_map(|seen| &seen.frames).collect();
    if frames.is_empty() {
        return Ok(());
    }
    let verified = hosts::ping_procs(&shared.pool, &frames).await?;
    let Some(agents) = shared.agents().filter(|_| shared.options.verify_reports) else { return Ok(()) };
    let is_doubted = |frame: &RunningFrameInfo| !verified.contains(&frame.resource_id);
    let doubted: Vec<&RunningFrameInfo> = frames.into_iter().filter(|frame| is_doubted(frame)).collect();
    if doubted.is_empty() {
        return Ok(());
    }
    let running = hosts::doubted(&shared.pool, &doubted).await?;
    for seen in seen {
        for frame in seen.frames.iter().filter(|frame| is_doubted(frame)) {
            let to_kill = match running.get(&frame.frame_id) {
                Some(true) => true,
                Some(false) => age_of(frame) >= shared.options.unknown_proc_age,
                None => false,
            };
            if to_kill {
                kill(shared, agents.clone(), &seen.host.name, &frame.frame_id);
            }
        }
    }
    Ok(())
}

/// By the agent's own start time, which is what the launch said.
fn age_of(frame: &RunningFrameInfo) -> Duration {
    let started = Duration::from_millis(u64::try_from(frame.start_time).unwrap_or_default());
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(started)
}

/// In the background: a report does not wait for a host to answer.
fn kill(shared: &Arc<Shared>, agents: Agents, host: &str, frame: &str) {
    let (host, frame) = (host.to_owned(), FrameId::new(frame));
    shared.count(|counts| counts.kills += 1);
    let stop = shared.tasks.stop_signal();
    shared.tasks.spawn("cuebot kill", async move {
        let killing = agents.kill(&host, &frame, "Cuebot does not know this run");
        if let Some(Err(error)) = stop.run_until_cancelled(killing).await {
            tracing::debug!(host, %frame, %error, "a run that no row accounts for could not be killed");
        }
    });
}
