//! The pages of a running scheduler: metrics, liveness, readiness.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use warp::http::{StatusCode, header};
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use super::{Health, error_chain};

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

/// Listens on `port` at `address`, or at all addresses of this machine, IPv6 too where there is any.
/// With port 0 the system chooses; the listener says which.
///
/// # Errors
/// [`HttpError`] says what to change.
pub async fn bind(address: Option<IpAddr>, port: u16) -> Result<TcpListener, HttpError> {
    let listener = match address {
        Some(address) => TcpListener::bind((address, port)).await,
        None => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
            }
            bound => bound,
        },
    };
    listener.map_err(|source| match (source.kind(), address) {
        (io::ErrorKind::AddrInUse, _) => HttpError::PortInUse { port, source },
        (io::ErrorKind::AddrNotAvailable, Some(address)) => HttpError::NotOurs { address, source },
        _ => HttpError::Listen { port, source },
    })
}

/// Serves until `stop` is cancelled and the requests under way are answered.
pub async fn serve(listener: TcpListener, registry: Registry, health: Health, stop: CancellationToken) {
    warp::serve(pages(registry, health)).incoming(listener).graceful(stop.cancelled_owned()).run().await;
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
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("{chain}\n"))
        }
    }
}

fn text(status: StatusCode, body: String) -> Response {
    warp::reply::with_status(body, status).into_response()
}
