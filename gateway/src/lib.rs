//! The gateway: speaks Kafka to clients, statelessly, for any cluster of the cell.
//!
//! Callers are Kafka clients and the process that composes it; below are the storage interface
//! (`headgate-storage-client`), the metadata (`headgate-metadata`) and identity (`headgate-iam`).
//! Not here: record data at rest, group and producer state (storage), the AWS-compatible HTTP APIs (`headgate-control`).
//! Kafka's messages, versions and error codes appear here and nowhere below.
//! Start at [`Gateway::new`]; a produce is followed from `connection/authenticated.rs` to `api/produce.rs` and into
//! [`headgate_storage_client::Storage`].

mod admission;
mod api;
mod authorize;
mod authorized_operations;
mod brokers;
mod budget;
mod clock;
mod config;
mod connection;
mod error_code;
mod fetch;
mod gateway;
mod group_access;
mod listener;
mod login;
mod metrics;
mod produce;
mod quota;
mod random;
mod refusal;
mod sasl;
mod session;
mod shape;
mod shared;
mod topic_config;
mod topic_creation;
mod topic_operation;
mod usage;
mod which_cluster;

pub use api::own_requests::{OnBehalf, OwnRequestRefused};
pub use brokers::BROKER_IDS;
pub use brokers::{GatewayAddress, Gateways, LiveGateways, LiveGatewaysTeller};
pub use clock::{SystemWallClock, WallClock};
pub use config::{ConfigInvalid, GatewayConfig};
pub use error_code::OwnRefusal;
pub use gateway::Gateway;
pub use listener::{ListenError, ListenerSecurity, ListenerSpec};
pub use random::{RandomBits, SystemRandom};
pub use shared::GatewayParts;
pub use which_cluster::HostNames;
