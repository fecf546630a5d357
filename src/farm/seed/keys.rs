//! Keys and names that follow from the description.

use std::net::Ipv4Addr;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::error::SeedError;

/// Makes primary keys, the same sequence for the same seed.
pub(super) struct Keys(StdRng);

impl Keys {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub(super) fn next<I: From<String>>(&mut self) -> I {
        I::from(uuid::Builder::from_random_bytes(self.0.random()).into_uuid().to_string())
    }
}

/// `count` loopback addresses from `first` on, without those that look like a network or a broadcast.
pub(super) fn addresses(first: Ipv4Addr, count: usize) -> Result<Vec<String>, SeedError> {
    let candidates = (u32::from(first)..=u32::from(Ipv4Addr::new(127, 255, 255, 254))).map(Ipv4Addr::from);
    let usable = candidates.filter(|address| address.is_loopback() && !matches!(address.octets()[3], 0 | 255));
    let addresses: Vec<String> = usable.take(count).map(|address| address.to_string()).collect();
    if addresses.len() == count { Ok(addresses) } else { Err(SeedError::Addresses { first, hosts: count }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_skip_the_ends_of_each_block_and_stay_on_the_loopback() {
        let from = |first: [u8; 4], count| addresses(Ipv4Addr::from(first), count);
        assert_eq!(from([127, 1, 0, 253], 3).expect("enough"), ["127.1.0.253", "127.1.0.254", "127.1.1.1"]);
        assert_eq!(from([127, 1, 0, 1], 60_000).expect("enough").last().expect("many"), "127.1.236.56");
        assert!(matches!(from([127, 255, 255, 254], 2), Err(SeedError::Addresses { .. })));
        assert!(matches!(from([128, 0, 0, 1], 1), Err(SeedError::Addresses { .. })));
    }

    #[test]
    fn keys_repeat_with_their_seed() {
        let keys = |seed| {
            let mut keys = Keys::new(seed);
            [keys.next::<String>(), keys.next::<String>()]
        };
        assert_eq!(keys(1), keys(1));
        assert_ne!(keys(1), keys(2));
        assert_eq!(keys(1)[0].len(), 36);
    }
}
