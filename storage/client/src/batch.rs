//! Kafka's record batch (magic 2), as far as a server must know it.
//!
//! ```text
//!  0        8       12      16   17    21    23       27       35       43       51       53      57      61
//!  | base   | batch | leader|mag-| CRC |attri| last   | base   | max    |producer|producer| base  |records|
//!  | offset | length| epoch |ic 2| 32C |butes| offset | time-  | time-  | id     | epoch  | seq.  | count |
//!  | i64    | i32   | i32   | i8 | u32 | i16 | delta  | stamp  | stamp  | i64    | i16    | i32   | i32   | records …
//!  |        |       |       |    |     |     | i32    | i64    | i64    |        |        |       |       |
//! ```
//!
//! Source: <https://kafka.apache.org/documentation/#recordbatch>; all big-endian. The CRC covers everything from the
//! attributes on, so base offset and leader epoch are patched without touching it. `batch length` counts from the
//! leader epoch on, so a batch occupies `12 + batch length` bytes: the number that is billed.

use bytes::Bytes;
use headgate_metadata::id::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use crate::compression::Compression;

/// The length of the fixed header in bytes.
pub const BATCH_HEADER_BYTES: usize = 61;

const MAGIC: u8 = 2;
/// `batch length` does not count itself and the base offset.
const UNCOUNTED_BYTES: usize = 12;
const CRC_FROM: usize = 21;
const COMPRESSION_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// Why a batch is refused. Retrying it unchanged cannot succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchDefect {
    /// Too short, or its length field disagrees with the bytes that came.
    #[error("batch length does not match its bytes")]
    Length,
    /// Message sets of before Kafka 0.11, or a future format.
    #[error("record format (magic) {0} is not supported; 2 is")]
    Magic(u8),
    /// The CRC-32C over attributes to end is wrong: the batch was damaged on its way.
    #[error("batch checksum does not match")]
    Checksum,
    /// The count is not positive or disagrees with the last offset delta.
    #[error("batch record count does not match its offsets")]
    Count,
    /// A compression codec nobody knows.
    #[error("unknown compression codec {0}")]
    Codec(i16),
    /// Clients may not send control batches.
    #[error("control batches are written by the server only")]
    Control,
    /// Producer id, epoch and sequence must all be set or all be absent.
    #[error("producer id, epoch and sequence do not agree")]
    Producer,
    /// More than one batch for a partition in one request (KIP-98 forbids it).
    #[error("a produce request holds exactly one batch per partition")]
    Several,
}

/// Identity and order of an idempotent or transactional batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// The producer's id.
    pub id: ProducerId,
    /// Its fence.
    pub epoch: ProducerEpoch,
    /// The sequence number of the first record; wraps at 2^31.
    pub base_sequence: u32,
}

/// One batch, header checked. The records stay the slice of the frame they came in.
#[derive(Debug, Clone)]
pub struct RecordBatch {
    header: [u8; BATCH_HEADER_BYTES],
    records: Bytes,
}

impl RecordBatch {
    /// Checks the header and the CRC of `bytes`, which must be exactly one batch.
    pub fn parse(bytes: &Bytes) -> Result<Self, BatchDefect> {
        let batch = Self::split(bytes)?;
        let magic = batch.header[16];
        if magic != MAGIC {
            return Err(BatchDefect::Magic(magic));
        }
        let declared = usize::try_from(batch.i32_at(8)).map_err(|_| BatchDefect::Length)? + UNCOUNTED_BYTES;
        if declared < bytes.len() {
            return Err(BatchDefect::Several);
        }
        if declared != bytes.len() {
            return Err(BatchDefect::Length);
        }
        if crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[CRC_FROM..])
            != u64::from(batch.crc())
        {
            return Err(BatchDefect::Checksum);
        }
        batch.check_fields()?;
        Ok(batch)
    }

    /// Puts a batch together from its two parts, as they came from whoever parsed it. The header is checked, the CRC is not.
    pub fn from_parts(header: [u8; BATCH_HEADER_BYTES], records: Bytes) -> Result<Self, BatchDefect> {
        let batch = Self { header, records };
        if batch.header[16] != MAGIC {
            return Err(BatchDefect::Magic(batch.header[16]));
        }
        let declared = usize::try_from(batch.i32_at(8)).map_err(|_| BatchDefect::Length)? + UNCOUNTED_BYTES;
        if declared as u64 != batch.size_bytes() {
            return Err(BatchDefect::Length);
        }
        batch.check_fields()?;
        Ok(batch)
    }

    fn split(bytes: &Bytes) -> Result<Self, BatchDefect> {
        let header = bytes.first_chunk::<BATCH_HEADER_BYTES>().ok_or(BatchDefect::Length)?;
        Ok(Self { header: *header, records: bytes.slice(BATCH_HEADER_BYTES..) })
    }

    fn check_fields(&self) -> Result<(), BatchDefect> {
        let count = self.i32_at(57);
        if count <= 0 || self.i32_at(23) != count - 1 {
            return Err(BatchDefect::Count);
        }
        if Compression::of_attributes(self.attributes()).is_none() {
            return Err(BatchDefect::Codec(self.attributes() & COMPRESSION_MASK));
        }
        let (id, epoch, sequence) = (self.i64_at(43), self.i16_at(51), self.i32_at(53));
        let idempotent = id >= 0 && epoch >= 0 && sequence >= 0;
        let plain = id < 0 && sequence < 0;
        if !idempotent && !plain || plain && self.is_transactional() {
            return Err(BatchDefect::Producer);
        }
        Ok(())
    }

    /// The bytes it occupies on the wire and in the log: 12 + batch length. What is billed.
    pub fn size_bytes(&self) -> u64 {
        (BATCH_HEADER_BYTES + self.records.len()) as u64
    }
    /// The number of records; at least 1.
    pub fn record_count(&self) -> u32 {
        self.i32_at(57) as u32
    }
    /// The timestamp deltas count from here, in ms since the epoch; -1 = none.
    pub fn base_timestamp(&self) -> i64 {
        self.i64_at(27)
    }
    /// The greatest timestamp of its records as the producer says, in ms since the epoch; -1 = none.
    pub fn max_timestamp(&self) -> i64 {
        self.i64_at(35)
    }
    /// Identity and order, when the producer is idempotent.
    pub fn producer(&self) -> Option<ProducerBatch> {
        let id = u64::try_from(self.i64_at(43)).ok()?;
        Some(ProducerBatch {
            id: ProducerId::new(id),
            epoch: ProducerEpoch::new(self.i16_at(51) as u16),
            base_sequence: self.i32_at(53) as u32,
        })
    }
    /// Part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }
    /// A transaction marker.
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }
    /// How the records are compressed.
    pub fn compression(&self) -> Compression {
        Compression::of_attributes(self.attributes()).expect("checked when the batch was made")
    }
    /// Everything after the header.
    pub fn records(&self) -> &Bytes {
        &self.records
    }
    /// The header as it came.
    pub fn header(&self) -> &[u8; BATCH_HEADER_BYTES] {
        &self.header
    }
    /// The header with the assigned place in the log. These bytes lie outside the batch's CRC.
    pub fn placed_header(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> [u8; BATCH_HEADER_BYTES] {
        let mut header = self.header;
        header[0..8].copy_from_slice(&base_offset.to_wire().to_be_bytes());
        header[12..16].copy_from_slice(&leader_epoch.to_wire().to_be_bytes());
        header
    }
    /// The batch with `message.timestamp.type=LogAppendTime`: its max timestamp becomes the broker's, the attribute
    /// bit is set and the CRC is made anew, as Kafka's `LogValidator` does.
    #[must_use]
    pub fn with_log_append_time(mut self, now_ms: i64) -> Self {
        let attributes = self.attributes() | LOG_APPEND_TIME;
        self.header[21..23].copy_from_slice(&attributes.to_be_bytes());
        self.header[35..43].copy_from_slice(&now_ms.to_be_bytes());
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        digest.update(&self.header[CRC_FROM..]);
        digest.update(&self.records);
        self.header[17..21].copy_from_slice(&(digest.finalize() as u32).to_be_bytes());
        self
    }

    fn attributes(&self) -> i16 {
        self.i16_at(21)
    }
    fn crc(&self) -> u32 {
        self.i32_at(17) as u32
    }
    fn i16_at(&self, at: usize) -> i16 {
        i16::from_be_bytes([self.header[at], self.header[at + 1]])
    }
    fn i32_at(&self, at: usize) -> i32 {
        i32::from_be_bytes(std::array::from_fn(|i| self.header[at + i]))
    }
    fn i64_at(&self, at: usize) -> i64 {
        i64::from_be_bytes(std::array::from_fn(|i| self.header[at + i]))
    }
}
