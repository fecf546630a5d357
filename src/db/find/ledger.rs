//! What hosts' rows say is idle, beside what procs hold.

use std::time::Duration;

use crate::db::row::{AMOUNTS, HELD, IDLE, whole};
use crate::db::{Problem, Result, Row, Source, Statement, Store};
use crate::model::{FacilityId, HostId, ProcId};
use crate::units::Amounts;

/// A proc without a frame that was not heard of for so long is not just being released.
pub(super) const FRAMELESS_AFTER: Duration = Duration::from_mins(5);

/// A proc whose last sign of life is so much older than its host's report is not run there: every report
/// names what runs, and no agent reports more seldom than once a minute.
pub(super) const SILENT_AFTER: Duration = Duration::from_mins(1);

/// What one host's row says beside what procs hold there. Amounts may make no sense, below zero too: that is what
/// is to be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostLedger {
    pub total: Amounts,
    /// What the row says.
    pub idle: Amounts,
    /// By procs of whatever show.
    pub held: Amounts,
    /// Its owner renders there too, and draws on other rows.
    pub has_local_work: bool,
}

/// A proc that holds something and runs nothing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct FramelessProc {
    pub proc: ProcId,
    pub host: String,
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub reserved: Amounts,
    /// Since its last sign of life.
    pub silent_seconds: i64,
}

impl HostLedger {
    /// What the row says is taken and no proc holds.
    pub fn held_by_nobody(&self) -> Amounts {
        (self.total - self.idle - self.held.min(self.total)).max(Amounts::default())
    }

    /// What the row says is idle and procs hold.
    pub fn idle_by_the_row_alone(&self) -> Amounts {
        (self.held.min(self.total) - (self.total - self.idle)).max(Amounts::default())
    }

    /// What procs hold beyond what there is.
    pub fn overbooked(&self) -> Amounts {
        (self.held - self.total).max(Amounts::default())
    }
}

impl Store {
    /// `None` when there is no such host.
    pub async fn load_host_ledger(&self, host: &HostId) -> Result<Option<HostLedger>> {
        let statement =
            Statement::new("reading what a host holds", include_str!("../sql/host_ledger.sql")).bind(host.as_str());
        Ok(self.rows(statement).await?.readable::<_, Vec<_>>(decode_ledger).pop())
    }

    /// Procs on a host that have run nothing for minutes.
    pub async fn load_frameless_procs(&self, host: &HostId) -> Result<Vec<FramelessProc>> {
        frameless_procs(self, &[], Some(host)).await
    }
}

/// Procs on the hosts of some facilities, or on one host, that have run nothing for `FRAMELESS_AFTER`.
pub(crate) async fn frameless_procs(
    source: impl Source,
    facilities: &[FacilityId],
    host: Option<&HostId>,
) -> Result<Vec<FramelessProc>> {
    let statement = Statement::new("looking for procs without frames", include_str!("../sql/frameless_procs.sql"))
        .texts(facilities)
        .bind(host.map(HostId::as_str))
        .bind(FRAMELESS_AFTER.as_secs_f64());
    Ok(source.rows(statement).await?.readable(whole))
}

fn decode_ledger(row: &Row<'_>) -> Result<HostLedger, Problem> {
    Ok(HostLedger {
        total: row.amounts(AMOUNTS)?,
        idle: row.amounts(IDLE)?,
        held: row.amounts(HELD)?,
        has_local_work: row.get("has_local_work")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Cores;

    fn ledger(total: i64, idle: i64, held: i64) -> HostLedger {
        let cores = |cores: i64| Amounts { cores: Cores(cores), ..Amounts::default() };
        HostLedger { total: cores(total), idle: cores(idle), held: cores(held), has_local_work: false }
    }

    #[test]
    fn books_that_do_not_agree_say_what_nobody_holds_and_what_is_held_twice() {
        let told = |total, idle, held| {
            let ledger = ledger(total, idle, held);
            [ledger.held_by_nobody(), ledger.idle_by_the_row_alone(), ledger.overbooked()].map(|told| told.cores.get())
        };
        assert_eq!(told(800, 300, 500), [0, 0, 0]);
        assert_eq!(told(800, 100, 500), [200, 0, 0]);
        assert_eq!(told(800, 800, 500), [0, 500, 0]);
        assert_eq!(told(800, 0, 1_600), [0, 0, 800]);
        assert_eq!(told(800, 100, 1_600), [0, 100, 800]);
        assert_eq!(told(800, -100, 800), [100, 0, 0]);
    }
}
