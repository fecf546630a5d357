//! How much the scheduler asks of the database.

use std::sync::Arc;

use parking_lot::Mutex;

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
    /// One statement; BEGIN, COMMIT and SET have no rows.
    pub(super) fn count(&self, returned: usize, written: u64) {
        let mut totals = self.totals.lock();
        totals.statements += 1;
        totals.rows_read += returned as u64;
        totals.rows_written += written;
    }

    pub fn reading(&self) -> MeterReading {
        *self.totals.lock()
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
