//! The contract of the topic operations, on the embedded store.

use super::*;
use crate::clusters;
use crate::embedded::EmbeddedStore;
use crate::testing::{at, cluster, topic};

async fn store_with_cluster() -> (EmbeddedStore, ClusterId) {
    let store = EmbeddedStore::in_memory();
    let (created, _) = clusters::create(&store, cluster(1, "orders"), None).await.expect("created");
    (store, created.id)
}

async fn journaled(store: &EmbeddedStore, cluster: ClusterId) -> Vec<JournalChange> {
    let journal = journal::read(store, cluster).await.expect("readable");
    journal.into_iter().map(|entry| entry.record.change).skip(1).collect()
}

fn counted(topic: &TopicRecord, partitions: u32) -> JournalChange {
    JournalChange::TopicPartitions { topic: topic.id, name: topic.name.clone(), partitions }
}

#[tokio::test]
async fn a_topic_lives_and_every_step_of_its_life_is_journaled() {
    let (store, cluster) = store_with_cluster().await;
    let new = topic(1, "t");
    create(&store, cluster, &new).await.expect("created");
    assert_eq!(load(&store, cluster, "t").await.expect("readable"), Some(new.clone()));
    let (grown, _) = grow(&store, cluster, "t", 5, at(3_000)).await.expect("grown");
    assert_eq!(grown.partitions, 5);
    assert_eq!(list(&store, cluster).await.expect("readable"), [grown]);
    delete(&store, cluster, "t", new.id, at(4_000)).await.expect("deleted");
    assert_eq!(load(&store, cluster, "t").await.expect("readable"), None);
    let ended = JournalChange::TopicDeleted { topic: new.id };
    assert_eq!(journaled(&store, cluster).await, [counted(&new, 3), counted(&new, 5), ended]);
    let tombstone = store.get(&keys::removed_topic(cluster, new.id)).await.expect("readable");
    assert!(tombstone.is_some());
}

#[tokio::test]
async fn changes_of_one_millisecond_are_all_journaled_in_their_order() {
    let (store, cluster) = store_with_cluster().await;
    let new = topic(1, "t");
    create(&store, cluster, &new).await.expect("created");
    for partitions in 4..=6 {
        grow(&store, cluster, "t", partitions, new.created).await.expect("grown");
    }
    let counts: Vec<_> = (3..=6).map(|partitions| counted(&new, partitions)).collect();
    assert_eq!(journaled(&store, cluster).await, counts);
}

#[tokio::test]
async fn the_journal_is_in_the_order_of_the_changes_whatever_the_clocks_said() {
    let (store, cluster) = store_with_cluster().await;
    let new = topic(1, "t");
    create(&store, cluster, &new).await.expect("created");
    grow(&store, cluster, "t", 5, at(1)).await.expect("a clock that is behind");
    assert_eq!(journaled(&store, cluster).await, [counted(&new, 3), counted(&new, 5)]);
}

#[tokio::test]
async fn a_name_is_taken_until_its_topic_is_deleted() {
    let (store, cluster) = store_with_cluster().await;
    let first = topic(1, "t");
    create(&store, cluster, &first).await.expect("created");
    let taken = create(&store, cluster, &topic(2, "t")).await;
    assert!(matches!(taken, Err(CreateTopicError::Exists { existing }) if existing == first.id));
    delete(&store, cluster, "t", first.id, at(5)).await.expect("deleted");
    create(&store, cluster, &topic(2, "t")).await.expect("the name is free");
}

#[tokio::test]
async fn a_late_delete_does_not_hit_the_next_topic_of_that_name() {
    let (store, cluster) = store_with_cluster().await;
    let (first, second) = (topic(1, "t"), topic(2, "t"));
    create(&store, cluster, &first).await.expect("created");
    delete(&store, cluster, "t", first.id, at(5)).await.expect("deleted");
    create(&store, cluster, &second).await.expect("created");
    let late = delete(&store, cluster, "t", first.id, at(6)).await;
    assert!(matches!(late, Err(TopicError::Unknown)));
    assert_eq!(load(&store, cluster, "t").await.expect("readable"), Some(second));
}

#[tokio::test]
async fn an_unknown_cluster_or_topic_is_named_so_and_nothing_changes() {
    let (store, cluster) = store_with_cluster().await;
    let before = store.revision().await.expect("readable");
    let elsewhere = ClusterId::from_random(99);
    let created = create(&store, elsewhere, &topic(1, "t")).await;
    assert!(matches!(created, Err(CreateTopicError::ClusterUnknown(id)) if id == elsewhere));
    let id = topic(1, "t").id;
    assert!(matches!(delete(&store, cluster, "t", id, at(5)).await, Err(TopicError::Unknown)));
    assert!(matches!(grow(&store, cluster, "t", 9, at(5)).await, Err(GrowTopicError::Unknown)));
    let altered = alter_configs(&store, cluster, "t", |_| Ok::<(), ()>(())).await;
    assert!(matches!(altered, Err(AlterConfigsError::Unknown)));
    assert_eq!(store.revision().await.expect("readable"), before);
}

#[tokio::test]
async fn partitions_are_never_taken_away() {
    let (store, cluster) = store_with_cluster().await;
    create(&store, cluster, &topic(1, "t")).await.expect("created");
    for partitions in [1, 3] {
        let refused = grow(&store, cluster, "t", partitions, at(5)).await;
        assert!(matches!(refused, Err(GrowTopicError::NotMore { current: 3 })));
    }
}

#[tokio::test]
async fn configs_are_altered_as_the_caller_rules() {
    let (store, cluster) = store_with_cluster().await;
    create(&store, cluster, &topic(1, "t")).await.expect("created");
    let set = |configs: &mut BTreeMap<String, String>| -> Result<(), &'static str> {
        configs.insert("retention.ms".into(), "1000".into());
        Ok(())
    };
    let (altered, first) = alter_configs(&store, cluster, "t", set).await.expect("altered");
    assert_eq!(altered.configs["retention.ms"], "1000");
    let (_, second) = alter_configs(&store, cluster, "t", set).await.expect("no change");
    assert_eq!(first, second);
    let refused = alter_configs(&store, cluster, "t", |_| Err("no")).await;
    assert!(matches!(refused, Err(AlterConfigsError::Refused("no"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_created_at_the_same_time_all_exist() {
    let (store, cluster) = store_with_cluster().await;
    let store = std::sync::Arc::new(store);
    let mut creations = tokio::task::JoinSet::new();
    for bits in 0..50 {
        let store = std::sync::Arc::clone(&store);
        creations.spawn(async move { create(&*store, cluster, &topic(bits, &format!("t{bits}"))).await });
    }
    assert!(creations.join_all().await.iter().all(Result::is_ok));
    assert_eq!(list(&*store, cluster).await.expect("readable").len(), 50);
    assert_eq!(journaled(&store, cluster).await.len(), 50);
}
