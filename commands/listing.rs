//! Lists and documents in every form that `--output` knows.
//!
//! Data goes to standard output. JSON and YAML carry every field of the row under its documented name,
//! whatever the table shows; CSV carries the columns of the wide table.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use cue_scheduler::scheduler::ReasonRow;
use serde::Serialize;

use crate::cli::OutputFormat;
use crate::output::{OutputError, Printer};

/// Where no terminal says otherwise.
const WIDTH: u16 = 80;

/// One column of a list. The first of a list names its rows.
pub(crate) struct Column<R> {
    /// In capitals, as the header shows it.
    pub(crate) name: &'static str,
    /// Only with `--output wide` and in CSV.
    pub(crate) is_wide: bool,
    /// Aligned to the right.
    pub(crate) is_number: bool,
    /// Never broken into lines, as others are when the terminal is narrow.
    pub(crate) is_whole: bool,
    pub(crate) value: fn(&R) -> String,
}

impl<R> Column<R> {
    pub(crate) const fn text(name: &'static str, value: fn(&R) -> String) -> Self {
        Self { name, is_wide: false, is_number: false, is_whole: false, value }
    }

    pub(crate) const fn number(name: &'static str, value: fn(&R) -> String) -> Self {
        Self { name, is_wide: false, is_number: true, is_whole: false, value }
    }

    pub(crate) const fn whole(mut self) -> Self {
        self.is_whole = true;
        self
    }

    pub(crate) const fn wide(mut self) -> Self {
        self.is_wide = true;
        self
    }
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
        self.list_or(columns, rows, json, || self.data(table(columns, rows, self.is_wide())))
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
            OutputFormat::Csv => self.data(csv(columns, rows)?.trim_end()),
            OutputFormat::Name => {
                let Some(name) = columns.first() else { return Ok(()) };
                rows.iter().try_for_each(|row| self.data((name.value)(row)))
            }
            OutputFormat::Json | OutputFormat::Yaml => self.document(json),
        }
    }

    /// Prints a document as JSON, or as YAML where that was asked for.
    pub(crate) fn document(self, document: &(impl Serialize + ?Sized)) -> Result<(), OutputError> {
        let text = match self.format {
            OutputFormat::Yaml => serde_yaml::to_string(document).map_err(io::Error::other),
            _ => serde_json::to_string_pretty(document).map_err(io::Error::other),
        };
        self.data(text.map_err(OutputError::Write)?.trim_end())
    }
}

/// What waits, by reason.
pub(crate) fn reason_columns() -> [Column<ReasonRow>; 4] {
    [
        Column::text("REASON", |row: &ReasonRow| row.reason.into_str().to_owned()),
        Column::number("LAYERS", |row| row.layers.to_string()),
        Column::number("FRAMES", |row| row.frames.to_string()),
        Column::text("MEANING", |row| row.reason.sentence().to_owned()),
    ]
}

/// Writes a document into a file as JSON.
pub(crate) fn write_json(path: &Path, document: &impl Serialize) -> io::Result<()> {
    std::fs::write(path, serde_json::to_string_pretty(document)? + "\n")
}

/// A table without borders that fits the terminal; long cells go on in the next line.
pub(crate) fn table<R>(columns: &[Column<R>], rows: &[R], is_wide: bool) -> String {
    let columns: Vec<&Column<R>> = columns.iter().filter(|column| is_wide || !column.is_wide).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|column| column.name));
    if !is_wide {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        if !io::stdout().is_terminal() {
            table.set_width(WIDTH);
        }
    }
    for row in rows {
        table.add_row(columns.iter().map(|column| (column.value)(row)));
    }
    for (column, of) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        if of.is_number {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if of.is_whole {
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
        writer.write_record(columns.iter().map(|column| (column.value)(row))).map_err(unwritable)?;
    }
    let bytes = writer.into_inner().map_err(|error| OutputError::Write(error.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
        assert_eq!(table(&columns(), &rows, false), "NAME     HOSTS\ngeneral      7\na         1200");
        assert!(table(&columns(), &rows, true).contains("id-general"));
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let text = csv(&columns(), &[("a,b", 1)]).expect("memory takes it");
        assert_eq!(text, "name,hosts,id\n\"a,b\",1,\"id-a,b\"\n");
    }
}
