//! Why a farm could not be seeded.

#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("{what} refers to {kind} \"{name}\", which the description does not have")]
    Unknown { what: String, kind: &'static str, name: String },
    #[error("the description has {kind} \"{name}\" twice")]
    Twice { kind: &'static str, name: String },
    #[error("there are not enough loopback addresses from {first} on for {hosts} hosts")]
    Addresses { first: std::net::Ipv4Addr, hosts: usize },
    #[error("failed {step}")]
    Database { step: &'static str, source: sqlx::Error },
}
