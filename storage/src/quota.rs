//! The quota coordinator: the true buckets of the clusters whose id hashes to a slot of this node.
//!
//! Start at [`ClusterQuota`]; how the tokens of one flow are shared among gateways is in `true_bucket`. What is not here: what a
//! gateway does with what it was granted ([`headgate_storage_client::quota`]), and what a client is told (the gateway).

mod cluster_quota;
mod partitions;
mod rare;
mod service;
mod true_bucket;

pub use cluster_quota::ClusterQuota;
pub(crate) use partitions::PartitionQuotas;
pub(crate) use service::QuotaService;
