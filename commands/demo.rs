//! `demo`: a whole farm on this machine.

use std::process::ExitCode;

use crate::output::Printer;
use crate::settings::DemoSettings;

pub(crate) async fn run(settings: DemoSettings, _printer: Printer) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build cannot bring up the farm of {settings:?}")
}
