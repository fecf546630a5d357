//! Reading and writing the rows that are compared with procs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use strum::{EnumString, IntoStaticStr, VariantArray};

use super::{Problem, Release, Row, Source, Statement, Store, StoreError, Tx};
use crate::db::tx::CommitError;
use crate::model::{FacilityId, FrameId, ProcId, ShowId};
use crate::units::{Amounts, Cores, Gpus, Kib};

/// Tables whose rows say what procs hold, by their names: five counters, and the hosts' idle amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EnumString, IntoStaticStr, VariantArray)]
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
    pub const ALL: &[Self] = Self::VARIANTS;

    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

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

/// How far a row may be lowered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) at_most: Amounts,
    /// What may still be subtracted by others.
    pub(crate) in_flight: Amounts,
}

/// What a row may be made to say.
pub(crate) enum Correction {
    /// What the procs hold.
    Exactly,
    /// What the procs hold where it says less; where it says more, at most so much less.
    AtMost(Amounts),
    /// As `AtMost`, and not what may still be subtracted by whoever deleted procs.
    Allowed(Allowance, Procs),
}

/// Counters of shows that do not say what procs hold; jobs before the folders and points that say no less
/// than they do.
pub(crate) async fn find_wrong_counters(
    source: impl Source,
    shows: &[ShowId],
) -> Result<Vec<WrongCounter>, StoreError> {
    let statement = Statement::new("comparing counters with procs", include_str!("../sql/repair_find.sql"));
    let found: Vec<_> = source.rows(statement.texts(shows)).await?.all(|row| {
        let show = Some(row.id("pk_show")?);
        let too_much = cores_and_gpus(row)?;
        Ok(counter_of(row)?.map(|row| WrongCounter { row, show, too_much }))
    })?;
    let mut found: Vec<WrongCounter> = found.into_iter().flatten().collect();
    found.sort_by(|one, other| one.row.cmp(&other.row));
    Ok(found)
}

/// Hosts whose rows do not say what procs hold there, each with its name, by which they are sorted.
pub(crate) async fn find_wrong_hosts(
    source: impl Source,
    facilities: &[FacilityId],
) -> Result<Vec<(String, WrongCounter)>, StoreError> {
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
pub(crate) async fn flagged(store: &Store, shows: &[ShowId]) -> Result<HashSet<ShowId>, StoreError> {
    if !store.features().has_scheduler_managed {
        return Ok(HashSet::new());
    }
    let statement = Statement::new("asking for the shows' flags", include_str!("../sql/managed_shows.sql"));
    store.rows(statement.texts(shows)).await?.all(|row| row.id("pk_show"))
}

/// Rows with the procs that count into them. Rows that are gone are absent.
pub(crate) async fn load_counted(
    store: &Store,
    wanted: &BTreeSet<CounterRow>,
) -> Result<HashMap<CounterRow, Seen>, StoreError> {
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
            let Some(counter) = counter_of(row)? else { return Ok(()) };
            let procs = procs(row, &row.value::<Vec<String>>("frames")?, &["proc_cores", "proc_gpus"])?;
            let surplus = cores_and_gpus(row)? - procs.values().map(|counted| counted.held).sum();
            seen.insert(counter, Seen { surplus, procs });
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
pub(crate) async fn given_up(store: &Store, frames: &[&FrameId]) -> Result<HashSet<FrameId>, StoreError> {
    if frames.is_empty() {
        return Ok(HashSet::new());
    }
    let statement = Statement::new("asking how frames ended", include_str!("../sql/repair_given_up.sql"));
    store.rows(statement.texts(frames.iter().copied())).await?.all(|row| row.id("pk_frame"))
}

/// Into which rows each of the releases counted.
pub(crate) async fn load_rows_of(
    store: &Store,
    releases: &[&Release],
) -> Result<BTreeMap<CounterRow, Vec<usize>>, StoreError> {
    let statement = Statement::new("looking for the counters of releases", include_str!("../sql/repair_rows_of.sql"))
        .texts(releases.iter().map(|release| &release.show))
        .texts(releases.iter().map(|release| &release.alloc))
        .texts(releases.iter().map(|release| &release.folder))
        .texts(releases.iter().map(|release| &release.job))
        .texts(releases.iter().map(|release| &release.layer))
        .texts(releases.iter().map(|release| &release.dept));
    let mut found: BTreeMap<CounterRow, Vec<usize>> = BTreeMap::new();
    store.rows(statement).await?.each(|row| {
        let position = usize::try_from(row.number("number")?).ok().and_then(|number| number.checked_sub(1));
        if let (Some(counter), Some(position)) = (counter_of(row)?, position) {
            found.entry(counter).or_default().push(position);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Makes a row say what procs hold, as far as it may be, in a transaction of its own. Returns what it
/// said too much; `None` when the row is gone or not to be touched.
///
/// The row is locked first and summed after: a booking or an ordinary release is wholly before that or
/// waits. Caps stay as they are, also where use is above them.
pub(crate) async fn correct(
    store: &Store,
    row: &CounterRow,
    correction: &Correction,
) -> Result<Option<Amounts>, StoreError> {
    let mut tx = Tx::writing(store).await?;
    match write(&mut tx, row, correction).await {
        Ok(Some(too_much)) => {
            // Found again by the next look if it was not written.
            tx.commit().await.map_err(CommitError::either)?;
            Ok(Some(too_much))
        }
        Ok(None) => tx.rollback().await.map(|()| None),
        Err(error) => {
            tx.abandon().await;
            Err(error)
        }
    }
}

async fn write(tx: &mut Tx<'_>, row: &CounterRow, correction: &Correction) -> Result<Option<Amounts>, StoreError> {
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
    let none = Procs::new();
    let (at_most, in_flight, procs) = match correction {
        Correction::Exactly => (None, Amounts::default(), &none),
        Correction::AtMost(at_most) => (Some(*at_most), Amounts::default(), &none),
        Correction::Allowed(allowance, procs) => (Some(allowance.at_most), allowance.in_flight, procs),
    };
    let held: Vec<Amounts> = procs.values().map(|counted| counted.held).collect();
    let statement = Statement::new("writing a counter", set_statement(row.table)).bind(&row.id);
    let cores = |amounts: Amounts| amounts.cores.get();
    let memory = |amounts: Amounts| amounts.memory.get();
    let gpus = |amounts: Amounts| amounts.gpus.get();
    let gpu_memory = |amounts: Amounts| amounts.gpu_memory.get();
    let kinds: &[fn(Amounts) -> i64] =
        if row.table == CounterTable::Host { &[cores, memory, gpus, gpu_memory] } else { &[cores, gpus] };
    let statement = kinds.iter().fold(statement, |statement, kind| statement.bind(at_most.map(kind)));
    let statement = kinds.iter().fold(statement, |statement, kind| statement.bind(kind(in_flight)));
    let statement = statement.texts(procs.keys());
    if row.table == CounterTable::Host { statement.amounts(&held) } else { statement.cores_and_gpus(&held) }
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

/// `None` for a table that a newer statement may name and this program does not know.
fn counter_of(row: &Row<'_>) -> Result<Option<CounterRow>, Problem> {
    let Ok(table) = row.text("counter")?.parse() else { return Ok(None) };
    Ok(Some(CounterRow { table, id: row.text("id")? }))
}

fn host_of(row: &Row<'_>) -> Result<CounterRow, Problem> {
    Ok(CounterRow { table: CounterTable::Host, id: row.text("pk_host")? })
}

fn cores_and_gpus(row: &Row<'_>) -> Result<Amounts, Problem> {
    Ok(Amounts { cores: Cores(row.number("cores")?), gpus: Gpus(row.number("gpus")?), ..Amounts::default() })
}

fn all_four(row: &Row<'_>) -> Result<Amounts, Problem> {
    row.amounts(["cores", "memory", "gpus", "gpu_memory"])
}

/// Procs from arrays side by side: their keys, their frames, and what they hold in `columns`: cores, GPUs
/// and, where the row counts it, memory and GPU memory.
fn procs(row: &Row<'_>, frames: &[String], columns: &[&str]) -> Result<Procs, Problem> {
    let held: Vec<Vec<i64>> = columns.iter().map(|column| row.value(column)).collect::<Result<_, _>>()?;
    let counted = |(position, proc): (usize, String)| {
        let of = |column: usize| held.get(column).and_then(|held| held.get(position)).copied().unwrap_or_default();
        let held = Amounts { cores: Cores(of(0)), gpus: Gpus(of(1)), memory: Kib(of(2)), gpu_memory: Kib(of(3)) };
        let frame = frames.get(position).filter(|frame| !frame.is_empty()).map(FrameId::new);
        (ProcId::from(proc), Counted { held, frame })
    };
    Ok(row.value::<Vec<String>>("procs")?.into_iter().enumerate().map(counted).collect())
}
