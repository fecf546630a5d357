//! What crosses rooms, against a real PostgreSQL and real gRPC. One binary, one link.

mod support;

mod agents;
mod audit;
mod booking;
mod cli;
mod config;
mod cuebot;
mod faults;
mod fleet;
mod launch;
mod schema;
mod seed;
mod snapshot;
mod telemetry;
mod wire;
