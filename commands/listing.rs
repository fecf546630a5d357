//! Lists and documents in every form that `--output` knows.
//!
//! Data goes to standard output. JSON and YAML carry every field of the row under its documented name,
//! whatever the table shows; CSV carries the columns of the wide table.

use std::io;
use std::path::Path;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use cue_scheduler::scheduler::ReasonRow;
use cue_scheduler::text::{cleaned, escaped_json};
use serde::Serialize;

use crate::cli::OutputFormat;
use crate::output::{OutputError, Printer};
use crate::yaml;

/// Letters of a name and of a sentence in a table, after which they are cut.
pub(crate) const NAME_MAX: usize = 200;
const SENTENCE_MAX: usize = 2_000;
/// Letters of a list in a table; what is beyond is counted.
const LIST_MAX: usize = 40;
/// Spreadsheets take no longer cell.
const CSV_CELL_MAX: usize = 32_767;

/// One column of a list. The first of a list names its rows.
pub(crate) struct Column<R> {
    /// In capitals, as the header shows it.
    name: &'static str,
    /// Only with `--output wide` and in CSV.
    is_wide: bool,
    /// Aligned to the right.
    is_number: bool,
    /// Sentences, which a narrow terminal breaks into lines; names stay whole.
    is_prose: bool,
    value: Value<R>,
}

/// What a cell is made of.
enum Value<R> {
    One(fn(&R) -> String),
    /// In tables as many as there is room for.
    Many(fn(&R) -> Vec<String>),
}

impl<R> Column<R> {
    const fn of(name: &'static str, value: Value<R>) -> Self {
        Self { name, is_wide: false, is_number: false, is_prose: false, value }
    }

    pub(crate) const fn text(name: &'static str, value: fn(&R) -> String) -> Self {
        Self::of(name, Value::One(value))
    }

    pub(crate) const fn number(name: &'static str, value: fn(&R) -> String) -> Self {
        Self { is_number: true, ..Self::of(name, Value::One(value)) }
    }

    pub(crate) const fn prose(name: &'static str, value: fn(&R) -> String) -> Self {
        Self { is_prose: true, ..Self::of(name, Value::One(value)) }
    }

    pub(crate) const fn list(name: &'static str, value: fn(&R) -> Vec<String>) -> Self {
        Self::of(name, Value::Many(value))
    }

    pub(crate) const fn wide(mut self) -> Self {
        self.is_wide = true;
        self
    }

    /// All of it.
    fn whole(&self, row: &R) -> String {
        match self.value {
            Value::One(value) => value(row),
            Value::Many(values) => values(row).join(","),
        }
    }

    /// What a table shows.
    fn cell(&self, row: &R) -> String {
        let max = if self.is_prose { SENTENCE_MAX } else { NAME_MAX };
        match self.value {
            Value::One(value) => cleaned(&value(row), max),
            Value::Many(values) => cleaned(&beginning(&values(row)), max),
        }
    }
}

/// `a,b and 17 more`: at least one, and no more than there is room for.
fn beginning(all: &[String]) -> String {
    let mut room = LIST_MAX;
    let fits = |one: &&String| {
        let fits = one.chars().count() <= room;
        room = room.saturating_sub(one.chars().count() + 1);
        fits
    };
    let shown = all.iter().take_while(fits).count().max(1).min(all.len());
    let more = all.len() - shown;
    let shown = all[..shown].join(",");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// `12s`, `5m`, `3h`, `4d`.
pub(crate) fn short_age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m", seconds / 60),
        seconds @ 3_600..86_400 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

impl Printer {
    /// Prints rows. `json` is what JSON and YAML print instead of the bare rows, for a list that is part of
    /// a larger document; give the rows themselves where it is not.
    pub(crate) fn list<R>(
        self,
        columns: &[Column<R>],
        rows: &[R],
        json: &(impl Serialize + ?Sized),
    ) -> Result<(), OutputError> {
        self.list_or(columns, rows, json, || self.block(table(columns, rows, self)))
    }

    /// As [`Self::list`], with something else than the table for reading.
    pub(crate) fn list_or<R>(
        self,
        columns: &[Column<R>],
        rows: &[R],
        json: &(impl Serialize + ?Sized),
        print: impl FnOnce() -> Result<(), OutputError>,
    ) -> Result<(), OutputError> {
        match self.format {
            OutputFormat::Table | OutputFormat::Wide => print(),
            OutputFormat::Csv => self.block(csv(columns, rows)?.trim_end()),
            OutputFormat::Name => {
                let Some(name) = columns.first() else { return Ok(()) };
                rows.iter().try_for_each(|row| self.data(name.whole(row)))
            }
            OutputFormat::Json | OutputFormat::Yaml => self.document(json),
        }
    }

    /// Prints a document as JSON, or as YAML where that was asked for.
    pub(crate) fn document(self, document: &(impl Serialize + ?Sized)) -> Result<(), OutputError> {
        let text = match self.format {
            OutputFormat::Yaml => yaml::plain(document).map_err(io::Error::other),
            _ => serde_json::to_string_pretty(document).map(|text| escaped_json(&text)).map_err(io::Error::other),
        };
        self.block(text.map_err(OutputError::Write)?.trim_end())
    }
}

/// What waits, by reason.
pub(crate) fn reason_columns() -> [Column<ReasonRow>; 4] {
    [
        Column::text("REASON", |row: &ReasonRow| row.reason.into_str().to_owned()),
        Column::number("LAYERS", |row| row.layers.to_string()),
        Column::number("FRAMES", |row| row.frames.to_string()),
        Column::prose("MEANING", |row| row.reason.sentence().to_owned()),
    ]
}

/// Writes a document into a file as JSON.
pub(crate) fn write_json(path: &Path, document: &impl Serialize) -> io::Result<()> {
    std::fs::write(path, escaped_json(&serde_json::to_string_pretty(document)?) + "\n")
}

/// A table without borders. On a terminal it fits the width, as far as that goes without breaking a name.
pub(crate) fn table<R>(columns: &[Column<R>], rows: &[R], printer: Printer) -> String {
    let columns: Vec<&Column<R>> = columns.iter().filter(|column| printer.is_wide() || !column.is_wide).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|column| column.name));
    if printer.is_terminal && !printer.is_wide() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    for row in rows {
        table.add_row(columns.iter().map(|column| column.cell(row)));
    }
    for (column, of) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        if of.is_number {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if !of.is_prose {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt()
}

fn csv<R>(columns: &[Column<R>], rows: &[R]) -> Result<String, OutputError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let unwritable = |error: csv::Error| OutputError::Write(io::Error::other(error));
    writer.write_record(columns.iter().map(|column| column.name.to_lowercase())).map_err(unwritable)?;
    for row in rows {
        writer.write_record(columns.iter().map(|column| csv_cell(&column.whole(row)))).map_err(unwritable)?;
    }
    let bytes = writer.into_inner().map_err(|error| OutputError::Write(error.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A spreadsheet works out what begins like a formula, unless it is marked as text.
fn csv_cell(text: &str) -> String {
    let is_number = text.split(',').all(|part| part == "-" || part.parse::<f64>().is_ok());
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number;
    cleaned(&if is_formula { format!("'{text}") } else { text.to_owned() }, CSV_CELL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (&'static str, i64);

    fn columns() -> [Column<Row>; 3] {
        [
            Column::text("NAME", |row: &Row| row.0.to_owned()),
            Column::number("HOSTS", |row: &Row| row.1.to_string()),
            Column::text("ID", |row: &Row| format!("id-{}", row.0)).wide(),
        ]
    }

    #[test]
    fn a_table_aligns_and_hides_what_is_wide() {
        let rows = [("general", 7), ("a", 1_200)];
        let printer = |format| Printer { format, ..Printer::default() };
        let short = table(&columns(), &rows, printer(OutputFormat::Table));
        assert_eq!(short, "NAME     HOSTS\ngeneral      7\na         1200");
        assert!(table(&columns(), &rows, printer(OutputFormat::Wide)).contains("id-general"));
    }

    #[test]
    fn names_are_never_broken_and_off_a_terminal_nothing_is() {
        let columns = [
            Column::text("NAME", |row: &Row| row.0.to_owned()),
            Column::prose("WHY", |_: &Row| "because it is so and not otherwise ".repeat(9).trim_end().to_owned()),
        ];
        let name = "show-sh010-artist_".repeat(5) + "x";
        let rows = [(&*name.clone().leak(), 1)];
        for is_terminal in [false, true] {
            let table = table(&columns, &rows, Printer { is_terminal, ..Printer::default() });
            assert!(table.contains(&name), "{table}");
            assert!(is_terminal || table.lines().count() == 2, "{table}");
        }
    }

    #[test]
    fn long_lists_are_cut_with_a_count() {
        let tags: Vec<String> = (0..40).map(|number| format!("r{number:04}")).collect();
        assert_eq!(beginning(&tags), "r0000,r0001,r0002,r0003,r0004,r0005 and 34 more");
        assert_eq!(beginning(&tags[..2]), "r0000,r0001");
        assert_eq!(beginning(&["x".repeat(90), "y".to_owned()]), format!("{} and 1 more", "x".repeat(90)));
        assert_eq!(beginning(&[]), "");
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let text = csv(&columns(), &[("a,b", 1)]).expect("memory takes it");
        assert_eq!(text, "name,hosts,id\n\"a,b\",1,\"id-a,b\"\n");
    }

    #[test]
    fn a_cell_that_begins_like_a_formula_is_text() {
        for (text, cell) in [
            ("=1+1", "'=1+1"),
            ("@sum", "'@sum"),
            ("+a", "'+a"),
            ("-2-0", "'-2-0"),
            ("\t=1", "'\\t=1"),
            ("-2.5", "-2.5"),
            ("-", "-"),
            ("-1000.00,0.02", "-1000.00,0.02"),
            ("-1+1,2", "'-1+1,2"),
            ("a=1", "a=1"),
        ] {
            assert_eq!(csv_cell(text), cell);
        }
    }
}
