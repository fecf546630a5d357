//! Handing shows over from Cuebot and back: what Cuebot must be told so that each piece of work has
//! exactly one booker.
//!
//! Cuebot learns it in one of two ways, and the schema says which: where `show` has the scheduler flag,
//! the flag decides; where not, `dispatcher.exclusion_list` of every Cuebot's properties file does, which
//! names pairs of show and allocation. The command line and the environment of a Cuebot win over its file.
//!
//! Everything here is pure.

mod check;
mod coverage;
mod cuebot;
mod flags;
mod list;
#[cfg(test)]
mod oracle;
mod properties;
mod words;

pub use check::{Booker, Finding, NotExpressed, Told, check, not_expressed};
pub use coverage::{Coverage, Gap};
pub use cuebot::CuebotSettings;
pub use flags::ShowFlags;
pub(super) use flags::{may_have_work, shows};
pub use list::ExclusionList;
pub use properties::Properties;

/// The property that lists the pairs that Cuebot leaves alone.
pub const EXCLUSION_LIST: &str = "dispatcher.exclusion_list";
/// The property that ends all booking of hosts by a Cuebot.
pub const TURN_OFF_BOOKING: &str = "dispatcher.turn_off_booking";
/// The property that switches Cuebot's own planner on.
const MAESTRO: &str = "maestro.enabled";
