//! The counting rows of a batch, one function per table, to be called in the order of this file.
//!
//! Positive totals take and are written only where the row's own conditions hold; the keys that were
//! not written come back. Negative totals give back and pass every condition.

use std::collections::{BTreeMap, HashSet};

use super::steps;
use crate::db::statement::{ALL_KINDS, CORES_AND_GPUS};
use crate::db::{Result, Rows, Source as _, Statement, Tx};
use crate::model::{AllocId, HostId, JobId, LayerId, ShowId};
use crate::units::Amounts;

/// Sums of what a batch takes or gives back: per host, layer, job, and show on allocation. The last is keyed by
/// host until the hosts are written, as only then it is certain which allocation each is in.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) hosts: BTreeMap<HostId, Amounts>,
    pub(crate) layers: BTreeMap<LayerId, Amounts>,
    pub(crate) jobs: BTreeMap<JobId, Amounts>,
    pub(crate) shows: BTreeMap<(ShowId, HostId), Amounts>,
}

impl Totals {
    pub(crate) fn add(&mut self, host: &HostId, show: &ShowId, job: &JobId, layer: &LayerId, amounts: Amounts) {
        *self.hosts.entry(host.clone()).or_default() += amounts;
        *self.layers.entry(layer.clone()).or_default() += amounts;
        *self.jobs.entry(job.clone()).or_default() += amounts;
        *self.shows.entry((show.clone(), host.clone())).or_default() += amounts;
    }
}

/// Holds the frame counters of a batch, all layers and then all jobs, before its first frame changes.
pub(crate) async fn lock_stats<'a>(
    tx: &mut Tx<'_>,
    frames: impl Iterator<Item = (&'a LayerId, &'a JobId)> + Clone,
) -> Result<()> {
    let sql = include_str!("../sql/book_layer_stats.sql");
    tx.rows(Statement::new(steps::LOCK_LAYER_STATS, sql).distinct(frames.clone().map(|(layer, _)| layer))).await?;
    let sql = include_str!("../sql/book_job_stats.sql");
    tx.rows(Statement::new(steps::LOCK_JOB_STATS, sql).distinct(frames.map(|(_, job)| job))).await?;
    Ok(())
}

/// What became of a batch's hosts.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// Those that were written, with their allocations.
    pub(crate) written: BTreeMap<HostId, AllocId>,
    /// Those that another session holds, or that are gone.
    pub(crate) skipped: HashSet<HostId>,
}

/// Never waits for a host: a wait here would hold the frame counters that Cuebot's stops go through.
pub(crate) async fn hosts(tx: &mut Tx<'_>, totals: &Totals) -> Result<Hosts> {
    let statement = Statement::new(steps::TAKE_FROM_HOSTS, include_str!("../sql/book_hosts.sql"))
        .texts(totals.hosts.keys())
        .amounts(ALL_KINDS, &sums(&totals.hosts));
    let mut hosts = Hosts { written: BTreeMap::new(), skipped: totals.hosts.keys().cloned().collect() };
    tx.write(statement).await?.each(|row| {
        let host: HostId = row.get("pk_host")?;
        hosts.skipped.remove(&host);
        if row.get("is_written")? {
            hosts.written.insert(host, row.get("pk_alloc")?);
        }
        Ok(())
    })?;
    Ok(hosts)
}

/// Shows, with the allocations of the hosts that were written, whose subscription was not.
pub(crate) async fn subscriptions(
    tx: &mut Tx<'_>,
    totals: &Totals,
    allocs: &BTreeMap<HostId, AllocId>,
) -> Result<HashSet<(ShowId, AllocId)>> {
    let mut wanted: BTreeMap<(ShowId, AllocId), Amounts> = BTreeMap::new();
    for ((show, host), amounts) in &totals.shows {
        if let Some(alloc) = allocs.get(host) {
            *wanted.entry((show.clone(), alloc.clone())).or_default() += *amounts;
        }
    }
    let statement = Statement::new("adding to subscriptions", include_str!("../sql/book_subscriptions.sql"))
        .texts(wanted.keys().map(|(show, _)| show))
        .texts(wanted.keys().map(|(_, alloc)| alloc))
        .amounts(CORES_AND_GPUS, &sums(&wanted));
    let written: HashSet<_> = tx.write(statement).await?.all(|row| Ok((row.get("pk_show")?, row.get("pk_alloc")?)))?;
    Ok(wanted.into_keys().filter(|pair| !written.contains(pair)).collect())
}

pub(crate) async fn layers(tx: &mut Tx<'_>, totals: &Totals) -> Result<()> {
    let statement = Statement::new("adding to layers", include_str!("../sql/book_layers.sql"));
    tx.execute(statement.texts(totals.layers.keys()).amounts(CORES_AND_GPUS, &sums(&totals.layers))).await
}

/// Jobs that were not written.
pub(crate) async fn jobs(tx: &mut Tx<'_>, totals: &Totals) -> Result<HashSet<JobId>> {
    let statement = per_job("adding to jobs", include_str!("../sql/book_jobs.sql"), totals);
    not_written(&tx.write(statement).await?, totals)
}

/// Jobs whose folder was not written.
pub(crate) async fn folders(tx: &mut Tx<'_>, totals: &Totals) -> Result<HashSet<JobId>> {
    let statement = per_job("adding to folders", include_str!("../sql/book_folders.sql"), totals);
    not_written(&tx.write(statement).await?, totals)
}

pub(crate) async fn points(tx: &mut Tx<'_>, totals: &Totals) -> Result<()> {
    tx.execute(per_job("adding to points", include_str!("../sql/book_points.sql"), totals)).await
}

fn per_job(step: &'static str, sql: &'static str, totals: &Totals) -> Statement<'static> {
    Statement::new(step, sql).texts(totals.jobs.keys()).amounts(CORES_AND_GPUS, &sums(&totals.jobs))
}

fn not_written(written: &Rows, totals: &Totals) -> Result<HashSet<JobId>> {
    let written: HashSet<JobId> = written.all(|row| row.get("pk_job"))?;
    Ok(totals.jobs.keys().filter(|job| !written.contains(*job)).cloned().collect())
}

fn sums<K>(totals: &BTreeMap<K, Amounts>) -> Vec<Amounts> {
    totals.values().copied().collect()
}
