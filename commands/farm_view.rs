//! The farm as `run` sees it, for commands that only look.

use anyhow::Context as _;
use cue_scheduler::config::BesideMaestro;
use cue_scheduler::db::{ConnectSettings, Store};
use cue_scheduler::model::{Cluster, LeftOutRow};
use cue_scheduler::preview::{self, Look};
use cue_scheduler::scheduler::Settings;

use crate::listing::short_age;
use crate::output::Printer;
use crate::selection;
use crate::settings::RunSettings;

/// Connections that a look needs at most.
const CONNECTIONS: u32 = 4;

/// A database, and the clusters that the settings select in it.
#[derive(Debug)]
pub(crate) struct FarmView {
    pub(crate) store: Store,
    pub(crate) clusters: Vec<Cluster>,
    /// As a pass of `run` has them.
    pub(crate) settings: Settings,
}

impl FarmView {
    /// Connects and selects; says what the settings and the rows of the clusters have wrong.
    pub(crate) async fn open(settings: &RunSettings, printer: Printer) -> anyhow::Result<Self> {
        let config = &settings.loaded.config;
        let store = connect(settings, printer).await?;
        let loaded = selection::load(&store, config).await?;
        name_left_out(&loaded.left_out, printer);
        Ok(Self { store, clusters: loaded.clusters, settings: Settings::of(config) })
    }

    /// What the next pass would see and plan.
    pub(crate) async fn look(&self) -> anyhow::Result<Look> {
        Ok(preview::look(&self.store, &self.clusters, &self.settings).await?)
    }

    /// Says so where `run` would book nothing at all.
    pub(crate) async fn warn_of_pauses(&self, printer: Printer) -> anyhow::Result<()> {
        let is_refusing = self.settings.beside_maestro == BesideMaestro::Refuse;
        if is_refusing && self.store.foreign_planner_active().await? {
            printer.warning("Cuebot's own planner is active: `run` books nothing beside it (scheduler.beside_maestro)");
        }
        if let Some(silence) = self.settings.silence(&self.store.newest_report(&self.clusters).await?) {
            let age = short_age(silence.as_secs().cast_signed());
            printer.warning(format_args!(
                "no host report for {age}: Cuebot does not answer, and `run` books nothing until one arrives \
                 (queue.cuebot_silence)"
            ));
        }
        Ok(())
    }
}

/// Connects with few connections; says what the settings have wrong.
pub(crate) async fn connect(settings: &RunSettings, printer: Printer) -> anyhow::Result<Store> {
    printer.warnings(&settings.loaded.warnings);
    let pool_size = CONNECTIONS.min(settings.connect.pool_size);
    let connect = ConnectSettings { pool_size, ..settings.connect.clone() };
    Store::connect(&connect).await.context("Failed to connect to database")
}

/// Rows that cannot be used.
pub(crate) fn name_left_out(rows: &[LeftOutRow], printer: Printer) {
    let line = |LeftOutRow { table, id, problem }: &LeftOutRow| format!("{table} {id} is left out: {problem}");
    printer.warn_of(rows, line, "rows are left out");
}
