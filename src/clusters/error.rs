//! What an operator named and the database does not have.

use std::collections::BTreeSet;
use std::fmt;

use crate::db::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    /// All that is wrong, so that it can be corrected at once; at least one.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unknown(Vec<UnknownName>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One name that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownName {
    #[error("no facility is named \"{name}\"; {known}")]
    Facility { name: String, known: Known },
    #[error("no show is named \"{name}\"; {known}")]
    Show { name: String, known: Known },
    #[error("no allocation has the tag \"{tag}\"{}; {known}", in_facility(.facility.as_deref()))]
    AllocTag { tag: String, facility: Option<String>, known: Known },
    #[error("show \"{show}\" subscribes to no allocation with the tag \"{tag}\"{}; {known}", in_facility(.facility.as_deref()))]
    NotSubscribed { show: String, tag: String, facility: Option<String>, known: Known },
    #[error("no host carries the tag \"{tag}\"{}; {known}", in_facility(.facility.as_deref()))]
    HostTag { tag: String, facility: Option<String>, known: Known },
}

fn in_facility(name: Option<&str>) -> String {
    name.map(|name| format!(" in facility \"{name}\"")).unwrap_or_default()
}

/// The names that do exist, those most like the wanted one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Names at most this many are kept, so that a message stays readable.
    names: Vec<String>,
    more: usize,
    nearest: Option<String>,
}

const LISTED_MAX: usize = 20;
const LIKE_ENOUGH: f64 = 0.8;

impl Known {
    #[must_use]
    pub fn like(wanted: &str, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let likeness = |name: &str| strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase());
        let names: BTreeSet<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
        let mut names: Vec<(f64, String)> = names.into_iter().map(|name| (likeness(&name), name)).collect();
        names.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let nearest = names.first().filter(|(likeness, _)| *likeness >= LIKE_ENOUGH).map(|(_, name)| name.clone());
        let more = names.len().saturating_sub(LISTED_MAX);
        let names = names.into_iter().take(LISTED_MAX).map(|(_, name)| name).collect();
        Self { names, more, nearest }
    }

    /// The name that was probably meant.
    #[must_use]
    pub fn nearest(&self) -> Option<&str> {
        self.nearest.as_deref()
    }

    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(nearest) = &self.nearest {
            write!(f, "did you mean \"{nearest}\"? ")?;
        }
        if self.names.is_empty() {
            return f.write_str("there is none at all");
        }
        write!(f, "there are: {}", self.names.join(", "))?;
        if self.more > 0 {
            write!(f, " and {} more", self.more)?;
        }
        Ok(())
    }
}
