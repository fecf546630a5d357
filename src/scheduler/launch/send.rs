//! Telling hosts to launch.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::machine::{Call, Event};
use super::{LaunchTargets, Launcher};
use crate::booking::{Standing, UnbookCause};
use crate::config::FractionalCores;
use crate::model::{Booked, HostId, LayerId, LayerLaunch};
use crate::rqd::proto::rqd::RunFrame;
use crate::rqd::{self, AgentError, Agents, LaunchOutcome, Unsent};
use crate::scheduler::context::Context;
use crate::scheduler::hints::Hints;
use crate::telemetry::error_chain;

/// How long nothing is booked when this process has no file descriptor left for a connection.
pub(in crate::scheduler) const OWN_LACK_PAUSE: Duration = Duration::from_secs(5);
/// Between two looks at whether the host of a waiting launch was put aside meanwhile.
const PUT_ASIDE_TICK: Duration = Duration::from_millis(500);
/// What was seen of the rows so long ago, the commit included, is looked at again before a launch is sent.
const SIGHT_LASTS: Duration = Duration::from_secs(1);

impl Launcher {
    pub(super) async fn launch_one(
        &self,
        booked: &Booked,
        launches: &HashMap<LayerId, LayerLaunch>,
        committed_at: Instant,
    ) {
        let LaunchTargets::Agents(agents) = &self.shared.targets else {
            self.feed(booked, Event::LaunchEnded(&LaunchOutcome::Launched));
            self.feed(booked, Event::Rows(Standing::Stands));
            return;
        };
        let hints = &self.shared.context.hints;
        let launch = launches.get(&booked.layer);
        // Not admitted: planned before the host was put aside, or together with the launch that probes it.
        let is_admitted = hints.breakers(|breakers| breakers.admit(booked, Instant::now()));
        let Some(frame) = launch.filter(|_| is_admitted).and_then(|launch| self.message(booked, launch)) else {
            self.feed(booked, Event::GivenUp(UnbookCause::LaunchRefused));
            return;
        };
        let Some(outcome) = self.send(agents, booked, frame, committed_at).await else { return };
        log(booked, &outcome);
        if !self.learns(booked, launch.is_some_and(|launch| launch.is_threadable), &outcome) {
            hints.breakers(|breakers| breakers.record(booked, &outcome, Instant::now()));
            if matches!(outcome, LaunchOutcome::Refused { .. }) {
                hints.elsewhere(|elsewhere| elsewhere.refused(&booked.frame, &booked.host, Instant::now()));
            }
        }
        if matches!(&outcome, LaunchOutcome::NotSent(AgentError::OutOfSockets { .. })) {
            hints.pause(OWN_LACK_PAUSE, Instant::now());
        }
        self.act(agents, booked, Event::LaunchEnded(&outcome)).await;
    }

    /// Whether a refusal teaches which fractions of a core the host's agent takes. It is held against
    /// nobody: the next plan for that host has none, and whatever is refused then was refused for
    /// something else.
    fn learns(&self, booked: &Booked, is_threadable: bool, outcome: &LaunchOutcome) -> bool {
        let LaunchOutcome::Refused { code, .. } = outcome else { return false };
        let cores = booked.reservation.cores;
        let is_learning = self.shared.context.settings().fractional_cores == FractionalCores::Auto;
        let refused = rqd::refused_fractions(cores, is_threadable, *code).filter(|_| is_learning);
        if let Some(fractions) = refused {
            self.shared.context.hints.fractions_refused(&booked.host, &booked.host_name, fractions);
        }
        refused.is_some()
    }

    fn message(&self, booked: &Booked, launch: &LayerLaunch) -> Option<RunFrame> {
        let factors = self.shared.context.settings().memory_limits;
        let built = rqd::build_run_frame(launch, booked, self.shared.context.hints.database_now(), &factors);
        if let Err(error) = &built {
            // Also looked at before the booking, but bookings that were found by their rows were not.
            tracing::error!(frame = %booked.frame, error = error_chain(error), "a booked frame cannot be launched");
            self.shared
                .context
                .hints
                .breakers(|breakers| breakers.record_unbuildable(&booked.layer, error, Instant::now()));
        }
        built.ok()
    }

    /// `None`: not sent.
    async fn send(
        &self,
        agents: &Agents,
        booked: &Booked,
        frame: RunFrame,
        committed_at: Instant,
    ) -> Option<LaunchOutcome> {
        let deadline = tokio::time::Instant::from_std(committed_at + self.shared.context.settings().launch_deadline);
        let mut cause = UnbookCause::LaunchTooLate;
        let given_up =
            async { cause = given_up(&self.shared.closing, &self.shared.context.hints, &booked.host, deadline).await };
        let mut sent_at = committed_at;
        let last_look = async {
            let is_fresh = committed_at.elapsed() < SIGHT_LASTS;
            let standing = if is_fresh { Standing::Stands } else { self.last_look(booked).await };
            sent_at = Instant::now();
            match self.feed(booked, Event::Rows(standing)) {
                Some(Call::Launch) => Ok(()),
                _ => Err(standing),
            }
        };
        let in_flight = self.shared.context.metrics.launch_sent();
        let outcome = agents.launch_unless(&booked.host_name, frame, given_up, last_look).await;
        drop(in_flight);
        let (frame, host, proc) = (&booked.frame, &booked.host_name, &booked.proc);
        match outcome {
            Ok(outcome) => {
                self.shared.context.metrics.launch_answered(sent_at.elapsed());
                return Some(outcome);
            }
            Err(Unsent::Overtaken(standing)) => {
                tracing::debug!(%frame, host, %proc, ?standing, "a booking was overtaken before its launch was sent");
            }
            Err(Unsent::GivenUp { waited_for_host }) => {
                if cause == UnbookCause::LaunchTooLate {
                    tracing::info!(%frame, host, "a launch was not sent in time");
                }
                let is_over = tokio::time::Instant::now() >= deadline && !self.shared.closing.is_cancelled();
                let Context { hints, settings, .. } = &self.shared.context;
                let limit = settings.now().launch_deadline;
                if waited_for_host && is_over && (agents.is_late(host) || self.is_crowded(agents, booked, limit)) {
                    hints.breakers(|breakers| breakers.too_late(&booked.host, limit, Instant::now()));
                }
                self.feed(booked, Event::GivenUp(cause));
            }
        }
        None
    }

    /// Whether more waits for a host than it takes in the time in which it is given more: it answers, and too slowly.
    fn is_crowded(&self, agents: &Agents, booked: &Booked, limit: Duration) -> bool {
        let room = agents.launches_within(&booked.host_name, limit / 2);
        let in_hand = self.shared.in_hand.lock();
        let waiting = in_hand.waiting().get(&booked.host).map_or(0, |(_, waiting)| *waiting);
        room.is_some_and(|room| waiting > room)
    }
}

/// Why a launch that waits is not to be sent any more, once that is so.
pub(super) async fn given_up(
    closing: &CancellationToken,
    hints: &Hints,
    host: &HostId,
    deadline: tokio::time::Instant,
) -> UnbookCause {
    let put_aside = async {
        while !hints.breakers(|breakers| breakers.is_host_put_aside(host, Instant::now())) {
            tokio::time::sleep(PUT_ASIDE_TICK).await;
        }
    };
    tokio::select! {
        () = closing.cancelled() => UnbookCause::LaunchTooLate,
        () = tokio::time::sleep_until(deadline) => UnbookCause::LaunchTooLate,
        // A host that swallows everything must not hold the places of all launches.
        () = put_aside => UnbookCause::LaunchTooLate,
        () = hints.silence_began() => UnbookCause::CuebotSilent,
    }
}

fn log(booked: &Booked, outcome: &LaunchOutcome) {
    let (frame, host) = (&booked.frame, &booked.host_name);
    match outcome {
        LaunchOutcome::Launched => {
            tracing::debug!(target: "scheduler", %frame, host, proc = %booked.proc, "launched a frame");
        }
        LaunchOutcome::Refused { code, message } => {
            tracing::info!(%frame, host, ?code, message, "a host refused a launch");
        }
        LaunchOutcome::Occupied { by, message, .. } => tracing::warn!(%frame, host, earlier = %by, message,
            "the host still runs this frame for an earlier booking; killing that run"),
        LaunchOutcome::NotSent(error) => {
            tracing::info!(%frame, host, error = error_chain(error), "a launch could not be sent");
        }
        LaunchOutcome::Unknown(error) => tracing::warn!(%frame, host, error = error_chain(error),
            "a launch has no known outcome; it stays booked until its host says that it does not run"),
    }
}
