//! GPU work that was seen of late, and how long frames take that may borrow what is kept for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::candidates::Layer;
use super::reading::Reading;
use crate::db::{Problem, Result, Row, Source as _, Statement, Store};
use crate::model::{AllocId, CoreRequest, GpuAsk, GpuKeep, GpuWork, Host, LayerId, Timestamp};
use crate::units::{Gpus, Kib};

/// Frames of the past are looked at so often; what runs now is seen by every snapshot.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// Longest of one look.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// What was seen before that is forgotten.
const REMEMBERED: Duration = Duration::from_hours(24);

/// What the snapshots of this process have seen. It saves reading the frames of a day in every pass; all of it
/// is in the database, and another process finds the same there.
#[derive(Clone, Debug, Default)]
pub(in crate::db) struct GpuWorkSeen(Arc<Mutex<Seen>>);

/// A look at frames of these allocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Of one of them at least.
    First,
    Again,
}

#[derive(Debug, Default)]
struct Seen {
    /// When frames were last looked at, and of which allocations ever.
    looked_at: Option<Timestamp>,
    allocs: BTreeSet<AllocId>,
    work: BTreeMap<(AllocId, GpuAsk), Timestamp>,
}

impl Seen {
    /// Whether frames are to be looked at. What fails is not tried again before the next time.
    fn begin_look(&mut self, taken_at: Timestamp, allocs: &BTreeSet<AllocId>) -> Option<Look> {
        let is_recent = |at: Timestamp| (Duration::ZERO..LOOK_AGAIN).contains(&(taken_at - at).unsigned_abs());
        let has_all = allocs.is_subset(&self.allocs);
        if has_all && self.looked_at.is_some_and(is_recent) {
            return None;
        }
        self.looked_at = Some(taken_at);
        self.allocs.extend(allocs.iter().cloned());
        Some(if has_all { Look::Again } else { Look::First })
    }

    fn add(&mut self, rows: Vec<GpuWork>) {
        for GpuWork { alloc, ask, last_seen } in rows {
            let known = self.work.entry((alloc, ask)).or_insert(last_seen);
            *known = last_seen.max(*known);
        }
    }

    fn list(&mut self, taken_at: Timestamp, allocs: &BTreeSet<AllocId>) -> Vec<GpuWork> {
        self.work.retain(|_, last_seen| *last_seen > taken_at - REMEMBERED);
        let work = self.work.iter().filter(|((alloc, _), _)| allocs.contains(alloc));
        work.map(|((alloc, ask), &last_seen)| GpuWork { alloc: alloc.clone(), ask: *ask, last_seen }).collect()
    }
}

/// What is known of GPU work, and how long frames of layers take.
type Known = (Vec<GpuWork>, HashMap<LayerId, Duration>);

impl Reading<'_> {
    /// What runs now, on allocations of hosts with GPUs.
    pub(super) async fn load_gpu_work(&mut self, allocs: &BTreeSet<AllocId>) -> Result<Vec<GpuWork>> {
        if allocs.is_empty() {
            return Ok(Vec::new());
        }
        let statement = Statement::new("reading GPU work", include_str!("../sql/snapshot_gpu_work.sql")).texts(allocs);
        Ok(self.tx.rows(statement).await?.readable(decode))
    }
}

/// Allocations of hosts with GPUs, where these are kept by what was seen and anything waits.
pub(super) fn allocs_with_gpus(keep: GpuKeep, hosts: &[Host], layers: &[Layer]) -> BTreeSet<AllocId> {
    if keep == GpuKeep::Cuebot || layers.is_empty() {
        return BTreeSet::new();
    }
    hosts.iter().filter(|host| host.total.gpus > Gpus::ZERO).map(|host| host.alloc.clone()).collect()
}

impl Store {
    /// Adds to the GPU work that runs what was seen of late; and how long frames of the layers take, where short
    /// ones may go to places that others may not. It is read beside the snapshot and within a limit, so that no
    /// snapshot fails for it: what cannot be read is not known.
    pub(super) async fn seen_gpu_work(
        &self,
        (taken_at, keep): (Timestamp, GpuKeep),
        allocs: &BTreeSet<AllocId>,
        running: Vec<GpuWork>,
        layers: &[Layer],
    ) -> Known {
        let GpuKeep::For(keep) = keep else { return Known::default() };
        if allocs.is_empty() {
            return Known::default();
        }
        let look = self.gpu_work.0.lock().begin_look(taken_at, allocs);
        let ran = match look {
            Some(look) => known(self.load_gpu_work_ran(allocs, look).await),
            None => Vec::new(),
        };
        let work = {
            let mut seen = self.gpu_work.0.lock();
            seen.add(running);
            seen.add(ran);
            seen.list(taken_at, allocs)
        };
        let may_be_lent = work.iter().any(|row| row.last_seen + keep <= taken_at);
        let run_times = if may_be_lent { known(self.load_run_times(layers).await) } else { HashMap::new() };
        (work, run_times)
    }

    async fn load_gpu_work_ran(&self, allocs: &BTreeSet<AllocId>, look: Look) -> Result<Vec<GpuWork>> {
        let statement = Statement::new("reading GPU work of the last day", include_str!("../sql/gpu_work_ran.sql"))
            .texts(allocs)
            .bind(look == Look::First);
        Ok(self.rows_within(LOOK_LIMIT, statement).await?.readable(decode))
    }

    async fn load_run_times(&self, layers: &[Layer]) -> Result<HashMap<LayerId, Duration>> {
        let statement = Statement::new("reading how long frames take", include_str!("../sql/snapshot_run_times.sql"))
            .distinct(layers.iter().map(Layer::id));
        let decode = |row: &Row<'_>| {
            let seconds: f64 = row.get("seconds")?;
            let run_time = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
            Ok((row.get("pk_layer")?, run_time))
        };
        Ok(self.rows_within(LOOK_LIMIT, statement).await?.readable(decode))
    }
}

fn known<T: Default>(read: Result<T>) -> T {
    read.unwrap_or_else(|error| {
        tracing::debug!(error = &error as &dyn std::error::Error, "going on without what is known of GPU work");
        T::default()
    })
}

/// What makes no sense keeps nothing.
fn decode(row: &Row<'_>) -> Result<GpuWork, Problem> {
    Ok(GpuWork {
        alloc: row.get("pk_alloc")?,
        ask: GpuAsk {
            cores: CoreRequest::from_column(row.get("int_cores_min")?),
            memory: Kib(row.amount("int_mem_min")?),
            gpus: Gpus(row.amount("int_gpus_min")?),
            gpu_memory: Kib(row.amount("int_gpu_mem_min")?),
        },
        last_seen: row.time("last_seen")?,
    })
}
