//! Signals, and the request to stop.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// From now on a signal of this kind is received here and does not end the process by itself.
pub(crate) fn hear(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot watch for signals")
}

/// Cancelled by the first Ctrl-C or SIGTERM.
pub(crate) fn stop_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?);
    let cancelled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancelled.cancel();
    });
    Ok(stop)
}
