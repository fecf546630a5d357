//! Hosts, in whatever state they are.

use super::options::SnapshotOptions;
use crate::db::row::{AMOUNTS, HELD, IDLE};
use crate::db::{Problem, Row, Source as _, Statement, StoreError, Tx};
use crate::model::{Cluster, Host, HostState, LeftOutRow, ThreadMode, Timestamp};
use crate::units::{Amounts, Kib};

/// Cuebot books no host that reports less free memory than this.
const FREE_MEMORY_MIN: Kib = Kib::mib(512);

pub(super) async fn load(
    reading: &mut Tx<'_>,
    clusters: &[Cluster],
    taken_at: Timestamp,
    options: &SnapshotOptions,
    left_out: &mut Vec<LeftOutRow>,
) -> Result<Vec<Host>, StoreError> {
    let statement = Statement::new("reading hosts", include_str!("../sql/snapshot_hosts.sql"))
        .distinct(clusters.iter().map(|cluster| &cluster.facility));
    let decode = |row: &Row<'_>| decode(row, taken_at, options);
    let mut hosts = reading.rows(statement).await?.or_left_out(("host", "pk_host"), left_out, decode);
    hosts.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(hosts)
}

fn decode(row: &Row<'_>, taken_at: Timestamp, options: &SnapshotOptions) -> Result<Host, Problem> {
    if !row.flag("has_stat")? {
        return Err("it has no host_stat row; the next boot report of its agent makes one".to_owned());
    }
    let total = row.sound_amounts(AMOUNTS)?;
    let booked = row.sound_amounts(HELD)?;
    let said = row.sound_amounts(IDLE)?;
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
        facility: row.id("pk_facility")?,
        alloc: row.id("pk_alloc")?,
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
        running_layers: row.ids("running_layers")?,
    })
}

fn state(
    row: &Row<'_>,
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
