//! `clusters`: what this configuration selects, and how its hosts and its work are.

use std::process::ExitCode;

use anyhow::Context as _;
use cue_scheduler::clusters::{AllocationOverview, ClusterOverview, SubscriptionOverview, named, overview};
use cue_scheduler::model::Timestamp;
use cue_scheduler::preview::Look;
use cue_scheduler::scheduler::ReasonRow;
use cue_scheduler::units::counted;
use time::format_description::well_known::Rfc3339;

use crate::cli::{ClustersCommand, OutputFormat};
use crate::farm_view::{FarmView, name_left_out};
use crate::listing::{Column, reason_columns, short_age};
use crate::output::{OutputError, Printer};
use crate::page::Page;
use crate::settings::RunSettings;

/// Before the values of one cluster.
const INDENT: usize = 12;

pub(crate) async fn run(settings: RunSettings, command: ClustersCommand, printer: Printer) -> anyhow::Result<ExitCode> {
    let farm = FarmView::open(&settings, printer).await?;
    let wanted = match &command {
        ClustersCommand::List => None,
        ClustersCommand::Show { name } => Some(named(&farm.clusters, name)?),
    };
    let Look { snapshot, plan, .. } = farm.look().await.context("Failed to read the farm")?;
    name_left_out(&snapshot.left_out, printer);
    let last = farm.store.load_last_dispatches(&farm.clusters).await.context("Failed to read the last bookings")?;
    farm.store.close().await;
    let clusters = overview(&snapshot, &plan, &last);
    let rows: Vec<Row<'_>> = clusters.iter().map(|cluster| Row { cluster, taken_at: snapshot.taken_at }).collect();
    match wanted {
        None => print_all(&rows, &clusters, printer)?,
        Some(position) => print_one(&rows[position], printer)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A cluster and the database's clock.
struct Row<'c> {
    cluster: &'c ClusterOverview,
    taken_at: Timestamp,
}

fn print_all(rows: &[Row<'_>], clusters: &[ClusterOverview], printer: Printer) -> Result<(), OutputError> {
    if rows.is_empty() {
        printer.note("no cluster: no show that is this scheduler's subscribes to an allocation here");
        if matches!(printer.format, OutputFormat::Table | OutputFormat::Wide) {
            return Ok(());
        }
    }
    printer.list(&columns(printer), rows, clusters)
}

fn columns<'c>(printer: Printer) -> Vec<Column<Row<'c>>> {
    if printer.format == OutputFormat::Table { short_columns() } else { all_columns() }
}

/// What fits a terminal, two figures to a column.
fn short_columns<'c>() -> Vec<Column<Row<'c>>> {
    let columns = [
        Column::text("NAME", |row: &Row<'_>| row.cluster.name.clone()),
        Column::text("KIND", |row| row.cluster.kind.to_owned()),
        Column::number("UP", |row| format!("{}/{}", row.cluster.hosts_up, row.cluster.hosts)),
        Column::number("CORES", |row| format!("{}/{}", row.cluster.idle_cores, row.cluster.total_cores)),
        Column::number("GPUS", |row| format!("{}/{}", row.cluster.idle_gpus, row.cluster.total_gpus)),
        Column::number("WAITING", |row| format!("{}/{}", row.cluster.waiting_layers, row.cluster.waiting_frames)),
        Column::number("LAST", age),
    ];
    columns.into()
}

fn all_columns<'c>() -> Vec<Column<Row<'c>>> {
    vec![
        Column::text("NAME", |row: &Row<'_>| row.cluster.name.clone()),
        Column::text("FACILITY", |row| row.cluster.facility.clone()),
        Column::text("SHOW", |row| row.cluster.show.clone()),
        Column::text("KIND", |row| row.cluster.kind.to_owned()),
        Column::list("TAGS", |row| row.cluster.tags.clone()),
        Column::number("HOSTS", |row| row.cluster.hosts.to_string()),
        Column::number("UP", |row| row.cluster.hosts_up.to_string()),
        Column::number("IDLE CORES", |row| row.cluster.idle_cores.to_string()),
        Column::number("CORES", |row| row.cluster.total_cores.to_string()),
        Column::number("IDLE GPUS", |row| row.cluster.idle_gpus.to_string()),
        Column::number("GPUS", |row| row.cluster.total_gpus.to_string()),
        Column::number("LAYERS", |row| row.cluster.waiting_layers.to_string()),
        Column::number("FRAMES", |row| row.cluster.waiting_frames.to_string()),
        Column::text("LAST", moment),
        Column::list("ALLOCATIONS", |row| each(row, |alloc| alloc.name.clone())),
        Column::list("TIER", |row| each(row, tier)),
        Column::list("SIZE", |row| each(row, size)),
        Column::list("BURST", |row| each(row, burst)),
        Column::text("FACILITY ID", |row| row.cluster.facility_id.clone()),
        Column::text("SHOW ID", |row| row.cluster.show_id.clone()),
        Column::list("ALLOCATION IDS", |row| each(row, |alloc| alloc.id.clone())),
    ]
}

/// One value for each allocation, in their order.
fn each(row: &Row<'_>, value: fn(&AllocationOverview) -> String) -> Vec<String> {
    row.cluster.allocations.iter().map(value).collect()
}

/// What an allocation's subscription says, if there is one.
fn subscribed(alloc: &AllocationOverview, value: impl Fn(&SubscriptionOverview) -> String) -> String {
    alloc.subscription.as_ref().map_or_else(nothing, value)
}

fn tier(alloc: &AllocationOverview) -> String {
    subscribed(alloc, |subscription| format!("{:.2}", subscription.tier))
}

fn size(alloc: &AllocationOverview) -> String {
    subscribed(alloc, |subscription| subscription.size_cores.to_string())
}

fn burst(alloc: &AllocationOverview) -> String {
    subscribed(alloc, |subscription| subscription.burst_cores.to_string())
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

fn print_one(row: &Row<'_>, printer: Printer) -> Result<(), OutputError> {
    printer.list_or(&columns(printer), std::slice::from_ref(row), row.cluster, || page(row, printer).print())
}

fn page(row: &Row<'_>, printer: Printer) -> Page {
    let cluster = row.cluster;
    let with_id = |name: &str, id: &str| if printer.is_wide() { format!("{name} ({id})") } else { name.to_owned() };
    let waiting = counted(cluster.waiting_frames, "frame");
    let layers = counted(cluster.waiting_layers, "layer");
    let last = cluster.last_activity.map_or_else(nothing, |_| format!("{} ago, {}", age(row), moment(row)));
    let mut page = Page::new(0, INDENT, usize::MAX, printer);
    page.line("NAME", &cluster.name);
    page.line("KIND", cluster.kind);
    page.line("FACILITY", &with_id(&cluster.facility, &cluster.facility_id));
    page.line("SHOW", &with_id(&cluster.show, &cluster.show_id));
    page.line("TAGS", &cluster.tags.join(", "));
    page.line("HOSTS", &format!("{}, {} of them up", cluster.hosts, cluster.hosts_up));
    page.line("CORES", &format!("{} idle of {}", cluster.idle_cores, cluster.total_cores));
    page.line("GPUS", &format!("{} idle of {}", cluster.idle_gpus, cluster.total_gpus));
    let placed = cluster.placeable_frames;
    page.line("WAITING", &format!("{waiting} of {layers}, of which {placed} would be placed now"));
    page.line("LAST", &last);
    page.rows(&cluster.hosts_by_state.iter().collect::<Vec<_>>()).table(&[
        Column::text("HOST STATE", |(state, _)| (*state).clone()),
        Column::number("HOSTS", |(_, hosts)| hosts.to_string()),
    ]);
    page.rows(&cluster.allocations).table(&[
        Column::text("ALLOCATION", |alloc| alloc.name.clone()),
        Column::number("TIER", tier),
        Column::number("SIZE", size),
        Column::number("BURST", burst),
        Column::number("USED", |alloc| subscribed(alloc, |subscription| subscription.used_cores.to_string())),
        Column::text("ID", |alloc: &AllocationOverview| alloc.id.clone()).wide(),
        Column::text("SUBSCRIPTION ID", |alloc| subscribed(alloc, |subscription| subscription.id.clone())).wide(),
    ]);
    let reasons = cluster.waiting_by_reason.iter();
    let reasons = reasons.map(|row| ReasonRow { reason: row.reason, layers: row.layers, frames: row.frames });
    page.rows(&reasons.collect::<Vec<_>>()).table(&reason_columns());
    page
}
