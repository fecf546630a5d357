//! A farm's rows out of a plain description, the same rows every time.
//!
//! [`FarmSpec`] says what there is, [`seed`] writes it into an empty Cuebot database of any
//! generation. Rows that triggers make (folder, job and layer companions) are changed, never
//! inserted; rows and counters that triggers do not make (points, host stats and tags, frame counts)
//! are written here. Keys follow from the description alone, so two farms of one description are
//! equal, and what a test saw once it sees again.
//!
//! Everything is written in sets, one statement per table: a farm of thousands of hosts and a hundred
//! thousand frames takes seconds.

mod demo;
mod error;
mod keys;
mod plan;
mod seeded;
mod spec;
mod write;

use sqlx::PgPool;

pub use error::SeedError;
pub use seeded::{
    Seeded, SeededAlloc, SeededDept, SeededFolder, SeededHost, SeededJob, SeededLayer, SeededLimit, SeededShow,
    SeededSubscription,
};
pub use spec::{
    AllocSpec, FarmSpec, FolderSpec, HostClass, HostNames, JobSpec, LayerSpec, LimitSpec, ShowSpec, SubscriptionSpec,
};

/// Writes the farm that `spec` describes, in one transaction.
///
/// # Errors
/// Nothing is written: the description contradicts itself, or the database refuses.
pub async fn seed(pool: &PgPool, spec: &FarmSpec) -> Result<Seeded, SeedError> {
    let mut plan = plan::plan(spec)?;
    write::write(pool, &mut plan).await?;
    Ok(plan.seeded)
}
