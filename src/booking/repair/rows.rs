//! Reading and writing the rows that are compared with procs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sqlx::postgres::PgRow;
use sqlx::query;

use super::outcome::CounterTable;
use super::surplus::{Allowance, Counted, Procs, Seen};
use crate::booking::error::StepError;
use crate::booking::tx::{CommitError, Statement, Tx, column_of, id, rows, step};
use crate::db::{Release, Store};
use crate::model::{FacilityId, FrameId, ProcId, ShowId};
use crate::units::{Amounts, Cores, Gpus, Kib};

/// A row by its table and its own primary key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) table: CounterTable,
    pub(super) id: String,
}

/// A row that does not say what procs hold.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) row: Row,
    /// `None` of hosts, which all shows share.
    pub(super) show: Option<ShowId>,
    /// Negative: too little.
    pub(super) too_much: Amounts,
}

pub(super) async fn find(store: &Store, shows: &[ShowId], facilities: &[FacilityId]) -> Result<Vec<Found>, StepError> {
    let statement = query(include_str!("../../db/sql/repair_find.sql")).bind(texts(shows, ShowId::as_str));
    let mut found = Vec::new();
    for row in &rows(store, "comparing counters with procs", statement).await? {
        let Some(counter) = counter_of(row)? else { continue };
        found.push(Found { row: counter, show: Some(id(row, "pk_show")?), too_much: cores_and_gpus(row)? });
    }
    // Jobs before the folders and points that say no less than they do.
    found.sort_by(|one, other| one.row.cmp(&other.row));
    if facilities.is_empty() {
        return Ok(found);
    }
    let statement =
        query(include_str!("../../db/sql/repair_find_hosts.sql")).bind(texts(facilities, FacilityId::as_str));
    for row in &rows(store, "comparing hosts with procs", statement).await? {
        let host = Row { table: CounterTable::Host, id: column_of(row, "pk_host")? };
        found.push(Found { row: host, show: None, too_much: all_four(row)? });
    }
    Ok(found)
}

/// Which of `shows` are flagged for a scheduler.
pub(super) async fn flagged(store: &Store, shows: &[ShowId]) -> Result<HashSet<ShowId>, StepError> {
    if !store.features().has_scheduler_managed {
        return Ok(HashSet::new());
    }
    let statement = query(include_str!("../../db/sql/managed_shows.sql")).bind(texts(shows, ShowId::as_str));
    rows(store, "asking for the shows' flags", statement).await?.iter().map(|row| id(row, "pk_show")).collect()
}

/// Rows with the procs that count into them. Rows that are gone are absent.
pub(super) async fn load_counted(store: &Store, wanted: &BTreeSet<Row>) -> Result<HashMap<Row, Seen>, StepError> {
    let of = |table| wanted.iter().filter(|row| row.table == table).map(|row| row.id.as_str()).collect::<Vec<_>>();
    let mut seen = HashMap::new();
    if wanted.iter().any(|row| row.table != CounterTable::Host) {
        let statement = query(include_str!("../../db/sql/repair_counted.sql"))
            .bind(of(CounterTable::Subscription))
            .bind(of(CounterTable::LayerResource))
            .bind(of(CounterTable::JobResource))
            .bind(of(CounterTable::FolderResource))
            .bind(of(CounterTable::Point));
        for row in &rows(store, "reading the procs of counters", statement).await? {
            let Some(counter) = counter_of(row)? else { continue };
            let frames: Vec<String> = column_of(row, "frames")?;
            let held = Columns {
                cores: column_of(row, "proc_cores")?,
                gpus: column_of(row, "proc_gpus")?,
                ..Columns::default()
            };
            let procs = procs(column_of(row, "procs")?, &frames, &held);
            let surplus = cores_and_gpus(row)? - procs.values().map(|counted| counted.held).sum();
            seen.insert(counter, Seen { surplus, procs });
        }
    }
    let hosts = of(CounterTable::Host);
    if !hosts.is_empty() {
        let statement = query(include_str!("../../db/sql/repair_counted_hosts.sql")).bind(hosts);
        for row in &rows(store, "reading the procs of hosts", statement).await? {
            let host = Row { table: CounterTable::Host, id: column_of(row, "pk_host")? };
            let held = Columns {
                cores: column_of(row, "proc_cores")?,
                memory: column_of(row, "proc_memory")?,
                gpus: column_of(row, "proc_gpus")?,
                gpu_memory: column_of(row, "proc_gpu_memory")?,
            };
            seen.insert(host, Seen { surplus: all_four(row)?, procs: procs(column_of(row, "procs")?, &[], &held) });
        }
    }
    Ok(seen)
}

/// Which of these frames, whose procs are gone, did not simply end.
pub(super) async fn given_up(store: &Store, frames: &[&FrameId]) -> Result<HashSet<FrameId>, StepError> {
    if frames.is_empty() {
        return Ok(HashSet::new());
    }
    let frames: Vec<&str> = frames.iter().map(|frame| frame.as_str()).collect();
    let statement = query(include_str!("../../db/sql/repair_given_up.sql")).bind(frames);
    rows(store, "asking how frames ended", statement).await?.iter().map(|row| id(row, "pk_frame")).collect()
}

/// Into which rows each of the releases counted.
pub(super) async fn load_rows_of(store: &Store, releases: &[&Release]) -> Result<BTreeMap<Row, Vec<usize>>, StepError> {
    let column = |key: fn(&Release) -> &str| releases.iter().map(|release| key(release)).collect::<Vec<_>>();
    let statement = query(include_str!("../../db/sql/repair_rows_of.sql"))
        .bind(column(|release| release.show.as_str()))
        .bind(column(|release| release.alloc.as_str()))
        .bind(column(|release| release.folder.as_str()))
        .bind(column(|release| release.job.as_str()))
        .bind(column(|release| release.layer.as_str()))
        .bind(column(|release| release.dept.as_str()));
    let mut found: BTreeMap<Row, Vec<usize>> = BTreeMap::new();
    for row in &rows(store, "looking for the counters of releases", statement).await? {
        let Some(counter) = counter_of(row)? else { continue };
        let number: i64 = column_of(row, "number")?;
        if let Some(position) = usize::try_from(number).ok().and_then(|number| number.checked_sub(1)) {
            found.entry(counter).or_default().push(position);
        }
    }
    Ok(found)
}

/// What a row may be made to say.
pub(super) enum Correction {
    /// What the procs hold.
    Exactly,
    /// What the procs hold where it says less; where it says more, at most so much less.
    AtMost(Amounts),
    /// As `AtMost`, and not what may still be subtracted by whoever deleted procs.
    Allowed(Allowance, Procs),
}

/// Makes a row say what procs hold, as far as it may be, in a transaction of its own. Returns what it
/// said too much; `None` when the row is gone or not to be touched.
///
/// The row is locked first and summed after: a booking or an ordinary release is wholly before that or
/// waits. Caps stay as they are, also where use is above them.
pub(super) async fn correct(store: &Store, row: &Row, correction: &Correction) -> Result<Option<Amounts>, StepError> {
    let mut tx = Tx::begin(store).await?;
    let written = write(&mut tx, row, correction).await;
    let Ok(Some(too_much)) = written else {
        // Frees the lock before anybody waits; a connection too broken for it has none left.
        let rolled_back = tx.rollback().await;
        return written.and_then(|nothing| rolled_back.map(|()| nothing));
    };
    match tx.commit().await {
        Ok(()) => Ok(Some(too_much)),
        Err(CommitError::RolledBack(error)) => Err(error),
        // Found again by the next look if it was not written.
        Err(CommitError::Unknown(source)) => Err(step("committing")(source)),
    }
}

async fn write(tx: &mut Tx, row: &Row, correction: &Correction) -> Result<Option<Amounts>, StepError> {
    tx.holds_rows();
    let is_host = row.table == CounterTable::Host;
    let amounts_of = if is_host { all_four } else { cores_and_gpus };
    let before = tx.write("locking a counter", query(lock_statement(row.table)).bind(&row.id)).await?;
    let Some(before) = before.first() else { return Ok(None) };
    let nothing = (Amounts::default(), Procs::new());
    let (at_most, in_flight, procs) = match correction {
        Correction::Exactly => (None, nothing.0, &nothing.1),
        Correction::AtMost(at_most) => (Some(*at_most), nothing.0, &nothing.1),
        Correction::Allowed(allowance, procs) => (Some(allowance.at_most), allowance.in_flight, procs),
    };
    let columns = Columns::of(procs.values());
    let ids: Vec<&str> = procs.keys().map(ProcId::as_str).collect();
    let statement = query(set_statement(row.table)).bind(&row.id);
    let statement = if is_host {
        let statement = bind_four(statement, at_most);
        let statement = bind_four(statement, Some(in_flight)).bind(ids);
        statement.bind(&columns.cores).bind(&columns.memory).bind(&columns.gpus).bind(&columns.gpu_memory)
    } else {
        let statement = statement.bind(at_most.map(|at_most| at_most.cores.get()));
        let statement = statement.bind(at_most.map(|at_most| at_most.gpus.get()));
        let statement = statement.bind(in_flight.cores.get()).bind(in_flight.gpus.get());
        statement.bind(ids).bind(&columns.cores).bind(&columns.gpus)
    };
    let after = tx.write("writing a counter", statement).await?;
    after.first().map(|after| Ok(amounts_of(before)? - amounts_of(after)?)).transpose()
}

fn bind_four(statement: Statement<'_>, amounts: Option<Amounts>) -> Statement<'_> {
    statement
        .bind(amounts.map(|amounts| amounts.cores.get()))
        .bind(amounts.map(|amounts| amounts.memory.get()))
        .bind(amounts.map(|amounts| amounts.gpus.get()))
        .bind(amounts.map(|amounts| amounts.gpu_memory.get()))
}

const fn lock_statement(table: CounterTable) -> &'static str {
    match table {
        CounterTable::Subscription => include_str!("../../db/sql/repair_lock_subscription.sql"),
        CounterTable::LayerResource => include_str!("../../db/sql/repair_lock_layer_resource.sql"),
        CounterTable::JobResource => include_str!("../../db/sql/repair_lock_job_resource.sql"),
        CounterTable::FolderResource => include_str!("../../db/sql/repair_lock_folder_resource.sql"),
        CounterTable::Point => include_str!("../../db/sql/repair_lock_point.sql"),
        CounterTable::Host => include_str!("../../db/sql/repair_lock_host.sql"),
    }
}

const fn set_statement(table: CounterTable) -> &'static str {
    match table {
        CounterTable::Subscription => include_str!("../../db/sql/repair_set_subscription.sql"),
        CounterTable::LayerResource => include_str!("../../db/sql/repair_set_layer_resource.sql"),
        CounterTable::JobResource => include_str!("../../db/sql/repair_set_job_resource.sql"),
        CounterTable::FolderResource => include_str!("../../db/sql/repair_set_folder_resource.sql"),
        CounterTable::Point => include_str!("../../db/sql/repair_set_point.sql"),
        CounterTable::Host => include_str!("../../db/sql/repair_set_host.sql"),
    }
}

/// `None` for a table that a newer statement may name and this program does not know.
fn counter_of(row: &PgRow) -> Result<Option<Row>, StepError> {
    let name: &str = column_of(row, "counter")?;
    let table = CounterTable::ALL.into_iter().find(|table| table.as_str() == name);
    table.map(|table| Ok(Row { table, id: column_of(row, "id")? })).transpose()
}

fn cores_and_gpus(row: &PgRow) -> Result<Amounts, StepError> {
    Ok(Amounts { cores: Cores(column_of(row, "cores")?), gpus: Gpus(column_of(row, "gpus")?), ..Amounts::default() })
}

fn all_four(row: &PgRow) -> Result<Amounts, StepError> {
    Ok(Amounts {
        memory: Kib(column_of(row, "memory")?),
        gpu_memory: Kib(column_of(row, "gpu_memory")?),
        ..cores_and_gpus(row)?
    })
}

fn procs(ids: Vec<String>, frames: &[String], held: &Columns) -> Procs {
    let counted = |(position, proc): (usize, String)| {
        let frame = frames.get(position).filter(|frame| !frame.is_empty()).map(FrameId::new);
        (ProcId::from(proc), Counted { held: held.at(position), frame })
    };
    ids.into_iter().enumerate().map(counted).collect()
}

/// Amounts side by side; a kind that a table does not count is empty.
#[derive(Debug, Default)]
struct Columns {
    cores: Vec<i64>,
    memory: Vec<i64>,
    gpus: Vec<i64>,
    gpu_memory: Vec<i64>,
}

impl Columns {
    fn of<'p>(procs: impl Iterator<Item = &'p Counted>) -> Self {
        let mut columns = Self::default();
        for Counted { held, .. } in procs {
            columns.cores.push(held.cores.get());
            columns.memory.push(held.memory.get());
            columns.gpus.push(held.gpus.get());
            columns.gpu_memory.push(held.gpu_memory.get());
        }
        columns
    }

    fn at(&self, position: usize) -> Amounts {
        let of = |column: &[i64]| column.get(position).copied().unwrap_or_default();
        Amounts {
            cores: Cores(of(&self.cores)),
            memory: Kib(of(&self.memory)),
            gpus: Gpus(of(&self.gpus)),
            gpu_memory: Kib(of(&self.gpu_memory)),
        }
    }
}

fn texts<'i, I>(ids: &'i [I], text: fn(&'i I) -> &'i str) -> Vec<&'i str> {
    ids.iter().map(text).collect()
}
