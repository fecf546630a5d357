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
mod counts;
mod error;
mod find;
mod frames;
mod held;
mod hosts;
mod launches;
mod ledger;
mod life;
mod meter;
mod names;
mod peers;
mod probe;
mod reading;
mod redirects;
mod releases;
mod row;
mod schema;
mod snapshot;
mod way;

use std::sync::Arc;

use std::time::Duration;

use sqlx::PgPool;

pub use asked::AskedTags;
pub use cluster_rows::{AllocTags, ClusterRows, ShowSubscriptions};
pub use connect::{ConnectSettings, TlsMode, connect_once};
pub use counts::{DeletedLimit, WaitingCount};
pub use error::StoreError;
pub use find::{
    FoundFrame, FoundHost, FoundJob, FoundLayer, FoundProc, FrameCounts, HeldProc, HostProcs, Match, RunningOn,
};
pub use frames::{FrameState, WaitingFrames};
pub use held::{Held, Holder};
pub use launches::LayerLaunches;
pub use ledger::{FRAMELESS_AFTER, FramelessProc, HostLedger, SILENT_AFTER};
pub use life::{EndedFrames, NewestReport};
pub use meter::{Meter, MeterReading};
pub use names::{Named, names};
pub use peers::{ForeignBookings, new_proc_id};
pub use probe::ChangeProbe;
pub(crate) use reading::answer;
pub use redirects::{Destination, FollowedProc, OrderedRedirect, Redirect, Redirects};
pub use releases::{Release, ReleaseNotice, Releases};
pub use schema::{Features, Missing, needed_columns};
pub use snapshot::SnapshotOptions;
pub use way::{Encryption, Way, stays_here};

/// The database as this scheduler uses it. Cloning shares the connections and the meter.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    features: Features,
    meter: Meter,
    lock_budget: Duration,
    /// By what settings, and which way; unless the driver's own options said it.
    reached: Option<(Arc<ConnectSettings>, Way)>,
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

    /// How long a transaction that writes may hold rows, its waits included. Shorter than the server's
    /// `deadlock_timeout`: whoever waits for us has us out of the way before it looks for a deadlock.
    #[must_use]
    pub const fn lock_budget(&self) -> Duration {
        self.lock_budget
    }

    /// Another budget, for measuring what work costs whatever the machine is busy with.
    #[must_use]
    pub fn with_lock_budget(self, lock_budget: Duration) -> Self {
        Self { lock_budget, ..self }
    }

    /// Closes all connections; statements under way are finished first.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
