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
/// What was seen before that is forgotten.
const REMEMBERED: Duration = Duration::from_hours(24);

/// What the snapshots of this process have seen. It saves reading the frames of a day in every pass; all of it
/// is in the database, and another process finds the same there.
#[derive(Clone, Debug, Default)]
pub(in crate::db) struct GpuWorkSeen(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// When frames were last looked at, for these allocations.
    looked_at: Option<Timestamp>,
    allocs: BTreeSet<AllocId>,
    work: BTreeMap<(AllocId, GpuAsk), Timestamp>,
}

impl Seen {
    fn needs_look(&self, taken_at: Timestamp, allocs: &BTreeSet<AllocId>) -> bool {
        let is_recent = |at: Timestamp| (Duration::ZERO..LOOK_AGAIN).contains(&(taken_at - at).unsigned_abs());
        !(self.looked_at.is_some_and(is_recent) && allocs.is_subset(&self.allocs))
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

impl Reading<'_> {
    /// Of the allocations of hosts with idle GPUs, where these are kept by what was seen; and how long frames of
    /// the layers take, where short ones may go to places that others may not.
    pub(super) async fn load_gpu_work(
        &mut self,
        store: &Store,
        taken_at: Timestamp,
        hosts: &[Host],
        layers: &[Layer],
    ) -> Result<(Vec<GpuWork>, HashMap<LayerId, Duration>)> {
        let GpuKeep::For(keep) = self.options.gpu_keep else { return Ok(Default::default()) };
        let idle = hosts.iter().filter(|host| host.idle.gpus > Gpus::ZERO);
        let allocs: BTreeSet<AllocId> = idle.map(|host| host.alloc.clone()).collect();
        if allocs.is_empty() || layers.is_empty() {
            return Ok(Default::default());
        }
        let looks_at_frames = store.gpu_work.0.lock().needs_look(taken_at, &allocs);
        let statement =
            Statement::new("reading GPU work of the last day", include_str!("../sql/snapshot_gpu_work.sql"))
                .texts(&allocs)
                .bind(looks_at_frames);
        let rows = self.tx.rows(statement).await?.readable(decode);
        let work = {
            let mut seen = store.gpu_work.0.lock();
            if looks_at_frames {
                seen.looked_at = Some(taken_at);
                seen.allocs.clone_from(&allocs);
            }
            seen.add(rows);
            seen.list(taken_at, &allocs)
        };
        let may_be_lent = work.iter().any(|row| row.last_seen + keep <= taken_at);
        let run_times = if may_be_lent { self.load_run_times(layers).await? } else { HashMap::new() };
        Ok((work, run_times))
    }

    async fn load_run_times(&mut self, layers: &[Layer]) -> Result<HashMap<LayerId, Duration>> {
        let statement = Statement::new("reading how long frames take", include_str!("../sql/snapshot_run_times.sql"))
            .distinct(layers.iter().map(Layer::id));
        let decode = |row: &Row<'_>| {
            let seconds: f64 = row.get("seconds")?;
            let run_time = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
            Ok((row.get("pk_layer")?, run_time))
        };
        Ok(self.tx.rows(statement).await?.readable(decode))
    }
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
