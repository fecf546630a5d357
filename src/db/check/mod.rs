//! What is asked of a server, its schema and its rows before a scheduler is trusted to them: over a session
//! of its own, on which every statement has a read-only transaction of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, FromRow};

use super::connect::connect_once;
use super::pooling;
use super::row::whole;
use super::{ConnectSettings, Result, Rows, Source, Statement, StoreError, Tx, Way};
use crate::model::{FacilityId, ShowId};

/// Longest time of one statement.
pub(crate) const STATEMENT_LIMIT: Duration = Duration::from_secs(10);
/// After the server should have ended the statement itself.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) struct Session {
    connection: PgConnection,
    way: Way,
    /// A statement was not answered; another one would only wait for it.
    is_lost: bool,
}

impl Source for &mut Session {
    async fn rows(self, statement: Statement<'_>) -> Result<Rows> {
        let connection = self.answering()?;
        let in_transaction = async {
            let mut tx = Tx::reading_on(connection, STATEMENT_LIMIT).await?;
            let rows = tx.rows(statement).await;
            tx.rollback().await?;
            rows
        };
        let answered = tokio::time::timeout(STATEMENT_LIMIT + GRACE, in_transaction).await;
        self.is_lost = answered.is_err();
        answered.unwrap_or(Err(StoreError::Unanswered))
    }
}

impl Session {
    pub(crate) async fn open(settings: &ConnectSettings) -> Result<Self> {
        let (connection, way) = connect_once(settings).await?;
        Ok(Self { connection, way, is_lost: false })
    }

    pub(crate) const fn way(&self) -> Way {
        self.way
    }

    pub(crate) async fn ping(&mut self) -> Result<()> {
        let answered = tokio::time::timeout(STATEMENT_LIMIT, self.answering()?.ping()).await;
        self.is_lost = answered.is_err();
        answered.map_or(Err(StoreError::Unanswered), |pinged| pinged.map_err(StoreError::query("pinging")))
    }

    fn answering(&mut self) -> Result<&mut PgConnection> {
        if self.is_lost { Err(StoreError::Unanswered) } else { Ok(&mut self.connection) }
    }

    pub(crate) async fn close(self) {
        if !self.is_lost {
            // Whether the server hears of it changes nothing.
            let _ = self.connection.close().await;
        }
    }

    /// The version of the protocol that encrypts the connection, as the server names it; empty where none
    /// does, or not to the server.
    pub(crate) async fn tls_version(&mut self) -> Result<String> {
        let statement = Statement::new("asking for encryption", include_str!("../sql/check_tls.sql"));
        self.rows(statement).await?.one(|row| row.text("version"))
    }

    pub(crate) async fn server(&mut self) -> Result<Server> {
        let statement = Statement::new("asking for the server", include_str!("../sql/check_server.sql"));
        self.rows(statement).await?.one(whole)
    }

    /// The server's clock, in seconds since 1970.
    pub(crate) async fn clock(&mut self) -> Result<f64> {
        let statement = Statement::new("asking for the time", include_str!("../sql/check_clock.sql"));
        self.rows(statement).await?.one(|row| row.get("now"))
    }

    pub(crate) async fn connections(&mut self) -> Result<Connections> {
        let statement = Statement::new("counting connections", include_str!("../sql/check_connections.sql"));
        self.rows(statement).await?.one(whole)
    }

    /// What keeps the server from removing dead rows.
    pub(crate) async fn held_back(&mut self) -> Result<Vec<HeldBack>> {
        let statement = Statement::new("looking for old transactions", include_str!("../sql/check_held_back.sql"));
        self.rows(statement).await?.all(whole)
    }

    /// The triggers of some tables.
    pub(crate) async fn triggers(&mut self, tables: &BTreeSet<&str>) -> Result<Vec<Trigger>> {
        let statement = Statement::new("looking at triggers", include_str!("../sql/check_triggers.sql"));
        self.rows(statement.texts(tables.iter().copied())).await?.all(whole)
    }

    /// Relations and columns that lead an index that covers all rows, and whether it alone is unique there.
    pub(crate) async fn indexes(
        &mut self,
        tables: impl Iterator<Item = &'static str>,
    ) -> Result<BTreeMap<(String, String), bool>> {
        let statement = Statement::new("looking at indexes", include_str!("../sql/check_indexes.sql")).texts(tables);
        let rows = self.rows(statement).await?;
        rows.all(|row| Ok(((row.text("relation")?, row.text("part")?), row.get("is_unique")?)))
    }

    /// Subscriptions with a size or a burst below one core: `show on alloc`, size and burst in hundredths.
    pub(crate) async fn odd_subscriptions(&mut self, shows: &[ShowId]) -> Result<Vec<(String, i64, i64)>> {
        let statement = Statement::new("looking at subscriptions", include_str!("../sql/check_subscriptions.sql"));
        self.rows(statement.texts(shows)).await?.all(whole)
    }

    /// Folders, as `show/folder`, that have not exactly one resource row, and how many they have.
    pub(crate) async fn odd_folders(&mut self, shows: &[ShowId]) -> Result<Vec<(String, i64)>> {
        let statement = Statement::new("looking at folders", include_str!("../sql/check_folders.sql"));
        self.rows(statement.texts(shows)).await?.all(whole)
    }

    pub(crate) async fn host_groups(
        &mut self,
        facilities: &[FacilityId],
        staleness: Duration,
    ) -> Result<Vec<HostGroup>> {
        let statement = Statement::new("looking at hosts", include_str!("../sql/check_hosts.sql"))
            .texts(facilities)
            .bind(staleness.as_secs_f64());
        self.rows(statement).await?.all(whole)
    }

    /// Names of the hosts that are up and report, sorted.
    pub(crate) async fn reporting_hosts(
        &mut self,
        facilities: &[FacilityId],
        staleness: Duration,
    ) -> Result<Vec<String>> {
        let statement = Statement::new("looking for hosts that report", include_str!("../sql/check_agents.sql"))
            .texts(facilities)
            .bind(staleness.as_secs_f64());
        self.rows(statement).await?.all(|row| row.text("name"))
    }
}

#[derive(FromRow)]
pub(crate) struct Server {
    pub(crate) version: String,
    pub(crate) number: i32,
    pub(crate) is_standby: bool,
    pub(crate) is_read_only: bool,
}

/// -1 of a role or database: no bound of its own.
#[derive(FromRow)]
pub(crate) struct Connections {
    pub(crate) allowed: i64,
    pub(crate) of_role: i64,
    pub(crate) of_database: i64,
    pub(crate) others: i64,
}

/// Something that keeps dead rows from being removed.
#[derive(FromRow)]
pub(crate) struct HeldBack {
    pub(crate) kind: String,
    pub(crate) name: String,
    /// Since then; -1 where that is not known.
    pub(crate) seconds: i64,
}

#[derive(FromRow)]
pub(crate) struct Trigger {
    pub(crate) relation: String,
    /// The bits of `pg_trigger.tgtype`.
    pub(crate) kind: i32,
    pub(crate) is_enabled: bool,
    /// Of its function, in small letters.
    pub(crate) source: String,
    pub(crate) is_readable: bool,
}

/// Hosts of one allocation in one condition.
#[derive(FromRow)]
pub(crate) struct HostGroup {
    pub(crate) alloc: String,
    pub(crate) condition: String,
    #[sqlx(try_from = "i64")]
    pub(crate) hosts: usize,
    /// Names of those that say UP and report no more.
    pub(crate) stale: Vec<String>,
}

/// Whether two sessions share one server process, or one session changes its process: then a proxy
/// hands out connections by the transaction, and session locks and settings do not hold.
pub(crate) async fn is_pooled_by_transaction(settings: &ConnectSettings) -> Result<bool> {
    let ((mut first, _), (mut second, _)) = (connect_once(settings).await?, connect_once(settings).await?);
    let is_by_transaction = pooling::is_by_transaction(&mut first, &mut second).await?;
    let _ = (first.close().await, second.close().await);
    Ok(is_by_transaction)
}
