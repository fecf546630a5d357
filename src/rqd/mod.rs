//! Talking to RQD agents: the message that starts a frame, the calls, and what their ends mean.
//!
//! Invariants:
//! - a launch counts as not started only if nothing of it was sent or the agent itself said so;
//!   everything else may be running and stays booked until the agent has answered for it;
//! - nothing is decided by the text of a refusal, which differs from agent to agent;
//! - no call is without a bound in time and number, and hosts that are slow or mute hold up only themselves;
//! - where a name may mean another machine by now, who answers is asked before anything is sent;
//! - nothing that listens on a host is trusted to be an agent: answers are bounded before they are decoded.
//!
//! Frame ranges, the message, what is read of a report, confirmations, the breaker, paces and
//! names are pure.

mod breaker;
mod channels;
mod circuit;
mod client;
mod confirm;
mod error;
mod fractions;
mod frame_range;
mod identity;
mod line;
mod pace;
pub mod proto;
mod report;
mod run_frame;
mod socket;
mod wire;

pub(crate) use breaker::Breakers;
pub use circuit::BreakerSettings;
pub(crate) use client::Unsent;
pub use client::{Agents, KillOutcome, LaunchOutcome};
pub use confirm::ConfirmSettings;
pub(crate) use confirm::Confirmation;
pub use error::{AgentError, AnswerFault};
pub(crate) use fractions::refused_fractions;
pub(crate) use frame_range::unrendered_numbers;
pub(crate) use report::AgentReport;
pub(crate) use run_frame::RunFrameError;
pub use run_frame::build_run_frame;
/// The word of an agent's answer.
pub use tonic::Code;

pub use crate::config::{AgentSettings, MemoryLimitFactors};
