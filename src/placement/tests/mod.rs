//! Tests of the planner as a whole; small pure parts are tested beside their code.

mod farm;
mod gates;
mod properties;
mod vectors;
