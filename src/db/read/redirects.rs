//! What operators have ordered procs to do when their frames end.

use crate::db::row::AMOUNTS;
use crate::db::{Problem, Row, Source as _, Statement, Store, StoreError};
use crate::model::{FolderId, HostId, JobId, ProcId, Timestamp};
use crate::units::Amounts;

/// Where a proc shall go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Job(JobId),
    /// Any job that stands in the folder.
    Group(FolderId),
}

/// An order that a proc shall go to another job or group when its frame ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub proc: ProcId,
    pub host: HostId,
    pub host_name: String,
    /// What the proc holds.
    pub held: Amounts,
    pub destination: Destination,
    pub destination_name: String,
    /// The database's clock.
    pub seen_at: Timestamp,
}

/// All orders that stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirects {
    pub orders: Vec<Redirect>,
    /// Of the procs that were asked for, those whose order stands although they are gone.
    pub without_proc: Vec<ProcId>,
}

/// What has become of an order that no longer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowedProc {
    pub proc: ProcId,
    /// The proc is still there.
    pub is_held: bool,
    /// Procs that the destination got on the host since, the oldest first.
    pub arrived: Vec<ProcId>,
    /// Something of the destination waits that may run there.
    pub may_run: bool,
}

/// An order as an operator is told of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct OrderedRedirect {
    pub proc: ProcId,
    /// Of a job or a group.
    pub destination: String,
    pub is_group: bool,
    /// What its frame's end will free.
    #[serde(flatten)]
    pub held: Amounts,
    pub job: Option<String>,
    pub frame: Option<String>,
    pub ordered_seconds: i64,
}

impl Store {
    /// `seen`: procs whose orders were seen before. An order that makes no sense is left out.
    pub async fn load_redirects(&self, seen: &[ProcId]) -> Result<Redirects, StoreError> {
        let statement = Statement::new("reading redirects", include_str!("../sql/redirects.sql")).texts(seen);
        let mut redirects = Redirects::default();
        for row in self.rows(statement).await?.iter() {
            match decode(&row) {
                Ok((_, Some(order))) => redirects.orders.push(order),
                Ok((proc, None)) => redirects.without_proc.push(proc),
                Err(problem) => tracing::debug!(problem, "a redirect cannot be read"),
            }
        }
        Ok(redirects)
    }

    /// What became of orders that no longer stand.
    pub async fn follow_redirects(&self, orders: &[&Redirect]) -> Result<Vec<FollowedProc>, StoreError> {
        let (jobs, folders): (Vec<_>, Vec<_>) = orders
            .iter()
            .map(|order| match &order.destination {
                Destination::Job(job) => (Some(job.as_str()), None),
                Destination::Group(folder) => (None, Some(folder.as_str())),
            })
            .unzip();
        let statement = Statement::new("following redirects", include_str!("../sql/redirects_followed.sql"))
            .texts(orders.iter().map(|order| &order.proc))
            .texts(orders.iter().map(|order| &order.host))
            .bind(jobs)
            .bind(folders)
            .bind(orders.iter().map(|order| order.seen_at).collect::<Vec<_>>());
        Ok(self.rows(statement).await?.readable(followed))
    }

    /// The orders for procs on a host, the oldest first.
    pub async fn load_redirects_on(&self, host: &HostId) -> Result<Vec<OrderedRedirect>, StoreError> {
        let sql = include_str!("../sql/redirects_on_host.sql");
        let statement = Statement::new("reading a host's redirects", sql).bind(host.as_str());
        Ok(self.rows(statement).await?.readable(ordered))
    }
}

fn decode(row: &Row<'_>) -> Result<(ProcId, Option<Redirect>), Problem> {
    let proc: ProcId = row.id("pk_proc")?;
    let Some(host) = row.text_or_null("pk_host")? else { return Ok((proc, None)) };
    let destination = row.text("destination")?;
    let order = Redirect {
        proc: proc.clone(),
        host: host.into(),
        host_name: row.text("host_name")?,
        held: row.amounts(AMOUNTS)?,
        destination: if is_group(row)? {
            Destination::Group(destination.into())
        } else {
            Destination::Job(destination.into())
        },
        destination_name: row.text("destination_name")?,
        seen_at: row.time("seen_at")?,
    };
    Ok((proc, Some(order)))
}

fn followed(row: &Row<'_>) -> Result<FollowedProc, Problem> {
    Ok(FollowedProc {
        proc: row.id("pk_proc")?,
        is_held: row.flag("is_held")?,
        arrived: row.ids("arrived")?,
        may_run: row.flag("may_run")?,
    })
}

fn ordered(row: &Row<'_>) -> Result<OrderedRedirect, Problem> {
    Ok(OrderedRedirect {
        proc: row.id("pk_proc")?,
        destination: row.text("destination_name")?,
        is_group: is_group(row)?,
        held: row.amounts(AMOUNTS)?,
        job: row.text_or_null("job_name")?,
        frame: row.text_or_null("frame_name")?,
        ordered_seconds: row.number("ordered_seconds")?,
    })
}

fn is_group(row: &Row<'_>) -> Result<bool, Problem> {
    match row.number("int_type")? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(format!("redirect.int_type is {other}; known are 0, a job, and 1, a group")),
    }
}
