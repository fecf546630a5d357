//! Databases for tests. The server is started by the first test that wants one and ends with the
//! test process. The schema of a generation is made once and copied from then on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use cue_scheduler::db::{ConnectSettings, Store, needs};
use cue_scheduler::farm::postgres::{PostgresOptions, PostgresServer};
use cue_scheduler::farm::schema::{self, Generation};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::OnceCell;

use super::{PATIENCE, number};

static SERVER: OnceCell<PostgresServer> = OnceCell::const_new();
static TEMPLATES: [OnceCell<()>; Generation::ALL.len()] = [const { OnceCell::const_new() }; Generation::ALL.len()];
static READER: OnceCell<()> = OnceCell::const_new();
static NAMES: AtomicU32 = AtomicU32::new(0);
/// Databases of tests that ended. The next test that wants a database removes them, so that the disk
/// holds no more than what is in use.
static LEFT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// An own database with Cuebot's schema and no farm in it.
pub(crate) async fn database(generation: Generation) -> TestDatabase {
    let server = server().await;
    let left = std::mem::take(&mut *LEFT.lock().unwrap());
    for name in left {
        server.drop_database(&name).await.unwrap();
    }
    let template = format!("template_{generation}");
    TEMPLATES[generation as usize]
        .get_or_init(|| async {
            server.create_database(&template, None).await.unwrap();
            let mut connection = server.connect_options(&template).connect().await.unwrap();
            schema::create(&mut connection, generation).await.unwrap();
            connection.close().await.unwrap();
        })
        .await;
    let name = format!("test_{}", NAMES.fetch_add(1, Ordering::Relaxed));
    server.create_database(&name, Some(&template)).await.unwrap();
    let options = server.connect_options(&name);
    // Connects when it is used, in the runtime of the test.
    let pool = PgPoolOptions::new().max_connections(10).connect_lazy_with(options.clone());
    TestDatabase { name, options, pool }
}

/// The database as a role sees it that may read the tables in the list of needs and nothing else: whatever only
/// reads must get along with them.
pub(crate) async fn read_only_settings(database: &TestDatabase) -> ConnectSettings {
    let pool = database.pool();
    READER
        .get_or_init(|| async {
            sqlx::raw_sql("CREATE ROLE reader LOGIN PASSWORD 'reader'").execute(&pool).await.unwrap();
        })
        .await;
    let mut grants = vec!["GRANT USAGE ON SCHEMA public TO reader".to_owned()];
    for need in needs().filter(|need| <&str>::from(need.privilege) == "SELECT") {
        let is_there = format!("SELECT count(*) FROM pg_class WHERE oid = to_regclass('{}')", need.table);
        if number(&pool, &is_there).await > 0 {
            grants.push(format!("GRANT SELECT ON {} TO reader", need.table));
        }
    }
    sqlx::raw_sql(sqlx::AssertSqlSafe(grants.join("; "))).execute(&pool).await.unwrap();
    ConnectSettings {
        user: "reader".to_owned(),
        password: Some("reader".to_owned()),
        ..database.connect_settings().await
    }
}

/// The server that all tests share. A test that stops or restarts it starts its own instead.
async fn server() -> &'static PostgresServer {
    SERVER.get_or_init(|| async { PostgresServer::start(&PostgresOptions::default()).await.unwrap() }).await
}

/// A database that no other test sees.
pub(crate) struct TestDatabase {
    name: String,
    options: PgConnectOptions,
    pool: PgPool,
}

impl TestDatabase {
    /// Connections for what the test itself does.
    pub(crate) fn pool(&self) -> PgPool {
        self.pool.clone()
    }

    /// A store with its own connections, as the scheduler opens it.
    pub(crate) async fn store(&self) -> Store {
        Store::connect_with(self.options.clone(), 10).await.unwrap()
    }

    /// A store for tests of what is booked, whatever else the machine does meanwhile: its transactions do not
    /// give way to a slow moment.
    pub(crate) async fn patient_store(&self) -> Store {
        self.store().await.with_lock_budget(PATIENCE)
    }

    pub(crate) fn connect_options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// As the settings of a scheduler name it.
    pub(crate) async fn connect_settings(&self) -> ConnectSettings {
        server().await.connect_settings(&self.name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        LEFT.lock().unwrap().push(std::mem::take(&mut self.name));
    }
}
