//! The loop that compares counters and idle amounts with procs, at intervals, sooner while something is
//! wrong, and when a Cuebot says that it left a release to us.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::context::{Context, sorted};
use crate::booking::{BookingError, RepairScope, Repairs, RepairsDone};
use crate::db::{ReleaseNotice, Releases};
use crate::model::Cluster;
use crate::tasks::sleep_or_stop;
use crate::telemetry::error_chain;

/// Notifications come in bursts; one look serves a burst.
const GATHER: Duration = Duration::from_millis(500);
/// At most one part in so many of the time goes into repairs.
const SHARE: u32 = 10;

pub(super) async fn run_repair(context: Context, stop: CancellationToken) {
    let mut repairing = Repairing { context, repairs: Repairs::default(), releases: None, has_unreadable: false };
    let mut look_at = Instant::now();
    let mut account_at = None;
    loop {
        if stop.run_until_cancelled(repairing.listen()).await.is_none() {
            return;
        }
        let next = account_at.unwrap_or(look_at).min(look_at);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(next.into()) => {}
            () = repairing.hear() => {
                account_at.get_or_insert_with(|| Instant::now() + GATHER);
                continue;
            }
        }
        let began = Instant::now();
        let look_again = repairing.repair(look_at <= began).await;
        let rest = (began.elapsed() * SHARE).max(GATHER);
        account_at = None;
        look_at = match look_again {
            Some(pause) => Instant::now() + pause.max(rest),
            None => look_at.max(Instant::now() + rest),
        };
        // What arrives meanwhile waits in the connection.
        if !sleep_or_stop(rest.saturating_sub(GATHER), &stop).await {
            return;
        }
    }
}

struct Repairing {
    context: Context,
    repairs: Repairs,
    /// `None` where no Cuebot announces anything, and while the connection is lost.
    releases: Option<Releases>,
    has_unreadable: bool,
}

impl Repairing {
    async fn listen(&mut self) {
        if self.releases.is_none() && self.context.store.features().has_scheduler_managed {
            self.releases = self.context.store.listen_for_releases().await.ok();
        }
    }

    /// Returns with the next announcement, or when there is nothing to listen to any more.
    async fn hear(&mut self) {
        let mut returns = self.context.store.returns();
        let heard = match &mut self.releases {
            Some(releases) => tokio::select! {
                heard = releases.next() => heard,
                // The database was away: nothing may come over this connection any more.
                _ = returns.changed() => return self.releases = None,
            },
            None => std::future::pending().await,
        };
        match heard {
            Ok(notice) => self.take_in(notice),
            Err(_) => self.releases = None,
        }
    }

    /// Everything that has been announced by now.
    async fn hear_all(&mut self) {
        let Some(releases) = &mut self.releases else { return };
        match releases.arrived().await {
            Ok(notices) => notices.into_iter().for_each(|notice| self.take_in(notice)),
            Err(_) => self.releases = None,
        }
    }

    fn take_in(&mut self, notice: ReleaseNotice) {
        match notice {
            ReleaseNotice::Release(release) => self.repairs.announce(release),
            ReleaseNotice::Unreadable => {
                self.context.metrics.release_unreadable();
                if !std::mem::replace(&mut self.has_unreadable, true) {
                    tracing::warn!(
                        "a notification about a release is not what Cuebot writes; such ones are ignored and counted"
                    );
                }
            }
        }
    }

    /// Subtracts what was announced and, where it is time for it, looks at everything. Returns when to
    /// look again, if it has looked.
    async fn repair(&mut self, is_look_due: bool) -> Option<Duration> {
        let interval = self.context.settings().recompute_interval;
        // While Cuebot's planner is active it writes these counters after its commits.
        if !matches!(self.context.foreign_planner_blocks().await, Ok(false)) {
            return is_look_due.then_some(interval);
        }
        let scope = scope_of(&self.context.clusters());
        self.hear_all().await;
        let accounted = self.repairs.account(&self.context.store, &scope.shows).await;
        self.record(accounted);
        if !is_look_due {
            return None;
        }
        let began = Instant::now();
        let looked = self.look(&scope).await;
        self.context.metrics.repair_ended(began.elapsed());
        Some(self.record(looked).and_then(|done| done.look_again).map_or(interval, |soon| soon.min(interval)))
    }

    async fn look(&mut self, scope: &RepairScope) -> Result<RepairsDone, BookingError> {
        let observation = self.repairs.observe(&self.context.store, scope).await?;
        // What has been announced by now is no surplus.
        self.hear_all().await;
        self.repairs.correct(&self.context.store, observation).await
    }

    fn record(&self, done: Result<RepairsDone, BookingError>) -> Option<RepairsDone> {
        match done {
            Ok(done) => {
                for (table, rows) in RepairsDone::rows(&done.drift) {
                    self.context.metrics.drift_repaired(table.as_str(), rows);
                }
                for (table, rows) in RepairsDone::rows(&done.releases) {
                    self.context.metrics.releases_accounted(table.as_str(), rows);
                }
                Some(done)
            }
            Err(error) => {
                tracing::debug!(error = error_chain(&error), "cannot compare counters with procs now");
                None
            }
        }
    }
}

fn scope_of(clusters: &[Cluster]) -> RepairScope {
    RepairScope {
        shows: sorted(clusters.iter().map(|cluster| &cluster.show)),
        facilities: sorted(clusters.iter().map(|cluster| &cluster.facility)),
    }
}
