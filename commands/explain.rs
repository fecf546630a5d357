//! `explain`: why something waits, or what a host could take.

use std::collections::BTreeSet;
use std::process::ExitCode;

use cue_scheduler::clusters::by_likeness;
use cue_scheduler::db::{FoundFrame, FoundLayer, FrameCounts, Match, RunningOn};
use cue_scheduler::explain::{FrameStory, HostBooks, HostStory, JobStory, LayerStory, RefusedBy, Stories, WorkBooks};
use cue_scheduler::model::{Candidate, FacilityId, Holds, JobId, Snapshot, WaitReason};
use cue_scheduler::planner::{
    Ahead, CapReport, Explanation, GateReport, GateVerdict, OnHost, PlacedOn, Precedence, ShowTier, Unfit,
};
use cue_scheduler::preview::{self, Look};
use cue_scheduler::units::Amounts;

use crate::cli::{ExplainArgs, ExplainWhat, OutputFormat};
use crate::errors::NotOne;
use crate::farm_view::{FarmView, name_left_out};
use crate::listing::{Column, short_age};
use crate::output::Printer;
use crate::page::Page;
use crate::settings::RunSettings;

/// Before labels, and before the text beside them.
const MARGIN: usize = 2;
const INDENT: usize = 10;
/// Rows of a table of a story; all of them with `--output wide` and in JSON.
const ROWS_MAX: usize = 20;
/// Below, two names are not alike.
const LIKENESS_MIN: f64 = 0.5;
const ALIKE_MAX: usize = 3;

pub(crate) async fn run(settings: RunSettings, args: ExplainArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let farm = FarmView::open(&settings, printer).await?;
    farm.warn_of_pauses(printer).await?;
    let Look { snapshot, holds, .. } = farm.look_at_plan().await?;
    name_left_out(&snapshot.left_out, printer);
    let asked = Asked { farm: &farm, snapshot, holds, printer };
    match args.what {
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
        let names = || self.snapshot.jobs.iter().map(|job| job.name.clone()).collect();
        let found = one(self.farm.store.find_job(name).await?, "job", name, |job| job.name.clone(), names)?;
        let layers = self.farm.store.load_layers_of(&found.id).await?;
        let (holds, books) = self.books(Some(&found.id)).await?;
        let story = self.stories(&holds, &books).job(&found, &layers);
        self.print(&story, &layer_columns(), &story.layers, &story.job, |page| page.job(&story))
    }

    async fn layer(&self, name: &str) -> anyhow::Result<()> {
        let found = self.farm.store.find_layer(name).await?;
        let found =
            one(found, "layer", name, |layer| format!("{}/{}", layer.job_name, layer.name), || self.layer_names())?;
        let (holds, books) = self.books(Some(&found.job)).await?;
        let story = self.stories(&holds, &books).layer(&found);
        let gates = story.explanation.as_ref().map(|told| told.gates.clone()).unwrap_or_default();
        self.print(&story, &gate_columns(), &gates, &layer_name(&story), |page| page.layer(&story))
    }

    async fn frame(&self, name: &str) -> anyhow::Result<()> {
        let found = self.farm.store.find_frame(name).await?;
        let found = one(found, "frame", name, |frame| format!("{}/{}", frame.job_name, frame.name), Vec::new)?;
        let layers = self.farm.store.load_layers_of(&found.job).await?;
        let layer = layers.into_iter().find(|layer| layer.id == found.layer).unwrap_or_else(|| layer_of(&found));
        let (holds, books) = self.books(Some(&found.job)).await?;
        let story = self.stories(&holds, &books).frame(&found, &layer);
        let told = story.layer_story.as_ref().and_then(|layer| layer.explanation.as_ref());
        let gates = told.map(|told| told.gates.clone()).unwrap_or_default();
        let name = format!("{}/{}", story.job, story.frame);
        self.print(&story, &gate_columns(), &gates, &name, |page| page.frame(&story))
    }

    async fn host(&self, name: &str) -> anyhow::Result<()> {
        let names = || self.snapshot.hosts.iter().map(|host| host.name.clone()).collect();
        let store = &self.farm.store;
        let found = one(store.find_host(name).await?, "host", name, |host| host.name.clone(), names)?;
        let host_books = HostBooks {
            procs: store.load_procs_on(&found.id).await?,
            ledger: store.load_host_ledger(&found.id).await?.unwrap_or_default(),
            frameless: store.load_frameless_procs(&found.id).await?,
            redirects: store.load_redirects_on(&found.id).await?,
        };
        let (holds, books) = self.books(None).await?;
        let story = self.stories(&holds, &books).host(&found.id, host_books);
        let story = story.ok_or(NotOne::Elsewhere { name: found.name })?;
        let name = story.explanation.host.clone();
        self.print(&story, &on_host_columns(), &story.explanation.candidates, &name, |page| page.host(&story))
    }

    /// What the rows say beside the snapshot, and the holds without waiting frames that nobody sees.
    async fn books(&self, job: Option<&JobId>) -> anyhow::Result<(Holds, WorkBooks)> {
        let store = &self.farm.store;
        let mut holds = self.holds.clone();
        let mut books = WorkBooks::default();
        if let Some(job) = job {
            books.counts = store.load_waiting_counts(std::slice::from_ref(job)).await?;
            books.deleted_limits = store.load_deleted_limits(job).await?;
            let facilities: BTreeSet<FacilityId> =
                self.farm.clusters.iter().map(|cluster| cluster.facility.clone()).collect();
            books.held = store.load_held(&facilities.into_iter().collect::<Vec<_>>()).await?;
            holds.waiting_found.extend(preview::bookable(&books.counts));
        }
        Ok((holds, books))
    }

    fn stories<'s>(&'s self, holds: &'s Holds, books: &'s WorkBooks) -> Stories<'s> {
        Stories::new(&self.snapshot, holds, &self.farm.settings.policy, books)
    }

    fn layer_names(&self) -> Vec<String> {
        let name =
            |candidate: &Candidate| format!("{}/{}", self.snapshot.jobs[candidate.job].name, candidate.layer_name);
        self.snapshot.candidates.iter().map(name).collect()
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
        if self.printer.format() == OutputFormat::Name {
            return Ok(self.printer.data(name)?);
        }
        Ok(self.printer.list_or(columns, rows, story, || {
            let mut page = Page::new(MARGIN, INDENT, ROWS_MAX, self.printer);
            write(&mut page);
            page.print(self.printer)
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
        frames: FrameCounts::default(),
    }
}

fn one<T>(
    found: Match<T>,
    kind: &'static str,
    name: &str,
    called: impl Fn(&T) -> String,
    all: impl FnOnce() -> Vec<String>,
) -> Result<T, NotOne> {
    match found {
        Match::One(one) => Ok(one),
        Match::Several(several) => {
            let names = several.iter().map(called).collect();
            Err(NotOne::Several { kind, name: name.to_owned(), names })
        }
        Match::None => {
            let extra = match kind {
                "frame" if !name.contains('/') => "; name it as JOB/FRAME, or by its id",
                "host" => "",
                _ => " among the pending ones",
            };
            Err(NotOne::Unknown { kind, name: name.to_owned(), extra, alike: alike(name, all()) })
        }
    }
}

fn alike(name: &str, names: Vec<String>) -> Vec<String> {
    let scored = by_likeness(names, |other| strsim::normalized_damerau_levenshtein(name, other));
    let alike = scored.into_iter().take_while(|(likeness, _)| *likeness >= LIKENESS_MIN);
    alike.take(ALIKE_MAX).map(|(_, name)| name).collect()
}

fn layer_name(story: &LayerStory) -> String {
    format!("{}/{}", story.job, story.layer)
}

/// Stories for reading.
impl Page {
    fn job(&mut self, story: &JobStory) {
        self.title(&format!("job {}", story.job));
        let seen = story.layers.iter().map(|layer| layer.waiting_seen).sum();
        self.line("frames", &counts(&story.frames, seen));
        self.line("why", &story.summary);
        for wrong in &story.books {
            self.line("books", wrong);
        }
        for layer in &story.layers {
            for wrong in &layer.books {
                self.line("books", &format!("{}: {wrong}", layer.layer));
            }
        }
        let mut told: Vec<&str> = Vec::new();
        for layer in &story.layers {
            for remedy in layer.remedies.iter().filter(|remedy| !told.contains(&remedy.as_str())) {
                self.line("to run", &format!("{}: {remedy}", layer.layer));
            }
            told.extend(layer.remedies.iter().map(String::as_str));
        }
        self.table(&layer_columns(), &story.layers);
    }

    fn layer(&mut self, story: &LayerStory) {
        self.title(&format!("layer {}", layer_name(story)));
        self.line("frames", &counts(&story.frames, story.waiting_seen));
        self.layer_reasons(story);
    }

    fn layer_reasons(&mut self, story: &LayerStory) {
        self.line("why", &story.summary);
        for wrong in &story.books {
            self.line("books", wrong);
        }
        if let Some(hosts) = &story.hosts {
            self.line("hosts", hosts);
        }
        if let Some(nearest) = &story.nearest {
            self.line("nearest", nearest);
        }
        if let Some(told) = &story.explanation {
            self.line("order", &order(told, &story.show));
        }
        for remedy in &story.remedies {
            self.line("to run", remedy);
        }
        if let Some(told) = &story.explanation {
            self.told(told);
        }
    }

    fn told(&mut self, told: &Explanation) {
        self.table(&placed_columns(), &told.placed);
        let is_shown = |gate: &&GateReport| self.is_wide || is_telling(gate, told.reason);
        let gates: Vec<GateReport> = told.gates.iter().filter(is_shown).copied().collect();
        self.table(&gate_columns(), &gates);
        self.table(&cap_columns(), &told.caps);
        self.table(&ahead_columns(), &told.order.ahead);
        if told.order.shows.len() > 1 || self.is_wide {
            self.table(&show_columns(), &told.order.shows);
        }
    }

    fn frame(&mut self, story: &FrameStory) {
        self.title(&format!("frame {}/{}", story.job, story.frame));
        self.line("layer", &story.layer);
        self.line("state", &format!("{}: {}", story.state, story.summary));
        if let Some(layer) = &story.layer_story {
            self.layer_reasons(layer);
        }
    }

    fn host(&mut self, story: &HostStory) {
        let told = &story.explanation;
        self.title(&format!("host {}", told.host));
        self.line("state", &told.state);
        self.line("why", &story.summary);
        self.line("idle", &format!("{}, of {}", amounts(&told.idle_before), amounts(&told.total)));
        self.line("then", &format!("{} once the next pass has placed its frames", amounts(&told.idle_after)));
        for wrong in &story.books {
            self.line("books", wrong);
        }
        for ordered in &story.redirects {
            self.line("kept", ordered);
        }
        self.line("tags", &format!("{} ({})", story.tags.join(", "), told.alloc_name));
        self.line("runs", &format!("{}; thread mode {}", story.os.join(", "), story.thread_mode));
        self.table(&running_columns(), &story.running);
        let able: Vec<OnHost> =
            told.candidates.iter().filter(|layer| layer.could_take > 0 || layer.placed_frames > 0).cloned().collect();
        self.table(&on_host_columns(), &able);
        self.table(&refused_columns(), &story.refused);
        if told.unreached > 0 {
            self.write(format_args!("\nTags of {} more waiting layers do not reach it.\n", told.unreached));
        }
    }

    fn title(&mut self, title: &str) {
        self.write(format_args!("{title}\n"));
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

fn refused_columns() -> [Column<RefusedBy>; 3] {
    [
        Column::text("COULD NOT TAKE", |row: &RefusedBy| {
            format!("{}{}", row.reason.sentence(), row.refusal.map(refusal_word).unwrap_or_default())
        }),
        Column::number("LAYERS", |row| row.layers.to_string()),
        Column::number("FRAMES", |row| row.frames.to_string()),
    ]
}

fn refusal_word(refusal: Unfit) -> String {
    let word = serde_json::to_value(refusal).ok().and_then(|word| word.as_str().map(str::to_owned));
    word.map(|word| format!(" ({})", word.replace('_', " "))).unwrap_or_default()
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
        Column::text("VERDICT", |row| match row.verdict {
            GateVerdict::Passed => "passed".to_owned(),
            GateVerdict::Shut => "shut".to_owned(),
            GateVerdict::NotAsked => "not asked".to_owned(),
        }),
        Column::number("HOSTS", |row| row.hosts.map(|hosts| hosts.asked.to_string()).unwrap_or_default()),
        Column::number("LEFT", |row| row.hosts.map(|hosts| hosts.passed.to_string()).unwrap_or_default()),
    ]
}

fn cap_columns() -> [Column<CapReport>; 6] {
    [
        Column::text("CAP", |row| row.reason.into_str().to_owned()),
        Column::text("OF", |row| row.name.clone()),
        Column::number("USED", |row| row.before.to_string()),
        Column::number("PLANNED", |row| row.after.to_string()),
        Column::number("LIMIT", |row| row.max.map_or_else(|| "none".to_owned(), |max| max.to_string())),
        Column::number("WANTS", |row| row.wanted.to_string()),
    ]
}

fn placed_columns() -> [Column<PlacedOn>; 6] {
    [
        Column::text("PLACED ON", |row| row.host.clone()),
        Column::number("FRAMES", |row| row.frames.to_string()),
        Column::number("CORES", |row| row.reservation.cores.to_string()),
        Column::number("MEMORY", |row| row.reservation.memory.to_string()),
        Column::number("GPUS", |row| row.reservation.gpus.to_string()),
        Column::text("CLUSTER", |row| row.cluster.clone()),
    ]
}

fn ahead_columns() -> [Column<Ahead>; 5] {
    [
        Column::text("AHEAD", |row: &Ahead| format!("{}/{}", row.job_name, row.layer_name)),
        Column::text("BY", |row| {
            let by = match row.by {
                Precedence::Priority => "priority",
                Precedence::JobStart => "earlier job",
                Precedence::JobId | Precedence::LayerId => "id",
                Precedence::DispatchOrder => "dispatch order",
            };
            by.to_owned()
        }),
        Column::text("TURNS", |row| if row.takes_turns { "yes" } else { "no" }.to_owned()),
        Column::number("PLACED", |row| row.placed_frames.to_string()),
        Column::number("WAITING", |row| row.waiting_frames.to_string()),
    ]
}

fn show_columns() -> [Column<ShowTier>; 4] {
    [
        Column::text("SHOW", |row| row.show.clone()),
        Column::text("ALLOCATION", |row| row.alloc_name.clone()),
        Column::number("TIER", |row| format!("{:.2}", row.before)),
        Column::number("PLANNED", |row| format!("{:.2}", row.after)),
    ]
}

fn running_columns() -> [Column<RunningOn>; 6] {
    [
        Column::text("RUNNING", |row: &RunningOn| format!("{}/{}", row.job, row.layer)),
        Column::number("FRAMES", |row| row.frames.to_string()),
        Column::number("CORES", |row| row.reserved.cores.to_string()),
        Column::number("MEMORY", |row| row.reserved.memory.to_string()),
        Column::number("GPUS", |row| row.reserved.gpus.to_string()),
        Column::number("LAST SIGN", |row| short_age(row.last_sign_seconds)),
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
