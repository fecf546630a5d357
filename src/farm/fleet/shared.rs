//! What the service, the timers and the reports have in common.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::connection::{self, Connection};
use super::error::FleetError;
use super::state::{State, Verdict};
use super::timers::{Event, Timers};
use crate::rqd::proto::report::FrameCompleteReport;
use crate::rqd::proto::rqd::RunFrame;
use crate::tasks::Tasks;

/// How long a revived host tries to get its port back.
const LISTEN_AGAIN_LIMIT: Duration = Duration::from_secs(5);
/// The real agent answers a kill before the frame's processes have ended, and then sends the completion.
const KILL_REPORTED_AFTER: Duration = Duration::from_millis(10);

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) timers: Timers,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) port: u16,
    pub(super) connections: mpsc::Sender<Connection>,
    /// `None` when nothing is reported.
    pub(super) completions: Option<mpsc::Sender<Completion>>,
    pub(super) report_interval: Duration,
    pub(super) report_interval_min: Option<Duration>,
    pub(super) tasks: Tasks,
}

/// A completion on its way, and the life of the host it comes from: it dies with it.
pub(super) struct Completion {
    pub(super) report: FrameCompleteReport,
    pub(super) life: CancellationToken,
    pub(super) after: Duration,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// A task that simply ends with the fleet.
    pub(super) fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.tasks.stop_signal();
        self.tasks.spawn(name, async move {
            stop.run_until_cancelled(work).await;
        });
    }

    pub(super) fn accept(&self, host: usize, listener: TcpListener) {
        let life = self.state().hosts[host].life.clone();
        self.spawn("fleet listener", connection::accept(listener, host, life, self.connections.clone()));
    }

    /// Never ends for a mute host.
    pub(super) async fn hears(&self, host: usize) {
        let is_mute = {
            let mut state = self.state();
            let is_mute = state.hosts[host].is_mute;
            state.counts.unheard += usize::from(is_mute);
            is_mute
        };
        if is_mute {
            std::future::pending::<()>().await;
        }
    }

    /// As the handler of a real agent, which goes on when its caller has gone.
    pub(super) async fn take_call(self: &Arc<Self>, host: usize, frame: Option<RunFrame>) -> Verdict {
        let delay = self.state().start_delay(frame.as_ref().map_or("", |frame| &frame.frame_id));
        if delay.is_zero() {
            return self.launch(host, frame);
        }
        let shared = Arc::clone(self);
        let late = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            shared.launch(host, frame)
        });
        late.await.unwrap_or(Verdict::Cut)
    }

    fn launch(&self, host: usize, frame: Option<RunFrame>) -> Verdict {
        let (verdict, started) = self.state().launch(host, frame);
        if let Some(started) = started {
            self.timers.at(started.ends_at, Event::FrameEnds { host, launch: started.launch });
        }
        verdict
    }

    pub(super) async fn kill_frame(&self, host: usize, frame: &str, message: &str) -> Result<(), Status> {
        let report = self.state().kill(host, frame, message)?;
        self.complete(host, report, KILL_REPORTED_AFTER).await;
        Ok(())
    }

    pub(super) async fn complete(&self, host: usize, report: Option<FrameCompleteReport>, after: Duration) {
        let (Some(report), Some(completions)) = (report, &self.completions) else { return };
        let life = self.state().hosts[host].life.clone();
        // Refused only when the fleet ends, and then nobody waits for the report.
        let _ = completions.send(Completion { report, life, after }).await;
    }

    /// Whether the host was dead, and is back.
    pub(super) async fn revive(&self, host: usize) -> Result<bool, FleetError> {
        if self.state().hosts[host].is_up() {
            return Ok(false);
        }
        let address = SocketAddr::new(self.addresses[host], self.port);
        let listener = listen_again(address).await.map_err(|source| FleetError::Listen { address, source })?;
        let is_back = self.state().revive(host);
        if is_back {
            self.accept(host, listener);
        }
        Ok(is_back)
    }

    pub(super) fn count_report(&self, answered: bool) {
        let mut state = self.state();
        state.counts.reports += usize::from(answered);
        state.counts.reports_failed += usize::from(!answered);
    }

    /// First reports one after the other within the interval, so that they never come in a heap.
    pub(super) fn spread_reports(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let now = Instant::now();
        for host in 0..self.addresses.len() {
            self.timers.at(now + self.report_interval.mul_f64(random.random()), Event::Report { host });
        }
    }

    pub(super) fn until_next_report(&self, random: &mut StdRng) -> Duration {
        let longest = self.report_interval;
        self.report_interval_min.map_or(longest, |shortest| random.random_range(shortest.min(longest)..=longest))
    }

    pub(super) fn end_lives(&self) {
        for host in &self.state().hosts {
            host.life.cancel();
        }
    }
}

async fn listen_again(address: SocketAddr) -> io::Result<TcpListener> {
    let limit = Instant::now() + LISTEN_AGAIN_LIMIT;
    loop {
        match connection::listen_at(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < limit => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            outcome => return outcome,
        }
    }
}
