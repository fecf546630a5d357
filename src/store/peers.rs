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
}
