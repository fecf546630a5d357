//! The loops that watch for what was lost: silence of Cuebot, bookings that nobody vouches for, and
//! bookings of our shows by others.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::launch::{FOUND_AGE_MIN, Launcher, Recovery};
use super::silence::Change;
use super::turn::Turn;
use crate::booking::SilenceEnds;
use crate::db::{EndedFrames, ForeignBookings, NewestReport};
use crate::model::{Cluster, ShowId, Timestamp};
use crate::tasks::sleep_or_stop;
use crate::telemetry::{Condition, Health, error_chain};

/// Between two warnings that somebody else books a show.
const FOREIGN_QUIET: Duration = Duration::from_mins(10);
/// Between two looks at the newest host report.
const SILENCE_TICK: Duration = Duration::from_secs(1);

/// Watches whether host reports arrive at all. While none does, nothing is booked or launched.
pub(super) async fn run_silence(
    turn: Turn,
    clusters: watch::Receiver<Arc<[Cluster]>>,
    health: Health,
    stop: CancellationToken,
) {
    let (mut is_database_away, mut server) = (false, None);
    while sleep_or_stop(SILENCE_TICK, &stop).await {
        let clusters = Arc::clone(&clusters.borrow());
        let NewestReport { looked_at, newest, server_started } = match turn.store.newest_report(&clusters).await {
            Ok(found) => found,
            Err(error) => {
                is_database_away |= error.is_connection_lost();
                continue;
            }
        };
        is_database_away |= server.replace(server_started).is_some_and(|before| before != server_started);
        let (change, is_silent) = {
            let mut silence = turn.silence.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::take(&mut is_database_away) {
                silence.database_is_back(looked_at);
            }
            (silence.newest(looked_at, newest), silence.is_silent())
        };
        let age = newest.and_then(|newest| Duration::try_from(looked_at - newest).ok()).unwrap_or_default();
        turn.metrics.set_cuebot_silent(is_silent, age);
        turn.hints.set_silence(is_silent);
        if is_silent {
            let reason = format!("no host report for {} s: Cuebot does not answer", age.as_secs());
            health.raise(Condition::CuebotSilent, reason.clone());
            if change == Change::Began {
                turn.metrics.cuebot_fell_silent();
                tracing::error!(target: "scheduler", "{reason}; nothing is booked or launched until one arrives");
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
    async fn are_applied(&mut self, turn: &Turn, shows: &[ShowId], ended: Timestamp, now: Timestamp) -> bool {
        // What runs may run for hours.
        if now - ended > turn.settings.lost_after * 4 / 3 {
            return true;
        }
        let Ok(EndedFrames { frames, has_survivors }) = turn.store.ended_frames(shows, ended).await else {
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
pub(super) async fn run_recover(
    turn: Turn,
    launcher: Launcher,
    clusters: watch::Receiver<Arc<[Cluster]>>,
    stop: CancellationToken,
) {
    let mut completions = Completions::default();
    let mut foreign = Foreign::default();
    // What a dead process left a moment ago is old enough at the second look.
    let mut pause = turn.settings.recover_interval.min(FOUND_AGE_MIN);
    loop {
        recover_once(&turn, &launcher, &clusters, &mut completions, &mut foreign).await;
        if !sleep_or_stop(pause, &stop).await {
            return;
        }
        pause = turn.settings.recover_interval;
    }
}

async fn recover_once(
    turn: &Turn,
    launcher: &Launcher,
    clusters: &watch::Receiver<Arc<[Cluster]>>,
    completions: &mut Completions,
    foreign: &mut Foreign,
) {
    // While Cuebot's planner is active: its bookings are not ours to judge, it may launch them later than
    // we would.
    if !matches!(turn.foreign_planner_blocks().await, Ok(false)) {
        return;
    }
    let clusters = Arc::clone(&clusters.borrow());
    let Ok(NewestReport { looked_at, .. }) = turn.store.newest_report(&clusters).await else { return };
    let shows = shows_of(&clusters);
    let silences = silence_ends(turn, &shows, looked_at, completions).await;
    match launcher.recover(&shows, &silences).await {
        Ok(found) if found == Recovery::default() => {}
        Ok(Recovery { never_reported, silent }) => {
            tracing::info!(never_reported, silent, "asking hosts about bookings that nobody vouches for");
        }
        Err(error) => tracing::debug!(error = error_chain(&error), "cannot look for unsettled bookings now"),
    }
    foreign.look(turn, &shows, looked_at).await;
}

/// Counts what others book of our shows, and warns of it now and then.
#[derive(Debug, Default)]
struct Foreign {
    looked_at: Option<Timestamp>,
    warned_at: HashMap<String, Instant>,
}

impl Foreign {
    async fn look(&mut self, turn: &Turn, shows: &[ShowId], looked_at: Timestamp) {
        let now = Instant::now();
        // What was booked before we ran is nobody's fault.
        let Some(last) = self.looked_at.replace(looked_at) else { return };
        let Ok(found) = turn.store.foreign_bookings(shows, last, looked_at).await else { return };
        for ForeignBookings { show_name, bookings } in found {
            turn.metrics.foreign_booked(&show_name, bookings);
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

/// The silences that explain a missing sign of life by now.
async fn silence_ends(
    turn: &Turn,
    shows: &[ShowId],
    looked_at: Timestamp,
    completions: &mut Completions,
) -> SilenceEnds {
    let (all, old_enough) = {
        let silence = turn.silence.lock().unwrap_or_else(PoisonError::into_inner);
        (silence.ends(looked_at, Duration::ZERO), silence.ends(looked_at, turn.settings.lost_after))
    };
    if turn.hints.is_silence() {
        return SilenceEnds::default();
    }
    // Counted from the first look after the silence on, so that what is applied since is seen. A silence of
    // the farm is one of its hosts too.
    match all.farm {
        Some(ended) if !completions.are_applied(turn, shows, ended, looked_at).await => SilenceEnds::default(),
        _ => old_enough,
    }
}

fn shows_of(clusters: &[Cluster]) -> Vec<ShowId> {
    let mut shows: Vec<ShowId> = clusters.iter().map(|cluster| cluster.show.clone()).collect();
    shows.sort();
    shows.dedup();
    shows
}
