//! One connection per host, dialled when first needed and kept.
//!
//! Dialling is a step of its own: as long as it lasts nothing of a call has been written, so its
//! failure proves that nothing started. Calls that meet while a host is dialled share the attempt.
//!
//! A kept connection costs a socket and two parked tasks. There are no HTTP/2 pings, after which
//! agents close the connection; the kernel's keepalive finds hosts that vanished, and a call
//! that was not answered gives its connection up, so that the next one dials anew.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tonic::transport::{Channel, Endpoint};

use super::error::AgentError;
use super::wire::WINDOW_BYTES;
use crate::config::AgentSettings;
use crate::telemetry::is_out_of_descriptors;

/// Files that the rest of the process may have open, on top of one per connection.
const FILES_BESIDE: u64 = 1_024;

/// How long a silent connection rests before the kernel asks whether the host is still there.
const KEEPALIVE: Duration = Duration::from_mins(1);

pub(super) struct Channels {
    settings: AgentSettings,
    /// As in the settings, or what the process is allowed.
    connections_max: usize,
    open: Arc<AtomicUsize>,
    lines: Mutex<HashMap<Arc<str>, Arc<Line>>>,
}

/// What is kept for one host, for good: a name, two counters, and mostly a connection.
pub(super) struct Line {
    /// The host's share of calls.
    pub(super) calls: Semaphore,
    calls_max: usize,
    host: Arc<str>,
    /// Open connections of all lines.
    open: Arc<AtomicUsize>,
    state: Mutex<State>,
}

struct State {
    used_at: Instant,
    /// Being dialled, or open.
    dialled: Option<Shared<BoxFuture<'static, Result<Channel, AgentError>>>>,
}

impl State {
    fn channel(&self) -> Option<&Channel> {
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
        Self { settings, connections_max, open: Arc::default(), lines: Mutex::default() }
    }

    pub(super) fn line(&self, host: &str) -> Arc<Line> {
        let calls_max = self.settings.calls_per_host_max.max(1);
        let host: Arc<str> = host.into();
        let line = || Line {
            calls: Semaphore::new(calls_max),
            calls_max,
            host: Arc::clone(&host),
            open: Arc::clone(&self.open),
            state: Mutex::new(State { used_at: Instant::now(), dialled: None }),
        };
        Arc::clone(self.lines.lock().entry(Arc::clone(&host)).or_insert_with(|| Arc::new(line())))
    }

    /// The host's connection, dialled if there is none. An error means that nothing was sent.
    pub(super) async fn connect(&self, line: &Line) -> Result<Channel, AgentError> {
        if let Some(channel) = line.channel() {
            return Ok(channel);
        }
        if self.open.load(Ordering::Relaxed) >= self.connections_max {
            self.close_longest_unused(self.connections_max.div_ceil(8));
        }
        let dialled = line.dial(&self.settings).await;
        if !matches!(dialled, Err(AgentError::OutOfSockets { .. })) {
            return dialled;
        }
        self.close_longest_unused(self.open.load(Ordering::Relaxed).div_ceil(2));
        line.dial(&self.settings).await
    }

    fn close_longest_unused(&self, count: usize) {
        let resting = |line: &&Arc<Line>| line.calls.available_permits() == line.calls_max;
        let mut lines: Vec<(Instant, Arc<Line>)> = self
            .lines
            .lock()
            .values()
            .filter(resting)
            .filter_map(|line| {
                let state = line.state.lock();
                state.channel().map(|_| (state.used_at, Arc::clone(line)))
            })
            .collect();
        lines.sort_unstable_by_key(|(used_at, _)| *used_at);
        for (_, line) in lines.iter().take(count) {
            line.hang_up();
        }
    }
}

impl Line {
    fn channel(&self) -> Option<Channel> {
        let mut state = self.state.lock();
        state.used_at = Instant::now();
        state.channel().cloned()
    }

    /// Dials, or joins those who do.
    async fn dial(&self, settings: &AgentSettings) -> Result<Channel, AgentError> {
        let begin = || {
            let (host, settings, open) = (Arc::clone(&self.host), *settings, Arc::clone(&self.open));
            let dialling =
                async move { dial(host, settings).await.inspect(|_| _ = open.fetch_add(1, Ordering::Relaxed)) };
            dialling.boxed().shared()
        };
        let dialling = self.state.lock().dialled.get_or_insert_with(begin).clone();
        let dialled = dialling.clone().await;
        if dialled.is_err() {
            let mut state = self.state.lock();
            state.dialled.take_if(|current| current.ptr_eq(&dialling));
        }
        dialled
    }

    /// Gives the connection up; calls still on it are not disturbed.
    pub(super) fn hang_up(&self) {
        let mut state = self.state.lock();
        if state.channel().is_some() {
            self.open.fetch_sub(1, Ordering::Relaxed);
            state.dialled = None;
        }
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

async fn dial(host: Arc<str>, settings: AgentSettings) -> Result<Channel, AgentError> {
    let limit = settings.connect_timeout;
    let too_late = || AgentError::ConnectTimeout { host: host.to_string(), limit };
    let attempts = async {
        let addresses = resolve(&host, settings.port).await?;
        // One address that never answers must leave time for the others.
        let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut last = too_late();
        for address in addresses {
            match dial_address(&host, address, share).await {
                Ok(channel) => return Ok(channel),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    tokio::time::timeout(limit, attempts).await.unwrap_or_else(|_| Err(too_late()))
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
            .initial_stream_window_size(WINDOW_BYTES)
            .connect()
            .await
    };
    connected.await.map_err(|source| {
        let (host, source) = (host.to_owned(), Arc::new(source));
        if is_out_of_descriptors(&*source) {
            AgentError::OutOfSockets { host, source }
        } else {
            AgentError::Connect { host, address: address.to_string(), source }
        }
    })
}
