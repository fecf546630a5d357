//! What frames wait for that is no matter of hosts.

use super::FoundFrame;
use crate::db::{Result, Source as _, Statement, Store};

/// More than anybody reads.
const NAMED_MAX: i64 = 200;

impl Store {
    /// What a frame depends on and is not met, by name. `None` for a role that may not read it: nothing else
    /// that we do asks for that right.
    pub async fn load_depends(&self, frame: &FoundFrame) -> Result<Option<Vec<String>>> {
        let sql = include_str!("../sql/depends_of_frame.sql");
        let statement = Statement::new("reading what a frame depends on", sql)
            .bind(frame.id.as_str())
            .bind(frame.layer.as_str())
            .bind(frame.job.as_str())
            .bind(NAMED_MAX);
        match self.rows(statement).await {
            Ok(rows) => rows.all(|row| row.text("name")).map(Some),
            Err(error) if error.is_forbidden() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
