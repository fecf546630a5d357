//! The scheduler as a library; the binary in `commands/` only parses, calls and prints.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod units;

pub mod model;

pub mod tasks;

pub mod config;

pub mod telemetry;

pub mod planner;

pub mod db;

pub mod clusters;

pub mod rqd;

pub mod booking;

pub mod scheduler;

pub mod preview;

pub mod explain;

pub mod ops;

pub mod farm;
