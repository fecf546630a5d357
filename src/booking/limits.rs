//! Limits of layers: all of a layer's must have room when a booking commits.

use super::outcome::LostReason;
use crate::db::book::{LimitCount, LimitCounts};
use crate::model::{BookingRequest, HostId};

impl LimitCount {
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

impl LimitCounts {
    /// Takes one frame out of every limit of its layer, or nothing when one of them has no room.
    pub(super) fn take(&mut self, request: &BookingRequest) -> Result<(), LostReason> {
        let Some(limits) = self.of_layer.get(&request.frame.layer) else { return Ok(()) };
        if !limits.iter().filter_map(|limit| self.counts.get(limit)).all(|count| count.has_room(&request.host)) {
            return Err(LostReason::LimitReached);
        }
        for limit in limits {
            if let Some(count) = self.counts.get_mut(limit) {
                count.take(&request.host);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::booking::testing::request;
    use crate::model::LimitId;

    /// Name, use, threshold, and the holders of a limit that counts hosts.
    type Use<'a> = (&'a str, i64, Option<i64>, Option<&'a [&'a str]>);

    fn limits(uses: &[Use<'_>]) -> LimitCounts {
        LimitCounts {
            of_layer: HashMap::from([("layer".into(), uses.iter().map(|(name, ..)| LimitId::new(name)).collect())]),
            counts: uses
                .iter()
                .map(|&(name, used, threshold, holders)| {
                    let holders = holders.map(|hosts| hosts.iter().map(HostId::new).collect());
                    (name.into(), LimitCount { used, threshold, holders })
                })
                .collect(),
        }
    }

    fn taken(limits: &mut LimitCounts, hosts: &[&str]) -> Vec<bool> {
        hosts.iter().zip(1..).map(|(host, number)| limits.take(&request(number, host, "job")).is_ok()).collect()
    }

    #[test]
    fn all_limits_must_have_room_and_a_refusal_takes_from_none() {
        let mut both = limits(&[("wide", 0, Some(5), None), ("narrow", 1, Some(2), None)]);
        assert_eq!(taken(&mut both, &["a", "b", "c"]), [true, false, false]);
        assert_eq!(both.counts["wide"].used, 1);
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
