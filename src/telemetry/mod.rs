//! What the scheduler says about itself: logs, metrics, and whether it is ready.
//!
//! Invariants:
//! - handles are values given to whoever counts; nothing is global but the log subscriber, which the
//!   command installs once;
//! - labels are the closed lists of the model or of [`labels`], or a show's name, of a bounded number of shows
//!   where each would bring many series; never an id, a host or a text with a number in it, since every new label
//!   value is a new series for ever. But for what is held back: a bounded number of names, each gone when it is over;
//! - no metric reads a clock: durations are measured by whoever did the work.

mod declare;
mod descriptors;
mod error_chain;
mod health;
pub mod http;
pub mod labels;
pub mod logs;
mod metrics;
mod observe;
mod shows;

pub(crate) use declare::MetricsError;
pub(crate) use descriptors::{DESCRIPTORS_REMEDY, NO_CONNECTIONS, is_out_of_descriptors};
pub(crate) use error_chain::causes;
pub use error_chain::error_chain;
pub use health::{Condition, Health};
pub use metrics::Metrics;
pub use observe::PassFigures;
/// Where metrics are declared and gathered from.
pub use prometheus::Registry;
