//! The wires of the hosts: one listener per address, all accepted connections in one server, each
//! known by its host and able to break.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::error::FleetError;

/// Ports tried until one is free on all addresses.
const PORTS_TRIED_MAX: u32 = 64;
/// Connections that wait in a listener's queue.
const BACKLOG: u32 = 128;
/// A listener, its connection here, and the caller's end of it, which is often in this process too.
const FILES_PER_HOST: u64 = 3;
/// Fewer make no sensible fleet.
const CONNECTIONS_MIN: u64 = 64;
/// What the rest of the process has open.
const FILES_BESIDE: u64 = 512;

/// Which host a call came in at, and the means to break its connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) host: usize,
    pub(super) cut: CancellationToken,
}

pub(super) struct Connection {
    stream: TcpStream,
    caller: Caller,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection {
    fn new(stream: TcpStream, host: usize, life: &CancellationToken) -> Self {
        let cut = life.child_token();
        Self { stream, cut: Box::pin(cut.clone().cancelled_owned()), caller: Caller { host, cut } }
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.caller.cut.is_cancelled() || self.cut.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A listener for every address, all on one port.
pub(super) fn listen(addresses: &[IpAddr]) -> Result<(u16, Vec<TcpListener>), FleetError> {
    for _ in 0..PORTS_TRIED_MAX {
        match listen_once(addresses) {
            Ok(listening) => return Ok(listening),
            Err((_, error)) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err((address, source)) => return Err(FleetError::Listen { address, source }),
        }
    }
    Err(FleetError::NoFreePort { hosts: addresses.len(), tried: PORTS_TRIED_MAX })
}

fn listen_once(addresses: &[IpAddr]) -> Result<(u16, Vec<TcpListener>), (SocketAddr, io::Error)> {
    let mut port = 0;
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        let address = SocketAddr::new(*address, port);
        let listener = listen_at(address).map_err(|error| (address, error))?;
        port = listener.local_addr().map_err(|error| (address, error))?.port();
        listeners.push(listener);
    }
    Ok((port, listeners))
}

pub(super) fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Without it a host that died could not listen again while its old connections fade.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes connections until the host dies, which closes the listener: the next caller is refused.
pub(super) async fn accept(
    listener: TcpListener,
    host: usize,
    life: CancellationToken,
    connections: mpsc::Sender<Connection>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = life.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Small messages that wait for their answer; without it the two ends wait for each other.
                let _ = stream.set_nodelay(true);
                if connections.send(Connection::new(stream, host, &life)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(host, %error, "a simulated host could not take a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Raises the number of files this process may have open to what the fleet needs, as far as it may.
/// Returns how many connections to the hosts then have room, with both their ends in this process.
pub(super) fn make_room(hosts: usize) -> Result<usize, FleetError> {
    let wanted = FILES_BESIDE + FILES_PER_HOST * hosts as u64;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(hosts) };
    let limit = if soft >= wanted { soft } else { raise(wanted, hard).unwrap_or(soft) };
    // Beside the listeners, which always are there.
    let left = limit.saturating_sub(FILES_BESIDE + hosts as u64);
    if left < CONNECTIONS_MIN * 2 {
        return Err(FleetError::OpenFiles { hosts, limit, needed: wanted });
    }
    Ok(usize::try_from(left / 2).unwrap_or(usize::MAX))
}

/// Only root may go above the hard limit; everybody may go up to it.
fn raise(wanted: u64, hard: u64) -> nix::Result<u64> {
    let above = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).map(|()| wanted);
    above.or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard))
}
