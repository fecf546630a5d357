//! What is held on hosts, and by whose work.

use super::ledger::{FRAMELESS_AFTER, SILENT_AFTER};
use super::row::{Columns, Problem};
use super::{Store, StoreError};
use crate::model::{FacilityId, FolderId, HostId, JobId, LayerId, LimitId, ShowId};
use crate::units::Amounts;

/// Who holds something on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let statement = sqlx::query(include_str!("sql/held.sql"))
            .bind(facilities.iter().map(FacilityId::as_str).collect::<Vec<_>>())
            .bind(SILENT_AFTER.as_secs_f64())
            .bind(FRAMELESS_AFTER.as_secs_f64());
        let rows = self.rows("reading what is held", statement).await?;
        Ok(rows.iter().filter_map(|row| decode(&Columns(row)).ok()).collect())
    }
}

fn decode(row: &Columns<'_>) -> Result<Held, Problem> {
    Ok(Held {
        host: row.text("pk_host")?.into(),
        host_name: row.text("host_name")?,
        holder: match row.text("kind")?.as_str() {
            "silent" => Holder::Silent,
            "frameless" => Holder::Frameless,
            "no_proc" => Holder::NoProc,
            _ => Holder::Running,
        },
        procs: row.number("procs")?,
        amounts: row.amounts()?,
        silent_seconds: row.number("silent_seconds")?,
        show: row.text_or_null("pk_show")?.map(ShowId::from),
        folder: row.text_or_null("pk_folder")?.map(FolderId::from),
        job: row.text_or_null("pk_job")?.map(JobId::from),
        layer: row.text_or_null("pk_layer")?.map(LayerId::from),
        limits: row.texts("limits")?.into_iter().map(LimitId::from).collect(),
    })
}
