//! One thing in full, for reading: lines with a label, and tables.

use std::fmt;

use crate::listing::{Column, table};
use crate::output::{OutputError, Printer};

/// Running text goes on in the next line here.
const WIDTH: usize = 80;

pub(crate) struct Page {
    text: String,
    pub(crate) is_wide: bool,
    /// Before labels.
    margin: usize,
    /// Before the text beside them.
    indent: usize,
    /// Rows of a table that are shown; all of them where the page is wide.
    rows_max: usize,
}

impl Page {
    pub(crate) const fn new(margin: usize, indent: usize, rows_max: usize, printer: Printer) -> Self {
        let is_wide = printer.is_wide();
        Self { text: String::new(), is_wide, margin, indent, rows_max: if is_wide { usize::MAX } else { rows_max } }
    }

    pub(crate) fn print(&self, printer: Printer) -> Result<(), OutputError> {
        printer.data(self.text.trim_end())
    }

    pub(crate) fn write(&mut self, text: fmt::Arguments<'_>) {
        self.text.push_str(&text.to_string());
    }

    /// A label and running text beside it, broken at blanks where it is too long for a line.
    pub(crate) fn line(&mut self, label: &str, text: &str) {
        let Self { margin, indent, .. } = *self;
        let mut line = format!("{:margin$}{label:<width$}", "", width = indent - margin);
        for (position, word) in text.split(' ').enumerate() {
            let has_room = line.chars().count() + 1 + word.chars().count() <= WIDTH;
            if position > 0 && has_room {
                line.push(' ');
            } else if position > 0 {
                self.write(format_args!("{line}\n"));
                line = " ".repeat(indent);
            }
            line.push_str(word);
        }
        self.write(format_args!("{line}\n"));
    }

    /// An empty line and a table, or nothing where there are no rows.
    pub(crate) fn table<R>(&mut self, columns: &[Column<R>], rows: &[R]) {
        if rows.is_empty() {
            return;
        }
        let shown = &rows[..rows.len().min(self.rows_max)];
        self.write(format_args!("\n{}\n", table(columns, shown, self.is_wide)));
        if shown.len() < rows.len() {
            self.write(format_args!("and {} more; -o wide shows them\n", rows.len() - shown.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_go_on_below() {
        let line = |label: &str, text: &str| {
            let mut page = Page::new(0, 12, 1, Printer::default());
            page.line(label, text);
            page.text
        };
        let text = line("TAGS", &vec!["urgent,"; 20].join(" "));
        assert!(text.lines().count() == 3 && text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert_eq!(line("NAME", "x"), "NAME        x\n");
    }
}
