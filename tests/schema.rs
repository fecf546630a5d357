//! Our statement of Cuebot's schema: against the lists of Cuebot's columns and indexes, and trigger by
//! trigger against what Cuebot's do.

mod case;
mod catalog;
mod frame;
mod history;
mod refusals;
mod routines;
mod rows;
