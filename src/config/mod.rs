//! What an operator may set: the YAML file, the environment, the flags.
//!
//! Flags win over the environment, which wins over the file, which wins over the defaults; where each
//! value came from is kept. Every value of every layer is checked, even one that another layer
//! overrides, and all problems are reported at once.
//!
//! Invariants:
//! - a key means something, or is refused, or is listed as without effect when it is set: no setting
//!   is silently dead;
//! - secrets are in no message and no `Debug` output;
//! - nothing outside the file is read but what the caller passes in.

mod changed;
mod directive;
mod document;
mod error;
mod ignored;
mod keys;
mod load;
mod types;
mod value;
mod yaml;

pub(crate) use directive::{NoDirective, directives};
pub use document::document;
pub use error::{ConfigError, NamedBy, Place};
pub use ignored::ignored_keys;
pub use keys::{Key, VARIABLE_PREFIX, keys};
pub(crate) use load::read_password;
pub use load::{FlagValue, Inputs, Loaded, SYSTEM_FILE, Warning, load};
pub(crate) use types::Rqd;
pub use types::{
    AgentSettings, BesideMaestro, Config, CueLicenses, CuebotSilence, Database, FlagOff, FractionalCores, LogFormat,
    MemoryLimitFactors, Secret, Tls, Version,
};
