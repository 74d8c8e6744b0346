//! What a gateway counts.
//!
//! | metric | labels | meaning |
//! |---|---|---|
//! | `headgate_gateway_requests_total` | `api` | requests that were read |
//! | `headgate_gateway_logins_total` | `mechanism`, `result` | logins answered |
//! | `headgate_gateway_denials_total` | `action` | requests or parts of them denied by policy |
//! | `headgate_gateway_connections` | `state` | open connections |
//! | `headgate_gateway_connections_refused_total` | `reason` | connections turned away before a byte was read |
//! | `headgate_gateway_quota_refusals_total` | `quota` | operations and connections refused by a cluster's quota |
//! | `headgate_gateway_quota_unanswered_total` | – | times a quota coordinator did not answer |
//! | `headgate_gateway_inflight_bytes` | – | memory of requests and responses in flight, shared part |
//!
//! None of these names a tenant: whoever reaches the control API may read them. What concerns one cluster is in a registry of
//! its own, for the operator:
//!
//! | name | labels | counts |
//! |---|---|---|
//! | `headgate_gateway_throttles_total` | `cluster`, `limit` | answers with a throttle time |
//! | `headgate_gateway_throttled_seconds_total` | `cluster`, `limit` | throttle times told, together |
//! | `headgate_gateway_quota_used_total` | `cluster`, `quota` | bytes or requests through this gateway, as the coordinator has counted them |
//! | `headgate_gateway_quota_limit` | `cluster`, `quota` | what the quota allows a second |

use std::sync::atomic::AtomicU64;

use headgate_iam::{KafkaAction, Mechanism};
use headgate_metadata::audit::AuditResult;
use headgate_metadata::id::ClusterId;
use headgate_metadata::quota::QuotaKey;
use headgate_storage_client::quota::Flow;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::quota::{Limit, Throttle};

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ApiLabel {
    api: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LoginLabel {
    mechanism: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActionLabel {
    action: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ThrottleLabel {
    cluster: String,
    limit: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClusterQuotaLabel {
    cluster: String,
    quota: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QuotaLabel {
    quota: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Where a connection stands, for the gauge of open ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionState {
    Unauthenticated,
    Authenticated,
}

/// Why a connection was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// Too many connections have not authenticated.
    Unauthenticated,
    /// Too many of them from this source.
    Source,
    /// New ones come too fast from this source.
    SourceRate,
    /// The cluster has as many connections as its quota allows, or new ones come faster.
    Quota,
}

/// The gateway's metrics. Cheap to clone; all clones count into the same series.
#[derive(Debug, Clone, Default)]
pub(crate) struct GatewayMetrics {
    requests: Family<ApiLabel, Counter>,
    logins: Family<LoginLabel, Counter>,
    denials: Family<ActionLabel, Counter>,
    connections: Family<StateLabel, Gauge>,
    refused: Family<ReasonLabel, Counter>,
    inflight_bytes: Gauge,
    throttles: Family<ThrottleLabel, Counter>,
    throttled_seconds: Family<ThrottleLabel, Counter<f64, AtomicU64>>,
    quota_used: Family<ClusterQuotaLabel, Counter>,
    quota_limit: Family<ClusterQuotaLabel, Gauge>,
    quota_refusals: Family<QuotaLabel, Counter>,
    quota_unanswered: Counter,
}

impl GatewayMetrics {
    /// Metrics that `registry` shows, and those that name clusters, which `tenants` does.
    pub(crate) fn registered(registry: &mut Registry, tenants: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("headgate_gateway");
        registry.register("requests", "Requests that were read", metrics.requests.clone());
        registry.register("logins", "Logins answered", metrics.logins.clone());
        registry.register("denials", "Requests or parts of them denied by policy", metrics.denials.clone());
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register("connections_refused", "Connections turned away", metrics.refused.clone());
        registry.register(
            "inflight_bytes",
            "Requests and responses in flight",
            metrics.inflight_bytes.clone(),
        );
        registry.register("quota_refusals", "Operations refused by a quota", metrics.quota_refusals.clone());
        registry.register(
            "quota_unanswered",
            "Times the quota coordinator of a cluster did not answer and the last share was gone on with",
            metrics.quota_unanswered.clone(),
        );
        let tenants = tenants.sub_registry_with_prefix("headgate_gateway");
        tenants.register("throttles", "Answers with a throttle time", metrics.throttles.clone());
        tenants.register("throttled_seconds", "Throttle times told", metrics.throttled_seconds.clone());
        tenants.register("quota_used", "Use of a quota through this gateway", metrics.quota_used.clone());
        tenants.register("quota_limit", "The quota a second", metrics.quota_limit.clone());
        metrics
    }

    pub(crate) fn observe_request(&self, api: &'static str) {
        self.requests.get_or_create(&ApiLabel { api }).inc();
    }

    pub(crate) fn observe_login(&self, mechanism: Mechanism, result: AuditResult) {
        let result = match result {
            AuditResult::Allowed => "allowed",
            AuditResult::Denied => "denied",
            AuditResult::Failed => "failed",
        };
        self.logins.get_or_create(&LoginLabel { mechanism: mechanism.name(), result }).inc();
    }

    pub(crate) fn observe_denial(&self, action: KafkaAction) {
        self.denials.get_or_create(&ActionLabel { action: action.name() }).inc();
    }

    pub(crate) fn observe_turned_away(&self, reason: TurnedAway) {
        let reason = match reason {
            TurnedAway::Unauthenticated => "unauthenticated",
            TurnedAway::Source => "source",
            TurnedAway::SourceRate => "source-rate",
            TurnedAway::Quota => "quota",
        };
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A client was told to hold back.
    pub(crate) fn observe_throttle(&self, cluster: ClusterId, throttle: Throttle) {
        let label = ThrottleLabel { cluster: cluster.to_string(), limit: throttle.limit.name() };
        self.throttles.get_or_create(&label).inc();
        self.throttled_seconds.get_or_create(&label).inc_by(throttle.time.as_secs_f64());
    }

    /// A cluster has used so much more of a quota through this gateway, and may use so much a second through all.
    pub(crate) fn observe_quota(&self, cluster: ClusterId, quota: QuotaKey, used: u64, limit: u64) {
        let label = ClusterQuotaLabel { cluster: cluster.to_string(), quota: quota.name() };
        self.quota_used.get_or_create(&label).inc_by(used);
        self.quota_limit.get_or_create(&label).set(i64::try_from(limit).unwrap_or(i64::MAX));
    }

    /// The cluster is not in use here any more: its series end.
    pub(crate) fn forget_quotas(&self, cluster: ClusterId) {
        for limit in Limit::all() {
            let label = ThrottleLabel { cluster: cluster.to_string(), limit: limit.name() };
            self.throttles.remove(&label);
            self.throttled_seconds.remove(&label);
        }
        for flow in Flow::ALL {
            let label = ClusterQuotaLabel { cluster: cluster.to_string(), quota: flow.quota().name() };
            self.quota_used.remove(&label);
            self.quota_limit.remove(&label);
        }
    }

    pub(crate) fn observe_quota_refused(&self, quota: QuotaKey) {
        self.quota_refusals.get_or_create(&QuotaLabel { quota: quota.name() }).inc();
    }

    pub(crate) fn observe_quota_unanswered(&self) {
        self.quota_unanswered.inc();
    }

    /// Counts a connection in this state until the guard is dropped.
    pub(crate) fn connection(&self, state: ConnectionState) -> OpenConnection {
        let state = match state {
            ConnectionState::Unauthenticated => "unauthenticated",
            ConnectionState::Authenticated => "authenticated",
        };
        let gauge = self.connections.get_or_create(&StateLabel { state }).clone();
        gauge.inc();
        OpenConnection(gauge)
    }

    pub(crate) fn set_inflight_bytes(&self, bytes: u64) {
        self.inflight_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

/// An open connection in the gauge.
#[derive(Debug)]
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn the_table_above_names_every_metric() {
        let (mut registry, mut tenants) = (Registry::default(), Registry::default());
        let metrics = GatewayMetrics::registered(&mut registry, &mut tenants);
        metrics.observe_request("Fetch");
        metrics.observe_login(Mechanism::AwsMskIam, AuditResult::Denied);
        metrics.observe_denial(KafkaAction::ReadData);
        metrics.observe_turned_away(TurnedAway::Source);
        let _open = metrics.connection(ConnectionState::Authenticated);
        metrics.set_inflight_bytes(7);
        let cluster = ClusterId::from_random(1);
        let limit = Limit::Quota(QuotaKey::RequestsPerSecond);
        metrics.observe_throttle(cluster, Throttle { limit, time: Duration::from_millis(5) });
        metrics.observe_quota(cluster, QuotaKey::RequestsPerSecond, 1, 2);
        metrics.observe_quota_refused(QuotaKey::GroupsMax);
        metrics.observe_quota_unanswered();
        let mut shown = String::new();
        encode(&mut shown, &registry).expect("text is written to memory");
        assert!(!shown.contains(&cluster.to_string()));
        encode(&mut shown, &tenants).expect("text is written to memory");
        let sample = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
        let mut shown: Vec<String> =
            shown.lines().filter(|line| !line.starts_with('#')).map(sample).collect();
        let rows = include_str!("metrics.rs").lines().filter_map(|line| line.strip_prefix("//! | `"));
        let mut named: Vec<String> =
            rows.filter_map(|row| row.split('`').next()).map(str::to_owned).collect();
        shown.sort();
        named.sort();
        assert_eq!(shown, named);
    }
}
