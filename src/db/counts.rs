//! What counters and links of layers say, beside what there is.

use super::row::{Columns, Problem};
use super::{Store, StoreError};
use crate::model::{JobId, LayerId, LimitId};

/// A layer's counter of waiting frames and its job's, beside the frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingCount {
    pub job: JobId,
    pub job_name: String,
    pub layer: LayerId,
    pub layer_name: String,
    /// What `layer_stat` says; below zero too.
    pub count: i64,
    /// Frames that are WAITING.
    pub frames: i64,
    /// Those of them that a proc holds: they may run still, and nobody books them.
    pub held: i64,
    /// What `job_stat` says of the whole job, and its frames that are WAITING.
    pub job_count: i64,
    pub job_frames: i64,
}

impl WaitingCount {
    #[must_use]
    pub const fn is_right(&self) -> bool {
        self.count == self.frames
    }

    /// Frames that can be booked, whatever the counter says.
    #[must_use]
    pub const fn bookable(&self) -> i64 {
        self.frames - self.held
    }
}

/// A layer that is bound to a limit that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedLimit {
    pub layer: LayerId,
    pub limit: LimitId,
}

impl Store {
    /// The counters of waiting frames of some jobs' layers, all of one moment.
    pub async fn load_waiting_counts(&self, jobs: &[JobId]) -> Result<Vec<WaitingCount>, StoreError> {
        let statement = sqlx::query(include_str!("sql/waiting_counts.sql"))
            .bind(jobs.iter().map(JobId::as_str).collect::<Vec<_>>())
            .bind(Vec::<&str>::new())
            .bind(false);
        let rows = self.rows("comparing counters with waiting frames", statement).await?;
        Ok(rows.iter().filter_map(|row| decode_count(&Columns(row)).ok()).collect())
    }

    /// Layers of a job that are bound to limits that are gone.
    pub async fn load_deleted_limits(&self, job: &JobId) -> Result<Vec<DeletedLimit>, StoreError> {
        let statement =
            sqlx::query(include_str!("sql/deleted_limits.sql")).bind(vec![job.as_str()]).bind(Vec::<&str>::new());
        let rows = self.rows("looking for deleted limits", statement).await?;
        Ok(rows.iter().filter_map(|row| decode_limit(&Columns(row)).ok()).collect())
    }
}

fn decode_count(row: &Columns<'_>) -> Result<WaitingCount, Problem> {
    Ok(WaitingCount {
        job: row.text("pk_job")?.into(),
        job_name: row.text("job_name")?,
        layer: row.text("pk_layer")?.into(),
        layer_name: row.text("layer_name")?,
        count: row.number("layer_count")?,
        frames: row.number("layer_frames")?,
        held: row.number("layer_held")?,
        job_count: row.number("job_count")?,
        job_frames: row.number("job_frames")?,
    })
}

fn decode_limit(row: &Columns<'_>) -> Result<DeletedLimit, Problem> {
    Ok(DeletedLimit { layer: row.text("pk_layer")?.into(), limit: row.text("pk_limit_record")?.into() })
}
