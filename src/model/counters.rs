//! The tables whose rows count what procs hold.

use strum::{EnumString, IntoStaticStr, VariantArray, VariantNames};

/// By their names: five counters, and the hosts' idle amounts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EnumString, IntoStaticStr, VariantArray, VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum CounterTable {
    Subscription,
    LayerResource,
    JobResource,
    FolderResource,
    Point,
    Host,
}

impl CounterTable {
    pub const ALL: &[Self] = <Self as VariantArray>::VARIANTS;

    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
