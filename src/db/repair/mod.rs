//! Reading and writing the rows that are compared with procs.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Problem, Release, Result, Row, Source, Statement, Store, Tx};
use crate::db::statement::{ALL_KINDS, CORES_AND_GPUS};
use crate::db::tx::CommitError;
use crate::model::{CounterTable, FacilityId, FrameId, ProcId, ShowId};
use crate::units::{Amounts, Cores, Gpus, Kib};

/// A row by its table and its own primary key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CounterRow {
    pub(crate) table: CounterTable,
    pub(crate) id: String,
}

/// A row that does not say what procs hold.
#[derive(Clone, Debug)]
pub(crate) struct WrongCounter {
    pub(crate) row: CounterRow,
    /// `None` of hosts, which all shows share.
    pub(crate) show: Option<ShowId>,
    /// Negative: too little.
    pub(crate) too_much: Amounts,
}

/// The procs that count into a row.
pub(crate) type Procs = HashMap<ProcId, Counted>;

/// What a proc counts, and what it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) held: Amounts,
    /// `None` between the end of its frame and its release.
    pub(crate) frame: Option<FrameId>,
}

/// A row as one statement saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// What the row says beyond what its procs hold.
    pub(crate) surplus: Amounts,
    pub(crate) procs: Procs,
}

/// How far a row may be lowered to what its procs hold. Where it says less than they hold, it is raised in any case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Correction {
    /// `None`: all the way.
    pub(crate) at_most: Option<Amounts>,
    /// What may still be subtracted by whoever deleted procs.
    pub(crate) in_flight: Amounts,
    /// Procs that were there then: what those of them held that are gone by now is in flight too.
    pub(crate) procs: Procs,
}

impl Correction {
    pub(crate) fn at_most(amounts: Amounts) -> Self {
        Self { at_most: Some(amounts), ..Self::default() }
    }
}

/// Counters of shows that do not say what procs hold; jobs before the folders and points that say no less
/// than they do.
pub(crate) async fn find_wrong_counters(source: impl Source, shows: &[ShowId]) -> Result<Vec<WrongCounter>> {
    let statement = Statement::new("comparing counters with procs", include_str!("../sql/repair_find.sql"));
    let mut found: Vec<_> = source.rows(statement.texts(shows)).await?.all(|row| {
        Ok(WrongCounter { row: counter_of(row)?, show: Some(row.get("pk_show")?), too_much: cores_and_gpus(row)? })
    })?;
    found.sort_by(|one, other| one.row.cmp(&other.row));
    Ok(found)
}

/// Hosts whose rows do not say what procs hold there, each with its name, by which they are sorted.
pub(crate) async fn find_wrong_hosts(
    source: impl Source,
    facilities: &[FacilityId],
) -> Result<Vec<(String, WrongCounter)>> {
    if facilities.is_empty() {
        return Ok(Vec::new());
    }
    let statement = Statement::new("comparing hosts with procs", include_str!("../sql/repair_find_hosts.sql"));
    source
        .rows(statement.texts(facilities))
        .await?
        .all(|row| Ok((row.text("name")?, WrongCounter { row: host_of(row)?, show: None, too_much: all_four(row)? })))
}

/// Which of `shows` are flagged for a scheduler.
pub(crate) async fn flagged(store: &Store, shows: &[ShowId]) -> Result<HashSet<ShowId>> {
    if !store.features().has_scheduler_managed {
        return Ok(HashSet::new());
    }
    let statement = Statement::new("asking for the shows' flags", include_str!("../sql/managed_shows.sql"));
    store.rows(statement.texts(shows)).await?.all(|row| row.get("pk_show"))
}

/// Rows with the procs that count into them. Rows that are gone are absent.
pub(crate) async fn load_counted(store: &Store, wanted: &BTreeSet<CounterRow>) -> Result<HashMap<CounterRow, Seen>> {
    let of = |table| wanted.iter().filter(move |row| row.table == table).map(|row| &row.id);
    let mut seen = HashMap::new();
    if wanted.iter().any(|row| row.table != CounterTable::Host) {
        let statement = Statement::new("reading the procs of counters", include_str!("../sql/repair_counted.sql"))
            .texts(of(CounterTable::Subscription))
            .texts(of(CounterTable::LayerResource))
            .texts(of(CounterTable::JobResource))
            .texts(of(CounterTable::FolderResource))
            .texts(of(CounterTable::Point));
        store.rows(statement).await?.each(|row| {
            let procs = procs(row, &row.get::<Vec<String>>("frames")?, &["proc_cores", "proc_gpus"])?;
            let surplus = cores_and_gpus(row)? - procs.values().map(|counted| counted.held).sum();
            seen.insert(counter_of(row)?, Seen { surplus, procs });
            Ok(())
        })?;
    }
    if of(CounterTable::Host).next().is_some() {
        let statement = Statement::new("reading the procs of hosts", include_str!("../sql/repair_counted_hosts.sql"));
        store.rows(statement.texts(of(CounterTable::Host))).await?.each(|row| {
            let procs = procs(row, &[], &["proc_cores", "proc_gpus", "proc_memory", "proc_gpu_memory"])?;
            seen.insert(host_of(row)?, Seen { surplus: all_four(row)?, procs });
            Ok(())
        })?;
    }
    Ok(seen)
}

/// Which of these frames, whose procs are gone, did not simply end.
pub(crate) async fn given_up(store: &Store, frames: &[&FrameId]) -> Result<HashSet<FrameId>> {
    if frames.is_empty() {
        return Ok(HashSet::new());
    }
    let statement = Statement::new("asking how frames ended", include_str!("../sql/repair_given_up.sql"));
    store.rows(statement.texts(frames.iter().copied())).await?.all(|row| row.get("pk_frame"))
}

/// Rows into which releases counted, each with the position of the release.
pub(crate) async fn load_rows_of(store: &Store, releases: &[&Release]) -> Result<Vec<(CounterRow, usize)>> {
    let statement = Statement::new("looking for the counters of releases", include_str!("../sql/repair_rows_of.sql"))
        .texts(releases.iter().map(|release| &release.show))
        .texts(releases.iter().map(|release| &release.alloc))
        .texts(releases.iter().map(|release| &release.folder))
        .texts(releases.iter().map(|release| &release.job))
        .texts(releases.iter().map(|release| &release.layer))
        .texts(releases.iter().map(|release| &release.dept));
    store.rows(statement).await?.all(|row| {
        let position = usize::try_from(row.get::<i64>("number")? - 1).map_err(|error| error.to_string())?;
        Ok((counter_of(row)?, position))
    })
}

/// Makes a row say what procs hold, as far as it may be, in a transaction of its own. Returns what it
/// said too much; `None` when the row is gone or not to be touched.
///
/// The row is locked first and summed after: a booking or an ordinary release is wholly before that or
/// waits. Caps stay as they are, also where use is above them.
pub(crate) async fn correct(store: &Store, row: &CounterRow, correction: &Correction) -> Result<Option<Amounts>> {
    let mut tx = Tx::writing(store).await?;
    let written = write(&mut tx, row, correction).await;
    let (tx, too_much) = tx.unless_failed(written).await?;
    if too_much.is_some() {
        // Found again by the next look if it was not written.
        tx.commit().await.map_err(CommitError::either)?;
    } else {
        tx.rollback().await?;
    }
    Ok(too_much)
}

async fn write(tx: &mut Tx<'_>, row: &CounterRow, correction: &Correction) -> Result<Option<Amounts>> {
    tx.holds_rows();
    let amounts_of = if row.table == CounterTable::Host { all_four } else { cores_and_gpus };
    let lock = Statement::new("locking a counter", lock_statement(row.table)).bind(&row.id);
    let before = tx.write(lock).await?;
    let Some(before) = before.all::<_, Vec<_>>(amounts_of)?.pop() else { return Ok(None) };
    let after = tx.write(set(row, correction)).await?;
    Ok(after.all::<_, Vec<_>>(amounts_of)?.pop().map(|after| before - after))
}

/// The statement that writes a counter, with what it may be made to say.
fn set(row: &CounterRow, correction: &Correction) -> Statement<'static> {
    let Correction { at_most, in_flight, procs } = correction;
    let held: Vec<Amounts> = procs.values().map(|counted| counted.held).collect();
    let kinds = if row.table == CounterTable::Host { ALL_KINDS } else { CORES_AND_GPUS };
    let statement = Statement::new("writing a counter", set_statement(row.table)).bind(&row.id);
    let statement = kinds.iter().fold(statement, |statement, kind| statement.bind(at_most.as_ref().map(kind)));
    let statement = kinds.iter().fold(statement, |statement, kind| statement.bind(kind(in_flight)));
    statement.texts(procs.keys()).amounts(kinds, &held)
}

const fn lock_statement(table: CounterTable) -> &'static str {
    match table {
        CounterTable::Subscription => include_str!("../sql/repair_lock_subscription.sql"),
        CounterTable::LayerResource => include_str!("../sql/repair_lock_layer_resource.sql"),
        CounterTable::JobResource => include_str!("../sql/repair_lock_job_resource.sql"),
        CounterTable::FolderResource => include_str!("../sql/repair_lock_folder_resource.sql"),
        CounterTable::Point => include_str!("../sql/repair_lock_point.sql"),
        CounterTable::Host => include_str!("../sql/repair_lock_host.sql"),
    }
}

const fn set_statement(table: CounterTable) -> &'static str {
    match table {
        CounterTable::Subscription => include_str!("../sql/repair_set_subscription.sql"),
        CounterTable::LayerResource => include_str!("../sql/repair_set_layer_resource.sql"),
        CounterTable::JobResource => include_str!("../sql/repair_set_job_resource.sql"),
        CounterTable::FolderResource => include_str!("../sql/repair_set_folder_resource.sql"),
        CounterTable::Point => include_str!("../sql/repair_set_point.sql"),
        CounterTable::Host => include_str!("../sql/repair_set_host.sql"),
    }
}

fn counter_of(row: &Row<'_>) -> Result<CounterRow, Problem> {
    let table = row.text("counter")?;
    Ok(CounterRow {
        table: table.parse().map_err(|_| format!("{table} is no table of counters"))?,
        id: row.text("id")?,
    })
}

fn host_of(row: &Row<'_>) -> Result<CounterRow, Problem> {
    Ok(CounterRow { table: CounterTable::Host, id: row.text("pk_host")? })
}

fn cores_and_gpus(row: &Row<'_>) -> Result<Amounts, Problem> {
    Ok(Amounts { cores: row.get("cores")?, gpus: row.get("gpus")?, ..Amounts::default() })
}

fn all_four(row: &Row<'_>) -> Result<Amounts, Problem> {
    row.amounts(["cores", "memory", "gpus", "gpu_memory"])
}

/// Procs from arrays side by side: their keys, their frames, and what they hold in `columns`: cores, GPUs
/// and, where the row counts it, memory and GPU memory.
fn procs(row: &Row<'_>, frames: &[String], columns: &[&str]) -> Result<Procs, Problem> {
    let held: Vec<Vec<i64>> = columns.iter().map(|column| row.get(column)).collect::<Result<_, _>>()?;
    let counted = |(position, proc): (usize, String)| {
        let of = |column: usize| held.get(column).and_then(|held| held.get(position)).copied().unwrap_or_default();
        let held = Amounts { cores: Cores(of(0)), gpus: Gpus(of(1)), memory: Kib(of(2)), gpu_memory: Kib(of(3)) };
        let frame = frames.get(position).filter(|frame| !frame.is_empty()).map(FrameId::new);
        (ProcId::from(proc), Counted { held, frame })
    };
    Ok(row.get::<Vec<String>>("procs")?.into_iter().enumerate().map(counted).collect())
}
