//! `config check` and `config show`: the settings as `run` would take them.

use std::process::ExitCode;

use cue_scheduler::config::{Config, Loaded, VARIABLE_PREFIX, Version, keys};
use serde::Serialize;

use crate::listing::Column;
use crate::output::Printer;

/// The settings were loaded, so what is left to say is what has no effect.
pub(crate) fn check(loaded: &Loaded, printer: Printer) -> ExitCode {
    printer.warnings(&loaded.warnings);
    printer.warn_of_exposed(loaded);
    let changed = loaded.changed_defaults();
    if !changed.is_empty() {
        let line = format_args!(
            "defaults have changed since the version for which these settings were written; `written_for: {}` says \
             that they may:",
            Version::CURRENT
        );
        printer.warning_with(line, &changed);
    }
    match &loaded.file {
        Some(file) => printer.note(format_args!("{} is right", file.display())),
        None => printer.note("no file was found, and environment and flags are right"),
    }
    printer.note(format_args!("{}", who_reaches_the_pages(&loaded.config)));
    ExitCode::SUCCESS
}

/// The pages have no password: whoever reaches them reads them.
fn who_reaches_the_pages(config: &Config) -> String {
    let (address, port) = (config.queue.metrics_address, config.queue.metrics_port);
    let who = if address.to_canonical().is_loopback() {
        "who is on this machine only".to_owned()
    } else if address.is_unspecified() {
        "anybody who reaches this machine".to_owned()
    } else {
        format!("anybody who reaches {address}")
    };
    format!("the metrics and health pages on port {port} are for {who} (queue.metrics_address)")
}

/// A setting in effect.
#[derive(Serialize)]
struct Row {
    key: &'static str,
    /// As it could be written in an environment variable; empty for none, `***` for a secret.
    value: String,
    /// `default`, `line N` of the file, or the name of a variable or flag.
    origin: String,
    /// The variable that would set it.
    variable: String,
    #[serde(skip)]
    is_fixed: bool,
}

impl Row {
    /// The name of the variable is the longer form of the key; that there is one says it all.
    fn origin_in_short(&self) -> String {
        let is_variable = self.origin.starts_with(VARIABLE_PREFIX);
        if is_variable { "environment".to_owned() } else { self.origin.clone() }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    file: Option<String>,
    settings: &'a [Row],
}

pub(crate) fn show(loaded: &Loaded, printer: Printer) -> anyhow::Result<ExitCode> {
    printer.warnings(&loaded.warnings);
    let rows: Vec<Row> = keys()
        .iter()
        .map(|key| Row {
            key: key.path,
            value: key.value(&loaded.config),
            origin: loaded.origins.of(key).to_string(),
            variable: key.variable(),
            is_fixed: key.is_fixed,
        })
        .collect();
    let columns = [
        Column::text("KEY", |row: &Row| row.key.to_owned()),
        Column::prose("VALUE", |row: &Row| row.value.clone()),
        Column::text("ORIGIN", |row: &Row| row.origin_in_short()),
        Column::text("VARIABLE", |row: &Row| row.variable.clone()).wide(),
        Column::text("WHILE RUNNING", |row: &Row| if row.is_fixed { "fixed" } else { "could change" }.to_owned())
            .wide(),
    ];
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    match &file {
        Some(file) => printer.note(format_args!("from {file}, the environment and the flags")),
        None => printer.note("no file was found"),
    }
    printer.list(&columns, &rows, &Document { file, settings: &rows })?;
    Ok(ExitCode::SUCCESS)
}
