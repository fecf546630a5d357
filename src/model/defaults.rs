//! What holds where no settings say otherwise, for settings and for readings that are made without them.

use std::time::Duration;

/// How long a report of licence use may lag behind: Cuebot's own `limit.settle_window_seconds`.
pub(crate) const LIMIT_SETTLE_WINDOW: Duration = Duration::from_mins(2);

/// A host whose last report is older takes nothing.
pub(crate) const HOST_STALENESS: Duration = Duration::from_mins(2);
