//! Builds one uncompressed record batch from load-test values.

use bytes::{BufMut, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, checksum};

use super::{CRC_RANGE_START, HEADER_BYTES, LENGTH_PREFIX_BYTES};
use crate::value::{VALUE_BYTES_MIN, Value};

const NO_PRODUCER_ID: i64 = -1;
const NO_PRODUCER_EPOCH: i16 = -1;
const NO_SEQUENCE: i32 = -1;

/// Fixed overhead of a record beside its value, at most: length, attributes, timestamp delta, offset delta,
/// null key, value length, header count.
const RECORD_OVERHEAD_BYTES_MAX: usize = 24;

/// A batch being filled. The header is written last, when the count is known.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    buffer: BytesMut,
    record_count: i32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

impl BatchBuilder {
    /// Starts a batch that will hold about `size_bytes`.
    pub(crate) fn with_capacity(size_bytes: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(HEADER_BYTES + size_bytes);
        buffer.put_bytes(0, HEADER_BYTES);
        Self { buffer, record_count: 0, base_timestamp_ms: 0, max_timestamp_ms: 0 }
    }

    /// Appends one record whose value is padded to `record_bytes`.
    pub(crate) fn push(&mut self, value: &Value, record_bytes: usize) {
        let timestamp_ms = value.sent_micros / 1000;
        if self.record_count == 0 {
            self.base_timestamp_ms = timestamp_ms;
            self.max_timestamp_ms = timestamp_ms;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        let value_bytes = record_bytes.max(VALUE_BYTES_MIN);

        let mut prefix = Prefix::empty();
        prefix.put_u8(0);
        prefix.put_varint(timestamp_ms - self.base_timestamp_ms);
        prefix.put_varint(i64::from(self.record_count));
        prefix.put_varint(-1);
        prefix.put_varint(value_bytes as i64);
        let prefix_bytes = prefix.length;
        let mut length = Prefix::empty();
        length.put_varint((prefix_bytes + value_bytes + 1) as i64);

        self.buffer.put_slice(length.as_slice());
        self.buffer.put_slice(prefix.as_slice());
        value.encode(&mut self.buffer);
        self.buffer.put_bytes(b'.', value_bytes - VALUE_BYTES_MIN);
        self.buffer.put_u8(0);
        self.record_count += 1;
    }

    /// Whether another record of this size would exceed `batch_bytes`. The first record always fits.
    pub(crate) fn is_full(&self, record_bytes: usize, batch_bytes: usize) -> bool {
        self.record_count > 0 && self.buffer.len() + record_bytes + RECORD_OVERHEAD_BYTES_MAX > batch_bytes
    }

    /// Writes the header and the CRC. `sequence` is (producer id, producer epoch, base sequence) for idempotent
    /// producers (KIP-98).
    pub(crate) fn finish(mut self, sequence: Option<(i64, i16, i32)>) -> Bytes {
        let (producer_id, producer_epoch, base_sequence) =
            sequence.unwrap_or((NO_PRODUCER_ID, NO_PRODUCER_EPOCH, NO_SEQUENCE));
        let batch_length = (self.buffer.len() - LENGTH_PREFIX_BYTES) as i32;
        let mut header = &mut self.buffer[..HEADER_BYTES];
        header.put_i64(0);
        header.put_i32(batch_length);
        header.put_i32(-1);
        header.put_i8(2);
        header.put_u32(0);
        header.put_i16(0);
        header.put_i32(self.record_count - 1);
        header.put_i64(self.base_timestamp_ms);
        header.put_i64(self.max_timestamp_ms);
        header.put_i64(producer_id);
        header.put_i16(producer_epoch);
        header.put_i32(base_sequence);
        header.put_i32(self.record_count);
        let crc = checksum(CrcAlgorithm::Crc32Iscsi, &self.buffer[CRC_RANGE_START..]) as u32;
        self.buffer[CRC_RANGE_START - 4..CRC_RANGE_START].copy_from_slice(&crc.to_be_bytes());
        self.buffer.freeze()
    }
}

/// A few small numbers on the stack, so that building a record allocates nothing.
struct Prefix {
    bytes: [u8; 40],
    length: usize,
}

impl Prefix {
    fn empty() -> Self {
        Self { bytes: [0; 40], length: 0 }
    }

    fn put_u8(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn put_varint(&mut self, value: i64) {
        let mut raw = ((value << 1) ^ (value >> 63)) as u64;
        while raw >= 0x80 {
            self.put_u8(raw as u8 | 0x80);
            raw >>= 7;
        }
        self.put_u8(raw as u8);
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
