//! What hosts really received, as the audit and the tests compare it with the rows.

use tokio::time::Instant;

use crate::model::{FrameId, ProcId};

/// One launch that a host accepted: from then on a process of the frame runs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    pub frame: FrameId,
    /// `RunFrame.resource_id`: the proc that the launch was for.
    pub resource: ProcId,
    pub host: String,
    pub started_at: Instant,
    /// `None` while it runs.
    pub ended_at: Option<Instant>,
}
