//! Shows whose scheduler flag is switched off while we book them. Pure.
//!
//! With the flag off Cuebot books the show too. Nothing is booked twice by that, the rows see to it, but
//! two decide. So it is said at once, and after the time in which every Cuebot has heard of it the show
//! is left to Cuebot. A show that was never seen with the flag on is ours by other means.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::model::{ShowId, ShowRow};

#[derive(Clone, Debug, Default)]
pub(super) struct Flags {
    shows: HashMap<ShowId, Flag>,
}

#[derive(Clone, Copy, Debug)]
enum Flag {
    On,
    Off { since: Instant },
}

/// What one look at the flags found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
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
    /// `left_after`: by when every Cuebot knows.
    pub(super) fn look(&mut self, shows: &[ShowRow], left_after: Duration, now: Instant) -> Seen {
        let mut seen = Seen::default();
        for show in shows {
            let known = self.shows.get(&show.id).copied();
            match (show.is_scheduler_managed, known) {
                (Some(true), known) => {
                    if let Some(Flag::Off { .. }) = known {
                        seen.switched_on.push(show.name.clone());
                    }
                    self.shows.insert(show.id.clone(), Flag::On);
                }
                (Some(false), Some(known)) => {
                    let since = match known {
                        Flag::On => {
                            seen.switched_off.push(show.name.clone());
                            now
                        }
                        Flag::Off { since } => since,
                    };
                    self.shows.insert(show.id.clone(), Flag::Off { since });
                    seen.off.push(show.name.clone());
                    if now.duration_since(since) >= left_after {
                        seen.taken_back.push(show.id.clone());
                    }
                }
                (Some(false) | None, _) => {}
            }
        }
        seen
    }

    /// Shows that stay ours although their flag may be off by now: those that it went off of less than
    /// `left_after` ago, or with `None` all whose flag was ever on.
    pub(super) fn kept(&self, left_after: Option<Duration>, now: Instant) -> HashSet<ShowId> {
        let is_kept = |flag: &Flag| match (flag, left_after) {
            (Flag::Off { since }, Some(left_after)) => now.duration_since(*since) < left_after,
            (Flag::On, _) | (_, None) => true,
        };
        self.shows.iter().filter(|(_, flag)| is_kept(flag)).map(|(show, _)| show.clone()).collect()
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
        let (mut flags, start) = (Flags::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(flags.look(&show(Some(true)), CACHE, after(0)), Seen::default());
        let off = || vec!["show".to_owned()];
        assert_eq!(
            flags.look(&show(Some(false)), CACHE, after(1)),
            Seen { switched_off: off(), off: off(), ..Seen::default() }
        );
        assert_eq!(flags.look(&show(Some(false)), CACHE, after(30)), Seen { off: off(), ..Seen::default() });
        let kept = |left_after, seconds| flags.kept(left_after, after(seconds)).len();
        assert_eq!([kept(Some(CACHE), 30), kept(Some(CACHE), 31), kept(None, 31)], [1, 0, 1]);
        assert_eq!(
            flags.look(&show(Some(false)), CACHE, after(31)),
            Seen { off: off(), taken_back: vec!["id".into()], ..Seen::default() }
        );
        assert_eq!(flags.look(&show(Some(true)), CACHE, after(32)), Seen { switched_on: off(), ..Seen::default() });
    }

    #[test]
    fn a_show_that_was_never_on_is_ours_by_other_means() {
        let (mut flags, now) = (Flags::default(), Instant::now());
        for flag in [Some(false), None] {
            assert_eq!(flags.look(&show(flag), CACHE, now), Seen::default());
        }
    }
}
