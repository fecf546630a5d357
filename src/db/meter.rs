//! How much the scheduler asks of the database.

use std::sync::{Arc, Mutex, PoisonError};

/// Running totals since the start. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    totals: Arc<Mutex<MeterReading>>,
}

/// The totals at one moment; differences of two readings are the figures of what lies between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterReading {
    /// Statements sent, BEGIN and COMMIT among them.
    pub statements: u64,
    /// Rows that statements returned.
    pub rows_read: u64,
    /// Rows that statements inserted, changed or deleted, triggers not counted.
    pub rows_written: u64,
}

impl Meter {
    /// One statement that returned rows.
    pub(super) fn count_read(&self, rows: usize) {
        self.count(1, rows as u64, 0);
    }

    /// One statement that wrote `written` rows and returned `returned`.
    pub(super) fn count_write(&self, written: u64, returned: usize) {
        self.count(1, returned as u64, written);
    }

    /// Statements without rows: BEGIN, COMMIT, SET.
    pub(super) fn count_statements(&self, statements: u64) {
        self.count(statements, 0, 0);
    }

    #[must_use]
    pub fn reading(&self) -> MeterReading {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, statements: u64, rows_read: u64, rows_written: u64) {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        totals.statements += statements;
        totals.rows_read += rows_read;
        totals.rows_written += rows_written;
    }
}

impl std::ops::Sub for MeterReading {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            statements: self.statements.saturating_sub(earlier.statements),
            rows_read: self.rows_read.saturating_sub(earlier.rows_read),
            rows_written: self.rows_written.saturating_sub(earlier.rows_written),
        }
    }
}
