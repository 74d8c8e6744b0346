//! The settings of a gateway: numbers an operator turns.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::Deserialize;

/// A mebibyte.
const MIB: u64 = 1024 * 1024;

/// Why a configuration cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigInvalid {
    /// A request of the greatest size would wait for ever.
    #[error("request_bytes_max ({request}) is greater than inflight_bytes_per_cluster_max ({per_cluster})")]
    RequestBeyondBudget {
        /// `request_bytes_max`.
        request: u64,
        /// `inflight_bytes_per_cluster_max`.
        per_cluster: u64,
    },
    /// One cluster may not take more than there is.
    #[error("inflight_bytes_per_cluster_max ({per_cluster}) is greater than inflight_bytes_max ({all})")]
    ClusterBeyondBudget {
        /// `inflight_bytes_per_cluster_max`.
        per_cluster: u64,
        /// `inflight_bytes_max`.
        all: u64,
    },
    /// A setting is zero that must not be.
    #[error("{0} must not be 0")]
    Zero(&'static str),
}

/// The settings of a gateway.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// The longest request accepted after authentication, in bytes. Default 100 MiB, as Kafka's `socket.request.max.bytes`,
    /// plus 1 MiB for what surrounds the records. Higher: one client can hold more memory; lower: clients with big batches
    /// are cut off.
    pub request_bytes_max: u64,
    /// Memory of requests and responses in flight, all clusters together. Default 512 MiB. Higher: more memory; lower:
    /// sockets are left unread sooner, so bursts see latency.
    pub inflight_bytes_max: u64,
    /// The most one cluster takes of it. Default 256 MiB. Higher: one tenant can crowd the others down to their guarantee;
    /// lower: a busy tenant waits although memory is free.
    pub inflight_bytes_per_cluster_max: u64,
    /// What every cluster in use has beside it. Default 4 MiB. Higher: more memory with many tenants; lower: a small
    /// tenant waits longer behind big ones.
    pub inflight_bytes_per_cluster_guaranteed: u64,
    /// Memory of requests that come before authentication. Default 128 MiB: the longest frame, 64 KiB, of each of
    /// `unauthenticated_connections_max`, so that nobody who holds his back keeps others from logging in. Higher: no use;
    /// lower: login storms queue, and few sources can block the others' logins.
    pub inflight_bytes_unauthenticated: u64,
    /// Connections that have not authenticated, at most. Default 2,000. Higher: strangers can hold more memory and
    /// descriptors; lower: login storms are turned away sooner.
    pub unauthenticated_connections_max: u32,
    /// The same from one source address. Default 500. Higher: one machine can crowd out the others; lower: a big client
    /// host that restarts is turned away in part.
    pub unauthenticated_connections_per_source_max: u32,
    /// New connections a second from one source address, on average; bursts up to ten times this. Default 200. Higher:
    /// one machine can spend more of our key work; lower: hosts with many clients start slowly.
    pub connections_per_source_per_second: u32,
    /// TLS handshakes under way at once. Default 64. Higher: a storm delays traffic more; lower: logins queue although
    /// cores are idle.
    pub handshakes_concurrent_max: u32,
    /// How long a connection may go without authenticating, in milliseconds. Default 10,000. Higher: strangers hold
    /// sockets longer; lower: clients on slow links fail to log in.
    pub authentication_ms_max: u64,
    /// The longest session before a client must authenticate again, in milliseconds; Kafka's `connections.max.reauth.ms`.
    /// Default one hour. Higher: a deleted session lives longer; lower: more logins.
    pub session_ms_max: u64,
    /// How long a connection may be idle, in milliseconds; Kafka's `connections.max.idle.ms`. Default ten minutes.
    /// Higher: dead peers hold descriptors longer; lower: quiet clients reconnect.
    pub connection_idle_ms_max: u64,
    /// How long a client may take none of a response's bytes, in milliseconds. Default 30,000. Higher: a stuck consumer
    /// holds memory longer; lower: consumers on stalling links are cut off.
    pub response_stall_ms_max: u64,
    /// The most bytes of batches in one Fetch answer, unless the cluster's quota says less. Default 55 MiB, MSK's documented
    /// limit; larger wishes are clamped. Higher: one consumer can hold more memory; lower: more requests for the same data.
    pub fetch_bytes_max: u64,
    /// Partitions remembered in all fetch sessions of the process. Default 1,000,000, about 100 MiB. Higher: more memory;
    /// lower: consumers of many partitions send whole requests again.
    pub fetch_session_partitions_max: u32,
    /// Partitions of one topic at most, unless the cluster's quota says less. Default 2,400.
    pub topic_partitions_max: u32,
    /// Bytes of requests a second that this gateway reads, all clusters together; beyond, every cluster is slowed down in
    /// proportion to its quota. Default none. Higher: the machine may become the limit, which is fair to nobody; lower:
    /// clusters are slowed down although the machine could do more.
    pub node_bytes_in_per_second: Option<NonZeroU64>,
    /// The same for bytes of fetched records.
    pub node_bytes_out_per_second: Option<NonZeroU64>,
    /// The same for requests.
    pub node_requests_per_second: Option<NonZeroU64>,
    /// How long draining may take, in milliseconds, before connections are closed in the middle of a request. Default
    /// 30,000. Higher: a restart takes longer; lower: slow produces see a lost connection.
    pub drain_ms_max: u64,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            request_bytes_max: 101 * MIB,
            inflight_bytes_max: 512 * MIB,
            inflight_bytes_per_cluster_max: 256 * MIB,
            inflight_bytes_per_cluster_guaranteed: 4 * MIB,
            inflight_bytes_unauthenticated: 128 * MIB,
            unauthenticated_connections_max: 2_000,
            unauthenticated_connections_per_source_max: 500,
            connections_per_source_per_second: 200,
            handshakes_concurrent_max: 64,
            authentication_ms_max: 10_000,
            session_ms_max: 3_600_000,
            connection_idle_ms_max: 600_000,
            response_stall_ms_max: 30_000,
            fetch_bytes_max: 55 * MIB,
            fetch_session_partitions_max: 1_000_000,
            topic_partitions_max: 2_400,
            node_bytes_in_per_second: None,
            node_bytes_out_per_second: None,
            node_requests_per_second: None,
            drain_ms_max: 30_000,
        }
    }
}

impl GatewayConfig {
    /// Rejects combinations that would hang or refuse everything.
    pub fn validate(&self) -> Result<(), ConfigInvalid> {
        let zero = [
            ("unauthenticated_connections_max", u64::from(self.unauthenticated_connections_max)),
            (
                "unauthenticated_connections_per_source_max",
                u64::from(self.unauthenticated_connections_per_source_max),
            ),
            ("connections_per_source_per_second", u64::from(self.connections_per_source_per_second)),
            ("handshakes_concurrent_max", u64::from(self.handshakes_concurrent_max)),
            ("authentication_ms_max", self.authentication_ms_max),
            ("inflight_bytes_unauthenticated", self.inflight_bytes_unauthenticated),
            ("fetch_bytes_max", self.fetch_bytes_max),
        ];
        if let Some((name, _)) = zero.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigInvalid::Zero(name));
        }
        let (request, per_cluster, all) =
            (self.request_bytes_max, self.inflight_bytes_per_cluster_max, self.inflight_bytes_max);
        if request > per_cluster || self.fetch_bytes_max > per_cluster {
            return Err(ConfigInvalid::RequestBeyondBudget {
                request: request.max(self.fetch_bytes_max),
                per_cluster,
            });
        }
        if per_cluster > all {
            return Err(ConfigInvalid::ClusterBeyondBudget { per_cluster, all });
        }
        Ok(())
    }

    pub(crate) fn authentication_max(&self) -> Duration {
        Duration::from_millis(self.authentication_ms_max)
    }
    pub(crate) fn session_max(&self) -> Duration {
        Duration::from_millis(self.session_ms_max)
    }
    pub(crate) fn connection_idle_max(&self) -> Duration {
        Duration::from_millis(self.connection_idle_ms_max)
    }
    pub(crate) fn response_stall_max(&self) -> Duration {
        Duration::from_millis(self.response_stall_ms_max)
    }
    pub(crate) fn drain_max(&self) -> Duration {
        Duration::from_millis(self.drain_ms_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(GatewayConfig::default().validate(), Ok(()));
    }

    #[test]
    fn a_request_that_could_never_be_admitted_is_refused_at_start() {
        let config = GatewayConfig { request_bytes_max: 300 * MIB, ..GatewayConfig::default() };
        assert!(matches!(config.validate(), Err(ConfigInvalid::RequestBeyondBudget { .. })));
        let config = GatewayConfig { inflight_bytes_per_cluster_max: 600 * MIB, ..GatewayConfig::default() };
        assert!(matches!(config.validate(), Err(ConfigInvalid::ClusterBeyondBudget { .. })));
    }

    #[test]
    fn a_limit_of_zero_is_refused_by_its_name() {
        let config = GatewayConfig { handshakes_concurrent_max: 0, ..GatewayConfig::default() };
        assert_eq!(config.validate(), Err(ConfigInvalid::Zero("handshakes_concurrent_max")));
    }
}
