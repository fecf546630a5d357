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
