//! Reading and waiting over several owners.

use std::time::Duration;

use headgate_metadata::id::{ByteCount, Incarnation, LeaderEpoch, Offset, SlotEpoch, SlotId};
use headgate_storage_client::{
    EpochEnd, Isolation, OffsetQuery, PartitionAddress, PartitionRead, ReadError, ReadRequest, SentBytes,
    Storage, Unavailable,
};
use tokio::time::timeout;

use crate::cell::{Cell, caller, cluster, partition, patient};
use crate::owner::A_WHILE;

fn request(slots: &[u16], offset: u64, bytes_max: u64) -> ReadRequest {
    let read = |slot: &u16| PartitionRead {
        partition: partition(*slot),
        offset: Offset::new(offset),
        bytes_max,
        current_epoch: None,
    };
    ReadRequest {
        partitions: slots.iter().map(read).collect(),
        bytes_max,
        isolation: Isolation::ReadUncommitted,
    }
}

fn lengths(outcomes: &[Result<headgate_storage_client::ReadSuccess, ReadError>]) -> Vec<Option<u64>> {
    outcomes.iter().map(|outcome| outcome.as_ref().ok().map(|success| success.records_bytes)).collect()
}

#[tokio::test]
async fn a_read_asks_each_owner_once_and_answers_in_the_order_asked() {
    let (cell, nodes) = Cell::new(2, 4).await;
    for slot in 0..4 {
        nodes[usize::from(slot) % 2].owner.put(slot, &vec![slot as u8; 100 + usize::from(slot)]);
    }
    let gateway = cell.gateway().await;
    let outcomes = gateway.read(&patient(7), &request(&[3, 0, 2, 1], 0, 10_000)).await;
    assert_eq!(lengths(&outcomes), [Some(103), Some(100), Some(102), Some(101)]);
    let first = outcomes[0].as_ref().expect("read");
    assert_eq!((first.records.concat()[0], first.high_watermark), (3, Offset::new(1)));
    assert_eq!((nodes[0].owner.asked("read"), nodes[1].owner.asked("read")), (1, 1));
}

#[tokio::test]
async fn data_is_kept_in_request_order_up_to_the_limit_which_only_the_first_may_exceed() {
    let (cell, nodes) = Cell::new(2, 4).await;
    for slot in 0..4 {
        nodes[usize::from(slot) % 2].owner.put(slot, &[1; 600]);
    }
    let gateway = cell.gateway().await;
    // Each owner has a share of 500 and exceeds it by its first batch; together that is one too many.
    let outcomes = gateway.read(&patient(7), &request(&[0, 1, 2, 3], 0, 1000)).await;
    assert_eq!(lengths(&outcomes), [Some(600), Some(0), Some(0), Some(0)]);
    assert_eq!(outcomes[1].as_ref().expect("read").high_watermark, Offset::new(1));
    let outcomes = gateway.read(&patient(7), &request(&[1, 0], 0, 10)).await;
    assert_eq!(lengths(&outcomes), [Some(600), Some(0)]);
}

#[tokio::test]
async fn partitions_of_an_owner_that_is_gone_have_nothing_new_and_the_last_bounds() {
    let (cell, mut nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    nodes[0].owner.put(0, b"gone");
    nodes[1].owner.put(1, b"here");
    gateway.read(&patient(7), &request(&[0, 1], 0, 1000)).await;
    drop(nodes.remove(0).server);
    let outcomes = gateway.read(&patient(7), &request(&[0, 1], 0, 1000)).await;
    assert_eq!(lengths(&outcomes), [Some(0), Some(4)]);
    assert_eq!(outcomes[0].as_ref().expect("no error").high_watermark, Offset::new(1));
}

#[tokio::test]
async fn a_read_waits_for_a_move_while_nobody_else_has_data() {
    let (cell, nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    nodes[0].owner.disown(0);
    nodes[1].owner.put(0, b"moved");
    let request = request(&[0], 0, 1000);
    let caller = patient(7);
    let reading = gateway.read(&caller, &request);
    let moving = async {
        nodes[0].owner.until_asked("read", 1).await;
        nodes[1].owner.own(0);
        cell.give(0, 2, 2).await;
    };
    let (outcomes, ()) = tokio::join!(reading, moving);
    assert_eq!(lengths(&outcomes), [Some(5)]);
}

fn from(slots: &[u16]) -> Vec<(PartitionAddress, Offset)> {
    slots.iter().map(|slot| (partition(*slot), Offset::new(0))).collect()
}

#[tokio::test]
async fn a_wait_ends_when_the_owners_together_have_enough() {
    let (cell, nodes) = Cell::new(3, 3).await;
    let gateway = cell.gateway().await;
    let (caller, from) = (patient(7), from(&[0, 1, 2]));
    let mut waiting = Box::pin(gateway.await_data(&caller, &from, 300));
    assert!(timeout(A_WHILE, &mut waiting).await.is_err());
    nodes[0].owner.put(0, &[0; 120]);
    nodes[1].owner.put(1, &[0; 120]);
    assert!(timeout(A_WHILE, &mut waiting).await.is_err(), "240 of 300 are there");
    nodes[2].owner.put(2, &[0; 70]);
    waiting.await;
}

#[tokio::test]
async fn a_wait_that_is_dropped_is_taken_back_at_every_owner() {
    let (cell, nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    let (caller, from) = (patient(7), from(&[0, 1]));
    let mut waiting = Box::pin(gateway.await_data(&caller, &from, 1));
    assert!(timeout(A_WHILE, &mut waiting).await.is_err());
    for node in &nodes {
        node.owner.until_waiting(1).await;
    }
    drop(waiting);
    for node in &nodes {
        node.owner.until_waiting(0).await;
    }
}

#[tokio::test]
async fn a_wait_follows_its_slot_and_outlives_an_owner() {
    let (cell, mut nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    let (caller, from) = (patient(7), from(&[0, 1]));
    let mut waiting = Box::pin(gateway.await_data(&caller, &from, 1));
    assert!(timeout(A_WHILE, &mut waiting).await.is_err());
    drop(nodes.remove(0).server);
    assert!(timeout(A_WHILE, &mut waiting).await.is_err(), "the other owner is still waited for");
    nodes[0].owner.own(0);
    cell.give(0, 2, 2).await;
    let moved = async {
        nodes[0].owner.put(0, b"x");
    };
    tokio::join!(waiting, moved);
}

#[tokio::test]
async fn a_wait_ends_with_its_callers_patience() {
    let (cell, _nodes) = Cell::new(1, 1).await;
    let gateway = cell.gateway().await;
    gateway.await_data(&caller(7, Duration::from_millis(50)), &from(&[0]), 1).await;
    gateway.await_data(&patient(7), &from(&[0]), 0).await;
    // Nobody owns it; the patience ends all the same.
    gateway.await_data(&caller(7, Duration::from_millis(50)), &from(&[40]), 1).await;
}

#[tokio::test]
async fn offsets_and_epoch_ends_are_asked_of_the_owner_until_it_answers() {
    let (cell, nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    nodes[0].owner.put(0, b"four");
    let found = gateway.offsets_at(&patient(7), partition(0), OffsetQuery::Earliest).await;
    assert_eq!(found.map(|at| at.offset), Ok(Some(Offset::new(1))));
    let epoch = LeaderEpoch::new(3);
    let end = EpochEnd { epoch: Some(epoch), end: Some(Offset::new(7)) };
    assert_eq!(gateway.epoch_end(&patient(7), partition(1), epoch).await, Ok(end));
    nodes[0].owner.disown(0);
    let impatient = caller(7, Duration::from_millis(100));
    let refused = gateway.offsets_at(&impatient, partition(0), OffsetQuery::Earliest).await;
    assert_eq!(refused, Err(ReadError::NotOwner));
    let caller = patient(7);
    let (found, ()) = tokio::join!(gateway.offsets_at(&caller, partition(0), OffsetQuery::Earliest), async {
        nodes[1].owner.own(0);
        cell.give(0, 2, 2).await;
    });
    assert_eq!(found.map(|at| at.offset), Ok(Some(Offset::new(0))));
}

#[tokio::test]
async fn epochs_come_from_the_routing_table_and_producer_ids_from_any_node() {
    let (cell, mut nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    assert_eq!(gateway.leader_epoch(SlotId::new(1)).await, Ok(SlotEpoch::new(1)));
    assert_eq!(gateway.leader_epoch(SlotId::new(9)).await, Err(Unavailable::NotOwner));
    for connection in 0..4 {
        gateway.allocate_producer_id(&patient(connection)).await.expect("a node draws");
    }
    assert_eq!(nodes[0].owner.asked("allocate_producer_id"), 2, "clients spread over nodes");
    drop(nodes.remove(0).server);
    for connection in 0..4 {
        gateway.allocate_producer_id(&patient(connection)).await.expect("the other node draws");
    }
}

#[tokio::test]
async fn usage_goes_to_every_owner_and_sizes_come_from_every_owner() {
    let (cell, nodes) = Cell::new(2, 4).await;
    let gateway = cell.gateway().await;
    let sent: Vec<SentBytes> =
        (0..4).map(|slot| SentBytes { partition: partition(slot), total: ByteCount::new(5) }).collect();
    gateway.report_sent(Incarnation::new(3), &sent).await.expect("all owners took it");
    assert_eq!(nodes[0].owner.sent(), [(Incarnation::new(3), sent[0]), (Incarnation::new(3), sent[2])]);
    assert_eq!(nodes[1].owner.sent(), [(Incarnation::new(3), sent[1]), (Incarnation::new(3), sent[3])]);
    let slots: Vec<SlotId> = (0..4).map(SlotId::new).collect();
    let mut sizes: Vec<u64> = gateway
        .partition_sizes(cluster(), &slots)
        .await
        .expect("all owners answer")
        .iter()
        .map(|size| size.size.get())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [0, 1, 2, 3]);
}
