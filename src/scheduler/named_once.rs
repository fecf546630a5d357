//! Rows that make no sense are named once, not in every pass.

use std::collections::HashSet;

use crate::model::LeftOutRow;

/// More than this are counted but no longer remembered, so that a broken farm cannot eat our memory;
/// they may then be named again.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct NamedOnce {
    known: HashSet<LeftOutRow>,
}

impl NamedOnce {
    /// Logs those that were not named before; forgets those that are mended, so that they are named
    /// again should they come back.
    pub(super) fn name(&mut self, rows: &[LeftOutRow]) {
        let now: HashSet<LeftOutRow> = rows.iter().take(REMEMBERED_MAX).cloned().collect();
        for row in now.difference(&self.known) {
            tracing::warn!(table = %row.table, id = %row.id, problem = %row.problem, "left a row out");
        }
        self.known = now;
    }
}
