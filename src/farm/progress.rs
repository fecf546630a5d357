//! How far a farm's work is, for whoever watches.

use std::time::Duration;

use sqlx::PgPool;

/// One look at a farm under work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct FarmProgress {
    pub frames: u64,
    /// Waiting for a host, or for other frames.
    pub waiting: u64,
    pub running: u64,
    /// Succeeded, or given up by hand.
    pub done: u64,
    pub dead: u64,
    pub hosts: u64,
    /// Hosts with at least one proc.
    pub hosts_busy: u64,
    /// Bookings committed, launches that succeeded, since the scheduler started.
    pub booked: u64,
    pub launched: u64,
    #[serde(skip)]
    pub elapsed: Duration,
}

impl FarmProgress {
    /// Nothing waits and nothing runs.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.waiting == 0 && self.running == 0
    }

    /// Frames done per second since the start.
    #[must_use]
    pub fn frames_per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "display only")]
        let done = self.done as f64;
        done / self.elapsed.as_secs_f64().max(0.001)
    }
}

/// Reads the counters that the triggers keep; what the scheduler counts itself is left at 0.
///
/// # Errors
/// When the database cannot be read.
pub async fn load_progress(pool: &PgPool) -> Result<FarmProgress, sqlx::Error> {
    let row: (i64, i64, i64, i64, i64, i64, i64) =
        sqlx::query_as(include_str!("sql/progress.sql")).fetch_one(pool).await?;
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    Ok(FarmProgress {
        frames: count(row.0),
        waiting: count(row.1),
        running: count(row.2),
        done: count(row.3),
        dead: count(row.4),
        hosts: count(row.5),
        hosts_busy: count(row.6),
        ..FarmProgress::default()
    })
}

/// Somebody who is shown the progress: bars on a terminal, plain lines otherwise, or nobody.
pub trait Watcher: Send + Sync {
    /// A step of bringing the farm up or down begins.
    fn step(&self, sentence: &str);
    fn progress(&self, progress: &FarmProgress);
    /// The work is over; whatever is drawn is left as it is.
    fn finished(&self);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watcher for Unwatched {
    fn step(&self, _: &str) {}
    fn progress(&self, _: &FarmProgress) {}
    fn finished(&self) {}
}
