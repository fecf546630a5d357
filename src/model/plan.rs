//! What the planner proposes. Believing it is the database's decision, not ours.

use super::{CandidateIx, ClusterIx, HostIx, WaitReason};
use crate::units::Amounts;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In the order of decision, which is the order in which frames of a layer are handed out.
    pub placements: Vec<Placement>,
    /// One entry per candidate that still has waiting frames, in the order of the candidates.
    pub waiting: Vec<Waiting>,
}

/// `frames` frames of one candidate on one host, each reserving the same amounts. The rule can give
/// different amounts to consecutive frames; those are separate placements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub candidate: CandidateIx,
    pub host: HostIx,
    /// The one that this work is counted under.
    pub cluster: ClusterIx,
    pub frames: u32,
    /// Per frame.
    pub reservation: Amounts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub candidate: CandidateIx,
    pub frames: u32,
    pub reason: WaitReason,
}

impl Plan {
    pub fn placed_frames(&self) -> u64 {
        self.placements.iter().map(|placement| u64::from(placement.frames)).sum()
    }
}
