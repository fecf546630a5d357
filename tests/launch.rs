//! Launches against real gRPC servers and against peers that misbehave on purpose: what is known
//! to have started, what is known not to, and what is not known.

pub(crate) mod agent;
mod names;
mod peer;
mod strangers;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cue_scheduler::rqd::proto::rqd::{RqdStaticReportStatusResponse, RunFrame};
use cue_scheduler::rqd::{AgentError, AgentSettings, Agents, Code, KillOutcome, LaunchOutcome};
use futures::FutureExt as _;
use futures::future::join_all;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tonic::Status;

use crate::support::PATIENCE;
use agent::{Agent, Behaviour, reporting, settings};

const HOST: &str = "127.0.0.1";

fn frame() -> RunFrame {
    RunFrame {
        resource_id: "proc-1".to_owned(),
        frame_id: "frame-1".to_owned(),
        command: "render".to_owned(),
        num_cores: 100,
        ..RunFrame::default()
    }
}

/// Impatient towards peers that never answer.
fn impatient(port: u16) -> Agents {
    Agents::new(AgentSettings {
        connect_timeout: Duration::from_millis(300),
        call_timeout: Duration::from_millis(300),
        ..settings(port)
    })
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

// Launched, refused, and what an answer means.

#[tokio::test]
async fn an_accepted_launch_arrives_as_it_was_sent() {
    let agent = Agent::start(Behaviour::default()).await;
    let outcome = agent.client().launch(HOST, frame()).await;
    assert!(matches!(outcome, LaunchOutcome::Launched), "{outcome:?}");
    let launches = agent.seen.launches.lock().unwrap();
    assert_eq!(launches.len(), 1);
    assert_eq!(launches[0].frame, frame());
    assert!(launches[0].deadline.is_some(), "the agent is not told until when to start it");
}

#[tokio::test]
async fn every_code_of_an_agent_is_a_refusal_but_five() {
    use Code::*;
    let refusals = [
        Unknown,
        InvalidArgument,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        Unimplemented,
        Unauthenticated,
    ];
    for code in refusals {
        let agent = Agent::start(Behaviour::refusing(Status::new(code, "no"))).await;
        let outcome = agent.client().launch(HOST, frame()).await;
        assert!(
            matches!(&outcome, LaunchOutcome::Refused { code: answered, message } if *answered == code && message == "no"),
            "{code:?}: {outcome:?}"
        );
    }
    for code in [DeadlineExceeded, Unavailable, Cancelled, Internal, DataLoss] {
        let agent = Agent::start(Behaviour::refusing(Status::new(code, "perhaps"))).await;
        let outcome = agent.client().launch(HOST, frame()).await;
        assert!(matches!(outcome, LaunchOutcome::Unknown(AgentError::Answered { .. })), "{code:?}: {outcome:?}");
        assert_eq!(agent.seen.reports.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn a_refusal_of_what_already_runs_for_us_is_a_success() {
    for code in [Code::Unknown, Code::InvalidArgument, Code::AlreadyExists] {
        let behaviour = Behaviour {
            report: Box::new(|| Ok(reporting(&[("proc-0", "frame-0"), ("proc-1", "frame-1")]))),
            ..Behaviour::refusing(Status::new(code, "any text"))
        };
        let agent = Agent::start(behaviour).await;
        let outcome = agent.client().launch(HOST, frame()).await;
        assert!(matches!(outcome, LaunchOutcome::Launched), "{code:?}: {outcome:?}");
        assert_eq!(agent.seen.reports.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_frame_that_still_runs_for_an_earlier_booking_is_told_apart() {
    let behaviour = Behaviour {
        report: Box::new(|| Ok(reporting(&[("proc-0", "frame-1")]))),
        ..Behaviour::refusing(Status::unknown("frame is already running"))
    };
    let agent = Agent::start(behaviour).await;
    let outcome = agent.client().launch(HOST, frame()).await;
    assert!(matches!(&outcome, LaunchOutcome::Occupied { by, .. } if by.as_str() == "proc-0"), "{outcome:?}");
}

#[tokio::test]
async fn a_refusal_that_cannot_be_looked_into_stays_open() {
    let reports: [fn() -> Result<RqdStaticReportStatusResponse, Status>; 2] =
        [|| Err(Status::unknown("no report")), || Ok(RqdStaticReportStatusResponse { host_report: None })];
    for report in reports {
        let behaviour = Behaviour { report: Box::new(report), ..Behaviour::refusing(Status::unknown("already")) };
        let agent = Agent::start(behaviour).await;
        let outcome = agent.client().launch(HOST, frame()).await;
        assert!(matches!(outcome, LaunchOutcome::Unknown(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_message_over_the_agents_limit_is_a_refusal() {
    let agent = Agent::start(Behaviour::default()).await;
    let large = RunFrame { command: "x".repeat(5 << 20), ..frame() };
    let outcome = agent.client().launch(HOST, large).await;
    assert!(matches!(outcome, LaunchOutcome::Refused { .. }), "{outcome:?}");
    assert!(agent.seen.launches.lock().unwrap().is_empty());
}

// Not sent: nothing can have started.

#[tokio::test]
async fn a_name_that_does_not_resolve_is_not_sent() {
    let agents = Agents::new(settings(8444));
    for host in ["no-such-host.invalid", "", "two words", "a/b", "nul\0"] {
        let outcome = agents.launch(host, frame()).await;
        assert!(matches!(outcome, LaunchOutcome::NotSent(AgentError::NameUnknown { .. })), "{host:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_not_sent() {
    let vacant = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = vacant.local_addr().unwrap().port();
    drop(vacant);
    let agents = Agents::new(settings(port));
    // Together, so that they share the attempt.
    let outcomes = join_all((0..20).map(|_| agents.launch(HOST, frame()))).await;
    for outcome in outcomes {
        assert!(matches!(outcome, LaunchOutcome::NotSent(AgentError::Connect { .. })), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_host_that_swallows_the_attempt_to_connect_is_not_sent() {
    let (port, _hole) = peer::black_hole().await;
    let agents = impatient(port);
    let outcomes = join_all((0..4).map(|_| agents.launch(HOST, frame()))).await;
    for outcome in outcomes {
        assert!(matches!(outcome, LaunchOutcome::NotSent(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_lost_connection_that_cannot_be_made_again_is_not_sent() {
    let agent = Agent::start(Behaviour::default()).await;
    let agents = agent.client();
    assert!(matches!(agents.launch(HOST, frame()).await, LaunchOutcome::Launched));
    agent.die().await;
    // The end of the connection may reach us only with the next call: that one is then unknown.
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        outcomes.push(agents.launch(HOST, frame()).await);
    }
    assert!(!outcomes.iter().any(|outcome| matches!(outcome, LaunchOutcome::Refused { .. })), "{outcomes:?}");
    assert!(matches!(outcomes[2], LaunchOutcome::NotSent(_)), "{outcomes:?}");
}

#[tokio::test]
async fn a_lost_connection_is_made_again_within_the_bound_of_connecting() {
    let agent = Agent::start(Behaviour::default()).await;
    // Patient with calls, so that only the attempt to connect can end in time.
    let agents = Agents::new(AgentSettings {
        connect_timeout: Duration::from_millis(300),
        call_timeout: Duration::from_hours(1),
        ..settings(agent.port)
    });
    let port = agent.port;
    assert!(matches!(agents.launch(HOST, frame()).await, LaunchOutcome::Launched));
    agent.die().await;
    while matches!(agents.launch(HOST, frame()).await, LaunchOutcome::Unknown(_)) {}
    let (_, _hole) = peer::black_hole_at(port).await;
    for _ in 0..2 {
        let outcome = tokio::time::timeout(PATIENCE, agents.launch(HOST, frame())).await.expect("it has an end");
        assert!(matches!(outcome, LaunchOutcome::NotSent(_)), "{outcome:?}");
    }
}

// Unknown: it may have started.

#[tokio::test]
async fn an_agent_that_does_not_answer_leaves_it_open() {
    let behaviour = Behaviour { launch: Box::new(|| std::future::pending().boxed()), ..Behaviour::default() };
    let agent = Agent::start(behaviour).await;
    let outcome = impatient(agent.port).launch(HOST, frame()).await;
    assert!(matches!(outcome, LaunchOutcome::Unknown(_)), "{outcome:?}");
    assert_eq!(agent.seen.launches.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_agent_that_dies_after_receiving_leaves_it_open() {
    let behaviour = Behaviour { launch: Box::new(|| std::future::pending().boxed()), ..Behaviour::default() };
    let agent = Agent::start(behaviour).await;
    let (agents, seen) = (agent.client(), Arc::clone(&agent.seen));
    let launching = tokio::spawn(async move { agents.launch(HOST, frame()).await });
    until("the launch arrives", || seen.launching.load(Ordering::SeqCst) == 1).await;
    agent.die().await;
    let outcome = launching.await.unwrap();
    assert!(matches!(outcome, LaunchOutcome::Unknown(AgentError::Broken { .. })), "{outcome:?}");
}

#[tokio::test]
async fn peers_that_break_off_or_are_no_agents_leave_it_open() {
    let hears_and_closes = peer::serve(|mut connection| async move {
        peer::read_until(&mut connection, "render").await;
    });
    let speaks_and_closes = peer::serve(|mut connection| async move {
        peer::write_settings(&mut connection).await;
        peer::read_until(&mut connection, "render").await;
    });
    let resets_after_hearing = peer::serve(|mut connection| async move {
        peer::write_settings(&mut connection).await;
        peer::read_until(&mut connection, "render").await;
        connection.set_zero_linger().unwrap();
    });
    let speaks_http_1 = peer::serve(|mut connection| async move {
        peer::read_until(&mut connection, "render").await;
        connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        peer::drain(connection).await;
    });
    let answers_half = peer::serve(|mut connection| async move {
        peer::write_settings(&mut connection).await;
        peer::read_until(&mut connection, "render").await;
        // ":status 200" and "content-type: application/grpc", and then nothing.
        let headers = [&[0x88, 0x5f, 16][..], b"application/grpc"].concat();
        peer::write_frame(&mut connection, peer::HEADERS, 4, 1, &headers).await;
        connection.set_zero_linger().unwrap();
    });
    let peers = [
        ("hears and closes", hears_and_closes.await),
        ("speaks and closes", speaks_and_closes.await),
        ("resets after hearing", resets_after_hearing.await),
        ("speaks HTTP/1.1", speaks_http_1.await),
        ("answers half", answers_half.await),
    ];
    for (name, port) in peers {
        let outcome = Agents::new(settings(port)).launch(HOST, frame()).await;
        assert!(matches!(outcome, LaunchOutcome::Unknown(AgentError::Broken { .. })), "{name}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_peer_that_resets_at_once_is_never_taken_for_a_refusal() {
    let port = peer::serve(|connection| async move { connection.set_zero_linger().unwrap() }).await;
    for _ in 0..20 {
        let outcome = Agents::new(settings(port)).launch(HOST, frame()).await;
        // By chance the reset comes before or after the first byte is written.
        assert!(matches!(outcome, LaunchOutcome::NotSent(_) | LaunchOutcome::Unknown(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn peers_that_stay_silent_leave_it_open() {
    let silent = peer::serve(peer::drain).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let never_accepts = listener.local_addr().unwrap().port();
    for port in [silent, never_accepts] {
        let outcome = impatient(port).launch(HOST, frame()).await;
        assert!(matches!(outcome, LaunchOutcome::Unknown(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn no_http_2_error_is_taken_for_a_refusal() {
    // Every error code of HTTP/2, and two that do not exist.
    for error in (0u32..=13).chain([99, u32::MAX]) {
        let resets = peer::serve(move |connection| {
            peer::answer_calls(connection, "render", async move |connection| {
                peer::write_frame(connection, peer::RESET_STREAM, 0, 1, &error.to_be_bytes()).await;
            })
        });
        let goes_away = peer::serve(move |connection| {
            peer::answer_calls(connection, "render", async move |connection| {
                let payload = [[0; 4], error.to_be_bytes()].concat();
                peer::write_frame(connection, peer::GO_AWAY, 0, 0, &payload).await;
            })
        });
        for (name, port) in [("resets", resets.await), ("goes away", goes_away.await)] {
            let outcome = Agents::new(settings(port)).launch(HOST, frame()).await;
            assert!(
                matches!(outcome, LaunchOutcome::Unknown(AgentError::Broken { .. })),
                "{name} {error}: {outcome:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_web_server_on_the_port_counts_by_what_it_can_have_done() {
    // HPACK's fixed entries for ":status": 200, 404, 500.
    for (status, expected) in [(0x88, "unknown"), (0x8d, "refused"), (0x8e, "unknown")] {
        let port = peer::serve(move |connection| {
            peer::answer_calls(connection, "render", async move |connection| {
                let flags = peer::END_OF_STREAM_AND_HEADERS;
                peer::write_frame(connection, peer::HEADERS, flags, 1, &[status]).await;
            })
        })
        .await;
        let outcome = impatient(port).launch(HOST, frame()).await;
        assert_eq!(outcome.into_str(), expected, "{status:#x}: {outcome:?}");
    }
}

// Connections.

#[tokio::test]
async fn an_agent_that_comes_back_is_launched_on_again() {
    let agent = Agent::start(Behaviour::default()).await;
    let (agents, port) = (agent.client(), agent.port);
    assert!(matches!(agents.launch(HOST, frame()).await, LaunchOutcome::Launched));
    agent.die().await;
    while matches!(agents.launch(HOST, frame()).await, LaunchOutcome::Unknown(_)) {}
    let _agent = Agent::start_at(SocketAddr::new(HOST.parse().unwrap(), port), Behaviour::default()).await;
    let outcome = agents.launch(HOST, frame()).await;
    assert!(matches!(outcome, LaunchOutcome::Launched), "{outcome:?}");
}

#[tokio::test]
async fn one_connection_serves_all_calls_to_a_host() {
    let agent = Agent::start(Behaviour::default()).await;
    let agents = agent.client();
    join_all((0..100).map(|_| agents.launch(HOST, frame()))).await;
    agents.report(HOST).await.unwrap();
    assert_eq!(agent.seen.launches.lock().unwrap().len(), 100);
    assert_eq!(agent.seen.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_call_that_was_not_answered_gives_its_connection_up() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&connections);
    let port = peer::serve(move |connection| {
        counting.fetch_add(1, Ordering::Relaxed);
        peer::drain(connection)
    })
    .await;
    let agents = impatient(port);
    assert!(matches!(agents.launch(HOST, frame()).await, LaunchOutcome::Unknown(AgentError::NoAnswer { .. })));
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    for dialled in 2..=3 {
        // It may be another machine's by now, and nobody answers who it is.
        assert!(matches!(agents.launch(HOST, frame()).await, LaunchOutcome::NotSent(AgentError::NoAnswer { .. })));
        assert_eq!(connections.load(Ordering::Relaxed), dialled);
    }
}

#[tokio::test]
async fn the_name_may_be_an_ipv6_address() {
    let Ok(probe) = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else { return };
    drop(probe);
    let agent = Agent::start_at((Ipv6Addr::LOCALHOST, 0).into(), Behaviour::default()).await;
    for host in ["::1", "[::1]"] {
        let outcome = agent.client().launch(host, frame()).await;
        assert!(matches!(outcome, LaunchOutcome::Launched), "{host}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_hosts_on_one_port_each_get_their_own_frame() {
    let agent = Agent::start_at((Ipv4Addr::UNSPECIFIED, 0).into(), Behaviour::default()).await;
    let agents = agent.client();
    let hosts: Vec<String> = (0..1_000).map(|n| format!("127.1.{}.{}", n / 250, n % 250 + 1)).collect();
    let launch_all = |round: &'static str| {
        join_all(hosts.iter().map(|host| {
            let (agents, host) = (agents.clone(), host.clone());
            tokio::spawn(async move {
                let frame = RunFrame { frame_id: format!("{round} {host}"), ..frame() };
                let outcome = agents.launch(&host, frame).await;
                assert!(matches!(outcome, LaunchOutcome::Launched), "{host}: {outcome:?}");
            })
        }))
    };
    for round in ["first", "second"] {
        for task in launch_all(round).await {
            task.unwrap();
        }
    }
    let launches = agent.seen.launches.lock().unwrap();
    assert_eq!(launches.len(), 2_000);
    for launch in launches.iter() {
        let host = launch.frame.frame_id.split(' ').nth(1).unwrap();
        assert_eq!(launch.at, host.parse::<IpAddr>().unwrap());
    }
    assert_eq!(agent.seen.connections.load(Ordering::Relaxed), 1_000, "connections are kept");
}

#[tokio::test]
async fn beyond_the_bound_the_longest_unused_connections_are_closed() {
    let agent = Agent::start_at((Ipv4Addr::UNSPECIFIED, 0).into(), Behaviour::default()).await;
    let agents = Agents::new(AgentSettings { connections_max: 8, ..settings(agent.port) });
    let launch = async |n: u32| {
        let outcome = agents.launch(&format!("127.2.0.{n}"), frame()).await;
        assert!(matches!(outcome, LaunchOutcome::Launched), "{outcome:?}");
    };
    for n in 1..=20 {
        launch(1).await;
        launch(n).await;
    }
    assert_eq!(agent.seen.connections.load(Ordering::Relaxed), 20, "the one in use was kept");
    launch(2).await;
    assert_eq!(agent.seen.connections.load(Ordering::Relaxed), 21, "the longest unused one was closed");
}

// Bounds.

#[tokio::test]
async fn calls_are_bounded_per_host_and_overall() {
    for (hosts, per_host, overall, expected) in [(1u32, 3, 100, 3), (10, 3, 7, 7)] {
        let gate = Arc::new(Semaphore::new(0));
        let opening = Arc::clone(&gate);
        let behaviour = Behaviour {
            launch: Box::new(move || {
                let gate = Arc::clone(&opening);
                async move {
                    gate.acquire().await.unwrap().forget();
                    Ok(())
                }
                .boxed()
            }),
            ..Behaviour::default()
        };
        let agent = Agent::start_at((Ipv4Addr::UNSPECIFIED, 0).into(), behaviour).await;
        let agents = Agents::new(AgentSettings {
            calls_per_host_max: per_host,
            calls_in_flight_max: overall,
            late_after: Duration::from_hours(1),
            ..settings(agent.port)
        });
        // Hosts that have not answered yet get one call each.
        gate.add_permits(hosts as usize);
        for n in 1..=hosts {
            assert!(matches!(agents.launch(&format!("127.3.0.{n}"), frame()).await, LaunchOutcome::Launched));
        }
        agent.seen.launching_max.store(0, Ordering::SeqCst);
        let launches: Vec<_> = (0..40)
            .map(|n| {
                let agents = agents.clone();
                tokio::spawn(async move { agents.launch(&format!("127.3.0.{}", n % hosts + 1), frame()).await })
            })
            .collect();
        for _ in 0..40 / expected {
            until("the bound is used up", || agent.seen.launching.load(Ordering::SeqCst) == expected).await;
            gate.add_permits(expected);
            until("these have gone through", || gate.available_permits() == 0).await;
        }
        gate.add_permits(40);
        for launch in launches {
            assert!(matches!(launch.await.unwrap(), LaunchOutcome::Launched));
        }
        assert_eq!(agent.seen.launching_max.load(Ordering::SeqCst), expected);
    }
}

/// At the port of an agent, hosts that take connections and never say a word.
async fn mute_hosts(port: u16, count: u8) -> Vec<String> {
    let mut hosts = Vec::new();
    for n in 1..=count {
        let host = Ipv4Addr::new(127, 5, 0, n);
        let listener = tokio::net::TcpListener::bind((host, port)).await.unwrap();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(peer::drain(connection));
            }
        });
        hosts.push(host.to_string());
    }
    hosts
}

#[tokio::test]
async fn hosts_that_have_not_answered_lately_take_no_place_of_those_that_have() {
    let agent = Agent::start(Behaviour::default()).await;
    let hosts = mute_hosts(agent.port, 20).await;
    let agents = Agents::new(AgentSettings {
        calls_in_flight_max: 2,
        late_after: Duration::from_hours(1),
        call_timeout: Duration::from_hours(1),
        ..settings(agent.port)
    });
    assert!(matches!(agents.launch(HOST, frame()).await, LaunchOutcome::Launched));
    let mut mute = tokio::task::JoinSet::new();
    for host in hosts.iter().cycle().take(100) {
        let (agents, host) = (agents.clone(), host.clone());
        mute.spawn(async move { agents.launch(&host, frame()).await });
    }
    tokio::task::yield_now().await;
    for _ in 0..20 {
        let launched = tokio::time::timeout(PATIENCE, agents.launch(HOST, frame())).await;
        assert!(matches!(launched, Ok(LaunchOutcome::Launched)), "{launched:?}");
    }
    assert!(mute.try_join_next().is_none(), "they have neither answered nor been given up");
}

#[tokio::test]
async fn calls_that_are_late_take_no_place_of_others() {
    let answers = Arc::new(Semaphore::new(0));
    let answering = Arc::clone(&answers);
    let behaviour = Behaviour {
        launch: Box::new(move || {
            let answers = Arc::clone(&answering);
            async move {
                answers.acquire().await.unwrap().forget();
                Ok(())
            }
            .boxed()
        }),
        ..Behaviour::default()
    };
    let agent = Agent::start_at((Ipv4Addr::UNSPECIFIED, 0).into(), behaviour).await;
    let agents = Agents::new(AgentSettings {
        calls_in_flight_max: 2,
        late_after: Duration::from_millis(50),
        call_timeout: Duration::from_hours(1),
        ..settings(agent.port)
    });
    let hosts: Vec<String> = (1..=9).map(|n| format!("127.3.1.{n}")).collect();
    answers.add_permits(hosts.len());
    for host in &hosts {
        assert!(matches!(agents.launch(host, frame()).await, LaunchOutcome::Launched));
    }
    // Hosts that have all answered, and do not any more.
    let mut stuck = tokio::task::JoinSet::new();
    for host in hosts.iter().cycle().take(32) {
        let (agents, host) = (agents.clone(), host.clone());
        stuck.spawn(async move { agents.launch(&host, frame()).await });
    }
    until("all hosts are called", || agent.seen.launching.load(Ordering::SeqCst) == 32).await;
    assert!(stuck.try_join_next().is_none());
    answers.add_permits(32);
    while let Some(launched) = stuck.join_next().await {
        assert!(matches!(launched, Ok(LaunchOutcome::Launched)), "{launched:?}");
    }
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_left_with_one_launch_of_unknown_outcome() {
    let behaviour = Behaviour { launch: Box::new(|| std::future::pending().boxed()), ..Behaviour::default() };
    let agent = Agent::start(behaviour).await;
    let agents = impatient(agent.port);
    let launches = (1..=4).map(async |number| {
        let outcome = agents.launch(HOST, frame()).await;
        // Looked at before the next one has its turn.
        (number, outcome, agent.seen.launches.lock().unwrap().len())
    });
    for (number, outcome, sent) in join_all(launches).await {
        assert!(matches!(outcome, LaunchOutcome::Unknown(_)), "{outcome:?}");
        assert_eq!(sent, number, "one at a time");
    }
}

#[tokio::test]
async fn a_host_that_hangs_holds_up_only_itself() {
    let hung = peer::serve(peer::drain).await;
    let agents = Agents::new(AgentSettings {
        calls_per_host_max: 2,
        calls_in_flight_max: 3,
        call_timeout: Duration::from_hours(1),
        ..settings(hung)
    });
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let agents = agents.clone();
            tokio::spawn(async move { agents.launch(HOST, frame()).await })
        })
        .collect();
    // Answers at once that it does not resolve, if it is let through at all.
    let other = tokio::time::timeout(PATIENCE, agents.launch("no-such-host.invalid", frame())).await;
    assert!(matches!(other.unwrap(), LaunchOutcome::NotSent(_)));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

// Asking and killing.

#[tokio::test]
async fn an_agent_tells_what_it_runs() {
    let behaviour = Behaviour {
        report: Box::new(|| Ok(reporting(&[("Proc-A", "frame-1"), ("proc-b", "frame-2")]))),
        ..Behaviour::default()
    };
    let agent = Agent::start(behaviour).await;
    let running = agent.client().report(HOST).await.unwrap().running;
    let procs: Vec<&str> = running.iter().map(|running| running.proc.as_str()).collect();
    assert_eq!(procs, ["Proc-A", "proc-b"]);
}

#[tokio::test]
async fn an_empty_answer_is_not_taken_for_an_idle_host() {
    let behaviour = Behaviour {
        report: Box::new(|| Ok(RqdStaticReportStatusResponse { host_report: None })),
        ..Behaviour::default()
    };
    let agent = Agent::start(behaviour).await;
    let asked = agent.client().report(HOST).await;
    assert!(matches!(asked, Err(AgentError::EmptyReport { .. })), "{asked:?}");
}

#[tokio::test]
async fn a_kill_of_what_does_not_run_is_no_error() {
    let agent = Agent::start(Behaviour::default()).await;
    let killed = agent.client().kill(HOST, &"frame-1".into(), "").await;
    assert_eq!(killed.unwrap(), KillOutcome::Killed);
    {
        let kills = agent.seen.kills.lock().unwrap();
        assert_eq!(kills[0].frame_id, "frame-1");
        assert_ne!(kills[0].message, "", "one kind of agent refuses a kill without a message");
    }
    let gone = Behaviour { kill: Box::new(|| Err(Status::not_found("no such frame"))), ..Behaviour::default() };
    let agent = Agent::start(gone).await;
    let killed = agent.client().kill(HOST, &"frame-1".into(), "stop").await;
    assert_eq!(killed.unwrap(), KillOutcome::NotRunning);
    let refuses = Behaviour { kill: Box::new(|| Err(Status::aborted("not now"))), ..Behaviour::default() };
    let agent = Agent::start(refuses).await;
    let killed = agent.client().kill(HOST, &"frame-1".into(), "stop").await;
    assert!(matches!(killed, Err(AgentError::Answered { code: Code::Aborted, .. })), "{killed:?}");
}

#[tokio::test]
async fn launches_can_be_spawned() {
    fn spawnable<F: Future + Send + 'static>(future: F) -> F {
        future
    }
    let agents = Agents::new(settings(8444));
    drop(spawnable(async move { agents.launch(HOST, frame()).await }));
}
