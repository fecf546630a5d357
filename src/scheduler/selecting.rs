//! The clusters while the service runs: built again and again, so that new shows, tags and subscriptions appear
//! without a restart, and what is wrong with what the settings name.
//!
//! What is named and not there is told and served again once it is back; all the rest is served meanwhile. What
//! leads to several facilities stays with the one that it was handed over with.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::database::look_at_schema;
use super::error::PassError;
use super::named_once::NamedOnce;
use super::settings::Settings;
use crate::clusters::{self, SelectionError, Served};
use crate::db::{ShowWaiting, Store, StoreError};
use crate::model::{Cluster, LeftOutRow, ShowId};
use crate::tasks::sleep_or_stop;
use crate::telemetry::{Condition, Health, Metrics, error_chain};

const NO_CLUSTER: &str = "nothing is selected that this database has: nothing is booked";

/// What was said of the selection, so that it is said once.
#[derive(Debug)]
pub(super) struct Selecting {
    metrics: Metrics,
    health: Health,
    named: NamedOnce<LeftOutRow>,
    /// What the settings name and what is wrong with it.
    problems: BTreeMap<String, String>,
    /// Shows that nobody books although they are flagged for a scheduler.
    unserved: BTreeSet<String>,
}

impl Selecting {
    pub(super) fn new(metrics: &Metrics, health: &Health) -> Self {
        Self {
            metrics: metrics.clone(),
            health: health.clone(),
            named: NamedOnce::default(),
            problems: BTreeMap::new(),
            unserved: BTreeSet::new(),
        }
    }

    /// Builds the clusters for the first time.
    ///
    /// # Errors
    /// When a name leads to several facilities, or nothing is there of what is named, or the database cannot be
    /// read.
    pub(super) async fn begin(&mut self, store: &Store, settings: &Settings) -> Result<Vec<Cluster>, PassError> {
        let Settings { selection, chunk_sizes, .. } = settings;
        let loaded = clusters::load_served(store, selection, *chunk_sizes, &HashSet::<ShowId>::new(), &[]).await;
        let served = loaded.map_err(SelectionError::Store)?;
        if let Some(ambiguous) = served.ambiguous.first() {
            return Err(SelectionError::Ambiguous(ambiguous.clone()).into());
        }
        if served.clusters.is_empty() && !served.missing.is_empty() {
            return Err(SelectionError::NothingLeft(served.missing).into());
        }
        tracing::info!(target: "scheduler", clusters = served.clusters.len(), "built the clusters");
        self.tell(&served, unserved(store, &served).await.as_ref());
        Ok(served.clusters)
    }

    /// Builds them again, by other settings too.
    pub(super) async fn run(
        mut self,
        context: Context,
        clusters: watch::Sender<Arc<[Cluster]>>,
        stop: CancellationToken,
    ) {
        let mut replaced = context.settings.watched();
        let mut returns = context.store.returns();
        loop {
            let interval = context.settings().cluster_reload_interval;
            tokio::select! {
                is_time = sleep_or_stop(interval, &stop) => if !is_time { return },
                // The sender lives as long as we do.
                _ = replaced.changed() => {}
                // While the database was away anything may have changed, and another server may hold less.
                Ok(()) = returns.changed() => {}
            }
            look_at_schema(&context.store).await;
            if let Err(error) = self.again(&context, &clusters).await {
                let chain = error_chain(&error);
                if self.health.raise(Condition::Clusters, "cannot be rebuilt; those there were are served on") {
                    tracing::error!(
                        target: "scheduler",
                        error = chain,
                        "cannot rebuild the clusters; going on with those there were"
                    );
                }
            } else {
                self.health.clear(Condition::Clusters);
            }
        }
    }

    async fn again(&mut self, context: &Context, clusters: &watch::Sender<Arc<[Cluster]>>) -> Result<(), StoreError> {
        let (store, settings) = (&context.store, context.settings());
        // Kept although their flag went off, also where being flagged is what makes a show ours.
        let kept = context.hints.shows_kept(Instant::now());
        let known = context.clusters();
        let served = clusters::load_served(store, &settings.selection, settings.chunk_sizes, &kept, &known).await?;
        clusters.send_if_modified(|known| {
            let is_new = **known != *served.clusters;
            if is_new {
                tracing::info!(target: "scheduler", clusters = served.clusters.len(), "rebuilt the clusters");
                *known = served.clusters.clone().into();
            }
            is_new
        });
        self.tell(&served, unserved(store, &served).await.as_ref());
        Ok(())
    }

    fn tell(&mut self, served: &Served, unserved: Option<&Unserved>) {
        self.named.name(&served.left_out);
        self.tell_problems(served);
        if !served.clusters.is_empty() {
            if self.health.clear(Condition::NoCluster) {
                tracing::info!(target: "scheduler", "there are clusters again");
            }
        } else if self.health.raise(Condition::NoCluster, NO_CLUSTER) {
            tracing::warn!(target: "scheduler", "no cluster: {NO_CLUSTER}; check-db says more");
        }
        if let Some(unserved) = unserved {
            self.tell_unserved(unserved);
        }
    }

    fn tell_problems(&mut self, served: &Served) {
        let missing = served.missing.iter().map(|name| (name.problem().to_owned(), name.to_string()));
        let ambiguous = served.ambiguous.iter().map(|name| (name.to_string(), format!("{name}; serving what it was")));
        let problems: BTreeMap<String, String> = missing.chain(ambiguous).collect();
        for (_, problem) in problems.iter().filter(|(name, _)| !self.problems.contains_key(*name)) {
            tracing::warn!(target: "scheduler", "what the settings name is not as it was: {problem}");
        }
        for name in self.problems.keys().filter(|name| !problems.contains_key(*name)) {
            tracing::info!(target: "scheduler", "no longer so, and served again: {name}");
        }
        self.metrics.set_selection_problems(problems.len());
        if problems.is_empty() {
            self.health.clear(Condition::Selection);
        } else {
            let reason = "names of the settings do not exist, or lead to several facilities; the rest is served";
            self.health.raise(Condition::Selection, reason);
        }
        self.problems = problems;
    }

    fn tell_unserved(&mut self, unserved: &Unserved) {
        let shows: BTreeSet<String> = unserved.shows.iter().map(|show| show.name.clone()).collect();
        for show in unserved.shows.iter().filter(|show| !self.unserved.contains(&show.name)) {
            tracing::warn!(
                target: "scheduler",
                show = show.name,
                frames = show.frames,
                "a show is flagged for a scheduler and nobody books it: name it in the settings, or let Cuebot book \
                 it with cueadmin -scheduler-managed SHOW off"
            );
        }
        self.metrics.set_unserved_frames(unserved.shows.iter().map(|show| show.frames).sum());
        if shows.is_empty() || unserved.has_others {
            self.health.clear(Condition::Unserved);
        } else {
            let reason = "flagged for a scheduler and booked by nobody, with frames that wait; the log names them";
            self.health.raise(Condition::Unserved, reason);
        }
        self.unserved = shows;
    }
}

/// Flagged shows with work that are not ours.
struct Unserved {
    shows: Vec<ShowWaiting>,
    /// Another scheduler is connected, and may book them although nothing of them runs now.
    has_others: bool,
}

/// `None` where it cannot be read: nothing depends on it.
async fn unserved(store: &Store, served: &Served) -> Option<Unserved> {
    let unserved = load_unserved(store, served).await;
    unserved.inspect_err(|error| tracing::debug!(error = error_chain(error), "cannot tell what nobody books")).ok()
}

async fn load_unserved(store: &Store, served: &Served) -> Result<Unserved, StoreError> {
    if served.unserved.is_empty() {
        return Ok(Unserved { shows: Vec::new(), has_others: false });
    }
    let has_others = store.other_schedulers().await? > 0;
    let mut shows = store.waiting_of_shows(&served.unserved).await?;
    shows.retain(|show| !(has_others && show.has_procs));
    Ok(Unserved { shows, has_others })
}
