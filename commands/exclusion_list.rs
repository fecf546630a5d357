//! `exclusion-list`: what Cuebot must be told, and whether it was.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use cue_scheduler::ops::handover::{
    Booker, Coverage, EXCLUSION_LIST, ExclusionList, Finding, Gap, NotExpressed, Properties, ShowFlags,
    TURN_OFF_BOOKING, check_flags, check_list, not_expressed,
};
use cue_scheduler::ops::{read_file, replace_file};
use cue_scheduler::units::counted;
use dialoguer::Confirm;
use dialoguer::console::Term;
use serde::Serialize;
use tokio::signal::unix::SignalKind;

use crate::cli::{ExclusionListArgs, OutputFormat};
use crate::failure::{FAILED, UsageError};
use crate::farm_view::{connect, name_left_out};
use crate::listing::{Column, table};
use crate::output::{OutputError, Printer};
use crate::selection;
use crate::settings::RunSettings;
use crate::signals::hear;

/// What gets past the list, whatever it says.
const LIST_LEAKS: &str = "\
the list keeps Cuebot only from looking for jobs of a show for a host;
past it, Cuebot still
  - feeds the next frame of the same job to procs that this scheduler booked
  - books for a host's deed, for redirects, and for \"unbook and book\"
  - books local work";
/// And past the flag.
const FLAG_LEAKS: &str = "\
past the flag, Cuebot still books local work; Cuebots without a planner
of their own also book flagged shows for a host's deed and for redirects";
const READ_AT_START: &str = "\
each Cuebot reads its properties only when it starts:
change those of all Cuebots, and restart all";
/// Unchanged lines shown around a change.
const CONTEXT: usize = 3;

/// What decides who books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mechanism {
    ExclusionList,
    SchedulerFlag,
}

/// The farm and our clusters in it.
struct Farm {
    mechanism: Mechanism,
    coverage: Coverage,
}

pub(crate) async fn run(settings: RunSettings, args: ExclusionListArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let farm = read_farm(&settings, printer).await?;
    let ExclusionListArgs { check, update, full_migration, yes } = args;
    if let Some(file) = check {
        return check_file(&farm, file.as_deref(), printer);
    }
    if let Some(file) = update {
        return update_file(&farm, &file, yes, printer);
    }
    if full_migration {
        return print_full_migration(&farm, printer);
    }
    match farm.mechanism {
        Mechanism::ExclusionList => print_list(&farm, printer)?,
        Mechanism::SchedulerFlag => print_flags(&farm, printer)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn read_farm(settings: &RunSettings, printer: Printer) -> anyhow::Result<Farm> {
    let store = connect(settings, printer).await?;
    let rows = selection::load_rows(&store).await?;
    let clusters = selection::select(&rows, &settings.loaded.config)?;
    let asked = store.load_asked_tags().await.context("Failed to read what layers ask for")?;
    let mechanism =
        if store.features().has_scheduler_managed { Mechanism::SchedulerFlag } else { Mechanism::ExclusionList };
    store.close().await;
    name_left_out(&rows.left_out, printer);
    if clusters.is_empty() {
        printer.warning("this configuration has no cluster here");
    }
    Ok(Farm { mechanism, coverage: Coverage { clusters, rows, asked } })
}

/// The list for these clusters, and what is to be said beside it.
#[derive(Serialize)]
struct ListDocument {
    mechanism: Mechanism,
    property: &'static str,
    value: String,
    entries: Vec<String>,
    not_expressed: Vec<NotExpressed>,
    /// What nobody would book once the list is in force: Cuebot leaves a pair of show and allocation alone
    /// as a whole, not only the tags that clusters have.
    left_out: Vec<Gap>,
}

impl ListDocument {
    fn of(farm: &Farm) -> Self {
        let list = ExclusionList::of(&farm.coverage.clusters);
        let mut left_out = farm.coverage.gaps(|_| true);
        left_out.retain(|gap| list.excludes(&gap.show, &gap.allocation));
        Self {
            mechanism: farm.mechanism,
            property: EXCLUSION_LIST,
            value: list.to_string(),
            entries: list.entries().map(str::to_owned).collect(),
            not_expressed: not_expressed(&list, &farm.coverage),
            left_out,
        }
    }

    fn warn(&self, printer: Printer) {
        warn_of_not_expressed(&self.not_expressed, printer);
        warn_with("the list keeps Cuebot from work that no cluster serves:", &self.left_out, gap_line, printer);
        printer.warning(LIST_LEAKS);
        printer.warning(READ_AT_START);
    }
}

fn print_list(farm: &Farm, printer: Printer) -> Result<(), OutputError> {
    let list = ListDocument::of(farm);
    printer.list_or(&[Column::text("ENTRY", String::clone)], &list.entries, &list, || {
        printer.data(format_args!("{EXCLUSION_LIST}={}", list.value))
    })?;
    list.warn(printer);
    Ok(())
}

fn warn_of_not_expressed(rows: &[NotExpressed], printer: Printer) {
    let line = |NotExpressed { cluster, kind, still_booked_on }: &NotExpressed| match still_booked_on.as_slice() {
        [] => format!("{cluster} ({kind}): nowhere, all excluded"),
        places => format!("{cluster} ({kind}): on {}", places.join(", ")),
    };
    warn_with("the list cannot name these clusters; Cuebot goes on booking their work:", rows, line, printer);
}

/// A warning with a line for each of what it is about, or nothing where there is none.
fn warn_with<T>(head: &str, all: &[T], line: impl Fn(&T) -> String, printer: Printer) {
    if !all.is_empty() {
        let lines: Vec<String> = all.iter().map(line).collect();
        printer.warning(format_args!("{head}\n  {}", lines.join("\n  ")));
    }
}

fn gap_line(gap: &Gap) -> String {
    format!("{}:{}: {gap}", gap.show, gap.allocation)
}

#[derive(Serialize)]
struct FlagDocument<'d> {
    mechanism: Mechanism,
    commands: &'d [String],
    #[serde(flatten)]
    flags: &'d ShowFlags,
    /// Work of flagged shows, and of those to be flagged, that nobody would book.
    left_out: &'d [Gap],
}

fn print_flags(farm: &Farm, printer: Printer) -> Result<(), OutputError> {
    let flags = ShowFlags::of(&farm.coverage);
    let is_ours = |name: &String| flags.to_flag.contains(name) || flags.served.contains(name);
    let left_out = farm.coverage.gaps(|show| is_ours(&show.name));
    let commands = flags.commands();
    let document = FlagDocument { mechanism: farm.mechanism, commands: &commands, flags: &flags, left_out: &left_out };
    printer.list_or(&[Column::text("SHOW", String::clone)], &flags.to_flag, &document, || {
        commands.iter().try_for_each(|command| printer.data(command))
    })?;
    printer.warning(format_args!(
        "the shows of this database carry a scheduler flag, and a Cuebot that knows it ignores {EXCLUSION_LIST}"
    ));
    if flags.to_flag.is_empty() {
        printer.note("every show of these clusters is flagged; there is nothing to run");
    }
    if !flags.served.is_empty() {
        printer.note(format_args!("flagged and served: {}", flags.served.join(", ")));
    }
    if !flags.stranded.is_empty() {
        printer.warning(format_args!("flagged and served by no cluster, would strand: {}", flags.stranded.join(", ")));
    }
    let head = "the flag is for a whole show; of these shows no cluster serves, and nobody would book:";
    warn_with(head, &left_out, gap_line, printer);
    printer.warning(FLAG_LEAKS);
    Ok(())
}

#[derive(Serialize)]
struct CheckDocument<'d> {
    mechanism: Mechanism,
    findings: &'d [Finding],
}

fn check_file(farm: &Farm, file: Option<&Path>, printer: Printer) -> anyhow::Result<ExitCode> {
    let properties = file.map(read).transpose()?;
    let is_off = properties.as_ref().is_some_and(is_booking_off);
    let findings = match farm.mechanism {
        Mechanism::SchedulerFlag => {
            if properties.as_ref().and_then(|properties| properties.get(EXCLUSION_LIST)).is_some() {
                printer.warning(format_args!(
                    "{EXCLUSION_LIST} in the file has no effect on a Cuebot that knows the shows' scheduler flag"
                ));
            }
            check_flags(&ShowFlags::of(&farm.coverage), &farm.coverage)
        }
        Mechanism::ExclusionList => {
            let Some(properties) = &properties else { bail!(UsageError::NoFileToCheck) };
            let list = ExclusionList::parse(properties.get(EXCLUSION_LIST).unwrap_or_default());
            warn_of_file(farm, properties, &list, printer);
            let mut not_expressed = not_expressed(&list, &farm.coverage);
            not_expressed.retain(|row| !is_off && row.kind != "alloc" && !row.still_booked_on.is_empty());
            warn_of_not_expressed(&not_expressed, printer);
            check_list(&list, is_off, &farm.coverage)
        }
    };
    if matches!(printer.format, OutputFormat::Table | OutputFormat::Wide) && findings.is_empty() {
        printer.note("the clusters of this configuration and what Cuebot is told agree");
        return Ok(ExitCode::SUCCESS);
    }
    let columns = [
        Column::text("NAME", Finding::name),
        Column::text("BOOKED BY", |finding: &Finding| finding.booked_by.into_str().to_owned()),
        Column::text("WHY", |finding: &Finding| finding.why.clone()),
    ];
    printer.list(&columns, &findings, &CheckDocument { mechanism: farm.mechanism, findings: &findings })?;
    if findings.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let harm = |booker| findings.iter().filter(|finding| finding.booked_by == booker).count();
    let (both, neither) = (harm(Booker::Both), harm(Booker::Neither));
    printer.error(format_args!("booked by both: {both}; booked by neither: {neither}"));
    Ok(ExitCode::from(FAILED))
}

/// What is odd about a file and no harm by itself.
fn warn_of_file(farm: &Farm, properties: &Properties, list: &ExclusionList, printer: Printer) {
    let lines: Vec<String> = properties.lines(EXCLUSION_LIST).iter().map(ToString::to_string).collect();
    if lines.len() > 1 {
        printer.warning(format_args!("{EXCLUSION_LIST} stands on lines {}; only the last counts", lines.join(", ")));
    }
    if properties.get(EXCLUSION_LIST).is_some_and(|value| value.contains("${")) {
        printer.warning(format_args!("{EXCLUSION_LIST} has a placeholder, which is compared as it stands"));
    }
    if is_booking_off(properties) {
        printer.warning(format_args!(
            "{TURN_OFF_BOOKING} is set, so that this Cuebot books no host whatever the list says"
        ));
    }
    let rows = &farm.coverage.rows;
    let shows = || rows.shows.iter().map(|show| &show.name);
    let allocs: Vec<&str> = rows.allocs.iter().filter_map(|row| Some(row.alloc.as_ref()?.1.as_str())).collect();
    for entry in list.entries() {
        let alloc_of = |show: &String| entry.strip_prefix(show.as_str())?.strip_prefix(':');
        if shows().any(|show| show == entry) {
            printer.warning(format_args!(
                "{entry} stands for all its allocations, which Cuebots before February 2026 do not know"
            ));
        } else if !shows().filter_map(alloc_of).any(|alloc| allocs.contains(&alloc)) {
            printer.warning(format_args!("{entry} names no show and allocation of this database"));
        }
    }
}

/// As Cuebot's framework reads a switch.
fn is_booking_off(properties: &Properties) -> bool {
    let value = properties.get(TURN_OFF_BOOKING).unwrap_or_default().trim().to_lowercase();
    ["true", "on", "yes", "1"].contains(&value.as_str())
}

#[derive(Serialize)]
struct UpdateDocument<'d> {
    file: String,
    property: &'static str,
    /// `null`: it was not there.
    old_value: Option<&'d str>,
    new_value: String,
    is_changed: bool,
}

fn update_file(farm: &Farm, file: &Path, may_change: bool, printer: Printer) -> anyhow::Result<ExitCode> {
    if farm.mechanism == Mechanism::SchedulerFlag {
        bail!(
            "a Cuebot that knows the shows' scheduler flag ignores {EXCLUSION_LIST}: {} was left as it is, and \
               `cue-scheduler exclusion-list` says what to run instead",
            file.display()
        );
    }
    let properties = read(file)?;
    let list = ListDocument::of(farm);
    list.warn(printer);
    let value = list.value;
    let is_changed = properties.get(EXCLUSION_LIST) != Some(&value);
    let new = if is_changed { properties.with(EXCLUSION_LIST, &value) } else { properties.bytes().to_vec() };
    let document = UpdateDocument {
        file: file.display().to_string(),
        property: EXCLUSION_LIST,
        old_value: properties.get(EXCLUSION_LIST),
        new_value: value,
        is_changed,
    };
    if printer.is_for_programs() {
        printer.document(&document)?;
    } else if is_changed {
        printer.data(difference(&document.file, properties.bytes(), &new).trim_end())?;
    }
    if !is_changed {
        printer.note(format_args!("{} says so already and was left as it is", document.file));
        return Ok(ExitCode::SUCCESS);
    }
    if !may_change && !ask(format!("Change {EXCLUSION_LIST} in {}?", document.file))? {
        printer.note(format_args!("{} was left as it is", document.file));
        return Ok(ExitCode::from(FAILED));
    }
    replace_file(file, properties.bytes(), &new)?;
    printer.note(format_args!("changed {}", document.file));
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> anyhow::Result<Properties> {
    let bytes = read_file(file)?;
    Properties::parse(bytes).with_context(|| format!("{} is no properties file that Java could load", file.display()))
}

/// Return alone, and Ctrl-C, count as no.
fn ask(question: String) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        bail!(UsageError::NobodyToAsk);
    }
    // Otherwise Ctrl-C would end the process while the cursor is hidden.
    let _interrupts = hear(SignalKind::interrupt())?;
    let terminal = Term::stderr();
    match Confirm::new().with_prompt(question).default(false).interact_on(&terminal) {
        Ok(answer) => Ok(answer),
        Err(error) => {
            let _ = terminal.show_cursor().and_then(|()| terminal.write_line(""));
            let dialoguer::Error::IO(cause) = &error;
            if cause.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error).context("cannot ask") }
        }
    }
}

/// The changed lines with those around them, as `diff -u` shows them.
fn difference(name: &str, old: &[u8], new: &[u8]) -> String {
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).split_inclusive('\n').map(shown).collect::<Vec<_>>();
    let (old, new) = (lines(old), lines(new));
    let head = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(old, new)| old == new).count();
    let from = head.saturating_sub(CONTEXT);
    let until = |lines: &[String]| (lines.len() - tail + CONTEXT).min(lines.len());
    let range = |lines: &[String]| format!("{},{}", if lines.is_empty() { 0 } else { from + 1 }, until(lines) - from);
    let (taken, given) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let parts = [(' ', &old[from..head]), ('-', taken), ('+', given), (' ', &old[old.len() - tail..until(&old)])];
    let lines = parts.iter().flat_map(|(sign, lines)| lines.iter().map(move |line| format!("{sign}{line}\n")));
    format!("--- {name}\n+++ {name}\n@@ -{} +{} @@\n{}", range(&old), range(&new), lines.collect::<String>())
}

/// A line without its end, and nothing in it that would move a terminal.
fn shown(line: &str) -> String {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    line.chars().map(|letter| if letter.is_control() && letter != '\t' { '\u{fffd}' } else { letter }).collect()
}

#[derive(Serialize)]
struct MigrationDocument<'d> {
    property: &'static str,
    value: &'static str,
    is_refused: bool,
    /// What nobody would book any more.
    left_out: &'d [Gap],
}

fn print_full_migration(farm: &Farm, printer: Printer) -> anyhow::Result<ExitCode> {
    let left_out = farm.coverage.gaps(|show| show.has_pending_jobs);
    let is_refused = !left_out.is_empty();
    if printer.is_for_programs() {
        let document = MigrationDocument { property: TURN_OFF_BOOKING, value: "true", is_refused, left_out: &left_out };
        printer.document(&document)?;
    } else if !is_refused {
        printer.data(format_args!("{TURN_OFF_BOOKING}=true"))?;
    }
    if is_refused {
        // Not on standard output, which may be written into a properties file.
        let columns = [
            Column::text("NAME", |gap: &Gap| format!("{}:{}", gap.show, gap.allocation)),
            Column::text("WHY", ToString::to_string),
        ];
        printer.error(format_args!(
            "refused: without Cuebot's booking nobody would book {} of show and allocation\n{}",
            counted(left_out.len(), "pair"),
            table(&columns, &left_out, false)
        ));
        return Ok(ExitCode::from(FAILED));
    }
    if farm.mechanism == Mechanism::SchedulerFlag {
        let commands = ShowFlags::of(&farm.coverage).commands();
        if !commands.is_empty() {
            printer.warning(format_args!(
                "flag the shows too; the flag alone keeps Cuebot from redirects and the next frame on a proc:\n  {}",
                commands.join("\n  ")
            ));
        }
    } else {
        printer.warning("Cuebot still feeds the next frame of the same job to procs that this scheduler booked");
    }
    printer.warning(READ_AT_START);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_changes_and_a_little_around_it() {
        let old = b"1\r\n2\n3\n4\nlist=a\n5\n6\n7\n8\n";
        let new = b"1\r\n2\n3\n4\nlist=b\n5\n6\n7\n8\n";
        let text = "--- f\n+++ f\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-list=a\n+list=b\n 5\n 6\n 7\n";
        assert_eq!(difference("f", old, new), text);
        assert_eq!(difference("f", b"", b"a\n"), "--- f\n+++ f\n@@ -0,0 +1,1 @@\n+a\n");
        assert_eq!(difference("f", b"\x1b[2J", b"\x1b[2J\na\n"), "--- f\n+++ f\n@@ -1,1 +1,2 @@\n \u{fffd}[2J\n+a\n");
    }
}
