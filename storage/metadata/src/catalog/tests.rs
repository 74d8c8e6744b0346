//! Clusters and topics reach the catalog, and it never goes back.

use super::*;
use crate::embedded::EmbeddedStore;
use crate::record::{ClusterPolicyRecord, Record};
use crate::store::{Transaction, Write};
use crate::testing::{self, at, cluster, topic};
use crate::{clusters, topics};

async fn store_with_cluster() -> (SharedStore, ClusterId) {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    let (created, _) = clusters::create(&*store, cluster(1, "orders"), None).await.expect("created");
    (store, created.id)
}

#[tokio::test]
async fn topics_are_loaded_on_first_use() {
    let (store, cluster) = store_with_cluster().await;
    topics::create(&*store, cluster, &topic(1, "t")).await.expect("created");
    let catalog = Catalog::start(store).await.expect("started");
    assert!(catalog.loaded(cluster).is_none());
    let view = catalog.view(cluster).await.expect("loaded");
    assert_eq!(view.topic("t").map(|topic| topic.id), Some(TopicId::from_random(1)));
    assert_eq!(view.topic_by_id(TopicId::from_random(1)).map(|topic| topic.name.as_str()), Some("t"));
    assert!(catalog.loaded(cluster).is_some());
    catalog.unload(cluster);
    assert!(catalog.loaded(cluster).is_none());
    assert!(catalog.view(cluster).await.expect("loaded again").topic("t").is_some());
}

#[tokio::test]
async fn a_warmed_catalog_has_topics_that_nobody_asked_for_up_to_a_bound() {
    let (store, first) = store_with_cluster().await;
    let (second, _) = clusters::create(&*store, cluster(2, "clicks"), None).await.expect("created");
    let catalog = Catalog::start(store).await.expect("started");
    let loaded = |id| usize::from(catalog.loaded(id).is_some());
    catalog.warm(1).await;
    assert_eq!(loaded(first) + loaded(second.id), 1);
    catalog.warm(9).await;
    assert_eq!(loaded(first) + loaded(second.id), 2);
}

#[tokio::test]
async fn an_own_change_is_seen_after_catching_up_with_it() {
    let (store, cluster) = store_with_cluster().await;
    let catalog = Catalog::start(Arc::clone(&store)).await.expect("started");
    catalog.view(cluster).await.expect("loaded");
    let revision = topics::create(&*store, cluster, &topic(1, "t")).await.expect("created");
    let view = catalog.catch_up(cluster, revision).await.expect("the store answers");
    assert!(view.topic("t").is_some() && view.revision >= revision);
    let (_, revision) = topics::grow(&*store, cluster, "t", 9, at(5)).await.expect("grown");
    let grown = catalog.catch_up(cluster, revision).await.expect("the store answers");
    assert_eq!(grown.topic("t").map(|topic| topic.partitions), Some(9));
    assert_eq!(
        view.topic("t").map(|topic| topic.partitions),
        Some(3),
        "a view never changes under its reader"
    );
    let revision =
        topics::delete(&*store, cluster, "t", TopicId::from_random(1), at(6)).await.expect("deleted");
    let view = catalog.catch_up(cluster, revision).await.expect("the store answers");
    assert!(view.topic("t").is_none() && view.topic_by_id(TopicId::from_random(1)).is_none());
}

#[tokio::test]
async fn a_name_that_is_taken_anew_has_only_the_new_id() {
    let (store, cluster) = store_with_cluster().await;
    let catalog = Catalog::start(Arc::clone(&store)).await.expect("started");
    catalog.view(cluster).await.expect("loaded");
    topics::create(&*store, cluster, &topic(1, "t")).await.expect("created");
    topics::delete(&*store, cluster, "t", TopicId::from_random(1), at(5)).await.expect("deleted");
    topics::create(&*store, cluster, &topic(2, "t")).await.expect("created");
    let view = catalog.refresh(cluster).await.expect("the store answers");
    assert!(view.topic_by_id(TopicId::from_random(1)).is_none());
    assert!(view.topic_by_id(TopicId::from_random(2)).is_some());
}

#[tokio::test]
async fn a_refresh_sees_what_another_process_committed_before_it() {
    let (store, cluster) = store_with_cluster().await;
    let catalog = Catalog::start(Arc::clone(&store)).await.expect("started");
    catalog.view(cluster).await.expect("loaded");
    topics::create(&*store, cluster, &topic(1, "t")).await.expect("created");
    assert!(catalog.refresh(cluster).await.expect("the store answers").topic("t").is_some());
    let (created, _) = clusters::create(&*store, testing::cluster(2, "b"), None).await.expect("created");
    assert_eq!(catalog.refresh(created.id).await.expect("found").cluster.name, "b");
}

#[tokio::test]
async fn an_unknown_cluster_is_unknown_also_after_a_refresh() {
    let (store, _) = store_with_cluster().await;
    let catalog = Catalog::start(store).await.expect("started");
    let unknown = ClusterId::from_random(99);
    assert!(matches!(catalog.view(unknown).await, Err(CatalogError::ClusterUnknown(id)) if id == unknown));
    assert!(matches!(catalog.refresh(unknown).await, Err(CatalogError::ClusterUnknown(_))));
}

#[tokio::test]
async fn a_removed_cluster_is_announced_and_gone() {
    let (store, cluster) = store_with_cluster().await;
    let catalog = Catalog::start(Arc::clone(&store)).await.expect("started");
    catalog.view(cluster).await.expect("loaded");
    let mut changes = catalog.changes();
    let (_, marked) = clusters::begin_delete(&*store, cluster, at(5)).await.expect("marked");
    changes.changed().await.expect("announced");
    let view = catalog.catch_up(cluster, marked).await.expect("still there");
    assert_eq!(view.cluster.state, ClusterState::Deleting);
    let removed = clusters::finish_delete(&*store, cluster, at(6)).await.expect("removed");
    let gone = catalog.catch_up(cluster, removed).await;
    assert!(matches!(gone, Err(CatalogError::ClusterUnknown(_))));
    assert!(catalog.cluster(cluster).is_none() && catalog.loaded(cluster).is_none());
    assert_eq!(catalog.clusters().len(), 0);
}

#[tokio::test]
async fn clusters_under_way_and_those_with_ports_are_found_among_many() {
    let (store, plain) = store_with_cluster().await;
    let creating = ClusterRecord { state: ClusterState::Creating, ..cluster(2, "new") };
    let (creating, _) = clusters::create(&*store, creating, Some(9_101..=9_102)).await.expect("created");
    let catalog = Catalog::start(Arc::clone(&store)).await.expect("started");
    let ids =
        |clusters: Vec<Arc<ClusterRecord>>| clusters.iter().map(|cluster| cluster.id).collect::<Vec<_>>();
    assert_eq!((ids(catalog.unsettled()), ids(catalog.with_port())), (vec![creating.id], vec![creating.id]));
    let active = clusters::update(&*store, creating.id, |record| record.state = ClusterState::Active).await;
    catalog.reach(active.expect("updated").1).await.expect("the store answers");
    assert_eq!((ids(catalog.unsettled()), ids(catalog.with_port())), (vec![], vec![creating.id]));
    clusters::begin_delete(&*store, creating.id, at(9)).await.expect("begun");
    let deleting = clusters::begin_delete(&*store, plain, at(9)).await.expect("begun");
    catalog.reach(deleting.1).await.expect("the store answers");
    assert_eq!(catalog.unsettled().len(), 2);
    let removed = clusters::finish_delete(&*store, creating.id, at(9)).await.expect("removed");
    catalog.reach(removed).await.expect("the store answers");
    assert_eq!((ids(catalog.unsettled()), ids(catalog.with_port())), (vec![plain], vec![]));
}

#[tokio::test]
async fn a_watch_that_fell_behind_is_made_good_by_a_snapshot() {
    let (store, cluster) = store_with_cluster().await;
    let catalog = Catalog::start(Arc::clone(&store)).await.expect("started");
    catalog.view(cluster).await.expect("loaded");
    topics::create(&*store, cluster, &topic(1, "t")).await.expect("created");
    // More than the history holds, committed before this runtime's only thread lets the watch run.
    let flood = |index: usize| {
        let value = bytes::Bytes::from(vec![0; 1 << 20]);
        Transaction::new().then(Write::Put(format!("flood/{index}"), value))
    };
    for index in 0..20 {
        store.commit(flood(index)).await.expect("the store is healthy");
    }
    topics::delete(&*store, cluster, "t", TopicId::from_random(1), at(5)).await.expect("deleted");
    topics::create(&*store, cluster, &topic(2, "u")).await.expect("created");
    let view = catalog.refresh(cluster).await.expect("the store answers");
    assert!(view.topic("t").is_none() && view.topic("u").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_nobody_asked_for_is_unloaded_and_loads_again() {
    let (store, cluster) = store_with_cluster().await;
    let catalog = Catalog::start(Arc::clone(&store)).await.expect("started");
    catalog.view(cluster).await.expect("loaded");
    tokio::time::advance(IDLE_MAX + SWEEP_PERIOD).await;
    let (_, revision) = clusters::create(&*store, testing::cluster(2, "b"), None).await.expect("created");
    catalog.records.reach(revision).await.expect("the store answers");
    assert!(catalog.known.loaded.get(&cluster).is_none());
    assert!(catalog.view(cluster).await.is_ok());
}

#[tokio::test]
async fn a_dropped_catalog_gives_its_store_back_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("metadata.redb");
    for _ in 0..3 {
        let store: SharedStore = Arc::new(EmbeddedStore::open(&path).expect("nobody else has it open"));
        let bits = store.revision().await.expect("readable").get();
        let (created, _) =
            clusters::create(&*store, cluster(bits, &format!("c{bits}")), None).await.expect("created");
        let catalog = Catalog::start(store).await.expect("started");
        catalog.view(created.id).await.expect("loaded");
    }
}

#[tokio::test]
async fn a_policy_is_seen_with_its_version_until_it_is_deleted() {
    let (store, cluster) = store_with_cluster().await;
    let catalog = Catalog::start(Arc::clone(&store)).await.expect("started");
    assert!(catalog.policy(cluster).is_none());
    let mut changes = catalog.changes();
    changes.mark_unchanged();
    let put = |text: &str| {
        let record = ClusterPolicyRecord { policy: text.to_owned(), version: "1".into() };
        Write::Put(keys::cluster_policy(cluster), record.encode())
    };
    let first = commit(&store, put("{}")).await;
    catalog.reach(first).await.expect("the store answers");
    let policy = catalog.policy(cluster).expect("it was put");
    assert_eq!((policy.document.as_deref(), policy.version), (Some("{}"), first));
    assert!(changes.has_changed().expect("the catalog lives"));
    let second = commit(&store, put("{ }")).await;
    catalog.reach(second).await.expect("the store answers");
    assert_eq!(catalog.policy(cluster).map(|policy| policy.version), Some(second));
    let deleted = commit(&store, Write::Delete(keys::cluster_policy(cluster))).await;
    catalog.reach(deleted).await.expect("the store answers");
    assert!(catalog.policy(cluster).is_none());
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_is_not_taken_for_none() {
    let (store, cluster) = store_with_cluster().await;
    commit(&store, Write::Put(keys::cluster_policy(cluster), bytes::Bytes::from_static(b"?"))).await;
    let catalog = Catalog::start(store).await.expect("started");
    assert_eq!(catalog.policy(cluster).expect("it is there").document, None);
}

async fn commit(store: &SharedStore, write: Write) -> Revision {
    match store.commit(Transaction::new().then(write)).await.expect("the store is healthy") {
        crate::store::Outcome::Committed(revision) => revision,
        crate::store::Outcome::Refused(_) => unreachable!("nothing is compared"),
    }
}
