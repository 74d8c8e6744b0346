//! What the fold promises: the same in one go as in steps, and the same as counting batch by batch.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use headgate_metadata::id::{ByteCount, Offset, SlotEpoch, SlotId, TimestampMs, WalPosition};
use headgate_metadata::record::{Applied, Span};
use proptest::prelude::*;

use crate::fixture::{Batch, ROOT, TestWal, at, cluster, partition, stamp, state, wal_id};
use crate::manifest::{
    FoldError, FoldInput, Manifest, PartitionManifest, RUNS_INLINE_MAX, decode_list, decode_state, fold,
    load_list, load_manifest, load_state,
};
use crate::object::{FlushObject, StateKey, build_flush, manifest_name, state_name};
use crate::state_record::{
    LOG_START, LogStart, REMOVED, Removed, SENT_BYTES, SentBytes, USAGE_MARK, UsageMark,
};
use crate::store::FaultyObjects;
use crate::usage::{StoredBytes, UsageCounters};
use crate::wal::BatchControl;

const SLOT: u16 = 3;

/// A slot's log under one epoch at a time, and where it may be cut.
struct SlotLog {
    wal: TestWal,
    cuts: Vec<WalPosition>,
    epoch: u32,
}

impl SlotLog {
    fn new() -> Self {
        Self { wal: TestWal::new(1 << 16), cuts: vec![at(0)], epoch: 1 }
    }
    fn batch(&mut self, time: u64, batch: &Batch) {
        let mut group = self.wal.begin();
        batch.push_to(&mut group, &stamp(SLOT, self.epoch, time));
        self.cuts.push(self.wal.writer.write(group).expect("no fault is set").end);
    }
    fn state(&mut self, time: u64, kind: u8, key: &[u8], value: Option<&[u8]>) {
        let mut group = self.wal.begin();
        group.push_state(&stamp(SLOT, self.epoch, time), &state(kind, key, value));
        self.cuts.push(self.wal.writer.write(group).expect("no fault is set").end);
    }
    fn flush(&self, start: WalPosition, end: WalPosition) -> FlushObject {
        let random = start.get() ^ end.get() << 20;
        build_flush(&self.wal.shared_disk(), Path::new(ROOT), wal_id(), start, end, random)
            .expect("nothing is wrong")
    }
    fn fold_onto(&self, previous: Option<Manifest>, flush: &FlushObject) -> Result<Manifest, FoldError> {
        fold_flush(previous, flush, self.epoch)
    }
    /// Flushes and folds everything at once.
    fn fold_all(&self) -> Manifest {
        let flush = self.flush(at(0), self.wal.writer.position());
        self.fold_onto(None, &flush).expect("nothing is wrong")
    }
}

fn fold_flush(previous: Option<Manifest>, flush: &FlushObject, epoch: u32) -> Result<Manifest, FoldError> {
    let epoch = SlotEpoch::new(epoch);
    let slot = SlotId::new(SLOT);
    let span = Span { epoch, wal: wal_id(), from: at(0), to: at(u64::MAX) };
    let states = flush.states.get(&(slot, epoch)).map_or(&[][..], Vec::as_slice);
    fold(slot, previous, &[FoldInput { span, object: &flush.name, index: &flush.index, states }])
}

fn only(manifest: &Manifest, number: u32) -> &PartitionManifest {
    &manifest.partitions[&partition(number)]
}

/// What a slot's owner does, in words small enough to generate.
#[derive(Debug, Clone)]
enum Step {
    Append { number: u32, producer: Option<u64>, records: usize },
    Transactional { number: u32, producer: u64 },
    End { number: u32, producer: u64, control: BatchControl },
    Mark { number: u32 },
    Sent { number: u32, bytes: u64 },
    Trim { number: u32 },
    Set { key: u8, value: Option<u8> },
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let number = 0..3_u32;
    let producer = 1..4_u64;
    let control = prop_oneof![Just(BatchControl::Commit), Just(BatchControl::Abort)];
    let step = prop_oneof![
        4 => (number.clone(), proptest::option::of(producer.clone()), 0..200_usize)
            .prop_map(|(number, producer, records)| Step::Append { number, producer, records }),
        2 => (number.clone(), producer.clone()).prop_map(|(number, producer)| Step::Transactional { number, producer }),
        1 => (number.clone(), producer, control)
            .prop_map(|(number, producer, control)| Step::End { number, producer, control }),
        1 => number.clone().prop_map(|number| Step::Mark { number }),
        1 => (number.clone(), 1..500_u64).prop_map(|(number, bytes)| Step::Sent { number, bytes }),
        1 => number.prop_map(|number| Step::Trim { number }),
        2 => (0..4_u8, proptest::option::of(any::<u8>())).prop_map(|(key, value)| Step::Set { key, value }),
    ];
    (0..50_u64, step)
}

/// The owner's own bookkeeping of one partition, batch by batch.
#[derive(Debug, Clone, Default)]
struct Owner {
    next: u64,
    log_start: u64,
    counters: UsageCounters,
    sizes: Vec<u64>,
}

/// Plays steps into a log; returns what the owner counted.
fn play(log: &mut SlotLog, steps: &[(u64, Step)]) -> BTreeMap<u32, Owner> {
    let mut owners: BTreeMap<u32, Owner> = BTreeMap::new();
    let mut now = 10_000;
    for (index, (elapsed, step)) in steps.iter().enumerate() {
        now += elapsed;
        let time = TimestampMs::new(now);
        let mut append = |log: &mut SlotLog, number: u32, batch: &dyn Fn(Batch) -> Batch| {
            let owner = owners.entry(number).or_default();
            let batch = batch(Batch::at(number, owner.next));
            log.batch(now, &batch);
            owner.next += 1;
            let bytes = if batch.meta.control == BatchControl::Data { batch.bytes().len() as u64 } else { 0 };
            owner.counters.bytes_in = ByteCount::new(owner.counters.bytes_in.get() + bytes);
            owner.counters.stored = owner.counters.stored.grown(bytes, time);
            owner.sizes.push(bytes);
        };
        let sequence = index as i32;
        match step {
            Step::Append { number, producer, records } => append(log, *number, &|batch| {
                let batch = batch.records(*records);
                producer.map_or(batch.clone(), |id| batch.producer(id, 0, sequence))
            }),
            Step::Transactional { number, producer } => {
                append(log, *number, &|batch| batch.producer(*producer, 0, sequence).transactional());
            }
            Step::End { number, producer, control } => {
                append(log, *number, &|batch| batch.producer(*producer, 0, -1).marker(*control));
            }
            Step::Mark { number } => {
                let owner = owners.entry(*number).or_default();
                owner.counters.stored = owner.counters.stored.grown(0, time);
                let (partition, counters) = (partition(*number), owner.counters);
                let mark = UsageMark { partition, hour: index as u32, counters };
                log.state(now, USAGE_MARK, &mark.key(), Some(&mark.value()));
            }
            Step::Sent { number, bytes } => {
                let owner = owners.entry(*number).or_default();
                owner.counters.bytes_out = ByteCount::new(owner.counters.bytes_out.get() + bytes);
                let sent = SentBytes {
                    partition: partition(*number),
                    gateway: headgate_metadata::id::Incarnation::new(bytes % 2),
                    reported: ByteCount::new(*bytes),
                    bytes_out: owner.counters.bytes_out,
                };
                log.state(now, SENT_BYTES, &sent.key(), Some(&sent.value()));
            }
            Step::Trim { number } => {
                let owner = owners.entry(*number).or_default();
                let to = owner.log_start + (owner.next - owner.log_start) / 2;
                let gone: u64 = owner.sizes[owner.log_start as usize..to as usize].iter().sum();
                owner.log_start = to;
                owner.counters.stored = owner.counters.stored.shrunk(gone, time);
                let moved = LogStart {
                    partition: partition(*number),
                    offset: Offset::new(to),
                    stored: owner.counters.stored,
                };
                log.state(now, LOG_START, &moved.key(), Some(&moved.value()));
            }
            Step::Set { key, value } => {
                log.state(now, 1, &[*key], value.as_ref().map(std::slice::from_ref));
            }
        }
    }
    owners
}

/// A manifest as far as it does not depend on where flushes were cut.
fn essence(manifest: &Manifest) -> Manifest {
    let mut manifest = manifest.clone();
    for partition in manifest.partitions.values_mut() {
        partition.runs.clear();
    }
    manifest
}

fn readable(partition: &PartitionManifest) -> (u64, u64) {
    let first = partition.runs.first().map_or(partition.next_offset, |run| run.base_offset);
    (first.get(), partition.next_offset.get())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn folding_in_steps_gives_what_folding_in_one_go_gives(
        steps in proptest::collection::vec(step(), 1..60),
        cut_after in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let mut log = SlotLog::new();
        let owners = play(&mut log, &steps);
        let whole = log.fold_all();

        let mut manifest = None;
        let mut from = at(0);
        let mut flushes = Vec::new();
        for (index, cut) in log.cuts.iter().enumerate().skip(1) {
            if cut_after[index - 1] || *cut == log.wal.writer.position() {
                let flush = log.flush(from, *cut);
                // Through its stored form, as in life.
                let folded = log.fold_onto(manifest.take(), &flush);
                let folded = folded.map_err(|error| TestCaseError::fail(error.to_string()))?;
                manifest = Some(Manifest::decode(&folded.encode()).map_err(|e| TestCaseError::fail(e.to_string()))?);
                flushes.push(flush);
                from = *cut;
            }
        }
        let stepped = manifest.expect("there is at least one step");
        prop_assert_eq!(essence(&stepped), essence(&whole));

        // Many objects folded by one call are the same as one call for each.
        let slot = SlotId::new(SLOT);
        let epoch = SlotEpoch::new(1);
        let span = Span { epoch, wal: wal_id(), from: at(0), to: at(u64::MAX) };
        let inputs: Vec<FoldInput<'_>> = flushes
            .iter()
            .map(|flush| {
                let states = flush.states.get(&(slot, epoch)).map_or(&[][..], Vec::as_slice);
                FoldInput { span, object: &flush.name, index: &flush.index, states }
            })
            .collect();
        prop_assert_eq!(fold(slot, None, &inputs), Ok(stepped.clone()));

        for (number, owner) in owners {
            let found = only(&stepped, number);
            prop_assert_eq!((found.next_offset.get(), found.log_start.get()), (owner.next, owner.log_start));
            prop_assert_eq!(found.counters.bytes_in, owner.counters.bytes_in);
            prop_assert_eq!(found.counters.bytes_out, owner.counters.bytes_out);
            prop_assert_eq!(found.counters.stored, owner.counters.stored);
            let (first, next) = readable(found);
            prop_assert!(first <= owner.log_start.max(first) && next == owner.next);
        }
    }
}

#[test]
fn a_gap_between_flushes_is_corruption() {
    let mut log = SlotLog::new();
    log.batch(1, &Batch::at(0, 0));
    log.batch(2, &Batch::at(0, 1));
    log.batch(3, &Batch::at(0, 2));
    let first = log.flush(log.cuts[0], log.cuts[1]);
    let third = log.flush(log.cuts[2], log.cuts[3]);
    let manifest = log.fold_onto(None, &first).expect("nothing is wrong");
    let gap = log.fold_onto(Some(manifest), &third);
    let (expected, found) = (Offset::new(1), Offset::new(2));
    assert_eq!(
        gap,
        Err(FoldError::OffsetGap { partition: partition(0), object: third.name, expected, found })
    );
}

#[test]
fn what_is_applied_is_never_applied_twice() {
    let mut log = SlotLog::new();
    log.batch(1, &Batch::at(0, 0));
    log.batch(2, &Batch::at(0, 1));
    let first = log.flush(log.cuts[0], log.cuts[1]);
    let both = log.flush(log.cuts[0], log.cuts[2]);
    let manifest = log.fold_onto(None, &first).expect("nothing is wrong");
    for again in [&first, &both] {
        let result = log.fold_onto(Some(manifest.clone()), again);
        assert!(matches!(result, Err(FoldError::OutOfOrder { .. })), "{result:?}");
    }
}

#[test]
fn a_lower_position_of_a_later_epoch_counts_and_an_earlier_epoch_does_not() {
    let mut log = SlotLog::new();
    log.batch(1, &Batch::at(0, 0));
    log.epoch = 2;
    log.batch(2, &Batch::at(0, 1));
    let whole = log.flush(at(0), log.wal.writer.position());
    let first = fold_flush(None, &whole, 1).expect("nothing is wrong");
    assert_eq!(only(&first, 0).next_offset, Offset::new(1), "records of another epoch are not looked at");
    let second = fold_flush(Some(first.clone()), &whole, 2).expect("a later epoch goes on");
    assert_eq!(only(&second, 0).next_offset, Offset::new(2));
    let starts = [(SlotEpoch::new(1), Offset::new(0)), (SlotEpoch::new(2), Offset::new(1))];
    assert_eq!(only(&second, 0).epoch_starts, starts);
    let end = log.wal.writer.position();
    assert_eq!(second.applied, Some(Applied { epoch: SlotEpoch::new(2), position: end }));
    assert!(matches!(fold_flush(Some(second), &whole, 1), Err(FoldError::OutOfOrder { .. })));
}

#[test]
fn an_object_without_anything_of_the_slot_still_moves_applied() {
    let mut log = SlotLog::new();
    log.epoch = 9;
    log.batch(1, &Batch::at(0, 0));
    let flush = log.flush(at(0), log.wal.writer.position());
    let manifest = fold_flush(None, &flush, 1).expect("nothing is wrong");
    assert!(manifest.partitions.is_empty());
    assert_eq!(manifest.applied.map(|applied| applied.position), Some(log.wal.writer.position()));
}

#[test]
fn a_transaction_that_began_in_an_earlier_flush_is_aborted_from_its_first_offset() {
    let mut log = SlotLog::new();
    log.batch(1, &Batch::at(0, 0).producer(7, 0, 0).transactional());
    log.batch(2, &Batch::at(0, 1).producer(7, 0, 1).transactional());
    log.batch(3, &Batch::at(0, 2).producer(7, 0, -1).marker(BatchControl::Abort));
    log.batch(4, &Batch::at(0, 3).producer(7, 0, 2).transactional());
    let first = log.flush(log.cuts[0], log.cuts[1]);
    let rest = log.flush(log.cuts[1], log.cuts[4]);
    let manifest = log.fold_onto(None, &first).expect("nothing is wrong");
    let manifest = log.fold_onto(Some(manifest), &rest).expect("nothing is wrong");
    let found = only(&manifest, 0);
    let [aborted] = found.aborted[..] else { panic!("one transaction was aborted") };
    assert_eq!((aborted.first_offset, aborted.marker_offset), (Offset::new(0), Offset::new(2)));
    let open: Vec<_> = found.producers.values().map(|state| state.open_transaction_start).collect();
    assert_eq!(open, [Some(Offset::new(3))]);
}

#[test]
fn a_removed_topic_keeps_its_counters_and_names_no_objects() {
    let mut log = SlotLog::new();
    let batch = Batch::at(0, 0);
    let bytes = batch.bytes().len() as u64;
    log.batch(1_000, &batch);
    let at_time = TimestampMs::new(3_000);
    let removed = Removed { cluster: cluster(), topic: Some(partition(0).topic), at: at_time };
    log.state(3_000, REMOVED, &removed.key(), Some(&removed.value()));
    let manifest = log.fold_all();
    let found = only(&manifest, 0);
    assert!(found.removed && found.runs.is_empty() && manifest.objects().is_empty());
    assert_eq!(found.log_start, found.next_offset);
    let stored =
        StoredBytes { byte_ms: u128::from(bytes) * 2_000, current: ByteCount::new(0), since: at_time };
    assert_eq!((found.counters.bytes_in.get(), found.counters.stored), (bytes, stored));
}

#[test]
fn a_known_kind_that_does_not_decode_is_an_error_and_an_unknown_one_passes_through() {
    let mut log = SlotLog::new();
    log.state(1, 200, b"anything", Some(b"at all"));
    assert_eq!(log.fold_all().state_delta.len(), 1);
    log.state(2, LOG_START, b"short", Some(b"nonsense"));
    let flush = log.flush(at(0), log.wal.writer.position());
    assert!(matches!(log.fold_onto(None, &flush), Err(FoldError::State { .. })));
}

#[test]
fn an_expired_producer_goes_but_never_one_with_an_open_transaction() {
    let mut log = SlotLog::new();
    log.batch(1_000, &Batch::at(0, 0).producer(1, 0, 0));
    log.batch(1_000, &Batch::at(0, 1).producer(2, 0, 0).transactional());
    log.batch(9_000, &Batch::at(0, 2).producer(3, 0, 0));
    let mut manifest = log.fold_all();
    manifest.expire_producers(TimestampMs::new(10_000), Duration::from_secs(5));
    let left: Vec<u64> = only(&manifest, 0).producers.keys().map(|id| id.get()).collect();
    assert_eq!(left, [2, 3]);
}

#[tokio::test]
async fn state_that_moves_into_an_object_is_the_state_it_was() {
    let mut log = SlotLog::new();
    for key in 0..100_u8 {
        log.state(1, 1, &[key], Some(&[key; 1000]));
    }
    let mut manifest = log.fold_all();
    assert!(manifest.state_rewrite_due());
    let before = manifest.state(BTreeMap::new());
    let objects = FaultyObjects::new();
    let store = objects.store();
    let name = state_name(manifest.slot, SlotEpoch::new(1), 1);
    let content = manifest.replace_state(BTreeMap::new(), name.clone());
    assert_eq!(decode_state(&content, manifest.slot), Ok(before.clone()));
    store.put(&name, vec![content]).await.expect("no fault is set");
    assert!(!manifest.state_rewrite_due() && manifest.state_delta.is_empty());

    // Then a removal and a change, over the object.
    let from = log.wal.writer.position();
    log.state(2, 1, &[0], None);
    log.state(3, 1, &[1], Some(b"new"));
    let flush = log.flush(from, log.wal.writer.position());
    let mut manifest = log.fold_onto(Some(manifest), &flush).expect("nothing is wrong");
    let base = load_state(&store, &manifest).await.expect("no fault is set");
    let state = manifest.state(base.clone());
    let key = |key: u8| StateKey { kind: 1, cluster: cluster(), key: Bytes::copy_from_slice(&[key]) };
    assert_eq!((state.len(), state.get(&key(0))), (99, None));
    assert_eq!(state[&key(1)], Bytes::from_static(b"new"));
    manifest.replace_state(base, state_name(manifest.slot, SlotEpoch::new(1), 2));
    assert_eq!(manifest.garbage, [name]);
}

#[tokio::test]
async fn overlong_run_lists_move_into_list_objects_and_read_back() {
    let mut log = SlotLog::new();
    log.batch(1, &Batch::at(0, 0));
    let mut manifest = log.fold_all();
    let partition_runs = &mut manifest.partitions.get_mut(&partition(0)).expect("it was folded").runs;
    let first = partition_runs[0].clone();
    partition_runs.clear();
    for offset in 0..=RUNS_INLINE_MAX as u64 {
        let (base_offset, next_offset) = (Offset::new(offset), Offset::new(offset + 1));
        partition_runs.push(crate::manifest::RunRef { base_offset, next_offset, ..first.clone() });
    }
    let all = partition_runs.clone();
    let objects = FaultyObjects::new();
    let store = objects.store();
    let spilled = manifest.spill_lists(SlotEpoch::new(1), || 42);
    let [(name, content)] = &spilled[..] else { panic!("one partition is overlong") };
    assert!(decode_list(content).is_ok());
    store.put(name, vec![content.clone()]).await.expect("no fault is set");
    let found = only(&manifest, 0);
    let mut read = load_list(&store, &partition(0), &found.lists[0]).await.expect("no fault is set");
    assert!(load_list(&store, &partition(1), &found.lists[0]).await.is_err(), "another partition's list");
    read.extend(found.runs.clone());
    assert_eq!(read, all);
    assert!(manifest.spill_lists(SlotEpoch::new(1), || 43).is_empty());
}

#[tokio::test]
async fn a_manifest_of_another_slot_is_not_taken() {
    let objects = FaultyObjects::new();
    let store = objects.store();
    let name = manifest_name(SlotId::new(3), SlotEpoch::new(1), 1);
    store.put(&name, vec![Manifest::empty(SlotId::new(4)).encode()]).await.expect("no fault is set");
    assert!(load_manifest(&store, &name, SlotId::new(3)).await.is_err());
    assert!(load_manifest(&store, &name, SlotId::new(4)).await.is_ok());
    let foreign = fold(SlotId::new(3), Some(Manifest::empty(SlotId::new(4))), &[]);
    assert!(matches!(foreign, Err(FoldError::ForeignSlot { .. })));
}
