//! What is held on hosts, and by whose work.

use super::ledger::{FRAMELESS_AFTER, SILENT_AFTER};
use crate::db::row::whole;
use crate::db::{Result, Source, Statement, Store};
use crate::model::{FacilityId, FolderId, HostId, JobId, LayerId, LimitId, ShowId};
use crate::units::Amounts;

/// Who holds something on a host, in the words of the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
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
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Held {
    pub host: HostId,
    pub host_name: String,
    pub holder: Holder,
    pub procs: i64,
    #[sqlx(flatten)]
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
    pub async fn load_held(&self, facilities: &[FacilityId]) -> Result<Vec<Held>> {
        held(self, facilities).await
    }
}

pub(crate) async fn held(source: impl Source, facilities: &[FacilityId]) -> Result<Vec<Held>> {
    let statement = Statement::new("reading what is held", include_str!("../sql/held.sql"))
        .texts(facilities)
        .bind(SILENT_AFTER.as_secs_f64())
        .bind(FRAMELESS_AFTER.as_secs_f64());
    Ok(source.rows(statement).await?.readable(whole))
}
