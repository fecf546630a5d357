//! What an operator named and the database does not have.

use std::collections::BTreeSet;
use std::fmt;

use crate::db::StoreError;
use crate::model::{Cluster, ClusterKind};
use crate::units::listed;

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

/// The names that do exist, those most like the wanted one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    names: Vec<String>,
    /// The first is like enough to have been meant.
    is_near: bool,
}

/// Names in a message, so that it stays readable.
pub(super) const LISTED_MAX: usize = 20;
const LIKE_ENOUGH: f64 = 0.8;

impl Known {
    pub(super) fn like(wanted: &str, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let likeness = |name: &str| strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase());
        let names = by_likeness(names.into_iter().map(|name| name.as_ref().to_owned()), likeness);
        let is_near = names.first().is_some_and(|(likeness, _)| *likeness >= LIKE_ENOUGH);
        Self { names: names.into_iter().map(|(_, name)| name).collect(), is_near }
    }
}

/// Each name once with its likeness, those most like what was wanted first.
pub fn by_likeness(names: impl IntoIterator<Item = String>, likeness: impl Fn(&str) -> f64) -> Vec<(f64, String)> {
    let names: BTreeSet<String> = names.into_iter().collect();
    let mut scored: Vec<(f64, String)> = names.into_iter().map(|name| (likeness(&name), name)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(nearest) = self.names.first() else { return f.write_str("there is none at all") };
        if self.is_near {
            write!(f, "did you mean \"{nearest}\"? ")?;
        }
        write!(f, "there are: {}", listed(&self.names, LISTED_MAX))
    }
}
