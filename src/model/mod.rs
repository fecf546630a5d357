//! The words of the farm as types: what a pass reads, decides and writes.
//!
//! Nothing here reads a clock, a socket or a table. Column names and sentinel values (such as -1
//! for "no cap") end at the walls of `db`; in here a cap is a [`Cap`] and an amount has a unit.

mod booking;
mod candidate;
mod caps;
mod cluster;
mod counters;
mod defaults;
mod holds;
mod host;
mod ids;
mod plan;
mod policy;
mod positions;
mod reason;
mod selection;
mod snapshot;

pub use booking::{Booked, BookingRequest, LayerLaunch, WaitingFrame};
pub use candidate::{Candidate, CoreRequest, FolderRow, JobRow, ShowRow};
pub use caps::{Cap, LimitRow, LimitUse, Subscription};
pub use cluster::{Cluster, ClusterKind, TagKind};
pub use counters::CounterTable;
pub use defaults::{HOST_STALENESS, LIMIT_SETTLE_WINDOW};
pub use holds::{AssumedBooking, Holds};
pub use host::{Fractions, Host, HostState, ThreadMode};
pub use ids::{
    AllocId, DeptId, FacilityId, FolderId, FrameId, HostId, JobId, LayerId, LimitId, ProcId, ShowId, SubscriptionId,
    Tag,
};
pub use plan::{Placement, Plan, Waiting};
pub use policy::{FractionalCores, HostStrategy, JobOrder, Policy};
pub use positions::{CandidateIx, ClusterIx, FolderIx, HostIx, JobIx, LimitIx, ShowIx, SubscriptionIx};
pub use reason::WaitReason;
pub use selection::{AllocTag, Selection, TagChunkSizes};
pub use snapshot::{LeftOutRow, Snapshot};

/// A moment by the database's clock. The scheduler's own clock never enters a decision.
pub type Timestamp = time::OffsetDateTime;
