//! Ordering: validate against appended state, assign, and put the record into the group, in one step per operation.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use headgate_log::state_record::{
    INHERITED, Inherited, LOG_START, LogStart, REMOVED, Removed, SENT_BYTES, SentBytes, USAGE_MARK, UsageMark,
};
use headgate_log::wal::{
    BatchControl, BatchMeta, BatchProducer, GroupBuilder, Stamp, StateMeta, WrittenBatch,
};
use headgate_metadata::id::{ByteCount, ClusterId, Incarnation, KeyId, Offset, TimestampMs, WalPosition};
use headgate_storage_client::{AppendError, Appended, RecordBatch, Reservation};

use super::Worker;
use crate::operation::{AppendAnswer, Done, Held, Operation};
use crate::partition::{Assigned, BatchEntry, Partition, TailBatch, Trim};
use crate::producer_state::Verdict;
use crate::slot::{Slot, SlotState};
use crate::state_log::StateRecord;
use crate::topics::Tombstone;

/// How long a gateway incarnation's last figure is kept after its last report (slot time).
const SENT_KEPT_MS: u64 = 24 * 3_600_000;

/// An ordered operation: what its answer depends on, and what to do when that is committed.
pub(super) struct Pending {
    pub(super) depends_on: WalPosition,
    pub(super) held: Ordered,
}

impl Pending {
    /// The group was not written, or not wholly: the operation may or may not last.
    pub(super) fn lose(self) {
        match self.held {
            Ordered::Append { answer, .. } => {
                let _ = answer.send(Err(AppendError::Unconfirmed));
            }
            Ordered::Other(held) => held.lose(),
        }
    }
}

/// As [`Held`], but a batch's bytes come back from the writer only after the write.
pub(super) enum Ordered {
    Append {
        partition: Arc<Partition>,
        entry: BatchEntry,
        appended: Appended,
        reservation: Reservation,
        answer: AppendAnswer,
    },
    Other(Held),
}

impl Ordered {
    /// Takes the next written batch if this is an append: batches come back in the order they were pushed.
    pub(super) fn with_bytes(self, batches: &mut impl Iterator<Item = WrittenBatch>) -> Held {
        match self {
            Self::Other(held) => held,
            Self::Append { partition, entry, appended, reservation, answer } => {
                let written = batches.next().expect("the writer returns every batch that was pushed");
                debug_assert_eq!(written.place.payload_position, entry.position);
                let tail = TailBatch { header: written.header, records: written.records };
                Held::Append { partition, entry, tail, appended, reservation, answer }
            }
        }
    }
}

/// An append as it came.
struct Append {
    partition: Arc<Partition>,
    batch: RecordBatch,
    log_append_time: Option<TimestampMs>,
    reservation: Reservation,
    answer: AppendAnswer,
}

/// One group being ordered.
struct Ordering<'a> {
    builder: &'a mut GroupBuilder,
    pending: Vec<Pending>,
    now: TimestampMs,
    /// What an answer depends on that read nothing but the past.
    before: WalPosition,
}

impl Worker {
    pub(super) fn order(
        &mut self,
        group: &mut Vec<Operation>,
        builder: &mut GroupBuilder,
        now: TimestampMs,
    ) -> Vec<Pending> {
        let before = builder.position();
        let mut ordering = Ordering { builder, pending: Vec::with_capacity(group.len()), now, before };
        for operation in group.drain(..) {
            self.order_one(&mut ordering, operation);
        }
        ordering.pending
    }

    fn order_one(&self, ordering: &mut Ordering<'_>, operation: Operation) {
        let slot_id = match &operation {
            Operation::Barrier { .. } => {
                ordering.barrier(operation);
                return;
            }
            Operation::Append { partition, .. } | Operation::Trim { partition, .. } => partition.address.slot,
            Operation::State { slot, .. }
            | Operation::Sent { slot, .. }
            | Operation::Mark { slot, .. }
            | Operation::Remove { slot, .. } => *slot,
        };
        let Some(slot) = self.slots.slot(slot_id) else {
            refuse_foreign(operation);
            return;
        };
        let slot = &*slot;
        let mut state = slot.state();
        ordering.mark_if_due(slot, &mut state);
        match operation {
            Operation::Append { partition, term, batch, log_append_time, reservation, answer } => {
                if self.slots.term(slot_id) != Some(term) {
                    let _ = answer.send(Err(AppendError::NotOwner));
                    return;
                }
                let request = Append { partition, batch, log_append_time, reservation, answer };
                ordering.append(slot, &mut state, request);
            }
            Operation::State { records, settled, .. } => {
                let end = ordering.records(slot, &mut state, records);
                ordering.hold(end, Held::State(settled));
            }
            Operation::Sent { gateway, totals, done, .. } => {
                ordering.sent(slot, &mut state, gateway, totals);
                ordering.hold_done(done);
            }
            Operation::Trim { partition, trim, done } => {
                ordering.trim(slot, &mut state, partition, trim, done);
            }
            Operation::Mark { done, .. } => ordering.hold_done(done),
            Operation::Barrier { .. } => {}
            Operation::Remove { cluster, topic, done, .. } => {
                ordering.remove(slot, &mut state, Tombstone { cluster, topic });
                for (key, counters) in self.slots.forget(slot.id, cluster, topic) {
                    let at = state.time();
                    state.ended(key, counters, at);
                }
                ordering.hold_done(done);
            }
        }
    }
}

impl Ordering<'_> {
    fn hold(&mut self, depends_on: WalPosition, held: Held) {
        self.pending.push(Pending { depends_on, held: Ordered::Other(held) });
    }

    /// Waits for everything pushed so far, of all slots.
    fn barrier(&mut self, operation: Operation) {
        if let Operation::Barrier { done } = operation {
            let end = if self.builder.is_empty() { self.before } else { self.builder.next_position() };
            self.hold(end, Held::Barrier(done));
        }
    }

    /// Waits for everything pushed so far.
    fn hold_done(&mut self, done: Done) {
        let depends_on = if self.builder.is_empty() { self.before } else { self.builder.next_position() };
        self.hold(depends_on, Held::Done(done));
    }

    /// The time of a record that is about to be put. The first one of the slot's life here is preceded by what it follows.
    fn begin(&mut self, slot: &Slot, state: &mut SlotState) -> TimestampMs {
        let time = state.advance(self.now);
        self.tell_inherited(slot, state, time);
        time
    }

    fn tell_inherited(&mut self, slot: &Slot, state: &mut SlotState, time: TimestampMs) {
        if let Some(inherited) = state.take_inherited() {
            self.push(slot, time, Inherited::cluster(), INHERITED, Bytes::new(), Some(inherited.value()));
        }
    }

    fn append(&mut self, slot: &Slot, state: &mut SlotState, request: Append) {
        let Append { partition, batch, log_append_time, reservation, answer } = request;
        if partition.topic.removed() {
            self.hold(self.before, Held::Judged { outcome: Err(AppendError::Removed), answer });
            return;
        }
        let mut log = partition.log();
        if log.discarded {
            drop(log);
            self.hold(self.before, Held::Judged { outcome: Err(AppendError::NotOwner), answer });
            return;
        }
        let outcome = match log.judge(&batch, state.time().max(self.now)) {
            Ok(Verdict::Append) => None,
            Ok(Verdict::Duplicate(base_offset)) => {
                Some(Ok(Appended { base_offset, log_start: log.log_start(), log_append_time: None }))
            }
            Err(refusal) => Some(Err(refusal)),
        };
        if let Some(outcome) = outcome {
            let depends_on = log.last_change;
            drop(log);
            self.hold(depends_on, Held::Judged { outcome, answer });
            return;
        }
        let time = self.begin(slot, state);
        let Assigned { base_offset, log_start } = log.assign(&batch, slot.epoch, time);
        state.changed(&partition, &mut log.unmarked);
        let meta = meta_of(&partition, &batch, base_offset);
        let header = batch.placed_header(base_offset, slot.epoch);
        let place = self.builder.push_batch(&stamp(slot, time), &meta, &header, batch.records().clone());
        log.last_change = place.end();
        drop(log);
        let entry = BatchEntry::at(self.builder.wal(), place, &meta, time);
        let appended = Appended { base_offset, log_start, log_append_time };
        let held = Ordered::Append { partition, entry, appended, reservation, answer };
        self.pending.push(Pending { depends_on: place.end(), held });
    }

    fn records(&mut self, slot: &Slot, state: &mut SlotState, records: Vec<StateRecord>) -> WalPosition {
        let time = self.begin(slot, state);
        let mut end = self.before;
        for record in records {
            let StateRecord { cluster, kind, key, value } = record;
            let meta = StateMeta { cluster, kind: kind as u8, key, value };
            end = self.builder.push_state(&stamp(slot, time), &meta).end();
        }
        end
    }

    /// Stores the difference since the last figure of that gateway incarnation (§13): a lost, late or repeated report
    /// changes nothing.
    fn sent(
        &mut self,
        slot: &Slot,
        state: &mut SlotState,
        gateway: Incarnation,
        totals: Vec<(Arc<Partition>, ByteCount)>,
    ) {
        for (partition, total) in totals {
            let mut log = partition.log();
            let reported = log.sent.get(&gateway).map_or(0, |(last, _)| last.get());
            let more = total.get().saturating_sub(reported);
            if more == 0 || partition.topic.removed() || log.discarded {
                continue;
            }
            let time = self.begin(slot, state);
            let bytes_out = ByteCount::new(log.counters.bytes_out.get() + more);
            log.counters.bytes_out = bytes_out;
            log.sent.insert(gateway, (total, time));
            state.changed(&partition, &mut log.unmarked);
            let key = partition.address.key;
            let record = SentBytes { partition: key, gateway, reported: total, bytes_out };
            let mut end = self.push(slot, time, key.cluster, SENT_BYTES, record.key(), Some(record.value()));
            for gone in silent_gateways(&log.sent, time) {
                log.sent.remove(&gone);
                let old = SentBytes { partition: key, gateway: gone, reported: total, bytes_out };
                end = self.push(slot, time, key.cluster, SENT_BYTES, old.key(), None);
            }
            log.last_change = end;
        }
    }

    fn trim(
        &mut self,
        slot: &Slot,
        state: &mut SlotState,
        partition: Arc<Partition>,
        trim: Trim,
        done: Done,
    ) {
        let mut log = partition.log();
        // At the log start itself nothing moves, and fewer bytes count: compaction took some.
        let is_past = trim.to < log.log_start() || trim.to == log.log_start() && trim.bytes == 0;
        if partition.topic.removed() || log.discarded || is_past {
            drop(log);
            self.hold_done(done);
            return;
        }
        let time = self.begin(slot, state);
        let stored = log.stored_after(trim, time);
        log.counters.stored = stored;
        state.changed(&partition, &mut log.unmarked);
        let key = partition.address.key;
        let record = LogStart { partition: key, offset: trim.to, stored };
        let end = self.push(slot, time, key.cluster, LOG_START, record.key(), Some(record.value()));
        log.last_change = end;
        drop(log);
        self.hold(end, Held::Trim { partition, trim, done });
    }

    fn remove(&mut self, slot: &Slot, state: &mut SlotState, tombstone: Tombstone) {
        let time = self.begin(slot, state);
        let Tombstone { cluster, topic } = tombstone;
        let record = Removed { cluster, topic, at: time };
        self.push(slot, time, cluster, REMOVED, record.key(), Some(record.value()));
        state.removed(tombstone);
    }

    /// The mark of an hour stands before the first record of the next (§13).
    fn mark_if_due(&mut self, slot: &Slot, state: &mut SlotState) {
        let Some((hour, at, partitions)) = state.take_due_marks(self.now) else { return };
        self.tell_inherited(slot, state, at);
        for partition in partitions {
            let mut log = partition.log();
            log.unmarked = false;
            let key = partition.address.key;
            let mark = UsageMark { partition: key, hour: hour as u32, counters: log.counters };
            log.last_change = self.push(slot, at, key.cluster, USAGE_MARK, mark.key(), Some(mark.value()));
            state.marked(key, hour, log.counters);
        }
    }

    fn push(
        &mut self,
        slot: &Slot,
        time: TimestampMs,
        cluster: ClusterId,
        kind: u8,
        key: Bytes,
        value: Option<Bytes>,
    ) -> WalPosition {
        self.builder.push_state(&stamp(slot, time), &StateMeta { cluster, kind, key, value }).end()
    }
}

fn stamp(slot: &Slot, slot_time: TimestampMs) -> Stamp {
    Stamp { slot: slot.id, slot_epoch: slot.epoch, slot_time, key_id: KeyId::new(0) }
}

fn meta_of(partition: &Partition, batch: &RecordBatch, base_offset: Offset) -> BatchMeta {
    let producer = batch.producer().map(|producer| BatchProducer {
        id: producer.id,
        epoch: producer.epoch,
        base_sequence: producer.base_sequence as i32,
    });
    BatchMeta {
        partition: partition.address.key,
        base_offset,
        record_count: batch.record_count(),
        base_timestamp: batch.base_timestamp(),
        max_timestamp: batch.max_timestamp(),
        producer,
        transactional: batch.is_transactional(),
        control: BatchControl::Data,
    }
}

fn silent_gateways(
    sent: &BTreeMap<Incarnation, (ByteCount, TimestampMs)>,
    now: TimestampMs,
) -> Vec<Incarnation> {
    let silent = sent.iter().filter(|(_, (_, at))| now.get().saturating_sub(at.get()) > SENT_KEPT_MS);
    silent.map(|(gateway, _)| *gateway).collect()
}

/// The slot is not owned here: nothing was done.
fn refuse_foreign(operation: Operation) {
    match operation {
        Operation::Append { answer, .. } => {
            let _ = answer.send(Err(AppendError::NotOwner));
        }
        other => other.refuse(),
    }
}
