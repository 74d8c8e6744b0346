//! Gathers the batches of one run: contiguous offsets of one partition under one slot epoch and one key.

use std::collections::BTreeMap;

use bytes::Bytes;
use headgate_metadata::id::{ByteCount, Offset, ProducerId, SlotEpoch};

use crate::checksum::Crc32c;
use crate::object::{AbortedInRun, FlushRun, ProducerInRun, SPARSE_INDEX_BYTES, SequencedBatch, SparseEntry};
use crate::wal::{BatchControl, BatchMeta, BatchProducer, RecordHeader, Stamp};

/// How many batches of a producer are remembered for duplicates, as in Kafka's brokers.
pub(crate) const SEQUENCED_BATCHES_MAX: usize = 5;

pub(super) struct RunBuilder {
    run: FlushRun,
    parts: Vec<Bytes>,
    bytes: u64,
    checksum: Crc32c,
    producers: BTreeMap<ProducerId, ProducerInRun>,
    sparse_due_at: u64,
    closed: bool,
}

impl RunBuilder {
    /// Begins a run with its first batch.
    pub(super) fn begin(record: &RecordHeader, meta: &BatchMeta, payload: Bytes) -> Self {
        let Stamp { slot, slot_epoch, slot_time, key_id } = record.stamp;
        let run = FlushRun {
            slot,
            slot_epoch,
            partition: meta.partition,
            first_position: record.place.header_position,
            last_position: record.place.header_position,
            base_offset: meta.base_offset,
            next_offset: meta.base_offset,
            batch_count: 0,
            base_timestamp: meta.base_timestamp,
            max_timestamp: i64::MIN,
            billable_bytes: ByteCount::new(0),
            stored_byte_ms: 0,
            max_slot_time: slot_time,
            object_range: 0..0,
            checksum: 0,
            key_id,
            sparse: Vec::new(),
            producers: Vec::new(),
            aborted: Vec::new(),
        };
        let mut builder = Self {
            run,
            parts: Vec::new(),
            bytes: 0,
            checksum: Crc32c::new(),
            producers: BTreeMap::new(),
            sparse_due_at: 0,
            closed: false,
        };
        builder.push(record, meta, payload);
        builder
    }

    /// Ends the run: the partition's next batch begins another.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether a batch continues the run.
    pub(super) fn takes(&self, stamp: &Stamp) -> bool {
        !self.closed && stamp.slot_epoch == self.run.slot_epoch && stamp.key_id == self.run.key_id
    }

    /// The offset the next batch must have if it is of the same epoch.
    pub(super) fn next_offset_within(&self, slot_epoch: SlotEpoch) -> Option<Offset> {
        (slot_epoch == self.run.slot_epoch).then_some(self.run.next_offset)
    }

    pub(super) fn push(&mut self, record: &RecordHeader, meta: &BatchMeta, payload: Bytes) {
        let run = &mut self.run;
        if self.bytes >= self.sparse_due_at {
            run.sparse.push(SparseEntry {
                base_offset: meta.base_offset,
                run_position: self.bytes,
                max_timestamp_before: run.max_timestamp,
            });
            self.sparse_due_at = self.bytes + SPARSE_INDEX_BYTES;
        }
        let time = record.stamp.slot_time.max(run.max_slot_time);
        let elapsed = time.get() - run.max_slot_time.get();
        run.stored_byte_ms += u128::from(run.billable_bytes.get()) * u128::from(elapsed);
        run.max_slot_time = time;
        if meta.control == BatchControl::Data {
            run.billable_bytes = ByteCount::new(run.billable_bytes.get() + payload.len() as u64);
        }
        run.last_position = record.place.header_position;
        run.next_offset = meta.next_offset();
        run.batch_count += 1;
        run.max_timestamp = run.max_timestamp.max(meta.max_timestamp);
        self.bytes += payload.len() as u64;
        self.checksum.update(&payload);
        self.parts.push(payload);
        if let Some(producer) = meta.producer {
            self.note_producer(record, meta, producer);
        }
    }

    fn note_producer(&mut self, record: &RecordHeader, meta: &BatchMeta, producer: BatchProducer) {
        let noted = self.producers.entry(producer.id).or_insert_with(|| ProducerInRun {
            id: producer.id,
            epoch: producer.epoch,
            batches: Vec::new(),
            last_slot_time: record.stamp.slot_time,
            ends_earlier_transaction: false,
            open_transaction_start: None,
        });
        if noted.epoch != producer.epoch {
            noted.epoch = producer.epoch;
            noted.batches.clear();
        }
        noted.last_slot_time = noted.last_slot_time.max(record.stamp.slot_time);
        match meta.control {
            BatchControl::Data => {
                remember(
                    &mut noted.batches,
                    SequencedBatch {
                        base_sequence: producer.base_sequence,
                        base_offset: meta.base_offset,
                        record_count: meta.record_count,
                        max_timestamp: meta.max_timestamp,
                    },
                );
                if meta.transactional && noted.open_transaction_start.is_none() {
                    noted.open_transaction_start = Some(meta.base_offset);
                }
            }
            BatchControl::Commit | BatchControl::Abort => {
                let first_offset = noted.open_transaction_start.take();
                let may_begin_earlier = !noted.ends_earlier_transaction;
                noted.ends_earlier_transaction = true;
                if meta.control == BatchControl::Abort {
                    let marker_offset = meta.base_offset;
                    let producer = producer.id;
                    self.run.aborted.push(AbortedInRun {
                        producer,
                        first_offset,
                        may_begin_earlier,
                        marker_offset,
                    });
                }
            }
            BatchControl::Other => {}
        }
    }

    /// The run, placed at `object_offset`, and its bytes.
    pub(super) fn finish(mut self, object_offset: u64) -> (FlushRun, Vec<Bytes>) {
        self.run.object_range = object_offset..object_offset + self.bytes;
        self.run.checksum = self.checksum.finish();
        self.run.producers = self.producers.into_values().collect();
        (self.run, self.parts)
    }
}

/// Adds a batch to those remembered; the oldest goes.
pub(crate) fn remember(batches: &mut Vec<SequencedBatch>, batch: SequencedBatch) {
    if batches.len() == SEQUENCED_BATCHES_MAX {
        batches.remove(0);
    }
    batches.push(batch);
}
