//! Helpers of the tests: one PostgreSQL for the whole run, and a database of its own for every test.

mod bookings;
mod database;
pub(crate) mod farm;
mod loss;
mod pgbouncer;
mod program;
mod proxy;
mod repairs;
mod rows;
pub(crate) mod service;
mod sql;

pub(crate) use self::farm::PATIENCE;
pub(crate) use bookings::{book_all, launches, one_core, requests};
pub(crate) use database::{TestDatabase, database, read_only_settings};
pub(crate) use loss::Loss;
pub(crate) use pgbouncer::PgBouncer;
pub(crate) use program::{Ran, database_variables, program, run_program};
pub(crate) use proxy::Proxy;
pub(crate) use repairs::{look, scope};
pub(crate) use rows::fingerprint;
pub(crate) use sql::{count, execute, number, texts};
