//! One type per list of a snapshot, so that the position of a host cannot be passed for a job's.

use std::ops::{Index, IndexMut};

macro_rules! position {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub usize);

        impl $name {
            /// All positions of a list.
            pub fn all<T>(rows: &[T]) -> impl ExactSizeIterator<Item = Self> + DoubleEndedIterator + Clone + use<T> {
                (0..rows.len()).map(Self)
            }
        }

        impl From<usize> for $name {
            fn from(at: usize) -> Self {
                Self(at)
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
