//! The limits that slow clients down, by name.

use headgate_metadata::client_quota::ClientQuotaKey;
use headgate_metadata::quota::QuotaKey;
use headgate_storage_client::quota::Flow;

/// What a client is held back by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Limit {
    /// A quota of its cluster.
    Quota(QuotaKey),
    /// What this node can do.
    Node(Flow),
    /// What the cluster's administrator set for a user or client id.
    Client(ClientQuotaKey),
}

impl Limit {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let clients = ClientQuotaKey::ALL.iter().copied().map(Self::Client);
        QuotaKey::ALL.iter().copied().map(Self::Quota).chain(Flow::ALL.map(Self::Node)).chain(clients)
    }

    /// The name in metrics and explanations.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Quota(quota) => quota.name(),
            Self::Node(Flow::BytesIn) => "node_bytes_in_per_second",
            Self::Node(Flow::BytesOut) => "node_bytes_out_per_second",
            Self::Node(Flow::Requests) => "node_requests_per_second",
            Self::Client(ClientQuotaKey::ProducerByteRate) => "client_producer_byte_rate",
            Self::Client(ClientQuotaKey::ConsumerByteRate) => "client_consumer_byte_rate",
            Self::Client(ClientQuotaKey::RequestPercentage) => "client_request_percentage",
            Self::Client(ClientQuotaKey::ControllerMutationRate) => "client_controller_mutation_rate",
        }
    }
}

/// How long a client is held back, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Throttle {
    pub(crate) limit: Limit,
    pub(crate) time: std::time::Duration,
}

impl Throttle {
    /// The longer of two.
    pub(crate) fn longer(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(if other.time > one.time { other } else { one }),
            (one, other) => one.or(other),
        }
    }
}
