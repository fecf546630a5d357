//! Names that move: who answers is asked where another machine may be meant, and only there.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cue_scheduler::rqd::proto::report::{HostReport, RenderHost};
use cue_scheduler::rqd::proto::rqd::RqdStaticReportStatusResponse;
use cue_scheduler::rqd::{AgentError, AgentSettings, Agents, LaunchOutcome};
use futures::FutureExt as _;

use super::agent::{Agent, Behaviour, settings};
use super::{HOST, frame};

/// An agent that reports under this name.
fn called(name: &str) -> Behaviour {
    let host = RenderHost { name: name.to_owned(), ..RenderHost::default() };
    let report =
        RqdStaticReportStatusResponse { host_report: Some(HostReport { host: Some(host), ..HostReport::default() }) };
    Behaviour { report: Box::new(move || Ok(report.clone())), ..Behaviour::default() }
}

/// Callers on a farm with these hosts.
fn on_farm(port: u16, hosts: &[&str]) -> Agents {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    Agents::new(settings(port)).knowing_hosts(move |_| std::future::ready(Some(hosts.clone())).boxed())
}

async fn launched(agents: &Agents, host: &str) -> bool {
    matches!(agents.launch(host, frame()).await, LaunchOutcome::Launched)
}

/// Takes the agent's place under the same address. Returns it once the caller has noticed that the first is gone.
async fn replaced(agent: Agent, agents: &Agents, other: Behaviour) -> Agent {
    let port = agent.port;
    agent.die().await;
    while !matches!(agents.launch(HOST, frame()).await, LaunchOutcome::NotSent(_)) {}
    Agent::start_at(SocketAddr::new(HOST.parse().unwrap(), port), other).await
}

#[tokio::test]
async fn nothing_is_launched_on_the_agent_of_another_host() {
    for other in ["node-2", "NODE-2", "node-2.studio.com"] {
        let agent = Agent::start(called(HOST)).await;
        let agents = on_farm(agent.port, &[HOST, "node-2"]);
        assert!(launched(&agents, HOST).await);
        let agent = replaced(agent, &agents, called(other)).await;
        for asked in 1..=2 {
            let outcome = agents.launch(HOST, frame()).await;
            assert!(
                matches!(&outcome, LaunchOutcome::NotSent(AgentError::AnotherHost { reported, .. }) if reported == other),
                "{outcome:?}"
            );
            assert_eq!(agent.seen.reports.load(Ordering::SeqCst), asked, "each connection is asked once");
        }
        // Nor is it believed what it says of frames, or told to end any.
        assert!(matches!(agents.report(HOST).await, Err(AgentError::AnotherHost { .. })));
        assert!(matches!(agents.kill(HOST, &"frame-1".into(), "").await, Err(AgentError::AnotherHost { .. })));
        assert!(agent.seen.launches.lock().unwrap().is_empty() && agent.seen.kills.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_agent_under_a_name_that_is_no_other_hosts_is_launched_on() {
    for name in [HOST, "node-1", "node-1.studio.com", ""] {
        let agent = Agent::start(called(HOST)).await;
        let agents = on_farm(agent.port, &[HOST, "node-2"]);
        assert!(launched(&agents, HOST).await);
        assert_eq!(agent.seen.reports.load(Ordering::SeqCst), 0, "a first connection asks for no name");
        let agent = replaced(agent, &agents, called(name)).await;
        for _ in 0..5 {
            assert!(launched(&agents, HOST).await, "{name}");
        }
        assert_eq!(agent.seen.reports.load(Ordering::SeqCst), 1, "one question for one connection");
    }
}

#[tokio::test]
async fn nothing_is_launched_while_nobody_knows_whose_name_it_is() {
    let agent = Agent::start(called(HOST)).await;
    let agents = Agents::new(settings(agent.port)).knowing_hosts(|_| std::future::ready(None).boxed());
    assert!(launched(&agents, HOST).await);
    let agent = replaced(agent, &agents, called("node-2")).await;
    let outcome = agents.launch(HOST, frame()).await;
    assert!(
        matches!(&outcome, LaunchOutcome::NotSent(error @ AgentError::NotIdentified { .. }) if !error.blames_host())
    );
    assert!(agent.seen.launches.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_answers_is_asked_again_where_the_question_was_left_open() {
    let agent = Agent::start(called(HOST)).await;
    let agents = on_farm(agent.port, &[HOST, "node-2"]);
    assert!(launched(&agents, HOST).await);
    let other = called("node-2");
    let is_first = AtomicBool::new(true);
    let report = move || {
        let mut report = (other.report)()?;
        if is_first.swap(false, Ordering::SeqCst) {
            let host = report.host_report.as_mut().and_then(|report| report.host.as_mut());
            host.unwrap().name = "x".repeat(5 << 20);
        }
        Ok(report)
    };
    let agent = replaced(agent, &agents, Behaviour { report: Box::new(report), ..Behaviour::default() }).await;
    let outcome = agents.launch(HOST, frame()).await;
    assert!(matches!(&outcome, LaunchOutcome::NotSent(AgentError::Unfit { .. })), "{outcome:?}");
    let outcome = agents.launch(HOST, frame()).await;
    assert!(matches!(&outcome, LaunchOutcome::NotSent(AgentError::AnotherHost { .. })), "{outcome:?}");
    assert!(agent.seen.launches.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_answers_is_asked_after_a_call_without_an_answer() {
    let behaviour = Behaviour { launch: Box::new(|| std::future::pending().boxed()), ..called("node-2") };
    let agent = Agent::start(behaviour).await;
    let agents = Agents::new(AgentSettings { call_timeout: Duration::from_millis(500), ..settings(agent.port) })
        .knowing_hosts(|_| std::future::ready(Some(vec![HOST.to_owned(), "node-2".to_owned()])).boxed());
    let outcome = agents.launch(HOST, frame()).await;
    assert!(matches!(outcome, LaunchOutcome::Unknown(AgentError::NoAnswer { .. })), "{outcome:?}");
    loop {
        match agents.launch(HOST, frame()).await {
            LaunchOutcome::NotSent(AgentError::AnotherHost { .. }) => break,
            // The question itself may find no answer in time.
            LaunchOutcome::NotSent(AgentError::NoAnswer { .. }) => {}
            outcome => panic!("{outcome:?}"),
        }
    }
    assert!(agent.seen.launches.lock().unwrap().len() <= 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_for_want_of_use_is_made_again_without_a_question() {
    let agent = Agent::start_at((std::net::Ipv4Addr::UNSPECIFIED, 0).into(), called("node-2")).await;
    let agents = Agents::new(AgentSettings { connections_max: 8, ..settings(agent.port) });
    for n in (1..=20).chain([1]) {
        assert!(launched(&agents, &format!("127.2.1.{n}")).await);
    }
    assert_eq!(agent.seen.connections.load(Ordering::Relaxed), 21);
    assert_eq!(agent.seen.reports.load(Ordering::SeqCst), 0);
}

const MOVING: &str = "moving-host";
const HOSTS_FILE: &str = "MOVING_HOSTS_FILE";

/// A process that may have an `/etc/hosts` of its own moves the name; where the system allows none, nothing can.
#[test]
fn a_name_is_asked_again_when_its_connection_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    points_to(&hosts, "127.6.0.1".parse().unwrap());
    let in_own_namespace = |arguments: &[&str]| {
        let mount = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", mount]).arg(&hosts).args(arguments);
        command.env(HOSTS_FILE, &hosts);
        command
    };
    if !in_own_namespace(&["true"]).status().is_ok_and(|status| status.success()) {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let moved = "launch::names::the_name_moves_while_another_agent_answers_where_it_was";
    let ran = in_own_namespace(&[program.to_str().unwrap(), moved, "--exact", "--ignored", "--nocapture"]).output();
    let ran = ran.unwrap();
    let said = [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

fn points_to(hosts: &Path, address: IpAddr) {
    std::fs::write(hosts, format!("127.0.0.1 localhost\n{address} {MOVING}\n")).unwrap();
}

#[tokio::test]
#[ignore = "runs in a process with an /etc/hosts of its own"]
async fn the_name_moves_while_another_agent_answers_where_it_was() {
    let hosts = std::env::var_os(HOSTS_FILE).expect("the other test runs this one");
    let [before, after]: [IpAddr; 2] = ["127.6.0.1", "127.6.0.2"].map(|address| address.parse().unwrap());
    let first = Agent::start_at(SocketAddr::new(before, 0), called(MOVING)).await;
    let port = first.port;
    let agents = on_farm(port, &[MOVING, "node-2"]);
    assert!(launched(&agents, MOVING).await);
    first.die().await;
    while !matches!(agents.launch(MOVING, frame()).await, LaunchOutcome::NotSent(_)) {}
    let other = Agent::start_at(SocketAddr::new(before, port), called("node-2")).await;
    let moved = Agent::start_at(SocketAddr::new(after, port), called(MOVING)).await;
    points_to(Path::new(&hosts), after);
    for _ in 0..3 {
        assert!(launched(&agents, MOVING).await);
    }
    assert_eq!(moved.seen.launches.lock().unwrap().len(), 3);
    assert!(other.seen.launches.lock().unwrap().is_empty());
    assert_eq!(moved.seen.reports.load(Ordering::SeqCst), 1, "the name has another address, so who answers is asked");
}
