use headgate_metadata::id::{Incarnation, NodeId};

use super::*;

const EPOCH: LeaderEpoch = LeaderEpoch::new(1);
const NOW: TimestampMs = TimestampMs::new(1_000_000);

fn wal() -> WalId {
    WalId { node: NodeId::new(1), incarnation: Incarnation::new(1) }
}

/// Appends batch `index`: `records` records in 100 bytes, with timestamp `1000 * index`.
fn append(log: &mut PartitionLog, index: u64, records: u32, in_memory: bool) {
    let first = log.end();
    log.count(first, records, 100, EPOCH, NOW);
    let entry = BatchEntry {
        first,
        count: records,
        bytes: 100,
        max_timestamp: 1000 * index as i64,
        slot_time: NOW,
        wal: wal(),
        position: WalPosition::new(index * 200),
    };
    let tail = TailBatch { header: Bytes::from(vec![0; 61]), records: Bytes::from(vec![index as u8; 39]) };
    log.commit(entry, in_memory.then_some(tail));
}

pub(super) fn run(first: u64, next: u64, bytes: u64) -> Run {
    Run {
        object: "flush/x".into(),
        at: 0,
        bytes,
        counted: bytes,
        first: Offset::new(first),
        next: Offset::new(next),
        max_timestamp: 1000,
        max_slot_time: NOW,
        compacted: false,
    }
}

pub(super) fn log_of(batches: u64) -> PartitionLog {
    let mut log = PartitionLog::default();
    for index in 0..batches {
        append(&mut log, index, 2, true);
    }
    log
}

/// Where the batch with this offset is found: 't'ail, 'w'al, 'o'bject or nothing.
fn place(log: &PartitionLog, offset: u64) -> char {
    match log.find(Offset::new(offset), Budget { bytes: 1, at_least_one: true }) {
        Found::Nothing => '-',
        Found::Tail { .. } => 't',
        Found::Wal(_) => 'w',
        Found::Object(_) => 'o',
    }
}

fn places(log: &PartitionLog) -> String {
    (0..log.end().get()).map(|offset| place(log, offset)).collect()
}

#[test]
fn batches_move_from_memory_to_wal_to_object_and_are_found_at_every_step() {
    let mut log = log_of(4);
    assert_eq!(places(&log), "tttttttt");
    log.evict_oldest();
    assert_eq!(places(&log), "wwtttttt");
    log.flushed(run(0, 6, 300));
    assert_eq!(places(&log), "oottttttt"[..8], "the run takes over what is not in memory");
    log.evict_oldest();
    log.evict_oldest();
    assert_eq!(places(&log), "oooooott");
    log.evict_oldest();
    assert_eq!(places(&log), "ooooooww");
    log.flushed(run(6, 8, 100));
    assert_eq!(places(&log), "oooooooo");
}

#[test]
fn a_run_that_comes_twice_counts_once() {
    let mut log = log_of(2);
    log.flushed(run(0, 4, 200));
    log.flushed(run(0, 4, 200));
    assert_eq!(log.runs().len(), 1);
}

#[test]
fn nothing_at_or_above_the_high_watermark_is_found() {
    let mut log = log_of(1);
    // Assigned, not yet committed.
    log.count(log.end(), 5, 100, EPOCH, NOW);
    assert_eq!(log.end(), Offset::new(7));
    assert_eq!(log.high_watermark(), Offset::new(2));
    assert_eq!((place(&log, 1), place(&log, 2), place(&log, 6)), ('t', '-', '-'));
}

#[test]
fn a_budget_takes_whole_batches_and_at_least_one_only_where_allowed() {
    let log = log_of(5);
    let taken = |bytes, at_least_one| match log.find(Offset::new(3), Budget { bytes, at_least_one }) {
        Found::Tail { slices, bytes, next } => (slices.len() / 2, bytes, next.get()),
        other => panic!("{other:?}"),
    };
    assert_eq!(taken(250, false), (2, 200, 6));
    assert_eq!(taken(50, true), (1, 100, 4));
    assert_eq!(taken(50, false), (0, 0, 2));
    assert_eq!(taken(1000, true), (4, 400, 10));
}

#[test]
fn readable_bytes_count_memory_wal_and_objects_once() {
    let mut log = log_of(4);
    log.evict_oldest();
    log.evict_oldest();
    log.flushed(run(0, 4, 200));
    assert_eq!(log.readable_bytes(Offset::new(0), u64::MAX), 400);
    assert_eq!(log.readable_bytes(Offset::new(4), u64::MAX), 200);
    assert_eq!(log.readable_bytes(Offset::new(8), u64::MAX), 0);
    assert_eq!(log.readable_bytes(Offset::new(0), 150), 200, "counting stops once enough is found");
}

#[test]
fn retention_by_time_stops_at_the_first_batch_that_is_young_enough() {
    let log = log_of(5);
    let keep = Keep { for_ms: Some(1_000_000 - 2_500), bytes: None };
    assert_eq!(log.trim_due(keep, NOW), Some(Trim { to: Offset::new(6), bytes: 300 }));
    assert_eq!(log.trim_due(Keep { for_ms: None, bytes: None }, NOW), None);
}

#[test]
fn retention_by_size_keeps_at_least_its_bytes() {
    let log = log_of(5);
    let trim = |bytes| log.trim_due(Keep { for_ms: None, bytes: Some(bytes) }, NOW).map(|trim| trim.bytes);
    assert_eq!(trim(500), None);
    assert_eq!(trim(450), None, "without its first batch it would fall below");
    assert_eq!(trim(400), Some(100));
    assert_eq!(trim(0), Some(500));
}

#[test]
fn a_moved_log_start_drops_runs_and_batches_and_never_goes_back() {
    let mut log = log_of(4);
    log.evict_oldest();
    log.flushed(run(0, 2, 100));
    log.drop_below(Offset::new(4));
    assert_eq!(log.log_start(), Offset::new(4));
    assert!(log.runs().is_empty());
    log.drop_below(Offset::new(1));
    assert_eq!(log.log_start(), Offset::new(4));
    log.drop_below(Offset::new(100));
    assert_eq!(log.log_start(), log.high_watermark());
    for _ in 0..3 {
        log.evict_oldest();
    }
    assert_eq!(log.batches.len(), 0, "an emptied partition keeps no entries");
}

#[test]
fn candidates_by_time_are_those_that_can_hold_the_record_in_offset_order() {
    let mut log = log_of(4);
    for _ in 0..4 {
        log.evict_oldest();
    }
    log.flushed(Run { max_timestamp: 1000, ..run(0, 4, 200) });
    let found = |target| {
        let (runs, batches) = log.candidates(target, Offset::new(0));
        (runs.len(), batches.iter().map(|batch| batch.first.get()).collect::<Vec<_>>())
    };
    assert_eq!(found(0), (1, vec![4, 6]));
    assert_eq!(found(1500), (0, vec![4, 6]));
    assert_eq!(found(2500), (0, vec![6]));
    assert_eq!(log.max_timestamp(), Some(3000));
}

/// A flush may be committed by others while the slot is restored: its run is told before replay has put the batches in place.
#[test]
fn section_6_4_a_run_that_is_told_before_its_batches_are_replayed_is_where_they_are_read() {
    let mut log = PartitionLog::default();
    log.flushed(run(0, 4, 200));
    for index in 0..3 {
        append(&mut log, index, 2, false);
    }
    assert_eq!(places(&log), "ooooww", "nothing points into chunks that go with the flush");
    log.flushed(run(0, 4, 200));
    assert_eq!(places(&log), "ooooww");
}

/// Logs of several nodes are flushed by several nodes, so runs may be told in another order than they follow each other.
#[test]
fn section_6_4_runs_that_are_told_out_of_order_take_over_in_order() {
    let mut log = PartitionLog::default();
    for index in 0..3 {
        append(&mut log, index, 2, false);
    }
    log.flushed(run(4, 6, 100));
    log.flushed(run(4, 6, 100));
    assert_eq!(places(&log), "wwwwww", "what lies between is not in an object yet");
    log.flushed(run(0, 4, 200));
    assert_eq!((places(&log).as_str(), log.runs().len()), ("oooooo", 2));
}
