//! One row, column by column, with a problem instead of a panic or a lost statement.

use std::collections::BTreeSet;

use sqlx::error::{BoxDynError, UnexpectedNullError};
use sqlx::postgres::{PgHasArrayType, PgRow, PgTypeInfo, PgValueRef, types::Oid};
use sqlx::{Decode, FromRow, Postgres, Row as _, Type};
use time::{Date, Month, UtcOffset};

use crate::model::{
    AllocId, FacilityId, FolderId, FrameId, HostId, JobId, LayerId, LeftOutRow, LimitId, ProcId, ShowId,
    SubscriptionId, Tag, Timestamp,
};
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
    /// What a column holds; NULL only where the type has a word for it.
    pub(super) fn get<T>(&self, column: &str) -> Result<T, Problem>
    where
        T: for<'d> Decode<'d, Postgres> + Type<Postgres>,
    {
        self.0.try_get(column).map_err(|error| match error {
            sqlx::Error::ColumnDecode { source, .. } if source.is::<UnexpectedNullError>() => {
                format!("{column} is NULL; give it a value")
            }
            error => format!("{column} cannot be read: {error}"),
        })
    }

    pub(super) fn text(&self, column: &str) -> Result<String, Problem> {
        self.get(column)
    }

    /// Keys in one array.
    pub(super) fn ids<I: From<String>, C: FromIterator<I>>(&self, column: &str) -> Result<C, Problem> {
        Ok(self.get::<Vec<String>>(column)?.into_iter().map(I::from).collect())
    }

    /// Entries between commas, without the blanks around them.
    pub(super) fn comma_list(&self, column: &str) -> Result<Vec<String>, Problem> {
        Ok(comma_list(&self.get::<Option<String>>(column)?.unwrap_or_default()))
    }

    /// Tags as they are stored; blank ones are no tags.
    pub(super) fn tags(&self, column: &str) -> Result<BTreeSet<Tag>, Problem> {
        Ok(self.get::<Vec<String>>(column)?.iter().filter(|tag| !tag.trim().is_empty()).map(Tag::new).collect())
    }

    pub(super) fn small_number(&self, column: &str) -> Result<i32, Problem> {
        let number: i64 = self.get(column)?;
        i32::try_from(number).map_err(|_| format!("{column} is {number}, which no frame or layer can have"))
    }

    pub(super) fn small_number_or_null(&self, column: &str) -> Result<Option<i32>, Problem> {
        self.get::<Option<i64>>(column)?.map(|_| self.small_number(column)).transpose()
    }

    /// A number that counts something there is.
    pub(super) fn amount(&self, column: &str) -> Result<i64, Problem> {
        match self.get(column)? {
            number if number < 0 => Err(format!("{column} is {number}; set it to 0 or more")),
            number => Ok(number),
        }
    }

    /// What a counter says is in use. Drift below zero counts as nothing in use: whoever repairs the
    /// counter writes the truth, and until then the work that it counts need not stand still.
    pub(super) fn counter(&self, column: &str) -> Result<i64, Problem> {
        self.get(column).map(|number: i64| number.max(0))
    }

    /// Columns for cores, memory, GPUs and GPU memory, which may make no sense.
    pub(super) fn amounts(&self, [cores, memory, gpus, gpu_memory]: [&str; 4]) -> Result<Amounts, Problem> {
        Ok(Amounts {
            cores: self.get(cores)?,
            memory: self.get(memory)?,
            gpus: self.get(gpus)?,
            gpu_memory: self.get(gpu_memory)?,
        })
    }

    /// As [`Self::amounts`], of something there is: none of them is below zero.
    pub(super) fn sound_amounts(&self, columns: [&str; 4]) -> Result<Amounts, Problem> {
        columns.iter().try_for_each(|column| self.amount(column).map(drop))?;
        self.amounts(columns)
    }

    pub(super) fn time(&self, column: &str) -> Result<Timestamp, Problem> {
        self.get(column).map(|moment: Moment| moment.0)
    }

    pub(super) fn time_or_null(&self, column: &str) -> Result<Option<Timestamp>, Problem> {
        Ok(self.get::<Option<Moment>>(column)?.map(|moment| moment.0))
    }

    /// Names this row as left out; `id` is the column of its key.
    pub(super) fn left_out(&self, table: &'static str, id: &str, problem: impl Into<Problem>) -> LeftOutRow {
        left_out(table, &self.text(id).unwrap_or_else(|_| "?".to_owned()), problem)
    }
}

/// What is wrong with a row that is kept all the same, so that the work in it is counted: the first thing.
#[derive(Debug, Default)]
pub(super) struct Flaw(pub(super) Option<Problem>);

impl Flaw {
    /// What was read, or something in its place.
    pub(super) fn or<T>(&mut self, read: Result<T, Problem>, instead: T) -> T {
        read.unwrap_or_else(|problem| {
            self.0.get_or_insert(problem);
            instead
        })
    }

    pub(super) fn or_default<T: Default>(&mut self, read: Result<T, Problem>) -> T {
        self.or(read, T::default())
    }

    /// As the row that is named.
    pub(super) fn of(self, table: &'static str, id: &str) -> Option<LeftOutRow> {
        self.0.map(|problem| left_out(table, id, problem))
    }
}

/// A row whose columns have the names of the fields that they fill.
pub(super) fn whole<T: for<'r> FromRow<'r, PgRow>>(row: &Row<'_>) -> Result<T, Problem> {
    T::from_row(row.0).map_err(|error| error.to_string())
}

impl<'r> FromRow<'r, PgRow> for Amounts {
    fn from_row(row: &'r PgRow) -> sqlx::Result<Self> {
        Row(row).amounts(AMOUNTS).map_err(|problem| sqlx::Error::Decode(problem.into()))
    }
}

/// Columns of keys and of amounts are read as what their types are made of.
macro_rules! columns {
    ($of:ident, $make:expr; $($column:ident),+ $(,)?) => {$(
        impl Type<Postgres> for $column {
            fn type_info() -> PgTypeInfo {
                <$of as Type<Postgres>>::type_info()
            }

            fn compatible(other: &PgTypeInfo) -> bool {
                <$of as Type<Postgres>>::compatible(other)
            }
        }

        impl PgHasArrayType for $column {
            fn array_type_info() -> PgTypeInfo {
                <$of as PgHasArrayType>::array_type_info()
            }

            fn array_compatible(other: &PgTypeInfo) -> bool {
                <$of as PgHasArrayType>::array_compatible(other)
            }
        }

        impl<'r> Decode<'r, Postgres> for $column {
            fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
                <$of as Decode<Postgres>>::decode(value).map($make)
            }
        }
    )+};
}

columns!(
    String, Self::from;
    FacilityId, ShowId, AllocId, SubscriptionId, FolderId, JobId, LayerId, FrameId, HostId, ProcId, LimitId
);
columns!(i64, Self; Cores, Kib, Gpus);

fn comma_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
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
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl<'r> Decode<'r, Postgres> for Moment {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let microseconds = <i64 as Decode<Postgres>>::decode(value)?;
        let epoch = EPOCH.midnight().assume_offset(UtcOffset::UTC);
        let moment = epoch.checked_add(time::Duration::microseconds(microseconds)).unwrap_or_else(|| {
            let end = if microseconds < 0 { Date::MIN } else { Date::MAX };
            end.midnight().assume_offset(UtcOffset::UTC)
        });
        Ok(Self(moment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_systems_are_a_trimmed_comma_list() {
        assert_eq!(comma_list("centos7, rhel9,,"), ["centos7", "rhel9"]);
        assert!(comma_list(" ").is_empty() && comma_list("").is_empty());
    }
}
