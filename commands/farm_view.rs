//! The farm as `run` sees it, for commands that only look.

use std::collections::BTreeMap;

use anyhow::Context as _;
use cue_scheduler::config::BesideMaestro;
use cue_scheduler::db::{ConnectSettings, Store};
use cue_scheduler::model::{Cluster, LeftOutRow};
use cue_scheduler::preview::{self, Look};
use cue_scheduler::scheduler::Settings;

use crate::failure::CONNECTING;
use crate::listing::short_age;
use crate::output::Printer;
use crate::selection;
use crate::settings::RunSettings;

/// Holds of a running service that no command sees, and where its own pages have them.
pub(crate) const UNSEEN: &str = "\
Not seen here, and may apply: hosts and layers that a running scheduler puts aside after failures, and room that it \
keeps for launches and redirects; on its metrics page: scheduler_waiting_frames{reason=\"back_off\"}, \
scheduler_hosts{state=\"put_aside\"}, scheduler_held_back, scheduler_failing_hosts, scheduler_unsettled_bookings.";
/// Connections that a look needs at most.
const CONNECTIONS: u32 = 4;

/// A database, and the clusters that the settings select in it.
#[derive(Debug)]
pub(crate) struct FarmView {
    pub(crate) store: Store,
    pub(crate) clusters: Vec<Cluster>,
    /// Shows, each with whether it is flagged for a scheduler.
    flags: BTreeMap<String, Option<bool>>,
    /// As a pass of `run` has them.
    pub(crate) settings: Settings,
}

impl FarmView {
    /// Connects and selects; says what the settings and the rows of the clusters have wrong.
    pub(crate) async fn open(settings: &RunSettings, printer: Printer) -> anyhow::Result<Self> {
        let config = &settings.loaded.config;
        let store = connect(settings, printer).await?;
        let rows = selection::load_rows(&store).await?;
        let clusters = selection::select(&rows, config)?;
        name_left_out(&rows.left_out, printer);
        let flags = rows.shows.into_iter().map(|show| (show.name, show.is_scheduler_managed)).collect();
        Ok(Self { store, clusters, flags, settings: Settings::of(config) })
    }

    /// Whether a show is flagged for a scheduler; `None` where the schema has no such flag.
    pub(crate) fn is_flagged(&self, show: &str) -> Option<bool> {
        self.flags.get(show).copied().flatten()
    }

    /// Who dispatches a show of which no cluster here is; `None` where one is.
    pub(crate) fn who_dispatches(&self, show: &str) -> Option<String> {
        if self.clusters.iter().any(|cluster| cluster.show_name.starts_with(show)) {
            return None;
        }
        Some(match self.is_flagged(show) {
            Some(true) => format!("show {show} is flagged for a scheduler, and no cluster of this one serves it"),
            _ => format!("Cuebot dispatches show {show}: no cluster of this scheduler serves it"),
        })
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
    let store = Store::connect(&connect).await.context(CONNECTING)?;
    warn_of_standby(&store, printer);
    Ok(store)
}

/// What only reads may do so anywhere.
fn warn_of_standby(store: &Store, printer: Printer) {
    if store.is_standby() {
        printer.warning(
            "the database is a standby: what is read may be older than what the primary has, whether Cuebot's own \
             planner is active cannot be seen there, and `run` waits for the primary",
        );
    }
}

/// Rows that cannot be used.
pub(crate) fn name_left_out(rows: &[LeftOutRow], printer: Printer) {
    let line = |LeftOutRow { table, id, problem }: &LeftOutRow| format!("{table} {id} is left out: {problem}");
    printer.warn_of(rows, line, "rows are left out");
}
