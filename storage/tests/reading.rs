//! Reads, waits, offsets by time and epoch ends, from memory, WAL chunks and objects.

mod support;

use std::time::Duration;

use headgate_metadata::id::{LeaderEpoch, Offset};
use headgate_storage::Node;
use headgate_storage_client::{
    Isolation, OffsetQuery, PartitionRead, ReadError, ReadOutcome, ReadRequest, Storage,
};
use support::{Batch, Cell, append, append_value, caller, decode, partition, read_all, try_read};

/// Where the data lies when it is read.
#[derive(Debug, Clone, Copy)]
enum Place {
    Tail,
    Wal,
    Object,
    InheritedWal,
    Manifest,
}

const PLACES: [Place; 5] = [Place::Tail, Place::Wal, Place::Object, Place::InheritedWal, Place::Manifest];

/// Lets `fill` write, then brings the data to the place.
async fn cell_with_data_at<F: AsyncFn(&Node)>(place: Place, fill: F) -> (Cell, std::sync::Arc<Node>) {
    let mut cell = Cell::new().await;
    if !matches!(place, Place::Tail) {
        cell.config.tail_bytes_max = 0;
    }
    let node = cell.start().await;
    fill(&node).await;
    match place {
        Place::Tail | Place::Wal => (cell, node),
        Place::Object => {
            node.flush_now().await.expect("the flush succeeds");
            (cell, node)
        }
        Place::InheritedWal => {
            node.halt().await;
            let node = cell.start().await;
            (cell, node)
        }
        Place::Manifest => {
            node.flush_now().await.expect("the flush succeeds");
            node.write_manifests_now().await.expect("the manifests are written");
            node.halt().await;
            let node = cell.start().await;
            (cell, node)
        }
    }
}

async fn read(node: &Node, partitions: &[(u32, u64)], bytes_max: u64) -> Vec<ReadOutcome> {
    let partitions = partitions.iter().map(|(index, offset)| PartitionRead {
        partition: partition(1, *index),
        offset: Offset::new(*offset),
        bytes_max,
        current_epoch: None,
    });
    let request =
        ReadRequest { partitions: partitions.collect(), bytes_max, isolation: Isolation::ReadCommitted };
    node.read(&caller(partition(1, 0).key.cluster), &request).await
}

fn values(outcome: &ReadOutcome) -> Vec<String> {
    let success = outcome.as_ref().expect("the read succeeds");
    decode(&success.records.concat()).into_iter().map(|(_, value)| value).collect()
}

#[tokio::test]
async fn every_offset_is_read_from_wherever_it_lies() {
    for place in PLACES {
        let (_cell, node) = cell_with_data_at(place, async |node: &Node| {
            for index in 0..30 {
                append(node, partition(1, 0), &Batch::of(&[&format!("a{index}"), &format!("b{index}")]))
                    .await;
                append_value(node, partition(1, 1), "other").await;
            }
        })
        .await;
        for offset in 0..60 {
            let first = read_all(&node, partition(1, 0), offset).await;
            assert_eq!(first.len() as u64, 60 - offset, "{place:?} from {offset}");
            assert_eq!(first[0].0, offset);
        }
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_read_gives_whole_batches_within_its_bytes_and_only_the_very_first_may_exceed_them() {
    for place in PLACES {
        let (_cell, node) = cell_with_data_at(place, async |node: &Node| {
            for index in 0..3 {
                for at in [0, 1] {
                    append_value(node, partition(1, at), &format!("{index}{}", "x".repeat(500))).await;
                }
            }
        })
        .await;
        let outcomes = read(&node, &[(0, 0), (1, 0)], 1).await;
        assert_eq!(
            values(&outcomes[0]).len(),
            1,
            "{place:?}: the first batch is given although it is larger"
        );
        assert_eq!(values(&outcomes[1]).len(), 0, "{place:?}: the second partition gets nothing");
        let outcomes = read(&node, &[(0, 0), (1, 0)], 1500).await;
        assert_eq!(values(&outcomes[0]).len(), 2, "{place:?}: two batches fit");
        assert_eq!(values(&outcomes[1]).len(), 0, "{place:?}: the rest is too small for a third");
        let outcomes = read(&node, &[(0, 3), (1, 1)], 1500).await;
        assert_eq!(values(&outcomes[0]).len(), 0, "{place:?}: there is nothing at the end");
        assert_eq!(values(&outcomes[1]).len(), 2, "{place:?}: an empty partition takes no budget");
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_batch_larger_than_a_block_is_read_from_an_object() {
    let big = "x".repeat(3 << 20);
    let (_cell, node) = cell_with_data_at(Place::Object, async |node: &Node| {
        append_value(node, partition(1, 0), "small").await;
        append_value(node, partition(1, 0), &big).await;
        append_value(node, partition(1, 0), "small").await;
    })
    .await;
    let records = read_all(&node, partition(1, 0), 1).await;
    assert_eq!(records.iter().map(|(_, value)| value.len()).collect::<Vec<_>>(), [big.len(), 5]);
    node.shutdown().await;
}

#[tokio::test]
async fn a_catch_up_reader_evicts_nothing_from_the_tail() {
    let mut cell = Cell::new().await;
    cell.config.tail_bytes_max = 4_000;
    let node = cell.start().await;
    for index in 0..200 {
        append_value(&node, partition(1, 0), &format!("{index}")).await;
    }
    for _ in 0..3 {
        assert_eq!(read_all(&node, partition(1, 0), 0).await.len(), 200);
    }
    assert_eq!(read_all(&node, partition(1, 0), 199).await.len(), 1);
    node.shutdown().await;
}

#[tokio::test]
async fn offsets_by_time_are_exact_wherever_the_record_lies() {
    for place in PLACES {
        let (_cell, node) = cell_with_data_at(place, async |node: &Node| {
            // Records at 1000, 1001, then 3000, 3001, then late ones at 2000, 2001.
            for at in [1000, 3000, 2000] {
                append(node, partition(1, 0), &Batch::of(&["a", "b"]).at(at)).await;
            }
        })
        .await;
        let caller = caller(partition(1, 0).key.cluster);
        let find = async |query| {
            let found = node.offsets_at(&caller, partition(1, 0), query).await.expect("the lookup succeeds");
            (found.offset.map(Offset::get), found.timestamp)
        };
        assert_eq!(find(OffsetQuery::AtLeast(0)).await, (Some(0), 1000), "{place:?}");
        assert_eq!(find(OffsetQuery::AtLeast(1001)).await, (Some(1), 1001), "{place:?}");
        assert_eq!(find(OffsetQuery::AtLeast(1002)).await, (Some(2), 3000), "{place:?}");
        assert_eq!(find(OffsetQuery::AtLeast(3001)).await, (Some(3), 3001), "{place:?}");
        assert_eq!(find(OffsetQuery::AtLeast(3002)).await, (None, -1), "{place:?}");
        assert_eq!(find(OffsetQuery::MaxTimestamp).await, (Some(3), 3001), "{place:?}");
        assert_eq!(find(OffsetQuery::Earliest).await, (Some(0), -1), "{place:?}");
        assert_eq!(find(OffsetQuery::Latest(Isolation::ReadCommitted)).await, (Some(6), -1), "{place:?}");
        node.shutdown().await;
    }
}

#[tokio::test]
async fn an_epoch_ends_where_the_next_owner_began() {
    let cell = Cell::new().await;
    for life in 1..=3 {
        let node = cell.start().await;
        append_value(&node, partition(1, 0), "x").await;
        let caller = caller(partition(1, 0).key.cluster);
        for asked in 1..=life {
            let found =
                node.epoch_end(&caller, partition(1, 0), LeaderEpoch::new(asked)).await.expect("owned");
            assert_eq!(found.epoch, Some(LeaderEpoch::new(asked)));
            assert_eq!(found.end, Some(Offset::new(u64::from(asked))));
        }
        let ahead =
            node.epoch_end(&caller, partition(1, 0), LeaderEpoch::new(life + 1)).await.expect("owned");
        assert_eq!((ahead.epoch, ahead.end), (None, None));
        assert_eq!(node.leader_epoch(partition(1, 0).slot).await, Ok(LeaderEpoch::new(life)));
        node.halt().await;
    }
}

#[tokio::test]
async fn section_9_an_older_leader_epoch_is_served_and_a_newer_one_waits_for_routing() {
    let cell = Cell::new().await;
    cell.start().await.halt().await;
    let node = cell.start().await;
    append_value(&node, partition(1, 0), "x").await;
    let read = async |epoch| {
        let read = PartitionRead {
            partition: partition(1, 0),
            offset: Offset::new(0),
            bytes_max: 1000,
            current_epoch: Some(LeaderEpoch::new(epoch)),
        };
        let request =
            ReadRequest { partitions: vec![read], bytes_max: 1000, isolation: Isolation::ReadUncommitted };
        node.read(&caller(partition(1, 0).key.cluster), &request).await.remove(0)
    };
    assert!(read(1).await.is_ok());
    assert!(read(2).await.is_ok());
    assert_eq!(read(3).await.err(), Some(ReadError::EpochAhead));
    node.shutdown().await;
}

#[tokio::test]
async fn a_wait_ends_when_enough_bytes_have_come_to_its_partitions_together() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    let from = [(partition(1, 0), Offset::new(0)), (partition(1, 1), Offset::new(0))];
    let waiting = tokio::spawn({
        let node = std::sync::Arc::clone(&node);
        async move { node.await_data(&caller(partition(1, 0).key.cluster), &from, 150).await }
    });
    append_value(&node, partition(1, 0), "x").await;
    append_value(&node, partition(1, 1), "x").await;
    append_value(&node, partition(1, 1), "x").await;
    waiting.await.expect("the wait ends");
    node.shutdown().await;
}

#[tokio::test]
async fn a_wait_for_data_that_is_there_or_cannot_be_read_returns_at_once() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    append_value(&node, partition(1, 0), "x").await;
    let caller = caller(partition(1, 0).key.cluster);
    node.await_data(&caller, &[(partition(1, 0), Offset::new(0))], 1).await;
    node.await_data(&caller, &[(partition(1, 0), Offset::new(9))], 1).await;
    node.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_data_ends_with_the_callers_patience() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    let mut caller = caller(partition(1, 0).key.cluster);
    caller.patience = Duration::from_millis(500);
    let before = tokio::time::Instant::now();
    node.await_data(&caller, &[(partition(1, 0), Offset::new(0))], 1).await;
    assert!(before.elapsed() >= caller.patience);
    node.shutdown().await;
}

#[tokio::test]
async fn section_5_waits_end_when_the_node_stops() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    let from = [(partition(1, 0), Offset::new(0))];
    let caller = caller(partition(1, 0).key.cluster);
    let mut waiting = Box::pin(node.await_data(&caller, &from, 1));
    // Polled once, so that it is registered.
    assert!(futures_util::poll!(&mut waiting).is_pending());
    node.shutdown().await;
    waiting.await;
}

#[tokio::test]
async fn reads_of_a_store_that_does_not_answer_are_unreadable_and_the_rest_is_served() {
    let (cell, node) = cell_with_data_at(Place::Manifest, async |node: &Node| {
        append_value(node, partition(1, 0), "cold").await;
    })
    .await;
    append_value(&node, partition(1, 1), "warm").await;
    cell.objects.fail_all(Some(headgate_log::store::Fault::Unavailable));
    assert_eq!(try_read(&node, partition(1, 0), 0).await.err(), Some(ReadError::Unreadable));
    assert_eq!(read_all(&node, partition(1, 1), 0).await.len(), 1);
    cell.objects.fail_all(None);
    assert_eq!(read_all(&node, partition(1, 0), 0).await.len(), 1);
    node.shutdown().await;
}
