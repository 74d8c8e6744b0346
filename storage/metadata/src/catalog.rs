//! What a gateway holds of the cell: every cluster's record and policy, and the topics of the clusters that are in use.
//!
//! One watch follows the cluster records, one their policies; one watch for each cluster in use follows its topics. A cluster that nobody asked
//! for in ten minutes is unloaded, so an idle one costs its record alone.
//!
//! Invariants: a view never changes under its reader; what replaces it has seen at least as much.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::{DashMap, DashSet};
use futures_util::{StreamExt as _, stream};
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

use crate::attempt;
use crate::follow::{Following, News};
use crate::id::{ClusterId, Revision, TopicId};
use crate::keys;
use crate::record::{ClusterRecord, ClusterState, TopicRecord};
use crate::store::{MetadataError, SharedStore};

mod loaded;
mod policies;
#[cfg(test)]
mod tests;

use loaded::Loaded;
pub use policies::CachedClusterPolicy;
use policies::Policies;

/// After this long without a question a cluster's topics are forgotten.
const IDLE_MAX: Duration = Duration::from_mins(10);
/// How often idle clusters are looked for at most.
const SWEEP_PERIOD: Duration = Duration::from_mins(1);

/// Clusters that [`Catalog::warm`] loads at the same time.
const WARMED_AT_ONCE: usize = 16;

/// A cluster as of one revision. Cheap to hold; never changes under the reader.
#[derive(Debug, Clone)]
pub struct ClusterView {
    /// The cluster.
    pub cluster: Arc<ClusterRecord>,
    /// Its topics by name.
    pub topics: Arc<BTreeMap<String, Arc<TopicRecord>>>,
    /// The same topics by id.
    pub topics_by_id: Arc<HashMap<TopicId, Arc<TopicRecord>>>,
    /// Every change of its topics up to this revision is in here.
    pub revision: Revision,
}

impl ClusterView {
    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicRecord>> {
        self.topics.get(name)
    }
    /// The topic of this id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicRecord>> {
        self.topics_by_id.get(&id)
    }
}

/// Why the catalog has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogError {
    /// There is no such cluster.
    #[error("cluster {0} does not exist")]
    ClusterUnknown(ClusterId),
    /// The store did not answer; what is cached may be old. Retry later.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// The cached clusters and topics of a cell.
#[derive(Debug)]
pub struct Catalog {
    store: SharedStore,
    known: Arc<Known>,
    records: Following,
    policies: Policies,
}

/// What the follower of the cluster records shares with the callers.
#[derive(Debug)]
struct Known {
    records: DashMap<ClusterId, Arc<ClusterRecord>>,
    /// Those among them that are being created or deleted.
    unsettled: DashSet<ClusterId>,
    /// Those that have a port of their own.
    with_port: DashSet<ClusterId>,
    loaded: DashMap<ClusterId, Arc<OnceCell<Loaded>>>,
    changes: watch::Sender<u64>,
}

impl Catalog {
    /// Reads all cluster records and keeps them fresh from now on; topics are loaded on first use. Must be called in a
    /// tokio runtime. Dropping the catalog ends its tasks.
    pub async fn start(store: SharedStore) -> Result<Arc<Self>, MetadataError> {
        let known = Arc::new(Known {
            records: DashMap::new(),
            unsettled: DashSet::new(),
            with_port: DashSet::new(),
            loaded: DashMap::new(),
            changes: watch::Sender::new(0),
        });
        let sink = Known::sink(Arc::downgrade(&known));
        let records = Following::start(Arc::clone(&store), keys::CLUSTERS.to_owned(), sink).await?;
        let policies = Policies::start(Arc::clone(&store), known.changes.clone()).await?;
        Ok(Arc::new(Self { store, known, records, policies }))
    }

    /// A cluster's record, from memory.
    pub fn cluster(&self, cluster: ClusterId) -> Option<Arc<ClusterRecord>> {
        self.known.records.get(&cluster).map(|record| Arc::clone(&record))
    }

    /// All clusters' records, from memory, by id.
    pub fn clusters(&self) -> Vec<Arc<ClusterRecord>> {
        let mut records: Vec<_> = self.known.records.iter().map(|record| Arc::clone(&record)).collect();
        records.sort_unstable_by_key(|record| record.id);
        records
    }

    /// The clusters that have a port of their own, few among many. From memory.
    pub fn with_port(&self) -> Vec<Arc<ClusterRecord>> {
        self.known.with_port.iter().filter_map(|cluster| self.cluster(*cluster)).collect()
    }

    /// The clusters that are neither in use nor given up: somebody has a step to take for them. From memory.
    pub fn unsettled(&self) -> Vec<Arc<ClusterRecord>> {
        self.known.unsettled.iter().filter_map(|cluster| self.cluster(*cluster)).collect()
    }

    /// The cluster's resource policy, from memory; `None` where it has none.
    pub fn policy(&self, cluster: ClusterId) -> Option<CachedClusterPolicy> {
        self.policies.get(cluster)
    }

    /// Changes whenever a cluster is created, changed or removed, or its policy is.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.known.changes.subscribe()
    }

    /// The cluster with its topics, from memory; `None` when they are not loaded.
    pub fn loaded(&self, cluster: ClusterId) -> Option<Arc<ClusterView>> {
        let cell = self.known.loaded.get(&cluster)?;
        cell.get().map(Loaded::view)
    }

    /// Unloads the cluster's topics; whoever asks next reads them again. For those who look at a cluster but once.
    pub fn unload(&self, cluster: ClusterId) {
        self.known.loaded.remove(&cluster);
    }

    /// Loads the topics of clusters that nobody asked for yet, of so many at most. A gateway that starts may be the one that clients
    /// turn to while the store is away: then only what is loaded can be served. Failures leave a cluster to its first use.
    pub async fn warm(&self, clusters_max: usize) {
        let active = self.clusters().into_iter().filter(|record| record.state == ClusterState::Active);
        stream::iter(active.take(clusters_max))
            .for_each_concurrent(WARMED_AT_ONCE, async |record| drop(self.load(record.id).await))
            .await;
    }

    /// The cluster with its topics; loads them on first use.
    pub async fn view(&self, cluster: ClusterId) -> Result<Arc<ClusterView>, CatalogError> {
        let cell = self.load(cluster).await?;
        cell.get().map(Loaded::view).ok_or(CatalogError::ClusterUnknown(cluster))
    }

    /// The view once it contains everything up to `revision`. For "read your writes" after an own change.
    pub async fn catch_up(
        &self,
        cluster: ClusterId,
        revision: Revision,
    ) -> Result<Arc<ClusterView>, CatalogError> {
        self.records.reach(revision).await?;
        let cell = self.load(cluster).await?;
        let loaded = cell.get().ok_or(CatalogError::ClusterUnknown(cluster))?;
        loaded.topics.reach(revision).await?;
        Ok(loaded.view())
    }

    /// Waits until the records and policies of all clusters are known up to `revision`. Loads no topics.
    pub async fn reach(&self, revision: Revision) -> Result<(), CatalogError> {
        self.records.reach(revision).await?;
        Ok(self.policies.reach(revision).await?)
    }

    /// The view once it contains everything that was committed before this call. Coalesced: the store is asked at most
    /// ten times a second per cluster (`gateway/PROTOCOL.md` §3).
    pub async fn refresh(&self, cluster: ClusterId) -> Result<Arc<ClusterView>, CatalogError> {
        if self.cluster(cluster).is_none() {
            self.refresh_clusters().await?;
        }
        let cell = self.load(cluster).await?;
        let loaded = cell.get().ok_or(CatalogError::ClusterUnknown(cluster))?;
        loaded.topics.refresh().await?;
        self.records.reach(loaded.topics.revision()).await?;
        // The cluster may have been removed meanwhile; its last view must not be taken for a live one.
        self.cluster(cluster).ok_or(CatalogError::ClusterUnknown(cluster))?;
        Ok(loaded.view())
    }

    /// Waits until every cluster that was created or removed before this call is known. Coalesced like [`Self::refresh`].
    pub async fn refresh_clusters(&self) -> Result<(), CatalogError> {
        Ok(self.records.refresh().await?)
    }

    /// The highest revision up to which the cluster records are known.
    pub fn revision(&self) -> Revision {
        self.records.revision()
    }

    /// The cluster's cell, loaded. Callers of the same time share one load.
    async fn load(&self, cluster: ClusterId) -> Result<Arc<OnceCell<Loaded>>, CatalogError> {
        let unknown = CatalogError::ClusterUnknown(cluster);
        let record = self.cluster(cluster).ok_or_else(|| unknown.clone())?;
        let cell = Arc::clone(&self.known.loaded.entry(cluster).or_default());
        cell.get_or_try_init(|| Loaded::start(&self.store, record)).await?;
        // The record may have moved while the topics were read.
        if self.known.renew(cluster) { Ok(cell) } else { Err(unknown) }
    }
}

impl Known {
    /// Weak, because the loaded clusters hold the store: a task that is ended but not dropped yet must not keep it.
    fn sink(known: Weak<Self>) -> impl FnMut(News) + Send + 'static {
        let mut swept = Instant::now();
        move |news| {
            let Some(known) = known.upgrade() else { return };
            if known.take(news) {
                known.changes.send_modify(|version| *version += 1);
            }
            if swept.elapsed() >= SWEEP_PERIOD {
                swept = Instant::now();
                known.unload_idle();
            }
        }
    }

    fn take(&self, news: News) -> bool {
        match news {
            News::All(entries, _) => {
                let mut gone: HashSet<_> = self.records.iter().map(|record| *record.key()).collect();
                for entry in &entries {
                    if let Some(present) = self.put(&entry.key, Some(&entry.value)) {
                        gone.remove(&present);
                    }
                }
                for cluster in gone {
                    self.remove(cluster);
                }
                true
            }
            News::Some(changes) => {
                for event in &changes.events {
                    self.put(&event.key, event.value.as_deref());
                }
                !changes.events.is_empty()
            }
        }
    }

    /// Takes a cluster's new record; `None` where the key or record cannot be read, which is kept out.
    fn put(&self, key: &str, value: Option<&[u8]>) -> Option<ClusterId> {
        let cluster: ClusterId = key.strip_prefix(keys::CLUSTERS)?.parse().ok()?;
        let Some(value) = value else {
            self.remove(cluster);
            return None;
        };
        match <ClusterRecord as crate::record::Record>::decode(value) {
            Ok(record) => {
                match record.state {
                    ClusterState::Creating | ClusterState::Deleting => drop(self.unsettled.insert(cluster)),
                    ClusterState::Active | ClusterState::Failed => drop(self.unsettled.remove(&cluster)),
                }
                match record.port {
                    Some(_) => drop(self.with_port.insert(cluster)),
                    None => drop(self.with_port.remove(&cluster)),
                }
                self.records.insert(cluster, Arc::new(record));
                self.renew(cluster);
                Some(cluster)
            }
            Err(error) => {
                tracing::error!(%cluster, %error, "cluster record not readable, keeping the last one");
                self.records.contains_key(&cluster).then_some(cluster)
            }
        }
    }

    fn remove(&self, cluster: ClusterId) {
        self.records.remove(&cluster);
        self.unsettled.remove(&cluster);
        self.with_port.remove(&cluster);
        self.loaded.remove(&cluster);
    }

    /// Puts the newest record into the loaded view; `false` when the cluster is gone. Whoever comes last reads the newest
    /// record, because it is read under the view's own lock.
    fn renew(&self, cluster: ClusterId) -> bool {
        let newest = || self.records.get(&cluster).map(|record| Arc::clone(&record));
        let cell = self.loaded.get(&cluster).map(|cell| Arc::clone(&cell));
        if let Some(loaded) = cell.as_ref().and_then(|cell| cell.get()) {
            loaded.renew(newest);
        }
        let known = self.records.contains_key(&cluster);
        if !known {
            self.loaded.remove(&cluster);
        }
        known
    }

    fn unload_idle(&self) {
        // A cell that is loading right now has no age yet and stays.
        self.loaded.retain(|_, cell| cell.get().is_none_or(|loaded| loaded.idle() < IDLE_MAX));
    }
}

/// Decodes a topic, or says in the log why it is left out.
fn decode_topic(key: &str, value: bytes::Bytes, modified: Revision) -> Option<Arc<TopicRecord>> {
    let entry = crate::store::Entry { key: key.to_owned(), value, modified };
    match attempt::decode(&entry) {
        Ok(topic) => Some(Arc::new(topic)),
        Err(error) => {
            tracing::error!(key, %error, "topic record not readable");
            None
        }
    }
}
