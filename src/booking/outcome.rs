//! What came of a booking or of taking it back.

use std::time::Duration;

use strum::{Display, IntoStaticStr};

use super::error::BookingError;
use crate::db::StoreError;
use crate::db::book::steps;
use crate::model::{Booked, BookingRequest, FrameId, HostId, LayerId, ProcId};

/// What one chunk came to: every request is in exactly one of the two lists, unless an error cut it
/// short.
#[derive(Debug, Default)]
pub struct ChunkOutcome {
    /// Committed, in the order of the requests.
    pub booked: Vec<Booked>,
    pub lost: Vec<Lost>,
    /// What the database said to the lost requests that it refuses to write.
    pub refusals: Vec<Refusal>,
    /// Transactions that were rolled back on the way: a cap that no longer held, a deadlock.
    pub rolled_back: u32,
    /// How often the budget ran out although nobody held a row: the chunk is too large for this server.
    pub halved: u32,
    /// How long its transactions held rows, those that were committed.
    pub held: Duration,
    /// What went wrong after some of it was booked; the rest was not.
    pub cut_short_by: Option<BookingError>,
}

impl ChunkOutcome {
    /// Of requests that were left for another time, which is no error.
    pub fn not_tried(requests: &[BookingRequest]) -> Self {
        Self::left(requests, LostReason::NotTried)
    }

    /// The same, with the reason.
    pub fn left(requests: &[BookingRequest], reason: LostReason) -> Self {
        Self { lost: requests.iter().map(|request| Lost::new(request, reason)).collect(), ..Self::default() }
    }
}

/// A request that the database refuses to write whatever else is in its chunk, with the database's
/// own words.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Refusal {
    #[serde(rename = "frame_id")]
    pub frame: FrameId,
    #[serde(rename = "frame")]
    pub frame_name: String,
    #[serde(rename = "layer_id")]
    pub layer: LayerId,
    #[serde(rename = "host_id")]
    pub host: HostId,
    #[serde(rename = "host")]
    pub host_name: String,
    /// What was being written.
    pub step: &'static str,
    pub message: String,
    #[serde(skip)]
    pub blames: Blame,
}

/// Who is to be left alone for a while after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The frame's own row is refused.
    Frame,
    /// The proc or the host's row is refused: the host is left alone or, where the refusal follows the layer
    /// from host to host, the layer.
    HostOrLayer,
    /// A row that many frames share is refused: the layer rests.
    Layer,
}

impl Refusal {
    pub(super) fn new(request: &BookingRequest, error: &StoreError) -> Self {
        Self {
            frame: request.frame.id.clone(),
            frame_name: request.frame.name.clone(),
            layer: request.frame.layer.clone(),
            host: request.host.clone(),
            host_name: request.host_name.clone(),
            step: error.step(),
            message: error.message(),
            blames: match error.step() {
                steps::START_FRAMES | steps::LOCK_LAYER_STATS | steps::LOCK_JOB_STATS => Blame::Frame,
                steps::WRITE_PROCS | steps::TAKE_FROM_HOSTS => Blame::HostOrLayer,
                _ => Blame::Layer,
            },
        }
    }
}

/// A request that was not booked. Its frame waits as before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub frame: FrameId,
    pub layer: LayerId,
    pub host: HostId,
    pub reason: LostReason,
}

impl Lost {
    pub fn new(request: &BookingRequest, reason: LostReason) -> Self {
        Self { frame: request.frame.id.clone(), layer: request.frame.layer.clone(), host: request.host.clone(), reason }
    }
}

/// Why a request was not booked: what the plan believed no longer held when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, Display, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum LostReason {
    /// The frame is not WAITING any more, has another version or is being changed; or its job was
    /// paused, finished or taken off automatic booking; or its layer may not start yet.
    FrameTaken,
    /// Another session holds the frame's row, which is otherwise as it was read.
    FrameLocked,
    /// Another session holds a row that the booking must change or lock: a counter of the layer, the
    /// job, its folder, the show.
    RowLocked,
    /// Another session holds the host's row.
    HostLocked,
    /// No time was left for it after rows that were held or refused.
    NotTried,
    /// Enough bookings wait for their launch.
    LaunchesWaiting,
    /// A limit of the layer has no room.
    LimitReached,
    /// Less is idle on the host than was planned.
    HostLacksRoom,
    /// The host is gone or locked.
    HostNotOpen,
    /// The show has no subscription on the host's allocation.
    NoSubscription,
    BurstReached,
    JobCores,
    JobGpus,
    FolderCores,
    FolderGpus,
    /// The job or its folder has no row with caps and counters.
    CounterMissing,
    /// The reservation has no cores.
    NothingReserved,
    /// The database refuses to write this row; the log says why.
    Refused,
}

impl LostReason {
    /// The stable word for metrics labels and JSON.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// One line for a person.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::FrameTaken => "the frame or its job changed meanwhile",
            Self::FrameLocked => "another session holds the frame's row",
            Self::RowLocked => "another session holds a row that the booking needs",
            Self::HostLocked => "another session holds the host's row",
            Self::NotTried => "no time was left for it after rows that were held or refused",
            Self::LaunchesWaiting => "enough bookings wait for their launch",
            Self::LimitReached => "a limit of the layer has no room",
            Self::HostLacksRoom => "less is idle on the host than planned",
            Self::HostNotOpen => "the host is gone or locked",
            Self::NoSubscription => "the show has no subscription there",
            Self::BurstReached => "the subscription is at its burst",
            Self::JobCores => "the job is at its core cap",
            Self::JobGpus => "the job is at its GPU cap",
            Self::FolderCores => "the folder is at its core cap",
            Self::FolderGpus => "the folder is at its GPU cap",
            Self::CounterMissing => "the job or its folder has no counter row",
            Self::NothingReserved => "the reservation has no cores",
            Self::Refused => "the database refuses to write it",
        }
    }
}

/// Why a booking is taken back; logs and metrics tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum UnbookCause {
    /// The agent said no, or the launch could not be sent at all.
    LaunchRefused,
    /// The launch waited so long that Cuebot may soon take the booking for an orphan.
    LaunchTooLate,
    /// The agent said, twice, that it does not run the frame.
    NotRunning,
    /// The job was paused or ended between the booking and its launch.
    MayNotStart,
    /// Cuebot fell silent between the booking and its launch.
    CuebotSilent,
    /// The completion was lost in a silence, or the frame with its host's memory of it.
    Lost,
}

impl UnbookCause {
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What the frame says of its run: "cleared", of which no history is kept, or "orphan". Neither counts
    /// as a retry.
    pub(super) const fn exit_status(self) -> i64 {
        if matches!(self, Self::Lost) { 301 } else { 299 }
    }
}

/// What taking back came to: every booking is in exactly one of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnbookOutcome {
    /// The frame waits again and everything reserved is given back.
    pub unbooked: Vec<ProcId>,
    /// The frame or the proc is no longer as the booking left it: completed, killed, redirected or
    /// released meanwhile. Whoever did that gives back what was reserved; nothing was written.
    pub left_alone: Vec<ProcId>,
    /// The database refuses to write one of the rows involved; the log says which and why. The
    /// booking stands, and is found again as unsettled.
    pub refused: Vec<ProcId>,
    /// Another session holds one of the rows involved. The booking stands; try again later.
    pub locked: Vec<ProcId>,
}

/// What a lost answer to a COMMIT turned out to mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The server has not ended the transaction yet: ask again.
    Undecided,
    /// These are booked; requests that are not among them were rolled back.
    Settled(Vec<Booked>),
}
