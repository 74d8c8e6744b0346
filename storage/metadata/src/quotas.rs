//! The quotas of clusters in the store, and what a gateway holds of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::watch;

use crate::attempt::{self, ATTEMPTS_MAX};
use crate::follow::{Following, News};
use crate::id::{ClusterId, Revision};
use crate::keys;
use crate::quota::{QuotaKey, QuotaLimits};
use crate::record::{ClusterRecord, QuotaRecord, Record};
use crate::store::{Compare, Entry, MetadataError, MetadataStore, Select, SharedStore, Transaction, Write};

#[cfg(test)]
mod tests;

/// Why quotas were not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SetQuotasError {
    /// There is no such cluster.
    #[error("cluster {0} does not exist")]
    ClusterUnknown(ClusterId),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// What the operator set for the cluster; empty where nothing was.
pub async fn load(store: &dyn MetadataStore, cluster: ClusterId) -> Result<QuotaRecord, MetadataError> {
    let entry = store.get(&keys::quota(cluster)).await?;
    Ok(attempt::found(entry.as_slice())?.map_or_else(QuotaRecord::default, |found| found.record))
}

/// Sets quotas of a cluster; `None` puts one back to its default. Values must have been checked. Returns what is set then.
pub async fn set(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    changes: &BTreeMap<QuotaKey, Option<u64>>,
) -> Result<(QuotaRecord, Revision), SetQuotasError> {
    let (cluster_key, key) = (keys::cluster(cluster), keys::quota(cluster));
    for _ in 0..ATTEMPTS_MAX {
        let snapshot = store.read(&[Select::Key(cluster_key.clone()), Select::Key(key.clone())]).await?;
        attempt::found::<ClusterRecord>(&snapshot.results[0])?
            .ok_or(SetQuotasError::ClusterUnknown(cluster))?;
        let found = attempt::found::<QuotaRecord>(&snapshot.results[1])?;
        let unchanged = match &found {
            Some(found) => Compare::Unchanged(key.clone(), found.modified),
            None => Compare::Absent(key.clone()),
        };
        let mut record = found.map_or_else(QuotaRecord::default, |found| found.record);
        for (quota, value) in changes {
            match value {
                Some(value) => record.set.insert(quota.name().to_owned(), *value),
                None => record.set.remove(quota.name()),
            };
        }
        // The cluster is compared so that nothing is left over when its removal ends at the same moment.
        let transaction = Transaction::new()
            .when(Compare::Present(cluster_key.clone()))
            .when(unchanged)
            .then(Write::Put(key.clone(), record.encode()));
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok((record, revision));
        }
    }
    Err(attempt::contended(key).into())
}

/// The quotas of all clusters, kept fresh by a watch.
#[derive(Debug)]
pub struct Quotas {
    set: Arc<DashMap<ClusterId, (QuotaLimits, Revision)>>,
    changes: watch::Sender<u64>,
    following: Following,
}

impl Quotas {
    /// Reads what is set and keeps it fresh from now on. Must be called in a tokio runtime. Dropping it ends its task.
    pub async fn start(store: SharedStore) -> Result<Arc<Self>, MetadataError> {
        let (set, changes) = (Arc::new(DashMap::new()), watch::Sender::new(0));
        let sink = keep(Arc::clone(&set), changes.clone());
        let following = Following::start(store, keys::QUOTAS.to_owned(), sink).await?;
        Ok(Arc::new(Self { set, changes, following }))
    }

    /// What holds for a cluster, and since which revision; from memory.
    pub fn limits(&self, cluster: ClusterId) -> (QuotaLimits, Revision) {
        self.set.get(&cluster).map_or_else(Default::default, |set| *set)
    }

    /// Changes whenever a quota of any cluster was set.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until every change up to `revision` is in here.
    pub async fn catch_up(&self, revision: Revision) -> Result<(), MetadataError> {
        self.following.reach(revision).await
    }
}

fn keep(
    kept: Arc<DashMap<ClusterId, (QuotaLimits, Revision)>>,
    told: watch::Sender<u64>,
) -> impl FnMut(News) + Send + 'static {
    move |news| {
        match news {
            News::All(entries, _) => {
                let present: HashSet<ClusterId> =
                    entries.iter().filter_map(|entry| cluster_of(&entry.key)).collect();
                kept.retain(|cluster, _| present.contains(cluster));
                for entry in &entries {
                    put(&kept, entry);
                }
            }
            News::Some(changes) => {
                for event in changes.events {
                    match event.value {
                        Some(value) => {
                            put(&kept, &Entry { key: event.key, value, modified: event.revision });
                        }
                        None => drop(cluster_of(&event.key).map(|cluster| kept.remove(&cluster))),
                    }
                }
            }
        }
        told.send_modify(|version| *version += 1);
    }
}

fn cluster_of(key: &str) -> Option<ClusterId> {
    key.strip_prefix(keys::QUOTAS)?.parse().ok()
}

fn put(kept: &DashMap<ClusterId, (QuotaLimits, Revision)>, entry: &Entry) {
    let Some(cluster) = cluster_of(&entry.key) else { return };
    match attempt::decode::<QuotaRecord>(entry) {
        Ok(record) => drop(kept.insert(cluster, (QuotaLimits::with(&record.set), entry.modified))),
        // Better the quotas of a moment ago than none or the defaults.
        Err(error) => tracing::error!(%cluster, %error, "quotas not readable, keeping the last ones"),
    }
}
