//! The names of all hosts, for telling whose agent answers where another machine may be meant.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::db::Store;

/// After a fault of the network many agents are asked at once, and hosts seldom come or change their names.
const NAMES_LAST: Duration = Duration::from_mins(1);

/// Read when they are asked for, once for all who ask.
#[derive(Debug)]
pub(super) struct KnownHosts {
    store: Store,
    read: Mutex<Option<Names>>,
}

#[derive(Debug)]
struct Names {
    read_at: Instant,
    /// By what they are up to the first dot, in lower case.
    by_short: HashMap<String, Vec<String>>,
}

impl KnownHosts {
    pub(super) fn new(store: Store) -> Self {
        Self { store, read: Mutex::default() }
    }

    /// Hosts that are called like this, whole or up to the first dot; `None` while the database does not say.
    pub(super) async fn called(&self, name: &str) -> Option<Vec<String>> {
        let mut read = self.read.lock().await;
        if read.as_ref().is_none_or(|names| names.read_at.elapsed() >= NAMES_LAST) {
            let mut by_short: HashMap<String, Vec<String>> = HashMap::new();
            for name in self.store.host_names().await.ok()? {
                by_short.entry(short(&name)).or_default().push(name);
            }
            *read = Some(Names { read_at: Instant::now(), by_short });
        }
        Some(read.as_ref()?.by_short.get(&short(name)).cloned().unwrap_or_default())
    }
}

fn short(name: &str) -> String {
    name.split('.').next().unwrap_or(name).to_lowercase()
}
