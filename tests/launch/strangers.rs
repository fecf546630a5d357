//! What listens on the agents' port and is no agent: answers that are too large, too many, in the wrong
//! form or without an end cost their own call and nothing else.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cue_scheduler::farm::cuebot::{CuebotOptions, Maintenance};
use cue_scheduler::farm::sandbox::SandboxOptions;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::FarmSpec;
use cue_scheduler::rqd::proto::report::{HostReport, RunningFrameInfo};
use cue_scheduler::rqd::proto::rqd::RqdStaticReportStatusResponse;
use cue_scheduler::rqd::{AgentError, Agents, AnswerFault, Code, LaunchOutcome};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tonic::Status;

use super::agent::{Agent, Behaviour, settings};
use super::{HOST, frame, peer};
use crate::support::database;
use crate::support::farm::{Scheduler, farm, quick_farm, quick_settings, until};

fn report_of(frames: Vec<RunningFrameInfo>) -> RqdStaticReportStatusResponse {
    RqdStaticReportStatusResponse { host_report: Some(HostReport { frames, ..HostReport::default() }) }
}

/// An agent, but for its reports.
async fn agent_reporting(frames: Vec<RunningFrameInfo>) -> Agent {
    let report = report_of(frames);
    let behaviour =
        Behaviour { report: Box::new(move || Ok(report.clone())), ..Behaviour::refusing(Status::unknown("already")) };
    Agent::start(behaviour).await
}

fn fault_of<T: std::fmt::Debug>(answer: Result<T, AgentError>) -> AnswerFault {
    match answer {
        Err(AgentError::Unfit { fault, host }) if host == HOST => fault,
        other => panic!("{other:?}"),
    }
}

fn fault_of_launch(outcome: LaunchOutcome) -> AnswerFault {
    match outcome {
        LaunchOutcome::Unknown(error) => fault_of(Err::<(), _>(error)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_report_of_more_frames_than_a_host_can_run_is_refused_by_its_count() {
    let agent = agent_reporting(vec![RunningFrameInfo::default(); 100_000]).await;
    let agents = agent.client();
    let fault = AnswerFault::TooManyFrames { frames: 100_000 };
    assert_eq!(fault_of(agents.report(HOST).await), fault);
    // It may run the frame: only a report that can be read would tell.
    assert_eq!(fault_of_launch(agents.launch(HOST, frame()).await), fault);
    let error = agents.report(HOST).await.unwrap_err();
    let said = cue_scheduler::telemetry::error_chain(&error);
    assert!(said.contains(HOST) && said.contains("100000 frames"), "{said}");
    assert!(error.is_unfit() && error.blames_host());
}

#[tokio::test]
async fn a_report_of_5_mib_is_refused_by_its_size_and_one_just_below_4_is_read() {
    let named = |bytes: usize| vec![RunningFrameInfo { job_name: "x".repeat(bytes), ..RunningFrameInfo::default() }];
    let agent = agent_reporting(named(5 << 20)).await;
    let fault = fault_of(agent.client().report(HOST).await);
    assert!(matches!(fault, AnswerFault::TooLarge { bytes } if bytes > 5 << 20), "{fault:?}");
    let agent = agent_reporting(named((4 << 20) - 100)).await;
    assert_eq!(agent.client().report(HOST).await.unwrap().running.len(), 1);
}

/// An own HTTP/2 server: it knows no more than to answer the first call on each connection.
struct Stranger {
    port: u16,
    /// One for each connection that the caller closed.
    cut: mpsc::UnboundedReceiver<()>,
}

impl Stranger {
    /// Sends `answer`, then `more` for ever, whatever it is told.
    async fn start(answer: Vec<u8>, more: Option<Vec<u8>>) -> Self {
        let (closed, cut) = mpsc::unbounded_channel();
        let (answer, more) = (Arc::new(answer), Arc::new(more));
        let port = peer::serve(move |mut connection| {
            let (answer, more, closed) = (Arc::clone(&answer), Arc::clone(&more), closed.clone());
            async move {
                opened(&mut connection).await;
                until_called(&mut connection).await.unwrap();
                let sent = async {
                    peer::write(&mut connection, &answer).await?;
                    while let Some(more) = &*more {
                        peer::write(&mut connection, more).await?;
                    }
                    Ok::<(), std::io::Error>(())
                };
                if sent.await.is_ok() {
                    peer::drain(connection).await;
                }
                let _ = closed.send(());
            }
        })
        .await;
        Self { port, cut }
    }

    /// Patient: what ends a call sooner was not its time-out.
    fn client(&self) -> Agents {
        Agents::new(cue_scheduler::rqd::AgentSettings { call_timeout: Duration::from_mins(1), ..settings(self.port) })
    }

    async fn is_cut(&mut self) {
        self.cut.recv().await.expect("it goes on listening");
    }
}

async fn opened(connection: &mut TcpStream) {
    peer::write_settings(connection).await;
    let mut preface = [0; 24];
    connection.read_exact(&mut preface).await.unwrap();
}

/// Reads until a whole request is there: its stream, and how much it says.
async fn until_called(connection: &mut TcpStream) -> std::io::Result<(u32, usize)> {
    let mut said = HashMap::new();
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        connection.read_exact(&mut payload).await?;
        if head[3] != DATA {
            continue;
        }
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        *said.entry(stream).or_default() += length;
        let ends_stream = head[4] & 1 == 1;
        if ends_stream {
            return Ok((stream, said[&stream]));
        }
    }
}

const DATA: u8 = 0;
const END_OF_HEADERS: u8 = 4;
/// The stream of a connection's first call.
const FIRST: u32 = 1;

/// `:status 200`, and headers as they are.
fn headers(flags: u8, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0x88];
    block.extend(literals(more));
    peer::frame(peer::HEADERS, flags, FIRST, &block)
}

fn literals(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
    headers.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn data(payload: &[u8]) -> Vec<u8> {
    peer::frame(DATA, 0, FIRST, payload)
}

const EMPTY_MESSAGE: &[u8] = &[0; 5];

fn opening() -> Vec<u8> {
    headers(END_OF_HEADERS, &[("content-type", "application/grpc")])
}

#[tokio::test]
async fn an_answer_that_goes_on_is_cut_at_its_second_message() {
    let goes_on = || Stranger::start(opening(), Some(data(EMPTY_MESSAGE)));
    let mut stranger = goes_on().await;
    assert_eq!(fault_of_launch(stranger.client().launch(HOST, frame()).await), AnswerFault::Endless);
    stranger.is_cut().await;
    let mut stranger = goes_on().await;
    assert_eq!(fault_of(stranger.client().report(HOST).await), AnswerFault::Endless);
    stranger.is_cut().await;
    let mut stranger = goes_on().await;
    assert_eq!(fault_of(stranger.client().kill(HOST, &"frame-1".into(), "").await), AnswerFault::Endless);
    stranger.is_cut().await;
}

#[tokio::test]
async fn a_message_that_goes_on_after_its_end_is_cut() {
    let mut stranger = Stranger::start([opening(), data(EMPTY_MESSAGE)].concat(), Some(data(&[0; 4]))).await;
    assert_eq!(fault_of_launch(stranger.client().launch(HOST, frame()).await), AnswerFault::Endless);
    stranger.is_cut().await;
}

#[tokio::test]
async fn pieces_with_nothing_in_them_have_an_end() {
    for opening in [opening(), [opening(), data(EMPTY_MESSAGE)].concat(), [opening(), data(&[0; 3])].concat()] {
        let mut stranger = Stranger::start(opening, Some(data(&[]))).await;
        let outcome = stranger.client().launch(HOST, frame()).await;
        assert!(matches!(outcome, LaunchOutcome::Unknown(_)), "{outcome:?}");
        stranger.is_cut().await;
    }
}

#[tokio::test]
async fn a_launch_whose_answer_is_too_large_may_run() {
    for mib in [5_u32, 65, 4_000] {
        let header = [&[0][..], &(mib << 20).to_be_bytes()].concat();
        let mut stranger = Stranger::start([opening(), data(&header)].concat(), None).await;
        let fault = fault_of_launch(stranger.client().launch(HOST, frame()).await);
        assert_eq!(fault, AnswerFault::TooLarge { bytes: (mib as usize) << 20 });
        stranger.is_cut().await;
    }
}

#[tokio::test]
async fn a_launch_whose_answer_cannot_be_unpacked_may_run() {
    let opening = headers(END_OF_HEADERS, &[("content-type", "application/grpc"), ("grpc-encoding", "gzip")]);
    let stranger = Stranger::start([opening, data(&[1, 0, 0, 0, 1, 7])].concat(), None).await;
    let outcome = stranger.client().launch(HOST, frame()).await;
    assert!(matches!(outcome, LaunchOutcome::Unknown(_)), "{outcome:?}");
}

#[tokio::test]
async fn details_that_cannot_be_read_do_not_hide_a_refusal() {
    let status = [("grpc-status", "10"), ("grpc-message", "no"), ("grpc-status-details-bin", "!")];
    let only = headers(peer::END_OF_STREAM_AND_HEADERS, &status);
    let trailers = peer::frame(peer::HEADERS, peer::END_OF_STREAM_AND_HEADERS, FIRST, &literals(&status));
    for answer in [only, [opening(), trailers].concat()] {
        let stranger = Stranger::start(answer, None).await;
        let outcome = stranger.client().launch(HOST, frame()).await;
        assert!(
            matches!(&outcome, LaunchOutcome::Refused { code: Code::Aborted, message } if message == "no"),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_stranger_beside_agents_holds_up_none_of_them() {
    let agent = Agent::start(Behaviour::default()).await;
    let agents = agent.client();
    let stranger = Stranger::start(opening(), Some(data(EMPTY_MESSAGE))).await;
    for _ in 0..20 {
        fault_of_launch(stranger.client().launch(HOST, frame()).await);
        assert!(matches!(agents.launch(HOST, frame()).await, LaunchOutcome::Launched));
    }
    assert_eq!(agent.seen.connections.load(Ordering::Relaxed), 1);
}

/// One farm, whose host 127.1.0.2 is a stranger's: to launches it gives answers that go on, to questions
/// one of 5 MiB. The port, and when it was asked.
async fn front(rqd_port: u16) -> (u16, Arc<Mutex<Vec<Instant>>>) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let questions = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&questions);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
            let host = connection.local_addr().unwrap().ip();
            tokio::spawn(async move {
                if host != STRANGE_HOST {
                    let mut agent = TcpStream::connect((host, rqd_port)).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut connection, &mut agent).await;
                    return;
                }
                opened(&mut connection).await;
                while let Ok((stream, length)) = until_called(&mut connection).await {
                    let mut answer = opening();
                    if length == EMPTY_MESSAGE.len() {
                        asked.lock().unwrap().push(Instant::now());
                        answer.extend(data(&[0, 0, 5 << 4, 0, 0]));
                    } else {
                        answer.extend(data(EMPTY_MESSAGE).repeat(2));
                    }
                    answer_on(stream, &mut answer);
                    let _ = peer::write(&mut connection, &answer).await;
                }
            });
        }
    });
    (port, questions)
}

const STRANGE_HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 1, 0, 2));

/// Writes the stream's number into each frame.
fn answer_on(stream: u32, mut frames: &mut [u8]) {
    while !frames.is_empty() {
        let length = u32::from_be_bytes([0, frames[0], frames[1], frames[2]]) as usize;
        frames[5..9].copy_from_slice(&stream.to_be_bytes());
        frames = &mut frames[9 + length..];
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_a_strangers_costs_what_was_booked_on_it_and_is_asked_less_and_less() {
    let database = database(Generation::G5).await;
    // Nobody else looks after what was booked there.
    let cuebot = CuebotOptions { maintenance: Some(Maintenance::default()), ..CuebotOptions::default() };
    let options = SandboxOptions { generation: Generation::G5, cuebot, ..quick_farm(FarmSpec::simple(200).hosts(3)) };
    let sandbox = farm(database.connect_settings().await, options).await;
    let (port, questions) = front(sandbox.rqd_port()).await;
    for start in 1..=2 {
        questions.lock().unwrap().clear();
        let scheduler = Scheduler::start_at(&sandbox, quick_settings(), port).await;
        until(&sandbox, |_| questions.lock().unwrap().len() >= 4).await;
        let progress = until(&sandbox, |progress| progress.waiting == 0 && progress.hosts_busy == 1).await;
        let stuck: i64 =
            sqlx::query_scalar("SELECT count(*) FROM proc JOIN host USING (pk_host) WHERE host.str_name = '127.1.0.2'")
                .fetch_one(sandbox.pool())
                .await
                .unwrap();
        let stuck = u64::try_from(stuck).unwrap();
        assert_eq!((progress.done, progress.running), (200 - stuck, stuck), "{progress:?}");
        assert!(stuck > 0, "nothing was booked there");
        scheduler.stop().await;
        let questions = questions.lock().unwrap();
        for (number, pair) in questions.windows(2).enumerate() {
            let rest = Duration::from_secs(1 << number.min(4));
            assert!(pair[1] - pair[0] >= rest, "start {start}, question {number}: {:?}", pair[1] - pair[0]);
        }
    }
    sandbox.stop().await;
}
