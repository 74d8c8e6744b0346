//! Record batches, magic 2: the header, the CRC and the records inside.
//!
//! Written by hand because the checker needs what the codec drops (last offset delta, batch length) and must
//! never trust a length it reads. Layout: <https://kafka.apache.org/documentation/#recordbatch>.
//! Invariant: nothing here panics or allocates by a number found in the bytes.

mod encode;

use bytes::{Buf, Bytes};
use crc_fast::{CrcAlgorithm, checksum};

pub(crate) use encode::BatchBuilder;

/// Bytes of a batch before its first record.
pub(crate) const HEADER_BYTES: usize = 61;
/// Bytes before the range that `batchLength` counts: base offset and the length itself.
pub(crate) const LENGTH_PREFIX_BYTES: usize = 12;
/// The CRC covers everything from the attributes to the end of the batch.
const CRC_RANGE_START: usize = 21;

const ATTRIBUTE_COMPRESSION: i16 = 0x07;
const ATTRIBUTE_CONTROL: i16 = 0x20;

/// Why bytes are not a record batch.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchDefect {
    /// The length field is smaller than a header.
    #[error("batch length {0} is shorter than a batch header")]
    Length(i32),
    /// Not the format that Kafka has written since 0.11.
    #[error("batch magic {0}, expected 2")]
    Magic(i8),
    /// A record's fields do not fit its batch.
    #[error("record {0} of the batch is malformed")]
    Record(i32),
}

/// One batch as read from a partition.
#[derive(Clone, Debug)]
pub(crate) struct RecordBatch {
    pub(crate) base_offset: i64,
    pub(crate) last_offset_delta: i32,
    pub(crate) record_count: i32,
    attributes: i16,
    stored_bytes: u64,
    crc_expected: u32,
    crc_range: Bytes,
}

impl RecordBatch {
    /// Takes the next batch off the front of fetched records.
    /// `Ok(None)` when only a part of a batch is left: brokers cut the end of an answer at a byte limit.
    pub(crate) fn split_first(records: &mut Bytes) -> Result<Option<Self>, BatchDefect> {
        if records.len() < HEADER_BYTES {
            return Ok(None);
        }
        let mut header = &records[..HEADER_BYTES];
        let base_offset = header.get_i64();
        let batch_length = header.get_i32();
        let stored = usize::try_from(batch_length)
            .ok()
            .map(|length| length + LENGTH_PREFIX_BYTES)
            .filter(|stored| *stored >= HEADER_BYTES)
            .ok_or(BatchDefect::Length(batch_length))?;
        if records.len() < stored {
            return Ok(None);
        }
        header.advance(4);
        let magic = header.get_i8();
        if magic != 2 {
            return Err(BatchDefect::Magic(magic));
        }
        let crc_expected = header.get_u32();
        let attributes = header.get_i16();
        let last_offset_delta = header.get_i32();
        header.advance(8 + 8 + 8 + 2 + 4);
        let record_count = header.get_i32();
        let crc_range = records.split_to(stored).slice(CRC_RANGE_START..);
        let stored_bytes = stored as u64;
        Ok(Some(Self {
            base_offset,
            last_offset_delta,
            record_count,
            attributes,
            stored_bytes,
            crc_expected,
            crc_range,
        }))
    }

    /// Whether the stored CRC-32C is that of the bytes.
    pub(crate) fn crc_is_right(&self) -> bool {
        checksum(CrcAlgorithm::Crc32Iscsi, &self.crc_range) == u64::from(self.crc_expected)
    }

    /// Transaction markers and the like, which no consumer sees and no bill counts.
    pub(crate) fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    /// Compressed batches are counted and summed but not opened.
    pub(crate) fn is_compressed(&self) -> bool {
        self.attributes & ATTRIBUTE_COMPRESSION != 0
    }

    /// The offset after the batch's last record.
    pub(crate) fn next_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta)).saturating_add(1)
    }

    /// 12 + batchLength: what the batch counts for in *bytes in*.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Visits the (offset, value) of each record of an uncompressed batch in order.
    pub(crate) fn for_each_record(&self, mut visit: impl FnMut(i64, &[u8])) -> Result<(), BatchDefect> {
        let mut rest = &self.crc_range[HEADER_BYTES - CRC_RANGE_START..];
        for index in 0..self.record_count {
            let (offset_delta, value) = next_record(&mut rest).ok_or(BatchDefect::Record(index))?;
            visit(self.base_offset.saturating_add(i64::from(offset_delta)), value);
        }
        if rest.is_empty() { Ok(()) } else { Err(BatchDefect::Record(self.record_count)) }
    }
}

fn next_record<'a>(rest: &mut &'a [u8]) -> Option<(i32, &'a [u8])> {
    let length = usize::try_from(next_varint(rest)?).ok()?;
    let mut record = rest.split_off(..length)?;
    record.split_off_first()?;
    next_varint(&mut record)?;
    let offset_delta = i32::try_from(next_varint(&mut record)?).ok()?;
    next_sized(&mut record)?;
    let value = next_sized(&mut record)?;
    Some((offset_delta, value))
}

/// A byte string after its varint length; Kafka's null counts as empty.
fn next_sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    match next_varint(rest)? {
        -1 => Some(&[]),
        length => rest.split_off(..usize::try_from(length).ok()?),
    }
}

/// A zig-zag varint of at most ten bytes.
fn next_varint(rest: &mut &[u8]) -> Option<i64> {
    let mut raw = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = *rest.split_off_first()?;
        raw |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some((raw >> 1) as i64 ^ -((raw & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests;
