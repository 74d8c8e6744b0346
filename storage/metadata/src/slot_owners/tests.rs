use super::*;
use crate::embedded::EmbeddedStore;
use crate::id::{Incarnation, WalPosition};
use crate::store::{Outcome, Transaction, Write};

fn wal(node: u32, incarnation: u64) -> WalId {
    WalId { node: NodeId::new(node), incarnation: Incarnation::new(incarnation) }
}

fn slot_record(owner: WalId, epoch: u32) -> SlotRecord {
    SlotRecord {
        owner,
        epoch: SlotEpoch::new(epoch),
        from: WalPosition::new(0),
        spans: Vec::new(),
        manifest: None,
        applied: None,
    }
}

fn node_record(node: u32, incarnation: u64) -> NodeRecord {
    NodeRecord {
        node: NodeId::new(node),
        incarnation: Incarnation::new(incarnation),
        address: format!("127.0.0.1:900{node}"),
        zone: "a".into(),
        draining: false,
    }
}

async fn write(store: &SharedStore, write: Write) -> Revision {
    let outcome = store.commit(Transaction::new().then(write)).await.expect("memory does not fail");
    match outcome {
        Outcome::Committed(revision) => revision,
        Outcome::Refused(_) => unreachable!("nothing is compared"),
    }
}

async fn put_slot(store: &SharedStore, slot: u16, record: &SlotRecord) -> Revision {
    write(store, Write::Put(keys::slot(SlotId::new(slot)), record.encode())).await
}

async fn put_node(store: &SharedStore, record: &NodeRecord) -> Revision {
    write(store, Write::Put(keys::node(record.node), record.encode())).await
}

fn address(owners: &SlotOwners, slot: u16) -> Option<String> {
    owners.node_of(SlotId::new(slot)).map(|node| node.address.clone())
}

#[tokio::test]
async fn a_slot_is_reached_at_its_owners_node() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    put_slot(&store, 3, &slot_record(wal(1, 7), 1)).await;
    put_node(&store, &node_record(1, 7)).await;
    let owners = SlotOwners::start(Arc::clone(&store)).await.expect("the store answers");
    assert_eq!(address(&owners, 3).as_deref(), Some("127.0.0.1:9001"));
    assert_eq!(owners.owner(SlotId::new(4)), None);

    put_node(&store, &node_record(2, 8)).await;
    let revision = put_slot(&store, 3, &slot_record(wal(2, 8), 2)).await;
    owners.catch_up(revision).await.expect("the watch runs");
    assert_eq!(address(&owners, 3).as_deref(), Some("127.0.0.1:9002"));
    let owner = SlotOwner { wal: wal(2, 8), epoch: SlotEpoch::new(2) };
    assert_eq!(owners.owner(SlotId::new(3)), Some(owner));
    assert_eq!(owners.nodes().len(), 2);
}

#[tokio::test]
async fn the_wal_of_a_node_that_was_started_again_has_nobody_who_answers() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    put_slot(&store, 3, &slot_record(wal(1, 7), 1)).await;
    put_node(&store, &node_record(1, 9)).await;
    let owners = SlotOwners::start(Arc::clone(&store)).await.expect("the store answers");
    assert_eq!(address(&owners, 3), None);
    put_slot(&store, 3, &slot_record(wal(1, 9), 2)).await;
    owners.refresh().await.expect("the watch runs");
    assert!(address(&owners, 3).is_some());
}

#[tokio::test]
async fn a_node_whose_record_went_with_its_lease_is_still_reached_for_what_it_owns() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    put_slot(&store, 3, &slot_record(wal(1, 7), 1)).await;
    put_node(&store, &node_record(1, 7)).await;
    let owners = SlotOwners::start(Arc::clone(&store)).await.expect("the store answers");
    let revision = write(&store, Write::Delete(keys::node(NodeId::new(1)))).await;
    owners.catch_up(revision).await.expect("the watch runs");
    assert!(owners.nodes().is_empty());
    assert!(address(&owners, 3).is_some());
}

#[tokio::test]
async fn a_later_wal_of_the_same_process_is_reached_too() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    put_node(&store, &node_record(1, 7)).await;
    put_slot(&store, 3, &slot_record(wal(1, 9), 2)).await;
    let owners = SlotOwners::start(Arc::clone(&store)).await.expect("the store answers");
    assert!(address(&owners, 3).is_some());
}

#[tokio::test]
async fn only_what_routing_needs_wakes_those_who_wait() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    put_slot(&store, 3, &slot_record(wal(1, 7), 1)).await;
    let owners = SlotOwners::start(Arc::clone(&store)).await.expect("the store answers");
    let mut changes = owners.changes();
    changes.mark_unchanged();
    let with_manifest = SlotRecord { manifest: Some("m".into()), ..slot_record(wal(1, 7), 1) };
    let revision = put_slot(&store, 3, &with_manifest).await;
    owners.catch_up(revision).await.expect("the watch runs");
    assert!(!changes.has_changed().expect("the table lives"));
    let revision = write(&store, Write::Delete(keys::slot(SlotId::new(3)))).await;
    owners.catch_up(revision).await.expect("the watch runs");
    assert!(changes.has_changed().expect("the table lives"));
    assert_eq!(owners.owner(SlotId::new(3)), None);
}

#[tokio::test]
async fn what_others_have_seen_is_learned_and_never_goes_back() {
    let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
    put_slot(&store, 3, &slot_record(wal(1, 7), 4)).await;
    let owners = SlotOwners::start(Arc::clone(&store)).await.expect("the store answers");
    let slot = SlotId::new(3);
    let told = |node, epoch| (slot, SlotOwner { wal: wal(node, 8), epoch: SlotEpoch::new(epoch) });
    let mut changes = owners.changes();
    owners.learn([told(2, 3)]);
    assert!(!changes.has_changed().expect("the table lives"), "older than what is known");
    owners.learn([told(2, 6)]);
    assert!(changes.has_changed().expect("the table lives"));
    changes.mark_unchanged();

    // The watch is behind what was told.
    let revision = put_slot(&store, 3, &slot_record(wal(1, 9), 5)).await;
    owners.catch_up(revision).await.expect("the store answers");
    assert_eq!(owners.owner(slot), Some(told(2, 6).1));
    let revision = put_slot(&store, 3, &slot_record(wal(1, 9), 7)).await;
    owners.catch_up(revision).await.expect("the store answers");
    assert_eq!(owners.owner(slot).map(|owner| owner.epoch.get()), Some(7));
}
