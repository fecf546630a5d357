//! One row, column by column, with a problem instead of a panic or a lost statement.

use std::collections::BTreeSet;

use sqlx::postgres::{PgRow, types::Oid};
use sqlx::{Decode, Postgres, Row as _, Type, ValueRef as _};
use time::{Date, Month, UtcOffset};

use crate::model::{LeftOutRow, Tag, Timestamp};
use crate::units::{Amounts, Cores, Gpus, Kib};

/// Why a row is left out, to be read by the operator.
pub(crate) type Problem = String;

/// Columns of cores, memory, GPUs and GPU memory: of a host in all, as most statements name them; what its
/// row says is idle; what procs hold there; and of a `proc` row.
pub(super) const AMOUNTS: [&str; 4] = ["int_cores", "int_mem", "int_gpus", "int_gpu_mem"];
pub(super) const IDLE: [&str; 4] = ["int_cores_idle", "int_mem_idle", "int_gpus_idle", "int_gpu_mem_idle"];
pub(super) const HELD: [&str; 4] = ["held_cores", "held_mem", "held_gpus", "held_gpu_mem"];
pub(super) const RESERVED: [&str; 4] =
    ["int_cores_reserved", "int_mem_reserved", "int_gpus_reserved", "int_gpu_mem_reserved"];

/// A row under decoding.
pub(crate) struct Row<'r>(pub(super) &'r PgRow);

impl Row<'_> {
    /// A text that must be there.
    pub(super) fn text(&self, column: &str) -> Result<String, Problem> {
        self.value(column)
    }

    /// A key, as the text it is.
    pub(super) fn id<I: From<String>>(&self, column: &str) -> Result<I, Problem> {
        self.text(column).map(I::from)
    }

    pub(super) fn id_or_null<I: From<String>>(&self, column: &str) -> Result<Option<I>, Problem> {
        Ok(self.text_or_null(column)?.map(I::from))
    }

    /// Keys in one array.
    pub(super) fn ids<I: From<String>, C: FromIterator<I>>(&self, column: &str) -> Result<C, Problem> {
        Ok(self.value::<Vec<String>>(column)?.into_iter().map(I::from).collect())
    }

    pub(super) fn text_or_null(&self, column: &str) -> Result<Option<String>, Problem> {
        self.read(column)
    }

    /// Tags as they are stored; blank ones are no tags.
    pub(super) fn tags(&self, column: &str) -> Result<BTreeSet<Tag>, Problem> {
        Ok(self.value::<Vec<String>>(column)?.iter().filter(|tag| !tag.trim().is_empty()).map(Tag::new).collect())
    }

    pub(super) fn flag(&self, column: &str) -> Result<bool, Problem> {
        self.value(column)
    }

    pub(super) fn flag_or_null(&self, column: &str) -> Result<Option<bool>, Problem> {
        self.read(column)
    }

    pub(super) fn number(&self, column: &str) -> Result<i64, Problem> {
        self.value(column)
    }

    pub(super) fn number_or_null(&self, column: &str) -> Result<Option<i64>, Problem> {
        self.read(column)
    }

    pub(super) fn small_number(&self, column: &str) -> Result<i32, Problem> {
        let number = self.number(column)?;
        i32::try_from(number).map_err(|_| format!("{column} is {number}, which no frame or layer can have"))
    }

    pub(super) fn small_number_or_null(&self, column: &str) -> Result<Option<i32>, Problem> {
        match self.number_or_null(column)? {
            None => Ok(None),
            Some(_) => self.small_number(column).map(Some),
        }
    }

    /// A number that counts something there is.
    pub(super) fn amount(&self, column: &str) -> Result<i64, Problem> {
        match self.number(column)? {
            number if number < 0 => Err(format!("{column} is {number}; set it to 0 or more")),
            number => Ok(number),
        }
    }

    /// What a counter says is in use. Drift below zero counts as nothing in use: whoever repairs the
    /// counter writes the truth, and until then the work that it counts need not stand still.
    pub(super) fn counter(&self, column: &str) -> Result<i64, Problem> {
        self.number(column).map(|number| number.max(0))
    }

    pub(super) fn cores(&self, column: &str) -> Result<Cores, Problem> {
        self.amount(column).map(Cores)
    }

    pub(super) fn kib(&self, column: &str) -> Result<Kib, Problem> {
        self.amount(column).map(Kib)
    }

    pub(super) fn gpus(&self, column: &str) -> Result<Gpus, Problem> {
        self.amount(column).map(Gpus)
    }

    /// Columns for cores, memory, GPUs and GPU memory, which may make no sense.
    pub(super) fn amounts(&self, [cores, memory, gpus, gpu_memory]: [&str; 4]) -> Result<Amounts, Problem> {
        Ok(Amounts {
            cores: Cores(self.number(cores)?),
            memory: Kib(self.number(memory)?),
            gpus: Gpus(self.number(gpus)?),
            gpu_memory: Kib(self.number(gpu_memory)?),
        })
    }

    /// As [`Self::amounts`], of something there is: none of them is below zero.
    pub(super) fn sound_amounts(&self, columns: [&str; 4]) -> Result<Amounts, Problem> {
        columns.iter().try_for_each(|column| self.amount(column).map(drop))?;
        self.amounts(columns)
    }

    pub(super) fn time(&self, column: &str) -> Result<Timestamp, Problem> {
        self.time_or_null(column)?.ok_or_else(|| null(column))
    }

    pub(super) fn time_or_null(&self, column: &str) -> Result<Option<Timestamp>, Problem> {
        Ok(self.read::<Moment>(column)?.map(|moment| moment.0))
    }

    /// Names this row as left out; `id` is the column of its key.
    pub(super) fn left_out(&self, table: &'static str, id: &str, problem: impl Into<Problem>) -> LeftOutRow {
        left_out(table, &self.text(id).unwrap_or_else(|_| "?".to_owned()), problem)
    }

    /// Any other value that must be there.
    pub(super) fn value<T>(&self, column: &str) -> Result<T, Problem>
    where
        T: for<'d> Decode<'d, Postgres> + Type<Postgres>,
    {
        self.read(column)?.ok_or_else(|| null(column))
    }

    fn read<T>(&self, column: &str) -> Result<Option<T>, Problem>
    where
        T: for<'d> Decode<'d, Postgres> + Type<Postgres>,
    {
        self.0.try_get(column).map_err(|error| format!("{column} cannot be read: {error}"))
    }
}

fn null(column: &str) -> Problem {
    format!("{column} is NULL; give it a value")
}

/// Leaves a row out: names it and goes on.
pub(super) fn left_out(table: &'static str, id: &str, problem: impl Into<Problem>) -> LeftOutRow {
    LeftOutRow { table: table.into(), id: id.to_owned(), problem: problem.into() }
}

/// A timestamp that may be infinite or beyond our calendar, brought to its ends: `infinity` in a
/// start-after is a legal way to say "never", and must not end the process.
struct Moment(Timestamp);

/// 2000-01-01, from which PostgreSQL counts microseconds.
const EPOCH: Date = match Date::from_calendar_date(2000, Month::January, 1) {
    Ok(date) => date,
    Err(_) => Date::MIN,
};

impl Type<Postgres> for Moment {
    fn type_info() -> sqlx::postgres::PgTypeInfo {
        sqlx::postgres::PgTypeInfo::with_oid(Oid(1184))
    }
}

impl<'r> Decode<'r, Postgres> for Moment {
    fn decode(value: sqlx::postgres::PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
        debug_assert!(!value.is_null());
        let microseconds = <i64 as Decode<Postgres>>::decode(value)?;
        let epoch = EPOCH.midnight().assume_offset(UtcOffset::UTC);
        let moment = epoch.checked_add(time::Duration::microseconds(microseconds)).unwrap_or_else(|| {
            let end = if microseconds < 0 { Date::MIN } else { Date::MAX };
            end.midnight().assume_offset(UtcOffset::UTC)
        });
        Ok(Self(moment))
    }
}
