//! A stand-in for Cuebot beside a scheduler: takes the reports of agents, stops frames, releases procs
//! and sweeps for lost runs, with the row changes of the generation that the database has.
//!
//! Invariants:
//! - stop and release are transactions of their own, as Cuebot's are; in between a proc is there and
//!   runs nothing. A proc whose run was lost is given up statement by statement, each committed alone;
//!   in between it is gone and what it held is still counted;
//! - rows are locked in Cuebot's order (frame, counters of layers and of jobs, proc, host, subscription,
//!   use of layers, of jobs, of folders, point), each table sorted;
//! - a proc gives back what its row says when it is deleted;
//! - what it books, launches and takes back itself it does with statements and messages of its own, so that
//!   those of the scheduler never judge themselves;
//! - a report is applied to the run that it names and to no later one;
//! - a report counts as taken when its rows are written, and is tried again while the database is away.
//!
//! Left out, as no farm of this product needs it: dependencies, memory raises, local
//! dispatch, deeds, delay rules. Reports of older generations are verified as the newest does. The
//! tags of a host with a row are left as they are when it boots.

mod completions;
mod database;
mod hosts;
mod launches;
mod maintenance;
mod next_frames;
mod next_state;
mod options;
mod redirects;
mod release;
mod reports;
mod service;
mod shared;
mod stop;
mod totals;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

pub use options::{CuebotCounts, CuebotOptions, Maintenance, NextFrames};

use self::service::Service;
use self::shared::Shared;
use super::schema::Generation;
use crate::rqd::Agents;
use crate::rqd::proto::report::rqd_report_interface_server::RqdReportInterfaceServer;
use crate::tasks::Tasks;

/// Reports on their way to a worker; more wait in their connections.
const QUEUED_MAX: usize = 4_096;
/// Batches between stop and release.
const BATCHES_QUEUED_MAX: usize = 4;
/// Time for the reports under way when the stand-in is stopped.
const STOP_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum CuebotError {
    #[error("cannot listen at {address} for agents' reports")]
    Listen { address: SocketAddr, source: io::Error },
}

/// Answers until it is stopped or dropped.
pub struct Cuebot {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Cuebot {
    /// Listens for reports and begins to sweep. Uses at most four of the pool's connections at once, and one
    /// more for every redirect that is carried out or launch that is taken back at that moment.
    pub async fn start(pool: PgPool, generation: Generation, options: CuebotOptions) -> Result<Self, CuebotError> {
        let failed = |source| CuebotError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            pool,
            generation,
            agents: Mutex::new(options.agents.clone()),
            options,
            counts: Mutex::default(),
            is_silent: AtomicBool::new(false),
            tasks: Tasks::new(),
        });
        let (completions, ended) = mpsc::channel(QUEUED_MAX);
        let (hosts, seen) = mpsc::channel(QUEUED_MAX);
        let (stopped, to_release) = mpsc::channel(BATCHES_QUEUED_MAX);
        let tasks = &shared.tasks;
        tasks.spawn("cuebot stops", completions::stop_runs(Arc::clone(&shared), ended, stopped));
        tasks.spawn("cuebot releases", completions::release_procs(Arc::clone(&shared), to_release));
        tasks.spawn("cuebot reports", reports::take_reports(Arc::clone(&shared), seen));
        if let Some(maintenance) = shared.options.maintenance {
            tasks.spawn("cuebot maintenance", maintenance::sweep_regularly(Arc::clone(&shared), maintenance));
        }
        let stop = tasks.stop_signal();
        let served = Arc::clone(&shared);
        tasks.spawn("cuebot server", async move {
            let service = RqdReportInterfaceServer::new(Service { shared: served, completions, hosts });
            let connections = TcpListenerStream::new(listener);
            let serving = Server::builder().tcp_nodelay(true).add_service(service);
            if let Err(error) = serving.serve_with_incoming_shutdown(connections, stop.cancelled_owned()).await {
                tracing::error!(%error, "the Cuebot stand-in stopped answering");
            }
        });
        Ok(Self { shared, address })
    }

    /// Where agents report to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn counts(&self) -> CuebotCounts {
        *self.shared.counts.lock()
    }

    /// As if it had died: reports and completions find nobody, nothing is swept. What had arrived before is
    /// finished.
    pub fn fall_silent(&self) {
        self.shared.is_silent.store(true, Ordering::Relaxed);
    }

    /// As if it had been started again.
    pub fn answer_again(&self) {
        self.shared.is_silent.store(false, Ordering::Relaxed);
    }

    /// Names the agents, once their port is known: they need this address before they start.
    pub fn call_agents(&self, agents: Agents) {
        *self.shared.agents.lock() = Some(agents);
    }

    /// Finishes the reports under way, at most within a few seconds. Returns the names of tasks that
    /// did not end.
    pub async fn stop(self) -> Vec<&'static str> {
        self.shared.tasks.stop(STOP_LIMIT).await
    }
}

impl Drop for Cuebot {
    fn drop(&mut self) {
        self.shared.tasks.stop_signal().cancel();
    }
}
