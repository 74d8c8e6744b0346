//! The resource policies of clusters.

use crate::attempt::{self, ATTEMPTS_MAX};
use crate::id::{ClusterId, Revision};
use crate::keys;
use crate::record::{ClusterPolicyRecord, ClusterRecord, Record};
use crate::store::{Compare, MetadataError, MetadataStore, Select, Transaction, Write};

/// Why a cluster policy was not put or deleted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClusterPolicyError {
    /// There is no such cluster.
    #[error("cluster {0} does not exist")]
    ClusterUnknown(ClusterId),
    /// The cluster has no policy.
    #[error("cluster {0} has no policy")]
    Absent(ClusterId),
    /// The policy is of another version than the one that was to be replaced. Read it again.
    #[error("cluster policy is of version {current:?}")]
    VersionMoved {
        /// The version there is; `None` where there is no policy.
        current: Option<String>,
    },
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// Puts the cluster's policy. Where `replaces` names a version, only that one is replaced. The document is the caller's to
/// check.
pub async fn put(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    policy: &ClusterPolicyRecord,
    replaces: Option<&str>,
) -> Result<Revision, ClusterPolicyError> {
    let (cluster_key, key) = (keys::cluster(cluster), keys::cluster_policy(cluster));
    for _ in 0..ATTEMPTS_MAX {
        let selects = [Select::Key(cluster_key.clone()), Select::Key(key.clone())];
        let snapshot = store.read(&selects).await?;
        attempt::found::<ClusterRecord>(&snapshot.results[0])?
            .ok_or(ClusterPolicyError::ClusterUnknown(cluster))?;
        let before = attempt::found::<ClusterPolicyRecord>(&snapshot.results[1])?;
        let current = before.as_ref().map(|found| found.record.version.as_str());
        if replaces.is_some() && replaces != current {
            return Err(ClusterPolicyError::VersionMoved { current: current.map(str::to_owned) });
        }
        let unchanged = match &before {
            Some(found) => Compare::Unchanged(key.clone(), found.modified),
            None => Compare::Absent(key.clone()),
        };
        // A cluster that is removed takes its policy with it, so none may come behind it.
        let transaction = Transaction::new()
            .when(Compare::Present(cluster_key.clone()))
            .when(unchanged)
            .then(Write::Put(key.clone(), policy.encode()));
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok(revision);
        }
    }
    Err(attempt::contended(key).into())
}

/// Deletes the cluster's policy.
pub async fn delete(store: &dyn MetadataStore, cluster: ClusterId) -> Result<Revision, ClusterPolicyError> {
    let key = keys::cluster_policy(cluster);
    let transaction = Transaction::new().when(Compare::Present(key.clone())).then(Write::Delete(key.clone()));
    attempt::commit(store, transaction).await?.ok_or(ClusterPolicyError::Absent(cluster))
}

/// The cluster's policy.
pub async fn load(
    store: &dyn MetadataStore,
    cluster: ClusterId,
) -> Result<Option<ClusterPolicyRecord>, MetadataError> {
    let entry = store.get(&keys::cluster_policy(cluster)).await?;
    Ok(attempt::found(entry.as_slice())?.map(|found| found.record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clusters;
    use crate::embedded::EmbeddedStore;
    use crate::testing::{at, cluster};

    fn policy(version: &str) -> ClusterPolicyRecord {
        ClusterPolicyRecord { policy: "{}".into(), version: version.into() }
    }

    async fn store_with_cluster() -> (EmbeddedStore, ClusterId) {
        let store = EmbeddedStore::in_memory();
        let (made, _) = clusters::create(&store, cluster(1, "demo"), None).await.expect("created");
        (store, made.id)
    }

    #[tokio::test]
    async fn only_the_version_that_was_named_is_replaced() {
        let (store, id) = store_with_cluster().await;
        let moved = put(&store, id, &policy("2"), Some("1")).await;
        assert!(matches!(moved, Err(ClusterPolicyError::VersionMoved { current: None })));
        put(&store, id, &policy("1"), None).await.expect("the first");
        put(&store, id, &policy("2"), Some("1")).await.expect("the second");
        let moved = put(&store, id, &policy("3"), Some("1")).await;
        assert!(
            matches!(moved, Err(ClusterPolicyError::VersionMoved { current: Some(current) }) if current == "2")
        );
        assert_eq!(load(&store, id).await.expect("readable"), Some(policy("2")));
    }

    #[tokio::test]
    async fn a_policy_goes_with_its_cluster_and_none_comes_behind_it() {
        let (store, id) = store_with_cluster().await;
        put(&store, id, &policy("1"), None).await.expect("put");
        clusters::delete(&store, id, at(2_000)).await.expect("deleted");
        assert_eq!(load(&store, id).await.expect("readable"), None);
        let late = put(&store, id, &policy("2"), None).await;
        assert!(matches!(late, Err(ClusterPolicyError::ClusterUnknown(_))));
    }

    #[tokio::test]
    async fn a_policy_is_deleted_once() {
        let (store, id) = store_with_cluster().await;
        put(&store, id, &policy("1"), None).await.expect("put");
        delete(&store, id).await.expect("deleted");
        assert!(matches!(delete(&store, id).await, Err(ClusterPolicyError::Absent(_))));
    }
}
