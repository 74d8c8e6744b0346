//! What a WAL promises across crashes, rot and failing disks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use headgate_metadata::id::{Incarnation, TimestampMs, WalId, WalPosition};

use crate::disk::{Disk, ForgetfulDisk, LocalDisk};
use crate::fixture::{Batch, ROOT, TestWal, at, stamp, state, wal_id};
use crate::wal::{
    CopiedGroup, CopyError, RecordHeader, RecordKind, WalCopy, WalReadError, WalReader, WalReaderConfig,
    WalScan, WalWriteError, WalWriter, WalWriterConfig, is_poisoned, is_whole, list_chunks, list_wals,
    read_groups, remove_chunks_below, remove_wal, rewrite_poisoned, wal_dir,
};

fn scan(wal: &TestWal, sealed_end: Option<WalPosition>) -> Result<WalScan, WalReadError> {
    WalScan::open(wal.shared_disk(), Path::new(ROOT), wal_id(), sealed_end)
}

fn records(scan: &WalScan) -> Vec<RecordHeader> {
    let records = scan.records(scan.start()).expect("nothing below the start is asked for");
    records.map(|record| record.expect("the scan accepted the log")).collect()
}

fn offsets(scan: &WalScan) -> Vec<u64> {
    let base = |record: RecordHeader| match record.kind {
        RecordKind::Batch(meta) => Some(meta.base_offset.get()),
        RecordKind::State { .. } => None,
    };
    records(scan).into_iter().filter_map(base).collect()
}

fn chunk_files(wal: &TestWal) -> Vec<PathBuf> {
    let chunks = list_chunks(&wal.disk, Path::new(ROOT), wal_id()).expect("no fault is set");
    chunks.into_iter().map(|chunk| chunk.path).collect()
}

fn assert_corrupt(result: Result<WalScan, WalReadError>, context: &str) {
    match result {
        Err(WalReadError::Corrupt(_)) => {}
        other => panic!("corruption was expected: {context}: {other:?}"),
    }
}

#[test]
fn what_is_written_is_read_back_in_order_with_its_payload() {
    let mut wal = TestWal::new(4096);
    let batches: Vec<Batch> = (0..100).map(|offset| Batch::at(offset % 3, u64::from(offset))).collect();
    for pair in batches.chunks(2) {
        wal.write(pair);
    }
    wal.sync();
    let scan = scan(&wal, None).expect("nothing is wrong");
    assert_eq!(scan.end(), wal.writer.position());
    assert!(scan.chunks().len() > 3, "the log spans several chunks");
    let reader = WalReader::new(wal.shared_disk(), Path::new(ROOT), WalReaderConfig { open_files_max: 2 });
    let found = records(&scan);
    assert_eq!(found.len(), batches.len());
    for (record, batch) in found.iter().zip(&batches) {
        assert_eq!(record.kind, RecordKind::Batch(batch.meta.clone()));
        let place = record.place;
        let payload = reader.read(wal_id(), place.payload_position, place.payload_bytes as usize);
        assert_eq!(payload.expect("the chunk is there"), batch.bytes());
    }
}

#[test]
fn a_written_group_gives_back_headers_and_records_in_the_order_they_were_pushed() {
    let mut wal = TestWal::new(4096);
    let (first, second) = (Batch::at(0, 0), Batch::at(1, 0));
    let mut group = wal.begin();
    let places = [
        first.push_to(&mut group, &stamp(1, 1, 1)),
        group.push_state(&stamp(1, 1, 1), &state(1, b"k", None)),
        second.push_to(&mut group, &stamp(1, 1, 1)),
    ];
    let bytes = group.bytes();
    let written = wal.writer.write(group).expect("no fault is set");
    assert_eq!(written.end, at(bytes));
    let [one, two] = &written.batches[..] else { panic!("two batches were pushed") };
    assert_eq!((one.place, two.place), (places[0], places[2]));
    assert_eq!((&one.header[..], &one.records[..]), (&first.header()[..], &first.records[..]));
    assert_eq!((&two.header[..], &two.records[..]), (&second.header()[..], &second.records[..]));
}

#[test]
fn a_group_never_crosses_chunks_and_an_oversized_one_gets_its_own() {
    let mut wal = TestWal::new(1024);
    wal.write(&[Batch::at(0, 0).records(100)]);
    wal.write(&[Batch::at(0, 1).records(5000)]);
    wal.write(&[Batch::at(0, 2).records(100)]);
    wal.sync();
    assert_eq!(chunk_files(&wal).len(), 3);
    assert_eq!(offsets(&scan(&wal, None).expect("nothing is wrong")), [0, 1, 2]);
}

#[test]
fn a_clean_stop_proves_everything_and_is_seen() {
    let mut wal = TestWal::new(4096);
    wal.write(&[Batch::at(0, 0)]);
    wal.write(&[Batch::at(0, 1)]);
    let TestWal { disk, writer } = wal;
    let before = writer.position();
    let end = writer.close_clean(TimestampMs::new(6_000)).expect("no fault is set");
    let scan = WalScan::open(Arc::new(disk), Path::new(ROOT), wal_id(), None).expect("nothing is wrong");
    assert!(scan.closed_clean());
    assert_eq!((scan.end(), scan.synced_through()), (end, before));
    assert_eq!(offsets(&scan), [0, 1]);
}

/// The heart of it: whatever a crash takes, synced groups are read back, and what is read back is a prefix of whole
/// groups.
#[test]
fn a_crash_at_any_of_1000_points_loses_no_synced_record_and_leaves_whole_groups() {
    for seed in 0..1000_u64 {
        let mut wal = TestWal::new(2048 + seed % 7 * 512);
        let groups = 1 + seed % 23;
        let mut synced_groups = 0;
        let mut ends = vec![at(0)];
        for group in 0..groups {
            let batches =
                [Batch::at(0, group * 2), Batch::at(0, group * 2 + 1).records((seed * 37 % 900) as usize)];
            ends.push(wal.write(&batches));
            if (seed >> (group % 11)) & 1 == 1 {
                wal.sync();
                synced_groups = group + 1;
            }
        }
        wal.disk.crash(seed);
        let scan = scan(&wal, None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(scan.end() >= ends[synced_groups as usize], "seed {seed}");
        let kept = ends.iter().position(|end| *end == scan.end());
        let kept = kept.unwrap_or_else(|| panic!("seed {seed}: the end is not between groups")) as u64;
        assert_eq!(offsets(&scan), (0..kept * 2).collect::<Vec<_>>(), "seed {seed}");
        // Sealed at that end, the next start finds the same.
        scan.sync().expect("no fault is set");
        let again = WalScan::open(wal.shared_disk(), Path::new(ROOT), wal_id(), Some(scan.end()));
        assert_eq!(again.expect("nothing changed").end(), scan.end(), "seed {seed}");
    }
}

#[test]
fn a_unit_of_state_records_is_there_whole_or_not_at_all() {
    for seed in 0..200 {
        let mut wal = TestWal::new(1 << 16);
        let mut group = wal.begin();
        for number in 0..20_u8 {
            group.push_state(&stamp(1, 1, 1), &state(1, &[number; 60], Some(&[number; 60])));
        }
        wal.writer.write(group).expect("no fault is set");
        wal.disk.crash(seed);
        let found = records(&scan(&wal, None).expect("a torn end is no corruption")).len();
        assert!(found == 0 || found == 20, "seed {seed}: {found} of 20");
    }
}

#[test]
fn any_bit_flip_below_the_last_synced_through_is_corruption_or_found_when_read() {
    let mut wal = TestWal::new(2048);
    for offset in 0..12 {
        wal.write(&[Batch::at(0, offset)]);
        wal.sync();
    }
    let proven = scan(&wal, None).expect("nothing is wrong").synced_through();
    let files = list_chunks(&wal.disk, Path::new(ROOT), wal_id()).expect("no fault is set");
    for position in 0..proven.get() {
        let chunk = files.iter().rfind(|chunk| chunk.start.get() <= position).expect("a chunk holds it");
        let offset = position - chunk.start.get();
        assert!(wal.disk.flip_bit(&chunk.path, offset, (position % 8) as u8));
        let noticed = match scan(&wal, None) {
            Err(WalReadError::Corrupt(_)) => true,
            Err(other) => panic!("position {position}: {other}"),
            Ok(scan) => {
                assert!(scan.end() >= proven, "position {position}: synced bytes were cut");
                reading_notices(&wal, &scan)
            }
        };
        assert!(noticed, "position {position}");
        wal.disk.flip_bit(&chunk.path, offset, (position % 8) as u8);
    }
}

/// Whether a header does not decode or a payload does not carry its sum.
fn reading_notices(wal: &TestWal, scan: &WalScan) -> bool {
    let reader = WalReader::new(wal.shared_disk(), Path::new(ROOT), WalReaderConfig::default());
    scan.records(at(0)).expect("nothing was trimmed").any(|record| match record {
        Err(error) => matches!(error, WalReadError::Corrupt(_)),
        Ok(record) => {
            let place = record.place;
            let payload = reader.read(wal_id(), place.payload_position, place.payload_bytes as usize);
            !record.payload_holds(&payload.expect("the chunk is there"))
        }
    })
}

#[test]
fn a_bad_group_above_the_last_synced_through_is_cut_with_all_that_follows() {
    let mut wal = TestWal::new(1 << 16);
    wal.write(&[Batch::at(0, 0)]);
    wal.sync();
    let second = wal.write(&[Batch::at(0, 1)]);
    let third = wal.write(&[Batch::at(0, 2)]);
    wal.write(&[Batch::at(0, 3)]);
    wal.sync();
    // The last byte of the third group: part of a batch's records.
    assert!(wal.disk.flip_bit(&chunk_files(&wal)[0], third.get() - 1, 0));
    let scan = scan(&wal, None).expect("nothing proves that the third group was synced");
    assert_eq!(scan.end(), second);
    assert_eq!(offsets(&scan), [0, 1]);
}

#[test]
fn a_later_group_that_says_synced_turns_a_hole_into_corruption_and_names_file_and_position() {
    let mut wal = TestWal::new(1 << 16);
    let first = wal.write(&[Batch::at(0, 0)]);
    wal.write(&[Batch::at(0, 1)]);
    wal.sync();
    wal.write(&[Batch::at(0, 2)]);
    // The second group's magic.
    assert!(wal.disk.flip_bit(&chunk_files(&wal)[0], first.get(), 0));
    let error = scan(&wal, None).expect_err("the third group proves the second");
    let WalReadError::Corrupt(corruption) = &error else { panic!("{error}") };
    assert_eq!(corruption.position, first);
    assert!(corruption.file.ends_with("00000000000000000000.chunk"), "{error}");
}

#[test]
fn a_later_chunk_proves_all_of_the_chunk_before_it() {
    let mut wal = TestWal::new(1024);
    wal.write(&[Batch::at(0, 0).records(600)]);
    wal.write(&[Batch::at(0, 1).records(600)]);
    let files = chunk_files(&wal);
    assert_eq!(files.len(), 2);
    wal.disk.flip_bit(&files[0], 3, 1);
    assert_corrupt(scan(&wal, None), "group header in the first of two chunks");
}

#[test]
fn a_missing_chunk_in_the_middle_is_corruption() {
    let mut wal = TestWal::new(1024);
    for offset in 0..3 {
        wal.write(&[Batch::at(0, offset).records(600)]);
    }
    wal.sync();
    wal.disk.remove(&chunk_files(&wal)[1]).expect("no fault is set");
    assert_corrupt(scan(&wal, None), "the second of three chunks is gone");
}

#[test]
fn a_log_that_ends_below_its_recorded_end_is_corruption() {
    let mut wal = TestWal::new(1 << 16);
    let end = wal.write(&[Batch::at(0, 0)]);
    wal.sync();
    assert_corrupt(scan(&wal, Some(at(end.get() + 100))), "sealed above what is there");
    let first_half = scan(&wal, Some(at(end.get() - 1)));
    assert_corrupt(first_half, "sealed inside a group");
}

#[test]
fn bytes_above_the_recorded_end_are_not_part_of_the_log() {
    let mut wal = TestWal::new(1 << 16);
    let first = wal.write(&[Batch::at(0, 0)]);
    wal.write(&[Batch::at(0, 1)]);
    wal.sync();
    let scan = scan(&wal, Some(first)).expect("nothing is wrong below the end");
    assert_eq!(scan.end(), first);
    assert_eq!(offsets(&scan), [0]);
}

#[test]
fn records_are_read_from_any_group_boundary_on() {
    let mut wal = TestWal::new(2048);
    let ends: Vec<WalPosition> = (0..20).map(|offset| wal.write(&[Batch::at(0, offset)])).collect();
    wal.sync();
    let scan = scan(&wal, None).expect("nothing is wrong");
    for (index, end) in ends.iter().enumerate() {
        let count = scan.records(*end).expect("nothing was trimmed").count();
        assert_eq!(count, 19 - index);
    }
}

#[test]
fn a_failed_sync_stops_the_writer_and_marks_the_copy() {
    let mut wal = TestWal::new(1 << 16);
    wal.write(&[Batch::at(0, 0)]);
    let durable = wal.sync();
    wal.write(&[Batch::at(0, 1)]);
    wal.disk.fail_syncs(true);
    assert!(matches!(wal.writer.sync(), Err(WalWriteError::Failed(_))));
    wal.disk.fail_syncs(false);
    assert!(matches!(wal.writer.sync(), Err(WalWriteError::Failed(_))), "a later sync proves nothing");
    assert_eq!(wal.writer.synced_through(), durable);
    let group = wal.begin();
    assert!(matches!(wal.writer.write(group), Err(WalWriteError::Failed(_))));
    assert!(is_poisoned(&wal.disk, Path::new(ROOT), wal_id()).expect("no fault is set").is_some());
}

#[test]
fn a_poisoned_single_copy_is_rewritten_and_then_survives_a_crash() {
    let mut wal = TestWal::new(1 << 16);
    wal.write(&[Batch::at(0, 0)]);
    wal.disk.fail_syncs(true);
    assert!(wal.writer.sync().is_err());
    wal.disk.fail_syncs(false);
    rewrite_poisoned(&wal.disk, Path::new(ROOT), wal_id()).expect("no fault is set");
    wal.disk.crash(1);
    assert!(is_poisoned(&wal.disk, Path::new(ROOT), wal_id()).expect("no fault is set").is_none());
    assert_eq!(offsets(&scan(&wal, None).expect("nothing is wrong")), [0]);
}

#[test]
fn a_failed_write_stops_the_writer_and_tears_nothing_before_it() {
    let mut wal = TestWal::new(1 << 16);
    wal.write(&[Batch::at(0, 0)]);
    wal.sync();
    wal.disk.fail_writes(true);
    let mut group = wal.begin();
    Batch::at(0, 1).push_to(&mut group, &stamp(3, 1, 1));
    assert!(matches!(wal.writer.write(group), Err(WalWriteError::Failed(_))));
    assert_eq!(offsets(&scan(&wal, None).expect("the half group is a torn end")), [0]);
}

#[test]
fn a_full_disk_refuses_the_next_chunk_and_the_writer_goes_on_when_there_is_room() {
    let mut wal = TestWal::new(1024);
    wal.write(&[Batch::at(0, 0).records(700)]);
    wal.disk.set_capacity(Some(1024));
    let mut group = wal.begin();
    Batch::at(0, 1).records(700).push_to(&mut group, &stamp(3, 1, 1));
    assert!(matches!(wal.writer.write(group), Err(WalWriteError::Full(_))));
    wal.disk.set_capacity(None);
    wal.write(&[Batch::at(0, 1).records(700)]);
    wal.sync();
    assert_eq!(offsets(&scan(&wal, None).expect("nothing is wrong")), [0, 1]);
}

#[test]
fn a_group_for_another_position_is_refused_and_nothing_is_written() {
    let mut wal = TestWal::new(1 << 16);
    let stale = wal.begin();
    let end = wal.write(&[Batch::at(0, 0)]);
    assert_eq!(wal.writer.write(stale), Err(WalWriteError::Misplaced { group: at(0), writer: end }));
    assert_eq!(wal.writer.position(), end);
}

#[test]
fn trimming_removes_only_chunks_wholly_below_and_readers_keep_what_they_opened() {
    let mut wal = TestWal::new(1024);
    let ends: Vec<WalPosition> =
        (0..3).map(|offset| wal.write(&[Batch::at(0, offset).records(600)])).collect();
    wal.sync();
    let root = Path::new(ROOT);
    let reader = WalReader::new(wal.shared_disk(), root, WalReaderConfig::default());
    reader.read(wal_id(), at(0), 10).expect("the chunk is there");
    let none =
        remove_chunks_below(&wal.disk, root, wal_id(), at(ends[0].get() - 1)).expect("no fault is set");
    assert!(none.is_empty());
    let gone = remove_chunks_below(&wal.disk, root, wal_id(), ends[2]).expect("no fault is set");
    assert_eq!(gone.iter().map(|chunk| chunk.start).collect::<Vec<_>>(), [at(0), ends[0]]);
    let scan = scan(&wal, None).expect("nothing is wrong");
    assert_eq!((scan.start(), scan.end()), (ends[1], ends[2]));
    assert!(matches!(scan.records(at(0)), Err(WalReadError::Trimmed { .. })));
    reader.forget(wal_id());
    assert!(matches!(reader.read(wal_id(), at(0), 10), Err(WalReadError::Trimmed { .. })));
    remove_wal(&wal.disk, root, wal_id()).expect("no fault is set");
    assert_eq!(list_wals(&wal.disk, root).expect("no fault is set"), []);
}

#[test]
fn a_reader_follows_the_writer_into_a_chunk_that_did_not_exist_when_it_first_read() {
    let mut wal = TestWal::new(1 << 16);
    let first = wal.write(&[Batch::at(0, 0)]);
    let reader = WalReader::new(wal.shared_disk(), Path::new(ROOT), WalReaderConfig::default());
    reader.read(wal_id(), at(0), 64).expect("the chunk is there");
    wal.writer.roll().expect("no fault is set");
    wal.write(&[Batch::at(0, 1)]);
    let header = reader.read(wal_id(), first, 8).expect("the new chunk is there");
    assert_eq!(header, Bytes::from_static(b"HGWALGRP"));
}

#[test]
fn an_empty_directory_is_an_empty_log_or_one_that_was_trimmed_to_its_end() {
    let wal = TestWal::new(1024);
    let empty = scan(&wal, None).expect("nothing is wrong");
    assert_eq!((empty.start(), empty.end()), (at(0), at(0)));
    let trimmed = scan(&wal, Some(at(4096))).expect("nothing is wrong");
    assert_eq!((trimmed.start(), trimmed.end()), (at(4096), at(4096)));
}

#[test]
fn the_real_disk_takes_groups_of_more_slices_than_one_write_can_carry() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let root = dir.path().join("wal");
    let config = WalWriterConfig { chunk_bytes: 1 << 20 };
    let mut writer = WalWriter::create(Arc::clone(&disk), &root, wal_id(), config).expect("the disk works");
    let mut group = writer.begin_group(TimestampMs::new(1));
    let batches: Vec<Batch> = (0..3000).map(|offset| Batch::at(0, offset)).collect();
    for batch in &batches {
        batch.push_to(&mut group, &stamp(3, 1, 1));
    }
    writer.write(group).expect("the disk works");
    let end = writer.close_clean(TimestampMs::new(2)).expect("the disk works");
    let scan = WalScan::open(Arc::clone(&disk), &root, wal_id(), None).expect("nothing is wrong");
    assert_eq!(scan.end(), end);
    assert_eq!(offsets(&scan), (0..3000).collect::<Vec<_>>());
    let chunk = &scan.chunks()[0];
    assert_eq!(scan.chunk_started(chunk), Ok(TimestampMs::new(1)));
    rewrite_poisoned(&*disk, &root, wal_id()).expect("the disk works");
    assert_eq!(WalScan::open(disk, &root, wal_id(), Some(end)).expect("nothing is wrong").end(), end);
}

/// Two groups as their owner streams them, the end of the first and that of the second.
fn two_groups() -> (Vec<CopiedGroup>, WalPosition, WalPosition) {
    let mut wal = TestWal::new(4096);
    let (first, end) = (wal.write(&[Batch::at(0, 0)]), wal.write(&[Batch::at(0, 1)]));
    wal.sync();
    let groups = read_groups(&wal.disk, Path::new(ROOT), wal_id(), at(0), end, 1 << 20);
    (groups.expect("no fault is set"), first, end)
}

#[test]
fn section_4_a_copy_that_promised_is_replaced_whole_and_its_promise_stays() {
    let (groups, short, end) = two_groups();
    let disk: Arc<dyn Disk> = Arc::new(ForgetfulDisk::new());
    let root = Path::new("/copies");
    let mut copy = WalCopy::open(Arc::clone(&disk), root, wal_id(), at(0)).expect("no fault is set");
    copy.append(&groups[0]).expect("it follows");
    copy.finish().expect("no fault is set");
    assert_eq!(copy.promise(), Ok(short));
    assert_eq!(copy.append(&groups[1]), Err(CopyError::Promised(wal_id())));
    let mut copy = WalCopy::replace(Arc::clone(&disk), root, wal_id(), at(0)).expect("no fault is set");
    assert!(!is_whole(&*disk, root, wal_id()).expect("no fault is set"));
    groups.iter().try_for_each(|group| copy.append(group)).expect("they follow");
    copy.finish().expect("no fault is set");
    assert!(is_whole(&*disk, root, wal_id()).expect("no fault is set"));
    let scan = WalScan::open(Arc::clone(&disk), root, wal_id(), None).expect("nothing is wrong");
    assert_eq!(scan.end(), end);
    let refused = WalCopy::open(disk, root, wal_id(), at(0)).map(|copy| copy.held());
    assert_eq!(refused, Err(CopyError::Promised(wal_id())));
}

#[test]
fn section_4_a_disk_that_was_lost_is_not_taken_for_a_copy_that_holds_nothing() {
    let disk: Arc<dyn Disk> = Arc::new(ForgetfulDisk::new());
    let root = Path::new("/copies");
    let is_whole_copy = || is_whole(&*disk, root, wal_id()).expect("no fault is set");
    assert!(!is_whole_copy(), "there is no directory");
    disk.create_dir(&wal_dir(root, wal_id())).expect("no fault is set");
    assert!(!is_whole_copy(), "a crash left it before it was marked");
    let mut copy = WalCopy::open(Arc::clone(&disk), root, wal_id(), at(0)).expect("no fault is set");
    assert!(!is_whole_copy(), "it is catching up");
    copy.finish().expect("no fault is set");
    assert!(is_whole_copy(), "a member that was sent nothing");
    let other = WalId { incarnation: Incarnation::new(77), ..wal_id() };
    let config = WalWriterConfig { chunk_bytes: 1 << 16 };
    WalWriter::create(Arc::clone(&disk), root, other, config).expect("no fault is set");
    assert!(is_whole(&*disk, root, other).expect("no fault is set"), "an owner that wrote nothing");
}

#[test]
fn section_4_a_copy_fetched_in_part_goes_on_as_what_it_is_until_its_owner_says_it_is_whole() {
    let (groups, part, _) = two_groups();
    let disk: Arc<dyn Disk> = Arc::new(ForgetfulDisk::new());
    let root = Path::new("/copies");
    let open = || WalCopy::open(Arc::clone(&disk), root, wal_id(), at(0)).expect("no fault is set");
    let is_whole_copy = || is_whole(&*disk, root, wal_id()).expect("no fault is set");
    let mut copy = open();
    copy.append(&groups[0]).expect("it follows");
    copy.finish_part().expect("no fault is set");
    assert!(copy.is_unfinished() && !is_whole_copy());

    let mut copy = open();
    assert_eq!(copy.held(), part, "what was fetched is taken up");
    assert!(copy.is_unfinished() && !is_whole_copy());
    copy.append(&groups[1]).expect("it follows");
    copy.finish().expect("no fault is set");
    assert!(!copy.is_unfinished() && is_whole_copy());

    let mut copy = open();
    copy.finish_part().expect("no fault is set");
    assert!(!copy.is_unfinished() && is_whole_copy(), "what was whole stays whole");
}
