//! The database as everybody here uses it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;

use super::features::Features;
use super::meter::Meter;
use super::read::gpu_work::GpuWorkSeen;
use super::settings::ConnectSettings;
use super::way::Way;

/// The database as this scheduler uses it. Cloning shares the connections and the meter.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) pool: PgPool,
    pub(super) features: Features,
    pub(super) meter: Meter,
    pub(super) gpu_work: GpuWorkSeen,
    pub(super) lock_budget: Duration,
    /// By what settings, and which way; unless the driver's own options said it.
    pub(super) reached: Option<(Arc<ConnectSettings>, Way)>,
}

impl Store {
    /// The connections themselves. What is sent over them is not counted in [`Store::meter`].
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub const fn features(&self) -> &Features {
        &self.features
    }

    pub const fn meter(&self) -> &Meter {
        &self.meter
    }

    /// How long a transaction that writes may hold rows, its waits included. Shorter than the server's
    /// `deadlock_timeout`: whoever waits for us has us out of the way before it looks for a deadlock.
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
