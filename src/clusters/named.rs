//! The cluster that somebody means.

use crate::model::Cluster;
use crate::text::{Known, LISTED_MAX};
use crate::units::listed;

#[derive(Debug, thiserror::Error)]
pub enum NameError {
    #[error("no cluster of this configuration is named \"{name}\"; {known}")]
    Unknown { name: String, known: Known },
    #[error("several clusters begin with \"{name}\": {}", listed(names, LISTED_MAX))]
    Ambiguous { name: String, names: Vec<String> },
}

/// Position of the cluster with this name, or else of the only one whose name begins so.
pub fn named(clusters: &[Cluster], name: &str) -> Result<usize, NameError> {
    if let Some(exact) = clusters.iter().position(|cluster| cluster.name == name) {
        return Ok(exact);
    }
    let names = || clusters.iter().map(|cluster| &cluster.name);
    let matches: Vec<usize> = (0..clusters.len()).filter(|&at| clusters[at].name.starts_with(name)).collect();
    match matches.as_slice() {
        [position] => Ok(*position),
        [] => Err(NameError::Unknown { name: name.to_owned(), known: Known::like(name, names()) }),
        _ => {
            let names = names().filter(|known| known.starts_with(name)).cloned().collect();
            Err(NameError::Ambiguous { name: name.to_owned(), names })
        }
    }
}
