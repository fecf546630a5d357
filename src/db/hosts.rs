//! Hosts, in whatever state they are.

use std::collections::BTreeSet;

use super::reading::Reading;
use super::row::{Columns, Problem};
use super::{SnapshotOptions, StoreError};
use crate::model::{FacilityId, Host, HostState, LayerId, LeftOutRow, ThreadMode, Timestamp};
use crate::units::{Amounts, Kib};

/// Cuebot books no host that reports less free memory than this.
const FREE_MEMORY_MIN: Kib = Kib::mib(512);

pub(super) async fn load(
    reading: &mut Reading,
    facilities: &[FacilityId],
    taken_at: Timestamp,
    options: &SnapshotOptions,
    left_out: &mut Vec<LeftOutRow>,
) -> Result<Vec<Host>, StoreError> {
    let ids: Vec<&str> = facilities.iter().map(FacilityId::as_str).collect();
    let statement = sqlx::query(include_str!("sql/snapshot_hosts.sql")).bind(ids);
    let mut hosts = Vec::new();
    for row in reading.rows("reading hosts", statement).await? {
        let row = Columns(&row);
        match decode(&row, taken_at, options) {
            Ok(host) => hosts.push(host),
            Err(problem) => left_out.push(row.left_out("host", "pk_host", problem)),
        }
    }
    hosts.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(hosts)
}

fn decode(row: &Columns<'_>, taken_at: Timestamp, options: &SnapshotOptions) -> Result<Host, Problem> {
    if !row.flag("has_stat")? {
        return Err("it has no host_stat row; the next boot report of its agent makes one".to_owned());
    }
    let total = Amounts {
        cores: row.cores("int_cores")?,
        memory: row.kib("int_mem")?,
        gpus: row.gpus("int_gpus")?,
        gpu_memory: row.kib("int_gpu_mem")?,
    };
    let booked = Amounts {
        cores: row.cores("held_cores")?,
        memory: row.kib("held_mem")?,
        gpus: row.gpus("held_gpus")?,
        gpu_memory: row.kib("held_gpu_mem")?,
    };
    let said = Amounts {
        cores: row.cores("int_cores_idle")?,
        memory: row.kib("int_mem_idle")?,
        gpus: row.gpus("int_gpus_idle")?,
        gpu_memory: row.kib("int_gpu_mem_idle")?,
    };
    // Where more is booked than there is, nothing is idle.
    let mut idle = said.min((total - booked).max(Amounts::default()));
    let free_memory = row.kib("int_mem_free")?;
    let has_low_memory = free_memory < FREE_MEMORY_MIN || idle.memory < Host::IDLE_MEMORY_MIN;
    idle.memory = idle.memory.min(free_memory);
    // An agent that does not measure GPU memory reports a total of 0: then the ledger alone counts.
    if row.kib("int_gpu_mem_total")? > Kib::ZERO {
        idle.gpu_memory = idle.gpu_memory.min(row.kib("int_gpu_mem_free")?);
    }
    let state = state(row, taken_at, options, has_low_memory)?;
    Ok(Host {
        id: row.text("pk_host")?.into(),
        name: row.text("str_name")?,
        facility: row.text("pk_facility")?.into(),
        alloc: row.text("pk_alloc")?.into(),
        alloc_name: row.text("alloc_name")?,
        tags: row.tags("tags")?,
        os: os_list(row.text_or_null("str_os")?.as_deref()),
        thread_mode: match row.number("int_thread_mode")? {
            0 => ThreadMode::Auto,
            1 => ThreadMode::All,
            2 => ThreadMode::Variable,
            other => return Err(format!("int_thread_mode is {other}; set it to 0 (auto), 1 (all) or 2 (variable)")),
        },
        total,
        idle,
        state,
        reported_at: row.time("ts_ping")?,
        running_layers: row.texts("running_layers")?.into_iter().map(LayerId::from).collect::<BTreeSet<_>>(),
    })
}

fn state(
    row: &Columns<'_>,
    taken_at: Timestamp,
    options: &SnapshotOptions,
    has_low_memory: bool,
) -> Result<HostState, Problem> {
    let reported = row.text("str_state")?;
    if reported != "UP" {
        return Ok(HostState::NotUp(reported));
    }
    match row.text("str_lock_state")?.as_str() {
        "OPEN" => {}
        "NIMBY_LOCKED" => return Ok(HostState::NimbyLocked),
        _ => return Ok(HostState::Locked),
    }
    // A report from the future (clocks of two Cuebots) is fresh.
    let silent = taken_at - row.time("ts_ping")?;
    if silent > options.staleness {
        return Ok(HostState::Stale { seconds: silent.whole_seconds() });
    }
    Ok(if row.flag("has_local_work")? {
        HostState::LocalWork
    } else if has_low_memory {
        HostState::LowFreeMemory
    } else {
        HostState::Open
    })
}

/// A comma list, blanks around the entries dropped.
fn os_list(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|os| !os.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_systems_are_a_trimmed_comma_list() {
        assert_eq!(os_list(Some("centos7, rhel9,,")), ["centos7", "rhel9"]);
        assert!(os_list(Some(" ")).is_empty() && os_list(None).is_empty());
    }
}
