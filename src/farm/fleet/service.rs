//! The agent's wire of every host.

use std::future::pending;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::connection::Caller;
use super::shared::Shared;
use super::state::Verdict;
use crate::rqd::proto::rqd::rqd_interface_server::RqdInterface;
use crate::rqd::proto::rqd::{
    RqdStaticGetRunFrameRequest, RqdStaticGetRunFrameResponse, RqdStaticGetRunningFrameStatusRequest,
    RqdStaticGetRunningFrameStatusResponse, RqdStaticKillRunningFrameRequest, RqdStaticKillRunningFrameResponse,
    RqdStaticLaunchFrameRequest, RqdStaticLaunchFrameResponse, RqdStaticLockAllRequest, RqdStaticLockAllResponse,
    RqdStaticLockRequest, RqdStaticLockResponse, RqdStaticNimbyOffRequest, RqdStaticNimbyOffResponse,
    RqdStaticNimbyOnRequest, RqdStaticNimbyOnResponse, RqdStaticRebootIdleRequest, RqdStaticRebootIdleResponse,
    RqdStaticRebootNowRequest, RqdStaticRebootNowResponse, RqdStaticReportStatusRequest, RqdStaticReportStatusResponse,
    RqdStaticRestartIdleRequest, RqdStaticRestartIdleResponse, RqdStaticRestartNowRequest, RqdStaticRestartNowResponse,
    RqdStaticShutdownIdleRequest, RqdStaticShutdownIdleResponse, RqdStaticShutdownNowRequest,
    RqdStaticShutdownNowResponse, RqdStaticUnlockAllRequest, RqdStaticUnlockAllResponse, RqdStaticUnlockRequest,
    RqdStaticUnlockResponse,
};

type Answer<T> = Result<Response<T>, Status>;

pub(super) struct Service {
    pub(super) shared: Arc<Shared>,
}

#[tonic::async_trait]
impl RqdInterface for Service {
    async fn launch_frame(
        &self,
        request: Request<RqdStaticLaunchFrameRequest>,
    ) -> Answer<RqdStaticLaunchFrameResponse> {
        let caller = caller(&request)?;
        self.shared.hears(caller.host).await;
        match self.shared.take_call(caller.host, request.into_inner().run_frame).await {
            Verdict::Answer(answer) => answer?,
            Verdict::AnswerAfter(delay) => tokio::time::sleep(delay).await,
            Verdict::Cut => {
                caller.cut.cancel();
                pending::<()>().await;
            }
        }
        Ok(Response::new(RqdStaticLaunchFrameResponse {}))
    }

    async fn kill_running_frame(
        &self,
        request: Request<RqdStaticKillRunningFrameRequest>,
    ) -> Answer<RqdStaticKillRunningFrameResponse> {
        let host = caller(&request)?.host;
        self.shared.hears(host).await;
        let asked = request.into_inner();
        self.shared.kill_frame(host, &asked.frame_id, &asked.message).await?;
        Ok(Response::new(RqdStaticKillRunningFrameResponse {}))
    }

    async fn get_running_frame_status(
        &self,
        request: Request<RqdStaticGetRunningFrameStatusRequest>,
    ) -> Answer<RqdStaticGetRunningFrameStatusResponse> {
        let host = caller(&request)?.host;
        let info = self.shared.state().status(host, &request.into_inner().frame_id)?;
        Ok(Response::new(RqdStaticGetRunningFrameStatusResponse { running_frame_info: Some(info) }))
    }

    async fn report_status(
        &self,
        request: Request<RqdStaticReportStatusRequest>,
    ) -> Answer<RqdStaticReportStatusResponse> {
        let host = caller(&request)?.host;
        self.shared.hears(host).await;
        let report = self.shared.state().host_report(host);
        Ok(Response::new(RqdStaticReportStatusResponse { host_report: Some(report) }))
    }

    async fn lock(&self, request: Request<RqdStaticLockRequest>) -> Answer<RqdStaticLockResponse> {
        let host = caller(&request)?.host;
        self.shared.state().lock(host, i64::from(request.into_inner().cores.max(0)));
        Ok(Response::new(RqdStaticLockResponse {}))
    }

    async fn lock_all(&self, request: Request<RqdStaticLockAllRequest>) -> Answer<RqdStaticLockAllResponse> {
        self.shared.state().lock(caller(&request)?.host, i64::MAX);
        Ok(Response::new(RqdStaticLockAllResponse {}))
    }

    async fn unlock(&self, request: Request<RqdStaticUnlockRequest>) -> Answer<RqdStaticUnlockResponse> {
        let host = caller(&request)?.host;
        self.shared.state().lock(host, -i64::from(request.into_inner().cores.max(0)));
        Ok(Response::new(RqdStaticUnlockResponse {}))
    }

    async fn unlock_all(&self, request: Request<RqdStaticUnlockAllRequest>) -> Answer<RqdStaticUnlockAllResponse> {
        self.shared.state().lock(caller(&request)?.host, -i64::MAX);
        Ok(Response::new(RqdStaticUnlockAllResponse {}))
    }

    async fn nimby_off(&self, _: Request<RqdStaticNimbyOffRequest>) -> Answer<RqdStaticNimbyOffResponse> {
        Ok(Response::new(RqdStaticNimbyOffResponse {}))
    }

    async fn nimby_on(&self, _: Request<RqdStaticNimbyOnRequest>) -> Answer<RqdStaticNimbyOnResponse> {
        Ok(Response::new(RqdStaticNimbyOnResponse {}))
    }

    async fn get_run_frame(&self, _: Request<RqdStaticGetRunFrameRequest>) -> Answer<RqdStaticGetRunFrameResponse> {
        Err(unimplemented())
    }

    async fn reboot_idle(&self, _: Request<RqdStaticRebootIdleRequest>) -> Answer<RqdStaticRebootIdleResponse> {
        Err(unimplemented())
    }

    async fn reboot_now(&self, _: Request<RqdStaticRebootNowRequest>) -> Answer<RqdStaticRebootNowResponse> {
        Err(unimplemented())
    }

    async fn restart_rqd_idle(&self, _: Request<RqdStaticRestartIdleRequest>) -> Answer<RqdStaticRestartIdleResponse> {
        Err(unimplemented())
    }

    async fn restart_rqd_now(&self, _: Request<RqdStaticRestartNowRequest>) -> Answer<RqdStaticRestartNowResponse> {
        Err(unimplemented())
    }

    async fn shutdown_rqd_idle(
        &self,
        _: Request<RqdStaticShutdownIdleRequest>,
    ) -> Answer<RqdStaticShutdownIdleResponse> {
        Err(unimplemented())
    }

    async fn shutdown_rqd_now(&self, _: Request<RqdStaticShutdownNowRequest>) -> Answer<RqdStaticShutdownNowResponse> {
        Err(unimplemented())
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get().cloned().ok_or_else(|| Status::internal("the call came over no host's connection"))
}

fn unimplemented() -> Status {
    Status::unimplemented("a simulated host does not do this")
}
