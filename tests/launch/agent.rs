//! An agent that speaks real gRPC and does what a test tells it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cue_scheduler::rqd::proto::report::{HostReport, RunningFrameInfo};
use cue_scheduler::rqd::proto::rqd::rqd_interface_server::{RqdInterface, RqdInterfaceServer};
use cue_scheduler::rqd::proto::rqd::*;
use cue_scheduler::rqd::{AgentSettings, Agents};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

pub(crate) struct Agent {
    pub(crate) port: u16,
    pub(crate) seen: Arc<Seen>,
    /// Of its own, since only a whole runtime ends connections at once.
    runtime: Option<Runtime>,
}

/// What reached the agent.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) launches: Mutex<Vec<SeenLaunch>>,
    pub(crate) kills: Mutex<Vec<RqdStaticKillRunningFrameRequest>>,
    pub(crate) reports: AtomicUsize,
    pub(crate) connections: AtomicUsize,
    pub(crate) launching: AtomicUsize,
    pub(crate) launching_max: AtomicUsize,
}

pub(crate) struct SeenLaunch {
    /// The address that the caller dialled.
    pub(crate) at: IpAddr,
    pub(crate) frame: RunFrame,
    /// The deadline that came with the call.
    pub(crate) deadline: Option<String>,
}

/// Accepts launches and reports nothing, unless a test says otherwise.
pub(crate) struct Behaviour {
    pub(crate) launch: Box<dyn Fn() -> BoxFuture<'static, Result<(), Status>> + Send + Sync>,
    pub(crate) report: Box<dyn Fn() -> Result<RqdStaticReportStatusResponse, Status> + Send + Sync>,
    pub(crate) kill: Box<dyn Fn() -> Result<(), Status> + Send + Sync>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            launch: Box::new(|| async { Ok(()) }.boxed()),
            report: Box::new(|| Ok(reporting(&[]))),
            kill: Box::new(|| Ok(())),
        }
    }
}

impl Behaviour {
    pub(crate) fn refusing(status: Status) -> Self {
        Self { launch: Box::new(move || std::future::ready(Err(status.clone())).boxed()), ..Self::default() }
    }
}

/// A report with frames given by proc and frame id.
pub(crate) fn reporting(frames: &[(&str, &str)]) -> RqdStaticReportStatusResponse {
    let frames = frames.iter().map(|(proc, frame)| RunningFrameInfo {
        resource_id: (*proc).to_owned(),
        frame_id: (*frame).to_owned(),
        ..RunningFrameInfo::default()
    });
    RqdStaticReportStatusResponse {
        host_report: Some(HostReport { frames: frames.collect(), ..HostReport::default() }),
    }
}

impl Agent {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), behaviour).await
    }

    pub(crate) async fn start_at(address: SocketAddr, behaviour: Behaviour) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.spawn(TcpListener::bind(address)).await.unwrap().unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let counting = Arc::clone(&seen);
        let connections = TcpListenerStream::new(listener).inspect(move |_| {
            counting.connections.fetch_add(1, Ordering::Relaxed);
        });
        let service = RqdInterfaceServer::new(Service { behaviour, seen: Arc::clone(&seen) });
        runtime.spawn(Server::builder().add_service(service).serve_with_incoming(connections));
        Self { port, seen, runtime: Some(runtime) }
    }

    /// A client of this agent that loses no time.
    pub(crate) fn client(&self) -> Agents {
        Agents::new(settings(self.port))
    }

    /// Takes the agent away as a kill would: port, connections and all.
    pub(crate) async fn die(mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(20))).await.unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn settings(port: u16) -> AgentSettings {
    AgentSettings { port, connect_timeout: Duration::from_secs(5), ..AgentSettings::default() }
}

struct Service {
    behaviour: Behaviour,
    seen: Arc<Seen>,
}

fn unwritten<T>() -> Answer<T> {
    Err(Status::unimplemented("not part of this test"))
}

#[tonic::async_trait]
impl RqdInterface for Service {
    async fn launch_frame(
        &self,
        request: Request<RqdStaticLaunchFrameRequest>,
    ) -> Answer<RqdStaticLaunchFrameResponse> {
        let at = request.extensions().get::<TcpConnectInfo>().unwrap().local_addr().unwrap().ip();
        let deadline = request.metadata().get("grpc-timeout").map(|limit| limit.to_str().unwrap().to_owned());
        let frame = request.into_inner().run_frame.unwrap();
        self.seen.launches.lock().unwrap().push(SeenLaunch { at, frame, deadline });
        let launching = self.seen.launching.fetch_add(1, Ordering::SeqCst) + 1;
        self.seen.launching_max.fetch_max(launching, Ordering::SeqCst);
        let answer = (self.behaviour.launch)().await;
        self.seen.launching.fetch_sub(1, Ordering::SeqCst);
        answer.map(|()| Response::new(RqdStaticLaunchFrameResponse {}))
    }

    async fn kill_running_frame(
        &self,
        request: Request<RqdStaticKillRunningFrameRequest>,
    ) -> Answer<RqdStaticKillRunningFrameResponse> {
        self.seen.kills.lock().unwrap().push(request.into_inner());
        (self.behaviour.kill)().map(|()| Response::new(RqdStaticKillRunningFrameResponse {}))
    }

    async fn report_status(&self, _: Request<RqdStaticReportStatusRequest>) -> Answer<RqdStaticReportStatusResponse> {
        self.seen.reports.fetch_add(1, Ordering::SeqCst);
        (self.behaviour.report)().map(Response::new)
    }

    async fn get_run_frame(&self, _: Request<RqdStaticGetRunFrameRequest>) -> Answer<RqdStaticGetRunFrameResponse> {
        unwritten()
    }
    async fn get_running_frame_status(
        &self,
        _: Request<RqdStaticGetRunningFrameStatusRequest>,
    ) -> Answer<RqdStaticGetRunningFrameStatusResponse> {
        unwritten()
    }
    async fn lock(&self, _: Request<RqdStaticLockRequest>) -> Answer<RqdStaticLockResponse> {
        unwritten()
    }
    async fn lock_all(&self, _: Request<RqdStaticLockAllRequest>) -> Answer<RqdStaticLockAllResponse> {
        unwritten()
    }
    async fn nimby_off(&self, _: Request<RqdStaticNimbyOffRequest>) -> Answer<RqdStaticNimbyOffResponse> {
        unwritten()
    }
    async fn nimby_on(&self, _: Request<RqdStaticNimbyOnRequest>) -> Answer<RqdStaticNimbyOnResponse> {
        unwritten()
    }
    async fn reboot_idle(&self, _: Request<RqdStaticRebootIdleRequest>) -> Answer<RqdStaticRebootIdleResponse> {
        unwritten()
    }
    async fn reboot_now(&self, _: Request<RqdStaticRebootNowRequest>) -> Answer<RqdStaticRebootNowResponse> {
        unwritten()
    }
    async fn restart_rqd_idle(&self, _: Request<RqdStaticRestartIdleRequest>) -> Answer<RqdStaticRestartIdleResponse> {
        unwritten()
    }
    async fn restart_rqd_now(&self, _: Request<RqdStaticRestartNowRequest>) -> Answer<RqdStaticRestartNowResponse> {
        unwritten()
    }
    async fn shutdown_rqd_idle(
        &self,
        _: Request<RqdStaticShutdownIdleRequest>,
    ) -> Answer<RqdStaticShutdownIdleResponse> {
        unwritten()
    }
    async fn shutdown_rqd_now(&self, _: Request<RqdStaticShutdownNowRequest>) -> Answer<RqdStaticShutdownNowResponse> {
        unwritten()
    }
    async fn unlock(&self, _: Request<RqdStaticUnlockRequest>) -> Answer<RqdStaticUnlockResponse> {
        unwritten()
    }
    async fn unlock_all(&self, _: Request<RqdStaticUnlockAllRequest>) -> Answer<RqdStaticUnlockAllResponse> {
        unwritten()
    }
}
