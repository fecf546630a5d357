//! The farm's progress on a terminal: bars where there is one, plain lines otherwise.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use cue_scheduler::farm::progress::{FarmProgress, Watcher};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Without a terminal, one line in so much time.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// The right watcher for where standard error goes.
pub(crate) fn watcher(is_quiet: bool) -> Box<dyn Watcher> {
    if is_quiet {
        Box::new(cue_scheduler::farm::progress::Unwatched)
    } else if std::io::stderr().is_terminal() {
        Box::new(Bars::new())
    } else {
        Box::new(Lines { last: Mutex::new(None) })
    }
}

struct Bars {
    all: MultiProgress,
    /// Frames done, frames running, busy hosts, and figures.
    bars: [ProgressBar; 4],
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let templates = [
            "    done [{bar:36.green}] {pos:>6} / {len}",
            " running [{bar:36.cyan}] {pos:>6} / {len}",
            "   hosts [{bar:36.blue}] {pos:>6} / {len}",
            "         {msg}",
        ];
        let bars = templates.map(|template| {
            // The templates are ours and known to be right.
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::hidden().with_style(style.progress_chars("=> "))
        });
        Self { all, bars }
    }
}

impl Watcher for Bars {
    fn step(&self, sentence: &str) {
        // Printing fails only when the terminal is gone, and then nobody reads it.
        let _ = self.all.println(format!("  {sentence}"));
    }

    fn progress(&self, progress: &FarmProgress) {
        let [done, running, hosts, figures] = &self.bars;
        if done.is_hidden() {
            for bar in &self.bars {
                self.all.add(bar.clone());
            }
        }
        let (frames, all_hosts) = (progress.frames, progress.hosts);
        for (bar, position, length) in [
            (done, progress.done, frames),
            (running, progress.running, frames),
            (hosts, progress.hosts_busy, all_hosts),
        ] {
            bar.set_length(length);
            bar.set_position(position);
        }
        figures.set_message(format!(
            "{} waiting, {} booked, {} launched, {:.0} frames/s",
            progress.waiting,
            progress.booked,
            progress.launched,
            progress.frames_per_second()
        ));
    }

    fn finished(&self) {
        self.bars.iter().for_each(ProgressBar::abandon);
    }
}

struct Lines {
    last: Mutex<Option<Instant>>,
}

impl Watcher for Lines {
    fn step(&self, sentence: &str) {
        eprintln!("{sentence}");
    }

    fn progress(&self, progress: &FarmProgress) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < LINE_INTERVAL) && !progress.is_finished() {
            return;
        }
        *last = Some(Instant::now());
        eprintln!(
            "{:>5.1}s  waiting {:>6}  booked {:>6}  running {:>5}  done {:>6} of {}  hosts busy {:>4} of {}  {:.0} frames/s",
            progress.elapsed.as_secs_f64(),
            progress.waiting,
            progress.booked,
            progress.running,
            progress.done,
            progress.frames,
            progress.hosts_busy,
            progress.hosts,
            progress.frames_per_second()
        );
    }

    fn finished(&self) {}
}
