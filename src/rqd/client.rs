//! Calls to agents, bounded in number and time, and what their ends mean.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tonic::client::GrpcService as _;
use tonic::{Code, Request, Response, Status, TimeoutExpired};

use super::channels::{Channels, Connection, Line};
use super::error::{AgentError, CallError};
use super::identity::{self, HostNames};
use super::line::{Places, Turn};
use super::pace::End;
use super::proto::rqd::{
    RqdStaticKillRunningFrameRequest, RqdStaticLaunchFrameRequest, RqdStaticReportStatusRequest, RunFrame,
};
use super::report::AgentReport;
use super::wire::{LARGE_ANSWERS_MAX, Wire};
use crate::config::AgentSettings;
use crate::model::{FrameId, ProcId};
use crate::telemetry::causes;

/// All agents of the farm, reached by host name. Cloning shares connections and bounds.
#[derive(Clone)]
pub struct Agents {
    shared: Arc<Shared>,
    names: HostNames,
}

struct Shared {
    settings: AgentSettings,
    channels: Channels,
    places: Places,
    large_answers: Arc<Semaphore>,
}

/// What became of a launch. The names of the variants are the words of logs.
#[derive(Clone, Debug, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum LaunchOutcome {
    /// The agent runs the frame under our proc.
    Launched,
    /// The agent said no, and that it does not run the frame was checked where the answer may mean
    /// "already running".
    Refused { code: Code, message: String },
    /// The agent said no because the frame still runs there under an earlier proc, whose row cannot
    /// exist any more: ours holds the frame. Kill it before the frame is given free, or it runs twice.
    Occupied { by: ProcId, code: Code, message: String },
    /// No byte of the launch left this machine.
    NotSent(AgentError),
    /// The frame may run. Nothing may be given back before the agent has been asked.
    Unknown(AgentError),
}

/// Why a launch was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsent<T> {
    /// It was given up while it waited. `waited_for_host`: for the calls before it on the same host, or for the
    /// connection.
    GivenUp { waited_for_host: bool },
    /// What the last look said against it.
    Overtaken(T),
}

/// What became of a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillOutcome {
    Killed,
    NotRunning,
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agents").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl Agents {
    pub fn new(settings: AgentSettings) -> Self {
        let channels = Channels::new(settings);
        let shared = Shared {
            settings,
            places: Places::new(&settings, channels.connections_max()),
            channels,
            large_answers: Arc::new(Semaphore::new(LARGE_ANSWERS_MAX)),
        };
        Self { shared: Arc::new(shared), names: HostNames::default() }
    }

    /// These agents, with somebody who knows the farm's hosts: those that are called so, whole or up to the
    /// first dot, in lower case; `None` while nobody can say.
    #[must_use]
    pub fn knowing_hosts(
        self,
        lookup: impl Fn(String) -> BoxFuture<'static, Option<Vec<String>>> + Send + Sync + 'static,
    ) -> Self {
        Self { names: HostNames::new(lookup), ..self }
    }

    /// Whether a host's last call was answered, and not long ago.
    pub(crate) fn has_answered_lately(&self, host: &str) -> bool {
        let line = self.shared.channels.known(host);
        line.is_some_and(|line| line.share.pace(|pace| pace.has_answered_lately(Instant::now())))
    }

    /// Whether a call to a host has waited for its answer so long that it gave its place to others.
    pub(crate) fn is_late(&self, host: &str) -> bool {
        let oldest = self.shared.channels.known(host).and_then(|line| line.share.pace(super::pace::Pace::oldest));
        oldest.is_some_and(|began| began.elapsed() > self.shared.places.late_after())
    }

    /// How many launches a host can take within `limit`, going by its calls; `None` while it has not had any.
    pub(crate) fn launches_within(&self, host: &str, limit: Duration) -> Option<u32> {
        self.shared.channels.known(host)?.share.pace(|pace| pace.calls_within(limit, Instant::now()))
    }

    /// Tells the agent of `host` to run the frame.
    ///
    /// Agents word "already running" differently and some give every refusal the same code, so
    /// after such a code the agent is asked what it runs, once.
    pub async fn launch(&self, host: &str, frame: RunFrame) -> LaunchOutcome {
        let look = async { Ok::<(), std::convert::Infallible>(()) };
        let Ok(outcome) = self.launch_unless(host, frame, std::future::pending(), look).await else {
            unreachable!("nobody gives a launch up that is pending for ever")
        };
        outcome
    }

    /// As [`Self::launch`], but gives the launch up, unsent, when `given_up` ends while it still waits
    /// for its turn or for the connection. When both are there, `last_look` says whether it may still go
    /// out; once it is being sent it is seen through.
    ///
    /// # Errors
    /// Nothing was sent.
    pub(crate) async fn launch_unless<T>(
        &self,
        host: &str,
        frame: RunFrame,
        given_up: impl Future<Output = ()>,
        last_look: impl Future<Output = Result<(), T>>,
    ) -> Result<LaunchOutcome, Unsent<T>> {
        let line = self.shared.channels.line(host);
        let waits_for_host = AtomicBool::new(true);
        let ready = async {
            let own_turn = line.share.enter().await;
            waits_for_host.store(false, Ordering::Relaxed);
            let mut turn = self.shared.places.turn(&line.share, own_turn).await;
            waits_for_host.store(true, Ordering::Relaxed);
            let agent = self.connect(&line, &mut turn).await;
            waits_for_host.store(false, Ordering::Relaxed);
            let looked = if agent.is_ok() { turn.wait_for_others(last_look).await } else { Ok(()) };
            (turn, agent, looked)
        };
        let (mut turn, agent, looked) = tokio::select! {
            biased;
            () = given_up => {
                return Err(Unsent::GivenUp { waited_for_host: waits_for_host.load(Ordering::Relaxed) });
            }
            ready = ready => ready,
        };
        looked.map_err(Unsent::Overtaken)?;
        Ok(match agent {
            Ok(agent) => self.launch_now(&line, &mut turn, agent, frame).await,
            Err(error) => LaunchOutcome::NotSent(error),
        })
    }

    async fn launch_now(&self, line: &Line, turn: &mut Turn<'_>, agent: Wire, frame: RunFrame) -> LaunchOutcome {
        let host = &*line.host;
        let (proc, frame_id) = (frame.resource_id.clone(), frame.frame_id.clone());
        let request = self.request(RqdStaticLaunchFrameRequest { run_frame: Some(frame) });
        let (code, message) = match self.call(line, turn, agent.client().launch_frame(request)).await {
            Ok(_) => return LaunchOutcome::Launched,
            Err(CallError::NotSent(error)) => return LaunchOutcome::NotSent(error),
            Err(CallError::Unanswered(error)) => return LaunchOutcome::Unknown(error),
            Err(CallError::Answered { code, message }) => (code, message),
        };
        if !is_refusal(code) {
            return LaunchOutcome::Unknown(AgentError::Answered { host: host.to_owned(), code, message });
        }
        if !may_mean_already_running(code) {
            return LaunchOutcome::Refused { code, message };
        }
        let report = match self.report_in_turn(line, turn).await {
            Ok(report) => report,
            // It could be running: only an answer decides.
            Err(error) => return LaunchOutcome::Unknown(error),
        };
        if report.running.iter().any(|running| running.proc.as_str() == proc) {
            return LaunchOutcome::Launched;
        }
        match report.running.into_iter().find(|running| running.frame.as_str() == frame_id) {
            Some(running) => LaunchOutcome::Occupied { by: running.proc, code, message },
            None => LaunchOutcome::Refused { code, message },
        }
    }

    /// The agent's state as it would report it to Cuebot, taken now; of it, what is needed here.
    pub async fn report(&self, host: &str) -> Result<AgentReport, AgentError> {
        let line = self.shared.channels.line(host);
        let mut turn = self.turn(&line).await;
        self.report_in_turn(&line, &mut turn).await
    }

    async fn report_in_turn(&self, line: &Line, turn: &mut Turn<'_>) -> Result<AgentReport, AgentError> {
        let agent = self.connect(line, turn).await?;
        self.report_of(line, turn, agent).await
    }

    async fn report_of(&self, line: &Line, turn: &mut Turn<'_>, agent: Wire) -> Result<AgentReport, AgentError> {
        let host = &*line.host;
        self.call(line, turn, agent.report_status(self.request(RqdStaticReportStatusRequest {})))
            .await
            .map_err(|error| error.into_error(host))?
            // That there is no report does not say that nothing runs.
            .ok_or_else(|| AgentError::EmptyReport { host: host.to_owned() })
    }

    /// Ends a frame. The message ends up in the frame's log.
    ///
    /// A kill within milliseconds of the launch can end the published agent itself; never call this
    /// for a frame just launched.
    pub async fn kill(&self, host: &str, frame: &FrameId, message: &str) -> Result<KillOutcome, AgentError> {
        // One kind of agent refuses a kill without a message.
        let message = if message.is_empty() { "killed by the scheduler" } else { message };
        let request = RqdStaticKillRunningFrameRequest { frame_id: frame.to_string(), message: message.to_owned() };
        let line = self.shared.channels.line(host);
        let mut turn = self.turn(&line).await;
        let agent = self.connect(&line, &mut turn).await?;
        match self.call(&line, &mut turn, agent.client().kill_running_frame(self.request(request))).await {
            Ok(_) => Ok(KillOutcome::Killed),
            Err(CallError::Answered { code: Code::NotFound, .. }) => Ok(KillOutcome::NotRunning),
            Err(error) => Err(error.into_error(host)),
        }
    }

    /// Waits until a call may be made. The host's bound comes first: what waits for a slow host must
    /// not keep others waiting.
    async fn turn<'a>(&'a self, line: &'a Line) -> Turn<'a> {
        let own_turn = line.share.enter().await;
        self.shared.places.turn(&line.share, own_turn).await
    }

    fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        request.set_timeout(self.shared.settings.call_timeout);
        request
    }

    async fn call<A>(
        &self,
        line: &Line,
        turn: &mut Turn<'_>,
        call: impl Future<Output = Result<Response<A>, Status>>,
    ) -> Result<A, CallError> {
        let (host, limit) = (&*line.host, self.shared.settings.call_timeout);
        let silent = || CallError::Unanswered(AgentError::NoAnswer { host: host.to_owned(), limit });
        let answer = match turn.wait(tokio::time::timeout(limit, call)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            // The client's own clock may be first.
            Ok(Err(status)) if causes(&status).any(<dyn Error>::is::<TimeoutExpired>) => Err(silent()),
            Ok(Err(status)) => Err(CallError::of(host, status)),
            Err(_) => Err(silent()),
        };
        if let Err(CallError::NotSent(error) | CallError::Unanswered(error)) = &answer {
            turn.ends(End::Unanswered);
            line.end_connection(matches!(error, AgentError::Broken { .. } | AgentError::NoAnswer { .. }));
        } else {
            turn.ends(End::Answered);
        }
        answer
    }

    async fn connect(&self, line: &Line, turn: &mut Turn<'_>) -> Result<Wire, AgentError> {
        let connected = turn.wait(self.shared.channels.connect(line)).await;
        let connection = connected.inspect_err(|_| turn.ends(End::Unanswered))?;
        if let Some(identity) = &connection.identity {
            let another = identity.get_or_try_init(|| self.other_host(line, turn, &connection)).await?;
            if let Some(reported) = another {
                line.give_up();
                return Err(AgentError::AnotherHost { host: line.host.to_string(), reported: reported.clone() });
            }
        }
        self.ready(line, &connection).await
    }

    /// Good for one call.
    async fn ready(&self, line: &Line, connection: &Connection) -> Result<Wire, AgentError> {
        let mut wire = Wire { channel: connection.channel.clone(), turns: Arc::clone(&self.shared.large_answers) };
        // Asked here, since the generated client would report it as if the agent had answered.
        if let Err(source) = poll_fn(|context| wire.poll_ready(context)).await {
            line.give_up();
            let source = Arc::new(Status::from_error(Box::new(source)));
            return Err(AgentError::Broken { host: line.host.to_string(), source });
        }
        Ok(wire)
    }

    /// Asks who answers under the name of a host. Returns the name if it is another's.
    async fn other_host(
        &self,
        line: &Line,
        turn: &mut Turn<'_>,
        connection: &Connection,
    ) -> Result<Option<String>, AgentError> {
        let (host, agent) = (&*line.host, self.ready(line, connection).await?);
        let reported = match self.report_of(line, turn, agent).await {
            Ok(report) => report.host_name,
            // It answers, and says of no other name that it is its own.
            Err(AgentError::Answered { .. } | AgentError::EmptyReport { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if host.eq_ignore_ascii_case(&reported) {
            return Ok(None);
        }
        let Some(hosts) = self.names.like(&reported).await else {
            return Err(AgentError::NotIdentified { host: host.to_owned(), reported });
        };
        if identity::is_another(host, &reported, &hosts) {
            return Ok(Some(reported));
        }
        if line.is_news(&reported) && !identity::is_name_of(host, &reported) {
            tracing::info!(host, reported, "the agent of a host reports under another name, which is no host's here");
        }
        Ok(None)
    }
}

/// Whether an agent that answers this did decide not to start the frame. The other codes are also
/// given by what stands between agent and network after the frame started.
const fn is_refusal(code: Code) -> bool {
    !matches!(
        code,
        Code::Ok | Code::DeadlineExceeded | Code::Unavailable | Code::Cancelled | Code::Internal | Code::DataLoss
    )
}

/// The codes that agents give to a frame that runs already, among other refusals.
const fn may_mean_already_running(code: Code) -> bool {
    matches!(code, Code::Unknown | Code::InvalidArgument | Code::AlreadyExists)
}
