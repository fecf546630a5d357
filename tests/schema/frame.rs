//! frame: which state an update really leads to, versions, counters, eligibility.

use cue_scheduler::farm::schema::Generation;

use super::case::{Case, check, holds, refused};

const STATES: [&str; 8] = ["SETUP", "WAITING", "RUNNING", "SUCCEEDED", "DEPEND", "DEAD", "EATEN", "CHECKPOINT"];
const COUNTED: [&str; 7] = ["waiting", "running", "succeeded", "depend", "dead", "eaten", "checkpoint"];

/// A frame that is in `state` without having come there, and counters that are all ten.
fn frame_in(state: &str) -> String {
    let tens = COUNTED.map(|counted| format!("int_{counted}_count = 10")).join(", ");
    format!(
        "INSERT INTO frame (pk_frame, pk_layer, pk_job, str_name, str_state, int_number, int_layer_order)
         VALUES ('other', 'layer', 'job', 'other', '{state}', 2, 1);
         UPDATE layer_stat SET {tens}; UPDATE job_stat SET {tens}"
    )
}

/// The counters as [`frame_in`] made them, after one frame went from `old` to `new`.
fn counters(old: &str, new: &str) -> String {
    let values = COUNTED.map(|counted| {
        let state = counted.to_uppercase();
        (10 - i32::from(state == old) + i32::from(state == new)).to_string()
    });
    format!("({})", values.join(","))
}

fn read_counters(table: &str, key: &str) -> String {
    format!("SELECT ({}) FROM {table} WHERE {key}", COUNTED.map(|counted| format!("int_{counted}_count")).join(", "))
}

/// `set` on a frame in `old` leads to `new`, moves the counters and leaves the version at `version`.
fn leads(old: &str, given: &str, set: &str, new: &str, version: i32) -> Case {
    let (counted_old, counted_new) = if old == "SETUP" { ("", "") } else { (old, new) };
    let expected = counters(counted_old, counted_new);
    holds(
        &format!("{}; {given}", frame_in(old)),
        &format!("UPDATE frame SET {set} WHERE pk_frame = 'other'"),
        &[
            ("SELECT str_state FROM frame WHERE pk_frame = 'other'", new),
            ("SELECT int_version FROM frame WHERE pk_frame = 'other'", &version.to_string()),
            (&read_counters("layer_stat", "pk_layer = 'layer'"), &expected),
            (&read_counters("layer_stat", "pk_layer = 'layer2'"), &counters("", "")),
            (&read_counters("job_stat", "pk_job = 'job'"), &expected),
            ("SELECT sum(int_total_count) FROM layer_stat", "1"),
        ],
    )
}

#[tokio::test]
async fn counters_follow_every_pair_of_states() {
    let mut cases = Vec::new();
    for old in STATES {
        for new in STATES {
            cases.push(match (old, new) {
                ("SETUP", "SETUP") => leads(old, "", "str_state = 'SETUP'", new, 0),
                (_, "SETUP") => refused(
                    &frame_in(old),
                    "UPDATE frame SET str_state = 'SETUP' WHERE pk_frame = 'other'",
                    "42703",
                    "column \"int_setup_count\" does not exist",
                ),
                ("SUCCEEDED", "EATEN") => leads(old, "", "str_state = 'EATEN'", "SUCCEEDED", 0),
                _ => leads(old, "", &format!("str_state = '{new}'"), new, 0),
            });
        }
    }
    cases.push(refused(
        &frame_in("WAITING"),
        "UPDATE frame SET str_state = 'Lost' WHERE pk_frame = 'other'",
        "42703",
        "column \"int_lost_count\" does not exist",
    ));
    check(&[Generation::G0, Generation::G1, Generation::G5], &cases).await;
}

#[tokio::test]
async fn dependencies_and_checkpoints_decide_the_state() {
    let mut cases = vec![
        // Whatever state was asked for, and one version more than the statement's own.
        leads(
            "DEPEND",
            "UPDATE frame SET int_depend_count = 2 WHERE pk_frame = 'other'",
            "int_depend_count = 1",
            "DEPEND",
            0,
        ),
        leads(
            "DEPEND",
            "UPDATE frame SET int_depend_count = 2 WHERE pk_frame = 'other'",
            "int_depend_count = 0",
            "WAITING",
            1,
        ),
        leads(
            "DEPEND",
            "UPDATE frame SET int_depend_count = 2 WHERE pk_frame = 'other'",
            "int_depend_count = 0, str_state = 'EATEN', int_version = int_version + 1",
            "WAITING",
            2,
        ),
        leads("DEPEND", "", "int_depend_count = 0", "DEPEND", 0),
        leads("DEAD", "", "int_depend_count = 1", "DEPEND", 1),
        leads("RUNNING", "", "int_depend_count = 1, str_state = 'WAITING'", "DEPEND", 1),
        leads("RUNNING", "", "str_checkpoint_state = 'ENABLED', str_state = 'WAITING'", "CHECKPOINT", 0),
        leads("RUNNING", "", "str_checkpoint_state = 'COPYING', str_state = 'WAITING'", "CHECKPOINT", 0),
        leads("RUNNING", "", "str_checkpoint_state = 'COMPLETE', str_state = 'WAITING'", "WAITING", 0),
        leads("RUNNING", "", "str_checkpoint_state = 'ENABLED', str_state = 'DEAD'", "DEAD", 0),
        leads("DEAD", "", "str_checkpoint_state = 'ENABLED', str_state = 'WAITING'", "WAITING", 0),
        // The dependency beats the checkpoint.
        leads(
            "RUNNING",
            "",
            "str_checkpoint_state = 'ENABLED', int_depend_count = 1, str_state = 'WAITING'",
            "DEPEND",
            1,
        ),
        leads("SUCCEEDED", "", "int_depend_count = 1, str_state = 'EATEN'", "DEPEND", 1),
        holds(
            &format!("{}; UPDATE frame SET int_version = NULL WHERE pk_frame = 'other'", frame_in("WAITING")),
            "UPDATE frame SET int_depend_count = 1 WHERE pk_frame = 'other'",
            &[
                ("SELECT (str_state, int_version) FROM frame WHERE pk_frame = 'other'", "(DEPEND,)"),
                ("SELECT ts_updated = now() FROM frame WHERE pk_frame = 'other'", "true"),
            ],
        ),
        holds(
            &format!("{}; UPDATE frame SET int_depend_count = 1 WHERE pk_frame = 'other'", frame_in("DEPEND")),
            "UPDATE frame SET int_depend_count = 0 WHERE pk_frame = 'other'",
            &[("SELECT ts_updated = now() FROM frame WHERE pk_frame = 'other'", "true")],
        ),
        holds(
            &format!(
                "{}; UPDATE frame SET str_checkpoint_state = 'ENABLED' WHERE pk_frame = 'other'",
                frame_in("RUNNING")
            ),
            "UPDATE frame SET str_state = 'WAITING' WHERE pk_frame = 'other'",
            &[("SELECT int_checkpoint_count FROM frame WHERE pk_frame = 'other'", "0")],
        ),
    ];
    for state in ["WAITING", "DEAD", "SUCCEEDED", "CHECKPOINT"] {
        cases.push(leads(state, "", "int_depend_count = 1", "DEPEND", 1));
    }
    for state in ["RUNNING", "EATEN", "SETUP"] {
        cases.push(leads(state, "", "int_depend_count = 1", state, 0));
    }
    check(&[Generation::G0, Generation::G1, Generation::G5], &cases).await;
}

#[tokio::test]
async fn frames_become_eligible_when_they_may_start() {
    let eligible = "SELECT ts_eligible = now() FROM frame WHERE pk_frame = 'other'";
    let long_ago = "UPDATE frame SET ts_eligible = '2020-01-01' WHERE pk_frame = 'other'";
    let given = |state: &str, more: &str| format!("{}; {long_ago}; {more}", frame_in(state));
    let set = |what: &str| format!("UPDATE frame SET {what} WHERE pk_frame = 'other'");
    let waits = set("int_depend_count = 1");
    let cases = [
        holds("", &frame_in("WAITING"), &[(eligible, "true")]),
        holds("", &frame_in("DEPEND"), &[(eligible, "null")]),
        holds(
            "",
            "INSERT INTO frame (pk_frame, pk_layer, pk_job, str_name, str_state, int_number, int_layer_order, ts_eligible)
             VALUES ('other', 'layer', 'job', 'other', 'WAITING', 2, 1, '2020-01-01')",
            &[(eligible, "false")],
        ),
        holds(&given("SETUP", ""), &set("str_state = 'WAITING'"), &[(eligible, "true")]),
        holds(&given("SETUP", ""), &set("str_state = 'DEPEND'"), &[(eligible, "false")]),
        holds(
            &given("SETUP", ""),
            &set("str_state = 'WAITING', int_depend_count = 1"),
            &[(eligible, "true"), ("SELECT str_state FROM frame WHERE pk_frame = 'other'", "DEPEND")],
        ),
        holds(&given("DEPEND", &waits), &set("int_depend_count = 0"), &[(eligible, "true")]),
        holds(&given("DEAD", ""), &set("str_state = 'WAITING'"), &[(eligible, "false")]),
        holds(&given("RUNNING", ""), &set("str_state = 'WAITING'"), &[(eligible, "false")]),
        holds(&given("WAITING", ""), &set("int_depend_count = 1"), &[(eligible, "false")]),
    ];
    check(&[Generation::G1, Generation::G5], &cases).await;
}

#[tokio::test]
async fn a_layer_keeps_its_first_start_and_last_stop() {
    let span = "SELECT (ts_started::date, ts_stopped::date) FROM layer_stat WHERE pk_layer = 'layer'";
    let set = |what: &str| format!("UPDATE frame SET {what} WHERE pk_frame = 'other'");
    let spanned = format!(
        "{}; UPDATE layer_stat SET ts_started = '2020-01-01', ts_stopped = '2020-01-02' WHERE pk_layer = 'layer'",
        frame_in("RUNNING")
    );
    let cases = [
        holds(
            &frame_in("WAITING"),
            &set("str_state = 'RUNNING', ts_started = '2021-02-03'"),
            &[(span, "(2021-02-03,)"), ("SELECT ts_started FROM layer_stat WHERE pk_layer = 'layer2'", "null")],
        ),
        holds(
            &frame_in("WAITING"),
            &set("str_state = 'RUNNING'"),
            &[("SELECT ts_started = now() FROM layer_stat WHERE pk_layer = 'layer'", "true")],
        ),
        holds(&spanned, &set("str_state = 'DEAD', ts_stopped = '2021-02-04'"), &[(span, "(2020-01-01,2021-02-04)")]),
        holds(
            &spanned,
            &set("str_state = 'SUCCEEDED'"),
            &[("SELECT ts_stopped = now() FROM layer_stat WHERE pk_layer = 'layer'", "true")],
        ),
        holds(
            &format!("{spanned}; {}", set("str_state = 'DEAD', ts_stopped = '2021-02-04'")),
            &set("str_state = 'RUNNING', ts_started = '2021-02-05'"),
            &[(span, "(2020-01-01,2021-02-04)")],
        ),
        holds(&spanned, &set("int_cores = 5"), &[(span, "(2020-01-01,2020-01-02)")]),
    ];
    check(&[Generation::G1, Generation::G5], &cases).await;
}
