//! The way of a record: appended, read, read again after restarts and flushes.

mod support;

use headgate_metadata::id::{LeaderEpoch, SlotId, TimestampMs};
use headgate_storage_client::{Append, AppendError, OffsetQuery, ReadError, Storage};
use support::{
    Batch, Cell, START_MS, append, append_value, caller, partition, read_all, try_append, try_read,
};

fn values(records: &[(u64, String)]) -> Vec<&str> {
    records.iter().map(|(_, value)| value.as_str()).collect()
}

#[tokio::test]
async fn an_acknowledged_record_is_read_back_at_its_offset() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    assert_eq!(append(&node, partition(1, 0), &Batch::of(&["a", "b"])).await, 0);
    assert_eq!(append(&node, partition(1, 0), &Batch::of(&["c"])).await, 2);
    let expected = [(0, "a".into()), (1, "b".into()), (2, "c".into())];
    assert_eq!(read_all(&node, partition(1, 0), 0).await, expected);
    node.shutdown().await;
}

#[tokio::test]
async fn partitions_and_clusters_do_not_share_offsets_or_bytes() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    for (cluster, index) in [(1, 0), (1, 1), (2, 0)] {
        assert_eq!(append_value(&node, partition(cluster, index), &format!("{cluster}-{index}")).await, 0);
    }
    assert_eq!(values(&read_all(&node, partition(2, 0), 0).await), ["2-0"]);
    node.shutdown().await;
}

#[tokio::test]
async fn section_5_a_clean_restart_serves_old_chunks_by_place_and_goes_on_at_the_next_offset() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    append_value(&node, partition(1, 0), "before").await;
    node.shutdown().await;
    let node = cell.start().await;
    assert_eq!(values(&read_all(&node, partition(1, 0), 0).await), ["before"]);
    assert_eq!(append_value(&node, partition(1, 0), "after").await, 1);
    assert_eq!(values(&read_all(&node, partition(1, 0), 0).await), ["before", "after"]);
    node.shutdown().await;
}

#[tokio::test]
async fn records_are_read_back_from_objects_after_flush_and_from_manifests_after_restarts() {
    let cell = Cell::new().await;
    let mut expected = Vec::new();
    for round in 0..4 {
        let node = cell.start().await;
        for index in 0..20 {
            let value = format!("{round}-{index}");
            append_value(&node, partition(1, 0), &value).await;
            expected.push(value);
        }
        assert_eq!(values(&read_all(&node, partition(1, 0), 0).await), expected);
        if round % 2 == 1 {
            node.flush_now().await.expect("the flush succeeds");
            assert_eq!(values(&read_all(&node, partition(1, 0), 0).await), expected);
            if round == 3 {
                node.write_manifests_now().await.expect("the manifests are written");
            }
        }
        node.shutdown().await;
    }
    let node = cell.start().await;
    assert_eq!(values(&read_all(&node, partition(1, 0), 0).await), expected);
    assert_eq!(values(&read_all(&node, partition(1, 0), 50).await), expected[50..]);
    node.shutdown().await;
}

#[tokio::test]
async fn a_read_below_the_log_start_or_above_the_log_end_is_out_of_range() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    append_value(&node, partition(1, 0), "a").await;
    assert!(try_read(&node, partition(1, 0), 1).await.expect("at the end there is nothing yet").is_empty());
    assert!(matches!(try_read(&node, partition(1, 0), 2).await, Err(ReadError::OutOfRange { .. })));
    assert!(try_read(&node, partition(1, 5), 0).await.expect("nothing was ever written").is_empty());
    assert!(matches!(try_read(&node, partition(1, 5), 1).await, Err(ReadError::OutOfRange { .. })));
    node.shutdown().await;
}

#[tokio::test]
async fn idempotent_retries_after_a_restart_are_answered_with_the_first_offset() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    let batch = |sequence| Batch::of(&["x"]).by(7, 0, sequence);
    for sequence in 0..3 {
        assert_eq!(append(&node, partition(1, 0), &batch(sequence)).await, u64::from(sequence));
    }
    node.halt().await;
    let node = cell.start().await;
    assert_eq!(append(&node, partition(1, 0), &batch(1)).await, 1);
    assert_eq!(append(&node, partition(1, 0), &batch(3)).await, 3);
    node.flush_now().await.expect("the flush succeeds");
    node.write_manifests_now().await.expect("the manifests are written");
    node.halt().await;
    let node = cell.start().await;
    assert_eq!(append(&node, partition(1, 0), &batch(3)).await, 3);
    assert_eq!(try_append(&node, partition(1, 0), &batch(9)).await, Err(AppendError::OutOfOrderSequence));
    assert_eq!(read_all(&node, partition(1, 0), 0).await.len(), 4);
    node.shutdown().await;
}

#[tokio::test]
async fn a_topic_with_log_append_time_stores_the_owners_time_under_a_right_checksum() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    let revision = cell.put_topic(partition(1, 0), &[("message.timestamp.type", "LogAppendTime")]).await;
    let mut caller = caller(partition(1, 0).key.cluster);
    caller.revision_seen = revision;
    let batch = Batch::of(&["a", "b"]).at(5).parse();
    let reservation = node.reserve(&caller, partition(1, 0).slot, 100).await.expect("there is room");
    let append = Append { partition: partition(1, 0), batch, reservation };
    let appended = node.submit_append(&caller, append).await.expect("answered").expect("appended");
    assert_eq!(appended.log_append_time, Some(TimestampMs::new(START_MS)));
    assert_eq!(read_all(&node, partition(1, 0), 0).await.len(), 2);
    let found = node.offsets_at(&caller, partition(1, 0), OffsetQuery::MaxTimestamp).await.expect("owned");
    assert_eq!(found.timestamp, START_MS as i64);
    node.shutdown().await;
}

#[tokio::test]
async fn section_16_a_cell_with_many_slots_is_taken_whole_at_every_start() {
    let cell = Cell::with_slots(300).await;
    for epoch in 1..=3 {
        let node = cell.start().await;
        for slot in [0, 126, 127, 128, 299] {
            assert_eq!(node.leader_epoch(SlotId::new(slot)).await, Ok(LeaderEpoch::new(epoch)));
        }
        assert!(node.leader_epoch(SlotId::new(300)).await.is_err());
        node.shutdown().await;
    }
}

#[tokio::test]
async fn producer_ids_are_never_handed_out_twice_even_across_restarts() {
    let cell = Cell::new().await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let node = cell.start().await;
        for _ in 0..10 {
            let id = node
                .allocate_producer_id(&caller(partition(1, 0).key.cluster))
                .await
                .expect("the store is there");
            assert!(seen.insert(id));
        }
        node.halt().await;
    }
}
