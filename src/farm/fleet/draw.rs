//! What a launch meets, drawn from the seed, the frame's id and the number of its launches before.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::options::{Faults, RunTime};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draw {
    pub(super) fate: Fate,
    pub(super) run_time: Duration,
    pub(super) frame_fails: bool,
    pub(super) completion_lost: bool,
    pub(super) starts_late: bool,
}

/// What becomes of the launch call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    Refused,
    RequestLost,
    AnswerLost,
    AnswerFailed,
    AnswerDelayed,
}

pub(super) fn draw(seed: u64, frame: &str, launches_before: u32, faults: &Faults, run_time: RunTime) -> Draw {
    let mut hasher = DefaultHasher::new();
    (seed, frame, launches_before).hash(&mut hasher);
    let mut random = StdRng::seed_from_u64(hasher.finish());
    // Always in this order and all of them, so that one rate does not change what another draws.
    let (fate, time) = (random.random(), random.random());
    let (fails, lost, late) = (random.random::<f64>(), random.random::<f64>(), random.random::<f64>());
    Draw {
        fate: fate_of(fate, faults),
        run_time: duration_of(time, run_time),
        frame_fails: fails < faults.fail_frame,
        completion_lost: lost < faults.lose_completion,
        starts_late: late < faults.delay_start,
    }
}

fn fate_of(point: f64, faults: &Faults) -> Fate {
    let shares = [
        (faults.refuse, Fate::Refused),
        (faults.lose_request, Fate::RequestLost),
        (faults.lose_answer, Fate::AnswerLost),
        (faults.fail_answer, Fate::AnswerFailed),
        (faults.delay_answer, Fate::AnswerDelayed),
    ];
    let mut end = 0.0;
    for (share, fate) in shares {
        end += share;
        if point < end {
            return fate;
        }
    }
    Fate::Answered
}

fn duration_of(point: f64, run_time: RunTime) -> Duration {
    match run_time {
        RunTime::Fixed(time) | RunTime::Command(time) => time,
        RunTime::Between(shortest, longest) => shortest + longest.saturating_sub(shortest).mul_f64(point),
    }
}

/// What `sleep SECONDS` asks for; a sane number only, as it becomes a timer.
pub(super) fn sleep_of(command: &str) -> Option<Duration> {
    let mut words = command.split_whitespace();
    let (Some("sleep"), Some(seconds), None) = (words.next(), words.next(), words.next()) else { return None };
    let seconds = seconds.parse::<f64>().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= Duration::from_hours(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: RunTime = RunTime::Fixed(Duration::from_secs(1));

    #[test]
    fn the_same_launch_meets_the_same_again() {
        let faults = Faults { refuse: 0.5, ..Faults::default() };
        let range = RunTime::Between(Duration::from_secs(1), Duration::from_secs(2));
        assert_eq!(draw(7, "frame", 0, &faults, range), draw(7, "frame", 0, &faults, range));
        let fates: Vec<Fate> = (0..20).map(|launch| draw(7, "frame", launch, &faults, range).fate).collect();
        assert!(fates.contains(&Fate::Refused) && fates.contains(&Fate::Answered), "{fates:?}");
    }

    #[test]
    fn shares_come_out_as_asked() {
        let faults = Faults { refuse: 0.05, lose_answer: 0.2, ..Faults::default() };
        let fates: Vec<Fate> = (0..4000).map(|n| draw(1, &format!("frame-{n}"), 0, &faults, SECOND).fate).collect();
        let count = |fate| fates.iter().filter(|drawn| **drawn == fate).count();
        assert!((120..280).contains(&count(Fate::Refused)), "{}", count(Fate::Refused));
        assert!((650..950).contains(&count(Fate::AnswerLost)), "{}", count(Fate::AnswerLost));
        assert_eq!(count(Fate::RequestLost), 0);
    }

    #[test]
    fn a_command_may_say_how_long_it_runs() {
        let asked =
            ["sleep 0.5", " sleep  2 ", "sleep", "sleep -1", "sleep 1 && ls", "sleep nan", "sleep 1e30"].map(sleep_of);
        let half = Some(Duration::from_millis(500));
        assert_eq!(asked, [half, Some(Duration::from_secs(2)), None, None, None, None, None]);
    }
}
