//! Torn ends are cut in memory alone; what was durable and is not there stops the reading.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use headgate_log::object::ObjectError;
use headgate_log::store::StoreError;
use headgate_log::wal::WalReadError;
use headgate_metadata::keys;
use headgate_metadata::record::{FlushedRecord, Record as _, SlotRecord, WalState};
use headgate_metering::read::ReadUsageError;

use crate::cell::{Cell, SLOT, START, after, partition, wal};
use crate::{check_live, some_use};

fn overwrite(path: &std::path::Path, at: u64) {
    let file = OpenOptions::new().write(true).open(path).expect("the chunk exists");
    file.write_all_at(b"torn", at).expect("writable");
}

/// Where the next byte of the last chunk would lie.
fn offset_in_chunk(cell: &Cell) -> u64 {
    let name = cell.last_chunk();
    let start: u64 = name.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).expect("a chunk's name");
    cell.end().get() - start
}

#[tokio::test]
async fn a_torn_end_is_not_counted_and_stays_where_it_is() {
    let mut cell = Cell::start().await;
    some_use(&mut cell, 0);
    cell.sync();
    let before = cell.counted.clone();
    cell.append(partition(1, 0), 150, after(20_000));
    let torn_at = offset_in_chunk(&cell) - 3;
    overwrite(&cell.last_chunk(), torn_at);
    cell.counted = before;
    check_live(&cell, START).await;
}

#[tokio::test]
async fn a_group_cut_off_in_its_header_is_not_counted() {
    let mut cell = Cell::start().await;
    some_use(&mut cell, 0);
    let at = offset_in_chunk(&cell);
    overwrite(&cell.last_chunk(), at);
    check_live(&cell, START).await;
}

#[tokio::test]
async fn what_lies_above_a_recorded_end_is_not_counted() {
    let mut cell = Cell::start().await;
    some_use(&mut cell, 0);
    let (end, before) = (cell.end(), cell.counted.clone());
    cell.append(partition(1, 0), 100, after(20_000));
    cell.put_wal(wal(1), WalState::Sealed { end }).await;
    cell.counted = before;
    check_live(&cell, START).await;
}

#[tokio::test]
async fn a_wrong_byte_below_what_was_synced_stops_the_reading() {
    let mut cell = Cell::start().await;
    some_use(&mut cell, 0);
    cell.sync();
    let at = offset_in_chunk(&cell) - 20;
    let damaged = cell.last_chunk();
    cell.append(partition(1, 0), 100, after(20_000));
    assert_eq!(cell.last_chunk(), damaged, "the group that proves the sync lies in the same chunk");
    overwrite(&damaged, at);
    let refused = cell.usages().await.expect_err("the log is damaged");
    let text = refused.to_string();
    assert!(text.contains("corrupt") || text.contains("checksum"), "{text}");
}

#[tokio::test]
async fn a_wal_that_is_not_on_this_disk_is_missed_if_anything_of_it_counts() {
    let mut cell = Cell::start().await;
    some_use(&mut cell, 0);
    cell.restart().await;
    headgate_log::wal::remove_wal(&*cell.disk, &cell.root(), wal(1)).expect("the disk works");
    let refused = cell.usages().await.expect_err("the log is gone");
    assert!(matches!(refused, ReadUsageError::WalShort { .. }), "{refused}");
}

#[tokio::test]
async fn a_wal_that_ends_below_what_is_flushed_is_of_another_disk() {
    let mut cell = Cell::start().await;
    some_use(&mut cell, 0);
    let position = cell.end().plus(1);
    cell.put(keys::flushed(wal(1)), FlushedRecord { position }.encode()).await;
    let refused = cell.usages().await.expect_err("the log is short");
    assert!(
        matches!(refused, ReadUsageError::WalShort { expected, .. } if expected == position),
        "{refused}"
    );
}

#[tokio::test]
async fn a_chunk_that_was_trimmed_before_its_flush_counted_is_missed() {
    let mut cell = Cell::start().await;
    some_use(&mut cell, 0);
    headgate_log::wal::remove_chunks_below(&*cell.disk, &cell.root(), wal(1), cell.end())
        .expect("the disk works");
    let refused = cell.usages().await.expect_err("the log has a hole");
    assert!(matches!(
        refused,
        ReadUsageError::WalShort { .. } | ReadUsageError::Wal(WalReadError::Trimmed { .. })
    ));
}

#[tokio::test]
async fn a_missing_manifest_is_missed() {
    let mut cell = Cell::start().await;
    some_use(&mut cell, 0);
    cell.flush(1).await;
    cell.write_manifest().await;
    let slot = cell.slot().await;
    cell.put_slot(SLOT, &SlotRecord { manifest: None, ..slot.clone() }).await;
    assert!(matches!(cell.usages().await, Err(ReadUsageError::NoManifest(SLOT))));
    let manifest = Some("manifest/00003/0000000001-00000000000000ff".to_owned());
    cell.put_slot(SLOT, &SlotRecord { manifest, ..slot }).await;
    let refused = cell.usages().await.expect_err("there is no such object");
    assert!(
        matches!(refused, ReadUsageError::Object(ObjectError::Store(StoreError::NotFound { .. }))),
        "{refused}"
    );
}

#[tokio::test]
async fn a_slot_of_an_unknown_wal_is_refused() {
    let cell = Cell::start().await;
    let slot = cell.slot().await;
    cell.put_slot(SLOT, &SlotRecord { owner: wal(8), ..slot }).await;
    assert!(matches!(cell.usages().await, Err(ReadUsageError::WalUnknown { slot: SLOT, .. })));
}
