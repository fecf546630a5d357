//! What an explanation says: data for a table, JSON or a page.

use super::bundles::KeptForGpus;
use super::order::Precedence;
use super::reserve::Unfit;
use crate::model::{HostIx, JobId, LayerId, WaitReason};
use crate::units::{Amounts, Cores, Gpus};

/// Why a layer's frames wait, or where they went.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Explanation {
    pub layer: LayerId,
    pub layer_name: String,
    pub job: JobId,
    pub job_name: String,
    /// What the plan gave it, host by host, in the order of decision.
    pub placed: Vec<PlacedOn>,
    /// Frames that still wait.
    pub waiting_frames: u32,
    /// `None` when none waits. Otherwise the first of `gates` that is shut.
    pub reason: Option<WaitReason>,
    /// In the order of the reasons.
    pub gates: Vec<GateReport>,
    /// Whatever a frame of the layer counts under.
    pub caps: Vec<CapReport>,
    /// The host that comes nearest to taking a frame, when none does.
    pub nearest: Option<NearMiss>,
    pub order: OrderReport,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PlacedOn {
    pub host: String,
    pub cluster: String,
    pub frames: u32,
    /// Per frame.
    pub reservation: Amounts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct GateReport {
    pub reason: WaitReason,
    pub verdict: GateVerdict,
    /// For gates that hosts pass one by one.
    pub hosts: Option<HostCount>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    Passed,
    Shut,
    /// There was nothing left to ask it about.
    NotAsked,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct HostCount {
    /// Hosts that got as far as this gate.
    pub asked: usize,
    pub passed: usize,
}

/// One cap with what it counts.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CapReport {
    /// What it is called when it is in the way.
    pub reason: WaitReason,
    /// The allocation, folder, job or limit that has it.
    pub name: String,
    pub before: Quantity,
    /// With what the plan added.
    pub after: Quantity,
    /// `None` = no cap.
    pub max: Option<Quantity>,
    /// What one more frame adds at least.
    pub wanted: Quantity,
}

#[derive(Clone, Copy, Debug, derive_more::Display, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    Cores(Cores),
    Gpus(Gpus),
    Frames(i64),
    Hosts(i64),
}

impl Quantity {
    /// The bare number, in the unit of its kind.
    pub const fn get(self) -> i64 {
        match self {
            Self::Cores(cores) => cores.get(),
            Self::Gpus(gpus) => gpus.get(),
            Self::Frames(number) | Self::Hosts(number) => number,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct NearMiss {
    pub host: String,
    /// The gate that it fails.
    pub reason: WaitReason,
    pub miss: Miss,
    /// What it keeps for GPU work.
    pub kept_for_gpus: Option<KeptForGpus>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Miss {
    /// Why it is not open.
    State(String),
    OperatingSystem {
        wanted: String,
        offered: Vec<String>,
    },
    ThreadMode,
    /// Too little, of the empty host when `reason` is the shape, otherwise of what is idle.
    Room {
        refusal: Unfit,
        has: Amounts,
        needed: Amounts,
    },
    /// It has room, but a frame would take more there than a cap leaves.
    TooWide(Amounts),
    /// It has room, but would need a seat of a limit that has none left.
    NoSeat,
    /// It has room, but the frames failed there a moment ago.
    FailedThere,
}

/// Who goes before a layer.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct OrderReport {
    /// Counted from one, among the layers of the show that could go.
    pub position: usize,
    pub of: usize,
    /// The nearest ones before it, in order.
    pub ahead: Vec<Ahead>,
    /// Shows with work for the same allocations; the lowest tier goes first.
    pub shows: Vec<ShowTier>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Ahead {
    pub layer: LayerId,
    pub layer_name: String,
    pub job_name: String,
    pub by: Precedence,
    /// The two take turns; otherwise it places all it can first.
    pub takes_turns: bool,
    pub placed_frames: u32,
    pub waiting_frames: u32,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ShowTier {
    pub alloc_name: String,
    pub show: String,
    pub before: f64,
    pub after: f64,
}

/// A host that lacks nothing but room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FullHost {
    /// Position in the snapshot's hosts.
    pub(crate) host: HostIx,
    /// The plan itself takes some of its room.
    pub(crate) is_given_work: bool,
}

/// What a host has, got and could take.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HostExplanation {
    pub host: String,
    pub alloc_name: String,
    /// `open`, or why it takes nothing.
    pub state: String,
    pub total: Amounts,
    pub idle_before: Amounts,
    /// Of these cores, taken by other work on the machine, as its load says.
    pub busy: Cores,
    pub idle_after: Amounts,
    /// Of what is idle before the plan, what is kept for GPU work.
    pub kept_for_gpus: Option<KeptForGpus>,
    /// In the order of the candidates.
    pub candidates: Vec<OnHost>,
    /// Candidates whose tags do not reach the host.
    pub unreached: usize,
}

/// One candidate as the host sees it, before the plan and as if it were alone.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct OnHost {
    pub layer: LayerId,
    pub layer_name: String,
    pub job_name: String,
    pub waiting_frames: u32,
    pub could_take: u32,
    /// What the first of these frames would reserve.
    pub reservation: Option<Amounts>,
    /// What keeps it from taking more; `None` when it could take all.
    pub then: Option<WaitReason>,
    /// What exactly is short, where `then` is a matter of the host's room.
    pub refusal: Option<Unfit>,
    /// What the plan really gave it here.
    pub placed_frames: u32,
}
