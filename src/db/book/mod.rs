//! What a booking writes and what taking it back writes, statement by statement; which of them run, in which
//! order and what is lost when one has no room is the booking room's to decide.

pub(crate) mod counters;
mod limits;
mod locked;
pub(crate) mod remaining;
pub(crate) mod settle;
pub(crate) mod unbook;

pub(crate) use limits::{LimitCount, LimitCounts, lock_limits};
pub(crate) use locked::LockedRows;

use std::collections::{HashMap, HashSet};

use self::counters::Totals;
use super::statement::ALL_KINDS;
use super::tx::COMMIT_LIMIT;
use super::{Result, Source as _, Statement, Tx};
use crate::model::{BookingRequest, FrameId, HostId, JobId};
use crate::units::Amounts;

/// Names of the steps by which blame is told.
pub(crate) mod steps {
    pub(crate) const LOCK_LAYER_STATS: &str = "locking layers' frame counters";
    pub(crate) const LOCK_JOB_STATS: &str = "locking jobs' frame counters";
    pub(crate) const START_FRAMES: &str = "starting frames";
    pub(crate) const WRITE_PROCS: &str = "writing procs";
    pub(crate) const TAKE_FROM_HOSTS: &str = "taking from hosts";
}

/// The transaction's id and the frames that are ours now.
pub(crate) async fn claim(tx: &mut Tx<'_>, requests: &[&BookingRequest]) -> Result<(i64, HashSet<FrameId>)> {
    let sql = if tx.features.has_start_after {
        include_str!("../sql/book_claim_start_after.sql")
    } else {
        include_str!("../sql/book_claim.sql")
    };
    let statement = frames_with_versions("claiming frames", sql, requests)
        .distinct(requests.iter().map(|request| &request.frame.layer));
    let rows = tx.rows(statement).await?;
    let transaction = rows.all::<_, Vec<i64>>(|row| row.get("transaction"))?.pop().unwrap_or_default();
    Ok((transaction, rows.all(|row| row.get("pk_frame"))?))
}

/// Those of the frames that another session holds, and that are otherwise as they were read.
pub(crate) async fn held_by_others(tx: &mut Tx<'_>, requests: &[&BookingRequest]) -> Result<HashSet<FrameId>> {
    let sql = include_str!("../sql/book_unclaimed.sql");
    let statement = frames_with_versions("looking at frames that could not be claimed", sql, requests);
    tx.rows(statement).await?.all(|row| row.get("pk_frame"))
}

fn frames_with_versions(step: &'static str, sql: &'static str, requests: &[&BookingRequest]) -> Statement<'static> {
    Statement::new(step, sql)
        .texts(requests.iter().map(|request| &request.frame.id))
        .bind(requests.iter().map(|request| request.frame.version).collect::<Vec<_>>())
}

/// New versions by frame. A run after one of the excused exit statuses is no retry.
pub(crate) async fn start_frames(
    tx: &mut Tx<'_>,
    requests: &[&BookingRequest],
    excused: &[i64],
) -> Result<HashMap<FrameId, i32>> {
    let statement = Statement::new(steps::START_FRAMES, include_str!("../sql/book_frames.sql"))
        .texts(requests.iter().map(|request| &request.frame.id))
        .texts(requests.iter().map(|request| &request.host_name))
        .amounts(ALL_KINDS, &reservations(requests))
        .bind(excused.to_vec());
    tx.write(statement).await?.all(|row| Ok((row.get("pk_frame")?, row.get("int_version")?)))
}

/// The frames that got their proc.
pub(crate) async fn insert_procs(tx: &mut Tx<'_>, requests: &[&BookingRequest]) -> Result<HashSet<FrameId>> {
    let statement = Statement::new(steps::WRITE_PROCS, include_str!("../sql/book_procs.sql"))
        .texts(requests.iter().map(|request| &request.proc))
        .texts(requests.iter().map(|request| &request.frame.id))
        .texts(requests.iter().map(|request| &request.frame.layer))
        .texts(requests.iter().map(|request| &request.frame.job))
        .texts(requests.iter().map(|request| &request.show))
        .texts(requests.iter().map(|request| &request.host))
        .amounts(ALL_KINDS, &reservations(requests));
    tx.write(statement).await?.all(|row| row.get("pk_frame"))
}

fn reservations(requests: &[&BookingRequest]) -> Vec<Amounts> {
    requests.iter().map(|request| request.reservation).collect()
}

/// What must not be committed after all.
#[derive(Debug, Default)]
pub(crate) struct Unsound {
    /// Paused, ended or taken off automatic booking while we waited.
    pub(crate) jobs: HashSet<JobId>,
    /// More is reserved on them than they have.
    pub(crate) hosts: HashSet<HostId>,
}

pub(crate) async fn confirm(tx: &mut Tx<'_>, totals: &Totals) -> Result<Unsound> {
    let statement = Statement::new("looking at jobs and hosts once more", include_str!("../sql/book_confirm.sql"))
        .texts(totals.jobs.keys())
        .texts(totals.hosts.keys());
    let mut unsound = Unsound::default();
    tx.rows_telling(statement, COMMIT_LIMIT).await?.each(|row| {
        match row.text("kind")?.as_str() {
            "job" => _ = unsound.jobs.insert(row.get("id")?),
            _ => _ = unsound.hosts.insert(row.get("id")?),
        }
        Ok(())
    })?;
    Ok(unsound)
}
