//! Asking hosts about what is not certain, until it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::last_look::BATCH_MAX;
use super::machine::{Call, Due, Event, Others, Runs};
use super::{LaunchTargets, Launcher, Shared};
use crate::booking::{self, Standing};
use crate::model::{Booked, HostId, ProcId};
use crate::rqd::{AgentReport, Agents};
use crate::telemetry::error_chain;

/// Between two rounds of looks and questions. One statement looks at all launches that were accepted since.
/// A frame that has failed before its launch is looked at is taken for one that was taken away, so it is soon.
const TICK: Duration = Duration::from_millis(100);
/// And while the database cannot be asked.
const AWAY_TICK: Duration = Duration::from_secs(1);

impl Launcher {
    /// Looks at rows and asks hosts until nothing is uncertain.
    pub(super) async fn run_settle(self, stop: CancellationToken) {
        let mut pause = TICK;
        loop {
            let round = async {
                tokio::time::sleep(pause).await;
                self.settle_once().await
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                rows_seen = round => pause = if rows_seen { TICK } else { AWAY_TICK },
            }
        }
    }

    /// One round of what is due. Returns whether the rows could be looked at.
    async fn settle_once(&self) -> bool {
        let now = Instant::now();
        self.shared.in_hand.lock().forget_launched(now);
        let LaunchTargets::Agents(agents) = &self.shared.targets else { return true };
        let mut places = HashMap::new();
        // A host without a place is asked at the next tick.
        let begin = |host: &HostId, host_name: &str| {
            let Shared { settling, settling_unproven, .. } = &*self.shared;
            let places_of = if agents.has_answered_lately(host_name) { settling } else { settling_unproven };
            let place = Arc::clone(places_of).try_acquire_owned().map_err(|_| now)?;
            self.shared.context.hints.breakers(|breakers| breakers.begin_question(host, now))?;
            places.insert(host.clone(), place);
            Ok(())
        };
        let Due { rows, withheld, questions } = self.shared.in_hand.lock().due(now, begin);
        let rows_seen = self.look_at_rows(&rows).await;
        self.look_at_hosts(&withheld).await;
        // Each host on its own, so that those that answer do not wait for those that do not.
        for (host, bookings) in questions {
            let (launcher, agents, place) = (self.clone(), agents.clone(), places.remove(&host));
            self.spawn(async move {
                launcher.ask(&agents, &bookings).await;
                drop(place);
            });
        }
        rows_seen
    }

    async fn look_at_rows(&self, bookings: &[Booked]) -> bool {
        for bookings in bookings.chunks(BATCH_MAX) {
            let asked: Vec<&Booked> = bookings.iter().collect();
            let found = tokio::select! {
                // What vanishes from now on is found by the next start.
                () = self.shared.closing.cancelled() => Ok(HashMap::new()),
                found = booking::find_overtaken(&self.shared.context.store, &asked) => found,
            };
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    tracing::debug!(error = error_chain(&error), "cannot look at the rows of launches now");
                    return false;
                }
            };
            for booked in bookings {
                let standing = found.get(&booked.proc).copied().unwrap_or(Standing::Stands);
                self.feed(booked, Event::Rows(standing));
            }
        }
        true
    }

    /// What was withheld on hosts that are gone, or down as Cuebot has it, runs there no more.
    async fn look_at_hosts(&self, withheld: &[Booked]) {
        let hosts: Vec<HostId> = withheld.iter().map(|booked| booked.host.clone()).collect();
        if hosts.is_empty() {
            return;
        }
        let Ok(up) = self.shared.context.store.hosts_up(&hosts).await else { return };
        for booked in withheld.iter().filter(|booked| !up.contains(&booked.host)) {
            tracing::info!(frame = %booked.frame, host = booked.host_name, "the host of a withheld frame is down");
            self.feed(booked, Event::HostGone);
        }
    }

    /// Asks the host of these bookings what it runs.
    async fn ask(&self, agents: &Agents, bookings: &[Booked]) {
        let Some(Booked { host, host_name, .. }) = bookings.first() else { return };
        let asked_at = Instant::now();
        let report = agents.report(host_name).await;
        self.shared.context.hints.end_question(host, report.as_ref().err(), Instant::now());
        let asks_for_others = report.is_ok() && self.shared.in_hand.lock().depends_on_others(bookings);
        let others = if asks_for_others { self.others().await } else { Others::Nobody };
        for booked in bookings {
            let runs = report.as_ref().map_or(Runs::Unsaid, |report| runs(report, booked));
            self.act(agents, booked, Event::Answered { runs, asked_at, others }).await;
        }
    }

    /// Takes what happened to a booking, and makes the call to its host that follows.
    pub(super) async fn act(&self, agents: &Agents, booked: &Booked, event: Event<'_>) {
        let is_killed = match self.feed(booked, event) {
            Some(Call::Kill) => {
                // A frame that ended before its launch was looked at may have been started again on the same proc.
                self.end_run_without_proc(agents, booked, &booked.proc, "its booking is gone").await
            }
            Some(Call::KillEarlier(occupant)) => {
                self.end_run_without_proc(agents, booked, &occupant, "superseded by a newer booking").await;
                false
            }
            Some(Call::Launch) | None => return,
        };
        self.feed(booked, Event::KillEnded { is_killed });
    }

    /// Ends the run of a booking's frame for a proc, unless that proc runs it by its rows: then the frame is its
    /// own. Returns whether the run has ended or will.
    async fn end_run_without_proc(&self, agents: &Agents, booked: &Booked, proc: &ProcId, why: &str) -> bool {
        let (frame, host) = (&booked.frame, &booked.host_name);
        let killed = match booking::find_booked(&self.shared.context.store, std::slice::from_ref(proc)).await {
            Ok(found) if found.is_empty() => {
                tracing::warn!(%frame, host, %proc, "a host runs a frame for a booking that is gone; ending it");
                agents.kill(host, frame, why).await
            }
            Ok(_) => return false,
            Err(error) => {
                tracing::debug!(%frame, host, error = error_chain(&error), "cannot look for the proc of a run now");
                return false;
            }
        };
        if let Err(error) = &killed {
            tracing::warn!(%frame, host, error = error_chain(error), "cannot end a run yet");
        }
        killed.is_ok()
    }

    /// Who else is connected to the database. When in doubt, nothing is taken back.
    pub(super) async fn others(&self) -> Others {
        let store = &self.shared.context.store;
        if store.foreign_planner_active().await.unwrap_or(true) {
            Others::Planner
        } else if store.other_schedulers().await.is_ok_and(|others| others == 0) {
            Others::Nobody
        } else {
            Others::Schedulers
        }
    }
}

/// What a host's report says of a booking.
fn runs(report: &AgentReport, booked: &Booked) -> Runs {
    if report.running.iter().any(|running| running.proc == booked.proc && running.frame == booked.frame) {
        return Runs::Ours;
    }
    let occupant = report.running.iter().find(|running| running.frame == booked.frame);
    occupant.map_or(Runs::Nothing, |occupant| Runs::Other(occupant.proc.clone()))
}
