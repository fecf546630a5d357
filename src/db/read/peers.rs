//! Other planners on the same database.

use crate::db::row::whole;
use crate::db::{Result, Source as _, Statement, Store};
use crate::model::{ProcId, ShowId, Timestamp};

/// What somebody else booked of a show.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ForeignBookings {
    pub show_name: String,
    #[sqlx(try_from = "i64")]
    pub bookings: u64,
}

/// A show that has frames to be dispatched.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct ShowWaiting {
    #[sqlx(rename = "show_name")]
    pub(crate) name: String,
    #[sqlx(try_from = "i64")]
    pub(crate) frames: u64,
    /// Something of it runs.
    pub(crate) has_procs: bool,
}

/// A fresh key for a booking of ours: a UUID as Cuebot's are, of a version that nobody else makes, so that
/// the rows tell whose a booking is.
pub(crate) fn new_proc_id() -> ProcId {
    let random = uuid::Uuid::new_v4().into_bytes();
    ProcId::new(uuid::Builder::from_custom_bytes(random).into_uuid().to_string())
}

impl Store {
    /// Whether Cuebot's own planner is active: its leader holds a session advisory lock for as long
    /// as it lives. Two planners for one show would book against each other.
    pub async fn foreign_planner_active(&self) -> Result<bool> {
        let statement = Statement::new("looking for another planner", include_str!("../sql/foreign_planner.sql"));
        Ok(self.rows(statement).await?.iter().next().is_some_and(|row| row.get("is_active").unwrap_or(false)))
    }

    /// Sessions of other schedulers on this database; one that was killed has none any more.
    pub async fn other_schedulers(&self) -> Result<u64> {
        let statement = Statement::new("looking for other schedulers", include_str!("../sql/other_schedulers.sql"));
        let sessions = self.rows(statement).await?.one(|row| row.get::<i64>("sessions"));
        // What cannot be read is not taken for nobody.
        Ok(sessions.ok().and_then(|sessions| u64::try_from(sessions).ok()).unwrap_or(u64::MAX))
    }

    /// Those of some shows that have frames to be dispatched.
    pub(crate) async fn waiting_of_shows(&self, shows: &[ShowId]) -> Result<Vec<ShowWaiting>> {
        let statement =
            Statement::new("looking for work that nobody books", include_str!("../sql/waiting_of_shows.sql"));
        Ok(self.rows(statement.texts(shows)).await?.readable(whole))
    }

    /// Bookings of the shows after `since` and up to `until` that no scheduler like this one made, by show.
    pub async fn foreign_bookings(
        &self,
        shows: &[ShowId],
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ForeignBookings>> {
        let statement = Statement::new("looking for bookings of others", include_str!("../sql/foreign_bookings.sql"))
            .texts(shows)
            .bind(since)
            .bind(until);
        Ok(self.rows(statement).await?.readable(whole))
    }
}
