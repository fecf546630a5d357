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
mod rule;

use std::collections::BTreeMap;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row as _, Transaction};

pub use rule::AuditRule;

use super::launch::Launch;

/// Breaches of one rule that are listed; all are counted.
pub const LISTED_PER_RULE_MAX: usize = 20;

/// Compares rows with each other and with `launches`: all that the hosts accepted, ended or not.
pub async fn audit(pool: &PgPool, launches: &[Launch]) -> Result<AuditReport, AuditError> {
    run(pool, Some(launches)).await
}

/// As [`audit`], where nobody knows what was launched: rows only.
pub async fn audit_rows(pool: &PgPool) -> Result<AuditReport, AuditError> {
    run(pool, None).await
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct AuditReport {
    /// In the order of the rules; at most [`LISTED_PER_RULE_MAX`] of each.
    pub violations: Vec<Violation>,
    /// All breaches of each rule that was broken, listed or not.
    pub violations_by_rule: BTreeMap<AuditRule, u64>,
    pub violations_total: u64,
    /// Launches of a frame while an earlier one of it still ran somewhere.
    pub double_launches: u64,
    /// Rows whose use is above their burst, cap or limit.
    pub cap_breaches: u64,
    /// By `frame.str_state`.
    pub frames: BTreeMap<String, u64>,
    pub procs: u64,
    /// Procs between the end of their frame and their release.
    pub frameless_procs: u64,
    /// `None` when launches are unknown.
    pub launches: Option<u64>,
}

/// One row that breaks one rule.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    pub rule: AuditRule,
    pub table: &'static str,
    /// The row's key.
    pub row: String,
    /// What the row says and what it should.
    pub detail: String,
}

#[derive(Debug, thiserror::Error)]
#[error("failed {step}")]
pub struct AuditError {
    step: &'static str,
    source: sqlx::Error,
}

impl AuditReport {
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.violations_total == 0
    }

    /// Frames in this state.
    #[must_use]
    pub fn frames_in(&self, state: &str) -> u64 {
        self.frames.get(state).copied().unwrap_or_default()
    }

    fn add(&mut self, rule: AuditRule, total: u64, listed: impl IntoIterator<Item = (String, String)>) {
        if total == 0 {
            return;
        }
        *self.violations_by_rule.entry(rule).or_default() += total;
        self.violations_total += total;
        self.double_launches += if rule == AuditRule::DoubleLaunch { total } else { 0 };
        self.cap_breaches += if rule.is_cap() { total } else { 0 };
        let listed = listed.into_iter().take(LISTED_PER_RULE_MAX);
        self.violations.extend(listed.map(|(row, detail)| Violation { rule, table: rule.table(), row, detail }));
    }
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
    for rule in AuditRule::ALL {
        if let Some(statement) = rule.statement(schema) {
            rows.check(rule, statement, &mut report).await?;
        }
    }
    rows.end().await?;
    Ok(report)
}

/// What the schema decides about the rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schema {
    has_typed_limits: bool,
    /// False where history is queued or switched off.
    has_open_history: bool,
}

/// A proc that holds a running frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RunningProc {
    proc: String,
    frame: String,
    host: String,
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
