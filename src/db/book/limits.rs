//! Limits of layers, counted under locks.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::db::{Result, Source as _, Statement, Tx};
use crate::model::{BookingRequest, HostId, LayerId, LimitId};

/// The limits of a chunk's layers, as counted while nobody else of ours may write under them.
#[derive(Debug, Default)]
pub(crate) struct LimitCounts {
    pub(crate) of_layer: HashMap<LayerId, Vec<LimitId>>,
    /// Limits that can block. Links to other limits, and to none, are no hindrance.
    pub(crate) counts: HashMap<LimitId, LimitCount>,
}

#[derive(Debug)]
pub(crate) struct LimitCount {
    pub(crate) used: i64,
    /// Room means `used` below this; `None` never blocks.
    pub(crate) threshold: Option<i64>,
    /// For limits that count hosts: those of the chunk that hold a seat. `None` counts frames.
    pub(crate) holders: Option<HashSet<HostId>>,
}

/// Holds the limits of the chunk's layers and counts them: under these locks, until the commit.
pub(crate) async fn lock_limits(
    tx: &mut Tx<'_>,
    requests: &[&BookingRequest],
    settle_window: Duration,
) -> Result<LimitCounts> {
    let statement = Statement::new("locking limits", include_str!("../sql/book_limits_lock.sql"))
        .distinct(requests.iter().map(|request| &request.frame.layer));
    let links = tx.rows_telling(statement, tx.budget).await?;
    let mut limits = LimitCounts::default();
    links.each(|row| {
        limits.of_layer.entry(row.get("pk_layer")?).or_default().push(row.get("pk_limit_record")?);
        Ok(())
    })?;
    if limits.of_layer.is_empty() {
        return Ok(limits);
    }
    let of = |sql| Statement::new("counting limits", sql).distinct(limits.of_layer.values().flatten());
    let statement = if tx.features.has_limit_types {
        of(include_str!("../sql/book_limits_by_proc.sql"))
            .distinct(requests.iter().map(|request| &request.host))
            .bind(settle_window.as_secs_f64())
    } else {
        of(include_str!("../sql/book_limits_by_running.sql"))
    };
    limits.counts = tx.rows(statement).await?.all(|row| {
        let holders = if row.get("counts_hosts")? { Some(row.ids("holders")?) } else { None };
        let count = LimitCount { used: row.get("used")?, threshold: row.get("threshold")?, holders };
        Ok((row.get("pk_limit_record")?, count))
    })?;
    Ok(limits)
}
