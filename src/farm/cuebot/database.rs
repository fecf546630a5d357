//! How statements fail, and how long one insists.

use std::time::Duration;

use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

/// Longest wait between two attempts while the database is away.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// What a failed transaction means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The same again may pass: deadlock, lock timeout, the server away or going down.
    Passing,
    /// A trigger, a constraint or a column refuses something in it.
    Refusal,
}

pub(super) fn trouble(error: &sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            let passing = ["08", "40", "53", "55", "57"].iter().any(|class| code.starts_with(class));
            if passing || code == "25P03" { Trouble::Passing } else { Trouble::Refusal }
        }
        sqlx::Error::ColumnNotFound(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Trouble::Refusal,
        _ => Trouble::Passing,
    }
}

/// Attempts at one piece of work, further apart each time, until the stand-in is stopped.
pub(super) struct Patience {
    stop: CancellationToken,
    attempts: u32,
}

impl Patience {
    pub(super) const fn new(stop: CancellationToken) -> Self {
        Self { stop, attempts: 0 }
    }

    /// Waits after a failure. `false`: another attempt is of no use, or nobody wants it any more.
    pub(super) async fn after(&mut self, what: &'static str, error: &sqlx::Error) -> bool {
        if trouble(error) == Trouble::Refusal {
            return false;
        }
        self.attempts += 1;
        if self.attempts == 1 || self.attempts.is_multiple_of(20) {
            tracing::debug!(what, attempts = self.attempts, %error, "the Cuebot stand-in tries again");
        }
        let bound = Duration::from_millis(5 << self.attempts.min(8)).min(WAIT_MAX);
        let wait = bound.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some()
    }
}
