//! Rows that come, change and go with others.

use cue_scheduler::farm::schema::Generation;

use super::case::{check, holds, passes, refused};

const GENERATIONS: [Generation; 2] = [Generation::G0, Generation::G5];
const NO_HISTORY: &str = "INSERT INTO config (pk_config, str_key) VALUES ('no', 'DISABLE_HISTORY')";
const JOB: &str =
    "INSERT INTO job (pk_job, pk_folder, pk_show, pk_facility, pk_dept, str_name, str_shot, str_user, str_state)
                   VALUES ('new', 'folder', 'show', 'facility', 'dept', 'new', 'sh2', 'bob', 'PENDING')";
const LAYER: &str = "INSERT INTO layer (pk_layer, pk_job, str_name, str_cmd, str_range, str_type, str_services)
                     VALUES ('new', 'job', 'new', 'true', '1', 'UTIL', 'maya')";

#[tokio::test]
async fn accounts_follow_procs_and_jobs() {
    let usage = "UPDATE job_resource SET int_cores = 300, int_gpus = 2";
    let layers = "SELECT string_agg(int_cores || '/' || int_gpus, ' ' ORDER BY pk_layer) FROM layer_resource";
    let folders = "SELECT string_agg(int_cores || '/' || int_gpus, ' ' ORDER BY pk_folder) FROM folder_resource";
    let points = "SELECT string_agg(int_cores || '/' || int_gpus, ' ' ORDER BY pk_point) FROM point";
    let everything = "SELECT (SELECT sum(int_cores_idle + int_mem_idle + int_gpus_idle + int_gpu_mem_idle) FROM host)
                             + (SELECT sum(int_cores + int_gpus) FROM subscription)
                             + (SELECT sum(int_cores + int_gpus) FROM layer_resource)
                             + (SELECT sum(int_cores + int_gpus) FROM job_resource)
                             + (SELECT sum(int_cores + int_gpus) FROM folder_resource)
                             + (SELECT sum(int_cores + int_gpus) FROM point)";
    let cases = [
        holds("", "UPDATE proc SET int_mem_reserved = 1500", &[("SELECT int_mem_idle FROM host", "7716")]),
        holds("", "UPDATE proc SET int_mem_reserved = 24", &[("SELECT int_mem_idle FROM host", "9192")]),
        holds("", "UPDATE proc SET int_gpu_mem_reserved = 24", &[("SELECT int_gpu_mem_idle FROM host", "4096")]),
        holds("", "UPDATE proc SET pk_layer = 'layer2'", &[(layers, "-100/-1 100/1")]),
        holds("", "UPDATE proc SET pk_layer = 'unknown'", &[(layers, "-100/-1 0/0")]),
        holds("", "UPDATE proc SET pk_layer = NULL", &[(layers, "0/0 0/0")]),
        holds("UPDATE proc SET pk_layer = NULL", "UPDATE proc SET pk_layer = 'layer'", &[(layers, "0/0 0/0")]),
        // Nothing else is written for a proc.
        holds("", "DELETE FROM proc", &[(everything, "12690")]),
        holds(
            "",
            "INSERT INTO proc (pk_proc, pk_host, pk_show, pk_job, pk_layer, pk_frame, int_cores_reserved, int_mem_reserved)
             VALUES ('new', 'host', 'show', 'job', 'layer', 'frame', 100, 100)",
            &[(everything, "12690")],
        ),
        holds(usage, "UPDATE job SET pk_folder = 'folder2'", &[(folders, "-300/-2 300/2")]),
        holds(
            "UPDATE job_resource SET int_cores = -300, int_gpus = 2",
            "UPDATE job SET pk_folder = 'folder2'",
            &[(folders, "0/-2 0/2")],
        ),
        holds(usage, "UPDATE job SET str_user = 'bob'", &[(folders, "0/0 0/0"), (points, "0/0 0/0")]),
        holds(usage, "UPDATE job SET pk_dept = 'dept2'", &[(points, "-300/-2 300/2")]),
        holds(usage, "UPDATE job SET pk_dept = 'dept2', str_state = 'FINISHED'", &[(points, "0/0 0/0")]),
    ];
    check(&GENERATIONS, &cases).await;
}

#[tokio::test]
async fn tiers_follow_use() {
    let host_local = "INSERT INTO host_local (pk_host_local, pk_job, pk_host, str_type, int_cores_max, int_cores_idle)
                      VALUES ('host_local', 'job', 'host', 'JOB_PARTITION', 400, 400)";
    let cases = [
        holds("", "UPDATE subscription SET int_cores = 500", &[("SELECT float_tier FROM subscription", "0.50")]),
        holds("", "UPDATE subscription SET int_gpus = 1", &[("SELECT float_tier FROM subscription", "-1000.00")]),
        holds(
            "UPDATE subscription SET int_size = 0",
            "UPDATE subscription SET int_cores = 150",
            &[("SELECT float_tier FROM subscription", "2.50")],
        ),
        holds("", "UPDATE job_resource SET int_cores = 250", &[("SELECT float_tier FROM job_resource", "2.50")]),
        holds(
            "",
            "UPDATE folder_resource SET int_cores = 150, int_min_cores = 300 WHERE pk_folder = 'folder'",
            &[("SELECT float_tier FROM folder_resource WHERE pk_folder = 'folder'", "0.50")],
        ),
        holds(
            "",
            "UPDATE point SET int_cores = 400, int_min_cores = 300 WHERE pk_point = 'point'",
            &[("SELECT float_tier FROM point WHERE pk_point = 'point'", "1.00")],
        ),
        holds(
            host_local,
            "UPDATE host_local SET int_cores_idle = 100",
            &[("SELECT float_tier FROM host_local", "0.75")],
        ),
    ];
    check(&GENERATIONS, &cases).await;
}

#[tokio::test]
async fn folders_bring_and_take_their_companions() {
    let folder = |parent: &str| {
        format!(
            "INSERT INTO folder (pk_folder, pk_parent_folder, pk_show, pk_dept, str_name)
             VALUES ('new', {parent}, 'show', 'dept', 'new')"
        )
    };
    let companions = "SELECT (l.pk_folder_level, r.pk_folder_resource, l.int_level, r.int_max_cores, r.int_max_gpus,
                             b_default)
                        FROM folder JOIN folder_level AS l USING (pk_folder) JOIN folder_resource AS r USING (pk_folder)
                       WHERE pk_folder = 'new'";
    let cases = [
        holds("", &folder("NULL"), &[(companions, "(new,new,0,-1,-1,t)")]),
        holds("", &folder("'folder2'"), &[(companions, "(new,new,2,-1,-1,f)")]),
        refused(
            "",
            &folder("'unknown'"),
            "23502",
            "null value in column \"int_level\" of relation \"folder_level\" violates not-null constraint",
        ),
        // Nothing forbids a second row, and joins then find the folder twice.
        passes("", "INSERT INTO folder_resource (pk_folder_resource, pk_folder) VALUES ('again', 'folder')"),
        holds(
            &format!("{}; UPDATE folder SET pk_parent_folder = 'new' WHERE pk_folder = 'folder2'", folder("NULL")),
            "DELETE FROM folder WHERE pk_folder = 'new'",
            &[
                ("SELECT count(*) FROM folder_level", "2"),
                ("SELECT count(*) FROM folder_resource", "2"),
                ("SELECT pk_parent_folder FROM folder WHERE pk_folder = 'folder2'", "new"),
            ],
        ),
    ];
    check(&GENERATIONS, &cases).await;
}

#[tokio::test]
async fn jobs_and_layers_bring_their_companions() {
    let job_companions = "SELECT (s.pk_job_stat, r.pk_job_resource, u.pk_job_usage, m.pk_job_mem, r.int_min_cores,
                                  r.int_max_cores, r.int_max_gpus, r.int_priority)
                            FROM job_stat AS s JOIN job_resource AS r USING (pk_job) JOIN job_usage AS u USING (pk_job)
                            JOIN job_mem AS m USING (pk_job) WHERE pk_job = 'new'";
    let layer_companions = "SELECT (s.pk_layer_stat, r.pk_layer_resource, u.pk_layer_usage, m.pk_layer_mem, s.pk_job,
                                    r.pk_job, u.pk_job, m.pk_job)
                              FROM layer_stat AS s JOIN layer_resource AS r USING (pk_layer)
                              JOIN layer_usage AS u USING (pk_layer) JOIN layer_mem AS m USING (pk_layer)
                             WHERE pk_layer = 'new'";
    let cases = [
        holds(
            "",
            JOB,
            &[
                (job_companions, "(new,new,new,new,100,10000,100,1)"),
                (
                    "SELECT (pk_show, pk_facility, pk_dept, str_name, str_shot, str_user, int_ts_stopped, b_archived,
                             int_ts_started = epoch(now())) FROM job_history WHERE pk_job = 'new'",
                    "(show,facility,dept,new,sh2,bob,0,f,t)",
                ),
            ],
        ),
        holds(NO_HISTORY, JOB, &[("SELECT count(*) FROM job_history WHERE pk_job = 'new'", "0")]),
        holds(
            "",
            LAYER,
            &[
                (layer_companions, "(new,new,new,new,job,job,job,job)"),
                (
                    "SELECT (pk_job, str_name, str_type, str_services, int_cores_min, int_mem_min)
                       FROM layer_history WHERE pk_layer = 'new'",
                    "(job,new,UTIL,maya,100,4194304)",
                ),
            ],
        ),
        holds(NO_HISTORY, LAYER, &[("SELECT count(*) FROM layer_history WHERE pk_layer = 'new'", "0")]),
        refused(
            JOB,
            "INSERT INTO job_stat (pk_job_stat, pk_job) VALUES ('again', 'new')",
            "23505",
            "duplicate key value violates unique constraint \"i_job_stat_pk_job\"",
        ),
    ];
    check(&GENERATIONS, &cases).await;
}

/// Numbers that tell themselves apart where they arrive.
const STATISTICS: &str = "
    UPDATE job_stat SET int_waiting_count = 1, int_dead_count = 2, int_depend_count = 3, int_eaten_count = 4,
                        int_succeeded_count = 5, int_running_count = 6;
    UPDATE job_usage SET int_core_time_success = 7, int_core_time_fail = 8, int_gpu_time_success = 9, int_gpu_time_fail = 10;
    UPDATE job_mem SET int_max_rss = 11, int_gpu_mem_max = 12;
    UPDATE job SET int_frame_count = 13, int_layer_count = 14;
    UPDATE layer_stat SET int_waiting_count = 1, int_dead_count = 2, int_depend_count = 3, int_eaten_count = 4,
                          int_succeeded_count = 5, int_running_count = 6, int_total_count = 13;
    UPDATE layer_usage SET int_core_time_success = 7, int_core_time_fail = 8, int_gpu_time_success = 9, int_gpu_time_fail = 10;
    UPDATE layer_mem SET int_max_rss = 11, int_gpu_mem_max = 12";
const COPIED: &str = "int_waiting_count, int_dead_count, int_depend_count, int_eaten_count, int_succeeded_count,
                      int_running_count, int_core_time_success, int_core_time_fail, int_gpu_time_success,
                      int_gpu_time_fail, int_max_rss, int_gpu_mem_max, int_frame_count";

#[tokio::test]
async fn a_finished_job_goes_into_history() {
    let finish = "UPDATE job SET str_state = 'FINISHED', str_visible_name = NULL, ts_stopped = now()";
    let job = format!("SELECT ({COPIED}, int_layer_count) FROM job_history");
    let layer = format!("SELECT ({COPIED}) FROM layer_history WHERE pk_layer = 'layer'");
    let stopped = "SELECT int_ts_stopped = epoch(now()) FROM job_history";
    let nothing = "(0,0,0,0,0,0,0,0,0,0,0,0,0)";
    let local = "INSERT INTO job_local (pk_job_local, pk_job, pk_host, str_source, int_max_cores)
                 VALUES ('job_local', 'job', 'host', 'desk', 200)";
    let cases = [
        // Most of a job's numbers land in another's column, as with Cuebot.
        holds(
            &format!("{STATISTICS}; {local}"),
            finish,
            &[
                (&job, "(9,10,1,2,3,4,7,8,6,11,5,12,13,14)"),
                (&layer, "(1,2,3,4,5,6,7,8,9,10,11,12,13)"),
                (stopped, "true"),
                ("SELECT b_archived FROM job_history", "false"),
                ("SELECT count(*) FROM job_local", "0"),
            ],
        ),
        holds(
            &format!("{STATISTICS}; UPDATE job SET str_state = 'SHUTDOWN'"),
            finish,
            &[(&layer, nothing), (stopped, "false")],
        ),
    ];
    check(&GENERATIONS, &cases).await;
}

#[tokio::test]
async fn deleting_takes_what_belongs_to_the_row() {
    let more = "INSERT INTO depend (pk_depend, pk_job_depend_on, pk_job_depend_er, str_type, str_signature)
                VALUES ('d1', 'job', 'else', 'JOB_ON_JOB', 'd1'), ('d2', 'else', 'job', 'JOB_ON_JOB', 'd2'),
                       ('d3', 'else', 'else', 'JOB_ON_JOB', 'd3');
                INSERT INTO frame_state_display_overrides VALUES ('o', 'frame', 'DEAD', 'text', 'red');
                INSERT INTO job_env (pk_job_env, pk_job) VALUES ('e', 'job');
                INSERT INTO layer_env (pk_layer_env, pk_layer, pk_job) VALUES ('e', 'layer', 'job');
                INSERT INTO layer_output (pk_layer_output, pk_layer, pk_job, str_filespec) VALUES ('o', 'layer', 'job', 'f');
                INSERT INTO comments (pk_comment, pk_job, str_user, str_subject, str_message) VALUES ('c', 'job', 'u', 's', 'm');
                INSERT INTO limit_record (pk_limit_record, str_name) VALUES ('limit', 'nuke');
                INSERT INTO layer_limit (pk_layer_limit, pk_layer, pk_limit_record) VALUES ('ll', 'layer', 'limit')";
    let post = "INSERT INTO job_post (pk_job_post, pk_job, pk_post_job)";
    let left = "SELECT (SELECT count(*) FROM job) + (SELECT count(*) FROM layer) + (SELECT count(*) FROM frame)
                       + (SELECT count(*) FROM job_stat) + (SELECT count(*) FROM job_resource)
                       + (SELECT count(*) FROM job_usage) + (SELECT count(*) FROM job_mem) + (SELECT count(*) FROM job_env)
                       + (SELECT count(*) FROM layer_stat) + (SELECT count(*) FROM layer_resource)
                       + (SELECT count(*) FROM layer_usage) + (SELECT count(*) FROM layer_mem)
                       + (SELECT count(*) FROM layer_env) + (SELECT count(*) FROM layer_output)
                       + (SELECT count(*) FROM layer_limit) + (SELECT count(*) FROM comments)
                       + (SELECT count(*) FROM frame_state_display_overrides)";
    let archived = "SELECT ((SELECT b_archived FROM job_history), (SELECT bool_and(b_archived) FROM layer_history))";
    let delete_job = "DELETE FROM job WHERE pk_job = 'job'";
    let referenced = |table: &str, by: &str, constraint: &str| {
        format!(
            "update or delete on table \"{table}\" violates foreign key constraint \"{constraint}\" on table \"{by}\""
        )
    };
    let cases = [
        holds(
            &format!("{more}; {STATISTICS}"),
            delete_job,
            &[
                (left, "0"),
                ("SELECT string_agg(pk_depend, ' ') FROM depend", "d3"),
                ("SELECT count(*) FROM limit_record", "1"),
                (archived, "(t,t)"),
                ("SELECT int_depend_count FROM job_history", "1"),
                ("SELECT int_waiting_count FROM layer_history WHERE pk_layer = 'layer'", "1"),
            ],
        ),
        holds(NO_HISTORY, delete_job, &[(archived, "(f,t)")]),
        holds(
            &format!("{JOB}; {post} VALUES ('p', 'job', 'new')"),
            delete_job,
            &[("SELECT count(*) FROM job_post", "0")],
        ),
        refused(
            &format!("{JOB}; {post} VALUES ('p', 'new', 'job')"),
            delete_job,
            "23503",
            &referenced("job", "job_post", "c_job_post_pk_post_job"),
        ),
        refused(
            "UPDATE proc SET pk_frame = 'frame'",
            delete_job,
            "23503",
            &referenced("frame", "proc", "c_proc_pk_frame"),
        ),
        refused(
            "INSERT INTO host_local (pk_host_local, pk_job, pk_host, str_type) VALUES ('l', 'job', 'host', 'JOB_PARTITION')",
            delete_job,
            "23503",
            &referenced("job", "host_local", "c_host_local_pk_job"),
        ),
        holds(
            &format!("{more}; DELETE FROM frame_state_display_overrides; DELETE FROM frame"),
            "DELETE FROM layer WHERE pk_layer = 'layer'",
            &[
                ("SELECT count(*) FROM layer_limit", "0"),
                ("SELECT count(*) FROM limit_record", "1"),
                ("SELECT string_agg(pk_layer, ' ') FROM layer_stat", "layer2"),
            ],
        ),
        refused(
            "",
            "DELETE FROM layer WHERE pk_layer = 'layer'",
            "23503",
            &referenced("layer", "frame", "c_frame_pk_layer"),
        ),
        refused("", "DELETE FROM host", "23503", &referenced("host", "proc", "c_proc_pk_host")),
        holds(
            "DELETE FROM proc; INSERT INTO host_tag (pk_host_tag, pk_host, str_tag) VALUES ('t', 'host', 'general');
             INSERT INTO deed (pk_deed, pk_owner, pk_host) VALUES ('d', 'owner', 'host')",
            "DELETE FROM host",
            &[(
                "SELECT (SELECT count(*) FROM host_stat) + (SELECT count(*) FROM host_tag) + (SELECT count(*) FROM deed)",
                "0",
            )],
        ),
        // A whole history goes with the row of its job.
        holds(
            "",
            "DELETE FROM job_history",
            &[("SELECT count(*) FROM layer_history", "0"), ("SELECT count(*) FROM frame_history", "0")],
        ),
    ];
    check(&GENERATIONS, &cases).await;
}
