//! What crosses rooms, against a real PostgreSQL and real gRPC. One binary, one link.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

mod agents;
mod audit;
mod booking;
mod check_db;
mod cli;
mod clusters;
mod config;
mod config_init;
mod cuebot;
mod daemon;
mod dry_run;
mod exclusion_list;
mod explain;
mod faults;
mod flags;
mod fleet;
mod fresh_machine;
mod generated;
mod gpu_hosts;
mod held_rows;
mod launch;
mod outages;
mod overtaken;
mod plan;
mod postgres;
mod races;
mod redirects;
mod refusals;
mod repair;
mod schema;
mod seed;
mod shortage;
mod silence;
mod snapshot;
mod statements;
mod telemetry;
mod tidy;
mod uncommon_work;
mod way;
mod wire;
