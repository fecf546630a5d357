//! Helpers of the tests: one PostgreSQL for the whole run, and a database of its own for every test.

mod database;

pub(crate) use database::{TestDatabase, database};
