//! What an operator asks before going live: whether database and settings are fit for the service, and
//! what Cuebot must be told when shows change hands.

pub mod check;
pub mod handover;
mod whole_file;

pub use whole_file::{read_file, replace_file, write_file};
