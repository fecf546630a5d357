//! The second transaction of an ended run: the proc goes, and what it held is given back. Where the run
//! was lost it is no transaction.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::OptionFuture;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row as _, query};
use tokio::sync::Semaphore;

use super::stop::clear;
use crate::farm::schema::Generation;

/// What a proc holds, and where it is counted.
pub(super) struct Holding {
    pub(super) host: String,
    pub(super) show: String,
    pub(super) layer: String,
    pub(super) job: String,
    pub(super) held: Held,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Held {
    pub(super) cores: i64,
    pub(super) memory: i64,
    pub(super) gpus: i64,
    pub(super) gpu_memory: i64,
}

/// Who subtracts released procs of flagged shows from the five accounting tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Managed {
    /// Cuebot does, as for every show.
    Subtracted,
    /// The show's scheduler has to.
    Skipped,
    /// The show's scheduler has to, and is told by a notification.
    Notified,
}

const fn managed(generation: Generation) -> Managed {
    match generation {
        Generation::G0 | Generation::G1 | Generation::G4 | Generation::G5 => Managed::Subtracted,
        Generation::G2 => Managed::Skipped,
        Generation::G3 => Managed::Notified,
    }
}

/// Releases those of the procs that run nothing, as this generation of Cuebot does. Returns how many.
pub(super) async fn release(pool: &PgPool, generation: Generation, procs: &[String]) -> Result<usize, sqlx::Error> {
    if procs.is_empty() {
        return Ok(0);
    }
    let mut tx = pool.begin().await?;
    let count = give_back(&mut tx, generation, procs, None).await?;
    tx.commit().await?;
    Ok(count)
}

/// Releases a proc that still holds a frame, unless it holds another one by now.
pub(super) async fn release_held(
    pool: &PgPool,
    generation: Generation,
    proc: &str,
    frame: &str,
) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    let procs: Vec<String> = clear(&mut tx, &[(proc, frame)]).await?.into_iter().collect();
    give_back(&mut tx, generation, &procs, None).await?;
    tx.commit().await
}

/// Counts what a new proc holds, in the order of a release. Cuebot does so for every show, flagged or not.
pub(super) async fn take(connection: &mut PgConnection, holding: Holding) -> Result<(), sqlx::Error> {
    let Held { cores, memory, gpus, gpu_memory } = holding.held;
    let held = Held { cores: -cores, memory: -memory, gpus: -gpus, gpu_memory: -gpu_memory };
    let taken = [Holding { held, ..holding }];
    let allocs = give_hosts(connection, &taken).await?;
    subtract(connection, &taken, &allocs, None).await
}

/// Releases a proc whose run was lost: the same statements, and each of them commits alone. In between
/// the proc is gone and what it held is still counted.
pub(super) async fn lose(
    pool: &PgPool,
    generation: Generation,
    proc: &String,
    steps: Option<&Semaphore>,
) -> Result<usize, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    give_back(&mut connection, generation, std::slice::from_ref(proc), steps).await
}

async fn give_back(
    connection: &mut PgConnection,
    generation: Generation,
    procs: &[String],
    steps: Option<&Semaphore>,
) -> Result<usize, sqlx::Error> {
    let statement = query(include_str!("../sql/cuebot_delete_procs.sql")).bind(procs);
    let rows = statement.fetch_all(&mut *connection).await?;
    let mut released = rows.iter().map(Holding::of).collect::<Result<Vec<_>, _>>()?;
    let count = released.len();
    if count == 0 {
        return Ok(0);
    }
    step(steps).await;
    let allocs = give_hosts(connection, &released).await?;
    if managed(generation) != Managed::Subtracted {
        let flagged = managed_shows(connection, &released).await?;
        let (skipped, subtracted): (Vec<_>, Vec<_>) =
            released.into_iter().partition(|proc| flagged.contains(&proc.show));
        released = subtracted;
        if managed(generation) == Managed::Notified && !skipped.is_empty() {
            step(steps).await;
            notify(connection, &skipped).await?;
        }
    }
    subtract(connection, &released, &allocs, steps).await?;
    Ok(count)
}

/// Waits until the next statement may go. A semaphore that is closed holds nobody up.
async fn step(steps: Option<&Semaphore>) {
    if let Some(Ok(permit)) = OptionFuture::from(steps.map(Semaphore::acquire)).await {
        permit.forget();
    }
}

async fn give_hosts(
    connection: &mut PgConnection,
    released: &[Holding],
) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let sums = Sums::by(released, |proc| &proc.host);
    let statement = query(include_str!("../sql/cuebot_give_hosts.sql"))
        .bind(&sums.keys)
        .bind(&sums.cores)
        .bind(&sums.memory)
        .bind(&sums.gpus)
        .bind(&sums.gpu_memory);
    let rows = statement.fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get("pk_host")?, row.try_get("pk_alloc")?))).collect()
}

async fn managed_shows(connection: &mut PgConnection, released: &[Holding]) -> Result<BTreeSet<String>, sqlx::Error> {
    let shows: BTreeSet<&str> = released.iter().map(|proc| proc.show.as_str()).collect();
    let statement = query(include_str!("../sql/cuebot_managed_shows.sql"));
    let rows = statement.bind(shows.into_iter().collect::<Vec<_>>()).fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get("pk_show")).collect()
}

async fn notify(connection: &mut PgConnection, skipped: &[Holding]) -> Result<(), sqlx::Error> {
    let statement = query(include_str!("../sql/cuebot_notify_releases.sql"))
        .bind(skipped.iter().map(|proc| proc.host.as_str()).collect::<Vec<_>>())
        .bind(skipped.iter().map(|proc| proc.job.as_str()).collect::<Vec<_>>())
        .bind(skipped.iter().map(|proc| proc.layer.as_str()).collect::<Vec<_>>())
        .bind(skipped.iter().map(|proc| proc.held.cores).collect::<Vec<_>>())
        .bind(skipped.iter().map(|proc| proc.held.gpus).collect::<Vec<_>>());
    statement.execute(connection).await?;
    Ok(())
}

/// The five accounting tables, in the order in which everybody locks them.
async fn subtract(
    connection: &mut PgConnection,
    released: &[Holding],
    allocs: &BTreeMap<String, String>,
    steps: Option<&Semaphore>,
) -> Result<(), sqlx::Error> {
    if released.is_empty() {
        return Ok(());
    }
    let mut subscriptions: BTreeMap<(&str, &str), Held> = BTreeMap::new();
    for proc in released {
        if let Some(alloc) = allocs.get(&proc.host) {
            subscriptions.entry((&proc.show, alloc)).or_default().add(&proc.held);
        }
    }
    step(steps).await;
    let statement = query(include_str!("../sql/cuebot_take_subscriptions.sql"))
        .bind(subscriptions.keys().map(|(show, _)| *show).collect::<Vec<_>>())
        .bind(subscriptions.keys().map(|(_, alloc)| *alloc).collect::<Vec<_>>())
        .bind(subscriptions.values().map(|held| held.cores).collect::<Vec<_>>())
        .bind(subscriptions.values().map(|held| held.gpus).collect::<Vec<_>>());
    statement.execute(&mut *connection).await?;

    step(steps).await;
    let layers = Sums::by(released, |proc| &proc.layer);
    let statement = query(include_str!("../sql/cuebot_take_layers.sql"));
    statement.bind(&layers.keys).bind(&layers.cores).bind(&layers.gpus).execute(&mut *connection).await?;

    let jobs = Sums::by(released, |proc| &proc.job);
    for statement in [
        include_str!("../sql/cuebot_take_jobs.sql"),
        include_str!("../sql/cuebot_take_folders.sql"),
        include_str!("../sql/cuebot_take_points.sql"),
    ] {
        step(steps).await;
        let statement = query(statement).bind(&jobs.keys).bind(&jobs.cores).bind(&jobs.gpus);
        statement.execute(&mut *connection).await?;
    }
    Ok(())
}

impl Holding {
    /// The ids of show, layer and job may be missing in a row that somebody wrote by hand; it then
    /// counts nowhere.
    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        let text = |column| row.try_get::<Option<String>, _>(column).map(Option::unwrap_or_default);
        Ok(Self {
            host: row.try_get("pk_host")?,
            show: text("pk_show")?,
            layer: text("pk_layer")?,
            job: text("pk_job")?,
            held: Held {
                cores: row.try_get("cores")?,
                memory: row.try_get("memory")?,
                gpus: row.try_get("gpus")?,
                gpu_memory: row.try_get("gpu_memory")?,
            },
        })
    }
}

impl Held {
    fn add(&mut self, other: &Self) {
        self.cores += other.cores;
        self.memory += other.memory;
        self.gpus += other.gpus;
        self.gpu_memory += other.gpu_memory;
    }
}

/// One column per array parameter, one entry per key.
#[derive(Default)]
struct Sums<'a> {
    keys: Vec<&'a str>,
    cores: Vec<i64>,
    memory: Vec<i64>,
    gpus: Vec<i64>,
    gpu_memory: Vec<i64>,
}

impl<'a> Sums<'a> {
    fn by(released: &'a [Holding], key: impl Fn(&'a Holding) -> &'a str) -> Self {
        let mut sums: BTreeMap<&str, Held> = BTreeMap::new();
        for proc in released {
            sums.entry(key(proc)).or_default().add(&proc.held);
        }
        let mut columns = Self::default();
        for (key, held) in sums {
            columns.keys.push(key);
            columns.cores.push(held.cores);
            columns.memory.push(held.memory);
            columns.gpus.push(held.gpus);
            columns.gpu_memory.push(held.gpu_memory);
        }
        columns
    }
}
