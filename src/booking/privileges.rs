//! Whether the user may book at all, asked without trying.

use sqlx::query;

use super::error::{BookingError, StepError};
use super::tx::{column_of, rows};
use crate::db::Store;

/// A table to which the user may not write as a booking must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingPrivilege {
    pub user: String,
    pub table: String,
    /// As GRANT spells them: INSERT, SELECT, UPDATE.
    pub privileges: Vec<String>,
}

/// The rights that [`super::book`] and [`super::verify`] need and the user lacks.
pub async fn missing_privileges(store: &Store) -> Result<Vec<MissingPrivilege>, BookingError> {
    let statement = query(include_str!("../db/sql/booking_privileges.sql"));
    let missing = rows(store, "asking for the user's rights", statement).await.map_err(|error| error.after(1))?;
    let missing = missing.iter().map(|row| {
        Ok(MissingPrivilege {
            user: column_of(row, "user")?,
            table: column_of(row, "relation")?,
            privileges: column_of(row, "privileges")?,
        })
    });
    missing.collect::<Result<_, _>>().map_err(|error: StepError| error.after(1))
}
