//! What a frame becomes when its run ends. Pure.

/// Fails of a frame that ran out of memory: it gets more, and its retries do not count.
const MEMORY_FAILURES: [i64; 2] = [33, 137];
const FAILED_LAUNCH: i64 = 256;
const SKIP_RETRY: i64 = 286;
/// The signal by which an application asks for another try.
const RETRY_SIGNAL: i64 = 119;

/// How a run ended, and what its frame and job say of retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) exit_status: i64,
    pub(super) exit_signal: i64,
    pub(super) run_seconds: i64,
    pub(super) retries: i64,
    pub(super) retries_max: i64,
    pub(super) is_auto_eat: bool,
    /// A failed run that took longer is not tried again.
    pub(super) run_seconds_max: i64,
}

/// The state that a RUNNING frame goes to; the first rule that matches decides.
pub(super) fn next_state(end: &End) -> &'static str {
    let failed_launch = end.exit_status == FAILED_LAUNCH || end.exit_signal == FAILED_LAUNCH;
    if end.exit_status == 0 {
        "SUCCEEDED"
    } else if end.exit_status == SKIP_RETRY
        || (end.exit_signal == RETRY_SIGNAL && end.retries_max != 0)
        || (failed_launch && end.retries < end.retries_max)
    {
        "WAITING"
    } else if end.is_auto_eat {
        "EATEN"
    } else if end.run_seconds > end.run_seconds_max
        || (end.retries >= end.retries_max && !MEMORY_FAILURES.contains(&end.exit_status))
    {
        "DEAD"
    } else {
        "WAITING"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: End = End {
        exit_status: 1,
        exit_signal: 0,
        run_seconds: 60,
        retries: 0,
        retries_max: 3,
        is_auto_eat: false,
        run_seconds_max: 43_200,
    };

    #[test]
    fn the_first_rule_that_matches_decides() {
        let cases = [
            (End { exit_status: 0, is_auto_eat: true, ..FAILED }, "SUCCEEDED"),
            (FAILED, "WAITING"),
            (End { retries: 3, ..FAILED }, "DEAD"),
            (End { retries: 3, exit_status: 33, ..FAILED }, "WAITING"),
            (End { retries: 3, exit_status: 137, ..FAILED }, "WAITING"),
            (End { retries: 3, exit_status: 286, is_auto_eat: true, ..FAILED }, "WAITING"),
            (End { retries: 3, exit_signal: 119, ..FAILED }, "WAITING"),
            (End { retries_max: 0, exit_signal: 119, ..FAILED }, "DEAD"),
            (End { exit_status: 256, is_auto_eat: true, ..FAILED }, "WAITING"),
            (End { exit_status: 256, retries: 3, ..FAILED }, "DEAD"),
            (End { is_auto_eat: true, retries: 3, ..FAILED }, "EATEN"),
            (End { run_seconds: 43_201, ..FAILED }, "DEAD"),
        ];
        for (end, expected) in cases {
            assert_eq!(next_state(&end), expected, "{end:?}");
        }
    }
}
