//! Real RQD agents: the published Python package, several on one machine.
//!
//! They take real launches, run real processes and report to a stand-in for Cuebot, which must be
//! there before they start: an agent that cannot report runs frames and never says that they ended.
//!
//! Invariants:
//! - no agent and no process of a frame outlives the farm, also when the farm is killed: a keeper
//!   process holds the other end of a pipe and ends them all when it closes;
//! - every agent is in a session of its own, since an agent that is told to kill a frame too early
//!   kills its whole process group;
//! - an agent counts as started when it answers under its own name and has had the answer to its boot
//!   report: what is launched earlier fails, or ends without ever being reported.

mod install;

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};

pub use install::{InstallError, Python};

use super::progress::{Unwatched, Watcher};
use crate::rqd::proto::report::HostReport;
use crate::rqd::proto::rqd::rqd_interface_client::RqdInterfaceClient;
use crate::rqd::proto::rqd::{RqdStaticReportStatusRequest, RqdStaticShutdownNowRequest};
use crate::units::{Cores, Kib};

const LAUNCHER: &str = include_str!("agents/agents.py");

/// From the start of the processes until every boot report has arrived.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// An agent ends about a second after it was told to.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPER_TIMEOUT: Duration = Duration::from_secs(10);
/// Free ports tried before giving up; each must be free at every agent's address.
const PORTS_TRIED: usize = 50;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealAgentsOptions {
    pub agents: u8,
    /// Of each agent, as it reports them, whatever the machine has.
    pub cores: u16,
    /// Where `report.RqdReportInterface` is served.
    pub cuebot: SocketAddr,
    /// The first agent's; the others follow. Also their host names, so that "name:port" can be
    /// dialled without a resolver.
    pub first_address: Ipv4Addr,
    /// One for all agents; a free one when `None`.
    pub port: Option<u16>,
    /// Additional tags in the reports.
    pub tags: Vec<String>,
    /// Where installed agents are kept for the next time; the user's cache folder when `None`.
    pub cache: Option<PathBuf>,
}

impl RealAgentsOptions {
    /// Two agents of four cores that report to `cuebot`.
    #[must_use]
    pub const fn new(cuebot: SocketAddr) -> Self {
        Self {
            agents: 2,
            cores: 4,
            cuebot,
            first_address: Ipv4Addr::new(127, 2, 0, 1),
            port: None,
            tags: Vec::new(),
            cache: None,
        }
    }

    fn addresses(&self) -> Vec<Ipv4Addr> {
        let first = self.first_address.to_bits();
        (0..u32::from(self.agents)).map(|number| Ipv4Addr::from_bits(first + number)).collect()
    }

    /// The host names that the agents will report, known before they start.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.addresses().iter().map(Ipv4Addr::to_string).collect()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RealAgentsError {
    #[error("the RQD agent cannot be installed")]
    Install(#[from] InstallError),
    #[error("cannot prepare the agents' folder {path}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("cannot run the agents' keeper {program}")]
    Keeper { program: PathBuf, source: io::Error },
    #[error("no port is free at all of {addresses}; stop other agents on this machine")]
    NoFreePort { addresses: String, source: io::Error },
    #[error("an agent ended before it was ready ({ended}); its last words: {log}")]
    Ended { ended: String, log: String },
    #[error("agent {name} was not ready within {} s: {waiting_for}; its last words: {log}", READY_TIMEOUT.as_secs())]
    NotReady { name: String, waiting_for: &'static str, log: String },
    #[error("another agent, {found}, answers at {name}:{port}; stop it or choose another port")]
    Stranger { name: String, port: u16, found: String },
    #[error("agent {name} reports {found} cores instead of {expected}")]
    WrongCores { name: String, expected: Cores, found: Cores },
}

/// One running agent, with what it reports of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealAgent {
    /// Its loopback address.
    pub name: String,
    pub cores: Cores,
    /// The whole machine's, which all agents report alike.
    pub memory: Kib,
}

/// Running agents. Dropping it ends them a moment later; [`Self::stop`] waits for that.
#[derive(Debug)]
pub struct RealAgents {
    agents: Vec<RealAgent>,
    port: u16,
    folder: PathBuf,
    keeper: Keeper,
    _port_holders: Vec<TcpSocket>,
}

impl RealAgents {
    /// Installs the agent if this is the first time, starts `options.agents` of them and waits until
    /// each answers and `has_booted` says that its boot report has arrived.
    ///
    /// # Errors
    /// [`RealAgentsError`]; nothing is left running.
    pub async fn start<F, B>(options: &RealAgentsOptions, has_booted: F) -> Result<Self, RealAgentsError>
    where
        F: Fn(String) -> B,
        B: Future<Output = bool>,
    {
        Self::start_watched(options, &Unwatched, has_booted).await
    }

    /// As [`Self::start`], and says what is installed for it.
    pub async fn start_watched<F, B>(
        options: &RealAgentsOptions,
        watcher: &dyn Watcher,
        has_booted: F,
    ) -> Result<Self, RealAgentsError>
    where
        F: Fn(String) -> B,
        B: Future<Output = bool>,
    {
        let python = Python::with_rqd(options.cache.as_deref(), watcher).await?;
        let (port, port_holders) = hold_port(options)?;
        let folder = folder(options, port)?;
        let keeper = Keeper::start(&python, &folder, &options.names())?;
        let mut started = Self { agents: Vec::new(), port, folder, keeper, _port_holders: port_holders };
        if let Err(error) = started.get_ready(options, has_booted).await {
            started.stop().await;
            return Err(error);
        }
        Ok(started)
    }

    #[must_use]
    pub fn agents(&self) -> &[RealAgent] {
        &self.agents
    }

    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Holds every agent's own files; gone once they are stopped.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The number of the process that ends the agents when this one is gone.
    #[must_use]
    pub fn keeper_id(&self) -> Option<u32> {
        self.keeper.process.id()
    }

    /// The end of what an agent wrote, for messages.
    #[must_use]
    pub fn log_tail(&self, name: &str) -> String {
        log_tail(&self.folder, name)
    }

    /// Has the agents kill their frames and report them, ends what is left, and removes their files.
    pub async fn stop(self) {
        futures::future::join_all(self.agents.iter().map(|agent| shut_down(&agent.name, self.port))).await;
        self.keeper.stop().await;
    }

    async fn get_ready<F, B>(&mut self, options: &RealAgentsOptions, has_booted: F) -> Result<(), RealAgentsError>
    where
        F: Fn(String) -> B,
        B: Future<Output = bool>,
    {
        let until = Instant::now() + READY_TIMEOUT;
        for name in options.names() {
            let agent = self.answering(&name, options, until).await?;
            self.agents.push(agent);
        }
        for name in options.names() {
            let connected = self.folder.join(&name).join("connected");
            self.wait_until(&name, "Cuebot's answer to its boot report", until, || {
                std::future::ready(connected.exists().then_some(()))
            })
            .await?;
            self.wait_until(&name, "its boot report", until, || async { has_booted(name.clone()).await.then_some(()) })
                .await?;
        }
        Ok(())
    }

    async fn answering(
        &self,
        name: &str,
        options: &RealAgentsOptions,
        until: Instant,
    ) -> Result<RealAgent, RealAgentsError> {
        // A channel that finds the port closed waits a second before it tries again; a bare
        // connection does not.
        let address = (name, self.port);
        self.wait_until(name, "an open port", until, || async { TcpStream::connect(address).await.ok() }).await?;
        let host = self.wait_until(name, "an answer", until, || report(name, self.port)).await?;
        let (found, cores, memory) = host;
        if found != name {
            return Err(RealAgentsError::Stranger { name: name.to_owned(), port: self.port, found });
        }
        let expected = Cores::whole(i64::from(options.cores));
        if cores != expected {
            return Err(RealAgentsError::WrongCores { name: name.to_owned(), expected, found: cores });
        }
        Ok(RealAgent { name: name.to_owned(), cores, memory })
    }

    /// Asks until there is an answer, an agent ends, or the time is up.
    async fn wait_until<T, A>(
        &self,
        name: &str,
        waiting_for: &'static str,
        until: Instant,
        ask: impl Fn() -> A,
    ) -> Result<T, RealAgentsError>
    where
        A: Future<Output = Option<T>>,
    {
        loop {
            if let Some(answer) = ask().await {
                return Ok(answer);
            }
            if let Some(ended) = self.keeper.first_end() {
                let name = ended.split(' ').next().unwrap_or(name).to_owned();
                return Err(RealAgentsError::Ended { ended, log: self.log_tail(&name) });
            }
            if Instant::now() >= until {
                return Err(RealAgentsError::NotReady { name: name.to_owned(), waiting_for, log: self.log_tail(name) });
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// The process that ends the agents when its standard input ends.
#[derive(Debug)]
struct Keeper {
    folder: PathBuf,
    process: Child,
    input: ChildStdin,
    /// `NAME STATUS` of the first agent that ended.
    ended: watch::Receiver<Option<String>>,
}

impl Keeper {
    fn start(python: &Python, folder: &Path, names: &[String]) -> Result<Self, RealAgentsError> {
        let keeper_error = |source| {
            drop(std::fs::remove_dir_all(folder));
            RealAgentsError::Keeper { program: python.program().to_owned(), source }
        };
        let mut process = Command::new(python.program())
            .arg(folder.join("agents.py"))
            .arg("keep")
            .arg(folder)
            .args(names)
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // An interrupt from the terminal is for the farm, which then stops the agents in order.
            .process_group(0)
            .spawn()
            .map_err(keeper_error)?;
        let missing = || keeper_error(io::Error::other("it has no standard input or output"));
        let input = process.stdin.take().ok_or_else(missing)?;
        let output = process.stdout.take().ok_or_else(missing)?;
        let (sender, ended) = watch::channel(None);
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                sender.send_if_modified(|first| first.is_none().then(|| *first = Some(line)).is_some());
            }
        });
        Ok(Self { folder: folder.to_owned(), process, input, ended })
    }

    fn first_end(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    async fn stop(mut self) {
        drop(self.input);
        if timeout(KEEPER_TIMEOUT, self.process.wait()).await.is_err() {
            tracing::warn!("the agents' keeper did not end in time and is killed");
            // The agents die with it.
            drop(self.process.kill().await);
        }
        // Gone already, unless the keeper was killed.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Sockets that keep the port from other programs at all addresses without taking a connection: the
/// agents share the port with them. Two agents on one port would answer for each other.
fn hold_port(options: &RealAgentsOptions) -> Result<(u16, Vec<TcpSocket>), RealAgentsError> {
    let addresses = options.addresses();
    let mut last = None;
    for _ in 0..PORTS_TRIED {
        match hold(&addresses, options.port.unwrap_or(0)) {
            Ok(held) => return Ok(held),
            Err(error) => last = Some(error),
        }
        if options.port.is_some() {
            break;
        }
    }
    Err(RealAgentsError::NoFreePort {
        addresses: options.names().join(", "),
        source: last.unwrap_or_else(|| io::Error::other("none was tried")),
    })
}

fn hold(addresses: &[Ipv4Addr], port: u16) -> io::Result<(u16, Vec<TcpSocket>)> {
    let mut port = port;
    let mut sockets = Vec::with_capacity(addresses.len());
    for &address in addresses {
        // Without sharing first: it fails where anybody has the port, agents of another farm too.
        let alone = TcpSocket::new_v4()?;
        alone.set_reuseaddr(true)?;
        alone.bind((address, port).into())?;
        port = alone.local_addr()?.port();
        drop(alone);
        let shared = TcpSocket::new_v4()?;
        shared.set_reuseport(true)?;
        shared.bind((address, port).into())?;
        sockets.push(shared);
    }
    Ok((port, sockets))
}

/// A private folder with the launcher and, for each agent, its file and its own temporary folder.
fn folder(options: &RealAgentsOptions, port: u16) -> Result<PathBuf, RealAgentsError> {
    let write = || {
        let folder =
            tempfile::Builder::new().prefix("cue-agents-").permissions(Permissions::from_mode(0o700)).tempdir()?;
        // As the system names it, since the keeper compares it with the folders of processes.
        let path = folder.path().canonicalize()?;
        // For nobody else, from the start.
        let write_new = |path: PathBuf, text: &str| {
            File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
        };
        write_new(path.join("agents.py"), LAUNCHER)?;
        for name in options.names() {
            DirBuilder::new().recursive(true).mode(0o700).create(path.join(&name).join("tmp"))?;
            write_new(path.join(&name).join("rqd.conf"), &agent_file(options, &name, port))?;
        }
        // From here on the keeper removes it.
        drop(folder.keep());
        Ok(path)
    };
    write().map_err(|source| RealAgentsError::Folder { path: std::env::temp_dir(), source })
}

fn agent_file(options: &RealAgentsOptions, name: &str, port: u16) -> String {
    // An agent divides its cores by the number of threads that share one.
    let cores = u64::from(options.cores) * threads_per_core();
    let mut text = String::from("[Override]\n");
    let mut line = |key: &str, value: &str| text.extend([key, " = ", value, "\n"]);
    line("RQD_GRPC_PORT", &port.to_string());
    line("CUEBOT_GRPC_PORT", &options.cuebot.port().to_string());
    line("OVERRIDE_CUEBOT", &options.cuebot.ip().to_string());
    line("OVERRIDE_HOSTNAME", name);
    line("OVERRIDE_CORES", &cores.to_string());
    line("OVERRIDE_PROCS", "1");
    if !options.tags.is_empty() {
        line("RQD_TAGS", &options.tags.join(" "));
    }
    text
}

fn threads_per_core() -> u64 {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let number = |key: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key))?;
        line.split(':').nth(1)?.trim().parse::<u64>().ok()
    };
    match (number("siblings"), number("cpu cores")) {
        (Some(siblings), Some(cores)) if cores > 0 => (siblings / cores).max(1),
        _ => 1,
    }
}

async fn client(name: &str, port: u16) -> Option<RqdInterfaceClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{name}:{port}")).ok()?;
    let channel = endpoint.connect_timeout(CALL_TIMEOUT).timeout(CALL_TIMEOUT).connect().await.ok()?;
    Some(RqdInterfaceClient::new(channel))
}

/// Name, cores and memory, as the agent reports them now.
async fn report(name: &str, port: u16) -> Option<(String, Cores, Kib)> {
    let answer = client(name, port).await?.report_status(RqdStaticReportStatusRequest {}).await.ok()?;
    let HostReport { host, core_info, .. } = answer.into_inner().host_report?;
    let host = host?;
    Some((host.name, Cores(i64::from(core_info?.total_cores)), Kib(host.total_mem)))
}

/// The agent kills its frames, reports them and ends, which breaks the call off.
async fn shut_down(name: &str, port: u16) {
    let work = async {
        if let Some(mut client) = client(name, port).await {
            drop(client.shutdown_rqd_now(RqdStaticShutdownNowRequest::default()).await);
        }
        while TcpStream::connect((name, port)).await.is_ok() {
            sleep(POLL_INTERVAL).await;
        }
    };
    if timeout(SHUTDOWN_TIMEOUT, work).await.is_err() {
        tracing::warn!(host = name, "the agent did not shut down in time and is killed");
    }
}

fn log_tail(folder: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(folder.join(name).join("agent.log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}
