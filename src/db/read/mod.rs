//! What the scheduler reads while it runs: the snapshot for the planner, the frames that a plan asked for, what
//! launches need, and signs of change, life and other planners.

pub(super) mod asked;
mod candidates;
mod caps;
pub(super) mod cluster_rows;
pub(super) mod frames;
pub(super) mod gpu_work;
mod hosts;
pub(super) mod launches;
pub(super) mod peers;
pub(super) mod probe;
pub(super) mod reading;
pub(super) mod redirects;
pub(super) mod releases;
pub(super) mod signs;
mod snapshot;
