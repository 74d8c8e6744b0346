//! The stored form of the index block. Its checksum stands in the footer.
//!
//! ```text
//! index     = u32 count, run …; u32 count, state run …
//! run       = u16 slot, u32 slot epoch, [8] cluster, [16] topic, u32 partition,
//!             u64 first position, u64 last position, u64 base offset, u64 next offset, u32 batch count,
//!             i64 base timestamp, i64 max timestamp, u64 billable bytes, u128 stored byte-ms, u64 max slot time,
//!             u64 object range start, u64 object range end, u32 CRC-32C, u32 key id,
//!             u32 count, sparse …; u32 count, producer …; u32 count, aborted …
//! sparse    = u64 base offset, u64 run position, i64 max timestamp before
//! producer  = u64 id, u16 epoch, u8 ends earlier transaction, u8 has open transaction, u64 open transaction start,
//!             u64 last slot time, u32 count, batch …
//! batch     = i32 base sequence, u64 base offset, u32 record count, i64 max timestamp
//! aborted   = u64 producer, u8 has first offset, u8 may begin earlier, u64 first offset, u64 marker offset
//! state run = u16 slot, u32 slot epoch, u64 last position, u64 max slot time, u32 entry count,
//!             u64 object range start, u64 object range end, u32 CRC-32C, u32 key id
//! ```

use std::ops::Range;

use bytes::BufMut;
use headgate_metadata::id::{ByteCount, Offset, ProducerEpoch, ProducerId};

use crate::codec::{Decoder, Encode, FormatError};
use crate::object::{
    AbortedInRun, FlushIndex, FlushRun, Footer, ProducerInRun, SequencedBatch, SparseEntry, StateRun,
};

/// The least bytes each kind of entry takes, which bounds what a wrong count can allocate.
const RUN_BYTES_MIN: usize = 154;
const SPARSE_BYTES: usize = 24;
const PRODUCER_BYTES_MIN: usize = 32;
const SEQUENCED_BATCH_BYTES: usize = 24;
const ABORTED_BYTES: usize = 26;
const STATE_RUN_BYTES: usize = 50;

pub(super) fn encode(index: &FlushIndex) -> Vec<u8> {
    let mut raw = Vec::with_capacity(1 << 10);
    raw.put_u32_le(index.runs.len() as u32);
    for run in &index.runs {
        encode_run(&mut raw, run);
    }
    raw.put_u32_le(index.state_runs.len() as u32);
    for run in &index.state_runs {
        encode_state_run(&mut raw, run);
    }
    raw
}

/// Reads an index block whose checksum was verified; it describes the bytes below `footer.index_offset`.
pub(super) fn decode(raw: &[u8], footer: &Footer) -> Result<FlushIndex, FormatError> {
    let mut fields = Decoder::new(raw);
    let count = fields.count(RUN_BYTES_MIN, "run count")?;
    let runs = (0..count).map(|_| decode_run(&mut fields, footer)).collect::<Result<_, _>>()?;
    let count = fields.count(STATE_RUN_BYTES, "state run count")?;
    let state_runs = (0..count).map(|_| decode_state_run(&mut fields, footer)).collect::<Result<_, _>>()?;
    fields.end("the index block")?;
    let index = FlushIndex { wal: footer.wal, start: footer.start, end: footer.end, runs, state_runs };
    let sorted = index.runs.is_sorted_by_key(|run| (run.slot, run.partition, run.first_position))
        && index.state_runs.is_sorted_by_key(|run| (run.slot, run.slot_epoch));
    if sorted {
        return Ok(index);
    }
    Err(FormatError::Impossible { field: "run order", value: "unsorted".to_owned() })
}

fn encode_run(raw: &mut Vec<u8>, run: &FlushRun) {
    raw.put_u16_le(run.slot.get());
    raw.put_u32_le(run.slot_epoch.get());
    raw.put_partition_key(&run.partition);
    raw.put_u64_le(run.first_position.get());
    raw.put_u64_le(run.last_position.get());
    raw.put_u64_le(run.base_offset.get());
    raw.put_u64_le(run.next_offset.get());
    raw.put_u32_le(run.batch_count);
    raw.put_i64_le(run.base_timestamp);
    raw.put_i64_le(run.max_timestamp);
    raw.put_u64_le(run.billable_bytes.get());
    raw.put_u128_le(run.stored_byte_ms);
    raw.put_u64_le(run.max_slot_time.get());
    raw.put_u64_le(run.object_range.start);
    raw.put_u64_le(run.object_range.end);
    raw.put_u32_le(run.checksum);
    raw.put_u32_le(run.key_id.get());
    raw.put_u32_le(run.sparse.len() as u32);
    for entry in &run.sparse {
        raw.put_u64_le(entry.base_offset.get());
        raw.put_u64_le(entry.run_position);
        raw.put_i64_le(entry.max_timestamp_before);
    }
    raw.put_u32_le(run.producers.len() as u32);
    for producer in &run.producers {
        encode_producer(raw, producer);
    }
    raw.put_u32_le(run.aborted.len() as u32);
    for aborted in &run.aborted {
        raw.put_u64_le(aborted.producer.get());
        raw.put_u8(u8::from(aborted.first_offset.is_some()));
        raw.put_u8(u8::from(aborted.may_begin_earlier));
        raw.put_u64_le(aborted.first_offset.map_or(0, Offset::get));
        raw.put_u64_le(aborted.marker_offset.get());
    }
}

fn encode_producer(raw: &mut Vec<u8>, producer: &ProducerInRun) {
    raw.put_u64_le(producer.id.get());
    raw.put_u16_le(producer.epoch.get());
    raw.put_u8(u8::from(producer.ends_earlier_transaction));
    raw.put_u8(u8::from(producer.open_transaction_start.is_some()));
    raw.put_u64_le(producer.open_transaction_start.map_or(0, Offset::get));
    raw.put_u64_le(producer.last_slot_time.get());
    encode_sequenced(raw, &producer.batches);
}

/// The remembered batches of a producer, with their count.
pub(crate) fn encode_sequenced(raw: &mut Vec<u8>, batches: &[SequencedBatch]) {
    raw.put_u32_le(batches.len() as u32);
    for batch in batches {
        raw.put_i32_le(batch.base_sequence);
        raw.put_u64_le(batch.base_offset.get());
        raw.put_u32_le(batch.record_count);
        raw.put_i64_le(batch.max_timestamp);
    }
}

/// Reads what [`encode_sequenced`] wrote.
pub(crate) fn decode_sequenced(fields: &mut Decoder<'_>) -> Result<Vec<SequencedBatch>, FormatError> {
    let count = fields.count(SEQUENCED_BATCH_BYTES, "batch count of a producer")?;
    let batch = |_| {
        Ok(SequencedBatch {
            base_sequence: fields.i32("base sequence")?,
            base_offset: fields.offset("base offset")?,
            record_count: fields.u32("record count")?,
            max_timestamp: fields.i64("max timestamp")?,
        })
    };
    (0..count).map(batch).collect()
}

fn encode_state_run(raw: &mut Vec<u8>, run: &StateRun) {
    raw.put_u16_le(run.slot.get());
    raw.put_u32_le(run.slot_epoch.get());
    raw.put_u64_le(run.last_position.get());
    raw.put_u64_le(run.max_slot_time.get());
    raw.put_u32_le(run.entry_count);
    raw.put_u64_le(run.object_range.start);
    raw.put_u64_le(run.object_range.end);
    raw.put_u32_le(run.checksum);
    raw.put_u32_le(run.key_id.get());
}

fn decode_run(fields: &mut Decoder<'_>, footer: &Footer) -> Result<FlushRun, FormatError> {
    let run = FlushRun {
        slot: fields.slot()?,
        slot_epoch: fields.slot_epoch()?,
        partition: fields.partition_key()?,
        first_position: fields.position("first position")?,
        last_position: fields.position("last position")?,
        base_offset: fields.offset("base offset")?,
        next_offset: fields.offset("next offset")?,
        batch_count: fields.u32("batch count")?,
        base_timestamp: fields.i64("base timestamp")?,
        max_timestamp: fields.i64("max timestamp")?,
        billable_bytes: ByteCount::new(fields.u64("billable bytes")?),
        stored_byte_ms: fields.u128("stored byte-ms")?,
        max_slot_time: fields.time("max slot time")?,
        object_range: decode_range(fields, footer)?,
        checksum: fields.u32("run checksum")?,
        key_id: fields.key_id()?,
        sparse: decode_sparse(fields)?,
        producers: decode_producers(fields)?,
        aborted: decode_aborted(fields)?,
    };
    let impossible = |field, value: String| Err(FormatError::Impossible { field, value });
    if run.next_offset <= run.base_offset {
        return impossible("next offset", run.next_offset.to_string());
    }
    let inside = footer.start <= run.first_position && run.last_position < footer.end;
    if !inside || run.last_position < run.first_position {
        return impossible("last position", run.last_position.to_string());
    }
    Ok(run)
}

fn decode_range(fields: &mut Decoder<'_>, footer: &Footer) -> Result<Range<u64>, FormatError> {
    let (start, end) = (fields.u64("object range start")?, fields.u64("object range end")?);
    if start <= end && end <= footer.index_offset {
        return Ok(start..end);
    }
    Err(FormatError::Impossible { field: "object range", value: format!("{start}..{end}") })
}

fn decode_sparse(fields: &mut Decoder<'_>) -> Result<Vec<SparseEntry>, FormatError> {
    let count = fields.count(SPARSE_BYTES, "sparse count")?;
    let entry = |_| {
        Ok(SparseEntry {
            base_offset: fields.offset("sparse offset")?,
            run_position: fields.u64("sparse position")?,
            max_timestamp_before: fields.i64("sparse timestamp")?,
        })
    };
    (0..count).map(entry).collect()
}

fn decode_producers(fields: &mut Decoder<'_>) -> Result<Vec<ProducerInRun>, FormatError> {
    let count = fields.count(PRODUCER_BYTES_MIN, "producer count")?;
    let producer = |_| {
        let id = ProducerId::new(fields.u64("producer id")?);
        let epoch = ProducerEpoch::new(fields.u16("producer epoch")?);
        let ends_earlier_transaction = fields.flag("ends earlier transaction")?;
        let is_open = fields.flag("has open transaction")?;
        let start = fields.offset("open transaction start")?;
        let last_slot_time = fields.time("last slot time")?;
        let batches = decode_sequenced(fields)?;
        let open_transaction_start = is_open.then_some(start);
        Ok(ProducerInRun {
            id,
            epoch,
            batches,
            last_slot_time,
            ends_earlier_transaction,
            open_transaction_start,
        })
    };
    (0..count).map(producer).collect()
}

fn decode_aborted(fields: &mut Decoder<'_>) -> Result<Vec<AbortedInRun>, FormatError> {
    let count = fields.count(ABORTED_BYTES, "aborted count")?;
    let aborted = |_| {
        let producer = ProducerId::new(fields.u64("producer id")?);
        let has_first = fields.flag("has first offset")?;
        let may_begin_earlier = fields.flag("may begin earlier")?;
        let first = fields.offset("first offset")?;
        let marker_offset = fields.offset("marker offset")?;
        Ok(AbortedInRun {
            producer,
            first_offset: has_first.then_some(first),
            may_begin_earlier,
            marker_offset,
        })
    };
    (0..count).map(aborted).collect()
}

fn decode_state_run(fields: &mut Decoder<'_>, footer: &Footer) -> Result<StateRun, FormatError> {
    Ok(StateRun {
        slot: fields.slot()?,
        slot_epoch: fields.slot_epoch()?,
        last_position: fields.position("last position")?,
        max_slot_time: fields.time("max slot time")?,
        entry_count: fields.u32("entry count")?,
        object_range: decode_range(fields, footer)?,
        checksum: fields.u32("state run checksum")?,
        key_id: fields.key_id()?,
    })
}
