//! Defaults that changed from one version to another, with the way back.
//!
//! Newest last. A default that changes what is booked gets its line here in the version that changes it.

use std::fmt;

use super::types::Version;

/// A change that settings without a word about it get.
pub(super) struct Changed {
    pub(super) since: Version,
    what: &'static str,
    /// The key that decides, and its value for the old way; `None`: there is no way back.
    old_way: Option<(&'static str, &'static str)>,
}

impl Changed {
    pub(super) const fn key(&self) -> Option<&'static str> {
        match self.old_way {
            Some((key, _)) => Some(key),
            None => None,
        }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; ", self.since, self.what)?;
        match self.old_way {
            Some((key, value)) => write!(f, "the old way: {key}: {value}"),
            None => f.write_str("no key keeps the old way"),
        }
    }
}

const V2_1: Version = Version(2, 1, 0);

pub(super) const DEFAULTS: &[Changed] = &[
    Changed {
        since: V2_1,
        what: "memory of hosts is what the database says is idle, and what hosts measure only keeps work off those \
               with less than 512 MiB",
        old_way: None,
    },
    Changed {
        since: V2_1,
        what: "load on a host that is not of its frames takes cores away",
        old_way: Some(("queue.host_load", "off")),
    },
    Changed {
        since: V2_1,
        what: "hosts with idle GPUs keep a part free for GPU work that waits or ran lately, and the rest is open to all",
        old_way: Some(("queue.gpu_keep", "cuebot")),
    },
    Changed {
        since: V2_1,
        what: "a frame that failed keeps off its host for a while",
        old_way: Some(("queue.retry_elsewhere", "0s")),
    },
    Changed {
        since: V2_1,
        what: "a host on which frames of several jobs fail within seconds rests",
        old_way: Some(("queue.rest_failing_hosts", "false")),
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Inputs, keys, load};

    #[test]
    fn each_key_is_there_and_takes_the_old_way() {
        for (key, value) in DEFAULTS.iter().filter_map(|changed| changed.old_way) {
            let found = keys().iter().find(|known| known.path == key);
            let variable = found.unwrap_or_else(|| panic!("there is no key {key}")).variable();
            let environment = BTreeMap::from([(variable.into(), value.into())]);
            let loaded = load(&Inputs { environment, ..Inputs::default() });
            assert!(loaded.is_ok(), "{key}: {value}: {}", loaded.map(drop).unwrap_err());
        }
    }

    #[test]
    fn no_change_is_of_a_version_to_come() {
        assert!(DEFAULTS.iter().all(|changed| Version::FIRST < changed.since && changed.since <= Version::CURRENT));
        assert!(DEFAULTS.is_sorted_by_key(|changed| changed.since));
    }
}
