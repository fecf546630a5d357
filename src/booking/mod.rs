//! Bookings: written, taken back, and repaired where counters went wrong. The statements are in `db`; what is
//! asked for in which order, what is lost for want of room and what goes on when a row is held is decided here.
//!
//! A booking is one transaction for a chunk of frames: what the planner believed is proposed, the
//! rows themselves decide. A frame that somebody else took drops out alone; a host, subscription,
//! job, folder or limit without room drops its own requests, never the chunk.
//!
//! Invariants, held at every commit by conditions in the writing statements:
//! - the amounts in `proc` are what was taken from the host and added to subscription, layer, job,
//!   folder and point, since every release gives back what the `proc` row says;
//! - no use after booking is above its cap, and no limit is overshot by any number of concurrent
//!   bookings of ours;
//! - rows are locked in one order, which is Cuebot's: limits (ours only), frame, all `layer_stat`,
//!   all `job_stat`, proc, host, subscription, `layer_resource` (descending), `job_resource`, job
//!   (shared, so that nobody moves it), `folder_resource`, point.
//!
//! Taking back is fenced by the frame's version and by the proc: what completed meanwhile is left
//! alone.

mod book;
mod chunk;
mod error;
mod fit;
mod limits;
mod outcome;
mod parts;
mod repair;
mod settle;
#[cfg(test)]
mod testing;
mod unbook;

pub use book::{BookOptions, book, verify};
pub(crate) use chunk::Chunks;
pub use error::{BookingError, UnknownCommit};
pub use outcome::{Blame, ChunkOutcome, CommitOutcome, Lost, LostReason, Refusal, UnbookCause, UnbookOutcome};
pub use repair::{RepairScope, Repaired, Repairs, RepairsDone};
pub use settle::resolve_commit;
pub use unbook::{unbook, unbook_fenced};

pub use crate::db::book::settle::{
    SilenceEnds, SilentBooking, Standing, find_booked, find_overtaken, find_silent, find_unsettled,
};
pub use crate::db::book::unbook::Fence;
