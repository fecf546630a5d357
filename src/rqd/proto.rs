//! The wire definitions of `proto/`, as generated when building.
#![allow(clippy::pedantic, missing_docs, unreachable_pub, clippy::all)]

pub mod host {
    tonic::include_proto!("host");
}
pub mod report {
    tonic::include_proto!("report");
}
pub mod rqd {
    tonic::include_proto!("rqd");
}
