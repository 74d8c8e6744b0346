//! Looking inside stored batches: the one place where the node decodes records, to find offsets by time.
//!
//! The layout is drawn in [`headgate_storage_client::RecordBatch`]'s module. What is read here came from a client and is
//! trusted for nothing: every length is checked and what a codec may expand to is bounded.
//! Source: <https://kafka.apache.org/documentation/#record>.

use std::io::Read;

use bytes::Bytes;
use headgate_metadata::id::{LeaderEpoch, Offset};
use headgate_storage_client::BATCH_HEADER_BYTES;

/// The most a batch may expand to while it is searched. Higher: one lookup may hold more memory. Lower: a legitimately
/// well-compressed batch is found by its first offset only.
const DECOMPRESSED_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// zstd windows above 2^27 bytes are refused, as the reference decoder does by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;

/// Why the records of a batch cannot be walked: the producer wrote nonsense, or more than the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("records do not decode: {0}")]
pub(crate) struct Undecodable(&'static str);

/// One stored batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredBatch(Bytes);

/// A record's place and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordTime {
    pub(crate) offset: Offset,
    pub(crate) timestamp: i64,
}

impl StoredBatch {
    /// Takes one batch off the front of `bytes`; `None` when they do not begin with a whole one.
    pub(crate) fn split_from(bytes: &mut Bytes) -> Option<Self> {
        let length = batch_size(bytes)?;
        (length <= bytes.len()).then(|| Self(bytes.split_to(length)))
    }
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }
    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }
    pub(crate) fn base_offset(&self) -> Offset {
        Offset::new(u64::from_be_bytes(self.array(0)))
    }
    pub(crate) fn last_offset(&self) -> Offset {
        self.base_offset().plus(u64::from(u32::from_be_bytes(self.array(23))))
    }
    pub(crate) fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.array(35))
    }
    /// Whether the bytes before its checksum, which that does not cover, are those of a batch at this place.
    pub(crate) fn stands_at(&self, offset: Offset, epoch: LeaderEpoch) -> bool {
        const MAGIC: u8 = 2;
        let found = u32::from_be_bytes(self.array(12));
        self.base_offset() == offset && found == epoch.get() && self.0[16] == MAGIC
    }
    fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.array(27))
    }
    fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.array(21))
    }
    fn is_log_append_time(&self) -> bool {
        self.attributes() & 0x08 != 0
    }

    /// The first record at or after the offset `from` whose timestamp is at least `target`.
    pub(crate) fn first_at_least(
        &self,
        target: i64,
        from: Offset,
    ) -> Result<Option<RecordTime>, Undecodable> {
        if self.max_timestamp() < target || self.last_offset() < from {
            return Ok(None);
        }
        if self.is_log_append_time() {
            // All its records carry the broker's one time.
            let offset = self.base_offset().max(from);
            return Ok(Some(RecordTime { offset, timestamp: self.max_timestamp() }));
        }
        let records = self.decompressed()?;
        let mut rest = &records[..];
        while !rest.is_empty() {
            let (timestamp_delta, offset_delta) = next_record(&mut rest)?;
            let timestamp = self.base_timestamp().wrapping_add(timestamp_delta);
            let offset = self
                .base_offset()
                .plus(u64::try_from(offset_delta).map_err(|_| Undecodable("offset delta"))?);
            if timestamp >= target && offset >= from && offset <= self.last_offset() {
                return Ok(Some(RecordTime { offset, timestamp }));
            }
        }
        Ok(None)
    }

    fn decompressed(&self) -> Result<Bytes, Undecodable> {
        let records = self.0.slice(BATCH_HEADER_BYTES..);
        match self.attributes() & 0x07 {
            0 => Ok(records),
            1 => bounded(flate2::read::MultiGzDecoder::new(&records[..])),
            2 => snappy(&records),
            3 => bounded(lz4_flex::frame::FrameDecoder::new(&records[..])),
            4 => {
                let mut decoder =
                    zstd::stream::read::Decoder::new(&records[..]).map_err(|_| Undecodable("zstd"))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| Undecodable("zstd"))?;
                bounded(decoder)
            }
            _ => Err(Undecodable("unknown codec")),
        }
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|index| self.0[at + index])
    }
}

/// The size of the batch that `bytes` begin with; `None` when there is no whole header or its length is nonsense.
pub(crate) fn batch_size(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(*bytes.get(8..)?.first_chunk()?) as usize;
    let size = length.checked_add(12)?;
    (size >= BATCH_HEADER_BYTES && bytes.len() >= BATCH_HEADER_BYTES).then_some(size)
}

fn bounded(decoder: impl Read) -> Result<Bytes, Undecodable> {
    let mut out = Vec::new();
    let read = decoder.take(DECOMPRESSED_BYTES_MAX + 1).read_to_end(&mut out);
    read.map_err(|_| Undecodable("compressed data"))?;
    if out.len() as u64 > DECOMPRESSED_BYTES_MAX {
        return Err(Undecodable("expands beyond the bound"));
    }
    Ok(out.into())
}

/// Java clients write xerial's framing, others write one raw block.
fn snappy(records: &[u8]) -> Result<Bytes, Undecodable> {
    let mut out = Vec::new();
    if !records.starts_with(XERIAL_MAGIC) {
        snappy_block(records, &mut out)?;
        return Ok(out.into());
    }
    let mut rest = records.get(XERIAL_HEADER_BYTES..).ok_or(Undecodable("snappy header"))?;
    while !rest.is_empty() {
        let (length, blocks) = rest.split_first_chunk().ok_or(Undecodable("snappy block length"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let block = blocks.get(..length).ok_or(Undecodable("snappy block"))?;
        snappy_block(block, &mut out)?;
        rest = &blocks[length..];
    }
    Ok(out.into())
}

fn snappy_block(block: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
    let length = snap::raw::decompress_len(block).map_err(|_| Undecodable("snappy block"))?;
    let from = out.len();
    if (from + length) as u64 > DECOMPRESSED_BYTES_MAX {
        return Err(Undecodable("expands beyond the bound"));
    }
    out.resize(from + length, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[from..]).map_err(|_| Undecodable("snappy block"))?;
    Ok(())
}

/// Takes one record off the front; returns its timestamp delta and offset delta.
fn next_record(rest: &mut &[u8]) -> Result<(i64, i64), Undecodable> {
    let length = usize::try_from(varint(rest)?).map_err(|_| Undecodable("record length"))?;
    let mut record = rest.get(..length).ok_or(Undecodable("record length"))?;
    *rest = &rest[length..];
    record = record.get(1..).ok_or(Undecodable("record attributes"))?;
    let timestamp_delta = varint(&mut record)?;
    let offset_delta = varint(&mut record)?;
    Ok((timestamp_delta, offset_delta))
}

/// A zigzag varint of at most ten bytes.
fn varint(rest: &mut &[u8]) -> Result<i64, Undecodable> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(Undecodable("varint"))?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(Undecodable("varint"))
}

#[cfg(test)]
mod tests;
