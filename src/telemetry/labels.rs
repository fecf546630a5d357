//! The closed lists of label values that no other room has a type for; a value is its variant's name.

use strum::{IntoStaticStr, VariantNames};

/// What came of a launch. The first four are the answers to the call; the rest settle an unknown one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case", const_into_str)]
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

/// Why a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case", const_into_str)]
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

/// What became of the hosts that a candidate was given in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum CheckoutOutcome {
    Booked,
    /// Hosts were planned, and every frame lost its race.
    NoProgress,
    /// No host fits.
    NoMatch,
    /// The booking or the launch failed.
    DispatchError,
}

/// What became of a proc that an operator ordered to another job or group, once its order was gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum RedirectEnd {
    /// The destination got a proc on that host.
    Reached,
    /// It got none in time.
    NotReached,
    /// The proc stayed as it was.
    Withdrawn,
}

/// The table whose cap stopped a booking when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum CapTable {
    Subscription,
    FolderResource,
    JobResource,
    LimitRecord,
}
