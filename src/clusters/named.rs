//! The cluster that somebody means.

use super::error::Known;
use crate::model::Cluster;

#[derive(Debug, thiserror::Error)]
pub enum NameError {
    #[error("no cluster of this configuration is named \"{name}\"; {known}")]
    Unknown { name: String, known: Known },
    #[error("several clusters begin with \"{name}\": {}{}", .names.join(", "), and_more(*.more))]
    Ambiguous { name: String, names: Vec<String>, more: usize },
}

/// Names that a message lists.
const LISTED_MAX: usize = 20;

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" and {more} more") }
}

/// Position of the cluster with this name, or else of the only one whose name begins so.
pub fn named(clusters: &[Cluster], name: &str) -> Result<usize, NameError> {
    if let Some(exact) = clusters.iter().position(|cluster| cluster.name == name) {
        return Ok(exact);
    }
    let mut matches = clusters.iter().enumerate().filter(|(_, cluster)| cluster.name.starts_with(name));
    match (matches.next(), matches.next()) {
        (Some((position, _)), None) => Ok(position),
        (Some(_), Some(_)) => {
            let names = clusters.iter().map(|cluster| &cluster.name).filter(|known| known.starts_with(name));
            let mut names: Vec<String> = names.cloned().collect();
            let more = names.len().saturating_sub(LISTED_MAX);
            names.truncate(LISTED_MAX);
            Err(NameError::Ambiguous { name: name.to_owned(), names, more })
        }
        (None, _) => {
            let known = Known::like(name, clusters.iter().map(|cluster| &cluster.name));
            Err(NameError::Unknown { name: name.to_owned(), known })
        }
    }
}
