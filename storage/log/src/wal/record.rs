//! The record header: everything recovery needs, so that payloads need not be read (`storage/PROTOCOL.md` §7).
//!
//! ```text
//! common part
//!   0  u32   CRC-32C over: WAL id (u32 node, u64 incarnation), header bytes 4.., and for a batch its first 21 bytes
//!   4  u16   header length: 112 for a batch, 60 for state
//!   6  u8    kind: 1 = batch, 2 = state
//!   7  u8    flags; batch: bit 0 transactional, bit 1 has producer, bits 2..3 control (0 data, 1 commit, 2 abort, 3 other)
//!                   state: bit 0 has a value (else tombstone)
//!   8  u64   WAL position of this header
//!  16  u32   payload length
//!  20  u16   slot
//!  22  u16   zero
//!  24  u32   slot epoch
//!  28  u32   key id (0 = not encrypted)
//!  32  u64   slot time, ms
//! batch                                   state
//!  40  [8]  cluster                        40  [8]  cluster
//!  48  [16] topic                          48  u8   state kind
//!  64  u32  partition                      49  [3]  zero
//!  68  u32  record count                   52  u32  key length
//!  72  u64  base offset                    56  u32  CRC-32C of the payload
//!  80  i64  base timestamp                 60  payload: key, value
//!  88  i64  max timestamp
//!  96  u64  producer id (0 if none)
//! 104  u16  producer epoch
//! 106  u16  zero
//! 108  i32  base sequence
//! 112  payload: the whole batch, offsets placed
//! ```
//!
//! A batch's bytes from 21 on are covered by the batch's own CRC (see [`crate::batch_frame`]); its first 21 are covered
//! here. The WAL id is not stored but summed, so a record of another log never passes.

use bytes::{BufMut, Bytes};
use headgate_metadata::id::{
    ClusterId, KeyId, Offset, PartitionKey, ProducerEpoch, ProducerId, SlotEpoch, SlotId, TimestampMs, WalId,
    WalPosition,
};

use crate::batch_frame::{UNSUMMED_BYTES, checksum_holds};
use crate::checksum::{Crc32c, crc32c_of};
use crate::codec::{Decoder, Encode, FormatError, verify};

/// Bytes of a batch's record header.
pub(crate) const BATCH_RECORD_HEADER_BYTES: usize = 112;
/// Bytes of a state record's header.
pub(crate) const STATE_RECORD_HEADER_BYTES: usize = 60;
/// Bytes from which a header's own length can be read.
pub(crate) const COMMON_HEADER_BYTES: usize = 40;

const KIND_BATCH: u8 = 1;
const KIND_STATE: u8 = 2;
const FLAG_TRANSACTIONAL: u8 = 1;
const FLAG_PRODUCER: u8 = 1 << 1;
const CONTROL_SHIFT: u8 = 2;
const FLAG_VALUE: u8 = 1;

/// Whose record it is and when it was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The slot.
    pub slot: SlotId,
    /// The epoch of its owner.
    pub slot_epoch: SlotEpoch,
    /// The slot time of the record (`storage/PROTOCOL.md` §13).
    pub slot_time: TimestampMs,
    /// The key its payload is encrypted with; 0 = none.
    pub key_id: KeyId,
}

/// Whether a batch holds a user's records or a transaction marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchControl {
    /// A user's records.
    Data,
    /// The marker that commits its producer's transaction.
    Commit,
    /// The marker that aborts its producer's transaction.
    Abort,
    /// Another control batch.
    Other,
}

/// The idempotent producer of a batch (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchProducer {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// The sequence number of the first record; -1 in a marker.
    pub base_sequence: i32,
}

/// What recovery and flush must know of a batch without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchMeta {
    /// Its partition.
    pub partition: PartitionKey,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// How many offsets it takes; at least 1.
    pub record_count: u32,
    /// The timestamp of the first record, ms; -1 if unknown.
    pub base_timestamp: i64,
    /// The greatest timestamp, ms; -1 if unknown.
    pub max_timestamp: i64,
    /// Its idempotent producer, if any.
    pub producer: Option<BatchProducer>,
    /// Whether it is part of a transaction.
    pub transactional: bool,
    /// Data or marker.
    pub control: BatchControl,
}

impl BatchMeta {
    /// The offset after its last record.
    pub fn next_offset(&self) -> Offset {
        self.base_offset.plus(u64::from(self.record_count))
    }
}

/// An upsert or tombstone of one key of a slot's state; never a delta (`storage/PROTOCOL.md` §6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateMeta {
    /// The tenant it belongs to.
    pub cluster: ClusterId,
    /// What it is, see [`crate::state_record`] for the kinds this crate knows.
    pub kind: u8,
    /// Its key within kind, cluster and slot.
    pub key: Bytes,
    /// Its value; `None` removes the key.
    pub value: Option<Bytes>,
}

/// What a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordKind {
    /// A record batch; the payload is the whole batch.
    Batch(BatchMeta),
    /// A change of the slot's state; key and value are the payload.
    State {
        /// The tenant.
        cluster: ClusterId,
        /// What it is.
        kind: u8,
        /// The length of the key, which begins the payload.
        key_bytes: u32,
        /// Whether a value follows the key; else the record removes the key.
        has_value: bool,
        /// The CRC-32C of the payload.
        payload_checksum: u32,
    },
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordPlace {
    /// The position of its header.
    pub header_position: WalPosition,
    /// The position of its payload.
    pub payload_position: WalPosition,
    /// The length of its payload.
    pub payload_bytes: u32,
}

impl RecordPlace {
    /// The position after the record.
    pub fn end(&self) -> WalPosition {
        self.payload_position.plus(u64::from(self.payload_bytes))
    }
}

/// A record without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// Whose and when.
    pub stamp: Stamp,
    /// Where.
    pub place: RecordPlace,
    /// What.
    pub kind: RecordKind,
}

impl RecordHeader {
    /// Cuts a state record's payload into key and value. `None` for a batch or a payload of another length.
    pub fn state(&self, payload: &Bytes) -> Option<StateMeta> {
        let RecordKind::State { cluster, kind, key_bytes, has_value, .. } = self.kind else { return None };
        if payload.len() != self.place.payload_bytes as usize || key_bytes > self.place.payload_bytes {
            return None;
        }
        let key = payload.slice(..key_bytes as usize);
        let value = has_value.then(|| payload.slice(key_bytes as usize..));
        Some(StateMeta { cluster, kind, key, value })
    }

    /// Whether the payload carries its right checksum.
    pub fn payload_holds(&self, payload: &[u8]) -> bool {
        payload.len() == self.place.payload_bytes as usize && payload_slices_hold(&self.kind, payload, &[])
    }

    pub(crate) fn decode_common(raw: &[u8]) -> Result<CommonHeader, FormatError> {
        let mut fields = Decoder::new(raw);
        fields.u32("record checksum")?;
        let header_bytes = usize::from(fields.u16("header length")?);
        let kind = fields.u8("record kind")?;
        let expected = match kind {
            KIND_BATCH => BATCH_RECORD_HEADER_BYTES,
            KIND_STATE => STATE_RECORD_HEADER_BYTES,
            other => return Err(FormatError::Impossible { field: "record kind", value: other.to_string() }),
        };
        if header_bytes != expected {
            return Err(FormatError::Impossible { field: "header length", value: header_bytes.to_string() });
        }
        fields.u8("flags")?;
        fields.u64("position")?;
        let payload_bytes = fields.u32("payload length")?;
        let unsummed_bytes = if kind == KIND_BATCH { UNSUMMED_BYTES } else { 0 };
        if (payload_bytes as usize) < unsummed_bytes {
            return Err(FormatError::Impossible {
                field: "payload length",
                value: payload_bytes.to_string(),
            });
        }
        Ok(CommonHeader { header_bytes, unsummed_bytes })
    }

    /// Reads a whole header. `raw` holds the header and, for a batch, the first 21 bytes of its payload; `at` is where
    /// the header was found.
    pub(crate) fn decode(raw: &[u8], wal: WalId, at: WalPosition) -> Result<Self, FormatError> {
        let common = Self::decode_common(raw)?;
        let mut fields = Decoder::new(raw);
        let summed = fields.slice(common.header_bytes + common.unsummed_bytes, "record header")?;
        let mut fields = Decoder::new(&summed[..common.header_bytes]);
        let stored = fields.u32("record checksum")?;
        verify("a record header", stored, header_checksum(wal, &summed[4..]))?;
        fields.u16("header length")?;
        let kind = fields.u8("record kind")?;
        let flags = fields.u8("flags")?;
        let position = fields.position("position")?;
        if position != at {
            return Err(FormatError::Impossible { field: "position", value: position.to_string() });
        }
        let payload_bytes = fields.u32("payload length")?;
        let slot = fields.slot()?;
        fields.reserved(2)?;
        let (slot_epoch, key_id) = (fields.slot_epoch()?, fields.key_id()?);
        let slot_time = fields.time("slot time")?;
        let kind = if kind == KIND_BATCH {
            RecordKind::Batch(decode_batch(&mut fields, flags)?)
        } else {
            decode_state(&mut fields, flags, payload_bytes)?
        };
        fields.end("a record header")?;
        let place = RecordPlace {
            header_position: at,
            payload_position: at.plus(common.header_bytes as u64),
            payload_bytes,
        };
        Ok(Self { stamp: Stamp { slot, slot_epoch, slot_time, key_id }, place, kind })
    }
}

/// What must be read before the rest of a header can be.
pub(crate) struct CommonHeader {
    pub(crate) header_bytes: usize,
    pub(crate) unsummed_bytes: usize,
}

/// Whether a payload, given as consecutive slices, carries its right checksum.
pub fn payload_slices_hold(kind: &RecordKind, first: &[u8], rest: &[&[u8]]) -> bool {
    match kind {
        RecordKind::Batch(_) => checksum_holds(first, rest),
        RecordKind::State { payload_checksum, .. } => {
            crc32c_of(std::iter::once(first).chain(rest.iter().copied())) == *payload_checksum
        }
    }
}

/// Appends a batch's record header to `buffer`. The batch's first 21 bytes are in `unsummed`.
pub(crate) fn encode_batch(
    buffer: &mut Vec<u8>,
    wal: WalId,
    position: WalPosition,
    stamp: &Stamp,
    meta: &BatchMeta,
    payload_bytes: u32,
    unsummed: &[u8],
) {
    let start = buffer.len();
    let control: u8 = match meta.control {
        BatchControl::Data => 0,
        BatchControl::Commit => 1,
        BatchControl::Abort => 2,
        BatchControl::Other => 3,
    };
    let transactional = if meta.transactional { FLAG_TRANSACTIONAL } else { 0 };
    let producer = if meta.producer.is_some() { FLAG_PRODUCER } else { 0 };
    let flags = transactional | producer | (control << CONTROL_SHIFT);
    encode_common(buffer, BATCH_RECORD_HEADER_BYTES, KIND_BATCH, flags, position, payload_bytes, stamp);
    buffer.put_partition_key(&meta.partition);
    buffer.put_u32_le(meta.record_count);
    buffer.put_u64_le(meta.base_offset.get());
    buffer.put_i64_le(meta.base_timestamp);
    buffer.put_i64_le(meta.max_timestamp);
    buffer.put_u64_le(meta.producer.map_or(0, |producer| producer.id.get()));
    buffer.put_u16_le(meta.producer.map_or(0, |producer| producer.epoch.get()));
    buffer.put_u16_le(0);
    buffer.put_i32_le(meta.producer.map_or(0, |producer| producer.base_sequence));
    sum_header(buffer, start, wal, &unsummed[..UNSUMMED_BYTES]);
}

/// Appends a state record's header and payload to `buffer`; returns the payload's length.
pub(crate) fn encode_state(
    buffer: &mut Vec<u8>,
    wal: WalId,
    position: WalPosition,
    stamp: &Stamp,
    state: &StateMeta,
) -> u32 {
    let start = buffer.len();
    let value: &[u8] = state.value.as_deref().unwrap_or_default();
    let payload_bytes = (state.key.len() + value.len()) as u32;
    let flags = if state.value.is_some() { FLAG_VALUE } else { 0 };
    encode_common(buffer, STATE_RECORD_HEADER_BYTES, KIND_STATE, flags, position, payload_bytes, stamp);
    buffer.put_slice(state.cluster.as_bytes());
    buffer.put_u8(state.kind);
    buffer.put_slice(&[0; 3]);
    buffer.put_u32_le(state.key.len() as u32);
    buffer.put_u32_le(crc32c_of([&state.key[..], value]));
    sum_header(buffer, start, wal, &[]);
    buffer.put_slice(&state.key);
    buffer.put_slice(value);
    payload_bytes
}

fn encode_common(
    buffer: &mut Vec<u8>,
    header_bytes: usize,
    kind: u8,
    flags: u8,
    position: WalPosition,
    payload_bytes: u32,
    stamp: &Stamp,
) {
    buffer.put_u32_le(0);
    buffer.put_u16_le(header_bytes as u16);
    buffer.put_u8(kind);
    buffer.put_u8(flags);
    buffer.put_u64_le(position.get());
    buffer.put_u32_le(payload_bytes);
    buffer.put_u16_le(stamp.slot.get());
    buffer.put_u16_le(0);
    buffer.put_u32_le(stamp.slot_epoch.get());
    buffer.put_u32_le(stamp.key_id.get());
    buffer.put_u64_le(stamp.slot_time.get());
}

fn sum_header(buffer: &mut [u8], start: usize, wal: WalId, unsummed: &[u8]) {
    let mut sum = Crc32c::new();
    sum_wal(&mut sum, wal);
    sum.update(&buffer[start + 4..]);
    sum.update(unsummed);
    buffer[start..start + 4].copy_from_slice(&sum.finish().to_le_bytes());
}

fn header_checksum(wal: WalId, summed: &[u8]) -> u32 {
    let mut sum = Crc32c::new();
    sum_wal(&mut sum, wal);
    sum.update(summed);
    sum.finish()
}

fn sum_wal(sum: &mut Crc32c, wal: WalId) {
    sum.update(&wal.node.get().to_le_bytes());
    sum.update(&wal.incarnation.get().to_le_bytes());
}

fn decode_batch(fields: &mut Decoder<'_>, flags: u8) -> Result<BatchMeta, FormatError> {
    let partition = fields.partition_key()?;
    let record_count = fields.u32("record count")?;
    let base_offset = fields.offset("base offset")?;
    let base_timestamp = fields.i64("base timestamp")?;
    let max_timestamp = fields.i64("max timestamp")?;
    let id = ProducerId::new(fields.u64("producer id")?);
    let epoch = ProducerEpoch::new(fields.u16("producer epoch")?);
    fields.reserved(2)?;
    let base_sequence = fields.i32("base sequence")?;
    let producer = (flags & FLAG_PRODUCER != 0).then_some(BatchProducer { id, epoch, base_sequence });
    let control = match flags >> CONTROL_SHIFT {
        0 => BatchControl::Data,
        1 => BatchControl::Commit,
        2 => BatchControl::Abort,
        3 => BatchControl::Other,
        _ => return Err(FormatError::Impossible { field: "batch flags", value: flags.to_string() }),
    };
    if record_count == 0 || base_offset.get().checked_add(u64::from(record_count)).is_none() {
        return Err(FormatError::Impossible { field: "record count", value: record_count.to_string() });
    }
    Ok(BatchMeta {
        partition,
        base_offset,
        record_count,
        base_timestamp,
        max_timestamp,
        producer,
        transactional: flags & FLAG_TRANSACTIONAL != 0,
        control,
    })
}

fn decode_state(fields: &mut Decoder<'_>, flags: u8, payload_bytes: u32) -> Result<RecordKind, FormatError> {
    let cluster = fields.cluster()?;
    let kind = fields.u8("state kind")?;
    fields.reserved(3)?;
    let key_bytes = fields.u32("key length")?;
    let payload_checksum = fields.u32("payload checksum")?;
    let has_value = match flags {
        0 => false,
        FLAG_VALUE => true,
        other => return Err(FormatError::Impossible { field: "state flags", value: other.to_string() }),
    };
    if key_bytes > payload_bytes || (!has_value && key_bytes != payload_bytes) {
        return Err(FormatError::Impossible { field: "key length", value: key_bytes.to_string() });
    }
    Ok(RecordKind::State { cluster, kind, key_bytes, has_value, payload_checksum })
}
