//! One type per list of a snapshot, so that the position of a host cannot be passed for a job's.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::{Index, IndexMut};

use derive_more::From;
use serde::{Deserialize, Serialize};

macro_rules! position {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, From, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub usize);

        impl $name {
            /// All positions of a list.
            pub fn all<T>(rows: &[T]) -> impl ExactSizeIterator<Item = Self> + DoubleEndedIterator + Clone + use<T> {
                (0..rows.len()).map(Self)
            }
        }

        /// Of the list itself, or of one that runs parallel to it.
        impl<T> Index<$name> for Vec<T> {
            type Output = T;

            fn index(&self, at: $name) -> &T {
                &self[at.0]
            }
        }

        impl<T> IndexMut<$name> for Vec<T> {
            fn index_mut(&mut self, at: $name) -> &mut T {
                &mut self[at.0]
            }
        }
    )+};
}

position!(CandidateIx, HostIx, ClusterIx, ShowIx, SubscriptionIx, FolderIx, JobIx, LimitIx);

/// Where each key stands; of equal keys, the first one.
pub(crate) fn positions<K: Eq + Hash, Ix: From<usize>>(
    keys: impl DoubleEndedIterator<Item = K> + ExactSizeIterator,
) -> HashMap<K, Ix> {
    keys.enumerate().rev().map(|(position, key)| (key, position.into())).collect()
}
