//! Retention, removal, usage counters and marks.

mod support;

use std::time::Duration;

use headgate_metadata::id::{ByteCount, Incarnation, TimestampMs};
use headgate_metadata::keys;
use headgate_metadata::record::{Record, RemovedRecord};
use headgate_metadata::store::Select;
use headgate_storage::{Node, PartitionUsage};
use headgate_storage_client::{AppendError, Isolation, OffsetQuery, ReadError, SentBytes, Storage};
use support::{
    Batch, Cell, START_MS, append, append_value, caller, cluster, partition, put, read_all, try_append,
    try_read,
};

const HOUR: u64 = 3_600_000;

async fn log_start(node: &Node) -> u64 {
    let caller = caller(cluster(1));
    let found = node.offsets_at(&caller, partition(1, 0), OffsetQuery::Earliest).await.expect("owned");
    found.offset.expect("there is always a log start").get()
}

fn usage(node: &Node) -> PartitionUsage {
    let snapshot = node.usage_snapshot(cluster(1));
    let of = snapshot.partitions.into_iter().find(|usage| usage.partition == partition(1, 0));
    of.expect("the partition has usage")
}

#[tokio::test]
async fn records_older_than_retention_ms_go_and_a_restart_does_not_bring_them_back() {
    for flushed in [false, true] {
        let cell = Cell::new().await;
        cell.put_topic(partition(1, 0), &[("retention.ms", "10000")]).await;
        let node = cell.start().await;
        append(&node, partition(1, 0), &Batch::of(&["old"]).at(START_MS as i64)).await;
        append(&node, partition(1, 0), &Batch::of(&["new"]).at(START_MS as i64 + 15_000)).await;
        if flushed {
            node.flush_now().await.expect("the flush succeeds");
        }
        cell.clock.advance(Duration::from_secs(12));
        node.keep_house_now().await;
        // A run goes only as a whole.
        assert_eq!(log_start(&node).await, u64::from(!flushed));
        cell.clock.advance(Duration::from_secs(20));
        node.keep_house_now().await;
        assert_eq!(log_start(&node).await, 2);
        assert!(matches!(try_read(&node, partition(1, 0), 0).await, Err(ReadError::OutOfRange { .. })));
        assert_eq!(usage(&node).counters.stored.current, ByteCount::new(0));
        node.flush_now().await.expect("the flush succeeds");
        node.write_manifests_now().await.expect("the manifests are written");
        node.halt().await;
        let node = cell.start().await;
        assert_eq!(log_start(&node).await, 2);
        assert_eq!(append_value(&node, partition(1, 0), "next").await, 2);
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_partition_larger_than_retention_bytes_loses_its_oldest_batches() {
    let cell = Cell::new().await;
    cell.put_topic(partition(1, 0), &[("retention.bytes", "1500"), ("retention.ms", "-1")]).await;
    let node = cell.start().await;
    for _ in 0..10 {
        append_value(&node, partition(1, 0), &"x".repeat(430)).await;
    }
    node.keep_house_now().await;
    let size = node.partition_sizes(cluster(1), &[partition(1, 0).slot]).await.expect("owned")[0].size;
    assert!((1500..2100).contains(&size.get()), "{size}");
    let start = log_start(&node).await;
    assert_eq!(read_all(&node, partition(1, 0), start).await.len() as u64, 10 - start);
    node.shutdown().await;
}

#[tokio::test]
async fn section_13_a_wall_clock_that_jumps_ahead_deletes_nothing() {
    let cell = Cell::new().await;
    cell.put_topic(partition(1, 0), &[("retention.ms", "10000")]).await;
    let node = cell.start().await;
    append_value(&node, partition(1, 0), "x").await;
    cell.clock.step_wall(TimestampMs::new(START_MS + 1000 * HOUR));
    node.keep_house_now().await;
    assert_eq!(log_start(&node).await, 0);
    node.shutdown().await;
}

#[tokio::test]
async fn section_8_data_of_a_removed_topic_is_unreachable_at_once_and_gone_from_the_next_manifest() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    append_value(&node, partition(1, 0), "gone").await;
    append_value(&node, partition(2, 0), "stays").await;
    node.flush_now().await.expect("the flush succeeds");
    let tombstone = RemovedRecord { at: TimestampMs::new(START_MS), slots: vec![partition(1, 0).slot] };
    let key = keys::removed_topic(cluster(1), partition(1, 0).key.topic);
    let revision = put(&cell.store, key.clone(), tombstone.encode()).await;
    let mut caller = caller(cluster(1));
    caller.revision_seen = revision;
    let found =
        node.offsets_at(&caller, partition(1, 0), OffsetQuery::Latest(Isolation::ReadUncommitted)).await;
    assert_eq!(found.err(), Some(ReadError::Removed));
    assert_eq!(try_append(&node, partition(1, 0), &Batch::of(&["x"])).await, Err(AppendError::Removed));
    node.keep_house_now().await;
    let left = cell.store.read(&[Select::Key(key)]).await.expect("memory does not fail");
    assert!(left.results[0].is_empty(), "the tombstone goes when its slots remember");
    for _ in 0..2 {
        node.flush_now().await.expect("the flush succeeds");
        node.write_manifests_now().await.expect("the manifests are written");
    }
    node.halt().await;
    let node = cell.start().await;
    assert_eq!(try_append(&node, partition(1, 0), &Batch::of(&["x"])).await, Err(AppendError::Removed));
    assert_eq!(try_read(&node, partition(1, 0), 0).await.err(), Some(ReadError::Removed));
    assert_eq!(read_all(&node, partition(2, 0), 0).await.len(), 1);
    node.shutdown().await;
}

#[tokio::test]
async fn past_usage_of_a_removed_topic_is_still_reported() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    let batch = Batch::of(&["x"]);
    append(&node, partition(1, 0), &batch).await;
    let tombstone = RemovedRecord { at: TimestampMs::new(START_MS), slots: vec![partition(1, 0).slot] };
    put(&cell.store, keys::removed_cluster(cluster(1)), tombstone.encode()).await;
    let mut caller = caller(cluster(1));
    caller.revision_seen = cell.store.revision().await.expect("memory does not fail");
    assert!(node.offsets_at(&caller, partition(1, 0), OffsetQuery::Earliest).await.is_err());
    node.keep_house_now().await;
    let check = |node: &Node| {
        let usage = usage(node);
        assert_eq!(usage.counters.bytes_in.get(), batch.bytes().len() as u64);
        assert_eq!(usage.counters.stored.current, ByteCount::new(0));
    };
    check(&node);
    node.halt().await;
    let node = cell.start().await;
    check(&node);
    node.flush_now().await.expect("the flush succeeds");
    node.write_manifests_now().await.expect("the manifests are written");
    node.halt().await;
    let node = cell.start().await;
    check(&node);
    node.shutdown().await;
}

#[tokio::test]
async fn design_7_bytes_in_are_the_bytes_of_the_batches_once_however_often_the_node_restarts() {
    let cell = Cell::new().await;
    let mut expected = 0;
    for life in 0..5_u32 {
        let node = cell.start().await;
        for index in 0..4 {
            let batch = Batch::of(&[&"x".repeat(10 + index)]).by(7, 0, life * 4 + index as u32);
            append(&node, partition(1, 0), &batch).await;
            append(&node, partition(1, 0), &batch).await;
            expected += batch.bytes().len() as u64;
            cell.clock.advance(Duration::from_mins(1));
        }
        if life % 2 == 1 {
            node.flush_now().await.expect("the flush succeeds");
        }
        if life == 3 {
            node.write_manifests_now().await.expect("the manifests are written");
        }
        let usage = usage(&node);
        assert_eq!(usage.counters.bytes_in.get(), expected);
        assert_eq!(usage.counters.stored.current.get(), expected);
        node.halt().await;
    }
}

#[tokio::test]
async fn section_13_stored_bytes_are_the_same_integral_from_wal_objects_and_manifests() {
    let run = async |flush: bool, manifest: bool| {
        let cell = Cell::new().await;
        let node = cell.start().await;
        for _ in 0..5 {
            append_value(&node, partition(1, 0), "x").await;
            cell.clock.advance(Duration::from_millis(12_345));
        }
        if flush {
            node.flush_now().await.expect("the flush succeeds");
        }
        if manifest {
            node.write_manifests_now().await.expect("the manifests are written");
        }
        append_value(&node, partition(1, 0), "x").await;
        let live = usage(&node).counters;
        node.halt().await;
        let node = cell.start().await;
        let restored = usage(&node).counters;
        assert_eq!(live, restored, "flush {flush}, manifest {manifest}");
        node.shutdown().await;
        restored.stored.byte_ms
    };
    let bytes = Batch::of(&["x"]).bytes().len() as u128;
    let expected = (1 + 2 + 3 + 4 + 5) * bytes * 12_345;
    assert_eq!(run(false, false).await, expected);
    assert_eq!(run(true, false).await, expected);
    assert_eq!(run(true, true).await, expected);
}

#[tokio::test]
async fn section_13_the_mark_of_an_hour_stands_before_the_first_record_of_the_next() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    let size = Batch::of(&["x"]).bytes().len() as u64;
    append_value(&node, partition(1, 0), "x").await;
    cell.clock.advance(Duration::from_millis(3 * HOUR));
    append_value(&node, partition(1, 0), "x").await;
    let first_hour = START_MS / HOUR;
    let check = |node: &Node, hours: &[(u64, u64)]| {
        let marks: Vec<_> =
            usage(node).marks.iter().map(|(hour, counters)| (*hour, counters.bytes_in.get())).collect();
        assert_eq!(marks, hours);
    };
    check(&node, &[(first_hour, size)]);
    node.halt().await;
    let node = cell.start().await;
    check(&node, &[(first_hour, size)]);
    // On opening, missed hours are marked first: the second record's hour is over.
    cell.clock.advance(Duration::from_millis(HOUR));
    append_value(&node, partition(1, 0), "x").await;
    check(&node, &[(first_hour, size), (first_hour + 3, 2 * size)]);
    node.flush_now().await.expect("the flush succeeds");
    node.write_manifests_now().await.expect("the manifests are written");
    node.halt().await;
    let node = cell.start().await;
    check(&node, &[(first_hour, size), (first_hour + 3, 2 * size)]);
    node.shutdown().await;
}

#[tokio::test]
async fn section_13_a_quiet_slot_is_marked_by_a_timer() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    append_value(&node, partition(1, 0), "x").await;
    node.keep_house_now().await;
    assert!(usage(&node).marks.is_empty());
    cell.clock.advance(Duration::from_millis(HOUR));
    node.keep_house_now().await;
    assert_eq!(usage(&node).marks.len(), 1);
    cell.clock.advance(Duration::from_millis(5 * HOUR));
    node.keep_house_now().await;
    assert_eq!(usage(&node).marks.len(), 1, "an hour without a change needs no mark");
    node.shutdown().await;
}

#[tokio::test]
async fn section_13_a_lost_late_or_repeated_report_of_sent_bytes_changes_nothing() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    append_value(&node, partition(1, 0), "x").await;
    let report = async |node: &Node, gateway: u64, total: u64| {
        let sent = [SentBytes { partition: partition(1, 0), total: ByteCount::new(total) }];
        node.report_sent(Incarnation::new(gateway), &sent).await.expect("owned");
        usage(node).counters.bytes_out.get()
    };
    assert_eq!(report(&node, 1, 100).await, 100);
    assert_eq!(report(&node, 1, 100).await, 100);
    assert_eq!(report(&node, 1, 250).await, 250);
    assert_eq!(report(&node, 1, 200).await, 250);
    assert_eq!(report(&node, 2, 50).await, 300);
    node.halt().await;
    let node = cell.start().await;
    assert_eq!(report(&node, 1, 250).await, 300);
    node.flush_now().await.expect("the flush succeeds");
    node.write_manifests_now().await.expect("the manifests are written");
    node.halt().await;
    let node = cell.start().await;
    assert_eq!(report(&node, 2, 60).await, 310);
    assert_eq!(report(&node, 1, 260).await, 320);
    node.shutdown().await;
}

async fn remove_topic(cell: &Cell) -> headgate_metadata::id::Revision {
    let tombstone = RemovedRecord { at: TimestampMs::new(START_MS), slots: vec![partition(1, 0).slot] };
    let key = keys::removed_topic(cluster(1), partition(1, 0).key.topic);
    put(&cell.store, key, tombstone.encode()).await
}

#[tokio::test]
async fn what_was_appended_before_a_removal_is_billed_even_if_the_node_ended_before_recording_it() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    let batch = Batch::of(&["x"]);
    append(&node, partition(1, 0), &batch).await;
    node.halt().await;
    remove_topic(&cell).await;
    let node = cell.start().await;
    node.keep_house_now().await;
    assert_eq!(usage(&node).counters.bytes_in.get(), batch.bytes().len() as u64);
    assert_eq!(usage(&node).counters.stored.current, ByteCount::new(0));
    node.shutdown().await;
}

#[tokio::test]
async fn a_removed_partition_stays_ended_over_hours_flushes_and_restarts() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    append_value(&node, partition(1, 0), "x").await;
    append_value(&node, partition(2, 0), "stays").await;
    let sent = [SentBytes { partition: partition(1, 0), total: ByteCount::new(100) }];
    node.report_sent(Incarnation::new(1), &sent).await.expect("owned");
    cell.clock.advance(Duration::from_mins(10));
    let mut caller = caller(cluster(1));
    caller.revision_seen = remove_topic(&cell).await;
    assert!(node.offsets_at(&caller, partition(1, 0), OffsetQuery::Earliest).await.is_err());
    node.keep_house_now().await;
    let ended = usage(&node);
    assert_eq!(ended.counters.stored.current, ByteCount::new(0));
    let check = |node: &Node| {
        let of = node.usage_snapshot(cluster(1)).partitions;
        assert_eq!(of.len(), 1, "once, not as alive too: {of:?}");
        assert_eq!((of[0].counters, &of[0].marks), (ended.counters, &ended.marks));
    };
    for _ in 0..3 {
        cell.clock.advance(Duration::from_millis(HOUR));
        append_value(&node, partition(2, 0), "later").await;
        node.keep_house_now().await;
    }
    check(&node);
    node.halt().await;
    let node = cell.start().await;
    check(&node);
    node.flush_now().await.expect("the flush succeeds");
    node.write_manifests_now().await.expect("the manifests are written");
    node.halt().await;
    let node = cell.start().await;
    check(&node);
    cell.clock.advance(Duration::from_millis(HOUR));
    node.keep_house_now().await;
    check(&node);
    node.shutdown().await;
}

#[tokio::test]
async fn batches_trimmed_before_their_flush_are_taken_off_the_stored_bytes_once() {
    for restart in [false, true] {
        let cell = Cell::new().await;
        cell.put_topic(partition(1, 0), &[("retention.ms", "10000")]).await;
        let node = cell.start().await;
        for age in [0, 30_000] {
            append(&node, partition(1, 0), &Batch::of(&["x"]).at(START_MS as i64 + age)).await;
        }
        cell.clock.advance(Duration::from_secs(12));
        node.keep_house_now().await;
        assert_eq!(log_start(&node).await, 1, "the first batch went before its flush");
        node.flush_now().await.expect("the flush succeeds");
        append(&node, partition(1, 0), &Batch::of(&["x"]).at(START_MS as i64 + 90_000)).await;
        node.flush_now().await.expect("the flush succeeds");
        let node = if restart {
            node.write_manifests_now().await.expect("the manifests are written");
            node.halt().await;
            cell.start().await
        } else {
            node
        };
        cell.clock.advance(Duration::from_secs(40));
        node.keep_house_now().await;
        assert_eq!(log_start(&node).await, 2);
        let size = Batch::of(&["x"]).bytes().len() as u64;
        assert_eq!(usage(&node).counters.stored.current, ByteCount::new(size), "restart {restart}");
        node.shutdown().await;
    }
}

#[tokio::test]
async fn the_greatest_timestamp_is_looked_for_above_the_log_start_only() {
    let cell = Cell::new().await;
    cell.put_topic(partition(1, 0), &[("retention.bytes", "100"), ("retention.ms", "-1")]).await;
    let node = cell.start().await;
    append(&node, partition(1, 0), &Batch::of(&[&"x".repeat(430)]).at(START_MS as i64 + 5_000)).await;
    append(&node, partition(1, 0), &Batch::of(&[&"x".repeat(430)])).await;
    node.keep_house_now().await;
    assert_eq!(log_start(&node).await, 1);
    let found = node.offsets_at(&caller(cluster(1)), partition(1, 0), OffsetQuery::MaxTimestamp).await;
    let found = found.expect("owned");
    assert_eq!(
        (found.offset.map(headgate_metadata::id::Offset::get), found.timestamp),
        (Some(1), START_MS as i64)
    );
    node.shutdown().await;
}
