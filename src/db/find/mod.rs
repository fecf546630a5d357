//! Looking things up by the name that a person types.

pub(super) mod counts;
mod depends;
pub(super) mod held;
pub(super) mod ledger;
pub(super) mod names;
pub(super) mod work;

use sqlx::FromRow;

use super::read::frames::{AT_ONCE, NOT_OWN};
use super::row::whole;
use super::{Problem, Result, Row, Rows, Source as _, Statement, Store};
use crate::model::{FrameId, HostId, JobId, LayerId, ProcId, ShowId};
use crate::units::Amounts;
use ledger::SILENT_AFTER;

/// Most matches that a search returns.
const MATCHES_MAX: i64 = 21;
/// What is only told beside the answer to a question is not waited for longer.
const FAILURES_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);

/// What a name leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Match<T> {
    One(T),
    /// Several begin like it; the search stops at a few.
    Several(Vec<T>),
    None,
}

/// How many frames are in each state, as the counters say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, FromRow)]
pub struct FrameCounts {
    pub waiting: i64,
    pub running: i64,
    /// Waiting for other work.
    pub depend: i64,
    pub dead: i64,
    pub eaten: i64,
    pub succeeded: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct FoundJob {
    pub id: JobId,
    pub name: String,
    pub show: String,
    /// `job.str_state`, as Cuebot names it.
    pub state: String,
    #[sqlx(flatten)]
    pub frames: FrameCounts,
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct FoundLayer {
    pub id: LayerId,
    pub name: String,
    pub job: JobId,
    pub job_name: String,
    pub job_state: String,
    pub show: String,
    /// `layer.str_tags` as it is stored.
    pub tags: String,
    #[sqlx(flatten)]
    pub frames: FrameCounts,
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct FoundFrame {
    pub id: FrameId,
    pub name: String,
    #[sqlx(try_from = "i64")]
    pub number: i32,
    /// `frame.str_state`, as Cuebot names it.
    pub state: String,
    pub layer: LayerId,
    pub layer_name: String,
    pub job: JobId,
    pub job_name: String,
    pub job_state: String,
    pub show: String,
    /// Where it runs, or ran last.
    pub host: Option<String>,
    /// What holds something for it; as a rule only while it runs.
    #[sqlx(skip)]
    pub proc: Option<FoundProc>,
    /// Dependencies that are not met.
    pub depend_count: i64,
    pub exit_status: i64,
    pub retries: i64,
    /// Since its last run failed, of a waiting frame that failed a few minutes ago by its own doing.
    pub failed_seconds: Option<i64>,
}

/// The booking of a frame.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct FoundProc {
    #[sqlx(rename = "proc")]
    pub id: ProcId,
    #[sqlx(flatten)]
    pub reserved: Amounts,
    /// Since its last sign of life: a report that named it, or else its booking.
    pub sign_seconds: i64,
    /// A report has named it.
    pub is_reported: bool,
    /// Its host's report should have named it long since.
    pub is_silent: bool,
    /// Since its host's last report.
    pub report_seconds: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct FoundHost {
    pub id: HostId,
    pub name: String,
}

/// What procs on one host have a frame for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostProcs {
    /// What runs, by layer.
    pub running: Vec<RunningOn>,
    /// What runs no more, or should not.
    pub others: Vec<HeldProc>,
}

/// Frames of one layer that run on one host.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RunningOn {
    pub job: String,
    pub layer: String,
    pub frames: i64,
    /// By all of them.
    #[serde(flatten)]
    pub reserved: Amounts,
    /// Since the oldest last sign of life among them.
    pub last_sign_seconds: i64,
}

/// A proc that is silent, or whose frame is not RUNNING.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, FromRow)]
pub struct HeldProc {
    pub proc: ProcId,
    pub show_id: Option<ShowId>,
    pub job: String,
    pub frame: String,
    /// `frame.str_state`, as Cuebot names it.
    pub frame_state: String,
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub reserved: Amounts,
    /// Since its last sign of life.
    pub silent_seconds: i64,
}

impl Store {
    /// A job by its name, its id, or, while it is pending, the beginning of its name.
    pub async fn find_job(&self, text: &str) -> Result<Match<FoundJob>> {
        let statement = by_name("looking for a job", include_str!("../sql/find_jobs.sql"), text);
        Ok(match matching(&self.rows(statement).await?, whole::<FoundJob>) {
            // Jobs that are over keep their names; the pending one, or else the last one, is meant.
            Match::Several(mut jobs) if jobs.iter().all(|job| job.name == text) => Match::One(jobs.swap_remove(0)),
            found => found,
        })
    }

    /// A layer by its id, or, while its job is pending, by the beginning of its name, or of `job/layer`.
    pub async fn find_layer(&self, text: &str) -> Result<Match<FoundLayer>> {
        let (job, layer) = text.rsplit_once('/').map_or((None, text), |(job, layer)| (Some(job), layer));
        let statement = Statement::new("looking for a layer", include_str!("../sql/find_layers.sql"))
            .bind(text)
            .bind(beginning(job.unwrap_or_default()))
            .bind(beginning(layer))
            .bind(job)
            .bind(layer)
            .bind(MATCHES_MAX);
        Ok(matching(&self.rows(statement).await?, whole))
    }

    /// A frame by its id, or, while its job is pending, by the beginnings of `job/frame`.
    pub async fn find_frame(&self, text: &str) -> Result<Match<FoundFrame>> {
        let (job, frame) = text.rsplit_once('/').map_or((None, text), |(job, frame)| (Some(job), frame));
        let statement = Statement::new("looking for a frame", include_str!("../sql/find_frames.sql"))
            .bind(text)
            .bind(job.map(beginning))
            .bind(beginning(frame))
            .bind(job)
            .bind(frame)
            .bind(MATCHES_MAX)
            .bind(SILENT_AFTER.as_secs_f64())
            .bind(NOT_OWN.to_vec());
        Ok(matching(&self.rows(statement).await?, decode_frame))
    }

    /// A host by its name, its id, or the beginning of its name.
    pub async fn find_host(&self, text: &str) -> Result<Match<FoundHost>> {
        let statement = by_name("looking for a host", include_str!("../sql/find_hosts.sql"), text);
        Ok(matching(&self.rows(statement).await?, whole))
    }

    /// Names of pending jobs of which frames failed on a host at once a few minutes ago. Given up when it takes long.
    pub async fn load_failures_on(&self, host_name: &str) -> Result<Vec<String>> {
        let statement = Statement::new("reading what failed on a host", include_str!("../sql/failures_on_host.sql"))
            .bind(host_name)
            .bind(NOT_OWN.to_vec())
            .bind(AT_ONCE.as_secs_f64())
            .bind(MATCHES_MAX);
        Ok(self.rows_within(FAILURES_LIMIT, statement).await?.readable(|row| row.text("name")))
    }

    /// All layers of a job, in dispatch order.
    pub async fn load_layers_of(&self, job: &JobId) -> Result<Vec<FoundLayer>> {
        let statement =
            Statement::new("reading the layers of a job", include_str!("../sql/layers_of_job.sql")).bind(job.as_str());
        Ok(self.rows(statement).await?.readable(whole))
    }

    /// What procs on a host have a frame for.
    pub async fn load_procs_on(&self, host: &HostId) -> Result<HostProcs> {
        let statement = Statement::new("reading what runs on a host", include_str!("../sql/procs_on_host.sql"))
            .bind(host.as_str())
            .bind(SILENT_AFTER.as_secs_f64());
        let mut procs = HostProcs::default();
        for (proc, layer, is_silent) in self.rows(statement).await?.readable::<_, Vec<_>>(decode_proc) {
            if is_silent || proc.frame_state != "RUNNING" {
                procs.others.push(proc);
                continue;
            }
            match procs.running.last_mut().filter(|last| last.job == proc.job && last.layer == layer) {
                Some(last) => {
                    last.frames += 1;
                    last.reserved += proc.reserved;
                    last.last_sign_seconds = last.last_sign_seconds.max(proc.silent_seconds);
                }
                None => procs.running.push(RunningOn {
                    job: proc.job,
                    layer,
                    frames: 1,
                    reserved: proc.reserved,
                    last_sign_seconds: proc.silent_seconds,
                }),
            }
        }
        Ok(procs)
    }
}

/// A row that cannot be read is no match. Exact matches come first, and leave no others.
fn matching<T>(rows: &Rows, decode: impl Fn(&Row<'_>) -> Result<T, Problem>) -> Match<T> {
    let mut found: Vec<(T, bool)> = rows.readable(|row| Ok((decode(row)?, row.get("is_exact")?)));
    let exact = found.iter().filter(|(_, is_exact)| *is_exact).count();
    if exact > 0 {
        found.truncate(exact);
    }
    let mut found: Vec<T> = found.into_iter().map(|(one, _)| one).collect();
    match found.len() {
        0 => Match::None,
        1 => found.pop().map_or(Match::None, Match::One),
        _ => Match::Several(found),
    }
}

fn by_name(step: &'static str, sql: &'static str, text: &str) -> Statement<'static> {
    Statement::new(step, sql).bind(text).bind(beginning(text)).bind(MATCHES_MAX)
}

/// The pattern of texts that begin with this one.
fn beginning(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_") + "%"
}

fn decode_frame(row: &Row<'_>) -> Result<FoundFrame, Problem> {
    let proc = row.get::<Option<ProcId>>("proc")?.map(|_| whole(row)).transpose()?;
    Ok(FoundFrame { proc, ..whole(row)? })
}

/// A proc, its layer, and whether it is silent.
fn decode_proc(row: &Row<'_>) -> Result<(HeldProc, String, bool), Problem> {
    Ok((whole(row)?, row.text("layer")?, row.get("is_silent")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_in_names_are_letters() {
        assert_eq!(beginning("a_b%\\"), "a\\_b\\%\\\\%");
        assert_eq!(beginning(""), "%");
    }
}
