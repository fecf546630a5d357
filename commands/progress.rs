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
        let FarmProgress { frames, waiting, running, done, hosts, hosts_busy, booked, launched, .. } = *progress;
        let [.., figures] = &self.bars;
        if figures.is_hidden() {
            for bar in &self.bars {
                self.all.add(bar.clone());
            }
        }
        for (bar, (position, length)) in self.bars.iter().zip([(done, frames), (running, frames), (hosts_busy, hosts)])
        {
            bar.set_length(length);
            bar.set_position(position);
        }
        let rate = progress.frames_per_second();
        figures.set_message(format!("{waiting} waiting, {booked} booked, {launched} launched, {rate:.0} frames/s"));
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
        let FarmProgress { waiting, booked, running, done, frames, hosts_busy, hosts, .. } = progress;
        let (seconds, rate) = (progress.elapsed.as_secs_f64(), progress.frames_per_second());
        eprintln!(
            "{seconds:>5.1}s  waiting {waiting:>6}  booked {booked:>6}  running {running:>5}  \
             done {done:>6} of {frames}  hosts busy {hosts_busy:>4} of {hosts}  {rate:.0} frames/s"
        );
    }

    fn finished(&self) {}
}
