//! Other planners on the same database.

use super::row::Columns;
use super::{Store, StoreError};

impl Store {
    /// Whether Cuebot's own planner is active: its leader holds a session advisory lock for as long
    /// as it lives. Two planners for one show would book against each other.
    pub async fn foreign_planner_active(&self) -> Result<bool, StoreError> {
        let rows =
            self.rows("looking for another planner", sqlx::query(include_str!("sql/foreign_planner.sql"))).await?;
        Ok(rows.first().is_some_and(|row| Columns(row).flag("is_active").unwrap_or(false)))
    }

    /// Sessions of other schedulers on this database; one that was killed has none any more.
    pub async fn other_schedulers(&self) -> Result<u64, StoreError> {
        let rows =
            self.rows("looking for other schedulers", sqlx::query(include_str!("sql/other_schedulers.sql"))).await?;
        let sessions = rows.first().and_then(|row| Columns(row).number("sessions").ok());
        // Nothing is sure to be nobody.
        Ok(sessions.and_then(|sessions| u64::try_from(sessions).ok()).unwrap_or(u64::MAX))
    }
}
