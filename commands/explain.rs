//! `explain`: why something waits, or what a host could take.

use std::collections::BTreeSet;
use std::process::ExitCode;

use cue_scheduler::db::{FoundFrame, FoundLayer, FrameCounts};
use cue_scheduler::explain::{FrameStory, HostStory, JobStory, LayerStory, Stories, WorkBooks};
use cue_scheduler::model::{FacilityId, Holds, JobId, Snapshot, WaitReason};
use cue_scheduler::planner::{Explanation, GateReport, GateVerdict, OnHost, Precedence};
use cue_scheduler::preview::{self, Look};
use cue_scheduler::units::Amounts;

use crate::cli::{ExplainWhat, OutputFormat};
use crate::failure::NotOne;
use crate::farm_view::{FarmView, UNSEEN, name_left_out};
use crate::listing::{Column, short_age};
use crate::named::{self, Kind};
use crate::output::Printer;
use crate::page::Page;
use crate::settings::RunSettings;

/// Before labels, and before the text beside them.
const MARGIN: usize = 2;
const INDENT: usize = 10;
/// Rows of a table of a story; all of them with `--output wide` and in JSON.
const ROWS_MAX: usize = 20;

pub(crate) async fn run(settings: RunSettings, what: ExplainWhat, printer: Printer) -> anyhow::Result<ExitCode> {
    let farm = FarmView::open(&settings, printer).await?;
    farm.warn_of_pauses(printer).await?;
    let Look { snapshot, holds, .. } = farm.look().await?;
    name_left_out(&snapshot.left_out, printer);
    let asked = Asked { farm: &farm, snapshot, holds, printer };
    match what {
        ExplainWhat::Job { name } => asked.job(&name).await?,
        ExplainWhat::Layer { name } => asked.layer(&name).await?,
        ExplainWhat::Frame { name } => asked.frame(&name).await?,
        ExplainWhat::Host { name } => asked.host(&name).await?,
    }
    farm.store.close().await;
    Ok(ExitCode::SUCCESS)
}

struct Asked<'a> {
    farm: &'a FarmView,
    snapshot: Snapshot,
    /// Without what a running scheduler remembers, which it does not tell.
    holds: Holds,
    printer: Printer,
}

impl Asked<'_> {
    async fn job(&self, name: &str) -> anyhow::Result<()> {
        let store = &self.farm.store;
        let found = store.find_job(name).await?;
        let found = named::one(store, found, Kind::JOB, name, |job| job.name.clone()).await?;
        let layers = self.farm.store.load_layers_of(&found.id).await?;
        let (holds, books) = self.books(&found.id, &found.show).await?;
        let story = self.stories(&holds, &books).job(&found, &layers);
        self.print(&story, &layer_columns(), &story.layers, &story.job, |page| page.job(&story))
    }

    async fn layer(&self, name: &str) -> anyhow::Result<()> {
        let found = named::layer(&self.farm.store, name).await?;
        let (holds, books) = self.books(&found.job, &found.show).await?;
        let story = self.stories(&holds, &books).layer(&found);
        self.print(&story, &gate_columns(), gates(Some(&story)), &layer_name(&story), |page| page.layer(&story))
    }

    async fn frame(&self, name: &str) -> anyhow::Result<()> {
        let found = named::frame(&self.farm.store, name).await?;
        let layers = self.farm.store.load_layers_of(&found.job).await?;
        let layer = layers.into_iter().find(|layer| layer.id == found.layer).unwrap_or_else(|| layer_of(&found));
        let (holds, mut books) = self.books(&found.job, &found.show).await?;
        if found.state == "DEPEND" {
            books.depends = self.farm.store.load_depends(&found).await?;
        }
        let story = self.stories(&holds, &books).frame(&found, &layer);
        let (name, gates) = (format!("{}/{}", story.job, story.frame), gates(story.layer_story.as_ref()));
        self.print(&story, &gate_columns(), gates, &name, |page| page.frame(&story))
    }

    async fn host(&self, name: &str) -> anyhow::Result<()> {
        let store = &self.farm.store;
        let found = store.find_host(name).await?;
        let found = named::one(store, found, Kind::HOST, name, |host| host.name.clone()).await?;
        let books = WorkBooks {
            procs: store.load_procs_on(&found.id).await?,
            ledger: store.load_host_ledger(&found.id).await?.unwrap_or_default(),
            frameless: store.load_frameless_procs(&found.id).await?,
            redirects: store.load_redirects_on(&found.id).await?,
            failing_jobs: store.load_failures_on(&found.name).await.ok(),
            ..WorkBooks::default()
        };
        let story = self.stories(&self.holds, &books).host(&found.id);
        let story = story.ok_or(NotOne::Elsewhere { name: found.name })?;
        let told = &story.explanation;
        self.print(&story, &on_host_columns(), &told.candidates, &told.host, |page| page.host(&story))
    }

    /// What the rows say beside the snapshot, and the holds without waiting frames that nobody sees.
    async fn books(&self, job: &JobId, show: &str) -> anyhow::Result<(Holds, WorkBooks)> {
        let FarmView { store, clusters, .. } = self.farm;
        let facilities: BTreeSet<FacilityId> = clusters.iter().map(|cluster| cluster.facility.clone()).collect();
        let books = WorkBooks {
            is_flagged: self.farm.is_flagged(show),
            counts: store.load_waiting_counts(std::slice::from_ref(job)).await?,
            deleted_limits: store.load_deleted_limits(job).await?,
            loose_tags: store.load_loose_tags(std::slice::from_ref(job), &[]).await?,
            chunks: store.load_chunks(job).await?,
            held: store.load_held(&facilities.into_iter().collect::<Vec<_>>()).await?,
            ..WorkBooks::default()
        };
        let mut holds = self.holds.clone();
        holds.waiting_found.extend(preview::bookable(&books.counts));
        Ok((holds, books))
    }

    fn stories<'s>(&'s self, holds: &'s Holds, books: &'s WorkBooks) -> Stories<'s> {
        Stories::new(&self.snapshot, holds, &self.farm.settings.policy, books)
    }

    /// `rows` are what CSV has of the story.
    fn print<R>(
        &self,
        story: &impl serde::Serialize,
        columns: &[Column<R>],
        rows: &[R],
        name: &str,
        write: impl FnOnce(&mut Page),
    ) -> anyhow::Result<()> {
        if self.printer.format == OutputFormat::Name {
            return Ok(self.printer.data(name)?);
        }
        Ok(self.printer.list_or(columns, rows, story, || {
            let mut page = Page::new(MARGIN, INDENT, ROWS_MAX, self.printer);
            write(&mut page);
            page.gap();
            page.sentence(format_args!("{UNSEEN}"));
            page.print()
        })?)
    }
}

/// A frame whose layer is not listed any more; only its names are known.
fn layer_of(frame: &FoundFrame) -> FoundLayer {
    FoundLayer {
        id: frame.layer.clone(),
        name: frame.layer_name.clone(),
        job: frame.job.clone(),
        job_name: frame.job_name.clone(),
        job_state: frame.job_state.clone(),
        show: frame.show.clone(),
        tags: String::new(),
        frames: FrameCounts::default(),
    }
}

fn layer_name(story: &LayerStory) -> String {
    format!("{}/{}", story.job, story.layer)
}

fn gates(story: Option<&LayerStory>) -> &[GateReport] {
    story.and_then(|layer| layer.explanation.as_ref()).map_or(&[], |told| &told.gates)
}

/// Stories for reading.
impl Page {
    fn job(&mut self, story: &JobStory) {
        self.sentence(format_args!("job {}", story.job));
        let seen = story.layers.iter().map(|layer| layer.waiting_seen).sum();
        self.line("frames", &counts(&story.frames, seen));
        self.line("why", &story.summary);
        self.lines("books", &story.books);
        for layer in &story.layers {
            self.lines("books", layer.books.iter().map(|wrong| format!("{}: {wrong}", layer.layer)));
        }
        let mut told: Vec<&String> = Vec::new();
        for layer in &story.layers {
            let untold = layer.remedies.iter().filter(|remedy| !told.contains(remedy));
            self.lines("to run", untold.map(|remedy| format!("{}: {remedy}", layer.layer)));
            told.extend(&layer.remedies);
        }
        self.rows(&story.layers).table(&layer_columns());
    }

    fn layer(&mut self, story: &LayerStory) {
        self.sentence(format_args!("layer {}", layer_name(story)));
        self.line("frames", &counts(&story.frames, story.waiting_seen));
        self.layer_reasons(story);
    }

    fn layer_reasons(&mut self, story: &LayerStory) {
        let told = story.explanation.as_ref();
        self.line("why", &story.summary);
        self.lines("books", &story.books);
        self.lines("hosts", &story.hosts);
        self.lines("nearest", &story.nearest);
        self.lines("order", told.map(|told| order(told, &story.show)));
        self.lines("to run", &story.remedies);
        if let Some(told) = told {
            self.told(told);
        }
    }

    fn told(&mut self, told: &Explanation) {
        self.rows(&told.placed).table(&[
            Column::text("PLACED ON", |row| row.host.clone()),
            Column::number("FRAMES", |row| row.frames.to_string()),
            Column::number("CORES", |row| row.reservation.cores.to_string()),
            Column::number("MEMORY", |row| row.reservation.memory.to_string()),
            Column::number("GPUS", |row| row.reservation.gpus.to_string()),
            Column::text("CLUSTER", |row| row.cluster.clone()),
        ]);
        let is_wide = self.is_wide();
        let is_shown = |gate: &&GateReport| is_wide || is_telling(gate, told.reason);
        let gates: Vec<GateReport> = told.gates.iter().filter(is_shown).copied().collect();
        self.rows(&gates).table(&gate_columns());
        self.rows(&told.caps).table(&[
            Column::text("CAP", |row| row.reason.into_str().to_owned()),
            Column::text("OF", |row| row.name.clone()),
            Column::number("USED", |row| row.before.to_string()),
            Column::number("PLANNED", |row| row.after.to_string()),
            Column::number("LIMIT", |row| row.max.map_or_else(|| "none".to_owned(), |max| max.to_string())),
            Column::number("WANTS", |row| row.wanted.to_string()),
        ]);
        self.ahead(told);
    }

    fn ahead(&mut self, told: &Explanation) {
        self.rows(&told.order.ahead).table(&[
            Column::text("AHEAD", |row| format!("{}/{}", row.job_name, row.layer_name)),
            Column::text("BY", |row| by(row.by).to_owned()),
            Column::text("TURNS", |row| if row.takes_turns { "yes" } else { "no" }.to_owned()),
            Column::number("PLACED", |row| row.placed_frames.to_string()),
            Column::number("WAITING", |row| row.waiting_frames.to_string()),
        ]);
        if told.order.shows.len() > 1 || self.is_wide() {
            self.rows(&told.order.shows).table(&[
                Column::text("SHOW", |row| row.show.clone()),
                Column::text("ALLOCATION", |row| row.alloc_name.clone()),
                Column::number("TIER", |row| format!("{:.2}", row.before)),
                Column::number("PLANNED", |row| format!("{:.2}", row.after)),
            ]);
        }
    }

    fn frame(&mut self, story: &FrameStory) {
        self.sentence(format_args!("frame {}/{}", story.job, story.frame));
        self.line("layer", &story.layer);
        self.line("state", &format!("{}: {}", story.state, story.summary));
        if let Some(layer) = &story.layer_story {
            self.layer_reasons(layer);
        }
    }

    fn host(&mut self, story: &HostStory) {
        let told = &story.explanation;
        self.sentence(format_args!("host {}", told.host));
        self.line("state", &told.state);
        self.line("why", &story.summary);
        self.line("idle", &format!("{}, of {}", amounts(&told.idle_before), amounts(&told.total)));
        self.line("then", &format!("{} once the next pass has placed its frames", amounts(&told.idle_after)));
        self.lines("load", &story.load);
        self.lines("books", &story.books);
        self.lines("kept", &story.kept);
        self.lines("kept", &story.redirects);
        self.line("tags", &format!("{} ({})", quoted(&story.tags), told.alloc_name));
        self.line("runs", &format!("{}; thread mode {}", quoted(&story.os), story.thread_mode));
        self.rows(&story.running).table(&[
            Column::text("RUNNING", |row| format!("{}/{}", row.job, row.layer)),
            Column::number("FRAMES", |row| row.frames.to_string()),
            Column::number("CORES", |row| row.reserved.cores.to_string()),
            Column::number("MEMORY", |row| row.reserved.memory.to_string()),
            Column::number("GPUS", |row| row.reserved.gpus.to_string()),
            Column::number("LAST SIGN", |row| short_age(row.last_sign_seconds)),
        ]);
        let is_able = |layer: &&OnHost| layer.could_take > 0 || layer.placed_frames > 0;
        let able: Vec<OnHost> = told.candidates.iter().filter(is_able).cloned().collect();
        self.rows(&able).table(&on_host_columns());
        self.rows(&story.refused).table(&[
            Column::prose("COULD NOT TAKE", |row| {
                let short = row.refusal.map(|refusal| format!(" ({})", word(refusal)));
                format!("{}{}", row.reason.sentence(), short.unwrap_or_default())
            }),
            Column::number("LAYERS", |row| row.layers.to_string()),
            Column::number("FRAMES", |row| row.frames.to_string()),
        ]);
        if told.unreached > 0 {
            self.gap();
            self.sentence(format_args!("Tags of {} more waiting layers do not reach it.", told.unreached));
        }
    }
}

/// Worth a row for somebody who only wants to know what is wrong. Where nothing is left to wait, only a
/// full pass keeps one more frame from being placed.
fn is_telling(gate: &GateReport, reason: Option<WaitReason>) -> bool {
    let is_in_the_way = gate.verdict == GateVerdict::Shut && (reason.is_some() || gate.reason != WaitReason::PassFull);
    is_in_the_way || gate.hosts.is_some_and(|hosts| hosts.passed < hosts.asked)
}

/// By the counters, but for waiting frames that were seen.
fn counts(frames: &FrameCounts, seen: Option<i64>) -> String {
    let FrameCounts { waiting, running, depend, dead, eaten, succeeded } = frames;
    let waiting = seen.unwrap_or(*waiting);
    format!("{waiting} waiting, {running} running, {depend} depend, {dead} dead, {} done", succeeded + eaten)
}

fn amounts(amounts: &Amounts) -> String {
    let Amounts { cores, memory, gpus, gpu_memory } = amounts;
    if gpus.get() == 0 && gpu_memory.get() == 0 {
        format!("{cores} cores, {memory}")
    } else {
        format!("{cores} cores, {memory}, {gpus} GPUs with {gpu_memory}")
    }
}

fn order(told: &Explanation, show: &str) -> String {
    let order = &told.order;
    let first = order.ahead.iter().filter(|ahead| !ahead.takes_turns).count();
    let turns = order.ahead.len() - first;
    let mut parts = vec![format!("number {} of {} layers of the show {show} that could go", order.position, order.of)];
    if first > 0 {
        parts.push(format!("{first} of those ahead place all they can first"));
    }
    if turns > 0 {
        parts.push(format!("it takes turns with {turns} of those ahead"));
    }
    parts.join("; ")
}

/// Texts of the database; those with blanks in them in quotes, so that they are seen.
fn quoted(texts: &[String]) -> String {
    let has_blanks = |text: &str| text.is_empty() || text.contains([' ', '\t', ',']);
    let quoted = |text: &String| if has_blanks(text) { format!("`{text}`") } else { text.clone() };
    texts.iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// Its word in JSON, with blanks.
fn word(of: impl serde::Serialize) -> String {
    let word = serde_json::to_value(of).ok().and_then(|word| word.as_str().map(|word| word.replace('_', " ")));
    word.unwrap_or_default()
}

const fn by(precedence: Precedence) -> &'static str {
    match precedence {
        Precedence::Priority => "priority",
        Precedence::JobStart => "earlier job",
        Precedence::JobId | Precedence::LayerId => "id",
        Precedence::DispatchOrder => "dispatch order",
    }
}

fn layer_columns() -> [Column<LayerStory>; 8] {
    [
        Column::text("LAYER", |row| row.layer.clone()),
        Column::number("WAITING", |row| row.waiting_seen.unwrap_or(row.frames.waiting).to_string()),
        Column::number("RUNNING", |row| row.frames.running.to_string()),
        Column::number("DEPEND", |row| row.frames.depend.to_string()),
        Column::number("DEAD", |row| row.frames.dead.to_string()),
        Column::number("DONE", |row| (row.frames.succeeded + row.frames.eaten).to_string()),
        Column::text("REASON", |row| row.reason.map(|reason| reason.into_str().to_owned()).unwrap_or_default()),
        Column::text("LAYER ID", |row: &LayerStory| row.layer_id.to_string()).wide(),
    ]
}

fn gate_columns() -> [Column<GateReport>; 4] {
    [
        Column::text("GATE", |row| row.reason.into_str().to_owned()),
        Column::text("VERDICT", |row| word(row.verdict)),
        Column::number("HOSTS", |row| row.hosts.map(|hosts| hosts.asked.to_string()).unwrap_or_default()),
        Column::number("LEFT", |row| row.hosts.map(|hosts| hosts.passed.to_string()).unwrap_or_default()),
    ]
}

fn on_host_columns() -> [Column<OnHost>; 7] {
    [
        Column::text("COULD TAKE", |row: &OnHost| format!("{}/{}", row.job_name, row.layer_name)),
        Column::number("FRAMES", |row| row.could_take.to_string()),
        Column::number("WAITING", |row| row.waiting_frames.to_string()),
        Column::number("PLACED", |row| row.placed_frames.to_string()),
        Column::number("CORES", |row| row.reservation.map(|amounts| amounts.cores.to_string()).unwrap_or_default()),
        Column::number("MEMORY", |row| row.reservation.map(|amounts| amounts.memory.to_string()).unwrap_or_default()),
        Column::text("THEN", |row| row.then.map(|reason| reason.into_str().to_owned()).unwrap_or_default()),
    ]
}
