//! What this database offers, found in its catalog.

use std::collections::HashSet;
use std::fmt;

use sqlx::PgPool;

use super::reading::step;
use super::row::Columns;
use super::{Meter, StoreError};

/// What the generations of Cuebot's schema add. Column, table or index presence decides, since a
/// database may be migrated by other means and carries no reliable version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a schema")]
pub struct Features {
    /// `show.b_scheduler_managed`: which shows Cuebot leaves to a scheduler.
    pub has_scheduler_managed: bool,
    /// `layer.ts_start_after`: delayed layers.
    pub has_start_after: bool,
    /// `frame.ts_eligible` and `layer.ts_eligible`: when work became ready.
    pub has_ts_eligible: bool,
    /// `layer.int_stuck_detection_llu`: minutes without progress before an agent ends a frame.
    pub has_stuck_detection: bool,
    /// `limit_record.str_type` and table `limit_host`: typed limits with reported use.
    pub has_limit_types: bool,
    /// Table `frame_history_queue`: run times lag behind by minutes.
    pub has_history_queue: bool,
    /// Index `i_frame_layer_dispatch_waiting`: next frames of a layer without reading the others.
    pub has_frame_layer_index: bool,
}

impl Features {
    /// Which Cuebots this schema fits. The schema bounds Cuebot's version from above, it proves
    /// nothing about the running one.
    #[must_use]
    pub const fn generation_guess(&self) -> &'static str {
        if self.has_history_queue || self.has_frame_layer_index {
            "Cuebot 1.37 or later, or an older one on a migrated database"
        } else if self.has_limit_types {
            "Cuebot of autumn 2026: typed limits, per-show scheduler flag"
        } else if self.has_scheduler_managed {
            "Cuebot of summer 2026: per-show scheduler flag"
        } else {
            "Cuebot up to May 2026: exclusion list, no per-show scheduler flag"
        }
    }

    /// Looks the schema up, and checks that what every generation has is there.
    pub(super) async fn detect(pool: &PgPool, meter: &Meter) -> Result<Self, StoreError> {
        let tables: Vec<&str> =
            NEEDED.iter().map(|(table, _)| *table).chain(["limit_host", "frame_history_queue"]).collect();
        let rows = sqlx::query(include_str!("sql/catalog.sql"))
            .bind(&tables)
            .fetch_all(pool)
            .await
            .map_err(step("looking at the schema"))?;
        meter.count_read(rows.len());
        let found: HashSet<(String, String)> = rows
            .iter()
            .filter_map(|row| {
                let row = Columns(row);
                Some((row.text("relation").ok()?, row.text("part").ok()?))
            })
            .collect();
        let has = |table: &str, column: &str| found.contains(&(table.to_owned(), column.to_owned()));
        let missing = missing(&has);
        if !missing.is_empty() {
            return Err(StoreError::Schema { missing });
        }
        Ok(Self {
            has_scheduler_managed: has("show", "b_scheduler_managed"),
            has_start_after: has("layer", "ts_start_after"),
            has_ts_eligible: has("frame", "ts_eligible") && has("layer", "ts_eligible"),
            has_stuck_detection: has("layer", "int_stuck_detection_llu"),
            has_limit_types: has("limit_record", "str_type") && has("limit_host", "str_host_name"),
            has_history_queue: has("frame_history_queue", "id"),
            has_frame_layer_index: has("i_frame_layer_dispatch_waiting", ""),
        })
    }
}

/// A part that every generation of the schema has, and this database has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Table(&'static str),
    /// Of a table that is there.
    Column(&'static str, &'static str),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "table {table}"),
            Self::Column(table, column) => write!(f, "{table}.{column}"),
        }
    }
}

fn missing(has: &impl Fn(&str, &str) -> bool) -> Vec<Missing> {
    let mut missing = Vec::new();
    for (table, columns) in NEEDED {
        if !has(table, "") {
            missing.push(Missing::Table(table));
            continue;
        }
        missing
            .extend(columns.iter().filter(|column| !has(table, column)).map(|column| Missing::Column(table, column)));
    }
    missing
}

/// Tables and columns that we read or write and that every generation has.
#[must_use]
pub const fn needed_columns() -> &'static [(&'static str, &'static [&'static str])] {
    NEEDED
}

const NEEDED: &[(&str, &[&str])] = &[
    ("alloc", &["pk_alloc", "str_name", "str_tag", "pk_facility"]),
    ("facility", &["pk_facility", "str_name"]),
    ("folder", &["pk_folder", "str_name", "pk_dept", "pk_show"]),
    ("folder_resource", &["pk_folder_resource", "pk_folder", "int_cores", "int_max_cores", "int_gpus", "int_max_gpus"]),
    (
        "frame",
        &[
            "pk_frame",
            "pk_layer",
            "pk_job",
            "str_name",
            "str_state",
            "int_number",
            "int_exit_status",
            "int_retries",
            "int_dispatch_order",
            "int_layer_order",
            "int_version",
            "str_host",
            "int_cores",
            "int_mem_reserved",
            "int_gpus",
            "int_gpu_mem_reserved",
            "str_checkpoint_state",
            "ts_started",
            "ts_stopped",
            "ts_updated",
        ],
    ),
    (
        "host",
        &[
            "pk_host",
            "pk_alloc",
            "str_name",
            "str_lock_state",
            "int_thread_mode",
            "int_cores",
            "int_cores_idle",
            "int_mem",
            "int_mem_idle",
            "int_gpus",
            "int_gpus_idle",
            "int_gpu_mem",
            "int_gpu_mem_idle",
        ],
    ),
    ("host_local", &["pk_host"]),
    (
        "host_stat",
        &["pk_host", "str_state", "str_os", "ts_ping", "int_mem_free", "int_gpu_mem_total", "int_gpu_mem_free"],
    ),
    ("host_tag", &["pk_host", "str_tag", "str_tag_type"]),
    (
        "job",
        &[
            "pk_job",
            "pk_folder",
            "pk_show",
            "pk_facility",
            "pk_dept",
            "str_name",
            "str_state",
            "str_shot",
            "str_user",
            "str_show",
            "str_log_dir",
            "str_os",
            "str_loki_url",
            "int_uid",
            "int_max_retries",
            "b_paused",
            "b_auto_book",
            "ts_started",
        ],
    ),
    ("job_env", &["pk_job_env", "pk_job", "str_key", "str_value"]),
    ("job_resource", &["pk_job", "int_cores", "int_max_cores", "int_gpus", "int_max_gpus", "int_priority"]),
    ("job_stat", &["pk_job", "int_waiting_count", "int_running_count"]),
    (
        "layer",
        &[
            "pk_layer",
            "pk_job",
            "str_name",
            "str_cmd",
            "str_range",
            "str_tags",
            "str_services",
            "int_chunk_size",
            "int_dispatch_order",
            "int_cores_min",
            "int_cores_max",
            "int_mem_min",
            "int_gpus_min",
            "int_gpu_mem_min",
            "b_threadable",
        ],
    ),
    ("layer_env", &["pk_layer_env", "pk_layer", "str_key", "str_value"]),
    ("layer_limit", &["pk_layer", "pk_limit_record"]),
    ("layer_resource", &["pk_layer", "int_cores", "int_gpus"]),
    ("layer_stat", &["pk_layer", "pk_job", "int_waiting_count", "int_running_count"]),
    ("limit_record", &["pk_limit_record", "str_name", "int_max_value"]),
    ("point", &["pk_show", "pk_dept", "int_cores", "int_gpus"]),
    (
        "proc",
        &[
            "pk_proc",
            "pk_host",
            "pk_job",
            "pk_show",
            "pk_layer",
            "pk_frame",
            "int_cores_reserved",
            "int_mem_reserved",
            "int_mem_pre_reserved",
            "int_gpus_reserved",
            "int_gpu_mem_reserved",
            "b_local",
            "ts_ping",
            "ts_dispatched",
        ],
    ),
    ("redirect", &["pk_proc", "int_type", "str_destination_id", "str_name", "lng_creation_time"]),
    ("show", &["pk_show", "str_name", "b_active"]),
    ("subscription", &["pk_subscription", "pk_show", "pk_alloc", "int_size", "int_burst", "int_cores"]),
];
