//! Real RQD agents: they boot, run processes, report, and leave nothing behind.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cue_scheduler::farm::agents::{RealAgents, RealAgentsError, RealAgentsOptions};
use cue_scheduler::model::{FrameId, ProcId};
use cue_scheduler::rqd::proto::report::rqd_report_interface_server::{RqdReportInterface, RqdReportInterfaceServer};
use cue_scheduler::rqd::proto::report::{
    BootReport, FrameCompleteReport, RqdReportRqdStartupRequest, RqdReportRqdStartupResponse,
    RqdReportRunningFrameCompletionRequest, RqdReportRunningFrameCompletionResponse, RqdReportStatusRequest,
    RqdReportStatusResponse,
};
use cue_scheduler::rqd::proto::rqd::rqd_interface_client::RqdInterfaceClient;
use cue_scheduler::rqd::proto::rqd::{RqdStaticReportStatusRequest, RunFrame};
use cue_scheduler::rqd::{AgentSettings, Agents, Code, KillOutcome, LaunchOutcome};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_mins(1);

/// What the agents told, in place of Cuebot.
#[derive(Clone, Default)]
struct Reports {
    boots: Arc<Mutex<Vec<BootReport>>>,
    completions: Arc<Mutex<BTreeMap<String, FrameCompleteReport>>>,
}

#[tonic::async_trait]
impl RqdReportInterface for Reports {
    async fn report_rqd_startup(
        &self,
        request: Request<RqdReportRqdStartupRequest>,
    ) -> Result<Response<RqdReportRqdStartupResponse>, Status> {
        self.boots.lock().unwrap().extend(request.into_inner().boot_report);
        // An agent is not ready for frames before it has this answer.
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(Response::new(RqdReportRqdStartupResponse {}))
    }

    async fn report_running_frame_completion(
        &self,
        request: Request<RqdReportRunningFrameCompletionRequest>,
    ) -> Result<Response<RqdReportRunningFrameCompletionResponse>, Status> {
        let report = request.into_inner().frame_complete_report.unwrap();
        let frame = report.frame.as_ref().unwrap().frame_id.clone();
        assert!(self.completions.lock().unwrap().insert(frame, report).is_none(), "completed twice");
        Ok(Response::new(RqdReportRunningFrameCompletionResponse {}))
    }

    async fn report_status(
        &self,
        _request: Request<RqdReportStatusRequest>,
    ) -> Result<Response<RqdReportStatusResponse>, Status> {
        Ok(Response::new(RqdReportStatusResponse {}))
    }
}

impl Reports {
    fn serve(&self) -> SocketAddr {
        let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = incoming.local_addr().unwrap();
        let service = RqdReportInterfaceServer::new(self.clone());
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        address
    }

    fn has_booted(&self, name: &str) -> bool {
        self.boots.lock().unwrap().iter().any(|report| report.host.as_ref().unwrap().name == name)
    }

    fn completion(&self, frame: &str) -> Option<FrameCompleteReport> {
        self.completions.lock().unwrap().get(frame).cloned()
    }
}

async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("waited {LIMIT:?} for {what}"))
}

/// The scheduler's own way to agents.
fn client(agents: &RealAgents) -> Agents {
    Agents::new(AgentSettings { port: agents.port(), ..AgentSettings::default() })
}

fn frame(logs: &Path, command: String) -> RunFrame {
    RunFrame {
        frame_id: Uuid::new_v4().to_string(),
        resource_id: Uuid::new_v4().to_string(),
        job_name: "job".to_owned(),
        frame_name: "0001-layer".to_owned(),
        command,
        user_name: "tester".to_owned(),
        log_dir: logs.display().to_string(),
        show: "show".to_owned(),
        num_cores: 100,
        ..RunFrame::default()
    }
}

async fn launch(client: &Agents, host: &str, frame: &RunFrame) {
    let outcome = client.launch(host, frame.clone()).await;
    assert!(matches!(outcome, LaunchOutcome::Launched), "{outcome:?}");
}

/// The procs of running frames, once the agent has measured them all: from then on it knows their
/// processes. An agent that is told to kill a frame earlier kills itself.
async fn measured(port: u16, host: &str) -> Option<Vec<String>> {
    let mut client = RqdInterfaceClient::connect(format!("http://{host}:{port}")).await.unwrap();
    let answer = client.report_status(RqdStaticReportStatusRequest {}).await.unwrap().into_inner();
    let frames = answer.host_report.unwrap().frames;
    let is_measured = !frames.is_empty() && frames.iter().all(|frame| frame.max_rss > 0);
    is_measured.then(|| frames.into_iter().map(|frame| frame.resource_id).collect())
}

/// Command lines of all processes that mention `text`.
fn processes_with(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        if let Ok(command) = std::fs::read(entry.path().join("cmdline")) {
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if command.contains(text) {
                found.push(command);
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_boot_run_frames_and_leave_nothing_behind() {
    let reports = Reports::default();
    let options = RealAgentsOptions::new(reports.serve());
    let agents = RealAgents::start(&options, async |name| reports.has_booted(&name)).await.unwrap();
    let folder = agents.folder().to_owned();
    assert_eq!(agents.agents().len(), 2);
    for agent in agents.agents() {
        assert_eq!(agent.cores.get(), 400);
        assert!(agent.memory.get() > 0);
    }

    let files = tempfile::tempdir().unwrap();
    let client = client(&agents);
    for agent in agents.agents() {
        let host = agent.name.as_str();

        // A process really runs: it writes its own file.
        let output = files.path().join(host);
        let works = frame(files.path(), format!("echo \"$zframe on $jobhost\" > {}; exit 3", output.display()));
        launch(&client, host, &works).await;
        let report = until("the completion", async || reports.completion(&works.frame_id)).await;
        assert_eq!((report.exit_status, report.exit_signal), (3, 0), "{}", agents.log_tail(host));
        assert_eq!(report.host.unwrap().name, host);
        assert_eq!(report.frame.unwrap().resource_id, works.resource_id);
        let text = std::fs::read_to_string(&output).unwrap();
        assert!(text.starts_with("0001-layer on "), "{text}");

        // A running frame is reported. Launched again it is what it was; for another proc it is not.
        let sign = files.path().join(format!("{host}-sign"));
        let long = frame(files.path(), format!("touch {}; sleep 1000", sign.display()));
        launch(&client, host, &long).await;
        until("a sign of life", async || sign.exists().then_some(())).await;
        launch(&client, host, &long).await;
        let other = RunFrame { resource_id: Uuid::new_v4().to_string(), ..long.clone() };
        let outcome = client.launch(host, other).await;
        let holder = ProcId::from(long.resource_id.clone());
        assert!(matches!(&outcome, LaunchOutcome::Occupied { by, .. } if *by == holder), "{outcome:?}");

        // Three of its four cores are idle.
        let wide = RunFrame { num_cores: 400, ..frame(files.path(), "true".to_owned()) };
        let outcome = client.launch(host, wide).await;
        assert!(matches!(&outcome, LaunchOutcome::Refused { code: Code::Unknown, .. }), "{outcome:?}");

        let running = until("a measured frame", async || measured(agents.port(), host).await).await;
        assert_eq!(running, std::slice::from_ref(&long.resource_id));
        let id = FrameId::from(long.frame_id.clone());
        assert_eq!(client.kill(host, &id, "killed by the test").await.unwrap(), KillOutcome::Killed);
        let report = until("the completion", async || reports.completion(&long.frame_id)).await;
        assert_eq!((report.exit_status, report.exit_signal), (1, 9));
        assert_eq!(client.kill(host, &id, "").await.unwrap(), KillOutcome::NotRunning);
        assert!(client.report(host).await.unwrap().running.is_empty());
    }

    // Stopping ends what runs, in its session too, and reports it.
    let name = agents.agents()[0].name.clone();
    let mark = Uuid::new_v4();
    let sign = files.path().join("last-sign");
    let last = frame(files.path(), format!("sh -c 'sleep 1000; : {mark}' & touch {}; sleep 1000", sign.display()));
    launch(&client, &name, &last).await;
    until("a sign of life", async || sign.exists().then_some(())).await;
    until("a measured frame", async || measured(agents.port(), &name).await).await;
    agents.stop().await;
    assert!(reports.completion(&last.frame_id).is_some());
    assert_eq!(processes_with(&mark.to_string()), [""; 0]);
    assert_eq!(processes_with(&folder.display().to_string()), [""; 0]);
    assert!(!folder.exists());
    let outcome = client.launch(&name, frame(files.path(), "true".to_owned())).await;
    assert!(matches!(outcome, LaunchOutcome::NotSent(_)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_agents_ends_them_and_their_frames() {
    let reports = Reports::default();
    let options = RealAgentsOptions {
        agents: 1,
        first_address: Ipv4Addr::new(127, 2, 1, 1),
        ..RealAgentsOptions::new(reports.serve())
    };
    let agents = RealAgents::start(&options, async |name| reports.has_booted(&name)).await.unwrap();
    let folder = agents.folder().to_owned();
    let files = tempfile::tempdir().unwrap();
    let (mark, sign) = (Uuid::new_v4(), files.path().join("sign"));
    let long = frame(files.path(), format!("cd /; touch {}; sh -c 'sleep 1000; : {mark}'", sign.display()));
    launch(&client(&agents), &agents.agents()[0].name, &long).await;
    until("a sign of life", async || sign.exists().then_some(())).await;

    // As when this process is killed: nobody tells the agents, the pipe just closes.
    drop(agents);
    let is_clean = || !folder.exists() && processes_with(&folder.display().to_string()).is_empty();
    until("the keeper's end", async || is_clean().then_some(())).await;
    assert_eq!(processes_with(&mark.to_string()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_farms_do_not_share_a_port() {
    let reports = Reports::default();
    let first = RealAgentsOptions {
        agents: 1,
        first_address: Ipv4Addr::new(127, 2, 2, 1),
        ..RealAgentsOptions::new(reports.serve())
    };
    let agents = RealAgents::start(&first, async |name| reports.has_booted(&name)).await.unwrap();
    let second = RealAgentsOptions { port: Some(agents.port()), ..first.clone() };
    let error = RealAgents::start(&second, async |_| true).await.expect_err("the port is taken");
    assert!(matches!(error, RealAgentsError::NoFreePort { .. }), "{error}");
    agents.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_nobody_listens_to_is_an_error_that_says_so() {
    // Answers the boot report with an error, upon which an agent ends.
    let refusing = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = refusing.local_addr().unwrap();
    let no_service = tonic::transport::Server::builder().add_routes(tonic::service::Routes::default());
    tokio::spawn(no_service.serve_with_incoming(refusing));
    let options =
        RealAgentsOptions { agents: 1, first_address: Ipv4Addr::new(127, 2, 3, 1), ..RealAgentsOptions::new(address) };
    let error = RealAgents::start(&options, async |_| false).await.expect_err("it ends");
    let RealAgentsError::Ended { ended, log } = &error else { panic!("{error}") };
    assert!(ended.starts_with("127.2.3.1 "), "{ended}");
    assert!(!log.is_empty());
}

/// The keeper is what ends agents when the farm is killed: its input ends, and nothing else is needed.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_farm_leaves_no_agents() {
    let reports = Reports::default();
    let options = RealAgentsOptions {
        agents: 1,
        first_address: Ipv4Addr::new(127, 2, 4, 1),
        ..RealAgentsOptions::new(reports.serve())
    };
    let agents = RealAgents::start(&options, async |name| reports.has_booted(&name)).await.unwrap();
    let folder = agents.folder().display().to_string();
    let keeper = agents.keeper_id().unwrap();
    // The keeper itself killed: the agents die with it.
    kill(Pid::from_raw(keeper.try_into().unwrap()), Signal::SIGKILL).unwrap();
    until("the agent's end", async || processes_with(&folder).is_empty().then_some(())).await;
    agents.stop().await;
    assert!(!Path::new(&folder).exists());
}

#[tokio::test]
async fn starting_agents_can_be_a_task_of_its_own() {
    let reports = Reports::default();
    let address = reports.serve();
    let options =
        RealAgentsOptions { agents: 1, first_address: Ipv4Addr::new(127, 2, 5, 1), ..RealAgentsOptions::new(address) };
    let started =
        tokio::spawn(async move { RealAgents::start(&options, async |name| reports.has_booted(&name)).await });
    started.await.unwrap().unwrap().stop().await;
}
