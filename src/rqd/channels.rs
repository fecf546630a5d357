//! One connection per host, dialled when first needed and kept.
//!
//! Dialling is a step of its own: as long as it lasts nothing of a call has been written, so its
//! failure proves that nothing started. Calls that meet while a host is dialled share the attempt.
//!
//! A kept connection costs a socket and two parked tasks. There are no HTTP/2 pings, which agents
//! punish by closing the connection; the kernel's keepalive finds hosts that vanished, and a call
//! that was not answered gives its connection up, so that the next one dials anew.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;
use tonic::transport::{Channel, Endpoint};

use super::AgentSettings;
use super::error::{AgentError, causes};

/// How long a silent connection rests before the kernel asks whether the host is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

pub(super) struct Channels {
    settings: AgentSettings,
    lines: Mutex<HashMap<Arc<str>, Arc<Line>>>,
}

/// What is kept for one host.
pub(super) struct Line {
    /// The host's share of calls.
    pub(super) calls: Semaphore,
    host: Arc<str>,
    state: Mutex<State>,
}

struct State {
    used_at: Instant,
    dial: Dial,
}

enum Dial {
    Closed,
    Dialling(Shared<BoxFuture<'static, Result<Channel, AgentError>>>),
    Open(Channel),
}

impl Channels {
    pub(super) fn new(settings: AgentSettings) -> Self {
        Self { settings, lines: Mutex::default() }
    }

    pub(super) fn line(&self, host: &str) -> Arc<Line> {
        let mut lines = lock(&self.lines);
        if let Some(line) = lines.get(host) {
            return Arc::clone(line);
        }
        if lines.len() >= self.settings.connections_max {
            let kept = self.settings.connections_max - self.settings.connections_max.div_ceil(8);
            drop_longest_unused(&mut lines, kept);
        }
        let host: Arc<str> = host.into();
        let line = Arc::new(Line {
            calls: Semaphore::new(self.settings.calls_per_host_max.max(1)),
            host: Arc::clone(&host),
            state: Mutex::new(State { used_at: Instant::now(), dial: Dial::Closed }),
        });
        lines.insert(host, Arc::clone(&line));
        line
    }

    /// The host's connection, dialled if there is none. An error means that nothing was sent.
    pub(super) async fn connect(&self, line: &Line) -> Result<Channel, AgentError> {
        let dialled = line.connect(&self.settings).await;
        if !matches!(dialled, Err(AgentError::OutOfSockets { .. })) {
            return dialled;
        }
        // Unused connections hold what is missing.
        {
            let mut lines = lock(&self.lines);
            let kept = lines.len() / 2;
            drop_longest_unused(&mut lines, kept);
        }
        line.connect(&self.settings).await
    }
}

impl Line {
    async fn connect(&self, settings: &AgentSettings) -> Result<Channel, AgentError> {
        let dialling = {
            let mut state = lock(&self.state);
            state.used_at = Instant::now();
            match &state.dial {
                Dial::Open(channel) => return Ok(channel.clone()),
                Dial::Dialling(dialling) => dialling.clone(),
                Dial::Closed => {
                    let dialling = dial(Arc::clone(&self.host), *settings).boxed().shared();
                    state.dial = Dial::Dialling(dialling.clone());
                    dialling
                }
            }
        };
        let dialled = dialling.clone().await;
        let mut state = lock(&self.state);
        if matches!(&state.dial, Dial::Dialling(current) if current.ptr_eq(&dialling)) {
            state.dial = dialled.as_ref().map_or(Dial::Closed, |channel| Dial::Open(channel.clone()));
        }
        dialled
    }

    /// Gives the connection up; calls still on it are not disturbed.
    pub(super) fn hang_up(&self) {
        lock(&self.state).dial = Dial::Closed;
    }
}

/// Lines in use are referred to from their calls and stay.
fn drop_longest_unused(lines: &mut HashMap<Arc<str>, Arc<Line>>, kept: usize) {
    let mut unused: Vec<(Instant, Arc<str>)> = lines
        .values()
        .filter(|line| Arc::strong_count(line) == 1)
        .map(|line| (lock(&line.state).used_at, Arc::clone(&line.host)))
        .collect();
    unused.sort_unstable();
    for (_, host) in unused.into_iter().take(lines.len().saturating_sub(kept)) {
        lines.remove(&host);
    }
}

async fn dial(host: Arc<str>, settings: AgentSettings) -> Result<Channel, AgentError> {
    let limit = settings.connect_timeout;
    let attempts = async {
        let addresses = resolve(&host, settings.port).await?;
        // One address that swallows everything must leave time for the others.
        let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut last = AgentError::ConnectTimeout { host: host.to_string(), limit };
        for address in addresses {
            match dial_address(&host, address, share).await {
                Ok(channel) => return Ok(channel),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    match tokio::time::timeout(limit, attempts).await {
        Ok(dialled) => dialled,
        Err(_) => Err(AgentError::ConnectTimeout { host: host.to_string(), limit }),
    }
}

/// A host's name may be an address, IPv6 with or without brackets.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, AgentError> {
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = literal.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let unknown = |source| AgentError::NameUnknown { host: host.to_owned(), source: Arc::new(source) };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await.map_err(unknown)?.collect();
    if addresses.is_empty() {
        return Err(unknown(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(addresses)
}

async fn dial_address(host: &str, address: SocketAddr, limit: Duration) -> Result<Channel, AgentError> {
    let connected = async {
        Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(limit)
            .tcp_keepalive(Some(KEEPALIVE))
            .connect()
            .await
    };
    connected.await.map_err(|source| {
        let (host, source) = (host.to_owned(), Arc::new(source));
        if causes(&*source).filter_map(|cause| cause.downcast_ref()).any(is_out_of_descriptors) {
            AgentError::OutOfSockets { host, source }
        } else {
            AgentError::Connect { host, address: address.to_string(), source }
        }
    })
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    use nix::errno::Errno;
    [Errno::EMFILE, Errno::ENFILE].iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
