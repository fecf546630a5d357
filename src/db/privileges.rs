//! What we do to Cuebot's tables: the one list of tables, columns and privileges. What a schema must have and
//! what a user must be granted are readings of it.

use std::collections::HashSet;

use strum::IntoStaticStr;

use super::{Source, Statement, Store, StoreError};

/// What is done to columns of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub table: &'static str,
    pub privilege: Privilege,
    /// Parted by blanks; empty for the table as a whole.
    columns: &'static str,
    pub occasion: Occasion,
}

/// As GRANT spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
pub enum Privilege {
    Select,
    Insert,
    Update,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Read, and there in every generation of the schema.
    Read,
    /// Read where the schema has it.
    ReadIfThere,
    /// Written by a booking, or by a trigger that it sets off as the same user.
    Book,
    /// Written, locked or read only by taking back, by repairing, or by a trigger then.
    TakeBack,
}

use Occasion::{Book, Read, ReadIfThere, TakeBack};
use Privilege::{Delete, Insert, Select, Update};

/// The history of frames, written by a trigger: at once, or in newer schemas by way of a queue.
const HISTORY: &str = "frame_history";
const HISTORY_QUEUE: &str = "frame_history_queue";

/// A lock on a row asks for the privilege to update one of its columns.
const NEEDS: &[Need] = &[
    need("alloc", Select, "pk_alloc str_name str_tag pk_facility", Read),
    need("facility", Select, "pk_facility str_name", Read),
    need("folder", Select, "pk_folder str_name pk_dept pk_show", Read),
    need("folder_resource", Select, "pk_folder_resource pk_folder int_cores int_max_cores int_gpus int_max_gpus", Read),
    need(
        "frame",
        Select,
        "pk_frame pk_layer pk_job str_name str_state int_number int_exit_status int_retries int_dispatch_order \
         int_layer_order int_version str_host int_cores int_mem_reserved int_gpus int_gpu_mem_reserved \
         str_checkpoint_state ts_started ts_stopped ts_updated",
        Read,
    ),
    need(
        "host",
        Select,
        "pk_host pk_alloc str_name str_lock_state int_thread_mode int_cores int_cores_idle int_mem int_mem_idle \
         int_gpus int_gpus_idle int_gpu_mem int_gpu_mem_idle",
        Read,
    ),
    need("host_local", Select, "pk_host", Read),
    need("host_stat", Select, "pk_host str_state str_os ts_ping int_mem_free int_gpu_mem_total int_gpu_mem_free", Read),
    need("host_tag", Select, "pk_host str_tag str_tag_type", Read),
    need(
        "job",
        Select,
        "pk_job pk_folder pk_show pk_facility pk_dept str_name str_state str_shot str_user str_show str_log_dir \
         str_os str_loki_url int_uid int_max_retries b_paused b_auto_book ts_started",
        Read,
    ),
    need("job_env", Select, "pk_job_env pk_job str_key str_value", Read),
    need("job_resource", Select, "pk_job int_cores int_max_cores int_gpus int_max_gpus int_priority", Read),
    need("job_stat", Select, "pk_job int_waiting_count int_running_count", Read),
    need(
        "layer",
        Select,
        "pk_layer pk_job str_name str_cmd str_range str_tags str_services int_chunk_size int_dispatch_order \
         int_cores_min int_cores_max int_mem_min int_gpus_min int_gpu_mem_min b_threadable",
        Read,
    ),
    need("layer_env", Select, "pk_layer_env pk_layer str_key str_value", Read),
    need("layer_limit", Select, "pk_layer pk_limit_record", Read),
    need("layer_resource", Select, "pk_layer int_cores int_gpus", Read),
    need("layer_stat", Select, "pk_layer pk_job int_waiting_count int_running_count", Read),
    need("limit_record", Select, "pk_limit_record str_name int_max_value", Read),
    need("point", Select, "pk_show pk_dept int_cores int_gpus", Read),
    need(
        "proc",
        Select,
        "pk_proc pk_host pk_job pk_show pk_layer pk_frame int_cores_reserved int_mem_reserved int_mem_pre_reserved \
         int_gpus_reserved int_gpu_mem_reserved b_local ts_ping ts_dispatched",
        Read,
    ),
    need("redirect", Select, "pk_proc int_type str_destination_id str_name lng_creation_time", Read),
    need("show", Select, "pk_show str_name b_active", Read),
    need("subscription", Select, "pk_subscription pk_show pk_alloc int_size int_burst int_cores", Read),
    need("frame", Select, "ts_eligible", ReadIfThere),
    need("layer", Select, "ts_start_after ts_eligible int_stuck_detection_llu", ReadIfThere),
    need("limit_host", Select, "", ReadIfThere),
    // Read as whole rows.
    need("limit_record", Select, "", ReadIfThere),
    need("show", Select, "b_scheduler_managed", ReadIfThere),
    need("subscription", Select, "int_gpus", ReadIfThere),
    need("proc", Insert, "", Book),
    need("proc", Delete, "", TakeBack),
    need("proc", Update, "pk_frame", TakeBack),
    need(
        "frame",
        Update,
        "str_state str_host int_cores int_mem_reserved int_gpus int_gpu_mem_reserved int_version int_retries \
         ts_started ts_stopped ts_updated",
        Book,
    ),
    need("frame", Update, "str_checkpoint_state int_exit_status", TakeBack),
    need("host", Update, "int_cores_idle int_mem_idle int_gpus_idle int_gpu_mem_idle", Book),
    need("subscription", Update, "int_cores int_gpus", Book),
    need("subscription", Update, "int_burst", TakeBack),
    need("layer_resource", Update, "int_cores int_gpus", Book),
    need("job_resource", Update, "int_cores int_gpus", Book),
    need("job_resource", Update, "int_max_cores int_max_gpus", TakeBack),
    need("folder_resource", Update, "int_cores int_gpus", Book),
    need("point", Update, "int_cores int_gpus", Book),
    need("layer_stat", Update, "int_waiting_count int_running_count ts_started ts_stopped", Book),
    need("job_stat", Update, "int_waiting_count int_running_count", Book),
    // Never written: to hold a row against a move, PostgreSQL wants one column that might be.
    need("job", Update, "ts_updated", TakeBack),
    // Asked by the trigger that keeps history.
    need("config", Select, "str_key", TakeBack),
    need(HISTORY, Insert, "", Book),
    need(HISTORY, Update, "", TakeBack),
    need(HISTORY, Delete, "", TakeBack),
    need(HISTORY, Select, "pk_frame", TakeBack),
    need(HISTORY_QUEUE, Insert, "", Book),
];

const fn need(table: &'static str, privilege: Privilege, columns: &'static str, occasion: Occasion) -> Need {
    Need { table, privilege, columns, occasion }
}

impl Need {
    /// Empty for the table as a whole.
    pub fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.columns.split(' ')
    }
}

/// All needs, in the order of the list.
pub fn needs() -> impl Iterator<Item = &'static Need> + Clone {
    NEEDS.iter()
}

/// What is read: of every generation of the schema, and where it is there.
pub(crate) fn needs_to_read() -> impl Iterator<Item = &'static Need> + Clone {
    needs().filter(|need| matches!(need.occasion, Read | ReadIfThere))
}

/// What is written, and what triggers do then, with or without the queue of frame history.
pub(crate) fn needs_to_write(has_queue: bool) -> impl Iterator<Item = &'static Need> + Clone {
    let absent = if has_queue { HISTORY } else { HISTORY_QUEUE };
    needs().filter(move |need| matches!(need.occasion, Book | TakeBack) && need.table != absent)
}

/// A table on which the user lacks privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingPrivilege {
    pub user: String,
    pub table: String,
    /// As GRANT spells them, sorted.
    pub privileges: Vec<String>,
}

/// What the user lacks of some needs, by table. `with_sequence`: also of the sequence behind the queue of
/// frame history.
pub(crate) async fn missing_privileges(
    source: impl Source,
    needs: impl Iterator<Item = &'static Need> + Clone,
    with_sequence: bool,
) -> Result<Vec<MissingPrivilege>, StoreError> {
    let columns = || needs.clone().flat_map(|need| need.columns().map(move |column| (need, column)));
    let statement = Statement::new("asking for the user's rights", include_str!("sql/privileges.sql"))
        .texts(columns().map(|(need, _)| need.table))
        .texts(columns().map(|(_, column)| column))
        .texts(columns().map(|(need, _)| <&str>::from(need.privilege)))
        .bind(with_sequence);
    let mut missing: Vec<MissingPrivilege> = source.rows(statement).await?.all(|row| {
        Ok(MissingPrivilege {
            user: row.text("user")?,
            table: row.text("relation")?,
            privileges: row.value("privileges")?,
        })
    })?;
    missing.sort_by(|one, other| one.table.cmp(&other.table));
    Ok(missing)
}

impl Store {
    /// The rights that a booking needs and the user lacks, asked without trying.
    pub async fn missing_privileges(&self) -> Result<Vec<MissingPrivilege>, StoreError> {
        let written = needs_to_write(self.features.has_history_queue).filter(|need| need.occasion == Book);
        let tables: HashSet<&str> = written.clone().map(|need| need.table).collect();
        let read = needs().filter(move |need| need.occasion == Read && tables.contains(need.table));
        missing_privileges(self, written.chain(read), false).await
    }
}
