//! What the start and the end of a run leave behind: rows of `frame_history`, at once or by the queue.

use cue_scheduler::farm::schema::Generation;

use super::case::{check, holds, refused};

/// Generations that write history in the transaction of the change.
const AT_ONCE: [Generation; 2] = [Generation::G0, Generation::G4];

const START: &str = "UPDATE frame SET str_state = 'RUNNING', str_host = 'host1', int_cores = 150, int_mem_reserved = 7,
                            int_gpus = 1, int_gpu_mem_reserved = 3, int_version = int_version + 1";
const STOP: &str = "UPDATE frame SET str_state = 'SUCCEEDED', int_exit_status = 0, int_mem_max_used = 9,
                           int_gpu_mem_max_used = 4";
const OPEN_ROW: &str =
    "SELECT (pk_frame, pk_layer, pk_job, str_name, str_state, int_mem_reserved, int_mem_max_used, int_cores,
                                str_host, int_exit_status, pk_alloc, int_ts_stopped, int_checkpoint_count, int_gpus,
                                int_gpu_mem_reserved, int_gpu_mem_max_used) FROM frame_history";
const OPEN: &str = "(frame,layer,job,0001-beauty,RUNNING,7,0,150,host1,-1,alloc,0,0,1,3,0)";
const CLOSED_ROW: &str =
    "SELECT (str_state, int_mem_max_used, int_gpu_mem_max_used, int_exit_status, int_checkpoint_count,
                                  int_ts_stopped = epoch(now())) FROM frame_history";
const ROWS: &str = "SELECT count(*) FROM frame_history";
const NO_HISTORY: &str = "INSERT INTO config (pk_config, str_key, b_value) VALUES ('no', 'DISABLE_HISTORY', false)";

#[tokio::test]
async fn a_run_is_written_when_it_starts_and_ends() {
    let host_of_70 = "UPDATE frame SET str_state = 'RUNNING', str_host = repeat('h', 70)";
    let cases = [
        holds(
            "",
            START,
            &[
                (ROWS, "1"),
                (OPEN_ROW, OPEN),
                ("SELECT (int_ts_started = epoch(now()), dt_last_modified = current_date) FROM frame_history", "(t,t)"),
            ],
        ),
        holds(
            "",
            "UPDATE frame SET str_state = 'RUNNING', str_host = 'elsewhere'",
            &[("SELECT (str_host, pk_alloc) FROM frame_history", "(elsewhere,)")],
        ),
        holds(START, STOP, &[(ROWS, "1"), (CLOSED_ROW, "(RUNNING,9,4,0,0,t)")]),
        holds(
            &format!("{START}; UPDATE frame SET str_checkpoint_state = 'ENABLED'"),
            "UPDATE frame SET str_state = 'WAITING', int_exit_status = 1",
            &[(CLOSED_ROW, "(RUNNING,0,0,1,1,t)")],
        ),
        // Every open row is closed, whoever left it open.
        holds(
            &format!("{START}; {STOP}; UPDATE frame_history SET int_ts_stopped = 0; {START}"),
            STOP,
            &[("SELECT count(*) FROM frame_history WHERE int_ts_stopped <> 0", "2")],
        ),
        // A cleared run leaves nothing, an earlier one stays.
        holds(START, "UPDATE frame SET str_state = 'WAITING', int_exit_status = 299", &[(ROWS, "0")]),
        holds(
            &format!("{START}; {STOP}; {START}"),
            "UPDATE frame SET str_state = 'WAITING', int_exit_status = 299",
            &[(ROWS, "1"), ("SELECT int_ts_stopped <> 0 FROM frame_history", "true")],
        ),
        holds("", "UPDATE frame SET str_state = 'DEAD', int_exit_status = 299", &[(ROWS, "0")]),
        holds(NO_HISTORY, START, &[(ROWS, "0")]),
        holds(&format!("{START}; {NO_HISTORY}"), STOP, &[("SELECT int_ts_stopped FROM frame_history", "0")]),
        refused("", host_of_70, "22001", "value too long for type character varying(64)"),
        refused(
            START,
            "UPDATE frame SET str_state = 'DEAD', int_exit_status = 40000",
            "22003",
            "smallint out of range",
        ),
        refused(
            "DELETE FROM layer_history WHERE pk_layer = 'layer'",
            START,
            "23503",
            "insert or update on table \"frame_history\" violates foreign key constraint \"c_frame_history_pk_layer\"",
        ),
    ];
    check(&AT_ONCE, &cases).await;
}

#[tokio::test]
async fn a_run_is_queued_and_drained() {
    let queued = "SELECT string_agg(str_event, '' ORDER BY id) FROM frame_history_queue";
    let drain = "SELECT frame_history_drain(100)";
    let exit_40000 = "UPDATE frame SET str_state = 'DEAD', int_exit_status = 40000";
    let host_of_70 = "UPDATE frame SET str_state = 'RUNNING', str_host = repeat('h', 70)";
    let cleared = "UPDATE frame SET str_state = 'WAITING', int_exit_status = 299";
    let cases = [
        holds(
            "",
            START,
            &[
                (ROWS, "0"),
                (queued, "S"),
                (
                    "SELECT (str_event, pk_frame, int_ts = epoch(now()), pk_layer, pk_job, str_name, str_host, pk_alloc, int_cores,
                             int_mem_reserved, int_gpus, int_gpu_mem_reserved, int_mem_max_used, int_gpu_mem_max_used,
                             int_exit_status, int_checkpoint_count) FROM frame_history_queue",
                    "(S,frame,t,layer,job,0001-beauty,host1,alloc,150,7,1,3,,,,)",
                ),
            ],
        ),
        holds(
            &format!("{START}; DELETE FROM frame_history_queue"),
            STOP,
            &[(
                "SELECT (str_event, pk_frame, int_ts = epoch(now()), pk_layer, int_mem_max_used, int_gpu_mem_max_used,
                         int_exit_status, int_checkpoint_count) FROM frame_history_queue",
                "(E,frame,t,,9,4,0,0)",
            )],
        ),
        holds(
            &format!("{START}; {cleared}; {START}"),
            STOP,
            &[(queued, "SXSE"), ("SELECT frame_history_drain(100)", "4"), (queued, "null"), (ROWS, "1")],
        ),
        holds(START, exit_40000, &[(queued, "SE")]),
        holds("", host_of_70, &[(queued, "S")]),
        holds(NO_HISTORY, START, &[(queued, "null")]),
        holds(START, drain, &[(OPEN_ROW, OPEN), (queued, "null")]),
        holds(&format!("{START}; {STOP}"), drain, &[(ROWS, "1"), (CLOSED_ROW, "(RUNNING,9,4,0,0,t)")]),
        holds(&format!("{START}; {drain}; {STOP}"), drain, &[(ROWS, "1"), (CLOSED_ROW, "(RUNNING,9,4,0,0,t)")]),
        holds(&format!("{START}; {cleared}"), drain, &[(ROWS, "0")]),
        holds(&format!("{START}; {drain}; {cleared}"), drain, &[(ROWS, "0")]),
        // The oldest first, no more than asked for.
        holds(&format!("{START}; {STOP}"), "SELECT frame_history_drain(1)", &[(queued, "E"), (OPEN_ROW, OPEN)]),
        holds(host_of_70, drain, &[("SELECT length(str_host) FROM frame_history", "64")]),
        holds(
            &format!("{START}; DELETE FROM layer_history WHERE pk_layer = 'layer'"),
            drain,
            &[(ROWS, "0"), (queued, "null")],
        ),
        refused(&format!("{START}; {exit_40000}"), drain, "22003", "smallint out of range"),
        holds(
            &format!("{START}; {exit_40000}"),
            "SELECT frame_history_drain(100, true, true)",
            &[(queued, "null"), ("SELECT int_ts_stopped FROM frame_history", "0")],
        ),
    ];
    check(&[Generation::G5], &cases).await;
}
