//! The way of a record: appended, read, read again after restarts and flushes.

mod support;

use support::{Batch, Cell, append, append_value, partition, read_all, try_append, try_read};
use headgate_storage_client::{AppendError, ReadError};

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
