//! One batch of a compacted topic, without the records that later ones supersede.
//!
//! As Kafka's cleaner does it: a batch keeps its base offset, its last offset and its producer's sequence, so that offsets never
//! move; only its count, its greatest timestamp and its records change. A tombstone stays for `delete.retention.ms` after the
//! first pass that took away what it deletes: that pass notes the moment in the batch, as its base timestamp, and sets a bit that
//! says so (KIP-534).

use bytes::{Bytes, BytesMut};
use headgate_log::checksum::crc32c;
use headgate_metadata::id::Offset;
use headgate_storage_client::records::{Record, Records, Undecodable, put_varint};
use headgate_storage_client::{BATCH_HEADER_BYTES, Compression};

use super::latest::LatestOffsets;
use crate::decode::StoredBatch;

/// How long tombstones stay, in ms: Kafka's default `delete.retention.ms`.
pub(crate) const DELETE_RETENTION_MS: i64 = 24 * 3_600_000;
/// The attribute that says that the base timestamp is the moment from which the batch's tombstones may go.
const DELETE_HORIZON: i16 = 0x40;
const CONTROL: i16 = 0x20;
const NO_TIMESTAMP: i64 = -1;

/// What becomes of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rewritten {
    /// It stays as it is.
    Kept,
    /// It is replaced by this one.
    Changed(StoredBatch),
    /// Nothing of it is left.
    Gone,
}

/// What a pass goes by.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) latest: &'a LatestOffsets,
    /// The last offset of the pass: its record always stays, so that a partition never ends in a hole.
    pub(crate) last: Offset,
    pub(crate) now_ms: i64,
    /// Whether a pass wrote the batch. Only then does the bit of the horizon mean anything: a client may send it too.
    pub(crate) was_compacted: bool,
}

impl Rules<'_> {
    /// Applies the rules to one batch. One that does not decode stays, as does a transaction's marker.
    pub(crate) fn rewrite(&self, batch: &StoredBatch) -> Rewritten {
        if batch.attributes() & CONTROL != 0 {
            return Rewritten::Kept;
        }
        self.rewrite_records(batch).unwrap_or(Rewritten::Kept)
    }

    fn rewrite_records(&self, batch: &StoredBatch) -> Result<Rewritten, Undecodable> {
        let records = batch.decompressed()?;
        let has_horizon = self.was_compacted && batch.attributes() & DELETE_HORIZON != 0;
        let horizon = has_horizon.then(|| batch.base_timestamp());
        // Walked twice instead of gathered: a small batch may expand to millions of records.
        let (mut kept, mut all, mut has_tombstone, mut max_delta) = (0_u32, 0_u32, false, i64::MIN);
        for record in Records::new(&records) {
            let record = record?;
            all += 1;
            if self.stays(&record, batch.offset_of(&record)?, horizon) {
                kept += 1;
                has_tombstone |= is_tombstone(&record);
                max_delta = max_delta.max(record.timestamp_delta);
            }
        }
        let sets_horizon = has_tombstone && horizon.is_none();
        if kept == 0 {
            return Ok(Rewritten::Gone);
        }
        if kept == all && !sets_horizon {
            return Ok(Rewritten::Kept);
        }
        let base_timestamp =
            if sets_horizon { self.now_ms + DELETE_RETENTION_MS } else { batch.base_timestamp() };
        let max_timestamp = if batch.is_log_append_time() || batch.max_timestamp() == NO_TIMESTAMP {
            batch.max_timestamp()
        } else {
            batch.base_timestamp().wrapping_add(max_delta)
        };
        let attributes = batch.attributes() | if sets_horizon { DELETE_HORIZON } else { 0 };
        let moved = batch.base_timestamp().wrapping_sub(base_timestamp);
        let mut left = Vec::new();
        for record in Records::new(&records) {
            let record = record?;
            if !self.stays(&record, batch.offset_of(&record)?, horizon) {
                continue;
            }
            if moved == 0 {
                left.extend(record.whole);
            } else {
                put_record(&mut left, &record, record.timestamp_delta.wrapping_add(moved));
            }
        }
        let codec = Compression::of_attributes(attributes).ok_or(Undecodable("unknown codec"))?;
        let header = Header { attributes, base_timestamp, max_timestamp, count: kept };
        Ok(Rewritten::Changed(header.over(batch, &codec.compress(left))?))
    }

    fn stays(&self, record: &Record<'_>, offset: Offset, horizon: Option<i64>) -> bool {
        // The gateway lets no record without a key into a compacted topic; were there one, nothing would supersede it.
        let Some(key) = record.key else { return true };
        if self.latest.supersedes(key, offset) {
            return false;
        }
        let has_served = is_tombstone(record) && horizon.is_some_and(|horizon| horizon <= self.now_ms);
        !has_served || offset == self.last
    }
}

fn is_tombstone(record: &Record<'_>) -> bool {
    record.key.is_some() && record.value.is_none()
}

/// What changes in a batch's header.
struct Header {
    attributes: i16,
    base_timestamp: i64,
    max_timestamp: i64,
    count: u32,
}

impl Header {
    /// The batch with these fields, and these records.
    fn over(&self, batch: &StoredBatch, records: &[u8]) -> Result<StoredBatch, Undecodable> {
        let mut bytes = BytesMut::with_capacity(BATCH_HEADER_BYTES + records.len());
        bytes.extend(&batch.bytes()[..BATCH_HEADER_BYTES]);
        bytes.extend(records);
        // The fields are drawn in the storage interface's `batch` module.
        let length = (bytes.len() - 12) as u32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.count.to_be_bytes());
        let checksum = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
        let mut bytes: Bytes = bytes.freeze();
        StoredBatch::split_from(&mut bytes).ok_or(Undecodable("a batch that is too large"))
    }
}

fn put_record(out: &mut Vec<u8>, record: &Record<'_>, timestamp_delta: i64) {
    let mut fields = vec![record.attributes];
    put_varint(&mut fields, timestamp_delta);
    put_varint(&mut fields, record.offset_delta);
    put_varint(out, (fields.len() + record.from_key.len()) as i64);
    out.extend(fields);
    out.extend(record.from_key);
}

#[cfg(test)]
mod tests;
