//! Launches against real gRPC servers and against peers that misbehave on purpose.

use std::future::Future;

use cue_scheduler::rqd::{AgentSettings, Agents, LaunchOutcome};

fn spawnable<F: Future + Send + 'static>(_: F) {}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_not_sent() {
    let agents = Agents::new(AgentSettings::default());
    let spawned = agents.clone();
    spawnable(async move { spawned.launch("host", Default::default()).await });
    let outcome = agents.launch("no-such-host.invalid", Default::default()).await;
    assert!(matches!(outcome, LaunchOutcome::NotSent(_)), "{outcome:?}");
}
