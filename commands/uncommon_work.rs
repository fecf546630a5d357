//! Work that this scheduler does not book as Cuebot would, told where shows are handed over.

use std::collections::BTreeSet;

use anyhow::Context as _;
use cue_scheduler::db::Store;
use cue_scheduler::model::{Cluster, ShowId};
use cue_scheduler::units::{counted, listed};

use crate::output::Printer;

/// Names of these are told; the rest is counted.
const NAMED_MAX: usize = 20;

/// Sentences, as they are printed.
#[derive(Debug, Default)]
pub(crate) struct UncommonWork {
    loose_tags: Vec<String>,
    licences: Vec<String>,
}

impl UncommonWork {
    /// Of the shows of some clusters.
    pub(crate) async fn load(store: &Store, clusters: &[Cluster]) -> anyhow::Result<Self> {
        let shows: BTreeSet<ShowId> = clusters.iter().map(|cluster| cluster.show.clone()).collect();
        let shows: Vec<ShowId> = shows.into_iter().collect();
        let loose = store.load_loose_tags(&[], &shows).await.context("Failed to read the tags of layers")?;
        let licences = store.load_declared_licences(&shows).await.context("Failed to read environments")?;
        Ok(Self {
            loose_tags: (loose.iter())
                .map(|row| {
                    format!(
                        "{}/{} asks for `{}` (near `{}`)",
                        row.job_name,
                        row.layer_name,
                        row.tags,
                        row.near.join("`, `")
                    )
                })
                .collect(),
            licences: licences.iter().map(|row| format!("{}: {}", row.show, counted(row.layers, "layer"))).collect(),
        })
    }

    pub(crate) fn warn(&self, printer: Printer) {
        let Self { loose_tags, licences } = self;
        if !loose_tags.is_empty() {
            let line = format_args!(
                "only Cuebot's regular expression finds hosts by the tags of {}, which would wait here for ever:",
                counted(loose_tags.len(), "layer")
            );
            printer.warning_with(line, &[listed(loose_tags, NAMED_MAX)]);
        }
        if !licences.is_empty() {
            let line = "only Cuebot's own planner counts licences by CUE_LICENSES, which these shows set \
                        (scheduler.cue_licenses):";
            printer.warning_with(line, &[listed(licences, NAMED_MAX)]);
        }
    }
}
