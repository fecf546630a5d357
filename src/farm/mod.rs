//! The sandbox farm: a whole render farm on one machine, for the demo and for the tests.

pub mod agents;
pub mod audit;
pub mod cuebot;
pub mod demo;
pub mod fleet;
pub mod launch;
mod packages;
pub mod postgres;
pub mod progress;
pub mod sandbox;
pub mod schema;
pub mod seed;
