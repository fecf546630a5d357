//! What counters and links of layers say, beside what there is.

use sqlx::FromRow;

use crate::db::row::whole;
use crate::db::{Result, Source, Statement, Store};
use crate::model::{JobId, LayerId, LimitId, ShowId};

/// A layer's counter of waiting frames and its job's, beside the frames.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct LayerCount {
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

impl LayerCount {
    pub const fn is_right(&self) -> bool {
        self.count == self.frames
    }

    /// Frames that can be booked, whatever the counter says.
    pub const fn bookable(&self) -> i64 {
        self.frames - self.held
    }
}

/// A layer that is bound to a limit that is gone.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct DeletedLimit {
    pub job_name: String,
    pub layer: LayerId,
    pub layer_name: String,
    pub limit: LimitId,
}

impl Store {
    /// The counters of waiting frames of some jobs' layers, all of one moment.
    pub async fn load_waiting_counts(&self, jobs: &[JobId]) -> Result<Vec<LayerCount>> {
        waiting_counts(self, jobs, &[]).await
    }

    /// Layers of a job that are bound to limits that are gone.
    pub async fn load_deleted_limits(&self, job: &JobId) -> Result<Vec<DeletedLimit>> {
        deleted_limits(self, std::slice::from_ref(job), &[]).await
    }
}

/// All counters of some jobs' layers, or those that are wrong, of the pending jobs of some shows.
pub(crate) async fn waiting_counts(source: impl Source, jobs: &[JobId], shows: &[ShowId]) -> Result<Vec<LayerCount>> {
    let sql = include_str!("../sql/waiting_counts.sql");
    let statement = Statement::new("comparing counters with waiting frames", sql).texts(jobs).texts(shows);
    Ok(source.rows(statement.bind(jobs.is_empty())).await?.readable(whole))
}

/// Links to limits that are gone, of some jobs and of the pending jobs of some shows.
pub(crate) async fn deleted_limits(source: impl Source, jobs: &[JobId], shows: &[ShowId]) -> Result<Vec<DeletedLimit>> {
    let sql = include_str!("../sql/deleted_limits.sql");
    let statement = Statement::new("looking for deleted limits", sql).texts(jobs).texts(shows);
    Ok(source.rows(statement).await?.readable(whole))
}
