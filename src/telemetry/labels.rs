//! The closed lists of label values that no other room has a type for.

use crate::model::HostState;

/// What came of a launch. The first four are the answers to the call; the rest settle an unknown one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LaunchResult {
    Launched,
    /// The agent said no.
    Refused,
    /// The call did not reach the agent.
    NotSent,
    /// The call may have reached the agent; its booking stands until the agent is asked.
    Unknown,
    /// The agent, asked, runs it.
    ConfirmedRunning,
    /// The agent, asked twice, does not run it.
    ConfirmedNotRunning,
    /// It was not sent in time and is taken back unsent.
    TooLate,
    /// Its rows were gone, or its job might not start it any more, when it was about to be sent or had
    /// just been accepted.
    Overtaken,
    /// It ran for a booking that was gone, and was ended.
    OvertakenKilled,
}

impl LaunchResult {
    pub const ALL: [Self; 9] = [
        Self::Launched,
        Self::Refused,
        Self::NotSent,
        Self::Unknown,
        Self::ConfirmedRunning,
        Self::ConfirmedNotRunning,
        Self::TooLate,
        Self::Overtaken,
        Self::OvertakenKilled,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Launched => "launched",
            Self::Refused => "refused",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
            Self::ConfirmedRunning => "confirmed_running",
            Self::ConfirmedNotRunning => "confirmed_not_running",
            Self::TooLate => "too_late",
            Self::Overtaken => "overtaken",
            Self::OvertakenKilled => "overtaken_killed",
        }
    }
}

/// Why a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PassEnd {
    /// It booked something.
    Booked,
    /// Work waits and nothing of it could be placed.
    Saturated,
    /// Nothing waits.
    NoJobs,
    /// The database failed it.
    QueryError,
}

impl PassEnd {
    pub const ALL: [Self; 4] = [Self::Booked, Self::Saturated, Self::NoJobs, Self::QueryError];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Booked => "booked",
            Self::Saturated => "saturated",
            Self::NoJobs => "no_jobs",
            Self::QueryError => "query_error",
        }
    }
}

/// What became of the hosts that a candidate was given in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckoutOutcome {
    Booked,
    /// Hosts were planned, and every frame lost its race.
    NoProgress,
    /// No host fits.
    NoMatch,
    /// The booking or the launch failed.
    DispatchError,
}

impl CheckoutOutcome {
    pub const ALL: [Self; 4] = [Self::Booked, Self::NoProgress, Self::NoMatch, Self::DispatchError];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Booked => "booked",
            Self::NoProgress => "no_progress",
            Self::NoMatch => "no_match",
            Self::DispatchError => "dispatch_error",
        }
    }
}

/// What became of a proc that an operator ordered to another job or group, once its order was gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RedirectEnd {
    /// The destination got a proc on that host.
    Reached,
    /// It got none in time.
    NotReached,
    /// The proc stayed as it was.
    Withdrawn,
}

impl RedirectEnd {
    pub const ALL: [Self; 3] = [Self::Reached, Self::NotReached, Self::Withdrawn];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::NotReached => "not_reached",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// The table whose cap stopped a booking when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CapTable {
    Subscription,
    FolderResource,
    JobResource,
    LimitRecord,
}

impl CapTable {
    pub const ALL: [Self; 4] = [Self::Subscription, Self::FolderResource, Self::JobResource, Self::LimitRecord];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
            Self::FolderResource => "folder_resource",
            Self::JobResource => "job_resource",
            Self::LimitRecord => "limit_record",
        }
    }
}

/// Values of `cluster_type`, as [`crate::model::Cluster::kind_name`] says them.
pub(super) const CLUSTER_KINDS: [&str; 4] = ["alloc", "manual", "hostname", "hardware"];

/// Values of `table` for rows that are compared with procs: the booking room's list.
pub(super) const REPAIRED_TABLES: [&str; 6] =
    ["subscription", "layer_resource", "job_resource", "folder_resource", "point", "host"];

/// Values of `state` for hosts.
pub(super) const HOST_STATES: [&str; 8] =
    ["open", "not_up", "locked", "nimby_locked", "stale", "local_work", "low_free_memory", "put_aside"];

pub(super) const fn host_state(state: &HostState) -> &'static str {
    match state {
        HostState::Open => "open",
        HostState::NotUp(_) => "not_up",
        HostState::Locked => "locked",
        HostState::NimbyLocked => "nimby_locked",
        HostState::Stale { .. } => "stale",
        HostState::LocalWork => "local_work",
        HostState::LowFreeMemory => "low_free_memory",
        HostState::PutAside(_) => "put_aside",
    }
}
