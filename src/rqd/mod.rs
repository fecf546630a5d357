//! Talking to RQD agents.

pub mod proto;
