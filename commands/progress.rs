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
    done: ProgressBar,
    running: ProgressBar,
    hosts: ProgressBar,
    figures: ProgressBar,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let bar = |name: &'static str, colour: &str| {
            // The templates are ours and known to be right.
            let style =
                ProgressStyle::with_template(&format!("{{prefix:>8}} [{{bar:36.{colour}}}] {{pos:>6}} / {{len}}"))
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("=> ");
            ProgressBar::hidden().with_style(style).with_prefix(name)
        };
        let figures = ProgressBar::hidden().with_style(
            ProgressStyle::with_template("         {msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self { done: bar("done", "green"), running: bar("running", "cyan"), hosts: bar("hosts", "blue"), figures, all }
    }

    fn bars(&self) -> [&ProgressBar; 4] {
        [&self.done, &self.running, &self.hosts, &self.figures]
    }
}

impl Watcher for Bars {
    fn step(&self, sentence: &str) {
        // Printing fails only when the terminal is gone, and then nobody reads it.
        let _ = self.all.println(format!("  {sentence}"));
    }

    fn progress(&self, progress: &FarmProgress) {
        if self.done.is_hidden() {
            for bar in self.bars() {
                self.all.add(bar.clone());
            }
        }
        self.done.set_length(progress.frames);
        self.done.set_position(progress.done);
        self.running.set_length(progress.frames);
        self.running.set_position(progress.running);
        self.hosts.set_length(progress.hosts);
        self.hosts.set_position(progress.hosts_busy);
        self.figures.set_message(format!(
            "{} waiting, {} booked, {} launched, {:.0} frames/s",
            progress.waiting,
            progress.booked,
            progress.launched,
            progress.frames_per_second()
        ));
    }

    fn finished(&self) {
        for bar in self.bars() {
            bar.abandon();
        }
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
