//! What the database refuses, with the exact messages, and what slips through.

use cue_scheduler::farm::schema::Generation;

use super::case::{check, holds, passes, raises, refused};

const GENERATIONS: [Generation; 2] = [Generation::G0, Generation::G5];

#[tokio::test]
async fn a_proc_needs_cores() {
    let proc = |cores: i32, more: &str| {
        format!(
            "INSERT INTO proc (pk_proc, pk_host, pk_frame, int_cores_reserved, int_mem_reserved)
             VALUES ('new', 'host', 'frame', {cores}, 1){more}"
        )
    };
    let message = "failed to allocate proc, tried to allocate 0 cores";
    let cases = [
        raises("", &proc(0, ""), message),
        raises("", &proc(-1, ""), message),
        raises("", &proc(0, " ON CONFLICT DO NOTHING"), message),
        passes("", &proc(1, "")),
        passes("", "UPDATE proc SET int_cores_reserved = 0"),
        refused(
            "UPDATE proc SET pk_frame = 'frame'",
            &proc(1, ""),
            "23505",
            "duplicate key value violates unique constraint \"c_proc_uk\"",
        ),
        passes(
            "",
            "INSERT INTO proc (pk_proc, pk_host, int_cores_reserved, int_mem_reserved)
             VALUES ('p1', 'host', 1, 1), ('p2', 'host', 1, 1)",
        ),
    ];
    check(&GENERATIONS, &cases).await;
}

#[tokio::test]
async fn a_host_never_gives_more_than_it_has() {
    let set = |what: &str| format!("UPDATE host SET {what}");
    let cores = "unable to allocate additional core units";
    let memory = "unable to allocate additional memory";
    let gpus = "unable to allocate additional GPU units";
    let gpu_memory = "unable to allocate additional GPU memory";
    // A row that was inserted below zero: nothing looks at it then.
    let below = "INSERT INTO host (pk_host, pk_alloc, str_name, str_lock_state, int_cores_idle)
                 VALUES ('low', 'alloc', 'low', 'OPEN', -5)";
    let cases = [
        raises("", &set("int_cores_idle = -1"), cores),
        raises("", &set("int_mem_idle = -1"), memory),
        raises("", &set("int_gpus_idle = -1"), gpus),
        raises("", &set("int_gpu_mem_idle = -1"), gpu_memory),
        raises("", &set("int_cores_idle = -1, int_mem_idle = -1, int_gpus_idle = -1, int_gpu_mem_idle = -1"), cores),
        raises("", &set("int_mem_idle = -1, int_gpus_idle = -1, int_gpu_mem_idle = -1"), memory),
        raises("", &set("int_gpus_idle = -1, int_gpu_mem_idle = -1"), gpus),
        passes("", &set("int_cores_idle = 0, int_mem_idle = 0, int_gpus_idle = 0, int_gpu_mem_idle = 0")),
        passes("", &set("int_cores_idle = 401, int_mem_idle = 8193")),
        raises(below, "UPDATE host SET int_cores_idle = -4 WHERE pk_host = 'low'", cores),
        raises(below, "UPDATE host SET int_mem_idle = 1 WHERE pk_host = 'low'", cores),
        passes(below, "UPDATE host SET int_cores_idle = 0 WHERE pk_host = 'low'"),
        passes(below, "UPDATE host SET str_lock_state = 'LOCKED' WHERE pk_host = 'low'"),
        raises("", "UPDATE proc SET int_mem_reserved = 1024 + 8193", memory),
    ];
    check(&GENERATIONS, &cases).await;
}

#[tokio::test]
async fn a_job_never_grows_over_its_caps() {
    let set = |what: &str| format!("UPDATE job_resource SET {what}");
    let cores = "job has exceeded max cores";
    let gpus = "job has exceeded max GPU units";
    // Moving the cap in the same update lets anything through.
    let over = &set("int_cores = 300, int_max_cores = 200");
    let cases = [
        passes(&set("int_max_cores = 200"), &set("int_cores = 200")),
        raises(&set("int_max_cores = 200"), &set("int_cores = 201"), cores),
        raises(&set("int_max_cores = -1"), &set("int_cores = 1"), cores),
        raises(&set("int_max_cores = 0"), &set("int_cores = 1"), cores),
        passes(&set("int_max_gpus = 2"), &set("int_gpus = 2")),
        raises(&set("int_max_gpus = 2"), &set("int_gpus = 3"), gpus),
        raises(&set("int_max_gpus = 0"), &set("int_gpus = 1"), gpus),
        raises(&set("int_max_gpus = -1"), &set("int_cores = 1"), gpus),
        passes(&set("int_max_gpus = 0"), &set("int_cores = 1")),
        passes("", over),
        raises(over, &set("int_gpus = 1"), cores),
        passes(over, &set("int_cores = 299")),
        passes(over, &set("int_cores = 301, int_max_cores = 201")),
        passes(over, &set("int_priority = 5")),
        passes("", &set("int_local_cores = 99999, int_local_gpus = 99999")),
    ];
    check(&GENERATIONS, &cases).await;
}

#[tokio::test]
async fn a_subscription_never_grows_over_its_burst() {
    let set = |what: &str| format!("UPDATE subscription SET {what}");
    let message = "subscription has exceeded burst size";
    let cases = [
        passes("", &set("int_cores = 2000")),
        raises("", &set("int_cores = 2001"), message),
        raises(&set("int_burst = 0"), &set("int_cores = 1"), message),
        raises(&set("int_burst = -1"), &set("int_cores = 1"), message),
        passes("", &set("int_cores = 3000, int_burst = 2999")),
        passes(&set("int_cores = 3000, int_burst = 100"), &set("int_cores = 2999")),
        passes("", &set("int_gpus = 99999")),
    ];
    check(&GENERATIONS, &cases).await;
}

#[tokio::test]
async fn a_workstation_share_is_tested_as_cuebot_tests_it() {
    let job_local = "INSERT INTO job_local (pk_job_local, pk_job, pk_host, str_source, int_max_cores)
                     VALUES ('job_local', 'job', 'host', 'desk', 200)";
    let host_local = "INSERT INTO host_local (pk_host_local, pk_job, pk_host, str_type, int_mem_idle, int_gpus_idle,
                                              int_gpu_mem_idle)
                      VALUES ('host_local', 'job', 'host', 'JOB_PARTITION', 10, 10, 10)";
    let job = |what: &str| format!("UPDATE job_local SET {what}");
    let host = |what: &str| format!("UPDATE host_local SET {what}");
    let cases = [
        passes(job_local, &job("int_cores = 200")),
        raises(job_local, &job("int_cores = 201"), "job local has exceeded max cores"),
        passes(job_local, &job("int_cores = 201, int_max_cores = 100")),
        raises(
            host_local,
            &host("int_cores_idle = -1, int_gpus_idle = 9"),
            "host local doesnt have enough idle cores.",
        ),
        raises(host_local, &host("int_mem_idle = -1, int_gpus_idle = 9"), "host local doesnt have enough idle memory"),
        raises(
            host_local,
            &host("int_cores_idle = 1, int_gpus_idle = -1"),
            "host local doesnt have enough GPU idle cores.",
        ),
        raises(
            host_local,
            &host("int_mem_idle = 1, int_gpu_mem_idle = -1"),
            "host local doesnt have enough GPU idle memory.",
        ),
        // Only when one of each kind changes, and no maximum does.
        passes(host_local, &host("int_cores_idle = -1")),
        passes(host_local, &host("int_gpus_idle = -1")),
        passes(host_local, &host("int_cores_idle = -1, int_gpus_idle = -1, int_cores_max = 1")),
    ];
    check(&GENERATIONS, &cases).await;
}

#[tokio::test]
async fn other_counters_take_any_number() {
    let cases = [
        passes(
            "UPDATE folder_resource SET int_max_cores = 1",
            "UPDATE folder_resource SET int_cores = 5, int_gpus = -5",
        ),
        passes("", "UPDATE point SET int_cores = 99999, int_gpus = -5"),
        passes("", "UPDATE layer_resource SET int_cores = 99999, int_gpus = -5"),
        passes("", "UPDATE layer_stat SET int_waiting_count = -5"),
    ];
    check(&GENERATIONS, &cases).await;
}

#[tokio::test]
async fn limits_are_what_they_say() {
    let limit = |more: &str, values: &str| {
        format!(
            "INSERT INTO limit_record (pk_limit_record, str_name, int_max_value{more}) VALUES ('limit', 'nuke', 5{values})"
        )
    };
    let plain = limit("", "");
    let host = |tokens: i32| {
        format!(
            "INSERT INTO limit_host (pk_limit_host, pk_limit_record, str_host_name, str_reported_name, int_tokens)
             VALUES ('h{tokens}', 'limit', 'host1', 'Host1.farm', {tokens})"
        )
    };
    let bound = |key: &str, source: &str| {
        format!(
            "INSERT INTO layer_limit (pk_layer_limit, pk_layer, pk_limit_record, str_source)
             VALUES ('{key}', 'layer', 'limit', '{source}')"
        )
    };
    let check_of = |table: &str, column: &str| {
        format!("new row for relation \"{table}\" violates check constraint \"c_{table}_{column}\"")
    };
    let unique = |constraint: &str| format!("duplicate key value violates unique constraint \"{constraint}\"");
    let cases = [
        refused("", &limit(", str_type", ", 'SEAT'"), "23514", &check_of("limit_record", "str_type")),
        refused("", &limit(", str_enforcement", ", ''"), "23514", &check_of("limit_record", "str_enforcement")),
        refused("", &limit(", int_exit_status", ", 1"), "23514", &check_of("limit_record", "int_exit_status")),
        refused("", &limit(", int_delay_minutes", ", -1"), "23514", &check_of("limit_record", "int_delay_minutes")),
        refused(&plain, &plain.replace("'limit'", "'limit2'"), "23505", &unique("c_limit_record_str_name_uk")),
        refused(&plain, &bound("a", "GUESS"), "23514", &check_of("layer_limit", "str_source")),
        refused(&format!("{plain}; {}", bound("a", "SPEC")), &bound("b", "AUTO"), "23505", &unique("c_layer_limit_uk")),
        refused(&plain, &host(0), "23514", &check_of("limit_host", "int_tokens")),
        refused(&format!("{plain}; {}", host(1)), &host(2), "23505", &unique("c_limit_host_uk")),
        holds(
            &format!("{plain}; {}; INSERT INTO limit_usage (pk_limit_record) VALUES ('limit')", host(1)),
            "DELETE FROM limit_record",
            &[("SELECT (SELECT count(*) FROM limit_host) + (SELECT count(*) FROM limit_usage)", "0")],
        ),
    ];
    check(&[Generation::G4, Generation::G5], &cases).await;
    // Before, nothing was unique or tied to anything.
    let cases = [
        passes(&plain, &plain),
        passes(
            "",
            "INSERT INTO layer_limit (pk_layer_limit, pk_layer, pk_limit_record) VALUES ('a', 'x', 'y'), ('a', 'x', 'y')",
        ),
    ];
    check(&[Generation::G0, Generation::G3], &cases).await;
}
