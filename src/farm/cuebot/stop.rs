//! The first transaction of an ended run: the frame leaves RUNNING and its proc holds nothing more.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row as _, query};

use super::next_state::{End, next_state};

/// A run that an agent says has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) frame: String,
    pub(super) proc: String,
    pub(super) exit_status: i64,
    pub(super) exit_signal: i64,
    pub(super) run_seconds: i64,
    /// Highest memory in KiB.
    pub(super) memory: i64,
}

/// A run that left RUNNING, for the totals of its layer and job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) layer: String,
    pub(super) job: String,
    /// The frame's state now.
    pub(super) state: String,
    pub(super) is_success: bool,
    pub(super) seconds: i64,
    pub(super) centicores: i64,
    pub(super) gpus: i64,
    pub(super) memory: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stopped {
    pub(super) runs: Vec<Run>,
    /// Procs that run nothing any more.
    pub(super) procs: Vec<String>,
    /// Of these, the ones whose frame ended so that the next of its job may follow.
    pub(super) may_go_on: Vec<String>,
    /// Reports that were not applied.
    pub(super) superseded: usize,
}

/// Longest failed run that is tried again, in seconds, by generation.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunLimit(pub(super) i64);

/// Stops the frames of reported runs that are still this run's.
pub(super) async fn stop_reported(pool: &PgPool, limit: RunLimit, ended: &[&Ended]) -> Result<Stopped, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let found = find(&mut tx, ended.iter().map(|run| (run.proc.as_str(), run.frame.as_str())), 0.0).await?;
    let mut stopped = Stopped::default();
    let mut stops = Vec::new();
    let mut clears = Vec::new();
    for run in ended {
        let verdict = found.verdict(&run.proc, &run.frame);
        if verdict == Verdict::Superseded {
            stopped.superseded += 1;
            if found.holds_nothing(&run.proc) {
                stopped.procs.push(run.proc.clone());
            }
            continue;
        }
        if verdict != Verdict::ProcGone {
            clears.push((run.proc.as_str(), run.frame.as_str()));
        }
        if let Some(frame) = found.frames.get(run.frame.as_str()).filter(|frame| frame.is_running()) {
            let end = End {
                exit_status: run.exit_status,
                exit_signal: run.exit_signal,
                run_seconds: run.run_seconds,
                retries: frame.retries,
                retries_max: frame.retries_max,
                is_auto_eat: frame.is_auto_eat,
                run_seconds_max: limit.0,
            };
            let stop = Stop { frame, state: next_state(&end), exit_status: run.exit_status, memory: run.memory };
            if matches!(stop.state, "SUCCEEDED" | "WAITING") && !is_out_of_line(run.exit_status) {
                stopped.may_go_on.push(run.proc.clone());
            }
            stops.push(stop);
        } else {
            stopped.superseded += 1;
        }
    }
    stopped.runs = write(&mut tx, &stops).await?;
    let cleared = clear(&mut tx, &clears).await?;
    tx.commit().await?;
    stopped.may_go_on.retain(|proc| cleared.contains(proc));
    stopped.procs.extend(cleared);
    Ok(stopped)
}

/// A run that nobody will report any more, and what its frame becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) frame: String,
    /// `None`: the frame has no proc.
    pub(super) proc: Option<String>,
    pub(super) state: &'static str,
    pub(super) exit_status: i64,
}

/// Stops the frames of lost runs, unless they were heard of meanwhile: a proc by a report within the
/// last `silent_seconds`, a frame by getting a proc.
pub(super) async fn stop_lost(pool: &PgPool, lost: &[Lost], silent_seconds: f64) -> Result<Stopped, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let runs = lost.iter().map(|run| (run.proc.as_deref().unwrap_or_default(), run.frame.as_str()));
    let found = find(&mut tx, runs, silent_seconds).await?;
    let mut stops = Vec::new();
    let mut clears = Vec::new();
    for run in lost {
        let Some(frame) = found.frames.get(run.frame.as_str()) else { continue };
        match &run.proc {
            Some(proc) if found.verdict(proc, &run.frame) == Verdict::Holds && found.is_stale(proc) => {
                clears.push((proc.as_str(), run.frame.as_str()));
            }
            None if !found.holders.contains_key(&run.frame) => {}
            _ => continue,
        }
        if frame.is_running() {
            stops.push(Stop { frame, state: run.state, exit_status: run.exit_status, memory: 0 });
        }
    }
    let frames: Vec<&str> = stops.iter().map(|stop| stop.frame.id.as_str()).collect();
    let statement = query(include_str!("../sql/cuebot_stop_checkpoints.sql"));
    statement.bind(&frames).execute(&mut *tx).await?;
    let runs = write(&mut tx, &stops).await?;
    let procs = clear(&mut tx, &clears).await?.into_iter().collect();
    tx.commit().await?;
    Ok(Stopped { runs, procs, ..Stopped::default() })
}

/// Ends after which Cuebot does not feed the proc the next frame.
fn is_out_of_line(exit_status: i64) -> bool {
    matches!(exit_status, 256 | 33 | 137)
}

/// The frames of reports, held by this transaction, and the procs that concern them.
struct Found {
    frames: HashMap<String, Frame>,
    /// By proc: the frame that it holds.
    procs: HashMap<String, Proc>,
    /// By frame: the proc that holds it.
    holders: HashMap<String, String>,
}

struct Frame {
    id: String,
    layer: String,
    job: String,
    state: String,
    version: Option<i32>,
    retries: i64,
    retries_max: i64,
    is_auto_eat: bool,
}

struct Proc {
    frame: Option<String>,
    is_stale: bool,
}

/// Whether a report is about the run that the rows mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Holds,
    /// The proc is gone, but the frame still runs and nothing else holds it.
    ProcGone,
    Superseded,
}

impl Frame {
    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("pk_frame")?,
            layer: row.try_get("pk_layer")?,
            job: row.try_get("pk_job")?,
            state: row.try_get("str_state")?,
            version: row.try_get("int_version")?,
            retries: row.try_get("int_retries")?,
            retries_max: row.try_get("int_max_retries")?,
            is_auto_eat: row.try_get("b_autoeat")?,
        })
    }

    fn is_running(&self) -> bool {
        self.state == "RUNNING"
    }
}

impl Found {
    fn verdict(&self, proc: &str, frame: &str) -> Verdict {
        match self.procs.get(proc) {
            Some(held) if held.frame.as_deref() == Some(frame) => Verdict::Holds,
            Some(_) => Verdict::Superseded,
            None => {
                let is_running = self.frames.get(frame).is_some_and(Frame::is_running);
                if is_running && !self.holders.contains_key(frame) { Verdict::ProcGone } else { Verdict::Superseded }
            }
        }
    }

    fn holds_nothing(&self, proc: &str) -> bool {
        self.procs.get(proc).is_some_and(|held| held.frame.is_none())
    }

    fn is_stale(&self, proc: &str) -> bool {
        self.procs.get(proc).is_some_and(|held| held.is_stale)
    }
}

/// Takes the frames and then looks at the procs, in that order.
async fn find<'a>(
    connection: &mut PgConnection,
    runs: impl Iterator<Item = (&'a str, &'a str)>,
    silent_seconds: f64,
) -> Result<Found, sqlx::Error> {
    let (procs, frames): (Vec<&str>, Vec<&str>) = runs.unzip();
    let statement = query(include_str!("../sql/cuebot_lock_frames.sql")).bind(&frames);
    let rows = statement.fetch_all(&mut *connection).await?;
    let taken = rows.iter().map(Frame::of).collect::<Result<Vec<_>, _>>()?;
    let statement = query(include_str!("../sql/cuebot_procs_of.sql")).bind(&procs).bind(&frames).bind(silent_seconds);
    let mut found = Found {
        frames: taken.into_iter().map(|frame| (frame.id.clone(), frame)).collect(),
        procs: HashMap::new(),
        holders: HashMap::new(),
    };
    for row in statement.fetch_all(&mut *connection).await? {
        let (proc, frame): (String, Option<String>) = (row.try_get("pk_proc")?, row.try_get("pk_frame")?);
        if let Some(frame) = &frame {
            found.holders.insert(frame.clone(), proc.clone());
        }
        found.procs.insert(proc, Proc { frame, is_stale: row.try_get("is_stale")? });
    }
    Ok(found)
}

struct Stop<'a> {
    frame: &'a Frame,
    state: &'static str,
    exit_status: i64,
    memory: i64,
}

async fn write(connection: &mut PgConnection, stops: &[Stop<'_>]) -> Result<Vec<Run>, sqlx::Error> {
    if stops.is_empty() {
        return Ok(Vec::new());
    }
    let layers: BTreeSet<&str> = stops.iter().map(|stop| stop.frame.layer.as_str()).collect();
    let jobs: BTreeSet<&str> = stops.iter().map(|stop| stop.frame.job.as_str()).collect();
    let statement = query(include_str!("../sql/cuebot_lock_layer_stats.sql"));
    statement.bind(layers.into_iter().collect::<Vec<_>>()).execute(&mut *connection).await?;
    let statement = query(include_str!("../sql/cuebot_lock_job_stats.sql"));
    statement.bind(jobs.into_iter().collect::<Vec<_>>()).execute(&mut *connection).await?;
    let statement = query(include_str!("../sql/cuebot_stop_frames.sql"))
        .bind(stops.iter().map(|stop| stop.frame.id.as_str()).collect::<Vec<_>>())
        .bind(stops.iter().map(|stop| stop.frame.version).collect::<Vec<_>>())
        .bind(stops.iter().map(|stop| stop.state).collect::<Vec<_>>())
        .bind(stops.iter().map(|stop| stop.exit_status).collect::<Vec<_>>())
        .bind(stops.iter().map(|stop| stop.memory).collect::<Vec<_>>());
    let exits: HashMap<&str, i64> = stops.iter().map(|stop| (stop.frame.id.as_str(), stop.exit_status)).collect();
    let rows = statement.fetch_all(&mut *connection).await?;
    rows.iter()
        .map(|row| {
            let frame: &str = row.try_get("pk_frame")?;
            Ok(Run {
                layer: row.try_get("pk_layer")?,
                job: row.try_get("pk_job")?,
                state: row.try_get("str_state")?,
                is_success: exits.get(frame) == Some(&0),
                seconds: row.try_get("seconds")?,
                centicores: row.try_get("int_cores")?,
                gpus: row.try_get("int_gpus")?,
                memory: row.try_get("memory")?,
            })
        })
        .collect()
}

/// Takes the frames off procs that hold them; returns the procs.
pub(super) async fn clear(
    connection: &mut PgConnection,
    pairs: &[(&str, &str)],
) -> Result<HashSet<String>, sqlx::Error> {
    if pairs.is_empty() {
        return Ok(HashSet::new());
    }
    let (procs, frames): (Vec<&str>, Vec<&str>) = pairs.iter().copied().unzip();
    let statement = query(include_str!("../sql/cuebot_clear_procs.sql")).bind(procs).bind(frames);
    let rows = statement.fetch_all(&mut *connection).await?;
    rows.iter().map(|row| row.try_get("pk_proc")).collect()
}
