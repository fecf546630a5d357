//! Whether the scheduler does its work now, and if not, why.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// What can keep the scheduler from working. Each holds or not, independently of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Condition {
    /// It is starting or stopping.
    Service,
    /// The database does not answer.
    Database,
    /// Another planner books the same shows.
    #[strum(serialize = "foreign planner")]
    ForeignPlanner,
    /// The clusters cannot be rebuilt; those of before are used.
    Clusters,
    /// Something that the settings name is not there, or leads to several facilities.
    Selection,
    /// Nothing at all is selected.
    #[strum(serialize = "no cluster")]
    NoCluster,
    /// Shows that are flagged for a scheduler, and that nobody books.
    #[strum(serialize = "unserved shows")]
    Unserved,
    /// Bookings are only remembered.
    #[strum(serialize = "dry run")]
    DryRun,
    /// Passes fail, with the database there.
    Passes,
    /// No host report arrives: Cuebot does not answer.
    #[strum(serialize = "cuebot")]
    CuebotSilent,
    /// The scheduler flag of a show was switched off: Cuebot books it too.
    #[strum(serialize = "scheduler flag")]
    FlagOff,
    /// This process has no file descriptor left for database or agents.
    #[strum(serialize = "file descriptors")]
    Descriptors,
    /// Nor for these pages.
    Pages,
}

/// The conditions that hold now, each with its reason. Ready means that none does. Cloning shares
/// them. A new one is not ready: the service is starting.
#[derive(Clone, Debug)]
pub struct Health {
    conditions: Arc<Mutex<BTreeMap<Condition, &'static str>>>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    pub fn new() -> Self {
        let health = Self { conditions: Arc::default() };
        health.set_not_ready("starting");
        health
    }

    /// The service itself has started. Other conditions stay as they are.
    pub fn set_ready(&self) {
        self.clear(Condition::Service);
    }

    /// The service itself is starting or stopping.
    pub fn set_not_ready(&self, reason: &'static str) {
        self.raise(Condition::Service, reason);
    }

    /// Says that `condition` holds, and why; a newer reason replaces the older one. Anybody may read the page
    /// that it stands on, so it is one line of our own; names, and what others say, are for the log.
    /// Returns whether it did not hold before, so that the caller can log the change once.
    pub fn raise(&self, condition: Condition, reason: &'static str) -> bool {
        self.conditions.lock().insert(condition, reason).is_none()
    }

    /// Says that `condition` holds no longer. Returns whether it did.
    pub fn clear(&self, condition: Condition) -> bool {
        self.conditions.lock().remove(&condition).is_some()
    }

    pub fn holds(&self, condition: Condition) -> bool {
        self.conditions.lock().contains_key(&condition)
    }

    /// # Errors
    /// One line, `condition: reason`, for each condition that holds.
    pub fn readiness(&self) -> Result<(), String> {
        let conditions = self.conditions.lock();
        if conditions.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> =
            conditions.iter().map(|(condition, reason)| format!("{condition}: {reason}")).collect();
        Err(lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_only_when_no_condition_holds() {
        let health = Health::new();
        assert_eq!(health.readiness(), Err("service: starting".to_owned()));
        health.set_ready();
        assert_eq!(health.readiness(), Ok(()));
        assert!(health.raise(Condition::ForeignPlanner, "holds the lock"));
        assert!(health.raise(Condition::Database, "refused"));
        assert!(!health.raise(Condition::Database, "timed out"));
        assert_eq!(health.readiness(), Err("database: timed out\nforeign planner: holds the lock".to_owned()));
        assert!(health.clear(Condition::ForeignPlanner));
        assert!(!health.clear(Condition::ForeignPlanner));
        health.set_ready();
        assert_eq!(health.readiness(), Err("database: timed out".to_owned()));
    }
}
