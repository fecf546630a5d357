//! A lost proc as Cuebot gives it up: no transaction, each statement commits alone.

use std::collections::VecDeque;

use sqlx::{AssertSqlSafe, PgPool};

type Deleted = (String, String, String, String, String, String, String, i64, i64, i64, i64);

/// A proc that is gone and whose amounts are still counted, wholly or in part.
pub(crate) struct Loss {
    pool: PgPool,
    statements: VecDeque<String>,
}

impl Loss {
    /// The proc is deleted. Its frame is left as it is.
    pub(crate) async fn begin(pool: &PgPool, proc: &str) -> Self {
        let delete = "DELETE FROM proc USING host, job
            WHERE pk_proc = $1 AND host.pk_host = proc.pk_host AND job.pk_job = proc.pk_job
            RETURNING proc.pk_host, proc.pk_show, proc.pk_layer, proc.pk_job, pk_alloc, pk_folder, pk_dept,
                int_cores_reserved::int8, int_mem_reserved::int8, int_gpus_reserved::int8, int_gpu_mem_reserved::int8";
        let deleted: Deleted = sqlx::query_as(delete).bind(proc).fetch_one(pool).await.unwrap();
        let (host, show, layer, job, alloc, folder, dept, cores, memory, gpus, gpu_memory) = deleted;
        let counter = |table: &str, row: String| {
            format!("UPDATE {table} SET int_cores = int_cores - {cores}, int_gpus = int_gpus - {gpus} WHERE {row}")
        };
        let statements = [
            format!(
                "UPDATE host SET int_cores_idle = int_cores_idle + {cores}, int_mem_idle = int_mem_idle + {memory},
                     int_gpus_idle = int_gpus_idle + {gpus}, int_gpu_mem_idle = int_gpu_mem_idle + {gpu_memory}
                 WHERE pk_host = '{host}'"
            ),
            counter("subscription", format!("pk_show = '{show}' AND pk_alloc = '{alloc}'")),
            counter("layer_resource", format!("pk_layer = '{layer}'")),
            counter("job_resource", format!("pk_job = '{job}'")),
            counter("folder_resource", format!("pk_folder = '{folder}'")),
            counter("point", format!("pk_show = '{show}' AND pk_dept = '{dept}'")),
        ];
        Self { pool: pool.clone(), statements: statements.into() }
    }

    /// The next statement: the host, then subscription, layer, job, folder, point. `false`: there is none.
    pub(crate) async fn step(&mut self) -> bool {
        let Some(statement) = self.statements.pop_front() else { return false };
        sqlx::query(AssertSqlSafe(statement)).execute(&self.pool).await.unwrap();
        true
    }

    pub(crate) async fn end(mut self) {
        while self.step().await {}
    }
}
