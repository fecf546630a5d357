//! What the stand-in's workers have in common.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use sqlx::PgPool;

use super::database::Patience;
use super::options::{CuebotCounts, CuebotOptions};
use super::stop::RunLimit;
use crate::farm::schema::Generation;
use crate::rqd::Agents;
use crate::tasks::Tasks;

pub(super) struct Shared {
    pub(super) pool: PgPool,
    pub(super) generation: Generation,
    pub(super) options: CuebotOptions,
    pub(super) agents: Mutex<Option<Agents>>,
    pub(super) counts: Mutex<CuebotCounts>,
    pub(super) is_silent: AtomicBool,
    pub(super) tasks: Tasks,
}

impl Shared {
    pub(super) fn agents(&self) -> Option<Agents> {
        self.agents.lock().clone()
    }

    pub(super) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut CuebotCounts)) {
        change(&mut self.counts.lock());
    }

    pub(super) fn patience(&self) -> Patience {
        Patience::new(self.tasks.stop_signal())
    }

    /// Halves of a part that the database refuses, or nothing when it is down to one, or nobody wants
    /// it any more.
    pub(super) fn halve(&self, step: &'static str, part: Range<usize>, error: &sqlx::Error) -> Vec<Range<usize>> {
        if part.len() > 1 && !self.tasks.stop_signal().is_cancelled() {
            let middle = part.start + part.len() / 2;
            return vec![middle..part.end, part.start..middle];
        }
        self.refuse(step, error);
        Vec::new()
    }

    pub(super) fn refuse(&self, step: &'static str, error: &sqlx::Error) {
        tracing::warn!(step, %error, "the database did not take a report");
        self.count(|counts| counts.refused += 1);
    }

    pub(super) const fn run_limit(&self) -> RunLimit {
        match self.generation {
            Generation::G0 => RunLimit(8 * 3_600),
            _ => RunLimit(12 * 3_600),
        }
    }
}
