//! The one way to run a statement: what it is given, what it runs on, and the rows that come back.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Encode, Postgres, Type};

use super::error::{Result, StoreError};
use super::row::{Problem, Row};
use super::store::Store;
use crate::model::LeftOutRow;
use crate::units::Amounts;

/// A server whose connection is cut without a reset (a cable, a firewall that dropped its state) never answers,
/// and then its own limit on statements does not hold either.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(65);

/// What a statement runs on: a connection of the pool, a transaction, or a session of its own.
pub(crate) trait Source {
    /// All rows that a statement returns.
    async fn rows(self, statement: Statement<'_>) -> Result<Rows>;
}

impl Source for &Store {
    async fn rows(self, statement: Statement<'_>) -> Result<Rows> {
        let Statement { step, query } = statement;
        let mut session = self.session(step).await?;
        let asked = self.sessions.answer(ANSWER_LIMIT, query.fetch_all(&mut *session)).await;
        let rows = asked.map_err(StoreError::query(step))?;
        self.meter.count(rows.len(), 0);
        Ok(Rows { step, rows })
    }
}

/// One of the amounts.
pub(super) type Kind = fn(&Amounts) -> i64;

/// What hosts and procs have columns for, and what counters have.
pub(super) const ALL_KINDS: &[Kind] = &[
    |amounts| amounts.cores.get(),
    |amounts| amounts.memory.get(),
    |amounts| amounts.gpus.get(),
    |amounts| amounts.gpu_memory.get(),
];
pub(super) const CORES_AND_GPUS: &[Kind] = &[|amounts| amounts.cores.get(), |amounts| amounts.gpus.get()];

/// A statement with its parameters, and what it does, for errors to say.
pub(crate) struct Statement<'q> {
    pub(super) step: &'static str,
    pub(super) query: Query<'q, Postgres, PgArguments>,
}

impl Statement<'_> {
    pub(super) fn new(step: &'static str, sql: &'static str) -> Self {
        Self { step, query: sqlx::query(sql) }
    }

    pub(super) fn bind<'t, T: Encode<'t, Postgres> + Type<Postgres>>(self, value: T) -> Self {
        Self { query: self.query.bind(value), ..self }
    }

    /// Keys or names, as one array.
    pub(super) fn texts<'t, T: Borrow<str> + ?Sized + 't>(self, texts: impl IntoIterator<Item = &'t T>) -> Self {
        self.bind(texts.into_iter().map(Borrow::borrow).collect::<Vec<&str>>())
    }

    /// Keys as one array, sorted, each once.
    pub(super) fn distinct<'t, T: Borrow<str> + ?Sized + 't>(self, keys: impl IntoIterator<Item = &'t T>) -> Self {
        self.texts(keys.into_iter().map(Borrow::borrow).collect::<BTreeSet<&str>>())
    }

    /// Arrays side by side, one for each kind.
    pub(super) fn amounts(self, kinds: &[Kind], amounts: &[Amounts]) -> Self {
        kinds.iter().fold(self, |statement, kind| statement.bind(amounts.iter().map(kind).collect::<Vec<i64>>()))
    }
}

/// What a statement returned.
pub(crate) struct Rows {
    pub(super) step: &'static str,
    pub(super) rows: Vec<PgRow>,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(Row)
    }

    /// Every row; one that makes no sense fails the statement.
    pub(super) fn all<T, C: FromIterator<T>>(&self, decode: impl Fn(&Row<'_>) -> Result<T, Problem>) -> Result<C> {
        self.iter().map(|row| decode(&row)).collect::<Result<C, Problem>>().map_err(|problem| self.unreadable(problem))
    }

    /// Takes in every row; one that makes no sense fails the statement.
    pub(super) fn each(&self, mut take: impl FnMut(&Row<'_>) -> Result<(), Problem>) -> Result<()> {
        self.iter().try_for_each(|row| take(&row)).map_err(|problem| self.unreadable(problem))
    }

    /// The rows that make sense.
    pub(super) fn readable<T, C: FromIterator<T>>(&self, decode: impl Fn(&Row<'_>) -> Result<T, Problem>) -> C {
        self.iter().filter_map(|row| decode(&row).ok()).collect()
    }

    /// The rows that make sense; the others are named by their key.
    pub(super) fn or_left_out<T>(
        &self,
        (table, key): (&'static str, &str),
        left_out: &mut Vec<LeftOutRow>,
        decode: impl Fn(&Row<'_>) -> Result<T, Problem>,
    ) -> Vec<T> {
        let mut decoded = Vec::with_capacity(self.len());
        for row in self.iter() {
            match decode(&row) {
                Ok(one) => decoded.push(one),
                Err(problem) => left_out.push(row.left_out(table, key, problem)),
            }
        }
        decoded
    }

    /// The one row of a statement that has one.
    pub(super) fn one<T>(&self, decode: impl Fn(&Row<'_>) -> Result<T, Problem>) -> Result<T> {
        let row = self.iter().next().ok_or(sqlx::Error::RowNotFound).map_err(StoreError::query(self.step))?;
        decode(&row).map_err(|problem| self.unreadable(problem))
    }

    fn unreadable(&self, problem: Problem) -> StoreError {
        StoreError::query(self.step)(sqlx::Error::Decode(problem.into()))
    }
}
