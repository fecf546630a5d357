//! Asking hosts about what is not certain, until it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::take_back::TakeBack;
use super::{LaunchTargets, Launcher};
use crate::booking::{self, Fence, Standing, UnbookCause};
use crate::model::{Booked, HostId, ProcId, Timestamp};
use crate::rqd::{AgentReport, Agents, ConfirmAnswer, ConfirmSettings, Confirmation, LaunchOutcome, Verdict};
use crate::telemetry::error_chain;
use crate::telemetry::labels::LaunchResult;

/// Between two rounds of questions.
const TICK: Duration = Duration::from_millis(250);
/// A host that is being asked is not asked a second time before that.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// A frame is killed no sooner than this after its launch was accepted: an agent that is told to kill a
/// frame whose process does not live yet can end itself. Nor is "not running" believed before.
const KILL_AFTER: Duration = Duration::from_secs(2);
/// Between two questions whether a withheld frame has ended.
const WITHHELD_PAUSE: Duration = Duration::from_secs(2);

/// A booking that its host is asked about.
#[derive(Clone, Debug)]
pub(super) struct Unsettled {
    booked: Booked,
    why: Why,
    confirmation: Confirmation,
    ask_at: Instant,
    /// Its host has said so once.
    was_running: bool,
}

impl Unsettled {
    /// Takes an answer about a withheld frame. Returns whether it has ended for certain: where it ran, one
    /// "not running" tells; a launch that was never seen to run may be starting late, and takes two, apart.
    fn withheld_answered(
        &mut self,
        runs: Option<bool>,
        (asked_at, arrived_at): (Instant, Instant),
        settings: ConfirmSettings,
    ) -> bool {
        self.ask_at = Instant::now() + WITHHELD_PAUSE;
        match runs {
            Some(true) => {
                self.was_running = true;
                self.confirmation = Confirmation::new(settings);
                false
            }
            Some(false) if self.was_running => true,
            Some(false) => {
                self.confirmation.take(ConfirmAnswer::NotRunning, asked_at, arrived_at) == Verdict::NotRunning
            }
            None => false,
        }
    }
}

/// Why a host is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Why {
    /// We sent the launch and have no certain answer. The host is withheld meanwhile.
    Sent,
    /// Found by its rows: nobody has reported it. From `judged_from` on nobody can launch it any more;
    /// `only_while_alone`: or before, as long as no other scheduler is connected.
    Found { judged_from: Instant, only_while_alone: bool },
    /// A launch that was sent, accepted or without an answer, and whose rows are gone: its frame stays in
    /// hand until its host has said, twice, that it does not run. `since` the rows were seen gone.
    Overtaken { since: Instant, is_killed: bool },
    /// No sign of life since then, although its host has reported.
    Silent { last_sign: Timestamp, has_frame: bool },
}

impl Why {
    const fn is_sent(self) -> bool {
        matches!(self, Self::Sent)
    }
}

impl Launcher {
    pub(super) fn unsettle(&self, booked: Booked, why: Why) {
        if why.is_sent() {
            self.shared.hints.unsettled(&booked.host);
        }
        let confirmation = Confirmation::new(self.shared.settings.confirm);
        let unsettled = Unsettled { booked, why, confirmation, ask_at: Instant::now(), was_running: false };
        self.state().unsettled.insert(unsettled.booked.proc.clone(), unsettled);
    }

    /// Asks hosts until each question is settled.
    pub(super) async fn run_settle(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(TICK) => {}
            }
            self.settle_once().await;
        }
    }

    /// One round of questions, to the hosts of which an answer is due.
    async fn settle_once(&self) {
        let LaunchTargets::Agents(agents) = &self.shared.targets else { return };
        let now = Instant::now();
        let mut due: HashMap<HostId, Vec<Unsettled>> = HashMap::new();
        let mut places: HashMap<HostId, OwnedSemaphorePermit> = HashMap::new();
        let mut may_ask: HashMap<HostId, Result<(), Instant>> = HashMap::new();
        // Without a place it is this host's turn at the next tick.
        let mut begin = |host: &HostId| {
            let place = Arc::clone(&self.shared.settling).try_acquire_owned().map_err(|_| now)?;
            self.shared.hints.begin_question(host, now)?;
            places.insert(host.clone(), place);
            Ok(())
        };
        for unsettled in self.state().unsettled.values_mut().filter(|unsettled| unsettled.ask_at <= now) {
            let host = &unsettled.booked.host;
            let may_ask = may_ask.entry(host.clone()).or_insert_with(|| begin(host));
            if let Err(at) = may_ask {
                unsettled.ask_at = *at;
                continue;
            }
            due.entry(unsettled.booked.host.clone()).or_default().push(unsettled.clone());
            unsettled.ask_at = now + ANSWER_LIMIT;
        }
        if due.is_empty() {
            return;
        }
        self.drop_ended(&due).await;
        // Each host on its own, so that those that answer do not wait for those that do not.
        for (host, unsettled) in due {
            let (launcher, agents, place) = (self.clone(), agents.clone(), places.remove(&host));
            tokio::spawn(async move {
                launcher.ask(&agents, unsettled).await;
                drop(place);
            });
        }
    }

    /// What completed, or was taken from us, needs no answer any more, unless we sent its launch and it
    /// may be starting still.
    async fn drop_ended(&self, due: &HashMap<HostId, Vec<Unsettled>>) {
        self.drop_with_their_hosts(due).await;
        let has_rows = |unsettled: &&Unsettled| {
            !matches!(unsettled.why, Why::Overtaken { .. } | Why::Silent { has_frame: false, .. })
        };
        let due: Vec<&Unsettled> = due.values().flatten().filter(has_rows).collect();
        let bookings: Vec<&Booked> = due.iter().map(|unsettled| &unsettled.booked).collect();
        let Ok(found) = booking::find_overtaken(&self.shared.store, &bookings).await else { return };
        for unsettled in due {
            match found.get(&unsettled.booked.proc) {
                Some(Standing::Gone) if unsettled.why.is_sent() => self.overtaken(unsettled.booked.clone()),
                Some(Standing::Gone | Standing::Succeeded) => self.end(&unsettled.booked),
                Some(Standing::Stands | Standing::MayNotStart) | None => {}
            }
        }
    }

    /// What was withheld on hosts that are gone, or down as Cuebot has it, runs there no more.
    async fn drop_with_their_hosts(&self, due: &HashMap<HostId, Vec<Unsettled>>) {
        let is_withheld = |unsettled: &&Unsettled| matches!(unsettled.why, Why::Overtaken { .. });
        let withheld: Vec<&Booked> =
            due.values().flatten().filter(is_withheld).map(|unsettled| &unsettled.booked).collect();
        let hosts: Vec<HostId> = withheld.iter().map(|booked| booked.host.clone()).collect();
        if hosts.is_empty() {
            return;
        }
        let Ok(up) = self.shared.store.hosts_up(&hosts).await else { return };
        for booked in withheld.into_iter().filter(|booked| !up.contains(&booked.host)) {
            tracing::info!(frame = %booked.frame, host = booked.host_name, "the host of a withheld frame is down");
            self.end(booked);
        }
    }

    /// The rows of a launch that was sent are gone: its frame runs for nobody, or is about to, and must not
    /// be booked again before its host says that it has ended.
    pub(super) fn overtaken(&self, booked: Booked) {
        tracing::warn!(frame = %booked.frame, host = %booked.host_name, proc = %booked.proc,
            "a booking vanished while its launch was on the way; its host is asked until the frame has ended");
        self.label(LaunchResult::Overtaken);
        self.unlist(&booked);
        self.unsettle(booked, Why::Overtaken { since: Instant::now(), is_killed: false });
    }

    async fn ask(&self, agents: &Agents, unsettled: Vec<Unsettled>) {
        let Some(first) = unsettled.first() else { return };
        let host = first.booked.host_name.clone();
        let asked_at = Instant::now();
        let report = agents.report(&host).await;
        let answered_at = Instant::now();
        self.shared.hints.end_question(&first.booked.host, report.as_ref().err(), answered_at);
        for Unsettled { booked, why, .. } in unsettled {
            if let Why::Overtaken { since, is_killed } = why {
                let runs = report.as_ref().ok().map(|report| runs(report, &booked.proc));
                let runs = runs.filter(|_| asked_at >= since + KILL_AFTER);
                self.withheld_answered(agents, booked, runs, is_killed, (asked_at, answered_at)).await;
                continue;
            }
            let answer = match &report {
                Ok(report) => self.answer(agents, report, &booked, why).await,
                Err(_) => ConfirmAnswer::Unanswered,
            };
            if answer == ConfirmAnswer::NotRunning && !self.may_judge(&booked, why, asked_at).await {
                continue;
            }
            let verdict = {
                let mut state = self.state();
                let Some(unsettled) = state.unsettled.get_mut(&booked.proc) else { continue };
                let verdict = unsettled.confirmation.take(answer, asked_at, answered_at);
                if let Verdict::AskAgain { at } = verdict {
                    unsettled.ask_at = at;
                }
                verdict
            };
            self.settled(booked, why, verdict);
        }
    }

    fn settled(&self, booked: Booked, why: Why, verdict: Verdict) {
        match verdict {
            Verdict::AskAgain { .. } => {}
            Verdict::Running if why.is_sent() => {
                self.unlist(&booked);
                self.label(LaunchResult::ConfirmedRunning);
                self.shared.hints.launch_ended(&booked, &LaunchOutcome::Launched, Instant::now());
                self.look_back(booked);
            }
            Verdict::Running => self.end(&booked),
            Verdict::NotRunning => {
                self.unlist(&booked);
                let (frame, host) = (&booked.frame, &booked.host_name);
                if let Why::Silent { last_sign, has_frame } = why {
                    tracing::warn!(%frame, host, proc = %booked.proc, %last_sign,
                        "nobody's work holds a booking, its completion was lost; giving it back");
                    let fence = if has_frame { Fence::Unmoved(last_sign) } else { Fence::Frameless(last_sign) };
                    self.send_back(TakeBack { booked, cause: UnbookCause::Lost, fence });
                } else {
                    tracing::info!(%frame, host, "the host does not run the frame; taking the booking back");
                    self.label(LaunchResult::ConfirmedNotRunning);
                    self.take_back(booked, UnbookCause::NotRunning);
                }
            }
        }
    }

    /// Whether "not running" says anything yet: not while somebody may launch it still.
    async fn may_judge(&self, booked: &Booked, why: Why, asked_at: Instant) -> bool {
        let Why::Found { judged_from, only_while_alone } = why else { return true };
        if self.is_foreign_planner_active().await {
            // It may be that planner's, which launches later than we do.
            self.end(booked);
            return false;
        }
        let is_judged = asked_at >= judged_from || (only_while_alone && self.is_alone().await);
        if !is_judged && let Some(unsettled) = self.state().unsettled.get_mut(&booked.proc) {
            unsettled.ask_at = judged_from;
        }
        is_judged
    }

    /// `runs`: whether the host runs it; `None` when it did not say so credibly. `times`: when it was asked,
    /// and when its answer arrived.
    async fn withheld_answered(
        &self,
        agents: &Agents,
        booked: Booked,
        runs: Option<bool>,
        is_killed: bool,
        times: (Instant, Instant),
    ) {
        let (frame, host) = (&booked.frame, &booked.host_name);
        let mut was_killed_now = false;
        if runs == Some(true) && !is_killed {
            tracing::warn!(%frame, host, proc = %booked.proc, "ending a frame that runs for a booking that is gone");
            match agents.kill(host, frame, "its booking is gone").await {
                Ok(_) => {
                    self.label(LaunchResult::OvertakenKilled);
                    was_killed_now = true;
                }
                Err(error) => {
                    tracing::warn!(%frame, host, error = error_chain(&error), "cannot end a frame yet");
                }
            }
        }
        let has_ended = {
            let mut state = self.state();
            let Some(unsettled) = state.unsettled.get_mut(&booked.proc) else { return };
            if let Why::Overtaken { is_killed, .. } = &mut unsettled.why {
                *is_killed |= was_killed_now;
            }
            unsettled.withheld_answered(runs, times, self.shared.settings.confirm)
        };
        if has_ended {
            tracing::info!(%frame, host, "a withheld frame has ended; it may be booked again");
            self.end(&booked);
        }
    }

    /// What a host's report says of a booking. A run of the same frame for an earlier booking is ended
    /// first: given free before that, the frame would run twice.
    async fn answer(&self, agents: &Agents, report: &AgentReport, booked: &Booked, why: Why) -> ConfirmAnswer {
        if runs(report, &booked.proc) {
            return ConfirmAnswer::Running;
        }
        let Some(occupant) = report.running.iter().find(|running| running.frame == booked.frame) else {
            return ConfirmAnswer::NotRunning;
        };
        // After a silence nothing is ended: what runs may be what the rows will say in a moment.
        if !matches!(why, Why::Silent { .. }) {
            self.end_earlier_run(agents, booked, &occupant.proc).await;
        }
        ConfirmAnswer::Unanswered
    }

    /// Ends a run of a booking's frame for another proc, unless that proc exists: then the frame is its
    /// own and ours is no more, which the next look at the rows shows.
    pub(super) async fn end_earlier_run(&self, agents: &Agents, booked: &Booked, occupant: &ProcId) {
        let (frame, host) = (&booked.frame, &booked.host_name);
        match booking::find_booked(&self.shared.store, std::slice::from_ref(occupant)).await {
            Ok(found) if found.is_empty() => {}
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(%frame, host, error = error_chain(&error), "cannot look for the proc of a run now");
                return;
            }
        }
        tracing::warn!(%frame, host, earlier = %occupant, "a host runs a frame for a booking that is gone; ending it");
        if let Err(error) = agents.kill(host, frame, "superseded by a newer booking").await {
            tracing::warn!(%frame, host, error = error_chain(&error), "cannot end an earlier run yet");
        }
    }

    async fn is_foreign_planner_active(&self) -> bool {
        // When in doubt, nothing is taken back.
        self.shared.store.foreign_planner_active().await.unwrap_or(true)
    }

    /// Whether no other scheduler is connected to the database. When in doubt, one is.
    pub(super) async fn is_alone(&self) -> bool {
        self.shared.store.other_schedulers().await.is_ok_and(|others| others == 0)
    }

    /// Settled without anything to write.
    fn end(&self, booked: &Booked) {
        self.unlist(booked);
        self.forget([&booked.proc]);
    }

    fn unlist(&self, booked: &Booked) {
        let removed = self.state().unsettled.remove(&booked.proc);
        if removed.is_some_and(|unsettled| unsettled.why.is_sent()) {
            self.shared.hints.settled(&booked.host);
        }
    }
}

fn runs(report: &AgentReport, proc: &ProcId) -> bool {
    report.running.iter().any(|running| running.proc == *proc)
}
