//! Hosts, in whatever state they are.

use std::time::Duration;

use super::reading::Reading;
use crate::db::row::{AMOUNTS, HELD, IDLE};
use crate::db::{Problem, Result, Row, Source as _, Statement};
use crate::model::{Host, HostLoad, HostState, ThreadMode, Timestamp};
use crate::units::{Amounts, Cores, Kib};

impl Reading<'_> {
    pub(super) async fn load_hosts(&mut self, taken_at: Timestamp) -> Result<Vec<Host>> {
        let statement = Statement::new("reading hosts", include_str!("../sql/snapshot_hosts.sql"))
            .distinct(self.clusters.iter().map(|cluster| &cluster.facility));
        let decode = |row: &Row<'_>| decode(row, taken_at, self.options.staleness);
        let rows = self.tx.rows(statement).await?;
        let mut hosts = rows.or_left_out(("host", "pk_host"), &mut self.left_out, decode);
        hosts.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(hosts)
    }
}

fn decode(row: &Row<'_>, taken_at: Timestamp, staleness: Duration) -> Result<Host, Problem> {
    if !row.get("has_stat")? {
        return Err("it has no host_stat row; the next boot report of its agent makes one".to_owned());
    }
    let total = row.sound_amounts(AMOUNTS)?;
    let booked = row.sound_amounts(HELD)?;
    let said = row.sound_amounts(IDLE)?;
    // Where more is booked than there is, nothing is idle.
    let idle = said.min((total - booked).max(Amounts::default()));
    let has_low_memory = Kib(row.amount("int_mem_free")?) < Host::FREE_MEMORY_MIN;
    let state = state(row, taken_at, staleness, has_low_memory)?;
    let load = HostLoad {
        // Below zero it is as if there were none: nothing is taken away for a number that cannot be.
        reported: Cores(row.get::<i64>("int_load")?.max(0)),
        booked: booked.cores,
        booked_at_report: Cores(row.amount("reported_cores")?),
    };
    Ok(Host {
        id: row.get("pk_host")?,
        name: row.text("str_name")?,
        facility: row.get("pk_facility")?,
        alloc: row.get("pk_alloc")?,
        alloc_name: row.text("alloc_name")?,
        tags: row.tags("tags")?,
        os: row.comma_list("str_os")?,
        thread_mode: match row.get("int_thread_mode")? {
            0_i64 => ThreadMode::Auto,
            1 => ThreadMode::All,
            2 => ThreadMode::Variable,
            other => return Err(format!("int_thread_mode is {other}; set it to 0 (auto), 1 (all) or 2 (variable)")),
        },
        total,
        idle,
        load,
        state,
        reported_at: row.time("ts_ping")?,
        running_layers: row.ids("running_layers")?,
    })
}

fn state(row: &Row<'_>, taken_at: Timestamp, staleness: Duration, has_low_memory: bool) -> Result<HostState, Problem> {
    let reported = row.text("str_state")?;
    if reported != "UP" {
        return Ok(HostState::NotUp(reported));
    }
    match row.text("str_lock_state")?.as_str() {
        "OPEN" => {}
        "NIMBY_LOCKED" => return Ok(HostState::NimbyLocked),
        _ => return Ok(HostState::Locked),
    }
    let silent = taken_at - row.time("ts_ping")?;
    if silent > staleness {
        return Ok(HostState::Stale { seconds: silent.whole_seconds() });
    }
    // The clock was set back, or another server has another one. Who knows when it was written.
    if -silent > staleness {
        return Ok(HostState::FutureReport { seconds: -silent.whole_seconds() });
    }
    Ok(if row.get("has_local_work")? {
        HostState::LocalWork
    } else if row.get("has_slot_limit")? {
        HostState::SlotLimit
    } else if has_low_memory {
        HostState::LowFreeMemory
    } else {
        HostState::Open
    })
}
