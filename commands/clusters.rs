//! `clusters`: what this configuration selects, and how it stands.

use std::process::ExitCode;

use anyhow::Context as _;
use cue_scheduler::clusters::{AllocationOverview, ClusterOverview, WaitingByReason, named, overview};
use cue_scheduler::model::Timestamp;
use cue_scheduler::scheduler;
use time::format_description::well_known::Rfc3339;

use crate::cli::{ClustersCommand, OutputFormat};
use crate::farm_view::{FarmView, name_left_out};
use crate::listing::{Column, print_document, print_list, short_age, table};
use crate::output::{OutputError, Printer};
use crate::plan::count;
use crate::settings::RunSettings;

/// Where a long list goes on in the next line.
const LINE_MAX: usize = 80;
/// Before the values of one cluster.
const INDENT: usize = 12;

pub(crate) async fn run(
    settings: RunSettings,
    command: ClustersCommand,
    format: OutputFormat,
    printer: Printer,
) -> anyhow::Result<ExitCode> {
    let farm = FarmView::open(&settings, printer).await?;
    let wanted = match &command {
        ClustersCommand::List => None,
        ClustersCommand::Show { name } => Some(named(&farm.clusters, name)?),
    };
    let snapshot = farm.store.load_snapshot(&farm.clusters, &farm.settings.snapshot_options()).await;
    let snapshot = snapshot.context("Failed to read the farm")?;
    name_left_out(&snapshot.left_out, printer);
    let seen = scheduler::see(&farm.store, snapshot, &farm.settings.policy).await.context("Failed to read the farm")?;
    let (snapshot, plan) = (seen.snapshot, seen.plan);
    let last = farm.store.load_last_dispatches(&farm.clusters).await.context("Failed to read the last bookings")?;
    farm.store.close().await;
    let clusters = overview(&snapshot, &plan, &last);
    match wanted {
        None => print_all(&clusters, snapshot.taken_at, format, printer)?,
        Some(position) => print_one(&clusters[position], snapshot.taken_at, format, printer)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A cluster and the database's clock.
struct Row<'c> {
    cluster: &'c ClusterOverview,
    taken_at: Timestamp,
}

fn print_all(
    clusters: &[ClusterOverview],
    taken_at: Timestamp,
    format: OutputFormat,
    printer: Printer,
) -> Result<(), OutputError> {
    if clusters.is_empty() {
        printer.note("no cluster: no show that is this scheduler's subscribes to an allocation here");
        if matches!(format, OutputFormat::Table | OutputFormat::Wide) {
            return Ok(());
        }
    }
    let rows: Vec<Row<'_>> = clusters.iter().map(|cluster| Row { cluster, taken_at }).collect();
    print_list(printer, format, &columns(format), &rows, clusters)
}

fn columns<'c>(format: OutputFormat) -> Vec<Column<Row<'c>>> {
    if format == OutputFormat::Table { short_columns() } else { all_columns() }
}

/// What fits a terminal, two figures to a column.
fn short_columns<'c>() -> Vec<Column<Row<'c>>> {
    vec![
        Column::text("NAME", |row: &Row<'_>| row.cluster.name.clone()).whole(),
        Column::text("KIND", |row: &Row<'_>| row.cluster.kind.to_owned()).whole(),
        Column::number("UP", |row: &Row<'_>| format!("{}/{}", row.cluster.hosts_up, row.cluster.hosts)).whole(),
        Column::number("CORES", |row: &Row<'_>| format!("{}/{}", row.cluster.idle_cores, row.cluster.total_cores))
            .whole(),
        Column::number("GPUS", |row: &Row<'_>| format!("{}/{}", row.cluster.idle_gpus, row.cluster.total_gpus)).whole(),
        Column::number("WAITING", |row: &Row<'_>| {
            format!("{}/{}", row.cluster.waiting_layers, row.cluster.waiting_frames)
        })
        .whole(),
        Column::number("LAST", age).whole(),
    ]
}

fn all_columns<'c>() -> Vec<Column<Row<'c>>> {
    vec![
        Column::text("NAME", |row: &Row<'_>| row.cluster.name.clone()),
        Column::text("FACILITY", |row| row.cluster.facility.clone()),
        Column::text("SHOW", |row| row.cluster.show.clone()),
        Column::text("KIND", |row| row.cluster.kind.to_owned()),
        Column::text("TAGS", |row| row.cluster.tags.join(",")),
        Column::number("HOSTS", |row| row.cluster.hosts.to_string()),
        Column::number("UP", |row| row.cluster.hosts_up.to_string()),
        Column::number("IDLE CORES", |row| row.cluster.idle_cores.to_string()),
        Column::number("CORES", |row| row.cluster.total_cores.to_string()),
        Column::number("IDLE GPUS", |row| row.cluster.idle_gpus.to_string()),
        Column::number("GPUS", |row| row.cluster.total_gpus.to_string()),
        Column::number("LAYERS", |row| row.cluster.waiting_layers.to_string()),
        Column::number("FRAMES", |row| row.cluster.waiting_frames.to_string()),
        Column::text("LAST", moment),
        Column::text("ALLOCATIONS", |row| each(row, |alloc| alloc.name.clone())),
        Column::text("TIER", |row| each(row, tier)),
        Column::text("SIZE", |row| each(row, size)),
        Column::text("BURST", |row| each(row, burst)),
        Column::text("FACILITY ID", |row| row.cluster.facility_id.clone()),
        Column::text("SHOW ID", |row| row.cluster.show_id.clone()),
        Column::text("ALLOCATION IDS", |row| each(row, |alloc| alloc.id.clone())),
    ]
}

/// One value for each allocation, in their order.
fn each(row: &Row<'_>, value: fn(&AllocationOverview) -> String) -> String {
    row.cluster.allocations.iter().map(value).collect::<Vec<_>>().join(",")
}

fn tier(alloc: &AllocationOverview) -> String {
    alloc.subscription.as_ref().map_or_else(nothing, |subscription| format!("{:.2}", subscription.tier))
}

fn size(alloc: &AllocationOverview) -> String {
    alloc.subscription.as_ref().map_or_else(nothing, |subscription| subscription.size_cores.to_string())
}

fn burst(alloc: &AllocationOverview) -> String {
    alloc.subscription.as_ref().map_or_else(nothing, |subscription| subscription.burst_cores.to_string())
}

fn nothing() -> String {
    "-".to_owned()
}

fn age(row: &Row<'_>) -> String {
    row.cluster.last_activity.map_or_else(nothing, |last| short_age((row.taken_at - last).whole_seconds()))
}

fn moment(row: &Row<'_>) -> String {
    let to_the_second = |last: Timestamp| last.replace_nanosecond(0).ok()?.format(&Rfc3339).ok();
    row.cluster.last_activity.and_then(to_the_second).unwrap_or_else(nothing)
}

fn print_one(
    cluster: &ClusterOverview,
    taken_at: Timestamp,
    format: OutputFormat,
    printer: Printer,
) -> Result<(), OutputError> {
    let row = Row { cluster, taken_at };
    match format {
        OutputFormat::Json | OutputFormat::Yaml => return print_document(printer, format, cluster),
        OutputFormat::Csv | OutputFormat::Name => {
            return print_list(printer, format, &columns(format), &[row], cluster);
        }
        OutputFormat::Table | OutputFormat::Wide => {}
    }
    let is_wide = format == OutputFormat::Wide;
    let with_id = |name: &str, id: &str| if is_wide { format!("{name} ({id})") } else { name.to_owned() };
    let values = [
        ("NAME", cluster.name.clone()),
        ("KIND", cluster.kind.to_owned()),
        ("FACILITY", with_id(&cluster.facility, &cluster.facility_id)),
        ("SHOW", with_id(&cluster.show, &cluster.show_id)),
        ("TAGS", cluster.tags.join(", ")),
        ("HOSTS", format!("{}, {} of them up", cluster.hosts, cluster.hosts_up)),
        ("CORES", format!("{} idle of {}", cluster.idle_cores, cluster.total_cores)),
        ("GPUS", format!("{} idle of {}", cluster.idle_gpus, cluster.total_gpus)),
        (
            "WAITING",
            format!(
                "{} of {}, of which {} would be placed now",
                count(cluster.waiting_frames, "frame"),
                count(cluster.waiting_layers, "layer"),
                cluster.placeable_frames
            ),
        ),
        (
            "LAST",
            if cluster.last_activity.is_some() { format!("{} ago, {}", age(&row), moment(&row)) } else { nothing() },
        ),
    ];
    for (name, value) in values {
        printer.data(labelled(name, &value))?;
    }
    let states: Vec<(&String, &u64)> = cluster.hosts_by_state.iter().collect();
    section(&state_columns(), &states, is_wide, printer)?;
    section(&allocation_columns(), &cluster.allocations, is_wide, printer)?;
    section(&reason_columns(), &cluster.waiting_by_reason, is_wide, printer)
}

/// An empty line and a table, or nothing where there are no rows.
fn section<R>(columns: &[Column<R>], rows: &[R], is_wide: bool, printer: Printer) -> Result<(), OutputError> {
    if rows.is_empty() {
        return Ok(());
    }
    printer.data("")?;
    printer.data(table(columns, rows, is_wide))
}

fn state_columns<'s>() -> [Column<(&'s String, &'s u64)>; 2] {
    [
        Column::text("HOST STATE", |row: &(&String, &u64)| row.0.clone()),
        Column::number("HOSTS", |row: &(&String, &u64)| row.1.to_string()),
    ]
}

fn allocation_columns() -> [Column<AllocationOverview>; 7] {
    let used = |alloc: &AllocationOverview| {
        alloc.subscription.as_ref().map_or_else(nothing, |subscription| subscription.used_cores.to_string())
    };
    let subscription = |alloc: &AllocationOverview| {
        alloc.subscription.as_ref().map_or_else(nothing, |subscription| subscription.id.clone())
    };
    [
        Column::text("ALLOCATION", |alloc: &AllocationOverview| alloc.name.clone()),
        Column::number("TIER", tier),
        Column::number("SIZE", size),
        Column::number("BURST", burst),
        Column::number("USED", used),
        Column::text("ID", |alloc: &AllocationOverview| alloc.id.clone()).wide(),
        Column::text("SUBSCRIPTION ID", subscription).wide(),
    ]
}

fn reason_columns() -> [Column<WaitingByReason>; 4] {
    [
        Column::text("REASON", |row: &WaitingByReason| row.reason.into_str().to_owned()),
        Column::number("LAYERS", |row: &WaitingByReason| row.layers.to_string()),
        Column::number("FRAMES", |row: &WaitingByReason| row.frames.to_string()),
        Column::text("MEANING", |row: &WaitingByReason| row.sentence.to_owned()),
    ]
}

/// A name and its value, broken at blanks where it is too long for a line.
fn labelled(name: &str, value: &str) -> String {
    let mut text = format!("{name:INDENT$}");
    let mut width = INDENT;
    for (position, word) in value.split(' ').enumerate() {
        let length = word.chars().count();
        if position > 0 && width + 1 + length > LINE_MAX {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', INDENT));
            width = INDENT;
        } else if position > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_go_on_below() {
        let text = labelled("TAGS", &vec!["urgent,"; 20].join(" "));
        assert!(text.lines().count() == 3 && text.lines().all(|line| line.chars().count() <= LINE_MAX), "{text}");
        assert_eq!(labelled("NAME", "x"), "NAME        x");
    }
}
