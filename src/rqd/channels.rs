//! One connection per host, dialled when first needed and kept.
//!
//! Dialling is a step of its own: as long as it lasts nothing of a call has been written, so its
//! failure proves that nothing started. Calls that meet while a host is dialled share the attempt.
//!
//! A connection that broke is dialled anew like a first one: the name is asked again, and there is a bound in
//! time. What tonic would do by itself has neither: it dials the same address, for as long as the kernel tries.
//!
//! A kept connection costs a socket and two parked tasks. There are no HTTP/2 pings, after which
//! agents close the connection; the kernel's keepalive finds hosts that vanished, and a call
//! that was not answered gives its connection up, so that the next one dials anew.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, Semaphore};
use tonic::transport::{Channel, Endpoint};

use super::error::AgentError;
use super::line::Share;
use super::socket::{Alive, Once};
use super::wire::WINDOW_BYTES;
use crate::config::AgentSettings;
use crate::telemetry::is_out_of_descriptors;

/// Files that the rest of the process may have open, on top of one per connection.
const FILES_BESIDE: u64 = 1_024;
/// Names looked up at once. Each has a thread of the process, also when nobody waits for it any more.
const LOOKUPS_MAX: usize = 64;

pub(super) struct Channels {
    settings: AgentSettings,
    /// As in the settings, or what the process is allowed.
    connections_max: usize,
    open: Arc<AtomicUsize>,
    lookups: Arc<Semaphore>,
    lines: Mutex<HashMap<Arc<str>, Arc<Line>>>,
}

/// What is kept for one host, for good: a name, how it takes calls, and mostly a connection.
pub(super) struct Line {
    pub(super) host: Arc<str>,
    pub(super) share: Share,
    /// Open connections of all lines.
    open: Arc<AtomicUsize>,
    state: Mutex<State>,
}

struct State {
    used_at: Instant,
    /// Being dialled, or open.
    dialled: Option<Shared<BoxFuture<'static, Result<Connection, AgentError>>>>,
    /// The connection before.
    last: Option<Last>,
    /// The last name of its agent that was told because it is not the host's.
    told: Option<String>,
}

/// A connection that is no more.
#[derive(Clone, Copy)]
struct Last {
    address: SocketAddr,
    /// Not merely closed by us for want of use: another machine may have its address by now. So may be where the
    /// question who answers there was left open.
    has_broken: bool,
}

/// An open connection to whatever answers under a host's name.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) channel: Channel,
    address: SocketAddr,
    alive: Alive,
    /// Where another machine may be meant by now: the name under which another host's agent answers there, once
    /// it was asked; `None` inside when it is the host's own.
    pub(super) identity: Option<Arc<OnceCell<Option<String>>>>,
}

impl State {
    fn connection(&self) -> Option<&Connection> {
        self.dialled.as_ref()?.peek()?.as_ref().ok()
    }
}

impl Channels {
    pub(super) fn new(settings: AgentSettings) -> Self {
        let needed = FILES_BESIDE + settings.connections_max as u64;
        let allowed = allow_open_files(needed);
        let connections_max = match usize::try_from(allowed / 4) {
            // The rest of the process has its needs too.
            Ok(share) if allowed < needed => share.clamp(1, settings.connections_max.max(1)),
            _ => settings.connections_max,
        };
        let lookups = Arc::new(Semaphore::new(LOOKUPS_MAX));
        Self { settings, connections_max, open: Arc::default(), lookups, lines: Mutex::default() }
    }

    pub(super) const fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// The line of a host that was called before.
    pub(super) fn known(&self, host: &str) -> Option<Arc<Line>> {
        self.lines.lock().get(host).cloned()
    }

    pub(super) fn line(&self, host: &str) -> Arc<Line> {
        let host: Arc<str> = host.into();
        let line = || Line {
            host: Arc::clone(&host),
            share: Share::new(self.settings.calls_per_host_max.max(1)),
            open: Arc::clone(&self.open),
            state: Mutex::new(State { used_at: Instant::now(), dialled: None, last: None, told: None }),
        };
        Arc::clone(self.lines.lock().entry(Arc::clone(&host)).or_insert_with(|| Arc::new(line())))
    }

    /// The host's connection, dialled if there is none. An error means that nothing was sent.
    pub(super) async fn connect(&self, line: &Line) -> Result<Connection, AgentError> {
        if let Some(connection) = line.connection() {
            return Ok(connection);
        }
        if self.open.load(Ordering::Relaxed) >= self.connections_max {
            self.close_longest_unused(self.connections_max.div_ceil(8));
        }
        let dialled = line.dial(&self.settings, &self.lookups).await;
        if !matches!(dialled, Err(AgentError::OutOfSockets { .. })) {
            return dialled;
        }
        self.close_longest_unused(self.open.load(Ordering::Relaxed).div_ceil(2));
        line.dial(&self.settings, &self.lookups).await
    }

    fn close_longest_unused(&self, count: usize) {
        let mut lines: Vec<(Instant, Arc<Line>)> = self
            .lines
            .lock()
            .values()
            .filter(|line| line.share.is_resting())
            .filter_map(|line| {
                let state = line.state.lock();
                state.connection().map(|_| (state.used_at, Arc::clone(line)))
            })
            .collect();
        lines.sort_unstable_by_key(|(used_at, _)| *used_at);
        for (_, line) in lines.iter().take(count) {
            line.end_connection(false);
        }
    }
}

impl Line {
    fn connection(&self) -> Option<Connection> {
        let is_over = {
            let mut state = self.state.lock();
            state.used_at = Instant::now();
            match state.connection() {
                Some(connection) if connection.alive.is_over() => true,
                connection => return connection.cloned(),
            }
        };
        if is_over {
            self.give_up();
        }
        None
    }

    /// Dials, or joins those who do.
    async fn dial(&self, settings: &AgentSettings, lookups: &Arc<Semaphore>) -> Result<Connection, AgentError> {
        let dialling = {
            let mut state = self.state.lock();
            let last = state.last;
            let begin = || {
                let (host, settings, open) = (Arc::clone(&self.host), *settings, Arc::clone(&self.open));
                let lookups = Arc::clone(lookups);
                let dialling = async move {
                    dial(host, settings, last, lookups).await.inspect(|_| _ = open.fetch_add(1, Ordering::Relaxed))
                };
                dialling.boxed().shared()
            };
            state.dialled.get_or_insert_with(begin).clone()
        };
        let dialled = dialling.clone().await;
        if dialled.is_err() {
            let mut state = self.state.lock();
            state.dialled.take_if(|current| current.ptr_eq(&dialling));
        }
        dialled
    }

    /// Gives a connection up that broke, or that leads to another host.
    pub(super) fn give_up(&self) {
        self.end_connection(true);
    }

    /// Gives the connection up; calls still on it are not disturbed. One on which nothing answers has broken too,
    /// as that of a machine that lost its power, whose address another may get.
    pub(super) fn end_connection(&self, has_broken: bool) {
        let mut state = self.state.lock();
        if let Some(Connection { address, identity, .. }) = state.connection() {
            // Who answers was to be asked, and is not known or another.
            let is_unidentified = identity.as_ref().is_some_and(|identity| !matches!(identity.get(), Some(None)));
            let last = Last { address: *address, has_broken: has_broken || is_unidentified };
            self.open.fetch_sub(1, Ordering::Relaxed);
            state.dialled = None;
            state.last = Some(last);
        }
    }

    /// Whether its agent's other name has not been told yet.
    pub(super) fn is_news(&self, reported: &str) -> bool {
        let mut state = self.state.lock();
        let is_news = state.told.as_deref() != Some(reported);
        state.told = Some(reported.to_owned());
        is_news
    }
}

/// Raises the process's limit of open files as far as it may, since what shells set by default is
/// too little for a farm. Returns what is allowed then.
fn allow_open_files(needed: u64) -> u64 {
    let Ok((allowed, allowed_max)) = getrlimit(Resource::RLIMIT_NOFILE) else { return needed };
    let wanted = needed.min(allowed_max);
    if allowed >= wanted {
        return allowed;
    }
    match setrlimit(Resource::RLIMIT_NOFILE, wanted, allowed_max) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::debug!(%error, allowed, needed, "cannot raise the limit of open files");
            allowed
        }
    }
}

async fn dial(
    host: Arc<str>,
    settings: AgentSettings,
    last: Option<Last>,
    lookups: Arc<Semaphore>,
) -> Result<Connection, AgentError> {
    let limit = settings.connect_timeout;
    let too_late = || AgentError::ConnectTimeout { host: host.to_string(), limit };
    let attempts = async {
        let addresses = resolve(&host, settings.port, lookups).await?;
        // One address that never answers must leave time for the others.
        let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut ended = too_late();
        for address in addresses {
            match tokio::time::timeout(share, dial_address(address)).await {
                Ok(Ok((channel, alive))) => {
                    let may_be_another = last.is_some_and(|last| last.has_broken || last.address != address);
                    let identity = may_be_another.then(Arc::default);
                    return Ok(Connection { channel, address, alive, identity });
                }
                Ok(Err(source)) => ended = failed(&host, address, source),
                Err(_) => ended = too_late(),
            }
        }
        Err(ended)
    };
    tokio::time::timeout(limit, attempts).await.unwrap_or_else(|_| Err(too_late()))
}

/// A host's name may be an address, IPv6 with or without brackets.
async fn resolve(host: &str, port: u16, lookups: Arc<Semaphore>) -> Result<Vec<SocketAddr>, AgentError> {
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = literal.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let unknown = |source| AgentError::NameUnknown { host: host.to_owned(), source: Arc::new(source) };
    let (turn, name) = (lookups.acquire_owned().await, host.to_owned());
    // It lasts as long as the system takes, and keeps its turn so long.
    let lookup = tokio::spawn(async move {
        let addresses = tokio::net::lookup_host((name.as_str(), port)).await.map(Iterator::collect::<Vec<_>>);
        drop(turn);
        addresses
    });
    let addresses = lookup.await.unwrap_or_else(|ended| Err(io::Error::other(ended))).map_err(unknown)?;
    if addresses.is_empty() {
        return Err(unknown(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(addresses)
}

async fn dial_address(address: SocketAddr) -> io::Result<(Channel, Alive)> {
    let (once, alive) = Once::of(TcpStream::connect(address).await?)?;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(io::Error::other)?;
    let channel = endpoint.initial_stream_window_size(WINDOW_BYTES).connect_with_connector(once).await;
    Ok((channel.map_err(io::Error::other)?, alive))
}

fn failed(host: &str, address: SocketAddr, source: io::Error) -> AgentError {
    let (host, source) = (host.to_owned(), Arc::new(source));
    if is_out_of_descriptors(&*source) {
        AgentError::OutOfSockets { host, source }
    } else {
        AgentError::Connect { host, address: address.to_string(), source }
    }
}
