//! What operators have ordered procs to do when their frames end.

use sqlx::FromRow;

use crate::db::row::{AMOUNTS, whole};
use crate::db::{Problem, Result, Row, Source as _, Statement, Store};
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
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
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
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, FromRow)]
pub struct OrderedRedirect {
    pub proc: ProcId,
    /// Of a job or a group.
    pub destination: String,
    pub is_group: bool,
    /// What its frame's end will free.
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub held: Amounts,
    pub job: Option<String>,
    pub frame: Option<String>,
    pub ordered_seconds: i64,
}

impl Store {
    /// `seen`: procs whose orders were seen before. An order that makes no sense is left out.
    pub async fn load_redirects(&self, seen: &[ProcId]) -> Result<Redirects> {
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
    pub async fn follow_redirects(&self, orders: &[&Redirect]) -> Result<Vec<FollowedProc>> {
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
        Ok(self.rows(statement).await?.readable(whole))
    }

    /// The orders for procs on a host, the oldest first.
    pub async fn load_redirects_on(&self, host: &HostId) -> Result<Vec<OrderedRedirect>> {
        let sql = include_str!("../sql/redirects_on_host.sql");
        let statement = Statement::new("reading a host's redirects", sql).bind(host.as_str());
        Ok(self.rows(statement).await?.readable(whole))
    }
}

fn decode(row: &Row<'_>) -> Result<(ProcId, Option<Redirect>), Problem> {
    let proc: ProcId = row.get("pk_proc")?;
    let Some(host) = row.get("pk_host")? else { return Ok((proc, None)) };
    let destination = row.text("destination")?;
    let order = Redirect {
        proc: proc.clone(),
        host,
        host_name: row.text("host_name")?,
        held: row.amounts(AMOUNTS)?,
        destination: match row.get("int_type")? {
            0_i64 => Destination::Job(destination.into()),
            1 => Destination::Group(destination.into()),
            other => return Err(format!("redirect.int_type is {other}; known are 0, a job, and 1, a group")),
        },
        destination_name: row.text("destination_name")?,
        seen_at: row.time("seen_at")?,
    };
    Ok((proc, Some(order)))
}
