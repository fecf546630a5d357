//! Simulated RQD hosts: real gRPC on loopback, every host at an address of its own and all on one
//! port, so that whoever dials "host name:port" finds each without a resolver.
//!
//! Invariants:
//! - a frame that was accepted runs until its time is over, it is killed or its host dies, and
//!   [`Fleet::launches`] knows all three;
//! - faults change what a caller sees and what is reported, never what the record says;
//! - one server, one timer queue and two sending tasks serve all hosts; only listening takes one
//!   small task each.

mod connection;
mod counts;
mod draw;
mod error;
mod options;
mod reports;
mod service;
mod shared;
mod state;
mod timers;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

pub use counts::FleetCounts;
pub use error::FleetError;
pub use options::{AgentKind, Faults, FleetHost, FleetOptions, REFUSED_VARIABLE, RunTime};

use self::connection::Connection;
use self::reports::{COMPLETIONS_QUEUED_MAX, REPORTS_QUEUED_MAX, Reporter, send_boots, send_completions, send_reports};
use self::service::Service;
use self::shared::Shared;
use self::state::State;
use self::timers::{Event, Timers};
use super::launch::Launch;
use crate::rqd::proto::rqd::rqd_interface_server::RqdInterfaceServer;
use crate::tasks::Tasks;

/// Time for the last answers when the fleet is stopped.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Connections on their way from the listeners to the server.
const CONNECTIONS_QUEUED_MAX: usize = 1_024;

/// A fleet that answers until it is stopped or dropped.
pub struct Fleet {
    shared: Arc<Shared>,
    /// Who lets hosts boot, where they do.
    booting: Option<Arc<Reporter>>,
    connections_max: usize,
    seed: u64,
}

impl Fleet {
    /// Listens at all hosts' addresses, lets them boot where asked, and answers from then on.
    pub async fn start(hosts: Vec<FleetHost>, options: FleetOptions) -> Result<Self, FleetError> {
        let addresses = hosts.iter().map(address_of).collect::<Result<Vec<_>, _>>()?;
        let connections_max = connection::make_room(hosts.len())?;
        let (port, listeners) = connection::listen(&addresses)?;
        let reporter =
            options.report_to.map(|cuebot| Reporter::new(cuebot, options.completion_attempts_max)).transpose()?;
        let reporter = reporter.map(Arc::new);
        let (connections, accepted) = mpsc::channel(CONNECTIONS_QUEUED_MAX);
        let (completions, completed) = mpsc::channel(COMPLETIONS_QUEUED_MAX);
        let (reports, due) = mpsc::channel(REPORTS_QUEUED_MAX);
        let shared = Arc::new(Shared {
            state: parking_lot::Mutex::new(State::new(hosts, &options)),
            timers: Timers::default(),
            addresses,
            port,
            connections,
            completions: reporter.as_ref().map(|_| completions),
            report_interval: options.report_interval,
            report_interval_min: options.report_interval_min,
            tasks: Tasks::new(),
        });
        serve(&shared, accepted);
        for (host, listener) in listeners.into_iter().enumerate() {
            shared.accept(host, listener);
        }
        let booting = reporter.clone().filter(|_| options.boot_reports);
        shared.spawn("fleet timers", turn_timers(Arc::clone(&shared), booting.clone(), reports, options.seed));
        if let Some(reporter) = reporter {
            let (completing, reporting) = (Arc::clone(&shared), Arc::clone(&shared));
            shared.spawn("fleet completions", send_completions(completing, Arc::clone(&reporter), completed));
            shared.spawn("fleet reports", send_reports(reporting, Arc::clone(&reporter), due));
            if options.boot_reports {
                send_boots(&shared, &reporter).await;
            }
            shared.spread_reports(options.seed);
        }
        Ok(Self { shared, booting, connections_max, seed: options.seed })
    }

    /// The port of all hosts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.shared.port
    }

    /// How many connections to hosts a caller in this process can keep open before its open files run
    /// out: at least as many as hosts where the system allows enough files.
    #[must_use]
    pub const fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// Every launch that a host accepted, in the order of acceptance.
    #[must_use]
    pub fn launches(&self) -> Vec<Launch> {
        self.shared.state().launches.clone()
    }

    #[must_use]
    pub fn counts(&self) -> FleetCounts {
        let state = self.shared.state();
        let hosts_up = state.hosts.iter().filter(|host| host.is_up()).count();
        FleetCounts { hosts: state.hosts.len(), hosts_up, ..state.counts }
    }

    /// From the next launch on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.state().faults = faults;
    }

    /// Takes a host off the net: its listener closes, its connections break, what runs on it vanishes
    /// without a report. Nothing happens to a dead one.
    pub fn kill_host(&self, name: &str) -> Result<(), FleetError> {
        let host = self.number_of(name)?;
        self.shared.state().die(host);
        Ok(())
    }

    /// From now on a host takes calls and never answers any; it goes on reporting.
    pub fn mute_host(&self, name: &str) -> Result<(), FleetError> {
        let host = self.number_of(name)?;
        self.shared.state().hosts[host].is_mute = true;
        Ok(())
    }

    /// Brings a dead host back, empty, and lets it boot. Nothing happens to a living one.
    pub async fn revive_host(&self, name: &str) -> Result<(), FleetError> {
        let host = self.number_of(name)?;
        revive(&self.shared, self.booting.as_deref(), host).await
    }

    /// From the next launch on every frame fails at once on a host, or no longer does.
    pub fn set_failing(&self, name: &str, fails_all: bool) -> Result<(), FleetError> {
        let host = self.number_of(name)?;
        self.shared.state().hosts[host].fails_all = fails_all;
        Ok(())
    }

    /// Lets a share of the hosts die at drawn moments of the time ahead, each to come back after
    /// `back_after` if that is given. Returns who will die.
    pub fn spread_deaths(&self, share: f64, within: Duration, back_after: Option<Duration>) -> Vec<String> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut hosts: Vec<usize> = (0..self.shared.addresses.len()).collect();
        hosts.shuffle(&mut random);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        hosts.truncate((hosts.len() as f64 * share.clamp(0.0, 1.0)).ceil() as usize);
        let now = Instant::now();
        for &host in &hosts {
            let death = now + within.mul_f64(random.random());
            self.shared.timers.at(death, Event::Die { host });
            if let Some(back_after) = back_after {
                self.shared.timers.at(death + back_after, Event::Revive { host });
            }
        }
        let state = self.shared.state();
        hosts.into_iter().map(|host| state.hosts[host].spec.name.clone()).collect()
    }

    /// Ends everything, at most within a few seconds. Frames that run vanish, and completions that are
    /// not answered yet are lost: wait for [`FleetCounts::completions_reported`] before. Returns the names of tasks that did not end.
    pub async fn stop(self) -> Vec<&'static str> {
        self.shared.end_lives();
        self.shared.tasks.stop(STOP_LIMIT).await
    }

    fn number_of(&self, name: &str) -> Result<usize, FleetError> {
        let state = self.shared.state();
        let found = state.hosts.iter().position(|host| host.spec.name == name);
        found.ok_or_else(|| FleetError::UnknownHost { name: name.to_owned() })
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.shared.tasks.stop_signal().cancel();
        self.shared.end_lives();
    }
}

fn serve(shared: &Arc<Shared>, accepted: mpsc::Receiver<Connection>) {
    let service = RqdInterfaceServer::new(Service { shared: Arc::clone(shared) });
    let connections = ReceiverStream::new(accepted).map(Ok::<_, Infallible>);
    let stop = shared.tasks.stop_signal();
    shared.tasks.spawn("fleet server", async move {
        let serving = Server::builder().add_service(service);
        if let Err(error) = serving.serve_with_incoming_shutdown(connections, stop.cancelled_owned()).await {
            tracing::error!(%error, "the simulated hosts stopped answering");
        }
    });
}

async fn revive(shared: &Shared, booting: Option<&Reporter>, host: usize) -> Result<(), FleetError> {
    if let (true, Some(reporter)) = (shared.revive(host).await?, booting) {
        reporter.boot(shared, host).await;
    }
    Ok(())
}

async fn turn_timers(shared: Arc<Shared>, booting: Option<Arc<Reporter>>, reports: mpsc::Sender<usize>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    loop {
        for event in shared.timers.next().await {
            match event {
                Event::FrameEnds { host, launch } => {
                    let report = shared.state().end(host, launch);
                    shared.complete(host, report, Duration::ZERO).await;
                }
                Event::Report { host } => {
                    // A full queue means that reports take longer than their interval: one is left out.
                    let _ = reports.try_send(host);
                    shared.timers.at(Instant::now() + shared.until_next_report(&mut random), event);
                }
                Event::Die { host } => {
                    shared.state().die(host);
                }
                Event::Revive { host } => {
                    let (reviving, booting) = (Arc::clone(&shared), booting.clone());
                    shared.spawn("fleet revival", async move {
                        if let Err(error) = revive(&reviving, booting.as_deref(), host).await {
                            tracing::warn!(%error, host, "a simulated host could not come back");
                        }
                    });
                }
            }
        }
    }
}

fn address_of(host: &FleetHost) -> Result<IpAddr, FleetError> {
    let address = host.name.parse::<IpAddr>().ok().filter(IpAddr::is_loopback);
    address.ok_or_else(|| FleetError::HostName { name: host.name.clone() })
}
