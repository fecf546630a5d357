//! What an operator named and the database does not have.

use crate::db::StoreError;
use crate::model::{Cluster, ClusterKind};
use crate::text::Known;

#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    /// All that is wrong, so that it can be corrected at once; at least one.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unknown(Vec<UnknownName>),
    #[error(transparent)]
    Ambiguous(Ambiguous),
    /// All that is named is gone; it may come back.
    #[error("nothing is there of what is to be served: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NothingLeft(Vec<UnknownName>),
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

impl UnknownName {
    /// Without the names that do exist.
    pub(crate) fn problem(&self) -> &str {
        &self.problem
    }
}

/// A show and tag that lead to more than one facility, so that nobody can tell which one is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Alloc tag requires a valid facility: {show}:{tag} is in the facilities {}", .facilities.join(", "))]
pub struct Ambiguous {
    pub(super) show: String,
    pub(super) tag: String,
    pub(super) facilities: Vec<String>,
}

impl Ambiguous {
    pub(super) fn covers(&self, cluster: &Cluster) -> bool {
        let is_tag = matches!(&cluster.kind, ClusterKind::Allocation { tag, .. } if tag.as_str() == self.tag);
        is_tag && cluster.show_name == self.show
    }
}
