//! Functions, the view, and the rows that come with the schema.

use cue_scheduler::farm::schema::Generation;

use super::case::{check, holds, refused};

const GENERATIONS: [Generation; 2] = [Generation::G0, Generation::G5];

#[tokio::test]
async fn functions_compute_as_cuebots() {
    let value = |query: &str, value: &str| holds("", "", &[(query, value)]);
    let cases = [
        value("SELECT tier(500, 1000)::numeric(16, 2)", "0.50"),
        value("SELECT tier(0, 1000)::numeric(16, 2)", "-1000.00"),
        value("SELECT tier(150, 0)::numeric(16, 2)", "2.50"),
        value("SELECT tier(0, 0)::numeric(16, 2)", "1.00"),
        value("SELECT soft_tier(500, 1000)::numeric(16, 2)", "0.50"),
        value("SELECT soft_tier(0, 1000)::numeric(16, 2)", "-1000.00"),
        value("SELECT soft_tier(1000, 1000)::numeric(16, 2)", "1.00"),
        value("SELECT soft_tier(0, 0)::numeric(16, 2)", "1.00"),
        value("SELECT soft_tier(NULL, 1)::numeric(16, 2)", "0.00"),
        value("SELECT epoch('1970-01-02 00:00:00+00')", "86400"),
        value("SELECT epoch(NULL)", "null"),
        value("SELECT interval_to_seconds('1 day 02:03:04')::int", "93784"),
        value("SELECT interval_to_seconds('2 years 3 months')::int", "0"),
        refused("", "SELECT epoch('2038-02-01')", "22003", "integer out of range"),
    ];
    check(&GENERATIONS, &cases).await;
}

#[tokio::test]
async fn tags_of_a_host_are_joined() {
    let tags = "INSERT INTO host_tag (pk_host_tag, pk_host, str_tag, str_tag_type)
                VALUES ('1', 'host', 'zoo', 'ALLOC'), ('2', 'host', 'b', 'MANUAL'), ('3', 'host', 'a', 'MANUAL'),
                       ('4', 'other', 'x', 'MANUAL')";
    let long = "INSERT INTO host_tag (pk_host_tag, pk_host, str_tag)
                SELECT n, 'host', repeat('t', 45) FROM generate_series(1, 3) AS n";
    let cases = [
        holds(tags, "SELECT recalculate_tags('host')", &[("SELECT str_tags FROM host", "zoo a b")]),
        holds("", "SELECT recalculate_tags('host')", &[("SELECT str_tags FROM host", "")]),
        refused(long, "SELECT recalculate_tags('host')", "22001", "value too long for type character varying(128)"),
    ];
    check(&GENERATIONS, &cases).await;
}

#[tokio::test]
async fn subscriptions_are_counted_again() {
    // Over the burst, which stays; a local proc and one on another allocation's host do not count.
    let given = "UPDATE subscription SET int_burst = 150, int_size = 100;
                 INSERT INTO host (pk_host, pk_alloc, str_name, str_lock_state) VALUES ('far', 'alloc2', 'far', 'OPEN');
                 INSERT INTO proc (pk_proc, pk_host, pk_show, int_cores_reserved, int_mem_reserved, int_gpus_reserved, b_local)
                 VALUES ('p1', 'host', 'show', 300, 1, 2, false), ('p2', 'host', 'show', 1000, 1, 9, true),
                        ('p3', 'far', 'show', 5000, 1, 9, false)";
    let result = "SELECT (int_cores, int_gpus, int_burst) FROM subscription";
    let cases = [
        holds(given, "SELECT recalculate_subs()", &[(result, "(400,3,150)")]),
        holds(
            "DELETE FROM proc; UPDATE subscription SET int_cores = 700, int_gpus = 4",
            "SELECT recalculate_subs()",
            &[(result, "(0,0,2000)")],
        ),
    ];
    check(&[Generation::G0, Generation::G1, Generation::G5], &cases).await;
    // From then on, shows that somebody else schedules are nobody's duty here.
    let cases = [holds(
        &format!(
            "{given}; UPDATE show SET b_scheduler_managed = true; UPDATE subscription SET int_cores = 7, int_burst = 149"
        ),
        "SELECT recalculate_subs()",
        &[(result, "(7,0,149)")],
    )];
    check(&[Generation::G2, Generation::G5], &cases).await;
}

#[tokio::test]
async fn shows_wait_while_a_job_could_start() {
    let waiting = "SELECT string_agg(pk_show, ' ') FROM vs_waiting";
    let cases = [
        holds("", "", &[(waiting, "show")]),
        holds("", "UPDATE job_stat SET int_waiting_count = 0", &[(waiting, "null")]),
        holds("", "UPDATE job_stat SET int_waiting_count = -1", &[(waiting, "show")]),
        holds("", "UPDATE job SET b_paused = true", &[(waiting, "null")]),
        holds("", "UPDATE job SET str_state = 'FINISHED'", &[(waiting, "null")]),
        holds("", "UPDATE job_resource SET int_max_cores = 200, int_cores = 100", &[(waiting, "show")]),
        holds("", "UPDATE job_resource SET int_max_cores = 200, int_cores = 101", &[(waiting, "null")]),
        holds("", "UPDATE job_resource SET int_max_cores = -1", &[(waiting, "null")]),
        holds("", "UPDATE show SET b_active = false, b_booking_enabled = false", &[(waiting, "show")]),
    ];
    check(&GENERATIONS, &cases).await;
}

#[tokio::test]
async fn the_schema_comes_with_its_locks() {
    let locks = "SELECT string_agg(right(pk_task_lock, 1), '' ORDER BY pk_task_lock) FROM task_lock";
    let retries = ("SELECT int_value FROM config WHERE str_key = 'MAX_FRAME_RETRIES'", "16");
    for (generation, numbers) in [
        (Generation::G0, "1235"),
        (Generation::G1, "123567"),
        (Generation::G2, "123567"),
        (Generation::G3, "1235678"),
        (Generation::G4, "12356789"),
        (Generation::G5, "12356789"),
    ] {
        check(&[generation], &[holds("", "", &[(locks, numbers), retries])]).await;
    }
}
