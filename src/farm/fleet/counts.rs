//! What a fleet counts, for progress and for tests.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetCounts {
    pub hosts: usize,
    pub hosts_up: usize,
    /// Hosts on which something runs.
    pub hosts_busy: usize,
    pub hosts_died: usize,
    pub hosts_revived: usize,
    /// Frames that run now.
    pub running: usize,
    /// Launch calls that reached a living host.
    pub launch_calls: usize,
    /// Launches whose frame ran, answered or not.
    pub accepted: usize,
    /// Launches answered no, for cause or as a fault.
    pub refused: usize,
    pub requests_lost: usize,
    /// Calls to mute hosts.
    pub unheard: usize,
    pub answers_lost: usize,
    pub answers_failed: usize,
    pub answers_delayed: usize,
    /// Runs that ended by themselves, well or not.
    pub completed: usize,
    pub killed: usize,
    /// Runs that ended with their host.
    pub vanished: usize,
    /// Completions that were answered.
    pub completions_reported: usize,
    /// Completions that never will be: by fault, with their host, or after the last attempt.
    pub completions_lost: usize,
    /// Status and boot reports that were answered.
    pub reports: usize,
    pub reports_failed: usize,
}
