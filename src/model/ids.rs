//! One type per key, so that a layer's id cannot be passed for a job's.
//!
//! Keys are text of up to 36 characters, compared as they are stored: not every one is a UUID and
//! upper-case hex occurs, so nothing may parse or reformat them.

use std::sync::Arc;

use derive_more::{Display, From};
use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Display, From, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[from(&str, String)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )+};
}

text_id!(
    FacilityId,
    ShowId,
    AllocId,
    SubscriptionId,
    FolderId,
    DeptId,
    JobId,
    LayerId,
    FrameId,
    HostId,
    /// Key of a `proc` row: the booking of a frame on a host, and the `resource_id` that RQD echoes.
    ProcId,
    LimitId,
    /// A tag of a host, as stored: exact and case-sensitive.
    Tag,
);
