//! The pages of a running scheduler: metrics, liveness, readiness.
//!
//! Whoever reaches the port may connect, send nothing, and never go away. So a connection is for one
//! request, has little time for it and for its answer, and there are few at once: one more closes the one
//! that has been open longest. What the process has left is for the database and the agents.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::resource::{Resource, getrlimit};
use prometheus::{Registry, TextEncoder};
use smart_default::SmartDefault;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use warp::http::{StatusCode, header};
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use super::descriptors::NO_PAGES;
use super::{Condition, Health, error_chain, is_out_of_descriptors};

/// After a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A shortage is told for so long after it was last met: while it lasts nobody can ask.
const SHORTAGE_TOLD: Duration = Duration::from_secs(30);

/// What Prometheus expects of the text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const INDEX: &str = "\
cue-scheduler

/metrics  counters and gauges for Prometheus
/livez    200 while the process answers
/readyz   200 while it schedules, else 503 and the reasons, one a line
";

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(
        "port {port} for the metrics page is in use; stop the other program or choose another with \
         `queue.metrics_port` or --metrics-port (0 for any free one)"
    )]
    PortInUse { port: u16, source: io::Error },
    #[error(
        "cannot listen on port {port} for the metrics page; choose another with `queue.metrics_port` or --metrics-port"
    )]
    Listen { port: u16, source: io::Error },
    #[error("this machine does not have the address {address}; check `queue.metrics_address`")]
    NotOurs { address: IpAddr, source: io::Error },
}

/// What the pages may take of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SmartDefault)]
pub struct PageLimits {
    /// Connections that are open at once.
    #[default(64)]
    pub connections_max: usize,
    /// From the connection to the end of the request's head.
    #[default(Duration::from_secs(5))]
    pub request_timeout: Duration,
    /// From the connection to the end of the answer, which somebody may read slowly.
    #[default(Duration::from_secs(10))]
    pub connection_timeout: Duration,
}

impl PageLimits {
    /// As this process may open files: however few that are, most are for the database and the agents.
    pub fn for_this_process() -> Self {
        Self::of(getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(allowed, _)| allowed))
    }

    fn of(descriptors: u64) -> Self {
        let limits = Self::default();
        let share = usize::try_from(descriptors / 16).unwrap_or(usize::MAX);
        Self { connections_max: limits.connections_max.min(share.max(2)), ..limits }
    }
}

/// Listens on `port` at `address`. With port 0 the system chooses; the listener says which.
///
/// # Errors
/// [`HttpError`] says what to change.
pub async fn bind(address: IpAddr, port: u16) -> Result<TcpListener, HttpError> {
    TcpListener::bind((address, port)).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => HttpError::PortInUse { port, source },
        io::ErrorKind::AddrNotAvailable => HttpError::NotOurs { address, source },
        _ => HttpError::Listen { port, source },
    })
}

/// Serves until `stop` is cancelled and the requests under way are answered.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    health: Health,
    limits: PageLimits,
    stop: CancellationToken,
) {
    let pages = warp::service(pages(registry, health.clone()));
    let mut connections = Connections::default();
    let mut told_until: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep_until(told_until.unwrap_or_else(Instant::now)), if told_until.is_some() => {
                told_until = None;
                health.clear(Condition::Pages);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.make_room(limits.connections_max).await;
                connections.open(answer(stream, TowerToHyperService::new(pages.clone()), limits, stop.clone()));
            }
            Err(error) => {
                if is_out_of_descriptors(&error) {
                    told_until = Some(Instant::now() + SHORTAGE_TOLD);
                    if health.raise(Condition::Pages, NO_PAGES) {
                        tracing::error!(target: "scheduler", error = error_chain(&error), "{NO_PAGES}");
                    }
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.end().await;
}

/// One connection, one request.
async fn answer<S>(stream: TcpStream, pages: S, limits: PageLimits, stop: CancellationToken)
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody: 'static> + Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    <S::ResBody as hyper::body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.request_timeout)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), pages);
    let served = async {
        tokio::pin!(connection);
        tokio::select! {
            // Whether the other end took the answer changes nothing here.
            _ = connection.as_mut() => return,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    };
    let _ = tokio::time::timeout(limits.connection_timeout, served).await;
}

/// The connections that are open, those that have been for longest first.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    in_order: VecDeque<AbortHandle>,
}

impl Connections {
    async fn make_room(&mut self, connections_max: usize) {
        while self.tasks.try_join_next().is_some() {}
        self.in_order.retain(|connection| !connection.is_finished());
        while self.tasks.len() >= connections_max.max(1) {
            if let Some(longest) = self.in_order.pop_front() {
                longest.abort();
            }
            self.tasks.join_next().await;
        }
    }

    fn open(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.in_order.push_back(self.tasks.spawn(connection));
    }

    async fn end(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

fn pages(registry: Registry, health: Health) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let reading = warp::get().or(warp::head()).unify();
    let index = warp::path::end().map(|| text(StatusCode::OK, INDEX.to_owned()));
    let live = warp::path!("livez").map(|| text(StatusCode::OK, "ok\n".to_owned()));
    let ready = warp::path!("readyz").map(move || match health.readiness() {
        Ok(()) => text(StatusCode::OK, "ok\n".to_owned()),
        Err(reasons) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reasons}\n")),
    });
    let metrics = warp::path!("metrics").map(move || metrics(&registry));
    reading.and(metrics.or(ready).unify().or(live).unify().or(index).unify())
}

fn metrics(registry: &Registry) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(body) => warp::reply::with_header(body, header::CONTENT_TYPE, METRICS_TYPE).into_response(),
        Err(error) => {
            let chain = error_chain(&error);
            tracing::warn!(error = chain, "could not write the metrics page");
            text(StatusCode::INTERNAL_SERVER_ERROR, "cannot be written; the log says why\n".to_owned())
        }
    }
}

fn text(status: StatusCode, body: String) -> Response {
    warp::reply::with_status(body, status).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_few_descriptors_the_pages_take_a_small_share() {
        let held = [0, 64, 256, 1_024, 65_536, u64::MAX].map(|allowed| PageLimits::of(allowed).connections_max);
        assert_eq!(held, [2, 4, 16, 64, 64, 64]);
    }
}
