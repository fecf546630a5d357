//! Small tables of cases: what is there, what is done, what comes of it. Each case has the same little
//! farm and leaves nothing behind.

use cue_scheduler::farm::schema::Generation;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::connect;

/// One of everything, under keys that are the names of the tables. Counters fit the one waiting frame.
const FARM: &str = "
    INSERT INTO facility (pk_facility, str_name) VALUES ('facility', 'local');
    INSERT INTO dept (pk_dept, str_name) VALUES ('dept', 'lighting'), ('dept2', 'fx');
    INSERT INTO show (pk_show, str_name) VALUES ('show', 'pipe');
    INSERT INTO alloc (pk_alloc, str_name, str_tag, pk_facility)
    VALUES ('alloc', 'local.general', 'general', 'facility'), ('alloc2', 'local.desktop', 'desktop', 'facility');
    INSERT INTO subscription (pk_subscription, pk_alloc, pk_show, int_size, int_burst)
    VALUES ('subscription', 'alloc', 'show', 1000, 2000);
    INSERT INTO folder (pk_folder, pk_show, pk_dept, str_name) VALUES ('folder', 'show', 'dept', 'pipe');
    INSERT INTO folder (pk_folder, pk_parent_folder, pk_show, pk_dept, str_name)
    VALUES ('folder2', 'folder', 'show', 'dept', 'shots');
    INSERT INTO point (pk_point, pk_dept, pk_show) VALUES ('point', 'dept', 'show'), ('point2', 'dept2', 'show');
    INSERT INTO host (pk_host, pk_alloc, str_name, str_lock_state, int_cores, int_cores_idle, int_mem, int_mem_idle,
                      int_gpus, int_gpus_idle, int_gpu_mem, int_gpu_mem_idle)
    VALUES ('host', 'alloc', 'host1', 'OPEN', 400, 400, 8192, 8192, 2, 2, 4096, 4096);
    INSERT INTO host_stat (pk_host_stat, pk_host) VALUES ('host_stat', 'host');
    INSERT INTO job (pk_job, pk_folder, pk_show, pk_facility, pk_dept, str_name, str_visible_name, str_shot, str_user,
                     str_state, int_frame_count, int_layer_count)
    VALUES ('job', 'folder', 'show', 'facility', 'dept', 'pipe-sh1', 'pipe-sh1', 'sh1', 'ann', 'PENDING', 1, 2);
    INSERT INTO layer (pk_layer, pk_job, str_name, str_cmd, str_range, str_type)
    VALUES ('layer', 'job', 'beauty', 'true', '1', 'RENDER'), ('layer2', 'job', 'comp', 'true', '1', 'RENDER');
    INSERT INTO frame (pk_frame, pk_layer, pk_job, str_name, str_state, int_number, int_layer_order)
    VALUES ('frame', 'layer', 'job', '0001-beauty', 'WAITING', 1, 1);
    UPDATE layer_stat SET int_total_count = 1, int_waiting_count = 1 WHERE pk_layer = 'layer';
    UPDATE job_stat SET int_waiting_count = 1;
    INSERT INTO proc (pk_proc, pk_host, pk_show, pk_job, pk_layer, int_cores_reserved, int_mem_reserved, int_gpus_reserved)
    VALUES ('proc', 'host', 'show', 'job', 'layer', 100, 1024, 1);
";

/// What is done to the farm and what is to come of it.
pub(super) struct Case {
    pub(super) given: String,
    pub(super) when: String,
    pub(super) then: Then,
}

pub(super) enum Then {
    /// SQLSTATE and message.
    Refused(&'static str, String),
    /// A scalar query and its value as text, each.
    Holds(Vec<(String, String)>),
}

/// `when` is refused with SQLSTATE P0001, the one that tells nothing.
pub(super) fn raises(given: &str, when: &str, message: &str) -> Case {
    refused(given, when, "P0001", message)
}

pub(super) fn refused(given: &str, when: &str, code: &'static str, message: &str) -> Case {
    Case { given: given.to_owned(), when: when.to_owned(), then: Then::Refused(code, message.to_owned()) }
}

/// `when` passes, and then each query has its value.
pub(super) fn holds(given: &str, when: &str, then: &[(&str, &str)]) -> Case {
    let then = then.iter().map(|(query, value)| ((*query).to_owned(), (*value).to_owned())).collect();
    Case { given: given.to_owned(), when: when.to_owned(), then: Then::Holds(then) }
}

pub(super) fn passes(given: &str, when: &str) -> Case {
    holds(given, when, &[])
}

/// Runs each case in the given generations and names all that fail.
pub(super) async fn check(generations: &[Generation], cases: &[Case]) {
    let mut failures = Vec::new();
    for &generation in generations {
        let mut connection = connect(generation).await;
        let mut transaction = connection.begin().await.unwrap();
        // Its first row has others wait here until we are done, so that cases cannot get into each other's way.
        sqlx::raw_sql(FARM).execute(&mut *transaction).await.unwrap();
        for case in cases {
            if let Err(failure) = run(&mut transaction, case).await {
                failures.push(format!("{generation}: {failure}\n  done: {}\n  given: {}", case.when, case.given));
            }
        }
        transaction.rollback().await.unwrap();
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

async fn run(connection: &mut PgConnection, case: &Case) -> Result<(), String> {
    // Inside a transaction this is a savepoint.
    let mut transaction = connection.begin().await.map_err(|error| error.to_string())?;
    let given = sqlx::raw_sql(AssertSqlSafe(case.given.as_str())).execute(&mut *transaction).await;
    given.map_err(|error| format!("cannot be prepared: {error}"))?;
    let done = sqlx::raw_sql(AssertSqlSafe(case.when.as_str())).execute(&mut *transaction).await;
    match (&case.then, done) {
        (Then::Refused(code, message), Ok(_)) => return Err(format!("was not refused with {code} {message}")),
        (Then::Refused(code, message), Err(error)) => {
            let error = error.into_database_error().ok_or("failed without an error of the database")?;
            let found = (error.code().unwrap_or_default(), error.message().to_owned());
            if found != ((*code).into(), message.clone()) {
                return Err(format!("was refused with {} {}, not {code} {message}", found.0, found.1));
            }
        }
        (Then::Holds(_), Err(error)) => return Err(format!("was refused: {error}")),
        (Then::Holds(expected), Ok(_)) => {
            for (query, value) in expected {
                let found: Option<String> = sqlx::query_scalar(AssertSqlSafe(format!("SELECT ({query})::text")))
                    .fetch_one(&mut *transaction)
                    .await
                    .map_err(|error| format!("{query}: {error}"))?;
                let found = found.unwrap_or_else(|| "null".to_owned());
                if found != *value {
                    return Err(format!("{query} is {found}, not {value}"));
                }
            }
        }
    }
    transaction.rollback().await.map_err(|error| error.to_string())
}
