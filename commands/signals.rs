//! Signals, and the request to stop.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// From now on a signal of this kind is received here and does not end the process by itself.
pub(crate) fn hear(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot watch for signals")
}

/// Whether this process was started from a terminal: who closes that wants it to end.
pub(crate) fn is_on_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}

/// Cancelled by the first Ctrl-C or SIGTERM, and when the terminal is closed.
pub(crate) fn stop_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?);
    // Without one the signal stays as it was found, ignored perhaps.
    let mut hang_up = is_on_terminal().then(|| hear(SignalKind::hangup())).transpose()?;
    let cancelled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            Some(()) = async { hang_up.as_mut()?.recv().await } => {}
        }
        cancelled.cancel();
    });
    Ok(stop)
}
