//! What is held on hosts, and by whose work.

use super::ledger::{FRAMELESS_AFTER, SILENT_AFTER};
use crate::db::row::AMOUNTS;
use crate::db::{Problem, Row, Rows, Source, Statement, Store, StoreError};
use crate::model::{FacilityId, FolderId, HostId, JobId, LayerId, LimitId, ShowId};
use crate::units::Amounts;

/// Who holds something on a host, in the words of the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum Holder {
    /// Procs that run their frames, as far as anybody can tell.
    Running,
    /// Procs of which nothing was heard although their host reported.
    Silent,
    /// Procs that have run nothing for minutes.
    Frameless,
    /// The host's row alone says that it is taken.
    NoProc,
}

/// What one host holds for one layer, or for all that runs there, or for nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub host: HostId,
    pub host_name: String,
    pub holder: Holder,
    pub procs: i64,
    pub amounts: Amounts,
    /// Since the oldest last sign of life of these procs.
    pub silent_seconds: i64,
    /// Whose procs they are; not told of what runs.
    pub show: Option<ShowId>,
    pub folder: Option<FolderId>,
    pub job: Option<JobId>,
    pub layer: Option<LayerId>,
    /// Limits that the layer is bound to.
    pub limits: Vec<LimitId>,
}

impl Store {
    /// What is held on the hosts of some facilities, by whatever show.
    pub async fn load_held(&self, facilities: &[FacilityId]) -> Result<Vec<Held>, StoreError> {
        Ok(held(self, facilities).await?.readable(decode))
    }
}

/// What procs hold of which nothing was heard although their hosts reported.
pub(crate) async fn held_by_silent(source: impl Source, facilities: &[FacilityId]) -> Result<Vec<Held>, StoreError> {
    let mut held: Vec<Held> = held(source, facilities).await?.all(decode)?;
    held.retain(|held| held.holder == Holder::Silent);
    Ok(held)
}

async fn held(source: impl Source, facilities: &[FacilityId]) -> Result<Rows, StoreError> {
    let statement = Statement::new("reading what is held", include_str!("../sql/held.sql"))
        .texts(facilities)
        .bind(SILENT_AFTER.as_secs_f64())
        .bind(FRAMELESS_AFTER.as_secs_f64());
    source.rows(statement).await
}

fn decode(row: &Row<'_>) -> Result<Held, Problem> {
    Ok(Held {
        host: row.id("pk_host")?,
        host_name: row.text("host_name")?,
        holder: row.text("kind")?.parse().unwrap_or(Holder::Running),
        procs: row.number("procs")?,
        amounts: row.amounts(AMOUNTS)?,
        silent_seconds: row.number("silent_seconds")?,
        show: row.id_or_null("pk_show")?,
        folder: row.id_or_null("pk_folder")?,
        job: row.id_or_null("pk_job")?,
        layer: row.id_or_null("pk_layer")?,
        limits: row.ids("limits")?,
    })
}
