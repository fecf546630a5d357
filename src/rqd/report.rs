//! Of an agent's state, what is needed here.
//!
//! Nothing that listens on a host is trusted to be an agent. An entry of a list may have no byte in it,
//! and takes far more when it is decoded than it takes on the wire. So entries are counted before anything
//! is made of them, and what is not needed is passed over; a needed field of another type than an agent's
//! makes the whole unreadable. Pure.

use prost::Message;

use super::error::{AnswerFault, REPORTED_FRAMES_MAX};
use crate::model::{FrameId, ProcId};

/// What an agent says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentReport {
    /// The name that it reports to Cuebot under.
    pub host_name: String,
    pub running: Vec<RunningFrame>,
}

/// One that runs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningFrame {
    pub proc: ProcId,
    pub frame: FrameId,
}

/// Reads the answer to ReportStatus; `None` is an answer without a report.
pub(super) fn parse(answer: &[u8]) -> Result<Option<AgentReport>, AnswerFault> {
    let frames = partial::Count::decode(answer)?.report.map_or(0, |report| report.frames.len());
    if frames > REPORTED_FRAMES_MAX {
        return Err(AnswerFault::TooManyFrames { frames });
    }
    let running = |frame: partial::Frame| RunningFrame { proc: frame.proc.into(), frame: frame.frame.into() };
    Ok(partial::Answer::decode(answer)?.report.map(|report| AgentReport {
        host_name: report.host.unwrap_or_default().name,
        running: report.frames.into_iter().map(running).collect(),
    }))
}

/// Messages of `proto/` with those fields alone that are read; the numbers are the same.
mod partial {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Answer {
        #[prost(message, optional, tag = "1")]
        pub(super) report: Option<Report>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Report {
        #[prost(message, optional, tag = "1")]
        pub(super) host: Option<Host>,
        #[prost(message, repeated, tag = "2")]
        pub(super) frames: Vec<Frame>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Host {
        #[prost(string, tag = "1")]
        pub(super) name: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Frame {
        #[prost(string, tag = "1")]
        pub(super) proc: String,
        #[prost(string, tag = "4")]
        pub(super) frame: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Count {
        #[prost(message, optional, tag = "1")]
        pub(super) report: Option<CountedReport>,
    }

    /// However many they are, nothing takes no memory.
    #[derive(Clone, PartialEq, Message)]
    pub(super) struct CountedReport {
        #[prost(message, repeated, tag = "2")]
        pub(super) frames: Vec<()>,
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;
    use rand::rngs::StdRng;

    use super::*;
    use crate::fuzz::fuzz;
    use crate::rqd::proto::report::{
        ChildrenProcStats, CoreDetail, HostReport, ProcStats, RenderHost, RunningFrameInfo,
    };
    use crate::rqd::proto::rqd::RqdStaticReportStatusResponse;

    /// One field with a length: its number, its length, its bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        prost::encode_length_delimiter(bytes.len(), &mut field).unwrap();
        field.extend_from_slice(bytes);
        field
    }

    fn entries(number: usize) -> Vec<u8> {
        field(1, &[18, 0].repeat(number))
    }

    fn running(proc: &str, frame: &str) -> RunningFrame {
        RunningFrame { proc: proc.into(), frame: frame.into() }
    }

    #[test]
    fn of_a_whole_report_the_ids_and_the_name_are_read() {
        let frame = |proc: &str, frame: &str| RunningFrameInfo {
            resource_id: proc.to_owned(),
            job_id: "job".to_owned(),
            frame_id: frame.to_owned(),
            frame_name: "0001-layer".to_owned(),
            num_cores: 100,
            rss: i64::MAX,
            attributes: [("pcpu".to_owned(), "95.9".to_owned())].into(),
            children: Some(ChildrenProcStats {
                children: vec![ProcStats { cmdline: "render".to_owned(), ..ProcStats::default() }],
            }),
            ..RunningFrameInfo::default()
        };
        let report = HostReport {
            host: Some(RenderHost {
                name: "node-1".to_owned(),
                load: -1,
                tags: vec!["general".to_owned()],
                ..RenderHost::default()
            }),
            frames: vec![frame("Proc-A", "frame-1"), frame("proc-b", "Frame-2")],
            core_info: Some(CoreDetail { total_cores: 800, ..CoreDetail::default() }),
        };
        let answer = RqdStaticReportStatusResponse { host_report: Some(report) }.encode_to_vec();
        let expected = AgentReport {
            host_name: "node-1".to_owned(),
            running: vec![running("Proc-A", "frame-1"), running("proc-b", "Frame-2")],
        };
        assert_eq!(parse(&answer), Ok(Some(expected)));
    }

    #[test]
    fn an_answer_without_a_report_is_told_from_an_empty_report() {
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(parse(&field(1, &[])), Ok(Some(AgentReport::default())));
        let absent = [field(1, &field(2, &[]))].concat();
        assert_eq!(parse(&absent).unwrap().unwrap().running, [running("", "")]);
    }

    /// As the format has it: a message in two parts is one, of a text the last one holds, and numbers that
    /// nobody knows are passed over.
    #[test]
    fn what_is_there_twice_or_unknown_is_read_as_the_format_has_it() {
        let twice = [field(1, b"proc-0"), field(1, b"proc-1"), vec![9 << 3, 150, 1], field(4, b"frame-1")].concat();
        let group = vec![13 << 3 | 3, 1 << 3, 5, 13 << 3 | 4];
        let first = [field(1, &field(1, b"node-1")), group, field(2, &twice)].concat();
        let second = [field(2, &field(1, b"proc-2")), vec![10 << 3 | 5, 0, 0, 0, 0]].concat();
        let answer = [field(1, &first), field(15, &[255; 9]), field(1, &second)].concat();
        let read = parse(&answer).unwrap().unwrap();
        assert_eq!(read.host_name, "node-1");
        assert_eq!(read.running, [running("proc-1", "frame-1"), running("proc-2", "")]);
        let whole = RqdStaticReportStatusResponse::decode(&answer[..]).unwrap().host_report.unwrap();
        assert_eq!(whole.frames.len(), 2);
        assert_eq!((whole.frames[0].resource_id.as_str(), whole.host.unwrap().name), ("proc-1", "node-1".to_owned()));
    }

    /// Messages in messages, with what agents send, what they never send, and bytes turned.
    fn answer_of(random: &mut StdRng, depth: u32) -> Vec<u8> {
        let mut answer = Vec::new();
        for _ in 0..random.random_range(0..5) {
            let number = random.random_range(1..6);
            match random.random_range(0..6) {
                0 if depth < 5 => answer.extend(field(number, &answer_of(random, depth + 1))),
                1 => answer.extend([number << 3, random.random_range(0..128)]),
                2 => answer.extend(field(number, "node-\u{e9}".as_bytes())),
                3 => answer.extend([&[number << 3 | 5][..], &random.random::<[u8; 4]>()].concat()),
                4 if depth < 5 => answer.extend(field(1, &answer_of(random, depth + 1))),
                _ if depth < 6 => answer.extend(field(2, &answer_of(random, 6))),
                _ => {}
            }
        }
        answer
    }

    #[test]
    fn fuzz_answers_of_agents_are_read_as_the_format_has_it_or_refused() {
        fuzz(40_000, |random| {
            let mut answer = answer_of(random, 0);
            if random.random_bool(0.3) {
                answer = [field(1, &answer), answer].concat();
            }
            for _ in 0..random.random_range(0..3) {
                if !answer.is_empty() && random.random_bool(0.4) {
                    let at = random.random_range(0..answer.len());
                    answer[at] = random.random();
                }
            }
            if random.random_ratio(1, 200) {
                answer.extend(entries(random.random_range(0..2 * REPORTED_FRAMES_MAX)));
            }
            let read = parse(&answer);
            if let Ok(Some(report)) = &read {
                assert!(report.running.len() <= REPORTED_FRAMES_MAX && report.host_name.len() <= answer.len());
            }
            // What all of an answer can be read from says the same in these fields.
            let Ok(whole) = RqdStaticReportStatusResponse::decode(answer.as_slice()) else { return };
            let whole = whole.host_report.map(|report| AgentReport {
                host_name: report.host.unwrap_or_default().name,
                running: report.frames.iter().map(|frame| running(&frame.resource_id, &frame.frame_id)).collect(),
            });
            match read {
                Err(AnswerFault::TooManyFrames { frames }) => {
                    assert!(frames > REPORTED_FRAMES_MAX && whole.is_some_and(|report| report.running.len() == frames));
                }
                read => assert_eq!(read, Ok(whole), "{answer:?}"),
            }
        });
    }

    #[test]
    fn more_frames_than_a_host_can_run_are_counted_and_refused() {
        assert_eq!(parse(&entries(REPORTED_FRAMES_MAX)).unwrap().unwrap().running.len(), REPORTED_FRAMES_MAX);
        for frames in [REPORTED_FRAMES_MAX + 1, 100_000, 2_000_000] {
            assert_eq!(parse(&entries(frames)), Err(AnswerFault::TooManyFrames { frames }));
        }
        let in_parts = entries(REPORTED_FRAMES_MAX).repeat(2);
        assert_eq!(parse(&in_parts), Err(AnswerFault::TooManyFrames { frames: 2 * REPORTED_FRAMES_MAX }));
    }

    #[test]
    fn what_is_no_message_is_an_error_wherever_it_is() {
        let broken: [Vec<u8>; 7] = [
            vec![10],
            vec![10, 5, 1],
            vec![10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
            vec![1 << 3 | 7],
            field(1, &[18, 3, 1]),
            field(1, &field(2, &[10, 9])),
            // No text.
            field(1, &field(2, &field(4, &[0xff]))),
        ];
        for answer in broken {
            let read = parse(&answer);
            assert!(matches!(read, Err(AnswerFault::Unreadable { .. })), "{answer:?}: {read:?}");
        }
        // Groups in groups in groups must not use up the stack.
        let deep = field(1, &[19].repeat(1_000_000));
        assert!(matches!(parse(&deep), Err(AnswerFault::Unreadable { .. })));
    }
}
