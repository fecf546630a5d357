//! Calls to agents, bounded in number and time, and what their ends mean.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::client::GrpcService as _;
use tonic::{Code, Request, Response, Status};

use super::channels::{Channels, Line};
use super::error::{AgentError, CallError};
use super::proto::rqd::{
    RqdStaticKillRunningFrameRequest, RqdStaticLaunchFrameRequest, RqdStaticReportStatusRequest, RunFrame,
};
use super::report::AgentReport;
use super::wire::{LARGE_ANSWERS_MAX, Wire};
use crate::config::AgentSettings;
use crate::model::{FrameId, ProcId};

/// All agents of the farm, reached by host name. Cloning shares connections and bounds.
#[derive(Clone)]
pub struct Agents {
    shared: Arc<Shared>,
}

struct Shared {
    settings: AgentSettings,
    channels: Channels,
    calls: Semaphore,
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
        let shared = Shared {
            settings,
            channels: Channels::new(settings),
            calls: Semaphore::new(settings.calls_in_flight_max.max(1)),
            large_answers: Arc::new(Semaphore::new(LARGE_ANSWERS_MAX)),
        };
        Self { shared: Arc::new(shared) }
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
    /// Nothing was sent: what the last look said against it, or `None` when it was given up.
    pub async fn launch_unless<T>(
        &self,
        host: &str,
        frame: RunFrame,
        given_up: impl Future<Output = ()>,
        last_look: impl Future<Output = Result<(), T>>,
    ) -> Result<LaunchOutcome, Option<T>> {
        let line = self.shared.channels.line(host);
        let ready = async {
            let turn = self.turn(&line).await;
            let agent = self.connect(&line, host).await;
            let looked = if agent.is_ok() { last_look.await } else { Ok(()) };
            (turn, agent, looked)
        };
        let (_turn, agent, looked) = tokio::select! {
            biased;
            () = given_up => return Err(None),
            ready = ready => ready,
        };
        looked.map_err(Some)?;
        Ok(match agent {
            Ok(agent) => self.launch_now(&line, host, agent, frame).await,
            Err(error) => LaunchOutcome::NotSent(error),
        })
    }

    async fn launch_now(&self, line: &Line, host: &str, agent: Wire, frame: RunFrame) -> LaunchOutcome {
        let (proc, frame_id) = (frame.resource_id.clone(), frame.frame_id.clone());
        let request = self.request(RqdStaticLaunchFrameRequest { run_frame: Some(frame) });
        let (code, message) = match self.call(line, host, agent.client().launch_frame(request)).await {
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
        let report = match self.report_in_turn(line, host).await {
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
        let _turn = self.turn(&line).await;
        self.report_in_turn(&line, host).await
    }

    async fn report_in_turn(&self, line: &Line, host: &str) -> Result<AgentReport, AgentError> {
        let agent = self.connect(line, host).await?;
        self.call(line, host, agent.report_status(self.request(RqdStaticReportStatusRequest {})))
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
        let _turn = self.turn(&line).await;
        let agent = self.connect(&line, host).await?;
        match self.call(&line, host, agent.client().kill_running_frame(self.request(request))).await {
            Ok(_) => Ok(KillOutcome::Killed),
            Err(CallError::Answered { code: Code::NotFound, .. }) => Ok(KillOutcome::NotRunning),
            Err(error) => Err(error.into_error(host)),
        }
    }

    /// Waits until a call may be made. The host's bound comes first: what waits for a slow host must
    /// not keep others waiting.
    async fn turn<'a>(&'a self, line: &'a Line) -> (Option<SemaphorePermit<'a>>, Option<SemaphorePermit<'a>>) {
        (line.calls.acquire().await.ok(), self.shared.calls.acquire().await.ok())
    }

    fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        request.set_timeout(self.shared.settings.call_timeout);
        request
    }

    async fn call<A>(
        &self,
        line: &Line,
        host: &str,
        call: impl Future<Output = Result<Response<A>, Status>>,
    ) -> Result<A, CallError> {
        let limit = self.shared.settings.call_timeout;
        let answer = match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(CallError::of(host, status)),
            Err(_) => Err(CallError::Unanswered(AgentError::NoAnswer { host: host.to_owned(), limit })),
        };
        if matches!(answer, Err(CallError::NotSent(_) | CallError::Unanswered(_))) {
            line.hang_up();
        }
        answer
    }

    async fn connect(&self, line: &Line, host: &str) -> Result<Wire, AgentError> {
        let channel = self.shared.channels.connect(line).await?;
        let mut wire = Wire { channel, turns: Arc::clone(&self.shared.large_answers) };
        // Asked here, since the generated client would report it as if the agent had answered.
        if let Err(source) = poll_fn(|context| wire.poll_ready(context)).await {
            line.hang_up();
            let source = Arc::new(Status::from_error(Box::new(source)));
            return Err(AgentError::Broken { host: host.to_owned(), source });
        }
        Ok(wire)
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
