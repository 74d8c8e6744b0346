//! What flush objects promise: all records of the stretch, sorted, verified, described.

use std::path::Path;

use headgate_metadata::id::{
    ByteCount, KeyId, Offset, PartitionKey, SlotEpoch, SlotId, TimestampMs, WalPosition,
};

use crate::fixture::{Batch, ROOT, TestWal, at, partition, stamp, state, wal_id};
use crate::object::{
    AbortedInRun, FlushError, FlushObject, ObjectError, ObjectReader, SPARSE_INDEX_BYTES, SequencedBatch,
    build_flush,
};
use crate::state_record::{LOG_START, LogStart};
use crate::store::{CopiesConfig, Fault, FaultyObjects};
use crate::usage::StoredBytes;
use crate::wal::{BatchControl, Stamp, WalReadError, list_chunks};

fn flush(wal: &TestWal, start: WalPosition, end: WalPosition) -> Result<FlushObject, FlushError> {
    build_flush(&wal.shared_disk(), Path::new(ROOT), wal_id(), start, end, 0xabc)
}

fn flush_all(wal: &TestWal) -> FlushObject {
    flush(wal, at(0), wal.writer.position()).expect("nothing is wrong")
}

/// Writes each batch in a group of its own, stamped.
fn write(wal: &mut TestWal, stamped: &[(Stamp, Batch)]) {
    for (stamp, batch) in stamped {
        let mut group = wal.begin();
        batch.push_to(&mut group, stamp);
        wal.writer.write(group).expect("no fault is set");
    }
}

fn write_state(wal: &mut TestWal, stamp: &Stamp, kind: u8, key: &[u8], value: Option<&[u8]>) {
    let mut group = wal.begin();
    group.push_state(stamp, &state(kind, key, value));
    wal.writer.write(group).expect("no fault is set");
}

async fn put(object: &FlushObject) -> (FaultyObjects, ObjectReader) {
    let objects = FaultyObjects::new();
    let store = objects.store();
    store.put(&object.name, object.parts.clone()).await.expect("no fault is set");
    (objects, ObjectReader::new(store, object.name.clone()))
}

fn run_keys(object: &FlushObject) -> Vec<(u16, PartitionKey, u64)> {
    object.index.runs.iter().map(|run| (run.slot.get(), run.partition, run.base_offset.get())).collect()
}

#[tokio::test]
async fn the_batches_of_several_chunks_come_sorted_and_byte_for_byte() {
    let mut wal = TestWal::new(2048);
    let mut expected: Vec<Vec<u8>> = vec![Vec::new(); 3];
    for offset in 0..30 {
        for number in [2, 0, 1] {
            let batch = Batch::at(number, offset);
            expected[number as usize].extend(batch.bytes());
            write(&mut wal, &[(stamp(if number == 2 { 1 } else { 3 }, 1, 50 + offset), batch)]);
        }
    }
    let object = flush_all(&wal);
    assert_eq!(run_keys(&object), [(1, partition(2), 0), (3, partition(0), 0), (3, partition(1), 0)]);
    assert_eq!(object.name.as_str(), "flush/1-7/00000000000000000000-0000000000000abc");
    let (_, reader) = put(&object).await;
    let index = reader.index().await.expect("nothing is wrong");
    assert_eq!(index, object.index);
    for run in &index.runs {
        let bytes = reader.run(run).await.expect("nothing is wrong");
        assert_eq!(bytes, expected[run.partition.partition.get() as usize]);
        assert_eq!(run.billable_bytes, ByteCount::new(bytes.len() as u64));
        assert_eq!((run.next_offset, run.batch_count), (Offset::new(30), 30));
        assert_eq!((run.base_timestamp, run.max_timestamp), (1_000, 1_029));
        assert_eq!(run.max_slot_time, TimestampMs::new(79));
    }
}

#[test]
fn a_flush_of_two_halves_holds_what_a_flush_of_the_whole_holds() {
    let mut wal = TestWal::new(2048);
    let ends: Vec<WalPosition> = (0..20).map(|offset| wal.write(&[Batch::at(0, offset)])).collect();
    for cut in &ends[..19] {
        let first = flush(&wal, at(0), *cut).expect("a group's end is a boundary");
        let second = flush(&wal, *cut, ends[19]).expect("a group's end is a boundary");
        assert_eq!(first.index.runs[0].next_offset, second.index.runs[0].base_offset);
        assert_eq!(second.index.runs[0].next_offset, Offset::new(20));
    }
}

#[test]
fn a_position_inside_a_group_is_refused() {
    let mut wal = TestWal::new(1 << 16);
    let end = wal.write(&[Batch::at(0, 0)]);
    let position = at(end.get() - 1);
    assert!(matches!(flush(&wal, at(0), position), Err(FlushError::NotABoundary { .. })));
    assert!(matches!(flush(&wal, at(64), end), Err(FlushError::Wal(WalReadError::Corrupt(_)))));
}

#[test]
fn bytes_that_were_trimmed_are_said_to_be_trimmed() {
    let mut wal = TestWal::new(1024);
    wal.write(&[Batch::at(0, 0)]);
    let missing = flush(&wal, at(0), at(1 << 20));
    assert!(missing.is_err());
    let empty = TestWal::new(1024);
    assert!(matches!(flush(&empty, at(0), at(10)), Err(FlushError::Wal(WalReadError::Trimmed { .. }))));
}

#[test]
fn every_bit_flip_in_the_stretch_keeps_the_object_from_being_built() {
    let mut wal = TestWal::new(1 << 16);
    wal.write(&[Batch::at(0, 0)]);
    write_state(&mut wal, &stamp(3, 1, 1), 1, b"key", Some(b"value"));
    let end = wal.writer.position();
    let chunk = list_chunks(&wal.disk, Path::new(ROOT), wal_id()).expect("no fault is set").remove(0);
    for bit in 0..end.get() * 8 {
        assert!(wal.disk.flip_bit(&chunk.path, bit / 8, (bit % 8) as u8));
        assert!(flush(&wal, at(0), end).is_err(), "bit {bit}");
        wal.disk.flip_bit(&chunk.path, bit / 8, (bit % 8) as u8);
    }
}

#[test]
fn a_gap_between_offsets_of_one_epoch_is_corruption_but_not_between_epochs() {
    let mut wal = TestWal::new(1 << 16);
    write(&mut wal, &[(stamp(3, 1, 1), Batch::at(0, 0)), (stamp(3, 4, 1), Batch::at(0, 7))]);
    let object = flush_all(&wal);
    let epochs: Vec<SlotEpoch> = object.index.runs.iter().map(|run| run.slot_epoch).collect();
    assert_eq!(epochs, [SlotEpoch::new(1), SlotEpoch::new(4)]);
    write(&mut wal, &[(stamp(3, 4, 1), Batch::at(0, 9))]);
    let gap = flush(&wal, at(0), wal.writer.position());
    assert!(matches!(gap, Err(FlushError::Wal(WalReadError::Corrupt(_)))));
}

#[test]
fn a_run_is_cut_where_a_record_sets_its_counters_and_other_partitions_run_on() {
    let mut wal = TestWal::new(1 << 16);
    write(&mut wal, &[(stamp(3, 1, 1), Batch::at(0, 0)), (stamp(3, 1, 1), Batch::at(1, 0))]);
    let moved = LogStart { partition: partition(0), offset: Offset::new(0), stored: StoredBytes::default() };
    write_state(&mut wal, &stamp(3, 1, 2), LOG_START, &moved.key(), Some(&moved.value()));
    write(&mut wal, &[(stamp(3, 1, 3), Batch::at(0, 1)), (stamp(3, 1, 3), Batch::at(1, 1))]);
    let object = flush_all(&wal);
    assert_eq!(run_keys(&object), [(3, partition(0), 0), (3, partition(0), 1), (3, partition(1), 0)]);
}

#[tokio::test]
async fn state_is_compacted_by_key_into_one_run_a_slot_and_epoch() {
    let mut wal = TestWal::new(1 << 16);
    write_state(&mut wal, &stamp(3, 1, 10), 1, b"a", Some(b"old"));
    write_state(&mut wal, &stamp(3, 1, 11), 1, b"b", Some(b"kept"));
    write_state(&mut wal, &stamp(3, 2, 12), 1, b"a", None);
    write_state(&mut wal, &stamp(5, 1, 13), 1, b"a", Some(b"other slot"));
    write_state(&mut wal, &stamp(3, 1, 14), 1, b"a", Some(b"new"));
    let object = flush_all(&wal);
    let (_, reader) = put(&object).await;
    let mut found = Vec::new();
    for run in &object.index.state_runs {
        let entries = reader.state_run(run).await.expect("nothing is wrong");
        assert_eq!(entries, object.states[&(run.slot, run.slot_epoch)]);
        assert_eq!(entries.last().map(|entry| entry.position), Some(run.last_position));
        let values = entries.into_iter().map(|entry| entry.value.map(|value| value.to_vec()));
        found.push((run.slot.get(), run.slot_epoch.get(), values.collect::<Vec<_>>()));
    }
    let text = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(
        found,
        [(3, 1, vec![text("kept"), text("new")]), (3, 2, vec![None]), (5, 1, vec![text("other slot")]),]
    );
}

#[test]
fn a_run_remembers_the_last_five_batches_of_each_producer_and_forgets_on_a_new_epoch() {
    let mut wal = TestWal::new(1 << 16);
    let first =
        (0..7).map(|offset| (stamp(3, 1, offset), Batch::at(0, offset).producer(1, 0, offset as i32)));
    write(&mut wal, &first.collect::<Vec<_>>());
    write(
        &mut wal,
        &[
            (stamp(3, 1, 20), Batch::at(0, 7).producer(2, 0, 0)),
            (stamp(3, 1, 21), Batch::at(0, 8).producer(2, 1, 0)),
        ],
    );
    let object = flush_all(&wal);
    let [one, two] = &object.index.runs[0].producers[..] else { panic!("two producers wrote") };
    let sequences: Vec<i32> = one.batches.iter().map(|batch| batch.base_sequence).collect();
    assert_eq!((sequences, one.last_slot_time), (vec![2, 3, 4, 5, 6], TimestampMs::new(6)));
    let only = SequencedBatch {
        base_sequence: 0,
        base_offset: Offset::new(8),
        record_count: 1,
        max_timestamp: 1_008,
    };
    assert_eq!((&two.batches[..], two.epoch.get()), (&[only][..], 1));
}

#[test]
fn control_batches_are_free_and_end_transactions() {
    let mut wal = TestWal::new(1 << 16);
    let data = Batch::at(0, 1).producer(1, 0, 0).transactional();
    let data_bytes = data.bytes().len() as u64;
    write(
        &mut wal,
        &[
            (stamp(3, 1, 1), Batch::at(0, 0).producer(1, 0, -1).marker(BatchControl::Abort)),
            (stamp(3, 1, 2), data),
            (stamp(3, 1, 3), Batch::at(0, 2).producer(1, 0, -1).marker(BatchControl::Abort)),
            (stamp(3, 1, 4), Batch::at(0, 3).producer(1, 0, 1).transactional().records(0)),
        ],
    );
    let object = flush_all(&wal);
    let run = &object.index.runs[0];
    assert_eq!(run.billable_bytes.get(), data_bytes + 61);
    let aborted = |first: Option<u64>, may_begin_earlier, marker| AbortedInRun {
        producer: run.producers[0].id,
        first_offset: first.map(Offset::new),
        may_begin_earlier,
        marker_offset: Offset::new(marker),
    };
    assert_eq!(run.aborted, [aborted(None, true, 0), aborted(Some(1), false, 2)]);
    assert!(run.producers[0].ends_earlier_transaction);
    assert_eq!(run.producers[0].open_transaction_start, Some(Offset::new(3)));
}

#[test]
fn the_sparse_index_leads_to_a_batch_at_or_before_the_one_that_is_looked_for() {
    let mut wal = TestWal::new(1 << 22);
    let batches = (0..200).map(|offset| (stamp(3, 1, 1), Batch::at(0, offset * 2).count(2).records(9_939)));
    write(&mut wal, &batches.collect::<Vec<_>>());
    let object = flush_all(&wal);
    let run = &object.index.runs[0];
    let entries = run.object_range.end / SPARSE_INDEX_BYTES;
    assert!((entries / 2..=entries + 1).contains(&(run.sparse.len() as u64)), "{} entries", run.sparse.len());
    for offset in 0..400 {
        let position = run.position_of_offset(Offset::new(offset));
        let wanted = offset / 2 * 10_000;
        assert!(position <= wanted && wanted - position < SPARSE_INDEX_BYTES + 10_000, "offset {offset}");
    }
    // The batch at offset n has timestamp 1000 + n.
    for (timestamp, wanted) in [(0, 0), (1_000, 0), (1_001, 10_000), (1_398, 1_990_000)] {
        let position = run.position_of_timestamp(timestamp);
        assert!(
            position <= wanted && wanted - position < SPARSE_INDEX_BYTES + 10_000,
            "timestamp {timestamp}"
        );
    }
}

#[test]
fn a_run_is_found_by_slot_partition_and_offset() {
    let mut wal = TestWal::new(1 << 16);
    write(
        &mut wal,
        &[
            (stamp(3, 1, 1), Batch::at(0, 0).count(5)),
            (stamp(3, 2, 1), Batch::at(0, 5).count(5)),
            (stamp(3, 1, 1), Batch::at(1, 0)),
        ],
    );
    let index = flush_all(&wal).index;
    let slot = SlotId::new(3);
    let base =
        |offset| index.find_run(slot, &partition(0), Offset::new(offset)).map(|run| run.base_offset.get());
    assert_eq!([base(0), base(4), base(5), base(9), base(10)], [Some(0), Some(0), Some(5), Some(5), None]);
    assert!(index.find_run(SlotId::new(4), &partition(0), Offset::new(0)).is_none());
    assert!(index.find_run(slot, &partition(2), Offset::new(0)).is_none());
}

#[tokio::test]
async fn any_bit_flip_in_an_object_is_noticed_by_its_reader() {
    let mut wal = TestWal::new(1 << 16);
    write(&mut wal, &[(stamp(3, 1, 1), Batch::at(0, 0).producer(1, 0, 0))]);
    write_state(&mut wal, &stamp(3, 1, 2), 1, b"key", Some(b"value"));
    let object = flush_all(&wal);
    let (objects, reader) = put(&object).await;
    for offset in 0..object.bytes() as usize {
        assert!(objects.flip_bit(&object.name, offset, (offset % 8) as u8).await);
        let noticed = match reader.index().await {
            Err(error) => matches!(error, ObjectError::Corrupt { .. }),
            Ok(index) => {
                let run = reader.run(&index.runs[0]).await;
                run.is_err() || reader.state_run(&index.state_runs[0]).await.is_err()
            }
        };
        assert!(noticed, "byte {offset}");
        objects.flip_bit(&object.name, offset, (offset % 8) as u8).await;
    }
}

#[tokio::test]
async fn an_index_larger_than_the_first_read_is_read_with_a_second() {
    let mut wal = TestWal::new(1 << 22);
    for number in 0..600 {
        wal.write(&[Batch::at(number, 0)]);
    }
    let object = flush_all(&wal);
    let (objects, reader) = put(&object).await;
    objects.clear_calls();
    assert_eq!(reader.index().await.expect("nothing is wrong"), object.index);
    assert_eq!(objects.calls().len(), 2);
}

#[tokio::test]
async fn an_empty_stretch_makes_an_empty_object() {
    let mut wal = TestWal::new(1 << 16);
    let group = wal.begin();
    let end = wal.writer.write(group).expect("no fault is set").end;
    let object = flush(&wal, at(0), end).expect("nothing is wrong");
    let (_, reader) = put(&object).await;
    let index = reader.index().await.expect("nothing is wrong");
    assert!(index.runs.is_empty() && index.state_runs.is_empty());
    assert_eq!((index.start, index.end), (at(0), end));
}

#[test]
fn a_record_under_a_key_this_build_cannot_use_is_not_flushed() {
    let mut wal = TestWal::new(1 << 16);
    write(&mut wal, &[(Stamp { key_id: KeyId::new(5), ..stamp(3, 1, 1) }, Batch::at(0, 0))]);
    let refused = flush(&wal, at(0), wal.writer.position());
    assert!(matches!(refused, Err(FlushError::Wal(WalReadError::Format { .. }))), "{refused:?}");
}

#[tokio::test]
async fn what_was_read_once_is_read_through_an_outage_and_a_restart_from_local_copies() {
    let mut wal = TestWal::new(1 << 16);
    write(&mut wal, &[(stamp(3, 1, 1), Batch::at(0, 0))]);
    write_state(&mut wal, &stamp(3, 1, 2), 1, b"key", Some(b"value"));
    let object = flush_all(&wal);
    let (objects, _) = put(&object).await;
    let open = || {
        let store = objects.store();
        let store = store.with_copies(wal.shared_disk(), Path::new("/data/copies"), CopiesConfig::default());
        ObjectReader::new(store.expect("no fault is set"), object.name.clone())
    };
    let first = open();
    let index = first.stored_index().await.expect("nothing is wrong");
    let entries = first.state_run(&index.state_runs[0]).await.expect("nothing is wrong");
    objects.fail_all(Some(Fault::Unavailable));
    let second = open();
    assert_eq!(second.index().await.expect("it was copied"), object.index);
    assert_eq!(second.state_run(&index.state_runs[0]).await.expect("it was copied"), entries);
    assert!(second.stored_index().await.is_err(), "a flusher wants to know what the store holds");
    assert!(second.run(&index.runs[0]).await.is_err(), "runs are large and not copied");
}
