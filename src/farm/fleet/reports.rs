//! What the hosts tell Cuebot: over a handful of connections for the whole fleet, and so many calls
//! at once that one slow answer holds up nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::error::FleetError;
use super::shared::{Completion, Shared};
use crate::rqd::proto::report::rqd_report_interface_client::RqdReportInterfaceClient;
use crate::rqd::proto::report::{
    BootReport, FrameCompleteReport, HostReport, RqdReportRqdStartupRequest, RqdReportRunningFrameCompletionRequest,
    RqdReportStatusRequest,
};

const CHANNELS: usize = 4;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
pub(super) const COMPLETIONS_QUEUED_MAX: usize = 16_384;
const COMPLETIONS_IN_FLIGHT_MAX: usize = 512;
pub(super) const REPORTS_QUEUED_MAX: usize = 1_024;
const REPORTS_IN_FLIGHT_MAX: usize = 64;
const BOOT_ATTEMPTS_MAX: u32 = 10;
const RETRY_WAIT_MIN: Duration = Duration::from_millis(100);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(2);

pub(super) struct Reporter {
    channels: Vec<Channel>,
    turn: AtomicUsize,
    completion_attempts_max: u32,
}

#[derive(Clone)]
enum Message {
    Boot(Box<BootReport>),
    Status(Box<HostReport>),
    Completion(Box<FrameCompleteReport>),
}

impl Reporter {
    pub(super) fn new(cuebot: SocketAddr, completion_attempts_max: u32) -> Result<Self, FleetError> {
        let endpoint = Endpoint::from_shared(format!("http://{cuebot}"))
            .map_err(|source| FleetError::Cuebot { address: cuebot, source })?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .tcp_nodelay(true);
        let channels = (0..CHANNELS).map(|_| endpoint.connect_lazy()).collect();
        Ok(Self { channels, turn: AtomicUsize::new(0), completion_attempts_max: completion_attempts_max.max(1) })
    }

    pub(super) async fn boot(&self, shared: &Shared, host: usize) {
        let (report, life) = {
            let state = shared.state();
            (state.boot_report(host), state.hosts[host].life.clone())
        };
        let outcome = self.insist(BOOT_ATTEMPTS_MAX, &life, Message::Boot(Box::new(report))).await;
        shared.count_report(outcome.is_ok());
    }

    async fn status(&self, shared: &Shared, host: usize) {
        let (report, life) = {
            let state = shared.state();
            (state.host_report(host), state.hosts[host].life.clone())
        };
        if !life.is_cancelled() {
            let outcome = self.insist(1, &life, Message::Status(Box::new(report))).await;
            shared.count_report(outcome.is_ok());
        }
    }

    async fn completion(&self, shared: &Shared, completion: Completion) {
        tokio::time::sleep(completion.after).await;
        let message = Message::Completion(Box::new(completion.report));
        let outcome = self.insist(self.completion_attempts_max, &completion.life, message).await;
        let mut state = shared.state();
        match outcome {
            Ok(()) => state.counts.completions_reported += 1,
            Err(_) => state.counts.completions_lost += 1,
        }
    }

    /// Sends until it is answered, the host dies or the attempts are used up.
    async fn insist(&self, attempts_max: u32, life: &CancellationToken, message: Message) -> Result<(), Status> {
        let mut wait = RETRY_WAIT_MIN;
        let mut attempt = 1;
        loop {
            let answer = tokio::select! {
                biased;
                () = life.cancelled() => return Err(Status::cancelled("the host died")),
                answer = self.send(message.clone()) => answer,
            };
            match answer {
                Err(_) if attempt < attempts_max => {}
                answer => return answer,
            }
            attempt += 1;
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_WAIT_MAX);
        }
    }

    async fn send(&self, message: Message) -> Result<(), Status> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.channels.len();
        let mut client = RqdReportInterfaceClient::new(self.channels[turn].clone());
        match message {
            Message::Boot(report) => {
                client.report_rqd_startup(RqdReportRqdStartupRequest { boot_report: Some(*report) }).await?;
            }
            Message::Status(report) => {
                client.report_status(RqdReportStatusRequest { host_report: Some(*report) }).await?;
            }
            Message::Completion(report) => {
                let request = RqdReportRunningFrameCompletionRequest { frame_complete_report: Some(*report) };
                client.report_running_frame_completion(request).await?;
            }
        }
        Ok(())
    }
}

/// Sends the completions that arrive, until their sender is gone.
pub(super) async fn send_completions(
    shared: Arc<Shared>,
    reporter: Arc<Reporter>,
    completions: mpsc::Receiver<Completion>,
) {
    let arriving = ReceiverStream::new(completions);
    arriving
        .for_each_concurrent(COMPLETIONS_IN_FLIGHT_MAX, |completion| {
            let (shared, reporter) = (Arc::clone(&shared), Arc::clone(&reporter));
            async move { reporter.completion(&shared, completion).await }
        })
        .await;
}

/// Sends a status report of every host that arrives.
pub(super) async fn send_reports(shared: Arc<Shared>, reporter: Arc<Reporter>, hosts: mpsc::Receiver<usize>) {
    let arriving = ReceiverStream::new(hosts);
    arriving
        .for_each_concurrent(REPORTS_IN_FLIGHT_MAX, |host| {
            let (shared, reporter) = (Arc::clone(&shared), Arc::clone(&reporter));
            async move { reporter.status(&shared, host).await }
        })
        .await;
}

/// Sends the boot reports of all hosts.
pub(super) async fn send_boots(shared: &Arc<Shared>, reporter: &Arc<Reporter>) {
    futures::stream::iter(0..shared.addresses.len())
        .for_each_concurrent(REPORTS_IN_FLIGHT_MAX, |host| {
            let (shared, reporter) = (Arc::clone(shared), Arc::clone(reporter));
            async move { reporter.boot(&shared, host).await }
        })
        .await;
}
