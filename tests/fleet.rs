//! Simulated hosts as a real client meets them.

use std::time::Duration;

use cue_scheduler::farm::fleet::{
    AgentKind, Faults, Fleet, FleetCounts, FleetError, FleetHost, FleetOptions, REFUSED_VARIABLE, RunTime,
};
use cue_scheduler::rqd::proto::rqd::rqd_interface_client::RqdInterfaceClient;
use cue_scheduler::rqd::proto::rqd::{
    RqdStaticGetRunningFrameStatusRequest, RqdStaticKillRunningFrameRequest, RqdStaticLaunchFrameRequest,
    RqdStaticLockRequest, RqdStaticReportStatusRequest, RunFrame, run_frame::UidOptional,
};
use cue_scheduler::units::{Amounts, Cores, Gpus, Kib};
use futures::StreamExt as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::support::PATIENCE;

/// Longer than any test takes.
const LONG: RunTime = RunTime::Fixed(Duration::from_mins(10));

fn hosts(count: u8) -> Vec<FleetHost> {
    let total = Amounts { cores: Cores::whole(8), memory: Kib::gib(32), gpus: Gpus(1), gpu_memory: Kib::gib(8) };
    (1..=count).map(|number| FleetHost::new(format!("127.3.0.{number}"), total)).collect()
}

async fn fleet(count: u8, options: FleetOptions) -> Fleet {
    Fleet::start(hosts(count), options).await.unwrap()
}

fn lasting() -> FleetOptions {
    FleetOptions { run_time: LONG, ..FleetOptions::default() }
}

fn endpoint(fleet: &Fleet, host: &str) -> Endpoint {
    let endpoint = Endpoint::from_shared(format!("http://{host}:{}", fleet.port())).unwrap();
    endpoint.connect_timeout(Duration::from_secs(5)).timeout(Duration::from_secs(10))
}

fn client(fleet: &Fleet, host: &str) -> RqdInterfaceClient<Channel> {
    RqdInterfaceClient::new(endpoint(fleet, host).connect_lazy())
}

fn frame(number: u32) -> RunFrame {
    RunFrame {
        resource_id: format!("proc-{number}"),
        frame_id: uuid(number),
        frame_name: format!("{number:04}-render"),
        command: "true".to_owned(),
        num_cores: 100,
        start_time: 1_700_000_000_000,
        ..RunFrame::default()
    }
}

fn with_variable(mut frame: RunFrame, name: &str) -> RunFrame {
    frame.environment.insert(name.to_owned(), "1".to_owned());
    frame
}

fn threadable(number: u32) -> RunFrame {
    with_variable(frame(number), "CUE_THREADABLE")
}

fn uuid(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

async fn launch(client: &mut RqdInterfaceClient<Channel>, frame: RunFrame) -> Result<(), Status> {
    client.launch_frame(RqdStaticLaunchFrameRequest { run_frame: Some(frame) }).await.map(drop)
}

async fn until(fleet: &Fleet, holds: impl Fn(&FleetCounts) -> bool) {
    let waiting = async {
        while !holds(&fleet.counts()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("never came true: {:?}", fleet.counts()));
}

/// Code and text of what a refused launch is told.
async fn refused(client: &mut RqdInterfaceClient<Channel>, frame: RunFrame) -> (Code, String) {
    let status = launch(client, frame).await.unwrap_err();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn a_frame_is_accepted_shown_and_ends() {
    let fleet = fleet(1, FleetOptions { run_time: RunTime::Command(Duration::from_mins(10)), ..lasting() }).await;
    let mut client = client(&fleet, "127.3.0.1");
    launch(&mut client, frame(1)).await.unwrap();
    let report = client.report_status(RqdStaticReportStatusRequest {}).await.unwrap().into_inner().host_report.unwrap();
    let shown = &report.frames[0];
    assert_eq!((shown.resource_id.as_str(), shown.start_time), ("proc-1", 1_700_000_000_000));
    assert_eq!(report.host.unwrap().name, "127.3.0.1");
    assert_eq!(report.core_info.unwrap().idle_cores, 700);

    launch(&mut client, RunFrame { command: "sleep 0.01".to_owned(), ..frame(2) }).await.unwrap();
    until(&fleet, |counts| counts.completed == 1).await;
    let launches = fleet.launches();
    assert_eq!(launches.len(), 2);
    assert_eq!(launches[0].ended_at, None);
    assert!(launches[1].ended_at.unwrap() - launches[1].started_at >= Duration::from_millis(10));
    let counts = fleet.counts();
    assert_eq!((counts.accepted, counts.running, counts.hosts_busy), (2, 1, 1));
    assert_eq!(fleet.stop().await, [""; 0]);
}

#[tokio::test]
async fn each_address_is_a_host_of_its_own() {
    let fleet = fleet(3, lasting()).await;
    launch(&mut client(&fleet, "127.3.0.2"), frame(1)).await.unwrap();
    let on: Vec<usize> = futures::stream::iter(["127.3.0.1", "127.3.0.2", "127.3.0.3"])
        .then(async |host| {
            let report = client(&fleet, host).report_status(RqdStaticReportStatusRequest {}).await.unwrap();
            report.into_inner().host_report.unwrap().frames.len()
        })
        .collect()
        .await;
    assert_eq!(on, [0, 1, 0]);
}

#[tokio::test]
async fn the_python_agent_refuses_everything_with_unknown() {
    let fleet = fleet(1, lasting()).await;
    let mut client = client(&fleet, "127.3.0.1");
    launch(&mut client, RunFrame { num_cores: 50, ..frame(1) }).await.unwrap();
    let cases = [
        (frame(1), "already"),
        (RunFrame { num_cores: 0, ..frame(2) }, "numCores"),
        (RunFrame { uid_optional: Some(UidOptional::Uid(0)), ..frame(2) }, "uid=0"),
        (RunFrame { num_cores: 800, ..frame(2) }, "idle cores"),
        (RunFrame { num_gpus: 2, ..frame(2) }, "GPUs"),
        (RunFrame { num_cores: 150, ..threadable(2) }, "hyperthreading"),
    ];
    for (frame, expected) in cases {
        let (code, text) = refused(&mut client, frame).await;
        assert_eq!(code, Code::Unknown);
        assert!(text.contains(expected), "{text}");
    }
    let nothing = client.launch_frame(RqdStaticLaunchFrameRequest { run_frame: None }).await.unwrap_err();
    assert!(nothing.message().contains("numCores"));
    let asked = RqdStaticGetRunningFrameStatusRequest { frame_id: uuid(1) };
    assert_eq!(client.get_running_frame_status(asked).await.unwrap_err().code(), Code::Unknown);
    launch(&mut client, RunFrame { num_cores: 200, ..threadable(2) }).await.unwrap();
    assert_eq!((fleet.counts().accepted, fleet.counts().refused), (2, 7));
}

#[tokio::test]
async fn hosts_take_the_kinds_of_agents_in_turn_and_all_refuse_what_says_so() {
    let fleet = fleet(3, FleetOptions { agents: vec![AgentKind::Python, AgentKind::Rust], ..lasting() }).await;
    let cases = [
        (RunFrame { num_cores: 50, ..frame(1) }, [None, Some(Code::InvalidArgument), None]),
        (with_variable(frame(2), REFUSED_VARIABLE), [Some(Code::Unknown), Some(Code::Aborted), Some(Code::Unknown)]),
    ];
    for (frame, expected) in cases {
        for (host, expected) in (1..).zip(expected) {
            let launched = launch(&mut client(&fleet, &format!("127.3.0.{host}")), frame.clone()).await;
            assert_eq!(launched.err().map(|status| status.code()), expected, "host {host}");
        }
    }
}

#[tokio::test]
async fn the_rust_agent_says_which_refusals_may_pass_later() {
    let fleet = fleet(1, FleetOptions { agents: vec![AgentKind::Rust], ..lasting() }).await;
    let mut client = client(&fleet, "127.3.0.1");
    launch(&mut client, frame(1)).await.unwrap();
    let cases = [
        (frame(1), Code::InvalidArgument),
        (RunFrame { num_cores: 150, ..frame(2) }, Code::InvalidArgument),
        (RunFrame { frame_id: "frame-2".to_owned(), ..frame(2) }, Code::InvalidArgument),
        (RunFrame { num_cores: 800, ..frame(2) }, Code::Aborted),
    ];
    for (frame, expected) in cases {
        assert_eq!(refused(&mut client, frame).await.0, expected);
    }
    let status = async |mut client: RqdInterfaceClient<Channel>, number| {
        client.get_running_frame_status(RqdStaticGetRunningFrameStatusRequest { frame_id: uuid(number) }).await
    };
    let info = status(client.clone(), 1).await.unwrap().into_inner().running_frame_info.unwrap();
    assert_eq!(info.resource_id, "proc-1");
    assert_eq!(status(client.clone(), 2).await.unwrap_err().code(), Code::NotFound);
    let kill = RqdStaticKillRunningFrameRequest { frame_id: uuid(1), message: String::new() };
    assert_eq!(client.kill_running_frame(kill).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_killed_frame_ends_at_once_and_only_once() {
    let fleet = fleet(1, lasting()).await;
    let mut client = client(&fleet, "127.3.0.1");
    launch(&mut client, frame(1)).await.unwrap();
    let kill = RqdStaticKillRunningFrameRequest { frame_id: uuid(1), message: "test".to_owned() };
    client.kill_running_frame(kill.clone()).await.unwrap();
    assert!(fleet.launches()[0].ended_at.is_some());
    assert_eq!(client.kill_running_frame(kill).await.unwrap_err().code(), Code::NotFound);
    launch(&mut client, frame(1)).await.unwrap();
    assert_eq!((fleet.counts().killed, fleet.counts().running), (1, 1));
}

#[tokio::test]
async fn locked_cores_are_not_given_to_frames() {
    let fleet = fleet(1, lasting()).await;
    let mut client = client(&fleet, "127.3.0.1");
    client.lock(RqdStaticLockRequest { cores: 750 }).await.unwrap();
    assert_eq!(refused(&mut client, frame(1)).await.0, Code::Unknown);
    launch(&mut client, RunFrame { num_cores: 50, ..frame(1) }).await.unwrap();
}

#[tokio::test]
async fn a_refused_launch_does_not_run() {
    let fleet = fleet(1, FleetOptions { faults: Faults { refuse: 1.0, ..Faults::default() }, ..lasting() }).await;
    let mut client = client(&fleet, "127.3.0.1");
    assert_eq!(refused(&mut client, frame(1)).await.0, Code::Unknown);
    assert_eq!(fleet.launches(), []);
    fleet.set_faults(Faults::default());
    launch(&mut client, frame(1)).await.unwrap();
}

#[tokio::test]
async fn a_lost_request_breaks_the_connection_and_nothing_runs() {
    let fleet = fleet(1, FleetOptions { faults: Faults { lose_request: 1.0, ..Faults::default() }, ..lasting() }).await;
    let mut client = client(&fleet, "127.3.0.1");
    let status = launch(&mut client, frame(1)).await.unwrap_err();
    assert!(is_broken(&status), "{status:?}");
    assert_eq!((fleet.counts().requests_lost, fleet.counts().accepted), (1, 0));
    fleet.set_faults(Faults::default());
    launch(&mut client, frame(1)).await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_breaks_the_connection_and_the_frame_runs() {
    let fleet = fleet(1, FleetOptions { faults: Faults { lose_answer: 1.0, ..Faults::default() }, ..lasting() }).await;
    let mut client = client(&fleet, "127.3.0.1");
    let status = launch(&mut client, frame(1)).await.unwrap_err();
    assert!(is_broken(&status), "{status:?}");
    let report = client.report_status(RqdStaticReportStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(report.host_report.unwrap().frames.len(), 1);
    assert_eq!((fleet.counts().answers_lost, fleet.counts().running), (1, 1));
}

#[tokio::test]
async fn a_failed_answer_is_unavailable_and_the_frame_runs() {
    let fleet = fleet(1, FleetOptions { faults: Faults { fail_answer: 1.0, ..Faults::default() }, ..lasting() }).await;
    let mut client = client(&fleet, "127.3.0.1");
    assert_eq!(refused(&mut client, frame(1)).await.0, Code::Unavailable);
    assert_eq!((fleet.counts().answers_failed, fleet.counts().running), (1, 1));
}

#[tokio::test]
async fn a_delayed_answer_outlasts_the_caller_and_the_frame_runs() {
    let faults = Faults { delay_answer: 1.0, answer_delay: Duration::from_mins(1), ..Faults::default() };
    let fleet = fleet(1, FleetOptions { faults, ..lasting() }).await;
    let mut client = client(&fleet, "127.3.0.1");
    let call = tokio::spawn(async move { launch(&mut client, frame(1)).await });
    until(&fleet, |counts| counts.answers_delayed == 1).await;
    assert!(!call.is_finished());
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!((fleet.counts().answers_delayed, fleet.counts().running), (1, 1));
}

#[tokio::test]
async fn a_dead_host_takes_its_frames_with_it_and_comes_back_empty() {
    let fleet = fleet(2, lasting()).await;
    let (mut dying, mut living) = (client(&fleet, "127.3.0.1"), client(&fleet, "127.3.0.2"));
    launch(&mut dying, frame(1)).await.unwrap();
    launch(&mut living, frame(2)).await.unwrap();
    fleet.kill_host("127.3.0.1").unwrap();
    assert!(fleet.launches()[0].ended_at.is_some());
    let status = launch(&mut dying, frame(3)).await.unwrap_err();
    assert!(is_broken(&status), "{status:?}");
    // A caller who dials anew is refused: nobody listens there.
    let status = launch(&mut client(&fleet, "127.3.0.1"), frame(3)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let counts = fleet.counts();
    assert_eq!((counts.hosts_up, counts.hosts_died, counts.vanished, counts.running), (1, 1, 1, 1));

    fleet.revive_host("127.3.0.1").await.unwrap();
    launch(&mut client(&fleet, "127.3.0.1"), frame(1)).await.unwrap();
    assert_eq!((fleet.counts().hosts_up, fleet.counts().running), (2, 2));
    assert!(matches!(fleet.kill_host("127.3.0.9"), Err(FleetError::UnknownHost { .. })));
}

#[tokio::test]
async fn deaths_are_spread_over_the_hosts_asked_for() {
    let fleet = fleet(10, lasting()).await;
    let dying = fleet.spread_deaths(0.25, Duration::from_millis(50), Some(Duration::from_millis(20)));
    assert_eq!(dying.len(), 3);
    until(&fleet, |counts| counts.hosts_died == 3 && counts.hosts_revived == 3).await;
    assert_eq!(fleet.counts().hosts_up, 10);
}

#[tokio::test]
async fn a_name_that_is_no_loopback_address_is_named() {
    for name in ["render-1", "10.0.0.1"] {
        let refused = Fleet::start(vec![FleetHost::new(name, Amounts::default())], FleetOptions::default()).await;
        assert!(matches!(refused.err(), Some(FleetError::HostName { name: found }) if found == name));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_hosts_share_one_port() {
    let total = Amounts { cores: Cores::whole(8), memory: Kib::gib(32), ..Amounts::default() };
    let names: Vec<String> = (0..1000).map(|number| format!("127.4.{}.{}", number / 250, 1 + number % 250)).collect();
    let hosts = names.iter().map(|name| FleetHost::new(name, total)).collect();
    let options = FleetOptions { run_time: RunTime::Fixed(Duration::from_millis(1)), ..FleetOptions::default() };
    let fleet = Fleet::start(hosts, options).await.unwrap();
    let calls = futures::stream::iter(names.iter().enumerate()).map(|(number, name)| {
        let mut client = client(&fleet, name);
        async move { launch(&mut client, frame(u32::try_from(number).unwrap())).await }
    });
    let answers: Vec<_> = calls.buffer_unordered(64).collect().await;
    assert!(answers.iter().all(Result::is_ok), "{:?}", answers.iter().find(|answer| answer.is_err()));
    until(&fleet, |counts| counts.completed == 1000).await;
    let mut used: Vec<String> = fleet.launches().into_iter().map(|launch| launch.host).collect();
    used.sort();
    used.dedup();
    assert_eq!(used.len(), 1000);
    assert_eq!(fleet.stop().await, [""; 0]);
}

/// What tonic makes of a connection that ends before the answer: no code of the agent's.
fn is_broken(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
        && std::error::Error::source(status).is_some()
}
