//! Flush and manifest commits: interrupted anywhere, refused, replies lost; nothing is lost and nothing counts twice.

mod support;

use std::sync::Arc;

use headgate_log::disk::Disk;
use headgate_log::object::build_flush;
use headgate_log::store::{Fault, StoreCall};
use headgate_metadata::id::WalPosition;
use headgate_metadata::keys;
use headgate_metadata::record::{ChainRecord, FlushedRecord, Record};
use headgate_metadata::store::Select;
use headgate_storage::{FlushFault, Node};
use support::faulty_metadata::{FaultyMetadata, MetadataFault};
use support::{Batch, Cell, append, append_value, partition, put, read_all};

async fn fill(node: &Node, from: u32, count: u32) {
    for sequence in from..from + count {
        let batch = Batch::of(&[&format!("value-{sequence}")]).by(7, 0, sequence);
        assert_eq!(append(node, partition(1, 0), &batch).await, u64::from(sequence));
    }
}

async fn check(node: &Node, count: u32) {
    let expected: Vec<(u64, String)> =
        (0..count).map(|index| (u64::from(index), format!("value-{index}"))).collect();
    assert_eq!(read_all(node, partition(1, 0), 0).await, expected);
}

async fn count(cell: &Cell, prefix: &str) -> usize {
    let snapshot = cell.store.read(&[Select::Prefix(prefix.into())]).await.expect("memory does not fail");
    snapshot.results[0].len()
}

#[tokio::test]
async fn section_6_1_a_flush_that_the_store_refuses_is_done_again_and_counts_once() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    fill(&node, 0, 10).await;
    cell.objects.fail_all(Some(Fault::Unavailable));
    assert!(matches!(node.flush_now().await, Err(FlushFault::Store(_))));
    check(&node, 10).await;
    assert_eq!(count(&cell, "chain/").await, 0);
    cell.objects.fail_all(None);
    node.flush_now().await.expect("the store is back");
    assert_eq!(count(&cell, "chain/").await, 1);
    fill(&node, 10, 5).await;
    check(&node, 15).await;
    node.shutdown().await;
}

#[tokio::test]
async fn section_6_1_a_put_whose_reply_is_lost_leaves_garbage_under_a_name_that_never_counts() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    fill(&node, 0, 10).await;
    cell.objects.fail_next(StoreCall::Put, Fault::LostReply);
    assert!(node.flush_now().await.is_err());
    node.flush_now().await.expect("the second attempt succeeds");
    check(&node, 10).await;
    let objects = cell.objects.paths().await;
    assert_eq!(objects.iter().filter(|path| path.starts_with("flush/")).count(), 2, "{objects:?}");
    assert_eq!(count(&cell, "chain/").await, 1);
    node.shutdown().await;
    let node = cell.start().await;
    check(&node, 10).await;
    node.shutdown().await;
}

#[tokio::test]
async fn section_6_1_an_own_lost_reply_of_the_commit_is_not_read_as_defeat() {
    let mut cell = Cell::new().await;
    let faulty = FaultyMetadata::over(&cell.store);
    cell.store = Arc::clone(&faulty) as _;
    let node = cell.start().await;
    fill(&node, 0, 10).await;
    faulty.fail_next_put(keys::flushed(node.wal()), MetadataFault::LostReply);
    node.flush_now().await.expect("the chain names this node's object");
    check(&node, 10).await;
    assert_eq!(count(&cell, "chain/").await, 1);
    fill(&node, 10, 3).await;
    node.flush_now().await.expect("the next flush goes on from its end");
    check(&node, 13).await;
    node.shutdown().await;
    let node = cell.start().await;
    check(&node, 13).await;
    node.shutdown().await;
}

#[tokio::test]
async fn section_6_1_a_commit_that_never_arrived_is_repeated() {
    let mut cell = Cell::new().await;
    let faulty = FaultyMetadata::over(&cell.store);
    cell.store = Arc::clone(&faulty) as _;
    let node = cell.start().await;
    fill(&node, 0, 10).await;
    faulty.fail_next_put(keys::flushed(node.wal()), MetadataFault::LostRequest);
    node.flush_now().await.expect("the transaction is repeated");
    check(&node, 10).await;
    assert_eq!(count(&cell, "chain/").await, 1);
    node.shutdown().await;
}

#[tokio::test]
async fn section_6_1_another_writers_flush_of_the_same_bytes_counts_and_this_one_goes_on_from_its_end() {
    let mut cell = Cell::new().await;
    cell.config.tail_bytes_max = 0;
    let node = cell.start().await;
    fill(&node, 0, 5).await;
    // A zombie of the owner flushes the first half.
    let (wal, start, end) = (node.wal(), WalPosition::new(0), node.committed());
    let disk: Arc<dyn Disk> = Arc::new(cell.disk.clone());
    let object = build_flush(&disk, &cell.config.wal_dir, wal, start, end, 99).expect("the WAL is right");
    cell.objects.store().put(&object.name, object.parts).await.expect("the store works");
    let link = ChainRecord { end, object: object.name.to_string() };
    put(&cell.store, keys::chain(wal, start), link.encode()).await;
    put(&cell.store, keys::flushed(wal), FlushedRecord { position: end }.encode()).await;
    fill(&node, 5, 5).await;
    node.flush_now().await.expect("the other's object counts");
    let chain = cell.store.read(&[Select::Prefix("chain/".into())]).await.expect("memory does not fail");
    let objects: Vec<ChainRecord> =
        chain.results[0].iter().map(|entry| ChainRecord::decode(&entry.value).expect("a record")).collect();
    assert_eq!(objects[0], link);
    assert_eq!((objects.len(), objects[1].end), (2, node.committed()));
    check(&node, 10).await;
    node.halt().await;
    let node = cell.start().await;
    check(&node, 10).await;
    node.shutdown().await;
}

#[tokio::test]
async fn a_restart_after_each_stage_of_a_flush_and_a_manifest_finds_everything() {
    // Each stage is a call that fails; then the process ends.
    let stages = [
        (StoreCall::Put, 0, "the flush object is not put"),
        (StoreCall::Get, 0, "its footer cannot be read back"),
        (StoreCall::Put, 1, "the manifest is not put"),
        (StoreCall::Get, 2, "the manifest cannot be read back"),
    ];
    for (call, skip, stage) in stages {
        for fault in [Fault::Unavailable, Fault::LostReply] {
            let cell = Cell::new().await;
            let node = cell.start().await;
            fill(&node, 0, 10).await;
            if skip > 0 {
                node.flush_now().await.expect("the flush succeeds");
            }
            cell.objects.fail_next(call, fault);
            let flushed = node.flush_now().await.is_ok();
            let written = flushed && node.write_manifests_now().await.is_ok();
            assert!(!written || fault == Fault::LostReply, "{stage}: a refused call is not a success");
            node.halt().await;
            let node = cell.start().await;
            check(&node, 10).await;
            fill(&node, 10, 5).await;
            node.flush_now().await.expect("the store is back");
            node.write_manifests_now().await.expect("the store is back");
            check(&node, 15).await;
            node.halt().await;
            let node = cell.start().await;
            check(&node, 15).await;
            node.shutdown().await;
        }
    }
}

#[tokio::test]
async fn section_6_3_a_manifest_commit_whose_reply_is_lost_is_found_by_reading_the_key() {
    let mut cell = Cell::new().await;
    let faulty = FaultyMetadata::over(&cell.store);
    cell.store = Arc::clone(&faulty) as _;
    for fault in [MetadataFault::LostReply, MetadataFault::LostRequest] {
        let node = cell.start().await;
        let before = read_all(&node, partition(1, 0), 0).await.len() as u32;
        fill(&node, before, 5).await;
        node.flush_now().await.expect("the flush succeeds");
        faulty.fail_next_put(keys::slot(partition(1, 0).slot), fault);
        node.write_manifests_now().await.expect("reading the key tells");
        check(&node, before + 5).await;
        node.shutdown().await;
    }
    let node = cell.start().await;
    check(&node, 10).await;
    node.shutdown().await;
}

#[tokio::test]
async fn section_6_5_chunks_are_deleted_only_when_flushed_is_past_them() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    cell.objects.fail_all(Some(Fault::Unavailable));
    let big = "x".repeat(20_000);
    for _ in 0..10 {
        append_value(&node, partition(1, 0), &big).await;
    }
    let chunks =
        || cell.disk.paths().iter().filter(|path| path.to_string_lossy().ends_with(".chunk")).count();
    assert!(chunks() >= 3);
    assert!(node.flush_now().await.is_err());
    assert!(chunks() >= 3, "nothing is deleted while the store refuses");
    cell.objects.fail_all(None);
    node.flush_now().await.expect("the store is back");
    assert_eq!(chunks(), 1, "only the chunk that still grows is left");
    assert_eq!(read_all(&node, partition(1, 0), 0).await.len(), 10);
    node.shutdown().await;
}

#[tokio::test]
async fn section_6_4_sealed_wals_are_flushed_applied_and_retired() {
    let cell = Cell::new().await;
    for life in 0..3 {
        let node = cell.start().await;
        fill(&node, life * 5, 5).await;
        node.halt().await;
    }
    let node = cell.start().await;
    assert_eq!(count(&cell, "wal/").await, 4);
    node.flush_now().await.expect("the flush succeeds");
    node.write_manifests_now().await.expect("the manifests are written");
    assert_eq!(count(&cell, "wal/").await, 1, "only the open WAL is left");
    assert_eq!(count(&cell, "retired/").await, 3);
    assert_eq!(count(&cell, "chain/").await, 0);
    check(&node, 15).await;
    node.halt().await;
    let node = cell.start().await;
    check(&node, 15).await;
    node.shutdown().await;
}

#[tokio::test]
async fn section_8_garbage_goes_after_its_grace_and_what_is_named_stays() {
    let cell = Cell::new().await;
    let node = cell.start().await;
    fill(&node, 0, 10).await;
    cell.objects.fail_next(StoreCall::Put, Fault::LostReply);
    assert!(node.flush_now().await.is_err());
    node.flush_now().await.expect("the second attempt succeeds");
    node.write_manifests_now().await.expect("the manifests are written");
    fill(&node, 10, 5).await;
    node.flush_now().await.expect("the flush succeeds");
    node.write_manifests_now().await.expect("the manifests are written");
    assert_eq!(node.collect_garbage_now().await.expect("the store answers"), 0, "grace has not passed");
    cell.clock.advance(std::time::Duration::from_secs(3601));
    let deleted = node.collect_garbage_now().await.expect("the store answers");
    assert_eq!(deleted, 2, "the attempt that lost its reply, and the first manifest");
    check(&node, 15).await;
    node.halt().await;
    let node = cell.start().await;
    check(&node, 15).await;
    node.shutdown().await;
}
