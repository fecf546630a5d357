//! Where agents report. A report is answered when its rows are written.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

use super::completions::Call;
use super::reports::HostSeen;
use super::shared::Shared;
use super::stop::Ended;
use crate::rqd::proto::report::rqd_report_interface_server::RqdReportInterface;
use crate::rqd::proto::report::{
    FrameCompleteReport, RqdReportRqdStartupRequest, RqdReportRqdStartupResponse,
    RqdReportRunningFrameCompletionRequest, RqdReportRunningFrameCompletionResponse, RqdReportStatusRequest,
    RqdReportStatusResponse,
};

/// Both queues end with the last connection, and the workers with them.
pub(super) struct Service {
    pub(super) shared: Arc<Shared>,
    pub(super) completions: mpsc::Sender<Call<Ended>>,
    pub(super) hosts: mpsc::Sender<Call<HostSeen>>,
}

#[tonic::async_trait]
impl RqdReportInterface for Service {
    async fn report_rqd_startup(
        &self,
        request: Request<RqdReportRqdStartupRequest>,
    ) -> Result<Response<RqdReportRqdStartupResponse>, Status> {
        let report = request.into_inner().boot_report.ok_or_else(empty)?;
        let host = report.host.ok_or_else(empty)?;
        self.enqueue(&self.hosts, HostSeen { host, frames: Vec::new(), is_boot: true }).await?;
        Ok(Response::new(RqdReportRqdStartupResponse {}))
    }

    async fn report_running_frame_completion(
        &self,
        request: Request<RqdReportRunningFrameCompletionRequest>,
    ) -> Result<Response<RqdReportRunningFrameCompletionResponse>, Status> {
        let report = request.into_inner().frame_complete_report.ok_or_else(empty)?;
        self.enqueue(&self.completions, ended(report)?).await?;
        Ok(Response::new(RqdReportRunningFrameCompletionResponse {}))
    }

    async fn report_status(
        &self,
        request: Request<RqdReportStatusRequest>,
    ) -> Result<Response<RqdReportStatusResponse>, Status> {
        let report = request.into_inner().host_report.ok_or_else(empty)?;
        let host = report.host.ok_or_else(empty)?;
        self.enqueue(&self.hosts, HostSeen { host, frames: report.frames, is_boot: false }).await?;
        Ok(Response::new(RqdReportStatusResponse {}))
    }
}

impl Service {
    async fn enqueue<T>(&self, queue: &mpsc::Sender<Call<T>>, report: T) -> Result<(), Status> {
        if self.shared.is_silent() {
            return Err(Status::unavailable("as if nobody listened here"));
        }
        let (answer, answered) = oneshot::channel();
        queue.send(Call { report, answer }).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }
}

fn ended(report: FrameCompleteReport) -> Result<Ended, Status> {
    let frame = report.frame.ok_or_else(empty)?;
    Ok(Ended {
        memory: frame.max_rss,
        frame: frame.frame_id,
        proc: frame.resource_id,
        exit_status: report.exit_status.into(),
        exit_signal: report.exit_signal.into(),
        run_seconds: report.run_time.into(),
    })
}

fn empty() -> Status {
    Status::invalid_argument("the report is empty")
}

fn stopping() -> Status {
    Status::unavailable("the Cuebot stand-in is stopping")
}
