//! Finding the rows that other sessions hold, after a transaction waited for one of them in vain.
//!
//! A release of Cuebot holds a row for some milliseconds, an operator's forgotten session for hours.
//! Either way what needs the row is set aside and the rest goes on; a lock is nobody's fault.

use std::collections::HashSet;

use sqlx::query;

use super::error::StepError;
use super::outcome::LostReason;
use super::tx::{column_of, id, rows};
use crate::db::Store;
use crate::model::{AllocId, Booked, BookingRequest, HostId, JobId, LayerId, ShowId};

/// What other sessions hold at one moment.
#[derive(Debug, Default)]
pub(super) struct Locked {
    hosts: HashSet<HostId>,
    layers: HashSet<LayerId>,
    jobs: HashSet<JobId>,
    subscriptions: HashSet<(ShowId, AllocId)>,
}

impl Locked {
    /// Hosts alone, asked before a chunk begins.
    pub(super) async fn hosts(store: &Store, requests: &[&BookingRequest]) -> Result<Self, StepError> {
        let statement = query(include_str!("../db/sql/book_locked_hosts.sql"))
            .bind(distinct(requests.iter().map(|request| request.host.as_str())));
        let rows = rows(store, "looking for held hosts", statement).await?;
        let hosts = rows.iter().map(|row| id(row, "pk_host")).collect::<Result<_, _>>()?;
        Ok(Self { hosts, ..Self::default() })
    }

    /// Everything that the bookings of `requests` change.
    pub(super) async fn rows_of(store: &Store, requests: &[&BookingRequest]) -> Result<Self, StepError> {
        Self::find(
            store,
            distinct(requests.iter().map(|request| request.host.as_str())),
            distinct(requests.iter().map(|request| request.frame.layer.as_str())),
            distinct(requests.iter().map(|request| request.frame.job.as_str())),
        )
        .await
    }

    /// Everything that taking `bookings` back changes.
    pub(super) async fn rows_of_booked(store: &Store, bookings: &[&Booked]) -> Result<Self, StepError> {
        Self::find(
            store,
            distinct(bookings.iter().map(|booked| booked.host.as_str())),
            distinct(bookings.iter().map(|booked| booked.layer.as_str())),
            distinct(bookings.iter().map(|booked| booked.job.as_str())),
        )
        .await
    }

    async fn find(store: &Store, hosts: Vec<&str>, layers: Vec<&str>, jobs: Vec<&str>) -> Result<Self, StepError> {
        let statement = query(include_str!("../db/sql/book_locked_rows.sql")).bind(hosts).bind(layers).bind(jobs);
        let mut locked = Self::default();
        for row in &rows(store, "looking for held rows", statement).await? {
            match column_of::<&str>(row, "kind")? {
                "host" => _ = locked.hosts.insert(id(row, "id")?),
                "layer" => _ = locked.layers.insert(id(row, "id")?),
                "job" => _ = locked.jobs.insert(id(row, "id")?),
                _ => _ = locked.subscriptions.insert((id(row, "id")?, id(row, "within")?)),
            }
        }
        Ok(locked)
    }

    /// Why a request cannot be booked now, or `Ok`.
    pub(super) fn admits(&self, request: &BookingRequest) -> Result<(), LostReason> {
        if self.hosts.contains(&request.host) {
            return Err(LostReason::HostLocked);
        }
        let needs_held_row = self.layers.contains(&request.frame.layer)
            || self.jobs.contains(&request.frame.job)
            || self.subscriptions.contains(&(request.show.clone(), request.alloc.clone()));
        if needs_held_row { Err(LostReason::RowLocked) } else { Ok(()) }
    }

    /// Whether nothing of a booking is held. Its host may have changed its allocation since, so every
    /// subscription of the show counts.
    pub(super) fn leaves_free(&self, booked: &Booked) -> bool {
        !(self.hosts.contains(&booked.host)
            || self.layers.contains(&booked.layer)
            || self.jobs.contains(&booked.job)
            || self.subscriptions.iter().any(|(show, _)| *show == booked.show))
    }
}

fn distinct<'a>(keys: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    keys.collect::<HashSet<_>>().into_iter().collect()
}
