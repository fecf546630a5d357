//! `plan`: what the next pass would do, without doing it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use cue_scheduler::preview::{
    ClusterShare, Narrowing, PlacementRow, PlanDocument, PlanTotals, WaitingRow, WrongCountRow,
};
use cue_scheduler::scheduler::ReasonRow;
use cue_scheduler::units::{Amounts, counted, number_runs};

use crate::cli::{OutputFormat, PlanArgs};
use crate::farm_view::{FarmView, UNSEEN, name_left_out};
use crate::listing::{Column, reason_columns, write_json};
use crate::named;
use crate::output::{OutputError, Printer};
use crate::page::Page;
use crate::settings::RunSettings;

/// With `--detailed-exitcode`.
const WOULD_PLACE: u8 = 2;
const WAITS_IN_VAIN: u8 = 3;

pub(crate) async fn run(settings: RunSettings, args: PlanArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    // A file that is no plan needs no database to say so.
    let kept = args.from.as_deref().map(read).transpose()?;
    let farm = FarmView::open(&settings, printer).await?;
    farm.warn_of_pauses(printer).await?;
    let document = if let Some(mut kept) = kept {
        kept.compare(&farm.store, &farm.clusters, &farm.settings).await?;
        kept
    } else {
        let look = farm.look().await?;
        name_left_out(&look.left_out, printer);
        PlanDocument::of(&look)
    };
    let narrowing = Narrowing {
        clusters: args.cluster.clone(),
        shows: args.show.clone(),
        jobs: args.job.clone(),
        hosts: args.host.clone(),
    };
    let unmatched = narrowing.unmatched(&document);
    named::check(&farm.store, &farm.clusters, &unmatched).await?;
    farm.store.close().await;
    unmatched.shows.iter().filter_map(|show| farm.who_dispatches(show)).for_each(|line| printer.note(line));
    if let Some(path) = &args.out {
        write_json(path, &document).with_context(|| format!("cannot keep the plan in {}", path.display()))?;
        printer.note(format_args!("kept the plan in {}", path.display()));
    }
    let document = document.narrowed(&narrowing);
    if !narrowing.is_empty() && document.placements.is_empty() && document.waiting.is_empty() {
        printer.note("nothing in the plan matches --cluster, --show, --job and --host");
    }
    print(&document, &args, printer)?;
    Ok(if args.detailed_exitcode { detailed_code(&document) } else { ExitCode::SUCCESS })
}

fn detailed_code(document: &PlanDocument) -> ExitCode {
    ExitCode::from(if !document.placements.is_empty() {
        WOULD_PLACE
    } else if !document.waiting.is_empty() {
        WAITS_IN_VAIN
    } else {
        0
    })
}

fn read(path: &Path) -> anyhow::Result<PlanDocument> {
    let doing = || format!("cannot read the plan in {}", path.display());
    let text = std::fs::read_to_string(path).with_context(doing)?;
    PlanDocument::parse(&text).with_context(doing)
}

/// The totals without the rows that they come from.
#[derive(serde::Serialize)]
struct Summary<'d> {
    format: &'d str,
    version: u32,
    taken_at: &'d str,
    totals: &'d PlanTotals,
    clusters: &'d [ClusterShare],
    reasons: &'d [ReasonRow],
}

fn print(document: &PlanDocument, args: &PlanArgs, printer: Printer) -> Result<(), OutputError> {
    let PlanDocument { format: name, version, taken_at, totals, clusters, reasons, .. } = document;
    let read = || page(document, args, printer).print();
    if args.summary {
        let summary = Summary { format: name, version: *version, taken_at, totals, clusters, reasons };
        return printer.list_or(&cluster_columns(), clusters, &summary, read);
    }
    if printer.format == OutputFormat::Name {
        // A layer goes to many hosts; its name once is enough.
        let names: BTreeSet<String> = document.placements.iter().map(|row| row.work.name()).collect();
        return names.iter().try_for_each(|name| printer.data(name));
    }
    printer.list_or(&placement_columns(args.from.is_some()), &document.placements, document, read)
}

fn page(document: &PlanDocument, args: &PlanArgs, printer: Printer) -> Page {
    let PlanDocument { totals, clusters, placements, waiting, reasons, wrong_counts, .. } = document;
    let is_compared = args.from.is_some();
    let mut page = Page::of_tables(printer);
    if !args.summary {
        page.rows(placements).table(&placement_columns(is_compared));
    }
    page.rows(clusters).table(&cluster_columns());
    if !args.summary {
        page.rows(waiting).table(&[
            Column::text("WAITING LAYER", |row| row.work.name()),
            Column::number("FRAMES", |row| row.frames.to_string()),
            Column::text("REASON", |row: &WaitingRow| {
                let detail = row.detail.as_ref().map(|detail| format!(": {detail}"));
                format!("{}{}", row.reason.into_str(), detail.unwrap_or_default())
            }),
            Column::list("CLUSTERS", |row: &WaitingRow| row.clusters.clone()).wide(),
            Column::text("LAYER ID", |row: &WaitingRow| row.work.layer_id.to_string()).wide(),
        ]);
    }
    page.rows(reasons).table(&reason_columns());
    page.rows(wrong_counts).table(&[
        Column::text("WRONG COUNTER", |row| row.work.name()),
        Column::number("SAYS", |row| row.count.to_string()),
        Column::number("WAITING", |row| row.frames.to_string()),
        Column::text("LAYER ID", |row: &WrongCountRow| row.work.layer_id.to_string()).wide(),
    ]);
    page.gap();
    page.sentence(format_args!("{}", placed_line(totals)));
    page.left_waiting(totals.waiting_frames, totals.waiting_layers, "would wait");
    if !wrong_counts.is_empty() {
        let then = "and hosts are planned for nothing; `check-db` prints what to do.";
        page.sentence(format_args!("Counters of waiting frames are wrong, {then}"));
    }
    if is_compared {
        let (taken_at, of) = (&document.taken_at, placements.len());
        let overtaken = placements.iter().filter(|row| !row.overtaken.is_empty()).count();
        page.sentence(format_args!(
            "Of this plan of {taken_at} the farm has overtaken {overtaken} of {of} placements."
        ));
    }
    if !placements.is_empty() || !waiting.is_empty() {
        page.sentence(format_args!("{UNSEEN}"));
    }
    page
}

fn placement_columns(is_compared: bool) -> Vec<Column<PlacementRow>> {
    let mut columns = vec![
        Column::text("LAYER", |row: &PlacementRow| row.work.name()),
        Column::list("FRAMES", |row| number_runs(&row.frames.iter().map(|frame| frame.number).collect::<Vec<_>>())),
        Column::text("HOST", |row| row.host.clone()),
        Column::number("CORES", |row| row.reserved.cores.to_string()),
        Column::number("MEMORY", |row| row.reserved.memory.to_string()),
        Column::number("GPUS", |row| row.reserved.gpus.to_string()),
        Column::number("GPU MEMORY", |row: &PlacementRow| row.reserved.gpu_memory.to_string()).wide(),
        Column::text("CLUSTER", |row: &PlacementRow| row.cluster.clone()).wide(),
        Column::text("LAYER ID", |row: &PlacementRow| row.work.layer_id.to_string()).wide(),
        Column::text("HOST ID", |row: &PlacementRow| row.host_id.to_string()).wide(),
    ];
    if is_compared {
        let against = |row: &PlacementRow| {
            let details: Vec<&str> = row.overtaken.iter().map(|overtaken| overtaken.detail.as_str()).collect();
            details.join("; ")
        };
        columns.insert(3, Column::prose("OVERTAKEN", against));
    }
    columns
}

fn cluster_columns() -> [Column<ClusterShare>; 7] {
    [
        Column::text("CLUSTER", |row| row.cluster.clone()),
        Column::number("FRAMES", |row| row.frames.to_string()),
        Column::number("LAYERS", |row| row.layers.to_string()),
        Column::number("HOSTS", |row| row.hosts.to_string()),
        Column::number("CORES", |row| row.reserved.cores.to_string()),
        Column::number("MEMORY", |row| row.reserved.memory.to_string()),
        Column::number("GPUS", |row| row.reserved.gpus.to_string()),
    ]
}

fn placed_line(totals: &PlanTotals) -> String {
    if totals.frames == 0 {
        return "Would place nothing.".to_owned();
    }
    let Amounts { cores, memory, gpus, .. } = totals.reserved;
    let (frames, layers) = (counted(totals.frames, "frame"), counted(totals.layers, "layer"));
    let hosts = counted(totals.hosts, "host");
    format!("Would place {frames} of {layers} on {hosts}: {cores} cores, {memory}, {gpus} GPUs.")
}
