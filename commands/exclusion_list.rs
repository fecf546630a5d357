//! `exclusion-list`: what Cuebot must be told, and whether it was.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use cue_scheduler::ops::handover::{
    Booker, Coverage, CuebotSettings, EXCLUSION_LIST, ExclusionList, Finding, Gap, NotExpressed, Properties, ShowFlags,
    TURN_OFF_BOOKING, Told, check, not_expressed,
};
use cue_scheduler::ops::{read_file, replace_file};
use cue_scheduler::text::cleaned_lines;
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
use crate::uncommon_work::UncommonWork;

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
/// What no check of one Cuebot's settings sees.
const LIST_UNSEEN: &str = "\
not seen by this: other Cuebots, whether each was started again since its settings changed, and what Cuebot
books past the list: next frames on procs that it feeds, hosts' deeds, redirects, local work";
const FLAGS_UNSEEN: &str = "\
not seen by this: other Cuebots and their settings (a planner of their own, booking turned off), whether each
has noticed the flags (up to 30 s), and what Cuebot books past them, such as local work";
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
    /// Cuebot's own planner is active on this database.
    has_planner: bool,
    uncommon: UncommonWork,
}

pub(crate) async fn run(settings: RunSettings, args: ExclusionListArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let farm = read_farm(&settings, printer).await?;
    let ExclusionListArgs { check, options, property, update, full_migration, yes } = args;
    if let Some(file) = check {
        return check_cuebot(&farm, &read_cuebot(file.as_deref(), &options, &property)?, printer);
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
    let has_planner = store.foreign_planner_active().await.context("Failed to look for Cuebot's own planner")?;
    let uncommon = UncommonWork::load(&store, &clusters).await?;
    store.close().await;
    name_left_out(&rows.left_out, printer);
    if clusters.is_empty() {
        printer.warning("this configuration has no cluster here");
    }
    Ok(Farm { mechanism, coverage: Coverage { clusters, rows, asked }, has_planner, uncommon })
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
        printer.warning_text(LIST_LEAKS);
        printer.warning_text(READ_AT_START);
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
    let line = |row: &&NotExpressed| format!("{} ({}): on {}", row.cluster, row.kind, row.still_booked_on.join(", "));
    // Where other clusters' entries exclude all their work there is nothing to be said of them.
    let booked: Vec<&NotExpressed> = rows.iter().filter(|row| !row.still_booked_on.is_empty()).collect();
    warn_with("the list cannot name these clusters; Cuebot goes on booking their work:", &booked, line, printer);
}

/// A warning with a line for each of what it is about, or nothing where there is none.
fn warn_with<T>(head: &str, all: &[T], line: impl Fn(&T) -> String, printer: Printer) {
    if !all.is_empty() {
        printer.warning_with(head, &all.iter().map(line).collect::<Vec<_>>());
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
    printer.warning_text(FLAG_LEAKS);
    Ok(())
}

#[derive(Serialize)]
struct CheckDocument<'d> {
    mechanism: Mechanism,
    findings: &'d [Finding],
}

/// What a Cuebot is told, and how much of that is known.
struct Cuebot {
    file: Option<Properties>,
    settings: CuebotSettings,
    is_line_known: bool,
}

fn read_cuebot(file: Option<&Path>, options: &[PathBuf], properties: &[String]) -> anyhow::Result<Cuebot> {
    let file = file.map(read).transpose()?;
    let mut settings = CuebotSettings::new(file.clone());
    for path in options {
        let bytes = read_file(path)?;
        let text = String::from_utf8_lossy(&bytes);
        settings.add_options(&text).with_context(|| format!("{} cannot be Cuebot's environment", path.display()))?;
    }
    for property in properties {
        settings.add_property(property).context("--property")?;
    }
    Ok(Cuebot { file, settings, is_line_known: !options.is_empty() || !properties.is_empty() })
}

fn check_cuebot(farm: &Farm, cuebot: &Cuebot, printer: Printer) -> anyhow::Result<ExitCode> {
    farm.uncommon.warn(printer);
    let told = told(farm, cuebot, printer)?;
    let findings = check(&told, &farm.coverage);
    let is_read = matches!(printer.format, OutputFormat::Table | OutputFormat::Wide);
    if is_read {
        let flags_decide = farm.mechanism == Mechanism::SchedulerFlag;
        printer.note(if flags_decide { FLAGS_UNSEEN } else { LIST_UNSEEN });
    }
    if is_read && findings.is_empty() {
        printer.note("the clusters of this configuration and what Cuebot is told agree");
        return Ok(ExitCode::SUCCESS);
    }
    let columns = [
        Column::text("NAME", Finding::name),
        Column::text("BOOKED BY", |finding: &Finding| finding.booked_by.into_str().to_owned()),
        Column::prose("WHY", |finding: &Finding| finding.why.clone()),
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

/// What decides, with warnings of what is odd about it and no harm by itself.
fn told(farm: &Farm, cuebot: &Cuebot, printer: Printer) -> anyhow::Result<Told> {
    let Cuebot { file, settings, is_line_known } = cuebot;
    let flags_decide = farm.mechanism == Mechanism::SchedulerFlag;
    if !flags_decide && file.is_none() && !is_line_known {
        bail!(UsageError::NoFileToCheck);
    }
    if file.is_some() && !is_line_known {
        printer.warning(
            "Cuebot's command line, SPRING_APPLICATION_JSON and variables win over its file and were not given; \
             --options FILE and --property KEY=VALUE add them",
        );
    }
    settings.oddities().iter().for_each(|odd| printer.warning(odd));
    let is_off = settings.is_booking_off()?;
    if farm.has_planner || (flags_decide && settings.has_planner()) {
        printer.warning(
            "Cuebot's own planner is active: `run` books nothing beside it unless scheduler.beside_maestro says book",
        );
        return Ok(Told::Planner);
    }
    if is_off {
        let whatever = if flags_decide { "flags say" } else { "list says" };
        printer.warning(format_args!(
            "{TURN_OFF_BOOKING} is set, so that this Cuebot books no host whatever the {whatever}"
        ));
    }
    let list = settings.get(EXCLUSION_LIST);
    if flags_decide {
        if let Some((_, place)) = list {
            printer.warning(format_args!(
                "{EXCLUSION_LIST} ({place}) has no effect on a Cuebot that knows the shows' scheduler flag"
            ));
        }
        return Ok(if is_off { Told::BookingOff } else { Told::Flags });
    }
    let value = list.map(|(value, _)| value).unwrap_or_default();
    let list = ExclusionList::parse(&value);
    if let Some(file) = file {
        let lines: Vec<String> = file.lines(EXCLUSION_LIST).iter().map(ToString::to_string).collect();
        if lines.len() > 1 {
            printer
                .warning(format_args!("{EXCLUSION_LIST} stands on lines {}; only the last counts", lines.join(", ")));
        }
    }
    warn_of_list(farm, &value, &list, printer);
    if is_off {
        return Ok(Told::BookingOff);
    }
    let mut not_expressed = not_expressed(&list, &farm.coverage);
    not_expressed.retain(|row| row.kind != "alloc");
    warn_of_not_expressed(&not_expressed, printer);
    Ok(Told::List(list))
}

fn warn_of_list(farm: &Farm, value: &str, list: &ExclusionList, printer: Printer) {
    if value.contains("${") {
        printer.warning(format_args!("{EXCLUSION_LIST} has a placeholder, which is compared as it stands"));
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
        printer.block(difference(&document.file, properties.bytes(), &new).trim_end())?;
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

/// A line without its end, and nothing in it that a terminal would obey.
fn shown(line: &str) -> String {
    let line = line.strip_suffix('\n').unwrap_or(line);
    cleaned_lines(line.strip_suffix('\r').unwrap_or(line))
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
            Column::prose("WHY", ToString::to_string),
        ];
        printer.error_lines(&format!(
            "refused: without Cuebot's booking nobody would book {} of show and allocation\n{}",
            counted(left_out.len(), "pair"),
            table(&columns, &left_out, printer)
        ));
        return Ok(ExitCode::from(FAILED));
    }
    if farm.mechanism == Mechanism::SchedulerFlag {
        let commands = ShowFlags::of(&farm.coverage).commands();
        if !commands.is_empty() {
            let line = "flag the shows too; the flag alone keeps Cuebot from redirects and the next frame on a proc:";
            printer.warning_with(line, &commands);
        }
    } else {
        printer.warning("Cuebot still feeds the next frame of the same job to procs that this scheduler booked");
    }
    printer.warning_text(READ_AT_START);
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
        assert_eq!(difference("f", b"\x1b[2J", b"\x1b[2J\na\n"), "--- f\n+++ f\n@@ -1,1 +1,2 @@\n \\u{1b}[2J\n+a\n");
    }
}
