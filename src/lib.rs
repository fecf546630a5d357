//! The scheduler as a library; the binary in `commands/` only parses, calls and prints.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod units;

pub mod model;

pub mod tasks;

pub mod config;

pub mod telemetry;

pub mod placement;

pub mod store;

pub mod cluster;

pub mod rqd;

pub mod booking;

pub mod check;

pub mod pass;

pub mod handover;

pub mod farm;
