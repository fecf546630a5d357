//! What makes no sense is named once, not in every pass.

use std::collections::HashSet;
use std::hash::Hash;

use crate::model::LeftOutRow;

/// More than this are counted but no longer remembered, so that a broken farm cannot eat our memory;
/// they may then be named again.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct NamedOnce<T> {
    known: HashSet<T>,
}

impl<T> Default for NamedOnce<T> {
    fn default() -> Self {
        Self { known: HashSet::new() }
    }
}

impl<T: Clone + Eq + Hash> NamedOnce<T> {
    /// Tells those that were not named before; forgets those that are mended, so that they are named
    /// again should they come back.
    pub(super) fn tell(&mut self, rows: &[T], tell: impl Fn(&T)) {
        let now: HashSet<T> = rows.iter().take(REMEMBERED_MAX).cloned().collect();
        now.difference(&self.known).for_each(tell);
        self.known = now;
    }
}

impl NamedOnce<LeftOutRow> {
    pub(super) fn name(&mut self, rows: &[LeftOutRow]) {
        self.tell(rows, |row| {
            tracing::warn!(table = %row.table, id = %row.id, problem = %row.problem, "left a row out");
        });
    }
}
