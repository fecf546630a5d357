//! From a started frame to one that runs: the message to its agent, out of the rows, and what becomes of
//! a booking whose agent says no. Both are Cuebot's own, so that what the scheduler sends and takes back
//! is measured against something else than itself.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _, query};

use super::release::{Held, release_held};
use super::shared::Shared;
use crate::model::FrameId;
use crate::rqd::proto::rqd::RunFrame;
use crate::rqd::proto::rqd::run_frame::UidOptional;
use crate::rqd::{Agents, LaunchOutcome};

/// A waiting frame as it was read, and what it is to run with.
pub(super) struct Start {
    pub(super) frame: String,
    pub(super) version: i32,
    host_name: String,
    pub(super) held: Held,
}

impl Start {
    pub(super) fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            frame: row.try_get("pk_frame")?,
            version: row.try_get("int_version")?,
            host_name: row.try_get("host_name")?,
            held: Held {
                cores: row.try_get("int_cores")?,
                memory: row.try_get("int_mem")?,
                gpus: row.try_get("int_gpus")?,
                gpu_memory: row.try_get("int_gpu_mem")?,
            },
        })
    }

    /// `false`: the frame is not the one any more that was read.
    pub(super) async fn write(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let statement = query(include_str!("../sql/cuebot_start_frame.sql"))
            .bind(&self.frame)
            .bind(self.version)
            .bind(&self.host_name)
            .bind(self.held.cores)
            .bind(self.held.memory)
            .bind(self.held.gpus)
            .bind(self.held.gpu_memory);
        Ok(statement.execute(connection).await?.rows_affected() == 1)
    }
}

/// A frame that was started and is to be launched.
pub(super) struct Launch {
    host: String,
    version: i32,
    message: RunFrame,
}

impl Launch {
    /// As the transaction sees it that has put the frame on the proc.
    pub(super) async fn read(connection: &mut PgConnection, proc: &str) -> Result<Self, sqlx::Error> {
        let row = query(include_str!("../sql/cuebot_launch.sql")).bind(proc).fetch_one(&mut *connection).await?;
        let statement = query(include_str!("../sql/cuebot_launch_environment.sql"));
        let statement = statement.bind(row.try_get::<&str, _>("pk_job")?).bind(row.try_get::<&str, _>("pk_layer")?);
        let variables = statement.fetch_all(connection).await?;
        let environment = variables.iter().map(|row| Ok((row.try_get("str_key")?, row.try_get("str_value")?)));
        Ok(Self {
            host: row.try_get("host_name")?,
            version: row.try_get("int_version")?,
            message: message(&row, proc, environment.collect::<Result<_, sqlx::Error>>()?)?,
        })
    }

    /// Launches. What certainly does not run goes back to the queue: first the proc, then, in a
    /// transaction of its own, the frame. What may run is left to the reports and the sweep.
    pub(super) async fn go(self, shared: &Shared, agents: &Agents) {
        let (proc, frame) = (self.message.resource_id.clone(), self.message.frame_id.clone());
        let outcome = agents.launch(&self.host, self.message).await;
        if matches!(outcome, LaunchOutcome::Launched | LaunchOutcome::Unknown(_)) {
            return;
        }
        tracing::debug!(proc, outcome = outcome.into_str(), "Cuebot's launch failed");
        let given_back = async {
            release_held(&shared.pool, shared.generation, &proc, &frame).await?;
            clear(shared, &frame, self.version).await
        };
        match given_back.await {
            Ok(true) => {
                shared.count(|counts| counts.kills += 1);
                let _ = agents.kill(&self.host, &FrameId::new(frame), "Cuebot could not launch this frame").await;
            }
            Ok(false) => {}
            Err(error) => tracing::debug!(proc, %error, "could not take a launch back"),
        }
    }
}

/// Puts a frame back that has no proc. `false`: it has changed since it had the version.
pub(super) async fn clear(shared: &Shared, frame: &str, version: i32) -> Result<bool, sqlx::Error> {
    let statement = query(include_str!("../sql/cuebot_clear_frame.sql")).bind(frame).bind(version);
    Ok(statement.execute(&shared.pool).await?.rows_affected() == 1)
}

fn message(row: &PgRow, proc: &str, variables: BTreeMap<String, String>) -> Result<RunFrame, sqlx::Error> {
    let text = |column| row.try_get::<String, _>(column);
    let memory: i64 = row.try_get("int_mem_min")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(RunFrame {
        resource_id: proc.to_owned(),
        job_id: text("pk_job")?,
        job_name: text("job_name")?,
        frame_id: text("pk_frame")?,
        frame_name: text("frame_name")?,
        layer_id: text("pk_layer")?,
        command: command(row)?,
        user_name: text("str_user")?,
        uid_optional: row.try_get::<Option<i32>, _>("int_uid")?.map(UidOptional::Uid),
        log_dir: text("str_log_dir")?,
        show: text("str_show")?,
        shot: text("str_shot")?,
        start_time: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
        num_cores: row.try_get("int_cores")?,
        num_gpus: row.try_get("int_gpus")?,
        os: text("str_os")?,
        soft_memory_limit: memory * 8 / 5,
        hard_memory_limit: memory * 2,
        loki_url: text("str_loki_url")?,
        environment: environment(row, variables)?,
        ..RunFrame::default()
    })
}

fn environment(row: &PgRow, mut variables: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, sqlx::Error> {
    for (name, column) in [
        ("CUE_LOG_PATH", "str_log_dir"),
        ("CUE_RANGE", "str_range"),
        ("CUE_LAYER", "layer_name"),
        ("CUE_JOB", "job_name"),
        ("CUE_FRAME", "frame_name"),
        ("CUE_SHOW", "str_show"),
        ("CUE_SHOT", "str_shot"),
        ("CUE_USER", "str_user"),
        ("CUE_JOB_ID", "pk_job"),
        ("CUE_LAYER_ID", "pk_layer"),
        ("CUE_FRAME_ID", "pk_frame"),
    ] {
        variables.insert(name.to_owned(), row.try_get(column)?);
    }
    let numbers = [
        ("CUE3", 1),
        ("CUE_THREADS", i64::from(row.try_get::<i32, _>("int_cores")? / 100).max(1)),
        ("CUE_MEMORY", row.try_get("int_mem")?),
        ("CUE_GPUS", row.try_get::<i32, _>("int_gpus")?.into()),
        ("CUE_GPU_MEMORY", row.try_get("int_gpu_mem")?),
        ("CUE_CHUNK", row.try_get::<i32, _>("int_chunk_size")?.into()),
        ("CUE_IFRAME", row.try_get::<i32, _>("int_number")?.into()),
        ("CUE_THREADABLE", row.try_get::<bool, _>("b_threadable")?.into()),
    ];
    variables.extend(numbers.map(|(name, number)| (name.to_owned(), number.to_string())));
    Ok(variables)
}

/// The command with its tokens replaced, one after the other, as Cuebot goes over them.
fn command(row: &PgRow) -> Result<String, sqlx::Error> {
    let (number, chunk): (i32, i32) = (row.try_get("int_number")?, row.try_get("int_chunk_size")?);
    let end = (number + chunk - 1).min(last_of(row.try_get("str_range")?)).max(number);
    let tokens = [
        ("#ZFRAME#", format!("{number:04}")),
        ("#IFRAME#", number.to_string()),
        ("#FRAME_START#", number.to_string()),
        ("#FRAME_END#", end.to_string()),
        ("#FRAME_CHUNK#", chunk.to_string()),
        ("#LAYER#", row.try_get("layer_name")?),
        ("#JOB#", row.try_get("job_name")?),
        ("#FRAMESPEC#", if end == number { number.to_string() } else { format!("{number}-{end}") }),
        ("#FRAME#", row.try_get("frame_name")?),
    ];
    let command = row.try_get::<String, _>("str_cmd")?;
    Ok(tokens.iter().fold(command, |command, (token, text)| command.replace(token, text)))
}

/// The last number of `A-B` or `A`, the ranges of a seeded farm; of any other range a frame is a chunk by
/// itself.
fn last_of(range: &str) -> i32 {
    let hyphen = range.char_indices().skip(1).find(|(_, letter)| *letter == '-');
    let last = hyphen.map_or(range, |(at, _)| &range[at + 1..]);
    last.parse().unwrap_or(i32::MIN)
}
