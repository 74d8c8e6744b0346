//! What the control API is built from.

use std::sync::Arc;

use async_trait::async_trait;
use headgate_iam::{MasterKey, UnixTime};
use headgate_metadata::audit::SharedAudit;
use headgate_metadata::catalog::Catalog;
use headgate_metadata::id::{ClusterId, Revision};
use headgate_metadata::principals::Principals;
use headgate_metadata::record::ClusterRecord;
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

    /// Waits until the cluster, created at `revision`, can be reached under that string, so that whoever was told it can use
    /// it at once. Must end by itself; the default does not wait.
    async fn reachable(&self, cluster: ClusterId, revision: Revision) {
        let _ = (cluster, revision);
    }
}

impl<F> Bootstrap for F
where
    F: Fn(&ClusterRecord) -> String + Send + Sync + 'static,
{
    fn brokers(&self, cluster: &ClusterRecord) -> String {
        self(cluster)
    }
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
