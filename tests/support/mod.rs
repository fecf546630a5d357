//! Helpers of the tests: one PostgreSQL for the whole run, and a database of its own for every test.

mod bookings;
mod database;
pub(crate) mod farm;

pub(crate) use bookings::{book_all, launches, one_core, requests};
pub(crate) use database::{TestDatabase, database};
