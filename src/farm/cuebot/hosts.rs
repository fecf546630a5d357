//! What hosts report of themselves: measurements, size, signs of life of their procs.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::{PgPool, Row as _, query};
use uuid::Uuid;

use crate::farm::schema::Generation;
use crate::rqd::proto::host::HardwareState;
use crate::rqd::proto::report::{RenderHost, RunningFrameInfo};

/// What Cuebot keeps back of a machine's memory, in KiB.
const SYSTEM_MEMORY_KIB: i64 = 524_288;
/// Thread modes of new hosts: a workstation runs one frame at a time.
const THREADS_AUTO: i32 = 0;
const THREADS_ALL: i32 = 1;

/// Writes measurements. Returns the keys of the hosts that have a row, by name.
pub(super) async fn write_stats(pool: &PgPool, hosts: &[&RenderHost]) -> Result<HashMap<String, String>, sqlx::Error> {
    let numbers = |field: fn(&RenderHost) -> i64| hosts.iter().map(|host| field(host)).collect::<Vec<i64>>();
    let rows = query(include_str!("../sql/cuebot_host_stats.sql"))
        .bind(hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>())
        .bind(numbers(|host| host.total_mem))
        .bind(numbers(|host| host.free_mem))
        .bind(numbers(|host| host.total_swap))
        .bind(numbers(|host| host.free_swap))
        .bind(numbers(|host| host.total_mcp))
        .bind(numbers(|host| host.free_mcp))
        .bind(numbers(|host| host.load.into()))
        .bind(hosts.iter().map(|host| os_of(host)).collect::<Vec<_>>())
        .bind(numbers(|host| host.total_gpu_mem))
        .bind(numbers(|host| host.free_gpu_mem))
        .bind(hosts.iter().map(|host| state_of(host)).collect::<Vec<_>>())
        .bind(numbers(|host| host.boot_time.into()))
        .fetch_all(pool)
        .await?;
    rows.iter().map(|row| Ok((row.try_get("name")?, row.try_get("pk_host")?))).collect()
}

/// Gives hosts that boot empty their reported sizes: fully idle ones, and since the second generation
/// also those without a proc whose idle amounts went astray.
pub(super) async fn write_sizes(
    pool: &PgPool,
    generation: Generation,
    boots: &[(&str, &RenderHost)],
) -> Result<(), sqlx::Error> {
    let hosts: Vec<&str> = boots.iter().map(|(host, _)| *host).collect();
    let numbers = |field: fn(&RenderHost) -> i64| boots.iter().map(|(_, report)| field(report)).collect::<Vec<i64>>();
    let mut tx = pool.begin().await?;
    query(include_str!("../sql/cuebot_lock_hosts.sql")).bind(&hosts).execute(&mut *tx).await?;
    query(include_str!("../sql/cuebot_size_hosts.sql"))
        .bind(&hosts)
        .bind(numbers(cores_of))
        .bind(numbers(memory_of))
        .bind(numbers(|host| host.num_gpus.into()))
        .bind(numbers(|host| host.total_gpu_mem))
        .bind(numbers(|host| host.num_procs.into()))
        .bind(generation != Generation::G0)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

/// Creates a host that nobody knew, with its tags. `false`: another report was quicker, or there is
/// no allocation to put it into.
pub(super) async fn create(
    pool: &PgPool,
    default_allocation: Option<&str>,
    report: &RenderHost,
) -> Result<bool, sqlx::Error> {
    let host = Uuid::new_v4().to_string();
    let mut tx = pool.begin().await?;
    let created = query(include_str!("../sql/cuebot_new_host.sql"))
        .bind(&host)
        .bind(&report.name)
        .bind(default_allocation)
        .bind(&report.facility)
        .bind(if report.nimby_locked { "NIMBY_LOCKED" } else { "OPEN" })
        .bind(report.nimby_enabled)
        .bind(i64::from(report.num_procs))
        .bind(cores_of(report))
        .bind(memory_of(report))
        .bind(i64::from(report.num_gpus))
        .bind(report.total_gpu_mem)
        .bind(if report.nimby_enabled { THREADS_ALL } else { THREADS_AUTO })
        .fetch_optional(&mut *tx)
        .await?;
    let Some(created) = created else { return Ok(false) };
    let statement = query(include_str!("../sql/cuebot_new_host_stat.sql"));
    statement.bind(Uuid::new_v4().to_string()).bind(&host).execute(&mut *tx).await?;
    let alloc_tag: Option<String> = created.try_get("alloc_tag")?;
    let tags = tags_of(report, alloc_tag.as_deref());
    query(include_str!("../sql/cuebot_new_host_tags.sql"))
        .bind(&host)
        .bind(tags.iter().map(|_| Uuid::new_v4().to_string()).collect::<Vec<_>>())
        .bind(tags.iter().map(|tag| tag.text).collect::<Vec<_>>())
        .bind(tags.iter().map(|tag| tag.kind).collect::<Vec<_>>())
        .bind(tags.iter().map(|tag| tag.kind != "HARDWARE").collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    query(include_str!("../sql/cuebot_recalculate_tags.sql")).bind(&host).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// Notes signs of life. Returns the procs that were verified by them.
pub(super) async fn ping_procs(pool: &PgPool, frames: &[&RunningFrameInfo]) -> Result<HashSet<String>, sqlx::Error> {
    let rows = query(include_str!("../sql/cuebot_ping_procs.sql"))
        .bind(frames.iter().map(|frame| frame.resource_id.as_str()).collect::<Vec<_>>())
        .bind(frames.iter().map(|frame| frame.frame_id.as_str()).collect::<Vec<_>>())
        .bind(frames.iter().map(|frame| frame.rss).collect::<Vec<_>>())
        .bind(frames.iter().map(|frame| frame.max_rss).collect::<Vec<_>>())
        .fetch_all(pool)
        .await?;
    rows.iter().map(|row| row.try_get("pk_proc")).collect()
}

/// Of reported runs that no proc vouches for: the frames that count as running, and whether the proc
/// exists and holds something else.
pub(super) async fn doubted(pool: &PgPool, frames: &[&RunningFrameInfo]) -> Result<HashMap<String, bool>, sqlx::Error> {
    let rows = query(include_str!("../sql/cuebot_doubted_frames.sql"))
        .bind(frames.iter().map(|frame| frame.resource_id.as_str()).collect::<Vec<_>>())
        .bind(frames.iter().map(|frame| frame.frame_id.as_str()).collect::<Vec<_>>())
        .fetch_all(pool)
        .await?;
    rows.iter().map(|row| Ok((row.try_get("frame")?, row.try_get("is_proc_known")?))).collect()
}

struct HostTag<'a> {
    text: &'a str,
    kind: &'static str,
}

fn tags_of<'a>(report: &'a RenderHost, alloc_tag: Option<&'a str>) -> Vec<HostTag<'a>> {
    let hardware: BTreeSet<&str> = report.tags.iter().map(|tag| tag.trim()).filter(|tag| !tag.is_empty()).collect();
    let alloc = alloc_tag.map(|text| HostTag { text, kind: "ALLOC" });
    let name = HostTag { text: &report.name, kind: "HOSTNAME" };
    let hardware = hardware.into_iter().map(|text| HostTag { text, kind: "HARDWARE" });
    alloc.into_iter().chain([name]).chain(hardware).collect()
}

fn cores_of(report: &RenderHost) -> i64 {
    i64::from(report.num_procs) * i64::from(report.cores_per_proc)
}

/// Memory that frames may have. Cuebot also rounds the reported amount to whole GiB first; a seeded
/// host would then change its size when it boots.
fn memory_of(report: &RenderHost) -> i64 {
    let memory = (report.total_mem - SYSTEM_MEMORY_KIB).max(0);
    if report.nimby_enabled { memory * 2 / 3 + SYSTEM_MEMORY_KIB } else { memory }
}

fn os_of(report: &RenderHost) -> &str {
    report.attributes.get("SP_OS").map_or("Linux", String::as_str)
}

fn state_of(report: &RenderHost) -> &'static str {
    HardwareState::try_from(report.state).unwrap_or_default().as_str_name()
}
