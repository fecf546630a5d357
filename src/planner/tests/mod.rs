//! Tests of the planner as a whole; small pure parts are tested beside their code.

mod bundles;
mod choice;
mod drawn;
mod explain;
pub(crate) mod farm;
mod gates;
mod properties;
mod scale;
mod vectors;
