//! The resource policies of all clusters. They are asked before anything else of a cluster is loaded, so all are in memory.

use std::collections::HashSet;
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::watch;

use crate::follow::{Following, News};
use crate::id::{ClusterId, Revision};
use crate::keys;
use crate::record::{ClusterPolicyRecord, Record};
use crate::store::{MetadataError, SharedStore};

/// A cluster's resource policy as last seen.
#[derive(Debug, Clone)]
pub struct CachedClusterPolicy {
    /// The document; `None` if the record cannot be read. It may have held a Deny, so nothing may be allowed then.
    pub document: Option<Arc<str>>,
    /// The revision of its last change.
    pub version: Revision,
}

/// All policies, kept fresh by a watch.
#[derive(Debug)]
pub(super) struct Policies {
    known: Arc<DashMap<ClusterId, CachedClusterPolicy>>,
    following: Following,
}

impl Policies {
    /// `changes` moves with every change of a policy.
    pub(super) async fn start(
        store: SharedStore,
        changes: watch::Sender<u64>,
    ) -> Result<Self, MetadataError> {
        let known = Arc::new(DashMap::new());
        let kept = Arc::clone(&known);
        let sink = move |news| {
            if take(&kept, news) {
                changes.send_modify(|version| *version += 1);
            }
        };
        let following = Following::start(store, keys::CLUSTER_POLICIES.to_owned(), sink).await?;
        Ok(Self { known, following })
    }

    pub(super) fn get(&self, cluster: ClusterId) -> Option<CachedClusterPolicy> {
        self.known.get(&cluster).map(|policy| policy.clone())
    }

    pub(super) async fn reach(&self, revision: Revision) -> Result<(), MetadataError> {
        self.following.reach(revision).await
    }
}

/// Whether the news changed anything.
fn take(known: &DashMap<ClusterId, CachedClusterPolicy>, news: News) -> bool {
    match news {
        News::All(entries, _) => {
            let present: HashSet<_> = entries.iter().filter_map(|entry| cluster_of(&entry.key)).collect();
            known.retain(|cluster, _| present.contains(cluster));
            for entry in entries {
                put(known, &entry.key, Some(&entry.value), entry.modified);
            }
            true
        }
        News::Some(changes) => {
            for event in &changes.events {
                put(known, &event.key, event.value.as_deref(), event.revision);
            }
            !changes.events.is_empty()
        }
    }
}

fn put(known: &DashMap<ClusterId, CachedClusterPolicy>, key: &str, value: Option<&[u8]>, version: Revision) {
    let Some(cluster) = cluster_of(key) else { return };
    let Some(value) = value else {
        known.remove(&cluster);
        return;
    };
    let record = ClusterPolicyRecord::decode(value)
        .inspect_err(|error| tracing::error!(%cluster, %error, "cluster policy not readable, all is denied"));
    let document = record.ok().map(|record| record.policy.into());
    known.insert(cluster, CachedClusterPolicy { document, version });
}

fn cluster_of(key: &str) -> Option<ClusterId> {
    key.strip_prefix(keys::CLUSTER_POLICIES)?.parse().ok()
}
