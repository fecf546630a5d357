//! The words of the farm as types: what a pass reads, decides and writes.
//!
//! Nothing here reads a clock, a socket or a table. Column names and sentinel values (such as -1
//! for "no cap") are decoded in `db`; in here a cap is a [`Cap`] and an amount has a unit.

mod booking;
mod candidate;
mod caps;
mod cluster;
mod counters;
mod defaults;
mod gpu_work;
mod holds;
mod host;
mod ids;
mod left_out;
mod plan;
mod policy;
mod positions;
mod reason;
mod selection;
mod snapshot;

pub use booking::{Booked, BookingRequest};
pub(crate) use booking::{LayerLaunch, WaitingFrame};
pub use candidate::{Candidate, CoreRequest};
pub(crate) use candidate::{FolderRow, JobRow, ShowRow};
pub use caps::{Cap, LimitUse};
pub(crate) use caps::{LimitRow, Subscription};
pub use cluster::{Cluster, ClusterKind, TagKind};
pub use counters::CounterTable;
pub(crate) use defaults::{HOST_STALENESS, LIMIT_SETTLE_WINDOW};
pub(crate) use gpu_work::{GpuAsk, GpuKeep, GpuWork};
pub(crate) use holds::AssumedBooking;
pub use holds::Holds;
pub(crate) use host::{Fractions, Host, HostLoad, HostOddity};
pub use host::{HostState, ThreadMode};
pub use ids::{AllocId, DeptId, FacilityId, FolderId, FrameId, HostId, JobId, LayerId, ProcId, ShowId, Tag};
pub(crate) use ids::{LimitId, SubscriptionId};
pub use left_out::LeftOutRow;
pub(crate) use plan::Placement;
pub use plan::{Plan, Waiting};
pub(crate) use policy::HostStrategy;
pub use policy::{FractionalCores, JobOrder, LoadRule, Policy};
pub use positions::{CandidateIx, LimitIx};
pub(crate) use positions::{ClusterIx, FolderIx, HostIx, JobIx, ShowIx, SubscriptionIx, positions};
pub use reason::WaitReason;
pub use selection::{AllocTag, Selection, TagChunkSizes};
pub use snapshot::Snapshot;

/// A moment by the database's clock. The scheduler's own clock never enters a decision.
pub type Timestamp = time::OffsetDateTime;
