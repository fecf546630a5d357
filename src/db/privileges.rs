//! What we do to Cuebot's tables: the one list of tables, columns and privileges. What a schema must have and
//! what a user must be granted are readings of it.

use std::collections::HashSet;

use sqlx::FromRow;
use strum::IntoStaticStr;

use super::error::Result;
use super::row::whole;
use super::statement::{Source, Statement};
use super::store::Store;

/// What is done to columns of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub occasion: Occasion,
    pub privilege: Privilege,
    pub table: &'static str,
    /// Parted by blanks; empty for the table as a whole.
    columns: &'static str,
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

/// Tables, each with its columns or, where it is needed as a whole, with none. A lock on a row asks for the
/// privilege to update one of its columns: `job` is never written, only held against a move. `limit_record`
/// is read as whole rows. `config` is asked by the trigger that keeps history.
const NEEDS: &[(Occasion, Privilege, &str)] = &[
    (
        Read,
        Select,
        "alloc: pk_alloc str_name str_tag pk_facility
         facility: pk_facility str_name
         folder: pk_folder str_name pk_dept pk_show
         folder_resource: pk_folder_resource pk_folder int_cores int_max_cores int_gpus int_max_gpus
         frame: pk_frame pk_layer pk_job str_name str_state int_number int_exit_status int_retries \
            int_dispatch_order int_layer_order int_version str_host int_cores int_mem_reserved int_gpus \
            int_gpu_mem_reserved str_checkpoint_state ts_started ts_stopped ts_updated
         host: pk_host pk_alloc str_name str_lock_state int_thread_mode int_cores int_cores_idle int_mem \
            int_mem_idle int_gpus int_gpus_idle int_gpu_mem int_gpu_mem_idle
         host_local: pk_host
         host_stat: pk_host str_state str_os ts_ping int_mem_free int_load
         host_tag: pk_host str_tag str_tag_type
         job: pk_job pk_folder pk_show pk_facility pk_dept str_name str_state str_shot str_user str_show \
            str_log_dir str_os str_loki_url int_uid int_max_retries b_paused b_auto_book ts_started ts_stopped
         job_env: pk_job_env pk_job str_key str_value
         job_resource: pk_job int_cores int_max_cores int_gpus int_max_gpus int_priority
         job_stat: pk_job int_waiting_count int_running_count
         job_usage: pk_job int_frame_success_count int_clock_time_success
         layer: pk_layer pk_job str_name str_cmd str_range str_tags str_services int_chunk_size \
            int_dispatch_order int_cores_min int_cores_max int_mem_min int_gpus_min int_gpu_mem_min b_threadable
         layer_env: pk_layer_env pk_layer str_key str_value
         layer_limit: pk_layer pk_limit_record
         layer_resource: pk_layer int_cores int_gpus
         layer_stat: pk_layer pk_job int_waiting_count int_running_count
         layer_usage: pk_layer int_frame_success_count int_clock_time_success
         limit_record: pk_limit_record str_name int_max_value
         point: pk_show pk_dept int_cores int_gpus
         proc: pk_proc pk_host pk_job pk_show pk_layer pk_frame int_cores_reserved int_mem_reserved \
            int_mem_pre_reserved int_gpus_reserved int_gpu_mem_reserved b_local ts_ping ts_booked \
            ts_dispatched
         redirect: pk_proc int_type str_destination_id str_name lng_creation_time
         show: pk_show str_name b_active
         subscription: pk_subscription pk_show pk_alloc int_size int_burst int_cores",
    ),
    (
        ReadIfThere,
        Select,
        "frame: ts_eligible
         host: int_concurrent_slots_limit
         layer: ts_start_after ts_eligible int_stuck_detection_llu int_slots_required
         limit_host:
         limit_record:
         show: b_scheduler_managed
         subscription: int_gpus",
    ),
    (Book, Insert, "proc:\nframe_history:\nframe_history_queue:"),
    (
        Book,
        Update,
        "frame: str_state str_host int_cores int_mem_reserved int_gpus int_gpu_mem_reserved int_version \
            int_retries ts_started ts_stopped ts_updated
         host: int_cores_idle int_mem_idle int_gpus_idle int_gpu_mem_idle
         subscription: int_cores int_gpus
         layer_resource: int_cores int_gpus
         job_resource: int_cores int_gpus
         folder_resource: int_cores int_gpus
         point: int_cores int_gpus
         layer_stat: int_waiting_count int_running_count ts_started ts_stopped
         job_stat: int_waiting_count int_running_count",
    ),
    (TakeBack, Select, "config: str_key\nframe_history: pk_frame"),
    (TakeBack, Delete, "proc:\nframe_history:"),
    (
        TakeBack,
        Update,
        "proc: pk_frame
         frame: str_checkpoint_state int_exit_status
         subscription: int_burst
         job_resource: int_max_cores int_max_gpus
         job: ts_updated
         frame_history:",
    ),
];

impl Need {
    /// One that is empty stands for the table as a whole.
    pub fn columns(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.columns.split(' ')
    }
}

/// All needs, in the order of the list.
pub fn needs() -> impl Iterator<Item = Need> + Clone {
    NEEDS.iter().flat_map(|&(occasion, privilege, lines)| {
        lines.lines().filter_map(move |line| {
            let (table, columns) = line.split_once(':')?;
            Some(Need { occasion, privilege, table: table.trim_start(), columns: columns.trim_start() })
        })
    })
}

/// What is read: of every generation of the schema, and where it is there.
pub(crate) fn needs_to_read() -> impl Iterator<Item = Need> + Clone {
    needs().filter(|need| matches!(need.occasion, Read | ReadIfThere))
}

/// What is written, and what triggers do then, with or without the queue of frame history.
pub(crate) fn needs_to_write(has_queue: bool) -> impl Iterator<Item = Need> + Clone {
    let absent = if has_queue { HISTORY } else { HISTORY_QUEUE };
    needs().filter(move |need| matches!(need.occasion, Book | TakeBack) && need.table != absent)
}

/// A table on which the user lacks privileges.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
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
    needs: impl Iterator<Item = Need> + Clone,
    with_sequence: bool,
) -> Result<Vec<MissingPrivilege>> {
    let columns = || needs.clone().flat_map(|need| need.columns().map(move |column| (need, column)));
    let statement = Statement::new("asking for the user's rights", include_str!("sql/privileges.sql"))
        .texts(columns().map(|(need, _)| need.table))
        .texts(columns().map(|(_, column)| column))
        .texts(columns().map(|(need, _)| <&str>::from(need.privilege)))
        .bind(with_sequence);
    let mut missing: Vec<MissingPrivilege> = source.rows(statement).await?.all(whole)?;
    missing.sort_by(|one, other| one.table.cmp(&other.table));
    Ok(missing)
}

impl Store {
    /// The rights that a booking needs and the user lacks, asked without trying.
    pub async fn missing_privileges(&self) -> Result<Vec<MissingPrivilege>> {
        let written = needs_to_write(self.features().has_history_queue).filter(|need| need.occasion == Book);
        let tables: HashSet<&str> = written.clone().map(|need| need.table).collect();
        let read = needs().filter(move |need| need.occasion == Read && tables.contains(need.table));
        missing_privileges(self, written.chain(read), false).await
    }
}
