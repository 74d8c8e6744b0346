//! What all connections of a gateway share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headgate_iam::MasterKey;
use headgate_metadata::audit::{AuditDetails, AuditRecord, AuditResult, SharedAudit};
use headgate_metadata::catalog::Catalog;
use headgate_metadata::client_quotas::ClientQuotas;
use headgate_metadata::id::Incarnation;
use headgate_metadata::principals::Principals;
use headgate_metadata::quotas::Quotas;
use headgate_metadata::store::SharedStore;
use headgate_storage_client::{RequestId, Storage};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::authorize::{Authorizer, Identity};
use crate::brokers::LiveGateways;
use crate::budget::InflightBudget;
use crate::clock::WallClock;
use crate::config::GatewayConfig;
use crate::fetch::SessionBudget;
use crate::metrics::GatewayMetrics;
use crate::produce::PartitionSizes;
use crate::quota::TenantQuotas;
use crate::random::RandomBits;
use crate::usage::SentCounters;
use crate::which_cluster::HostNames;

/// The components a gateway is built from.
pub struct GatewayParts {
    /// The owners of slots.
    pub storage: Arc<dyn Storage>,
    /// Clusters and topics.
    pub catalog: Arc<Catalog>,
    /// What operators set for clusters.
    pub quotas: Arc<Quotas>,
    /// What the administrators of clusters set for users and client ids.
    pub client_quotas: Arc<ClientQuotas>,
    /// Users and access keys.
    pub principals: Arc<Principals>,
    /// The metadata store, for changes of topics.
    pub metadata: SharedStore,
    /// Where authentications and denials are written down.
    pub audit: SharedAudit,
    /// Opens stored secrets and session tokens.
    pub master_key: MasterKey,
    /// The time of day.
    pub clock: Arc<dyn WallClock>,
    /// Randomness, for ids that must not be guessed.
    pub random: Arc<dyn RandomBits>,
    /// This process's incarnation, under which bytes sent are reported.
    pub incarnation: Incarnation,
    /// The region, as in ARNs and signatures.
    pub region: String,
    /// This gateway's zone, which clients see as the broker's rack.
    pub zone: Option<String>,
    /// The names clients may dial.
    pub names: HostNames,
    /// The live gateways; `None` where this is the only one.
    pub fleet: Option<LiveGateways>,
}

/// Where the process stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Serving.
    Open,
    /// Going away: long waits end, connections close when nothing is in progress, and all at this moment.
    Draining(Instant),
}

/// Parts, settings and what grows out of them.
pub(crate) struct Shared {
    pub(crate) parts: GatewayParts,
    pub(crate) config: GatewayConfig,
    pub(crate) authorizer: Authorizer,
    pub(crate) budget: InflightBudget,
    pub(crate) fetch_sessions: Arc<SessionBudget>,
    pub(crate) sent: SentCounters,
    pub(crate) quotas: TenantQuotas,
    pub(crate) partition_sizes: PartitionSizes,
    pub(crate) metrics: GatewayMetrics,
    pub(crate) phase: watch::Sender<Phase>,
    /// Moves when connections must look whether they may go on.
    pub(crate) standing: watch::Sender<u64>,
    requests: AtomicU64,
}

impl Shared {
    pub(crate) fn new(parts: GatewayParts, config: GatewayConfig, metrics: GatewayMetrics) -> Self {
        let authorizer = Authorizer::new(
            Arc::clone(&parts.principals),
            Arc::clone(&parts.catalog),
            Arc::clone(&parts.clock),
            parts.region.clone(),
        );
        let budget = InflightBudget::new(crate::budget::BudgetSizes {
            shared: config.inflight_bytes_max,
            cluster_cap: config.inflight_bytes_per_cluster_max,
            cluster_guarantee: config.inflight_bytes_per_cluster_guaranteed,
            strangers: config.inflight_bytes_unauthenticated,
        });
        Self {
            authorizer,
            budget,
            fetch_sessions: Arc::new(SessionBudget::new(config.fetch_session_partitions_max)),
            sent: SentCounters::new(parts.incarnation),
            quotas: TenantQuotas::default(),
            partition_sizes: PartitionSizes::default(),
            metrics,
            phase: watch::Sender::new(Phase::Open),
            standing: watch::Sender::new(0),
            requests: AtomicU64::new(1),
            parts,
            config,
        }
    }

    /// A name for the next request.
    pub(crate) fn next_request(&self) -> RequestId {
        RequestId(self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// A random UUID-like text, as answers to logins carry it.
    pub(crate) fn random_uuid(&self) -> uuid::Uuid {
        let high = u128::from(self.parts.random.bits()) << 64;
        uuid::Builder::from_random_bytes((high | u128::from(self.parts.random.bits())).to_be_bytes())
            .into_uuid()
    }

    /// Milliseconds since the epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        self.parts.clock.now().as_millis()
    }

    /// Writes an audit line.
    pub(crate) fn audit(&self, line: AuditLine) {
        let now = chrono::DateTime::from_timestamp_millis(self.now_ms()).unwrap_or_default();
        self.parts.audit.record(&AuditRecord {
            time: now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            source: line.source,
            principal: line.principal,
            cluster: line.cluster,
            action: line.action,
            resource: line.resource,
            result: line.result,
            reason: line.reason,
            details: line.details,
        });
    }
}

/// An audit line but for its time.
pub(crate) struct AuditLine {
    pub(crate) source: String,
    pub(crate) principal: Option<String>,
    pub(crate) cluster: Option<String>,
    pub(crate) action: String,
    pub(crate) resource: Option<String>,
    pub(crate) result: AuditResult,
    pub(crate) reason: Option<String>,
    pub(crate) details: AuditDetails,
}

/// What an audit line says of who is connected.
pub(crate) fn details_of(identity: &Identity) -> AuditDetails {
    let source = &identity.source;
    let issued =
        source.token_issued_at.and_then(|at| chrono::DateTime::from_timestamp_millis(at.as_millis()));
    AuditDetails {
        principal_id: Some(identity.principal.id().to_owned()),
        access_key_id: identity.access_key_id.as_deref().map(str::to_owned),
        session_issued: issued.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
        user_agent: source.user_agent.as_deref().map(str::to_owned),
        ..AuditDetails::default()
    }
}
