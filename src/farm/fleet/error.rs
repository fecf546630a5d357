//! How a fleet fails.

use std::io;
use std::net::SocketAddr;

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("host name {name:?} is not a loopback address; simulated hosts listen at their names")]
    HostName { name: String },
    #[error("no simulated host is called {name:?}")]
    UnknownHost { name: String },
    #[error("cannot listen at {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("found no port that is free at all {hosts} addresses, out of {tried} tried")]
    NoFreePort { hosts: usize, tried: u32 },
    #[error("{hosts} hosts need {needed} open files and this process may have {limit}; raise `ulimit -n`")]
    OpenFiles { hosts: usize, limit: u64, needed: u64 },
    #[error("cannot report to {address}")]
    Cuebot { address: SocketAddr, source: tonic::transport::Error },
}
