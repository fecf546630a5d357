//! The demo: a farm comes up, the real scheduler works through it, and the books are audited.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use super::audit::AuditReport;
use super::cuebot::{CuebotOptions, Maintenance};
use super::fleet::{Faults, RunTime};
use super::postgres::{PostgresError, PostgresOptions, PostgresServer};
use super::progress::{FarmProgress, Watcher};
use super::sandbox::{Sandbox, SandboxError, SandboxOptions};
use super::schema::{self, Generation, SchemaError};
use super::seed::{FarmSpec, FolderSpec, JobSpec, LayerSpec, ShowSpec};
use crate::db::{Store, StoreError};
use crate::model::LoadRule;
use crate::rqd::Agents;
use crate::scheduler::{Ended, LaunchTargets, Parts, PassError, Service, Settings, Totals};
use crate::telemetry::{Health, Metrics, MetricsError, Registry};
use crate::units::{Cores, Kib};

const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Nothing moves for so long: something is wrong, and waiting longer will not mend it.
const STALLED_AFTER: Duration = Duration::from_secs(40);
const DATABASE: &str = "farm";
/// Connections of the scheduler under demonstration.
const POOL_SIZE: u32 = 12;
const AGENT_TAG: &str = "agent";

#[derive(Clone, Debug)]
pub struct DemoOptions {
    pub hosts: usize,
    pub jobs: usize,
    pub frames: u32,
    pub seed: u64,
    /// Real RQD agents. Without simulated hosts all frames are theirs, else some of an own job.
    pub agents: u8,
    pub generation: Generation,
    pub faults: Faults,
    /// Share of the hosts that die in the first half minute and come back later.
    pub dying_hosts: f64,
    pub run_time: RunTime,
    /// How the scheduler works; its selection should be everything.
    pub settings: Settings,
}

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("cannot bring the farm up")]
    Sandbox(#[from] SandboxError),
    #[error("cannot bring up PostgreSQL")]
    Postgres(#[from] PostgresError),
    #[error("cannot write Cuebot's schema")]
    Schema(#[from] SchemaError),
    #[error("cannot connect to the farm's database")]
    Connect(#[source] sqlx::Error),
    #[error("cannot connect the scheduler to the farm")]
    Store(#[from] StoreError),
    #[error("cannot start the scheduler")]
    Scheduler(#[from] PassError),
    #[error("cannot count")]
    Metrics(#[from] MetricsError),
    #[error("cannot use {path} for the frames' files")]
    Files { path: PathBuf, source: std::io::Error },
    #[error("the scheduler stopped in the middle")]
    Ended,
}

/// The figures of a demo. The names are stable.
#[derive(Clone, Debug, serde::Serialize)]
pub struct DemoSummary {
    pub hosts: u64,
    pub agents: u8,
    pub jobs: usize,
    pub frames: u64,
    pub seed: u64,
    pub generation: String,
    /// Bookings committed. More than frames where launches failed and frames were booked again.
    pub dispatched: u64,
    /// Launches that succeeded.
    pub launched: u64,
    pub completed: u64,
    pub dead: u64,
    pub refused_launches: u64,
    pub unknown_launches: u64,
    pub unbooked: u64,
    pub seconds: f64,
    pub frames_per_second: f64,
    /// From the start of the scheduler to the first launch that a host accepted.
    pub time_to_first_frame_ms: Option<u64>,
    pub passes: u64,
    pub double_launches: u64,
    pub cap_breaches: u64,
    pub audit_violations: u64,
    /// Per dispatched frame: statements sent by the scheduler, rows it read and wrote.
    pub statements_per_frame: f64,
    pub rows_per_frame: f64,
    /// Of the whole process: scheduler, simulated hosts and the stand-in for Cuebot.
    pub peak_rss_mib: u64,
    /// Files that real processes wrote, when real agents ran: expected, found once, and anything else.
    pub files_expected: u64,
    pub files_right: u64,
    pub files_wrong: u64,
}

/// What a demo came to.
#[derive(Clone, Debug)]
pub struct DemoReport {
    pub summary: DemoSummary,
    pub audit: AuditReport,
    pub ended: Ended,
    /// Why it did not finish.
    pub unfinished: Option<String>,
}

impl DemoReport {
    /// All frames done, the books balance, every file is there once.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.unfinished.is_none()
            && self.audit.is_clean()
            && self.summary.completed == self.summary.frames
            && self.summary.files_wrong == 0
            && self.summary.files_right == self.summary.files_expected
    }
}

/// A farm that is up, its scheduler not started yet.
pub struct Demo {
    options: DemoOptions,
    server: PostgresServer,
    sandbox: Sandbox,
    files: tempfile::TempDir,
    file_frames: u32,
}

impl Demo {
    pub async fn start(options: DemoOptions, watcher: &dyn Watcher) -> Result<Self, DemoError> {
        watcher.step("starting a private PostgreSQL");
        let server = PostgresServer::start_watched(&PostgresOptions::default(), watcher).await?;
        server.create_database(DATABASE, None).await?;
        let mut connection =
            PgConnection::connect_with(&server.connect_options(DATABASE)).await.map_err(DemoError::Connect)?;
        schema::create(&mut connection, options.generation).await?;
        let files = tempfile::Builder::new()
            .prefix("cue-scheduler-demo-")
            .tempdir()
            .map_err(|source| DemoError::Files { path: std::env::temp_dir(), source })?;
        let (spec, file_frames) = spec(&options, &files.path().display().to_string());
        let maintenance = if options.dying_hosts > 0.0 {
            Maintenance::within(Duration::from_secs(12))
        } else {
            Maintenance::default()
        };
        let sandbox_options = SandboxOptions {
            generation: options.generation,
            run_time: options.run_time,
            report_interval: if options.dying_hosts > 0.0 { Duration::from_secs(3) } else { Duration::from_secs(5) },
            faults: options.faults,
            agents: options.agents,
            agent_tags: vec![AGENT_TAG.to_owned()],
            cuebot: CuebotOptions { maintenance: Some(maintenance), ..CuebotOptions::default() },
            ..SandboxOptions::new(spec)
        };
        let sandbox = Sandbox::start(server.connect_settings(DATABASE), sandbox_options, watcher).await?;
        Ok(Self { options, server, sandbox, files, file_frames })
    }

    #[must_use]
    pub const fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Lets the scheduler work until nothing waits or runs any more, or `stop` is cancelled.
    pub async fn run(&self, watcher: &dyn Watcher, stop: CancellationToken) -> Result<DemoReport, DemoError> {
        let store =
            Store::connect(&crate::db::ConnectSettings { pool_size: POOL_SIZE, ..self.sandbox.database().clone() })
                .await?;
        let totals = Totals::default();
        let agents = Agents::new(self.sandbox.agent_settings());
        let mut settings = self.options.settings.clone();
        if self.options.agents > 0 {
            // Each real agent reports the load of this whole machine as its own.
            settings.policy.host_load = LoadRule::Off;
        }
        let parts = Parts {
            store: store.clone(),
            targets: LaunchTargets::Agents(agents),
            settings,
            metrics: Metrics::new(&Registry::new())?,
            health: Health::new(),
            totals: totals.clone(),
        };
        let service = Service::prepare(parts).await?;
        if let Some(fleet) = self.sandbox.fleet().filter(|_| self.options.dying_hosts > 0.0) {
            fleet.spread_deaths(self.options.dying_hosts, Duration::from_secs(20), Some(Duration::from_secs(30)));
        }
        let stop_service = CancellationToken::new();
        let meter_before = store.meter().reading();
        let began = Instant::now();
        let began_tokio = tokio::time::Instant::now();
        let running = tokio::spawn(service.run(stop_service.clone()));
        let (progress, unfinished) = self.watch(watcher, &totals, began, &running, &stop).await?;
        let seconds = began.elapsed().as_secs_f64();
        watcher.finished();
        stop_service.cancel();
        let ended = running.await.map_err(|_| DemoError::Ended)?;
        let database = store.meter().reading() - meter_before;
        store.close().await;

        let audit = self.sandbox.audit().await?;
        let counts = totals.reading();
        let first = self.sandbox.launches().iter().map(|launch| launch.started_at).min();
        let (files_right, files_wrong) = self.check_files()?;
        #[expect(clippy::cast_precision_loss, reason = "ratios for display")]
        let per_frame = |amount: u64| amount as f64 / counts.booked.max(1) as f64;
        let summary = DemoSummary {
            hosts: progress.hosts,
            agents: self.options.agents,
            jobs: self.sandbox.seeded().jobs.len(),
            frames: progress.frames,
            seed: self.options.seed,
            generation: self.options.generation.to_string(),
            dispatched: counts.booked,
            launched: counts.launched,
            completed: progress.done,
            dead: progress.dead,
            refused_launches: counts.refused,
            unknown_launches: counts.unknown,
            unbooked: counts.unbooked,
            seconds,
            frames_per_second: progress.frames_per_second(),
            time_to_first_frame_ms: first
                .map(|first| u64::try_from(first.duration_since(began_tokio).as_millis()).unwrap_or(u64::MAX)),
            passes: counts.passes,
            double_launches: audit.double_launches,
            cap_breaches: audit.cap_breaches,
            audit_violations: audit.violations_total,
            statements_per_frame: per_frame(database.statements),
            rows_per_frame: per_frame(database.rows_read + database.rows_written),
            peak_rss_mib: peak_rss_mib(),
            files_expected: u64::from(self.file_frames),
            files_right,
            files_wrong,
        };
        Ok(DemoReport { summary, audit, ended, unfinished })
    }

    /// Looks until the work is over; then the last look, and why it is not over if it is not.
    async fn watch(
        &self,
        watcher: &dyn Watcher,
        totals: &Totals,
        began: Instant,
        running: &tokio::task::JoinHandle<Ended>,
        stop: &CancellationToken,
    ) -> Result<(FarmProgress, Option<String>), DemoError> {
        let mut last = (FarmProgress::default(), Instant::now());
        loop {
            let counts = totals.reading();
            let progress = FarmProgress {
                booked: counts.booked,
                launched: counts.launched,
                elapsed: began.elapsed(),
                ..self.sandbox.progress().await?
            };
            watcher.progress(&progress);
            if progress.is_finished() {
                return Ok((progress, None));
            }
            let moved =
                (progress.waiting, progress.running, progress.done) != (last.0.waiting, last.0.running, last.0.done);
            if moved {
                last = (progress, Instant::now());
            } else if last.1.elapsed() > STALLED_AFTER {
                let waiting: Vec<String> = (totals.waiting().iter())
                    .map(|(reason, count)| format!("{} frames: {}", count.frames, reason.sentence()))
                    .collect();
                let stalled = format!("nothing moved for {} s; {}", STALLED_AFTER.as_secs(), waiting.join("; "));
                return Ok((progress, Some(stalled)));
            }
            if running.is_finished() {
                return Err(DemoError::Ended);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok((progress, Some("interrupted".to_owned()))),
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    /// Files with exactly one line, and files with another number.
    fn check_files(&self) -> Result<(u64, u64), DemoError> {
        let folder = self.files.path().join("frames");
        let mut lines: BTreeMap<PathBuf, usize> = BTreeMap::new();
        if self.file_frames > 0 {
            let unreadable = |source| DemoError::Files { path: folder.clone(), source };
            for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                let text = std::fs::read_to_string(&path).map_err(unreadable)?;
                lines.insert(path, text.lines().count());
            }
        }
        let right = lines.values().filter(|lines| **lines == 1).count();
        Ok((right as u64, (lines.len() - right) as u64))
    }

    /// Takes everything down. Names of what did not end in time.
    pub async fn stop(self) -> Vec<&'static str> {
        let left = self.sandbox.stop().await;
        self.server.stop().await;
        left
    }
}

/// The farm, and how many frames write files on real agents.
fn spec(options: &DemoOptions, files: &str) -> (FarmSpec, u32) {
    let file_frames = match (options.agents, options.hosts) {
        (0, _) => 0,
        (_, 0) => options.frames,
        (agents, _) => (u32::from(agents) * 25).min(options.frames),
    };
    let mut spec = if options.hosts == 0 {
        FarmSpec { seed: options.seed, ..FarmSpec::empty() }.alloc("general", "general")
    } else {
        FarmSpec::demo(options.hosts, options.jobs, (options.frames - file_frames).max(1), options.seed)
    };
    if file_frames > 0 {
        let jobs = u32::try_from(options.jobs).unwrap_or(u32::MAX).clamp(1, file_frames).min(8);
        let mut folder = FolderSpec::new("agents");
        for job in 0..jobs {
            let frames = file_frames / jobs + u32::from(job < file_frames % jobs);
            let mut layer = LayerSpec::new("write").frames(frames);
            // Appending: a frame that ran twice leaves two lines.
            layer.command = format!("mkdir -p {files}/frames && echo \"$CUE_FRAME\" >> {files}/frames/#JOB#.#IFRAME#");
            AGENT_TAG.clone_into(&mut layer.tags);
            layer.cores_min = Cores(100);
            layer.memory = Kib::mib(256);
            layer.is_threadable = false;
            folder = folder.job(JobSpec::new(&format!("real{job}")).layer(layer));
        }
        folder.jobs.iter_mut().for_each(|job| job.log_dir = format!("{files}/logs"));
        let show =
            ShowSpec::new("agents").subscription("general", Cores::whole(1_000), Cores::whole(10_000)).folder(folder);
        spec = spec.show(show);
    }
    (spec, file_frames)
}

/// The kernel's own high-water mark; 0 where it keeps none.
fn peak_rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or_default() / 1024
}
