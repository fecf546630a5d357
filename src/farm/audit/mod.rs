//! Whether the books balance: recomputed from the rows and from what hosts really received.
//!
//! Nothing here believes a counter. Use is what the procs hold, states are the frames', and a launch
//! is what a host accepted. Every breach is counted; of each rule only the first few are listed, so
//! that a broken farm makes no endless report.
//!
//! The rows are read in one transaction and thus of one moment. Launches are compared with them, so
//! nothing may be launched or complete between the two readings. Counters of flagged shows are the
//! scheduler's own in the generations whose Cuebot leaves them alone: repair them before an audit.

mod launches;
mod report;
mod rule;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row as _, Transaction};

pub use report::{AuditReport, LISTED_PER_RULE_MAX, Violation};
pub use rule::AuditRule;

use self::launches::RunningProc;
use self::rule::Schema;
use super::launch::Launch;

/// Compares rows with each other and with `launches`: all that the hosts accepted, ended or not.
pub async fn audit(pool: &PgPool, launches: &[Launch]) -> Result<AuditReport, AuditError> {
    run(pool, Some(launches)).await
}

/// As [`audit`], where nobody knows what was launched: rows only.
pub async fn audit_rows(pool: &PgPool) -> Result<AuditReport, AuditError> {
    run(pool, None).await
}

#[derive(Debug, thiserror::Error)]
#[error("failed {step}")]
pub struct AuditError {
    step: &'static str,
    source: sqlx::Error,
}

async fn run(pool: &PgPool, launches: Option<&[Launch]>) -> Result<AuditReport, AuditError> {
    let mut report = AuditReport { launches: launches.map(|launches| launches.len() as u64), ..AuditReport::default() };
    let mut rows = Reading::begin(pool).await?;
    rows.count_states(&mut report).await?;
    if let Some(launches) = launches {
        let running = rows.running_procs().await?;
        launches::compare(launches, &running, &mut report);
    }
    let schema = rows.schema().await?;
    for &rule in AuditRule::ALL {
        if let Some(statement) = rule.statement(schema) {
            rows.check(rule, statement, &mut report).await?;
        }
    }
    rows.end().await?;
    Ok(report)
}

/// One consistent look at all rows.
struct Reading(Transaction<'static, Postgres>);

impl Reading {
    async fn begin(pool: &PgPool) -> Result<Self, AuditError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        pool.begin_with(begin).await.map(Self).map_err(step("beginning the audit"))
    }

    async fn end(self) -> Result<(), AuditError> {
        self.0.commit().await.map_err(step("ending the audit"))
    }

    async fn rows(&mut self, name: &'static str, statement: &'static str) -> Result<Vec<PgRow>, AuditError> {
        sqlx::query(statement).fetch_all(&mut *self.0).await.map_err(step(name))
    }

    async fn count_states(&mut self, report: &mut AuditReport) -> Result<(), AuditError> {
        for row in &self.rows("counting frames", include_str!("sql/frame_states.sql")).await? {
            report.frames.insert(column(row, "state")?, count(row, "frames")?);
        }
        for row in &self.rows("counting procs", include_str!("sql/procs.sql")).await? {
            report.frameless_procs = count(row, "frameless")?;
            report.procs = report.frameless_procs + count(row, "with_frame")?;
        }
        Ok(())
    }

    async fn running_procs(&mut self) -> Result<Vec<RunningProc>, AuditError> {
        let rows = self.rows("reading procs", include_str!("sql/running_procs.sql")).await?;
        let proc = |row| {
            Ok(RunningProc { proc: column(row, "proc")?, frame: column(row, "frame")?, host: column(row, "host")? })
        };
        rows.iter().map(proc).collect()
    }

    async fn schema(&mut self) -> Result<Schema, AuditError> {
        let mut schema = Schema { has_typed_limits: false, has_open_history: false };
        for row in &self.rows("looking at the schema", include_str!("sql/schema.sql")).await? {
            schema.has_typed_limits = column(row, "typed_limits")?;
            schema.has_open_history = column(row, "open_history")?;
        }
        Ok(schema)
    }

    /// Counts all that the statement finds and lists the first.
    async fn check(
        &mut self,
        rule: AuditRule,
        statement: &'static str,
        report: &mut AuditReport,
    ) -> Result<(), AuditError> {
        let statement = format!(
            "SELECT id::text, detail::text, count(*) OVER () AS total FROM ({statement}) AS found ORDER BY id LIMIT {LISTED_PER_RULE_MAX}"
        );
        let rows = sqlx::query(AssertSqlSafe(statement)).fetch_all(&mut *self.0).await.map_err(step(rule.as_str()))?;
        let Some(first) = rows.first() else { return Ok(()) };
        let total = count(first, "total")?;
        let listed: Result<Vec<_>, AuditError> =
            rows.iter().map(|row| Ok((column(row, "id")?, column(row, "detail")?))).collect();
        report.add(rule, total, listed?);
        Ok(())
    }
}

fn step(name: &'static str) -> impl FnOnce(sqlx::Error) -> AuditError {
    move |source| AuditError { step: name, source }
}

fn column<'r, T>(row: &'r PgRow, name: &'static str) -> Result<T, AuditError>
where
    T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    row.try_get(name).map_err(step("reading a row"))
}

fn count(row: &PgRow, name: &'static str) -> Result<u64, AuditError> {
    column::<i64>(row, name).map(|number| u64::try_from(number).unwrap_or_default())
}
