//! The stored form of a manifest.
//!
//! ```text
//! manifest  = envelope (envelope.rs) "HGMANIF1" version 1, then:
//!             u8 has applied, u32 applied epoch, u64 applied position, u64 slot time,
//!             names (run_codec.rs), u32 count, partition …,
//!             u8 has state object, [u32 length, name, u64 bytes],
//!             u32 count, delta …, u32 count, garbage name …
//! partition = [8] cluster, [16] topic, u32 partition, u64 log start, u64 next offset, u8 removed,
//!             u64 bytes in, u64 bytes out, stored bytes (usage.rs),
//!             u32 count, list …; runs (run_codec.rs); u32 count, epoch start …; u32 count, producer …;
//!             u32 count, aborted …
//! list      = name, u64 base offset, u64 next offset, u32 run count, i64 max timestamp, u64 bytes
//! epoch     = u32 slot epoch, u64 start offset
//! producer  = u64 id, u16 epoch, u64 last slot time, u8 has open transaction, u64 open transaction start, u32 count,
//!             batch … (object/index_codec.rs)
//! aborted   = u64 producer, u64 first offset, u64 marker offset
//! delta     = u8 kind, [8] cluster, u32 length, key, u8 has value, u32 length, value
//! ```

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};
use headgate_metadata::id::{Offset, ProducerEpoch, ProducerId, SlotEpoch};
use headgate_metadata::record::Applied;

use crate::codec::{Decoder, Encode, FormatError};
use crate::envelope::Envelope;
use crate::manifest::run_codec::{NameTable, decode_name, decode_names, decode_runs, encode_runs};
use crate::manifest::state_object::{decode_key, encode_key};
use crate::manifest::{AbortedTransaction, ListRef, Manifest, PartitionManifest, ProducerState, StateObject};
use crate::object::{ObjectName, StateKey, decode_sequenced, encode_sequenced};
use crate::usage::UsageCounters;

const ENVELOPE: Envelope = Envelope { magic: b"HGMANIF1", version: 1, what: "manifest" };

/// The least bytes each kind of entry takes, which bounds what a wrong count can allocate.
const PARTITION_BYTES_MIN: usize = 113;
const LIST_BYTES_MIN: usize = 41;
const EPOCH_BYTES: usize = 12;
const PRODUCER_BYTES_MIN: usize = 31;
const ABORTED_BYTES: usize = 24;
const DELTA_BYTES_MIN: usize = 18;
const NAME_BYTES_MIN: usize = 5;

pub(super) fn encode(manifest: &Manifest) -> Bytes {
    let mut raw = ENVELOPE.begin(manifest.slot);
    raw.put_u8(u8::from(manifest.applied.is_some()));
    raw.put_u32_le(manifest.applied.map_or(0, |applied| applied.epoch.get()));
    raw.put_u64_le(manifest.applied.map_or(0, |applied| applied.position.get()));
    raw.put_u64_le(manifest.slot_time.get());
    let runs = manifest.partitions.values().flat_map(|partition| &partition.runs);
    let names = NameTable::of(runs.map(|run| &run.object));
    names.encode(&mut raw);
    raw.put_u32_le(manifest.partitions.len() as u32);
    for (key, partition) in &manifest.partitions {
        raw.put_partition_key(key);
        encode_partition(&mut raw, partition, &names);
    }
    raw.put_u8(u8::from(manifest.state_object.is_some()));
    if let Some(object) = &manifest.state_object {
        put_name(&mut raw, &object.name);
        raw.put_u64_le(object.bytes);
    }
    raw.put_u32_le(manifest.state_delta.len() as u32);
    for (key, value) in &manifest.state_delta {
        encode_key(&mut raw, key);
        raw.put_u8(u8::from(value.is_some()));
        raw.put_bytes_with_length(value.as_deref().unwrap_or_default());
    }
    raw.put_u32_le(manifest.garbage.len() as u32);
    for name in &manifest.garbage {
        put_name(&mut raw, name);
    }
    Envelope::seal(raw)
}

pub(super) fn decode(raw: &[u8]) -> Result<Manifest, FormatError> {
    let (slot, mut fields) = ENVELOPE.open(raw)?;
    let has_applied = fields.flag("has applied")?;
    let applied = Applied { epoch: fields.slot_epoch()?, position: fields.position("applied position")? };
    let slot_time = fields.time("slot time")?;
    let names = decode_names(&mut fields)?;
    let count = fields.count(PARTITION_BYTES_MIN, "partition count")?;
    let mut partitions = BTreeMap::new();
    for _ in 0..count {
        let key = fields.partition_key()?;
        partitions.insert(key, decode_partition(&mut fields, &names)?);
    }
    let state_object = decode_state_object(&mut fields)?;
    let state_delta = decode_delta(&mut fields)?;
    let count = fields.count(NAME_BYTES_MIN, "garbage count")?;
    let garbage = (0..count).map(|_| decode_name(&mut fields)).collect::<Result<_, _>>()?;
    fields.end("a manifest")?;
    let applied = has_applied.then_some(applied);
    Ok(Manifest { slot, applied, slot_time, partitions, state_object, state_delta, garbage })
}

fn put_name(raw: &mut Vec<u8>, name: &ObjectName) {
    raw.put_bytes_with_length(name.as_str().as_bytes());
}

fn encode_partition(raw: &mut Vec<u8>, partition: &PartitionManifest, names: &NameTable<'_>) {
    raw.put_u64_le(partition.log_start.get());
    raw.put_u64_le(partition.next_offset.get());
    raw.put_u8(u8::from(partition.removed));
    partition.counters.encode(raw);
    raw.put_u32_le(partition.lists.len() as u32);
    for list in &partition.lists {
        put_name(raw, &list.object);
        raw.put_u64_le(list.base_offset.get());
        raw.put_u64_le(list.next_offset.get());
        raw.put_u32_le(list.run_count);
        raw.put_i64_le(list.max_timestamp);
        raw.put_u64_le(list.bytes);
    }
    encode_runs(raw, &partition.runs, names);
    raw.put_u32_le(partition.epoch_starts.len() as u32);
    for (epoch, start) in &partition.epoch_starts {
        raw.put_u32_le(epoch.get());
        raw.put_u64_le(start.get());
    }
    raw.put_u32_le(partition.producers.len() as u32);
    for (id, state) in &partition.producers {
        raw.put_u64_le(id.get());
        raw.put_u16_le(state.epoch.get());
        raw.put_u64_le(state.last_slot_time.get());
        raw.put_u8(u8::from(state.open_transaction_start.is_some()));
        raw.put_u64_le(state.open_transaction_start.map_or(0, Offset::get));
        encode_sequenced(raw, &state.batches);
    }
    raw.put_u32_le(partition.aborted.len() as u32);
    for aborted in &partition.aborted {
        raw.put_u64_le(aborted.producer.get());
        raw.put_u64_le(aborted.first_offset.get());
        raw.put_u64_le(aborted.marker_offset.get());
    }
}

fn decode_partition(
    fields: &mut Decoder<'_>,
    names: &[ObjectName],
) -> Result<PartitionManifest, FormatError> {
    let partition = PartitionManifest {
        log_start: fields.offset("log start")?,
        next_offset: fields.offset("next offset")?,
        removed: fields.flag("removed")?,
        counters: UsageCounters::decode(fields)?,
        lists: decode_lists(fields)?,
        runs: decode_runs(fields, names)?,
        epoch_starts: decode_epochs(fields)?,
        producers: decode_producers(fields)?,
        aborted: decode_aborted(fields)?,
    };
    let ends_right = partition.runs.last().is_none_or(|run| run.next_offset == partition.next_offset);
    if ends_right {
        return Ok(partition);
    }
    Err(FormatError::Impossible { field: "next offset", value: partition.next_offset.to_string() })
}

fn decode_lists(fields: &mut Decoder<'_>) -> Result<Vec<ListRef>, FormatError> {
    let count = fields.count(LIST_BYTES_MIN, "list count")?;
    let list = |_| {
        Ok(ListRef {
            object: decode_name(fields)?,
            base_offset: fields.offset("list base offset")?,
            next_offset: fields.offset("list next offset")?,
            run_count: fields.u32("list run count")?,
            max_timestamp: fields.i64("list max timestamp")?,
            bytes: fields.u64("list bytes")?,
        })
    };
    (0..count).map(list).collect()
}

fn decode_epochs(fields: &mut Decoder<'_>) -> Result<Vec<(SlotEpoch, Offset)>, FormatError> {
    let count = fields.count(EPOCH_BYTES, "epoch count")?;
    (0..count).map(|_| Ok((fields.slot_epoch()?, fields.offset("epoch start")?))).collect()
}

fn decode_producers(fields: &mut Decoder<'_>) -> Result<BTreeMap<ProducerId, ProducerState>, FormatError> {
    let count = fields.count(PRODUCER_BYTES_MIN, "producer count")?;
    let producer = |_| {
        let id = ProducerId::new(fields.u64("producer id")?);
        let epoch = ProducerEpoch::new(fields.u16("producer epoch")?);
        let last_slot_time = fields.time("last slot time")?;
        let is_open = fields.flag("has open transaction")?;
        let start = fields.offset("open transaction start")?;
        let batches = decode_sequenced(fields)?;
        let open_transaction_start = is_open.then_some(start);
        Ok((id, ProducerState { epoch, batches, last_slot_time, open_transaction_start }))
    };
    (0..count).map(producer).collect()
}

fn decode_aborted(fields: &mut Decoder<'_>) -> Result<Vec<AbortedTransaction>, FormatError> {
    let count = fields.count(ABORTED_BYTES, "aborted count")?;
    let aborted = |_| {
        Ok(AbortedTransaction {
            producer: ProducerId::new(fields.u64("producer id")?),
            first_offset: fields.offset("first offset")?,
            marker_offset: fields.offset("marker offset")?,
        })
    };
    (0..count).map(aborted).collect()
}

fn decode_state_object(fields: &mut Decoder<'_>) -> Result<Option<StateObject>, FormatError> {
    if !fields.flag("has state object")? {
        return Ok(None);
    }
    Ok(Some(StateObject { name: decode_name(fields)?, bytes: fields.u64("state object bytes")? }))
}

fn decode_delta(fields: &mut Decoder<'_>) -> Result<BTreeMap<StateKey, Option<Bytes>>, FormatError> {
    let count = fields.count(DELTA_BYTES_MIN, "delta count")?;
    let delta = |_| {
        let key = decode_key(fields)?;
        let has_value = fields.flag("has value")?;
        let value = fields.bytes("state value")?;
        Ok((key, has_value.then_some(value)))
    };
    (0..count).map(delta).collect()
}
