//! Limits of layers: all of a layer's must have room when a booking commits.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sqlx::query;

use super::error::StepError;
use super::outcome::LostReason;
use super::tx::{Tx, column_of, id};
use crate::model::{BookingRequest, HostId, LayerId, LimitId};

/// The limits of a chunk's layers, as counted while nobody else of ours may write under them.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) of_layer: HashMap<LayerId, Vec<LimitId>>,
    /// Limits that can block. Links to other limits, and to none, are no hindrance.
    pub(super) uses: HashMap<LimitId, LimitUse>,
}

#[derive(Debug)]
pub(super) struct LimitUse {
    pub(super) used: i64,
    /// Room means `used` below this; `None` never blocks.
    pub(super) threshold: Option<i64>,
    /// For limits that count hosts: those of the chunk that hold a seat. `None` counts frames.
    pub(super) holders: Option<HashSet<HostId>>,
}

impl LimitUse {
    fn has_room(&self, host: &HostId) -> bool {
        self.threshold.is_none_or(|threshold| self.used < threshold)
            || self.holders.as_ref().is_some_and(|holders| holders.contains(host))
    }

    fn take(&mut self, host: &HostId) {
        let is_new = self.holders.as_mut().is_none_or(|holders| holders.insert(host.clone()));
        if is_new {
            self.used += 1;
        }
    }
}

impl Limits {
    /// Takes one frame out of every limit of its layer, or nothing when one of them has no room.
    pub(super) fn take(&mut self, request: &BookingRequest) -> Result<(), LostReason> {
        let Some(limits) = self.of_layer.get(&request.frame.layer) else { return Ok(()) };
        if !limits.iter().filter_map(|limit| self.uses.get(limit)).all(|usage| usage.has_room(&request.host)) {
            return Err(LostReason::LimitReached);
        }
        for limit in limits {
            if let Some(usage) = self.uses.get_mut(limit) {
                usage.take(&request.host);
            }
        }
        Ok(())
    }
}

/// Holds the limits of the chunk's layers and counts them: under these locks, until the commit.
pub(super) async fn lock_limits(
    tx: &mut Tx,
    requests: &[&BookingRequest],
    settle_window: Duration,
) -> Result<Limits, StepError> {
    let layers: HashSet<&str> = requests.iter().map(|request| request.frame.layer.as_str()).collect();
    let layers: Vec<&str> = layers.into_iter().collect();
    let statement =
        query(include_str!("../db/sql/book_limits_lock.sql")).bind(&layers).bind(tx.budget_millis().to_string());
    let links = tx.read("locking limits", statement).await?;
    tx.budget_is_told();
    let mut limits = Limits::default();
    for row in &links {
        let limit: LimitId = id(row, "pk_limit_record")?;
        limits.of_layer.entry(id::<LayerId>(row, "pk_layer")?).or_default().push(limit);
    }
    if limits.of_layer.is_empty() {
        return Ok(limits);
    }
    let ids: HashSet<&str> = limits.of_layer.values().flatten().map(LimitId::as_str).collect();
    let ids: Vec<&str> = ids.into_iter().collect();
    let hosts: HashSet<&str> = requests.iter().map(|request| request.host.as_str()).collect();
    let hosts: Vec<&str> = hosts.into_iter().collect();
    let statement = if tx.features.has_limit_types {
        query(include_str!("../db/sql/book_limits_by_proc.sql"))
            .bind(&ids)
            .bind(&hosts)
            .bind(settle_window.as_secs_f64())
    } else {
        query(include_str!("../db/sql/book_limits_by_running.sql")).bind(&ids)
    };
    for row in &tx.read("counting limits", statement).await? {
        let counts_hosts: bool = column_of(row, "counts_hosts")?;
        let holders: Vec<String> = column_of(row, "holders")?;
        let usage = LimitUse {
            used: column_of(row, "used")?,
            threshold: column_of(row, "threshold")?,
            holders: counts_hosts.then(|| holders.into_iter().map(HostId::from).collect()),
        };
        limits.uses.insert(id(row, "pk_limit_record")?, usage);
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::booking::testing::request;

    /// Name, use, threshold, and the holders of a limit that counts hosts.
    type Use<'a> = (&'a str, i64, Option<i64>, Option<&'a [&'a str]>);

    fn limits(uses: &[Use<'_>]) -> Limits {
        Limits {
            of_layer: HashMap::from([("layer".into(), uses.iter().map(|(name, ..)| LimitId::new(name)).collect())]),
            uses: uses
                .iter()
                .map(|&(name, used, threshold, holders)| {
                    let holders = holders.map(|hosts| hosts.iter().map(HostId::new).collect());
                    (name.into(), LimitUse { used, threshold, holders })
                })
                .collect(),
        }
    }

    fn taken(limits: &mut Limits, hosts: &[&str]) -> Vec<bool> {
        hosts.iter().zip(1..).map(|(host, number)| limits.take(&request(number, host, "job")).is_ok()).collect()
    }

    #[test]
    fn all_limits_must_have_room_and_a_refusal_takes_from_none() {
        let mut both = limits(&[("wide", 0, Some(5), None), ("narrow", 1, Some(2), None)]);
        assert_eq!(taken(&mut both, &["a", "b", "c"]), [true, false, false]);
        assert_eq!(both.uses["wide"].used, 1);
    }

    #[test]
    fn a_limit_of_hosts_counts_each_host_once() {
        let mut seats = limits(&[("seats", 1, Some(2), Some(&["held"]))]);
        assert_eq!(taken(&mut seats, &["held", "new", "new", "third", "held"]), [true, true, true, false, true]);
    }

    #[test]
    fn no_maximum_never_blocks_and_zero_always_does() {
        assert_eq!(taken(&mut limits(&[("open", 99, None, None)]), &["a"]), [true]);
        assert_eq!(taken(&mut limits(&[("shut", 0, Some(0), None)]), &["a"]), [false]);
        assert_eq!(taken(&mut limits(&[("shut", 0, Some(0), Some(&["a"]))]), &["a", "b"]), [true, false]);
    }

    #[test]
    fn a_link_to_no_limit_is_no_hindrance() {
        let mut dangling = limits(&[]);
        dangling.of_layer.insert("layer".into(), vec!["gone".into()]);
        assert_eq!(taken(&mut dangling, &["a"]), [true]);
    }
}
