//! A proxy between a test and a server that fails as networks do: connections are cut, stand still or lead
//! elsewhere. It ends with the test's runtime.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug)]
struct State {
    /// The port that new connections lead to.
    server: u16,
    /// Connections are accepted and nothing is forwarded.
    is_frozen: bool,
    /// Connections below this number are closed.
    cut: u64,
    /// Over connections below this number nothing goes any more, and nobody is told.
    mute: u64,
    /// The number of the next connection.
    next: u64,
}

pub(crate) struct Proxy {
    port: u16,
    state: watch::Sender<State>,
}

impl Proxy {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = watch::Sender::new(State { server, is_frozen: false, cut: 0, mute: 0, next: 0 });
        let accepting = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = accepting.borrow().next;
                accepting.send_modify(|state| state.next += 1);
                let mut watched = accepting.subscribe();
                tokio::spawn(async move {
                    let until_cut = watched.clone();
                    tokio::select! {
                        () = serve(client, number, &mut watched) => {}
                        () = cut(until_cut, number) => {}
                    }
                });
            }
        });
        Self { port, state }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// New connections lead there; those that there are stay as they are.
    pub(crate) fn redirect(&self, server: u16) {
        self.state.send_modify(|state| state.server = server);
    }

    /// Closes the connections that there are.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cut = state.next);
    }

    /// As a firewall that forgot the connections that there are: nothing goes over them, and nobody is told.
    pub(crate) fn cut_silently(&self) {
        self.state.send_modify(|state| state.mute = state.next);
    }

    /// Accepts connections and forwards nothing, until it is thawed.
    pub(crate) fn freeze(&self) {
        self.state.send_modify(|state| state.is_frozen = true);
    }

    pub(crate) fn thaw(&self) {
        self.state.send_modify(|state| state.is_frozen = false);
    }
}

async fn cut(mut state: watch::Receiver<State>, number: u64) {
    if state.wait_for(|state| number < state.cut).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Until something may go over this connection.
async fn open(state: &mut watch::Receiver<State>, number: u64) -> u16 {
    match state.wait_for(|state| !state.is_frozen && number >= state.mute).await.map(|state| state.server) {
        Ok(server) => server,
        Err(_) => std::future::pending().await,
    }
}

async fn serve(client: TcpStream, number: u64, state: &mut watch::Receiver<State>) {
    let server = open(state, number).await;
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = forward(from_client, to_server, number, state.clone()) => {}
        () = forward(from_server, to_client, number, state.clone()) => {}
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: u64, mut state: watch::Receiver<State>) {
    let mut piece = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        open(&mut state, number).await;
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
    open(&mut state, number).await;
}
