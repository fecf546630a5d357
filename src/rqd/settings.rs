//! How agents are called.

use std::time::Duration;

use crate::config::Rqd;

/// Connections kept on a farm of any size.
const CONNECTIONS_MAX: usize = 8_192;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentSettings {
    /// The port that every agent of the farm listens on.
    pub port: u16,
    /// From looking the name up to an open connection.
    pub connect_timeout: Duration,
    /// From sending a call to its answer. Also told to the agent, which drops a call that waited
    /// longer instead of starting it late.
    pub call_timeout: Duration,
    /// Calls to all hosts together that are being made at once.
    pub calls_in_flight_max: usize,
    /// Calls to one host that are being made at once; agents start frames one after the other.
    pub calls_per_host_max: usize,
    /// Connections kept; beyond it the longest unused ones are closed.
    pub connections_max: usize,
}

impl From<&Rqd> for AgentSettings {
    fn from(rqd: &Rqd) -> Self {
        Self {
            port: rqd.grpc_port,
            connect_timeout: rqd.connect_timeout,
            call_timeout: rqd.launch_timeout,
            calls_in_flight_max: rqd.launches_in_flight,
            calls_per_host_max: rqd.launches_in_flight_per_host,
            connections_max: CONNECTIONS_MAX,
        }
    }
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self::from(&Rqd::default())
    }
}
