//! The loops that watch for what was lost: silence of Cuebot, bookings that nobody vouches for, and
//! bookings of our shows by others.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::context::{Context, sorted};
use super::launch::{FOUND_AGE_MIN, Launcher, Recovery};
use super::silence::Change;
use crate::booking::SilenceEnds;
use crate::db::{EndedFrames, ForeignBookings, NewestReport};
use crate::model::{ShowId, Timestamp};
use crate::tasks::sleep_or_stop;
use crate::telemetry::{Condition, error_chain};

/// Between two warnings that somebody else books a show.
const FOREIGN_QUIET: Duration = Duration::from_mins(10);
/// Between two looks at the newest host report.
const SILENCE_TICK: Duration = Duration::from_secs(1);

/// Watches whether host reports arrive at all. While none does, nothing is booked or launched.
pub(super) async fn run_silence(context: Context, stop: CancellationToken) {
    let Context { store, hints, metrics, health, .. } = &context;
    let (mut is_database_away, mut server) = (false, None);
    let mut returns = store.returns();
    while sleep_or_stop(SILENCE_TICK, &stop).await {
        let NewestReport { looked_at, newest, server_started } = match store.newest_report(&context.clusters()).await {
            Ok(found) => found,
            Err(error) => {
                is_database_away |= error.is_connection_lost();
                continue;
            }
        };
        // It may have stood still without losing a connection.
        is_database_away |= returns.has_changed().is_ok_and(|has_changed| has_changed);
        returns.mark_unchanged();
        is_database_away |= server.replace(server_started).is_some_and(|before| before != server_started);
        let (change, is_silent) = hints.reports(|reports| {
            if std::mem::take(&mut is_database_away) {
                reports.database_is_back(looked_at);
            }
            (reports.newest(looked_at, newest), reports.is_silent())
        });
        let age = newest.and_then(|newest| Duration::try_from(looked_at - newest).ok()).unwrap_or_default();
        metrics.set_cuebot_silent(is_silent, age);
        hints.set_silence(is_silent);
        if is_silent {
            health.raise(Condition::CuebotSilent, "no host report arrives: Cuebot does not answer");
            if change == Change::Began {
                metrics.cuebot_fell_silent();
                tracing::error!(
                    target: "scheduler",
                    "no host report for {} s: Cuebot does not answer; nothing is booked or launched until one arrives",
                    age.as_secs()
                );
            }
        } else if health.clear(Condition::CuebotSilent) {
            tracing::info!(target: "scheduler", "host reports arrive again; going on");
        }
    }
}

/// Whether completions are being applied again after a silence: until then a booking without a sign of
/// life may be about to get its own.
#[derive(Debug, Default)]
struct Completions {
    /// The end of the silence, and how many frames had ended then.
    since: Option<(Timestamp, i64)>,
    are_applied: bool,
}

impl Completions {
    async fn are_applied(&mut self, context: &Context, shows: &[ShowId], ended: Timestamp, now: Timestamp) -> bool {
        // What runs may run for hours.
        if now - ended > context.settings().lost_after * 4 / 3 {
            return true;
        }
        let Ok(EndedFrames { frames, has_survivors }) = context.store.ended_frames(shows, ended).await else {
            return false;
        };
        // Where everything was lost there is nothing left to be applied.
        if !has_survivors {
            return true;
        }
        match self.since {
            Some((since, before)) if since == ended => self.are_applied |= frames != before,
            _ => *self = Self { since: Some((ended, frames)), are_applied: false },
        }
        self.are_applied
    }
}

/// Looks for bookings that a dead instance left without a launch, and for those whose completion was lost.
pub(super) async fn run_recover(context: Context, launcher: Launcher, stop: CancellationToken) {
    let mut recovering =
        Recovering { context, launcher, completions: Completions::default(), foreign: Foreign::default() };
    // What a dead process left a moment ago is old enough at the second look.
    let mut pause_max = FOUND_AGE_MIN;
    loop {
        recovering.look().await;
        let pause = recovering.context.settings().recover_interval.min(pause_max);
        if !sleep_or_stop(pause, &stop).await {
            return;
        }
        pause_max = Duration::MAX;
    }
}

struct Recovering {
    context: Context,
    launcher: Launcher,
    completions: Completions,
    foreign: Foreign,
}

impl Recovering {
    async fn look(&mut self) {
        // While Cuebot's planner is active: its bookings are not ours to judge, it may launch them later than
        // we would.
        if !matches!(self.context.foreign_planner_blocks().await, Ok(false)) {
            return;
        }
        let clusters = self.context.clusters();
        let Ok(NewestReport { looked_at, .. }) = self.context.store.newest_report(&clusters).await else { return };
        let shows = sorted(clusters.iter().map(|cluster| &cluster.show));
        let silences = self.silence_ends(&shows, looked_at).await;
        match self.launcher.recover(&shows, &silences).await {
            Ok(found) if found == Recovery::default() => {}
            Ok(Recovery { never_reported, silent }) => {
                tracing::info!(never_reported, silent, "asking hosts about bookings that nobody vouches for");
            }
            Err(error) => tracing::debug!(error = error_chain(&error), "cannot look for unsettled bookings now"),
        }
        self.foreign.look(&self.context, &shows, looked_at).await;
    }

    /// The silences that explain a missing sign of life by now.
    async fn silence_ends(&mut self, shows: &[ShowId], looked_at: Timestamp) -> SilenceEnds {
        let (hints, settings) = (&self.context.hints, self.context.settings());
        if hints.is_silence() {
            return SilenceEnds::default();
        }
        let ends = |age| hints.reports(|reports| reports.ends(looked_at, age));
        let (all, old_enough) = (ends(Duration::ZERO), ends(settings.lost_after));
        // Counted from the first look after the silence on, so that what is applied since is seen. A silence of
        // the farm is one of its hosts too.
        match all.farm {
            Some(ended) if !self.completions.are_applied(&self.context, shows, ended, looked_at).await => {
                SilenceEnds::default()
            }
            _ => old_enough,
        }
    }
}

/// Counts what others book of our shows, and warns of it now and then.
#[derive(Debug, Default)]
struct Foreign {
    looked_at: Option<Timestamp>,
    warned_at: HashMap<String, Instant>,
}

impl Foreign {
    async fn look(&mut self, context: &Context, shows: &[ShowId], looked_at: Timestamp) {
        let now = Instant::now();
        // What was booked before we ran is not counted.
        let Some(last) = self.looked_at.replace(looked_at) else { return };
        let Ok(found) = context.store.foreign_bookings(shows, last, looked_at).await else { return };
        for ForeignBookings { show_name, bookings } in found {
            context.metrics.foreign_booked(&show_name, bookings);
            let is_quiet = self.warned_at.get(&show_name).is_some_and(|at| now - *at < FOREIGN_QUIET);
            if !is_quiet {
                tracing::warn!(
                    target: "scheduler",
                    show = show_name,
                    bookings,
                    "somebody else books a show that is served here, Cuebot perhaps; see what `exclusion-list \
                     --check` says of its settings"
                );
                self.warned_at.insert(show_name, now);
            }
        }
    }
}
