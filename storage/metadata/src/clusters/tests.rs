//! The contract of the cluster operations, on the embedded store.

use super::*;
use crate::embedded::EmbeddedStore;
use crate::id::{SlotId, TopicId};
use crate::record::{ClusterPolicyRecord, VpcRecord};
use crate::testing::{account, at, cluster, topic};

#[tokio::test]
async fn a_created_cluster_is_found_by_id_name_and_list_and_is_journaled() {
    let store = EmbeddedStore::in_memory();
    let (created, revision) = create(&store, cluster(1, "orders"), None).await.expect("created");
    assert_eq!(load(&store, created.id).await.expect("readable"), Some(created.clone()));
    assert_eq!(by_name(&store, account(), "orders").await.expect("readable"), Some(created.clone()));
    assert_eq!(list(&store).await.expect("readable"), std::slice::from_ref(&created));
    let journal = journal::read(&store, created.id).await.expect("readable");
    assert_eq!(journal.len(), 1);
    assert_eq!(journal[0].revision, revision, "the entry stands in the transaction of the change");
    assert_eq!(journal[0].record.change, JournalChange::ClusterCreated { name: "orders".into() });
}

#[tokio::test]
async fn a_name_is_unique_in_its_account_alone() {
    let store = EmbeddedStore::in_memory();
    let first = cluster(1, "orders");
    create(&store, first.clone(), None).await.expect("created");
    let taken = create(&store, cluster(2, "orders"), None).await;
    assert!(matches!(taken, Err(CreateClusterError::NameTaken { holder }) if holder == first.id));
    let mut elsewhere = cluster(2, "orders");
    elsewhere.account = AccountId::checked(7).expect("an account");
    create(&store, elsewhere, None).await.expect("another account's name");
}

#[tokio::test]
async fn an_id_is_never_used_twice_even_after_its_cluster_is_gone() {
    let store = EmbeddedStore::in_memory();
    create(&store, cluster(1, "orders"), None).await.expect("created");
    let taken = create(&store, cluster(1, "other"), None).await;
    assert!(matches!(taken, Err(CreateClusterError::IdTaken(_))));
    delete(&store, cluster(1, "orders").id, at(5)).await.expect("deleted");
    let taken = create(&store, cluster(1, "other"), None).await;
    assert!(matches!(taken, Err(CreateClusterError::IdTaken(_))));
}

#[tokio::test]
async fn clusters_get_the_lowest_free_port_and_none_where_all_are_held() {
    let store = EmbeddedStore::in_memory();
    let ports = || Some(9100..=9101);
    let (first, _) = create(&store, cluster(1, "a"), ports()).await.expect("created");
    let (second, _) = create(&store, cluster(2, "b"), ports()).await.expect("created");
    assert_eq!((first.port, second.port), (Some(9100), Some(9101)));
    let (named, _) = create(&store, cluster(3, "c"), ports()).await.expect("created");
    assert_eq!(named.port, None);
    delete(&store, first.id, at(5)).await.expect("deleted");
    let (fourth, _) = create(&store, cluster(4, "d"), ports()).await.expect("a port came free");
    assert_eq!(fourth.port, Some(9100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_created_at_the_same_time_never_share_a_port() {
    let store = std::sync::Arc::new(EmbeddedStore::in_memory());
    let mut creations = tokio::task::JoinSet::new();
    for bits in 0..10 {
        let store = std::sync::Arc::clone(&store);
        creations.spawn(async move {
            let new = cluster(bits, &format!("c{bits}"));
            create(&*store, new, Some(9100..=9199)).await.expect("created").0.port
        });
    }
    let ports: BTreeSet<_> = creations.join_all().await.into_iter().collect();
    assert_eq!(ports.len(), 10);
}

#[tokio::test]
async fn a_deleted_cluster_leaves_tombstones_and_its_journal_and_frees_its_name() {
    let store = EmbeddedStore::in_memory();
    let (created, _) = create(&store, cluster(1, "orders"), Some(9100..=9100)).await.expect("created");
    for index in 0..150_u128 {
        topics::create(&store, created.id, &topic(index, &format!("t{index}"))).await.expect("created");
    }
    delete(&store, created.id, at(9_000)).await.expect("deleted");
    assert_eq!(load(&store, created.id).await.expect("readable"), None);
    assert_eq!(by_name(&store, account(), "orders").await.expect("readable"), None);
    assert_eq!(topics::list(&store, created.id).await.expect("readable"), []);
    assert_eq!(store.list(keys::PORTS).await.expect("readable"), []);
    let removed =
        store.get(&keys::removed_cluster(created.id)).await.expect("readable").expect("a tombstone");
    let removed: RemovedRecord = attempt::decode(&removed).expect("decodes");
    assert_eq!(removed, RemovedRecord { at: at(9_000), slots: created.slot_set.clone() });
    let tombstones = store.list(&format!("removed/topic/{}/", created.id)).await.expect("readable");
    assert_eq!(tombstones.len(), 150);
    let ends = journal::read(&store, created.id).await.expect("readable");
    assert_eq!(ends.last().expect("entries").record.change, JournalChange::ClusterDeleted);
    create(&store, cluster(2, "orders"), None).await.expect("the name is free");
}

#[tokio::test]
async fn a_cluster_that_is_being_deleted_takes_no_topic_and_keeps_its_name() {
    let store = EmbeddedStore::in_memory();
    let (created, _) = create(&store, cluster(1, "orders"), None).await.expect("created");
    let (marked, first) = begin_delete(&store, created.id, at(5)).await.expect("marked");
    assert_eq!(marked.state, ClusterState::Deleting);
    let (_, second) = begin_delete(&store, created.id, at(6)).await.expect("marked already");
    assert_eq!(first, second, "billing ends once");
    let refused = topics::create(&store, created.id, &topic(1, "t")).await;
    assert!(matches!(refused, Err(topics::CreateTopicError::ClusterUnknown(_))));
    let taken = create(&store, cluster(2, "orders"), None).await;
    assert!(matches!(taken, Err(CreateClusterError::NameTaken { .. })));
    finish_delete(&store, created.id, at(7)).await.expect("removed");
    assert!(matches!(finish_delete(&store, created.id, at(8)).await, Err(ClusterError::Unknown(_))));
}

#[tokio::test]
async fn an_active_cluster_is_never_finished_off() {
    let store = EmbeddedStore::in_memory();
    let (created, _) = create(&store, cluster(1, "orders"), None).await.expect("created");
    topics::create(&store, created.id, &topic(1, "t")).await.expect("created");
    let refused = finish_delete(&store, created.id, at(5)).await;
    assert!(matches!(refused, Err(ClusterError::Store(MetadataError::Contended { .. }))));
    assert_eq!(topics::list(&store, created.id).await.expect("readable").len(), 1);
}

#[tokio::test]
async fn an_unknown_cluster_is_neither_changed_nor_deleted() {
    let store = EmbeddedStore::in_memory();
    let unknown = cluster(1, "orders").id;
    assert!(
        matches!(begin_delete(&store, unknown, at(5)).await, Err(ClusterError::Unknown(id)) if id == unknown)
    );
    let changed = update(&store, unknown, |_| ()).await;
    assert!(matches!(changed, Err(ClusterError::Unknown(_))));
    assert_eq!(store.revision().await.expect("readable").get(), 0);
}

#[tokio::test]
async fn an_update_changes_the_record_and_one_to_the_same_values_does_not() {
    let store = EmbeddedStore::in_memory();
    let (created, before) = create(&store, cluster(1, "orders"), None).await.expect("created");
    let (same, revision) = update(&store, created.id, |_| ()).await.expect("no change");
    assert_eq!((same, revision), (created.clone(), before));
    let tag = |cluster: &mut ClusterRecord| drop(cluster.tags.insert("team".into(), "a".into()));
    let (tagged, after) = update(&store, created.id, tag).await.expect("changed");
    assert!(after > before);
    assert_eq!(load(&store, created.id).await.expect("readable"), Some(tagged));
}

#[tokio::test]
async fn a_topic_tombstone_names_the_slots_that_may_hold_its_data() {
    let store = EmbeddedStore::in_memory();
    let (created, _) = create(&store, cluster(1, "orders"), None).await.expect("created");
    topics::create(&store, created.id, &topic(1, "t")).await.expect("created");
    delete(&store, created.id, at(5)).await.expect("deleted");
    let key = keys::removed_topic(created.id, TopicId::from_random(1));
    let removed: RemovedRecord =
        attempt::decode(&store.get(&key).await.expect("readable").expect("a tombstone")).expect("decodes");
    assert_eq!(removed.slots, (0..4).map(SlotId::new).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_policy_is_deleted_with_its_cluster() {
    let store = EmbeddedStore::in_memory();
    let (created, _) = create(&store, cluster(1, "orders"), None).await.expect("created");
    let policy = ClusterPolicyRecord { policy: "{}".into(), version: "1".into() };
    let put = Write::Put(keys::cluster_policy(created.id), policy.encode());
    store.commit(Transaction::new().then(put)).await.expect("the store is healthy");
    delete(&store, created.id, at(5)).await.expect("deleted");
    assert_eq!(store.list(keys::CLUSTER_POLICIES).await.expect("readable"), []);
}

#[tokio::test]
async fn what_was_told_of_the_network_lives_as_long_as_the_cluster() {
    let store = EmbeddedStore::in_memory();
    let vpc = VpcRecord { subnet_ids: vec!["subnet-1".into()], security_group_ids: Vec::new() };
    let network = ClusterNetworkRecord { vpcs: vec![vpc] };
    let (created, _) =
        create_in_network(&store, cluster(1, "orders"), None, Some(&network)).await.expect("created");
    assert_eq!(load_network(&store, created.id).await.expect("readable"), Some(network));
    delete(&store, created.id, at(5)).await.expect("deleted");
    assert_eq!(load_network(&store, created.id).await.expect("readable"), None);
}
