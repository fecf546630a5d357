//! The counting rows of a batch, one function per table, to be called in the order of this file.
//!
//! Positive totals take and are written only where the row's own conditions hold; the keys that were
//! not written come back. Negative totals give back and pass every condition.

use std::collections::{BTreeMap, HashSet};

use sqlx::query;

use super::error::StepError;
use super::outcome::steps;
use super::totals::Totals;
use super::tx::{Tx, column_of, id};
use crate::model::{AllocId, HostId, JobId, ShowId};
use crate::units::Amounts;

/// Holds the frame counters of a batch, all layers and then all jobs, before its first frame changes.
pub(super) async fn lock_stats<'a>(
    tx: &mut Tx,
    layers: impl Iterator<Item = &'a str>,
    jobs: impl Iterator<Item = &'a str>,
) -> Result<(), StepError> {
    let layers: Vec<&str> = layers.collect::<HashSet<_>>().into_iter().collect();
    let jobs: Vec<&str> = jobs.collect::<HashSet<_>>().into_iter().collect();
    let statement = query(include_str!("../db/sql/book_layer_stats.sql"));
    tx.read(steps::LOCK_LAYER_STATS, statement.bind(&layers)).await?;
    let statement = query(include_str!("../db/sql/book_job_stats.sql"));
    tx.read(steps::LOCK_JOB_STATS, statement.bind(&jobs)).await?;
    Ok(())
}

/// What became of a batch's hosts.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// Those that were written, with their allocations.
    pub(super) written: BTreeMap<HostId, AllocId>,
    /// Those that another session holds, or that are gone.
    pub(super) skipped: HashSet<HostId>,
}

/// Never waits for a host: a wait here would hold the frame counters that Cuebot's stops go through.
pub(super) async fn hosts(tx: &mut Tx, totals: &Totals) -> Result<Hosts, StepError> {
    let sums = Columns::of(totals.hosts.iter().map(|(host, amounts)| (host.as_str(), amounts)));
    let rows = tx
        .write(
            steps::TAKE_FROM_HOSTS,
            query(include_str!("../db/sql/book_hosts.sql"))
                .bind(&sums.ids)
                .bind(&sums.cores)
                .bind(&sums.memory)
                .bind(&sums.gpus)
                .bind(&sums.gpu_memory),
        )
        .await?;
    let mut hosts = Hosts { written: BTreeMap::new(), skipped: totals.hosts.keys().cloned().collect() };
    for row in &rows {
        let host: HostId = id(row, "pk_host")?;
        hosts.skipped.remove(&host);
        if column_of(row, "is_written")? {
            hosts.written.insert(host, id(row, "pk_alloc")?);
        }
    }
    Ok(hosts)
}

/// Shows, with the allocations of the hosts that were written, whose subscription was not.
pub(super) async fn subscriptions(
    tx: &mut Tx,
    totals: &Totals,
    allocs: &BTreeMap<HostId, AllocId>,
) -> Result<HashSet<(ShowId, AllocId)>, StepError> {
    let wanted = totals.subscriptions(allocs);
    let shows: Vec<&str> = wanted.keys().map(|(show, _)| show.as_str()).collect();
    let sums = Columns::of(wanted.iter().map(|((_, alloc), amounts)| (alloc.as_str(), amounts)));
    let rows = tx
        .write(
            "adding to subscriptions",
            query(include_str!("../db/sql/book_subscriptions.sql"))
                .bind(&shows)
                .bind(&sums.ids)
                .bind(&sums.cores)
                .bind(&sums.gpus),
        )
        .await?;
    let mut missing: HashSet<(ShowId, AllocId)> = wanted.keys().cloned().collect();
    for row in &rows {
        missing.remove(&(id(row, "pk_show")?, id(row, "pk_alloc")?));
    }
    Ok(missing)
}

pub(super) async fn layers(tx: &mut Tx, totals: &Totals) -> Result<(), StepError> {
    let sums = Columns::of(totals.layers.iter().map(|(layer, amounts)| (layer.as_str(), amounts)));
    let statement = query(include_str!("../db/sql/book_layers.sql"));
    tx.execute("adding to layers", statement.bind(&sums.ids).bind(&sums.cores).bind(&sums.gpus)).await?;
    Ok(())
}

/// Jobs that were not written.
pub(super) async fn jobs(tx: &mut Tx, totals: &Totals) -> Result<HashSet<JobId>, StepError> {
    per_job(tx, totals, "adding to jobs", include_str!("../db/sql/book_jobs.sql")).await
}

/// Jobs whose folder was not written.
pub(super) async fn folders(tx: &mut Tx, totals: &Totals) -> Result<HashSet<JobId>, StepError> {
    per_job(tx, totals, "adding to folders", include_str!("../db/sql/book_folders.sql")).await
}

pub(super) async fn points(tx: &mut Tx, totals: &Totals) -> Result<(), StepError> {
    let sums = Columns::of(totals.jobs.iter().map(|(job, amounts)| (job.as_str(), amounts)));
    let statement = query(include_str!("../db/sql/book_points.sql"));
    tx.execute("adding to points", statement.bind(&sums.ids).bind(&sums.cores).bind(&sums.gpus)).await?;
    Ok(())
}

async fn per_job(
    tx: &mut Tx,
    totals: &Totals,
    name: &'static str,
    statement: &'static str,
) -> Result<HashSet<JobId>, StepError> {
    let sums = Columns::of(totals.jobs.iter().map(|(job, amounts)| (job.as_str(), amounts)));
    let rows = tx.write(name, query(statement).bind(&sums.ids).bind(&sums.cores).bind(&sums.gpus)).await?;
    let mut missing: HashSet<JobId> = totals.jobs.keys().cloned().collect();
    for row in &rows {
        missing.remove(&id::<JobId>(row, "pk_job")?);
    }
    Ok(missing)
}

/// Keys and amounts side by side, as the statements take them.
#[derive(Debug, Default)]
pub(super) struct Columns<'a> {
    pub(super) ids: Vec<&'a str>,
    pub(super) cores: Vec<i64>,
    pub(super) memory: Vec<i64>,
    pub(super) gpus: Vec<i64>,
    pub(super) gpu_memory: Vec<i64>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(rows: impl Iterator<Item = (&'a str, &'a Amounts)>) -> Self {
        let mut columns = Self::default();
        for (id, amounts) in rows {
            columns.ids.push(id);
            columns.cores.push(amounts.cores.get());
            columns.memory.push(amounts.memory.get());
            columns.gpus.push(amounts.gpus.get());
            columns.gpu_memory.push(amounts.gpu_memory.get());
        }
        columns
    }
}
