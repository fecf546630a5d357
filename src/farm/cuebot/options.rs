//! How the stand-in behaves, and what it counts.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::rqd::Agents;

#[derive(Clone)]
pub struct CuebotOptions {
    /// Where agents report to.
    pub listen: SocketAddr,
    /// `alloc.str_name` of the allocation that hosts of no row yet are put into. `None`, or no such
    /// allocation: the first of the facility that the host reports.
    pub default_allocation: Option<String>,
    /// Whether a job in which nothing is left to do becomes FINISHED.
    pub finish_jobs: bool,
    /// Whether a running frame is killed where its report does not agree with the rows. Needs agents
    /// to call, see [`super::Cuebot::call_agents`].
    pub verify_reports: bool,
    /// Age from which a reported frame of an unknown proc is killed.
    pub unknown_proc_age: Duration,
    pub next_frames: NextFrames,
    /// How long after its proc was released the destination of a redirect is booked; the real one takes 0.3
    /// seconds. `None`: redirects are no business of this farm. Needs agents to call.
    pub redirect_delay: Option<Duration>,
    pub maintenance: Option<Maintenance>,
    /// Of the statements that give up a lost proc each commits alone, and each after the first takes a
    /// permit: what a test gives out one by one. `None`: nothing holds them up.
    pub loss_steps: Option<Arc<Semaphore>>,
    /// Ended runs that are written in one transaction.
    pub batch_max: usize,
    /// Agents to call for kills and next frames. They can be named later, when they are known.
    pub agents: Option<Agents>,
}

impl Default for CuebotOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            default_allocation: None,
            finish_jobs: true,
            verify_reports: false,
            unknown_proc_age: Duration::from_mins(2),
            next_frames: NextFrames::Never,
            redirect_delay: None,
            maintenance: Some(Maintenance::default()),
            loss_steps: None,
            batch_max: 256,
            agents: None,
        }
    }
}

/// What becomes of a proc whose frame ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NextFrames {
    /// Always released: what a farm sees that dispatches with this scheduler alone.
    #[default]
    Never,
    /// Runs the next waiting frame of the same job that fits, as Cuebot does for every show that is
    /// not flagged, also for the shows of an exclusion list. Needs agents to call.
    SameJob,
}

/// Sweeps for what was lost. The defaults are Cuebot's ages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maintenance {
    pub interval: Duration,
    /// A host that has been silent for so long counts as down.
    pub host_down_after: Duration,
    /// A proc that has not been reported for so long has lost its frame.
    pub proc_orphan_after: Duration,
    /// How long a lost proc is kept while its host lives and does not confirm the kill.
    pub proc_kept_for_max: Duration,
    /// A running frame without a proc is lost after so long.
    pub frame_orphan_after: Duration,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            host_down_after: Duration::from_mins(5),
            proc_orphan_after: Duration::from_mins(5),
            proc_kept_for_max: Duration::from_mins(20),
            frame_orphan_after: Duration::from_mins(5),
        }
    }
}

impl Maintenance {
    /// Every age at once, looked at four times within it; for farms that shall not wait minutes.
    #[must_use]
    pub fn within(age: Duration) -> Self {
        Self {
            interval: age / 4,
            host_down_after: age,
            proc_orphan_after: age,
            proc_kept_for_max: age * 4,
            frame_orphan_after: age,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CuebotCounts {
    pub boots: usize,
    pub hosts_created: usize,
    pub status_reports: usize,
    /// Status and boot reports of hosts without a row.
    pub reports_unknown_host: usize,
    pub completions: usize,
    pub frames_succeeded: usize,
    pub frames_dead: usize,
    /// Runs whose frame goes back to the queue, lost ones included.
    pub frames_waiting: usize,
    /// Runs whose frame ends in any other state: eaten, checkpointed, depending.
    pub frames_other: usize,
    /// Completions that were not applied, as the frame is not this run's any more.
    pub superseded: usize,
    pub procs_released: usize,
    /// Frames that went on to a proc whose frame had ended.
    pub next_frames: usize,
    /// Redirects whose destination was booked here.
    pub redirected: usize,
    /// Redirects for which nothing was idle on the host any more, or no frame of the destination waited
    /// that Cuebot may book.
    pub redirects_without_room: usize,
    pub jobs_finished: usize,
    pub hosts_down: usize,
    /// Procs given up as no host reported them.
    pub orphan_procs: usize,
    /// Frames given up as nothing held them.
    pub orphan_frames: usize,
    /// Frames that agents were told to kill.
    pub kills: usize,
    /// Reports that the database refuses.
    pub refused: usize,
}
