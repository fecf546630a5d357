//! Shows whose scheduler flag is switched off while we book them. Pure.
//!
//! With the flag off Cuebot books the show too. Nothing is booked twice by that, the rows see to it, but
//! two decide. So it is said at once, and after the time in which every Cuebot has heard of it the show
//! is left to Cuebot. A show that was never seen with the flag on is ours by other means.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::model::{ShowId, ShowRow};

#[derive(Debug)]
pub(super) struct Flags {
    /// By when every Cuebot knows; `None`: such a show stays ours.
    left_after: Option<Duration>,
    /// Shows that were seen with the flag on, and since when it is off.
    off_since: HashMap<ShowId, Option<Instant>>,
}

/// What one look at the flags found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FlagsSeen {
    /// Names of shows whose flag was on before and is off now, for the first time.
    pub(super) switched_off: Vec<String>,
    /// And of those that are on again.
    pub(super) switched_on: Vec<String>,
    /// All shows that were seen on and are off.
    pub(super) off: Vec<String>,
    /// Those of them that are no longer ours.
    pub(super) taken_back: Vec<ShowId>,
}

impl Flags {
    pub(super) fn new(left_after: Option<Duration>) -> Self {
        Self { left_after, off_since: HashMap::new() }
    }

    pub(super) fn leave_after(&mut self, left_after: Option<Duration>) {
        self.left_after = left_after;
    }

    pub(super) fn look(&mut self, shows: &[ShowRow], now: Instant) -> FlagsSeen {
        let mut seen = FlagsSeen::default();
        for show in shows {
            let Some(is_on) = show.is_scheduler_managed else { continue };
            if is_on {
                if self.off_since.insert(show.id.clone(), None).flatten().is_some() {
                    seen.switched_on.push(show.name.clone());
                }
            } else if let Some(off_since) = self.off_since.get_mut(&show.id) {
                if off_since.is_none() {
                    seen.switched_off.push(show.name.clone());
                }
                let since = *off_since.get_or_insert(now);
                seen.off.push(show.name.clone());
                if self.left_after.is_some_and(|left_after| now.duration_since(since) >= left_after) {
                    seen.taken_back.push(show.id.clone());
                }
            }
        }
        seen
    }

    /// Shows that stay ours although their flag may be off by now.
    pub(super) fn kept(&self, now: Instant) -> HashSet<ShowId> {
        let is_kept = |off_since: &Option<Instant>| {
            let is_early = |(since, left_after)| now.duration_since(since) < left_after;
            off_since.zip(self.left_after).is_none_or(is_early)
        };
        self.off_since.iter().filter(|(_, off_since)| is_kept(off_since)).map(|(show, _)| show.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(flag: Option<bool>) -> [ShowRow; 1] {
        [ShowRow { id: "id".into(), name: "show".to_owned(), is_active: true, is_scheduler_managed: flag }]
    }

    const CACHE: Duration = Duration::from_secs(30);

    #[test]
    fn on_then_off_is_said_once_and_the_show_is_left_after_the_cache() {
        let (mut flags, start) = (Flags::new(Some(CACHE)), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(flags.look(&show(Some(true)), after(0)), FlagsSeen::default());
        let off = || vec!["show".to_owned()];
        assert_eq!(
            flags.look(&show(Some(false)), after(1)),
            FlagsSeen { switched_off: off(), off: off(), ..FlagsSeen::default() }
        );
        assert_eq!(flags.look(&show(Some(false)), after(30)), FlagsSeen { off: off(), ..FlagsSeen::default() });
        assert_eq!([30, 31].map(|seconds| flags.kept(after(seconds)).len()), [1, 0]);
        assert_eq!(
            flags.look(&show(Some(false)), after(31)),
            FlagsSeen { off: off(), taken_back: vec!["id".into()], ..FlagsSeen::default() }
        );
        assert_eq!(flags.look(&show(Some(true)), after(32)), FlagsSeen { switched_on: off(), ..FlagsSeen::default() });
    }

    #[test]
    fn a_show_that_stays_ours_is_kept_and_never_taken_back() {
        let (mut flags, start) = (Flags::new(None), Instant::now());
        flags.look(&show(Some(true)), start);
        assert_eq!(flags.look(&show(Some(false)), start + CACHE).off, ["show"]);
        assert_eq!(flags.look(&show(Some(false)), start + CACHE * 3).taken_back, []);
        assert_eq!(flags.kept(start + CACHE * 3).len(), 1);
    }

    #[test]
    fn a_show_that_was_never_on_is_ours_by_other_means() {
        let (mut flags, now) = (Flags::new(Some(CACHE)), Instant::now());
        for flag in [Some(false), None] {
            assert_eq!(flags.look(&show(flag), now), FlagsSeen::default());
        }
    }
}
