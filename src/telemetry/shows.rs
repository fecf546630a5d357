//! Which names have series of their own, where names would bring any number of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// Shows with series of their own. A series is never taken away, and a database may have any number of shows.
const SHOWS_MAX: usize = 100;
/// All other shows together; no show of Cuebot is called so.
const OTHERS: &str = "(others)";

/// Cloning shares what is known.
#[derive(Clone, Debug, Default)]
pub(super) struct ShowSeries(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    shows: BTreeSet<String>,
    /// Series of waiting frames, by show and reason.
    waiting: BTreeSet<(String, &'static str)>,
    /// Series of what is held back, by kind and name.
    held_back: BTreeSet<(&'static str, String)>,
}

impl ShowSeries {
    /// What the series of a show are labelled with.
    pub(super) fn label<'s>(&self, show: &'s str) -> &'s str {
        let shows = &mut self.0.lock().shows;
        if shows.contains(show) || (shows.len() < SHOWS_MAX && shows.insert(show.to_owned())) { show } else { OTHERS }
    }

    /// Remembers series of waiting frames, and returns all there are.
    pub(super) fn waiting(
        &self,
        found: impl Iterator<Item = (String, &'static str)>,
    ) -> BTreeSet<(String, &'static str)> {
        let waiting = &mut self.0.lock().waiting;
        waiting.extend(found);
        waiting.clone()
    }

    /// Remembers what is held back now, and returns what was and is no longer.
    pub(super) fn held_back(&self, now: BTreeSet<(&'static str, String)>) -> BTreeSet<(&'static str, String)> {
        let held_back = &mut self.0.lock().held_back;
        let gone = held_back.difference(&now).cloned().collect();
        *held_back = now;
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_beyond_the_bound_share_a_label() {
        let shows = ShowSeries::default();
        let names: Vec<String> = (0..SHOWS_MAX + 5).map(|number| format!("show{number}")).collect();
        let labels: BTreeSet<&str> = names.iter().map(|name| shows.label(name)).collect();
        assert_eq!(labels.len(), SHOWS_MAX + 1);
        assert_eq!((shows.label("show0"), shows.label("new")), ("show0", OTHERS));
    }
}
