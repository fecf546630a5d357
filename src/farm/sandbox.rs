//! A whole farm under one roof: a database, hosts, and a Cuebot that releases what ran.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::agents::{RealAgents, RealAgentsError, RealAgentsOptions};
use super::audit::{AuditError, AuditReport, audit, audit_rows};
use super::cuebot::{Cuebot, CuebotError, CuebotOptions};
use super::fleet::{AgentKind, Faults, Fleet, FleetError, FleetHost, FleetOptions, RunTime};
use super::launch::Launch;
use super::progress::{FarmProgress, Watcher, load_progress};
use super::schema::Generation;
use super::seed::{FarmSpec, SeedError, Seeded, seed};
use crate::db::ConnectSettings;
use crate::rqd::{AgentSettings, Agents};

/// Connections that the stand-in for Cuebot, the audit and the progress share.
const CONNECTIONS: u32 = 8;

/// What farm to bring up.
#[derive(Clone)]
pub struct SandboxOptions {
    pub generation: Generation,
    pub spec: FarmSpec,
    pub run_time: RunTime,
    pub report_interval: Duration,
    /// As in [`FleetOptions`], like the next two.
    pub report_interval_min: Option<Duration>,
    pub completion_attempts_max: u32,
    pub agent_kinds: Vec<AgentKind>,
    pub faults: Faults,
    /// Real RQD agents beside the simulated hosts, of four cores each.
    pub agents: u8,
    /// Tags that the agents report; layers with one of them run there.
    pub agent_tags: Vec<String>,
    pub cuebot: CuebotOptions,
}

impl SandboxOptions {
    /// A healthy farm of the oldest generation.
    #[must_use]
    pub fn new(spec: FarmSpec) -> Self {
        let fleet = FleetOptions::default();
        Self {
            generation: Generation::G0,
            spec,
            run_time: fleet.run_time,
            report_interval: fleet.report_interval,
            report_interval_min: fleet.report_interval_min,
            completion_attempts_max: fleet.completion_attempts_max,
            agent_kinds: fleet.agents,
            faults: fleet.faults,
            agents: 0,
            agent_tags: Vec::new(),
            cuebot: CuebotOptions::default(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("cannot seed the farm")]
    Seed(#[from] SeedError),
    #[error("cannot start the stand-in for Cuebot")]
    Cuebot(#[from] CuebotError),
    #[error("cannot start the simulated hosts")]
    Fleet(#[from] FleetError),
    #[error("cannot start the RQD agents")]
    Agents(#[from] RealAgentsError),
    #[error("cannot audit the farm")]
    Audit(#[from] AuditError),
    #[error("failed {step}")]
    Database { step: &'static str, source: sqlx::Error },
}

fn step(step: &'static str) -> impl FnOnce(sqlx::Error) -> SandboxError {
    move |source| SandboxError::Database { step, source }
}

/// A running farm. [`Sandbox::stop`] ends it; dropping it does so less politely.
pub struct Sandbox {
    database: ConnectSettings,
    pool: PgPool,
    cuebot: Cuebot,
    fleet: Option<Fleet>,
    agents: Option<RealAgents>,
    seeded: Seeded,
    port: u16,
}

impl Sandbox {
    /// Seeds a database that has Cuebot's schema, of the generation that the options name, and no farm
    /// yet, and brings the farm up around it.
    pub async fn start(
        database: ConnectSettings,
        options: SandboxOptions,
        watcher: &dyn Watcher,
    ) -> Result<Self, SandboxError> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(database.connect_options())
            .await
            .map_err(step("connecting to the farm's database"))?;
        let seeded = seed(&pool, &options.spec).await?;
        // Until autovacuum comes round, the planner would take every table for empty.
        sqlx::query("ANALYZE").execute(&pool).await.map_err(step("analysing the seeded tables"))?;
        watcher.step(&format!(
            "seeded {} hosts, {} jobs, {} layers, {} frames ({})",
            seeded.hosts.len(),
            seeded.jobs.len(),
            seeded.layers.len(),
            seeded.frames,
            options.generation
        ));
        let cuebot = Cuebot::start(pool.clone(), options.generation, options.cuebot).await?;
        let fleet = if seeded.hosts.is_empty() {
            None
        } else {
            let fleet_options = FleetOptions {
                report_to: Some(cuebot.address()),
                run_time: options.run_time,
                report_interval: options.report_interval,
                report_interval_min: options.report_interval_min,
                completion_attempts_max: options.completion_attempts_max,
                agents: options.agent_kinds,
                faults: options.faults,
                seed: options.spec.seed,
                ..FleetOptions::default()
            };
            let fleet = Fleet::start(FleetHost::all_of(&seeded), fleet_options).await?;
            watcher.step(&format!("{} simulated hosts answer gRPC on port {}", seeded.hosts.len(), fleet.port()));
            Some(fleet)
        };
        let agents = if options.agents == 0 {
            None
        } else {
            let agent_options = RealAgentsOptions {
                agents: options.agents,
                port: fleet.as_ref().map(Fleet::port),
                tags: options.agent_tags,
                ..RealAgentsOptions::new(cuebot.address())
            };
            watcher.step(&format!("starting {} real RQD agents", options.agents));
            let has_booted = |name| has_booted(pool.clone(), name);
            let agents = RealAgents::start_watched(&agent_options, watcher, has_booted).await?;
            watcher.step(&format!("{} real RQD agents booted on port {}", options.agents, agents.port()));
            Some(agents)
        };
        let port = fleet.as_ref().map(Fleet::port).or(agents.as_ref().map(RealAgents::port)).unwrap_or_default();
        cuebot.call_agents(Agents::new(AgentSettings { port, ..AgentSettings::default() }));
        Ok(Self { database, pool, cuebot, fleet, agents, seeded, port })
    }

    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// How to reach the farm's database.
    #[must_use]
    pub const fn database(&self) -> &ConnectSettings {
        &self.database
    }

    /// Of every host, simulated or real.
    #[must_use]
    pub const fn rqd_port(&self) -> u16 {
        self.port
    }

    /// How a scheduler in this process calls the hosts: both ends of every connection are files here.
    #[must_use]
    pub fn agent_settings(&self) -> AgentSettings {
        let defaults = AgentSettings::default();
        let connections = self.fleet.as_ref().map_or(defaults.connections_max, Fleet::connections_max);
        AgentSettings { port: self.port, connections_max: connections.min(defaults.connections_max), ..defaults }
    }

    #[must_use]
    pub const fn seeded(&self) -> &Seeded {
        &self.seeded
    }

    #[must_use]
    pub const fn cuebot(&self) -> &Cuebot {
        &self.cuebot
    }

    /// The simulated hosts, if there are any.
    #[must_use]
    pub const fn fleet(&self) -> Option<&Fleet> {
        self.fleet.as_ref()
    }

    /// What the simulated hosts accepted.
    #[must_use]
    pub fn launches(&self) -> Vec<Launch> {
        self.fleet.as_ref().map(Fleet::launches).unwrap_or_default()
    }

    pub async fn progress(&self) -> Result<FarmProgress, SandboxError> {
        load_progress(&self.pool).await.map_err(step("reading the farm's progress"))
    }

    /// Recomputes the books: from the rows alone where real agents run, of which nobody can say what
    /// exactly they received.
    pub async fn audit(&self) -> Result<AuditReport, SandboxError> {
        Ok(match (&self.fleet, &self.agents) {
            (Some(fleet), None) => audit(&self.pool, &fleet.launches()).await?,
            _ => audit_rows(&self.pool).await?,
        })
    }

    /// Ends hosts and Cuebot. Names of what did not end in time.
    pub async fn stop(self) -> Vec<&'static str> {
        let Self { pool, cuebot, fleet, agents, .. } = self;
        let mut left = Vec::new();
        if let Some(agents) = agents {
            agents.stop().await;
        }
        if let Some(fleet) = fleet {
            left.extend(fleet.stop().await);
        }
        left.extend(cuebot.stop().await);
        pool.close().await;
        left
    }
}

/// Whether Cuebot has made a row of the host's boot report.
async fn has_booted(pool: PgPool, name: String) -> bool {
    let found: Result<bool, _> =
        sqlx::query_scalar(include_str!("sql/has_booted.sql")).bind(name).fetch_one(&pool).await;
    found.unwrap_or(false)
}
