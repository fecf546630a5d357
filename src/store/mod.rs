//! Reading Cuebot's database: one consistent snapshot for the planner, the frames it asked for, and
//! what a launch needs to know.
//!
//! Invariants:
//! - nothing in here writes; bookings are written by the booking room over the same pool;
//! - column names, sentinels and units of columns end here;
//! - what the schema offers is found in its catalog, never told from a version;
//! - a row that makes no sense is left out and named ([`crate::model::LeftOutRow`]), and the rest of
//!   the farm goes on;
//! - every statement and row is counted in the [`Meter`].
//!
//! Statements cast what they read (`::text`, `::int8`), so that a column that some generation of the
//! schema declares wider or narrower reads the same.

mod asked;
mod candidates;
mod caps;
mod cluster_rows;
mod connect;
mod error;
mod find;
mod frames;
mod hosts;
mod launches;
mod ledger;
mod meter;
mod names;
mod peers;
mod probe;
mod reading;
mod releases;
mod row;
mod schema;
mod snapshot;

use sqlx::PgPool;

pub use asked::AskedTags;
pub use cluster_rows::{AllocTags, ClusterRows, ShowSubscriptions};
pub use connect::{ConnectSettings, TlsMode, connect_once};
pub use error::StoreError;
pub use find::{FoundFrame, FoundHost, FoundJob, FoundLayer, FrameCounts, Match, RunningOn};
pub use frames::{FrameState, WaitingFrames};
pub use launches::LayerLaunches;
pub use ledger::{FRAMELESS_AFTER, FramelessProc, HostLedger};
pub use meter::{Meter, MeterReading};
pub use names::{Named, names};
pub use probe::ChangeProbe;
pub(crate) use reading::answer;
pub use releases::{Release, ReleaseNotice, Releases};
pub use schema::{Features, needed_columns};
pub use snapshot::SnapshotOptions;

/// The database as this scheduler uses it. Cloning shares the connections and the meter.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    features: Features,
    meter: Meter,
}

impl Store {
    /// The connections, for the rooms that write. What they send they count in [`Store::meter`].
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    #[must_use]
    pub const fn features(&self) -> &Features {
        &self.features
    }

    #[must_use]
    pub const fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Closes all connections; statements under way are finished first.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
