//! What was put right.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::db::repair::CounterRow;
use crate::model::CounterTable;
use crate::units::Amounts;

/// A row that did not say what the procs hold, and now does, or is nearer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    pub table: CounterTable,
    /// The row's own primary key.
    pub row: String,
    /// What it said too much and no longer does; negative when it said too little. Of a host: what its
    /// row said is taken.
    pub too_much: Amounts,
}

impl Repaired {
    /// What of a correction took something off.
    pub(super) fn lowered(row: &CounterRow, too_much: Amounts) -> Option<Self> {
        Self::some(row, too_much.max(Amounts::default()))
    }

    /// What of a correction added something.
    pub(super) fn raised(row: &CounterRow, too_much: Amounts) -> Option<Self> {
        Self::some(row, too_much.min(Amounts::default()))
    }

    fn some(row: &CounterRow, too_much: Amounts) -> Option<Self> {
        (too_much != Amounts::default()).then(|| Self { table: row.table, row: row.id.clone(), too_much })
    }
}

/// What one turn of repairs did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairsDone {
    /// Rows that had gone wrong.
    pub drift: Vec<Repaired>,
    /// Rows from which releases were subtracted that Cuebot leaves to its show's scheduler.
    pub releases: Vec<Repaired>,
    /// How soon another look is worth while; `None`: at the usual interval.
    pub look_again: Option<Duration>,
}

impl RepairsDone {
    /// Rows per table; tables without any are absent.
    pub fn rows(repaired: &[Repaired]) -> BTreeMap<CounterTable, u64> {
        let mut rows = BTreeMap::new();
        for repaired in repaired {
            *rows.entry(repaired.table).or_default() += 1;
        }
        rows
    }

    pub(super) fn tell(&self) {
        if !self.drift.is_empty() {
            let rows = Self::rows(&self.drift);
            tracing::info!(?rows, "corrected counters that did not say what the procs hold");
        }
        if !self.releases.is_empty() {
            let rows = Self::rows(&self.releases);
            tracing::debug!(?rows, "subtracted releases that Cuebot leaves to its show's scheduler");
        }
    }
}
