//! The loop that ties the rooms together: snapshot, plan, frames, bookings, launches.
//!
//! A pass goes this way once (`cycle`); when the next one follows is decided by `pacing`. While work flows a
//! pass follows after a rest as long as its look at the farm took, or at once when it was cut short; while
//! nothing can be placed a cheap probe looks for changes, and a full look is taken at least every
//! `queue.monitor_interval`.
//!
//! Invariants:
//! - what lives between passes (`hints`) may be dropped at any time: it only holds back hosts and
//!   layers for a while, the rows decide everything else;
//! - a frame is launched only after its booking is committed, and at most once per booking;
//! - a booking whose launch has no known outcome is neither launched again nor taken back before its
//!   host has said, twice, that it does not run it;
//! - a launch that could not be sent in time is taken back unsent, and a booking of a dead instance is
//!   looked at only after that time, so that nobody judges what another instance may still launch;
//! - every loop survives its own errors and ends when told to stop.
//!
//! The settings may be replaced while it runs (`SharedSettings`): each pass and each round of a loop asks for those
//! that hold.
//!
//! Loops: `passes`, `clusters` (rebuild), `settle` (unknown launches, and bookings to take back), `silence`
//! (whether Cuebot answers), `failing_hosts` (where
//! whatever runs fails at once), `recover` (bookings of dead instances and lost completions), `redirects` (orders
//! to move a proc), `repair` (counters and idle amounts that drifted, releases that Cuebot leaves to us). In
//! a dry run only `passes` and `clusters`.
//!
//! Passes differ only in their sink: bookings go into the database and on to the hosts (`live`), or into a
//! preview's memory.

mod context;
mod cycle;
mod database;
mod elsewhere;
mod error;
mod failing_hosts;
mod failures;
mod flags;
mod fruitless;
mod held_rows;
mod hints;
mod launch;
mod live;
mod loads;
mod named_once;
mod outage;
mod pacing;
mod passes;
mod redirects;
mod repair;
mod report;
mod requests;
mod selecting;
mod service;
mod settings;
mod silence;
mod tell;
mod totals;

pub(crate) use cycle::{Chunk, Cycle, Planned, Sink, View};
pub use error::PassError;
pub(crate) use hints::Hints;
pub use launch::LaunchTargets;
pub(crate) use pacing::{End, Event, Pacing, Passed, Step};
pub use report::{PassReport, ReasonRow};
pub(crate) use requests::PlacedFrame;
pub use service::{Ended, Parts, Service};
pub use settings::Settings;
pub(crate) use silence::OVERDUE_AFTER;
pub use totals::Totals;
