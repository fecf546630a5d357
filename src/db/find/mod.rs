//! Looking things up by the name that a person types.

pub(super) mod counts;
pub(super) mod held;
pub(super) mod ledger;
pub(super) mod names;

use super::row::AMOUNTS;
use super::{Problem, Row, Rows, Source as _, Statement, Store, StoreError};
use crate::model::{FrameId, HostId, JobId, LayerId, ProcId, ShowId};
use crate::units::Amounts;
use ledger::SILENT_AFTER;

/// Most matches that a search returns.
const MATCHES_MAX: i64 = 21;

/// What a name leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Match<T> {
    One(T),
    /// Several begin like it; the search stops at a few.
    Several(Vec<T>),
    None,
}

/// How many frames are in each state, as the counters say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct FrameCounts {
    pub waiting: i64,
    pub running: i64,
    /// Waiting for other work.
    pub depend: i64,
    pub dead: i64,
    pub eaten: i64,
    pub succeeded: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundJob {
    pub id: JobId,
    pub name: String,
    pub show: String,
    /// `job.str_state`, as Cuebot names it.
    pub state: String,
    pub frames: FrameCounts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLayer {
    pub id: LayerId,
    pub name: String,
    pub job: JobId,
    pub job_name: String,
    pub job_state: String,
    pub show: String,
    pub frames: FrameCounts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFrame {
    pub id: FrameId,
    pub name: String,
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
    pub proc: Option<FoundProc>,
    /// Dependencies that are not met.
    pub depend_count: i64,
    pub exit_status: i64,
    pub retries: i64,
}

/// The booking of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundProc {
    pub id: ProcId,
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

#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HeldProc {
    pub proc: ProcId,
    pub show_id: Option<ShowId>,
    pub job: String,
    pub frame: String,
    /// `frame.str_state`, as Cuebot names it.
    pub frame_state: String,
    #[serde(flatten)]
    pub reserved: Amounts,
    /// Since its last sign of life.
    pub silent_seconds: i64,
}

impl Store {
    /// A job by its name, its id, or, while it is pending, the beginning of its name.
    pub async fn find_job(&self, text: &str) -> Result<Match<FoundJob>, StoreError> {
        let statement = by_name("looking for a job", include_str!("../sql/find_jobs.sql"), text);
        Ok(match matching(&self.rows(statement).await?, decode_job) {
            // Jobs that are over keep their names; the pending one, or else the last one, is meant.
            Match::Several(mut jobs) if jobs.iter().all(|job| job.name == text) => Match::One(jobs.swap_remove(0)),
            found => found,
        })
    }

    /// A layer by its id, or, while its job is pending, by the beginning of its name, or of `job/layer`.
    pub async fn find_layer(&self, text: &str) -> Result<Match<FoundLayer>, StoreError> {
        let (job, layer) = text.rsplit_once('/').map_or((None, text), |(job, layer)| (Some(job), layer));
        let statement = Statement::new("looking for a layer", include_str!("../sql/find_layers.sql"))
            .bind(text)
            .bind(beginning(job.unwrap_or_default()))
            .bind(beginning(layer))
            .bind(job)
            .bind(layer)
            .bind(MATCHES_MAX);
        Ok(matching(&self.rows(statement).await?, decode_layer))
    }

    /// A frame by its id, or, while its job is pending, by the beginnings of `job/frame`.
    pub async fn find_frame(&self, text: &str) -> Result<Match<FoundFrame>, StoreError> {
        let (job, frame) = text.rsplit_once('/').map_or((None, text), |(job, frame)| (Some(job), frame));
        let statement = Statement::new("looking for a frame", include_str!("../sql/find_frames.sql"))
            .bind(text)
            .bind(job.map(beginning))
            .bind(beginning(frame))
            .bind(job)
            .bind(frame)
            .bind(MATCHES_MAX)
            .bind(SILENT_AFTER.as_secs_f64());
        Ok(matching(&self.rows(statement).await?, decode_frame))
    }

    /// A host by its name, its id, or the beginning of its name.
    pub async fn find_host(&self, text: &str) -> Result<Match<FoundHost>, StoreError> {
        let statement = by_name("looking for a host", include_str!("../sql/find_hosts.sql"), text);
        let decode = |row: &Row<'_>| Ok(FoundHost { id: row.id("pk_host")?, name: row.text("str_name")? });
        Ok(matching(&self.rows(statement).await?, decode))
    }

    /// All layers of a job, in dispatch order.
    pub async fn load_layers_of(&self, job: &JobId) -> Result<Vec<FoundLayer>, StoreError> {
        let statement =
            Statement::new("reading the layers of a job", include_str!("../sql/layers_of_job.sql")).bind(job.as_str());
        Ok(self.rows(statement).await?.readable(decode_layer))
    }

    /// What procs on a host have a frame for.
    pub async fn load_procs_on(&self, host: &HostId) -> Result<HostProcs, StoreError> {
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
    let mut found: Vec<(T, bool)> = rows.readable(|row| Ok((decode(row)?, row.flag("is_exact")?)));
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
    let mut pattern = String::with_capacity(text.len() + 1);
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

fn decode_counts(row: &Row<'_>) -> Result<FrameCounts, Problem> {
    Ok(FrameCounts {
        waiting: row.counter("int_waiting_count")?,
        running: row.counter("int_running_count")?,
        depend: row.counter("int_depend_count")?,
        dead: row.counter("int_dead_count")?,
        eaten: row.counter("int_eaten_count")?,
        succeeded: row.counter("int_succeeded_count")?,
    })
}

fn decode_job(row: &Row<'_>) -> Result<FoundJob, Problem> {
    Ok(FoundJob {
        id: row.id("pk_job")?,
        name: row.text("str_name")?,
        show: row.text("show_name")?,
        state: row.text("str_state")?,
        frames: decode_counts(row)?,
    })
}

fn decode_layer(row: &Row<'_>) -> Result<FoundLayer, Problem> {
    Ok(FoundLayer {
        id: row.id("pk_layer")?,
        name: row.text("str_name")?,
        job: row.id("pk_job")?,
        job_name: row.text("job_name")?,
        job_state: row.text("job_state")?,
        show: row.text("show_name")?,
        frames: decode_counts(row)?,
    })
}

fn decode_frame(row: &Row<'_>) -> Result<FoundFrame, Problem> {
    let proc_host = row.text_or_null("proc_host")?;
    let proc = match row.text_or_null("pk_proc")? {
        None => None,
        Some(id) => Some(FoundProc {
            id: id.into(),
            reserved: row.amounts(AMOUNTS)?,
            sign_seconds: row.number("sign_seconds")?,
            is_reported: row.flag("is_reported")?,
            is_silent: row.flag("is_silent")?,
            report_seconds: row.number_or_null("report_seconds")?,
        }),
    };
    Ok(FoundFrame {
        id: row.id("pk_frame")?,
        name: row.text("str_name")?,
        number: row.small_number("int_number")?,
        state: row.text("str_state")?,
        layer: row.id("pk_layer")?,
        layer_name: row.text("layer_name")?,
        job: row.id("pk_job")?,
        job_name: row.text("job_name")?,
        job_state: row.text("job_state")?,
        show: row.text("show_name")?,
        // Cuebot writes the host with its cores and GPUs behind slashes.
        host: proc_host.or(row.text_or_null("str_host")?.and_then(|host| host.split('/').next().map(str::to_owned))),
        proc,
        depend_count: row.counter("int_depend_count")?,
        exit_status: row.number("int_exit_status")?,
        retries: row.number("int_retries")?,
    })
}

/// A proc, its layer, and whether it is silent.
fn decode_proc(row: &Row<'_>) -> Result<(HeldProc, String, bool), Problem> {
    let proc = HeldProc {
        proc: row.id("pk_proc")?,
        show_id: row.id_or_null("pk_show")?,
        job: row.text("job_name")?,
        frame: row.text("frame_name")?,
        frame_state: row.text("frame_state")?,
        reserved: row.amounts(AMOUNTS)?,
        silent_seconds: row.number("sign_seconds")?.max(0),
    };
    Ok((proc, row.text("layer_name")?, row.flag("is_silent")?))
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
