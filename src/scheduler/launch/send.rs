//! Telling hosts to launch.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::settle::Why;
use super::{LaunchTargets, Launcher};
use crate::booking::{Standing, UnbookCause};
use crate::model::{Booked, HostId, LayerId, LayerLaunch};
use crate::rqd::proto::rqd::RunFrame;
use crate::rqd::{self, Agents, LaunchOutcome};
use crate::telemetry::error_chain;
use crate::telemetry::labels::LaunchResult;

/// How long nothing is booked when this process has no file descriptor left for a connection.
pub(in crate::scheduler) const OWN_LACK_PAUSE: Duration = Duration::from_secs(5);
/// Between two looks at whether the host of a waiting launch was put aside meanwhile.
const PUT_ASIDE_TICK: Duration = Duration::from_millis(500);
/// What was seen of the rows so long ago, the commit included, is looked at again before a launch is sent.
const SIGHT_LASTS: Duration = Duration::from_secs(1);

/// What came of one attempt to launch.
enum Sent {
    /// Answered, in time or not.
    Done(LaunchOutcome),
    /// Nothing was sent, for this reason.
    Not(Unsent),
}

#[derive(Clone, Copy)]
enum Unsent {
    TooLate,
    Closing,
    HostPutAside,
    Silence,
    /// The rows no longer say that it shall run.
    Overtaken(Standing),
}

impl Launcher {
    pub(super) async fn launch_one(
        &self,
        booked: Booked,
        launches: &HashMap<LayerId, LayerLaunch>,
        committed_at: Instant,
    ) {
        let LaunchTargets::Agents(agents) = &self.shared.targets else {
            self.shared.totals.launched();
            self.remember_launched(&booked);
            return;
        };
        if !self.shared.hints.admits(&booked, Instant::now()) {
            // Planned before the host was put aside, or together with the launch that probes it.
            self.take_back(booked, UnbookCause::LaunchRefused);
            return;
        }
        let launch = launches.get(&booked.layer);
        let is_threadable = launch.is_some_and(|launch| launch.is_threadable);
        let Some(frame) = self.message(&booked, launch) else {
            self.take_back(booked, UnbookCause::LaunchRefused);
            return;
        };
        match self.send(agents, &booked, frame, committed_at).await {
            Sent::Done(outcome) => {
                if !self.learns(&booked, is_threadable, &outcome) {
                    self.shared.hints.launch_ended(&booked, &outcome, Instant::now());
                }
                self.settle_launch(agents, booked, outcome).await;
            }
            Sent::Not(unsent) => self.not_sent(booked, unsent),
        }
    }

    /// Whether a refusal teaches which fractions of a core the host's agent takes. It is held against
    /// nobody: the next plan for that host has none, and whatever is refused then was refused for
    /// something else.
    fn learns(&self, booked: &Booked, is_threadable: bool, outcome: &LaunchOutcome) -> bool {
        let LaunchOutcome::Refused { code, .. } = outcome else { return false };
        let cores = booked.reservation.cores;
        let refused =
            rqd::refused_fractions(cores, is_threadable, *code).filter(|_| self.shared.settings.learns_fractions);
        if let Some(fractions) = refused {
            self.shared.hints.fractions_refused(&booked.host, &booked.host_name, fractions);
        }
        refused.is_some()
    }

    fn message(&self, booked: &Booked, launch: Option<&LayerLaunch>) -> Option<RunFrame> {
        let factors = &self.shared.settings.memory_limits;
        match rqd::build_run_frame(launch?, booked, time::OffsetDateTime::now_utc(), factors) {
            Ok(frame) => Some(frame),
            Err(error) => {
                // Also looked at before the booking, but bookings that were found by their rows were not.
                tracing::error!(frame = %booked.frame, error = error_chain(&error), "a booked frame cannot be launched");
                self.shared.hints.unlaunchable(&booked.layer, &error, Instant::now());
                None
            }
        }
    }

    async fn send(&self, agents: &Agents, booked: &Booked, frame: RunFrame, committed_at: Instant) -> Sent {
        let deadline = tokio::time::Instant::from_std(committed_at + self.shared.settings.launch_deadline);
        let mut unsent = Unsent::TooLate;
        let mut seen_at = committed_at;
        let given_up = async {
            tokio::select! {
                () = self.shared.closing.cancelled() => Unsent::Closing,
                () = tokio::time::sleep_until(deadline) => Unsent::TooLate,
                // A host that swallows everything must not hold the places of all launches.
                () = self.put_aside(&booked.host) => Unsent::HostPutAside,
                () = self.shared.hints.silence_began() => Unsent::Silence,
            }
        };
        let mut sent_at = committed_at;
        let last_look = async {
            let mut standing = Standing::Stands;
            if seen_at.elapsed() >= SIGHT_LASTS {
                standing = self.shared.looks_before.at(booked).await;
                seen_at = Instant::now();
            }
            sent_at = Instant::now();
            if standing == Standing::Stands { Ok(()) } else { Err(standing) }
        };
        let in_flight = self.shared.metrics.launch_sent();
        let given_up = async { unsent = given_up.await };
        let outcome = agents.launch_unless(&booked.host_name, frame, given_up, last_look).await;
        drop(in_flight);
        match outcome {
            Ok(outcome) => {
                self.shared.metrics.launch_answered(sent_at.elapsed());
                Sent::Done(outcome)
            }
            Err(Some(standing)) => Sent::Not(Unsent::Overtaken(standing)),
            Err(None) => Sent::Not(unsent),
        }
    }

    fn not_sent(&self, booked: Booked, unsent: Unsent) {
        let (frame, host) = (&booked.frame, &booked.host_name);
        match unsent {
            Unsent::Overtaken(Standing::Gone | Standing::Succeeded) => {
                tracing::debug!(%frame, host, proc = %booked.proc, "a booking was gone before its launch was sent");
                self.label(LaunchResult::Overtaken);
                self.forget([&booked.proc]);
            }
            Unsent::Overtaken(_) => {
                tracing::debug!(%frame, host, "a job was paused or ended before a launch was sent");
                self.label(LaunchResult::Overtaken);
                self.take_back(booked, UnbookCause::MayNotStart);
            }
            Unsent::Silence => self.take_back(booked, UnbookCause::CuebotSilent),
            Unsent::TooLate | Unsent::Closing | Unsent::HostPutAside => {
                tracing::info!(%frame, host, "a launch was not sent in time");
                self.label(LaunchResult::TooLate);
                self.take_back(booked, UnbookCause::LaunchTooLate);
            }
        }
    }

    /// The rows of a launch that has arrived may have vanished on its way. Returns at once.
    pub(super) fn look_back(&self, booked: Booked) {
        self.shared.totals.launched();
        let launcher = self.clone();
        self.shared.launches.spawn(async move { launcher.looked_back(booked).await });
    }

    async fn looked_back(&self, booked: Booked) {
        let standing = tokio::select! {
            standing = self.shared.looks_after.at(&booked) => standing,
            () = self.shared.closing.cancelled() => Standing::Stands,
        };
        if standing == Standing::Gone {
            self.overtaken(booked);
        } else {
            self.remember_launched(&booked);
        }
    }

    async fn settle_launch(&self, agents: &Agents, booked: Booked, outcome: LaunchOutcome) {
        let (frame, host) = (booked.frame.clone(), booked.host_name.clone());
        match outcome {
            LaunchOutcome::Launched => {
                self.label(LaunchResult::Launched);
                self.look_back(booked);
            }
            LaunchOutcome::Refused { code, message } => {
                tracing::info!(%frame, host, ?code, message, "a host refused a launch");
                self.label(LaunchResult::Refused);
                self.failed(booked);
            }
            LaunchOutcome::Occupied { by, message, .. } => {
                tracing::warn!(%frame, host, earlier = %by, message, "the host still runs this frame for an earlier booking; killing that run");
                self.end_earlier_run(agents, &booked, &by).await;
                self.label(LaunchResult::Unknown);
                self.shared.totals.unknown();
                self.unsettle(booked, Why::Sent);
            }
            LaunchOutcome::NotSent(error) => {
                if !error.blames_host() {
                    self.shared.hints.pause(OWN_LACK_PAUSE, Instant::now());
                }
                tracing::info!(%frame, host, error = error_chain(&error), "a launch could not be sent");
                self.label(LaunchResult::NotSent);
                self.failed(booked);
            }
            LaunchOutcome::Unknown(error) => {
                tracing::warn!(%frame, host, error = error_chain(&error),
                    "a launch has no known outcome; it stays booked until its host says that it does not run");
                self.label(LaunchResult::Unknown);
                self.shared.totals.unknown();
                self.unsettle(booked, Why::Sent);
            }
        }
    }

    async fn put_aside(&self, host: &HostId) {
        while !self.shared.hints.is_put_aside(host, Instant::now()) {
            tokio::time::sleep(PUT_ASIDE_TICK).await;
        }
    }

    fn remember_launched(&self, booked: &Booked) {
        self.state().launched.add(&booked.proc, Instant::now());
        self.forget([&booked.proc]);
    }

    fn failed(&self, booked: Booked) {
        self.shared.totals.refused();
        self.take_back(booked, UnbookCause::LaunchRefused);
    }
}
