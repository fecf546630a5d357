//! What the user sees: data on standard output, everything else on standard error.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use clap::ColorChoice;
use cue_scheduler::config::{Loaded, Warning};
use cue_scheduler::text::{LINE_MAX, cleaned, cleaned_lines};

use crate::cli::{GlobalArgs, OutputFormat};

/// Things that are wrong alike and named one by one, unless more was asked for.
const NAMED_MAX: usize = 5;

/// How loud and how colourful this process is, and in which form it prints data.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Printer {
    pub(crate) format: OutputFormat,
    /// Steps of `-v` (positive) or `-q` (negative).
    pub(crate) verbosity: i8,
    pub(crate) is_stderr_colored: bool,
    /// Data goes to a terminal; elsewhere no line is broken.
    pub(crate) is_terminal: bool,
}

/// Why data could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// Whoever read it has enough; nothing to complain about.
    #[error("nobody reads the output any more")]
    ClosedPipe,
    #[error("cannot write the output")]
    Write(#[source] io::Error),
}

impl Printer {
    /// Colour: only on a terminal that shows it, and not with `NO_COLOR`, unless a flag says otherwise.
    pub(crate) fn new(args: &GlobalArgs, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let steps = |count: u8| i8::try_from(count).unwrap_or(i8::MAX);
        let is_unwanted = variable("NO_COLOR").is_some_and(|value| !value.is_empty())
            || variable("TERM").is_some_and(|value| value == "dumb");
        let is_stderr_colored = match args.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => io::stderr().is_terminal() && !is_unwanted,
        };
        Self {
            format: args.output,
            verbosity: steps(args.verbose) - steps(args.quiet),
            is_stderr_colored,
            is_terminal: io::stdout().is_terminal(),
        }
    }

    /// JSON or YAML.
    pub(crate) const fn is_for_programs(self) -> bool {
        matches!(self.format, OutputFormat::Json | OutputFormat::Yaml)
    }

    /// For reading, with all columns.
    pub(crate) const fn is_wide(self) -> bool {
        matches!(self.format, OutputFormat::Wide)
    }

    /// A line of what was asked for.
    pub(crate) fn data(self, line: impl fmt::Display) -> Result<(), OutputError> {
        self.block(cleaned(&line.to_string(), usize::MAX))
    }

    /// Lines of what was asked for, in a form of our own: what comes from outside has no line breaks any more.
    #[expect(clippy::unused_self, reason = "where data goes is for the printer to know")]
    pub(crate) fn block(self, lines: impl fmt::Display) -> Result<(), OutputError> {
        let lines = cleaned_lines(&lines.to_string());
        let written = writeln!(io::stdout(), "{lines}").and_then(|()| io::stdout().flush());
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => OutputError::ClosedPipe,
            _ => OutputError::Write(error),
        })
    }

    /// What went well and is no data; not with `-q`.
    pub(crate) fn note(self, line: impl fmt::Display) {
        if self.verbosity >= 0 {
            Self::stderr(line);
        }
    }

    /// Not with `-qq`.
    pub(crate) fn warning(self, line: impl fmt::Display) {
        if self.verbosity >= -1 {
            self.labelled("warning", "33", line);
        }
    }

    /// A warning in lines of our own.
    pub(crate) fn warning_text(self, text: &'static str) {
        let mut lines = text.lines();
        if self.verbosity >= -1 {
            self.labelled("warning", "33", lines.next().unwrap_or_default());
            lines.for_each(Self::stderr);
        }
    }

    /// As [`Self::warning`], with a line for each of what it is about.
    pub(crate) fn warning_with(self, line: impl fmt::Display, each: &[String]) {
        if self.verbosity >= -1 {
            self.labelled("warning", "33", line);
            for line in each {
                Self::stderr(format_args!("  {line}"));
            }
        }
    }

    pub(crate) fn warnings(self, warnings: &[Warning]) {
        for warning in warnings {
            self.warning(warning);
        }
    }

    /// Warns of files with the password in them that are for everybody.
    pub(crate) fn warn_of_exposed(self, loaded: &Loaded) {
        for file in loaded.exposed() {
            let file = file.display();
            self.warning(format_args!(
                "{file} holds the password, and everybody on this machine may read it: chmod o-r {file}"
            ));
        }
    }

    /// Warns of each of what is wrong alike, or with less than `-v` of the first few and of how many more
    /// `are`.
    pub(crate) fn warn_of<T>(self, all: &[T], line: impl Fn(&T) -> String, are: &str) {
        let named = if self.verbosity > 0 { all.len() } else { NAMED_MAX };
        all.iter().take(named).for_each(|one| self.warning(line(one)));
        if all.len() > named {
            self.warning(format_args!("{} more {are}; -v names them", all.len() - named));
        }
    }

    pub(crate) fn error(self, line: impl fmt::Display) {
        self.labelled("error", "31", line);
    }

    /// An error that stands on several lines, as those of settings do, each with what is wrong on one.
    pub(crate) fn error_lines(self, lines: &str) {
        let mut lines = lines.lines();
        self.error(lines.next().unwrap_or_default());
        lines.for_each(Self::stderr);
    }

    pub(crate) fn hint(self, line: impl fmt::Display) {
        self.labelled("hint", "36", line);
    }

    fn labelled(self, label: &str, color: &str, line: impl fmt::Display) {
        let (on, off) =
            if self.is_stderr_colored { (format!("\x1b[1;{color}m"), "\x1b[0m") } else { Default::default() };
        Self::write(&format!("{on}{label}:{off} "), line);
    }

    fn stderr(line: impl fmt::Display) {
        Self::write("", line);
    }

    /// There is nobody left to tell when this fails.
    fn write(label: &str, line: impl fmt::Display) {
        let _ = writeln!(io::stderr().lock(), "{label}{}", cleaned(&line.to_string(), LINE_MAX));
    }
}
