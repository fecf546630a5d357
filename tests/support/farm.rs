//! A farm for a test, and the scheduler on it.

use std::time::Duration;

use cue_scheduler::db::{ConnectSettings, Store};
use cue_scheduler::farm::audit::AuditReport;
use cue_scheduler::farm::cuebot::{CuebotOptions, Maintenance};
use cue_scheduler::farm::fleet::RunTime;
use cue_scheduler::farm::progress::{FarmProgress, Unwatched};
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, ShowSpec};
use cue_scheduler::rqd::{AgentSettings, Agents, ConfirmSettings};
use cue_scheduler::scheduler::{Ended, LaunchTargets, Parts, Service, Settings, Totals};
use cue_scheduler::telemetry::{Health, Metrics};
use cue_scheduler::units::Cores;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come: longer than the busiest machine takes, since it only tells
/// slow from never.
pub(crate) const PATIENCE: Duration = Duration::from_mins(10);

/// Hosts of four cores and these jobs of one show, which may use them all.
pub(crate) fn four_core_farm(hosts: usize, jobs: impl IntoIterator<Item = JobSpec>) -> FarmSpec {
    let folder = jobs.into_iter().fold(FolderSpec::new("comp"), FolderSpec::job);
    let show = ShowSpec::new("show").subscription("general", Cores::whole(1_000), Cores::whole(1_000));
    FarmSpec::empty()
        .alloc("general", "general")
        .host_class(HostClass::new("render", hosts).cores(Cores::whole(4)))
        .show(show.folder(folder))
}

/// Options of a farm that does not wait minutes for what is lost.
pub(crate) fn quick_farm(spec: FarmSpec) -> SandboxOptions {
    SandboxOptions {
        run_time: RunTime::Between(Duration::from_millis(20), Duration::from_millis(120)),
        report_interval: Duration::from_millis(700),
        cuebot: CuebotOptions {
            maintenance: Some(Maintenance::within(Duration::from_secs(5))),
            ..CuebotOptions::default()
        },
        ..SandboxOptions::new(spec)
    }
}

/// Settings that settle what is unknown within seconds.
pub(crate) fn quick_settings() -> Settings {
    let defaults = Settings::default();
    Settings {
        monitor_interval: Duration::from_secs(1),
        active_scan_interval: Duration::from_millis(50),
        cluster_saturated_sleep: Duration::from_millis(50),
        launch_deadline: Duration::from_secs(2),
        launch_timeout: Duration::from_secs(2),
        confirm: ConfirmSettings {
            apart: Duration::from_millis(600),
            retry_first: Duration::from_millis(200),
            retry_max: Duration::from_secs(1),
        },
        host_breaker: cue_scheduler::rqd::BreakerSettings {
            pause: Duration::from_millis(100),
            cool_down_first: Duration::from_millis(500),
            cool_down_max: Duration::from_secs(2),
            ..defaults.host_breaker
        },
        job_back_off_duration: Duration::from_secs(2),
        recover_interval: Duration::from_secs(1),
        recompute_interval: Duration::from_millis(500),
        shutdown_timeout: Duration::from_secs(10),
        ..defaults
    }
}

pub(crate) async fn farm(database: ConnectSettings, options: SandboxOptions) -> Sandbox {
    Sandbox::start(database, options, &Unwatched).await.expect("the farm comes up")
}

/// A scheduler at work in this process.
pub(crate) struct Scheduler {
    pub(crate) totals: Totals,
    pub(crate) health: Health,
    registry: prometheus::Registry,
    stop: CancellationToken,
    running: JoinHandle<Ended>,
}

impl Scheduler {
    pub(crate) async fn start(sandbox: &Sandbox, settings: Settings) -> Self {
        Self::start_at(sandbox, settings, sandbox.rqd_port()).await
    }

    /// One that finds all agents at another port than the farm's.
    pub(crate) async fn start_at(sandbox: &Sandbox, settings: Settings, rqd_port: u16) -> Self {
        let agents = AgentSettings {
            port: rqd_port,
            connect_timeout: Duration::from_millis(500),
            call_timeout: Duration::from_millis(1500),
            ..AgentSettings::default()
        };
        Self::start_calling(sandbox, settings, agents).await
    }

    /// One that reaches the farm's database another way.
    pub(crate) async fn start_on(database: ConnectSettings, sandbox: &Sandbox, settings: Settings) -> Self {
        let agents = AgentSettings {
            connect_timeout: Duration::from_millis(500),
            call_timeout: Duration::from_millis(1500),
            ..sandbox.agent_settings()
        };
        Self::start_with(database, settings, agents).await
    }

    /// One that calls agents in this way.
    pub(crate) async fn start_calling(sandbox: &Sandbox, settings: Settings, agents: AgentSettings) -> Self {
        Self::start_with(sandbox.database().clone(), settings, agents).await
    }

    async fn start_with(database: ConnectSettings, settings: Settings, agents: AgentSettings) -> Self {
        let connect = ConnectSettings { pool_size: 8, ..database }.as_scheduler();
        let store = Store::connect(&connect).await.unwrap();
        let (totals, health) = (Totals::default(), Health::new());
        let registry = prometheus::Registry::new();
        let parts = Parts {
            store,
            targets: LaunchTargets::Agents(Agents::new(agents)),
            settings,
            metrics: Metrics::new(&registry).unwrap(),
            health: health.clone(),
            totals: totals.clone(),
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(Service::prepare(parts).await.unwrap().run(stop.clone()));
        Self { totals, health, registry, stop, running }
    }

    /// A counter, all its series together.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let families = self.registry.gather();
        let of = families
            .iter()
            .filter(|family| family.name() == name)
            .flat_map(prometheus::proto::MetricFamily::get_metric);
        let total: f64 = of.map(|metric| metric.get_counter().value()).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
        let total = total as u64;
        total
    }

    /// A counter's or gauge's series with this label; empty for one without labels. 0: there is none.
    pub(crate) fn metric(&self, name: &str, label: &str) -> i64 {
        let families = self.registry.gather();
        let series = families
            .iter()
            .filter(|family| family.name() == name)
            .flat_map(prometheus::proto::MetricFamily::get_metric);
        let is_it = |labels: &[prometheus::proto::LabelPair]| {
            labels.iter().any(|pair| pair.value() == label) || (labels.is_empty() && label.is_empty())
        };
        let of = series.filter(|metric| is_it(metric.get_label()));
        let total: f64 = of.map(|metric| metric.get_gauge().value() + metric.get_counter().value()).sum();
        #[expect(clippy::cast_possible_truncation, reason = "a small whole number")]
        let total = total as i64;
        total
    }

    /// Tells it to stop, as SIGTERM does.
    pub(crate) async fn stop(self) -> Ended {
        self.stop.cancel();
        self.ended().await
    }

    /// The same, and its metrics can still be read.
    pub(crate) async fn stopped(&mut self) -> Ended {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, &mut self.running).await.expect("it ends in time").unwrap()
    }

    /// Waits for it to end by itself.
    pub(crate) async fn ended(self) -> Ended {
        tokio::time::timeout(PATIENCE, self.running).await.expect("it ends in time").unwrap()
    }
}

/// Waits until `is_so` says yes of the farm's progress; panics with the last one when that takes longer than
/// any machine needs.
pub(crate) async fn until(sandbox: &Sandbox, is_so: impl Fn(&FarmProgress) -> bool) -> FarmProgress {
    let began = std::time::Instant::now();
    loop {
        // The database may be away for a while.
        if let Ok(progress) = sandbox.progress().await {
            if is_so(&progress) {
                return progress;
            }
            assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {progress:?}");
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Everything done, nothing twice, and the books balance.
pub(crate) async fn assert_all_done(sandbox: &Sandbox) -> AuditReport {
    let progress = until(sandbox, FarmProgress::is_finished).await;
    assert_eq!(progress.done, progress.frames, "{progress:?}");
    // Releases follow the stops on a queue.
    let began = std::time::Instant::now();
    loop {
        let report = sandbox.audit().await.expect("the audit runs");
        if report.is_clean() && report.procs == 0 {
            assert_eq!(report.double_launches, 0);
            return report;
        }
        assert!(began.elapsed() < PATIENCE, "{report:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
