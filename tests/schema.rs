//! Our statement of Cuebot's schema: against the lists of Cuebot's columns and indexes, and trigger by
//! trigger against what Cuebot's do.

mod case;
mod catalog;
mod frame;
mod history;
mod refusals;
mod routines;
mod rows;

use cue_scheduler::farm::schema::Generation;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::OnceCell;

use crate::support::{TestDatabase, database};

/// Shared by the tests of this file, none of which commits anything.
static DATABASES: [OnceCell<TestDatabase>; Generation::ALL.len()] =
    [const { OnceCell::const_new() }; Generation::ALL.len()];

/// An own connection to a database of this generation that has no rows of a farm.
async fn connect(generation: Generation) -> PgConnection {
    let database = DATABASES[generation as usize].get_or_init(|| database(generation)).await;
    database.connect_options().connect().await.unwrap()
}

#[tokio::test]
async fn every_test_has_its_own_database() {
    let (one, other) = tokio::join!(database(Generation::G5), database(Generation::G5));
    assert_ne!(one.name(), other.name());
    sqlx::raw_sql("INSERT INTO facility (pk_facility, str_name) VALUES ('f', 'local')")
        .execute(&one.pool())
        .await
        .unwrap();
    let (name, seen): (String, i64) =
        sqlx::query_as("SELECT current_database()::text, (SELECT count(*) FROM facility)")
            .fetch_one(&other.pool())
            .await
            .unwrap();
    assert_eq!((name.as_str(), seen), (other.name(), 0));
    assert!(one.store().await.features().has_history_queue);
}
