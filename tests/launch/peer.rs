//! Peers on the agents' port that are no agents, or break off: bare TCP, frames written by hand.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Listens and treats every connection with `act`.
pub(super) async fn serve<F: Future<Output = ()> + Send + 'static>(
    act: impl Fn(TcpStream) -> F + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            tokio::spawn(act(connection));
        }
    });
    port
}

/// Reads until the text has come by; the launch has then been received beyond doubt.
pub(super) async fn read_until(connection: &mut TcpStream, text: &str) {
    let mut received = Vec::new();
    while !received.windows(text.len()).any(|window| window == text.as_bytes()) {
        let mut piece = [0; 4096];
        let length = connection.read(&mut piece).await.unwrap();
        assert_ne!(length, 0, "the caller went away before {text:?} came");
        received.extend_from_slice(&piece[..length]);
    }
}

/// HTTP/2's opening: empty settings, and the caller's acknowledged.
pub(super) async fn write_settings(connection: &mut TcpStream) {
    write_frame(connection, SETTINGS, 0, 0, &[]).await;
    write_frame(connection, SETTINGS, ACKNOWLEDGE, 0, &[]).await;
}

pub(super) const HEADERS: u8 = 1;
pub(super) const RESET_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub(super) const GO_AWAY: u8 = 7;
const ACKNOWLEDGE: u8 = 1;
pub(super) const END_OF_STREAM_AND_HEADERS: u8 = 1 | 4;

pub(super) async fn write_frame(connection: &mut TcpStream, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    write(connection, &frame(kind, flags, stream, payload)).await.unwrap();
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// An error when the other end is closed.
pub(super) async fn write(connection: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    connection.write_all(bytes).await
}

/// Reads and drops until the caller closes.
pub(super) async fn drain(mut connection: TcpStream) {
    let mut piece = [0; 4096];
    while matches!(connection.read(&mut piece).await, Ok(length) if length > 0) {}
}

/// Answers every call on a connection with what `act` writes for the call's stream.
pub(super) async fn answer_calls(mut connection: TcpStream, text: &'static str, act: impl AsyncFnOnce(&mut TcpStream)) {
    write_settings(&mut connection).await;
    read_until(&mut connection, text).await;
    act(&mut connection).await;
    drain(connection).await;
}

/// A port where connections are neither made nor refused: its queue is full. Lives with the guard.
pub(super) async fn black_hole() -> (u16, BlackHole) {
    black_hole_at(0).await
}

/// The same at a port where somebody listened before.
pub(super) async fn black_hole_at(port: u16) -> (u16, BlackHole) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    let address = socket.local_addr().unwrap();
    let listener = socket.listen(1).unwrap();
    let mut queue = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            Ok(connection) => queue.push(connection.unwrap()),
            Err(_) => return (address.port(), BlackHole { _listener: listener, _queue: queue }),
        }
        assert!(queue.len() < 100, "the queue does not fill");
    }
}

pub(super) struct BlackHole {
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}
