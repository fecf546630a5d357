//! Looks at counters and idle amounts, as the service takes them.

use cue_scheduler::booking::{RepairScope, Repairs, RepairsDone};
use cue_scheduler::db::Store;
use cue_scheduler::farm::seed::Seeded;

/// All of a seeded farm.
pub(crate) fn scope(farm: &Seeded) -> RepairScope {
    RepairScope {
        shows: farm.shows.iter().map(|show| show.id.clone()).collect(),
        facilities: vec![farm.facility.clone()],
    }
}

pub(crate) async fn look(repairs: &mut Repairs, store: &Store, scope: &RepairScope) -> RepairsDone {
    let observation = repairs.observe(store, scope).await.unwrap();
    repairs.correct(store, observation).await.unwrap()
}
