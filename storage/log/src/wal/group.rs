//! The write group: what one vectored write puts on disk, and its header (`storage/PROTOCOL.md` §14).
//!
//! ```text
//!  0  [8]  magic "HGWALGRP"
//!  8  u16  version 1
//! 10  u16  header length 64
//! 12  u32  WAL id: node
//! 16  u64  WAL id: incarnation
//! 24  u64  position of this header
//! 32  u64  length of the group, this header included
//! 40  u64  synced-through: everything below was synced before this group was written
//! 48  u64  wall-clock time of the writer, ms
//! 56  u32  number of records; 0 in the closing group of a clean stop
//! 60  u32  CRC-32C of bytes 0..60
//! 64  records
//! ```
//!
//! Records that were submitted as one unit are pushed into one group: a torn group is cut whole, so a unit is in the
//! log whole or not at all.

use std::io::IoSlice;

use bytes::{BufMut, Bytes};
use headgate_metadata::id::{TimestampMs, WalId, WalPosition};

use crate::batch_frame::BATCH_HEADER_BYTES;
use crate::checksum::crc32c;
use crate::codec::{Decoder, Encode, FormatError, verify};
use crate::wal::record::{BATCH_RECORD_HEADER_BYTES, STATE_RECORD_HEADER_BYTES, encode_batch, encode_state};
use crate::wal::{BatchMeta, CopiedGroup, RecordPlace, Stamp, StateMeta};

/// The bytes of a group header.
pub const GROUP_HEADER_BYTES: usize = 64;

/// What every group header begins with.
pub(crate) const GROUP_MAGIC: &[u8; 8] = b"HGWALGRP";
const VERSION: u16 = 1;
const CHECKSUM_AT: usize = 60;

/// A group without its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHeader {
    /// The log.
    pub wal: WalId,
    /// Where the header lies.
    pub position: WalPosition,
    /// The bytes of the group, header included.
    pub length: u64,
    /// Everything below was synced before the group was written.
    pub synced_through: WalPosition,
    /// The writer's wall-clock time.
    pub time: TimestampMs,
    /// How many records it holds; none in the closing group of a clean stop.
    pub record_count: u32,
}

impl GroupHeader {
    /// The position after the group.
    pub fn end(&self) -> WalPosition {
        self.position.plus(self.length)
    }

    /// The stored form.
    pub fn encode(&self) -> [u8; GROUP_HEADER_BYTES] {
        let mut raw = [0; GROUP_HEADER_BYTES];
        let mut fields = &mut raw[..];
        fields.put_slice(GROUP_MAGIC);
        fields.put_u16_le(VERSION);
        fields.put_u16_le(GROUP_HEADER_BYTES as u16);
        fields.put_wal(self.wal);
        fields.put_u64_le(self.position.get());
        fields.put_u64_le(self.length);
        fields.put_u64_le(self.synced_through.get());
        fields.put_u64_le(self.time.get());
        fields.put_u32_le(self.record_count);
        let sum = crc32c(&raw[..CHECKSUM_AT]);
        raw[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
        raw
    }

    /// Reads the stored form and checks that it belongs to `wal` at `at`.
    pub fn decode(raw: &[u8], wal: WalId, at: WalPosition) -> Result<Self, FormatError> {
        let mut fields = Decoder::new(raw);
        let raw = fields.slice(GROUP_HEADER_BYTES, "group header")?;
        let mut fields = Decoder::new(raw);
        let magic: [u8; 8] = fields.array("magic")?;
        let (version, header_bytes) = (fields.u16("version")?, fields.u16("header length")?);
        let foreign =
            |found: String| FormatError::Foreign { expected: "write group", version: VERSION, found };
        if magic != *GROUP_MAGIC {
            return Err(foreign(format!("bytes {magic:02x?}")));
        }
        let stored = u32::from_le_bytes(*raw.last_chunk().expect("the slice holds 64 bytes"));
        verify("a group header", stored, crc32c(&raw[..CHECKSUM_AT]))?;
        if version != VERSION || usize::from(header_bytes) != GROUP_HEADER_BYTES {
            return Err(foreign(format!("version {version}")));
        }
        let header = Self {
            wal: fields.wal()?,
            position: fields.position("position")?,
            length: fields.u64("length")?,
            synced_through: fields.position("synced-through")?,
            time: fields.time("time")?,
            record_count: fields.u32("record count")?,
        };
        let impossible = |field, value: String| Err(FormatError::Impossible { field, value });
        if header.wal != wal {
            return impossible("WAL id", header.wal.to_string());
        }
        if header.position != at {
            return impossible("position", header.position.to_string());
        }
        if header.length < GROUP_HEADER_BYTES as u64 || at.get().checked_add(header.length).is_none() {
            return impossible("length", header.length.to_string());
        }
        if header.synced_through > at {
            return impossible("synced-through", header.synced_through.to_string());
        }
        Ok(header)
    }
}

/// Gathers the records of one write group. All headers lie in one buffer; payloads stay the callers' `Bytes`.
#[derive(Debug)]
pub struct GroupBuilder {
    wal: WalId,
    position: WalPosition,
    time: TimestampMs,
    /// The group header's room, then for each record its header, and the batch header or the state payload.
    headers: Vec<u8>,
    batches: Vec<PushedBatch>,
    bytes: u64,
    record_count: u32,
}

#[derive(Debug)]
struct PushedBatch {
    /// Where in `headers` the batch header ends and the records belong.
    headers_end: usize,
    place: RecordPlace,
    records: Bytes,
}

/// A batch that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenBatch {
    /// Where it lies.
    pub place: RecordPlace,
    /// Its 61-byte header as placed; a slice of the group's header buffer.
    pub header: Bytes,
    /// Its records, as they were pushed.
    pub records: Bytes,
    /// Where in the group's header buffer the records belong.
    headers_end: usize,
}

/// A group that was written; durable when the writer's `synced_through` has reached its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenGroup {
    /// Where it begins.
    pub position: WalPosition,
    /// The position after it: what a response that depends on it waits for.
    pub end: WalPosition,
    /// Its batches, in the order they were pushed.
    pub batches: Vec<WrittenBatch>,
    /// Where the chunk begins that holds it.
    pub chunk_start: WalPosition,
    /// The size of that chunk.
    pub chunk_bytes: u64,
    /// All headers and state records of the group.
    headers: Bytes,
}

impl WrittenGroup {
    /// The group as mirrors take it: slices of what was written, nothing is copied.
    pub fn copied(&self) -> CopiedGroup {
        let mut bytes = Vec::with_capacity(2 * self.batches.len() + 1);
        let mut from = 0;
        for batch in &self.batches {
            bytes.push(self.headers.slice(from..batch.headers_end));
            bytes.push(batch.records.clone());
            from = batch.headers_end;
        }
        bytes.push(self.headers.slice(from..));
        CopiedGroup {
            position: self.position,
            end: self.end,
            chunk_start: self.chunk_start,
            chunk_bytes: self.chunk_bytes,
            bytes,
        }
    }
}

impl GroupBuilder {
    /// Begins a group that will lie at `position` of `wal`. `time` is the wall clock, for the age of chunks.
    pub fn begin(wal: WalId, position: WalPosition, time: TimestampMs) -> Self {
        Self {
            wal,
            position,
            time,
            headers: vec![0; GROUP_HEADER_BYTES],
            batches: Vec::new(),
            bytes: GROUP_HEADER_BYTES as u64,
            record_count: 0,
        }
    }

    /// Where the next record's header will lie.
    pub fn next_position(&self) -> WalPosition {
        self.position.plus(self.bytes)
    }

    /// The position the group begins at.
    pub fn position(&self) -> WalPosition {
        self.position
    }

    /// The WAL the group belongs to.
    pub fn wal(&self) -> WalId {
        self.wal
    }

    /// The wall-clock time it was begun with.
    pub fn time(&self) -> TimestampMs {
        self.time
    }

    /// The group's size on disk so far, headers included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many records were pushed.
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Adds a batch: its header with offset and leader epoch placed, and its records, which are not copied.
    pub fn push_batch(
        &mut self,
        stamp: &Stamp,
        meta: &BatchMeta,
        placed_header: &[u8; BATCH_HEADER_BYTES],
        records: Bytes,
    ) -> RecordPlace {
        let payload_bytes = (BATCH_HEADER_BYTES + records.len()) as u32;
        let place = self.place(BATCH_RECORD_HEADER_BYTES, payload_bytes);
        let at = place.header_position;
        encode_batch(&mut self.headers, self.wal, at, stamp, meta, payload_bytes, placed_header);
        self.headers.put_slice(placed_header);
        self.batches.push(PushedBatch { headers_end: self.headers.len(), place, records });
        place
    }

    /// Adds a state record. Its key and value are copied: they are small.
    pub fn push_state(&mut self, stamp: &Stamp, state: &StateMeta) -> RecordPlace {
        let payload_bytes = state.key.len() + state.value.as_ref().map_or(0, Bytes::len);
        let place = self.place(STATE_RECORD_HEADER_BYTES, payload_bytes as u32);
        encode_state(&mut self.headers, self.wal, place.header_position, stamp, state);
        place
    }

    fn place(&mut self, header_bytes: usize, payload_bytes: u32) -> RecordPlace {
        let header_position = self.next_position();
        let payload_position = header_position.plus(header_bytes as u64);
        self.bytes += header_bytes as u64 + u64::from(payload_bytes);
        self.record_count += 1;
        RecordPlace { header_position, payload_position, payload_bytes }
    }

    /// Fills in the group header. The writer alone knows what is synced.
    pub(crate) fn seal(mut self, synced_through: WalPosition) -> SealedGroup {
        let header = GroupHeader {
            wal: self.wal,
            position: self.position,
            length: self.bytes,
            synced_through,
            time: self.time,
            record_count: self.record_count,
        };
        self.headers[..GROUP_HEADER_BYTES].copy_from_slice(&header.encode());
        SealedGroup { header, headers: Bytes::from(self.headers), batches: self.batches }
    }
}

/// A group ready to be written.
pub(crate) struct SealedGroup {
    pub(crate) header: GroupHeader,
    headers: Bytes,
    batches: Vec<PushedBatch>,
}

impl SealedGroup {
    /// The bytes of the group in order: stretches of the header buffer alternate with the callers' records.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(2 * self.batches.len() + 1);
        let mut from = 0;
        for batch in &self.batches {
            slices.push(IoSlice::new(&self.headers[from..batch.headers_end]));
            slices.push(IoSlice::new(&batch.records));
            from = batch.headers_end;
        }
        slices.push(IoSlice::new(&self.headers[from..]));
        slices
    }

    pub(crate) fn into_written(self, chunk_start: WalPosition, chunk_bytes: u64) -> WrittenGroup {
        let headers = self.headers;
        let batches = self.batches.into_iter().map(|batch| WrittenBatch {
            place: batch.place,
            header: headers.slice(batch.headers_end - BATCH_HEADER_BYTES..batch.headers_end),
            records: batch.records,
            headers_end: batch.headers_end,
        });
        let batches = batches.collect();
        let (position, end) = (self.header.position, self.header.end());
        WrittenGroup { position, end, batches, chunk_start, chunk_bytes, headers }
    }
}
