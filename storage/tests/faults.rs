//! What the node does when the disk lies, fails or fills, and when bytes rot.

mod support;

use std::sync::atomic::Ordering;

use headgate_log::wal::WalReadError;
use headgate_storage::{Node, StartError};
use headgate_storage_client::{AppendError, ReadError, Storage, Unavailable};
use support::{Batch, Cell, append_value, caller, cluster, partition, read_all, try_append, try_read};

/// The path of the only chunk.
fn chunk(cell: &Cell) -> std::path::PathBuf {
    let is_chunk = |path: &std::path::PathBuf| path.to_string_lossy().ends_with(".chunk");
    cell.disk.paths().into_iter().rev().find(is_chunk).expect("there is a chunk")
}

/// The local copies of small objects go; they may, at any time.
fn forget_copies(cell: &Cell) {
    for path in cell.disk.paths().iter().filter(|path| path.starts_with("/wal/copies")) {
        headgate_log::disk::Disk::remove(&cell.disk, path).expect("the disk works");
    }
}

async fn filled(cell: &Cell) -> std::sync::Arc<Node> {
    let node = cell.start().await;
    for index in 0..10 {
        append_value(&node, partition(1, 0), &format!("value-{index}")).await;
    }
    node
}

#[tokio::test]
async fn section_14_after_a_failed_sync_nothing_is_acknowledged_and_the_process_is_stopped() {
    let cell = Cell::new().await;
    let node = filled(&cell).await;
    cell.disk.fail_syncs(true);
    let answer = try_append(&node, partition(1, 0), &Batch::of(&["lost"])).await;
    assert_eq!(answer, Err(AppendError::Unconfirmed));
    cell.disk.fail_syncs(false);
    assert_eq!(try_append(&node, partition(1, 0), &Batch::of(&["x"])).await, Err(AppendError::Refused));
    let reserved = node.reserve(&caller(cluster(1)), partition(1, 0).slot, 1).await;
    assert!(matches!(reserved, Err(Unavailable::Refused)));
    assert_eq!(
        read_all(&node, partition(1, 0), 0).await.len(),
        10,
        "nothing above the high watermark is served"
    );
    node.halt().await;
    assert!(cell.stopped.load(Ordering::SeqCst));
    cell.disk.crash(1);
    let node = cell.start().await;
    assert!(read_all(&node, partition(1, 0), 0).await.len() >= 10, "a poisoned copy is rewritten, then read");
    node.shutdown().await;
}

#[tokio::test]
async fn section_14_a_failed_write_stops_the_process_too() {
    let cell = Cell::new().await;
    let node = filled(&cell).await;
    cell.disk.fail_writes(true);
    let answer = try_append(&node, partition(1, 0), &Batch::of(&["lost"])).await;
    assert_eq!(answer, Err(AppendError::Unconfirmed));
    node.halt().await;
    assert!(cell.stopped.load(Ordering::SeqCst));
    cell.disk.fail_writes(false);
    let node = cell.start().await;
    assert_eq!(read_all(&node, partition(1, 0), 0).await.len(), 10);
    node.shutdown().await;
}

#[tokio::test]
async fn section_14_a_wrong_byte_below_the_last_synced_group_is_refused_with_its_position() {
    let cell = Cell::new().await;
    let node = filled(&cell).await;
    node.halt().await;
    // A byte of the first record's header, behind the 64 bytes of the group's.
    assert!(cell.disk.flip_bit(&chunk(&cell), 100, 3));
    match cell.try_start().await.err() {
        Some(StartError::Wal(WalReadError::Corrupt(corruption))) => {
            assert!(corruption.position.get() <= 200, "{corruption}");
        }
        other => panic!("corruption must be refused, got {other:?}"),
    }
}

#[tokio::test]
async fn section_14_a_clean_stop_proves_its_last_group_so_that_nothing_is_cut() {
    let cell = Cell::new().await;
    let node = filled(&cell).await;
    let end = node.committed().get();
    node.shutdown().await;
    // The last record's payload, in the last group before the closing one.
    assert!(cell.disk.flip_bit(&chunk(&cell), end - 3, 1));
    let node = cell.start().await;
    // Headers are read at start; the payload's own sum is checked when it is read.
    assert_eq!(try_read(&node, partition(1, 0), 9).await.err(), Some(ReadError::Corrupt));
    assert_eq!(try_read(&node, partition(1, 0), 0).await.err(), Some(ReadError::Corrupt));
    node.shutdown().await;
}

#[tokio::test]
async fn a_wrong_byte_in_an_object_is_never_served() {
    let mut cell = Cell::new().await;
    cell.config.tail_bytes_max = 0;
    let node = filled(&cell).await;
    node.flush_now().await.expect("the flush succeeds");
    node.halt().await;
    let paths = cell.objects.paths().await;
    let path = paths.iter().find(|path| path.starts_with("flush/")).expect("there is a flush object");
    let name = headgate_log::object::ObjectName::parse(path).expect("a plain name");
    assert!(cell.objects.flip_bit(&name, 70, 0).await);
    let node = cell.start().await;
    assert_eq!(try_read(&node, partition(1, 0), 0).await.err(), Some(ReadError::Corrupt));
    node.shutdown().await;
}

#[tokio::test]
async fn missing_wal_files_are_refused_and_not_taken_for_an_empty_log() {
    let cell = Cell::new().await;
    let node = filled(&cell).await;
    node.flush_now().await.expect("the flush succeeds");
    append_value(&node, partition(1, 0), "unflushed").await;
    node.halt().await;
    let path = chunk(&cell);
    headgate_log::disk::Disk::remove(&cell.disk, &path).expect("the disk works");
    let refused = cell.try_start().await.err();
    assert!(matches!(refused, Some(StartError::WalShort { .. } | StartError::Wal(_))), "{refused:?}");
}

#[tokio::test]
async fn a_nearly_full_disk_refuses_appends_and_takes_them_again_when_there_is_room() {
    let cell = Cell::new().await;
    let node = filled(&cell).await;
    cell.free_bytes.store(50, Ordering::SeqCst);
    node.keep_house_now().await;
    assert!(!node.is_accepting());
    assert_eq!(try_append(&node, partition(1, 0), &Batch::of(&["x"])).await, Err(AppendError::Refused));
    assert_eq!(read_all(&node, partition(1, 0), 0).await.len(), 10);
    cell.free_bytes.store(u64::MAX, Ordering::SeqCst);
    node.keep_house_now().await;
    assert_eq!(append_value(&node, partition(1, 0), "x").await, 10);
    node.shutdown().await;
}

#[tokio::test]
async fn section_6_6_a_metadata_store_that_went_back_in_time_is_refused() {
    let mut cell = Cell::new().await;
    let node = filled(&cell).await;
    node.flush_now().await.expect("the flush succeeds");
    node.halt().await;
    let older = Cell::new().await;
    cell.store = std::sync::Arc::clone(&older.store);
    assert!(matches!(cell.try_start().await.err(), Some(StartError::MetadataWentBack { .. })));
}

#[tokio::test]
async fn section_5_a_restart_works_through_an_outage_of_the_object_store() {
    let cell = Cell::new().await;
    let node = filled(&cell).await;
    node.flush_now().await.expect("the flush succeeds");
    node.write_manifests_now().await.expect("the manifests are written");
    append_value(&node, partition(1, 0), "flushed").await;
    node.flush_now().await.expect("the flush succeeds");
    append_value(&node, partition(1, 0), "unflushed").await;
    node.halt().await;
    cell.objects.fail_all(Some(headgate_log::store::Fault::Unavailable));
    let node = cell.start().await;
    assert_eq!(append_value(&node, partition(1, 0), "new").await, 12);
    assert_eq!(try_read(&node, partition(1, 0), 0).await.err(), Some(ReadError::Unreadable));
    assert_eq!(read_all(&node, partition(1, 0), 11).await.len(), 2);
    cell.objects.fail_all(None);
    assert_eq!(read_all(&node, partition(1, 0), 0).await.len(), 13);
    node.shutdown().await;
}

#[tokio::test]
async fn a_start_that_fails_half_way_may_be_repeated() {
    let cell = Cell::new().await;
    let node = filled(&cell).await;
    node.flush_now().await.expect("the flush succeeds");
    append_value(&node, partition(1, 0), "unflushed").await;
    node.halt().await;
    cell.objects.fail_all(Some(headgate_log::store::Fault::Unavailable));
    forget_copies(&cell);
    for _ in 0..3 {
        let failed = cell.try_start().await.err();
        assert!(matches!(failed, Some(StartError::Object(_))), "{failed:?}");
    }
    cell.objects.fail_all(None);
    let node = cell.start().await;
    assert_eq!(read_all(&node, partition(1, 0), 0).await.len(), 11);
    node.shutdown().await;
}

#[tokio::test]
async fn a_clean_stop_answers_what_was_queued_and_refuses_what_comes_later() {
    let cell = Cell::new().await;
    let node = filled(&cell).await;
    node.shutdown().await;
    assert_eq!(try_append(&node, partition(1, 0), &Batch::of(&["late"])).await, Err(AppendError::Refused));
    let node = cell.start().await;
    assert_eq!(read_all(&node, partition(1, 0), 0).await.len(), 10);
    node.shutdown().await;
}

#[tokio::test]
async fn without_syncs_a_power_cut_below_what_is_flushed_loses_nothing_flushed_and_the_node_starts() {
    let mut cell = Cell::new().await;
    cell.config.wal_sync = headgate_storage::config::WalSync::Os;
    let node = filled(&cell).await;
    node.flush_now().await.expect("the flush succeeds");
    node.halt().await;
    cell.disk.crash(3);
    let node = cell.start().await;
    assert_eq!(read_all(&node, partition(1, 0), 0).await.len(), 10);
    assert_eq!(append_value(&node, partition(1, 0), "next").await, 10);
    node.shutdown().await;
}

#[tokio::test]
async fn a_disk_without_room_for_the_next_chunk_refuses_and_takes_appends_again_when_there_is_room() {
    let cell = Cell::new().await;
    let node = filled(&cell).await;
    cell.disk.set_capacity(Some(0));
    let large = "x".repeat(30_000);
    let mut taken = 10;
    let refused = loop {
        match try_append(&node, partition(1, 0), &Batch::of(&[&large])).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::Refused);
    assert!(!cell.stopped.load(Ordering::SeqCst), "a full disk stops nobody");
    assert_eq!(read_all(&node, partition(1, 0), 0).await.len() as u64, taken);
    cell.disk.set_capacity(None);
    assert_eq!(append_value(&node, partition(1, 0), &large).await, taken);
    node.halt().await;
    let node = cell.start().await;
    assert_eq!(read_all(&node, partition(1, 0), 0).await.len() as u64, taken + 1);
    node.shutdown().await;
}

#[tokio::test]
async fn a_wrong_byte_before_the_checksum_of_a_batch_in_an_object_is_never_served() {
    use headgate_storage_client::OffsetQuery;
    // Base offset, length (made nonsense, and made too long), leader epoch, magic.
    for byte in [7, 8, 11, 15, 16] {
        let mut cell = Cell::new().await;
        cell.config.tail_bytes_max = 0;
        let node = filled(&cell).await;
        node.flush_now().await.expect("the flush succeeds");
        let paths = cell.objects.paths().await;
        let path = paths.iter().find(|path| path.starts_with("flush/")).expect("there is a flush object");
        let name = headgate_log::object::ObjectName::parse(path).expect("a plain name");
        assert!(cell.objects.flip_bit(&name, byte, 6).await);
        assert_eq!(try_read(&node, partition(1, 0), 0).await.err(), Some(ReadError::Corrupt), "byte {byte}");
        let at = OffsetQuery::AtLeast(support::START_MS as i64);
        let found = node.offsets_at(&caller(cluster(1)), partition(1, 0), at).await;
        assert_eq!(found.err(), Some(ReadError::Corrupt), "byte {byte}");
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_length_that_rotted_to_nothing_ends_a_search_by_time() {
    use headgate_storage_client::OffsetQuery;
    let mut cell = Cell::new().await;
    cell.config.tail_bytes_max = 0;
    cell.config.chunk_bytes = 1 << 20;
    let node = cell.start().await;
    for _ in 0..12 {
        append_value(&node, partition(1, 0), &"x".repeat(30_000)).await;
    }
    node.flush_now().await.expect("the flush succeeds");
    let paths = cell.objects.paths().await;
    let path = paths.iter().find(|path| path.starts_with("flush/")).expect("there is a flush object");
    let name = headgate_log::object::ObjectName::parse(path).expect("a plain name");
    // The first batch's length field: 30 060 or so becomes less than a header.
    let bits = Batch::of(&[&"x".repeat(30_000)]).bytes()[8..12].to_vec();
    for (index, byte) in bits.iter().enumerate() {
        for bit in (0..8).filter(|bit| byte >> bit & 1 == 1) {
            assert!(cell.objects.flip_bit(&name, 8 + index, bit).await);
        }
    }
    let at = OffsetQuery::AtLeast(support::START_MS as i64);
    assert_eq!(
        node.offsets_at(&caller(cluster(1)), partition(1, 0), at).await.err(),
        Some(ReadError::Corrupt)
    );
    assert_eq!(try_read(&node, partition(1, 0), 0).await.err(), Some(ReadError::Corrupt));
    node.shutdown().await;
}
