//! The message that starts a frame, out of what is stored of its layer and job and of its booking.
//!
//! Agents and the commands of the farm were written against Cuebot's messages, so fields, variables
//! and tokens are Cuebot's, with two corrections: text is replaced literally (Cuebot trips over `$`
//! and `\` in names), and the frame's number is the stored one (in the name, a negative number
//! starts with the hyphen that ends it). What every agent would refuse is refused here, so
//! that no host is blamed for it.
//!
//! The layer's stuck-frame minutes are not sent: newer Rust agents read them from a field whose
//! number is not among the published definitions, and a guessed number could mean anything.

use std::collections::BTreeMap;

use super::frame_range::{Chunk, FrameRangeError, FrameSet};
use super::proto::rqd::RunFrame;
use super::proto::rqd::run_frame::UidOptional;
use crate::config::MemoryLimitFactors;
use crate::model::{Booked, LayerLaunch, Timestamp};
use crate::units::Kib;

/// Agents refuse larger messages; this is gRPC's default.
const MESSAGE_BYTES_MAX: usize = 4_194_304;

/// Why a frame cannot be launched anywhere: what is stored of it must be changed first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frame {frame} of job {job} cannot be launched")]
pub struct RunFrameError {
    pub job: String,
    pub frame: String,
    #[source]
    pub problem: Box<RunFrameProblem>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunFrameProblem {
    #[error("the range {range:?} of layer {layer} does not serve it; correct layer.str_range")]
    Range { layer: String, range: String, source: FrameRangeError },
    #[error("layer {layer} has a chunk size of {chunk_size}; set layer.int_chunk_size to 1 or more")]
    ChunkSize { layer: String, chunk_size: i32 },
    #[error("its job runs as uid {uid}, which agents refuse; set job.int_uid to a positive number or to NULL")]
    Uid { uid: i32 },
    #[error(
        "it is booked with {centicores} centicores, and agents take 1 to {}; check the cores of its layer",
        i32::MAX
    )]
    Cores { centicores: i64 },
    #[error("it is booked with {gpus} GPUs, and agents take 0 to {}; check the GPUs of its layer", i32::MAX)]
    Gpus { gpus: i64 },
    #[error(
        "its command and variables come to over {MESSAGE_BYTES_MAX} bytes, the most that agents take; \
         shorten the command, the environment or the chunk"
    )]
    TooLarge,
}

/// Builds the message that launches a booked frame.
pub fn build_run_frame(
    launch: &LayerLaunch,
    booked: &Booked,
    started_at: Timestamp,
    factors: &MemoryLimitFactors,
) -> Result<RunFrame, RunFrameError> {
    run_frame(launch, booked, started_at, factors).map_err(|problem| RunFrameError {
        job: launch.job_name.clone(),
        frame: booked.frame_name.clone(),
        problem: Box::new(problem),
    })
}

fn run_frame(
    launch: &LayerLaunch,
    booked: &Booked,
    started_at: Timestamp,
    factors: &MemoryLimitFactors,
) -> Result<RunFrame, RunFrameProblem> {
    let uid = match launch.uid {
        Some(uid) if uid <= 0 => return Err(RunFrameProblem::Uid { uid }),
        uid => uid.map(UidOptional::Uid),
    };
    let centicores = booked.reservation.cores.get();
    let num_cores =
        i32::try_from(centicores).ok().filter(|cores| *cores > 0).ok_or(RunFrameProblem::Cores { centicores })?;
    let gpus = booked.reservation.gpus.get();
    let num_gpus = i32::try_from(gpus).ok().filter(|gpus| *gpus >= 0).ok_or(RunFrameProblem::Gpus { gpus })?;
    let chunk = chunk(launch, booked)?;
    let frame = RunFrame {
        resource_id: booked.proc.to_string(),
        job_id: launch.job.to_string(),
        job_name: launch.job_name.clone(),
        frame_id: booked.frame.to_string(),
        frame_name: booked.frame_name.clone(),
        layer_id: launch.layer.to_string(),
        command: command(launch, booked, &chunk)?,
        user_name: launch.user.clone(),
        uid_optional: uid,
        log_dir: launch.log_dir.clone(),
        show: launch.show.clone(),
        shot: launch.shot.clone(),
        start_time: milliseconds(started_at),
        num_cores,
        num_gpus,
        // The job's own system: agents with Docker look the image up by it. A host's list would be
        // no image's name.
        os: launch.os.clone().unwrap_or_default(),
        soft_memory_limit: memory_limit(launch.memory, factors.soft),
        hard_memory_limit: memory_limit(launch.memory, factors.hard),
        loki_url: launch.loki_url.clone().unwrap_or_default(),
        environment: environment(launch, booked),
        ..RunFrame::default()
    };
    // As the one field of its request.
    if prost::encoding::message::encoded_len(1, &frame) > MESSAGE_BYTES_MAX {
        return Err(RunFrameProblem::TooLarge);
    }
    Ok(frame)
}

fn chunk(launch: &LayerLaunch, booked: &Booked) -> Result<Chunk, RunFrameProblem> {
    if launch.chunk_size < 1 {
        let (layer, chunk_size) = (launch.layer_name.clone(), launch.chunk_size);
        return Err(RunFrameProblem::ChunkSize { layer, chunk_size });
    }
    FrameSet::parse(&launch.range).and_then(|range| range.chunk(booked.frame_number, launch.chunk_size)).map_err(
        |source| {
            // A range can be longer than anyone wants to read in an error.
            let range = launch.range.chars().take(60).collect();
            RunFrameProblem::Range { layer: launch.layer_name.clone(), range, source }
        },
    )
}

/// The layer's command with its tokens replaced, one after the other: what a name brings in may
/// hold a later token and is replaced again, as in Cuebot.
fn command(launch: &LayerLaunch, booked: &Booked, chunk: &Chunk) -> Result<String, RunFrameProblem> {
    let number = booked.frame_number.to_string();
    let tokens = [
        // The sign of a negative number takes one of the four places.
        ("#ZFRAME#", &format!("{:04}", booked.frame_number)),
        ("#IFRAME#", &number),
        ("#FRAME_START#", &number),
        ("#FRAME_END#", &chunk.end.to_string()),
        ("#FRAME_CHUNK#", &launch.chunk_size.to_string()),
        ("#LAYER#", &launch.layer_name),
        ("#JOB#", &launch.job_name),
        ("#FRAMESPEC#", &chunk.spec),
        ("#FRAME#", &booked.frame_name),
    ];
    tokens.iter().try_fold(launch.command.clone(), |command, (token, text)| {
        // A long chunk, named often, must be refused before it is written out.
        let added = command.matches(token).count().saturating_mul(text.len());
        if added > MESSAGE_BYTES_MAX {
            return Err(RunFrameProblem::TooLarge);
        }
        Ok(command.replace(token, text))
    })
}

/// Variables of the job and the layer; those that the farm's tools rely on win over them.
fn environment(launch: &LayerLaunch, booked: &Booked) -> BTreeMap<String, String> {
    let reservation = &booked.reservation;
    let ours = [
        ("CUE3", "1".to_owned()),
        ("CUE_THREADS", reservation.cores.whole_cores().max(1).to_string()),
        ("CUE_MEMORY", reservation.memory.get().to_string()),
        ("CUE_GPUS", reservation.gpus.get().to_string()),
        ("CUE_GPU_MEMORY", reservation.gpu_memory.get().to_string()),
        ("CUE_LOG_PATH", launch.log_dir.clone()),
        ("CUE_RANGE", launch.range.clone()),
        ("CUE_CHUNK", launch.chunk_size.to_string()),
        ("CUE_IFRAME", booked.frame_number.to_string()),
        ("CUE_LAYER", launch.layer_name.clone()),
        ("CUE_JOB", launch.job_name.clone()),
        ("CUE_FRAME", booked.frame_name.clone()),
        ("CUE_SHOW", launch.show.clone()),
        ("CUE_SHOT", launch.shot.clone()),
        ("CUE_USER", launch.user.clone()),
        ("CUE_JOB_ID", launch.job.to_string()),
        ("CUE_LAYER_ID", launch.layer.to_string()),
        ("CUE_FRAME_ID", booked.frame.to_string()),
        ("CUE_THREADABLE", if launch.is_threadable { "1" } else { "0" }.to_owned()),
    ];
    let mut environment = launch.environment.clone();
    environment.extend(ours.map(|(key, value)| (key.to_owned(), value)));
    environment
}

/// KiB, cut to a whole number. A negative minimum, which only a broken row has, limits nothing.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a limit of petabytes may be off by a few KiB, and the conversion back saturates"
)]
fn memory_limit(memory: Kib, factor: f64) -> i64 {
    (memory.get().max(0) as f64 * factor) as i64
}

fn milliseconds(at: Timestamp) -> i64 {
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use rand::RngExt as _;

    use super::*;
    use crate::fuzz::{fuzz, text_of};
    use crate::units::{Amounts, Cores, Gpus};

    fn layer() -> LayerLaunch {
        LayerLaunch {
            layer: "LAYER-ID".into(),
            layer_name: "comp".into(),
            command: "render #IFRAME#".into(),
            range: "1-20".into(),
            chunk_size: 5,
            is_threadable: true,
            memory: Kib(3_355_443),
            stuck_detection_minutes: None,
            job: "JOB-id".into(),
            job_name: "show-shot-job".into(),
            user: "ada".into(),
            uid: Some(1042),
            log_dir: "/logs".into(),
            show: "show".into(),
            shot: "shot".into(),
            os: Some("rhel9".into()),
            loki_url: None,
            environment: BTreeMap::new(),
        }
    }

    fn booked() -> Booked {
        Booked {
            proc: "proc-id".into(),
            frame: "Frame-ID".into(),
            frame_name: "0007-comp".into(),
            frame_number: 7,
            version: 3,
            layer: "LAYER-ID".into(),
            job: "JOB-id".into(),
            show: "show-id".into(),
            host: "host-id".into(),
            host_name: "node-1".into(),
            reservation: Amounts {
                cores: Cores(250),
                memory: Kib(4_194_304),
                gpus: Gpus(1),
                gpu_memory: Kib(2_097_152),
            },
        }
    }

    fn build(launch: &LayerLaunch, booked: &Booked) -> Result<RunFrame, RunFrameProblem> {
        let at = time::macros::datetime!(2026-01-02 03:04:05.678901 UTC);
        build_run_frame(launch, booked, at, &MemoryLimitFactors::default()).map_err(|error| *error.problem)
    }

    fn command_of(command: &str) -> String {
        build(&LayerLaunch { command: command.into(), ..layer() }, &booked()).unwrap().command
    }

    #[test]
    fn the_message_holds_what_is_stored_and_reserved() {
        let mut built = build(&layer(), &booked()).unwrap();
        let environment = std::mem::take(&mut built.environment);
        let expected = RunFrame {
            resource_id: "proc-id".into(),
            job_id: "JOB-id".into(),
            job_name: "show-shot-job".into(),
            frame_id: "Frame-ID".into(),
            frame_name: "0007-comp".into(),
            layer_id: "LAYER-ID".into(),
            command: "render 7".into(),
            user_name: "ada".into(),
            log_dir: "/logs".into(),
            show: "show".into(),
            shot: "shot".into(),
            start_time: 1_767_323_045_678,
            uid_optional: Some(UidOptional::Uid(1042)),
            num_cores: 250,
            num_gpus: 1,
            os: "rhel9".into(),
            soft_memory_limit: 5_368_708,
            hard_memory_limit: 6_710_886,
            ..RunFrame::default()
        };
        assert_eq!(built, expected);
        let expected = [
            ("CUE3", "1"),
            ("CUE_CHUNK", "5"),
            ("CUE_FRAME", "0007-comp"),
            ("CUE_FRAME_ID", "Frame-ID"),
            ("CUE_GPUS", "1"),
            ("CUE_GPU_MEMORY", "2097152"),
            ("CUE_IFRAME", "7"),
            ("CUE_JOB", "show-shot-job"),
            ("CUE_JOB_ID", "JOB-id"),
            ("CUE_LAYER", "comp"),
            ("CUE_LAYER_ID", "LAYER-ID"),
            ("CUE_LOG_PATH", "/logs"),
            ("CUE_MEMORY", "4194304"),
            ("CUE_RANGE", "1-20"),
            ("CUE_SHOT", "shot"),
            ("CUE_SHOW", "show"),
            ("CUE_THREADABLE", "1"),
            ("CUE_THREADS", "2"),
            ("CUE_USER", "ada"),
        ];
        assert_eq!(environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn absent_values_stay_absent() {
        let launch = LayerLaunch { uid: None, os: None, is_threadable: false, ..layer() };
        let frame = build(&launch, &booked()).unwrap();
        assert_eq!((frame.uid_optional, frame.os.as_str(), frame.loki_url.as_str()), (None, "", ""));
        assert_eq!(frame.environment["CUE_THREADABLE"], "0");
    }

    #[test]
    fn a_fraction_of_a_core_is_one_thread() {
        let mut booked = booked();
        booked.reservation.cores = Cores(50);
        let frame = build(&layer(), &booked).unwrap();
        assert_eq!((frame.num_cores, frame.environment["CUE_THREADS"].as_str()), (50, "1"));
    }

    #[test]
    fn the_farms_variables_win_over_the_layers() {
        let environment = [("CUE_JOB", "mine"), ("LANG", "C")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let frame = build(&LayerLaunch { environment, ..layer() }, &booked()).unwrap();
        assert_eq!((frame.environment["CUE_JOB"].as_str(), frame.environment["LANG"].as_str()), ("show-shot-job", "C"));
    }

    #[test]
    fn tokens_are_replaced_everywhere_and_literally() {
        assert_eq!(
            command_of("#ZFRAME# #IFRAME# #FRAME_START# #FRAME_END# #FRAME_CHUNK# #LAYER# #JOB# #FRAMESPEC# #FRAME#"),
            "0007 7 7 11 5 comp show-shot-job 7-11 0007-comp"
        );
        assert_eq!(command_of("#IFRAME##IFRAME# #iframe# #FRAME"), "77 #iframe# #FRAME");
        let names = LayerLaunch {
            layer_name: r"a$1\b#FRAME#".into(),
            job_name: "x#FRAME##LAYER#".into(),
            command: "#LAYER# #JOB#".into(),
            ..layer()
        };
        assert_eq!(build(&names, &booked()).unwrap().command, r"a$1\b0007-comp x0007-comp#LAYER#");
    }

    #[test]
    fn a_negative_frame_launches_by_its_stored_number() {
        let launch = LayerLaunch { range: "-10-10".into(), command: "#ZFRAME# #IFRAME# #FRAMESPEC#".into(), ..layer() };
        let booked = Booked { frame_name: "-005-comp".into(), frame_number: -5, ..booked() };
        assert_eq!(build(&launch, &booked).unwrap().command, "-005 -5 -5--1");
    }

    #[test]
    fn limits_come_from_the_layers_minimum_and_saturate() {
        let limits = |kib| {
            let frame = build(&LayerLaunch { memory: Kib(kib), ..layer() }, &booked()).unwrap();
            (frame.soft_memory_limit, frame.hard_memory_limit)
        };
        assert_eq!(limits(1), (1, 2));
        assert_eq!(limits(1_048_576), (1_677_721, 2_097_152));
        assert_eq!(limits(i64::MAX), (i64::MAX, i64::MAX));
        assert_eq!(limits(i64::MIN), (0, 0));
    }

    #[test]
    fn what_every_agent_would_refuse_is_named() {
        for uid in [0, -1, i32::MIN] {
            let refused = build(&LayerLaunch { uid: Some(uid), ..layer() }, &booked());
            assert_eq!(refused, Err(RunFrameProblem::Uid { uid }));
        }
        for centicores in [0, -100, i64::MAX, i64::MIN] {
            let mut booked = booked();
            booked.reservation.cores = Cores(centicores);
            assert_eq!(build(&layer(), &booked), Err(RunFrameProblem::Cores { centicores }));
        }
        for gpus in [-1, i64::MAX] {
            let mut booked = booked();
            booked.reservation.gpus = Gpus(gpus);
            assert_eq!(build(&layer(), &booked), Err(RunFrameProblem::Gpus { gpus }));
        }
        for chunk_size in [0, -1] {
            let refused = build(&LayerLaunch { chunk_size, ..layer() }, &booked());
            assert_eq!(refused, Err(RunFrameProblem::ChunkSize { layer: "comp".into(), chunk_size }));
        }
        let large = LayerLaunch { command: "x".repeat(MESSAGE_BYTES_MAX), ..layer() };
        assert_eq!(build(&large, &booked()), Err(RunFrameProblem::TooLarge));
        let steps = (1..=100_000_i64).map(|n| (n * n % 7 + n * 10).to_string()).collect::<Vec<_>>().join(",");
        let long = LayerLaunch {
            range: format!("7,{steps}"),
            chunk_size: i32::MAX,
            command: "#FRAMESPEC#".repeat(10_000),
            ..layer()
        };
        assert_eq!(build(&long, &booked()), Err(RunFrameProblem::TooLarge));
    }

    #[test]
    fn fuzz_run_frames_are_bounded_and_read_back() {
        let pieces = [
            "render ",
            "#IFRAME#",
            "#ZFRAME#",
            "#FRAME#",
            "#LAYER#",
            "#JOB#",
            "#FRAMESPEC#",
            "#FRAME_START#",
            "#",
            "$1",
            "\\",
            "\0",
            "\n",
            "\u{1f3ac}",
            "1-10",
            ",",
            "x2",
            "CUE_JOB",
            "",
        ];
        fuzz(20_000, |random| {
            let mut text = || text_of(random, &pieces, 8);
            let (names, environment) = ([text(), text(), text(), text()], BTreeMap::from([(text(), text())]));
            let mut command = text();
            let ranges = ["1-20", "1-2000000000", "-5--1", "7", "20-1x-3", "1-100:5", "1,7,7,2", "1-", &names[3]];
            let range = ranges[random.random_range(0..ranges.len())].to_owned();
            if random.random_ratio(1, 500) {
                command = command.repeat(random.random_range(0..40_000));
            }
            let launch = LayerLaunch {
                layer_name: names[0].clone(),
                job_name: names[1].clone(),
                command,
                range,
                chunk_size: random.random_range(-1..3_000),
                memory: Kib(random.random()),
                uid: random.random_bool(0.5).then(|| random.random_range(-2..3)),
                environment,
                ..layer()
            };
            let number = random.random_range(-6..22);
            let mut booked = Booked { frame_name: names[2].clone(), frame_number: number, ..booked() };
            booked.reservation.cores = Cores(random.random_range(-1..400));
            match build(&launch, &booked) {
                Ok(frame) => {
                    assert!(frame.encoded_len() <= MESSAGE_BYTES_MAX && frame.num_cores > 0 && frame.num_gpus >= 0);
                    assert!(frame.soft_memory_limit >= 0 && frame.hard_memory_limit >= frame.soft_memory_limit);
                    assert_eq!(frame.environment["CUE_IFRAME"], number.to_string(), "{launch:?}");
                    assert_eq!(RunFrame::decode(frame.encode_to_vec().as_slice()), Ok(frame), "{launch:?}");
                }
                Err(problem) => {
                    let lengths = launch.layer_name.len() + 4 * launch.range.len();
                    assert!(problem.to_string().len() < 600 + 4 * lengths, "{launch:?}");
                }
            }
        });
    }

    #[test]
    fn an_error_names_the_frame_and_what_to_change() {
        let at = Timestamp::UNIX_EPOCH;
        for (range, expected) in [
            (
                "1-x",
                "frame 0007-comp of job show-shot-job cannot be launched: the range \"1-x\" of layer comp does not serve it; correct layer.str_range: \"1-x\" is no frame range; a section is N, A-B, A-BxS, A-ByS or A-B:S, without blanks",
            ),
            (
                "8-20",
                "frame 0007-comp of job show-shot-job cannot be launched: the range \"8-20\" of layer comp does not serve it; correct layer.str_range: frame 7 is not in its layer's range",
            ),
        ] {
            let launch = LayerLaunch { range: range.into(), ..layer() };
            let error = build_run_frame(&launch, &booked(), at, &MemoryLimitFactors::default()).unwrap_err();
            assert_eq!(crate::telemetry::error_chain(&error), expected);
        }
    }

    #[test]
    fn any_moment_has_milliseconds() {
        let first = time::Date::MIN.midnight().assume_utc();
        assert!(milliseconds(first) < 0);
        assert_eq!(milliseconds(Timestamp::UNIX_EPOCH), 0);
    }
}
