//! One thing in full, for reading: lines with a label, and tables.

use std::fmt;

use cue_scheduler::text::{LINE_MAX, cleaned};
use cue_scheduler::units::counted;

use crate::listing::{Column, table};
use crate::output::{OutputError, Printer};

/// Running text goes on in the next line here, on a terminal.
const WIDTH: usize = 80;

pub(crate) struct Page {
    text: String,
    printer: Printer,
    /// Before labels.
    margin: usize,
    /// Before the text beside them.
    indent: usize,
    /// Rows of a table that are shown; all of them where the page is wide.
    rows_max: usize,
}

impl Page {
    pub(crate) const fn new(margin: usize, indent: usize, rows_max: usize, printer: Printer) -> Self {
        let rows_max = if printer.is_wide() { usize::MAX } else { rows_max };
        Self { text: String::new(), printer, margin, indent, rows_max }
    }

    /// Of whole tables, and lines below them.
    pub(crate) const fn of_tables(printer: Printer) -> Self {
        Self::new(0, 0, usize::MAX, printer)
    }

    pub(crate) fn print(&self) -> Result<(), OutputError> {
        self.printer.block(self.text.trim_start_matches('\n').trim_end())
    }

    pub(crate) const fn is_wide(&self) -> bool {
        self.printer.is_wide()
    }

    /// A line by itself.
    pub(crate) fn sentence(&mut self, line: fmt::Arguments<'_>) {
        self.push(&cleaned(&line.to_string(), LINE_MAX));
    }

    /// An empty line before what follows.
    pub(crate) fn gap(&mut self) {
        self.push("");
    }

    fn push(&mut self, clean: &str) {
        self.text.push_str(clean);
        self.text.push('\n');
    }

    /// A label and running text beside it, on a terminal broken at blanks where it is too long for a line.
    pub(crate) fn line(&mut self, label: &str, text: &str) {
        let Self { margin, indent, printer, .. } = *self;
        let width = if printer.is_terminal { WIDTH } else { usize::MAX };
        let text = cleaned(text, LINE_MAX);
        let mut line = format!("{:margin$}{label:<width$}", "", width = indent - margin);
        for (position, word) in text.split(' ').enumerate() {
            let has_room = line.chars().count() + 1 + word.chars().count() <= width;
            if position > 0 && has_room {
                line.push(' ');
            } else if position > 0 {
                self.push(&line);
                line = " ".repeat(indent);
            }
            line.push_str(word);
        }
        self.push(&line);
    }

    /// How much is left, where something is.
    pub(crate) fn left_waiting(&mut self, frames: u64, layers: u64, would_wait: &str) {
        if frames == 0 {
            self.sentence(format_args!("Nothing would be left waiting."));
        } else {
            let (frames, layers) = (counted(frames, "frame"), counted(layers, "layer"));
            self.sentence(format_args!("{frames} of {layers} {would_wait}."));
        }
    }

    /// A line with the same label for each of the texts.
    pub(crate) fn lines<T: AsRef<str>>(&mut self, label: &str, texts: impl IntoIterator<Item = T>) {
        texts.into_iter().for_each(|text| self.line(label, text.as_ref()));
    }

    /// Rows that are to be shown.
    pub(crate) const fn rows<'p, R>(&'p mut self, rows: &'p [R]) -> PageRows<'p, R> {
        PageRows { page: self, rows }
    }
}

pub(crate) struct PageRows<'p, R> {
    page: &'p mut Page,
    rows: &'p [R],
}

impl<R> PageRows<'_, R> {
    /// An empty line and a table, or nothing where there are no rows.
    pub(crate) fn table(self, columns: &[Column<R>]) {
        let Self { page, rows } = self;
        if rows.is_empty() {
            return;
        }
        let shown = &rows[..rows.len().min(page.rows_max)];
        page.gap();
        page.push(&table(columns, shown, page.printer));
        if shown.len() < rows.len() {
            page.sentence(format_args!("and {} more; -o wide shows them", rows.len() - shown.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_go_on_below() {
        let line_to = |is_terminal, label: &str, text: &str| {
            let mut page = Page::new(0, 12, 1, Printer { is_terminal, ..Printer::default() });
            page.line(label, text);
            page.text
        };
        let line = |label: &str, text: &str| line_to(true, label, text);
        let long = vec!["urgent,"; 20].join(" ");
        assert_eq!(line_to(false, "TAGS", &long), format!("TAGS        {long}\n"));
        assert_eq!(line("NAME", "a\n\u{1b}[1mb"), "NAME        a\\n\\u{1b}[1mb\n");
        let text = line("TAGS", &long);
        assert!(text.lines().count() == 3 && text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert_eq!(line("NAME", "x"), "NAME        x\n");
    }
}
