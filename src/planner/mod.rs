//! Deciding: which waiting layers go to which hosts now, and why the others wait.
//!
//! [`plan()`] is a pure function of one snapshot, the holds laid over it, and a policy. It reads no clock, draws
//! no random number, logs nothing and waits for nobody, so `run`, the previews and the tests decide alike. Equal
//! farms give equal plans, in whatever order the rows were read: every choice ends in a comparison of
//! ids.
//!
//! A plan proposes. Within itself it never goes above what a host has idle, a subscription's burst,
//! a folder's or job's cap or a limit, but only the booking transaction knows whether that still
//! holds. What a host has idle is the ledger's, less the cores that its load says other work takes; what memory
//! a machine measures as free only decides whether it is given anything.
//!
//! Reading order: `plan` (the steps), `view` (what it begins with) and `state` (what it knows while it
//! grows), `order` (who is next), `demand` (which hosts are eligible), `hosts` and `buckets` (which of them a
//! layer takes), `reserve` (what it takes there), `bundles` (what is kept from it for GPU work), `ledger` (what is used), `gates` and `caps` (every
//! reason to wait, defined once) and `evaluate` (the walk over them). `explain` tells the whole walk to people.
//!
//! Amounts only shrink while a plan grows. So a host without room for a layer is not tried again, with
//! one exception: GPU work can use up what a host keeps for it, and so open the host for other work.

mod buckets;
mod bundles;
mod caps;
mod demand;
mod eligible;
mod evaluate;
mod explain;
mod gates;
mod hosts;
mod ledger;
mod order;
mod plan;
mod report;
mod reserve;
mod state;

#[cfg(test)]
pub(crate) mod tests;
mod trace;
mod view;

pub(crate) use bundles::KeptForGpus;
pub(crate) use explain::PlannedFarm;
pub use order::Precedence;
pub use plan::plan;
pub use report::{Ahead, CapReport, Explanation, GateReport, GateVerdict, OnHost, PlacedOn, ShowTier};
pub(crate) use report::{HostExplanation, Miss, NearMiss, Quantity};
pub use reserve::Unfit;
