//! What the control API is built from.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use headgate_iam::{MasterKey, Principal, UnixTime};
use headgate_metadata::audit::SharedAudit;
use headgate_metadata::catalog::Catalog;
use headgate_metadata::id::{BrokerId, ClusterId};
use headgate_metadata::principals::Principals;
use headgate_metadata::record::{ClusterRecord, TopicRecord};
use headgate_metadata::store::SharedStore;
use headgate_storage_client::quota::QuotaExplanation;
use prometheus_client::registry::Registry;

use crate::bill::BillSource;
use crate::metrics::ControlMetrics;

/// How clients reach a cluster.
#[async_trait]
pub trait Bootstrap: Send + Sync + 'static {
    /// The bootstrap string for SASL IAM, `host:port` pairs separated by commas.
    fn brokers(&self, cluster: &ClusterRecord) -> String;

    /// The ids of the brokers that whoever dials that string is told of.
    fn broker_ids(&self, cluster: &ClusterRecord) -> Vec<BrokerId>;

    /// Whether a new cluster can be reached under that string, so that whoever is told that it is `ACTIVE` can use it at once.
    /// May wait a little for it; asked again until it can.
    async fn reachable(&self, cluster: &ClusterRecord) -> bool;
}

/// Topics of a cluster, under the rules and rights that Kafka's own requests are under.
#[async_trait]
pub trait Topics: Send + Sync + 'static {
    /// Creates the topic.
    async fn create(&self, requester: Requester<'_>, topic: NewTopic) -> Result<TopicRecord, TopicRefused>;

    /// Raises the number of partitions, sets configs, or both; what is not named stays.
    async fn update(
        &self,
        requester: Requester<'_>,
        update: TopicUpdate,
    ) -> Result<TopicRecord, TopicRefused>;

    /// Deletes the topic.
    async fn delete(&self, requester: Requester<'_>, name: &str) -> Result<TopicRecord, TopicRefused>;
}

/// Who asks for a change of topics, and where; what else policies may ask of the request.
#[derive(Debug, Clone, Copy)]
pub struct Requester<'r> {
    /// The cluster.
    pub cluster: &'r ClusterRecord,
    /// The principal.
    pub principal: &'r Principal,
    /// The text of the policy that narrows the session.
    pub session_policy: Option<&'r str>,
    /// When the temporary credential was issued.
    pub token_issued_at: Option<UnixTime>,
    /// Where the principal is.
    pub source: SocketAddr,
    /// Whether the request came over TLS.
    pub secure: bool,
    /// What the client says it is.
    pub user_agent: Option<&'r str>,
}

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// The number of partitions.
    pub partitions: u32,
    /// The configs that are set explicitly, by Kafka's names.
    pub configs: BTreeMap<String, String>,
}

/// A change of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicUpdate {
    /// The topic's name.
    pub name: String,
    /// The number of partitions from now on.
    pub partitions: Option<u32>,
    /// Configs to set.
    pub configs: BTreeMap<String, String>,
}

/// Why a topic was not changed, in words for the caller, and what the caller can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct TopicRefused {
    /// What the caller can do.
    pub kind: TopicRefusal,
    /// What is wrong.
    pub text: String,
}

/// The kinds of [`TopicRefused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicRefusal {
    /// The name is taken.
    Exists,
    /// There is no such topic.
    Unknown,
    /// The policies do not allow it.
    Denied,
    /// A rate is used up: ask more slowly.
    Throttled,
    /// It breaks a rule: ask for something else.
    Invalid,
    /// It cannot be done now: ask again.
    Unavailable,
}

/// Tells the time.
pub type SharedClock = Arc<dyn Fn() -> UnixTime + Send + Sync>;
/// Fills a slice with random bytes fit for secrets.
pub type SharedRandom = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Explains the quotas of a cluster; `None` if no client of it is connected to this process.
pub type SharedQuotas = Arc<dyn Fn(ClusterId) -> Option<QuotaExplanation> + Send + Sync>;

/// The components; all are shared with other parts of the process.
#[derive(Clone)]
pub struct Components {
    /// Where everything is kept.
    pub store: SharedStore,
    /// The cluster records, from memory.
    pub catalog: Arc<Catalog>,
    /// Users and keys, from memory.
    pub principals: Arc<Principals>,
    /// Opens secrets and session tokens.
    pub master_key: MasterKey,
    /// Takes one record per call.
    pub audit: SharedAudit,
    /// Makes bills.
    pub bills: Arc<dyn BillSource>,
    /// Explains quotas.
    pub quotas: SharedQuotas,
    /// Names the way to a cluster.
    pub bootstrap: Arc<dyn Bootstrap>,
    /// Changes topics.
    pub topics: Arc<dyn Topics>,
    /// Whether the process can serve its clients: the answer of `/readyz`.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// The control API's own metrics, which stand in the registry.
    pub metrics: ControlMetrics,
    /// The time.
    pub clock: SharedClock,
    /// Random bytes for ids and secrets.
    pub random: SharedRandom,
}
