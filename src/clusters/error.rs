//! What an operator named and the database does not have.

use crate::db::StoreError;
use crate::text::Known;

#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    /// All that is wrong, so that it can be corrected at once; at least one.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unknown(Vec<UnknownName>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One name that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {known}")]
pub struct UnknownName {
    pub(super) problem: String,
    pub(super) known: Known,
}
