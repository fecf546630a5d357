//! Frames on their way from waiting to running.

use std::collections::BTreeMap;

use super::{AllocId, FolderId, FrameId, HostId, JobId, LayerId, LimitId, ProcId, ShowId, Timestamp};
use crate::units::{Amounts, Kib};

/// A frame in state WAITING, as read in dispatch order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingFrame {
    pub id: FrameId,
    /// `frame.int_version` as read; the claim holds only while it is unchanged.
    pub version: i32,
    pub layer: LayerId,
    pub job: JobId,
    pub name: String,
    /// `frame.int_number`; the name's text before the first hyphen fails for negative frames.
    pub number: i32,
    /// When it became ready, as nearly as the schema tells.
    pub waiting_since: Timestamp,
}

/// A proposed booking of one frame on one host: all that the booking transaction writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookingRequest {
    /// Fresh for every attempt, never used again.
    pub proc: ProcId,
    pub frame: WaitingFrame,
    pub host: HostId,
    pub host_name: String,
    pub alloc: AllocId,
    pub show: ShowId,
    pub folder: FolderId,
    /// Exactly what is taken from the host, stored in `proc` and added to the counters.
    pub reservation: Amounts,
    /// Limits of the layer that must all have room when the booking commits.
    pub limits: Vec<LimitId>,
}

/// A committed booking: frame RUNNING and proc row written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booked {
    pub proc: ProcId,
    pub frame: FrameId,
    pub frame_name: String,
    pub frame_number: i32,
    /// The version that the booking wrote; every later undo is fenced by it.
    pub version: i32,
    pub layer: LayerId,
    pub job: JobId,
    pub show: ShowId,
    pub host: HostId,
    pub host_name: String,
    pub reservation: Amounts,
}

impl Booked {
    /// The booking of a request whose frame got this version.
    pub fn of(request: &BookingRequest, version: i32) -> Self {
        Self {
            proc: request.proc.clone(),
            frame: request.frame.id.clone(),
            frame_name: request.frame.name.clone(),
            frame_number: request.frame.number,
            version,
            layer: request.frame.layer.clone(),
            job: request.frame.job.clone(),
            show: request.show.clone(),
            host: request.host.clone(),
            host_name: request.host_name.clone(),
            reservation: request.reservation,
        }
    }
}

/// What a RunFrame needs to know of a layer and its job, the same for all its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerLaunch {
    pub layer: LayerId,
    pub layer_name: String,
    /// `layer.str_cmd`, tokens not yet replaced.
    pub command: String,
    /// `layer.str_range` as stored.
    pub range: String,
    pub chunk_size: i32,
    pub is_threadable: bool,
    /// The layer's minimum: the soft and hard limits come from it, not from the reservation.
    pub memory: Kib,
    /// Minutes without progress before the agent ends the frame; `None` where the schema lacks it.
    pub stuck_detection_minutes: Option<i32>,
    pub job: JobId,
    pub job_name: String,
    pub user: String,
    pub uid: Option<i32>,
    pub log_dir: String,
    /// `job.str_show`: the name copied when the job was submitted.
    pub show: String,
    pub shot: String,
    pub os: Option<String>,
    pub loki_url: Option<String>,
    /// Job variables, overridden by layer variables; rows with a NULL key are gone, NULL values are "".
    pub environment: BTreeMap<String, String>,
}
