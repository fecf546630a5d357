//! What ended runs add to the totals of their layers and jobs, and the jobs that are done with them.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgPool, Postgres, Row as _, query};

use super::stop::Run;

/// Adds runs to the usage and the highest memory of their layers and jobs.
pub(super) async fn add_usage(pool: &PgPool, runs: &[Run]) -> Result<(), sqlx::Error> {
    if runs.is_empty() {
        return Ok(());
    }
    let layers = Usage::by(runs, |run| &run.layer);
    let jobs = Usage::by(runs, |run| &run.job);
    let mut tx = pool.begin().await?;
    let statement = bind_usage(query(include_str!("../sql/cuebot_layer_usage.sql")), &layers);
    let shortest: Vec<i32> = layers.values().map(|usage| usage.shortest).collect();
    statement.bind(shortest).execute(&mut *tx).await?;
    bind_usage(query(include_str!("../sql/cuebot_job_usage.sql")), &jobs).execute(&mut *tx).await?;
    for (statement, usage) in [
        (include_str!("../sql/cuebot_layer_memory.sql"), &layers),
        (include_str!("../sql/cuebot_job_memory.sql"), &jobs),
    ] {
        let keys: Vec<&str> = usage.keys().copied().collect();
        let memory: Vec<i64> = usage.values().map(|usage| usage.memory).collect();
        query(statement).bind(keys).bind(memory).execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// Finishes those of the runs' jobs in which nothing is left to do. Returns how many.
pub(super) async fn finish_jobs(pool: &PgPool, runs: &[Run]) -> Result<usize, sqlx::Error> {
    let jobs: BTreeSet<&str> = runs.iter().map(|run| run.job.as_str()).collect();
    if jobs.is_empty() {
        return Ok(0);
    }
    let jobs: Vec<&str> = jobs.into_iter().collect();
    let rows = query(include_str!("../sql/cuebot_finish_jobs.sql")).bind(jobs).fetch_all(pool).await?;
    for row in &rows {
        let job: &str = row.try_get("pk_job")?;
        tracing::debug!(job, "job finished");
    }
    Ok(rows.len())
}

#[derive(Clone, Copy, Default)]
struct Usage {
    succeeded: Sum,
    failed: Sum,
    longest: i32,
    shortest: i32,
    memory: i64,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    runs: i32,
    core_seconds: i64,
    seconds: i32,
    gpu_seconds: i64,
}

impl Usage {
    fn by<'a>(runs: &'a [Run], key: impl Fn(&'a Run) -> &'a str) -> BTreeMap<&'a str, Self> {
        let mut usage: BTreeMap<&str, Self> = BTreeMap::new();
        for run in runs {
            usage.entry(key(run)).or_default().add(run);
        }
        usage
    }

    fn add(&mut self, run: &Run) {
        let seconds = i32::try_from(run.seconds).unwrap_or(i32::MAX);
        let sum = if run.is_success { &mut self.succeeded } else { &mut self.failed };
        sum.runs += 1;
        sum.core_seconds += run.seconds * run.centicores / 100;
        sum.seconds = sum.seconds.saturating_add(seconds);
        sum.gpu_seconds += run.seconds * run.gpus;
        self.memory = self.memory.max(run.memory);
        if run.is_success {
            self.longest = self.longest.max(seconds);
            self.shortest = if self.shortest == 0 { seconds } else { self.shortest.min(seconds) };
        }
    }
}

type Statement<'q> = Query<'q, Postgres, PgArguments>;

fn bind_usage<'q>(statement: Statement<'q>, usage: &BTreeMap<&str, Usage>) -> Statement<'q> {
    let keys: Vec<String> = usage.keys().map(|key| (*key).to_owned()).collect();
    let mut statement = statement.bind(keys);
    for sum in [|usage: &Usage| usage.succeeded, |usage: &Usage| usage.failed] {
        statement = statement
            .bind(usage.values().map(|usage| sum(usage).runs).collect::<Vec<_>>())
            .bind(usage.values().map(|usage| sum(usage).core_seconds).collect::<Vec<_>>())
            .bind(usage.values().map(|usage| sum(usage).seconds).collect::<Vec<_>>())
            .bind(usage.values().map(|usage| sum(usage).gpu_seconds).collect::<Vec<_>>());
    }
    statement.bind(usage.values().map(|usage| usage.longest).collect::<Vec<_>>())
}
