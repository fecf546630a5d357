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
mod options;
mod reports;
mod service;
mod state;
mod timers;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Server;

pub use counts::FleetCounts;
pub use options::{AgentKind, Faults, FleetHost, FleetOptions, REFUSED_VARIABLE, RunTime};

use self::connection::Connection;
use self::reports::{
    COMPLETIONS_QUEUED_MAX, Completion, REPORTS_QUEUED_MAX, Reporter, send_boots, send_completions, send_reports,
};
use self::service::Service;
use self::state::{State, Verdict};
use self::timers::{Event, Timers};
use super::launch::Launch;
use crate::rqd::proto::report::FrameCompleteReport;
use crate::rqd::proto::rqd::RunFrame;
use crate::rqd::proto::rqd::rqd_interface_server::RqdInterfaceServer;
use crate::tasks::Tasks;

/// Time for the last answers when the fleet is stopped.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Connections on their way from the listeners to the server.
const CONNECTIONS_QUEUED_MAX: usize = 1_024;
/// How long a revived host tries to get its port back.
const LISTEN_AGAIN_LIMIT: Duration = Duration::from_secs(5);

/// The real agent answers a kill before the frame's processes have ended, and then sends the completion.
const KILL_REPORTED_AFTER: Duration = Duration::from_millis(10);

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("host name {name:?} is not a loopback address; simulated hosts listen at their names")]
    HostName { name: String },
    #[error("no simulated host is called {name:?}")]
    UnknownHost { name: String },
    #[error("cannot listen at {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("found no port that is free at all {hosts} addresses, out of {tried} tried")]
    NoFreePort { hosts: usize, tried: u32 },
    #[error("{hosts} hosts need {needed} open files and this process may have {limit}; raise `ulimit -n`")]
    OpenFiles { hosts: usize, limit: u64, needed: u64 },
    #[error("cannot report to {address}")]
    Cuebot { address: SocketAddr, source: tonic::transport::Error },
}

/// A fleet that answers until it is stopped or dropped.
pub struct Fleet {
    shared: Arc<Shared>,
    connections_max: usize,
    seed: u64,
}

/// What the service, the timers and the reports have in common.
struct Shared {
    state: Mutex<State>,
    timers: Timers,
    addresses: Vec<IpAddr>,
    port: u16,
    connections: mpsc::Sender<Connection>,
    /// `None` when nothing is reported, as are `completions`.
    reporter: Option<Arc<Reporter>>,
    completions: Option<mpsc::Sender<Completion>>,
    boot_reports: bool,
    report_interval: Duration,
    report_interval_min: Option<Duration>,
    tasks: Tasks,
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
            state: Mutex::new(State::new(hosts, &options)),
            timers: Timers::default(),
            addresses,
            port,
            connections,
            completions: reporter.as_ref().map(|_| completions),
            reporter: reporter.clone(),
            boot_reports: options.boot_reports,
            report_interval: options.report_interval,
            report_interval_min: options.report_interval_min,
            tasks: Tasks::new(),
        });
        shared.serve(accepted);
        for (host, listener) in listeners.into_iter().enumerate() {
            shared.accept(host, listener);
        }
        shared.spawn("fleet timers", turn_timers(Arc::clone(&shared), reports, options.seed));
        if let Some(reporter) = reporter {
            let (completing, reporting) = (Arc::clone(&shared), Arc::clone(&shared));
            shared.spawn("fleet completions", send_completions(completing, Arc::clone(&reporter), completed));
            shared.spawn("fleet reports", send_reports(reporting, Arc::clone(&reporter), due));
            if options.boot_reports {
                send_boots(&shared, &reporter).await;
            }
            shared.spread_reports(options.seed);
        }
        Ok(Self { shared, connections_max, seed: options.seed })
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

    /// Brings a dead host back, empty, and lets it boot. Nothing happens to a living one.
    pub async fn revive_host(&self, name: &str) -> Result<(), FleetError> {
        let host = self.number_of(name)?;
        self.shared.revive(host).await
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

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task that simply ends with the fleet.
    fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.tasks.stop_signal();
        self.tasks.spawn(name, async move {
            stop.run_until_cancelled(work).await;
        });
    }

    fn serve(self: &Arc<Self>, accepted: mpsc::Receiver<Connection>) {
        let service = RqdInterfaceServer::new(Service { shared: Arc::clone(self) });
        let connections = ReceiverStream::new(accepted).map(Ok::<_, Infallible>);
        let stop = self.tasks.stop_signal();
        self.tasks.spawn("fleet server", async move {
            let serving = Server::builder().add_service(service);
            if let Err(error) = serving.serve_with_incoming_shutdown(connections, stop.cancelled_owned()).await {
                tracing::error!(%error, "the simulated hosts stopped answering");
            }
        });
    }

    fn accept(&self, host: usize, listener: TcpListener) {
        let life = self.state().hosts[host].life.clone();
        self.spawn("fleet listener", connection::accept(listener, host, life, self.connections.clone()));
    }

    /// As the handler of a real agent, which goes on when its caller has gone.
    async fn take_call(self: &Arc<Self>, host: usize, frame: Option<RunFrame>) -> Verdict {
        let delay = self.state().faults.start_delay;
        if delay.is_zero() {
            return self.launch(host, frame);
        }
        let shared = Arc::clone(self);
        let late = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            shared.launch(host, frame)
        });
        late.await.unwrap_or(Verdict::Cut)
    }

    fn launch(&self, host: usize, frame: Option<RunFrame>) -> Verdict {
        let (verdict, started) = self.state().launch(host, frame);
        if let Some(started) = started {
            self.timers.at(started.ends_at, Event::FrameEnds { host, launch: started.launch });
        }
        verdict
    }

    async fn kill_frame(&self, host: usize, frame: &str, message: &str) -> Result<(), Status> {
        let report = self.state().kill(host, frame, message)?;
        self.complete(host, report, KILL_REPORTED_AFTER).await;
        Ok(())
    }

    async fn complete(&self, host: usize, report: Option<FrameCompleteReport>, after: Duration) {
        let (Some(report), Some(completions)) = (report, &self.completions) else { return };
        let life = self.state().hosts[host].life.clone();
        // Refused only when the fleet ends, and then nobody waits for the report.
        let _ = completions.send(Completion { report, life, after }).await;
    }

    async fn revive(self: &Arc<Self>, host: usize) -> Result<(), FleetError> {
        if self.state().hosts[host].is_up() {
            return Ok(());
        }
        let address = SocketAddr::new(self.addresses[host], self.port);
        let listener = listen_again(address).await.map_err(|source| FleetError::Listen { address, source })?;
        if !self.state().revive(host) {
            return Ok(());
        }
        self.accept(host, listener);
        if let (Some(reporter), true) = (&self.reporter, self.boot_reports) {
            reporter.boot(self, host).await;
        }
        Ok(())
    }

    fn count_report(&self, answered: bool) {
        let mut state = self.state();
        state.counts.reports += usize::from(answered);
        state.counts.reports_failed += usize::from(!answered);
    }

    /// First reports one after the other within the interval, so that they never come in a heap.
    fn spread_reports(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let now = Instant::now();
        for host in 0..self.addresses.len() {
            self.timers.at(now + self.report_interval.mul_f64(random.random()), Event::Report { host });
        }
    }

    fn until_next_report(&self, random: &mut StdRng) -> Duration {
        let longest = self.report_interval;
        self.report_interval_min.map_or(longest, |shortest| random.random_range(shortest.min(longest)..=longest))
    }

    fn end_lives(&self) {
        for host in &self.state().hosts {
            host.life.cancel();
        }
    }
}

async fn turn_timers(shared: Arc<Shared>, reports: mpsc::Sender<usize>, seed: u64) {
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
                    let reviving = Arc::clone(&shared);
                    shared.spawn("fleet revival", async move {
                        if let Err(error) = reviving.revive(host).await {
                            tracing::warn!(%error, host, "a simulated host could not come back");
                        }
                    });
                }
            }
        }
    }
}

async fn listen_again(address: SocketAddr) -> io::Result<TcpListener> {
    let limit = Instant::now() + LISTEN_AGAIN_LIMIT;
    loop {
        match connection::listen_at(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < limit => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            outcome => return outcome,
        }
    }
}

fn address_of(host: &FleetHost) -> Result<IpAddr, FleetError> {
    let address = host.name.parse::<IpAddr>().ok().filter(IpAddr::is_loopback);
    address.ok_or_else(|| FleetError::HostName { name: host.name.clone() })
}
